"""``sfh-cnn train``, ``evaluate``, ``release`` and ``info``: the life of a network."""

import sys
from pathlib import Path

import click

from .console import common, echo_json, examples, refuse_existing, say, table_of
from .mocks import read_libraries
from .spectra import is_file, load_predictor

__all__ = ["evaluate", "info", "release", "train"]

_UNITS = {"a_v": "mag", "velocity_dispersion": "km/s", "velocity": "km/s"}
_MEANS = (
    "mass_weighted_log_age",
    "light_weighted_log_age",
    "mass_weighted_metallicity",
    "light_weighted_metallicity",
)

#: Lines of the card that are shown as they are.
_TRAINING = (
    *("seed", "started_from", "teacher", "n_steps", "n_mocks_seen", "n_distinct"),
    *("code_version", "released", "machine", "note"),
)

_n_mocks = click.option(
    "--n-mocks", type=click.IntRange(min=200), default=10_000, show_default=True, help="Mocks to measure with."
)


class _Devices(click.ParamType):
    """How many, or all that there are."""

    name = "N|auto"

    def convert(self, value, param, ctx):
        if value == "auto":
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value} is neither auto nor a number from 1 on", param, ctx)
        return int(value)


@click.command(
    epilog=examples(
        "sfh-cnn train --config phangs-muse-hst-bc03 --preset quick --out run",
        "sfh-cnn train --config my.toml --out run --resume",
        "sfh-cnn train --config my.toml --data mocks --out run",
        "sfh-cnn train --config my.toml --out run --devices 4",
    )
)
@click.option("--config", "config_file", metavar="FILE|NAME", help="TOML file, or one that ships with the package.")
@click.option("--preset", metavar="NAME", help="Shipped settings that go over those of --config, such as quick.")
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option("--init-from", metavar="NAME|FILE", help="Released network to start from.")
@click.option("--teacher", metavar="NAME|FILE", help="Released network from whose answers to learn, too.")
@click.option("--data", type=click.Path(), metavar="FOLDER", help="Train on a set that 'synthesize' made.")
@click.option(
    "--devices", type=_Devices(), default=1, show_default=True, help="GPUs (or processes on a CPU) of this machine."
)
@click.option(
    "--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Machines; srun or torchrun starts each."
)
@common("threads", "library", "json")
def train(
    config_file, preset, folder, resume, init_from, teacher, data, devices, nodes, threads, library_paths, as_json
):
    """Train a network; a run that was interrupted goes on with --resume.

    The configuration has the tables [synthesis], [network] and [training]. Those that come with the package are
    phangs-muse-hst, phangs-muse-hst-bc03, phangs-muse-hst-local, manga-ugriz and califa.
    """
    from sfh_cnn import training

    if not (config_file or preset):
        raise click.UsageError("give --config, --preset or both")
    config = training.load_run_config(config_file, preset)
    training.train(
        config,
        folder,
        resume=resume,
        init_from=_artifact(init_from) if init_from else None,
        teacher=_artifact(teacher) if teacher else None,
        libraries=read_libraries(config.synthesis.libraries, library_paths),
        n_thread=threads,
        progress_bar=sys.stderr.isatty(),
        data=data,
        devices=devices,
        num_nodes=nodes,
    )
    from lightning.pytorch.utilities import rank_zero_only

    if rank_zero_only.rank:  # of several processes the first one speaks
        return
    say(f"Trained; next: sfh-cnn release {folder} --out NAME.pt")
    if as_json:
        echo_json({"folder": folder})


@click.command(epilog=examples("sfh-cnn evaluate my.pt --n-mocks 20000"))
@click.argument("network", metavar="RUN|NAME|FILE")
@_n_mocks
@common("threads", "library", "json")
def evaluate(network, n_mocks, threads, library_paths, as_json):
    """Measure accuracy and coverage on mocks that the network has not seen.

    Takes the folder of a run, whose intervals are calibrated first, or a released network, whose mocks are made
    anew from its card; that needs the stellar libraries.
    """
    from sfh_cnn.diagnostics import measure
    from sfh_cnn.training import as_artifact, calibrate, held_out_mocks, load_run, released_mocks

    _use_threads(threads)
    if Path(network).is_dir():
        trained, generator, config, _ = load_run(network, _run_libraries(network, library_paths))
        calibrate(trained, held_out_mocks(generator, "calibration", n_mocks))
        artifact = as_artifact(trained, generator, config)
    else:
        artifact = _artifact(network)
        libraries = read_libraries(artifact.contract.synthesis["libraries"], library_paths)
        generator = released_mocks(artifact.contract, libraries)
    accuracy = measure(artifact, generator, n_mocks)
    if as_json:
        echo_json(accuracy)
    else:
        _print_accuracy(accuracy)


