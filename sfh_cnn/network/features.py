"""SpectrumFeatures and BandFeatures: from calibrated data to what the layers see, inside the network.

Normalisation lives here and nowhere else, so that training and prediction cannot drift apart. Masked
pixels are filled with the local continuum; the absolute flux scale drops out.
"""

import torch
from torch import Tensor, nn

__all__ = ["BandFeatures", "SpectrumFeatures"]


def _smoothing_matrix(n_block: int) -> Tensor:
    """Weights (n_block, n_block) of the blocks around each block.

    Narrow where there is data; the wider Gaussians only decide where there is none, so that gaps of
    any width are bridged.
    """
    distance = torch.arange(n_block)[:, None] - torch.arange(n_block)[None, :]
    matrix = torch.zeros(n_block, n_block)
    for weight, width in ((1.0, 1.0), (1e-3, 5.0), (1e-6, 30.0), (1e-9, 1e4)):
        matrix += weight * torch.exp(-0.5 * (distance / width) ** 2)
    return matrix


def _interpolation_matrix(block_px: int) -> Tensor:
    """Weights (3, block_px) of the left, the own and the right block in linear interpolation to pixels."""
    offset = (torch.arange(block_px) + 0.5) / block_px - 0.5
    left, right = (-offset).clamp(min=0), offset.clamp(min=0)
    return torch.stack([left, 1 - left - right, right])


class SpectrumFeatures(nn.Module):
    """Continuum, high-passed flux and noise of a spectrum.

    Parameters
    ----------
    n_wave : int
        Pixels; a multiple of ``block_px``.
    block_px : int
        Pixels per continuum block.
    signal_floor : float
        See `NetworkConfig`.
    """

    smoothing: Tensor
    interpolation: Tensor

    def __init__(self, n_wave: int, block_px: int, signal_floor: float):
        super().__init__()
        if n_wave % block_px:
            raise ValueError(f"n_wave ({n_wave}) must be a multiple of block_px ({block_px})")
        self.n_block = n_wave // block_px
        self.block_px = block_px
        self.signal_floor = signal_floor
        # Where only shapes are asked for (the meta device), arithmetic would import torch's compiler, a second of time.
        is_meta = torch.empty(0).is_meta
        smoothing = torch.empty(self.n_block, self.n_block) if is_meta else _smoothing_matrix(self.n_block)
        interpolation = torch.empty(3, block_px) if is_meta else _interpolation_matrix(block_px)
        self.register_buffer("smoothing", smoothing, persistent=False)
        self.register_buffer("interpolation", interpolation, persistent=False)

    def forward(self, flux: Tensor, flux_err: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Features of spectra.

        Parameters
        ----------
        flux, flux_err : Tensor, shape (n, n_wave)
            Any common unit.
        mask : Tensor of bool, shape (n, n_wave)
            True is bad; the values there do not matter.

        Returns
        -------
        high_passed : Tensor, shape (n, n_wave)
            Flux over continuum minus 1, over its expected scatter; 0 where masked.
        precision : Tensor, shape (n, n_wave)
            0 where masked, else between 0 (all noise) and 1 (no noise).
        blocks : Tensor, shape (n, 3, n_block)
            Log continuum, log noise and coverage of each block.
        scale : Tensor, shape (n, 1)
            Mean flux over the valid pixels, by which the spectrum was divided.
        continuum : Tensor, shape (n, n_wave)
            In units of ``scale``.
        """
        n, n_block, block_px = flux.shape[0], self.n_block, self.block_px
        # Bytes convert several times faster than booleans, and NaN under the mask must go: 0 * NaN is NaN.
        valid = 1.0 - mask.to(torch.uint8).to(flux.dtype)
        flux = (flux * valid).nan_to_num_(0.0, 0.0, 0.0)
        flux_err = (flux_err * valid).nan_to_num_(0.0, 0.0, 0.0)
        count = valid.view(n, n_block, block_px).sum(-1)  # (n, n_block)
        total = flux.view(n, n_block, block_px).sum(-1)
        scale, level = self.level(total, count)
        left = torch.cat([level[:, :1], level[:, :-1]], 1)
        right = torch.cat([level[:, 1:], level[:, -1:]], 1)
        continuum = (torch.stack([left, level, right], -1) @ self.interpolation).view(n, -1)  # (n, n_wave)
        # From here on in place: memory, not arithmetic, is what these lines cost.
        per_continuum = (continuum * scale).reciprocal_()
        relative_err = flux_err.mul_(per_continuum)  # 0 where masked
        noise = relative_err.view(n, n_block, block_px).sum(-1) / count.clamp(min=1.0)
        weight = relative_err.square_().add_(self.signal_floor**2).rsqrt_().mul_(valid)
        high_passed = flux.mul_(per_continuum).sub_(1.0).mul_(weight).clamp_(-20.0, 20.0)
        blocks = self.blocks(level, noise, count)
        return high_passed, weight.mul_(self.signal_floor), blocks, scale, continuum

    def level(self, total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Scale (n, 1) of spectra and continuum (n, n_block) of their blocks, given sums and counts of valid pixels."""
        scale = (total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp(min=1.0)).clamp(min=1e-30)
        level = (total / scale) @ self.smoothing / (count @ self.smoothing).clamp(min=1e-12)
        return scale, level.clamp(min=0.01)

    def blocks(self, level: Tensor, noise: Tensor, count: Tensor) -> Tensor:
        """Log continuum, log noise and coverage, (n, 3, n_block), from these three by block."""
        # A block without data says "no information": a noise of 10 times the continuum.
        noise = torch.where(count > 0, noise, 10.0).clamp(1e-4, 10.0)
        return torch.stack([level.log(), noise.log10(), count / self.block_px], 1)


class BandFeatures(nn.Module):
    """Band fluxes relative to the spectrum, their errors and presence."""

    def forward(self, band_flux: Tensor, band_flux_err: Tensor, scale: Tensor) -> Tensor:
        """Features of photometry.

        Parameters
        ----------
        band_flux, band_flux_err : Tensor, shape (n, n_band)
            In the unit of the spectrum; NaN where a band is missing.
        scale : Tensor, shape (n, 1)
            Mean flux of the spectrum.

        Returns
        -------
        Tensor, shape (n, 3 * n_band)
            asinh magnitudes (linear below a hundredth of the spectrum's level), log errors in them, presence.
        """
        present = torch.isfinite(band_flux) & torch.isfinite(band_flux_err) & (band_flux_err > 0)
        ratio = torch.where(present, band_flux, 0.0) / scale * 50.0
        error = torch.where(present, band_flux_err, 1.0) / scale * 50.0
        magnitude = torch.where(present, torch.asinh(ratio.clamp(-1e6, 1e6)) - 4.6, 0.0)
        error = (error * torch.rsqrt(1.0 + ratio * ratio)).clamp(1e-3, 10.0).log10() + 1.2
        return torch.cat([magnitude, torch.where(present, error, 0.0), present.to(scale.dtype)], 1)
