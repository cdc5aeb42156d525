"""SFHMaps: a result on the sky, every quantity as a map."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import Flag, SFHCNNError, to_plain, to_quantity

from .quantities import QUANTITIES
from .regroup import can_be_stacked
from .sfh_result import SFHResult

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS
    from numpy.typing import ArrayLike

    from sfh_cnn.core import AgeGrid, ModelContract

__all__ = ["RadialProfile", "SFHMaps"]

#: Sums over the stars of a bin: a map gives each spaxel its share, so that maps can be summed.
_EXTENSIVE = ("mass_formed", "mass_surviving", "sfr", "recent_sfr", "v_flux")
_CIRCUMSTANCES = ("snr", "redshift", "calibration_error", "reduced_chi2", "unusualness", "v_flux")


@dataclasses.dataclass(frozen=True, eq=False)
class RadialProfile:
    """Histories of elliptical annuli.

    Parameters
    ----------
    inner, outer : `~astropy.units.Quantity`, shape (n_annulus,)
        Deprojected radii.
    n_pixels : ndarray, shape (n_annulus,)
        Spaxels with a history in each annulus.
    result : SFHResult
        The stack of each annulus, one row per annulus.
    """

    inner: u.Quantity
    outer: u.Quantity
    n_pixels: np.ndarray
    result: SFHResult

    @property
    def radius(self) -> u.Quantity:
        """Middle of each annulus."""
        return (self.inner + self.outer) / 2


class SFHMaps:
    """The histories of a cube, with every quantity of `SFHResult` as a map under the same name.

    Maps are (n_y, n_x), or (n_y, n_x, n_age) for quantities of each age bin, NaN where there is no
    spectrum. Masses, star formation rates and ``v_flux`` are per spaxel: those of a bin are shared evenly by its
    spaxels, so that a map can be summed and divided by the area of a spaxel.

    Parameters
    ----------
    result : SFHResult
        One row per bin, each from the *sum* of the spectra of its spaxels.
    bin_id : ndarray of int, shape (n_y, n_x)
        Row of ``result`` that each spaxel belongs to; -1 for none.
    wcs : `~astropy.wcs.WCS`, optional
        Celestial coordinates of the maps.
    bin_size : ndarray of int, optional
        Number of spaxels of each bin, if the map shows only part of them.

    Raises
    ------
    SFHCNNError
        If the bins do not match the result.
    """

    def __init__(
        self, result: SFHResult, bin_id: ArrayLike, wcs: WCS | None = None, bin_size: ArrayLike | None = None
    ) -> None:
        self.result = result.as_many()
        self.bin_id = np.asarray(bin_id)
        if self.bin_id.ndim != 2 or self.bin_id.dtype.kind not in "iu":
            raise SFHCNNError(f"bin_id is a map of integers, got shape {self.bin_id.shape} of {self.bin_id.dtype}")
        if self.bin_id.size and not -1 <= self.bin_id.min() <= self.bin_id.max() < self.result.n_spec:
            raise SFHCNNError(
                f"bin_id runs from {self.bin_id.min()} to {self.bin_id.max()}, the result has rows 0 to "
                f"{self.result.n_spec - 1}; use -1 for spaxels without a spectrum"
            )
        self.wcs = None if wcs is None else wcs.celestial
        inside = self.bin_id[self.bin_id >= 0]
        self.bin_size = np.bincount(inside, minlength=self.result.n_spec) if bin_size is None else np.asarray(bin_size)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_y, n_x)."""
        return self.bin_id.shape

    @property
    def contract(self) -> ModelContract:
        """Grids, bands and IMF, a `~sfh_cnn.core.ModelContract`."""
        return self.result.contract

    @property
    def age_grid(self) -> AgeGrid:
        """The age bins, an `~sfh_cnn.core.AgeGrid`."""
        return self.result.age_grid

    @property
    def flags(self) -> np.ndarray:
        """Quality flags; NO_DATA where there is no spectrum."""
        return np.where(self.bin_id >= 0, self.result.flags[self.bin_id], np.int32(Flag.NO_DATA)).astype(np.int32)

    def recent_sfr(self, timescale: u.Quantity = 100 * u.Myr) -> u.Quantity:
        """Mean star formation rate of the last ``timescale`` per spaxel; see `SFHResult.recent_sfr`."""
        return self._map("recent_sfr", self.result.recent_sfr(timescale))

    def specific_sfr(self, timescale: u.Quantity = 100 * u.Myr) -> u.Quantity:
        """Recent star formation rate per surviving mass; see `SFHResult.specific_sfr`."""
        return self._map("specific_sfr", self.result.specific_sfr(timescale))

    def formation_time(self, share: float) -> u.Quantity:
        """Lookback time by which a share of the mass had formed; see `SFHResult.formation_time`."""
        return self._map("t50", self.result.formation_time(share))

    def interval(self, name: str, level: float = 0.6827, **options: Any) -> tuple[u.Quantity, u.Quantity]:
        """Maps of the ends of a credible interval; see `SFHResult.interval`.

        Returns
        -------
        lower, upper : `~astropy.units.Quantity`
        """
        return tuple(self._map(name, bound) for bound in self.result.interval(name, level, **options))

    def surface_density(self, name: str = "mass_formed", inclination: u.Quantity = 0 * u.deg) -> u.Quantity:
        """Map of a mass or star formation rate per area in the galaxy.

        Parameters
        ----------
        name : {"mass_formed", "mass_surviving", "sfr", "recent_sfr"}, optional
            What to divide by the area of a spaxel.
        inclination : `~astropy.units.Quantity`, optional
            Of a disc, to face-on.

        Returns
        -------
        `~astropy.units.Quantity`
            M_sun/pc2, or M_sun/yr/kpc2.

        Raises
        ------
        SFHCNNError
            If there is no WCS or distance, or ``name`` is no mass or rate.
        """
        if name not in _EXTENSIVE[:4]:
            raise SFHCNNError(f"name is one of {', '.join(_EXTENSIVE[:4])}, got {name!r}")
        value = getattr(self, name)
        value = value() if callable(value) else value
        unit = u.M_sun / u.pc**2 if name.startswith("mass") else u.M_sun / u.yr / u.kpc**2
        area = self._to_map(self._spaxel_area_kpc2()) << u.kpc**2
        face_on = np.cos(u.Quantity(inclination))
        return (value * face_on / area.reshape(area.shape + (1,) * (value.ndim - 2))).to(unit)

    def sum(self, region: Any = None) -> SFHResult:
        """History of all stars in a region.

        Parameters
        ----------
        region : ndarray of bool, shape (n_y, n_x), or region, optional
            Pixel mask, or a region of the ``regions`` package; everything by default. Bins on the border
            count with the share of their spaxels inside.

        Returns
        -------
        SFHResult
            As `SFHResult.stack`.

        Raises
        ------
        SFHCNNError
            If the mask has another shape or no history is inside.
        """
        inside = np.ones(self.shape, dtype=bool) if region is None else self._mask_of(region)
        members = self.bin_id[inside & (self.bin_id >= 0)]
        if not members.size:
            raise SFHCNNError("region holds no spaxel with a spectrum")
        share = np.bincount(members, minlength=self.result.n_spec) / np.maximum(self.bin_size, 1)
        rows = share > 0
        return self.result[rows].stack(share[rows])

    def radius(
        self,
        center: SkyCoord | tuple[float, float],
        inclination: u.Quantity = 0 * u.deg,
        position_angle: u.Quantity = 0 * u.deg,
    ) -> u.Quantity:
        """Map of the radius in the plane of a disc.

        Parameters
        ----------
        center : `~astropy.coordinates.SkyCoord` or tuple of float
            Center on the sky, or (x, y) in pixels.
        inclination : `~astropy.units.Quantity`, optional
            0 is face-on.
        position_angle : `~astropy.units.Quantity`, optional
            Of the major axis, from north through east (without a WCS: from +y through -x).

        Returns
        -------
        `~astropy.units.Quantity`
            arcsec, or pixels without a WCS.
        """
        y, x = np.indices(self.shape)
        if self.wcs is None:
            east, north = (center[0] - x) * u.pix, (y - center[1]) * u.pix
        else:
            here = self.wcs.pixel_to_world(x, y)
            middle = self.wcs.pixel_to_world(*center) if isinstance(center, tuple) else center.transform_to(here.frame)
            east, north = (offset.to(u.arcsec) for offset in middle.spherical_offsets_to(here))
        sine, cosine = np.sin(u.Quantity(position_angle)), np.cos(u.Quantity(position_angle))
        along = east * sine + north * cosine
        across = (north * sine - east * cosine) / np.cos(u.Quantity(inclination))
        return np.hypot(along, across)

    def radial_profile(
        self,
        center: SkyCoord | tuple[float, float],
        inclination: u.Quantity = 0 * u.deg,
        position_angle: u.Quantity = 0 * u.deg,
        step: u.Quantity | None = None,
    ) -> RadialProfile:
        """Histories of elliptical annuli: the stars of each are stacked.

        Parameters
        ----------
        center, inclination, position_angle : optional
            As in `radius`.
        step : `~astropy.units.Quantity`
            Width of the annuli, an angle (pixels without a WCS) or, with distances, a length.

        Returns
        -------
        RadialProfile
            Without the annuli that hold no spectrum with light.

        Raises
        ------
        SFHCNNError
            If ``step`` is missing, not positive, or a length without a distance, or no spectrum has light.
        """
        radius = self.radius(center, inclination, position_angle)
        if step is None or not u.Quantity(step) > 0:
            raise SFHCNNError(f"step is the width of the annuli, e.g. 5 * u.arcsec, got {step}")
        if u.Quantity(step).unit.is_equivalent(u.kpc):
            radius = (radius.to_value(u.rad) * self._angular_distance_mpc()) << u.Mpc
        plain_step = float(to_plain(step, radius.unit, "step"))
        ring = np.floor(radius.value / plain_step).astype(int)
        good = (self.bin_id >= 0) & can_be_stacked(self.result)[self.bin_id]
        if not good.any():
            raise SFHCNNError("no spectrum of the maps has light, so there is no profile; look at the flags")
        rings = np.unique(ring[good])
        stacks = [self.sum((ring == one) & good) for one in rings]
        unit = u.Quantity(step).unit
        return RadialProfile(
            (rings * plain_step * radius.unit).to(unit),
            ((rings + 1) * plain_step * radius.unit).to(unit),
            np.array([np.sum(good & (ring == one)) for one in rings]),
            SFHResult.concatenate(stacks),
        )

    def at(self, position: SkyCoord) -> SFHResult:
        """History at a place on the sky.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`
            Inside the maps.

        Returns
        -------
        SFHResult
            Of the bin that covers it.
        """
        if self.wcs is None:
            raise SFHCNNError("these maps have no WCS; index them by pixel: maps[y, x]")
        x, y = self.wcs.world_to_array_index(position)[::-1]
        return self[int(y), int(x)]

    def __getitem__(self, item):
        """``maps[y, x]`` is the history of one spaxel's bin, ``maps[y0:y1, x0:x1]`` a cut-out."""
        pair = isinstance(item, tuple) and len(item) == 2
        if not pair or isinstance(item[0], slice) != isinstance(item[1], slice):
            raise SFHCNNError(f"maps take two numbers, maps[y, x], or two slices, maps[y0:y1, x0:x1], got {item}")
        rows, columns = item
        n_y, n_x = self.shape
        if isinstance(rows, slice):
            # A WCS takes no negative numbers.
            rows, columns = slice(*rows.indices(n_y)), slice(*columns.indices(n_x))
            if (rows.step, columns.step) != (1, 1):
                raise SFHCNNError(
                    f"a cut-out takes every spaxel, for its coordinates and areas; leave out the steps, got {item}"
                )
            wcs = None if self.wcs is None else self.wcs[rows, columns]
            return type(self)(self.result, self.bin_id[rows, columns], wcs, self.bin_size)
        if not (0 <= rows < n_y and 0 <= columns < n_x):
            raise IndexError(f"spaxel ({rows}, {columns}) lies outside the map of {self.shape}")
        row = int(self.bin_id[rows, columns])
        if row < 0:
            raise SFHCNNError(f"spaxel ({rows}, {columns}) has no spectrum")
        return self.result[row]

    def __getattr__(self, name):
        if name in QUANTITIES or name in _CIRCUMSTANCES:
            return self._map(name, getattr(self.result, name))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self):
        return sorted({*super().__dir__(), *QUANTITIES, *_CIRCUMSTANCES})

    def write(self, path: str | Path, overwrite: bool = False, draws: int = 0) -> None:
        """Write every map with its unit and WCS, and the underlying result, to one FITS file.

        Parameters
        ----------
        path : str or `pathlib.Path`
            Ends in .fits or .fits.gz.
        overwrite : bool, optional
            Replace an existing file.
        draws : int, optional
            Store this many posterior draws per bin.
        """
        from .maps_io import write_maps

        write_maps(self, path, overwrite, draws)

    @classmethod
    def read(cls, path: str | Path) -> SFHMaps:
        """Read what `write` wrote; the numbers come from the stored result, to the last digit."""
        from .maps_io import read_maps

        return read_maps(path)

    def __repr__(self):
        n_y, n_x = self.shape
        used = np.unique(self.bin_id[self.bin_id >= 0]).size
        sky = "no WCS" if self.wcs is None else "celestial WCS"
        return f"<SFHMaps: {n_y} x {n_x} spaxels in {used} bins, {sky}, network {self.contract.name}>"

    def _repr_html_(self):
        from .text import maps_to_html

        return maps_to_html(self)

    def _map(self, name, values):
        values = u.Quantity(values, subok=True)
        plain = np.asarray(values.value, dtype=float)
        if name in _EXTENSIVE:
            size = np.maximum(self.bin_size, 1)
            plain = plain / size.reshape((-1,) + (1,) * (plain.ndim - 1))
        return to_quantity(self._to_map(plain), values.unit)

    def _to_map(self, rows):
        """Spread one row per bin over the spaxels."""
        out = rows[self.bin_id]
        out[self.bin_id < 0] = np.nan
        return out

    def _angular_distance_mpc(self):
        """Angular-diameter distance of the maps: that of the median bin."""
        self.result.check_distance()
        arrays = self.result.arrays
        return np.nanmedian(arrays["distance_mpc"] / (1 + arrays["redshift"]) ** 2)

    def _spaxel_area_kpc2(self):
        """Projected area of a spaxel at the distance of each bin, shape (n_bin,)."""
        if self.wcs is None:
            raise SFHCNNError("surface densities need the size of a spaxel: make the maps with wcs=")
        self.result.check_distance()
        arrays = self.result.arrays
        distance_kpc = 1e3 * arrays["distance_mpc"] / (1 + arrays["redshift"]) ** 2
        return self.wcs.proj_plane_pixel_area().to_value(u.sr) * distance_kpc**2

    def _mask_of(self, region):
        if hasattr(region, "to_pixel"):
            region = region.to_pixel(self.wcs)
        if hasattr(region, "to_mask"):
            image = region.to_mask(mode="center").to_image(self.shape)
            region = np.zeros(self.shape) if image is None else image
        region = np.asarray(region)
        if region.shape != self.shape:
            raise SFHCNNError(f"region has shape {region.shape}, the maps {self.shape}")
        return region.astype(bool)
