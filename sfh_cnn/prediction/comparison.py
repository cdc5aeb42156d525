"""compare(): spectra against the stars that were predicted for them, from templates to chi2."""

import torch

from sfh_cnn.core import kernels

__all__ = ["compare"]

#: Spectra that go together where that is not compiled: few enough for the cache.
_BLOCK = 64


def compare(stars, fit, rows, position, history, spectra, window, pixels):
    """What the fit of stars to spectra says, and what both are at some of the pixels.

    Parameters
    ----------
    stars : StarSpectra
    fit : PolynomialFit
    rows, position : Tensor
        From `StarSpectra.at_rest`.
    history : dict of Tensor, shape (n_spec,)
        ``velocity`` in km/s and ``a_v`` in mag.
    spectra : tuple of Tensor
        Flux, errors and mask (n_spec, n_wave), and the calibration error (n_spec,), as `PolynomialFit` takes them.
    window : slice
        Pixels of which the mean flux is wanted.
    pixels : slice
        Those that are looked at: a first one, and every so many from there.

    Returns
    -------
    reduced_chi2 : Tensor, shape (n_spec,)
        As from `PolynomialFit`.
    window_flux : Tensor, shape (n_spec,)
        Mean flux of the pixels in the window, with the fitted model in place of masked ones; beyond the ends of a
        spectrum the polynomial of the fit goes on as a constant.
    sampled : Tensor, shape (3, n_spec, n_pixel)
        At the pixels that are looked at: stars before the fit; the flux, 0 where it is not used; whether it is: valid
        and away from emission lines.
    """
    if kernels.compiled is None:
        return _plain(stars, fit, rows, position, history, spectra, window, pixels)
    chi2, window_flux, sampled = _compiled(stars, fit, rows, position, history, spectra, window, pixels)
    beyond = _beyond(spectra[2], window)
    if len(beyond):  # the compiled loop has no polynomial that stops
        few = {name: values[beyond] for name, values in history.items() if name in ("velocity", "a_v")}
        few_spectra = tuple(values[beyond] for values in spectra)
        _, window_flux[beyond], _ = _plain(stars, fit, rows, position[beyond], few, few_spectra, window, pixels)
    return chi2, window_flux, sampled


def _beyond(mask, window):
    """Numbers of the spectra that end inside the window or do not reach it."""
    near = torch.nonzero(mask[:, window.start] | mask[:, window.stop - 1])[:, 0]
    if not len(near):
        return near
    bad = mask[near]
    ends = bad[:, : window.start + 1].all(1) | bad[:, window.stop - 1 :].all(1)
    return near[ends & ~bad.all(1)]


def _plain(stars, fit, rows, position, history, spectra, window, pixels):
    parts = []
    for start in range(0, len(position), _BLOCK):
        part = slice(start, start + _BLOCK)
        flux, flux_err, mask, calibration_error = (values[part] for values in spectra)
        model = stars.seen(rows, position[part], history["velocity"][part], history["a_v"][part])
        used = (~mask[:, pixels]).to(flux.dtype) * fit.off_line[pixels]
        own = (flux[:, pixels] * used).nan_to_num_(0.0, 0.0, 0.0)
        sampled = torch.stack([model[:, pixels], own, used])
        model, chi2, _ = fit(model, flux, flux_err, mask, calibration_error)
        window_flux = torch.where(mask[:, window], model[:, window], flux[:, window]).mean(1)
        parts.append((chi2, window_flux, sampled))
    chi2, window_flux, sampled = zip(*parts, strict=True)
    return torch.cat(chi2), torch.cat(window_flux), torch.cat(sampled, 1)


def _compiled(stars, fit, rows, position, history, spectra, window, pixels):
    n_spec, n_wave = spectra[0].shape
    first, stride = pixels.start, pixels.step
    chi2, window_flux = torch.empty(2, n_spec).unbind(0)
    sampled = torch.empty(3, n_spec, len(range(n_wave)[pixels]))
    sizes = (n_spec, len(rows), n_wave, stars.margin, window.start, window.stop, first, stride)
    model = (rows, position, history["velocity"], history["a_v"], stars.pixel_per_kms, stars.log2_dust)
    given = (*model, *spectra, fit.off_line, fit.polynomials, chi2, window_flux, sampled)
    kernels.compiled.compare(sizes, *(values.contiguous().numpy() for values in given))
    return chi2, window_flux, sampled
