"""SFHResult: units, intervals, draws and slices agree with what was put in."""

import copy

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError, history
from sfh_cnn.results import QUANTITIES, SFHResult

from .helpers import make_contract, make_result


@pytest.fixture(scope="module")
def result():
    """Three spectra at 10 Mpc; not to be changed."""
    return make_result()


def test_point_values_are_the_medians_with_units(result):
    """A property is the middle stored quantile, in the documented unit."""
    stored = result.arrays["q_mass_weighted_log_age"][:, 3]
    assert result.mass_weighted_log_age.unit == u.dex(u.yr)
    assert_array_equal(result.mass_weighted_log_age.value, stored)
    assert_allclose(result.mass_weighted_age.to_value(u.yr), 10**stored)
    assert_allclose(result.mass_to_light.to_value(u.M_sun / u.L_sun), 10 ** result.arrays["q_log_mass_to_light"][:, 3])
    assert result.metallicity.unit == u.dex
    assert result.a_v.unit == u.mag


@pytest.mark.parametrize("name", [*QUANTITIES])
def test_scalar_results_lose_exactly_the_leading_axis(result, name):
    """result[1] has the numbers of row 1, for values and intervals."""

    def value(one):
        got = getattr(one, name)
        return got() if callable(got) else got

    single = result[1]
    assert_allclose(value(single).value, value(result)[1].value)
    assert value(single).unit == QUANTITIES[name].unit
    for lower, row in zip(single.interval(name), result.interval(name), strict=True):
        assert_allclose(lower.value, row[1].value, rtol=1e-6)


@pytest.mark.parametrize("name", [*QUANTITIES])
def test_stored_intervals_agree_with_the_draws(result, name):
    """What follows from stored quantiles is what the joint draws give, within Monte Carlo noise."""
    lower, upper = result.interval(name)
    draws = getattr(result.draws(4000, seed=3), name)
    draws = draws() if callable(draws) else draws
    want = np.quantile(draws.value, [0.158655, 0.841345], axis=1)
    width = want[1] - want[0]
    # 500 draws are noisier than the stored quantiles; products hold one factor at its point value.
    noisy = QUANTITIES[name].key is None and name != "mass_formed"
    room = 0.25 if noisy else 0.12
    assert np.all(np.abs(lower.value - want[0]) <= room * width + 1e-12)
    assert np.all(np.abs(upper.value - want[1]) <= room * width + 1e-12)
    assert np.all(upper.value >= lower.value)


def test_mass_formed_is_light_times_mass_to_light(result):
    """Against the luminosity of a flat spectrum computed with astropy units step by step."""
    distance, redshift = 10 * u.Mpc, 0.002
    flux = result.v_flux[2]
    luminosity = (4 * np.pi * distance**2 * flux * (1 + redshift) * 880 * u.AA).to(3.828e33 * u.erg / u.s).value
    want = luminosity * 10 ** result.arrays["q_log_mass_to_light_attenuated"][2, 3]
    assert_allclose(result.mass_formed[2].to_value(u.M_sun), want, rtol=1e-10)


def test_mass_scales_with_distance_squared():
    """Twice as far, four times the mass; ages and ratios do not move."""
    near, far = make_result(distance_mpc=10), make_result(distance_mpc=20)
    assert_allclose((far.mass_formed / near.mass_formed).value, 4)
    assert_allclose((far.recent_sfr() / near.recent_sfr()).value, 4)
    assert_allclose(far.specific_sfr().value, near.specific_sfr().value)


def test_sfr_integrates_to_the_mass_formed(result):
    """The sum of rate times bin width is the mass."""
    total = (result.sfr * result.age_grid.widths).sum(axis=-1)
    assert_allclose(total.to_value(u.M_sun), result.mass_formed.to_value(u.M_sun), rtol=1e-6)
    everything = result.recent_sfr(13.8 * u.Gyr) * 13.8 * u.Gyr
    assert_allclose(everything.to_value(u.M_sun), result.mass_formed.to_value(u.M_sun), rtol=1e-6)


def test_surviving_mass_weighs_each_bin_with_its_survivors(result):
    """Against the sum over bins by hand."""
    share = sum(result.arrays["mass_fraction"][0, i] * result.arrays["surviving_fraction"][0, i] for i in range(16))
    assert_allclose((result.mass_surviving / result.mass_formed)[0].value, share)


def test_formation_times_of_constant_star_formation():
    """Constant SFR since the first edge: t50 is half of it, t90 a tenth."""
    base = make_result(1, scalar=True)
    widths = base.age_grid.widths.value
    arrays = {**base.arrays, "mass_fraction": (widths / widths.sum())[None]}
    constant = SFHResult(base.contract, arrays, scalar=True)
    assert_allclose(constant.t50.to_value(u.Gyr), 6.9)
    assert_allclose(constant.t90.to_value(u.Gyr), 1.38)
    assert_allclose(constant.cumulative_mass.value, 1 - base.age_grid.edges_yr / 1.38e10, atol=1e-12)
    assert_allclose(constant.specific_sfr().to_value(1 / u.Gyr) * constant._surviving_share[0], 1 / 13.8)


