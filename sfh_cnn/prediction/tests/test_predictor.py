"""SFHPredictor.predict on good, bad and strange input: right numbers, flags, or an error that says what to do."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.cosmology import FlatLambdaCDM
from astropy.nddata import InverseVariance, VarianceUncertainty
from astropy.table import QTable
from numpy.testing import assert_allclose, assert_array_equal
from specutils import Spectrum, SpectrumList

from sfh_cnn import SFHPredictor
from sfh_cnn.core import CoverageError, Flag, NetworkFileError, SFHCNNError, conf
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.network import load_artifact
from sfh_cnn.prediction import pretrained as pretrained_module
from sfh_cnn.spectra import deredden

from .conftest import UNIT

#: Arrays of a result that say what was predicted.
PREDICTED = ("mass_fraction", "light_fraction", "q_metallicity", "q_mass_weighted_log_age", "q_a_v", "v_flux", "snr")


def assert_same(here, there, rows=slice(None), other_rows=slice(None), rtol=2e-3, atol=2e-4):
    """The same prediction to within float32 of the network."""
    for name in PREDICTED:
        assert_allclose(here.arrays[name][rows], there.arrays[name][other_rows], rtol=rtol, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def plain(predictor, observed):
    """The prediction that others are compared with."""
    return predictor.predict(observed.spectrum())


# ---- shapes and forms ----------------------------------------------------------------------------------------------


def test_one_and_many(predictor, observed, plain):
    """A spectrum alone has no leading axis and the numbers that it has among others."""
    one = predictor.predict(observed.spectrum(3))
    assert one.mass_fraction.shape == (16,)
    assert one.a_v.shape == ()
    assert plain.mass_fraction.shape == (12, 16)
    assert_same(one, plain, 0, 3)
    assert_allclose(plain.mass_fraction.sum(axis=1), 1, rtol=1e-5)


def test_the_batch_size_does_not_matter(predictor, observed, plain):
    """Cut into batches of 5, the same numbers."""
    assert_same(predictor.predict(observed.spectrum(), batch_size=5), plain, rtol=1e-4)


def test_settings_of_the_user_are_the_defaults(artifact_path, observed, monkeypatch):
    """Device, threads and batch size come from sfh_cnn.conf, unless an argument says otherwise."""
    sizes, threads = [], []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads[-1] if threads else 1)
    with conf.set_temp("device", "meta"), pytest.raises(NotImplementedError):
        SFHPredictor.from_file(artifact_path).predict(observed.spectrum(0))
    with conf.set_temp("device", "meta"), conf.set_temp("threads", 1), conf.set_temp("batch_size", 5):
        predictor = SFHPredictor.from_file(artifact_path, device="cpu")
        run = predictor._program.forward
        monkeypatch.setattr(predictor._program, "forward", lambda *batch: (sizes.append(len(batch[0])), run(*batch))[1])
        predictor.predict(observed.spectrum())
        predictor.predict(observed.spectrum(), batch_size=12)
    assert threads == [1]
    assert sizes == [5, 5, 2, 12]


def test_precision_of_the_user_is_the_default(artifact_path):
    """The setting holds unless an argument says otherwise; what is not to be had is refused."""
    available = torch.cpu._is_avx512_bf16_supported()
    with conf.set_temp("precision", "bfloat16"):
        assert SFHPredictor.from_file(artifact_path, precision="float32")._precision == "float32"
        if available:
            assert SFHPredictor.from_file(artifact_path)._precision == "bfloat16"
        else:
            with pytest.raises(SFHCNNError, match="precision='bfloat16' is not to be had"):
                SFHPredictor.from_file(artifact_path)


def test_predictions_repeat_to_the_last_digit(predictor, observed, plain):
    """Nothing is random."""
    again = predictor.predict(observed.spectrum())
    for name in PREDICTED:
        assert_array_equal(again.arrays[name], plain.arrays[name])


def test_a_predictor_serves_several_threads(predictor, observed, plain):
    """Eight predictions at once are those of one after the other."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: predictor.predict(observed.spectrum(slice(i, i + 3))), range(8)))
    for i, result in enumerate(results):
        assert_same(result, plain, slice(None), slice(i, i + 3))


@pytest.mark.parametrize("kind", [list, SpectrumList])
def test_lists_of_spectra(predictor, observed, plain, kind):
    """Also with axes of their own."""
    spectra = [observed.spectrum(0), observed.spectrum(1), observed.spectrum(2)]
    assert_same(predictor.predict(kind(spectra)), plain, slice(None), slice(0, 3))
    spectra[1] = Spectrum(
        spectral_axis=observed.wave_aa[2:] * u.AA,
        flux=spectra[1].flux[2:],
        uncertainty=spectra[1].uncertainty[2:],
        redshift=observed.redshift,
        meta={"medium": "air"},
    )
    mixed = predictor.predict(kind(spectra))
    assert mixed.n_spec == 3
    assert_same(mixed, plain, [0, 2], [0, 2])


