"""``sfh-cnn plot``: pictures of result files."""

from pathlib import Path

import click

from .console import common, echo_json, examples, refuse_existing, say

__all__ = ["check_figure", "plot", "save_figures", "summary_figures"]

_SUFFIXES = (".png", ".pdf", ".svg")
_DPI = 200


@click.command(
    epilog=examples(
        "sfh-cnn plot galaxy_sfh.fits -o galaxy_amr.pdf --kind amr",
        "sfh-cnn plot maps.fits --html maps.html --cube cube.fits --ebv 0.03",
    )
)
@click.argument("result_file", metavar="RESULT")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Picture: .png, .pdf or .svg.")
@click.option(
    "--html", type=click.Path(dir_okay=False), help="Maps: page for a browser; a click shows a bin's history."
)
@click.option("--cube", metavar="CUBE", help="For --html: the cube of the maps, to show its spectra on the page.")
@click.option("--ebv", type=float, help="For --cube: the foreground E(B-V) that predict was given, mag.")
@click.option(
    "--kind",
    type=click.Choice(["summary", "sfh", "amr", "corner", "maps"]),
    help="[default: maps for a file of maps, else summary]",
)
@click.option("--index", type=click.IntRange(min=0), help="Which spectrum, from 0; by default all, on pages of a .pdf.")
@click.option("--network", metavar="NAME|FILE", help="Network of the result, for draws and spectra.")
@common("overwrite", "json")
def plot(result_file, output, html, cube, ebv, kind, index, network, overwrite, as_json):
    """Draw a result that 'sfh-cnn predict -o' wrote."""
    if not (output or html):
        raise click.UsageError("Missing option '-o' / '--output', or '--html' for a page of maps.")
    if (cube or ebv is not None) and not (html and cube):
        raise click.UsageError("--cube is for --html, and --ebv for --cube")
    refuse_existing(overwrite, output, html)
    check_figure(output)
    maps = _read_maps(result_file) if html or kind in (None, "maps") else None
    if html:
        if maps is None:
            raise click.BadParameter(f"{result_file} holds no maps", param_hint="--html")
        _write_page(maps, html, cube, ebv, network, overwrite)
        say(f"Wrote {html}")
        if not output:
            if as_json:
                echo_json({"input": result_file, "page": html})
            return
    if kind == "maps" and maps is None:
        raise click.BadParameter(f"{result_file} holds no maps", param_hint="--kind")
    if maps is not None and kind in (None, "maps"):
        from sfh_cnn.plotting import plot_maps

        figures = [plot_maps(maps)]
    else:
        figures = _figures(_read_result(result_file, index, network), kind or "summary", output)
    save_figures(figures, output, overwrite)
    say(f"Wrote {output}")
    if as_json:
        echo_json({"input": result_file, "output": output})


def _write_page(maps, path, cube, ebv, network, overwrite):
    from sfh_cnn.plotting import write_viewer

    if cube:
        from sfh_cnn.prediction import attach_spectra

        from .spectra import load_predictor

        maps = attach_spectra(load_predictor(network or maps.contract.name), maps, cube, ebv=ebv)
    write_viewer(maps, path, overwrite=overwrite)


def _read_maps(path):
    """Maps, or None if the file holds a result of single spectra."""
    from astropy.io import fits

    from sfh_cnn.core import one_clear_error
    from sfh_cnn.results import SFHMaps

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if ".fits" not in Path(path).name.lower():
        return None
    with one_clear_error(path, "no FITS file"), fits.open(path) as hdus:
        is_maps = "BIN_ID" in hdus
    return SFHMaps.read(path) if is_maps else None


def _read_result(path, index, network):
    from sfh_cnn.core import SFHCNNError
    from sfh_cnn.results import SFHResult

    result = SFHResult.read(path)
    if network:
        from .spectra import load_predictor

        result = load_predictor(network).attach(result)
    if index is None or (result.scalar and index == 0):
        return result
    if result.scalar or index >= result.n_spec:
        raise SFHCNNError(f"--index {index}: {path} holds {result.n_spec} spectra, numbered from 0")
    return result[index]


def _figures(result, kind, output):
    singles = [result] if result.scalar else list(result)
    check_figure(output, many=len(singles) > 1)
    return (_figure(single, kind) for single in singles)


def _figure(result, kind):
    from sfh_cnn import plotting
    from sfh_cnn.core import SFHCNNError

    if kind == "corner" and result.engine is None and not result.has_stored_draws:
        raise SFHCNNError("a corner plot needs draws: give --network, or predict with --draws 2000")
    if kind in ("sfh", "amr"):
        with plotting.plot_style():
            figure, axes = _pyplot().subplots(figsize=(5, 3.4), layout="constrained")
            (plotting.plot_sfh if kind == "sfh" else plotting.plot_amr)(result, axes)
        return figure
    return {"summary": plotting.plot_summary, "corner": plotting.plot_corner}[kind](result)


def _pyplot():
    """Matplotlib without a screen."""
    from sfh_cnn.core import require

    require("matplotlib", extra="plot").use("agg")
    return require("matplotlib.pyplot", extra="plot")


def check_figure(path, many=False):
    """Refuse names of pictures that cannot be written.

    Raises
    ------
    SFHCNNError
        If the suffix is unknown, or several pages do not fit the format.
    """
    from sfh_cnn.core import SFHCNNError

    if path is None:
        return
    _pyplot()
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise SFHCNNError(f"picture {path} should end in one of {', '.join(_SUFFIXES)}")
    if many and suffix != ".pdf":
        raise SFHCNNError(f"several spectra need several pages: name the picture .pdf instead of {suffix}")


def summary_figures(result, titles):
    """A summary of each spectrum, drawn as it is asked for.

    Parameters
    ----------
    result : SFHResult
    titles : sequence of str

    Yields
    ------
    Figure
    """
    from sfh_cnn.plotting import plot_summary

    for title, single in zip(titles, [result] if result.scalar else result, strict=True):
        yield plot_summary(single, title=Path(title).name)


def save_figures(figures, path, overwrite):
    """Write figures to a picture, a .pdf if there are several, and close them.

    Parameters
    ----------
    figures : iterable of Figure
    path : str or `pathlib.Path`
    overwrite : bool

    Raises
    ------
    FileExistsError
        If the picture exists and ``overwrite`` is False.
    """
    from sfh_cnn.core import atomic_write

    pyplot = _pyplot()
    with atomic_write(path, overwrite) as temporary:
        if temporary.suffix.lower() == ".pdf":
            from matplotlib.backends.backend_pdf import PdfPages

            with PdfPages(temporary) as pages:
                for figure in figures:
                    pages.savefig(figure)
                    pyplot.close(figure)
        else:
            (figure,) = figures
            figure.savefig(temporary, dpi=_DPI)
            pyplot.close(figure)
