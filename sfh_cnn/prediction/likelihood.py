"""The likelihood of histories, with the dust integrated out: tens of thousands of them in a second."""

import numpy as np
from scipy.special import logsumexp

from sfh_cnn.synthesis import mass_weights

__all__ = ["HistoryLikelihood", "stellar_states"]

#: Mean square, in units of the noise, below which a direction in the space of spectra is left out.
_NEGLIGIBLE = 1e-3
#: Histories in memory at a time.
_BLOCK = 2048
#: Chi2 above that of the best history nearby from which on the integral over A_V is not worth its time.
_HOPELESS = 2000.0
#: Where the integral over A_V is evaluated, in standard deviations from its peak.
_NODES = np.linspace(-4.0, 4.0, 13)


def stellar_states(grid, history):
    """Coefficients of the light of histories.

    Parameters
    ----------
    grid : SSPGrid
    history : dict of ndarray
        As `~sfh_cnn.synthesis.MockGenerator.spectra` takes it.

    Returns
    -------
    young, old : ndarray, shapes (n, n_young_state), (n, n_old_state), float32
        Of stars below and above 10 Myr; first those of the spectrum, then those from which bands are made.
    """
    weights = mass_weights(history["mass"], history["fine_metallicity"], grid.nodes_dex)
    young, old = weights[:, : grid.n_young], weights[:, grid.n_young :]
    one = np.ones((len(weights), 1), dtype=np.float32)
    return (
        np.concatenate([part.project(young, one) for part in (grid.young, grid.coarse_young)], axis=1),
        np.concatenate([part.project(old, history["shares"]) for part in (grid.old, grid.coarse_old)], axis=1),
    )


class HistoryLikelihood:
    """Likelihood of histories, given one spectrum, integrated over level, dust law and A_V.

    The level is even in its logarithm. Spectra are compared in a few dozen directions, those in which typical ones
    differ by more than the noise; and light behind any dust is a sum of common terms, so that chi2 at all A_V of all
    laws follows from the products of these terms.

    Parameters
    ----------
    observed : list of ObservedSpectrum
        The same data to be compared with stars of several velocity dispersions.
    terms : DustTerms
    sample : tuple
        History and dust of a few hundred draws of the prior.
    """

    def __init__(self, observed, terms, sample):
        self._each = [_AtDispersion(one, terms, sample) for one in observed]

    def __call__(self, young, old, cloud, dispersion):
        """Log likelihoods, up to a constant.

        Parameters
        ----------
        young, old : ndarray
            From `stellar_states`.
        cloud : ndarray of int, shape (n,)
            Position of the birth clouds in `DustTerms.cloud_factor`.
        dispersion : ndarray of int, shape (n,)
            Position of the velocity dispersion in ``observed``.

        Returns
        -------
        ndarray, shape (n,)
        """
        out = np.empty(len(cloud))
        for rows, here in self._parts(dispersion):
            out[rows] = here(young[rows], old[rows], cloud[rows])
        return out

    def draw_dust(self, young, old, cloud, dispersion, rng):
        """Draw dust from its posterior given each history.

        Returns
        -------
        law : ndarray of int, shape (n,)
        a_v, extra : ndarray, shape (n,)
            As from `~sfh_cnn.synthesis.draw_dust`.
        """
        law, a_v, extra = np.empty(len(cloud), dtype=int), np.empty(len(cloud)), np.empty(len(cloud))
        for rows, here in self._parts(dispersion):
            law[rows], a_v[rows], extra[rows] = here.draw_dust(young[rows], old[rows], cloud[rows], rng)
        return law, a_v, extra

    def _parts(self, dispersion):
        for value in np.unique(dispersion):
            yield np.flatnonzero(dispersion == value), self._each[value]