def test_nothing_in_nothing_out(predictor, observed):
    """A stack of no spectra gives a result of no spectra; an empty list is an error."""
    result = predictor.predict(observed.spectrum(slice(0, 0)), redshift=np.zeros(0))
    assert result.mass_fraction.shape == (0, 16)
    assert result.draws(5).a_v.shape == (0, 5)
    with pytest.raises(SFHCNNError, match="list of spectra is empty"):
        predictor.predict([])


def test_axis_first_descending_and_big_endian(predictor, observed, plain):
    """Flux axis first, spectral axis descending, bytes in FITS order: the same numbers."""
    turned = Spectrum(
        spectral_axis=observed.wave_aa[::-1] * u.AA,
        flux=observed.flux[:, ::-1].T.astype(">f8") * UNIT,
        uncertainty=VarianceUncertainty(observed.err[:, ::-1].T.astype(">f8") ** 2, UNIT**2),
        spectral_axis_index=0,
        redshift=observed.redshift,
        meta={"medium": "air"},
    )
    assert_same(predictor.predict(turned), plain)


# ---- units and frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_the_flux_scale_does_not_matter(predictor, observed, plain, factor):
    """Histories are the same, the V flux goes with it."""
    scaled = predictor.predict(observed.spectrum(flux=observed.flux * factor, err=observed.err * factor))
    assert_allclose(scaled.mass_fraction, plain.mass_fraction, rtol=2e-3, atol=1e-5)
    assert_allclose(scaled.arrays["v_flux"], plain.arrays["v_flux"] * factor, rtol=1e-4)
    assert_array_equal(scaled.flags, plain.flags)


def test_any_unit(predictor, observed, plain):
    """The same spectrum in mJy against nm; and in units of 1e-20 as MUSE writes them."""
    to_mjy = u.spectral_density(observed.wave_aa * u.AA)
    other = Spectrum(
        spectral_axis=observed.wave_aa / 10 * u.nm,
        flux=(observed.flux * UNIT).to(u.mJy, to_mjy),
        uncertainty=InverseVariance(1 / (observed.err * UNIT).to_value(u.mJy, to_mjy) ** 2, u.mJy**-2),
        redshift=observed.redshift,
        meta={"medium": "air"},
    )
    assert_same(predictor.predict(other), plain)
    muse = observed.spectrum(flux=observed.flux * 1e20, err=observed.err * 1e20, unit=u.Unit("1e-20 erg / (s cm2 AA)"))
    assert_same(predictor.predict(muse), plain)


def test_vacuum_wavelengths_are_converted(predictor, observed, plain):
    """1.4 Angstrom at 5000: told it is vacuum, the same spectrum as in air; not told, another one."""
    vacuum = observed.wave_aa * 1.000277  # refraction of air, Morton (1991), here constant
    assert_same(
        predictor.predict(observed.spectrum(spectral_axis=vacuum * u.AA, meta={"medium": "vacuum"})),
        plain,
        rtol=0.05,
        atol=5e-3,
    )
    assert_same(
        predictor.predict(observed.spectrum(spectral_axis=vacuum * u.AA), medium="vacuum"), plain, rtol=0.05, atol=5e-3
    )
    moved = predictor.predict(observed.spectrum(spectral_axis=vacuum * u.AA))
    assert not np.allclose(moved.arrays["latent"], plain.arrays["latent"], rtol=1e-3)


def test_the_redshift_is_found_or_asked_for(predictor, observed, plain):
    """From the spectrum, as an argument, by spectrum; otherwise an error that says how to give it."""
    bare = observed.spectrum(redshift=None)
    assert_same(predictor.predict(bare, redshift=observed.redshift), plain)
    assert_same(predictor.predict(bare, redshift=np.full(12, observed.redshift)), plain)
    with pytest.raises(SFHCNNError, match=r"give redshift="):
        predictor.predict(bare)
    with pytest.raises(SFHCNNError, match=r"below -0\.003"):
        predictor.predict(bare, redshift=-0.1)
    with pytest.raises(SFHCNNError, match="give one number or 12"):
        predictor.predict(bare, redshift=[0.01, 0.02])


