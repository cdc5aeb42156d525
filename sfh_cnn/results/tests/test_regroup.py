"""Rebinning and stacking conserve mass, light and metals."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import AgeGrid, SFHCNNError
from sfh_cnn.results import SFHResult, summarise_draws

from .helpers import make_result


@pytest.fixture(scope="module")
def result():
    """Three spectra at 10 Mpc; not to be changed."""
    return make_result()


COARSE = AgeGrid(np.array([0, 0.1, 1, 5, 13.8]) * u.Gyr)


def test_rebin_conserves_mass_light_and_metals(result):
    """Sums, mean [M/H] of each draw and recent SFR at a common edge stay."""
    coarse = result.rebin(COARSE)
    assert coarse.mass_fraction.shape == (3, 4)
    assert_allclose(coarse.mass_fraction.sum(-1).value, 1)
    assert_allclose(coarse.recent_sfr(100 * u.Myr).value, result.recent_sfr(100 * u.Myr).value, rtol=1e-6)
    assert_array_equal(coarse.mass_formed.value, result.mass_formed.value)
    assert_array_equal(coarse.interval("mass_weighted_age")[0].value, result.interval("mass_weighted_age")[0].value)
    assert_allclose(coarse.mass_surviving.value, result.mass_surviving.value, rtol=1e-6)
    fine, wide = result.draws(500, seed=0), coarse.draws(500, seed=0)
    total_fine = (fine.mass_fraction * fine.metallicity).sum(-1).value
    total_wide = (wide.mass_fraction * wide.metallicity).sum(-1).value
    assert_allclose(np.sort(total_fine, axis=1), np.sort(total_wide, axis=1), atol=1e-5)
    lower, upper = coarse.interval("mass_fraction")
    assert np.all((lower < coarse.mass_fraction) & (coarse.mass_fraction < upper))
    assert coarse[0].reconstruct().flux.shape == (result.contract.n_wave,)


def test_rebin_to_wider_bins_keeps_the_means(result):
    """A new bin older than everything is empty and spoils no mean."""
    wider = result.rebin(AgeGrid(np.array([0, 0.1, 1, 14, 20]) * u.Gyr))
    assert np.all(wider.mass_fraction[:, -1].value < 1e-12)
    before = result.draws(500, seed=0).mass_weighted_metallicity.value
    after = wider.draws(500, seed=0).mass_weighted_metallicity.value
    assert_allclose(np.sort(after, axis=1), np.sort(before, axis=1), atol=1e-5)


def test_rebin_refuses_to_lose_mass(result):
    """Bins that end too early are an error."""
    with pytest.raises(SFHCNNError, match="lose mass"):
        result.rebin(AgeGrid([0, 1, 10] * u.Gyr))


def test_stack_of_equals_is_the_same_with_smaller_errors():
    """Four copies of one spectrum: the same means, four times the mass, about half the error."""
    one = make_result(1)
    four = SFHResult(one.contract, {k: np.repeat(v, 4, axis=0) for k, v in one.arrays.items()}, engine=one.engine)
    stack = four.stack()
    assert stack.scalar
    assert_allclose(stack.mass_formed / one.mass_formed[0], 4, rtol=0.02)
    assert_allclose(stack.mass_fraction.value, one.mass_fraction[0].value, atol=0.01)
    assert_allclose(stack.v_flux / one.v_flux[0], 4)
    assert_allclose(stack.snr / one.snr[0], 2)
    assert stack.mass_weighted_log_age.value == pytest.approx(one.mass_weighted_log_age[0].value, abs=0.02)

    def width(result):
        lower, upper = result.interval("mass_weighted_log_age")
        return float((upper - lower).value)

    assert width(stack) == pytest.approx(width(one[0]) / 2, rel=0.2)


def test_stack_adds_the_masses_of_each_bin(result):
    """Against the sum over spectra of mean mass times mean fraction, up to their covariance."""
    stack = result.stack()
    want = (result.mass_formed[:, None] * result.mass_fraction).sum(0)
    assert_allclose((stack.mass_formed * stack.mass_fraction).value, want.value, rtol=0.08)
    assert_allclose(stack.mass_formed.value, result.mass_formed.sum().value, rtol=0.05)
    assert stack.flags == 40
    assert stack.distance.value == pytest.approx(10)


def test_stack_weights_choose(result):
    """A weight of zero removes a spectrum; bad weights are refused."""
    alone = result.stack([0, 1, 0])
    assert_allclose(alone.mass_fraction.value, result.mass_fraction[1].value, atol=0.01)
    with pytest.raises(SFHCNNError, match="weights needs 3"):
        result.stack([1, 2])
    with pytest.raises(SFHCNNError, match="left to stack"):
        result.stack([0, 0, 0])


def test_stack_without_distances_keeps_the_history():
    """Fractions need no distance if all are equally far; masses stay refused."""
    near, unknown = make_result(distance_mpc=10).stack(), make_result(distance_mpc=None).stack()
    assert_allclose(unknown.mass_fraction.value, near.mass_fraction.value)
    with pytest.raises(SFHCNNError, match="distance="):
        _ = unknown.mass_formed
    mixed = make_result(2)
    mixed.arrays["distance_mpc"][0] = np.nan
    with pytest.raises(SFHCNNError, match="some spectra have a distance"):
        mixed.stack()


def test_summary_of_draws_matches_an_independent_one(result):
    """Means and quantiles as the helper computed them, from the same draws."""
    engine = result.engine
    summary = summarise_draws(result.age_grid, engine.draw(result.arrays["latent"], 4000, 99))
    for key, value in summary.items():
        assert_allclose(value, result.arrays[key], rtol=2e-5, err_msg=key)


def test_stacks_and_rebinned_results_round_trip(result, tmp_path):
    """They are ordinary results: files keep them."""
    stack = result.rebin(COARSE).stack()
    stack.write(tmp_path / "stack.fits")
    back = SFHResult.read(tmp_path / "stack.fits")
    assert_array_equal(back.draws(100).mass_fraction.value, stack.draws(100).mass_fraction.value)


def test_concatenate_is_the_inverse_of_slicing(result):
    """Rows in order; other networks are refused."""
    back = SFHResult.concatenate([result[0], result[1:]])
    for key, value in result.arrays.items():
        assert_array_equal(back.arrays[key], value)
    assert_array_equal(back.spectra["flux"], result.spectra["flux"])
    assert back.engine is result.engine
    with pytest.raises(SFHCNNError, match="different networks"):
        SFHResult.concatenate([result, result.rebin(COARSE)])
    with pytest.raises(SFHCNNError, match="nothing to join"):
        SFHResult.concatenate([])


def test_refined_results_are_joined_with_refined_ones_only(result):
    """With others they would lose their draws, and the network's are not theirs."""
    draws = {f"draw_{key}": value for key, value in result.engine.draw(result.arrays["latent"], 30, 0).items()}
    arrays = {**result.arrays, **draws, "effective_sample_size": np.full(3, 100.0)}
    refined = SFHResult(result.contract, arrays, result.meta, engine=result.engine)
    back = SFHResult.concatenate([refined[:1], refined[1:]])
    assert_array_equal(back.draws(30).a_v.value, refined.draws(30).a_v.value)
    with pytest.raises(SFHCNNError, match="only some of the results were refined"):
        SFHResult.concatenate([refined[:1], result[1:]])


