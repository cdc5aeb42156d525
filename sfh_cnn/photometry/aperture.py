"""Aperture photometry on a set of images: a table that goes with spectra taken in the same apertures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy import log
from astropy.table import QTable

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, footprint, one_clear_error, require, split_shapes

from .bandpass import load_bandpass
from .calibration import flux_per_count, to_flux_density

if TYPE_CHECKING:
    from typing import Any

__all__ = ["measure_bands", "read_image"]

#: An aperture with a smaller share of good pixels gives no flux (NaN); a larger one is scaled up by area.
_MIN_COVERAGE = 0.9

#: Relative difference of PHOTPLAM and the band's pivot beyond which an image is likely of another camera.
_MAX_PIVOT_OFFSET = 0.005


@dataclasses.dataclass(frozen=True, eq=False)
class _Image:
    """An image in flux density per pixel, with its error map and WCS."""

    data: np.ndarray
    error: np.ndarray
    bad: np.ndarray
    wcs: object
    unit: u.Unit
    header: object
    factor: float


def measure_bands(
    images: dict[str, Any],
    apertures: Any,
    *,
    errors: dict[str, Any] | None = None,
    background: Any = None,
    noise_correlation: float = 1.0,
) -> QTable:
    """Fluxes of apertures in several bands, with errors.

    The point spread functions are taken as they are: apertures should be wider than the widest, or the images
    matched beforehand.

    Parameters
    ----------
    images : dict
        From band name to the image: a FITS file (the first extension with an image), a pair (data, header), or a
        `~astropy.nddata.CCDData`. Pixel values are counts or electrons (per second) with ``PHOTFLAM`` in the
        header, or a flux density or surface brightness in ``BUNIT``; see `flux_per_count`. Pixels that are not
        finite are bad.
    apertures : photutils aperture, region, or a list of them, or str
        Sky apertures (photutils) or sky regions (regions), or the name of a region file of DS9. An aperture with
        many positions is many apertures. Pixel apertures and regions are in the pixels of each image.
    errors : dict, optional
        From band name to the 1-sigma error of each pixel, as an array in the unit of the image or a FITS file.
        For a weight map, give ``1 / sqrt(weight)``; pixels without a positive, finite error are bad. By default the
        uncertainty of a CCDData, the ``ERR`` extension of a file, or else the background scatter of the image
        (sigma-clipped), the same for all pixels and without the photon noise of the source.
    background : as ``apertures``, optional
        Where to measure a local background, one region for each aperture (an annulus, say): its sigma-clipped
        median is subtracted and its uncertainty enters the error. By default images are taken as free of background.
    noise_correlation : float, optional
        Factor by which the error of a sum over many pixels exceeds that of independent pixels. Drizzling correlates
        neighbours and makes the pixel scatter too small: with r = pixfrac / (output pixel in input pixels) the factor
        is ``r / (1 - 1 / (3 r))`` for r above 1 and ``1 / (1 - r / 3)`` below, 1.5 at r = 1 (Fruchter & Hook 2002,
        PASP 114, 144). It is 1 by default, and 1 is right for errors that come from a weight map.

    Returns
    -------
    `~astropy.table.QTable`
        A row for each aperture; for each band its flux ``F814W``, 1-sigma error ``F814W_err`` (erg/s/cm2/Angstrom)
        and ``F814W_coverage``, the share of the aperture with good pixels. NaN where that is below 0.9.
        Zero-point errors are not included.

    Raises
    ------
    SFHCNNError
        If a band or class is unknown, calibration or WCS is missing, or ``background`` has another length.
    ImportError
        If photutils is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from photutils.aperture import CircularAperture
    >>> from sfh_cnn.photometry import measure_bands
    >>> image = np.full((50, 50), 2.0), {"BUNIT": "ELECTRONS/S", "PHOTFLAM": 1e-19}
    >>> table = measure_bands({"F555W": image}, CircularAperture((25, 25), r=3), errors={"F555W": np.ones((50, 50))})
    >>> table["F555W"] / (np.pi * 3**2)
    <Quantity [2.e-19] erg / (Angstrom s cm2)>
    """
    require("photutils", extra="cube")
    if noise_correlation < 1:
        raise SFHCNNError(f"noise_correlation must be at least 1, got {noise_correlation}")
    unknown = set(errors or {}) - set(images)
    if unknown:
        raise SFHCNNError(f"errors has {', '.join(sorted(unknown))}, images has {', '.join(images)}; they must agree")
    apertures = split_shapes(apertures)
    background = [None] * len(apertures) if background is None else split_shapes(background)
    if len(background) != len(apertures):
        raise SFHCNNError(f"background has {len(background)} regions for {len(apertures)} apertures; give one for each")
    table = QTable({"id": np.arange(1, len(apertures) + 1)})
    for band, source in images.items():
        bandpass = load_bandpass(band)
        image = read_image(source, (errors or {}).get(band), band)
        check_pivot(image.header, bandpass)
        rows = [
            _measure(image, shape, local, noise_correlation) for shape, local in zip(apertures, background, strict=True)
        ]
        flux, error, coverage = np.array(rows).T
        flux, error = to_flux_density(flux * image.unit, bandpass, error * image.unit, name=f"images[{band!r}]")
        table[band], table[f"{band}_err"], table[f"{band}_coverage"] = flux * FLUX_UNIT, error * FLUX_UNIT, coverage
    return table


def _measure(image, shape, local, noise_correlation):
    """Sum, error and coverage of one aperture, in the unit of the image."""
    area, weight, values, variance = _good_pixels(shape, image)
    good_area = weight.sum()
    if good_area < _MIN_COVERAGE * area:
        return np.nan, np.nan, good_area / area
    total = area / good_area * (weight @ values)
    error = area / good_area * np.sqrt(weight @ variance) * noise_correlation
    if local is not None:
        level, level_error = _local_background(local, image)
        total -= level * area
        error = np.hypot(error, level_error * area * noise_correlation)
    return total, error, good_area / area


def _local_background(shape, image):
    """Sigma-clipped median per pixel in a region, and its standard error."""
    from astropy.stats import sigma_clipped_stats

    _, weight, values, _ = _good_pixels(shape, image)
    inside = values[weight > 0.5]
    if not len(inside):
        return np.nan, np.nan
    _, median, std = sigma_clipped_stats(inside, sigma=3)
    # The median of n Gaussian values is sqrt(pi / 2) times less certain than their mean.
    return median, std * np.sqrt(np.pi / 2 / len(inside))


def _good_pixels(shape, image):
    """Area of an aperture in pixels, beyond the image too; weights, values and variances of its good pixels."""
    where, weight, area = footprint(shape, image.wcs, image.data.shape)
    good = ~image.bad[where]
    return area, weight[good], image.data[where][good], image.error[where][good] ** 2


def read_image(source, error, band):
    """An image with its errors, in flux density per pixel.

    Parameters
    ----------
    source, error : object
        An image and its error map (or None), of the kinds that `measure_bands` takes.
    band : str
        Name of the band, for messages.

    Returns
    -------
    _Image
        ``data``, ``error`` and ``bad`` (n_y, n_x); ``wcs``, ``unit``, ``header``, and ``factor`` from pixel values.

    Raises
    ------
    SFHCNNError
        If calibration or shape is wrong.
    """
    data, header, wcs, own_error = _open_image(source, band)
    if error is None:
        error = own_error
    elif not isinstance(error, np.ndarray):
        error = _open_image(error, f"errors[{band!r}]")[0]
    factor, unit = flux_per_count(header, f"images[{band!r}]", wcs)
    data = np.asarray(data, dtype=float) * factor
    bad = ~np.isfinite(data)
    if error is None:
        error = np.broadcast_to(_background_scatter(data[~bad & (data != 0)], band), data.shape)
    else:
        error = np.asarray(error, dtype=float) * factor
        if error.shape != data.shape:
            raise SFHCNNError(f"errors[{band!r}] has shape {error.shape}, its image {data.shape}; they must agree")
        bad |= ~((error > 0) & (error < np.inf))
    return _Image(data, error, bad, wcs, unit, header, factor)


def _background_scatter(values, band):
    """Sigma-clipped scatter of an image; exact zeros are where nothing was observed."""
    from astropy.stats import sigma_clipped_stats

    if not len(values):
        raise SFHCNNError(f"images[{band!r}] has no good pixel")
    return sigma_clipped_stats(values, sigma=3, maxiters=10)[2]


def _open_image(source, name):
    """Data, header, WCS and error map (or None) of an image of any kind."""
    from astropy.wcs import WCS

    if hasattr(source, "uncertainty"):  # CCDData
        error = None if source.uncertainty is None else source.uncertainty.represent_as(_std()).array
        header = dict(source.header)
        if source.unit != u.dimensionless_unscaled:
            header["BUNIT"] = source.unit.to_string()
        data = np.where(source.mask, np.nan, source.data) if source.mask is not None else source.data
        return data, header, source.wcs, error
    error = None
    if isinstance(source, tuple):
        data, header = source
    else:
        data, header, error = _open_fits(source, name)
    celestial = "CTYPE1" in header
    return data, header, WCS(header).celestial if celestial else None, error


def _std():
    from astropy.nddata import StdDevUncertainty

    return StdDevUncertainty


def _open_fits(path, name):
    """The first image of a FITS file, with the primary header's keywords, and its ERR extension."""
    from astropy.io import fits

    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}: no image at {path}")
    with one_clear_error(path, "no FITS image"), fits.open(Path(path)) as hdus:
        pictures = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) == 2]
        if not pictures:
            raise SFHCNNError(f"{name}: {path} has no image")
        hdu = pictures[0]
        header = hdus[0].header.copy()
        header.update(hdu.header)
        errors = [other for other in pictures[1:] if other.name == "ERR"]
        return np.array(hdu.data), header, np.array(errors[0].data) if errors else None


def check_pivot(header, bandpass):
    """Say so if the image seems to be of another filter or camera than the band's throughput."""
    pivot_aa = header.get("PHOTPLAM")
    if pivot_aa and abs(pivot_aa / bandpass.pivot_aa - 1) > _MAX_PIVOT_OFFSET:
        log.warning(
            f"the image for {bandpass.name} has its pivot at {pivot_aa:.0f} Angstrom, the band at "
            f"{bandpass.pivot_aa:.0f}: it is of another camera or filter"
        )
