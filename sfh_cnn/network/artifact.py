"""One file for a released network: a TorchScript archive with its card. The only user of torch.jit.

The archive is what `torch.jit.save` writes, plus three members: ``card.json`` (the contract),
``network.json`` (layers and template sizes) and ``weights.json`` (where each weight lies in the archive).
With these the eager network is rebuilt by our own code from raw numbers: nothing pickled is read and no
code in the file is run. The code in the file runs only when asked for (``scripted=True``), which the
package does for files whose hash it knows. Weights are float16 on disk and float32 in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from sfh_cnn.core import (
    ModelContract,
    NetworkFileError,
    SFHCNNError,
    atomic_write,
    build_config,
    config_to_dict,
    sha256_of,
)
from sfh_cnn.core.constants import NETWORK_FORMAT_VERSION

from .config import LAYERS_BEFORE, NetworkConfig
from .model import SFHNet
from .templates import Templates

__all__ = ["Artifact", "load_artifact", "save_artifact"]

#: Kept in float32: wavelengths and scales need more than 11 bits, the light of old stars more than float16's range.
_FULL_PRECISION = (
    *("features.", "_wave_aa", "nodes_dex", "coefficients"),
    *("quantity_", "latent_mean", "latent_threshold", "interval_factor"),
)
#: No honest network comes near this; a larger one is not worth unpacking.
_MAX_BYTES = 512 * 1024**2
_MAX_TEXT_BYTES = 16 * 1024**2
#: What a prediction asks the card for.
_DOMAIN = ("snr", "redshift", "calibration_error", "min_coverage")


@dataclasses.dataclass(frozen=True, eq=False)
class Artifact:
    """A loaded network with all it came with."""

    network: SFHNet
    templates: Templates
    contract: ModelContract
    config: NetworkConfig
    sha256: str
    scripted: torch.nn.Module | None = None


class _Released(torch.nn.Module):
    """Network and templates under one root, so that one archive holds both."""

    def __init__(self, network, templates):
        super().__init__()
        self.network = network
        self.templates = templates

    def forward(
        self,
        flux: torch.Tensor,
        flux_err: torch.Tensor,
        mask: torch.Tensor,
        band_flux: torch.Tensor,
        band_flux_err: torch.Tensor,
        redshift: torch.Tensor,
        calibration_error: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        return self.network(flux, flux_err, mask, band_flux, band_flux_err, redshift, calibration_error)


def save_artifact(
    network: SFHNet,
    templates: Templates,
    contract: ModelContract,
    config: NetworkConfig,
    path: str | Path,
    overwrite: bool = False,
) -> None:
    """Write a released network.

    Parameters
    ----------
    network : SFHNet
    templates : Templates
    contract : ModelContract
        With training record and measured accuracy.
    config : NetworkConfig
    path : str or `pathlib.Path`
    overwrite : bool, optional

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is False.
    """
    released = _Released(SFHNet(contract, config), Templates(*templates.sizes))
    released.network.load_state_dict(network.state_dict())
    released.templates.load_state_dict(templates.state_dict())
    released.eval().cpu()
    for name, tensor in [*released.named_parameters(), *released.named_buffers()]:
        if not any(part in name for part in _FULL_PRECISION):
            tensor.data = tensor.data.half()
    members = {
        "format.json": json.dumps({"format": "sfh_cnn network", "version": NETWORK_FORMAT_VERSION}),
        "card.json": contract.to_json(),
        "network.json": json.dumps({"network": config_to_dict(config), "templates": list(templates.sizes)}),
    }
    with atomic_write(path, overwrite=overwrite) as temporary, warnings.catch_warnings():
        # PyTorch calls TorchScript deprecated; the eager network below does not depend on it.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        program = io.BytesIO()  # through memory: torch reports a full disk as anything but an OSError
        with torch.no_grad():
            torch.jit.save(torch.jit.script(released), program)
        temporary.write_bytes(program.getbuffer())
        members["weights.json"] = json.dumps(_find_weights(temporary, released.state_dict()))
        with zipfile.ZipFile(temporary, "a") as archive:
            root = archive.namelist()[0].split("/")[0]
            for name, text in members.items():
                archive.writestr(f"{root}/extra/{name}", text)


def _find_weights(path, state):
    """Which member of the archive holds each weight, found by content."""
    with zipfile.ZipFile(path) as archive:
        by_content = {
            hashlib.sha256(archive.read(name)).hexdigest(): name.split("/", 1)[1]
            for name in archive.namelist()
            if "/data/" in name or "/constants/" in name
        }
    index = {}
    for name, tensor in state.items():
        array = tensor.contiguous().numpy()
        member = by_content[hashlib.sha256(array.tobytes()).hexdigest()]
        index[name] = {"member": member, "dtype": str(array.dtype), "shape": list(array.shape)}
    return index


def load_artifact(path: str | Path, device: str = "cpu", scripted: bool = False) -> Artifact:
    """Read a released network; the numbers of the file, never its code, unless ``scripted``.

    Parameters
    ----------
    path : str or `pathlib.Path`
        File written by `save_artifact`.
    device : str, optional
        Torch device.
    scripted : bool, optional
        Also load the TorchScript program in the file. Only for files you trust.

    Returns
    -------
    Artifact

    Raises
    ------
    NetworkFileError
        If the file is not a network of this format version, is truncated or does not fit its card.
    FileNotFoundError
        If there is no such file.
    SFHCNNError
        If there is no such device.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no network file at {path}")
    try:
        contract, released, config = _read(path)
    except NetworkFileError as err:
        raise NetworkFileError(f"{path}: {err}") from err
    # Whatever else a damaged or hostile file makes fail on the way, the user needs one clear answer.
    except Exception as err:
        raise NetworkFileError(f"{path} is not a network that sfh_cnn released, or it is damaged: {err}") from err
    released.eval().requires_grad_(False)
    try:
        released.to(device)
    except (AssertionError, NotImplementedError, RuntimeError) as err:  # torch has no class for it
        raise SFHCNNError(f"device {str(device)!r} cannot be used here: {err}; take 'cpu'") from err
    program = _load_program(path, device) if scripted else None
    return Artifact(released.network, released.templates, contract, config, sha256_of(path), program)