def test_a_redshift_beyond_training_is_flagged(predictor, observed):
    """One that is not known makes a row of NaN."""
    redshift = np.full(12, observed.redshift)
    redshift[2], redshift[5] = 0.115, np.nan
    result = predictor.predict(observed.spectrum(redshift=None), redshift=redshift)
    assert "REDSHIFT_OUTSIDE" in result.flag_names(2)
    assert np.isfinite(result.a_v[2])
    assert {"NO_DATA", "REDSHIFT_OUTSIDE"} <= set(result.flag_names(5))
    assert np.isnan(result.a_v[5])
    assert result.flags[0] & Flag.REDSHIFT_OUTSIDE == 0


# ---- bad pixels, bad rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30, -5.0])
def test_masked_pixels_do_not_matter(predictor, observed, bad):
    """Whatever their values are, huge ones too."""
    mask = np.random.default_rng(1).random(observed.flux.shape) < 0.2
    here = predictor.predict(observed.spectrum(mask=mask))
    there = predictor.predict(observed.spectrum(flux=np.where(mask, bad, observed.flux), mask=mask))
    assert_same(there, here, rtol=1e-4)
    assert_array_equal(there.flags, here.flags)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_pixels_with_bad_errors_are_masked(predictor, observed, bad):
    """An error that is not positive and finite says that the pixel is bad."""
    mask = np.random.default_rng(1).random(observed.flux.shape) < 0.2
    here = predictor.predict(observed.spectrum(mask=mask))
    there = predictor.predict(observed.spectrum(err=np.where(mask, bad, observed.err)))
    assert_same(there, here, rtol=1e-4)


def test_nan_flux_is_a_mask(predictor, observed):
    """So is inf."""
    mask = np.random.default_rng(1).random(observed.flux.shape) < 0.2
    here = predictor.predict(observed.spectrum(mask=mask))
    for bad in (np.nan, np.inf):
        assert_same(predictor.predict(observed.spectrum(flux=np.where(mask, bad, observed.flux))), here, rtol=1e-4)


def test_bad_rows_are_nan_with_a_flag_and_leave_the_others_alone(predictor, observed, plain):
    """All NaN, all zero, negative, too few pixels: the rest of the batch has the numbers that it has without them."""
    flux = observed.flux.copy()
    flux[1], flux[4], flux[6] = np.nan, 0.0, -flux[6]
    flux[8, 40:] = np.nan
    result = predictor.predict(observed.spectrum(flux=flux))
    bad = [1, 4, 6, 8]
    for row, name in ((1, "NO_DATA"), (4, "NO_DATA"), (6, "NO_DATA"), (8, "FEW_PIXELS")):
        assert name in result.flag_names(row)
    for name, value in result.arrays.items():
        if name.startswith("q_") or name in ("mass_fraction", "light_fraction", "reduced_chi2", "latent"):
            assert np.isnan(value[bad]).all(), name
    good = np.setdiff1d(np.arange(12), bad)
    assert_same(result, plain, good, good, rtol=1e-4)
    assert_array_equal(result.flags[good], plain.flags[good])
    draws = result.draws(10)
    assert np.isnan(draws.a_v[bad]).all()
    assert np.isfinite(draws.a_v[good]).all()


def test_noise_alone_is_flagged(predictor, observed):
    """Flux around zero: S/N outside the domain, many negative pixels, and no error."""
    flux = observed.flux.copy()
    flux[0] = observed.err[0] * (1 + np.random.default_rng(3).standard_normal(len(observed.wave_aa)))
    flux[0, 50:90] -= 6 * observed.err[0, 50:90]  # sky taken off twice, say
    flux[0, 200:240] += 6 * observed.err[0, 200:240]
    result = predictor.predict(observed.spectrum(flux=flux))
    assert {"SNR_OUTSIDE", "NEGATIVE_FLUX"} <= set(result.flag_names(0))


def test_too_good_a_spectrum_is_flagged(predictor, observed):
    """S/N beyond the trained range."""
    result = predictor.predict(observed.spectrum(err=observed.err / 50))
    assert (result.flags & Flag.SNR_OUTSIDE != 0).all()


def test_without_uncertainties_the_noise_is_estimated(predictor, observed, plain):
    """Flagged, and near the true S/N; never silently 1."""
    result = predictor.predict(observed.spectrum(uncertainty=None))
    assert (result.flags & Flag.NO_UNCERTAINTY != 0).all()
    assert (plain.flags & Flag.NO_UNCERTAINTY == 0).all()
    assert_allclose(result.arrays["snr"], plain.arrays["snr"], rtol=0.25)


