"""From a training run to the one file that users load."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sfh_cnn.core import SFHCNNError, card, config_to_dict
from sfh_cnn.network import Artifact, SFHNet, Templates, save_artifact
from sfh_cnn.synthesis import MockGenerator

from .checkpoint import load_checkpoint, machine_name
from .config_files import read_run_config
from .record import check_libraries, read_earlier
from .run import LOG_FOLDER, STRETCH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sfh_cnn.core import ModelContract
    from sfh_cnn.ssp import SSPLibrary

    from .config import RunConfig

__all__ = ["as_artifact", "build_templates", "load_run", "release"]

#: Basis vectors of the templates.
_RANK, _COARSE_RANK = 64, 32


def build_templates(grid: Any) -> Templates:
    """Templates of the base library for a released network.

    Parameters
    ----------
    grid : SSPGrid

    Returns
    -------
    Templates
    """
    width = np.diff(grid.edges_yr)
    share = np.zeros((grid.parent.max() + 1, len(width)))
    share[grid.parent, np.arange(len(width))] = width
    share /= share.sum(axis=1, keepdims=True)  # constant SFR inside a bin

    def compressed(young, old, rank):
        per_fine = np.concatenate(
            [part.coefficients[0] @ part.basis for part in (young, old)]
        )  # (n_fine, n_met, n_wave)
        spectra = np.tensordot(share, per_fine, axes=1)
        level = spectra.mean(axis=-1, keepdims=True)
        left, value, right = np.linalg.svd((spectra / level).reshape(-1, spectra.shape[-1]), full_matrices=False)
        rank = min(rank, len(value))
        # Basis vectors of order 1, so that float16 on disk resolves them.
        scale = np.sqrt(right.shape[1])
        coefficients = (left[:, :rank] * value[:rank] / scale).reshape(*spectra.shape[:2], rank)
        return coefficients * level, right[:rank] * scale, spectra

    coefficients, basis, spectra = compressed(grid.young, grid.old, _RANK)
    coarse, coarse_basis, _ = compressed(grid.coarse_young, grid.coarse_old, _COARSE_RANK)
    n_age, n_met, _ = spectra.shape
    (rank, n_source), (coarse_rank, n_coarse) = basis.shape, coarse_basis.shape
    templates = Templates(n_age, n_met, rank, n_source, coarse_rank, n_coarse)
    values = {
        "nodes_dex": grid.nodes_dex,
        "source_wave_aa": [grid.source_wave_aa[0], grid.source_wave_aa[1] - grid.source_wave_aa[0]],
        "source_sigma_aa": grid.source_sigma_aa,
        "coarse_wave_aa": [grid.coarse_wave_aa[0], grid.coarse_wave_aa[1] - grid.coarse_wave_aa[0]],
        "coefficients": coefficients,
        "basis": basis,
        "coarse_coefficients": coarse,
        "coarse_basis": coarse_basis,
        "v_light": np.tensordot(share, grid.v_light[0], axes=1),
        "surviving": np.tensordot(share, grid.surviving, axes=1),
    }
    for name, value in values.items():
        getattr(templates, name).copy_(torch.as_tensor(np.asarray(value, dtype=np.float32)))
    return templates


def as_artifact(network: SFHNet, generator: MockGenerator, config: RunConfig) -> Artifact:
    """A network of a run as if it had been released, to be measured before it is.

    Parameters
    ----------
    network : SFHNet
    generator : MockGenerator
    config : RunConfig
        All three from `load_run`.

    Returns
    -------
    `~sfh_cnn.network.Artifact`
        Its card says nothing of training and accuracy.
    """
    return Artifact(network, build_templates(generator.grid), generator.contract(), config.network, sha256="")


def load_run(
    folder: str | Path, libraries: Iterable[SSPLibrary] | None = None
) -> tuple[SFHNet, MockGenerator, RunConfig, dict[str, Any]]:
    """The network and mocks of a training run.

    Parameters
    ----------
    folder : str or `pathlib.Path`
        Folder that `train` wrote.
    libraries : list of SSPLibrary, optional
        Instead of reading those that the configuration names.

    Returns
    -------
    network : SFHNet
        Moving average of the last checkpoint.
    generator : MockGenerator
    config : RunConfig
    record : dict
        What the card says about the training.

    Raises
    ------
    SFHCNNError
        If the folder holds no finished checkpoint, the stellar libraries are not those that the run was begun with,
        or the training has ended in weights that are not finite.
    """
    folder = Path(folder)
    checkpoint = folder / "last.ckpt"
    if not checkpoint.exists():
        raise SFHCNNError(f"{folder} holds no checkpoint (last.ckpt); train first")
    config = read_run_config(folder)
    generator = MockGenerator(config.synthesis, libraries)
    check_libraries(folder, generator.libraries)
    network = SFHNet(generator.contract(), config.network)
    saved = load_checkpoint(checkpoint)
    prefix = "average."
    network.load_state_dict(
        {name[len(prefix) :]: value for name, value in saved["state_dict"].items() if name.startswith(prefix)}
    )
    _check_finite(network, f"the network in {checkpoint}")
    steps = int(saved["global_step"])
    record = {
        "seed": config.training.seed,
        **({"started_from": config.training.started_from} if config.training.started_from else {}),
        **({"teacher": config.training.teacher} if config.training.teacher else {}),
        **({"n_distinct": config.training.n_distinct} if config.training.n_distinct else {}),
        "n_steps": steps,
        "n_mocks_seen": steps * int(saved.get("n_mocks_per_step", config.training.batch_size)),
        "learning_curve": _learning_curve(folder / LOG_FOLDER),
        # Checkpoints of before did not tell these.
        "machine": saved.get("machine") or machine_name(torch.device("cpu")),
        "seconds": saved.get("seconds"),
        "settings": config_to_dict(config)["training"],
        **({"earlier": earlier} if (earlier := read_earlier(folder)) else {}),
    }
    return network.eval(), generator, config, record


def _check_finite(network, which):
    """Refuse weights that are not finite."""
    bad = [name for name, value in network.state_dict().items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise SFHCNNError(
            f"{which} has weights that are not finite ({', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}); train "
            "anew, with finite mocks or a lower learning_rate"
        )


def _learning_curve(folder, n_point=40):
    """Validation scatter of the four means against step, at most ``n_point`` points."""
    from astropy.io import ascii as astropy_ascii

    curve = {}  # step to scores; where stretches of a resumed run overlap, the later one counts
    for path in sorted(folder.glob(f"{STRETCH}*/metrics.csv"), key=lambda path: int(path.parent.name[len(STRETCH) :])):
        table = astropy_ascii.read(path, format="csv")
        columns = [name for name in table.colnames if name.startswith("val/scatter_")]
        for row in table:
            if columns and not any(np.ma.is_masked(row[name]) for name in columns):
                curve[int(row["step"])] = {name.removeprefix("val/scatter_"): float(row[name]) for name in columns}
    steps = sorted(curve)[:: max(len(curve) // n_point, 1)]
    names = curve[steps[0]] if steps else ()
    return {"step": steps} | {name: [round(curve[step][name], 4) for step in steps] for name in names}


def release(
    network: SFHNet,
    generator: MockGenerator,
    config: RunConfig,
    path: str | Path,
    *,
    accuracy: dict[str, Any],
    record: dict[str, Any],
    name: str | None = None,
    overwrite: bool = False,
) -> ModelContract:
    """Write a calibrated network with its card.

    Parameters
    ----------
    network : SFHNet
        Calibrated.
    generator : MockGenerator
    config : RunConfig
    path : str or `pathlib.Path`
        File to write.
    accuracy : dict
        Measured on held-out mocks, from `sfh_cnn.diagnostics.measure`.
    record : dict
        From `load_run`.
    name : str, optional
        Name of the network; by default the synthesis configuration's.
    overwrite : bool, optional

    Returns
    -------
    ModelContract
        The card as written.

    Raises
    ------
    SFHCNNError
        If the card is incomplete (see ``sfh_cnn.core.card.missing_parts``), the network was not calibrated or its
        weights are not finite.
    """
    from sfh_cnn import __version__

    if bool((network.interval_factor == 1).all()):
        raise SFHCNNError("the card is incomplete: the network is not calibrated; call calibrate first")
    _check_finite(network, "the network")
    contract = generator.contract(name).replace(
        training={
            **record,
            "code_version": __version__,
            "released": dt.datetime.now(dt.UTC).date().isoformat(),
        },
        accuracy=accuracy,
    )
    if missing := card.missing_parts(contract):
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise SFHCNNError(
            f"the card is incomplete, it lacks {', '.join(missing[:5])}{more}; take accuracy from "
            "sfh_cnn.diagnostics.measure and record from load_run"
        )
    save_artifact(network, build_templates(generator.grid), contract, config.network, path, overwrite=overwrite)
    return contract
