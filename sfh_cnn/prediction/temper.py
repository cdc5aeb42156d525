"""Tempered chains: from draws of the prior to draws of the posterior, and how many they are worth."""

from typing import NamedTuple

import numpy as np

__all__ = ["Population", "effective_sample_size", "temper"]

#: Effective size of each island's draws of the prior under the weakest likelihood.
_BASE_SIZE = 128
#: Share of the particles that a step in temperature leaves effective, and the most steps.
_KEPT, _MAX_STEP = 0.5, 40
#: Sweeps between two steps while the chains are set up.
_N_SETUP = 3
#: Share of the later sweeps that are forgotten, and how many are between two that are kept.
_FORGOTTEN, _EVERY = 0.25, 4
#: Kinds of different blocks are told apart by powers of this.
_RADIX = 1000
#: Guides, in all.
_N_GUIDE = 6000
#: Share of the proposals along the difference of two guides, how many of these in all numbers, and their lengths.
_ALONG, _WHOLE, _LENGTH = 0.7, 0.5, (0.05, 1.0)
#: Sizes of the steps of a random walk.
_WALK = (0.003, 0.5)


class Population(NamedTuple):
    """Draws in islands that know nothing of each other.

    ``numbers`` (n_island, n_draw, n_number) between 0 and 1, ``log_likelihood`` (n_island, n_draw).
    """

    numbers: np.ndarray
    log_likelihood: np.ndarray


def temper(log_likelihood, kind, active, start, n_chain, n_sweep, rng):
    """Sample a posterior whose prior is uniform in the unit cube.

    Parallel tempering (Geyer 1991; Earl & Deem 2005, Phys. Chem. Chem. Phys. 7, 3910): chains under the likelihood
    raised to powers up to 1, which exchange their particles. Under the lowest power the draws of the prior that came in
    are a large sample when weighted, from which the chains there are drawn anew in each sweep; so each chain is visited
    by particles of all kinds, and shares of kinds do not depend on where it began. The powers and the first particles
    come from sequential Monte Carlo (Del Moral, Doucet & Jasra 2006, J. R. Stat. Soc. B 68, 411). Within a chain,
    Metropolis proposals are symmetric: along the difference of two draws under the lowest power (as ter Braak 2006,
    Stat. Comput. 16, 239, with a population that stays as it is) or a random walk in some of the numbers; both wrap
    around at 0 and 1.

    Parameters
    ----------
    log_likelihood : callable
        From numbers (n, n_number) to (n,).
    kind : callable
        From numbers (n, n_number) to integers (n, n_block) below 1000, what each particle is in each block of numbers;
        differences are taken between particles of one kind.
    active : callable
        From such integers to the numbers of each block that matter, (n, n_block, n_number) bool.
    start : Population
        Draws of the prior, uniform numbers, and their likelihoods.
    n_chain : int
        Chains of each power on each island.
    n_sweep : int
    rng : `numpy.random.Generator`

    Returns
    -------
    Population
        Draws from the posterior.
    """
    base = _weights(start.log_likelihood, _next_step(start.log_likelihood, 1.0, _BASE_SIZE))
    drawn = _resample(start, base, _N_GUIDE // len(base), rng)
    guides = _Guides(drawn.numbers.reshape(-1, drawn.numbers.shape[-1]), kind, active)
    rungs, powers = _set_up(log_likelihood, kind, guides, start, n_chain, rng)
    numbers, log_like = (np.stack(part) for part in zip(*rungs, strict=True))  # (n_power, n_island, n_chain, ...)
    kept = []
    for sweep in range(n_sweep):
        if len(powers) > 1:  # else the draws of the prior are enough
            _move(numbers[1:], log_like[1:], powers[1:], log_likelihood, kind, guides, rng)
        numbers[0], log_like[0] = _resample(start, base, n_chain, rng)
        for first in (0, 1):
            _exchange(numbers, log_like, powers, first, rng)
        if sweep >= _FORGOTTEN * n_sweep and sweep % _EVERY == 0:
            kept.append((numbers[-1].copy(), log_like[-1].copy()))
    return Population(*(np.concatenate(parts, axis=1) for parts in zip(*kept, strict=True)))


def effective_sample_size(values):
    """Independent draws that a population is worth, from how its islands scatter.

    The posterior's variance over the variance of its mean, averaged over the quantities. It counts everything that
    makes islands differ: copies, moves that are too short, modes that some of them miss.

    Parameters
    ----------
    values : ndarray, shape (n_island, n_draw, n_quantity)
        Derived quantities of the draws.

    Returns
    -------
    float
        At most the number of draws.
    """
    n_island, n_draw, n_quantity = values.shape
    between = values.mean(axis=1).var(axis=0, ddof=1) / n_island
    total = values.reshape(-1, n_quantity).var(axis=0)
    moving = total > 0
    share = np.mean(between[moving] / total[moving]) if moving.any() else 1.0
    return float(1.0 / max(share, 1.0 / (n_island * n_draw)))


def _set_up(log_likelihood, kind, guides, start, n_chain, rng):
    """A population for each power, and the powers."""
    powers = [_next_step(start.log_likelihood, 1.0, _BASE_SIZE)]
    rungs = [_resample(start, _weights(start.log_likelihood, powers[0]), n_chain, rng)]
    while powers[-1] < 1.0 and len(powers) < _MAX_STEP:
        now = rungs[-1]
        step = _next_step(now.log_likelihood, 1.0 - powers[-1], _KEPT * n_chain)
        now = _resample(now, _weights(now.log_likelihood, step), n_chain, rng)
        powers.append(1.0 if powers[-1] + step > 1.0 - 1e-9 else powers[-1] + step)
        for _ in range(_N_SETUP):
            _move(now.numbers[None], now.log_likelihood[None], powers[-1:], log_likelihood, kind, guides, rng)
        rungs.append(now)
    return rungs, np.array(powers)


def _weights(log_like, power):
    return np.exp(power * (log_like - log_like.max(axis=1, keepdims=True)))


def _next_step(log_like, largest, target):
    """Largest step in the power that leaves so many particles of a typical island effective."""

    def size(step):
        weight = _weights(log_like, step)
        return np.median(weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1))

    if size(largest) >= target:
        return largest
    low, high = 0.0, largest
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if size(middle) >= target else (low, middle)
    return max(low, 1e-6)


