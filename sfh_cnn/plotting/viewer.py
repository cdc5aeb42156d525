"""write_viewer(): maps as one HTML page that needs nothing else, neither a network nor another file."""

from __future__ import annotations

import base64
import json
from importlib import resources
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import SFHCNNError, atomic_write, flag_table
from sfh_cnn.results import QUANTITIES

from .maps import LOGARITHMIC, color_map

if TYPE_CHECKING:
    from pathlib import Path

    from sfh_cnn.results import SFHMaps

__all__ = ["write_viewer"]

#: Bins at most: 20 000 make a page of 10 MB, more than a browser on a phone should have to take.
_MAX_BINS = 20_000
#: Bytes of all spectra and reconstructions; their pixels are averaged until they fit.
_SPECTRA_BYTES = 6e6
#: Points on a side of the grid of coordinates between which the page interpolates.
_SKY_POINTS = 17
#: Quantities that a map shares among the spaxels of a bin.
_EXTENSIVE = ("mass_formed", "mass_surviving", "recent_sfr")
#: What is said of the origin of the maps.
_RECORD = (("package_version", "version"), ("network_sha256", "network"), ("date", "on"))
#: The colour maps of matplotlib at 17 even steps, as hexadecimal RGB.
_COLOURS = {
    "viridis": "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
    "cividis": "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
    "magma": "0000040a08221d114736106b51127c6a1c818326819c2e7fb73779d0416fe75263f56b5cfc8961fea772fec488fde2a3fcfdbf",
    "inferno": "0000040b0724210c4a3d096557106e71196e8a226aa32c61bc3754d24644e45a31f1731df98e09fcac11f9cb35f2ea69fcffa4",
}


