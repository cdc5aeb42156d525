"""TrainingConfig: how a network is trained. Reads TOML together with the synthesis and network tables."""

from __future__ import annotations

import dataclasses

from sfh_cnn.core import SFHCNNError
from sfh_cnn.network import NetworkConfig
from sfh_cnn.synthesis import SynthesisConfig

__all__ = ["LossConfig", "RunConfig", "TrainingConfig"]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the loss; 0 switches a term off."""

    #: Cross-entropy of the mass and of the light fractions.
    fractions: float = 0.3
    #: Pinball loss of the derived quantities, of [M/H] by bin (weighted by light and mass), of the fractions and of
    #: the mass formed since each edge of the bins, where the network has quantiles of it.
    scalars: float = 4.0
    metallicity: float = 2.0
    fraction_quantiles: float = 2.0
    cumulative: float = 1.0
    #: Negative log-likelihood of the joint posterior, per variable.
    posterior: float = 0.3
    #: With a teacher: differences from its latent vectors and from its quantiles.
    latent: float = 1.0
    answers: float = 1.0


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Optimisation. Mocks are made on the fly and seen once, unless ``n_distinct`` or ``data`` says otherwise."""

    n_mocks: int = 5_000_000
    #: Mocks that differ, in whole chunks; after them the first ones come again. 0: all of them differ.
    n_distinct: int = 0
    #: Folder of a training set (`sfh-cnn synthesize`) whose mocks are shown instead of new ones; empty for none.
    data: str = ""
    #: Of each process, where several train together.
    batch_size: int = 512
    #: Mocks made together; they are shuffled before they are cut into batches.
    chunk_size: int = 2048
    learning_rate: float = 4e-3
    #: Learning rate of the projection relative to the rest: it starts from principal components.
    projection_learning_rate: float = 0.1
    weight_decay: float = 1e-3
    warmup_steps: int = 150
    #: Share of the run, at its end, over which the learning rate falls as a cosine to nothing.
    decay_share: float = 0.7
    #: Time constant of the exponential moving average of the weights, steps.
    average_steps: int = 200
    gradient_clip: float = 1.0
    #: Steps between validations and checkpoints.
    steps_per_epoch: int = 250
    #: Stop after this many epochs without a better validation loss; 0 never does.
    patience: int = 0
    n_validation: int = 4096
    #: Mocks for scales of inputs and outputs and principal components.
    n_initial: int = 8192
    n_worker: int = 1
    precision: str = "32-true"
    seed: int = 1
    #: Released network whose weights the run starts from (``init_from``), for the record; empty for none.
    started_from: str = ""
    #: Released network from whose answers the run learns, too, for the record; empty for none.
    teacher: str = ""
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)

    def __post_init__(self):
        if self.chunk_size % self.batch_size:
            raise SFHCNNError(f"chunk_size ({self.chunk_size}) must be a multiple of batch_size ({self.batch_size})")
        for name in ("n_mocks", "batch_size", "learning_rate", "steps_per_epoch", "n_validation", "n_initial"):
            if not getattr(self, name) > 0:
                raise SFHCNNError(f"{name} must be positive, got {getattr(self, name)}")
        if self.n_distinct < 0:
            raise SFHCNNError(f"n_distinct must be 0 (all mocks differ) or a number of mocks, got {self.n_distinct}")

    @property
    def n_step(self) -> int:
        """Optimiser steps of the whole run in one process."""
        return max(self.n_mocks // self.batch_size, 1)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A whole run: what to synthesise, what network, how to train it."""

    synthesis: SynthesisConfig = dataclasses.field(default_factory=SynthesisConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