class _AtDispersion:
    """As `HistoryLikelihood`, for stars of one velocity dispersion."""

    def __init__(self, observed, terms, sample):
        self._terms = terms
        frame, self._length = _frame(observed, observed.models(*sample).astype(float))
        grid, n_wave = observed.generator.grid, len(observed.generator.wave_aa)
        fine, coarse = frame[:n_wave] * observed.weight[:n_wave, None], frame[n_wave:] * observed.weight[n_wave:, None]
        coarse = observed.band_matrix @ coarse

        def project(basis, coarse_basis):
            parts = [
                np.concatenate([basis @ (a[:, None] * fine), coarse_basis @ (b[:, None] * coarse)])
                for a, b in zip(terms.fine, terms.coarse, strict=True)
            ]
            return np.concatenate(parts, axis=1).astype(np.float32)  # (n_state, n_term * n_direction)

        self._young = project(observed.bases[0], grid.coarse_young.basis)
        self._old = project(observed.bases[1], grid.coarse_old.basis)

    def __call__(self, young, old, cloud):
        out = np.empty(len(cloud))
        for rows in _blocks(cloud):
            share = self._share(cloud[rows[0]])
            along, across = self._light(young[rows], old[rows], cloud[rows[0]])
            peak, lowest = self._search(along, across, share)
            out[rows] = -0.5 * lowest
            near = np.flatnonzero(lowest < lowest.min() + _HOPELESS)
            _, log_mass = self._integrand(along[near], across[near], share, peak[near])
            out[rows[near]] = logsumexp(log_mass, axis=(1, 2))
        return out

    def draw_dust(self, young, old, cloud, rng):
        law, a_v = np.empty(len(cloud), dtype=int), np.empty(len(cloud))
        for rows in _blocks(cloud):
            share = self._share(cloud[rows[0]])
            along, across = self._light(young[rows], old[rows], cloud[rows[0]])
            edges, log_mass = self._integrand(along, across, share, self._search(along, across, share)[0])
            mass = np.exp(log_mass - log_mass.max(axis=(1, 2), keepdims=True)).reshape(len(rows), -1)
            total = np.cumsum(mass, axis=1)
            chosen = np.sum(total < rng.random((len(rows), 1)) * total[:, -1:], axis=1)
            law[rows], cell = np.divmod(chosen, len(_NODES))
            low, high = (edges[np.arange(len(rows)), law[rows], cell + i] for i in (0, 1))
            a_v[rows] = low + (high - low) * rng.random(len(rows))
        return law, a_v, a_v * self._terms.cloud_factor[cloud]

    def _share(self, cloud):
        """Of each term in the light of old stars and, where they are dimmed differently, of young ones."""
        share = self._terms.share
        return share[0] if cloud == 0 else np.concatenate([share[0], share[cloud]], axis=-1)

    def _light(self, young, old, cloud):
        """Each term's light along the data, (n, n_term), and products of what is across, (n, n_term, n_term)."""
        n_term = len(self._terms.fine)
        young, old = young @ self._young, old @ self._old
        light = [old + young] if cloud == 0 else [old, young]
        light = np.concatenate([part.reshape(len(part), n_term, -1) for part in light], axis=1).astype(float)
        across = light[..., 1:]
        return light[..., 0], across @ across.transpose(0, 2, 1)

    def _chi2(self, along, across, share):
        """Chi2 at shares (n_law, n_a_v, n_term) of all histories, (n, n_law, n_a_v)."""
        flat = share.reshape(-1, share.shape[-1])
        products = (flat[:, :, None] * flat[:, None, :]).reshape(len(flat), -1)
        square = across.reshape(len(across), -1) @ products.T
        return self._ratio(along @ flat.T, square).reshape(len(along), *share.shape[:2])

    def _ratio(self, along, square):
        # A model of the best level leaves the part of the data that is across it; a negative level is no galaxy.
        return np.where(along > 0, self._length**2 * square / (square + along**2), self._length**2)

    def _search(self, along, across, share):
        """A_V at the peak of each law, (n, n_law), and the least chi2 of the table, (n,)."""
        terms = self._terms
        chi2 = self._chi2(along, across, share[:, terms.start])
        return _parabola(terms.a_v[terms.start], chi2, terms)[0], chi2.min(axis=(1, 2))

    def _integrand(self, along, across, share, peak):
        """Cells in A_V around the peak of each law: edges (n, n_law, n_cell + 1) and log masses (n, n_law, n_cell)."""
        terms = self._terms
        # Once more, with three neighbours of the fine table around the peak.
        step = terms.a_v[1] - terms.a_v[0]
        middle = np.clip(np.rint((peak - terms.a_v[0]) / step).astype(int), 1, len(terms.a_v) - 2)  # (n, n_law)
        near = middle[..., None] + np.array([-1, 0, 1])
        chosen = share[np.arange(share.shape[0])[:, None], near].reshape(len(near), -1, share.shape[-1])
        square = np.sum((chosen @ across) * chosen, axis=-1)
        level = np.sum(chosen * along[:, None, :], axis=-1)
        chi2 = self._ratio(level, square).reshape(near.shape)
        peak, (value, slope, curvature) = _parabola(terms.a_v[near], chi2, terms)
        # At an end of the range the likelihood falls as its slope there, if that is faster.
        at_peak = np.abs(slope + curvature * (peak - terms.a_v[middle]))
        width = np.minimum(np.sqrt(2.0 / curvature), 2.0 / np.maximum(at_peak, 1e-9))
        nodes = np.clip(peak[..., None] + width[..., None] * _NODES, terms.low, terms.high)
        edges = np.concatenate([nodes[..., :1], 0.5 * (nodes[..., 1:] + nodes[..., :-1]), nodes[..., -1:]], axis=-1)
        off = nodes - terms.a_v[middle][..., None]
        rise = value[..., None] + slope[..., None] * off + 0.5 * curvature[..., None] * off**2
        with np.errstate(divide="ignore"):  # cells of no width at the ends of the range
            log_prior = np.log(np.diff(terms.a_v_cumulative(edges), axis=-1))
        return edges, log_prior - 0.5 * rise + terms.log_law_weight[:, None]


