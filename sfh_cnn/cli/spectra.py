"""``sfh-cnn predict``: spectra in, histories out."""

import contextlib
import math
from pathlib import Path

import click

from .console import common, echo_json, examples, importing, refuse_existing, say, table_of
from .figures import check_figure, save_figures, summary_figures
from .text import flag_meanings, interval_text, maps_to_json, result_to_json

__all__ = ["is_file", "load_predictor", "predict"]

#: Stands for the spectrum, or its band flux, that the package ships.
_EXAMPLE = "example"
#: What a table of several spectra shows.
_COLUMNS = {
    "mass_weighted_age": "age (mass) [Gyr]",
    "light_weighted_age": "age (light) [Gyr]",
    "mass_weighted_metallicity": "[M/H] (mass) [dex]",
    "light_weighted_metallicity": "[M/H] (light) [dex]",
    "a_v": "A_V [mag]",
}
#: Beyond this number of spectra, a summary says more than a table.
_MAX_ROWS = 100
#: Beyond this number of spectra, a result file is without the spectra and their reconstructions, 40 kB each.
_MAX_KEPT = 1000


@click.command(
    epilog=examples(
        "sfh-cnn predict example --plot example.png",
        "sfh-cnn predict cube.fits --redshift 0.0024 --target-snr 40 -o maps.fits --plot maps.png",
        'sfh-cnn predict galaxy.fits -o galaxy_sfh.fits --distance "11 Mpc" --photometry bands.ecsv',
        "sfh-cnn predict --manifest cubes.ecsv --scheduler tcp://node1:8786",
    )
)
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Result file: .fits, .ecsv or .asdf.")
@click.option("--redshift", type=float, multiple=True, help="Redshift, if the file has none. Repeat, or one for all.")
@click.option("--photometry", metavar="FILE", help="Table of band fluxes with units, as from 'sfh-cnn photometry'.")
@click.option("--distance", metavar='"11 Mpc"|COSMOLOGY', help='For masses: a length, or such as "Planck18".')
@click.option("--ebv", type=float, help="Galactic foreground E(B-V) to remove, mag.")
@click.option("--line-mask", metavar='"500 km/s"', help="Mask emission lines, by this half width.")
@click.option("--calibration-error", type=float, default=0.01, show_default=True, help="Smooth mismatch, a fraction.")
@click.option("--medium", type=click.Choice(["air", "vacuum"]), help="Of the wavelengths, if the file does not say.")
@click.option("--format", "format_name", help="Format of the spectra as specutils calls it. [default: recognised]")
@click.option("--plot", "figure", type=click.Path(dir_okay=False), help="Picture (.png, .pdf); several spectra: .pdf.")
@click.option("--html", type=click.Path(dir_okay=False), help="Cube: page for a browser, see 'sfh-cnn plot'.")
@click.option("--refine", is_flag=True, help="Sample the exact posterior: slow, needs the network's stellar libraries.")
@click.option("--draws", type=click.IntRange(min=0), default=0, help="Posterior draws to store per spectrum.")
@click.option("--device", help="Device of torch, such as cuda. [default: that of the settings, or cpu]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    help="Number format of the network; bfloat16 is faster on new processors. [default: that of the settings]",
)
@click.option("--bins", metavar="FILE", help="Cube: its bins, from MAPS of PHANGS-MUSE or MaNGA, nGIST, or an image.")
@click.option("--velocity", metavar="FILE", help="Cube: stellar velocities, from MAPS of PHANGS-MUSE or MaNGA.")
@click.option("--target-snr", type=float, help="Cube: make bins of this S/N per pixel.")
@click.option("--scheduler", metavar="ADDRESS", help="Cube: Dask scheduler whose workers do the blocks.")
@click.option("--manifest", metavar="FILE", help="Instead of INPUT: table of cubes with their outputs and options.")
@common("network", "threads", "library", "overwrite", "json")
def predict(
    inputs,
    output,
    redshift,
    photometry,
    distance,
    ebv,
    line_mask,
    calibration_error,
    medium,
    format_name,
    figure,
    html,
    refine,
    draws,
    device,
    precision,
    bins,
    velocity,
    target_snr,
    scheduler,
    manifest,
    network,
    threads,
    library_paths,
    overwrite,
    as_json,
):
    """Predict star formation and enrichment histories.

    INPUT is a spectrum of SDSS or MUSE, a table with columns wavelength, flux and uncertainty, or anything that
    specutils reads. Several files make one result with a row each; photometry then needs as many rows. The word
    "example" stands for the spectrum that comes with the package. A cube (MUSE, MaNGA, CALIFA) makes maps; if stopped,
    the same command goes on where it was.

    Beyond 1000 spectra, the result file holds the histories without the spectra and their reconstructions.

    A manifest is a table with the columns cube and output, and others named as arguments of predict_cube (not images);
    a cube whose output exists is skipped, one that fails does not stop the others, and the exit status is 1 if one
    failed.
    """
    if manifest:
        _refuse_beside_manifest()
        _predict_manifest(load_predictor(network, device, threads, precision), manifest, overwrite, scheduler, as_json)
        return
    if not inputs:
        raise click.UsageError("Missing argument 'INPUT...'.")
    if len(redshift) not in (0, 1, len(inputs)):
        raise click.UsageError(f"--redshift was given {len(redshift)} times for {len(inputs)} spectra")
    refuse_existing(overwrite, output, figure, html)
    check_figure(figure, many=len(inputs) > 1)
    options = {"ebv": ebv, "calibration_error": calibration_error, "medium": medium}
    options |= {"distance": _distance(distance), "line_mask": _line_mask(line_mask)}
    if _is_cube(inputs):
        if refine:
            raise click.UsageError("--refine is for spectra, not for a cube")
        if not output or photometry or draws or format_name:
            raise click.UsageError(
                "a cube needs -o FILE.fits and takes no --photometry, --draws or --format; see 'sfh-cnn plot'"
            )
        predictor = load_predictor(network, device, threads, precision)
        cube = {"redshift": next(iter(redshift), None), "bins": bins, "velocity": velocity, "target_snr": target_snr}
        cube["scheduler"] = scheduler
        maps = _predict_cube(predictor, inputs[0], output, figure, overwrite, {**options, **cube})
        if html:
            _write_page(predictor, maps, inputs[0], html, overwrite, options)
        if as_json:
            echo_json(maps_to_json(maps, inputs[0], output))
        else:
            click.echo(repr(maps))
        return
    if bins or velocity or target_snr or scheduler or html:
        raise click.UsageError("--bins, --velocity, --target-snr, --scheduler and --html are for a cube")
    predictor = load_predictor(network, device, threads, precision)
    spectra = [_read(name, format_name) for name in inputs]
    counts = [_count(one) for one in spectra]
    check_figure(figure, many=sum(counts) > 1)
    result = predictor.predict(
        spectra if len(spectra) > 1 else spectra[0],
        photometry=_read_photometry(photometry),
        redshift=list(redshift) if len(redshift) > 1 else next(iter(redshift), None),
        refine=refine,
        keep_spectra=bool(figure) or sum(counts) <= _MAX_KEPT,  # for who looks at them: the file or a picture
        libraries=dict(entry.partition("=")[::2] for entry in library_paths) or None,
        **options,
    )
    result.meta["input"] = ", ".join(inputs)
    inputs = _row_names(inputs, counts)
    if output:
        result.write(output, overwrite=overwrite, draws=draws, spectra=result.n_spec <= _MAX_KEPT)
        say(f"Wrote {output}")
    if figure:
        save_figures(summary_figures(result, inputs), figure, overwrite)
        say(f"Wrote {figure}")
    if as_json:
        echo_json(result_to_json(result, inputs))
    else:
        _print(result, inputs)


