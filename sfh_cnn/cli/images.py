"""``sfh-cnn photometry``: band fluxes of apertures on images."""

import click

from .console import common, echo_json, examples, refuse_existing, say

__all__ = ["photometry"]


@click.command(
    epilog=examples(
        "sfh-cnn photometry f555w.fits f814w.fits --bands F555W,F814W --position 63.35546 10.46536 \\",
        "    --radius 1.5arcsec --background 12arcsec 18arcsec -o bands.ecsv",
        "sfh-cnn photometry f814w.fits --bands F814W --regions apertures.reg -o bands.ecsv",
    )
)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--bands", required=True, help="Band of each image, in their order, with commas between.")
@click.option("--regions", type=click.Path(), help="Region file of DS9: each region is an aperture.")
@click.option("--position", nargs=2, metavar="RA DEC", help="Centre of a circle: degrees, or hours with colons.")
@click.option("--radius", metavar='"1.5 arcsec"', help="Radius of the circle.")
@click.option("--background", nargs=2, metavar="IN OUT", help="Radii of the background annulus about the circle.")
@click.option("--errors", metavar="FILE,FILE...", help="Error maps of the images, in their order.")
@click.option(
    "--noise-correlation",
    type=float,
    default=1.0,
    show_default=True,
    help="Factor by which drizzling makes errors of sums larger.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Table: .ecsv or .fits.")
@common("overwrite", "json")
def photometry(
    images, bands, regions, position, radius, background, errors, noise_correlation, output, overwrite, as_json
):
    """Measure band fluxes for 'sfh-cnn predict --photometry'.

    Images are FITS files with PHOTFLAM (HST) or a flux unit in BUNIT, and a WCS.
    """
    import astropy.units as u
    import numpy as np

    from sfh_cnn.photometry import measure_bands

    bands = bands.split(",")
    errors = errors.split(",") if errors else []
    if len(bands) != len(images) or (errors and len(errors) != len(images)):
        raise click.UsageError(
            f"{len(images)} images need as many --bands and --errors, got {len(bands)}, {len(errors)}"
        )
    if len(set(bands)) < len(bands):
        raise click.UsageError(f"--bands has a band twice: {', '.join(bands)}; an image of each")
    if (regions is None) == (not position) or (position and not radius) or (background and not position):
        raise click.UsageError("give either --regions, or --position with --radius (and --background)")
    refuse_existing(overwrite, output)
    centre = _centre(position) if position else None
    table = measure_bands(
        dict(zip(bands, images, strict=True)),
        regions or _circle(centre, radius),
        errors=dict(zip(bands, errors, strict=True)) if errors else None,
        background=_annulus(centre, background) if background else None,
        noise_correlation=noise_correlation,
    )
    if output:
        _write(table, output, overwrite)
        say(f"Wrote {output}")
    if missing := int(sum(np.isnan(table[band]).sum() for band in bands)):
        say(f"Warning: {missing} of {len(table) * len(bands)} fluxes are missing, for the image does not cover them")
    if as_json:
        columns = {name: u.Quantity(table[name]) for name in table.colnames}
        echo_json({name: {"value": column.value, "unit": str(column.unit)} for name, column in columns.items()})
    else:
        click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))


def _centre(position):
    from astropy.coordinates import SkyCoord

    hours = any(mark in position[0] for mark in ":h ")
    try:
        return SkyCoord(*position, unit=("hourangle" if hours else "deg", "deg"))
    except ValueError as err:
        raise click.BadParameter(f"{' '.join(position)} is no position: {err}", param_hint="--position") from err


def _length(text):
    import astropy.units as u

    try:
        length = u.Quantity(text)
    except (TypeError, ValueError) as err:
        raise click.BadParameter(f"{text!r} is no angle such as 1.5arcsec") from err
    if not length.unit.is_equivalent(u.arcsec):
        raise click.BadParameter(f"{text!r} is no angle such as 1.5arcsec")
    return length


def _circle(centre, radius):
    from sfh_cnn.core import require

    return require("photutils.aperture", extra="cube").SkyCircularAperture(centre, r=_length(radius))


def _annulus(centre, radii):
    from sfh_cnn.core import require

    inner, outer = (_length(radius) for radius in radii)
    return require("photutils.aperture", extra="cube").SkyCircularAnnulus(centre, r_in=inner, r_out=outer)


def _write(table, path, overwrite):
    from astropy.io.registry import IORegistryError

    from sfh_cnn.core import SFHCNNError, atomic_write

    try:
        with atomic_write(path, overwrite) as temporary:
            table.write(temporary, overwrite=True)
    except IORegistryError as err:
        raise SFHCNNError(f"{path} should end in .ecsv or .fits") from err