def _read(path):
    """Card, network with templates, and layers of a file, from its JSON members and raw numbers."""
    too_large = NetworkFileError(f"larger than {_MAX_BYTES // 1024**2} MB and no released network")
    if path.stat().st_size > _MAX_BYTES:
        raise too_large
    with zipfile.ZipFile(path) as archive:
        # What a small archive unpacks to can be large.
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        texts = sum(size for name, size in sizes.items() if name.endswith(".json"))
        if sum(sizes.values()) > _MAX_BYTES or texts > _MAX_TEXT_BYTES:
            raise too_large
        root = archive.namelist()[0].split("/")[0]

        def member(name):
            return archive.read(f"{root}/{name}")  # checks the CRC

        form = json.loads(member("extra/format.json"))
        if form.get("format") != "sfh_cnn network" or form.get("version") != NETWORK_FORMAT_VERSION:
            raise NetworkFileError(f"format {form}, this version of sfh_cnn reads version {NETWORK_FORMAT_VERSION}")
        contract = ModelContract.from_json(member("extra/card.json").decode())
        layers = json.loads(member("extra/network.json"))
        config = build_config({**LAYERS_BEFORE, **layers["network"]}, NetworkConfig, where="network.json")
        index = json.loads(member("extra/weights.json"))
        _check_claims(contract, config, layers["templates"], [entry["shape"] for entry in index.values()])

        def build():
            return _Released(SFHNet(contract, config), Templates(*layers["templates"]))

        # First without memory: only a card whose layers have the shapes of the weights is worth building.
        with torch.device("meta"):
            expected = {name: list(tensor.shape) for name, tensor in build().state_dict().items()}
        if expected != {name: entry["shape"] for name, entry in index.items()}:
            raise NetworkFileError("the weights do not fit the card")
        state = {name: _weight(name, entry, member) for name, entry in index.items()}
    with torch.random.fork_rng(devices=()):  # layers begin with random weights: not at the cost of the user's numbers
        released = build()
    released.load_state_dict(state)
    return contract, released, config


def _check_claims(contract, config, template_sizes, shapes):
    """Refuse sizes beyond those of the weights before anything of these sizes is made, and a card without domain."""
    if missing := [name for name in _DOMAIN if name not in contract.domain]:
        raise NetworkFileError(f"the card does not state the trained {', '.join(missing)}")
    total = sum(math.prod(max(int(length), 1) for length in shape) for shape in shapes)
    largest = max(int(length) for shape in shapes for length in shape)
    claims = [contract.n_wave, contract.n_age, contract.n_band, *template_sizes]
    if total > _MAX_BYTES // 2 or max(claims) > largest or config.n_residual > len(shapes):
        raise NetworkFileError("the weights do not fit the card")


def _weight(name, entry, member):
    """One weight as a float32 tensor."""
    if entry["dtype"] not in ("float16", "float32"):
        raise NetworkFileError(f"weight {name} has type {entry['dtype']}")
    array = np.frombuffer(member(entry["member"]), dtype=entry["dtype"]).astype(np.float32)
    if not np.isfinite(array).all() and name != "templates.surviving":  # which libraries may lack
        raise NetworkFileError(f"weight {name} is not finite")
    return torch.from_numpy(array.reshape(entry["shape"]))


def _load_program(path, device):
    """The TorchScript program, or None where torch.jit is not to be had."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        try:
            program = torch.jit.load(str(path), map_location=device)
        except (AttributeError, NotImplementedError):
            return None
        return program.float().eval()
