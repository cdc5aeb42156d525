"""A galaxy made here, observed by MUSE and HST, and what the package makes of the files.

A bulge, a disc whose history and metallicity change smoothly with radius, a ring of young stars and a lane of dust, in
rotation. Spectra are sums of BC03-MILES populations made with a few lines of numpy, apart from the code that trains
networks; the cube has a Moffat point spread function, the images have pixels of 0.05 arcsec, another orientation, a
sharper point spread function and a background. Needs the extras ``synthesis`` and ``cube``, and ``plot`` for a figure.

    python benchmarks/mock_galaxy.py --figure docs/_static/mock_galaxy.png > docs/user_guide/_mock_galaxy.txt
"""

import argparse
import itertools
import tempfile
import types
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from sfh_cnn import SFHPredictor, SSPLibrary
from sfh_cnn.core import AgeGrid, to_quantity
from sfh_cnn.photometry import band_flux, match_images
from sfh_cnn.prediction import zero_point_ratios
from sfh_cnn.spectra import open_cube

C_KMS = 299792.458
REDSHIFT, DISTANCE = 0.0024, 10 * u.Mpc
CENTRE = SkyCoord(40.0, -10.0, unit="deg")
WAVE_AA = np.arange(4750.0, 9350.0, 1.25)
UNIT = u.Unit("1e-20 erg / (s cm2 Angstrom)")
V_WINDOW_AA = (5070.0, 5950.0)
#: Spaxels and pixels, arcsec; the galaxy is made finer than the cube, and wider, for light comes in from outside.
SPAXEL, FINE, PIXEL, MARGIN = 0.2, 0.1, 0.05, 2.0
CUBE_FWHM, CUBE_BETA, IMAGE_FWHM = 0.8, 2.8, 0.08
#: Flux density of one electron per second, erg/s/cm2/Angstrom: about those of WFC3/UVIS.
PHOTFLAM = {"F275W": 3.2e-18, "F336W": 1.3e-18, "F438W": 6.7e-19, "F555W": 1.9e-19, "F814W": 1.5e-19}
#: Radii in arcsec at which the disc's history is given; it is mixed linearly between them.
NODES = np.array([0.0, 2.0, 4.0, 6.0, 8.5])
MEANS = ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity", "mass_weighted_metallicity")
GRID = AgeGrid.default()


def populations():
    """Star formation rate and [M/H] as functions of lookback time in Gyr, by name."""

    def disc(share):
        start, tau, now = 12.8 - 4.5 * share, 1.5 + 4.5 * share, 0.15 - 0.45 * share
        return (
            lambda t: np.clip(start - t, 0, None) * np.exp(-np.clip(start - t, 0, None) / tau),
            lambda t: now - 0.035 * t,
        )

    made = {f"disc {i}": disc(share) for i, share in enumerate(NODES / NODES[-1])}
    made["bulge"] = (lambda t: np.exp(-0.5 * ((t - 10.5) / 1.2) ** 2), lambda t: 0.2 + 0 * t)
    made["ring"] = (lambda t: (t < 0.06) * 1.0, lambda t: 0.0 * t)
    return made


def shine(library, rate, metallicity):
    """Spectrum per M_sun formed; mass, V light and [M/H] of the age bins."""
    edges = np.unique(np.concatenate([np.linspace(a, b, 13) for a, b in itertools.pairwise(GRID.edges_yr)]))
    age = (edges[1:] + edges[:-1]) / 2
    mass = rate(age / 1e9) * np.diff(edges)
    mass /= mass.sum()
    dex = metallicity(age / 1e9)
    spectra = library.interpolate(age, dex)
    wave_aa = library.wavelength.to_value(u.AA)
    light = mass * spectra[:, (wave_aa > V_WINDOW_AA[0]) & (wave_aa < V_WINDOW_AA[1])].mean(axis=1)
    parent = np.searchsorted(GRID.edges_yr, age) - 1
    sums = np.eye(GRID.n_age)[parent]
    return mass @ spectra, {
        "mass": mass.sum(), "light": light.sum(),
        "mass_weighted_log_age": mass @ sums @ GRID.log_ages_dex,
        "light_weighted_log_age": light @ sums @ GRID.log_ages_dex,
        "mass_weighted_metallicity": mass @ dex, "light_weighted_metallicity": light @ dex,
    }  # fmt: skip