def test_stored_draws_of_other_numbers_are_not_joined(result):
    """Of equal numbers they are."""

    def stored(n):
        draws = {f"draw_{key}": value for key, value in result.engine.draw(result.arrays["latent"], n, 0).items()}
        return SFHResult(result.contract, {**result.arrays, **draws}, result.meta)

    assert SFHResult.concatenate([stored(30), stored(30)]).draws(30).n_draws == 30
    with pytest.raises(SFHCNNError, match=r"different numbers of stored draws \(20, 30\)"):
        SFHResult.concatenate([stored(30), stored(20)])


def test_a_join_knows_that_it_holds_a_stack(result):
    """Wherever it stands, for no network can draw from it."""
    assert SFHResult.concatenate([result, result.stack()]).meta["n_stacked"] == 3


def test_many_spectra_are_stacked_and_rebinned_in_blocks(result, monkeypatch):
    """Blocks of two give what one block gives."""
    whole, coarse = result.stack(), result.rebin(COARSE)
    monkeypatch.setattr("sfh_cnn.results.regroup.DRAW_BLOCK", 2)
    assert_allclose(result.stack().mass_fraction.value, whole.mass_fraction.value, rtol=0.02)
    assert_allclose(result.stack().mass_surviving.value, whole.mass_surviving.value, rtol=0.02)
    assert_array_equal(result.rebin(COARSE).metallicity.value, coarse.metallicity.value)
