"""Dust as a few smooth curves: every law, A_V and birth cloud is a combination of them."""

import numpy as np

from sfh_cnn.synthesis import attenuation_curve

__all__ = ["DustTerms"]

#: A_V of the table and every how many of these a search begins with.
_STEP_MAG, _STRIDE = 0.02, 5
#: Birth clouds: none, and this many values of their A_V in units of the diffuse one.
_N_CLOUD = 8
#: Smooth curves, and the weight of the coarse pixels, from which bands are made, in finding them.
_N_TERM, _COARSE_WEIGHT = 9, 0.02
_LN_PER_MAG = 0.4 * np.log(10.0)


class DustTerms:
    """Transmission curves of the diffuse dust, with and without birth clouds, as sums of common terms.

    Curves are relative to what the diffuse dust lets through at 5500 Angstrom, for the level is free.

    Parameters
    ----------
    generator : `~sfh_cnn.synthesis.MockGenerator`

    Attributes
    ----------
    a_v : ndarray, shape (n_a_v,)
        Evenly spaced, mag.
    start : slice
        The part of ``a_v`` that a search begins with.
    cloud_factor : ndarray, shape (n_cloud,)
        Extra A_V of young stars over the diffuse one; the first is 0.
    fine, coarse : ndarray, shapes (n_term, n_wave), (n_term, n_coarse)
    share : ndarray, shape (n_cloud, n_law, n_a_v, n_term)
        Of each term in each curve.
    log_law_weight : ndarray, shape (n_law,)
    """

    def __init__(self, generator):
        config, n_wave = generator.config.dust, len(generator.wave_aa)
        self.low, self.high = config.a_v_range
        n_step = max(2 * _STRIDE, _STRIDE * int(np.ceil((self.high - self.low) / (_STRIDE * _STEP_MAG))))
        self.a_v = np.linspace(self.low, self.high, n_step + 1)
        self.start = slice(0, None, _STRIDE)
        factor = config.birth_cloud_factor * (np.arange(_N_CLOUD) + 0.5) / _N_CLOUD
        self.cloud_factor = np.concatenate([[0.0], factor])
        self.no_cloud_share = config.no_birth_cloud_share
        wave_aa = (generator.wave_aa, generator.grid.coarse_wave_aa)
        names = (*config.laws, "birth-cloud")
        *laws, cloud = (np.concatenate([attenuation_curve(name, part) for part in wave_aa]) for name in names)
        weights = np.array(list(config.laws.values()))
        with np.errstate(divide="ignore"):  # a law of weight 0
            self.log_law_weight = np.log(weights / weights.sum())

        weight = np.where(np.arange(len(cloud)) < n_wave, 1.0, _COARSE_WEIGHT)
        exponents = np.array(laws) - 1.0 + self.cloud_factor[:, None, None] * cloud  # (n_cloud, n_law, n_pixel)
        some = _transmission(exponents[::2], self.a_v[:: 4 * _STRIDE]).reshape(-1, len(cloud))
        terms = np.linalg.svd(some * weight, full_matrices=False)[2][:_N_TERM]
        self.share = np.stack([_transmission(each, self.a_v) @ (terms * weight).T for each in exponents])
        self.fine, self.coarse = np.split(terms / weight, [n_wave], axis=1)

    def cloud(self, present, size):
        """Positions in ``cloud_factor`` from two numbers between 0 and 1 for each history."""
        return np.where(present < self.no_cloud_share, 0, 1 + np.minimum((size * _N_CLOUD).astype(int), _N_CLOUD - 1))

    def a_v_cumulative(self, a_v):
        """Share of the prior below an A_V: half is even, half crowds towards the low end (`draw_dust`)."""
        share = np.clip((a_v - self.low) / max(self.high - self.low, 1e-9), 0.0, 1.0)
        return 0.5 * (share + np.cbrt(share))


def _transmission(exponents, a_v):
    """Curves (..., n_a_v, n_wave)."""
    return np.exp(-_LN_PER_MAG * a_v[:, None] * exponents[..., None, :])
