"""Do the images agree with the cube? Band fluxes of the cube's own spectra against those of the images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.photometry import band_matrix, to_flux_density
from sfh_cnn.spectra import open_cube, read_spectra

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Registration", "register_images", "zero_point_ratios"]

#: Rows read at a time.
_ROWS = 8
#: Share of the flux that is taken as uncertain where image and cube are compared: the match of the resolutions.
_MISMATCH = 0.03


def zero_point_ratios(
    cube: Any, images: dict[str, Any], variance: Any = None, min_coverage: float = 0.7, share: float = 0.2
) -> dict[str, Any]:
    """Ratio of the flux of images to that of a cube, in the bands that the cube covers.

    A network that sees spectrum and bands together is misled where they disagree: a ratio beyond 1 +- 0.05 calls for
    a look at zero points, backgrounds and the resolution before the prediction.

    Parameters
    ----------
    cube : object
        As for `sfh_cnn.spectra.open_cube`.
    images : dict
        From band to flux and error per spaxel, as `sfh_cnn.photometry.match_images` gives them.
    variance : object, optional
        As for `sfh_cnn.spectra.open_cube`.
    min_coverage : float, optional
        Bands of which the cube covers a smaller share (of the photons of a flat spectrum) are left out. What is
        missing is taken to have the mean flux density of the rest: for F555W and MUSE (85 per cent) an error of a few
        per cent, which depends on the colour.
    share : float, optional
        The brightest spaxels that are compared.

    Returns
    -------
    dict
        From band to (ratio, scatter, number of spaxels): ratio of the sums, and robust scatter of the single ratios.

    Raises
    ------
    SFHCNNError
        If the cube covers no band, or the flux has no unit.
    """
    sums = _cube_bands(open_cube(cube, variance), images, min_coverage)
    ratios = {}
    for band, own in sums.items():
        other = to_flux_density(images[band][0], band, name=f"images[{band!r}]")[0]
        usable = np.isfinite(own) & np.isfinite(other) & (own > 0)
        usable &= own >= np.quantile(own[usable], 1 - share) if usable.any() else False
        if not usable.any():
            ratios[band] = (np.nan, np.nan, 0)
            continue
        single = other[usable] / own[usable]
        scatter = 1.4826 * np.median(np.abs(single - np.median(single)))
        ratios[band] = (float(other[usable].sum() / own[usable].sum()), float(scatter), int(usable.sum()))
    return ratios


@dataclasses.dataclass(frozen=True)
class Registration:
    """How an image lies on a cube: image = ratio x cube + background, after a shift.

    Parameters
    ----------
    east, north : `~astropy.units.Quantity`
        To be added to the coordinates of the image, arcsec; spaxels along x and y without a WCS.
    ratio : float
        Of the flux of the image to that of the cube, free of any constant level.
    background : `~astropy.units.Quantity`
        Level of the image above that of the cube, per spaxel.
    scatter : float
        Robust scatter of what is left, as a share of the flux.
    """

    east: u.Quantity
    north: u.Quantity
    ratio: float
    background: u.Quantity
    scatter: float


def register_images(
    cube: Any, images: dict[str, Any], variance: Any = None, min_coverage: float = 0.7, max_shift: int = 10
) -> dict[str, Any]:
    """Shift, zero point and background of images against a cube, in the bands that the cube covers.

    Coordinates of older images are off by an arcsecond, and some hold their sky; both look like a wrong zero point
    (`zero_point_ratios`). Here they are told apart by a fit to all spaxels. It takes structure on the sky: a smooth
    field fixes no shift. An image that does not match the cube anywhere gives numbers that mean nothing; look at
    ``scatter``.

    Parameters
    ----------
    cube, images, variance, min_coverage : object
        As for `zero_point_ratios`; images without their background subtracted, as they are.
    max_shift : int, optional
        In spaxels along each axis.

    Returns
    -------
    dict
        From band to `Registration`.

    Raises
    ------
    SFHCNNError
        As `zero_point_ratios`; or if less than 100 spaxels are left inside the margin that shifts need.
    """
    source = open_cube(cube, variance)
    out = {}
    for band, own in _cube_bands(source, images, min_coverage).items():
        flux, error = (to_flux_density(part, band, name=f"images[{band!r}]")[0] for part in images[band][:2])
        shift, ratio, background, scatter = _fit_shift(own, flux, error, band, max_shift)
        east, north = _on_sky(source.wcs, shift)
        out[band] = Registration(east, north, ratio, background * FLUX_UNIT, scatter)
    return out


def _fit_shift(own, flux, error, band, max_shift):
    """Shift in spaxels (y, x) that brings an image onto the cube, ratio, background and scatter."""
    from scipy.ndimage import map_coordinates
    from scipy.optimize import minimize

    scale = np.nanmedian(np.abs(own))
    own, flux, error = own / scale, flux / scale, error / scale
    good = np.isfinite(flux) & np.isfinite(error)
    y, x = np.indices(own.shape)
    inside = (np.minimum(y, x) >= max_shift) & (y < own.shape[0] - max_shift) & (x < own.shape[1] - max_shift)
    inside &= np.isfinite(own)
    if inside.sum() < 100:
        raise SFHCNNError(f"{inside.sum()} spaxels lie {max_shift} from the edge of the cube; lower max_shift")
    filled = np.where(good, flux, np.nanmedian(flux) if good.any() else 0.0)
    y, x, target = y[inside], x[inside], own[inside]
    weight = 1 / np.hypot(np.nanmedian(error), _MISMATCH * target)

    def fit(shift, order=3):
        places = np.array([y - shift[0], x - shift[1]])
        seen = map_coordinates(filled, places, order=order, mode="nearest")
        known = map_coordinates(good.astype(float), places, order=1, mode="constant") > 0.99
        if known.sum() < 0.5 * len(target):
            return np.inf, (np.nan, np.nan), seen[:0]
        design = np.stack([target, np.ones_like(target)], axis=1)[known] * weight[known, np.newaxis]
        solution = np.linalg.lstsq(design, seen[known] * weight[known], rcond=None)[0]
        residual = seen[known] - solution[0] * target[known] - solution[1]
        return (
            np.mean((residual * weight[known]) ** 2) / max(solution[0], 1e-3) ** 2,
            solution,
            residual / target[known],
        )

    steps = range(-max_shift, max_shift + 1)
    start = min(((fit((dy, dx), order=1)[0], dy, dx) for dy in steps for dx in steps), key=lambda one: one[0])
    if not np.isfinite(start[0]):
        raise SFHCNNError(f"images[{band!r}] covers too little of the cube to be compared with it")
    best = minimize(
        lambda shift: fit(shift)[0], start[1:], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6}
    )
    _, (ratio, background), off = fit(best.x)
    return best.x, float(ratio), float(background) * scale, float(1.4826 * np.median(np.abs(off - np.median(off))))


def _on_sky(wcs, shift):
    """A shift in spaxels (y, x) as offsets to the east and to the north."""
    if wcs is None:
        return shift[1] * u.pix, shift[0] * u.pix
    here, there = wcs.pixel_to_world(0.0, 0.0), wcs.pixel_to_world(shift[1], shift[0])
    return tuple(offset.to(u.arcsec) for offset in here.spherical_offsets_to(there))


def _cube_bands(source, bands, min_coverage):
    """Flux density of the cube's own spectra in the bands that it covers, erg/s/cm2/Angstrom, (n_y, n_x)."""
    n_y, n_x = source.shape[1:]
    sums = {band: np.full((n_y, n_x), np.nan) for band in bands}
    for y0 in range(0, n_y, _ROWS):
        y1 = min(y0 + _ROWS, n_y)
        flux, noise, bad = source.read(y0, y1)
        spectra = read_spectra(
            source.spectra(flux.T, None if noise is None else noise.T, bad.T), redshift=0.0, medium=source.medium
        )
        if spectra.relative:
            raise SFHCNNError("the cube has no flux unit; its zero point cannot be checked")
        good = ~spectra.mask
        for band in list(sums):
            weight = band_matrix(spectra.wave_aa, [band])[:, 0]
            if weight.sum() < min_coverage:
                del sums[band]
                continue
            covered = good @ weight
            mean = np.where(good, spectra.flux, 0) @ weight / np.maximum(covered, 1e-9)
            sums[band][y0:y1] = np.where(covered > 0.9 * weight.sum(), mean, np.nan).reshape(y1 - y0, n_x)
    if not sums:
        raise SFHCNNError(f"the cube covers none of the bands {', '.join(bands)}")
    return sums
