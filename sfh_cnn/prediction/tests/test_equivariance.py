"""The same galaxy in another guise: units, scales, number formats, axes, company, redshift and grid change nothing.

Guises of numbers and their order are tried together, in combinations that hypothesis chooses, on the small network;
another redshift and another grid on the released one, whose answer may move by a stated part of its error bars.
"""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.examples import load_example_spectrum

from .conftest import UNIT

#: Arrays of a result that say what was predicted, but for the flux itself.
PREDICTED = ("mass_fraction", "light_fraction", "q_metallicity", "q_mass_weighted_log_age", "q_a_v", "snr")
MEANS = (
    "mass_weighted_log_age",
    "light_weighted_log_age",
    "mass_weighted_metallicity",
    "light_weighted_metallicity",
    "a_v",
)
#: Of the flux density, and of the solid angle that it is per.
FLUX_UNITS = (
    ("erg / (s cm2 Angstrom)", ""),
    ("1e-20 erg / (s cm2 Angstrom)", ""),
    ("W / (m2 um)", ""),
    ("W / (m2 Hz)", ""),
    ("Jy", ""),
    ("nJy", ""),
    ("erg / (s cm2 Angstrom)", "arcsec-2"),
    ("uJy", "arcsec-2"),
)
#: Of a half width of the 68 per cent interval: what medians of a real galaxy may move by. Other pixels lose something
#: or correlate noise; another redshift does not.
REDSHIFT_TOLERANCE, GRID_TOLERANCE = 0.3, 0.6
FEW = settings(max_examples=15, deadline=None)


@pytest.fixture(scope="module")
def plain(predictor, observed):
    """What the guises are compared with."""
    return predictor.predict(observed.spectrum())


def assert_same(here, there, rows=slice(None), scale=1.0):
    """The same prediction to within float32 of the network; the flux goes with its scale."""
    for name in PREDICTED:
        assert_allclose(here.arrays[name], there.arrays[name][rows], rtol=5e-3, atol=5e-4, err_msg=name)
    assert_allclose(here.arrays["v_flux"], there.arrays["v_flux"][rows] * scale, rtol=1e-3)
    assert_array_equal(here.flags, there.flags[rows])


def disguised(observed, units, wave_unit, kind, scale=1.0, dtype="f8", axis=1, descending=False):
    """The observations times a factor, as someone else would write them."""
    density, per = map(u.Unit, units)
    equivalent = u.spectral_density(observed.wave_aa * u.AA)
    flux, err = ((scale * values * UNIT).to_value(density, equivalent) for values in (observed.flux, observed.err))
    unit = density * per
    if kind is StdDevUncertainty:
        uncertainty = (err, unit)
    elif kind is VarianceUncertainty:
        uncertainty = (err**2, unit**2)
    else:
        uncertainty = (err**-2, unit**-2)
    order = slice(None, None, -1 if descending else 1)
    flux, array = (
        np.ascontiguousarray(np.moveaxis(values[:, order], 1, axis)).astype(dtype) for values in (flux, uncertainty[0])
    )
    return Spectrum(
        spectral_axis=(observed.wave_aa[order] * u.AA).to(wave_unit),
        flux=u.Quantity(flux, unit, dtype=dtype, copy=False),
        uncertainty=kind(array, unit=uncertainty[1]),
        spectral_axis_index=axis,
        redshift=observed.redshift,
        meta={"medium": "air"},
    )


_forms = {
    "units": st.sampled_from(FLUX_UNITS),
    "wave_unit": st.sampled_from(["Angstrom", "nm", "um"]),
    "axis": st.sampled_from([0, 1]),
    "descending": st.booleans(),
}


@FEW
@given(exponent=st.floats(-20, 20), dtype=st.sampled_from(["<f8", ">f8"]), **_forms)
def test_units_scales_axes_and_byte_orders(predictor, observed, plain, exponent, dtype, **forms):
    """Forty decades of flux, in any unit, on any axis, as FITS or as the machine has it."""
    spectrum = disguised(observed, kind=StdDevUncertainty, scale=10**exponent, dtype=dtype, **forms)
    assert_same(predictor.predict(spectrum), plain, scale=10**exponent)


@FEW
@given(
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    kind=st.sampled_from([StdDevUncertainty, VarianceUncertainty, InverseVariance]),
    **_forms,
)
def test_number_formats_and_kinds_of_uncertainty(predictor, observed, plain, dtype, kind, **forms):
    """Single precision too, whose numbers must not overflow on the way."""
    if dtype.endswith("4") and kind is not StdDevUncertainty:
        forms["units"] = ("1e-20 erg / (s cm2 Angstrom)", "")  # variances of 1e-36 are no number of four bytes
    assert_same(predictor.predict(disguised(observed, kind=kind, dtype=dtype, **forms)), plain)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8"])
