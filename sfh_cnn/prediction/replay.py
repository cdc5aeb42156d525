"""Replay: the priors of the training as functions of numbers between 0 and 1.

The prior of histories has no density in closed form, it is a program that draws. Fed with given uniform numbers
instead of fresh ones, the program becomes a function of them; walking among the numbers walks in the prior (primary
sample space, Kelemen et al. 2002, Computer Graphics Forum 21, 531), and where all numbers are equally likely no density
is needed.
"""

import numpy as np
from scipy.special import gammaincinv, ndtri

from sfh_cnn.core import SFHCNNError
from sfh_cnn.synthesis import library_shares

__all__ = ["N_FREE", "ReplayedPrior"]

#: Draws of each family by which the most numbers that it needs are found.
_N_PROBE = 48
#: Rows whose first number differs by less are taken to make the same choice by it.
_SAME_CHOICE = 1e-3
#: Numbers that no history uses, the last of each row.
N_FREE = 3
#: Numbers that no family needs more of.
_WIDTH = 2000


class _OtherRowsError(Exception):
    """A draw is asked for some of the rows only: nobody knows which."""


class _Replay:
    """Stands in for `numpy.random.Generator` and reads its numbers from rows, one row per spectrum.

    The rows are the first axis of what is asked for, or the last where there are more than two axes, as for curves.

    Parameters
    ----------
    numbers : ndarray, shape (n, n_number)
        Between 0 and 1.
    """

    def __init__(self, numbers):
        self.numbers = numbers
        self.used = 0

    def random(self, size=None):
        shape = tuple(np.atleast_1d(1 if size is None else size))
        if 0 in shape:  # a choice that no row made
            return np.empty(shape)
        n = len(self.numbers)
        rows_last = len(shape) > 2
        each = shape[:-1] if rows_last else shape[1:]
        if n == 1:
            count = int(np.prod(shape))
        elif size is not None and shape[-1 if rows_last else 0] == n:
            count = int(np.prod(each))
        else:
            raise _OtherRowsError
        if self.used + count > self.numbers.shape[1]:
            raise SFHCNNError(f"a family draws more than {self.numbers.shape[1]} numbers, which cannot be replayed")
        chosen = self.numbers[:, self.used : self.used + count]
        self.used += count
        if size is None:
            return float(chosen[0, 0])
        if n == 1:
            return chosen.reshape(shape)
        chosen = chosen.reshape(n, *each)
        return np.moveaxis(chosen, 0, -1) if rows_last else chosen

    def uniform(self, low=0.0, high=1.0, size=None):
        return low + (high - low) * self.random(size)

    def integers(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        return np.floor(low + (high - low) * self.random(size)).astype(int)

    def choice(self, a, size=None, p=None):
        return np.searchsorted(np.cumsum(p) / np.sum(p), self.random(size), side="right").clip(max=a - 1)

    def standard_normal(self, size=None):
        return ndtri(self.random(size))

    def normal(self, loc=0.0, scale=1.0, size=None):
        return loc + scale * self.standard_normal(size)

    def standard_exponential(self, size=None):
        return -np.log1p(-self.random(size))

    def standard_gamma(self, shape, size=None):
        # Gamma(a) is Gamma(a + 1) times U^(1/a), which is much faster to invert where a is small.
        size = np.shape(shape) if size is None else size
        return gammaincinv(shape + 1.0, self.random(size)) * self.random(size) ** (1.0 / shape)


def _replay(draw, numbers, rows, low=0.0, high=1.0):
    """Call ``draw(rng, rows)`` with the numbers of the rows; array (len(rows), ...).

    Where a family draws for some of its rows apart, the range of the first number, by which such choices are made, is
    halved until all rows in it go the same way.
    """
    try:
        return draw(_Replay(numbers[rows]), rows)
    except _OtherRowsError:
        middle = 0.5 * (low + high)
        upper = numbers[rows, 0] >= middle
        if high - low < _SAME_CHOICE:  # another number decides: one by one
            return np.concatenate([draw(_Replay(numbers[[row]]), np.array([row])) for row in rows])
        parts = [(low, middle, ~upper), (middle, high, upper)]
        out = [_replay(draw, numbers, rows[part], *ends) for *ends, part in parts if part.any()]
        return np.concatenate(out)[np.argsort(np.argsort(upper, kind="stable"))]


class ReplayedPrior:
    """Histories and stellar libraries of the training's prior, from numbers between 0 and 1.

    Parameters
    ----------
    config : `~sfh_cnn.synthesis.SynthesisConfig`
    edges_yr : ndarray, shape (n_fine + 1,)
        Fine age bins.
    n_library : int

    Attributes
    ----------
    n_number : int
        Numbers that make one history; the last `N_FREE` of them are free for whatever else is to be drawn.
    """

    def __init__(self, config, edges_yr, n_library, metallicity_range_dex):
        self.config, self.edges_yr, self.n_library = config, edges_yr, n_library
        self.range_dex = metallicity_range_dex
        flat = np.full((1, len(edges_yr) - 1), 1.0 / (len(edges_yr) - 1))
        n_sfh = self._probe(config.sfh.built, lambda family, rng: family.draw(rng, 1, edges_yr))
        n_amr = self._probe(config.metallicity.built, lambda family, rng: family.draw(rng, flat, edges_yr))
        #: Where the numbers of each part begin: family and rest of the star formation history, of the enrichment, then
        #: library and what is free.
        self._start = np.cumsum([0, 1 + max(n_sfh), 1 + max(n_amr)])
        self.n_number = int(self._start[-1]) + 4 + N_FREE
        position, (_, second, third) = np.arange(self.n_number), self._start
        self._active = (
            np.array([position <= n for n in n_sfh]),
            np.array([(position >= second) & (position <= second + n) for n in n_amr]),
            (position >= third + (4 if n_library == 1 else 0))[None],
        )

    @staticmethod
    def _probe(families, draw):
        """Numbers that each family needs at most."""
        rng = np.random.default_rng(0)
        most = [0] * len(families)
        for i, family in enumerate(families.values()):
            for _ in range(_N_PROBE):
                replay = _Replay(rng.random((1, _WIDTH)))
                draw(family, replay)
                most[i] = max(most[i], replay.used)
        return most

    def kind(self, numbers):
        """Families of each row, integers (n, 3): star formation history, enrichment, and 0 for the rest."""
        config, second = self.config, numbers[:, self._start[1]]
        first, second = _family(numbers[:, 0], config.sfh.families), _family(second, config.metallicity.families)
        return np.stack([first, second, np.zeros_like(first)], axis=1)

    def active(self, kind):
        """Numbers that matter to rows of some kinds, by block, (n, 3, n_number) bool."""
        return np.stack([table[label] for table, label in zip(self._active, kind.T, strict=True)], axis=1)

    def __call__(self, numbers):
        """Histories.

        Parameters
        ----------
        numbers : ndarray, shape (n, n_number)

        Returns
        -------
        dict of ndarray
            ``mass``, ``fine_metallicity`` (n, n_fine) and ``shares`` (n, n_library), as
            `~sfh_cnn.synthesis.MockGenerator.spectra` takes them.
        """
        config, edges_yr = self.config, self.edges_yr
        # The ends are at infinity for a normal distribution.
        numbers = np.clip(np.asarray(numbers, dtype=float), 1e-12, 1 - 1e-12)
        of_sfh, of_amr, rest = np.split(numbers, self._start[1:], axis=1)
        mass = np.empty((len(numbers), len(edges_yr) - 1))
        for family, rows in _by_family(of_sfh[:, 0], config.sfh):
            mass[rows] = _replay(lambda rng, rows, f=family: f.draw(rng, len(rows), edges_yr), of_sfh[:, 1:], rows)
        metallicity = np.empty_like(mass)
        for family, rows in _by_family(of_amr[:, 0], config.metallicity):
            metallicity[rows] = _replay(
                lambda rng, rows, f=family: f.draw(rng, mass[rows], edges_yr), of_amr[:, 1:], rows
            )
        np.clip(metallicity, *self.range_dex, out=metallicity)
        shares = library_shares(_Replay(rest), len(numbers), self.n_library, config.mixed_library_share)
        return {"mass": mass, "fine_metallicity": metallicity, "shares": shares}


def _family(number, weights):
    share = np.cumsum(list(weights.values()))
    return np.searchsorted(share / share[-1], number, side="right").clip(max=len(share) - 1)


def _by_family(number, prior):
    """Families of a prior that have rows, and these rows."""
    index = _family(number, prior.families)
    for k, family in enumerate(prior.built.values()):
        if len(rows := np.flatnonzero(index == k)):
            yield family, rows