@click.command(epilog=examples("sfh-cnn release run --out my.pt --name my-survey"))
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.option("--out", "output", required=True, type=click.Path(dir_okay=False), help="File of the network, .pt.")
@click.option("--name", help="Name of the network. [default: that of the configuration]")
@click.option("--note", help="A remark for the card.")
@click.option("--known-failure", "failures", multiple=True, help="What the mocks do not show; may be repeated.")
@_n_mocks
@common("threads", "library", "overwrite", "json")
def release(run, output, name, note, failures, n_mocks, threads, library_paths, overwrite, as_json):
    """Calibrate and measure a trained network and write it to the one file that users load."""
    from sfh_cnn import training
    from sfh_cnn.diagnostics import measure

    _use_threads(threads)
    refuse_existing(overwrite, output)
    trained, generator, config, record = training.load_run(run, _run_libraries(run, library_paths))
    training.calibrate(trained, training.held_out_mocks(generator, "calibration", n_mocks))
    accuracy = measure(training.as_artifact(trained, generator, config), generator, n_mocks)
    if note:
        record["note"] = note
    if failures:
        record["known_failures"] = list(failures)
    card = training.release(
        trained, generator, config, output, accuracy=accuracy, record=record, name=name, overwrite=overwrite
    )
    say(f"Wrote {output}; try: sfh-cnn predict example --network {output}")
    if as_json:
        echo_json({"output": output, "name": card.name, "accuracy": card.accuracy})


@click.command(epilog=examples("sfh-cnn info", "sfh-cnn info my.pt --json", "sfh-cnn info my.pt --config > my.toml"))
@click.argument("network", metavar="[NAME|FILE]", required=False)
@click.option("--config", "as_config", is_flag=True, help="Print the configuration that it was trained with.")
@common("json")
def info(network, as_config, as_json):
    """Show what a network was trained on, its domain and its measured accuracy; without one, list the networks."""
    if network is None and as_config:
        raise click.UsageError("--config needs a network")
    if network is None:
        from sfh_cnn.prediction import available

        if as_json:
            echo_json(available())
        else:
            table_of(("network", "what it is for"), [(name, summary) for name, summary in available().items()])
        return
    if as_config:
        from sfh_cnn.core import config_to_dict, config_to_toml
        from sfh_cnn.training import released_config

        click.echo(config_to_toml(config_to_dict(released_config(_artifact(network)))), nl=False)
        return
    predictor = load_predictor(network)
    contract = predictor.contract
    if as_json:
        import dataclasses

        from sfh_cnn.core import card

        words = {"known_failures": card.weak_points(contract), "commands": card.commands(contract)}
        echo_json({"sha256": predictor.sha256, **dataclasses.asdict(contract), **words})
    else:
        _print_card(predictor)


def _artifact(network):
    """A released network by its name, or from a file."""
    from sfh_cnn.network import load_artifact
    from sfh_cnn.prediction import released_network

    return load_artifact(network if is_file(network) else released_network(network)[0])


def _use_threads(threads):
    if threads:
        import torch

        torch.set_num_threads(threads)


def _run_libraries(run, library_paths):
    from sfh_cnn.training import read_run_config

    return read_libraries(read_run_config(run).synthesis.libraries, library_paths)


def _print_card(predictor):
    from sfh_cnn.core import card

    contract = predictor.contract
    grid, training = contract.wavelength_grid.edges_aa, contract.training
    low, high = contract.metallicity_range_dex
    rows = [
        ("network", contract.name),
        ("SHA-256", predictor.sha256),
        (
            "wavelengths",
            f"{grid[0]:.0f}-{grid[-1]:.0f} Angstrom in steps of {contract.wave_step_aa:g}, rest frame, air",
        ),
        ("bands", ", ".join(contract.bands)),
        ("age bins", f"{contract.n_age}, 0 to {contract.age_edges_yr[-1] / 1e9:.3g} Gyr"),
        ("[M/H]", f"{low:g} to {high:g} dex"),
        ("IMF", contract.imf),
        *[row for library in contract.libraries for row in _library_rows(library)],
        *[(f"prior: {what}", text) for what, text in card.priors(contract)],
        *[(f"domain: {name}", _range_text(value)) for name, value in contract.domain.items()],
        *[(f"training: {name}", str(training[name])) for name in _TRAINING if name in training],
    ]
    if "seconds" in training:
        rows.append(("training: time", card.duration(training["seconds"])))
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        click.echo(f"{label.ljust(width)}  {text}")
    _print_training(contract)
    if contract.accuracy:
        _print_accuracy(contract.accuracy)
        _print_bins(contract)
    for title, lines in (("known failures", card.weak_points(contract)), ("to make it anew", card.commands(contract))):
        if lines:
            click.echo(f"\n{title}\n  " + "\n  ".join(lines))


