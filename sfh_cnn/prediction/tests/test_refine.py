"""Refinement end to end: draws of the exact posterior, their record, and what is missing or wrong."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn import SFHPredictor, SFHResult
from sfh_cnn.core import Flag, SFHCNNError
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.prediction import refine
from sfh_cnn.tests.small import small_generator, small_library


@pytest.fixture
def quick(monkeypatch):
    """Few chains and sweeps."""
    monkeypatch.setattr(refine, "_N_START", 2048)
    monkeypatch.setattr(refine, "_N_CHAIN", 16)
    monkeypatch.setattr(refine, "_N_SWEEP", 24)


def refined(predictor, spectrum, **settings):
    """Predict and refine with the library of the small network."""
    return predictor.predict(spectrum, refine=True, libraries={"toy": small_library()}, **settings)


def test_a_refined_result_follows_its_draws(predictor, observed, quick, monkeypatch, tmp_path):
    """Point values, intervals and draws are those of the exact posterior, in files, too."""
    monkeypatch.setattr(refine, "_MIN_SAMPLE_SIZE", 0)
    result = refined(predictor, observed.spectrum(0))
    assert result.effective_sample_size > 0
    assert "LOW_SAMPLE_SIZE" not in result.flag_names()
    draws = result.draws(refine.N_DRAW)
    assert_allclose(result.mass_fraction.value, draws.mass_fraction.value.mean(axis=0), atol=1e-5)
    assert_allclose(result.mass_weighted_log_age.value, np.median(draws.mass_weighted_log_age.value), atol=1e-4)
    lower, upper = (bound.value for bound in result.interval("light_weighted_metallicity"))
    drawn = draws.light_weighted_metallicity.value
    assert_allclose(np.mean((drawn >= lower) & (drawn <= upper)), 0.68, atol=0.02)
    result.write(tmp_path / "refined.fits")
    again = predictor.attach(SFHResult.read(tmp_path / "refined.fits"))
    assert_array_equal(again.draws(200).a_v.value, result.draws(200).a_v.value)
    assert again.effective_sample_size == result.effective_sample_size
    with pytest.raises(SFHCNNError, match="as every refined result does"):
        result.draws(refine.N_DRAW + 1)


def test_exact_draws_describe_the_spectrum(predictor, observed, quick, monkeypatch):
    """An untrained network knows nothing of the mean age; its exact posterior is narrow and near the truth."""
    monkeypatch.setattr(refine, "_MIN_SAMPLE_SIZE", 0)
    rows = [0, 4]
    plain = predictor.predict(observed.spectrum(rows), calibration_error=0.0)
    exact = refined(predictor, observed.spectrum(rows), calibration_error=0.0)
    truth = small_generator().chunk(5, observed.n, observed=False)["scalars"][rows]
    for name in ("light_weighted_log_age", "light_weighted_metallicity"):
        lower, upper = exact.interval(name)
        plain_lower, plain_upper = plain.interval(name)
        assert np.all(upper.value - lower.value < plain_upper.value - plain_lower.value)
        lower, upper = exact.interval(name, 0.95)
        assert np.all(
            (lower.value < truth[:, SCALAR_NAMES.index(name)]) & (truth[:, SCALAR_NAMES.index(name)] < upper.value)
        )


def test_too_few_effective_draws_keep_the_answer_of_the_network(predictor, observed, quick, monkeypatch):
    """With a flag that says so."""
    monkeypatch.setattr(refine, "_MIN_SAMPLE_SIZE", np.inf)
    plain, kept = predictor.predict(observed.spectrum(0)), refined(predictor, observed.spectrum(0))
    assert "LOW_SAMPLE_SIZE" in kept.flag_names()
    assert_array_equal(kept.arrays["mass_fraction"], plain.arrays["mass_fraction"])
    assert_array_equal(kept.arrays["q_a_v"], plain.arrays["q_a_v"])
    assert_allclose(kept.draws(500).a_v.value.std(), plain.draws(500).a_v.value.std(), rtol=0.3)


def test_a_network_that_is_off_is_noticed(predictor, observed, quick, monkeypatch):
    """Quantiles shifted by many of their widths raise the flag, and leave no trace in the refined answer."""
    monkeypatch.setattr(refine, "_MIN_SAMPLE_SIZE", 0)
    plain = predictor.predict(observed.spectrum([0, 2]), keep_spectra=True)
    refiner = refine.Refiner(predictor.contract, {"toy": small_library()})
    good = refiner.refine(plain)
    width = plain.arrays["q_light_weighted_log_age"][:, -1] - plain.arrays["q_light_weighted_log_age"][:, 0]
    plain.arrays["q_light_weighted_log_age"][1] += 3 * width[1]
    off = refiner.refine(plain)
    assert [bool(flags & Flag.NETWORK_OFF) for flags in good.flags] == [False, False]
    assert [bool(flags & Flag.NETWORK_OFF) for flags in off.flags] == [False, True]
    assert_array_equal(off.arrays["q_light_weighted_log_age"], good.arrays["q_light_weighted_log_age"])


def test_a_spectrum_that_no_history_describes_keeps_the_answer_of_the_network(predictor, observed, quick, monkeypatch):
    """A bend of 30 per cent that was not announced; announced, it is part of the error."""
    monkeypatch.setattr(refine, "_MIN_SAMPLE_SIZE", 0)
    bend = 1 + 0.3 * np.cos(np.linspace(0, 4 * np.pi, len(observed.wave_aa)))
    bent = observed.spectrum(0, flux=observed.flux * bend)
    kept, plain = refined(predictor, bent, calibration_error=0.0), predictor.predict(bent, calibration_error=0.0)
    assert "POOR_RECONSTRUCTION" in kept.flag_names()
    assert_array_equal(kept.arrays["q_a_v"], plain.arrays["q_a_v"])
    straight = refined(predictor, observed.spectrum(0), calibration_error=0.0)
    assert "POOR_RECONSTRUCTION" not in straight.flag_names()


def test_what_was_not_refined_says_so(predictor, observed):
    """Asking for its effective sample size is an error."""
    with pytest.raises(SFHCNNError, match="refine=True"):
        _ = predictor.predict(observed.spectrum(0)).effective_sample_size


def test_a_missing_library_is_one_clear_error(predictor, observed):
    """Before anything is computed."""
    with pytest.raises(SFHCNNError, match=r"needs the stellar libraries.*'toy' is not to be had.*libraries="):
        predictor.predict(observed.spectrum(0), refine=True)


def test_another_library_is_an_error(predictor, observed):
    """Its hash is not that of the card."""
    other = dataclasses.replace(small_library(), flux=small_library().flux * 1.01)
    with pytest.raises(SFHCNNError, match="SHA-256"):
        predictor.predict(observed.spectrum(0), refine=True, libraries={"toy": other})
    with pytest.raises(SFHCNNError, match="was not trained with elsewhere"):
        predictor.predict(observed.spectrum(0), refine=True, libraries={"elsewhere": other})


def test_released_network_names_the_library_that_lacks():
    """E-MILES comes with no package."""
    with pytest.raises(SFHCNNError, match="e-miles"):
        refine.Refiner(SFHPredictor.pretrained("phangs-muse-hst").contract)


@pytest.mark.parametrize(
    ("low", "middle", "high", "expected"),
    [(100.0, 120.0, 130.0, (80.0, 160.0)), (0.0, 10.0, 25.0, (0.0, 40.0)), (295.0, 299.0, 300.0, (279.0, 300.0))],
)
def test_dispersions_stand_for_their_prior(predictor, low, middle, high, expected):
    """Evenly over twice the network's interval, inside the prior, and not too close where it is very sure."""
    found = refine.Refiner(predictor.contract, {"toy": small_library()})._dispersions(np.array([low, middle, high]))
    step = np.diff(found)
    assert_allclose(step, step[0])
    assert_allclose((found[0] - step[0] / 2, found[-1] + step[0] / 2), expected)


