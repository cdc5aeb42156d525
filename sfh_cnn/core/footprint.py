"""Which pixels an aperture or region covers: the one place that knows photutils and regions shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .exceptions import SFHCNNError
from .optional import require

if TYPE_CHECKING:
    from typing import Any

    from astropy.wcs import WCS

__all__ = ["footprint", "split_shapes"]


def split_shapes(shapes: Any) -> list[Any]:
    """A flat list of single apertures or regions.

    Parameters
    ----------
    shapes : photutils aperture, region, a list of them, or str
        An aperture with many positions is many apertures; a str is the name of a DS9 region file.

    Returns
    -------
    list

    Raises
    ------
    SFHCNNError
        If something is no shape, or the file no region file.
    """
    if isinstance(shapes, str):
        return _read_regions(shapes)
    if _is_region(shapes):
        return [shapes]
    if hasattr(shapes, "positions"):
        return [shapes] if shapes.isscalar else [shapes[i] for i in range(len(shapes))]
    try:
        return [single for shape in shapes for single in split_shapes(shape)]
    except TypeError as err:
        raise SFHCNNError(
            f"apertures must be photutils apertures, regions or a region file, got {type(shapes).__name__}"
        ) from err


def footprint(shape: Any, wcs: WCS | None, image_shape: tuple[int, int]) -> tuple[tuple[slice, ...], np.ndarray, float]:
    """The share of each pixel of an image that a shape covers.

    Parameters
    ----------
    shape : photutils aperture or region
        One shape, on the sky or in pixels.
    wcs : `~astropy.wcs.WCS` or None
        Celestial WCS of the image; needed by shapes on the sky.
    image_shape : tuple of int
        (n_y, n_x).

    Returns
    -------
    where : tuple of slice
        The part of the image that the shape's box meets; empty if nowhere.
    weight : ndarray
        Share of each pixel there, 0 to 1.
    area : float
        Pixels that the whole shape covers, beyond the edge of the image too.

    Raises
    ------
    SFHCNNError
        If a shape on the sky meets an image without WCS.
    """
    if type(shape).__name__.startswith("Sky") or type(shape).__name__.endswith("SkyRegion"):
        if wcs is None:
            raise SFHCNNError("sky apertures need an image with a celestial WCS; give a header that has one")
        shape = shape.to_pixel(wcs)
    if not _is_region(shape):
        mask = shape.to_mask(method="exact")
    elif type(shape).__name__.startswith("Polygon"):  # regions has no exact overlap for these
        mask = shape.to_mask(mode="subpixels", subpixels=10)
    else:
        mask = shape.to_mask(mode="exact")
    weight = np.asarray(mask.data, dtype=float)
    large, small = mask.get_overlap_slices(image_shape)
    if large is None:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0)), weight.sum()
    return large, weight[small], weight.sum()


def _read_regions(path):
    regions = require("regions", extra="cube")
    try:
        return list(regions.Regions.read(path))
    except (require("regions.core.registry", extra="cube").IORegistryError, ValueError) as err:
        raise SFHCNNError(f"{path} is no region file of DS9: {str(err).splitlines()[0]}") from err


def _is_region(shape):
    return hasattr(shape, "meta") and hasattr(shape, "visual")