def test_partial_coverage_is_flagged_and_none_is_an_error(predictor, observed):
    """Two thirds of the range: a flag. Another range: an error with both ranges; with one good spectrum, NaN."""
    keep = observed.wave_aa < 5650
    flux = np.where(keep, observed.flux, np.nan)
    assert "PARTIAL_COVERAGE" in predictor.predict(observed.spectrum(0, flux=flux)).flag_names(0)
    far = observed.spectrum(spectral_axis=(observed.wave_aa + 3000) * u.AA)
    with pytest.raises(CoverageError, match=r"covers 7673-9059 .*'small' covers 4800-6000 and needs"):
        predictor.predict(far)
    both = predictor.predict(
        [observed.spectrum(0), observed.spectrum(0, spectral_axis=(observed.wave_aa + 3000) * u.AA)]
    )
    assert np.isfinite(both.a_v[0])
    assert np.isnan(both.a_v[1])


def test_spectra_without_redshift_beside_far_ones_are_an_error_of_coverage(predictor, observed):
    """A list with axes of its own, one redshift unknown and the other spectrum out of range."""
    far = observed.spectrum(0, spectral_axis=(observed.wave_aa + 3000) * u.AA)
    with pytest.raises(CoverageError, match="needs at least"):
        predictor.predict([observed.spectrum(1), far], redshift=[np.nan, 0.01])


def test_a_mask_of_the_wrong_polarity_still_gives_an_answer(predictor, observed):
    """95 per cent masked: too few pixels, told by a flag."""
    mask = np.ones(observed.flux.shape, dtype=bool)
    mask[:, ::20] = False
    result = predictor.predict(observed.spectrum(mask=mask))
    assert (result.flags & Flag.FEW_PIXELS != 0).all()


def test_wrong_units_and_classes(predictor, observed):
    """The message names the argument and what was expected."""
    with pytest.raises(u.UnitConversionError, match="no flux density"):
        predictor.predict(observed.spectrum(unit=u.K))
    with pytest.raises(SFHCNNError, match="must be a specutils Spectrum"):
        predictor.predict(observed.flux)


# ---- photometry ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bands():
    """F438W and F814W of all spectra, 5 per cent errors."""
    flux = np.linspace(0.8e-16, 1.2e-16, 12)
    return {"F438W": (flux * UNIT, 0.05 * flux * UNIT), "F814W": (1.3 * flux * UNIT, 0.05 * flux * UNIT)}


def test_forms_of_photometry(predictor, observed, bands, plain):
    """Dict, table, magnitudes: the same numbers, which are not those without bands."""
    reference = predictor.predict(observed.spectrum(), photometry=bands)
    table = QTable({"F438W": bands["F438W"][0], "F438W_err": bands["F438W"][1]})
    table["F814W"], table["F814W_err"] = bands["F814W"]
    table["name"] = [f"region {i}" for i in range(12)]
    assert_same(predictor.predict(observed.spectrum(), photometry=table), reference, rtol=1e-6)
    in_mag = {}
    for name, (flux, err) in bands.items():
        in_mag[name] = (flux.to(u.STmag), (2.5 / np.log(10) * (err / flux).value) * u.mag)
    assert_same(predictor.predict(observed.spectrum(), photometry=in_mag), reference, rtol=1e-3)
    assert np.abs(reference.arrays["latent"] - plain.arrays["latent"]).max() > 1e-3


def test_a_missing_band_is_no_band(predictor, observed, bands, plain):
    """NaN in a row is as if that spectrum had no such band, with a flag; the other rows do not notice."""
    flux = bands["F814W"][0].copy()
    flux[3] = np.nan
    some = predictor.predict(observed.spectrum(), photometry={"F814W": (flux, bands["F814W"][1])})
    assert_same(some, plain, 3, 3, rtol=1e-4)
    assert "BAD_BAND" in some.flag_names(3)
    full = predictor.predict(observed.spectrum(), photometry={"F814W": bands["F814W"]})
    rows = np.setdiff1d(np.arange(12), 3)
    assert_same(some, full, rows, rows, rtol=1e-4)


@pytest.mark.parametrize(
    ("photometry", "error", "message"),
    [
        ({"F999W": np.ones(12) * UNIT}, SFHCNNError, "F999W; the network knows F438W, F814W"),
        ({"F438W": np.ones(12) * u.K}, u.UnitConversionError, "F438W"),
        ({"F438W": np.ones(12)}, u.UnitTypeError, "F438W"),
        ({"F438W": np.ones(5) * UNIT}, SFHCNNError, "5 for 12 spectra"),
        ("F438W", SFHCNNError, "must be a QTable or a dict"),
    ],
)
def test_wrong_photometry(predictor, observed, photometry, error, message):
    """The message names the band and what was expected."""
    with pytest.raises(error, match=message):
        predictor.predict(observed.spectrum(), photometry=photometry)


