"""attach_spectra(): the spectra behind maps, summed up once more from the cube, for pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError
from sfh_cnn.results import SFHMaps, SFHResult
from sfh_cnn.spectra import open_cube

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike

    from .predictor import SFHPredictor

__all__ = ["attach_spectra"]

#: Bins at most: the sums of all are in memory at the same time, some 50 kB for each bin of a MUSE cube.
_MAX_BINS = 5000
#: Values of a stripe of rows that is read at a time.
_STRIPE = 3e7
#: A wavelength at which less of a bin's light is in good spaxels is masked, as in `predict_cube`.
_MIN_COVERAGE = 0.5


def attach_spectra(
    predictor: SFHPredictor,
    maps: SFHMaps,
    cube: Any,
    variance: Any = None,
    *,
    ebv: ArrayLike | None = None,
    medium: str | None = None,
    line_mask: Any = None,
    noise_correlation: Any = 1.0,
) -> SFHMaps:
    """Maps whose result holds the spectrum of each bin and the network that reconstructs it.

    Maps of cubes keep no spectra, for they would be as large as the cube. For a look at them they are summed up again.

    Parameters
    ----------
    predictor : SFHPredictor
        The network of the maps.
    maps : `~sfh_cnn.results.SFHMaps`
        As `SFHPredictor.predict_cube` made them, all of them and not a cut-out.
    cube, variance : object
        What they were made from; see `sfh_cnn.spectra.open_cube`.
    ebv, medium, line_mask, noise_correlation : optional
        As they were given to `SFHPredictor.predict_cube`.

    Returns
    -------
    `~sfh_cnn.results.SFHMaps`
        The same numbers, with ``result.spectra``.

    Raises
    ------
    SFHCNNError
        If the cube has another size than the maps, there are too many bins, or the network is another one.
    """
    source = open_cube(cube, variance)
    result = maps.result
    if source.shape[1:] != maps.shape:
        raise SFHCNNError(
            f"the cube has {source.shape[1:]} spaxels, the maps {maps.shape}; give the cube that they are of"
        )
    if result.n_spec > _MAX_BINS:
        raise SFHCNNError(
            f"the maps have {result.n_spec} bins; spectra are kept for {_MAX_BINS} at most: make larger bins"
        )
    grid = predictor.contract.wavelength_grid
    redshift = result.arrays["redshift"]
    planes = source.planes_between(
        grid.edges_aa[0] * (1 + redshift.min()) - 10, grid.edges_aa[-1] * (1 + redshift.max()) + 10
    )
    flux, variance, covered = _sums(source, planes, maps.bin_id, result.n_spec)
    bad = covered < _MIN_COVERAGE
    scale = 1 / np.where(bad, 1.0, covered)
    factor = noise_correlation if callable(noise_correlation) else _constant(noise_correlation)
    variance = None if source.noise is None else variance * (scale * factor(maps.bin_size)[:, np.newaxis]) ** 2
    fitted = predictor.predict(
        source.spectra(flux * scale, variance, bad, planes),
        redshift=redshift,
        ebv=ebv,
        medium=medium,
        line_mask=line_mask,
        progress_bar=False,
    )
    kept = SFHResult(result.contract, result.arrays, result.meta, spectra=fitted.spectra)
    return SFHMaps(predictor.attach(kept), maps.bin_id, maps.wcs, maps.bin_size)


def _constant(factor):
    return lambda n_spaxel: np.where(n_spaxel > 1, factor, 1.0)


def _sums(source, planes, bin_id, n_bin):
    """Flux and variance of the good spaxels of each bin and the share of its light in them, (n_bin, n_planes)."""
    from scipy import sparse

    n_plane, (n_y, n_x) = planes.stop - planes.start, bin_id.shape
    flux, variance, light = (np.zeros((n_bin, n_plane), dtype=np.float32) for _ in range(3))
    total = np.zeros(n_bin)
    rows = max(1, int(_STRIPE // (n_plane * n_x)))
    for y0 in range(0, n_y, rows):
        number = bin_id[y0 : y0 + rows].ravel()
        inside = np.flatnonzero(number >= 0)
        if not len(inside):
            continue
        part, noise, bad = source.read(y0, min(y0 + rows, n_y), planes)
        good = ~bad[:, inside]
        part = np.where(good, part[:, inside], 0)
        mean = part.sum(axis=0, dtype=float) / np.maximum(good.sum(axis=0), 1)
        weight = np.maximum(mean, 1e-6 * np.abs(mean))
        where = (number[inside], np.arange(len(inside)))
        members = sparse.csr_array((np.ones(len(inside), dtype=np.float32), where), shape=(n_bin, len(inside)))
        flux += members @ part.T
        light += (members * weight.astype(np.float32)) @ good.T.astype(np.float32)
        total += np.bincount(number[inside], weight, minlength=n_bin)
        if noise is not None:
            variance += members @ np.where(good, noise[:, inside], 0).T
    return flux, variance, light / np.maximum(total, 1e-30)[:, np.newaxis]
