"""Images of high resolution onto the spaxels of a cube: same point spread function, same pixels, flux conserved."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, require, to_plain

from .aperture import check_pivot, read_image
from .bandpass import load_bandpass
from .calibration import to_flux_density

if TYPE_CHECKING:
    from typing import Any

    from astropy.wcs import WCS

__all__ = ["match_images", "matching_kernel", "moffat_psf"]

#: A spaxel with a smaller share of good image pixels gets no flux.
_MIN_COVERAGE = 0.9
#: Half width of kernels in units of the FWHM of the cube; a Moffat profile of index 2.8 has 1 per cent beyond.
_KERNEL_RADIUS = 5.0


def match_images(
    images: dict[str, Any],
    wcs: WCS,
    shape: tuple[int, int],
    *,
    cube_fwhm: u.Quantity | dict[str, u.Quantity] | None = None,
    cube_beta: float = 2.8,
    image_fwhm: u.Quantity = 0.08 * u.arcsec,
    kernels: dict[str, np.ndarray] | None = None,
    errors: dict[str, Any] | None = None,
    background: Any = None,
    noise_correlation: float = 1.0,
    calibration_error: float = 0.0,
    shifts: dict[str, Any] | None = None,
) -> dict[str, tuple[u.Quantity, u.Quantity]]:
    """Fluxes of the spaxels of a cube in several bands, from images with smaller pixels.

    Parameters
    ----------
    images : dict
        From band name to the image, as in `measure_bands`: a FITS file, (data, header) or CCDData, with ``PHOTFLAM``
        or a flux density or surface brightness in ``BUNIT``, and a celestial WCS.
    wcs : `~astropy.wcs.WCS`
        Celestial coordinates of the cube, e.g. ``open_cube(path).wcs``.
    shape : tuple of int
        (n_y, n_x) of the cube.
    cube_fwhm : `~astropy.units.Quantity` or dict, optional
        FWHM of the cube's point spread function, for each band if a dict; a Moffat profile. By default images are
        taken to have the cube's resolution already.
    cube_beta : float, optional
        Its index: 2.8 for MUSE in natural seeing, 2.3 with adaptive optics (Emsellem et al. 2022, A&A 659, A191).
    image_fwhm : `~astropy.units.Quantity`, optional
        FWHM of the images' own point spread function, a Gaussian. It matters little if it is much narrower.
    kernels : dict, optional
        From band name to the kernel that takes the image to the cube's resolution, on the pixels of the image.
    errors : dict, optional
        From band name to the 1-sigma error of each pixel; see `measure_bands`.
    background : dict or "median", optional
        Level to subtract, in the unit of the image, for each band; or the sigma-clipped median of each image, which
        is right only if most of it is blank. By default images are taken as free of background.
    noise_correlation : float, optional
        Factor by which errors of sums over many pixels exceed those of independent pixels; see `measure_bands`.
    calibration_error : float, optional
        Share of the flux to add to the errors in quadrature: zero points and the match of the resolutions.
    shifts : dict, optional
        From band name to (east, north), angles to be added to the coordinates of the image, as
        `sfh_cnn.prediction.register_images` finds them.

    Returns
    -------
    dict
        From band name to flux and error, Quantities (n_y, n_x) in erg/s/cm2/Angstrom per spaxel; NaN where less than
        90 per cent of a spaxel is covered. Errors are those of the pixels of the image inside the spaxel; the
        blurring correlates neighbouring spaxels, and their sums keep the right error.

    Raises
    ------
    SFHCNNError
        If an image has no WCS or does not meet the cube.
    ImportError
        If photutils or reproject is not installed.
    """
    return {
        band: _match_one(
            read_image(source, (errors or {}).get(band), band),
            band,
            wcs,
            tuple(shape),
            None if kernels is None else kernels.get(band),
            cube_fwhm.get(band) if isinstance(cube_fwhm, dict) else cube_fwhm,
            (cube_beta, image_fwhm),
            background.get(band) if isinstance(background, dict) else background,
            (noise_correlation, calibration_error),
            (shifts or {}).get(band),
        )
        for band, source in images.items()
    }


def moffat_psf(fwhm_pix: float, beta: float, size: int) -> np.ndarray:
    """A Moffat profile, integrated over pixels.

    Parameters
    ----------
    fwhm_pix : float
        Full width at half maximum in pixels.
    beta : float
        Index.
    size : int
        Pixels on a side, odd.

    Returns
    -------
    ndarray, shape (size, size)
        Sums to 1.
    """
    core = 0.5 * fwhm_pix / np.sqrt(2 ** (1 / beta) - 1)
    return _over_pixels(lambda r2: (1 + r2 / core**2) ** -beta, size)


def matching_kernel(image_fwhm_pix: float, cube_fwhm_pix: float, cube_beta: float) -> np.ndarray:
    """Kernel from a Gaussian to a Moffat point spread function.

    Parameters
    ----------
    image_fwhm_pix, cube_fwhm_pix : float
        Widths in pixels of the image.
    cube_beta : float
        Index of the Moffat profile.

    Returns
    -------
    ndarray of float32
        Sums to 1.

    Raises
    ------
    SFHCNNError
        If the image is not sharper than the cube.
    """
    if not 0 < image_fwhm_pix < cube_fwhm_pix:
        raise SFHCNNError(
            f"the image has a FWHM of {image_fwhm_pix:.2f} of its pixels, the cube of {cube_fwhm_pix:.2f}: the image "
            "must be the sharper one"
        )
    size = 2 * int(np.ceil(_KERNEL_RADIUS * cube_fwhm_pix)) + 1
    target = moffat_psf(cube_fwhm_pix, cube_beta, size)
    sigma = image_fwhm_pix / 2.3548200450309493
    source = _over_pixels(lambda r2: np.exp(-0.5 * r2 / sigma**2), size)
    matching = _photutils_matching()
    make = getattr(matching, "make_kernel", None) or matching.create_matching_kernel
    # The taper leaves out frequencies where the cube has no power, and the quotient would be noise.
    kernel = make(source, target, window=matching.TukeyWindow(alpha=0.4))
    return (kernel / kernel.sum()).astype(np.float32)


def _photutils_matching():
    try:
        return require("photutils.psf_matching", extra="cube")
    except ImportError:  # where it was before photutils 3
        return require("photutils.psf.matching", extra="cube")


def _over_pixels(profile, size, oversampling=5):
    """A round profile (of the squared radius), integrated over pixels; sums to 1."""
    fine = (np.arange(size * oversampling) + 0.5) / oversampling - size / 2
    values = profile(fine[:, np.newaxis] ** 2 + fine**2)
    values = values.reshape(size, oversampling, size, oversampling).sum(axis=(1, 3))
    return values / values.sum()


def _match_one(image, band, wcs, shape, kernel, cube_fwhm, widths, background, noise, shift):
    """Flux and error of the spaxels in one band."""
    from astropy.wcs.utils import proj_plane_pixel_area
    from scipy.signal import oaconvolve

    reproject = require("reproject", extra="cube")
    check_pivot(image.header, load_bandpass(band))
    if image.wcs is None:
        raise SFHCNNError(f"images[{band!r}] has no celestial WCS; give a header that has one")
    if shift is not None:
        image = dataclasses.replace(image, wcs=_shifted(image.wcs, *(u.Quantity(one).to_value(u.deg) for one in shift)))
    pixel, spaxel = (proj_plane_pixel_area(one) * 3600**2 for one in (image.wcs, wcs))
    if kernel is None and cube_fwhm is not None:
        fwhm_pix = (to_plain(one, u.arcsec, "fwhm") / np.sqrt(pixel) for one in (widths[1], cube_fwhm))
        kernel = matching_kernel(*(float(one) for one in fwhm_pix), widths[0])
    margin = 2 if kernel is None else max(kernel.shape) // 2 + 2
    where = _cutout(image, wcs, shape, margin, band)
    level = 0.0 if background is None else _level(image, background)
    good = ~image.bad[where]
    data = np.where(good, image.data[where] - level, 0).astype(np.float32)
    variance = np.where(good, image.error[where] ** 2, 0)
    weight = good.astype(np.float32)
    if kernel is not None:
        smooth = oaconvolve(weight, kernel.astype(np.float32), mode="same")
        data = oaconvolve(data, kernel.astype(np.float32), mode="same")
        data = (
            np.where(smooth > 0.5, data / np.maximum(smooth, 0.5), 0) * weight
        )  # bad pixels do not dim their neighbours
    # Means over spaxels of data, good pixels and variance; overlaps are computed once for all three.
    stack = np.stack([data, weight, variance]).astype(float)
    (mean, covered, power), footprint = reproject.reproject_exact((stack, image.wcs[where]), wcs, shape_out=shape)
    covered = np.nan_to_num(covered) * np.nan_to_num(footprint[0]).clip(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        n_pixel = spaxel / pixel
        flux = np.where(covered >= _MIN_COVERAGE, mean / covered * n_pixel, np.nan)
        error = np.where(covered >= _MIN_COVERAGE, np.sqrt(power / covered * n_pixel) * noise[0], np.nan)
    flux, error = to_flux_density(flux * image.unit, load_bandpass(band), error * image.unit, name=f"images[{band!r}]")
    return flux * FLUX_UNIT, np.hypot(error, noise[1] * flux) * FLUX_UNIT


def _shifted(wcs, east_deg, north_deg):
    """Coordinates moved on the sky."""
    wcs = wcs.deepcopy()
    longitude, latitude = wcs.wcs.crval
    wcs.wcs.crval = [longitude + east_deg / np.cos(np.radians(latitude)), latitude + north_deg]
    return wcs


def _cutout(image, wcs, shape, margin, band):
    """The part of an image that the cube needs."""
    n_y, n_x = shape
    edge_y, edge_x = np.array(
        [[-0.5, -0.5, n_y - 0.5, n_y - 0.5, n_y / 2], [-0.5, n_x - 0.5, -0.5, n_x - 0.5, n_x / 2]]
    )
    x, y = image.wcs.world_to_pixel(wcs.pixel_to_world(edge_x, edge_y))
    slices = []
    for centre, length in ((y, image.data.shape[0]), (x, image.data.shape[1])):
        low = max(int(np.floor(np.nanmin(centre))) - margin, 0)
        high = min(int(np.ceil(np.nanmax(centre))) + margin + 1, length)
        if high <= low:
            raise SFHCNNError(f"images[{band!r}] does not meet the cube; compare their coordinates")
        slices.append(slice(low, high))
    return tuple(slices)


def _level(image, background):
    """Background per pixel, in the unit of the calibrated image."""
    from astropy.stats import sigma_clipped_stats

    if isinstance(background, str):
        if background != "median":
            raise SFHCNNError(f"background is 'median' or numbers by band, got {background!r}")
        return sigma_clipped_stats(image.data[~image.bad], sigma=3, maxiters=10)[1]
    return float(background) * image.factor
