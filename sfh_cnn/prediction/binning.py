"""Bins of spaxels that reach a signal-to-noise ratio."""

import heapq
import importlib

import numpy as np

from sfh_cnn.core import SFHCNNError

__all__ = ["accrete_bins", "bin_spaxels"]

_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def bin_spaxels(signal, noise, target_snr, *, method="accretion", correlation=None):
    """Bins of about equal signal-to-noise ratio.

    Parameters
    ----------
    signal, noise : ndarray, shape (n_y, n_x)
        Of each spaxel; NaN, or noise that is not positive, where a spaxel is to be in no bin.
    target_snr : float
        S/N to be reached.
    method : {"accretion", "voronoi", "power"}, optional
        The package's own `accrete_bins`; or the Voronoi bins of Cappellari & Copin (2003, MNRAS 342, 345) by the
        package vorbin; or the power diagrams of Cappellari (2025, MNRAS 544, 1432) by powerbin, if it is installed.
        The licences of the two are their own.
    correlation : callable, optional
        From the number of spaxels of a bin to the factor by which its error exceeds that of independent spaxels.

    Returns
    -------
    bin_id : ndarray of int, shape (n_y, n_x)
        Numbered from 0; -1 for none.

    Raises
    ------
    SFHCNNError
        If no spaxel is usable, or the method or target is not valid.
    ImportError
        If the package of the method is not installed.
    """
    if not target_snr > 0:
        raise SFHCNNError(f"target_snr must be positive, got {target_snr}")
    good = np.isfinite(signal) & np.isfinite(noise) & (np.nan_to_num(noise) > 0)
    if not good.any():
        raise SFHCNNError("no spaxel has signal and noise; nothing to bin")
    correlation = correlation or (lambda n_spaxel: 1.0)
    if method == "accretion":
        return accrete_bins(signal, noise, target_snr, correlation)
    if method not in ("voronoi", "power"):
        raise SFHCNNError(f"binning must be 'accretion', 'voronoi' or 'power', got {method!r}")
    y, x = np.nonzero(good)
    numbers = (_voronoi if method == "voronoi" else _power)(x, y, signal[good], noise[good], target_snr, correlation)
    bin_id = np.full(np.shape(signal), -1)
    bin_id[good] = np.unique(numbers, return_inverse=True)[1]
    return bin_id


def _package(module):
    try:
        return importlib.import_module(module)
    except ImportError as err:
        name = module.split(".")[0]
        raise ImportError(
            f"this binning needs {name}, under its own licence: pip install {name}; binning='accretion' needs nothing"
        ) from err


def _snr_function(signal, noise, correlation):
    def snr(index):
        return signal[index].sum() / np.sqrt(np.sum(noise[index] ** 2)) / correlation(len(index))

    return snr


def _voronoi(x, y, signal, noise, target_snr, correlation):
    vorbin = _package("vorbin.voronoi_2d_binning")
    snr = _snr_function(signal, noise, correlation)
    return vorbin.voronoi_2d_binning(
        x, y, signal, noise, target_snr, pixelsize=1.0, plot=False, quiet=True,
        sn_func=lambda index, signal=None, noise=None: snr(np.atleast_1d(index)),
    )[0]  # fmt: skip


def _power(x, y, signal, noise, target_snr, correlation):
    powerbin = _package("powerbin")
    snr = _snr_function(signal, noise, correlation)
    made = powerbin.PowerBin(
        np.column_stack([x, y]).astype(float),
        lambda index: max(snr(np.atleast_1d(index)), 0.0) ** 2,
        target_snr**2,
        pixelsize=1.0,
        verbose=0,
    )
    return made.bin_num


def accrete_bins(signal, noise, target_snr, correlation):
    """Grow bins spaxel by spaxel, from the brightest place outward.

    A bin starts at the free spaxel nearest to the brightest one and takes the free neighbour that is nearest to its
    start until the target is reached. What is left over in a gap joins the neighbouring bin that keeps the highest
    S/N, as long as that stays above the target; else it is a bin of its own, below the target.

    Parameters
    ----------
    signal, noise, target_snr, correlation : ndarray, ndarray, float, callable
        As in `bin_spaxels`.

    Returns
    -------
    bin_id : ndarray of int, shape (n_y, n_x)
        Every usable spaxel is in one bin; bins are in one piece (by edges). -1 for the others.
    """
    signal, noise = np.asarray(signal, dtype=float), np.asarray(noise, dtype=float)
    n_y, n_x = signal.shape
    good = np.isfinite(signal) & np.isfinite(noise) & (np.nan_to_num(noise) > 0)
    # Plain lists of a frame one spaxel wider: much faster than arrays, one element at a time.
    width = n_x + 2
    value = np.pad(np.where(good, signal, 0.0), 1).ravel().tolist()
    variance = np.pad(np.where(good, noise, 0.0) ** 2, 1).ravel().tolist()
    label = np.pad(np.where(good, -1, -2), 1, constant_values=-2).ravel().tolist()  # -1 is free, -2 not usable
    steps = [dy * width + dx for dy, dx in _NEIGHBOURS]

    def reached(total, total_variance, n_spaxel):
        return total > 0 and total >= target_snr * correlation(n_spaxel) * total_variance**0.5

    sums = []  # signal, variance, number of spaxels of each bin
    incomplete = []  # bins that ran out of neighbours: number, spaxels
    for start in _outward(signal, noise, good, width):
        if label[start] != -1:
            continue
        number, members = len(sums), []
        total = total_variance = 0.0
        y0, x0 = divmod(start, width)
        frontier, seen = [(0, start)], {start}
        while frontier and not (members and reached(total, total_variance, len(members))):
            here = heapq.heappop(frontier)[1]
            label[here] = number
            members.append(here)
            total += value[here]
            total_variance += variance[here]
            for step in steps:
                there = here + step
                if label[there] == -1 and there not in seen:
                    seen.add(there)
                    y, x = divmod(there, width)
                    heapq.heappush(frontier, ((y - y0) ** 2 + (x - x0) ** 2, there))
        sums.append([total, total_variance, len(members)])
        if not reached(total, total_variance, len(members)):
            incomplete.append((number, members))

    for number, members in incomplete:
        total, total_variance, n_spaxel = sums[number]
        beside = {label[here + step] for here in members for step in steps} - {number, -2}
        best, best_snr = None, target_snr
        for other in sorted(beside):
            joined = sums[other][0] + total
            n_joined = sums[other][2] + n_spaxel
            snr = joined / (sums[other][1] + total_variance) ** 0.5 / correlation(n_joined)
            if snr >= best_snr:
                best, best_snr = other, snr
        if best is not None:
            for here in members:
                label[here] = best
            sums[best] = [sums[best][0] + total, sums[best][1] + total_variance, sums[best][2] + n_spaxel]
            sums[number] = [0.0, 0.0, 0]

    labels = np.array(label).reshape(n_y + 2, width)[1:-1, 1:-1]
    bin_id = np.full(signal.shape, -1)
    bin_id[good] = np.unique(labels[good], return_inverse=True)[1]
    return bin_id


def _outward(signal, noise, good, width):
    """Usable spaxels in the padded frame, by distance from the one of highest S/N."""
    y, x = np.nonzero(good)
    peak = np.argmax(signal[good] / noise[good])
    order = np.argsort((y - y[peak]) ** 2 + (x - x[peak]) ** 2, kind="stable")
    return ((y[order] + 1) * width + x[order] + 1).tolist()
