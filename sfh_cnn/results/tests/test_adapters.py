"""Prospector and bagpipes get numbers that mean what they mean there."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError

from .helpers import make_result


@pytest.fixture(scope="module")
def result():
    """One spectrum at 10 Mpc."""
    return make_result(1, scalar=True)


def test_prospector_gets_its_masses_back_from_ratios(result):
    """The recipe of Prospector (logsfr_ratios_to_masses) turns mass and ratios into the masses of the draws."""
    out = result.to_prospector(50, seed=3)
    widths_yr = np.diff(10 ** out["agebins"], axis=1)[:, 0]
    relative = np.ones_like(out["mass"])  # SFR of each bin over that of the youngest
    relative[:, 1:] = 10 ** -np.cumsum(out["logsfr_ratios"], axis=1)
    mass = relative * widths_yr
    mass *= 10 ** out["logmass"][:, None] / mass.sum(axis=1, keepdims=True)
    assert_allclose(mass, out["mass"], rtol=1e-6)
    draws = result.draws(50, seed=3)
    assert_allclose(out["mass"].sum(axis=1), draws.mass_formed.to_value(u.M_sun))
    assert_allclose(10 ** (-0.4 * 1.0857362 * out["dust2"]), 10 ** (-0.4 * draws.a_v.value), rtol=1e-6)
    assert_allclose(out["agebins"][1:, 0], out["agebins"][:-1, 1])
    assert out["agebins"][0, 0] == 0


def test_bagpipes_integrates_to_the_mass_formed(result):
    """The star formation rate over lookback time is the mass, and the mean age that of the draws."""
    fit = result.to_bagpipes(50, seed=3)
    samples, ages_yr = fit.posterior.samples, fit.posterior.sfh.ages
    mass = np.trapezoid(samples["sfh"], ages_yr, axis=1)
    assert_allclose(np.log10(mass), samples["formed_mass"])
    age_gyr = np.trapezoid(samples["sfh"] * ages_yr, ages_yr, axis=1) / mass / 1e9
    # a trapezium of a linear function times a step is exact only for the mean over each bin
    assert_allclose(samples["mass_weighted_age"], age_gyr, rtol=1e-10)
    assert np.all(samples["stellar_mass"] < samples["formed_mass"])
    assert_allclose(samples["ssfr"], np.log10(samples["sfr"]) - samples["stellar_mass"])


def test_bagpipes_draws_it(result):
    """The plotting function of bagpipes itself takes what comes out."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    plotting = pytest.importorskip("bagpipes.plotting")
    fit = result.to_bagpipes(50)
    figure, axes = pyplot.subplots()
    plotting.add_sfh_posterior(fit, axes, z_axis=False)
    drawn = axes.lines[0].get_ydata()
    assert_allclose(drawn, np.median(fit.posterior.samples["sfh"], axis=0))
    pyplot.close(figure)


@pytest.mark.parametrize("name", ["to_prospector", "to_bagpipes"])
def test_what_cannot_be_told_is_refused(name):
    """Masses need a distance, and these tools look at one galaxy at a time."""
    with pytest.raises(SFHCNNError, match="distance"):
        getattr(make_result(1, scalar=True, distance_mpc=None), name)()
    with pytest.raises(SFHCNNError, match=rf"choose one of the 3: result\[i\].{name}\(\)"):
        getattr(make_result(3), name)()
