"""Floor 4: maps in glue. Its entry point ``glue.plugins`` lets glue open files of `~sfh_cnn.results.SFHMaps`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.results import QUANTITIES, SFHMaps

if TYPE_CHECKING:
    from typing import Any

__all__ = ["is_maps_file", "read_maps_for_glue", "setup"]

#: Before glue's own readers of FITS, which would show every extension as data of its own.
_PRIORITY = 500


def setup() -> None:
    """Register the reader of maps; glue calls this when it loads its plug-ins."""
    from glue.config import data_factory

    data_factory("sfh_cnn maps", is_maps_file, priority=_PRIORITY)(read_maps_for_glue)


def is_maps_file(path: str, **_options: Any) -> bool:
    """Whether a file holds maps of this package.

    Parameters
    ----------
    path : str
        Name of a file, or of anything else that glue was asked to open.
    **_options
        What glue passes on; not used.

    Returns
    -------
    bool
    """
    from astropy.io import fits

    if not str(path).lower().endswith((".fits", ".fits.gz")):
        return False
    try:
        with fits.open(path) as hdus:
            return "BIN_ID" in hdus and "RECORD" in hdus
    except OSError:
        return False


def read_maps_for_glue(path: str) -> list[Any]:
    """Maps as data of glue.

    Parameters
    ----------
    path : str
        File that `SFHMaps.write` made.

    Returns
    -------
    list of ``glue.core.Data``
        ``... maps``, images (n_y, n_x) of each quantity with its unit on the celestial WCS, with the ends of the 68 per
        cent interval, flags and bins; and ``... histories``, cubes (n_age, n_y, n_x) of each quantity per age bin.
    """
    from glue.core import Data
    from glue.core.component import Component

    maps = SFHMaps.read(path)
    has_distance = np.isfinite(maps.result.arrays["distance_mpc"]).any()
    images = Data(label=f"{maps.contract.name} maps", coords=maps.wcs)
    cubes = Data(label=f"{maps.contract.name} histories")
    shape = (maps.contract.n_age, *maps.shape)
    log_age = maps.age_grid.log_ages.value[:, None, None]
    cubes.add_component(Component(np.broadcast_to(log_age, shape).copy(), units="dex(yr)"), "log_age_of_bin")
    for name, info in QUANTITIES.items():
        if info.axis == "edge" or (info.needs_distance and not has_distance):
            continue
        value = getattr(maps, name)
        value = value() if callable(value) else value
        if info.axis:
            cubes.add_component(Component(np.moveaxis(value.value, -1, 0), units=str(value.unit)), name)
            continue
        images.add_component(Component(value.value, units=str(value.unit)), name)
        if maps.result.has_stored_quantiles(name):
            for end, bound in zip(("lower", "upper"), maps.interval(name), strict=True):
                images.add_component(Component(bound.value, units=str(bound.unit)), f"{name}_{end}")
    for name in ("snr", "reduced_chi2"):
        images.add_component(Component(np.asarray(getattr(maps, name), dtype=float)), name)
    images.add_component(Component(maps.flags), "flags")
    images.add_component(Component(maps.bin_id), "bin_id")
    return [images, cubes]
