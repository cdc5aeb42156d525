"""The only file that knows the classes spectra come in: whatever they are, into plain arrays."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy import log

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.core.constants import LOWEST_REDSHIFT

from .conventions import (
    bare_flux_unit,
    medium_of_ctype,
    plain_redshift,
    uncertainty_kind,
    uncertainty_unit_error,
    unmask,
)
from .resample import resample_to_grid
from .rest_frame import to_air

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike

    from sfh_cnn.core import WavelengthGrid

__all__ = ["ObservedSpectra", "open_spectra", "read_spectra"]


#: A mask that marks more than this share of the pixels is more likely one of the other polarity.
_SUSPECT_MASK_SHARE = 0.95

#: Spectra per block, so that temporaries stay in the processor's cache.
_BLOCK = 64

#: To where spectra are filled up to the longest of a list, Angstrom: within what the law of extinction covers.
_FILL_TO_AA = 30000.0

#: How an array of each kind of uncertainty becomes a standard deviation.
_TO_STD = {"std": np.positive, "variance": np.sqrt, "ivar": lambda array: 1 / np.sqrt(array)}


@dataclasses.dataclass(eq=False)
class ObservedSpectra:
    """Spectra as plain arrays, in the observed frame, in air.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave_obs,) or (n_spec, n_wave_obs)
        Pixel centres, Angstrom, increasing; two-dimensional if the spectra have axes of their own. Shorter ones are
        then filled up with masked pixels.
    flux : ndarray, shape (n_spec, n_wave_obs)
        Observed flux density, erg/s/cm2/Angstrom unless ``relative``; float32 or float64, as it came.
    flux_err : ndarray, shape (n_spec, n_wave_obs), or None
        1-sigma errors; None if the spectra came without.
    mask : ndarray of bool, shape (n_spec, n_wave_obs)
        True marks bad pixels: masked, not finite, or with an error that is not positive and finite.
    redshift : ndarray, shape (n_spec,)
        NaN marks a spectrum of unknown redshift; all its pixels are masked.
    medium : str
        What the wavelengths came in, ``"air"`` or ``"vacuum"``; they are in air now.
    scalar : bool
        True if one spectrum came without a leading axis.
    relative : bool
        True if the flux had no unit: shapes are right, masses impossible.
    per : str
        Solid angle that the flux was per, such as ``"arcsec2"`` or ``"pix"``; empty for plain flux density.
    """

    wave_aa: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray | None
    mask: np.ndarray
    redshift: np.ndarray
    medium: str = "air"
    scalar: bool = False
    relative: bool = False
    per: str = ""

    def __len__(self):
        return len(self.flux)

    def block(self, rows: slice) -> ObservedSpectra:
        """Some of the spectra, given a slice."""
        wave_aa = self.wave_aa if self.wave_aa.ndim == 1 else self.wave_aa[rows]
        flux_err = None if self.flux_err is None else self.flux_err[rows]
        parts: dict[str, Any] = {
            "wave_aa": wave_aa,
            "flux": self.flux[rows],
            "flux_err": flux_err,
            "mask": self.mask[rows],
        }
        return dataclasses.replace(self, **parts, redshift=self.redshift[rows])

    def resample(self, grid: WavelengthGrid) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """The spectra on a network's rest-frame pixels; see `resample_to_grid`."""
        return resample_to_grid(self.wave_aa, self.flux, self.flux_err, self.mask, self.redshift, grid)


