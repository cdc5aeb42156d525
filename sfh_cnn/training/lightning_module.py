"""LitSFHNet: optimiser, schedule, moving average and validation for lightning; RunProgress: what it shows meanwhile."""

import copy
import functools
import math
import time

import lightning
import torch

from sfh_cnn.core import SFHCNNError, progress
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.network import PackedNetwork

from .checkpoint import machine_name
from .losses import INPUT_NAMES, joint_loss
from .metrics import MEANS, mean_scores
from .soap import SOAP
from .teacher import lesson

__all__ = ["LitSFHNet", "RunProgress"]

#: How to log: means over an epoch and over all processes.
_OF_ALL = {"on_step": False, "on_epoch": True, "sync_dist": True}
#: Titles of the four means, in their order.
_SHORT = ("log age_mw", "log age_lw", "[M/H]_mw", "[M/H]_lw")


class LitSFHNet(lightning.LightningModule):
    """Trains a network and keeps a moving average of its weights, which is what is validated and released.

    Parameters
    ----------
    network : SFHNet
        Initialised; the average starts as its copy.
    config : TrainingConfig
    teacher : SFHNet, optional
        See `lesson`.
    """

    def __init__(self, network, config, teacher=None):
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        if not config.loss.posterior:  # several processes would wait for its gradients
            network.posterior.requires_grad_(False)
        self.config = config
        # In a tuple it is no part of this module: checkpoints do not hold it.
        self._teacher = None if teacher is None else (copy.deepcopy(teacher).eval().requires_grad_(False),)
        self._predicted = []
        self._seconds_before, self._began = 0.0, time.monotonic()
        self._averaged = 0  # steps that the average has seen

    def on_fit_start(self):
        """The clock starts; the teacher goes where the network is, and to its number format."""
        self._began = time.monotonic()
        if self._teacher is not None:
            self._teacher[0].to(device=self.device, dtype=self.dtype)
            self._teacher[0].interval_factor.fill_(1.0)  # in training there is no calibration
            vars(self._teacher[0]).pop("encode", None)  # of another fit, on another device
            # The same numbers in half of the time.
            if self.trainer.precision == "32-true" and PackedNetwork.is_available(self._teacher[0]):
                self._teacher[0].encode = PackedNetwork(self._teacher[0]).encode

    def on_train_start(self):
        """A run that goes on has an average already."""
        self._averaged = self.global_step

    def training_step(self, batch, _):
        """Loss of a batch."""
        teach = None if self._teacher is None else functools.partial(lesson, self._teacher[0])
        loss, parts = joint_loss(self.network, batch, self.config.loss, teach)
        self.log_dict({f"train/{name}": value for name, value in parts.items()}, **_OF_ALL)
        self.log("train/loss", loss.detach(), **_OF_ALL)
        return loss

    def on_train_batch_end(self, *_):
        """Move the average towards the weights, once in each step of the optimiser."""
        if self.global_step == self._averaged:  # gradients of several batches are collected
            return
        self._averaged = self.global_step
        # Early on the average must not remember the first steps: its memory grows with the run.
        keep = 1.0 - 1.0 / min(self.config.average_steps, 1.0 + self.global_step / 4)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1.0 - keep)
        if self.global_step >= self.n_step:
            self.trainer.should_stop = True

    @property
    def n_step(self):
        """Steps of the run: the mocks of the configuration are those of all processes together."""
        return max(self.config.n_mocks // self.n_mocks_per_step, 1)

    @property
    def n_mocks_per_step(self):
        """Of all processes together, and of all batches whose gradients are collected."""
        return self.config.batch_size * self.trainer.world_size * self.trainer.accumulate_grad_batches

    def on_save_checkpoint(self, checkpoint):
        """How many mocks a step was, how long it took and on what: the release may be written elsewhere."""
        checkpoint["n_mocks_per_step"] = self.n_mocks_per_step
        checkpoint["machine"] = machine_name(self.device, self.trainer.world_size)
        if self._seconds_before is not None:
            checkpoint["seconds"] = self._seconds_before + time.monotonic() - self._began

    def on_load_checkpoint(self, checkpoint):
        """How long it took until then, if it says so, and whether as many processes go on with it."""
        before = checkpoint.get("n_mocks_per_step", self.n_mocks_per_step)
        if before != self.n_mocks_per_step:
            raise SFHCNNError(
                f"a step of the run to resume had {before} mocks and would have {self.n_mocks_per_step} now; resume "
                "with as many devices or processes as before"
            )
        self._seconds_before = checkpoint.get("seconds")

    def validation_step(self, batch, _):
        """Loss and medians of the average on a held-out batch."""
        loss, parts = joint_loss(self.average, batch, self.config.loss)
        quantiles = self.average(*[batch[name] for name in INPUT_NAMES])["scalar_quantiles"]
        self._predicted.append((quantiles[:, : len(MEANS)].cpu(), batch["scalars"][:, : len(MEANS)].cpu()))
        self.log("val/loss", loss, **_OF_ALL)
        self.log_dict({f"val/{name}": value for name, value in parts.items()}, **_OF_ALL)

    def on_validation_epoch_end(self):
        """Physical scores of all held-out batches."""
        quantiles, truth = (torch.cat(parts) for parts in zip(*self._predicted, strict=True))
        self._predicted.clear()
        scores = mean_scores(quantiles[..., quantiles.shape[-1] // 2].numpy(), truth.numpy())
        inside = (truth >= quantiles[..., 1]) & (truth <= quantiles[..., -2])
        for i, name in enumerate(SCALAR_NAMES[: len(MEANS)]):
            self.log(f"val/scatter_{name}", scores[name]["scatter"], sync_dist=True)
            self.log(f"val/coverage68_{name}", inside[:, i].float().mean(), sync_dist=True)

    def configure_optimizers(self):
        """SOAP with a warm-up, a plateau and a cosine to nothing; the projection learns slowly."""
        config = self.config
        projection = list(self.network.projection.parameters())
        chosen = {id(parameter) for parameter in projection}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in chosen]
        optimizer = SOAP(
            [
                {"params": rest, "lr": config.learning_rate},
                {"params": projection, "lr": config.learning_rate * config.projection_learning_rate},
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        n_step, n_flat = self.n_step, self.n_step * (1 - config.decay_share)

        def schedule(step):
            warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
            decayed = min(max(step - n_flat, 0) / max(n_step - n_flat, 1), 1.0)
            return warm * (0.5 + 0.5 * math.cos(math.pi * decayed) + 1e-3)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class RunProgress(lightning.Callback):
    """A bar for the whole run in mocks, above it a line of scores for each validation.

    Parameters
    ----------
    stack : `contextlib.ExitStack`
        Closes the bar, however the training ends.
    """

    def __init__(self, stack):
        self._stack = stack
        self._advance = None
        self._step = 0

    def on_train_start(self, trainer, module):
        """Only now each process knows its rank, and how many they are."""
        n_mocks = module.n_step * module.n_mocks_per_step
        bar = progress(n_mocks, "training", unit="mocks", enabled=trainer.is_global_zero)
        self._advance = self._stack.enter_context(bar)
        self._count(trainer, module, "On held-out mocks; scatter in dex, mw: weighted by mass, lw: by light")
        self._advance(0, _line("mocks", "loss", *_SHORT))

    def on_train_batch_end(self, trainer, module, *_):
        self._count(trainer, module)

    def on_validation_end(self, trainer, module):
        names = ("loss", *(f"scatter_{name}" for name in MEANS))
        scores = [f"{float(trainer.callback_metrics[f'val/{name}']):.3f}" for name in names]
        self._advance(0, _line(str(trainer.global_step * module.n_mocks_per_step), *scores))

    def _count(self, trainer, module, note=None):
        self._advance((trainer.global_step - self._step) * module.n_mocks_per_step, note)
        self._step = trainer.global_step


def _line(mocks, loss, *scores):
    return f"{mocks:>9}{loss:>9}" + "".join(f"{score:>12}" for score in scores)