def test_photometry_needs_a_spectrum_with_a_unit(predictor, observed, bands):
    """A normalised spectrum says nothing about the ratio of bands to spectrum."""
    normalised = observed.spectrum(flux=observed.flux / 1e-16, err=observed.err / 1e-16, unit=u.dimensionless_unscaled)
    with pytest.raises(SFHCNNError, match="flux of the spectrum has no unit"):
        predictor.predict(normalised, photometry=bands)


# ---- dust of the Milky Way, distance, calibration ------------------------------------------------------------------


def test_foreground_dust_is_removed(predictor, observed, bands, plain):
    """Reddened by E(B-V) = 0.3 and told so, the same history; bands too."""
    dust = deredden(np.ones((1, len(observed.wave_aa))), observed.wave_aa, np.array([0.3]))
    reddened = observed.spectrum(flux=observed.flux / dust, err=observed.err / dust)
    assert_same(predictor.predict(reddened, ebv=0.3), plain, rtol=1e-3)
    assert np.abs(predictor.predict(reddened).arrays["latent"] - plain.arrays["latent"]).max() > 0.01
    pivots = np.array(predictor.contract.band_pivots_aa)
    factor = deredden(np.ones((1, 2)), pivots, np.array([0.3]))[0]
    dimmed = {name: tuple(part / k for part in bands[name]) for name, k in zip(bands, factor, strict=True)}
    with_bands = predictor.predict(observed.spectrum(), photometry=bands)
    assert_same(predictor.predict(reddened, photometry=dimmed, ebv=np.full(12, 0.3)), with_bands, rtol=1e-3)


def test_masses_go_with_the_square_of_the_distance(predictor, observed):
    """Twice as far, four times the mass; the mass is M/L times the luminosity in the V window."""
    near = predictor.predict(observed.spectrum(0), distance=10 * u.Mpc)
    far = predictor.predict(observed.spectrum(0), distance=20 * u.Mpc)
    assert_allclose((far.mass_formed / near.mass_formed).value, 4.0)
    flux = near.arrays["v_flux"][0] * UNIT
    luminosity = (4 * np.pi * (10 * u.Mpc) ** 2 * flux * (1 + observed.redshift) * 880 * u.AA).to_value(u.L_sun)
    expected = luminosity * near.mass_to_light_attenuated.value
    assert_allclose(near.mass_formed.to_value(u.M_sun), expected, rtol=1e-3)


def test_a_cosmology_gives_the_distance(predictor, observed):
    """The luminosity distance of the redshift."""
    cosmology = FlatLambdaCDM(70, 0.3)
    by_redshift = predictor.predict(observed.spectrum(0), distance=cosmology)
    by_length = predictor.predict(observed.spectrum(0), distance=cosmology.luminosity_distance(observed.redshift))
    assert_allclose(by_redshift.mass_formed.value, by_length.mass_formed.value)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"distance": -1 * u.Mpc}, SFHCNNError, "distance must be positive"),
        ({"distance": 10.0}, u.UnitTypeError, "distance"),
        ({"distance": 10 * u.s}, u.UnitConversionError, "distance"),
        ({"ebv": [0.1, 0.2]}, SFHCNNError, "ebv needs one value or 12"),
        ({"calibration_error": 3}, SFHCNNError, "calibration_error is a fraction between 0 and 1, got 3"),
        ({"calibration_error": np.nan}, SFHCNNError, "calibration_error is a fraction"),
        ({"medium": "ether"}, SFHCNNError, "medium"),
        ({"redshift": np.full(3, 0.01)}, SFHCNNError, r"redshift has shape \(3,\) for 12 spectra"),
        ({"redshift": [0.01, 0.02] * u.one}, SFHCNNError, r"redshift has shape \(2,\) for 12 spectra"),
        ({"redshift": "far"}, SFHCNNError, "redshift must be a number"),
        ({"redshift": 1j}, SFHCNNError, "redshift must be a number"),
        ({"ebv": "a little"}, SFHCNNError, "ebv needs one number or 12"),
        ({"batch_size": -1}, SFHCNNError, "batch_size must be a positive whole number, got -1"),
        ({"mask": np.zeros(5, dtype=bool)}, SFHCNNError, r"mask has shape \(5,\), the flux"),
        ({"mask": "all"}, SFHCNNError, "mask must be an array of bool"),
        ({"uncertainty": np.ones(7)}, SFHCNNError, r"uncertainty has shape \(7,\), the flux"),
        ({"refine": True}, SFHCNNError, "refine"),
    ],
)
def test_wrong_settings(predictor, observed, settings, error, message):
    """The message names the argument."""
    with pytest.raises(error, match=message):
        predictor.predict(observed.spectrum(), **settings)


