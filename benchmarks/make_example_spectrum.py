"""Make the example spectrum and band flux that ship with sfh_cnn, from the files that ship with mpdaf.

Usage: python benchmarks/make_example_spectrum.py sfh_cnn/data/example_spectrum.fits

The galaxy is the brightest of Abell 478, from a MUSE exposure of 900 s and a WFPC2 image in F814W (both in the mpdaf
wheel, which is under the BSD licence). Needs mpdaf, photutils, specutils; mpdaf itself is not imported.
"""

import argparse
import importlib.util
import textwrap
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.convolution import Moffat2DKernel, convolve_fft
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from astropy.table import QTable
from astropy.wcs import WCS
from photutils.aperture import SkyCircularAnnulus, SkyCircularAperture
from scipy.ndimage import map_coordinates
from scipy.optimize import curve_fit, minimize

from sfh_cnn.core import atomic_write
from sfh_cnn.photometry import band_matrix, measure_bands
from sfh_cnn.spectra import estimate_noise, extract_aperture, read_muse_cube

APERTURE_RADIUS = 1.5 * u.arcsec
#: Seeing of the cube in the red, the FWHM of the Moffat profile (beta 2.8) that matches the two images best.
SEEING_ARCSEC = 0.8
#: Zero points of two cameras, another F814W than that of WFC3, and the match of the apertures.
BAND_SYSTEMATIC = 0.05
#: Air wavelengths in Angstrom: [NII], H alpha, [NII], [SII], [SII].
LINES_AA = np.array([6548.05, 6562.80, 6583.45, 6716.44, 6730.82])


def measure_redshift(wave_aa, flux, guess):
    """Redshift of five emission lines that share velocity and width, on a straight continuum."""
    near = (wave_aa > 6500 * (1 + guess)) & (wave_aa < 6780 * (1 + guess))
    wave_aa, flux = wave_aa[near], flux[near] / np.median(flux[near])

    def model(wave_aa, redshift, sigma_aa, level, slope, *heights):
        x = (wave_aa[:, np.newaxis] - LINES_AA * (1 + redshift)) / sigma_aa
        return level + slope * (wave_aa - wave_aa.mean()) / 100 + np.exp(-0.5 * x**2) @ np.array(heights)

    fit, covariance = curve_fit(model, wave_aa, flux, p0=[guess, 3, 1, 0, 1, 3, 3, 1, 1])
    return fit[0], np.sqrt(covariance[0, 0])


def match_image(cube, image, wcs_image):
    """Convolve the HST image to the seeing and find where the cube's sky lies on it.

    The images are compared over the whole cube, free in scale and background; nothing but a shift is needed.
    """
    wave_aa = cube.spectral_axis.to_value(u.AA)
    weight = band_matrix(wave_aa, ["F814W"])[:, 0]
    muse = np.tensordot(weight / weight.sum(), np.where(cube.mask, 0, cube.flux.value), 1)
    wcs_cube = WCS(cube.meta["header"]).celestial
    pixel_arcsec = np.sqrt(abs(np.linalg.det(wcs_image.pixel_scale_matrix))) * 3600
    gamma = SEEING_ARCSEC / pixel_arcsec / (2 * np.sqrt(2 ** (1 / 2.8) - 1))
    blurred = convolve_fft(image, Moffat2DKernel(gamma, 2.8, x_size=101), boundary="wrap")
    y, x = np.indices(muse.shape)

    def fit(shift):
        x_hst, y_hst = wcs_image.world_to_pixel(wcs_cube.pixel_to_world(x + shift[0], y + shift[1]))
        model = map_coordinates(blurred, [y_hst, x_hst], order=1)
        design = np.stack([model.ravel(), np.ones(model.size)], axis=1)
        return np.linalg.lstsq(design, muse.ravel(), rcond=None)

    shift = minimize(lambda shift: fit(shift)[1][0], (4.0, -5.0), method="Nelder-Mead").x
    scale, level = fit(shift)[0]
    return blurred, shift, muse, -level / scale


