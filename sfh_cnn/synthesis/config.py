"""What a training set is made of: instrument, priors, observation. Each is a frozen dataclass that reads TOML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from sfh_cnn.core import AgeGrid, SFHCNNError, WavelengthGrid, config_to_dict
from sfh_cnn.core.constants import FWHM_PER_SIGMA

from .amr_prior import MetallicityPrior
from .attenuation import DUST_LAWS
from .sfh_prior import SFHPrior

__all__ = ["DustPrior", "InstrumentConfig", "ObservationConfig", "SynthesisConfig"]


def _check_range(name, value, low=-np.inf):
    if not (len(value) == 2 and low <= value[0] <= value[1]):
        raise SFHCNNError(f"{name} needs {low:g} <= low <= high, got {value}")


def _check_least(name, value, low):
    if not low <= value < np.inf:
        raise SFHCNNError(f"{name} must be a finite number of at least {low:g}, got {value}")


def _check_shares(config, *others):
    """Settings whose names end in _share, and some others, are shares."""
    for name in [field.name for field in dataclasses.fields(config) if field.name.endswith("_share")] + list(others):
        if not 0 <= getattr(config, name) <= 1:
            raise SFHCNNError(f"{name} is a share between 0 and 1, got {getattr(config, name)}")


@dataclasses.dataclass(frozen=True)
class InstrumentConfig:
    """Spectrograph and bands. The default is MUSE with the five PHANGS-HST bands."""

    #: First pixel centre, pixel width (Angstrom, rest frame, air) and number of pixels of the network.
    wave_start_aa: float = 4750.0
    wave_step_aa: float = 1.25
    n_wave: int = 3200
    #: Observed range of the spectrograph, Angstrom; at the highest redshifts the red end is cut by it.
    observed_range_aa: tuple[float, float] = (4750.0, 9350.0)
    #: FWHM of the line spread in Angstrom as a polynomial of the observed wavelength in Angstrom, highest
    #: power first. Default: MUSE, Bacon et al. (2017, A&A 608, A1), eq. 8.
    lsf_fwhm_polynomial: tuple[float, ...] = (5.866e-8, -9.187e-4, 6.040)
    #: Bands in the order of the network's input.
    bands: tuple[str, ...] = ("F275W", "F336W", "F438W", "F555W", "F814W")
    #: Observed-frame windows that observers mask (tellurics, sky lines), Angstrom.
    sky_windows_aa: tuple[tuple[float, float], ...] = (
        (5565.0, 5590.0),
        (6290.0, 6310.0),
        (6355.0, 6370.0),
        (6860.0, 6970.0),
        (7160.0, 7340.0),
        (7590.0, 7720.0),
        (8120.0, 8360.0),
        (8930.0, 9350.0),
    )
    #: Observed-frame notch of the adaptive-optics lasers, Angstrom; (0, 0) for none.
    notch_window_aa: tuple[float, float] = (5780.0, 5980.0)

    def __post_init__(self):
        _check_range("observed_range_aa", self.observed_range_aa, 0.0)
        WavelengthGrid(self.wave_start_aa, self.wave_step_aa, self.n_wave)

    @property
    def wavelength_grid(self) -> WavelengthGrid:
        """The network's pixels."""
        return WavelengthGrid(self.wave_start_aa, self.wave_step_aa, self.n_wave)

    def lsf_sigma_aa(self, wave_obs_aa: np.ndarray) -> np.ndarray:
        """Standard deviation of the line spread at observed wavelengths, Angstrom."""
        return np.polyval(self.lsf_fwhm_polynomial, wave_obs_aa) / FWHM_PER_SIGMA


@dataclasses.dataclass(frozen=True)
class DustPrior:
    """Attenuation of the diffuse medium (A_V) and the extra attenuation of stars younger than 10 Myr."""

    #: Range of A_V, mag. Half of the mocks are even in A_V, half crowd towards the low end (as the cube).
    a_v_range: tuple[float, float] = (0.0, 3.0)
    #: Relative weights of the attenuation laws of the diffuse medium.
    laws: dict[str, float] = dataclasses.field(
        default_factory=lambda: {
            "calzetti": 0.4,
            "charlot-fall": 0.3,
            "milky-way": 0.1,
            "calzetti-steep": 0.1,
            "calzetti-shallow": 0.1,
        }
    )
    #: Share of mocks whose young stars have no extra dust.
    no_birth_cloud_share: float = 0.4
    #: Extra A_V of young stars in units of the diffuse A_V, drawn evenly up to this factor.
    birth_cloud_factor: float = 3.0

    def __post_init__(self):
        _check_range("a_v_range", self.a_v_range, 0.0)
        if unknown := sorted(set(self.laws) - set(DUST_LAWS)):
            raise SFHCNNError(f"unknown dust law {', '.join(unknown)}; known: {', '.join(DUST_LAWS)}")
        weights = np.array(list(self.laws.values()), dtype=float)
        if not (np.all(np.isfinite(weights)) and np.all(weights >= 0) and weights.sum() > 0):
            raise SFHCNNError(f"weights of dust laws must be finite, >= 0 and not all 0, got {self.laws}")
        _check_shares(self)
        _check_least("birth_cloud_factor", self.birth_cloud_factor, 0.0)