def test_distance_needs_a_flux_unit(predictor, observed):
    """A normalised spectrum has a history, and no mass."""
    relative = observed.spectrum(flux=observed.flux * 1e16, err=observed.err * 1e16, unit=u.dimensionless_unscaled)
    assert np.isfinite(predictor.predict(relative).a_v).all()
    with pytest.raises(SFHCNNError, match="flux has no unit"):
        predictor.predict(relative, distance=10 * u.Mpc)


def test_calibration_error_beyond_training_is_flagged_and_clipped(predictor, observed):
    """10 per cent is treated as the largest trained value."""
    beyond = predictor.predict(observed.spectrum(), calibration_error=0.1)
    limit = predictor.predict(observed.spectrum(), calibration_error=0.03)
    assert (beyond.flags & Flag.CALIBRATION_OUTSIDE != 0).all()
    assert (limit.flags & Flag.CALIBRATION_OUTSIDE == 0).all()
    assert_same(beyond, limit, rtol=1e-6)


# ---- draws, reconstruction, files ----------------------------------------------------------------------------------


def test_draws_do_not_depend_on_neighbours(predictor, observed, plain):
    """The draws of a spectrum alone are those that it has in a stack, and the seed makes them."""
    alone = predictor.predict(observed.spectrum(3)).draws(50, seed=4)
    among = plain.draws(50, seed=4)
    assert_allclose(alone.mass_fraction, among.mass_fraction[3], atol=5e-3)
    assert_allclose(alone.a_v.value, among.a_v[3].value, atol=5e-3)
    assert not np.allclose(plain.draws(50, seed=5).a_v.value, among.a_v.value)
    assert_allclose(among.mass_fraction.sum(axis=-1), 1, rtol=1e-5)


def test_no_spectra_have_no_draws_and_no_reconstruction(plain):
    """A selection that nothing fulfils."""
    none = plain[:0]
    assert none.draws(5).mass_fraction.shape == (0, 5, 16)
    assert none.reconstruct().flux.shape == (0, plain.contract.wavelength_grid.n_wave)
    for raked in (True, False):
        drawn = plain.engine.draw(plain.as_many().arrays["latent"], 0, seed=1, raked=raked)
        assert drawn["mass_fraction"].shape == (len(plain.as_many()), 0, 16)


def test_independent_draws(predictor, plain):
    """With ``common=False`` two spectra that are the same have other draws; with it, the same."""
    twice = plain.as_many().arrays["latent"][[0, 0]]
    same, other = (predictor.engine.draw(twice, 30, seed=1, common=common)["a_v"] for common in (True, False))
    assert_allclose(same[0], same[1], atol=1e-5)
    assert not np.allclose(other[0], other[1], atol=1e-2)


def test_light_and_mass_of_draws_belong_together(predictor, plain):
    """L_V per mass formed of a draw is that of its bins at their metallicities; its inverse is the M/L."""
    draws = plain.draws(20)
    templates = predictor.engine.templates
    nodes, v_light = templates.nodes_dex.numpy(), templates.v_light.numpy()
    mass, metallicity = (np.asarray(getattr(draws, name)[2, 7]) for name in ("mass_fraction", "metallicity"))
    light = [m * np.interp(z, nodes, row) for m, z, row in zip(mass, metallicity, v_light, strict=True)]
    assert_allclose(draws.light_fraction[2, 7], light / np.sum(light), rtol=1e-3, atol=1e-6)
    assert_allclose(draws.mass_to_light[2, 7].value, 1 / np.sum(light), rtol=1e-3)


def test_many_spectra_are_not_kept_unless_asked_for(predictor, observed, plain, monkeypatch):
    """The numbers are the same; the reconstruction says what it lacks."""
    monkeypatch.setattr("sfh_cnn.prediction.predictor._MANY", 1)
    many = predictor.predict(observed.spectrum([0, 1]), progress_bar=False)
    assert many.spectra is None
    assert_allclose(many.reduced_chi2, plain.reduced_chi2[:2], rtol=1e-4)
    with pytest.raises(SFHCNNError, match="keep_spectra=True"):
        many.reconstruct()
    assert predictor.predict(observed.spectrum([0, 1]), keep_spectra=True, progress_bar=False).spectra is not None
    assert predictor.predict(observed.spectrum([0]), progress_bar=False).spectra is not None


