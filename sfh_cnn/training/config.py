"""TrainingConfig: how a network is trained. Reads TOML together with the synthesis and network tables."""

from __future__ import annotations

import dataclasses

from sfh_cnn.core import SFHCNNError
from sfh_cnn.network import NetworkConfig
from sfh_cnn.synthesis import SynthesisConfig

__all__ = ["LossConfig", "RunConfig", "TrainingConfig"]

_POSITIVE = (
    "n_mocks",
    "batch_size",
    "chunk_size",
    "learning_rate",
    "average_steps",
    "steps_per_epoch",
    "n_validation",
    "n_initial",
)


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
    #: Stop after this many epochs without a better validation loss; 0 never does. The network of the run is then that
    #: of the last epoch, not of the best one: it saves time, and is no cure for a loss that rises again.
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
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SFHCNNError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("n_worker", "patience"):
            if getattr(self, name) < 0:
                raise SFHCNNError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        if self.chunk_size % self.batch_size:
            raise SFHCNNError(f"chunk_size ({self.chunk_size}) must be a multiple of batch_size ({self.batch_size})")
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

    def check_fit(self) -> None:
        """Make sure that the layers fit the pixels and the mocks that they start from.

        Not when it is made: the mocks of a configuration can be wanted without its network.

        Raises
        ------
        SFHCNNError
            If they do not fit.
        """
        n_wave, network, n_initial = self.synthesis.instrument.n_wave, self.network, self.training.n_initial
        for name in ("block_px", "projection_px"):
            if n_wave % getattr(network, name):
                raise SFHCNNError(
                    f"n_wave is {n_wave} in [synthesis.instrument] and {name} {getattr(network, name)} in [network]; "
                    f"n_wave must be a multiple of {name}"
                )
        n_projected = n_wave // network.projection_px
        if network.n_projection > n_projected:
            raise SFHCNNError(
                f"n_projection is {network.n_projection}, more than the pixels that it projects: {n_projected} (n_wave "
                f"{n_wave} over projection_px {network.projection_px}); it must be as many or fewer"
            )
        if n_initial < network.n_projection:
            raise SFHCNNError(
                f"n_initial is {n_initial}, too few mocks for {network.n_projection} principal components "
                "(n_projection); it must be as many or more, better ten times as many"
            )