def calzetti(wave_aa):
    """Attenuation over A_V (Calzetti et al. 2000), beyond 6300 Angstrom and below it."""
    x = np.asarray(wave_aa) / 1e4
    blue = 2.659 * (-2.156 + 1.509 / x - 0.198 / x**2 + 0.011 / x**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / x) + 4.05
    return np.maximum(np.where(x < 0.63, blue, red), 0) / 4.05


def structure(east, north, area):
    """Mass of each population (M_sun), A_V and velocity (km/s) at offsets in arcsec, per pixel area (arcsec2)."""
    radius = np.hypot(east, north / 0.7)
    mass = {"bulge": 1.6e6 * np.exp(-radius / 0.7) * area, "ring": 3e3 * _bump(radius, 4.2, 0.6) * area}
    disc = 5e5 * np.exp(-radius / 3) * area
    for i in range(len(NODES)):
        mass[f"disc {i}"] = disc * np.interp(radius, NODES, np.arange(len(NODES)) == i)
    a_v = 0.15 + 0.9 * _bump(north + 0.15 * east, 1.6, 0.5)  # a lane
    return mass, a_v, 160 * east / (0.6 + radius)


def _bump(x, middle, width):
    return np.exp(-0.5 * ((x - middle) / width) ** 2)


def _moffat(radius):
    core = 0.5 * CUBE_FWHM / np.sqrt(2 ** (1 / CUBE_BETA) - 1)
    return (1 + (radius / core) ** 2) ** -CUBE_BETA


def _gaussian(radius):
    return np.exp(-4 * np.log(2) * (radius / IMAGE_FWHM) ** 2)