@dataclasses.dataclass(frozen=True, eq=False)
class _UnreadSpectra:
    """Spectra on one axis of which the arrays are still as they came; `block` makes `ObservedSpectra`.

    Parameters
    ----------
    wave_aa, redshift, medium, scalar, relative, per : object
        As in `ObservedSpectra`.
    rows : ndarray, shape (n_spec, n_wave_obs)
        Flux as it came, a view.
    masked : ndarray of bool, shape (n_spec, n_wave_obs), or None
        True marks bad pixels.
    scale : float or ndarray, shape (n_wave_obs,)
        Factor to the house unit.
    err_rows, to_std, err_scale : object
        The same for uncertainties, with the function that makes them standard deviations; or Nones.
    """

    wave_aa: np.ndarray
    rows: np.ndarray
    masked: np.ndarray | None
    scale: np.ndarray | float
    err_rows: np.ndarray | None
    to_std: np.ufunc | None
    err_scale: np.ndarray | float | None
    redshift: np.ndarray
    medium: str
    scalar: bool
    relative: bool
    per: str

    def __len__(self):
        return len(self.rows)

    def block(self, rows):
        """Some of the spectra, given a slice."""
        bad = None if self.masked is None else self.masked[rows]
        flux, bad = _scaled(self.rows[rows], bad, self.scale)
        flux_err = None
        if self.err_rows is not None:
            flux_err, bad = _scaled(self.err_rows[rows], bad, self.err_scale, self.to_std)
        redshift = self.redshift[rows]
        bad[~np.isfinite(redshift)] = True
        return ObservedSpectra(
            self.wave_aa, flux, flux_err, bad, redshift, self.medium, self.scalar, self.relative, self.per
        )


def read_spectra(
    spectrum: Any,
    *,
    uncertainty: Any = None,
    mask: Any = None,
    redshift: ArrayLike | None = None,
    medium: str | None = None,
) -> ObservedSpectra:
    """Take in spectra of any class, unit and axis order.

    Parameters
    ----------
    spectrum : specutils Spectrum, SpectrumList or SpectrumCollection, or a list of Spectrum
        One spectrum, or many: a stack of shape (n_spec, n_wave) or (n_wave, n_spec), as ``spectral_axis_index``
        says, or a list whose members may have axes of their own. Spectral axis: wavelength, frequency, energy or
        velocity, ascending or descending. Flux: any flux density, also per spaxel or per square arcsecond.
    uncertainty : NDUncertainty, Quantity or array, or a list of them for a list of spectra, optional
        Replaces the spectrum's own. An array or Quantity is a standard deviation, in any unit of flux density.
    mask : array of bool, or a list of them for a list of spectra, optional
        True marks bad pixels, as in astropy. Replaces the spectrum's own.
    redshift : float or array, shape (n_spec,), optional
        By default the spectrum's own ``redshift`` or ``radial_velocity``, or ``meta["redshift"]``.
    medium : {"air", "vacuum"}, optional
        What the wavelengths are in. By default what the spectrum says (``CTYPE`` ``AWAV`` or ``WAVE`` of its WCS or
        FITS header, ``meta["medium"]``; a frequency, energy or wavenumber is in vacuum), else air, which is logged.

    Returns
    -------
    ObservedSpectra

    Raises
    ------
    SFHCNNError
        If the class is foreign, there are more than two axes, the redshift is missing or below -0.003, the spectral
        axis is not monotonic, or shapes do not fit.
    astropy.units.UnitConversionError
        If the flux is not a flux density, or the unit of the uncertainty does not belong to it.

    Examples
    --------
    >>> import numpy as np
    >>> import astropy.units as u
    >>> from specutils import Spectrum
    >>> from sfh_cnn.spectra import read_spectra
    >>> spectrum = Spectrum(spectral_axis=np.linspace(900, 500, 5) * u.nm, flux=np.ones(5) * u.mJy, redshift=0.02)
    >>> spectra = read_spectra(spectrum, medium="air")
    >>> spectra.wave_aa, spectra.redshift.round(6)
    (array([5000., 6000., 7000., 8000., 9000.]), array([0.02]))
    """
    spectra = open_spectra(spectrum, uncertainty=uncertainty, mask=mask, redshift=redshift, medium=medium)
    return spectra.block(slice(None))


def open_spectra(
    spectrum: Any,
    *,
    uncertainty: Any = None,
    mask: Any = None,
    redshift: ArrayLike | None = None,
    medium: str | None = None,
) -> Any:
    """`read_spectra` block by block: large stacks are best taken in pieces that stay in the processor's cache.

    Parameters
    ----------
    spectrum, uncertainty, mask, redshift, medium : object
        As in `read_spectra`.

    Returns
    -------
    object
        With the attributes of `ObservedSpectra` other than the arrays, a length, and a method ``block(rows)`` that
        gives the `ObservedSpectra` of a slice.

    Raises
    ------
    SFHCNNError, astropy.units.UnitConversionError
        As `read_spectra`.
    """
    members = _members(spectrum)
    if members is None:
        return _with_a_redshift(_open_one(spectrum, uncertainty, mask, redshift, medium))
    if not members:
        raise SFHCNNError("the list of spectra is empty; give at least one spectrum")
    if redshift is not None:
        redshift = np.broadcast_to(_checked_redshift(redshift, len(members)), len(members))
    parts = [
        _open_one(
            member,
            _pick(uncertainty, i, len(members), "uncertainty"),
            _pick(mask, i, len(members), "mask"),
            None if redshift is None else redshift[i : i + 1],
            medium,
        ).block(slice(None))
        for i, member in enumerate(members)
    ]
    return _with_a_redshift(_stack(parts))


