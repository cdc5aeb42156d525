"""Dust as sums of common terms: the curves themselves, and the prior of A_V and birth clouds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest

from sfh_cnn.prediction.dust_terms import DustTerms
from sfh_cnn.synthesis import attenuation_curve, draw_dust
from sfh_cnn.tests.small import small_generator


@pytest.fixture(scope="module")
def terms():
    """Of the default prior of dust."""
    return DustTerms(small_generator())


@pytest.mark.parametrize("a_v", [0.0, 0.7, 2.9])
@pytest.mark.parametrize("cloud", [0, 5])
def test_sums_of_terms_are_the_curves(terms, a_v, cloud):
    """To 1e-4 on the pixels of the spectrum, relative to light at 5500 Angstrom that passed the diffuse dust."""
    generator = small_generator()
    step = int(np.argmin(np.abs(terms.a_v - a_v)))
    factor = terms.cloud_factor[cloud]
    for i, name in enumerate(generator.config.dust.laws):
        for wave_aa, basis, tolerance in (
            (generator.wave_aa, terms.fine, 1e-4),
            (generator.grid.coarse_wave_aa, terms.coarse, 0.03),
        ):
            curve = attenuation_curve(name, wave_aa) - 1 + factor * attenuation_curve("birth-cloud", wave_aa)
            expected = 10 ** (-0.4 * terms.a_v[step] * curve)
            assert_allclose(terms.share[cloud, i, step] @ basis, expected, atol=tolerance)


def test_prior_is_that_of_the_mocks(terms):
    """The cumulative distribution of A_V and the shares of birth clouds are those of `draw_dust`."""
    rng = np.random.default_rng(1)
    _, a_v, extra = draw_dust(rng, 20_000, small_generator().config.dust)
    assert kstest(a_v, terms.a_v_cumulative).pvalue > 1e-3
    cloud = terms.cloud(rng.random(20_000), rng.random(20_000))
    ours, direct = terms.cloud_factor[cloud], extra / a_v
    assert_allclose(np.mean(ours == 0), np.mean(direct == 0), atol=0.015)
    assert_allclose([ours.mean(), ours.std()], [direct.mean(), direct.std()], atol=0.03)
