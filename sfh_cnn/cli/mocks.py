"""``sfh-cnn synthesize``: mock galaxies on disk."""

import click

from .console import common, echo_json, examples, refuse_existing, say

__all__ = ["read_libraries", "synthesize"]


@click.command(epilog=examples("sfh-cnn synthesize --config my.toml --out mocks --n-mocks 165000 --preview prior.png"))
@click.option("--config", "config_file", required=True, metavar="FILE|NAME", help="TOML file, or a shipped one.")
@click.option("--out", "folder", type=click.Path(file_okay=False), help="Folder of the training set.")
@click.option("--n-mocks", type=click.IntRange(min=1), help="Number of mock galaxies.")
@click.option("--noise-free", is_flag=True, help="Without noise, masks and errors: training adds them, anew each time.")
@click.option("--preview", "picture", type=click.Path(dir_okay=False), help="Draw example histories and the prior.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do it instead.")
@common("library", "overwrite", "json")
def synthesize(
    config_file, folder, n_mocks, noise_free, picture, workers, scheduler, library_paths, overwrite, as_json
):
    """Make mock galaxies, or go on with a set that was interrupted.

    The configuration is that of 'sfh-cnn train', or its [synthesis] table alone. The same configuration, seed and
    stellar libraries give the same mocks. --overwrite is for the picture: a set is never overwritten.
    """
    from sfh_cnn.synthesis import generate_training_set, preview
    from sfh_cnn.training import load_synthesis_config

    if not picture and not (folder and n_mocks):
        raise click.UsageError("give --out with --n-mocks, or --preview, or all three")
    refuse_existing(overwrite, picture)
    config = load_synthesis_config(config_file)
    libraries = read_libraries(config.libraries, library_paths)
    if picture:
        preview(config, picture, overwrite=overwrite, libraries=libraries)
        say(f"Wrote {picture}")
    made = None
    if folder and n_mocks:
        made = generate_training_set(
            config,
            folder,
            n_mocks,
            n_worker=workers,
            observed=not noise_free,
            scheduler=scheduler,
            libraries=libraries,
        )
        say(repr(made))
    if as_json:
        counts = {} if made is None else {"n_mocks": len(made), "n_files": len(made.checksums)}
        echo_json({"folder": folder, "preview": picture, **counts})


def read_libraries(names, library_paths):
    """Stellar libraries of a configuration, from where they lie on this machine.

    Parameters
    ----------
    names : sequence of str
        As the configuration has them.
    library_paths : sequence of str
        NAME=PATH of libraries that are not found by their name.

    Returns
    -------
    list of SSPLibrary

    Raises
    ------
    SFHCNNError
        If a library is not found by its name and has no path.
    """
    from sfh_cnn.core import SFHCNNError
    from sfh_cnn.ssp import SSPLibrary

    places = dict(entry.partition("=")[::2] for entry in library_paths)
    if unknown := [name for name in places if name not in names]:
        raise click.BadParameter(
            f"the configuration has no library {', '.join(unknown)}; it has {', '.join(names)}",
            param_hint="--library",
        )
    libraries = []
    for name in names:
        try:
            libraries.append(SSPLibrary.read(places.get(name, name)))
        except SFHCNNError as err:
            if name in places:
                raise
            raise SFHCNNError(f"{err}; say where it lies with --library {name}=PATH") from err
    return libraries
