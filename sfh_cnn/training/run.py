"""train(): from a configuration to a checkpoint, resumable."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from astropy import log
from torch.utils.data import DataLoader

from sfh_cnn.core import SFHCNNError, SFHCNNWarning, folder_lock, remove_temporaries
from sfh_cnn.network import Artifact, SFHNet
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator, TrainingSet

from .checkpoint import load_checkpoint, whole_checkpoints
from .config_files import read_run_config
from .dataset import HELD_OUT, MockStream, held_out_mocks, to_tensors
from .initialise import initialise
from .record import check_config, check_libraries, write_record
from .shrink import shrink
from .widen import pixels_together, widen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from torch import Tensor

    from .config import RunConfig

__all__ = ["LOG_FOLDER", "STRETCH", "build_network", "train"]

#: Folder of the logs inside that of a run, and the name of the log of a stretch that began at a step.
LOG_FOLDER, STRETCH = "log", "from_step_"
#: What two networks must have in common to see the same.
_VIEW = ("wave_start_aa", "wave_step_aa", "n_wave", "bands", "age_edges_yr")


def build_network(config: RunConfig, generator: MockGenerator) -> SFHNet:
    """A network with its scales and first layer set from mocks.

    Parameters
    ----------
    config : RunConfig
    generator : MockGenerator

    Returns
    -------
    SFHNet

    Raises
    ------
    SFHCNNError
        If the layers do not fit the pixels or the number of mocks, or a mock is not finite.
    """
    config.check_fit()
    torch.manual_seed(config.training.seed)
    network = SFHNet(generator.contract(), config.network)
    first, n = HELD_OUT["calibration"] - 2, config.training.n_initial
    observed = to_tensors(generator.chunk(first, n))
    clean = to_tensors(generator.chunk(first + 1, n, observed=False))
    initialise(network, observed, clean)
    return network


def train(
    config: RunConfig,
    folder: str | Path,
    resume: bool = False,
    init_from: SFHNet | Artifact | dict[str, Tensor] | None = None,
    libraries: Iterable[SSPLibrary] | None = None,
    n_thread: int | None = None,
    progress_bar: bool = True,
    data: str | Path | TrainingSet | None = None,
    teacher: SFHNet | Artifact | None = None,
    **trainer: Any,
) -> SFHNet:
    """Train a network.

    Parameters
    ----------
    config : RunConfig
        What to synthesise, what network, how to train.
    folder : str or `pathlib.Path`
        Checkpoints (``last.ckpt``), ``config.json``, ``libraries.json`` and logs go here.
    resume : bool, optional
        Continue from ``last.ckpt`` in the folder; its configuration must be the same.
    init_from : SFHNet, `~sfh_cnn.network.Artifact` or dict, optional
        Another network, or its state, to start from (fine-tuning). A network may have larger layers or fewer
        quantities (see `shrink`), or narrower pixels (see `widen`).
    libraries : list of SSPLibrary, optional
        Instead of reading those that the configuration names.
    n_thread : int, optional
        Threads of torch in this process.
    progress_bar : bool, optional
        Show how far the run is, and the scores of each validation, on standard error.
    data : str, `pathlib.Path` or `~sfh_cnn.synthesis.TrainingSet`, optional
        Training set on disk, made with the same synthesis configuration and libraries, whose mocks are shown again
        and again in another order; noise-free ones are observed anew each time. Instead of ``config.training.data``.
    teacher : SFHNet or `~sfh_cnn.network.Artifact`, optional
        Trained network for the same pixels, bands and age bins, from whose answers this one learns, too (see `lesson`).
        Of an artifact the wavelengths, the bands and the edges of the bins are compared, of a network only how many.
    **trainer
        Passed to `lightning.Trainer` (accelerator, devices, strategy, ...).

    Returns
    -------
    SFHNet
        The moving average of the trained network.

    Raises
    ------
    SFHCNNError
        If the folder holds another run or belongs to another process, or there is nothing to resume; or if the
        training set is none of this configuration, or the weights to start from or the teacher do not fit it; or if
        the run to resume was begun with other stellar libraries; or if lightning has no such devices or precision.

    Warns
    -----
    SFHCNNWarning
        If the artifact to start from was made for other wavelengths, bands or age bins.
    """
    from sfh_cnn.core import require

    require("lightning", extra="train")
    from lightning.pytorch.utilities import rank_zero_only

    config.check_fit()
    config, stored = _with_data(config, data)
    if stored is not None:
        libraries = [SSPLibrary.read(name) for name in config.synthesis.libraries] if libraries is None else libraries
        stored.check_made_with(config.synthesis, libraries)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rank = getattr(rank_zero_only, "rank", 0)
    # Of several processes that train together the first one holds the folder, and speaks.
    with folder_lock(folder) if rank == 0 else _silent():
        if rank == 0:
            remove_temporaries(folder)
        start = init_from, teacher
        return _train(config, folder, rank, resume, start, libraries, n_thread, progress_bar, stored, trainer)


def _with_data(config, data):
    """The training set, if any, and the configuration that records it."""
    data = config.training.data if data is None else data
    if not data:
        return config, None
    stored = data if isinstance(data, TrainingSet) else TrainingSet(data)
    n_distinct = config.training.n_distinct or len(stored)
    if n_distinct > len(stored):
        raise SFHCNNError(f"n_distinct is {n_distinct}, {stored.folder} has only {len(stored)} mocks")
    training = dataclasses.replace(config.training, data=str(stored.folder), n_distinct=n_distinct)
    return dataclasses.replace(config, training=training), stored


def _train(config, folder, rank, resume, start, libraries, n_thread, progress_bar, stored, trainer):
    """As `train`, in a folder that nobody else writes to."""
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    from .lightning_module import LitSFHNet, RunProgress

    checkpoint = folder / "last.ckpt"
    init_from, teacher = start
    names = {
        role: f"{one.contract.name} (SHA-256 {one.sha256})"
        for role, one in (("started_from", init_from), ("teacher", teacher))
        if isinstance(one, Artifact)
    }
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **names))
    if teacher is None and config.training.teacher:
        raise SFHCNNError(
            f"the configuration names a teacher, {config.training.teacher}, and none is given (--teacher)"
        )
    if teacher is not None and not config.training.teacher:
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, teacher="a network"))
    if resume:
        if not checkpoint.exists():
            raise SFHCNNError(f"nothing to resume: {checkpoint} does not exist")
        recorded = read_run_config(folder)
        if recorded.training.teacher and teacher is None:
            raise SFHCNNError(
                f"the run in {folder} has a teacher, {recorded.training.teacher}; give it again to resume"
            )
        # What the weights once were does not matter any more.
        training = dataclasses.replace(config.training, started_from=recorded.training.started_from)
        config = dataclasses.replace(config, training=training)
        check_config(folder, recorded, config)
    elif checkpoint.exists():
        raise SFHCNNError(f"{folder} holds a run already; pass resume=True (--resume) or take another folder")

    if n_thread:
        torch.set_num_threads(n_thread)
    lightning.seed_everything(config.training.seed, verbose=False)
    generator = MockGenerator(config.synthesis, libraries)
    if resume:
        check_libraries(folder, generator.libraries)
    begun_with = init_from if isinstance(init_from, Artifact) else None
    init_from, teacher = _networks(None if resume else init_from, teacher, generator.contract())
    if rank == 0:
        write_record(folder, config, None if resume else generator.libraries, begun_with)
    network = build_network(config, generator)
    if init_from is not None:
        if isinstance(init_from, SFHNet):
            init_from = _fitting(init_from, network, generator, config)
        try:
            network.load_state_dict(init_from)
        except RuntimeError as err:
            raise SFHCNNError(
                "the network to start from has other pixels, bands, age bins or layers than the configuration; "
                "take a configuration with the same [synthesis.instrument] and [network], or start from nothing"
            ) from err
        network.interval_factor.fill_(1.0)  # the calibration of another training
    if teacher is not None and _sees(teacher) != _sees(network):
        raise SFHCNNError(
            "the teacher has other numbers of pixels, bands or age bins than the configuration; take one with the same "
            "[synthesis.instrument] and age bins"
        )
    module = LitSFHNet(network, config.training, teacher)
    # Without a monitored metric this keeps the newest checkpoint only.
    callbacks = [ModelCheckpoint(folder, filename="last", enable_version_counter=False)]
    if config.training.patience:
        callbacks.append(EarlyStopping("val/loss", patience=config.training.patience))
    data = _Data(generator, stored, config.training, checkpoint if resume else None)
    # Each stretch of a resumed run has its own log: lightning deletes what it finds in a log folder.
    stretch = f"{STRETCH}{data.start}"
    loggers = [CSVLogger(folder, LOG_FOLDER, stretch), TensorBoardLogger(folder, LOG_FOLDER, stretch)]
    with _quiet(), contextlib.ExitStack() as stack:
        if progress_bar:
            callbacks.append(RunProgress(stack))
        runner = _trainer(config.training, folder, callbacks, loggers, trainer)
        runner.fit(module, data.stream(runner), data.validation(), ckpt_path=checkpoint if resume else None)
    return module.average


def _trainer(config, folder, callbacks, loggers, settings):
    """The trainer of lightning, or its refusal in our words."""
    import lightning
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    try:
        return lightning.Trainer(
            max_steps=config.n_step,
            limit_train_batches=config.steps_per_epoch,
            gradient_clip_val=config.gradient_clip,
            precision=config.precision,
            callbacks=callbacks,
            plugins=[whole_checkpoints()],
            logger=loggers,
            default_root_dir=folder,
            num_sanity_val_steps=0,
            log_every_n_steps=config.steps_per_epoch,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"accelerator": "auto", "devices": 1, "use_distributed_sampler": False, **settings},
        )
    except (MisconfigurationException, ValueError) as err:
        raise SFHCNNError(f"lightning refuses devices or precision: {err}") from err


def _fitting(large, small, generator, config):
    """State of a network to start from, brought to the pixels or the layers of another one where they differ."""
    if pixels_together(large, small) > 1:
        return widen(large, small)
    state = large.state_dict()
    if all(value.shape == state[name].shape for name, value in small.state_dict().items() if name in state):
        return state
    large = copy.deepcopy(large).cpu().eval()
    return shrink(large, small, to_tensors(generator.chunk(HELD_OUT["calibration"] - 2, config.training.n_initial)))


def _networks(init_from, teacher, contract):
    """What to start from and the teacher, without their cards, which are compared with that of the run."""
    if isinstance(teacher, Artifact):
        _check_teacher(teacher.contract, contract)
        teacher = teacher.network
    if isinstance(init_from, Artifact):
        _compare_start(init_from.contract, contract)
        init_from = init_from.network
    return init_from, teacher


def _check_teacher(theirs, ours):
    """Refuse a teacher whose card says that it sees something else; numbers of pixels or bands may agree by chance."""
    for name in _VIEW:
        there, here = getattr(theirs, name), getattr(ours, name)
        if there != here:
            raise SFHCNNError(
                f"the teacher {theirs.name!r} differs from the configuration in {name} ({there} and {here}); take one "
                "with the same [synthesis.instrument] and age bins"
            )


def _compare_start(theirs, ours):
    """Warn of a network to start from that saw something else; wider pixels over the same range are none of it."""
    ends = [contract.wavelength_grid.edges_aa[[0, -1]].tolist() for contract in (theirs, ours)]
    others = [name for name in ("bands", "age_edges_yr") if getattr(theirs, name) != getattr(ours, name)]
    if max(abs(there - here) for there, here in zip(*ends, strict=True)) > ours.wave_step_aa / 2:
        others.insert(0, "wavelengths")
    if others:
        warnings.warn(
            f"the network to start from, {theirs.name!r}, was made for other {', '.join(others)} than the "
            "configuration has; what it knows of them has to be learnt anew",
            SFHCNNWarning,
            stacklevel=5,
        )


def _sees(network):
    """How many pixels, bands and age bins."""
    n_wave = network.projection.in_features * network.projection_px
    return n_wave, network.photometry[0].in_features, network.n_age


@contextlib.contextmanager
def _at_least(level, *loggers):
    """Messages of lower levels are left out."""
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)


@contextlib.contextmanager
def _silent():
    """What the first process says already."""
    with _at_least(logging.ERROR, log), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _quiet():
    """Lightning without what is no news to the user: devices that are not there, and advertisements."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    with _at_least(logging.WARNING, *loggers), warnings.catch_warnings():
        # The folder is not empty: the record is there. The other one is between lightning and torch.
        warnings.filterwarnings("ignore", "Checkpoint directory")
        warnings.filterwarnings("ignore", r"`isinstance\(treespec")
        yield