def test_no_distance_no_mass():
    """Masses are refused with the way out; ratios are not."""
    result = make_result(distance_mpc=None)
    for name in ("mass_formed", "mass_surviving", "sfr"):
        with pytest.raises(SFHCNNError, match="distance="):
            getattr(result, name)
    with pytest.raises(SFHCNNError, match="distance="):
        result.interval("mass_formed")
    assert np.all(np.isfinite(result.specific_sfr().value))


def test_surviving_masses_scatter_less_than_masses_formed():
    """With shares that fall as (M/L)^-0.15 from bin to bin, log intervals are 0.85 of those of the mass formed."""
    base = make_result(4)
    mass, light = base.arrays["mass_fraction"], base.arrays["light_fraction"]
    shares = {"surviving_fraction": 0.6 * (mass / light) ** -0.15}
    result = SFHResult(base.contract, {**base.arrays, **shares})
    for level in (0.5, 0.68, 0.95):
        formed, surviving = (
            np.log10(u.Quantity(result.interval(name, level)).value) for name in ("mass_formed", "mass_surviving")
        )
        assert_allclose(surviving[1] - surviving[0], 0.85 * (formed[1] - formed[0]), rtol=1e-6)
        assert_allclose(result.quantile("mass_surviving", 0.5), result.mass_surviving)


def test_few_spectra_keep_their_draws(result, monkeypatch):
    """A second question about the same spectra draws nothing; another network does, and so do many spectra."""
    calls = []
    draws = SFHResult.draws
    monkeypatch.setattr(SFHResult, "draws", lambda self, *args: calls.append(len(self)) or draws(self, *args))
    one, other = (SFHResult(result.contract, result.arrays, engine=result.engine) for _ in range(2))
    first = one.interval("t50")
    assert_array_equal(one.interval("t50"), first)
    one.interval("cumulative_mass")
    assert calls == [3]
    one.engine = copy.copy(one.engine)  # another network is attached
    one.interval("t50")
    assert calls == [3, 3]
    monkeypatch.setattr("sfh_cnn.results.sfh_result._FEW", 2)
    for _ in range(2):
        assert_array_equal(other.interval("t50"), first)
    assert calls == [3, 3, 3, 3]


def test_intervals_between_stored_levels_are_exact_for_a_gaussian():
    """Quantiles of N(mu, sigma) at any level, from the seven stored ones."""
    base = make_result(1, scalar=True)
    mu, sigma = 9.5, 0.2
    from statistics import NormalDist

    stored = [NormalDist(mu, sigma).inv_cdf(p) for p in (0.022750, 0.158655, 0.25, 0.5, 0.75, 0.841345, 0.977250)]
    gauss = SFHResult(base.contract, {**base.arrays, "q_mass_weighted_log_age": np.array([stored])}, scalar=True)
    for level in (0.1, 0.5, 0.68, 0.9, 0.95):
        lower, upper = gauss.interval("mass_weighted_log_age", level)
        assert_allclose(lower.value, NormalDist(mu, sigma).inv_cdf((1 - level) / 2), rtol=1e-6)
        assert_allclose(upper.value, NormalDist(mu, sigma).inv_cdf((1 + level) / 2), rtol=1e-6)


def test_wrong_questions_are_refused(result):
    """Unknown names, impossible and too wide levels."""
    with pytest.raises(SFHCNNError, match="no quantity is called 'age'"):
        result.interval("age")
    with pytest.raises(SFHCNNError, match="between 0 and 1, got 68"):
        result.interval("a_v", 68)
    with pytest.raises(SFHCNNError, match="use a level up to"):
        result.interval("a_v", 0.99)
    with pytest.raises(SFHCNNError, match="share must lie"):
        result.formation_time(50)
    with pytest.raises(SFHCNNError, match="timescale must be positive"):
        result.recent_sfr(0 * u.Myr)


def test_draws_are_consistent_and_repeatable(result):
    """Derived draws follow from the drawn histories; the seed decides."""
    draws = result.draws(50, seed=1)
    assert draws.mass_fraction.shape == (3, 50, 16)
    assert_allclose(draws.mass_fraction.sum(-1).value, 1)
    log_age = result.age_grid.log_ages_dex
    assert_allclose(draws.mass_weighted_log_age.value, draws.mass_fraction.value @ log_age)
    total = (draws.sfr * result.age_grid.widths).sum(-1)
    assert_allclose(total.to_value(u.M_sun), draws.mass_formed.to_value(u.M_sun))
    assert_allclose(draws.recent_fraction.value * draws.mass_formed.value / 1e8, draws.recent_sfr().value)
    assert_array_equal(draws.mass_fraction.value, result.draws(50, seed=1).mass_fraction.value)
    assert not np.array_equal(draws.mass_fraction.value, result.draws(50, seed=2).mass_fraction.value)
    assert result[0].draws(50).a_v.shape == (50,)


