"""PackedNetwork: SFHNet as a CPU likes it. The same numbers, with weights laid out for oneDNN."""

from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sfh_cnn.core import kernels

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from .model import SFHNet

__all__ = ["PackedNetwork"]

#: Scores of the attention, as powers of two, are cut here, far beyond any that occur: their sums stay finite.
_SCORE_LIMIT = 90.0
#: The compiled convolution wants a multiple of so many channels.
_LANES = 16


class _Linear:
    """A linear layer with the activation that follows it; all in one number format."""

    def __init__(self, weight, bias=None, activation="none", dtype=torch.float32):
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous())
        self.bias = None if bias is None else bias.detach().to(dtype).contiguous()
        self.activation, self.dtype = activation, dtype

    def __call__(self, x):
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.weight, self.bias, self.activation, [], "")

    def plus(self, x, other):
        """The layer's output added to something of its shape."""
        x, other = x.to(self.dtype), other.to(self.dtype)
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "add")


class _LayerNorm:
    """A layer norm over the last axis, in single precision."""

    def __init__(self, layer):
        self.layer = layer
        self.arrays = [values.detach().float().contiguous().numpy() for values in (layer.weight, layer.bias)]

    def __call__(self, x):
        x = x.float()
        if kernels.compiled is None:
            return self.layer(x)
        rows, width = x.contiguous(), x.shape[-1]
        out = torch.empty_like(rows)
        sizes = (rows.numel() // width, width)
        kernels.compiled.layer_norm(sizes, self.layer.eps, rows.numpy(), *self.arrays, out.numpy())
        return out


class PackedNetwork:
    """What `SFHNet.forward` computes, for prediction on a CPU.

    Weights are put once into the order in which oneDNN reads them; activations and sums are applied while a layer's
    output is in the registers; what the first convolution looks at is laid out by one copy.

    Parameters
    ----------
    network : SFHNet
        On a CPU for which `is_available` is true; its weights must not change afterwards.
    precision : {"float32", "bfloat16"}, optional
        Number format of the large products. Those of bfloat16 take half the time, on processors that know them, and
        see three digits of each number.
    """

    def __init__(self, network: SFHNet, precision: str = "float32") -> None:
        dtype = getattr(torch, precision)

        def like(layer, activation="none"):
            return _Linear(layer.weight, layer.bias, activation, dtype)

        self.network = network
        # From (channel, half, pixel) to (half, channel, pixel): the order of the pieces in `_convolve`.
        kernel = network.patches.weight.view(-1, 2, 2, network.block_px).transpose(1, 2)
        self.patches = _Linear(kernel.flatten(1), network.patches.bias, "swish", dtype)
        missing = -network.patches.out_channels % _LANES
        weights: list[Any] = [network.patches.weight.flatten(1).T, network.patches.bias]
        self._compiled_patches = [functional.pad(part, [0, missing]).detach().contiguous().numpy() for part in weights]
        self._block_scales = [values.detach().contiguous() for values in (network.block_mean, network.block_std)]
        kernel, n_channel = network.tokens.weight, network.patches.out_channels  # (n_token_channel, n_channel + 3, ...)
        self.patch_tokens = _Linear(kernel[:, :n_channel].transpose(1, 2).flatten(1), dtype=dtype)
        self.block_tokens = _Linear(kernel[:, n_channel:].flatten(1), network.tokens.bias)
        self.projection = _Linear(network.projection.weight, dtype=dtype)
        attention = network.attention
        # The scores come out as powers of two, whose exponentials are the fastest.
        layer, scale = attention.query_key_value, torch.ones(3, attention.mix.out_features)
        scale[0] = math.log2(math.e) * (attention.mix.out_features / attention.n_head) ** -0.5
        scale = scale.flatten()
        self.query_key_value = _Linear(layer.weight * scale[:, None], layer.bias * scale, dtype=dtype)
        self.mix = like(attention.mix)
        self.inner, self.outer = like(attention.inner, "swish"), like(attention.outer)
        self.pool = like(network.pool)
        self.shape, self.photometry = like(network.shape[0], "swish"), like(network.photometry[0], "swish")
        self.join = self._joined(network)
        self.smoothing = _Linear(network.features.smoothing.T)
        self.norms = _LayerNorm(attention.norm_1), _LayerNorm(attention.norm_2)
        *blocks, last = network.trunk
        self.last_norm = _LayerNorm(last)
        self.trunk: list[Any] = [
            (_LayerNorm(block.norm), like(block.inner, "swish"), like(block.outer)) for block in blocks
        ]
        whitening = network.latent_whitening.T
        n_row = (3 * network.n_age + network.n_scalar) * network.n_level  # without what only draws want
        parts = (network.fractions.weight, network.quantiles.weight[:n_row], whitening)
        biases = (network.fractions.bias, network.quantiles.bias[:n_row], -(whitening @ network.latent_mean))
        self.heads = _Linear(torch.cat(parts), torch.cat(biases))
        self.head_sizes = [len(part) for part in parts]

    @staticmethod
    def _joined(network):
        """The layer that joins the branches, with the last layers of two of them, which are linear, in it."""
        weight, bias = network.join.weight.detach().clone(), network.join.bias.detach().clone()
        start = network.projection.out_features + network.pool.out_features
        for layer in (network.shape[2], network.photometry[2]):
            part = weight[:, start : start + layer.out_features].clone()
            bias += part @ layer.bias
            weight[:, start : start + layer.out_features] = part @ layer.weight
            start += layer.out_features
        return _Linear(weight, bias)

    @staticmethod
    def is_available(network: SFHNet, precision: str = "float32") -> bool:
        """Whether this machine, and the device of a network, are made for it in a precision."""
        on_cpu = network.latent_mean.device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")
        known = {"float32": True, "bfloat16": torch.cpu._is_avx512_bf16_supported()}
        return on_cpu and torch.backends.mkldnn.is_available() and known.get(precision, False)

    def __call__(self, *arguments):
        """As `forward`."""
        return self.forward(*arguments)

    def forward(self, *arguments: Tensor) -> dict[str, Tensor]:
        """As `SFHNet.forward`."""
        latent = self.encode(*arguments)
        fractions, quantiles, whitened = self.heads(latent).split(self.head_sizes, 1)
        return self.network.answers(latent, fractions, self._physical(quantiles), whitened)

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
        """As `SFHNet.encode`."""
        network = self.network
        inputs = self._compiled_inputs if kernels.compiled is not None else self._inputs
        coarse, patches, blocks, scale = inputs(flux, flux_err, mask)
        condition = network.condition(blocks, redshift, calibration_error)
        bands = network.band_features(band_flux, band_flux_err, scale)
        joined = [
            self.projection(coarse) * (1.0 + network.gate(condition)),
            self.pool(self._attend(self._tokens(patches, blocks)).flatten(1)),
            self.shape(blocks.flatten(1)),
            self.photometry(torch.cat([bands, condition], 1)),
            condition,
        ]
        latent = self.join(torch.cat(joined, 1))
        for norm, inner, outer in self.trunk:
            hidden = inner(norm(latent))  # sums keep all digits
            latent = outer.plus(hidden, latent) if outer.dtype == latent.dtype else latent + outer(hidden)
        return self.last_norm(latent)

    def _physical(self, quantiles):
        """`SFHNet.physical`."""
        network, n_level = self.network, self.network.n_level
        if kernels.compiled is None:
            return network.physical(quantiles)
        n, n_quantity = len(quantiles), quantiles.shape[1] // n_level
        out = torch.empty(n, n_quantity, n_level)
        given = (quantiles, network.interval_factor[:n_quantity])
        given += network.quantity_mean[:n_quantity], network.quantity_std[:n_quantity], out
        sizes = (n, n_quantity, n_level, 2 * network.n_age)
        kernels.compiled.quantiles(sizes, *(values.detach().contiguous().numpy() for values in given))
        return out

    def _inputs(self, flux, flux_err, mask):
        """What the projection sees, patches, standardised blocks and scale, as `SFHNet.encode` has them.

        Patches are (n, n_row, n_channel), with rows of zeros where the last token is not full.
        """
        high_passed, precision, blocks, scale, _ = self.network.features(flux, flux_err, mask)
        patches = self._convolve(*(values.to(self.projection.dtype) for values in (high_passed, precision)))
        blocks = (blocks - self.network.block_mean) / self.network.block_std
        return self.network.coarse(high_passed), patches, blocks, scale

    def _compiled_inputs(self, flux, flux_err, mask):
        """As `_inputs`, in one pass over each spectrum before the continuum and one after it."""
        network, features, dtype = self.network, self.network.features, self.projection.dtype
        n, n_block, px, n_channel = len(flux), features.n_block, features.block_px, network.patches.out_channels
        data = [values.contiguous().numpy() for values in (flux, flux_err, mask)]
        sums = torch.empty(3, n, n_block)
        total, count, noise = sums.unbind(0)
        kernels.compiled.block_sums((n, n_block, px), data[0], data[2], total.numpy(), count.numpy())
        scale, level = self._level(sums[:2])
        bits = torch.int16 if dtype == torch.bfloat16 else torch.float32
        together, n_row = network.projection_px, n_block + network.token_padding
        coarse, patches = (
            torch.empty(n, *shape, dtype=bits) for shape in ((n_block * px // together,), (n_row, n_channel))
        )
        sizes = (n, n_block, px, together, n_channel, n_row, bits.itemsize)
        given = [*data, *(values.numpy() for values in (level, count, features.interpolation, scale))]
        out = (values.numpy() for values in (coarse, patches, noise))
        kernels.compiled.high_pass(sizes, features.signal_floor, *given, *self._compiled_patches, *out)
        blocks = torch.empty(n, 3, n_block)
        given = (level, noise, count, *self._block_scales, blocks)
        kernels.compiled.describe((n, n_block, px), *(values.numpy() for values in given))
        return coarse.view(dtype), patches.view(dtype), blocks, scale

    def _level(self, sums):
        """`SpectrumFeatures.level`, from total and count, (2, n, n_block); the former is changed."""
        total, count = sums
        scale = (total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp(min=1.0)).clamp(min=1e-30)
        total.div_(scale)
        smooth, weight = self.smoothing(sums)
        return scale, (smooth / weight.clamp(min=1e-12)).clamp(min=0.01)

    def _convolve(self, high_passed, precision):
        """The first convolution of both channels and its activation, (n, n_row, n_channel)."""
        n, px = len(high_passed), self.network.block_px
        n_block = high_passed.shape[1] // px
        # Blocks of both channels side by side, shifted by half a block.
        pairs = high_passed.new_zeros(n, n_block + 1, 2, px)
        for channel, values in enumerate((high_passed, precision)):
            flat = pairs[:, :, channel]
            flat[:, 1:-1] = values[:, px // 2 : -(px // 2)].view(n, n_block - 1, px)
            flat[:, 0, px // 2 :] = values[:, : px // 2]
            flat[:, -1, : px // 2] = values[:, -(px // 2) :]
        # Neighbouring pairs of blocks overlap in memory.
        patches = self.patches(pairs.as_strided((n, n_block, 4 * px), ((n_block + 1) * 2 * px, 2 * px, 1)))
        return functional.pad(patches, [0, 0, 0, self.network.token_padding]) if self.network.token_padding else patches

    def _tokens(self, patches, blocks):
        """The second convolution of `SFHNet.tokenise` with positions, in the shape of what it gives."""
        network, n = self.network, len(patches)
        if network.token_padding:
            blocks = functional.pad(blocks, [0, network.token_padding])
        position = network.position.view(-1, network.tokens.out_channels)
        n_token = len(position)
        blocks = blocks.view(n, 3, n_token, -1).transpose(1, 2).reshape(n, n_token, -1)
        other = self.block_tokens(blocks) + position
        return self.patch_tokens.plus(patches.view(n, n_token, -1), other).view(n, *network.position.shape)

    def _attend(self, x):
        """`AttentionBlock.forward`."""
        block = self.network.attention
        qkv = self.query_key_value(self.norms[0](x)).float()
        x = self.mix.plus(self._mixed(qkv, block.n_head), x)
        return self.outer.plus(self.inner(self.norms[1](x)), x)

    @staticmethod
    def _mixed(qkv, n_head):
        """Values (n, n_token, width) that each token looks at, from queries, keys and values (n, n_token, 3 width)."""
        n, n_token, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        d = width // n_head
        if kernels.compiled is not None:
            mixed = torch.empty(n, n_token, width)
            sizes = (n, n_token, n_head, d)
            kernels.compiled.attend(sizes, _SCORE_LIMIT, qkv.contiguous().numpy(), mixed.numpy())
            return mixed
        parts = qkv.view(n, n_token, 3, n_head, d).permute(2, 0, 3, 1, 4)
        query, key, value = parts.reshape(3, n * n_head, n_token, d).unbind(0)
        # Without the maximum taken out first, softmax is a division after the sum over values.
        score = torch.bmm(query, key.transpose(1, 2)).clamp_(-_SCORE_LIMIT, _SCORE_LIMIT).exp2_()
        mixed = torch.bmm(score, value).div_(score.sum(-1, keepdim=True))
        return mixed.view(n, n_head, n_token, d).transpose(1, 2).reshape(n, n_token, width)
