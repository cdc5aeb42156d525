"""Do the images agree with the cube? Band fluxes of the cube's own spectra against those of the images."""

import numpy as np

from sfh_cnn.core import SFHCNNError
from sfh_cnn.photometry import band_matrix, to_flux_density
from sfh_cnn.spectra import open_cube, read_spectra

__all__ = ["zero_point_ratios"]

#: Rows read at a time.
_ROWS = 8


def zero_point_ratios(cube, images, variance=None, min_coverage=0.7, share=0.2):
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
    source = open_cube(cube, variance)
    n_y, n_x = source.shape[1:]
    sums = {band: np.full((n_y, n_x), np.nan) for band in images}
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
        raise SFHCNNError(f"the cube covers none of the bands {', '.join(images)}")
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
