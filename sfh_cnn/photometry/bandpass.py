"""Bandpass: the throughput of a band, and the register of bands known by name."""

from __future__ import annotations

import dataclasses
import functools
from importlib.resources import files

import astropy.units as u
import numpy as np

from sfh_cnn.core import SFHCNNError, to_quantity

__all__ = ["Bandpass", "available_bandpasses", "load_bandpass", "register_bandpass"]

#: The file holds system throughputs (telescope, optics, filter, detector) of HST WFC3/UVIS. Curves of the bare
#: filters would put the pivot of F814W 250 Angstrom too far to the red.
_PACKAGED = "data/filters_wfc3_uvis.ecsv"

#: Names of the bands that speclite provides, and its own names for them.
_SPECLITE = {f"SDSS_{band}": f"sdss2010-{band}" for band in "ugriz"}

_registered: dict[str, Bandpass] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class Bandpass:
    """System throughput of a band for a photon-counting detector, linear between its samples, zero outside.

    Parameters
    ----------
    name : str
        Name of the band, e.g. ``"F814W"``.
    wave_aa : ndarray, shape (n,)
        Observed-frame wavelengths in Angstrom, strictly increasing.
    throughput : ndarray, shape (n,)
        Photons counted per photon arriving, not negative. A constant factor has no effect.

    Raises
    ------
    SFHCNNError
        If the arrays differ in length, the wavelengths do not increase, or the throughput is negative
        or zero everywhere.

    Examples
    --------
    >>> from sfh_cnn.photometry import load_bandpass
    >>> load_bandpass("F555W")
    <Bandpass F555W: 4365-7410 Angstrom, pivot 5308 Angstrom>
    """

    name: str
    wave_aa: np.ndarray
    throughput: np.ndarray

    def __post_init__(self):
        # Private copies, so that a band cannot change behind the back of those who hold it.
        wave_aa, throughput = np.array(self.wave_aa, dtype=float), np.array(self.throughput, dtype=float)
        if wave_aa.ndim != 1 or wave_aa.shape != throughput.shape or len(wave_aa) < 2:
            raise SFHCNNError(
                f"band {self.name}: wave_aa and throughput need the same length of at least 2, "
                f"got shapes {wave_aa.shape} and {throughput.shape}"
            )
        if not (np.all(np.diff(wave_aa) > 0) and wave_aa[0] > 0):
            raise SFHCNNError(f"band {self.name}: wave_aa must be positive and strictly increasing; sort it")
        if not (np.all(throughput >= 0) and np.any(throughput > 0)):
            raise SFHCNNError(f"band {self.name}: throughput must be finite, not negative and not zero everywhere")
        for field, array in (("wave_aa", wave_aa), ("throughput", throughput)):
            array.flags.writeable = False
            object.__setattr__(self, field, array)

    @functools.cached_property
    def _photons(self):
        """Integral of throughput * wavelength from the blue end to each sample, shape (n,)."""
        step, low, here, slope = self._segments
        return np.concatenate([[0.0], np.cumsum(_segment_integral(step, low, here, slope))])

    @functools.cached_property
    def _segments(self):
        step = np.diff(self.wave_aa)
        return step, self.wave_aa[:-1], self.throughput[:-1], np.diff(self.throughput) / step

    def photon_integral(self, wave_aa: np.ndarray) -> np.ndarray:
        """Integral of throughput times wavelength up to given wavelengths, exact for the piecewise linear curve.

        Parameters
        ----------
        wave_aa : ndarray, any shape
            Observed wavelengths in Angstrom.

        Returns
        -------
        ndarray, same shape
            Angstrom squared; divided by its value at the red end it is the share of the photons of a
            flat f_lambda spectrum that come from shorter wavelengths.
        """
        _, low, here, slope = self._segments
        wave_aa = np.clip(wave_aa, self.wave_aa[0], self.wave_aa[-1])
        segment = np.clip(np.searchsorted(self.wave_aa, wave_aa, side="right") - 1, 0, len(low) - 1)
        part = _segment_integral(wave_aa - low[segment], low[segment], here[segment], slope[segment])
        return self._photons[segment] + part

    @functools.cached_property
    def pivot_aa(self) -> float:
        """Pivot wavelength in Angstrom: sqrt(int T l dl / int T / l dl) (Koornneef et al. 1986)."""
        step, low, here, slope = self._segments
        inverse = slope * step + (here - slope * low) * np.log1p(step / low)
        return float(np.sqrt(self._photons[-1] / np.sum(inverse)))

    @property
    def pivot(self) -> u.Quantity:
        """Pivot wavelength as a Quantity."""
        return to_quantity(self.pivot_aa, u.AA)

    @property
    def wavelength(self) -> u.Quantity:
        """Wavelengths of the samples as a Quantity, shape (n,)."""
        return to_quantity(self.wave_aa, u.AA)

    def __repr__(self):
        low, high = self.wave_aa[0], self.wave_aa[-1]
        return f"<Bandpass {self.name}: {low:.0f}-{high:.0f} Angstrom, pivot {self.pivot_aa:.0f} Angstrom>"


