"""Scores of made-up predictions whose bias, scatter and coverage are known."""

import numpy as np
import pytest
import torch
from scipy import stats

from sfh_cnn.core.constants import QUANTILE_LEVELS, SCALAR_NAMES
from sfh_cnn.diagnostics import evaluate, predict_mocks, score
from sfh_cnn.tests.small import small_generator, small_network
from sfh_cnn.training import INPUT_NAMES, held_out_mocks

N, N_SCALAR = 50_000, len(SCALAR_NAMES)


def made_up(width=1.0, bias=0.0, sigma=0.2):
    """Gaussian errors of ``sigma``; stated intervals are ``width`` times as wide as they should be."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((N, N_SCALAR))
    median = truth + bias + sigma * rng.standard_normal(truth.shape)
    mass = rng.dirichlet(np.ones(4), N)
    prediction = {
        "scalar_quantiles": median[..., None] + width * sigma * stats.norm.ppf(QUANTILE_LEVELS),
        "mass_fraction": mass + np.array([0.02, -0.02, 0.0, 0.0]),
    }
    return prediction, {"scalars": truth, "mass_fraction": mass}


def test_bias_scatter_and_outliers():
    """What was put in comes out, for each quantity."""
    result = score(*made_up(bias=0.1))
    assert result["n"] == N
    for name in SCALAR_NAMES:
        assert result[name]["bias"] == pytest.approx(0.1, abs=0.005)
        assert result[name]["scatter"] == pytest.approx(0.2, rel=0.02)
        assert result[name]["std"] == pytest.approx(0.2, rel=0.02)
        expected = stats.norm.sf(0.4 / 0.2) + stats.norm.cdf(-0.6 / 0.2)  # off by more than 0.5
        assert result[name]["outliers"] == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_coverage(width):
    """The share of a Gaussian within the stated bounds."""
    coverage = score(*made_up(width=width))["a_v"]["coverage"]
    for level, z in (("50", 0.67449), ("68", 1.0), ("95", 2.0)):
        assert coverage[level] == pytest.approx(1 - 2 * stats.norm.sf(width * z), abs=0.01)


def test_errors_of_the_fractions():
    """Mean absolute error over all bins, and signed bias bin by bin."""
    result = score(*made_up())
    assert result["mass_fraction_mae"] == pytest.approx(0.01)
    assert np.allclose(result["mass_fraction_bias_by_bin"], [0.02, -0.02, 0, 0])


def test_a_group_is_scored_alone():
    """Rows choose it."""
    prediction, truth = made_up()
    prediction["scalar_quantiles"][:100] += 3.0
    assert score(prediction, truth, slice(0, 100))["velocity"]["bias"] == pytest.approx(3.0, abs=0.1)
    assert score(prediction, truth, slice(100, None))["velocity"]["bias"] == pytest.approx(0.0, abs=0.01)


@pytest.fixture(scope="module")
def mocks():
    """Held-out mocks of the small network."""
    return held_out_mocks(small_generator(), "test", 768)


def test_predictions_do_not_depend_on_the_batch(mocks):
    """They are the network's outputs, row by row."""
    network = small_network()
    here, there = predict_mocks(network, mocks, 100), predict_mocks(network, mocks, 768)
    for name, value in here.items():
        assert np.allclose(value, there[name], rtol=1e-3, atol=1e-4)
    rows = [mocks[name][:5] for name in INPUT_NAMES]
    assert np.allclose(network(*rows)["latent"], here["latent"][:5], atol=1e-4)


def test_groups_are_what_they_say(mocks):
    """Terciles of S/N share the mocks; groups by bands and calibration error count as the inputs do."""
    result = evaluate(small_network(), mocks)
    assert result["n_mocks"] == result["overall"]["n"] == 768
    terciles = [group["n"] for name, group in result["groups"].items() if name.startswith("S/N")]
    assert sum(terciles) == 768
    assert max(terciles) - min(terciles) <= 1
    no_bands = (~np.isfinite(mocks["band_flux"].numpy())).all(axis=1).sum()
    assert result["groups"]["no bands"]["n"] == no_bands
    assert result["groups"]["calibration_error = 0"]["n"] == (mocks["calibration_error"] == 0).sum()