def test_draws_that_never_stop_to_crowd_are_none(predictor, observed, quick, monkeypatch):
    """After some ranges of dispersions the network's answer is kept."""
    tried = []
    monkeypatch.setattr(
        refine.Refiner, "_elsewhere", lambda _, sigmas_kms, which: tried.append(which) or sigmas_kms + 1
    )
    kept = refined(predictor, observed.spectrum(0))
    assert len(tried) == refine._N_RANGE
    assert kept.effective_sample_size == 0
    assert "LOW_SAMPLE_SIZE" in kept.flag_names()


def test_other_dispersions_are_tried_where_the_draws_crowd_at_an_end(predictor):
    """Around that end, as widely; not at an end of the prior, nor where the draws are in between."""
    refiner = refine.Refiner(predictor.contract, {"toy": small_library()})
    n = refine._N_DISPERSION
    inside = refiner._around(150.0, 50.0)
    assert refiner._elsewhere(inside, np.arange(100) % n) is None
    for end in (0, n - 1):
        moved = refiner._elsewhere(inside, np.where(np.arange(100) < 20, end, n // 2))
        assert_allclose(moved.mean(), inside[end])
        assert_allclose(np.diff(moved), np.diff(inside))
    assert refiner._elsewhere(refiner._around(30.0, 50.0), np.zeros(100, dtype=int)) is None