@dataclasses.dataclass(frozen=True)
class ObservationConfig:
    """What telescope, sky and observer do to a spectrum. Shares are fractions of the mocks."""

    #: S/N per pixel (median over the valid pixels), log-uniform.
    snr_range: tuple[float, float] = (3.0, 200.0)
    #: Redshift; half of the mocks lie below 0.02, where PHANGS is.
    redshift_range: tuple[float, float] = (-0.003, 0.1)
    #: Error of the assumed velocity, km/s: Gaussian with half of this as sigma, cut there.
    velocity_error_kms: float = 100.0
    #: Velocity dispersion of the stars, km/s.
    velocity_dispersion_range_kms: tuple[float, float] = (0.0, 300.0)
    #: Rms of the smooth multiplicative error; log-uniform down to a thirtieth of the upper limit; 0 for none at all.
    calibration_error_max: float = 0.03
    #: Share of mocks without any calibration error.
    no_calibration_error_share: float = 0.35
    #: Shortest scale (half a wave) of the calibration error, pixels.
    calibration_scale_px: float = 25.0
    #: Factor by which error bars may be wrong (one sigma is half the logarithm), and the share that is right.
    error_factor: float = 1.5
    right_error_share: float = 0.5
    #: Share of mocks with the full wavelength range; the others are cut at one or both ends.
    full_coverage_share: float = 0.5
    #: Shortest wavelength coverage, as a share of the network's range.
    min_coverage: float = 0.3
    #: Share of mocks with masks, and with emission lines left in the spectrum.
    masked_share: float = 0.6
    emission_share: float = 0.4
    #: Relative error of the band fluxes, log-uniform.
    band_error_range: tuple[float, float] = (0.01, 0.2)
    #: Share of mocks without any band, and share of the others from which single bands are missing.
    no_bands_share: float = 0.35
    some_bands_share: float = 0.3
    #: Floor of the mismatch between spectrum and bands (grey) and of single bands, to which 1 and 1.5 times
    #: the calibration error is added.
    grey_mismatch: float = 0.01
    zero_point_error: float = 0.005

    def __post_init__(self):
        _check_range("snr_range", self.snr_range, 0.1)
        _check_range("redshift_range", self.redshift_range, -0.01)
        _check_range("velocity_dispersion_range_kms", self.velocity_dispersion_range_kms, 0.0)
        _check_range("band_error_range", self.band_error_range, 1e-4)
        _check_shares(self, "min_coverage")
        _check_least("velocity_error_kms", self.velocity_error_kms, 0.0)
        _check_least("calibration_error_max", self.calibration_error_max, 0.0)
        _check_least("error_factor", self.error_factor, 1.0)
        _check_least("grey_mismatch", self.grey_mismatch, 0.0)
        _check_least("zero_point_error", self.zero_point_error, 0.0)
        if not self.calibration_scale_px > 0:
            raise SFHCNNError(f"calibration_scale_px must be larger than 0 pixels, got {self.calibration_scale_px}")

    def band_mismatch(self, calibration_error: Any) -> tuple[Any, Any]:
        """How well bands and spectrum agree, as relative errors.

        Parameters
        ----------
        calibration_error : float, ndarray or Tensor
            Of the spectrum; mismatch grows with it.

        Returns
        -------
        grey, zero_point : float, ndarray or Tensor
            Common to all bands, and of each band by itself; shapes as given.
        """
        return self.grey_mismatch + calibration_error, self.zero_point_error + 1.5 * calibration_error


@dataclasses.dataclass(frozen=True)
class SynthesisConfig:
    """Everything that defines a set of mocks, with the seed and the stellar libraries' hashes.

    Read from TOML with ``load_config(path, SynthesisConfig)``.
    """

    name: str = "phangs-muse-hst"
    #: Names or paths for `SSPLibrary.read`; the first is the base and must cover all ages and [M/H].
    libraries: tuple[str, ...] = ("bc03-miles",)
    #: Share of mocks that mix two libraries at equal age and [M/H]; the others take one at random.
    mixed_library_share: float = 0.4
    #: Age bins in yr, youngest first, from 0; empty for the default 16 bins.
    age_edges_yr: tuple[float, ...] = ()
    seed: int = 1
    instrument: InstrumentConfig = dataclasses.field(default_factory=InstrumentConfig)
    sfh: SFHPrior = dataclasses.field(default_factory=SFHPrior)
    metallicity: MetallicityPrior = dataclasses.field(default_factory=MetallicityPrior)
    dust: DustPrior = dataclasses.field(default_factory=DustPrior)
    observation: ObservationConfig = dataclasses.field(default_factory=ObservationConfig)

    def __post_init__(self):
        if not self.libraries:
            raise SFHCNNError("libraries needs at least one stellar library")
        _check_shares(self)
        _check_least("seed", self.seed, 0)
        if self.age_grid.edges_yr[0] != 0:  # the grid checks itself
            raise SFHCNNError(f"age_edges_yr must begin at 0 (stars form until now), got {self.age_edges_yr[0]:g} yr")

    @property
    def age_grid(self) -> AgeGrid:
        """The network's age bins."""
        import astropy.units as u

        return AgeGrid(np.array(self.age_edges_yr) * u.yr) if self.age_edges_yr else AgeGrid.default()

    def sha256(self) -> str:
        """Hash of the configuration, seed included."""
        # Not sorted: the order of the families decides which draw goes to which.
        text = json.dumps(config_to_dict(self))
        return hashlib.sha256(text.encode()).hexdigest()
