"""MockGenerator: from priors to what a telescope would have seen, the whole story on one page."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from astropy import log

from sfh_cnn.core import ModelContract, SFHCNNWarning, config_to_dict
from sfh_cnn.core.constants import C_KMS, LOG_RECENT_FLOOR, RECENT_YR, SCALAR_NAMES, V_WINDOW_AA
from sfh_cnn.core.history import mean_log_age, mean_metallicity, recent_fraction
from sfh_cnn.photometry import band_matrix, load_bandpass
from sfh_cnn.spectra import broadening_operator
from sfh_cnn.ssp import SSPLibrary

from . import observe
from .amr_prior import METALLICITY_RANGE_DEX, draw_metallicity
from .attenuation import attenuation_curve, transmission
from .composite import bin_history, library_shares, mass_weights
from .sfh_prior import draw_mass_fraction
from .ssp_grid import SSPGrid, metallicity_weights
from .threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scipy.sparse import csr_matrix

    from .config import DustPrior, SynthesisConfig

__all__ = ["MockGenerator", "draw_dust"]

#: Mocks that share velocity dispersion, velocity error, redshift and sky.
GROUP_SIZE = 256
#: Libraries less sharp than the instrument make the lines of the mocks too broad, as a velocity dispersion would:
#: from the first value on (km/s; less is rounding) the log warns of it, from the second on, where it exceeds what stars
#: of discs have, a Python warning does.
_LSF_EXCESS_KMS = (1.0, 40.0)


class MockGenerator:
    """Makes mock spectra and band fluxes with their truth, in numbered chunks.

    Chunk ``i`` depends on the configuration, its seed, the stellar libraries and ``i`` alone: any number
    of workers makes the same mocks.

    Parameters
    ----------
    config : SynthesisConfig
    libraries : list of `~sfh_cnn.ssp.SSPLibrary`, optional
        Instead of reading those that the configuration names.

    Raises
    ------
    SFHCNNError
        If a library does not cover the spectra, or the first one not the bands.

    Warns
    -----
    SFHCNNWarning
        If the lines of the libraries are clearly broader than those of the instrument, or the first library lacks ages
        or metallicities of the mocks.
    """

    def __init__(self, config: SynthesisConfig, libraries: Iterable[SSPLibrary] | None = None) -> None:
        self.config = config
        self.libraries = [SSPLibrary.read(name) for name in config.libraries] if libraries is None else list(libraries)
        instrument, redshift = config.instrument, config.observation.redshift_range
        # The bands themselves, for a worker process does not know those that a user has registered.
        self.bandpasses = [load_bandpass(name) for name in instrument.bands]
        low = min([b.wave_aa[0] for b in self.bandpasses] + [V_WINDOW_AA[0]]) / (1 + redshift[1]) - 20
        high = max([b.wave_aa[-1] for b in self.bandpasses] + [V_WINDOW_AA[1]]) / (1 + redshift[0]) + 20
        self.wave_aa = instrument.wavelength_grid.wave_aa
        self.age_grid = config.age_grid
        with one_thread():
            self.grid = SSPGrid(
                self.libraries,
                self.age_grid.edges_yr,
                (self.wave_aa[0], self.wave_aa[-1]),
                (low, high),
                METALLICITY_RANGE_DEX,
            )
        self._say_lsf_excess()
        self._law_names = tuple(config.dust.laws)
        laws = (*self._law_names, "birth-cloud")
        self._law = np.stack([attenuation_curve(name, self.wave_aa) for name in laws])
        self._law_coarse = np.stack([attenuation_curve(name, self.grid.coarse_wave_aa) for name in laws])

    def contract(self, name: str | None = None) -> ModelContract:
        """What a network trained on these mocks can promise, as a `~sfh_cnn.core.ModelContract`."""
        config, observation = self.config, self.config.observation
        return ModelContract(
            name=name or config.name,
            wave_start_aa=config.instrument.wave_start_aa,
            wave_step_aa=config.instrument.wave_step_aa,
            n_wave=config.instrument.n_wave,
            age_edges_yr=tuple(float(edge) for edge in self.age_grid.edges_yr),
            bands=tuple(config.instrument.bands),
            band_pivots_aa=tuple(float(bandpass.pivot_aa) for bandpass in self.bandpasses),
            libraries=tuple(
                {
                    "name": library.name,
                    "sha256": library.sha256,
                    "imf": library.imf,
                    "reference": library.reference,
                    "solar_metallicity": library.solar_metallicity,
                    "license": library.license,
                }
                for library in self.libraries
            ),
            imf=self.libraries[0].imf,
            metallicity_range_dex=tuple(METALLICITY_RANGE_DEX),
            domain={
                "snr": list(observation.snr_range),
                "redshift": list(observation.redshift_range),
                "a_v": list(config.dust.a_v_range),
                "velocity_dispersion_kms": list(observation.velocity_dispersion_range_kms),
                "calibration_error": [0.0, observation.calibration_error_max],
                "min_coverage": observation.min_coverage,
            },
            synthesis={"sha256": config.sha256(), **config_to_dict(config)},
        )

    def chunk(self, index: int, n: int, observed: bool = True) -> dict[str, np.ndarray]:
        """Mocks number ``index * n`` to ``(index + 1) * n - 1``.

        Parameters
        ----------
        index : int
            Number of the chunk, from 0.
        n : int
            Mocks in the chunk.
        observed : bool, optional
            False leaves out noise, masks, cuts, lines and all errors; `observe` adds them.

        Returns
        -------
        dict of ndarray
            Observed: ``flux``, ``flux_err`` (n, n_wave), ``mask`` (n, n_wave) bool, True is bad;
            ``band_flux``, ``band_flux_err`` (n, n_band), NaN is missing; all relative to a true V-band flux
            density of 1 in the observed frame; ``redshift``, ``calibration_error`` (n,).
            Truth: ``mass_fraction``, ``light_fraction``, ``metallicity`` (n, n_age) and ``scalars``
            (n, len(SCALAR_NAMES)); ``family`` and ``enrichment`` (n,), numbers of the families drawn.
        """
        rng = np.random.default_rng([self.config.seed, index])
        with one_thread():
            truth = self._histories(rng, n)
            parts = [
                self._group(rng, {key: value[start : start + GROUP_SIZE] for key, value in truth.items()}, observed)
                for start in range(0, n, GROUP_SIZE)
            ]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def observe(self, mocks: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Observe noise-free mocks: noise, masks, cuts, lines and errors, other ones each time.

        Parameters
        ----------
        mocks : dict of ndarray
            From `chunk` with ``observed=False``; not changed.
        rng : `numpy.random.Generator`

        Returns
        -------
        dict of ndarray
            As `chunk` returns observed mocks.
        """
        redshift = mocks["redshift"]
        groups = np.split(np.arange(len(redshift)), np.flatnonzero(np.diff(redshift)) + 1)
        with one_thread():
            parts = [
                self._observed(rng, mocks["flux"][rows], mocks["band_flux"][rows], float(redshift[rows[0]]))
                for rows in groups
            ]
        return {**mocks, **{key: np.concatenate([part[key] for part in parts]) for key in parts[0]}}

    def _histories(self, rng, n):
        """Star formation and metallicity histories and their light, without dust."""
        config, grid = self.config, self.grid
        mass, family = draw_mass_fraction(rng, n, grid.edges_yr, config.sfh)
        metallicity, enrichment = draw_metallicity(rng, mass, grid.edges_yr, config.metallicity)
        shares = library_shares(rng, n, grid.n_library, config.mixed_library_share)
        return {
            "mass": mass,
            "fine_metallicity": metallicity,
            "light": self.v_light(mass, metallicity, shares),
            "shares": shares,
            "family": family,
            "enrichment": enrichment,
        }

    def v_light(self, mass: np.ndarray, metallicity_dex: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Dust-free light of the fine age bins.

        Parameters
        ----------
        mass, metallicity_dex : ndarray, shape (n, n_fine)
            Mass formed and [M/H].
        shares : ndarray, shape (n, n_library)
            Shares of the stellar libraries.

        Returns
        -------
        ndarray, shape (n, n_fine)
            L_sun in the V window, for 1 M_sun formed in all.
        """
        index, part = metallicity_weights(metallicity_dex, self.grid.nodes_dex)
        v_light = np.einsum("nl,lfm->nfm", shares, self.grid.v_light)
        per_mass = np.take_along_axis(v_light, index[..., None], -1)[..., 0] * (1 - part)
        per_mass += np.take_along_axis(v_light, index[..., None] + 1, -1)[..., 0] * part
        return mass * per_mass

    def spectra(
        self,
        history: dict[str, np.ndarray],
        dust: tuple[np.ndarray, np.ndarray, np.ndarray],
        bases: tuple[np.ndarray, ...],
        bands: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Noise-free spectra and band fluxes of histories.

        Parameters
        ----------
        history : dict of ndarray
            ``mass``, ``fine_metallicity`` (n, n_fine) and ``shares`` (n, n_library).
        dust : tuple of ndarray
            From `draw_dust`.
        bases : tuple of ndarray, shapes (rank, n_pixel)
            Bases of young and old stars on the network's pixels; see `broadened_bases`.
        bands : ndarray, shape (n_coarse, n_band)
            From `sfh_cnn.photometry.band_matrix`.

        Returns
        -------
        flux : ndarray, shape (n, n_pixel)
        band_flux : ndarray, shape (n, n_band)
        v_dust_free, v_level : ndarray, shape (n,)
            Mean L_lambda in the V window without and with dust, L_sun/Angstrom per M_sun formed; flux and bands
            are divided by the latter.
        """
        grid = self.grid
        # Stars, young and old apart, for the young may be dustier.
        weights = mass_weights(history["mass"], history["fine_metallicity"], grid.nodes_dex)
        young, old = weights[:, : grid.n_young], weights[:, grid.n_young :]
        shares = history["shares"]
        base = np.zeros((len(weights), 1), dtype=np.float32) + 1.0
        law, a_v, extra = dust
        flux, band_spectrum, v_dust_free, v_level = self._dusty_light(
            (grid.young.project(young, base) @ bases[0], grid.old.project(old, shares) @ bases[1]),
            (
                grid.coarse_young.project(young, base) @ grid.coarse_young.basis,
                grid.coarse_old.project(old, shares) @ grid.coarse_old.basis,
            ),
            a_v,
            extra,
            law,
        )
        band_flux = band_spectrum @ bands
        flux /= v_level[:, None]
        band_flux /= v_level[:, None]
        return flux, band_flux, v_dust_free, v_level

    def broadened_bases(self, redshift: float, sigma_kms: float, velocity_kms: float = 0.0) -> tuple[np.ndarray, ...]:
        """Bases of young and old stars on the network's pixels, for `spectra`; arguments as `kinematics`."""
        operator = self.kinematics(redshift, sigma_kms, velocity_kms)
        return tuple((operator @ part.basis.T).T for part in (self.grid.young, self.grid.old))

    def _group(self, rng, history, observed):
        """One group: dust, kinematics, redshift, then everything that happens to an observation."""
        config = self.config
        n = len(history["mass"])

        # Kinematics and resolution: one operator for the group.
        z_low, z_high = config.observation.redshift_range
        near = 0.02 if z_low < 0.02 < z_high else z_high
        redshift = rng.uniform(z_low, near if rng.random() < 0.5 else z_high)
        limit = config.observation.velocity_error_kms
        velocity = np.clip(rng.normal(0, limit / 2), -limit, limit) if limit else 0.0
        sigma_kms = rng.uniform(*config.observation.velocity_dispersion_range_kms)
        bases = self.broadened_bases(redshift, sigma_kms, velocity)

        dust = draw_dust(rng, n, config.dust)
        matrix = band_matrix(self.grid.coarse_wave_aa, self.bandpasses, redshift).astype(np.float32)
        flux, bands, v_dust_free, v_level = self.spectra(history, dust, bases, matrix)

        # Truth.
        mass_fraction, light_fraction, metallicity = bin_history(
            history["mass"], history["fine_metallicity"], history["light"], self.grid.parent, self.age_grid.n_age
        )
        log_age = self.age_grid.log_ages_dex
        window = V_WINDOW_AA[1] - V_WINDOW_AA[0]
        recent = recent_fraction(mass_fraction, self.age_grid.edges_yr, RECENT_YR)
        scalars = {
            "mass_weighted_log_age": mean_log_age(mass_fraction, log_age),
            "light_weighted_log_age": mean_log_age(light_fraction, log_age),
            "mass_weighted_metallicity": mean_metallicity(mass_fraction, metallicity),
            "light_weighted_metallicity": mean_metallicity(light_fraction, metallicity),
            "a_v": dust[1],
            "log_mass_to_light": -np.log10(v_dust_free * window),
            "log_mass_to_light_attenuated": -np.log10(v_level * window),
            "log_recent_fraction": np.log10(np.maximum(recent, 10**LOG_RECENT_FLOOR)),
            "velocity_dispersion": np.full(n, sigma_kms),
            "velocity": np.full(n, velocity),
        }
        mock = {
            "mass_fraction": mass_fraction,
            "light_fraction": light_fraction,
            "metallicity": metallicity,
            "scalars": np.stack([scalars[name] for name in SCALAR_NAMES], axis=1).astype(np.float32),
            "family": history["family"].astype(np.int8),
            "enrichment": history["enrichment"].astype(np.int8),
            "redshift": np.full(n, redshift, dtype=np.float32),
        }
        if not observed:
            return {"flux": flux, "band_flux": bands, **mock}
        return {**self._observed(rng, flux, bands, redshift), **mock}

    def kinematics(self, redshift: float, sigma_kms: float, velocity_kms: float = 0.0) -> csr_matrix:
        """Sparse operator from the library's pixels to the network's: line spread, dispersion, velocity error.

        The line spread of the instrument in the rest frame, less that of the library, is added to the
        velocity dispersion; where the library is the coarser one it stays as it is.
        """
        edges = self.config.instrument.wavelength_grid.edges_aa
        instrument = self.config.instrument.lsf_sigma_aa(edges * (1 + redshift)) / (1 + redshift)
        library = np.interp(edges, self.grid.source_wave_aa, self.grid.source_sigma_aa)
        variance = np.maximum(instrument**2 - library**2, 0.0) + (edges * sigma_kms / C_KMS) ** 2
        return broadening_operator(self.grid.source_wave_aa, edges, np.sqrt(variance), velocity_kms)

    def lsf_excess_kms(self, redshift: float) -> np.ndarray:
        """How much broader the libraries' lines are than the instrument's, as a velocity dispersion.

        Parameters
        ----------
        redshift : float

        Returns
        -------
        ndarray, shape (n_wave,)
            km/s; 0 where the instrument's line spread is the broader one and can be matched.
        """
        instrument = self.config.instrument.lsf_sigma_aa(self.wave_aa * (1 + redshift)) / (1 + redshift)
        library = np.interp(self.wave_aa, self.grid.source_wave_aa, self.grid.source_sigma_aa)
        return np.sqrt(np.maximum(library**2 - instrument**2, 0.0)) / self.wave_aa * C_KMS

    def _say_lsf_excess(self):
        # The line spread is worst at one of the two ends: in the rest frame it shrinks as the redshift grows.
        excess = np.max([self.lsf_excess_kms(z) for z in self.config.observation.redshift_range], axis=0)
        if excess.max() < _LSF_EXCESS_KMS[0]:
            return
        wave_aa = self.wave_aa[excess >= _LSF_EXCESS_KMS[0]]
        text = (
            f"between {wave_aa[0]:.0f} and {wave_aa[-1]:.0f} Angstrom the stellar library is less sharp than the "
            f"instrument: lines of the mocks are too broad there, by up to {excess.max():.0f} km/s in quadrature; "
            "convolve the observed spectra to the library's resolution or use a sharper library"
        )
        if excess.max() < _LSF_EXCESS_KMS[1]:
            log.warning(text)
        else:
            warnings.warn(text, SFHCNNWarning, stacklevel=3)

    def _dusty_light(self, fine, coarse, a_v, extra, law):
        """Attenuate young and old light; return spectrum, coarse spectrum and V levels without and with dust."""
        window = (self.grid.coarse_wave_aa >= V_WINDOW_AA[0]) & (self.grid.coarse_wave_aa <= V_WINDOW_AA[1])
        v_dust_free = (coarse[0] + coarse[1])[:, window].mean(axis=1)
        totals = []
        for (young, old), curves in ((fine, self._law), (coarse, self._law_coarse)):
            young = young * transmission(extra, curves[-1])
            total = young + old
            total *= transmission(a_v, curves[law])
            totals.append(total)
        return totals[0], totals[1], v_dust_free, totals[1][:, window].mean(axis=1)

    def _observed(self, rng, flux, bands, redshift):
        """Calibration errors, lines, noise, wrong error bars, masks, cuts and band errors."""
        config, instrument, wave_aa = self.config.observation, self.config.instrument, self.wave_aa
        n, n_wave = flux.shape
        calibration = np.zeros(n)
        if config.calibration_error_max > 0:
            low, high = np.log(config.calibration_error_max / 30), np.log(config.calibration_error_max)
            calibration = np.exp(rng.uniform(low, high, n)) * (rng.random(n) >= config.no_calibration_error_share)
        lsf = instrument.lsf_sigma_aa(wave_aa * (1 + redshift)) / (1 + redshift)
        rows, lines = observe.emission_lines(rng, n, wave_aa, lsf, config.emission_share)
        flux[rows] += lines
        bent = np.flatnonzero(calibration > 0)
        flux[bent] *= observe.calibration_curves(rng, calibration[bent], n_wave, config.calibration_scale_px)
        mask = observe.coverage_mask(rng, n, wave_aa, config.full_coverage_share, config.min_coverage)
        observed = wave_aa * (1 + redshift)
        mask |= (observed < instrument.observed_range_aa[0]) | (observed > instrument.observed_range_aa[1])
        mask |= observe.draw_masks(rng, n, wave_aa, instrument, redshift, config.masked_share)
        snr = np.exp(rng.uniform(*np.log(config.snr_range), n)).astype(np.float32)
        sky = _sky_lines(rng, observed)
        error = observe.error_shape(rng, flux, sky)
        # S/N is the ratio of the medians of flux and error.
        error *= (np.median(flux[:, ::8], axis=1) / snr)[:, None]
        noisy = observe.add_noise(rng, flux, error)
        wrong = np.exp(0.5 * np.log(config.error_factor) * rng.standard_normal(n))
        wrong = np.clip(wrong, 1 / config.error_factor, config.error_factor)
        wrong[rng.random(n) < config.right_error_share] = 1.0
        error *= wrong[:, None].astype(np.float32)
        band_flux, band_flux_err = observe.add_band_errors(rng, bands, config, calibration)
        return {
            "flux": noisy,
            "flux_err": error,
            "mask": mask,
            "band_flux": band_flux,
            "band_flux_err": band_flux_err,
            "calibration_error": calibration.astype(np.float32),
        }


def _normalised(weights):
    weights = np.array(list(weights), dtype=float)
    return weights / weights.sum()


def draw_dust(rng: np.random.Generator, n: int, dust: DustPrior) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw dust from its prior.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
    dust : DustPrior

    Returns
    -------
    law : ndarray of int, shape (n,)
        Position of the law in ``dust.laws``.
    a_v, extra : ndarray, shape (n,)
        A_V of the diffuse dust and extra A_V of stars younger than 10 Myr, mag. Half of the mocks are even in A_V,
        half crowd towards the low end.
    """
    low, high = dust.a_v_range
    law = rng.choice(len(dust.laws), size=n, p=_normalised(dust.laws.values()))
    share = rng.random(n)
    a_v = low + (high - low) * np.where(rng.random(n) < 0.5, share, share**3)
    extra = a_v * rng.uniform(0, dust.birth_cloud_factor, n)
    extra *= rng.random(n) >= dust.no_birth_cloud_share
    return law, a_v, extra


def _sky_lines(rng, observed_aa):
    """Extra error at sky lines: a forest that grows redward of 7000 Angstrom, as OH does, and a few in the blue."""
    n_line = 120
    centre = np.concatenate([rng.uniform(7200, 10400, n_line), [5577.3, 5891.0, 6300.3, 6363.8]])
    height = np.concatenate([rng.exponential(0.8, n_line), rng.uniform(0.5, 3.0, 4)])
    centre, height = centre[np.argsort(centre)], height[np.argsort(centre)]
    near = np.searchsorted(centre, observed_aa).clip(1, len(centre) - 1)
    sky = np.zeros(len(observed_aa), dtype=np.float32)
    for index in (near - 1, near):
        sky += height[index] * np.exp(-0.5 * ((observed_aa - centre[index]) / 1.8) ** 2)
    return sky
