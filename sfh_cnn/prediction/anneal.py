"""Sequential Monte Carlo: from draws of the prior to draws of the posterior, and how many they are worth."""

from typing import NamedTuple

import numpy as np

__all__ = ["N_SNAPSHOT", "Population", "anneal", "effective_sample_size"]

#: How often the last population is recorded.
N_SNAPSHOT = 8
#: Share of the particles that a step in temperature leaves effective.
_KEPT = 0.5
#: Steps in temperature after which a run is given up.
_MAX_STEP = 60
#: Kinds of different blocks are told apart by powers of this.
_RADIX = 1000
#: Share of the proposals along the difference of two other particles.
_ALONG = 0.6


class Population(NamedTuple):
    """Draws from a posterior, in islands that know nothing of each other.

    ``numbers`` (n_island, n_draw, n_number) between 0 and 1, ``log_likelihood`` (n_island, n_draw).
    """

    numbers: np.ndarray
    log_likelihood: np.ndarray


def anneal(log_likelihood, kind, active, start, n_particle, n_sweep, n_final, rng):
    """Sample a posterior whose prior is uniform in the unit cube.

    The likelihood is switched on in steps, raised to a power that grows from 0 to 1. At each step particles are
    copied or dropped by their importance weights (sequential Monte Carlo, Del Moral, Doucet & Jasra 2006, J. R. Stat.
    Soc. B 68, 411), then moved by Metropolis sweeps. Proposals are symmetric: along the difference of two other
    particles (ter Braak 2006, Stat. Comput. 16, 239) or a random walk in some of the numbers; both wrap around at 0
    and 1.

    Parameters
    ----------
    log_likelihood : callable
        From numbers (n, n_number) to (n,).
    kind : callable
        From numbers (n, n_number) to integers (n, n_block) below 1000, what each particle is in each block of numbers;
        differences are taken between particles of one kind.
    active : callable
        From such integers to the numbers of each block that matter, (n, n_block, n_number) bool.
    start : ndarray, shape (n_island, n_start, n_number)
        Draws of the prior: uniform numbers.
    n_particle : int
        Particles of each island, even.
    n_sweep : int
        Sweeps after each step.
    n_final : int
        Sweeps after the last step, from which draws are taken `N_SNAPSHOT` times.
    rng : `numpy.random.Generator`

    Returns
    -------
    Population
        With ``n_draw = N_SNAPSHOT * n_particle``.
    """
    numbers, log_like = start, _on_islands(log_likelihood, start)
    power = 0.0
    for _ in range(_MAX_STEP):
        step = _next_step(log_like, 1.0 - power, n_particle)
        power += step
        weight = np.exp(step * (log_like - log_like.max(axis=1, keepdims=True)))
        chosen = np.stack([_resample(row, n_particle, rng) for row in weight])
        numbers = np.take_along_axis(numbers, chosen[..., None], axis=1)
        log_like = np.take_along_axis(log_like, chosen, axis=1)
        if power > 1.0 - 1e-9:
            break
        for _ in range(n_sweep):
            numbers, log_like = _sweep(numbers, log_like, power, log_likelihood, kind, active, rng)
    kept = []
    for i in range(n_final):
        numbers, log_like = _sweep(numbers, log_like, power, log_likelihood, kind, active, rng)
        if (i + 1) * N_SNAPSHOT // n_final > i * N_SNAPSHOT // n_final:
            kept.append((numbers, log_like))
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


def _sweep(numbers, log_like, power, log_likelihood, kind, active, rng):
    """Move one half of each island, guided by the other half, so that the moves are reversible."""
    order = np.argsort(rng.random(log_like.shape), axis=1)
    numbers = np.take_along_axis(numbers, order[..., None], axis=1)
    log_like = np.take_along_axis(log_like, order, axis=1)
    half = log_like.shape[1] // 2
    proposed, allowed = _propose(numbers[:, :half], numbers[:, half:], kind, active, rng)
    value = _on_islands(log_likelihood, proposed)
    accepted = allowed & (np.log(rng.random(value.shape)) < power * (value - log_like[:, :half]))
    numbers[:, :half][accepted] = proposed[accepted]
    log_like[:, :half][accepted] = value[accepted]
    return numbers, log_like


def _on_islands(function, numbers):
    return function(numbers.reshape(-1, numbers.shape[-1])).reshape(numbers.shape[:2])


def _next_step(log_like, largest, n_particle):
    """Largest step in the power that leaves half of the particles of a typical island effective."""
    target = _KEPT * n_particle
    centred = log_like - log_like.max(axis=1, keepdims=True)

    def size(step):
        weight = np.exp(step * centred)
        return np.median(weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1))

    if size(largest) >= target:
        return largest
    low, high = 0.0, largest
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if size(middle) >= target else (low, middle)
    return max(low, 1e-6)


def _resample(weight, n, rng):
    """Systematic resampling: positions of ``n`` particles."""
    total = np.cumsum(weight)
    return np.searchsorted(total / total[-1], (np.arange(n) + rng.random()) / n).clip(max=len(weight) - 1)


def _propose(numbers, others, kind, active, rng):
    """Proposals for particles (n_island, n, n_number), guided by others of their islands, and which are allowed."""
    n_island, n, n_number = numbers.shape
    own = kind(numbers.reshape(-1, n_number)).reshape(n_island, n, -1)
    guide = kind(others.reshape(-1, n_number)).reshape(n_island, others.shape[1], -1)
    n_block = own.shape[-1]
    # Differences of particles that agree in one block are taken in this block, of those that agree in all, in all.
    which = rng.integers(-1, n_block, size=(n_island, n))
    which[rng.random(which.shape) < 0.4] = -1
    difference = np.zeros_like(numbers)
    for island in range(n_island):
        for block in range(-1, n_block):
            mine = which[island] == block
            here, there = (
                (labels[island] @ _RADIX ** np.arange(n_block)) if block < 0 else labels[island, :, block]
                for labels in (own, guide)
            )
            for one in np.unique(here[mine]):
                rows, known = np.flatnonzero(mine & (here == one)), np.flatnonzero(there == one)
                if len(known) > 1:
                    first, second = known[rng.integers(len(known), size=(2, len(rows)))]
                    difference[island, rows] = others[island, first] - others[island, second]
    matter = active(own.reshape(n_island * n, -1)).reshape(*numbers.shape[:2], n_block, n_number)
    inside = np.where((which < 0)[..., None], matter.any(axis=2), _pick(matter, np.maximum(which, 0)))
    difference = (difference - np.round(difference)) * inside
    along = difference.any(axis=-1) & (rng.random((n_island, n)) < _ALONG)
    length = rng.uniform(0.05, 1.0, (n_island, n, 1))
    # A walk in one of the numbers that matter, a few or all, with steps of all sizes.
    matter = matter.any(axis=2)
    share = np.array([1.5, 4.0, n_number])[rng.integers(3, size=(n_island, n, 1))] / matter.sum(axis=-1, keepdims=True)
    size = 10 ** rng.uniform(-3.0, -0.3, (n_island, n, 1))
    walk = rng.standard_normal(numbers.shape) * size * (matter & (rng.random(numbers.shape) < share))
    proposed = (numbers + np.where(along[..., None], length * difference, walk)) % 1.0
    now = kind(proposed.reshape(-1, n_number)).reshape(own.shape)
    # The way back from another kind would take other differences and walk in other numbers.
    return proposed, (now == own).all(axis=-1)


def _pick(matter, block):
    """Numbers that matter in one block of each particle, (n_island, n, n_number)."""
    return np.take_along_axis(matter, block[..., None, None], axis=2)[:, :, 0]