def test_the_reconstruction_follows_the_data(predictor, observed, plain):
    """An order-4 polynomial takes care of the shape: what is left is lines, a few per cent here."""
    model = plain.reconstruct()
    flux, mask = plain.spectra["flux"], plain.spectra["mask"]
    residual = np.where(mask, 0, np.asarray(model.flux.value) / flux - 1)
    assert np.sqrt(np.mean(residual**2)) < 0.1
    assert_allclose(model.reduced_chi2, plain.reduced_chi2, rtol=1e-3)


def test_the_reconstruction_of_the_truth_has_a_reduced_chi2_of_one(predictor, observed):
    """Errors are Gaussian and known: with the true history the templates leave nothing but noise."""
    from sfh_cnn.tests.small import small_generator

    generator = small_generator()
    truth = generator.chunk(9, 64, observed=False)
    rng = np.random.default_rng(0)
    err = 0.02 * np.ones_like(truth["flux"])
    flux = truth["flux"] + err * rng.standard_normal(err.shape)
    scalars = dict(zip(SCALAR_NAMES, truth["scalars"].T, strict=True))
    values = {
        "mass_fraction": truth["mass_fraction"],
        "metallicity": truth["metallicity"],
        **{name: scalars[name] for name in ("a_v", "velocity_dispersion", "velocity")},
    }
    chi2 = predictor.engine.model(values, flux, err, err < 0, truth["redshift"], np.zeros(64))["reduced_chi2"]
    assert np.median(chi2) == pytest.approx(1.0, abs=0.1)


def test_attach_gives_a_stored_result_its_network(predictor, plain, tmp_path):
    """Draws need the network; one of another network is refused."""
    from sfh_cnn import SFHResult

    plain.write(tmp_path / "result.fits")
    stored = SFHResult.read(tmp_path / "result.fits")
    assert predictor.attach(stored) is stored
    assert_allclose(stored.draws(5).a_v.value, plain.draws(5).a_v.value, atol=1e-4)
    stored.meta["network_sha256"] = "0" * 64
    with pytest.raises(SFHCNNError, match="came from network 'small'"):
        predictor.attach(stored)


def test_attach_refuses_what_the_network_cannot_draw_from(predictor, plain, tmp_path):
    """Stacks and other age bins keep their stored draws, in files, too."""
    from sfh_cnn import AgeGrid, SFHResult

    coarse = plain.rebin(AgeGrid(predictor.contract.age_grid.edges[[0, 1, -1]]))
    for other, reason in ((plain.stack(), "is a stack"), (coarse, "on other age bins")):
        other.write(tmp_path / "other.fits", overwrite=True)
        back = SFHResult.read(tmp_path / "other.fits")
        with pytest.raises(SFHCNNError, match=f"{reason}.* with the draws it stores"):
            predictor.attach(back)
        assert_array_equal(back.draws(5).a_v.value, other.draws(5).a_v.value)


@pytest.mark.parametrize(("limit", "flagged"), [(1e-6, True), (1e6, False)])
def test_the_limits_of_the_card_set_the_flags(artifact_path, observed, limit, flagged):
    """Distance in latent space over its threshold, and the reduced chi2 beyond that of the test mocks."""
    artifact = load_artifact(artifact_path)
    artifact.network.latent_threshold.fill_(limit)
    artifact = dataclasses.replace(artifact, contract=artifact.contract.replace(accuracy={"reduced_chi2_limit": limit}))
    flags = SFHPredictor(artifact).predict(observed.spectrum()).flags
    for flag in (Flag.UNUSUAL_SPECTRUM, Flag.POOR_RECONSTRUCTION):
        assert ((flags & flag != 0) == flagged).all()


def test_the_limit_of_the_reduced_chi2_depends_on_the_noise(artifact_path, observed):
    """Between the values of the card, at the S/N that noise and calibration error leave."""
    artifact = load_artifact(artifact_path)
    plain = SFHPredictor(artifact).predict(observed.spectrum(), calibration_error=0.01)
    snr = 1 / np.hypot(1 / plain.snr, 0.01)
    chi2 = float(plain.reduced_chi2[0])
    for limit, flagged in ((chi2 * 0.9, True), (chi2 * 1.1, False)):
        # A line through the limit at the S/N of the first spectrum.
        card = {"snr": [float(snr[0]) - 5, float(snr[0]) + 5], "limit": [limit - 1, limit + 1]}
        contract = artifact.contract.replace(accuracy={"reduced_chi2_limit": card})
        changed = dataclasses.replace(artifact, contract=contract)
        flags = SFHPredictor(changed).predict(observed.spectrum(), calibration_error=0.01).flags[0]
        assert bool(flags & Flag.POOR_RECONSTRUCTION) == flagged