def test_arrays_mapped_from_a_file(predictor, observed, plain, tmp_path, dtype):
    """Read only, in the order of FITS; they are as they were afterwards."""
    for name in ("flux", "err"):
        (1e20 * getattr(observed, name)).astype(dtype).tofile(tmp_path / name)
    before = (tmp_path / "flux").read_bytes()
    flux, err = (np.memmap(tmp_path / name, dtype, "r", shape=observed.flux.shape) for name in ("flux", "err"))
    unit = u.Unit("1e-20 erg / (s cm2 Angstrom)")
    spectrum = Spectrum(
        spectral_axis=observed.wave_aa * u.AA,
        flux=u.Quantity(flux, unit, copy=False, dtype=flux.dtype),
        redshift=observed.redshift,
        meta={"medium": "air"},
    )
    assert_same(predictor.predict(spectrum, uncertainty=err), plain)
    assert (tmp_path / "flux").read_bytes() == before


@pytest.fixture
def threads():
    """Set the number of threads, for this test alone."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@FEW
@given(rows=st.lists(st.integers(0, 11), min_size=1, max_size=30), batch_size=st.integers(1, 40), data=st.data())
def test_company_does_not_matter(predictor, observed, plain, rows, batch_size, data):
    """Alone, twice, in any order, in batches of any size: each spectrum has its own answer."""
    rows = data.draw(st.permutations(rows))
    assert_same(predictor.predict(observed.spectrum(rows), batch_size=batch_size), plain, rows)


@pytest.mark.parametrize("n_thread", [1, 2])
def test_threads_do_not_matter(predictor, observed, plain, threads, n_thread):
    """One or two."""
    threads(n_thread)
    assert_same(predictor.predict(observed.spectrum()), plain)
    assert torch.get_num_threads() == n_thread


# ---- the released network ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released():
    """The default network."""
    return SFHPredictor.pretrained()


@pytest.fixture(scope="module")
def example(released):
    """A real galaxy and its answer, without the lines that a shift would take in or out."""
    spectrum = load_example_spectrum()
    return spectrum, released.predict(spectrum)


def largest_move(here, there):
    """By how much medians differ, in half widths of the 68 per cent intervals."""
    moves = {}
    for name in MEANS:
        lower, upper = there.interval(name)
        move = getattr(here, name) - getattr(there, name)
        moves[name] = abs(float(2 * move / (upper - lower)))
    return max(moves.values()), moves


def rewritten(spectrum, wave_aa=None, flux=None, err=None, redshift=None):
    """The spectrum with some of its parts replaced."""
    unit = spectrum.flux.unit
    return Spectrum(
        spectral_axis=(spectrum.wavelength.to_value(u.AA) if wave_aa is None else wave_aa) * u.AA,
        flux=(spectrum.flux.value if flux is None else flux) * unit,
        uncertainty=StdDevUncertainty(spectrum.uncertainty.array if err is None else err, unit=unit),
        redshift=spectrum.redshift if redshift is None else redshift,
        meta={"medium": "air"},
    )


@pytest.mark.parametrize("redshift", [0.07, 0.04, 0.01])
def test_another_redshift(released, example, redshift):
    """The same rest-frame spectrum, seen nearer by."""
    spectrum, there = example
    wave_aa = spectrum.wavelength.to_value(u.AA) * (1 + redshift) / (1 + spectrum.redshift.value)
    here = released.predict(rewritten(spectrum, wave_aa=wave_aa, redshift=redshift))
    largest, moves = largest_move(here, there)
    assert largest < REDSHIFT_TOLERANCE, moves


@pytest.mark.parametrize("n_pixel", [2, 3])
def test_wider_pixels(released, example, n_pixel):
    """Neighbours averaged: the same light and the same noise on another grid."""
    spectrum, there = example
    n = len(spectrum.flux) // n_pixel

    def joined(values):
        return np.asarray(values)[: n * n_pixel].reshape(n, n_pixel).mean(1)

    err = np.sqrt(joined(spectrum.uncertainty.array**2) / n_pixel)
    wave_aa = joined(spectrum.wavelength.to_value(u.AA))
    largest, moves = largest_move(
        released.predict(rewritten(spectrum, wave_aa, joined(spectrum.flux.value), err)), there
    )
    assert largest < GRID_TOLERANCE, moves


def test_a_logarithmic_grid(released, example):
    """As SDSS and MaNGA have it, with pixels a third of the instrument's, by linear interpolation."""
    spectrum, there = example
    old_aa = spectrum.wavelength.to_value(u.AA)
    wave_aa = np.exp(np.arange(np.log(old_aa[0] + 1), np.log(old_aa[-1] - 1), 0.42 / 7000))
    flux, err = (np.interp(wave_aa, old_aa, values) for values in (spectrum.flux.value, spectrum.uncertainty.array))
    narrower = np.gradient(wave_aa) / np.gradient(old_aa).mean()
    largest, moves = largest_move(released.predict(rewritten(spectrum, wave_aa, flux, err / np.sqrt(narrower))), there)
    assert largest < GRID_TOLERANCE, moves
