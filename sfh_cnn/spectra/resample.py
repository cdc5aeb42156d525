"""Flux-conserving resampling onto a network's rest-frame pixels, as a sparse matrix.

The one kernel that synthesis and prediction share: what a network was trained on and what it is given later go
through the same lines.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sfh_cnn.core import SFHCNNError, constants, kernels, pixel_edges

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from sfh_cnn.core import WavelengthGrid

__all__ = ["redshift_order", "resample_matrix", "resample_spectra", "resample_to_grid"]

#: An output pixel is used if at least this share of it is covered by good input pixels.
_MIN_COVERAGE = 0.5
_LEAST_COVERED = _MIN_COVERAGE - 1e-6  # but for rounding
#: Errors further from the typical one are a sign that a pixel is bad; the squares of others are in range.
_SMALLEST_ERROR, _LARGEST_ERROR = 1e-18, 1e18

#: Spectra per block: large enough for numpy, small enough that the temporaries stay in the processor's cache.
_BLOCK = 64

#: Spectra whose redshifts round to the same multiple of this share a matrix: off by at most 1 km/s, a sixtieth of a
#: MUSE pixel. The rounding is absolute, so a spaxel alone and in its cube is treated alike.
_REDSHIFT_STEP = 2.0 / constants.C_KMS


def resample_matrix(wave_edges_obs_aa: np.ndarray, grid: WavelengthGrid, redshift: float = 0.0) -> csr_array:
    """Overlap of observed pixels with the rest-frame pixels of a grid.

    Parameters
    ----------
    wave_edges_obs_aa : ndarray, shape (n_wave_obs + 1,)
        Edges of the observed pixels, strictly increasing, air, Angstrom (see `~sfh_cnn.core.pixel_edges`).
    grid : `~sfh_cnn.core.WavelengthGrid`
        Rest-frame pixels of the network.
    redshift : float, optional
        Redshift of the source.

    Returns
    -------
    scipy.sparse.csr_array, shape (n_wave, n_wave_obs)
        Share of each grid pixel that each observed pixel covers. Rows sum to 1 inside the observed range, to less
        at its ends, to 0 outside; ``matrix @ flux`` is then the mean flux density in each grid pixel, which keeps
        the integral of the flux density over (observed) wavelength.

    Raises
    ------
    SFHCNNError
        If the edges do not increase or the redshift is not above -1.
    """
    edges_in = np.asarray(wave_edges_obs_aa, dtype=float)
    if edges_in.ndim != 1 or len(edges_in) < 2 or not np.all(np.diff(edges_in) > 0):
        raise SFHCNNError("wave_edges_obs_aa must be one-dimensional, finite and strictly increasing; sort it first")
    if not redshift > -1:
        raise SFHCNNError(f"redshift must be a number above -1, got {redshift}")
    # The grid is taken to the observed frame, where the flux density was measured: no factor (1 + z) in the flux.
    edges_out = grid.edges_aa * (1 + redshift)

    # Between two neighbouring edges of either kind lies one piece of one input and one output pixel.
    low, high = max(edges_in[0], edges_out[0]), min(edges_in[-1], edges_out[-1])
    edges = np.sort(np.concatenate([edges_in, edges_out]).clip(low, max(low, high)), kind="stable")
    pieces = np.diff(edges)
    middle, pieces = 0.5 * (edges[1:] + edges[:-1])[pieces > 0], pieces[pieces > 0]
    row = np.searchsorted(edges_out, middle) - 1
    column = np.searchsorted(edges_in, middle) - 1
    weights = pieces / np.diff(edges_out)[row]
    # The pieces come in the order of both rows and columns, which is the order that CSR wants.
    row_ends = np.searchsorted(row, np.arange(grid.n_wave + 1))
    return sparse.csr_array((weights, column, row_ends), shape=(grid.n_wave, len(edges_in) - 1))


def resample_spectra(
    flux: np.ndarray, flux_err: np.ndarray | None, mask: np.ndarray | None, matrix: csr_array
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Put spectra of one redshift on the grid's pixels, with errors and mask.

    Bad pixels leave and the weights are shared among the good ones; an output pixel is bad if less than half of it
    is covered by good input.

    Errors keep the *noise power per Angstrom*: ``var_out = sum_i w_i var_i width_i / width_out``. Neighbouring
    output pixels share input pixels, so their noise is correlated; the variance of one pixel alone
    (``sum_i w_i^2 var_i``) would be smaller, and a network or a chi2 that takes pixels as independent would count
    the same photons twice. With the noise power kept, the information in any stretch of many pixels is that of the
    input. Where only a share ``c`` of an output pixel is good, its variance grows by ``1 / c``.

    Parameters
    ----------
    flux : ndarray, shape (n_spec, n_wave_obs)
        Flux density.
    flux_err : ndarray, shape (n_spec, n_wave_obs) or None
        1-sigma errors. Pixels with errors that are not positive and finite, or 1e18 times the typical one, are bad.
    mask : ndarray of bool, shape (n_spec, n_wave_obs) or (n_wave_obs,) or None
        True marks bad pixels. Flux that is not finite is bad in any case.
    matrix : scipy.sparse.csr_array, shape (n_wave, n_wave_obs)
        From `resample_matrix`.

    Returns
    -------
    flux : ndarray of float32, shape (n_spec, n_wave)
        Mean flux density in each pixel, 0 where ``mask``.
    flux_err : ndarray of float32, shape (n_spec, n_wave), or None
        1-sigma errors, 0 where ``mask``.
    mask : ndarray of bool, shape (n_spec, n_wave)
        True marks bad pixels.

    Raises
    ------
    SFHCNNError
        If the shapes do not fit.
    """
    flux = np.asarray(flux)
    if flux.ndim != 2 or flux.shape[1] != matrix.shape[1]:
        raise SFHCNNError(f"flux has shape {flux.shape}, the matrix takes (n_spec, {matrix.shape[1]})")
    if flux_err is not None and np.shape(flux_err) != flux.shape:
        raise SFHCNNError(f"flux_err has shape {np.shape(flux_err)}, flux {flux.shape}; they must agree")
    if mask is not None:
        mask = np.broadcast_to(np.asarray(mask, dtype=bool), flux.shape)
    out = _empty(len(flux), matrix.shape[0], flux_err is not None)
    arrays = _contiguous(flux, flux_err, mask)
    _resample(arrays, np.arange(len(flux)), _Operator(matrix), out)
    return out