def _members(spectrum):
    """The spectra of a list or collection; None for a single object."""
    if isinstance(spectrum, (list, tuple)):  # SpectrumList is a list
        return list(spectrum)
    if type(spectrum).__name__ == "SpectrumCollection":
        return [spectrum[i] for i in range(len(spectrum))]
    return None


def _pick(values, i, n, name):
    if values is None:
        return None
    if len(values) != n:
        raise SFHCNNError(f"{name} has {len(values)} entries for {n} spectra; give one for each")
    return values[i]


def _open_one(spectrum, uncertainty, mask, redshift, medium):
    if not (hasattr(spectrum, "spectral_axis") and hasattr(spectrum, "flux")):
        raise SFHCNNError(
            f"spectrum must be a specutils Spectrum or a list of them, got {type(spectrum).__name__}; "
            "build one with Spectrum(spectral_axis=..., flux=..., uncertainty=...)"
        )
    if spectrum.flux.ndim not in (1, 2):
        raise SFHCNNError(
            f"the spectrum has {spectrum.flux.ndim} axes; give (n_wave,) or (n_spec, n_wave), or use predict_cube"
        )
    axis = spectrum.spectral_axis_index
    medium = medium or _find_medium(spectrum)
    try:
        wave_aa = to_air(np.asarray(spectrum.wavelength.to_value(u.AA), dtype=float), medium)
    except ValueError as err:  # velocities without a rest wavelength
        raise SFHCNNError(f"the spectral axis in {spectrum.spectral_axis.unit} gives no wavelengths: {err}") from err
    if np.all(np.diff(wave_aa) < 0):
        order = slice(None, None, -1)
    elif np.all(np.diff(wave_aa) > 0):
        order = slice(None)
    else:
        raise SFHCNNError("the spectral axis is not monotonic (or not finite); sort it and remove repeated wavelengths")

    def to_rows(array, name="flux"):
        if array is None:
            return None
        try:
            array = np.broadcast_to(array, spectrum.flux.shape)
        except ValueError as err:
            raise SFHCNNError(
                f"{name} has shape {np.shape(array)}, the flux {spectrum.flux.shape}; they must agree"
            ) from err
        if array.dtype.kind not in "biuf":
            raise SFHCNNError(f"{name} must be real numbers, got {array.dtype}")
        return np.atleast_2d(np.moveaxis(array, axis, -1))[:, order]

    unit, per = bare_flux_unit(spectrum.flux.unit)
    relative = unit.is_equivalent(u.dimensionless_unscaled)
    wave_aa = wave_aa[order]
    scale = unit.to(u.dimensionless_unscaled) if relative else _flux_scale(unit, wave_aa)
    values, masked = unmask(spectrum.flux.value)
    uncertainty = spectrum.uncertainty if uncertainty is None else uncertainty
    array, to_std, factor = _uncertainty(uncertainty, spectrum.flux.unit, wave_aa)
    mask = spectrum.mask if mask is None else mask
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype.kind not in "biuf":
            raise SFHCNNError(f"mask must be an array of bool, True where a pixel is bad, got {mask.dtype}")
        mask = mask != 0
        to_rows(mask, "mask")
        if mask.size and mask.mean() > _SUSPECT_MASK_SHARE:
            log.warning(
                f"the mask marks {100 * mask.mean():.0f} per cent of the pixels as bad; True means bad here: "
                "pass mask=~mask if yours is the other way round"
            )
        masked = mask if masked is None else masked | mask
    rows = to_rows(values)
    return _UnreadSpectra(
        wave_aa,
        rows,
        to_rows(masked),
        scale,
        to_rows(array, "uncertainty"),
        to_std,
        None if array is None else scale * factor,
        _find_redshift(spectrum, redshift, len(rows)),
        medium,
        spectrum.flux.ndim == 1,
        relative,
        per,
    )


