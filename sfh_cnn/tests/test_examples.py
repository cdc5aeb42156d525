"""The example spectrum is what its header says."""

import importlib.util
import re
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import FLUX_UNIT
from sfh_cnn.examples import load_example_photometry, load_example_spectrum
from sfh_cnn.photometry import band_matrix, read_photometry
from sfh_cnn.spectra import estimate_noise, extract_aperture, read_muse_cube, read_spectra


def test_redshift_puts_the_lines_at_their_place():
    """H alpha and the sulphur doublet peak at their rest wavelengths, in air, within a pixel."""
    spectra = read_spectra(load_example_spectrum())
    rest_aa = spectra.wave_aa / (1 + spectra.redshift[0])
    assert spectra.medium == "air"
    for line_aa in (6562.80, 6583.45, 6716.44, 6730.82):
        near = np.abs(rest_aa - line_aa) < 5
        assert abs(rest_aa[near][np.argmax(spectra.flux[0, near])] - line_aa) < 1.3


def test_errors_are_those_of_the_scatter():
    """In a stretch without lines the pixels scatter as the errors say; none is bad."""
    spectra = read_spectra(load_example_spectrum())
    calm = (spectra.wave_aa > 5650) & (spectra.wave_aa < 6250)
    assert_allclose(estimate_noise(spectra.flux[0, calm]), np.median(spectra.flux_err[0, calm]), rtol=0.02)
    assert not spectra.mask.any()
    assert 30 < np.median(spectra.flux / spectra.flux_err) < 50


def test_photometry_goes_with_the_spectrum():
    """The HST flux and the synthetic one agree within the error that is quoted."""
    spectrum = load_example_spectrum()
    flux, err, bad = read_photometry(load_example_photometry(), ("F555W", "F814W"), 1)
    assert not bad.any()
    weight = band_matrix(spectrum.spectral_axis.to_value(u.AA), ["F814W"])[:, 0]
    synthetic = spectrum.flux.to_value(FLUX_UNIT) @ weight / weight.sum()
    assert abs(flux[0, 1] - synthetic) < err[0, 1]


def test_it_is_the_aperture_sum_of_the_cube():
    """The sum of the mpdaf cube over the circle of the header gives the spectrum again."""
    found, aperture = importlib.util.find_spec("mpdaf"), pytest.importorskip("photutils.aperture")
    if found is None:
        pytest.skip("mpdaf is not installed")
    from astropy.coordinates import SkyCoord

    cube = read_muse_cube(Path(found.origin).parent / "data/sdetect/minicube.fits")
    spectrum = load_example_spectrum()
    told = " ".join(spectrum.meta["header"]["comments"])
    ra, dec = (float(re.search(rf"{name} ([\d.]+\d)", told).group(1)) for name in ("RA", "Dec"))
    circle = aperture.SkyCircularAperture(SkyCoord(ra, dec, unit="deg"), r=1.5 * u.arcsec)
    assert_allclose(extract_aperture(cube, circle).flux.value, spectrum.flux.value, rtol=1e-3)