def _segment_integral(x, low, here, slope):
    """Integral over 0..x of (here + slope x) (low + x): throughput times wavelength inside a segment."""
    return x * (here * low + x * (0.5 * (here + slope * low) + x * slope / 3))


@functools.cache
def _packaged_bandpasses():
    from astropy.table import Table

    table = Table.read((files("sfh_cnn") / _PACKAGED).read_text(), format="ascii.ecsv")
    names = list(dict.fromkeys(str(name) for name in table["band"]))
    rows = {name: table[table["band"] == name] for name in names}
    return {name: Bandpass(name, rows[name]["wave"], rows[name]["throughput"]) for name in names}


@functools.cache
def _speclite_bandpass(name):
    try:
        from speclite import filters
    except ImportError as err:
        raise ImportError(f"band {name} needs speclite: pip install speclite") from err
    curve = filters.load_filter(_SPECLITE[name])
    return Bandpass(name, curve.wavelength, curve.response)


def load_bandpass(name: str | Bandpass) -> Bandpass:
    """Find a band by its name.

    Parameters
    ----------
    name : str or Bandpass
        ``"F275W"``, ``"F336W"``, ``"F438W"``, ``"F555W"``, ``"F814W"`` (HST WFC3/UVIS), ``"SDSS_u"`` to
        ``"SDSS_z"`` (need the package speclite), or a name given to `register_bandpass`. A `Bandpass` is
        returned as it is.

    Returns
    -------
    Bandpass

    Raises
    ------
    SFHCNNError
        If nobody knows the name; the message lists the names that are known.
    ImportError
        If an SDSS band is asked for and speclite is not installed.
    """
    if isinstance(name, Bandpass):
        return name
    if name in _registered:
        return _registered[name]
    if name in _packaged_bandpasses():
        return _packaged_bandpasses()[name]
    if name in _SPECLITE:
        return _speclite_bandpass(name)
    raise SFHCNNError(
        f"unknown band {name!r}; known are {', '.join(available_bandpasses())}; "
        "add your own with sfh_cnn.photometry.register_bandpass(Bandpass(name, wave_aa, throughput))"
    )


def register_bandpass(bandpass: Bandpass, overwrite: bool = False) -> None:
    """Make a band of your own known by its name, for this Python session.

    Parameters
    ----------
    bandpass : Bandpass
        The band.
    overwrite : bool, optional
        Replace a band of the same name. Without it a known name is an error.

    Raises
    ------
    SFHCNNError
        If the name is taken and ``overwrite`` is False.
    """
    if bandpass.name in available_bandpasses() and not overwrite:
        raise SFHCNNError(f"band {bandpass.name!r} exists; choose another name or pass overwrite=True")
    _registered[bandpass.name] = bandpass


def available_bandpasses() -> list[str]:
    """Names that `load_bandpass` knows, as a list of str."""
    return list(dict.fromkeys([*_packaged_bandpasses(), *_SPECLITE, *_registered]))
