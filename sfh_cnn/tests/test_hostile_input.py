"""Arguments of the wrong kind: one clear error that names the argument, or the documented meaning; never another."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from numpy.testing import assert_allclose
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.core import Flag, SFHCNNError
from sfh_cnn.examples import load_example_spectrum
from sfh_cnn.spectra import air_to_vacuum

from .small import write_small_artifact

UNIT = u.Unit("erg / (s cm2 Angstrom)")
EXAMPLE = load_example_spectrum()
FLUX = EXAMPLE.flux.to_value(UNIT)
ERROR = EXAMPLE.uncertainty.array * EXAMPLE.flux.unit.to(UNIT)
AXIS = u.Quantity(EXAMPLE.spectral_axis).to(u.AA)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """Of the small network."""
    return SFHPredictor.from_file(write_small_artifact(tmp_path_factory.mktemp("hostile") / "small.pt"))


def spectrum(flux=FLUX, error=ERROR, axis=AXIS, unit=UNIT, **more):
    """The example galaxy, or what is made of it."""
    error = None if error is None else StdDevUncertainty(error, unit)
    settings = {"redshift": 0.0858, "meta": {"medium": "air"}} | more
    return Spectrum(spectral_axis=axis, flux=u.Quantity(flux, unit, dtype=None), uncertainty=error, **settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flux": FLUX.astype(complex)}, "flux must be real numbers, got complex128"),
        ({"flux": np.tile(FLUX, (2, 2, 2, 1)), "error": None}, "4 axes"),
        ({"axis": np.linspace(-1e3, 1e3, len(FLUX)) * u.km / u.s}, "the spectral axis in km / s gives no wavelengths"),
        ({"axis": AXIS[:1], "flux": FLUX[:1], "error": ERROR[:1]}, "wavelengths must be"),
    ],
)
def test_spectra_that_are_none(predictor, given, message):
    """Complex, of four axes, over velocities, of one pixel."""
    with pytest.raises(SFHCNNError, match=message):
        predictor.predict(spectrum(**given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uncertainty": "much"}, "uncertainty must be real numbers"),
        ({"uncertainty": ERROR + 1j}, "uncertainty must be real numbers"),
        ({"mask": np.full(len(FLUX), "bad")}, "mask must be an array of bool"),
        ({"photometry": {"F814W": (1e-17 * UNIT, 1e-18 * UNIT, 0)}}, r"photometry\['F814W'\] needs a flux"),
        ({"photometry": {"F814W": ((1 + 1j) * UNIT, 1 * UNIT)}}, r"photometry\['F814W'\] must be real"),
        ({"redshift": [-0.5]}, "redshift -0.5 is below"),
        ({"redshift": 0.08 + 1j}, "redshift must be a number"),
        ({"ebv": np.nan}, "ebv must be finite"),
        ({"batch_size": "8"}, "batch_size must be a positive whole number, got '8'"),
        ({"batch_size": 8.5}, "batch_size must be a positive whole number"),
        ({"line_mask": -400 * u.km / u.s}, "line_mask must be one velocity"),
        ({"line_mask": np.nan * u.km / u.s}, "line_mask must be one velocity"),
        ({"line_mask": [1, 2] * u.km / u.s}, "line_mask must be one velocity"),
    ],
)
def test_arguments_that_make_no_sense(predictor, options, message):
    """Named, with what came."""
    with pytest.raises(SFHCNNError, match=message):
        predictor.predict(spectrum(), **options)


@pytest.mark.parametrize(
    "redshift", [[0.0858, np.nan], [0.0858, np.inf], np.ma.array([0.0858, 0.0858], mask=[False, True])]
)
def test_one_redshift_that_is_none(predictor, redshift):
    """NaN, infinite or masked: a row of NaN with its flag; the other galaxy as if alone."""
    alone = predictor.predict(spectrum())
    result = predictor.predict([spectrum(), spectrum()], redshift=redshift)
    assert_allclose(result.mass_weighted_log_age.value[0], alone.mass_weighted_log_age.value, rtol=1e-5)
    assert np.isnan(result.mass_weighted_log_age.value[1])
    assert result.flags[1] & Flag.REDSHIFT_OUTSIDE


@pytest.mark.parametrize("unit", [u.GHz, u.eV, 1 / u.cm, u.um])
def test_axes_of_any_kind(predictor, unit):
    """Frequency, energy and wave number, which belong to the vacuum whatever the metadata say, and wavelength."""
    there = predictor.predict(spectrum()).mass_weighted_log_age.value
    axis = AXIS if unit == u.um else air_to_vacuum(AXIS.value.astype(float)) * u.AA
    given = spectrum(axis=axis.to(unit, u.spectral()))
    assert_allclose(predictor.predict(given).mass_weighted_log_age.value, there, atol=2e-3)


def test_extreme_errors_are_flagged(predictor):
    """A million times too small, and so small or large that a square of them is not."""
    for factor in (1e-6, 1e-30, 1e30):
        flags = predictor.predict(spectrum(error=ERROR * factor)).flags
        assert flags & Flag.SNR_OUTSIDE, factor


def test_integers_and_half_precision_are_numbers(predictor):
    """Counts of 16 bits as FITS may have them; NaN where those cannot be are masked elsewhere."""
    scale = 3e4 / np.max(FLUX)
    there = predictor.predict(spectrum()).mass_weighted_log_age.value
    unit = u.Unit(UNIT / scale)
    for kind in ("i2", ">i2", "f2"):
        given = spectrum(flux=(FLUX * scale).astype(kind), error=ERROR * scale, unit=unit)
        assert_allclose(predictor.predict(given).mass_weighted_log_age.value, there, atol=0.05)