def _resample(population, weight, n, rng):
    """Systematic resampling of each island, in random order."""
    total = np.cumsum(weight, axis=1)
    total /= total[:, -1:]
    places = (np.arange(n) + rng.random((len(total), 1))) / n
    chosen = np.stack([np.searchsorted(*pair) for pair in zip(total, places, strict=True)])
    chosen = rng.permuted(chosen.clip(max=weight.shape[1] - 1), axis=1)
    return Population(
        np.take_along_axis(population.numbers, chosen[..., None], axis=1),
        np.take_along_axis(population.log_likelihood, chosen, axis=1),
    )


def _exchange(numbers, log_like, powers, first, rng):
    """Swap particles of neighbouring powers, in place; ``first`` 0 or 1 says which neighbours."""
    low = np.arange(first, len(powers) - 1, 2)
    gain = (powers[low + 1] - powers[low])[:, None, None] * (log_like[low] - log_like[low + 1])
    rung, *where = np.nonzero(np.log(rng.random(gain.shape)) < gain)
    here, there = (low[rung], *where), (low[rung] + 1, *where)
    for values in (numbers, log_like):
        values[here], values[there] = values[there], values[here]


def _move(numbers, log_like, powers, log_likelihood, kind, guides, rng):
    """Move the particles (n_power, n_island, n_chain, n_number), in place."""
    flat, value = numbers.reshape(-1, numbers.shape[-1]), log_like.reshape(-1)
    proposed = guides.propose(flat, rng)
    # The way back from another kind would take other differences and walk in other numbers.
    allowed = (kind(proposed) == kind(flat)).all(axis=1)
    found = log_likelihood(proposed)
    power = np.repeat(powers, log_like[0].size)
    accepted = allowed & (np.log(rng.random(len(flat))) < power * (found - value))
    flat[accepted] = proposed[accepted]
    value[accepted] = found[accepted]


class _Guides:
    """Symmetric proposals, guided by draws that do not move themselves.

    Parameters
    ----------
    numbers : ndarray, shape (n_guide, n_number)
    kind, active : callable
        See `temper`.
    """

    def __init__(self, numbers, kind, active):
        self._numbers, self._kind, self._active = numbers, kind, active
        # For all blocks together and each alone: labels in order, and whose they are.
        self._sorted = []
        for label in _labels(kind(numbers)):
            order = np.argsort(label, kind="stable")
            self._sorted.append((label[order], order))

    def propose(self, numbers, rng):
        """New numbers (n, n_number)."""
        n, n_number = numbers.shape
        own = self._kind(numbers)
        n_block = own.shape[1]
        # Differences of guides of the same kind in one block are taken in this block, of those in all, in all.
        which = np.where(rng.random(n) < _WHOLE, 0, rng.integers(n_block + 1, size=n))
        difference = np.zeros_like(numbers)
        for i, (label, (ordered, order)) in enumerate(zip(_labels(own), self._sorted, strict=True)):
            rows = np.flatnonzero(which == i)
            first, last = (np.searchsorted(ordered, label[rows], side) for side in ("left", "right"))
            known = last - first > 1
            rows, first, count = rows[known], first[known], (last - first)[known]
            one = rng.integers(count)
            other = (one + 1 + rng.integers(count - 1)) % count
            difference[rows] = self._numbers[order[first + one]] - self._numbers[order[first + other]]
        matter = self._active(own)
        inside = np.where((which == 0)[:, None], matter.any(axis=1), matter[np.arange(n), np.maximum(which - 1, 0)])
        difference = (difference - np.round(difference)) * inside
        along = difference.any(axis=1) & (rng.random(n) < _ALONG)
        length = np.exp(rng.uniform(*np.log(_LENGTH), (n, 1)))
        # A walk in one of the numbers that matter, a few or all, with steps of all sizes.
        matter = matter.any(axis=1)
        share = np.array([1.5, 4.0, n_number])[rng.integers(3, size=(n, 1))] / matter.sum(axis=1, keepdims=True)
        size = np.exp(rng.uniform(*np.log(_WALK), (n, 1)))
        walk = rng.standard_normal(numbers.shape) * size * (matter & (rng.random(numbers.shape) < share))
        return ((numbers + np.where(along[:, None], length * difference, walk)) % 1.0).astype(numbers.dtype)


def _labels(kinds):
    """One integer for all blocks together, then those of each block."""
    return [kinds @ _RADIX ** np.arange(kinds.shape[1]), *kinds.T]
