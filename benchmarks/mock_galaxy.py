"""A galaxy made here, observed by MUSE and HST, and what predict_cube makes of it.

A bulge, a disc and a ring of young stars behind a lane of dust, in rotation: spectra are sums of BC03-MILES populations
made with a few lines of numpy, apart from the code that trains networks. Needs the extra ``synthesis``.

    python benchmarks/mock_galaxy.py > docs/user_guide/_mock_galaxy.txt
"""

import argparse

import astropy.units as u
import numpy as np
from astropy.io import fits
from scipy.ndimage import gaussian_filter1d

from sfh_cnn import SFHPredictor, SSPLibrary
from sfh_cnn.photometry import band_flux

REDSHIFT, C_KMS = 0.0024, 299792.458
WAVE_AA = np.arange(4750.0, 9350.0, 1.25)
UNIT = u.Unit("1e-20 erg / (s cm2 Angstrom)")
#: Star formation rate as a function of lookback time (Gyr), [M/H], and light scale of each component.
COMPONENTS = {
    "bulge": (lambda t: np.exp((t - 13) / 1.0) * (t < 12.5), 0.1),
    "disc": (lambda t: np.exp((t - 10) / 6.0) * (t < 10), -0.1),
    "ring": (lambda t: (t < 0.05) * 1.0, -0.05),
}


def population(library, rate, metallicity_dex):
    """Spectrum per M_sun formed on the library's wavelengths, and mass fractions on fine bins of age (edges in yr)."""
    edges = np.concatenate([[0], np.geomspace(1e6, 1.35e10, 300)])
    middle = np.sqrt(np.maximum(edges[:-1], 3e5) * edges[1:])
    mass = rate(middle / 1e9) * np.diff(edges)
    mass /= mass.sum()
    spectrum = sum(m * library.interpolate(age, metallicity_dex) for m, age in zip(mass, middle, strict=True) if m > 0)
    return spectrum, mass, edges


def calzetti(wave_aa):
    """Attenuation over A_V (Calzetti et al. 2000), beyond 6300 Angstrom and below it."""
    x = np.asarray(wave_aa) / 1e4
    blue = 2.659 * (-2.156 + 1.509 / x - 0.198 / x**2 + 0.011 / x**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / x) + 4.05
    return np.maximum(np.where(x < 0.63, blue, red), 0) / 4.05


def make(size, seed=1):
    """Cube, errors, images, velocities, and the true maps."""
    library = SSPLibrary.read("bc03-miles").crop(2000, 10500)
    lib_aa = library.wavelength.to_value(u.AA)
    made = {name: population(library, *settings) for name, settings in COMPONENTS.items()}
    edges = made["bulge"][2]
    y, x = (np.indices((size, size)) - (size - 1) / 2) * 60 / size
    radius = np.hypot(x, y / 0.7)
    mass = {
        "bulge": 4e5 * np.exp(-radius / 2.5),
        "disc": 6e4 * np.exp(-radius / 14),
        "ring": 2.5e2 * np.exp(-0.5 * ((radius - 16) / 2.5) ** 2),
    }
    a_v = 0.15 + 0.9 * np.exp(-0.5 * ((y - 5) / 3) ** 2)  # a lane
    velocity = 160 * x / (2 + radius)
    window = (lib_aa > 5070) & (lib_aa < 5950)
    light = {name: mass[name] * made[name][0][window].mean() for name in mass}
    level = sum(light.values())
    # erg/s/cm2/Angstrom of a solar luminosity at 10 Mpc, in units of 1e-20.
    scale = 3.828e33 / (4 * np.pi * (10 * u.Mpc).to_value(u.cm) ** 2) / 1e-20
    step = 1.25 / 5000 * C_KMS  # km/s of a pixel
    cube = np.empty((len(WAVE_AA), size, size), dtype=np.float32)
    bands = {band: np.empty((size, size)) for band in ("F275W", "F336W", "F438W", "F555W", "F814W")}
    for i, j in np.ndindex(size, size):
        spectrum = sum(mass[name][i, j] * made[name][0] for name in mass)
        spectrum = spectrum * 10 ** (-0.4 * a_v[i, j] * calzetti(lib_aa)) * scale
        shifted = lib_aa * (1 + REDSHIFT) * (1 + velocity[i, j] / C_KMS)
        cube[:, i, j] = gaussian_filter1d(np.interp(WAVE_AA, shifted, spectrum), 60 / step)
        for band, image in bands.items():
            image[i, j] = band_flux(shifted * u.AA, spectrum * UNIT, band).to_value(UNIT)
    rng = np.random.default_rng(seed)
    error = np.sqrt(0.02**2 * np.median(cube, axis=0) * np.median(cube) + (0.05 * np.median(cube)) ** 2)
    cube += (error * rng.standard_normal(cube.shape)).astype(np.float32)
    images = {}
    for band, flux in bands.items():
        noise = 0.03 * flux + 0.02 * np.median(flux)
        images[band] = ((flux + noise * rng.standard_normal(flux.shape)) * UNIT, noise * UNIT)
    return {
        "cube": cube, "error": error, "images": images, "velocity": velocity, "a_v": a_v, "edges": edges, "mass": mass,
        "light": light, "level": level, "fractions": {name: made[name][1] for name in made},
        "spectra": {name: made[name][0] for name in made}, "library": library,
    }  # fmt: skip


