"""SFHNet: the network on one page. Two encoders, one latent, heads for points, quantiles and the joint posterior."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfh_cnn.core import SFHCNNError
from sfh_cnn.core.constants import QUANTILE_LEVELS, SCALAR_NAMES

from .features import BandFeatures, SpectrumFeatures
from .posterior import JointPosterior

if TYPE_CHECKING:
    from sfh_cnn.core import ModelContract

    from .config import NetworkConfig

__all__ = ["SFHNet"]

#: Inputs beside spectrum and bands: redshift, calibration error (two scales), S/N, noise and coverage.
_N_CONDITION = 5
#: Mean ages and metallicities, the first of SCALAR_NAMES, lead the joint posterior.
_N_MEAN = 4


class ResidualBlock(nn.Module):
    """Normalise, a perceptron, add."""

    def __init__(self, width: int, n_hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, n_hidden)
        self.outer = nn.Linear(n_hidden, width)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(functional.silu(self.inner(self.norm(x))))


class AttentionBlock(nn.Module):
    """Self-attention over tokens, then a small perceptron, each added to its input."""

    def __init__(self, width: int, n_head: int, n_hidden: int):
        super().__init__()
        self.n_head = n_head
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, n_hidden), nn.Linear(n_hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        n, n_token, width = x.shape
        qkv = self.query_key_value(self.norm_1(x)).view(n, n_token, 3, self.n_head, width // self.n_head)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (n, n_head, n_token, d)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.mix(mixed.transpose(1, 2).reshape(n, n_token, width))
        return x + self.outer(functional.silu(self.inner(self.norm_2(x))))


def _ordered(quantiles: Tensor) -> Tensor:
    """Quantiles (..., n_level) that do not cross: each calibrated level has a factor of its own, and could."""
    levels = list(quantiles.unbind(-1))
    half = len(levels) // 2
    for i in range(half):
        levels[half + i + 1] = torch.maximum(levels[half + i + 1], levels[half + i])
        levels[half - i - 1] = torch.minimum(levels[half - i - 1], levels[half - i])
    return torch.stack(levels, -1)


class SFHNet(nn.Module):
    """Star formation history, [M/H] of each age bin and dust from a spectrum and band fluxes.

    Parameters
    ----------
    contract : ModelContract
        Gives the numbers of pixels, bands and age bins.
    config : NetworkConfig
        Layers and widths.
    """

    block_mean: Tensor
    block_std: Tensor
    quantity_mean: Tensor
    quantity_std: Tensor
    interval_factor: Tensor
    latent_mean: Tensor
    latent_whitening: Tensor
    latent_threshold: Tensor

    def __init__(self, contract: "ModelContract", config: "NetworkConfig") -> None:
        super().__init__()
        n_wave, n_band, n_age = contract.n_wave, contract.n_band, contract.n_age
        c = config
        self.n_age = n_age
        self.block_px, self.token_stride = c.block_px, c.token_stride
        self.n_level = len(QUANTILE_LEVELS)
        self.features = SpectrumFeatures(n_wave, c.block_px, c.signal_floor)
        self.band_features = BandFeatures()
        n_block = n_wave // c.block_px
        n_token = (n_block - 1) // (c.token_stride * c.tokens_together) + 1  # as the attention sees them

        # Spectrum encoder: a dense projection for the faint global signal, convolutions and attention
        # for local features, the continuum's shape and noise by blocks.
        if n_wave % c.projection_px:
            raise SFHCNNError(f"projection_px ({c.projection_px}) must divide the number of pixels, {n_wave}")
        self.projection_px = c.projection_px
        self.projection = nn.Linear(n_wave // c.projection_px, c.n_projection, bias=False)
        self.gate = nn.Linear(_N_CONDITION, c.n_projection)
        self.patches = nn.Conv1d(2, c.n_channel, 2 * c.block_px, stride=c.block_px, padding=c.block_px // 2)
        self.tokens = nn.Conv1d(c.n_channel + 3, c.n_token_channel, c.token_stride, stride=c.token_stride)
        self.token_padding = n_token * c.tokens_together * c.token_stride - n_block
        width = c.tokens_together * c.n_token_channel
        self.position = nn.Parameter(torch.empty(n_token, width))
        if not self.position.is_meta:  # where it would import torch's compiler
            nn.init.normal_(self.position, std=0.02)
        self.attention = AttentionBlock(width, c.n_head, c.n_token_hidden or 2 * width)
        self.pool = nn.Linear(n_token * width, c.n_branch)
        self.shape = nn.Sequential(nn.Linear(3 * n_block, c.n_branch), nn.SiLU(), nn.Linear(c.n_branch, c.n_branch))

        # Photometry encoder.
        self.photometry = nn.Sequential(
            nn.Linear(3 * n_band + _N_CONDITION, c.n_photometry), nn.SiLU(), nn.Linear(c.n_photometry, c.n_photometry)
        )

        # Shared latent space.
        n_joined = c.n_projection + 2 * c.n_branch + c.n_photometry + _N_CONDITION
        self.join = nn.Linear(n_joined, c.n_latent)
        blocks = [ResidualBlock(c.n_latent, c.n_residual_hidden or c.n_latent) for _ in range(c.n_residual)]
        self.trunk = nn.Sequential(*blocks, nn.LayerNorm(c.n_latent))

        # Heads.
        self.n_scalar = len(SCALAR_NAMES)
        # The mass formed since the first edge is that of the youngest bin; since the last, all but that of the oldest.
        self.n_cumulative = max(n_age - 2, 0) if c.cumulative else 0
        self.n_quantity = 3 * n_age + self.n_scalar + self.n_cumulative
        self.fractions = nn.Linear(c.n_latent, 2 * n_age)
        self.quantiles = nn.Linear(c.n_latent, self.n_quantity * self.n_level)
        self.n_lead = _N_MEAN if c.means_first else 0
        self.posterior = JointPosterior(
            c.n_latent, n_age, n_hidden=c.n_hidden_per_variable, n_mixture=c.n_mixture, n_lead=self.n_lead
        )

        # Scales of inputs and outputs, set from mocks before training, and calibration, set after it.
        self.register_buffer("block_mean", torch.zeros(3, n_block))
        self.register_buffer("block_std", torch.ones(3, n_block))
        self.register_buffer("quantity_mean", torch.zeros(self.n_quantity))
        self.register_buffer("quantity_std", torch.ones(self.n_quantity))
        self.register_buffer("interval_factor", torch.ones(self.n_quantity, self.n_level))
        self.register_buffer("latent_mean", torch.zeros(c.n_latent))
        self.register_buffer("latent_whitening", torch.zeros(c.n_latent, c.n_latent))
        self.register_buffer("latent_threshold", torch.ones(1))

    def encode(
        self,
        flux: Tensor,
        flux_err: Tensor,
        mask: Tensor,
        band_flux: Tensor,
        band_flux_err: Tensor,
        redshift: Tensor,
        calibration_error: Tensor,
    ) -> Tensor:
        """Latent vector (n, n_latent) of spectra and photometry; arguments as in `forward`."""
        high_passed, precision, blocks, scale, _ = self.features(flux, flux_err, mask)
        blocks = (blocks - self.block_mean) / self.block_std  # (n, 3, n_block)
        condition = self.condition(blocks, redshift, calibration_error)
        projected = self.projection(self.coarse(high_passed)) * (1.0 + self.gate(condition))  # (n, n_projection)
        tokens = self.tokenise(high_passed, precision, blocks) + self.position  # (n, n_token, width)
        local = self.pool(self.attention(tokens).flatten(1))  # (n, n_branch)
        shape = self.shape(blocks.flatten(1))  # (n, n_branch)
        bands = self.band_features(band_flux, band_flux_err, scale)
        photometry = self.photometry(torch.cat([bands, condition], 1))  # (n, n_photometry)
        return self.trunk(self.join(torch.cat([projected, local, shape, photometry, condition], 1)))

    def coarse(self, high_passed: Tensor) -> Tensor:
        """What the projection sees, means of neighbouring pixels (n, n_wave / projection_px)."""
        if self.projection_px == 1:  # the mean of one is a slow copy
            return high_passed
        return high_passed.view(len(high_passed), -1, self.projection_px).mean(2)

    def condition(self, blocks: Tensor, redshift: Tensor, calibration_error: Tensor) -> Tensor:
        """What else the network is told, (n, n_condition), given the standardised blocks."""
        return torch.stack(
            [
                redshift * 20.0,
                (calibration_error + 1e-3).log10() + 2.2,
                calibration_error * 60.0 - 0.5,
                blocks[:, 1].mean(1),  # noise
                blocks[:, 2].mean(1),  # coverage
            ],
            1,
        )

    def tokenise(self, high_passed: Tensor, precision: Tensor, blocks: Tensor) -> Tensor:
        """Both convolutions, (n, n_token, tokens_together * n_token_channel).

        Kernels are as long as their strides, or twice that: such a convolution is a matrix product over
        neighbouring pieces, which is faster than the general one.
        """
        n, block_px = len(high_passed), self.block_px
        half = block_px // 2
        padded = functional.pad(torch.stack([high_passed, precision], 1), [half, half])
        pieces = padded.unfold(2, 2 * block_px, block_px).transpose(1, 2).flatten(2)  # (n, n_block, 4 block_px)
        patches = functional.linear(pieces, self.patches.weight.flatten(1), self.patches.bias)
        # Cut where SiLU is zero to seven digits: further out it is a denormal number, which is 100 times slower.
        patches = functional.silu(patches.clamp(min=-20.0))
        joined = functional.pad(torch.cat([patches, blocks.transpose(1, 2)], 2), [0, 0, 0, self.token_padding])
        joined = joined.view(n, -1, self.token_stride * joined.shape[2])
        kernel = self.tokens.weight.transpose(1, 2).flatten(1)
        return functional.linear(joined, kernel, self.tokens.bias).view(n, len(self.position), -1)

    def heads(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of mass and light fractions (n, 2, n_age) and standardised quantiles (n, n_quantity, n_level).

        Quantiles of fractions and of the mass formed refer to cube roots; the median comes first in the
        head and the other levels are positive steps away from it, so that they do not cross.
        """
        logits = self.fractions(latent).view(-1, 2, self.n_age)
        return logits, self.shape_quantiles(self.quantiles(latent))

    def shape_quantiles(self, quantiles: Tensor) -> Tensor:
        """The quantiles of `heads`, from the output of their layer."""
        raw = quantiles.view(len(quantiles), quantiles.shape[1] // self.n_level, self.n_level)
        factor = self.interval_factor[: raw.shape[1]]
        half = self.n_level // 2
        step = functional.softplus(raw - 1.0)
        below = step[..., :half].flip(-1).cumsum(-1).flip(-1)
        above = step[..., half + 1 :].cumsum(-1)
        median = raw[..., half : half + 1]
        return median + torch.cat([-below, torch.zeros_like(median), above], -1) * factor

    def in_units(self, quantiles: Tensor) -> Tensor:
        """Quantiles that do not cross, in the units of `targets` before scaling, from standardised ones of `heads`."""
        n = quantiles.shape[1]
        return _ordered(quantiles) * self.quantity_std[:n, None] + self.quantity_mean[:n, None]

    def forward(
        self,
        flux: Tensor,
        flux_err: Tensor,
        mask: Tensor,
        band_flux: Tensor,
        band_flux_err: Tensor,
        redshift: Tensor,
        calibration_error: Tensor,
    ) -> dict[str, Tensor]:
        """Predict.

        Parameters
        ----------
        flux, flux_err : Tensor, shape (n, n_wave)
            Spectrum on the network's rest-frame pixels and its error, any unit.
        mask : Tensor of bool, shape (n, n_wave)
            True is bad.
        band_flux, band_flux_err : Tensor, shape (n, n_band)
            In the unit of the spectrum; NaN where missing.
        redshift, calibration_error : Tensor, shape (n,)

        Returns
        -------
        dict of Tensor
            ``mass_fraction``, ``light_fraction`` (n, n_age): posterior means; ``fraction_quantiles``
            (n, 2, n_age, n_level), ``metallicity_quantiles`` (n, n_age, n_level) in dex,
            ``scalar_quantiles`` (n, n_scalar, n_level); ``latent`` (n, n_latent); ``unusualness`` (n,),
            distance in latent space over its threshold.
        """
        latent = self.encode(flux, flux_err, mask, band_flux, band_flux_err, redshift, calibration_error)
        whitened = (latent - self.latent_mean) @ self.latent_whitening
        return self.answers(latent, self.fractions(latent), self.physical(self.quantiles(latent)), whitened)

    def physical(self, quantiles: Tensor) -> Tensor:
        """Quantiles (n, n_quantity, n_level) in their units from the output of their layer; fractions are no roots.

        The mass formed since the edges of the bins stays a cube root.
        """
        quantiles = self.in_units(self.shape_quantiles(quantiles))
        roots = quantiles[:, : 2 * self.n_age].clamp(0.0, 1.0)
        return torch.cat([roots * roots * roots, quantiles[:, 2 * self.n_age :]], 1)

    def answers(self, latent: Tensor, fractions: Tensor, quantiles: Tensor, whitened: Tensor) -> dict[str, Tensor]:
        """What `forward` gives: from latent vectors, the layer of fractions, `physical` quantiles and the whitening."""
        fractions = fractions.view(-1, 2, self.n_age).softmax(-1)
        distance = whitened.square().mean(1)
        n = 2 * self.n_age, 3 * self.n_age, 3 * self.n_age + self.n_scalar
        return {
            "mass_fraction": fractions[:, 0],
            "light_fraction": fractions[:, 1],
            "fraction_quantiles": quantiles[:, : n[0]].view(-1, 2, self.n_age, self.n_level),
            "metallicity_quantiles": quantiles[:, n[0] : n[1]],
            "scalar_quantiles": quantiles[:, n[1] : n[2]],
            "latent": latent,
            "unusualness": distance / self.latent_threshold,
        }

    def targets(self, mass_fraction: Tensor, light_fraction: Tensor, metallicity: Tensor, scalars: Tensor) -> Tensor:
        """Truth in the standardised units of the quantile head, (n, n_quantity)."""
        third = 1.0 / 3.0
        # Rounding may leave sums a little above 1, and fractions are none below 0.
        formed = mass_fraction.cumsum(1)[:, 1 : 1 + self.n_cumulative].clamp(0.0, 1.0)
        parts = [mass_fraction.pow(third), light_fraction.pow(third), metallicity, scalars, formed.pow(third)]
        values = torch.cat(parts, 1)
        return (values - self.quantity_mean) / self.quantity_std

    def leads(self, targets: Tensor) -> Tensor:
        """Of the output of `targets`, what the joint posterior begins with, (n, n_lead)."""
        return targets[:, 3 * self.n_age : 3 * self.n_age + self.n_lead]