def blur(planes, profile, pixel):
    """Planes seen with a point spread function, its integral over pixels made from 5 x 5 points."""
    n_y, n_x = planes.shape[-2:]
    fine = 5 * (max(n_y, n_x) // 2 * 2 + 1)  # an odd number of pixels, with a point in the middle
    offset = (np.arange(fine) - fine // 2) * pixel / 5
    kernel = profile(np.hypot(*np.meshgrid(offset, offset))).reshape(fine // 5, 5, fine // 5, 5).sum(axis=(1, 3))
    shape = [fft.next_fast_len(n + fine // 5 - 1, real=True) for n in (n_y, n_x)]
    transfer = fft.rfft2((kernel / kernel.sum()).astype(np.float32), shape)
    half = fine // 5 // 2
    out = fft.irfft2(fft.rfft2(planes.astype(np.float32), shape) * transfer, shape)
    return out[..., half : half + n_y, half : half + n_x]


def bin_down(planes, n):
    """Sums over n x n pixels."""
    *first, n_y, n_x = planes.shape
    return planes.reshape(*first, n_y // n, n, n_x // n, n).sum(axis=(-3, -1))


def celestial(pixel, n, angle_deg=0.0):
    """Tangential coordinates of n x n pixels around the centre."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [CENTRE.ra.deg, CENTRE.dec.deg]
    wcs.wcs.crpix = [(n + 1) / 2] * 2
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = pixel / 3600 * np.array([[-cosine, sine], [sine, cosine]])
    return wcs


def offsets(wcs, n):
    """East and north of the centre, arcsec, for each pixel."""
    y, x = np.indices((n, n))
    return (part.to_value(u.arcsec) for part in CENTRE.spherical_offsets_to(wcs.pixel_to_world(x, y)))


class Galaxy:
    """The galaxy and its observations."""

    def __init__(self, size):
        self.size = size
        library = SSPLibrary.read("bc03-miles").crop(2000, 10500)
        self.lib_aa = library.wavelength.to_value(u.AA)
        made = {name: shine(library, *history) for name, history in populations().items()}
        # erg/s/cm2/Angstrom of a solar luminosity per Angstrom, in units of 1e-20.
        scale = 3.828e33 / (4 * np.pi * DISTANCE.to_value(u.cm) ** 2) / 1e-20
        self.spectra = {name: scale * spectrum for name, (spectrum, _) in made.items()}
        self.means = {name: means for name, (_, means) in made.items()}
        self.n_fine = round((size * SPAXEL + 2 * MARGIN) / FINE)
        self.fine = structure(*offsets(celestial(FINE, self.n_fine), self.n_fine), FINE**2)

    def to_spaxels(self, planes):
        """What a perfect detector sees behind the point spread function of the cube."""
        edge = round(MARGIN / FINE)
        return bin_down(blur(planes, _moffat, FINE)[..., edge:-edge, edge:-edge], round(SPAXEL / FINE))

    def cube(self, path, rng):
        """Write the cube."""
        mass, a_v, velocity = self.fine
        grid_kms = np.arange(-200.0, 201.0, 10.0)  # spectra are mixed between these velocities
        step_px = 60 / (1.25 / 6000 * C_KMS)  # velocity dispersion of 60 km/s at 6000 Angstrom, pixels
        shifted = {
            name: np.stack([
                gaussian_filter1d(np.interp(WAVE_AA / (1 + REDSHIFT) / (1 + v / C_KMS), self.lib_aa, one), step_px)
                for v in grid_kms
            ])
            for name, one in self.spectra.items()
        }  # fmt: skip
        index = np.clip(((velocity - grid_kms[0]) // 10).astype(int), 0, len(grid_kms) - 2)
        part = (velocity - grid_kms[index]) / 10
        dust = calzetti(WAVE_AA / (1 + REDSHIFT))
        cube = np.empty((len(WAVE_AA), self.size, self.size), dtype=np.float32)
        for start in range(0, len(cube), 40):
            rows = slice(start, start + 40)
            planes = 0.0
            for name, image in mass.items():
                one = np.ascontiguousarray(shifted[name][:, rows].T)
                planes = planes + image * (one[:, index] * (1 - part) + one[:, index + 1] * part)
            planes *= 10 ** (-0.4 * dust[rows, None, None] * a_v)
            cube[rows] = self.to_spaxels(planes)
        level = np.median(cube, axis=0)
        error = np.sqrt(0.03**2 * level * np.median(level) + (0.03 * np.median(level)) ** 2)
        # Sky: 10 per cent more noise for each 500 Angstrom into the red, and more in a comb of lines.
        shape = 1.1 ** ((WAVE_AA - 7000) / 500) * (1 + (WAVE_AA > 7200) * (np.sin(WAVE_AA / 12) > 0.9))
        error = (error * shape[:, None, None]).astype(np.float32)
        cube += error * rng.standard_normal(cube.shape, dtype=np.float32)
        header = celestial(SPAXEL, self.size).to_header()
        header.update(CTYPE3="AWAV", CUNIT3="Angstrom", CRVAL3=WAVE_AA[0], CRPIX3=1.0, CDELT3=1.25)
        header["WCSAXES"] = 3
        data = fits.ImageHDU(cube, header, name="DATA")
        stat = fits.ImageHDU(error**2, header, name="STAT")
        data.header["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
        stat.header["BUNIT"] = f"({data.header['BUNIT']})**2"
        fits.HDUList([fits.PrimaryHDU(), data, stat]).writeto(path)

    def images(self, folder, rng):
        """Write the images, in electrons per second, with errors; return their names and backgrounds by band."""
        n = round((self.size * SPAXEL * 1.42 + 2 * MARGIN) / PIXEL)
        wcs = celestial(PIXEL, n, angle_deg=25.0)
        mass, a_v, _ = structure(*offsets(wcs, n), PIXEL**2)
        nodes, observed = np.linspace(0, 1.2, 25), self.lib_aa * (1 + REDSHIFT) * u.AA
        paths, backgrounds = {}, {}
        for band, photflam in PHOTFLAM.items():
            image = 0.0
            for name, spectrum in self.spectra.items():
                dusty = spectrum * 10 ** (-0.4 * nodes[:, None] * calzetti(self.lib_aa))
                seen = [band_flux(observed, one * UNIT, band).to_value(UNIT) for one in dusty]
                image = image + mass[name] * np.exp(np.interp(a_v, nodes, np.log(seen)))
            image = blur(image, _gaussian, PIXEL) * 1e-20 / photflam
            backgrounds[band] = 0.2 * np.median(image)
            error = np.sqrt(0.1**2 * image * np.median(image) + (0.1 * np.median(image)) ** 2)
            image = image + backgrounds[band] + error * rng.standard_normal(image.shape)
            header = wcs.to_header()
            header.update(BUNIT="ELECTRONS/S", PHOTFLAM=photflam)
            paths[band] = folder / f"{band}.fits"
            extensions = [fits.ImageHDU(data, header, name=name) for data, name in ((image, "SCI"), (error, "ERR"))]
            fits.HDUList([fits.PrimaryHDU(), *extensions]).writeto(paths[band])
        return paths, backgrounds

    def truth(self, bin_id):
        """True quantities of bins: of all stars whose light the point spread function brings into their spaxels."""
        mass, a_v, _ = self.fine
        stars = {name: self._sum(image, bin_id) for name, image in mass.items()}
        light = {name: mass[name] * self.means[name]["light"] for name in mass}
        free = sum(light.values())
        dimmed = self._sum(free * 10 ** (-0.4 * a_v), bin_id)
        out = {"mass_formed": sum(stars.values())}
        for name in MEANS:
            weight = "mass" if name.startswith("mass") else "light"
            total = sum(stars[one] * self.means[one][weight] for one in stars)
            out[name] = sum(stars[one] * self.means[one][name] for one in stars) / total
        out["a_v"] = -2.5 * np.log10(dimmed / self._sum(free, bin_id))
        share = {name: self._sum(image, bin_id) / self._sum(free, bin_id) for name, image in light.items()}
        out["zone"] = np.select([share["bulge"] > 0.4, share["ring"] > 0.4], ["bulge", "ring"], "disc")
        out["lane"] = out["a_v"] > 0.5
        return out

    def _sum(self, image, bin_id):
        inside = bin_id >= 0
        return np.bincount(bin_id[inside], self.to_spaxels(image)[inside])


def compare(maps, true):
    """Print bias, robust scatter and coverage of each quantity over all bins, and the bias by zone."""
    result = maps.result
    zones = {zone: true["zone"] == zone for zone in ("bulge", "disc", "ring")}
    zones["lane"] = true["lane"]
    titles = [f"{zone} ({chosen.sum()})" for zone, chosen in zones.items()]
    print(f"  {'':28s}   bias  scatter  in 68 %  in 95 %   bias of: {'  '.join(titles)}")
    for name in (*MEANS, "a_v"):
        off = getattr(result, name).value - true[name]
        ends = (result.interval(name, level) for level in (0.6827, 0.9545))
        inside = [np.mean((true[name] >= low.value) & (true[name] <= high.value)) for low, high in ends]
        print(
            f"  {name:28s} {np.median(off):+.3f}    {_mad(off):.3f}    {inside[0]:.2f}     {inside[1]:.2f}", end="   "
        )
        print(_by_zone(off, zones, titles))
    off = np.log10(result.mass_formed.value / true["mass_formed"])
    print(
        f"  {'log mass formed':28s} {np.median(off):+.3f}    {_mad(off):.3f}" + 20 * " " + _by_zone(off, zones, titles)
    )


def _by_zone(off, zones, titles):
    cells = (f"{np.median(off[chosen]):+.3f}" for chosen in zones.values())
    return 8 * " " + "".join(f"{cell:>{len(title) + 2}s}" for cell, title in zip(cells, titles, strict=True))


def _mad(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def draw(maps, true, path):
    """True maps, recovered maps, and their difference."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    from sfh_cnn.plotting import plot_map, plot_style

    names = ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity", "a_v")
    with plot_style(), mpl.rc_context({"axes.labelsize": 6}):
        figure = plt.figure(figsize=(8.4, 8.8), layout="constrained")
        for i, name in enumerate(names):
            own = getattr(maps, name)
            real = to_quantity(np.where(maps.bin_id >= 0, true[name][maps.bin_id], np.nan), own.unit)
            seen = np.concatenate([own.value.ravel(), real.value.ravel()])
            limits = np.quantile(seen[np.isfinite(seen)], [0.01, 0.99])
            limit = np.quantile(np.abs((own - real).value), 0.98)
            off = (own - real).value * (u.mag if name == "a_v" else u.dex)
            panels = [(real, limits, None), (own, limits, None), (off, (-limit, limit), "PuOr_r")]
            for j, (value, ends, colours) in enumerate(panels):
                ax = figure.add_subplot(len(names), 3, 3 * i + j + 1, projection=maps.wcs)
                plot_map(types.SimpleNamespace(wcs=maps.wcs, **{name: value}), name, ax, limits=ends, cmap=colours)
                ax.set_title(("true", "recovered", "difference")[j] if i == 0 else "", fontsize=9)
                ax.coords[0].set_axislabel("RA" if i == len(names) - 1 else " ")
                ax.coords[1].set_axislabel("Dec" if j == 0 else " ")
                ax.coords[0].set_ticklabel_visible(i == len(names) - 1)
                ax.coords[1].set_ticklabel_visible(j == 0)
        figure.savefig(path, dpi=80)
    Image.open(path).quantize(96).save(path, optimize=True)


def main():
    """Make, observe, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=60, help="spaxels on a side")
    parser.add_argument("--network", default=None)
    parser.add_argument("--target-snr", type=float, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figure", help="picture of the maps")
    parser.add_argument("--maps", help="keep the maps of spectrum and bands in this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    galaxy = Galaxy(arguments.size)
    predictor = SFHPredictor.pretrained(arguments.network)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        galaxy.cube(folder / "cube.fits", rng)
        paths, backgrounds = galaxy.images(folder, rng)
        cube = open_cube(folder / "cube.fits")
        images = match_images(
            paths, cube.wcs, cube.shape[1:], cube_fwhm=CUBE_FWHM * u.arcsec, cube_beta=CUBE_BETA,
            image_fwhm=IMAGE_FWHM * u.arcsec, background=backgrounds, calibration_error=0.02,
        )  # fmt: skip
        # As from a fit of the kinematics: of the light, with errors of 5 km/s.
        mass, a_v, velocity = galaxy.fine
        light = sum(mass[one] * galaxy.means[one]["light"] for one in mass) * 10 ** (-0.4 * a_v)
        measured = galaxy.to_spaxels(light * velocity) / galaxy.to_spaxels(light)
        measured = (measured + rng.normal(0, 5, measured.shape)) * u.km / u.s
        print(f"{arguments.size} x {arguments.size} spaxels, bins of S/N {arguments.target_snr:g}")
        print(f"network {predictor.contract.name} ({predictor.sha256[:12]})")
        for band, (ratio, scatter, _) in zero_point_ratios(cube, images).items():
            print(f"image over cube, {band}: {ratio:.3f}, scatter {scatter:.3f}")
        print("median of predicted minus true, robust scatter, how often the truth is inside the intervals")
        for label, bands in (("spectrum", None), ("spectrum + 5 bands", images)):
            maps = predictor.predict_cube(
                folder / "cube.fits", images=bands, redshift=REDSHIFT, velocity=measured, distance=DISTANCE,
                target_snr=arguments.target_snr, calibration_error=0.0, progress_bar=False,
            )  # fmt: skip
            true = galaxy.truth(maps.bin_id)
            print(f"{label}: {maps.result.n_spec} bins")
            compare(maps, true)
    if arguments.figure:
        draw(maps, true, arguments.figure)
    if arguments.maps:
        maps.write(arguments.maps, overwrite=True)


if __name__ == "__main__":
    main()