@pytest.mark.parametrize(("trained_kms", "flagged"), [(30.0, True), (100.0, False)])
def test_velocities_beyond_the_trained_ones_are_flagged(artifact_path, observed, trained_kms, flagged):
    """A network that answers 50 km/s for all spectra."""
    artifact = load_artifact(artifact_path)
    contract = artifact.contract
    synthesis = {**contract.synthesis, "observation": {"velocity_error_kms": trained_kms}}
    artifact = dataclasses.replace(artifact, contract=contract.replace(synthesis=synthesis))
    column = 3 * contract.n_age + SCALAR_NAMES.index("velocity")
    with torch.no_grad():
        artifact.network.quantity_mean[column] = 50.0
        artifact.network.quantity_std[column] = 1e-6
    flags = SFHPredictor(artifact).predict(observed.spectrum()).flags
    assert ((flags & Flag.REDSHIFT_DOUBTFUL != 0) == flagged).all()


@pytest.mark.parametrize(("factor", "flagged"), [(0.9, True), (1.1, False)])
def test_uncertain_velocities_are_flagged(artifact_path, observed, factor, flagged):
    """Where the 95 per cent interval is wider than the card says of such noise and so many pixels."""
    artifact = load_artifact(artifact_path)
    plain = SFHPredictor(artifact).predict(observed.spectrum(), calibration_error=0.02)
    width = plain.arrays["q_velocity"][:, -1] - plain.arrays["q_velocity"][:, 0]
    good = ~plain.spectra["mask"]
    information = np.sqrt(good.mean(axis=1)) / np.hypot(1 / plain.snr, 0.02)
    middle = float(information[0])
    limit = {"information": [middle - 1, middle + 1], "limit": [width[0] * factor - 9, width[0] * factor + 9]}
    contract = artifact.contract.replace(accuracy={"velocity_width_limit": limit})
    flags = (
        SFHPredictor(dataclasses.replace(artifact, contract=contract))
        .predict(observed.spectrum(), calibration_error=0.02)
        .flags
    )
    assert bool(flags[0] & Flag.REDSHIFT_DOUBTFUL) == flagged


def test_line_masks_hide_emission(predictor, observed):
    """With the lines masked their strength does not matter."""
    line = 5e-16 * np.exp(-0.5 * ((observed.wave_aa - 5006.84 * (1 + observed.redshift)) / 2.5) ** 2)
    settings = {"line_mask": 700 * u.km / u.s}
    here = predictor.predict(observed.spectrum(), **settings)
    there = predictor.predict(observed.spectrum(flux=observed.flux + line), **settings)
    assert_same(there, here, rtol=0.01)
    assert (
        np.abs(
            predictor.predict(observed.spectrum(flux=observed.flux + line)).arrays["latent"]
            - predictor.predict(observed.spectrum()).arrays["latent"]
        ).max()
        > 0.05
    )


# ---- the file ------------------------------------------------------------------------------------------------------


def test_an_altered_released_network_is_refused(artifact_path, monkeypatch):
    """The hash in the table is that of the file, or nothing is predicted."""
    monkeypatch.setattr(pretrained_module, "_table", lambda: {"n": {"file": str(artifact_path), "sha256": "0" * 64}})
    with pytest.raises(NetworkFileError, match="its SHA-256 differs"):
        SFHPredictor.pretrained("n")


def test_an_unknown_released_network_is_named(monkeypatch):
    """With the names that there are."""
    monkeypatch.setattr(pretrained_module, "_table", lambda: {"first": {}, "second": {}})
    with pytest.raises(SFHCNNError, match="no released network 'third'; available: first, second"):
        SFHPredictor.pretrained("third")


def test_prediction_imports_nothing_of_training():
    """In a fresh process: neither the room nor lightning, matplotlib, dask or specutils."""
    code = "import sys, json, sfh_cnn.prediction; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    unwanted = ("sfh_cnn.training", "lightning", "pytorch_lightning", "matplotlib", "dask", "specutils", "photutils")
    assert not [name for name in loaded if name in unwanted]


def test_reconstructed_bands_belong_to_the_reconstructed_spectrum():
    """F814W of the example, of which the spectrum covers most, is the mean of the reconstruction over it."""
    from sfh_cnn.examples import load_example_photometry, load_example_spectrum
    from sfh_cnn.photometry import band_matrix

    released = SFHPredictor.pretrained()
    result = released.predict(load_example_spectrum(), load_example_photometry(), ebv=0.45)
    model = result.reconstruct()
    weights = band_matrix(model.wavelength.value, ["F814W"], float(result.redshift))[:, 0]
    assert weights.sum() > 0.7
    mean = model.flux.value @ weights / weights.sum()
    assert model.band_flux.value[released.contract.bands.index("F814W")] == pytest.approx(mean, rel=0.05)
