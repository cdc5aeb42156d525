"""A made-up network: a contract, an engine with a known posterior, and results that agree with it."""

import numpy as np
from astropy.wcs import WCS

from sfh_cnn.core import AgeGrid, ModelContract, history
from sfh_cnn.core.constants import QUANTILE_LEVELS
from sfh_cnn.results import SFHMaps, SFHResult

N_WAVE = 400


def make_contract(**changes):
    """A contract with the default age bins and two bands."""
    values = {
        "wave_start_aa": 4800.0,
        "wave_step_aa": 5.0,
        "n_wave": N_WAVE,
        "age_edges_yr": tuple(float(edge) for edge in AgeGrid.default().edges_yr),
        "bands": ("F275W", "F814W"),
        "band_pivots_aa": (2708.0, 8059.0),
        "libraries": ({"name": "made-up", "imf": "Kroupa"},),
        "imf": "Kroupa",
        "metallicity_range_dex": (-2.0, 0.4),
        "domain": {"snr": [3, 200]},
        "synthesis": {"seed": 1},
        "name": "made-up-network",
    }
    return ModelContract(**{**values, **changes})


class FakeEngine:
    """Posterior with mass fractions softmax(latent + 0.4 z), a sloping metallicity and a Gaussian A_V.

    The random numbers are the same for each spectrum, so that a row does not depend on its company.
    """

    def __init__(self, contract):
        self.contract = contract
        self.log_age = contract.age_grid.log_ages_dex
        self.light_per_mass = 10 ** (-0.7 * (self.log_age - 10))  # L_sun per M_sun, falling with age

    def draw(self, latent, n_draws, seed):
        """Joint draws, one row of n_draws per latent vector."""
        rng = np.random.default_rng(seed)
        latent = np.asarray(latent, dtype=float)[:, None, :]
        logit = latent + 0.4 * rng.standard_normal((n_draws, self.log_age.size))
        mass_fraction = np.exp(logit - logit.max(-1, keepdims=True))
        mass_fraction /= mass_fraction.sum(-1, keepdims=True)
        light = mass_fraction * self.light_per_mass
        spread = 0.15 + 0.1 * rng.standard_normal((n_draws, 1))
        noise = spread + 0.05 * rng.standard_normal(logit.shape[1:])
        metallicity = np.broadcast_to(0.1 - 0.25 * (self.log_age - 8.5) + noise, mass_fraction.shape)
        a_v = np.broadcast_to(np.abs(0.4 + 0.08 * rng.standard_normal(n_draws)), mass_fraction.shape[:2])
        log_mass_to_light = -np.log10(light.sum(-1))
        return {
            "mass_fraction": mass_fraction,
            "light_fraction": light / light.sum(-1, keepdims=True),
            "metallicity": metallicity,
            "a_v": a_v,
            "log_mass_to_light": log_mass_to_light,
            "log_mass_to_light_attenuated": log_mass_to_light + 0.4 * a_v,
        }

    def reconstruct(self, result):
        """Give the noise-free spectrum and bands."""
        flux = result.arrays["v_flux"][:, None] * shape_of_spectrum(self.contract.wavelength_grid.wave_aa)
        band_flux = result.arrays["v_flux"][:, None] * np.array([0.9, 0.7])
        return {"flux": flux, "band_flux": band_flux, "reduced_chi2": np.full(len(flux), 1.02)}


def shape_of_spectrum(wave_aa):
    """A smooth continuum with a few absorption lines where galaxies have them; 1 near 5500 Angstrom."""
    shape = (wave_aa / 5500) ** -0.6
    for line_aa, depth, width_aa in [
        (4861, 0.25, 8), (5175, 0.22, 18), (5270, 0.1, 8), (5335, 0.09, 8), (5892, 0.15, 7), (6563, 0.25, 8),
    ]:  # fmt: skip
        shape = shape * (1 - depth * np.exp(-0.5 * ((wave_aa - line_aa) / width_aa) ** 2))
    return shape


