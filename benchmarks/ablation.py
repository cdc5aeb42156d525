"""What each ingredient gives: short trainings that differ in one thing, all measured alike.

    python benchmarks/ablation.py --out DIR [--n-mocks 100000] [--n-distinct N] [--write FILE.csv] [--only NAME ...]

Each training starts from nothing, with BC03-MILES, on one thread; the order of the mocks is the same. Every row is
measured on 4096 mocks that nothing was trained on: 1.4826 MAD of the four means (dex), mean absolute error of the
fractions, coverage of the 68 per cent interval of the mass-weighted log age from the network's quantiles and from joint
draws. Rows that are in DIR already are not trained again, so that the script can be stopped and started.
"""

import argparse
import contextlib
import csv
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import torch

from sfh_cnn.diagnostics import joint_coverage
from sfh_cnn.diagnostics.recovery import predict_mocks, score
from sfh_cnn.network import load_artifact
from sfh_cnn.prediction import released_network
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator
from sfh_cnn.training import RunConfig, calibrate, held_out_mocks, lightning_module, load_run_config, run

#: One process, and no validation on the way.
_ALL = {"n_validation": 1024, "n_worker": 0, "steps_per_epoch": 10**6}
#: Small batches and a short warm-up for few mocks, less than so many.
_SHORT = {"batch_size": 256, "warmup_steps": 50, "average_steps": 50}
_FEW = 500_000
#: Whose configuration all trainings begin with, and the released network that may teach them.
BASE = "phangs-muse-hst-bc03"
MEANS = ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity", "mass_weighted_metallicity")


class Nothing(torch.nn.Module):
    """A branch that says nothing."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        """Zeros (n, width)."""
        return x.new_zeros(len(x), self.width)


class NoErrors(torch.nn.Module):
    """Features of a spectrum whose errors are 2 per cent everywhere, whatever they are."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, flux, flux_err, mask):
        """As `SpectrumFeatures`."""
        level = flux.nan_to_num().abs().mean(1, keepdim=True)
        return self.features(flux, (0.02 * level).expand_as(flux_err), mask)


def without_attention(network):
    """Tokens go to the latent space as the convolutions left them."""
    network.attention = torch.nn.Identity()


def without_convolutions(network):
    """Neither convolutions nor attention: projection and continuum alone."""
    network.pool = Nothing(network.pool.out_features)


def without_projection(network):
    """Convolutions and continuum alone."""
    network.projection.weight.requires_grad_(False).zero_()


def random_projection(network):
    """First layer from random numbers instead of principal components."""
    network.projection.reset_parameters()


def without_errors(network):
    """No error channel."""
    network.features = NoErrors(network.features)


def adam(parameters, lr, weight_decay):
    """The usual choice, at the rate that suited it best."""
    groups = [{**group, "lr": group["lr"] * 1.5e-3 / lr} for group in parameters]
    return torch.optim.AdamW(groups, lr=1.5e-3, betas=(0.9, 0.99), weight_decay=weight_decay)


def variants(config, n_mocks, n_distinct):
    """Name -> (configuration, change of the network, optimiser)."""

    def changed(**tables):
        new = config
        for table, values in tables.items():
            if table in ("observation", "instrument"):
                inner = dataclasses.replace(getattr(new.synthesis, table), **values)
                new = dataclasses.replace(new, synthesis=dataclasses.replace(new.synthesis, **{table: inner}))
            elif table == "loss":
                inner = dataclasses.replace(new.training.loss, **values)
                new = dataclasses.replace(new, training=dataclasses.replace(new.training, loss=inner))
            else:
                new = dataclasses.replace(new, **{table: dataclasses.replace(getattr(new, table), **values)})
        return new

    def rows():
        yield "everything", config, None, None
        if n_distinct:
            yield f"{n_distinct} mocks again and again", changed(training={"n_distinct": n_distinct}), None, None
        yield "no attention", config, without_attention, None
        yield "no convolutions, no attention", config, without_convolutions, None
        yield "no dense projection", config, without_projection, None
        yield "projection from random numbers", config, random_projection, None
        yield "no error channel", config, without_errors, None
        yield "no photometry", changed(observation={"no_bands_share": 1.0}), None, None
        yield "4800-7000 Angstrom", changed(instrument={"wave_start_aa": 4800.625, "n_wave": 880}), None, None
        for term in ("fractions", "scalars", "metallicity", "fraction_quantiles", "cumulative", "posterior"):
            yield f"no loss of {term}", changed(loss={term: 0.0}), None, None
        yield "bins before means in the posterior", changed(network={"means_first": False}), None, None
        yield "AdamW instead of SOAP", config, None, adam
        yield "with the released network as teacher", changed(training={"teacher": BASE}), None, None
        yield "three times the mocks", changed(training={"n_mocks": 3 * n_mocks}), None, None
        fixed = {"n_mocks": 3 * n_mocks, "n_distinct": n_mocks}
        yield "the same mocks three times", changed(training=fixed), None, None

    return {name: rest for name, *rest in rows()}


