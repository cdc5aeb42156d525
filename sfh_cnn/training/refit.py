"""What comes into the layers of a network, and layers that are fitted to it."""

import torch

from .losses import INPUT_NAMES

__all__ = ["fit", "watch", "with_ridge"]

#: Ridge of the fits, relative to the mean variance of what is fitted with.
_RIDGE = 1e-3
#: Spectra that go through a network together.
_BATCH = 512


def watch(network, names, mocks):
    """What comes into some layers, (n, n_in); of layers that see tokens, one token of each spectrum, all in turn."""
    seen = {name: [] for name in names}

    def hook(name):
        def keep(_, inputs):
            (rows,) = inputs
            if rows.ndim > 2:
                number = torch.arange(len(rows))
                rows = rows[number, (number + len(seen[name])) % rows.shape[1]]
            seen[name].append(rows.clone())

        return keep

    hooks = [network.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    try:
        for start in range(0, len(mocks["flux"]), _BATCH):
            network.encode(*[mocks[name][start : start + _BATCH] for name in INPUT_NAMES])
    finally:
        for one in hooks:
            one.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def fit(inputs, outputs):
    """Weight and bias of the linear layer that comes closest."""
    mean_in, mean_out = inputs.mean(0), outputs.mean(0)
    centred = (inputs - mean_in).double()
    weight = torch.linalg.solve(with_ridge(centred.T @ centred), centred.T @ (outputs - mean_out).double()).float().T
    return weight.contiguous(), mean_out - weight @ mean_in


def with_ridge(matrix):
    """The matrix with a small ridge on its diagonal, so that it can be inverted."""
    return matrix + _RIDGE * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)
