"""Full spectral fitting with pPXF (Cappellari 2023), set up to answer the questions that sfh_cnn answers.

Shared by the benchmarks: templates are the SSPs of a library averaged over the age bins at constant SFR, at its
nodes of [M/H], brought to the line spread of the instrument and normalised in V, so that weights are light fractions.
"""

import itertools
import time

import numpy as np
from ppxf.ppxf import ppxf
from ppxf.ppxf_util import log_rebin
from scipy.interpolate import make_interp_spline

from sfh_cnn.core.constants import FWHM_PER_SIGMA, V_WINDOW_AA
from sfh_cnn.core.history import mean_log_age, mean_metallicity
from sfh_cnn.photometry import band_matrix
from sfh_cnn.spectra import smoothing_operator

#: The ways of running pPXF. "PHANGS" is Emsellem et al. (2022): kinematics with additive polynomials of order 12,
#: then populations at these kinematics with multiplicative polynomials of order 12 and no dust.
MODES = ("spectrum", "spectrum, regularised", "spectrum + bands", "spectrum + bands, regularised", "as PHANGS")

_STEP_AA = 0.9
_MARGIN_AA = 100.0
_POLYNOMIAL_ORDER = 12


class Templates:
    """SSPs in age bins.

    Parameters
    ----------
    library : SSPLibrary
    age_grid : AgeGrid
    metallicity_range_dex : tuple of float
        Nodes of [M/H] outside are left out.
    """

    def __init__(self, library, age_grid, metallicity_range_dex):
        library = library.to_air()
        low, high = metallicity_range_dex
        nodes = library.metallicity_dex
        self.nodes_dex = nodes[max(np.sum(nodes <= low) - 1, 0) : np.sum(nodes < high - 0.01) + 1]
        self.log_age_dex = age_grid.log_ages_dex
        edges = age_grid.edges_yr
        self.wave_aa = library.wave_aa
        share = (np.arange(24) + 0.5) / 24
        flux = []
        for start, end in itertools.pairwise(edges):
            age = np.clip(start + (end - start) * share, library.age_yr[0], library.age_yr[-1])
            flux.append([library.interpolate(age, node).mean(axis=0) for node in self.nodes_dex])
        flux = np.array(flux)  # (n_age, n_met, n_wave)
        even_aa = np.arange(*V_WINDOW_AA, 1.0)
        spectrum = make_interp_spline(self.wave_aa, flux, k=1, axis=-1)
        self.v_light = spectrum(even_aa).mean(axis=-1)  # (n_age, n_met)
        self.flux = flux / self.v_light[..., None]
        self.sigma_aa = library.lsf_fwhm_aa / FWHM_PER_SIGMA

    def fine(self, wave_range_aa, sigma_aa):
        """Wavelengths (n,) and spectra (n, n_age, n_met) at a line spread (function of rest wavelength, Angstrom)."""
        wave = np.arange(wave_range_aa[0] - _MARGIN_AA, wave_range_aa[1] + _MARGIN_AA, _STEP_AA)
        near = (self.wave_aa > wave[0] - 20) & (self.wave_aa < wave[-1] + 20)
        fine = make_interp_spline(self.wave_aa[near], self.flux[..., near], k=3, axis=-1)(wave)
        own = np.interp(wave, self.wave_aa, self.sigma_aa)
        operator = smoothing_operator(wave, np.sqrt(np.maximum(sigma_aa(wave) ** 2 - own**2, 0.0)))
        flat = operator @ fine.reshape(-1, len(wave)).T
        return wave, flat.reshape(len(wave), *self.flux.shape[:2])

    def bands(self, names, redshift):
        """Fluxes through observed bands and effective rest wavelengths in them, (n_band, n_age, n_met)."""
        matrix = band_matrix(self.wave_aa, names, redshift)
        flux = np.moveaxis(self.flux @ matrix, -1, 0)
        return flux, np.moveaxis(self.flux @ (matrix * self.wave_aa[:, None]), -1, 0) / flux


