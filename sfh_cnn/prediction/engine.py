"""Engine: draws from the joint posterior, and the spectrum and bands that a prediction implies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sfh_cnn.core import build_config
from sfh_cnn.core.constants import SCALAR_NAMES, V_WINDOW_AA
from sfh_cnn.network import from_variables
from sfh_cnn.photometry import band_matrix
from sfh_cnn.results import draw_scalars
from sfh_cnn.synthesis import InstrumentConfig, attenuation_curve

from .band_check import BandCheck
from .comparison import compare
from .polynomial_fit import PolynomialFit
from .raking import choose, rake
from .stars import StarSpectra

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from sfh_cnn.network import Artifact
    from sfh_cnn.results import SFHResult

__all__ = ["Engine"]

#: Spectra that are drawn from together, or reconstructed together; bounds the memory.
_DRAW_BLOCK, _MODEL_BLOCK = 16, 256
#: Draws of the joint density for each one that is kept.
_POOL = 3
#: Means of a draw's bins should be the means that it began with; this far off, in half widths of the 68 per cent
#: interval, a draw counts for exp(-1/2). Most are nearer, some are far away.
_MEANS_OFF = 0.3
#: Cube root of the least mass share that is told from none: draws are kept to those of all bins, and to those formed
#: since each edge of the bins where the network has quantiles of them, too.
_EMPTY = 0.1
#: What draws are kept to. A_V is right as it is. M/L without dust is that of one library in draws, of all in quantiles.
#: Mass shares come before, the oldest bins first; the last ones come out best, hence the means at the end.
_RAKED = (
    *("log_recent_fraction", "log_mass_to_light_attenuated"),
    *("light_weighted_metallicity", "mass_weighted_metallicity", "light_weighted_log_age", "mass_weighted_log_age"),
)
#: Kept draws are a little wider than the quantiles that they are kept to, which say nothing of what lies between: they
#: are kept to quantiles whose distances from the median are those that were told times this factor, of its own for the
#: mass formed since an edge. Means by mass, which are raked last, come out right or a little narrow.
_WIDTH = 0.97
_WIDTH_CUMULATIVE = 0.95
_WIDTH_OF = {"mass_weighted_metallicity": 1.0, "mass_weighted_log_age": 1.03}


class Engine:
    """What a released network can do beside predicting.

    Parameters
    ----------
    artifact : `~sfh_cnn.network.Artifact`
    """

    def __init__(self, artifact: Artifact) -> None:
        self.contract = artifact.contract
        self.network = artifact.network
        self.templates = artifact.templates.cpu()
        grid = self.contract.wavelength_grid
        self.wave_aa = grid.wave_aa
        instrument = self.contract.synthesis.get("instrument", {})
        self.instrument = build_config(instrument, InstrumentConfig, where="instrument in the model card")
        self._star_spectra = StarSpectra(self.contract, self.templates, self.instrument)
        self._fit = PolynomialFit(self.wave_aa)
        n_coarse = self.templates.coarse_basis.shape[1]
        first, step = (float(value) for value in self.templates.coarse_wave_aa)
        self.coarse_wave_aa = first + step * np.arange(n_coarse)
        self._coarse_dust = torch.from_numpy(attenuation_curve("calzetti", self.coarse_wave_aa))
        position = (self.coarse_wave_aa - self.wave_aa[0]) / grid.step_aa
        self._nearest = torch.from_numpy(np.clip(np.round(position), 0, len(self.wave_aa) - 1).astype(np.int64))
        self._shared = torch.from_numpy((position >= 0) & (position <= len(self.wave_aa) - 1))
        first, last = np.flatnonzero((self.wave_aa >= V_WINDOW_AA[0]) & (self.wave_aa <= V_WINDOW_AA[1]))[[0, -1]]
        self._window = slice(int(first), int(last) + 1)
        log_dust = (-0.4 * np.log(10) * self._coarse_dust).float()
        self._band_check = BandCheck(self.contract, self.templates, self.coarse_wave_aa, log_dust)

    # ---- joint posterior ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def draw(
        self, latent: np.ndarray, n_draws: int, seed: int, *, raked: bool = True, common: bool = True
    ) -> dict[str, np.ndarray]:
        """Draws from the joint posterior, which keep to the calibrated quantiles of the network.

        Parameters
        ----------
        latent : ndarray, shape (n_spec, n_latent)
            NaN rows give NaN draws.
        n_draws, seed : int
        raked : bool, optional
            False takes the joint density as it was learnt, with means that scatter more than they should.
        common : bool, optional
            All spectra share the random numbers, so that the draws of one do not depend on its neighbours (but for
            rounding, by which one draw in a few thousand becomes another one). Ranks of many truths need independent
            ones.

        Returns
        -------
        dict of ndarray
            ``mass_fraction``, ``metallicity`` (dex), ``light_fraction`` (n_spec, n_draws, n_age); ``a_v`` (mag),
            ``log_mass_to_light``, ``log_mass_to_light_attenuated`` (n_spec, n_draws).
        """
        device = self.network.latent_mean.device
        rows = torch.as_tensor(np.asarray(latent, dtype=np.float32), device=device)
        good = torch.isfinite(rows).all(1)
        generator = torch.Generator(device=device).manual_seed(int(seed))
        parts = []
        for block in torch.where(good[:, None], rows, 0.0).split(_DRAW_BLOCK):
            if common:
                generator.manual_seed(int(seed))
            pool, leads = self._pool(block, _POOL * n_draws if raked else n_draws, generator, common)
            parts.append(self._raked(pool, leads, block, n_draws, generator, common) if raked else pool)
        bad = ~good.cpu().numpy()
        out = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for value in out.values():
            value[bad] = np.nan
        return out

    def _pool(self, latent, n, generator, common):
        """Draws from the joint density as it was learnt, and the means that they began with, (n_spec, n, n_lead)."""
        shape, n_age, network = (len(latent), n), self.contract.n_age, self.network
        variables = network.posterior.sample(latent, n, generator, common=common).flatten(0, 1)
        of_leads = slice(3 * n_age, 3 * n_age + network.n_lead)
        leads = variables[:, : network.n_lead] * network.quantity_std[of_leads] + network.quantity_mean[of_leads]
        mass, metallicity, a_v, attenuated = (part.cpu() for part in from_variables(variables, n_age))
        per_mass = (self.templates.node_weights(metallicity) * self.templates.v_light).sum(-1)
        light = mass * per_mass
        total = light.sum(-1, keepdim=True)
        draws = {
            "mass_fraction": mass.view(*shape, n_age),
            "metallicity": metallicity.view(*shape, n_age),
            "light_fraction": (light / total).view(*shape, n_age),
            "a_v": a_v.view(shape),
            "log_mass_to_light": -total[:, 0].log10().view(shape),
            "log_mass_to_light_attenuated": attenuated.view(shape),
        }
        return {name: value.numpy() for name, value in draws.items()}, leads.view(*shape, network.n_lead).cpu()

    def _raked(self, pool, leads, latent, n_draws, generator, common):
        """Those draws of a pool that together have the quantiles which the network predicts one by one."""
        if not n_draws:
            return pool
        scalars = draw_scalars(self.contract.age_grid, pool)
        n_age, n_cumulative = self.contract.n_age, self.network.n_cumulative
        bins = pool["mass_fraction"].transpose(0, 2, 1)  # (n_spec, n_age, pool)
        shares = np.concatenate([bins[:, ::-1], bins.cumsum(1)[:, n_cumulative:0:-1]], axis=1)
        roots = np.cbrt(shares).clip(_EMPTY)
        values = np.concatenate([roots, np.stack([scalars[name] for name in _RAKED], axis=1)], axis=1)
        quantiles = told = self.network.in_units(self.network.heads(latent)[1]).cpu()
        first = 3 * n_age + self.network.n_scalar
        cumulative = quantiles[:, first : first + n_cumulative].flip(1)
        roots_of = torch.cat([quantiles[:, :n_age].flip(1), cumulative], 1).clamp(min=_EMPTY)
        quantiles = torch.cat([roots_of, quantiles[:, [3 * n_age + SCALAR_NAMES.index(name) for name in _RAKED]]], 1)
        factor = torch.full((quantiles.shape[1], 1), _WIDTH)
        factor[n_age : n_age + n_cumulative] = _WIDTH_CUMULATIVE
        factor[-len(_RAKED) :, 0] = torch.tensor([_WIDTH_OF.get(name, _WIDTH) for name in _RAKED])
        middle = quantiles[..., quantiles.shape[-1] // 2, None]
        quantiles = middle + factor * (quantiles - middle)
        n_source = 1 if common else len(latent)
        uniform = torch.rand(n_source, values.shape[-1], generator=generator, device=latent.device)
        keep = rake(torch.from_numpy(values), quantiles, n_draws, self._coherence(scalars, leads, told))
        kept = choose(keep, uniform.cpu(), n_draws).numpy()
        return {
            name: np.take_along_axis(value, kept.reshape(*kept.shape, *[1] * (value.ndim - 2)), axis=1)
            for name, value in pool.items()
        }

    def _coherence(self, scalars, leads, quantiles):
        """How much draws count whose bins have other means than they began with, (n_spec, n_pool)."""
        first, n_lead = 3 * self.contract.n_age, leads.shape[-1]
        if not n_lead:
            return None
        of_bins = torch.from_numpy(np.stack([scalars[name] for name in SCALAR_NAMES[:n_lead]], axis=-1))
        told = quantiles[:, first : first + n_lead]
        width = 0.5 * (told[..., -2] - told[..., 1]).clamp(min=1e-6)
        off = (of_bins - leads) / (_MEANS_OFF * width[:, None])
        return torch.exp(-0.5 * off.square().sum(-1))

    # ---- reconstruction ----------------------------------------------------------------------------------------

    def surviving_fraction(self, metallicity: np.ndarray) -> np.ndarray:
        """Share of the mass formed in each bin that survives, (n_spec, n_age), at [M/H] (dex) of the same shape."""
        weights = self.templates.node_weights(torch.as_tensor(metallicity, dtype=torch.float32))
        return (weights * self.templates.surviving).sum(-1).numpy()

    def reconstruct(self, result: SFHResult) -> dict[str, np.ndarray]:
        """Spectrum and bands of a `~sfh_cnn.results.SFHResult` that kept what was fitted.

        Returns
        -------
        dict of ndarray
            ``flux`` (n_spec, n_wave), ``band_flux`` (n_spec, n_band) in the unit of the data;
            ``reduced_chi2`` (n_spec,).
        """
        middle = result.arrays["q_a_v"].shape[-1] // 2
        values = {
            "mass_fraction": result.arrays["mass_fraction"],
            "metallicity": result.arrays["q_metallicity"][..., middle],
            **{name: result.arrays[f"q_{name}"][:, middle] for name in ("a_v", "velocity_dispersion", "velocity")},
        }
        seen: Any = result.spectra
        arrays = [np.asarray(seen[name]) for name in ("flux", "flux_err", "mask")]
        arrays += [result.arrays[name] for name in ("redshift", "calibration_error")]
        parts = []
        for start in range(0, max(len(arrays[0]), 1), _MODEL_BLOCK):
            rows = slice(start, start + _MODEL_BLOCK)
            here = {name: value[rows] for name, value in values.items()}
            parts.append(self.model(here, *(value[rows] for value in arrays)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def model(
        self,
        values: dict[str, np.ndarray],
        flux: np.ndarray,
        flux_err: np.ndarray,
        mask: np.ndarray,
        redshift: np.ndarray,
        calibration_error: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Model spectra of histories, scaled to data.

        The stars of the predicted history, dimmed by the predicted A_V (Calzetti) and broadened by the predicted
        dispersion, times a polynomial of order 4 fitted to the valid pixels. In the reduced chi2 the calibration
        error is added to the errors in quadrature and pixels near emission lines are left out.

        Parameters
        ----------
        values : dict of ndarray
            ``mass_fraction``, ``metallicity`` (n_spec, n_age); ``a_v``, ``velocity_dispersion``, ``velocity``
            (n_spec,), mag and km/s.
        flux, flux_err, mask : ndarray, shape (n_spec, n_wave)
        redshift, calibration_error : ndarray, shape (n_spec,)

        Returns
        -------
        dict of ndarray
            As `reconstruct`.
        """
        history = {name: torch.as_tensor(np.asarray(value, dtype=np.float32)) for name, value in values.items()}
        masked = torch.as_tensor(np.asarray(mask))
        data, err = (torch.as_tensor(np.asarray(value, dtype=np.float32)) for value in (flux, flux_err))
        calibration = torch.as_tensor(np.asarray(calibration_error, dtype=np.float32))
        weights = self._weights(history)
        at_rest, position = self._star_spectra.at_rest(weights, history["velocity_dispersion"])
        stars = self._star_spectra.seen(at_rest, position, history["velocity"], history["a_v"])
        level = torch.where(masked, 0.0, data).abs().mean(1, keepdim=True).clamp(min=1e-38)
        model_scaled, chi2, bend = self._fit(stars, data / level, err / level, masked, calibration)

        coarse = torch.tensordot(weights, self.templates.coarse_coefficients, 2) @ self.templates.coarse_basis
        coarse = coarse * 10 ** (-0.4 * history["a_v"][:, None] * self._coarse_dust)
        # Bands share the level of the spectrum and its polynomial, which goes on as a constant beyond its ends.
        coarse = coarse * bend[:, self._nearest]
        grey = (model_scaled.mean(1) / coarse[:, self._shared].mean(1)).numpy()
        bands = np.empty((len(coarse), self.contract.n_band))
        for value in np.unique(redshift):
            rows = np.flatnonzero(redshift == value)
            matrix = band_matrix(self.coarse_wave_aa, self.contract.bands, float(value))
            bands[rows] = (coarse[rows].numpy() * grey[rows, None]) @ matrix
        return {
            "flux": model_scaled.mul_(level).numpy(),
            "band_flux": bands * level.numpy(),
            "reduced_chi2": chi2.numpy(),
        }

    def compare(self, batch: list[Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """How well a batch of predictions describes its spectra, for `run_network`.

        Parameters
        ----------
        batch : list of Tensor
            Arguments of `SFHNet.forward`.
        outputs : dict of Tensor
            What it gave.

        Returns
        -------
        dict of Tensor
            ``reduced_chi2`` (n_spec,), as `model`; ``v_flux`` (n_spec,), mean flux density in the V window, where
            the model stands in for masked pixels; ``band_mismatch`` (n_spec,), see `BandCheck.mismatch`.
        """
        middle = outputs["scalar_quantiles"].shape[-1] // 2
        scalars = dict(zip(SCALAR_NAMES, outputs["scalar_quantiles"][..., middle].unbind(1), strict=True))
        values = {
            "mass_fraction": outputs["mass_fraction"],
            "metallicity": outputs["metallicity_quantiles"][..., middle],
            "a_v": scalars["a_v"].clamp(min=0.0),
            "velocity": scalars["velocity"],
        }
        weights, check = self._weights(values), self._band_check
        rows, position = self._star_spectra.at_rest(weights, scalars["velocity_dispersion"].clamp(min=0.0))
        flux, flux_err, mask, *_, calibration = batch
        spectra = (flux, flux_err, mask, calibration)
        chi2, v_flux, sampled = compare(
            self._star_spectra, self._fit, rows, position, values, spectra, self._window, check.pixels
        )
        return {
            "reduced_chi2": chi2,
            "v_flux": v_flux,
            "band_mismatch": check.mismatch(weights, values["a_v"], sampled, batch),
        }

    def _weights(self, values):
        """Weights of the templates, (n_spec, n_age, n_met), in one unit of light: squares of spectra are in range."""
        weights = self.templates.node_weights(values["metallicity"]) * values["mass_fraction"][..., None]
        light = (weights * self.templates.v_light).sum((1, 2), keepdim=True)
        return weights / light.clamp(min=1e-38)