def write_viewer(maps: SFHMaps, path: str | Path, *, title: str | None = None, overwrite: bool = False) -> None:
    """Write maps as a page for a browser: choose a map, click a bin, see its history.

    The page holds everything it needs and asks the network for nothing. It shows each quantity with its interval, the
    star formation history and the age-metallicity relation of the bin, flags, and the coordinates of the spaxel; the
    spectrum and its reconstruction too, if the result holds spectra (`sfh_cnn.prediction.attach_spectra`). Numbers are
    rounded to 1/65534 of the range of each quantity.

    Parameters
    ----------
    maps : `~sfh_cnn.results.SFHMaps`
        Up to 20 000 bins; a cut-out ``maps[y0:y1, x0:x1]`` holds those that it shows.
    path : str or `pathlib.Path`
        The page, usually ending in .html.
    title : str, optional
        Heading of the page; the name of the cube by default.
    overwrite : bool, optional
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is False.
    SFHCNNError
        If there are too many bins, or none.
    """
    data = json.dumps(_page_data(maps, title), separators=(",", ":"), allow_nan=False)
    # "<" inside a script element could end it; in JSON it may be written otherwise.
    template = resources.files("sfh_cnn").joinpath("data", "viewer.html").read_text(encoding="utf-8")
    page = template.replace("__DATA__", data.replace("<", "\\u003c"))
    with atomic_write(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _page_data(maps, title):
    """Everything the page shows, ready for JSON."""
    rows = np.unique(maps.bin_id[maps.bin_id >= 0])
    if not 0 < len(rows) <= _MAX_BINS:
        raise SFHCNNError(
            f"a page shows 1 to {_MAX_BINS} bins, these maps have {len(rows)}; make larger bins (target_snr) or a "
            "page of a cut-out, maps[y0:y1, x0:x1]"
        )
    bin_id = np.where(maps.bin_id >= 0, np.searchsorted(rows, maps.bin_id), -1)
    result = maps.result[rows]
    light = np.nan_to_num(result.arrays["v_flux"] / maps.bin_size[rows])
    y, x = np.unravel_index(np.argmax(np.where(bin_id >= 0, light[bin_id], -np.inf)), bin_id.shape)
    meta = result.meta
    lower, upper = (bound.value for bound in result.interval("mass_fraction"))
    z_lower, z_upper = (bound.value for bound in result.interval("metallicity"))
    histories = {
        "fraction": result.mass_fraction.value, "lower": lower, "upper": upper, "light": result.light_fraction.value,
        "metallicity": result.metallicity.value, "z_lower": z_lower, "z_upper": z_upper,
    }  # fmt: skip
    redshift = np.unique(np.round(result.arrays["redshift"], 4))
    span = f"{redshift[0]:.4f}" if len(redshift) == 1 else f"{redshift[0]:.4f} to {redshift[-1]:.4f}"
    return {
        "title": title or meta.get("cube") or "Star formation histories",
        "about": f"{bin_id.shape[1]} x {bin_id.shape[0]} spaxels in {len(rows)} bins, redshift {span}; "
        f"network {result.contract.name}, IMF {result.contract.imf}",
        "record": "; ".join(["Made by sfh_cnn", *(f"{label} {meta[key]}" for key, label in _RECORD if key in meta)]),
        "shape": list(bin_id.shape),
        "n_bin": len(rows),
        "bin_id": _base64(bin_id, "<i4"),
        "start": [int(x), int(y)],
        "flags": result.flags.tolist(),
        "flag_names": flag_table(),
        "edges_gyr": (result.age_grid.edges_yr / 1e9).tolist(),
        "quantities": list(_quantities(result)),
        "histories": {name: _packed(value) for name, value in histories.items()},
        "colours": _COLOURS,
        "sky": _sky(maps.wcs, bin_id.shape),
        "spectra": _spectra(result),
    }  # fmt: skip


def _quantities(result):
    """Value and interval of each quantity with one number per bin, masses and rates as logarithms."""
    has_distance = np.isfinite(result.arrays["distance_mpc"]).any()
    for name, info in QUANTITIES.items():
        if info.axis or (info.needs_distance and not has_distance):
            continue
        value = getattr(result, name)
        value = value() if callable(value) else value
        parts = {"value": value}
        if result.has_stored_quantiles(name):
            parts["lower"], parts["upper"] = result.interval(name)
        log = name in LOGARITHMIC
        with np.errstate(divide="ignore", invalid="ignore"):
            packed = {key: _packed(np.log10(part.value) if log else part.value) for key, part in parts.items()}
        yield {
            "name": name,
            "label": info.label,
            "unit": "" if str(value.unit) == "" else value.unit.to_string("unicode"),
            "log": log,
            "extensive": name in _EXTENSIVE,
            "colours": color_map(name),
            **packed,
        }
    for name, label in (("snr", "S/N per pixel"), ("reduced_chi2", "reduced chi2")):
        plain = {"log": False, "extensive": False, "colours": "viridis", "value": _packed(result.arrays[name])}
        yield {"name": name, "label": label, "unit": "", **plain}


def _spectra(result):
    """Spectra and reconstructions on pixels as wide as the size of the page asks, or None."""
    if result.spectra is None:
        return None
    flux = np.where(result.spectra["mask"], np.nan, result.spectra["flux"])
    model = result.reconstruct().flux.value
    factor = max(1, int(np.ceil(4 * flux.size / _SPECTRA_BYTES)))
    n = flux.shape[1] // factor
    flux, model = (part[:, : n * factor].reshape(len(part), n, factor) for part in (flux, model))
    with np.errstate(invalid="ignore"):
        good = np.isfinite(flux)
        # A gap of a part of a wide pixel is no gap: the reconstruction shows where the rest of it would be.
        flux = np.where(good, flux, 0).sum(axis=2) / np.where(good.any(axis=2), good.sum(axis=2), np.nan)
    wave_aa = result.spectra["wave_aa"]
    step = factor * (wave_aa[1] - wave_aa[0])
    return {
        "n": n,
        "start": float(wave_aa[:factor].mean()),
        "step": float(step),
        "unit": "erg/s/cm\u00b2/\u00c5",
        "flux": _packed(flux, rows=True),
        "model": _packed(model.mean(axis=2), rows=True),
    }


def _sky(wcs, shape):
    """Coordinates on a coarse grid (degrees), size of a spaxel and the directions of north and east on the page."""
    if wcs is None:
        return None
    n_y, n_x = shape
    y, x = np.meshgrid(
        np.linspace(-0.5, n_y - 0.5, _SKY_POINTS), np.linspace(-0.5, n_x - 0.5, _SKY_POINTS), indexing="ij"
    )
    here = wcs.pixel_to_world(x, y).icrs
    ra = here.ra.deg
    ra = ra[0, 0] + (ra - ra[0, 0] + 180) % 360 - 180  # no jump inside the grid
    middle = wcs.pixel_to_world((n_x - 1) / 2, (n_y - 1) / 2).icrs
    arrows = {}
    for name, angle in (("north", 0 * u.deg), ("east", 90 * u.deg)):
        there = wcs.world_to_pixel(middle.directional_offset_by(angle, 0.1 * u.arcsec))
        step = np.array([float(there[0]) - (n_x - 1) / 2, float(there[1]) - (n_y - 1) / 2])
        arrows[name] = (step / np.hypot(*step)).tolist()
    arcsec = float(np.sqrt(wcs.proj_plane_pixel_area().to_value("arcsec2")))
    grid = {"n": _SKY_POINTS, "ra": ra.ravel().tolist(), "dec": here.dec.deg.ravel().tolist()}
    return {**grid, "arcsec": arcsec, **arrows}


def _packed(values, rows=False):
    """Numbers as integers of 16 bit between their ends, of all or of each row; what is not finite is 65535."""
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    axis = 1 if rows else None
    low = np.min(values, axis=axis, where=finite, initial=np.inf)
    high = np.max(values, axis=axis, where=finite, initial=-np.inf)
    low, high = (np.where(np.isfinite(end), end, 0.0) for end in (low, high))
    span = np.where(high > low, high - low, 1.0)
    if rows:
        scaled = (values - low[:, np.newaxis]) / span[:, np.newaxis]
    else:
        scaled = (values - low) / span
    whole = np.where(finite, np.rint(65534 * np.where(finite, scaled, 0)), 65535)
    return {"low": low.tolist(), "high": (low + span).tolist(), "data": _base64(whole, "<u2")}


def _base64(values, dtype):
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