class Fitter:
    """pPXF for the spectra of one instrument at one redshift.

    Parameters
    ----------
    templates : Templates
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame pixels, evenly spaced, air, Angstrom.
    redshift : float
    sigma_aa : callable
        Line spread of the spectra (standard deviation, Angstrom) at rest wavelengths.
    bands : sequence of str, optional
    regul : float, optional
        Regularisation of the modes that have one.
    free_slope : bool, optional
        Fit the slope of the dust law (Kriek & Conroy 2013) instead of taking that of Calzetti.
    """

    def __init__(self, templates, wave_aa, redshift, sigma_aa, bands=(), regul=10.0, free_slope=False):
        self.templates, self.wave_aa, self.regul, self.free_slope = templates, wave_aa, regul, free_slope
        self.ends = wave_aa[[0, -1]]
        _, log_wave, self.velscale = log_rebin(self.ends, np.ones(len(wave_aa)))
        self.lam = np.exp(log_wave)
        wave, fine = templates.fine(self.ends, sigma_aa)
        flux, log_wave, _ = log_rebin(wave[[0, -1]], fine.reshape(len(wave), -1), velscale=self.velscale)
        self.lam_temp, self.flux = np.exp(log_wave), flux.reshape(-1, *fine.shape[1:])
        if len(bands):
            self.band_flux, self.band_lam = templates.bands(bands, redshift)

    def fit(self, mode, flux, flux_err, mask, band_flux=None, band_flux_err=None, mdegree=0):
        """Fit one spectrum.

        Parameters
        ----------
        mode : str
            One of `MODES`.
        flux, flux_err, mask : ndarray, shape (n_wave,)
        band_flux, band_flux_err : ndarray, shape (n_band,), optional
            In the unit of ``flux``.
        mdegree : int, optional
            Order of multiplicative polynomials, where the mode says nothing.

        Returns
        -------
        dict
            ``mass_fraction`` (n_age,), the four means, ``a_v``, ``chi2`` (reduced) and ``cpu_s``.
        """
        scale = np.median(flux[~mask])
        good = log_rebin(self.ends, mask.astype(float))[0] < 0.01
        data = np.stack([np.where(mask, scale, flux), np.where(mask, scale, flux_err) ** 2], axis=1)
        galaxy, variance = log_rebin(self.ends, data)[0].T
        galaxy, noise = galaxy / scale, np.sqrt(variance) / scale
        options = {"lam": self.lam, "lam_temp": self.lam_temp, "mask": good, "quiet": True}
        start = time.process_time()
        if mode == "as PHANGS":
            first = ppxf(
                self.flux, galaxy, noise, self.velscale, [0.0, 100.0], degree=_POLYNOMIAL_ORDER, mdegree=0, **options
            )
            result = ppxf(
                self.flux, galaxy, noise, self.velscale, first.sol[:2], moments=-2,
                degree=-1, mdegree=_POLYNOMIAL_ORDER, **options,
            )  # fmt: skip
        else:
            dust = {"start": [0.3], "bounds": [[0, 6]], "component": np.ones(self.flux[0].size, dtype=bool)}
            if self.free_slope:
                dust |= {"start": [0.3, -0.1], "bounds": [[0, 6], [-1, 0.4]]}
            if "bands" in mode:
                seen = np.isfinite(band_flux)
                options["phot"] = {
                    "templates": self.band_flux[seen],
                    "galaxy": band_flux[seen] / scale,
                    "noise": band_flux_err[seen] / scale,
                    "lam": self.band_lam[seen].reshape(seen.sum(), -1),
                }
            if "regularised" in mode:
                options |= {"regul": self.regul, "reg_dim": self.flux.shape[1:]}
            options |= {"dust": [dust], "mdegree": mdegree}
            result = ppxf(self.flux, galaxy, noise, self.velscale, [0.0, 100.0], degree=-1, **options)
        cpu_s = time.process_time() - start
        a_v = np.nan if mode == "as PHANGS" else float(result.dust[0]["sol"][0])
        return {**self._summary(result.weights), "a_v": a_v, "chi2": float(result.chi2), "cpu_s": cpu_s}

    def _summary(self, weights):
        """Fractions and means from light weights."""
        light = weights.reshape(self.flux.shape[1:])
        light = light / light.sum()
        mass = light / self.templates.v_light
        mass /= mass.sum()
        age, nodes = self.templates.log_age_dex, self.templates.nodes_dex
        return {
            "mass_fraction": mass.sum(axis=1),
            "mass_weighted_log_age": float(mean_log_age(mass.sum(axis=1), age)),
            "light_weighted_log_age": float(mean_log_age(light.sum(axis=1), age)),
            "mass_weighted_metallicity": float(mean_metallicity(mass, nodes).sum()),
            "light_weighted_metallicity": float(mean_metallicity(light, nodes).sum()),
        }


def line_spread(instrument, redshift):
    """Line spread of an `~sfh_cnn.synthesis.InstrumentConfig` at rest wavelengths, as `Fitter` takes it."""
    return lambda wave_aa: instrument.lsf_sigma_aa(wave_aa * (1 + redshift)) / (1 + redshift)


__all__ = ["MODES", "Fitter", "Templates", "line_spread"]
