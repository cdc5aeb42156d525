"""Engine: draws from the joint posterior, and the spectrum and bands that a prediction implies."""

import numpy as np
import torch

from sfh_cnn.core import build_config
from sfh_cnn.core.constants import C_KMS, SCALAR_NAMES, V_WINDOW_AA
from sfh_cnn.network import from_variables
from sfh_cnn.photometry import band_matrix
from sfh_cnn.spectra import broadening_operator
from sfh_cnn.synthesis import InstrumentConfig, attenuation_curve, line_windows

from .band_check import BandCheck

__all__ = ["Engine"]

#: Velocity dispersions for which the templates are broadened, km/s; the nearest one is used.
_SIGMA_NODES_KMS = np.arange(0.0, 351.0, 25.0)
#: Redshift at which the instrument's line spread is taken to the rest frame.
_TYPICAL_REDSHIFT = 0.01
#: Order of the polynomial by which a reconstruction may differ smoothly from the data: dust laws and flux
#: calibration are not part of a history.
_POLYNOMIAL_ORDER = 4
#: Pixels this close to an emission line say nothing about the stars, km/s.
_LINE_HALF_WIDTH_KMS = 500.0


#: Spectra that are drawn from together, or reconstructed together; bounds the memory.
_DRAW_BLOCK, _MODEL_BLOCK = 16, 256