def test_without_a_network_draws_say_how_to_get_them():
    """No engine, nothing stored: a clear error; stored quantiles still work."""
    result = make_result(engine=False)
    with pytest.raises(SFHCNNError, match=r"predictor.attach\(result\)"):
        result.draws(10)
    with pytest.raises(SFHCNNError, match=r"predictor.attach\(result\)"):
        result.interval("t50")
    with pytest.raises(SFHCNNError, match=r"predictor.attach\(result\)"):
        result.reconstruct()
    assert np.all(np.isfinite(result.interval("mass_formed")[0].value))


def test_intervals_of_other_timescales_come_from_draws(result):
    """recent_sfr over 1 Gyr and formation_time(0.3) have intervals that bracket the draws' median."""
    lower, upper = result.interval("recent_sfr", timescale=1 * u.Gyr)
    median = np.median(result.draws(500).recent_sfr(1 * u.Gyr).value, axis=1)
    assert np.all((lower.value < median) & (median < upper.value))
    lower, upper = result.interval("formation_time", share=0.3)
    want = history.formation_time(result.draws(500).mass_fraction.value, result.age_grid.edges_yr, 0.3) / 1e9
    assert_allclose(lower.value, np.quantile(want, 0.15865, axis=1), rtol=1e-3)


def test_slicing(result):
    """Integers, slices, masks and iteration; spectra travel along."""
    assert len(result) == 3
    assert len(result[1:]) == 2
    assert len(result[np.array([True, False, True])]) == 2
    assert [one.flags for one in result] == [0, 40, 0]
    assert_array_equal(result[-1].spectra["flux"][0], result.spectra["flux"][2])
    assert result[0].spectra["wave_aa"].shape == result.spectra["wave_aa"].shape
    with pytest.raises(IndexError, match="spectrum 3 of a result of 3"):
        result[3]
    with pytest.raises(TypeError, match="no length"):
        len(result[0])
    with pytest.raises(TypeError, match="cannot be indexed"):
        result[0][0]


def test_flag_names(result):
    """Bits 8 and 32 by name."""
    assert result.flag_names(1) == ["SNR_OUTSIDE", "PARTIAL_COVERAGE"]
    assert result[1].flag_names() == ["SNR_OUTSIDE", "PARTIAL_COVERAGE"]
    assert result.flag_names() == [[], ["SNR_OUTSIDE", "PARTIAL_COVERAGE"], []]


def test_a_failed_spectrum_is_nan_and_leaves_the_rest_alone():
    """A row of NaN stays NaN everywhere, draws included; the others keep their numbers."""
    good = make_result()
    arrays = {key: value.copy() for key, value in good.arrays.items()}
    for key, value in arrays.items():
        if value.dtype.kind == "f" and key not in ("distance_mpc", "redshift"):
            value[1] = np.nan
    bad = SFHResult(good.contract, arrays, engine=good.engine)
    for name in QUANTITIES:
        for got, want in zip(bad.interval(name), good.interval(name), strict=True):
            assert np.all(np.isnan(got[1].value))
            assert_array_equal(got[[0, 2]].value, want[[0, 2]].value)


def test_reconstruction(result):
    """Units on, leading axis as the result's."""
    model = result.reconstruct()
    assert model.flux.unit == u.erg / u.s / u.cm**2 / u.AA
    assert model.flux.shape == (3, result.contract.n_wave)
    assert model.wavelength[0] == 4800 * u.AA
    assert result[0].reconstruct().band_flux.shape == (2,)
    for engine in (True, False):
        with pytest.raises(SFHCNNError, match=r"keep_spectra=True, or for maps .*attach_spectra"):
            make_result(spectra=False, engine=engine).reconstruct()


def test_malformed_arrays_are_refused():
    """Missing keys and wrong shapes are named."""
    base = make_result()
    arrays = dict(base.arrays)
    with pytest.raises(SFHCNNError, match="lacks q_a_v"):
        SFHResult(base.contract, {key: value for key, value in arrays.items() if key != "q_a_v"})
    with pytest.raises(SFHCNNError, match=r"q_a_v.*expected \(3, 7\)"):
        SFHResult(base.contract, {**arrays, "q_a_v": arrays["q_a_v"][:, :5]})
    with pytest.raises(SFHCNNError, match=r"snr.*3 spectra"):
        SFHResult(base.contract, {**arrays, "snr": arrays["snr"][:2]})
    with pytest.raises(SFHCNNError, match="scalar=True needs one"):
        SFHResult(base.contract, arrays, scalar=True)
    with pytest.raises(SFHCNNError, match="mass_fraction"):
        SFHResult(make_contract(age_edges_yr=(0.0, 1e9, 1e10)), arrays)