def _frame(observed, models):
    """Directions times the inverse covariance, (n_data, 1 + n), the first along the data; and the data's length."""
    data = observed.data
    length = np.sqrt(data @ observed.by_inverse_covariance(data[:, None])[:, 0])
    first = data / length
    models *= (length / np.sqrt(np.sum(models * observed.by_inverse_covariance(models.T).T, axis=1)))[:, None]
    models -= np.outer(models @ observed.by_inverse_covariance(first[:, None])[:, 0], first)
    value, vector = np.linalg.eigh(models @ observed.by_inverse_covariance(models.T))
    keep = value > _NEGLIGIBLE * len(models)
    others = models.T @ (vector[:, keep] / np.sqrt(value[keep]))
    return observed.by_inverse_covariance(np.concatenate([first[:, None], others], axis=1)), length


def _blocks(cloud):
    """Rows with the same birth clouds, a few at a time."""
    for value in np.unique(cloud):
        rows = np.flatnonzero(cloud == value)
        yield from (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))


def _parabola(position, value, terms):
    """Peak (...,) of the likelihood from chi2 at positions (..., n), and the parabola that leads there.

    The parabola is chi2, its slope and its curvature at the middle of the three positions used.
    """
    position = np.broadcast_to(position, value.shape)
    middle = np.clip(value.argmin(axis=-1), 1, value.shape[-1] - 2)[..., None]
    low, here, high = (np.take_along_axis(value, middle + i, -1)[..., 0] for i in (-1, 0, 1))
    at, after = (np.take_along_axis(position, middle + i, -1)[..., 0] for i in (0, 1))
    step = after - at
    slope = (high - low) / (2 * step)
    # A bump is no peak: there the likelihood is taken to be all but even.
    curvature = np.maximum((low - 2 * here + high) / step**2, 1e-2)
    return np.clip(at - slope / curvature, terms.low, terms.high), (here, slope, curvature)