def _scaled(rows, bad, scale, to_std=None):
    """Rows times a scale per pixel, native and no wider than they came; and bad pixels.

    Bad are those of ``bad``, and what is not finite, or, for uncertainties, not a positive standard deviation.
    """
    kind = np.float32 if rows.dtype.itemsize <= 4 and rows.dtype.kind == "f" else float
    out = np.empty(rows.shape, dtype=kind)
    bad_out = np.empty(rows.shape, dtype=bool)
    scale = np.asarray(scale, dtype=kind)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        values = out[block]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of bad pixels, which are marked below
            part = _in_cache(rows[block], kind)
            if to_std in (None, np.positive):
                np.multiply(part, scale, out=values, casting="same_kind")
            else:
                np.multiply(to_std(part.astype(kind, copy=False)), scale, out=values)
        good = np.isfinite(values) if to_std is None else (values > 0) & (values < np.inf)
        np.logical_not(good, out=bad_out[block])
        if bad is not None:
            bad_out[block] |= _in_cache(bad[block], bool)
    return out, bad_out


def _in_cache(rows, kind):
    """A block of rows, copied if it lies across the memory, as in a cube or a table with a row per wavelength.

    Each row then fetches nearly the whole block. The copy goes along the memory, and turning what is in the
    processor's cache is a third of the time.
    """
    across = abs(rows.strides[0]) < abs(rows.strides[1])
    return rows.T.astype(kind, order="C").T if across else rows


def _flux_scale(unit, wave_aa):
    """Factor from a flux density in ``unit`` to the house unit, one or one per pixel."""
    try:
        if unit.is_equivalent(FLUX_UNIT):
            return unit.to(FLUX_UNIT)
        return unit.to(FLUX_UNIT, np.ones_like(wave_aa), equivalencies=u.spectral_density(wave_aa * u.AA))
    except u.UnitConversionError as err:
        raise u.UnitConversionError(
            f"flux is in {unit}, which is no flux density; convert it to {FLUX_UNIT} or give it without a unit"
        ) from err


def _uncertainty(uncertainty, flux_unit, wave_aa):
    """An array, the function that makes it standard deviations, and the factor to the unit of the flux; or Nones."""
    if uncertainty is None:
        return None, None, None
    kind, power = "std", 1
    if hasattr(uncertainty, "uncertainty_type"):
        kind, power = uncertainty_kind(uncertainty)
        array, unit = uncertainty.array, uncertainty.unit
    else:
        unit = getattr(uncertainty, "unit", None)
        array = uncertainty if unit is None else uncertainty.value
    array, masked = unmask(array)
    if masked is not None:
        array = np.where(masked, np.nan, array)
    return array, _TO_STD[kind], 1.0 if unit is None else _std_factor(unit, power, flux_unit, wave_aa)


def _std_factor(unit, power, flux_unit, wave_aa):
    """From the unit of an uncertainty to that of the flux, one or one per pixel."""
    if not isinstance(unit, u.FunctionUnitBase):
        std_unit = unit ** (1 / power)
        if std_unit.is_equivalent(flux_unit):
            return std_unit.to(flux_unit)
        density = u.spectral_density(wave_aa * u.AA)
        if std_unit.is_equivalent(flux_unit, density):
            return std_unit.to(flux_unit, np.ones_like(wave_aa), density)
    raise uncertainty_unit_error("uncertainty", unit, flux_unit, power)


def _meta(spectrum):
    """Keyword and value pairs of the metadata and of the FITS header in it, keywords in lower case."""
    meta = dict(spectrum.meta or {})
    header = meta.pop("header", None) or {}
    return {str(key).lower(): value for key, value in [*dict(header).items(), *meta.items()]}