def load_predictor(network=None, device=None, threads=None, precision=None):
    """Predictor of a released network or of a file.

    Parameters
    ----------
    network : str, optional
        Name or file.
    device : str, optional
        Device of torch.
    threads : int, optional
        Threads of torch.
    precision : {"float32", "bfloat16"}, optional

    Returns
    -------
    SFHPredictor
    """
    with importing():
        from sfh_cnn.prediction import SFHPredictor

        load = SFHPredictor.from_file if network and is_file(network) else SFHPredictor.pretrained
        predictor = load(network, device, precision)
    if threads:  # what the command line says goes over the settings
        import torch

        torch.set_num_threads(threads)
    return predictor


def is_file(network):
    """Whether a network is meant as a file and not as the name of a released one."""
    return Path(network).suffix == ".pt" or Path(network).is_file()


def _is_cube(inputs):
    with importing():
        from sfh_cnn.spectra import is_cube_file

    return len(inputs) == 1 and is_cube_file(inputs[0])


def _predict_cube(predictor, cube, output, figure, overwrite, options):
    maps = predictor.predict_cube(cube, output=output, overwrite=overwrite, **options)
    seconds = maps.result.meta["seconds"]
    shares = ", ".join(f"{name} {value / sum(seconds.values()):.0%}" for name, value in seconds.items())
    say(f"Wrote {output} after {sum(seconds.values()):.1f} s: {shares}")
    if figure:
        from sfh_cnn.plotting import plot_maps

        save_figures([plot_maps(maps)], figure, overwrite)
        say(f"Wrote {figure}")
    return maps


def _write_page(predictor, maps, cube, path, overwrite, options):
    """With the spectra of the bins, summed again."""
    from sfh_cnn.plotting import write_viewer
    from sfh_cnn.prediction import attach_spectra

    same = {name: options[name] for name in ("ebv", "medium", "line_mask")}
    maps = attach_spectra(predictor, maps, cube, **same)
    write_viewer(maps, path, overwrite=overwrite)
    say(f"Wrote {path}")