@contextlib.contextmanager
def replaced(module, name, value):
    """Another function under a module's name."""
    old = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, old)


def train_and_measure(config, change, optimizer, library):
    """One row of the table."""

    def build(config, generator, make=run.build_network):
        network = make(config, generator)
        if change:
            change(network)
        return network

    start = time.process_time()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(replaced(run, "build_network", build))
        if optimizer:
            stack.enter_context(replaced(lightning_module, "SOAP", optimizer))
        teacher = load_artifact(released_network(config.training.teacher)[0]) if config.training.teacher else None
        options = {"n_thread": 1, "progress_bar": False, "teacher": teacher}
        network = run.train(config, folder, libraries=[library], **options)
    seconds = time.process_time() - start
    generator = MockGenerator(config.synthesis, [library])
    calibrate(network, held_out_mocks(generator, "calibration", 4096))
    mocks = held_out_mocks(generator, "test", 4096)
    measured = score(predict_mocks(network, mocks), {k: mocks[k].numpy() for k in ("mass_fraction", "scalars")})
    few = {name: value[:1000] for name, value in mocks.items()}
    draws = joint_coverage(network, few, generator.age_grid.edges_yr)
    return {
        **{name: round(measured[name]["scatter"], 4) for name in MEANS},
        "mass_fraction_mae": round(measured["mass_fraction_mae"], 4),
        "coverage_68": round(measured["mass_weighted_log_age"]["coverage"]["68"], 3),
        "coverage_68_draws": round(draws["mass_weighted_log_age"]["coverage"]["68"], 3),
        "cpu_s": round(seconds),
    }


def main():
    """Train what is missing, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n-mocks", type=int, default=100_000)
    parser.add_argument("--n-distinct", type=int, help="one more row: so many mocks, shown as often as it takes")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    library = SSPLibrary.read("bc03-miles")
    config = load_run_config(preset=BASE)
    training = dataclasses.replace(RunConfig().training, n_mocks=arguments.n_mocks, **_ALL)
    if arguments.n_mocks < _FEW:
        training = dataclasses.replace(training, **_SHORT)
    config = dataclasses.replace(config, training=training)
    table = []
    for name, settings in variants(config, arguments.n_mocks, arguments.n_distinct).items():
        if arguments.only and name not in arguments.only:
            continue
        file = arguments.out / f"{name.replace(' ', '_')}.json"
        if not file.exists():
            file.write_text(json.dumps(train_and_measure(*settings, library)))
        table.append({"what": name, **json.loads(file.read_text())})
        print(table[-1], flush=True)
    if arguments.write:
        with arguments.write.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(
                ["", "light age", "mass age", "light [M/H]", "mass [M/H]", "fractions", "68 %", "draws", "CPU s"]
            )
            for row in table:
                scatter = [f"{row[name]:.3f}" for name in (*MEANS, "mass_fraction_mae")]
                inside = [f"{100 * row[name]:.0f}" for name in ("coverage_68", "coverage_68_draws")]
                writer.writerow([row["what"], *scatter, *inside, row["cpu_s"]])


if __name__ == "__main__":
    main()