class _Operator:
    """A matrix and what follows from it, in single precision.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array
    full : ndarray, shape (n_wave,)
        Covered share of each output pixel.
    width_ratio : ndarray, shape (n_wave_obs,)
        Width of each input pixel over that of an output pixel: the column sums, where the grid covers the whole input
        pixel; the two at the ends take their neighbours'.
    first, weight : ndarray, shape (n_wave,) and (n_weight, n_wave)
        The matrix by rows: the first of ``n_weight`` neighbouring input pixels, and their weights.
    """

    def __init__(self, matrix):
        n_in = matrix.shape[1]
        ratio = np.bincount(matrix.indices, weights=matrix.data, minlength=n_in)
        met = np.flatnonzero(ratio)
        if len(met) > 2:
            ratio[met[0]], ratio[met[-1]] = ratio[met[1]], ratio[met[-2]]
        self.width_ratio = ratio.astype(np.float32)
        self.full = (matrix @ np.ones(n_in)).astype(np.float32)
        self.matrix = matrix.astype(np.float32)
        n_met = np.diff(matrix.indptr)
        n_weight = max(int(n_met.max(initial=0)), 1)
        begin = matrix.indices[np.minimum(matrix.indptr[:-1], matrix.nnz - 1)] if matrix.nnz else 0 * n_met
        self.first = np.minimum(begin, n_in - n_weight).astype(np.int32)
        self.weight = np.zeros((n_weight, len(n_met)), dtype=np.float32)
        row = np.repeat(np.arange(len(n_met)), n_met)
        self.weight[matrix.indices - self.first[row], row] = matrix.data


