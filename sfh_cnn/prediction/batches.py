"""run_network(): blocks of spectra through the network; rows without data come out as NaN."""

import numpy as np
import torch

__all__ = ["run_network"]

#: Just below the largest block that glibc is willing to keep for itself.
_KEPT_BYTES = 31 * 1024**2


@torch.inference_mode()
def run_network(network, device, blocks, compare, n_spec, advance):
    """Predict the good rows; the others come out as NaN.

    Parameters
    ----------
    network : callable
        `~sfh_cnn.network.SFHNet`, or what does as it does.
    device : torch.device
        Where it is.
    blocks : iterable
        Gives rows (ndarray of int) and, for them, the arguments of `SFHNet.forward` as arrays, spectra first.
    compare : callable
        Called with the arguments and the outputs of each block, as tensors in main memory; gives more outputs.
    n_spec : int
        Spectra in all.
    advance : callable
        Called with the number of spectra done.

    Returns
    -------
    dict of ndarray
        The network's outputs, and those of ``compare``, for all rows.
    """
    # By default glibc gives the memory of each block back to the system and fetches it page by page for the next one,
    # which can take as long as the arithmetic. Where a block of this size was once freed, it keeps up to twice as much.
    np.empty(_KEPT_BYTES, dtype=np.uint8)
    out = {}
    for rows, arguments in blocks:
        batch = [torch.from_numpy(np.ascontiguousarray(value)) for value in arguments]
        if len(rows):
            _store(out, rows, _predict(network, device, compare, batch), n_spec)
        advance(len(rows))
    if not out:  # nothing to predict: one blank row tells the shapes
        blank = [torch.zeros((1, *value.shape[1:]), dtype=value.dtype) for value in batch]
        _store(out, slice(0, 0), _predict(network, device, compare, blank), n_spec)
    return out


def _predict(network, device, compare, batch):
    outputs = network(*[value.to(device) for value in batch])
    outputs = {name: value.cpu() for name, value in outputs.items()}
    return outputs | compare(batch, outputs)


def _store(out, rows, outputs, n_spec):
    for name, value in outputs.items():
        if name not in out:
            out[name] = np.full((n_spec, *value.shape[1:]), np.nan, dtype=np.float32)
        if not isinstance(rows, slice):
            out[name][rows] = value.numpy()
