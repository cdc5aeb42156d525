"""Cubes of MUSE, and the spectrum of an aperture in a cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.nddata import StdDevUncertainty, VarianceUncertainty

from sfh_cnn.core import SFHCNNError, footprint, one_clear_error, parse_flux_unit, split_shapes

from .conventions import bare_flux_unit, celestial_part, medium_of_ctype, per_spaxel, unmask

if TYPE_CHECKING:
    from typing import Any

    from specutils import Spectrum

__all__ = ["extract_aperture", "read_muse_cube"]

#: A wavelength at which less than this share of the aperture's light is in good spaxels is masked.
_MIN_COVERAGE = 0.5


def read_muse_cube(path: Any) -> Spectrum:
    """Read a MUSE cube into memory, as ESO, mpdaf or PHANGS write it.

    Parameters
    ----------
    path : str, `pathlib.Path`, file or `~astropy.io.fits.HDUList`
        FITS file with the extensions ``DATA``, ``STAT`` (variance) and, where there is one, ``DQ`` (0 is good). The
        unit of ``STAT`` is taken as the square of that of ``DATA``, for its own BUNIT is often wrong.

    Returns
    -------
    `~specutils.Spectrum`
        Three axes, wavelength first, with variance, mask (True is bad) and WCS; ``meta["header"]`` is that of
        ``DATA``, ``meta["medium"]`` says air or vacuum as ``CTYPE3`` does; ``LINEAR`` and ``WAVELENGTH`` are air.

    Raises
    ------
    SFHCNNError
        If there is no cube in the file, or its unit is missing or not understood.

    Notes
    -----
    Also there as ``Spectrum.read(path, format="MUSE cube")``, and the same under the name ``"PHANGS-MUSE"``.
    """
    from astropy.io import fits
    from astropy.wcs import WCS
    from specutils import Spectrum

    with one_clear_error(path, "no cube of MUSE"), fits.open(path) as hdus:
        if "DATA" not in hdus or hdus["DATA"].header.get("NAXIS") != 3:
            raise SFHCNNError(f"{path} has no cube in an extension DATA; it has {[hdu.name for hdu in hdus]}")
        header = hdus["DATA"].header
        bunit = header.get("BUNIT", hdus[0].header.get("BUNIT"))
        if bunit is None:
            raise SFHCNNError(f"{path} has no BUNIT; add it to DATA, such as '1e-20 erg / (s cm2 Angstrom)'")
        # Native byte order: the big-endian arrays of FITS are slow, and foreign to torch.
        data = np.array(hdus["DATA"].data, dtype=np.float32)
        bad = ~np.isfinite(data)
        variance = np.array(hdus["STAT"].data, dtype=np.float32) if "STAT" in hdus else None
        if "DQ" in hdus:
            bad |= hdus["DQ"].data != 0
    axes, medium = header, medium_of_ctype(header.get("CTYPE3"))
    if medium is None:  # LINEAR or WAVELENGTH of mpdaf, which are no wavelengths to a WCS
        axes, medium = header.copy(), "air"
        axes["CTYPE3"], axes["CUNIT3"] = "AWAV", header.get("CUNIT3") or "Angstrom"
    return Spectrum(
        flux=u.Quantity(data, parse_flux_unit(bunit), copy=False, dtype=np.float32),
        uncertainty=None if variance is None else VarianceUncertainty(variance, copy=False),
        mask=bad,
        wcs=WCS(axes),
        meta={"header": header, "medium": medium},
    )


def extract_aperture(
    cube: Spectrum, aperture: Any, *, noise_correlation: float = 1.0, redshift: float | None = None
) -> Spectrum:
    """Sum the spaxels of an aperture.

    Parameters
    ----------
    cube : `~specutils.Spectrum`
        Three axes, as from `read_muse_cube`.
    aperture : photutils aperture, region, or ndarray of bool, shape (n_y, n_x)
        Spaxels to sum, those on the rim in part; or True for each spaxel to sum.
    noise_correlation : float, optional
        Factor by which the error of the sum exceeds that of independent spaxels. Resampling correlates neighbours,
        about 1.5 to 2 for MUSE and apertures of many spaxels; find it from the scatter of blank apertures.
    redshift : float, optional
        Stored in the spectrum.

    Returns
    -------
    `~specutils.Spectrum`
        One axis in Angstrom, with standard deviation and mask; a flux density also where the cube has surface
        brightness, if it has celestial coordinates. Where a spaxel is bad at some wavelength, the sum of the others is
        scaled up by its share of the aperture's light; where more than half of the light is lost, the pixel is masked.

    Raises
    ------
    SFHCNNError
        If the cube has not three axes, or the aperture covers no spaxel.
    """
    from specutils import Spectrum

    if cube.flux.ndim != 3 or cube.spectral_axis_index != 0:
        raise SFHCNNError(f"cube needs the axes (wave, y, x), got shape {cube.flux.shape}")
    y, x, weight = _aperture_spaxels(aperture, cube)
    flux, masked = unmask(cube.flux.value[:, y, x].astype(float))
    bad = ~np.isfinite(flux)
    if masked is not None:
        bad |= masked
    if cube.mask is not None:
        bad |= cube.mask[:, y, x] != 0
    error = None
    if cube.uncertainty is not None:
        variances = cube.uncertainty.represent_as(VarianceUncertainty)
        factor = 1.0 if variances.unit is None else variances.unit.to(cube.flux.unit**2)
        variance = variances.array[:, y, x].astype(float) * factor
        bad |= ~((variance > 0) & (variance < np.inf))
        error = np.sqrt(np.where(bad, 0, variance) @ weight) * noise_correlation
    light = np.ma.median(np.ma.array(flux, mask=bad), axis=0).filled(0).clip(min=0) * weight
    if not light.any():
        light = weight
    covered = (~bad) @ (light / light.sum())
    scale = 1 / np.where(covered < _MIN_COVERAGE, np.nan, covered)
    unit = per_spaxel(cube.flux.unit, celestial_part(cube.wcs))
    if unit != cube.flux.unit:  # the area goes into the values, for FITS takes no other scales than powers of ten
        bare, _ = bare_flux_unit(cube.flux.unit)
        scale, unit = scale * unit.to(bare), bare
    return Spectrum(
        spectral_axis=u.Quantity(cube.spectral_axis, u.AA),
        flux=scale * (np.where(bad, 0, flux) @ weight) * unit,
        uncertainty=None if error is None else StdDevUncertainty(scale * error, copy=False),
        mask=np.isnan(scale),
        redshift=redshift,
        meta=dict(cube.meta),
    )


def _aperture_spaxels(aperture, cube):
    """Rows, columns and weights of the spaxels that an aperture covers."""
    if isinstance(aperture, np.ndarray):
        if aperture.shape != cube.flux.shape[1:]:
            raise SFHCNNError(f"aperture has shape {aperture.shape}, the cube's image {cube.flux.shape[1:]}")
        y, x = np.nonzero(aperture)
        weight = np.ones(len(y))
    else:
        shapes = split_shapes(aperture)
        if len(shapes) != 1:
            raise SFHCNNError(f"extract_aperture takes one aperture, got {len(shapes)}; loop over them")
        where, cutout, _ = footprint(shapes[0], cube.wcs.celestial, cube.flux.shape[1:])
        y, x = np.nonzero(cutout)
        weight = cutout[y, x]
        y, x = y + where[0].start, x + where[1].start
    if not len(y):
        raise SFHCNNError("the aperture covers no spaxel of the cube; check its position")
    return y, x, weight
