"""NetworkConfig: layers and widths; pixels, bands and age bins come from the contract."""

# Annotations are not strings here: to read a network file they would have to be evaluated.
import dataclasses
from typing import Any

from sfh_cnn.core import SFHCNNError

__all__ = ["NetworkConfig", "as_recorded"]


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Layers and widths of `SFHNet`. The defaults cost about 6 MFLOP per spectrum."""

    #: Pixels per block of the continuum; the number of pixels must be a multiple of it.
    block_px: int = 16
    #: Fractional flux scatter at which the spectrum's signal saturates the noise weighting.
    signal_floor: float = 0.02
    #: Outputs of the dense projection, initialised with principal components.
    n_projection: int = 144
    #: Neighbouring pixels that it sees as one: its patterns are broader than pixels.
    projection_px: int = 2
    #: Convolution branch: channels of the first layer (stride block_px, kernel twice that) and of the tokens.
    n_channel: int = 32
    n_token_channel: int = 64
    #: Blocks per token and attention heads.
    token_stride: int = 8
    n_head: int = 4
    #: Hidden units of the perceptron behind the attention.
    n_token_hidden: int = 64
    #: Width of the branches, of the photometry encoder, and width and depth of the shared latent trunk, whose blocks
    #: have fewer hidden units.
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

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if field.name != "means_first" and not getattr(self, field.name) > 0:
                raise SFHCNNError(f"{field.name} must be positive, got {getattr(self, field.name)}")
        if self.block_px % 2:
            raise SFHCNNError(f"block_px must be even, got {self.block_px}")
        if self.n_token_channel % self.n_head:
            raise SFHCNNError(f"n_token_channel ({self.n_token_channel}) must be a multiple of n_head ({self.n_head})")


def as_recorded(layers: dict[str, Any]) -> dict[str, Any]:
    """The layers of a network from the record of it, with what earlier versions did not say.

    Parameters
    ----------
    layers : dict
        Fields of `NetworkConfig`.

    Returns
    -------
    dict
        With more of the fields.
    """
    old: dict[str, Any] = {"means_first": False}  # before the joint posterior began with the means
    if "projection_px" not in layers:  # before hidden layers had widths of their own
        token, latent = (layers.get(name, getattr(NetworkConfig, name)) for name in ("n_token_channel", "n_latent"))
        old |= {"projection_px": 1, "n_token_hidden": 2 * token, "n_residual_hidden": latent}
    return old | layers