class Engine:
    """What a released network can do beside predicting.

    Parameters
    ----------
    artifact : `~sfh_cnn.network.Artifact`
    """

    def __init__(self, artifact):
        self.contract = artifact.contract
        self.network = artifact.network
        self.templates = artifact.templates.cpu()
        grid = self.contract.wavelength_grid
        self.wave_aa, self.edges_aa = grid.wave_aa, grid.edges_aa
        instrument = self.contract.synthesis.get("instrument", {})
        self.instrument = build_config(instrument, InstrumentConfig, where="instrument in the model card")
        self._log_dust = torch.from_numpy(-0.4 * np.log(10) * attenuation_curve("calzetti", self.wave_aa)).float()
        n_coarse = self.templates.coarse_basis.shape[1]
        first, step = (float(value) for value in self.templates.coarse_wave_aa)
        self.coarse_wave_aa = first + step * np.arange(n_coarse)
        self._coarse_dust = torch.from_numpy(attenuation_curve("calzetti", self.coarse_wave_aa))
        position = (self.coarse_wave_aa - self.wave_aa[0]) / grid.step_aa
        self._nearest = torch.from_numpy(np.clip(np.round(position), 0, len(self.wave_aa) - 1).astype(np.int64))
        self._shared = torch.from_numpy((position >= 0) & (position <= len(self.wave_aa) - 1))
        windows = line_windows(_LINE_HALF_WIDTH_KMS)
        near_line = ((self.wave_aa >= windows[:, :1]) & (self.wave_aa <= windows[:, 1:])).any(axis=0)
        self._off_line = torch.from_numpy((~near_line).astype(np.float32))
        x = np.linspace(-1, 1, len(self.wave_aa))
        legendre = np.polynomial.legendre.legvander(x, _POLYNOMIAL_ORDER)
        self._polynomials = torch.from_numpy(legendre.T.astype(np.float32))
        row, column = torch.triu_indices(len(self._polynomials), len(self._polynomials))
        self._products = (self._polynomials[row] * self._polynomials[column]).T.contiguous()  # (n_wave, n_pair)
        self._pair = torch.empty(len(self._polynomials), len(self._polynomials), dtype=torch.int64)
        self._pair[row, column] = self._pair[column, row] = torch.arange(len(row))
        first, last = np.flatnonzero((self.wave_aa >= V_WINDOW_AA[0]) & (self.wave_aa <= V_WINDOW_AA[1]))[[0, -1]]
        self._window = slice(int(first), int(last) + 1)
        self._pixel_per_kms = torch.from_numpy((self.wave_aa / grid.step_aa / C_KMS).astype(np.float32))
        self._sigma_nodes = torch.from_numpy(_SIGMA_NODES_KMS.astype(np.float32))
        self._broadened = {}
        log_dust = (-0.4 * np.log(10) * self._coarse_dust).float()
        self._band_check = BandCheck(self.contract, self.templates, self.coarse_wave_aa, log_dust, self._off_line)

    # ---- joint posterior ---------------------------------------------------------------------------------------

    def draw(self, latent, n_draws, seed):
        """Draws from the joint posterior.

        Parameters
        ----------
        latent : ndarray, shape (n_spec, n_latent)
            NaN rows give NaN draws.
        n_draws, seed : int

        Returns
        -------
        dict of ndarray
            ``mass_fraction``, ``metallicity`` (dex), ``light_fraction`` (n_spec, n_draws, n_age); ``a_v`` (mag),
            ``log_mass_to_light``, ``log_mass_to_light_attenuated`` (n_spec, n_draws).
        """
        device = self.network.latent_mean.device
        rows = torch.as_tensor(np.asarray(latent, dtype=np.float32), device=device)
        good = torch.isfinite(rows).all(1)
        # The same random numbers for all spectra, so that the draws of one do not depend on its neighbours.
        variables = []
        for block in torch.where(good[:, None], rows, 0.0).split(_DRAW_BLOCK):
            generator = torch.Generator(device=device).manual_seed(int(seed))
            variables.append(self.network.posterior.sample(block, n_draws, generator, common=True))
        n_age, shape = self.contract.n_age, (len(rows), n_draws)
        stacked = torch.cat(variables) if variables else rows.new_zeros(0, n_draws, 2 * n_age + 1)
        mass, metallicity, a_v, attenuated = (part.cpu() for part in from_variables(stacked.flatten(0, 1), n_age))
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
        bad = ~good.cpu().numpy()
        out = {name: value.numpy() for name, value in draws.items()}
        for value in out.values():
            value[bad] = np.nan
        return out

    # ---- reconstruction ----------------------------------------------------------------------------------------

    def surviving_fraction(self, metallicity):
        """Share of the mass formed in each bin that survives, (n_spec, n_age), at [M/H] (dex) of the same shape."""
        weights = self.templates.node_weights(torch.as_tensor(metallicity, dtype=torch.float32))
        return (weights * self.templates.surviving).sum(-1).numpy()

    def reconstruct(self, result):
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
        arrays = [np.asarray(result.spectra[name]) for name in ("flux", "flux_err", "mask")]
        arrays += [result.arrays[name] for name in ("redshift", "calibration_error")]
        parts = []
        for start in range(0, max(len(arrays[0]), 1), _MODEL_BLOCK):
            rows = slice(start, start + _MODEL_BLOCK)
            here = {name: value[rows] for name, value in values.items()}
            parts.append(self.model(here, *(value[rows] for value in arrays)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def model(self, values, flux, flux_err, mask, redshift, calibration_error):
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
        values = {name: torch.as_tensor(np.asarray(value, dtype=np.float32)) for name, value in values.items()}
        mask = torch.as_tensor(np.asarray(mask))
        data, err = (torch.as_tensor(np.asarray(value, dtype=np.float32)) for value in (flux, flux_err))
        calibration = torch.as_tensor(np.asarray(calibration_error, dtype=np.float32))
        weights, stars = self._stars(values)
        model_scaled, level, chi2, bend = self._fit(stars, data, err, mask, calibration)

        coarse = torch.tensordot(weights, self.templates.coarse_coefficients, 2) @ self.templates.coarse_basis
        coarse = coarse * 10 ** (-0.4 * values["a_v"][:, None] * self._coarse_dust)
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

    def compare(self, batch, outputs):
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
        flux, flux_err, mask, _, _, _, calibration = batch
        middle = outputs["scalar_quantiles"].shape[-1] // 2
        scalars = dict(zip(SCALAR_NAMES, outputs["scalar_quantiles"][..., middle].unbind(1), strict=True))
        values = {
            "mass_fraction": outputs["mass_fraction"],
            "metallicity": outputs["metallicity_quantiles"][..., middle],
            "a_v": scalars["a_v"].clamp(min=0.0),
            "velocity_dispersion": scalars["velocity_dispersion"].clamp(min=0.0),
            "velocity": scalars["velocity"],
        }
        weights, stars = self._stars(values)
        band_mismatch = self._band_check.mismatch(weights, values["a_v"], stars, batch)
        model, level, chi2, _ = self._fit(stars, flux, flux_err, mask, calibration)
        window = self._window
        v_flux = torch.where(mask[:, window], model[:, window] * level, flux[:, window]).mean(1)
        return {"reduced_chi2": chi2, "v_flux": v_flux, "band_mismatch": band_mismatch}

    def _stars(self, values):
        """Weights of the templates, (n_spec, n_age, n_met), and spectra of dimmed and broadened stars."""
        weights = self.templates.node_weights(values["metallicity"]) * values["mass_fraction"][..., None]
        coefficients = torch.tensordot(weights, self.templates.coefficients, 2)  # (n_spec, rank)
        node = (values["velocity_dispersion"][:, None] - self._sigma_nodes).abs().argmin(1)
        model = torch.empty(len(coefficients), len(self.wave_aa))
        for i in node.unique().tolist():
            rows = (node == i).nonzero()[:, 0]
            model[rows] = coefficients[rows] @ self._basis(i)
        model = self._shift(model, values["velocity"])
        return weights, model.mul_(torch.exp(values["a_v"][:, None] * self._log_dust))

    def _fit(self, model, flux, flux_err, mask, calibration_error):
        """Multiply stars by the polynomial that fits; overwrites them.

        Returns the model and the level (n_spec, 1) by which it is to be multiplied, the reduced chi2 (n_spec,) and
        the polynomial (n_spec, n_wave).
        """
        masked = mask.view(torch.uint8).to(torch.float32)
        valid = 1.0 - masked
        data = (flux * valid).nan_to_num_(0.0, 0.0, 0.0)
        level = data.abs().mean(1, keepdim=True).clamp_(min=1e-38)  # keeps squares of 1e-17 in range
        per_level = level.reciprocal()
        data *= per_level
        # Errors of masked pixels are only to be finite and not zero: their weight is.
        variance = (flux_err * valid).nan_to_num_(0.0, 0.0, 0.0).mul_(per_level).add_(masked).square_()
        uncalibrated = data * calibration_error[:, None]
        used = valid.mul_(self._off_line)
        weight = variance.addcmul_(uncalibrated, uncalibrated).reciprocal_().mul_(used)
        model *= model.mean(1, keepdim=True).clamp(min=1e-38).reciprocal()
        basis, n_term = self._polynomials, len(self._polynomials)
        weighted = weight * model
        matrix = ((weighted * model) @ self._products)[:, self._pair]
        vector = weighted.mul_(data) @ basis.T
        ridge = 1e-6 * matrix.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
        matrix = matrix + ridge[:, None, None] * torch.eye(n_term)
        # The fit is in float64: S/N 200 over 3000 pixels leaves float32 few digits.
        solution = torch.linalg.solve(matrix.double(), vector.double()[..., None])[..., 0].float()
        bend = solution @ basis
        model *= bend
        chi2 = data.sub_(model).square_().mul_(weight).sum(1) / (used.sum(1) - n_term).clamp(min=1)
        return model, level, chi2, bend

    def _basis(self, node):
        """Template basis on the network's pixels for one velocity dispersion; made when first needed."""
        if node not in self._broadened:
            templates = self.templates
            n_source = templates.basis.shape[1]
            first, step = (float(value) for value in templates.source_wave_aa)
            source_aa = first + step * np.arange(n_source)
            edges, z = self.edges_aa, _TYPICAL_REDSHIFT
            spread = self.instrument.lsf_sigma_aa(edges * (1 + z)) / (1 + z)
            own = np.interp(edges, source_aa, templates.source_sigma_aa.numpy())
            variance = np.maximum(spread**2 - own**2, 0) + (edges * _SIGMA_NODES_KMS[node] / C_KMS) ** 2
            operator = broadening_operator(source_aa, edges, np.sqrt(variance))
            self._broadened[node] = torch.from_numpy((operator @ templates.basis.numpy().T).T.copy())
        return self._broadened[node]

    def _shift(self, model, velocity_kms):
        """Doppler shift by linear interpolation, (n_spec, n_wave); overwrites the model.

        The pixel at an end may take its neighbour's value.
        """
        pixels = velocity_kms[:, None] * self._pixel_per_kms
        whole = pixels[:, pixels.shape[1] // 2].round()
        pixels -= whole[:, None]
        # Beyond some 90 km/s the shift differs by more than a pixel from one end of the spectrum to the other.
        far = pixels[:, [0, -1]].abs().amax(1) > 1.0
        for value in whole[(whole != 0) & ~far].unique().tolist():
            rows = ((whole == value) & ~far).nonzero()[:, 0]
            source = (torch.arange(model.shape[1]) - int(value)).clamp(0, model.shape[1] - 1)
            model[rows] = model[rows].index_select(1, source)
        if far.any():
            model[far] = _interpolate(model[far], pixels[far] + whole[far, None])
            pixels[far] = 0.0
        # Between neighbours: from the left where the shift is to the red, else from the right.
        step = model[:, 1:] - model[:, :-1]
        model[:, 1:].addcmul_(pixels[:, 1:].clamp(min=0.0), step, value=-1.0)
        model[:, :-1].addcmul_(pixels[:, :-1].clamp(max=0.0), step, value=-1.0)
        return model


def _interpolate(model, pixels):
    """Values (n_spec, n_wave) so many pixels to the blue of each pixel."""
    position = (torch.arange(model.shape[1]) - pixels).clamp(0, model.shape[1] - 1.001)
    low = position.long()
    part = position - low
    return model.gather(1, low) * (1 - part) + model.gather(1, low + 1) * part
