"""Cubes of any class and format, read a stripe of rows at a time; the only file that knows the classes of cubes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.nddata import VarianceUncertainty

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, one_clear_error, parse_flux_unit

from .conventions import (
    bare_flux_unit,
    celestial_part,
    header_wavelengths,
    medium_of_ctype,
    per_spaxel,
    uncertainty_kind,
    uncertainty_unit_error,
    unmask,
)
from .plain import PlainSpectrum
from .rest_frame import to_air

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Cube", "open_cube"]

#: Bits of the MASK of MaNGA cubes that spoil a pixel: FORESTAR and DONOTUSE (SDSS bitmask MANGA_DRP3PIXMASK).
_MANGA_BAD = 2**3 | 2**10

#: CALIFA headers often lack BUNIT; the survey's unit (Husemann et al. 2013, A&A 549, A87).
_CALIFA_UNIT = "1e-16 erg / (s cm2 Angstrom)"

#: How stored uncertainties become variances.
_TO_VARIANCE = {"variance": np.positive, "ivar": np.reciprocal, "std": np.square}
#: Planes that are converted at a time, in double precision.
_BLOCK = 16

#: A unit larger than this, in erg/s/cm2/Angstrom, leaves squares of errors that float32 does not hold.
_LARGE_UNIT = 1e-10
#: The unit that is taken instead, in the same: errors from 1e-28 to 1e9 of them have squares in range.
_SMALL_UNIT = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class _StoredPlanes:
    """A cube in an uncompressed FITS file, read with plain reads: nothing is mapped, nothing is read twice.

    Mapped pages would count as memory of the process, and the system reads ahead around each of them.
    """

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple

    def read(self, planes, y0, y1):
        start, stop, _ = planes.indices(self.shape[0])
        _, n_y, n_x = self.shape
        out = np.empty((max(stop - start, 0), y1 - y0, n_x), dtype=self.dtype)
        plane_bytes, row_bytes = n_y * n_x * self.dtype.itemsize, n_x * self.dtype.itemsize
        with open(self.path, "rb", buffering=0) as stream:
            if y1 - y0 == n_y:  # whole planes lie side by side
                self._fill(stream, self.offset + start * plane_bytes, out)
            else:
                for i in range(len(out)):
                    self._fill(stream, self.offset + (start + i) * plane_bytes + y0 * row_bytes, out[i])
        if not self.dtype.isnative:  # in place: a second copy of a stripe is the largest thing in memory
            out = out.byteswap(inplace=True).view(self.dtype.newbyteorder("="))
        return out

    def _fill(self, stream, offset, out):
        view = memoryview(out).cast("B")
        stream.seek(offset)
        done = 0
        while done < len(view):
            n = stream.readinto(view[done:])
            if not n:
                raise self.truncated()
            done += n

    def truncated(self):
        return SFHCNNError(f"{self.path} is shorter than its header says; it is truncated, fetch it again")


@dataclasses.dataclass(frozen=True, eq=False)
class _HeldPlanes:
    """A cube as an array of any kind: numpy, memory map or dask. ``order`` brings its axes to (wave, y, x)."""

    array: object
    order: tuple = (0, 1, 2)

    @property
    def shape(self):
        return tuple(self.array.shape[i] for i in self.order)

    def read(self, planes, y0, y1):
        index = [slice(None)] * 3
        index[self.order[0]], index[self.order[1]] = planes, slice(y0, y1)
        part = self.array[tuple(index)]
        if hasattr(part, "compute"):
            # In this process: a worker of a cluster that waits for the cluster would wait for itself.
            part = part.compute(scheduler="threads")
        part, masked = unmask(part)
        if masked is not None:  # integers become floats; in a mask, NaN is not 0 and so is bad
            part = np.where(masked, np.nan, part)
        part = np.transpose(part, self.order)
        return part.astype(part.dtype.newbyteorder("="), copy=False)


@dataclasses.dataclass(frozen=True, eq=False)
class _SpectralCubePlanes:
    """The values of a SpectralCube, with NaN where its mask excludes."""

    cube: object

    @property
    def shape(self):
        return self.cube.shape

    def read(self, planes, y0, y1):
        values = self.cube.filled_data[planes, y0:y1, :]
        values = values.compute(scheduler="threads") if hasattr(values, "compute") else values
        return np.asarray(getattr(values, "value", values))


@dataclasses.dataclass(frozen=True, eq=False)
class Cube:
    """A cube on disk or in memory whose spectra are read when they are asked for.

    Parameters
    ----------
    flux : object
        Planes of flux density, with ``shape`` (n_wave, n_y, n_x) and ``read(planes, y0, y1)``.
    spectral_axis : `~astropy.units.Quantity`, shape (n_wave,)
        Observed wavelengths, as stored.
    unit : `~astropy.units.Unit`
        Of the flux as it is read; of one spaxel, if it was a surface brightness and the WCS is known.
    wcs : `~astropy.wcs.WCS` or None
        Celestial coordinates.
    noise : object or None
        Planes of the uncertainty.
    noise_kind : {"variance", "ivar", "std"}
        What ``noise`` is.
    noise_factor : float
        Brings it to the unit of the stored flux (to the power of its kind).
    bad : object or None
        Planes of a mask; not 0 is bad.
    bad_bits : int or None
        Bits of ``bad`` that count; None for all.
    medium : {"air", "vacuum"} or None
        What the wavelengths are in; None if the cube does not say.
    redshift : float or None
        What the cube itself says.
    name : str
        For messages and the record.
    stored_unit : `~astropy.units.Unit` or None
        Of the flux as it is stored, if that is another.
    flux_factor : float
        Power of two that brings stored flux to ``unit``.

    Raises
    ------
    SFHCNNError
        If shapes do not agree.
    """

    flux: Any
    spectral_axis: u.Quantity
    unit: u.UnitBase
    wcs: Any = None
    noise: Any = None
    noise_kind: str = "variance"
    noise_factor: float = 1.0
    bad: Any = None
    bad_bits: int | None = None
    medium: str | None = None
    redshift: float | None = None
    name: str = "cube"
    stored_unit: u.UnitBase | None = None
    flux_factor: float = 1.0

    def __post_init__(self):
        for part, label in ((self.noise, "uncertainty"), (self.bad, "mask")):
            if part is not None and tuple(part.shape) != tuple(self.flux.shape):
                raise SFHCNNError(f"the {label} has shape {tuple(part.shape)}, the cube {self.shape}; they must agree")
        if len(self.spectral_axis) != self.shape[0]:
            raise SFHCNNError(
                f"the cube has {self.shape[0]} planes and {len(self.spectral_axis)} wavelengths; give it as "
                "(n_wave, n_y, n_x)"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_wave, n_y, n_x)."""
        return tuple(self.flux.shape)

    def planes_between(self, low_aa: float, high_aa: float) -> slice:
        """The planes whose observed air wavelengths lie in a range.

        Parameters
        ----------
        low_aa, high_aa : float
            Range in Angstrom.

        Returns
        -------
        slice
        """
        wave_aa = to_air(self.spectral_axis.to_value(u.AA, equivalencies=u.spectral()), self.medium or "air")
        inside = np.flatnonzero((wave_aa >= low_aa) & (wave_aa <= high_aa))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

    def read(self, y0: int, y1: int, planes: slice = slice(None)) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """The spaxels of some rows.

        Parameters
        ----------
        y0, y1 : int
            First row, and the one after the last.
        planes : slice, optional
            Which planes.

        Returns
        -------
        flux : ndarray of float32, shape (n_planes, n_spaxel)
            Spaxels row by row.
        variance : ndarray of float32, same shape, or None
            In the square of the unit of the flux; NaN or 0 where there is none.
        bad : ndarray of bool, same shape
            Masked, or not finite, or with a variance that is not positive and finite.
        """
        flux = _flat(self.flux.read(planes, y0, y1), self.flux_factor)
        bad = ~np.isfinite(flux)
        if self.bad is not None:
            marked = self.bad.read(planes, y0, y1).reshape(bad.shape)
            bad |= marked != 0 if self.bad_bits is None else (marked & self.bad_bits) != 0
        variance = None
        if self.noise is not None:
            stored = self.noise.read(planes, y0, y1)
            variance = _flat(stored, self.noise_factor, _TO_VARIANCE[self.noise_kind], self.flux_factor**2)
            bad |= ~((variance > 0) & (variance < np.inf))
        return flux, variance, bad

    def spectra(
        self,
        flux: np.ndarray,
        variance: np.ndarray | None,
        bad: np.ndarray,
        planes: slice = slice(None),
        redshift: np.ndarray | None = None,
    ) -> PlainSpectrum:
        """Spectra of this cube's wavelengths and unit.

        Parameters
        ----------
        flux, variance, bad : ndarray, shape (n_spec, n_planes)
            Variance may be None.
        planes : slice, optional
            Which planes.
        redshift : ndarray, shape (n_spec,), optional
            Stored in the metadata.

        Returns
        -------
        PlainSpectrum
            What `read_spectra` takes.
        """
        return PlainSpectrum(
            spectral_axis=self.spectral_axis[planes],
            flux=u.Quantity(flux, self.unit, copy=False, dtype=flux.dtype),
            uncertainty=None if variance is None else VarianceUncertainty(variance, copy=False),
            mask=bad,
            meta={**({} if self.medium is None else {"medium": self.medium}), "redshift": redshift},
            spectral_axis_index=1,
        )


