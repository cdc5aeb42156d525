"""run_network(): fixed-size batches through the network, bad rows left out."""

import numpy as np
import torch

__all__ = ["run_network"]

#: Batches of this size keep the working set in a CPU's cache.
BATCH_SIZE = 128


@torch.inference_mode()
def run_network(network, select, compare, good, advance, batch_size=BATCH_SIZE):
    """Predict the good rows; the others come out as NaN.

    Parameters
    ----------
    network : callable
        Eager or scripted network.
    select : callable
        Gives the arguments of `SFHNet.forward` as arrays, spectra first, for an array of rows.
    compare : callable
        Called with the arguments and the outputs of each batch, as tensors in main memory; gives more outputs.
    good : ndarray of bool, shape (n_spec,)
        Rows to predict.
    advance : callable
        Called with the number of spectra done.
    batch_size : int, optional
        Spectra at a time; the answer does not depend on it.

    Returns
    -------
    dict of ndarray
        The network's outputs, and those of ``compare``, for all rows.
    """
    device = next(iter(network.parameters())).device
    rows = np.flatnonzero(good)
    out = {}
    for start in range(0, max(len(rows), 1), batch_size):
        chosen = rows[start : start + batch_size]
        batch = [torch.from_numpy(np.ascontiguousarray(value)) for value in select(chosen)]
        if not len(chosen):  # nothing to predict: one blank row tells the shapes
            batch = [torch.zeros((1, *value.shape[1:]), dtype=value.dtype) for value in batch]
        outputs = {name: value.cpu() for name, value in network(*[value.to(device) for value in batch]).items()}
        for name, value in (outputs | compare(batch, outputs)).items():
            if name not in out:
                out[name] = np.full((len(good), *value.shape[1:]), np.nan, dtype=np.float32)
            out[name][chosen] = value.numpy()[: len(chosen)]
        advance(len(chosen))
    return out