def _empty(n_spec, n_wave, has_err):
    """Flux, error and mask to be filled."""
    flux = np.empty((n_spec, n_wave), dtype=np.float32)
    return flux, np.empty_like(flux) if has_err else None, np.empty((n_spec, n_wave), dtype=bool)


def _contiguous(flux, flux_err, mask):
    """The arrays as the compiled kernel takes them: flux and errors of one type, (n_spec, n_wave_obs) in memory."""
    if kernels.compiled is None:
        return flux, flux_err, mask
    arrays = [np.asarray(array) for array in (flux, flux_err) if array is not None]
    kind = np.float32 if all(array.dtype.itemsize <= 4 for array in arrays) else np.float64
    flux, flux_err = (None if array is None else np.ascontiguousarray(array, dtype=kind) for array in (flux, flux_err))
    return flux, flux_err, None if mask is None else np.atleast_2d(np.ascontiguousarray(mask, dtype=bool))


def _resample(arrays, rows, operator, out):
    """`resample_spectra` of some rows of what `_contiguous` gave, into the same rows of what `_empty` gave."""
    flux, flux_err, mask = arrays
    if kernels.compiled is None:
        for start in range(0, len(rows), _BLOCK):
            _resample_block(flux, flux_err, mask, rows[start : start + _BLOCK], operator, out)
        return
    o, n_mask = operator, 0 if mask is None else len(mask)
    sizes = (*flux.shape, len(rows), len(o.full), n_mask, len(o.weight), flux.itemsize)
    given = (flux, flux_err, mask, np.ascontiguousarray(rows, dtype=np.int64))
    kernels.compiled.resample(sizes, *given, o.first, o.weight, o.full, o.width_ratio, _LEAST_COVERED, *out)


def _resample_block(flux, flux_err, mask, rows, operator, out):
    """`_resample` in numpy."""
    # Single precision has enough digits for a mean of a few pixels.
    values = flux[rows].astype(np.float32, copy=False)  # chosen by numbers: a copy already
    bad = ~np.isfinite(values)
    if mask is not None:
        bad |= np.broadcast_to(mask, flux.shape)[rows]
    columns = [values]
    if flux_err is not None:
        errors = np.asarray(flux_err)[rows]
        unit = _powers_of_two(errors, ~bad)[:, np.newaxis]  # keep squares of 1e-20 in range, change no digit
        with np.errstate(over="ignore"):
            errors = np.multiply(errors, 1 / unit, dtype=np.float32)
        bad |= ~((errors >= _SMALLEST_ERROR) & (errors <= _LARGEST_ERROR))
        columns.append(errors)
    any_bad = bad.any()
    if any_bad:
        for column in columns:
            np.copyto(column, 0.0, where=bad)  # 0 * NaN is NaN: bad pixels must be gone before the product
        columns.append(~bad)
    if flux_err is not None:
        errors *= errors
        errors *= operator.width_ratio
    # Wavelength runs down the columns now, as the sparse product wants it: one for flux, variance and coverage.
    n, matrix = len(values), operator.matrix
    stack = np.empty((matrix.shape[1], len(columns) * n), dtype=np.float32)
    for i, column in enumerate(columns):
        stack[:, i * n : (i + 1) * n] = column.T
    stack = matrix @ stack
    coverage = stack[:, -n:] if any_bad else operator.full[:, np.newaxis]
    covered = coverage > _LEAST_COVERED
    weight = covered / np.maximum(coverage, np.float32(0.5 * _MIN_COVERAGE))
    flux_out, err_out, mask_out = out
    flux_out[rows] = stack[:, :n].T * weight.T
    mask_out[rows] = ~covered.T
    if flux_err is not None:
        variance = stack[:, n : 2 * n]
        err_out[rows] = (np.sqrt(variance) * weight).T * unit


