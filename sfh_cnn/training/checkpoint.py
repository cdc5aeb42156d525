"""Checkpoints on disk: complete or not there, and nothing in them is run."""

import io
import os
import pickle
import platform

import torch

from sfh_cnn.core import SFHCNNError, atomic_write

__all__ = ["load_checkpoint", "machine_name", "whole_checkpoints"]


def load_checkpoint(path):
    """Read a checkpoint.

    Parameters
    ----------
    path : `pathlib.Path`

    Returns
    -------
    dict

    Raises
    ------
    SFHCNNError
        If the file is damaged or holds more than numbers.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as err:
        raise SFHCNNError(f"{path} is no checkpoint, or it is damaged; remove it to train anew") from err


def machine_name(device, n_process=1):
    """What a run was made on, for the card.

    Parameters
    ----------
    device : torch.device
    n_process : int, optional
        Processes that trained together, each on a device of its own.

    Returns
    -------
    str
    """
    parts = [f"{os.cpu_count()} cores", platform.machine(), platform.system(), f"torch {torch.__version__}"]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    parts.insert(0, f"{n_process} x {name}" if n_process > 1 else name)
    return ", ".join(parts)


def whole_checkpoints():
    """A plugin for lightning, whose own way is to copy from the system's temporary folder: a kill would show.

    Returns
    -------
    lightning.pytorch.plugins.io.CheckpointIO
    """
    from lightning.pytorch.plugins.io import TorchCheckpointIO

    class WholeCheckpoints(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint, path, storage_options=None):  # noqa: ARG002 (lightning's signature)
            # Through memory: torch reports a full disk as anything but an OSError.
            buffer = io.BytesIO()
            torch.save(checkpoint, buffer)
            with atomic_write(path, overwrite=True) as temporary:
                temporary.write_bytes(buffer.getbuffer())

        def load_checkpoint(self, path, map_location=None, weights_only=None):  # noqa: ARG002
            return load_checkpoint(path)

    return WholeCheckpoints()