def make_result(n_spec=3, *, scalar=False, distance_mpc=10.0, engine=True, spectra=True, seed=5):
    """A result whose means and quantiles are those of 4000 draws of `FakeEngine`."""
    contract = make_contract()
    fake = FakeEngine(contract)
    rng = np.random.default_rng(seed)
    log_age = fake.log_age
    # Old population, a declining tail and for later spectra more recent star formation.
    bump = -0.5 * ((log_age - 9.7) / 0.5) ** 2
    latent = np.stack([np.logaddexp(bump, -5.5 + 0.6 * (log_age - 8) + 0.5 * i) for i in range(n_spec)])
    latent = (latent + 0.2 * rng.standard_normal(latent.shape)).astype(np.float32)
    draw = fake.draw(latent, 4000, 99)

    def quantiles(values):
        return np.moveaxis(np.quantile(values, QUANTILE_LEVELS, axis=1), 0, -1)

    mass, light, metallicity = draw["mass_fraction"], draw["light_fraction"], draw["metallicity"]
    recent = history.recent_fraction(mass, contract.age_grid.edges_yr, 1e8)
    arrays = {
        "mass_fraction": mass.mean(1),
        "light_fraction": light.mean(1),
        "q_mass_fraction": quantiles(mass),
        "q_light_fraction": quantiles(light),
        "q_metallicity": quantiles(metallicity),
        "q_mass_weighted_log_age": quantiles(history.mean_log_age(mass, log_age)),
        "q_light_weighted_log_age": quantiles(history.mean_log_age(light, log_age)),
        "q_mass_weighted_metallicity": quantiles(history.mean_metallicity(mass, metallicity)),
        "q_light_weighted_metallicity": quantiles(history.mean_metallicity(light, metallicity)),
        "q_a_v": quantiles(draw["a_v"]).astype(np.float32),
        "q_log_mass_to_light": quantiles(draw["log_mass_to_light"]),
        "q_log_mass_to_light_attenuated": quantiles(draw["log_mass_to_light_attenuated"]),
        "q_log_recent_fraction": quantiles(np.log10(np.maximum(recent, 1e-5))),
        "flags": (np.arange(n_spec) % 2 * 40).astype(np.int32),
        "snr": np.full(n_spec, 45.0),
        "redshift": np.full(n_spec, 0.002),
        "calibration_error": np.full(n_spec, 0.01),
        "reduced_chi2": np.full(n_spec, 1.02),
        "unusualness": np.full(n_spec, 0.4),
        "v_flux": 1e-15 * (1 + np.arange(n_spec)),
        "distance_mpc": np.full(n_spec, np.nan if distance_mpc is None else distance_mpc),
        "surviving_fraction": np.broadcast_to(0.9 - 0.1 * (log_age - 6), (n_spec, log_age.size)).copy(),
        "latent": latent,
    }
    wave_aa = contract.wavelength_grid.wave_aa
    model = arrays["v_flux"][:, None] * shape_of_spectrum(wave_aa)
    mask = np.zeros(model.shape, dtype=bool)
    mask[:, 200:212] = True
    what_was_fitted = {
        "wave_aa": wave_aa,
        "flux": model + model / 45 * rng.standard_normal(model.shape),
        "flux_err": model / 45,
        "mask": mask,
        "band_flux": arrays["v_flux"][:, None] * np.array([0.93, np.nan]),
        "band_flux_err": arrays["v_flux"][:, None] * np.array([0.05, np.nan]),
    }
    return SFHResult(
        contract,
        arrays,
        meta={"package_version": "0.1", "network": "made-up-network"},
        spectra=what_was_fitted if spectra else None,
        engine=fake if engine else None,
        scalar=scalar,
    )


def make_wcs(n_y, n_x, pixel_arcsec=0.2):
    """Tangential projection with the reference at the middle pixel."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [170.0, 13.0]
    wcs.wcs.crpix = [(n_x + 1) / 2, (n_y + 1) / 2]
    wcs.wcs.cdelt = [-pixel_arcsec / 3600, pixel_arcsec / 3600]
    return wcs


def make_maps(n_y=9, n_x=11, **options):
    """Maps of square bins of 3 by 3 spaxels; the first column has no spectrum."""
    y, x = np.indices((n_y, n_x))
    bin_id = y // 3 * -(-n_x // 3) + x // 3
    bin_id[:, 0] = -1
    return SFHMaps(make_result(int(bin_id.max()) + 1, **options), bin_id, make_wcs(n_y, n_x))