def _refuse_beside_manifest():
    """What is said of a cube is said in its row."""
    context = click.get_current_context()
    beside = {"manifest", "scheduler", "network", "threads", "device", "precision", "overwrite", "as_json"}
    given = [
        parameter.get_error_hint(context)
        for parameter in context.command.params
        if parameter.name not in beside
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        and context.params.get(parameter.name) != ()  # click 8.1 calls files that nobody named given
    ]
    if given:
        raise click.UsageError(f"--manifest takes no {', '.join(given)}; give it a column of the table")


def _predict_manifest(predictor, manifest, overwrite, scheduler, as_json):
    from sfh_cnn.core import SFHCNNError
    from sfh_cnn.prediction import predict_manifest

    table = predict_manifest(predictor, manifest, overwrite=overwrite, scheduler=scheduler)
    rows = [dict(zip(table.colnames, row, strict=True)) for row in table.iterrows()]
    if as_json:
        echo_json([{**row, "time": row["time"].to_value("s"), "n_spec": int(row["n_spec"])} for row in rows])
    else:
        files = [[Path(row[name]).name for name in ("cube", "output")] for row in rows]
        minutes = [f"{row['time'].to_value('min'):.1f}" for row in rows]
        cells = [
            (*names, str(row["n_spec"]), time, row["status"])
            for names, time, row in zip(files, minutes, rows, strict=True)
        ]
        table_of(("cube", "output", "spectra", "minutes", "status"), cells)
    if failed := sum(row["status"] not in ("done", "skipped") for row in rows):
        raise SFHCNNError(f"{failed} of {len(rows)} cubes failed; correct their rows and run the same command again")


def _read(name, format_name):
    if name == _EXAMPLE and not Path(name).exists():
        from sfh_cnn.examples import open_example_spectrum

        return open_example_spectrum()
    from sfh_cnn.spectra import open_spectrum_file

    return open_spectrum_file(name, format=format_name)


def _count(spectra):
    """Number of spectra in a list of what files hold."""
    if isinstance(spectra, (list, tuple)):
        return sum(map(_count, spectra))
    shape = spectra.flux.shape
    return math.prod(shape) // max(shape[getattr(spectra, "spectral_axis_index", -1)], 1)


def _read_photometry(name):
    if name is None:
        return None
    if name == _EXAMPLE and not Path(name).exists():
        from sfh_cnn.examples import load_example_photometry

        return load_example_photometry()
    from astropy.table import QTable

    from sfh_cnn.core import one_clear_error

    if not Path(name).is_file():  # astropy would fetch a URL
        raise FileNotFoundError(f"no table of photometry at {name}")
    with one_clear_error(name, "no table that astropy recognises (use .ecsv or .fits)"):
        return QTable.read(name)


def _distance(text):
    """A length, or a cosmology by its name."""
    if text is None:
        return None
    import astropy.cosmology
    import astropy.units as u

    if text in astropy.cosmology.available:
        return getattr(astropy.cosmology, text)
    value = u.Quantity(0)
    with contextlib.suppress(TypeError, ValueError):
        value = u.Quantity(text)
    if value.unit == u.dimensionless_unscaled:  # a bare number means nothing
        names = ", ".join(astropy.cosmology.available)
        raise click.BadParameter(
            f"{text!r} is neither a length such as '11 Mpc' nor one of {names}", param_hint="--distance"
        )
    return value


def _line_mask(text):
    """A velocity."""
    if text is None:
        return None
    import astropy.units as u

    try:
        return u.Quantity(text).to("km/s")
    except (TypeError, ValueError) as err:  # an error of units is a ValueError
        raise click.BadParameter(f"{text!r} is not a velocity such as '500 km/s'", param_hint="--line-mask") from err


def _row_names(inputs, counts):
    """What each row of a result came from; a file may hold many spectra."""
    rows = [(name, i, n) for name, n in zip(inputs, counts, strict=True) for i in range(n)]
    return [name if n == 1 else f"{name}[{i}]" for name, i, n in rows]


def _print(result, inputs):
    if result.scalar or result.n_spec > _MAX_ROWS:
        click.echo(repr(result))
    else:
        rows = [
            (
                Path(name).name,
                f"{one.redshift:.4f}",
                *(interval_text(one, column) for column in _COLUMNS),
                ", ".join(one.flag_names()) or "none",
            )
            for name, one in zip(inputs, result, strict=True)
        ]
        table_of(("spectrum", "redshift", *_COLUMNS.values(), "flags"), rows)
    for name, meaning in flag_meanings(result):
        click.echo(f"  {name}: {meaning}")