def _powers_of_two(values, good):
    """For each row a power of two near the geometric mean of its good values, (n_spec,); 1 where there are none."""
    known = np.finfo(np.float32)  # what is beyond is a sign of a bad pixel
    good = good & (values >= known.tiny) & (values <= known.max)
    exponent = np.frexp(np.where(good, values, 1.0))[1] - 1.0
    mean = np.sum(exponent, axis=1, where=good) / np.maximum(good.sum(axis=1), 1)
    return np.exp2(np.floor(mean)).astype(np.float32)


def resample_to_grid(
    wave_aa: np.ndarray,
    flux: np.ndarray,
    flux_err: np.ndarray | None,
    mask: np.ndarray | None,
    redshift: np.ndarray,
    grid: WavelengthGrid,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Put spectra of any redshifts on the grid's pixels: `resample_spectra`, matrix by matrix.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave_obs,) or (n_spec, n_wave_obs)
        Observed pixel centres, Angstrom, air, increasing; common to all spectra, or one axis for each.
    flux : ndarray, shape (n_spec, n_wave_obs)
        Observed flux density.
    flux_err : ndarray, shape (n_spec, n_wave_obs) or None
        1-sigma errors.
    mask : ndarray of bool, shape (n_spec, n_wave_obs) or None
        True marks bad pixels.
    redshift : ndarray, shape (n_spec,)
        Redshifts; where they are not finite, every pixel comes out bad.
    grid : `~sfh_cnn.core.WavelengthGrid`
        Rest-frame pixels of the network.

    Returns
    -------
    flux, flux_err, mask : ndarray, shape (n_spec, n_wave)
        As from `resample_spectra`, in the order of the input.
    """
    n_spec = len(flux)
    redshift = np.asarray(redshift, dtype=float)
    known = np.flatnonzero(np.isfinite(redshift))
    step = _redshift_step(redshift[known])
    flux, mask = np.asarray(flux), None if mask is None else np.asarray(mask, dtype=bool)
    if wave_aa.ndim == 1:
        edges = pixel_edges(wave_aa).tobytes()
        steps, group = np.unique(step, return_inverse=True)
        groups = [(edges, value, known[group == i]) for i, value in enumerate(steps)]
    else:
        groups = [(pixel_edges(wave_aa[i]).tobytes(), value, [i]) for i, value in zip(known, step, strict=True)]
    out = _empty(n_spec, grid.n_wave, flux_err is not None)
    if len(known) < n_spec:
        for values, blank in zip(out, (0.0, 0.0, True), strict=True):
            if values is not None:
                values[~np.isfinite(redshift)] = blank
    arrays = _contiguous(flux, flux_err, mask)
    for edges, value, rows in groups:
        _resample(arrays, np.asarray(rows), _operator_at_step(edges, grid, value), out)
    return out


def _redshift_step(redshift):
    return np.round(np.log1p(redshift) / _REDSHIFT_STEP)


def redshift_order(redshift: np.ndarray) -> np.ndarray | None:
    """An order of spectra in which those that share a matrix in `resample_to_grid` are neighbours.

    Parameters
    ----------
    redshift : ndarray, shape (n_spec,)
        NaN where unknown.

    Returns
    -------
    ndarray of int, shape (n_spec,), or None
        None if all share one.
    """
    step = _redshift_step(redshift)
    return None if np.all(step == step[:1]) else np.argsort(step, kind="stable")


@functools.lru_cache(maxsize=512)  # about 150 kB each; the velocities of a galaxy come back in every block of its cube
def _operator_at_step(edges_bytes, grid, step):
    return _Operator(resample_matrix(np.frombuffer(edges_bytes), grid, np.expm1(step * _REDSHIFT_STEP)))
