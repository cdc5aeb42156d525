"""run_network(): blocks of spectra through the network; rows without data come out as NaN."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

__all__ = ["run_network"]

#: Just below the largest block that glibc is willing to keep for itself.
_KEPT_BYTES = 31 * 1024**2
#: More gain nothing, and each has a block in the memory of the GPU.
_THREADS_OF_GPU = 4


def run_network(network, device, blocks, compare, n_spec, advance):
    """Predict the good rows; the others come out as NaN.

    With several threads of torch each takes whole blocks, and one thread inside them: nothing waits for anything but
    the last block, and the numbers are those of one thread. With a GPU, too, a few of them: it is the processor that
    makes the blocks ready and compares the answers with them, in more time than the GPU needs.

    Parameters
    ----------
    network : callable
        `~sfh_cnn.network.SFHNet`, or what does as it does.
    device : torch.device
        Where it is.
    blocks : InputBlocks
        Its ``parts`` are the blocks; ``take`` gives, for one of them, the numbers of its good rows (ndarray of int) and
        the arguments of `SFHNet.forward` as arrays, spectra first.
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

    @torch.inference_mode()
    def predict(part):
        rows, arguments = blocks.take(part)
        return rows, _predict(network, device, compare, arguments) if len(rows) else {}

    parts, out = list(blocks.parts()), {}
    missing = np.ones(n_spec, dtype=bool)
    n_thread = torch.get_num_threads() if device.type == "cpu" else min(torch.get_num_threads(), _THREADS_OF_GPU)
    with _several(min(n_thread, len(parts))) as each:
        for part, (rows, outputs) in zip(parts, each(predict, parts), strict=True):
            _store(out, rows, outputs, n_spec)
            missing[rows] = False
            advance(len(part) if isinstance(part, np.ndarray) else part.stop - part.start)
    if not out:  # nothing to predict: one blank row tells the shapes
        _, arguments = blocks.take(slice(0, 0))
        blank = [np.zeros((1, *value.shape[1:]), dtype=value.dtype) for value in arguments]
        with torch.inference_mode():
            outputs = _predict(network, device, compare, blank)
        _store(out, slice(0, 0), {name: value[:0] for name, value in outputs.items()}, n_spec)
    if missing.any():
        for value in out.values():
            value[missing] = np.nan
    return out


@contextlib.contextmanager
def _several(n_thread):
    """`map`, by several threads of which each has one of torch's."""
    if n_thread == 1:
        yield map
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what threads begin with
    pool = ThreadPoolExecutor(n_thread)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not wanted
        torch.set_num_threads(before)


def _predict(network, device, compare, arguments):
    batch = [torch.from_numpy(np.ascontiguousarray(value)) for value in arguments]
    outputs = network(*[value.to(device) for value in batch])
    outputs = {name: value.cpu() for name, value in outputs.items()}
    return outputs | compare(batch, outputs)


def _store(out, rows, outputs, n_spec):
    for name, value in outputs.items():
        if name not in out:
            out[name] = np.empty((n_spec, *value.shape[1:]), dtype=np.float32)
        out[name][rows] = value.numpy()