class _Data:
    """Streams for the trainer; a resumed run goes on with the batch after the last one it saw."""

    def __init__(self, generator, stored, config, checkpoint):
        self.generator, self.stored, self.config = generator, stored, config
        self.start = 0
        if checkpoint is not None:
            self.start = load_checkpoint(checkpoint)["global_step"]

    def stream(self, runner):
        """Training batches; one iterator lives through all epochs."""
        config = self.config
        return _Endless(
            # Made when the first batch is asked for: only then has each process its rank, however it was launched.
            lambda: MockStream(
                self.generator,
                config.batch_size,
                config.chunk_size,
                start=self.start * runner.accumulate_grad_batches,
                n_worker=config.n_worker,
                rank=runner.global_rank,
                world_size=runner.world_size,
                n_distinct=config.n_distinct,
                stored=self.stored,
                seed=config.seed,
                pin_memory=config.n_worker > 0 and runner.strategy.root_device.type == "cuda",
            )
        )

    def validation(self):
        """Held-out batches, made once."""
        config = self.config
        mocks = held_out_mocks(self.generator, "validation", config.n_validation)
        size = config.batch_size
        n_batch = -(-config.n_validation // size)
        batches = [{name: value[i * size : (i + 1) * size] for name, value in mocks.items()} for i in range(n_batch)]
        return DataLoader(batches, batch_size=None)


class _Endless:
    """Goes on where the last epoch stopped instead of starting anew."""

    def __init__(self, make_stream):
        self._make_stream = make_stream
        self._iterator = None

    def __iter__(self):
        return self

    def __next__(self):
        self._iterator = self._iterator or iter(self._make_stream())
        return next(self._iterator)