@pytest.mark.filterwarnings("error")
def test_mocks_without_a_pixel_do_not_count(mocks):
    """Users get no prediction of such a spectrum; the others are measured as if it was not there."""
    blind = {name: value.clone() for name, value in mocks.items()}
    blind["mask"][::100] = True
    kept = torch.arange(len(mocks["mask"])) % 100 != 0
    edges_yr = small_generator().age_grid.edges_yr
    measured = [
        evaluate(small_network(), some, age_edges_yr=edges_yr)
        for some in (blind, {name: value[kept] for name, value in mocks.items()})
    ]
    assert measured[0] == measured[1]
    assert measured[0]["n_mocks"] == 760
    assert np.isfinite(measured[0]["velocity_width_limit"]["information"]).all()


def test_groups_by_bands(mocks):
    """All bands are those of the network, not the most that a mock happens to have; without any there is no group."""
    few = {name: value.clone() for name, value in mocks.items()}
    complete = np.isfinite(few["band_flux"].numpy()).all(axis=1).sum()
    assert evaluate(small_network(), few)["groups"]["all bands"]["n"] == complete
    few["band_flux"][:, 0] = torch.nan
    assert "all bands" not in evaluate(small_network(), few)["groups"]
    few["band_flux"][:] = torch.nan
    assert "all bands" not in evaluate(small_network(), few)["groups"]


def test_the_limits_of_the_fit_are_exceeded_by_one_in_a_hundred(mocks):
    """With an engine, of the very mocks that were measured, in six groups by noise and calibration error.

    The limit of the bands is that of the mocks whose bands can be compared.
    """
    comparable = torch.arange(len(mocks["redshift"])) % 2 == 0
    start = 0

    class Engine:
        """Reduced chi2 is the redshift times 100, the mismatch of the bands, of every other mock, twice as large."""

        def compare(self, batch, outputs):
            """One number per mock."""
            nonlocal start
            redshift = batch[INPUT_NAMES.index("redshift")]
            assert len(outputs["mass_fraction"]) == len(redshift)
            here = comparable[start : start + len(redshift)]
            start += len(redshift)
            return {
                "reduced_chi2": 100 * redshift,
                "band_mismatch": torch.where(here, 200 * redshift, torch.nan),
            }

    result = evaluate(small_network(), mocks, engine=Engine())
    limit = result["reduced_chi2_limit"]
    good = ~mocks["mask"].numpy()
    snr = np.ma.array(mocks["flux"].numpy() / mocks["flux_err"].numpy(), mask=~good)
    noise = np.hypot(1 / np.ma.median(snr, axis=1).filled(), mocks["calibration_error"].numpy())
    groups = np.array_split(np.argsort(-noise), 6)  # worst first
    expected = [np.quantile(100 * mocks["redshift"].numpy()[rows], 0.99) for rows in groups]
    assert limit["limit"] == pytest.approx(expected, abs=1e-4)
    assert limit["snr"] == pytest.approx([1 / np.median(noise[rows]) for rows in groups], rel=1e-3)
    few, redshift = noise[::2], mocks["redshift"].numpy()[::2]
    groups = np.array_split(np.argsort(-few), 6)
    expected = [np.quantile(200 * redshift[rows], 0.99) for rows in groups]
    assert result["band_mismatch_limit"]["limit"] == pytest.approx(expected, abs=1e-4)


def test_the_limit_of_the_velocity_is_exceeded_by_one_in_a_hundred(mocks):
    """The width of its 95 per cent interval, in six groups by noise and pixels."""
    limit = evaluate(small_network(), mocks)["velocity_width_limit"]
    velocity = predict_mocks(small_network(), mocks)["scalar_quantiles"][:, -1]
    width = velocity[:, 6] - velocity[:, 0]
    good = ~mocks["mask"].numpy()
    snr = np.ma.median(np.ma.array(mocks["flux"].numpy() / mocks["flux_err"].numpy(), mask=~good), axis=1).filled()
    information = np.sqrt(good.mean(axis=1)) / np.hypot(1 / snr, mocks["calibration_error"].numpy())
    groups = np.array_split(np.argsort(information), 6)
    assert limit["information"] == pytest.approx([np.median(information[rows]) for rows in groups], abs=0.01)
    assert limit["limit"] == pytest.approx([np.quantile(width[rows], 0.99) for rows in groups], rel=1e-3)