def main():
    """Read, measure, write, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    folder = Path(importlib.util.find_spec("mpdaf").origin).parent / "data" / "sdetect"

    cube = read_muse_cube(folder / "minicube.fits")
    with fits.open(folder / "a478hst-cutout.fits") as hdus:
        image, header = hdus["SCI"].data.astype(float), hdus["SCI"].header
    wcs_image, wcs_cube = WCS(header), WCS(cube.meta["header"]).celestial
    blurred, shift, muse, sky = match_image(cube, image, wcs_image)

    y, x = np.unravel_index(np.argmax(muse), muse.shape)
    near = np.s_[y - 4 : y + 5, x - 4 : x + 5]
    light, rows, columns = muse[near], *np.indices(muse.shape)[(slice(None), *near)]
    x, y = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
    centre_cube = wcs_cube.pixel_to_world(x, y)
    centre_image = wcs_cube.pixel_to_world(x + shift[0], y + shift[1])

    aperture = SkyCircularAperture(centre_cube, r=APERTURE_RADIUS)
    spectrum = extract_aperture(cube, aperture)
    wave_aa, flux, error = spectrum.spectral_axis.to_value(u.AA), spectrum.flux.value, spectrum.uncertainty.array
    redshift, redshift_err = measure_redshift(wave_aa, flux, 0.0857)
    # STAT knows nothing of the correlation that resampling made, nor of sky residuals: the pixels tell.
    window = (wave_aa > 5650) & (wave_aa < 6250)
    noise_ratio = estimate_noise(flux[window]) / np.median(error[window])

    scatter = sigma_clipped_stats(image, sigma=3, maxiters=10)[2]
    bands = measure_bands(
        {"F814W": (blurred, header)},
        SkyCircularAperture(centre_image, r=APERTURE_RADIUS),
        errors={"F814W": np.full(image.shape, scatter)},
        background=SkyCircularAnnulus(centre_image, r_in=12 * u.arcsec, r_out=18 * u.arcsec),
        noise_correlation=1.5,
    )
    band_flux = bands["F814W"][0].value
    band_err = float(np.hypot(bands["F814W_err"][0].value, BAND_SYSTEMATIC * band_flux))
    weight = band_matrix(wave_aa, ["F814W"])[:, 0]
    cube_flux = (flux @ weight) / weight.sum() * spectrum.flux.unit.to(bands["F814W"].unit)

    east, north = (part.to_value(u.arcsec) for part in centre_cube.spherical_offsets_to(SkyCoord(centre_image)))
    history = f"""\
Brightest galaxy of Abell 478, MUSE, ESO programme 094.A-0859(A), 900 s, 2014-12-08. From
mpdaf/data/sdetect/minicube.fits of the mpdaf wheel (CRAL, Lyon; BSD licence). Sum over a circle of
{APERTURE_RADIUS:g} about RA {centre_cube.ra.deg:.6f}, Dec {centre_cube.dec.deg:.6f}. Errors: root of the summed STAT
times {noise_ratio:.2f}, the scatter of the pixels at 5650-6250 Angstrom (DER_SNR). Redshift from H alpha, [NII] and
[SII] in the spectrum itself: {redshift:.5f} +- {redshift_err:.0e} (statistical). Not corrected for Galactic
extinction, which is large in this direction. F814W: HST WFPC2 (pivot 7996 Angstrom, not the WFC3 band), from
mpdaf/data/sdetect/a478hst-cutout.fits, convolved to {SEEING_ARCSEC} arcsec (Moffat, beta 2.8), same circle,
background from 12-18 arcsec. The galaxy is {east:+.2f} arcsec east and {north:+.2f} north of its place in the cube by
the WCS of the image, so the circle was moved. Its error includes {100 * BAND_SYSTEMATIC:g} per cent for zero points
and apertures; the cube itself gives {cube_flux / band_flux:.3f} of the HST flux over the {100 * weight.sum():.0f} per
cent of the WFC3 band that it covers. Made by benchmarks/make_example_spectrum.py."""
    columns = {"wavelength": wave_aa * u.AA, "flux": flux * spectrum.flux.unit, "uncertainty": noise_ratio * error}
    table = QTable({name: u.Quantity(column, dtype=np.float32) for name, column in columns.items()})
    table["uncertainty"] = table["uncertainty"].value * spectrum.flux.unit
    table.meta = {
        "OBJECT": "Abell 478 BCG",
        "REDSHIFT": round(redshift, 5),
        "MEDIUM": "air",
        "F814W": float(f"{band_flux:.4e}"),
        "F814WERR": float(f"{band_err:.2e}"),
        "BANDUNIT": "erg s-1 cm-2 Angstrom-1",
        "comments": textwrap.wrap(" ".join(history.split()), 70),
    }
    with atomic_write(output, overwrite=True) as temporary:
        table.write(temporary, format="fits", overwrite=True)
    print(history)
    print(f"F814W {band_flux:.4e} +- {band_err:.1e}; sky of the HST image from the match of both {sky:.4f} counts/s")
    print(f"median S/N per pixel {np.median(flux / error) / noise_ratio:.1f}, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
