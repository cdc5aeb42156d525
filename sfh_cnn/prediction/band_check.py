"""BandCheck: whether bands and spectrum agree where both saw the same light."""

import numpy as np
import torch

from sfh_cnn.photometry import band_matrix
from sfh_cnn.synthesis import ObservationConfig

__all__ = ["BandCheck"]

#: Redshifts for which the weights of the pixels are made; the nearest one is used. Throughputs hardly change over it.
_REDSHIFT_STEP = 0.002
#: Of so many pixels one is looked at: a band has hundreds, and reading memory is what takes the time.
_PIXEL_STRIDE = 16
#: Share of a band's light that valid pixels must have seen. Stars stand in for the rest.
_MIN_SHARE = 0.3


class BandCheck:
    """Compares band fluxes with the spectrum itself, in the bands that it covers.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
    templates : `~sfh_cnn.network.Templates`
    coarse_wave_aa : ndarray, shape (n_coarse,)
        Pixels of the coarse templates, Angstrom.
    coarse_log_dust : Tensor, shape (n_coarse,)
        Log transmission there for an A_V of 1 mag.

    Attributes
    ----------
    pixels : slice
        Those of a spectrum that are looked at.
    """

    pixels = slice(_PIXEL_STRIDE // 2, None, _PIXEL_STRIDE)

    def __init__(self, contract, templates, coarse_wave_aa, coarse_log_dust):
        self.bands, self.edges_aa = contract.bands, contract.wavelength_grid.edges_aa
        self.coarse_wave_aa = coarse_wave_aa
        self._beyond = (coarse_wave_aa < self.edges_aa[0]) | (coarse_wave_aa > self.edges_aa[-1])
        self._coefficients, self._basis = templates.coarse_coefficients, templates.coarse_basis
        self._log_dust = coarse_log_dust
        trained = contract.synthesis.get("observation", {})
        known = {name: trained[name] for name in ("grey_mismatch", "zero_point_error") if name in trained}
        self.observation = ObservationConfig(**known)
        self._weights = {}

    def mismatch(self, weights, a_v, sampled, batch):
        """Largest difference between a band and the spectrum, in units of what errors and calibration allow.

        The band flux of the spectrum is that of its valid pixels; for pixels that are masked, near emission lines or
        beyond its ends it is that of the predicted stars, scaled to the valid pixels of that band.

        Parameters
        ----------
        weights : Tensor, shape (n_spec, n_age, n_met)
            Of the templates.
        a_v : Tensor, shape (n_spec,)
            mag.
        sampled : Tensor, shape (3, n_spec, n_pixel)
            Of ``pixels``, from `compare`: spectra of the same stars behind the same dust, flux, and what of it is used.
        batch : list of Tensor
            Arguments of `SFHNet.forward`.

        Returns
        -------
        Tensor, shape (n_spec,)
            NaN where no band can be compared.
        """
        *_, band_flux, band_flux_err, redshift, calibration = batch
        largest = torch.full_like(calibration, torch.nan)
        node = (redshift / _REDSHIFT_STEP).round().long()
        has_bands = torch.isfinite(band_flux).any(1)
        for number in node[has_bands].unique().tolist():
            bands, fine, coarse, beyond = self._of_redshift(number)
            if not bands:
                continue
            here = (node == number) & has_bands
            rows = slice(None) if here.all() else here.nonzero()[:, 0]
            like, flux, used = sampled[:, rows]
            own, seen, inside = (values @ fine for values in (flux, like * used, like))
            ends = torch.tensordot(weights[rows], self._coefficients, 2) @ self._basis[:, beyond]
            total = inside + ends.mul_(torch.exp(a_v[rows, None] * self._log_dust[beyond])) @ coarse
            expected = own / seen.clamp(min=1e-30) * total
            usable = (seen > _MIN_SHARE * total) & (expected > 0)
            relative = band_flux[rows][:, bands] / expected - 1.0
            error = band_flux_err[rows][:, bands] / expected
            grey, zero_point = self.observation.band_mismatch(calibration[rows, None])
            allowed = error**2 + grey**2 + zero_point**2
            off = torch.where(usable, relative.abs() * allowed.rsqrt(), torch.nan)
            largest[rows] = off.nan_to_num(-1.0).amax(1)
        return torch.where(largest >= 0, largest, torch.nan)

    def _of_redshift(self, number):
        """Bands that are compared, weights of fine and of coarse pixels, and which these are, beyond the ends."""
        if number not in self._weights:
            redshift = number * _REDSHIFT_STEP
            fine = band_matrix(None, self.bands, redshift, wave_edges_aa=self.edges_aa)
            bands = np.flatnonzero(fine.sum(axis=0) > _MIN_SHARE)
            fine = fine[self.pixels, bands] * _PIXEL_STRIDE
            coarse = band_matrix(self.coarse_wave_aa, self.bands, redshift)[:, bands]
            beyond = np.flatnonzero(self._beyond & (coarse > 0).any(axis=1))
            parts = (torch.from_numpy(part.astype(np.float32)) for part in (fine, coarse[beyond]))
            self._weights[number] = (bands.tolist(), *parts, torch.from_numpy(beyond))
        return self._weights[number]