def _find_medium(spectrum):
    """Air or vacuum, as far as the spectrum says."""
    if spectrum.spectral_axis.unit.is_equivalent(u.Hz) or spectrum.spectral_axis.unit.physical_type in (
        "energy",
        "wavenumber",
    ):
        return "vacuum"
    meta = _meta(spectrum)
    for key in ("medium", "airorvac"):
        stated = str(meta.get(key, "")).lower()
        if stated.startswith(("air", "vac")):
            return "air" if stated.startswith("air") else "vacuum"
    if "vacuum" in meta:
        return "vacuum" if meta["vacuum"] else "air"
    wcs_types = list(getattr(getattr(spectrum.wcs, "wcs", None), "ctype", []))
    for ctype in [*wcs_types, *(meta.get(f"ctype{i}", "") for i in (1, 2, 3))]:
        if (medium := medium_of_ctype(ctype)) is not None:
            return medium
    _tell_default_medium()
    return "air"


@functools.cache  # once per session
def _tell_default_medium():
    log.info("no word on whether the wavelengths are in air or vacuum: air is taken; set medium= (--medium)")


def _find_redshift(spectrum, redshift, n_spec):
    """Redshift of each spectrum, from the argument, the spectrum or its metadata."""
    if redshift is None:
        # specutils says 0 where nobody set a redshift: that cannot be told from a measured 0.
        own = plain_redshift(0.0 if spectrum.redshift is None else spectrum.redshift)
        redshift = own if np.any(own != 0) else _meta(spectrum).get("redshift")
    if redshift is None:
        raise SFHCNNError(
            "the redshift is not known (specutils stores 0 where none was set); "
            "give redshift=... (--redshift), or set it with Spectrum(..., redshift=...)"
        )
    return np.broadcast_to(_checked_redshift(redshift, n_spec), n_spec).astype(float)


def _checked_redshift(redshift, n_spec):
    redshift = plain_redshift(redshift)
    if redshift.shape not in ((), (1,), (n_spec,)):
        raise SFHCNNError(f"redshift has shape {redshift.shape} for {n_spec} spectra; give one number or {n_spec}")
    if np.any(redshift < LOWEST_REDSHIFT):
        raise SFHCNNError(
            f"redshift {np.nanmin(redshift):g} is below {LOWEST_REDSHIFT}; give the redshift of the galaxy, not km/s"
        )
    return redshift


def _with_a_redshift(spectra):
    """One unknown redshift is a bad row; none known is an error."""
    if len(spectra) and not np.any(np.isfinite(spectra.redshift)):
        raise SFHCNNError("redshift is not finite; give a number")
    return spectra


def _stack(parts):
    """Join spectra; those with axes of their own are filled up to the longest."""
    kinds = {(part.relative, part.per) for part in parts}
    if len(kinds) > 1:
        raise SFHCNNError("the spectra of a list must all be flux densities, or all the same surface brightness")
    with_errors = {part.flux_err is not None for part in parts}
    if len(with_errors) > 1:
        raise SFHCNNError("some spectra of the list have uncertainties and some have not; give all or none")
    first = parts[0]
    if all(np.array_equal(part.wave_aa, first.wave_aa) for part in parts):
        wave_aa = first.wave_aa
    else:
        n_wave = max(len(part.wave_aa) for part in parts)
        wave_aa = np.concatenate(
            [np.repeat(_extend(part.wave_aa, n_wave)[np.newaxis], len(part), axis=0) for part in parts]
        )
    n_wave = wave_aa.shape[-1]

    def join(name, fill):
        rows = [getattr(part, name) for part in parts]
        return np.concatenate([np.pad(row, ((0, 0), (0, n_wave - row.shape[1])), constant_values=fill) for row in rows])

    return ObservedSpectra(
        wave_aa,
        join("flux", np.nan),
        join("flux_err", np.nan) if with_errors == {True} else None,
        join("mask", True),
        np.concatenate([part.redshift for part in parts]),
        first.medium,
        False,
        first.relative,
        first.per,
    )


def _extend(wave_aa, n_wave):
    """Continue an axis: by one pixel of its last step, which leaves its edges, and then no further than it must.

    Fine steps among the pixels of a network would make large matrices.
    """
    n_more = n_wave - len(wave_aa)
    step = wave_aa[-1] - wave_aa[-2]
    first = wave_aa[-1] + step
    finer = max(min(step, (_FILL_TO_AA - first) / max(n_more, 1)), 1e-6 * first)
    return np.concatenate([wave_aa, first + finer * np.arange(n_more)])