def truth(mock, age_edges_yr, log_ages_dex, bin_id):
    """True mass-weighted log age, light-weighted [M/H] and A_V of bins, from the sums of their stars."""
    fine = np.sqrt(np.maximum(mock["edges"][:-1], 3e5) * mock["edges"][1:])
    index = np.searchsorted(age_edges_yr, fine, side="right") - 1
    coarse = {name: np.bincount(index, part, minlength=len(log_ages_dex)) for name, part in mock["fractions"].items()}
    number = bin_id.ravel()
    inside = number >= 0

    def total(image):
        return np.bincount(number[inside], image.ravel()[inside])

    mass = {name: total(image) for name, image in mock["mass"].items()}
    light = {name: total(image) for name, image in mock["light"].items()}
    all_mass, all_light = sum(mass.values()), sum(light.values())
    return {
        "mass_weighted_log_age": sum(mass[n] * (coarse[n] @ log_ages_dex) for n in mass) / all_mass,
        "light_weighted_metallicity": sum(light[n] * COMPONENTS[n][1] for n in light) / all_light,
        "a_v": total(mock["a_v"] * mock["level"]) / all_light,
    }


def main():
    """Make, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--network", default=None)
    parser.add_argument("--target-snr", type=float, default=50)
    arguments = parser.parse_args()
    mock = make(arguments.size)
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL1": 40.0,
            "CRVAL2": -10.0, "CRVAL3": WAVE_AA[0], "CRPIX1": 1.0, "CRPIX2": 1.0, "CRPIX3": 1.0,
            "CDELT1": -5.6e-5, "CDELT2": 5.6e-5, "CDELT3": 1.25,
        }
    )  # fmt: skip
    predictor = SFHPredictor.pretrained(arguments.network)
    variance = np.broadcast_to(mock["error"] ** 2, mock["cube"].shape)
    print(f"{arguments.size} x {arguments.size} spaxels, bins of S/N {arguments.target_snr:g}")
    print(f"network {predictor.contract.name}")
    for label, images in (("spectrum", None), ("spectrum + 5 bands", mock["images"])):
        maps = predictor.predict_cube(
            (mock["cube"] * UNIT, header),
            variance,
            images,
            redshift=REDSHIFT,
            velocity=mock["velocity"] * u.km / u.s,
            target_snr=arguments.target_snr,
            distance=10 * u.Mpc,
            calibration_error=0.0,
        )
        grid = maps.age_grid
        true = truth(mock, grid.edges_yr, grid.log_ages_dex, maps.bin_id)
        print(f"{label}: {maps.result.n_spec} bins")
        for name, value in true.items():
            quantity = getattr(maps.result, name).value
            low, high = (bound.value for bound in maps.result.interval(name))
            off = quantity - value
            scatter = 1.4826 * np.median(np.abs(off - np.median(off)))
            inside = np.mean((value >= low) & (value <= high))
            print(f"  {name:28s} bias {np.median(off):+.3f}  scatter {scatter:.3f}  in the 68 % interval {inside:.2f}")
        formed = maps.result.mass_formed.value.sum() / sum(
            image[maps.bin_id >= 0].sum() for image in mock["mass"].values()
        )
        print(f"  mass formed, predicted / true  {formed:.3f}")


if __name__ == "__main__":
    main()
