"""Templates: the stellar spectra of the age bins, compressed, that a released network carries with it.

They turn a predicted history back into a spectrum and band fluxes, and give surviving masses, without
a stellar library being installed.
"""

import torch
from torch import Tensor, nn

__all__ = ["Templates"]


class Templates(nn.Module):
    """Spectra of the age bins (constant SFR inside) at nodes of [M/H], per M_sun formed.

    Parameters
    ----------
    n_age, n_met : int
        Age bins and [M/H] nodes.
    rank, n_source : int
        Basis vectors and pixels of the high-resolution spectra.
    coarse_rank, n_coarse : int
        The same for the low-resolution spectra from which bands are made.
    """

    nodes_dex: Tensor
    source_wave_aa: Tensor
    source_sigma_aa: Tensor
    coarse_wave_aa: Tensor
    coefficients: Tensor
    basis: Tensor
    coarse_coefficients: Tensor
    coarse_basis: Tensor
    v_light: Tensor
    surviving: Tensor

    def __init__(self, n_age: int, n_met: int, rank: int, n_source: int, coarse_rank: int, n_coarse: int) -> None:
        super().__init__()
        self.sizes = (n_age, n_met, rank, n_source, coarse_rank, n_coarse)
        shapes = {
            "nodes_dex": (n_met,),
            "source_wave_aa": (2,),  # first wavelength and step, Angstrom
            "source_sigma_aa": (n_source,),  # resolution of the spectra, standard deviation, Angstrom
            "coarse_wave_aa": (2,),
            "coefficients": (n_age, n_met, rank),
            "basis": (rank, n_source),
            "coarse_coefficients": (n_age, n_met, coarse_rank),
            "coarse_basis": (coarse_rank, n_coarse),
            "v_light": (n_age, n_met),  # L_sun in the V window per M_sun formed
            "surviving": (n_age, n_met),  # share of the mass formed that survives; NaN if not stated
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def node_weights(self, metallicity: Tensor) -> Tensor:
        """Linear interpolation weights in [M/H], (..., n_met), for metallicities (...) in dex."""
        nodes = self.nodes_dex
        value = metallicity.clamp(float(nodes[0]), float(nodes[-1]))
        index = (torch.searchsorted(nodes, value.contiguous(), right=True) - 1).clamp(0, len(nodes) - 2)
        part = (value - nodes[index]) / (nodes[index + 1] - nodes[index])
        weights = torch.zeros(*value.shape, len(nodes), device=value.device, dtype=value.dtype)
        weights.scatter_(-1, index[..., None], (1 - part)[..., None])
        weights.scatter_(-1, index[..., None] + 1, part[..., None])
        return weights