def _print_training(contract):
    """All stages, and how the last one got on."""
    from sfh_cnn.core import card

    rows = [
        (
            str(i + 1),
            f"{stage['n_mocks_seen']:,}",
            str(stage["seed"]),
            card.duration(stage.get("seconds")),
            stage.get("machine", "not recorded"),
            *(f"{value:.3f}" for value in card.last_scatter(stage)),
        )
        for i, stage in enumerate(card.stages(contract))
        if "n_mocks_seen" in stage
    ]
    if rows:
        header = ("stage", "mocks", "seed", "time", "machine", "log age (light)", "log age (mass)", "[M/H] (light)")
        table_of(header, rows, title="Trainings, each from the weights of the one before; scatter at the end, in dex")
    points = card.curve_points(contract)
    if points:
        rows = [(f"{mocks:,}", *(f"{value:.3f}" for value in scatter)) for mocks, *scatter in points]
        header = ("mocks", "log age (light)", "log age (mass)", "[M/H] (light)")
        table_of(header, rows, title="Learning curve of the last one, scatter in dex")


def _print_bins(contract):
    """Bias of the mass fractions."""
    from sfh_cnn.core import card

    rows = [(f"{start / 1e9:.3g}-{end / 1e9:.3g}", f"{bias:+.4f}") for start, end, bias in card.bin_biases(contract)]
    if rows:
        table_of(("age bin [Gyr]", "bias"), rows, title="Mean of predicted less true mass fraction")


def _library_rows(library):
    yield "stellar library", f"{library['name']}, SHA-256 {library['sha256']}"
    yield "  reference", library["reference"]
    yield "  licence", library["license"]


def _range_text(value):
    return " to ".join(f"{end:g}" for end in value) if isinstance(value, (list, tuple)) else f"{value:g}"


def _print_accuracy(accuracy):
    overall = accuracy["overall"]
    rows = [
        (
            name,
            _UNITS.get(name, "dex"),
            *(f"{score[key]:.3f}" for key in ("bias", "scatter", "std")),
            f"{100 * score['outliers']:.1f}" if name in _MEANS else "",
            *(f"{100 * score['coverage'][level]:.1f}" for level in ("50", "68", "95")),
        )
        for name, score in overall.items()
        if isinstance(score, dict)
    ]
    header = ("quantity", "unit", "bias", "scatter", "std", "off by 0.5 [%]", "in 50 %", "in 68 %", "in 95 %")
    table_of(header, rows, title=f"On {accuracy['n_mocks']} mocks that it has not seen (scatter: 1.4826 MAD)")
    click.echo(f"mean absolute error of the mass fractions: {overall['mass_fraction_mae']:.4f}")
    rows = [
        (
            name,
            str(group["n"]),
            *(f"{group[key]['scatter']:.3f} ({100 * group[key]['coverage']['68']:.0f} %)" for key in _MEANS),
        )
        for name, group in accuracy.get("groups", {}).items()
    ]
    if rows:
        header = ("mocks with", "number", "log age (mass)", "log age (light)", "[M/H] (mass)", "[M/H] (light)")
        table_of(header, rows, title="Scatter in dex, and share of truths inside the 68 % intervals")
    if joint := accuracy.get("joint_posterior"):
        rows = [
            (name, *(f"{100 * entry['coverage'][level]:.1f}" for level in ("50", "68", "95")), f"{entry['uneven']:.3f}")
            for name, entry in joint.items()
            if isinstance(entry, dict) and "uneven" in entry
        ]
        rows.append(("all together (TARP)", "", "", "", f"{joint['tarp']['deviation']:.3f}"))
        chance = f"ranks of the truth are uneven by (chance: {joint['uneven_limit']:.3f})"
        title = f"Joint draws on {joint['n_mocks']} mocks; {chance}"
        table_of(("quantity", "in 50 %", "in 68 %", "in 95 %", "uneven"), rows, title=title)
