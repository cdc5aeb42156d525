"""NetworkConfig: layers and widths; pixels, bands and age bins come from the contract."""

import dataclasses

from sfh_cnn.core import SFHCNNError

__all__ = ["LAYERS_BEFORE", "NetworkConfig"]

#: What a network has whose record does not say, for it was made before there was a choice.
LAYERS_BEFORE = {
    "projection_px": 1,
    "tokens_together": 1,
    "n_token_hidden": 0,
    "n_residual_hidden": 0,
    "means_first": False,
    "cumulative": False,
}
_OR_ZERO = ("n_token_hidden", "n_residual_hidden", "means_first", "cumulative")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Layers and widths of `SFHNet`. The defaults cost about 5 MFLOP per spectrum of 3200 pixels."""

    #: Pixels per block of the continuum; the number of pixels must be a multiple of it.
    block_px: int = 16
    #: Fractional flux scatter at which the spectrum's signal saturates the noise weighting.
    signal_floor: float = 0.02
    #: Outputs of the dense projection, initialised with principal components.
    n_projection: int = 224
    #: Neighbouring pixels that it sees as one.
    projection_px: int = 1
    #: Convolution branch: channels of the first layer (stride block_px, kernel twice that) and of the tokens.
    n_channel: int = 32
    n_token_channel: int = 32
    #: Blocks per token and attention heads.
    token_stride: int = 8
    #: Neighbouring tokens that the attention sees as one, side by side.
    tokens_together: int = 2
    n_head: int = 4
    #: Hidden units of the perceptron behind the attention; 0: twice as many as channels.
    n_token_hidden: int = 64
    #: Width of the branches, of the photometry encoder, and width and depth of the shared latent trunk, and the hidden
    #: units of its blocks; 0: as many as its width.
    n_branch: int = 128
    n_photometry: int = 64
    n_latent: int = 320
    n_residual: int = 4
    n_residual_hidden: int = 160
    #: Joint posterior: hidden units per variable, Gaussians in each conditional mixture, and whether the mean ages
    #: and metallicities are drawn before the bins.
    n_hidden_per_variable: int = 16
    n_mixture: int = 8
    means_first: bool = True
    #: Quantiles of the mass formed since each edge of the age bins, too, to which joint draws keep.
    cumulative: bool = True

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            or_zero = " or 0" if field.name in _OR_ZERO else ""
            if not (value > 0 or (or_zero and value == 0)):
                raise SFHCNNError(f"{field.name} must be positive{or_zero}, got {value}")
        if self.block_px % 2:
            raise SFHCNNError(f"block_px must be even, got {self.block_px}")
        width = self.n_token_channel * self.tokens_together
        if width % self.n_head:
            raise SFHCNNError(
                f"n_token_channel times tokens_together ({width}) must be a multiple of n_head ({self.n_head})"
            )