def _flat(values, factor, convert=np.positive, factor_after=1.0):
    """Planes as float32, (n_planes, n_spaxel), multiplied, converted and multiplied again.

    In double precision where there is more to do than to convert: the inverse variance of an error of 1e-20 is 1e40,
    which float32 does not hold. Never in place, for the planes may be those of the user.
    """
    values = values.reshape(values.shape[0], -1)
    if factor == factor_after == 1 and (values.dtype == np.float32 or convert is np.positive):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of bad pixels
            values = values.astype(np.float32, copy=False)
            return values if convert is np.positive else convert(values)
    out = np.empty(values.shape, dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of bad pixels
        for start in range(0, len(out), _BLOCK):
            block = slice(start, start + _BLOCK)
            out[block] = convert(values[block].astype(float) * factor) * factor_after
    return out


def open_cube(cube: Any, variance: Any = None, mask: np.ndarray | None = None) -> Cube:
    """Take in a cube of any class without reading its pixels.

    Parameters
    ----------
    cube : str, `~pathlib.Path`, SpectralCube, specutils Spectrum, tuple or Cube
        A FITS file: MUSE or PHANGS-MUSE (``DATA``, ``STAT``, ``DQ``), MaNGA LOGCUBE (``FLUX``, ``IVAR``, ``MASK``,
        ``WAVE``), CALIFA (primary, ``ERROR``, ``BADPIX``), or any with an image of three axes. A SpectralCube, plain
        or dask. A Spectrum with three axes. Or a pair of a Quantity (n_wave, n_y, n_x) and a FITS header or
        `~astropy.wcs.WCS` of three axes, which must say what the wavelengths are. Compressed files are read whole.
    variance : as ``cube``, Quantity or ndarray, optional
        Replaces the cube's own; an array is in the square of the unit of the flux. Of a file, ``STAT`` or the first
        image of three axes. An uncertainty of astropy is what its class says.
    mask : ndarray of bool, shape (n_wave, n_y, n_x), optional
        True marks bad pixels; replaces the cube's own.

    Returns
    -------
    Cube

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SFHCNNError
        If there is no cube in it, the unit is missing, or the class is foreign.
    astropy.units.UnitConversionError
        If the flux is in magnitudes, or the unit of a variance does not belong to it.
    """
    if isinstance(cube, Cube):
        opened = cube
    elif isinstance(cube, (str, Path)):
        opened = _open_file(Path(cube))
    elif hasattr(cube, "filled_data"):
        opened = _open_spectral_cube(cube)
    elif hasattr(cube, "spectral_axis") and hasattr(cube, "flux"):
        opened = _open_spectrum(cube)
    elif isinstance(cube, tuple) and len(cube) == 2:
        opened = _open_array(*cube)
    else:
        raise SFHCNNError(
            f"cube must be a FITS file, a SpectralCube, a specutils Spectrum or a pair (Quantity, header or WCS), got "
            f"{type(cube).__name__}"
        )
    if variance is not None:
        opened = _with_variance(opened, variance)
    if mask is not None:
        opened = dataclasses.replace(opened, bad=_HeldPlanes(np.asarray(mask, dtype=bool)), bad_bits=None)
    return opened


# ---- files -----------------------------------------------------------------------------------------------------


def _open_file(path):
    from astropy.io import fits
    from astropy.wcs import WCS

    if not path.is_file():
        raise FileNotFoundError(f"no cube at {path}")
    with one_clear_error(path, "no FITS file of a cube"), fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
        primary = hdus[0].header
        if "DATA" in hdus and _is_cube(hdus["DATA"]):
            hdu, noise, kind, bad, bits = hdus["DATA"], "STAT", "variance", "DQ", None
        elif "FLUX" in hdus and "IVAR" in hdus and _is_cube(hdus["FLUX"]):
            hdu, noise, kind, bad, bits = hdus["FLUX"], "IVAR", "ivar", "MASK", _MANGA_BAD
        elif "ERROR" in hdus and _is_cube(hdus[0]):
            hdu, noise, kind, bad, bits = hdus[0], "ERROR", "std", "BADPIX", None
        else:
            hdu = next((hdu for hdu in hdus if _is_cube(hdu)), None)
            noise = kind = bad = bits = None
        if hdu is None:
            raise SFHCNNError(f"{path} holds no cube; its extensions are {[other.name for other in hdus]}")
        header = hdu.header
        text = header.get("BUNIT") or primary.get("BUNIT") or (_CALIFA_UNIT if kind == "std" else None)
        if text is None:
            raise SFHCNNError(f"{path} has no BUNIT; add it, such as '1e-20 erg / (s cm2 Angstrom)'")
        wcs = celestial_part(WCS(header, naxis=2))
        in_table = kind == "ivar" and "WAVE" in hdus
        axis = u.Quantity(hdus["WAVE"].data, u.AA) if in_table else header_wavelengths(header, 3)
        return Cube(
            flux=_planes(hdu, path),
            spectral_axis=axis,
            **_units(parse_flux_unit(text), wcs),
            wcs=wcs,
            noise=_planes(hdus[noise], path) if noise in hdus else None,
            noise_kind=kind or "variance",
            bad=_planes(hdus[bad], path) if bad in hdus else None,
            bad_bits=bits,
            medium="vacuum" if kind == "ivar" else _medium(header.get("CTYPE3")),
            name=path.name,
        )


def _is_cube(hdu):
    return hdu.is_image and hdu.header.get("NAXIS") == 3


def _planes(hdu, path):
    """Planes to be read from the file, or, where FITS compresses or scales, the array itself."""
    info = hdu.fileinfo() or {}
    header = hdu.header
    dtype = np.dtype({-32: ">f4", -64: ">f8", 8: "u1", 16: ">i2", 32: ">i4"}.get(header["BITPIX"], ">f4"))
    stored_plainly = (
        type(hdu).__name__ in ("ImageHDU", "PrimaryHDU")
        and header.get("BSCALE", 1) == 1
        and header.get("BZERO", 0) == 0
        and header["BITPIX"] in (-32, -64, 8, 16, 32)
        and _starts_like_fits(path)
    )
    if not stored_plainly:
        return _HeldPlanes(hdu.data)
    shape = tuple(int(header[f"NAXIS{i}"]) for i in (3, 2, 1))
    planes = _StoredPlanes(str(path.resolve()), int(info["datLoc"]), dtype, shape)
    if planes.offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
        raise planes.truncated()
    return planes


def _starts_like_fits(path):
    with open(path, "rb") as stream:
        return stream.read(6) == b"SIMPLE"


def _medium(ctype):
    return medium_of_ctype(ctype) or "air"


def _units(stored, wcs):
    """The units of a cube as its keywords.

    Where the unit is so large that squares of errors would leave float32, as in plain erg/s/cm2/Angstrom, the flux is
    read in a smaller one. A power of two changes no digit.
    """
    unit, factor = per_spaxel(stored, wcs), 1.0
    bare, _ = bare_flux_unit(unit)
    density = u.spectral_density(5500 * u.AA)
    if bare.is_equivalent(FLUX_UNIT, density) and (size := bare.to(FLUX_UNIT, equivalencies=density)) > _LARGE_UNIT:
        factor = 2.0 ** round(math.log2(size / _SMALL_UNIT))
        unit = u.Unit(unit / factor)
    return {"unit": unit, "stored_unit": stored, "flux_factor": factor}


# ---- objects ---------------------------------------------------------------------------------------------------


def _open_spectral_cube(cube):
    spectral = cube
    if not cube.spectral_axis.unit.is_equivalent(u.AA):
        spectral = cube.with_spectral_unit(u.AA, velocity_convention="optical")
    wcs = celestial_part(cube.wcs)
    unit = cube.unit
    if unit.is_equivalent(u.dimensionless_unscaled) and cube.header.get("BUNIT"):
        unit = parse_flux_unit(cube.header["BUNIT"])  # spectral-cube does not know the spelling of MUSE
    return Cube(
        flux=_SpectralCubePlanes(cube),
        spectral_axis=u.Quantity(spectral.spectral_axis, u.AA),
        **_units(unit, wcs),
        wcs=wcs,
        medium=_medium(spectral.wcs.wcs.ctype[2]),
        name=str(cube.header.get("OBJECT", "cube")),
    )


def _open_spectrum(spectrum):
    if spectrum.flux.ndim != 3:
        raise SFHCNNError(f"the spectrum has {spectrum.flux.ndim} axes; a cube has three. Use predict for spectra")
    wcs = spectrum.wcs if hasattr(getattr(spectrum, "wcs", None), "wcs") else None
    wave = spectrum.spectral_axis_index
    order = (wave, *(i for i in range(3) if i != wave))
    if wcs is not None and wcs.naxis == 3 and min(wcs.wcs.lng, wcs.wcs.lat) >= 0:
        # The axes of an array count backwards from those of its WCS.
        order = (wave, 2 - wcs.wcs.lat, 2 - wcs.wcs.lng)
    sky = celestial_part(wcs)
    header = (spectrum.meta or {}).get("header") or {}
    medium = (spectrum.meta or {}).get("medium")
    if medium is None:
        kinds = [] if wcs is None else list(wcs.wcs.ctype)
        kinds += [header.get(f"CTYPE{i}") for i in (1, 2, 3)]
        medium = next(filter(None, map(medium_of_ctype, kinds)), None)
    noise, kind, factor = None, "variance", 1.0
    if spectrum.uncertainty is not None:
        kind, power = uncertainty_kind(spectrum.uncertainty)
        noise = _HeldPlanes(spectrum.uncertainty.array, order)
        factor = _noise_factor(spectrum.uncertainty.unit, power, [spectrum.flux.unit])
    redshift = getattr(spectrum.redshift, "value", spectrum.redshift)
    return Cube(
        flux=_HeldPlanes(spectrum.flux.value, order),
        spectral_axis=u.Quantity(spectrum.wavelength, u.AA),
        **_units(spectrum.flux.unit, sky),
        wcs=sky,
        noise=noise,
        noise_kind=kind,
        noise_factor=factor,
        bad=None if spectrum.mask is None else _HeldPlanes(np.asarray(spectrum.mask) != 0, order),
        medium=medium,
        redshift=float(redshift) if redshift else (spectrum.meta or {}).get("redshift"),
        name=str(header.get("OBJECT", "cube")),
    )


def _open_array(flux, header):
    from astropy.wcs import WCS

    if getattr(flux, "ndim", None) != 3:
        raise SFHCNNError(f"a cube has three axes (n_wave, n_y, n_x), got shape {np.shape(flux)}")
    if isinstance(header, WCS):
        wcs, medium = header, _medium(header.wcs.ctype[2])
        axis = u.Quantity(header.spectral.pixel_to_world(np.arange(flux.shape[0])).to(u.AA))
    else:
        header = {**dict(header), "NAXIS3": flux.shape[0]}
        wcs, axis, medium = WCS(header, naxis=2), header_wavelengths(header, 3), _medium(header.get("CTYPE3"))
    wcs = celestial_part(wcs)
    return Cube(
        flux=_HeldPlanes(getattr(flux, "value", flux)),
        spectral_axis=axis,
        **_units(getattr(flux, "unit", u.dimensionless_unscaled), wcs),
        wcs=wcs,
        medium=medium,
    )


# ---- variances -------------------------------------------------------------------------------------------------


def _with_variance(cube, variance):
    """A cube with another uncertainty."""
    # BUNIT of STAT is often wrong in files of MUSE; it is the square of that of DATA.
    kind, power, unit = "variance", 2, None
    if isinstance(variance, Cube):
        planes = variance.flux
    elif isinstance(variance, (str, Path)):
        planes = _variance_file(Path(variance))
    elif hasattr(variance, "filled_data"):
        planes = _SpectralCubePlanes(variance)
    elif hasattr(variance, "spectral_axis") and hasattr(variance, "flux"):
        opened = _open_spectrum(variance)
        planes, unit = opened.flux, opened.stored_unit
    else:
        if hasattr(variance, "uncertainty_type"):
            kind, power = uncertainty_kind(variance)
            array, unit = variance.array, variance.unit
        else:
            array = variance[0] if isinstance(variance, tuple) and len(variance) == 2 else variance
            array, unit = getattr(array, "value", array), getattr(array, "unit", None)
        if getattr(array, "ndim", None) != 3:
            raise SFHCNNError(
                f"variance must be a cube of three axes {cube.shape}, got {type(variance).__name__} of shape "
                f"{np.shape(array)}"
            )
        planes = _HeldPlanes(array)
    stored = cube.unit if cube.stored_unit is None else cube.stored_unit
    factor = _noise_factor(unit, power, [stored, per_spaxel(stored, cube.wcs)], "variance")
    return dataclasses.replace(cube, noise=planes, noise_kind=kind, noise_factor=factor)


def _noise_factor(unit, power, flux_units, name="uncertainty"):
    """From a unit to a power of that of the flux, in any of the units that this may have."""
    if unit is None:
        return 1.0
    for flux_unit in flux_units:
        if not isinstance(unit, u.FunctionUnitBase) and unit.is_equivalent(flux_unit**power):
            return unit.to(flux_unit**power)
    raise uncertainty_unit_error(name, unit, flux_units[0], power)


def _variance_file(path):
    from astropy.io import fits

    if not path.is_file():
        raise FileNotFoundError(f"no variance cube at {path}")
    with one_clear_error(path, "no FITS file of a cube"), fits.open(path, memmap=False) as hdus:
        hdu = hdus["STAT"] if "STAT" in hdus else next((hdu for hdu in hdus if _is_cube(hdu)), None)
        if hdu is None:
            raise SFHCNNError(f"{path} holds no cube of variances")
        return _planes(hdu, path)
