"""Histories into light: mass formed at each age and metallicity, and what that shines."""

from __future__ import annotations

import numpy as np

from .ssp_grid import metallicity_weights

__all__ = ["bin_history", "library_shares", "mass_weights"]


def mass_weights(mass: np.ndarray, metallicity_dex: np.ndarray, nodes_dex: np.ndarray) -> np.ndarray:
    """Spread the mass of each fine age bin over the two [M/H] nodes around its metallicity.

    Parameters
    ----------
    mass, metallicity_dex : ndarray, shape (n_spec, n_fine)
        Mass formed (rows sum to 1) and [M/H], dex.
    nodes_dex : ndarray, shape (n_met,)
        [M/H] nodes.

    Returns
    -------
    ndarray, shape (n_spec, n_fine, n_met), float32
        Sums to 1 for each spectrum.
    """
    index, part = metallicity_weights(metallicity_dex, nodes_dex)
    weights = np.zeros((*mass.shape, len(nodes_dex)), dtype=np.float32)
    np.put_along_axis(weights, index[..., None], (mass * (1 - part))[..., None], axis=-1)
    np.put_along_axis(weights, index[..., None] + 1, (mass * part)[..., None], axis=-1)
    return weights


def library_shares(rng: np.random.Generator, n: int, n_library: int, mixed_share: float) -> np.ndarray:
    """Share of each stellar library in each mock.

    Parameters
    ----------
    rng : numpy.random.Generator
    n, n_library : int
        Number of mocks and of libraries.
    mixed_share : float
        Share of mocks that mix two libraries, evenly between them; the others take one at random.

    Returns
    -------
    ndarray, shape (n, n_library), float32
        Rows sum to 1.
    """
    shares = np.zeros((n, n_library), dtype=np.float32)
    first = rng.integers(n_library, size=n)
    mixed = rng.random(n) < (mixed_share if n_library > 1 else 0.0)
    weight = np.where(mixed, rng.random(n), 1.0).astype(np.float32)
    second = (first + 1 + rng.integers(max(n_library - 1, 1), size=n)) % n_library
    rows = np.arange(n)
    shares[rows, first] += weight
    shares[rows, second] += 1 - weight
    return shares


def bin_history(
    mass: np.ndarray, metallicity_dex: np.ndarray, light: np.ndarray, parent: np.ndarray, n_age: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass fractions, light fractions and [M/H] in the network's bins.

    Parameters
    ----------
    mass, metallicity_dex, light : ndarray, shape (n_spec, n_fine)
        Mass formed, [M/H] (dex) and V-band luminosity of the fine bins.
    parent : ndarray of int, shape (n_fine,)
        Bin that each fine bin belongs to.
    n_age : int
        Number of the network's bins.

    Returns
    -------
    mass_fraction, light_fraction, metallicity : ndarray, shape (n_spec, n_age), float32
        [M/H] is the mean weighted by mass; in a bin without mass, the mean of its fine bins.
    """
    sums = np.zeros((len(parent), n_age))
    sums[np.arange(len(parent)), parent] = 1.0
    binned = mass @ sums
    tiny = 1e-7 / sums.sum(axis=0)[parent]  # gives empty bins a metallicity and leaves the others alone
    weight = mass + tiny * 1e-3
    metallicity = ((weight * metallicity_dex) @ sums) / (weight @ sums)
    light_binned = light @ sums
    return (
        (binned / binned.sum(axis=1, keepdims=True)).astype(np.float32),
        (light_binned / light_binned.sum(axis=1, keepdims=True)).astype(np.float32),
        metallicity.astype(np.float32),
    )
