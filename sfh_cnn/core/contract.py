"""ModelContract: everything a network promises, in one record that travels from synthesis to result."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from .age_grid import AgeGrid
from .exceptions import NetworkFileError
from .wavelength_grid import WavelengthGrid

if TYPE_CHECKING:
    from typing import Any

__all__ = ["ModelContract"]


@dataclasses.dataclass(frozen=True)
class ModelContract:
    """What a network was made for: grids, bands, libraries, priors and trained domain.

    Parameters
    ----------
    wave_start_aa, wave_step_aa : float
        First pixel centre and pixel width, Angstrom, rest frame, air.
    n_wave : int
        Number of pixels.
    age_edges_yr : tuple of float
        Bin edges, youngest first.
    bands : tuple of str
        Band names in the order of the network's input.
    band_pivots_aa : tuple of float
        Pivot wavelengths of the bands, Angstrom.
    libraries : tuple of dict
        One per stellar library: ``name``, ``sha256``, ``imf``, ``reference``, ``solar_metallicity``,
        ``license``.
    imf : str
        Initial mass function that masses refer to.
    metallicity_range_dex : tuple of float
        Lowest and highest [M/H] of the prior.
    domain : dict
        Trained ranges: ``snr``, ``redshift``, ``a_v``, ``velocity_dispersion_kms``, ``calibration_error``; and the
        least share of the wavelength range, ``min_coverage``.
    synthesis : dict
        The full synthesis configuration with its seed.
    training : dict
        Seed, number of mocks, ``seconds`` of the clock, machine, ``settings``, learning curve, code version, what the
        network started from, and the same of the trainings before (``earlier``); ``known_failures`` as its makers
        state them. See ``sfh_cnn.core.card`` for what must be there.
    accuracy : dict
        Measured on held-out mocks, see `sfh_cnn.diagnostics.evaluate`.
    name : str
        Name of the network.
    """

    wave_start_aa: float
    wave_step_aa: float
    n_wave: int
    age_edges_yr: tuple
    bands: tuple
    band_pivots_aa: tuple
    libraries: tuple
    imf: str
    metallicity_range_dex: tuple
    domain: dict
    synthesis: dict
    training: dict = dataclasses.field(default_factory=dict)
    accuracy: dict = dataclasses.field(default_factory=dict)
    name: str = "unnamed"

    @property
    def wavelength_grid(self) -> WavelengthGrid:
        """The rest-frame pixels as a `WavelengthGrid`."""
        return WavelengthGrid(self.wave_start_aa, self.wave_step_aa, self.n_wave)

    @property
    def age_grid(self) -> AgeGrid:
        """The age bins as an `AgeGrid`."""
        return AgeGrid(np.asarray(self.age_edges_yr, dtype=float) * u.yr)

    @property
    def n_age(self) -> int:
        """Number of age bins."""
        return len(self.age_edges_yr) - 1

    @property
    def n_band(self) -> u.Quantity:
        """Number of bands."""
        return len(self.bands)

    def replace(self, **changes: Any) -> ModelContract:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The contract as a JSON string."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> ModelContract:
        """Read a contract back.

        Raises
        ------
        NetworkFileError
            If the text is not a contract of this version.
        """
        try:
            data = json.loads(text)
            fields = {field.name for field in dataclasses.fields(cls)}
            for name in ("age_edges_yr", "bands", "band_pivots_aa", "libraries", "metallicity_range_dex"):
                data[name] = tuple(data[name])
            contract = cls(**{name: value for name, value in data.items() if name in fields})
            contract.wavelength_grid, contract.age_grid  # noqa: B018 (the grids check themselves)
            contract._check()
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as err:
            raise NetworkFileError(f"the model card is not readable: {err!r}") from err
        return contract

    def _check(self):
        """Refuse a card that would only fail later, or that would write more than text on a terminal."""
        for name, kind in {
            **dict.fromkeys(("name", "imf"), str),
            **dict.fromkeys(("domain", "synthesis", "training", "accuracy"), dict),
        }.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is {getattr(self, name)!r}")
        if not all(isinstance(band, str) for band in self.bands) or len(self.bands) != len(self.band_pivots_aa):
            raise ValueError(f"bands are {self.bands} at {self.band_pivots_aa}")
        if not all(isinstance(library, dict) for library in self.libraries):
            raise TypeError(f"libraries are {self.libraries}")
        numbers = [self.wave_start_aa, self.wave_step_aa, *self.band_pivots_aa, self.domain.get("min_coverage", 0)]
        ranges = [self.domain[name] for name in ("snr", "redshift", "calibration_error") if name in self.domain]
        for low, high in [self.metallicity_range_dex, *ranges]:
            numbers += [low, high]
            if not low <= high:
                raise ValueError(f"the range {low} to {high} is empty")
        if not (type(self.n_wave) is int and all(math.isfinite(number) for number in numbers)):
            raise ValueError("a number is not finite")
        if not _is_printable(dataclasses.asdict(self)):
            raise ValueError("a text has control characters")


def _is_printable(value):
    if isinstance(value, dict):
        return all(_is_printable(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return all(_is_printable(part) for part in value)
    return not isinstance(value, str) or all(letter.isprintable() or letter in "\n\t" for letter in value)
