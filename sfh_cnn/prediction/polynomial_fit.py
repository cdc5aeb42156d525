"""PolynomialFit: how well a model describes a spectrum, but for a smooth factor."""

import numpy as np
import torch

from .lines import near_lines

__all__ = ["PolynomialFit"]

#: Order of the polynomial by which a model may differ smoothly from the data: dust laws and flux calibration are not
#: part of a history.
_ORDER = 4
#: Matrix products with a multiple of so many columns take half the time.
_COLUMNS = 16


def _valid_range(mask):
    """First and last valid pixel of each spectrum, (n_spec,); the outermost ones where none is valid."""
    valid = (~mask).view(torch.uint8)
    return valid.argmax(1), mask.shape[1] - 1 - valid.flip(1).argmax(1)


class PolynomialFit:
    """Multiplies models by the polynomials that fit them to data.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame pixels, Angstrom.

    Attributes
    ----------
    off_line : Tensor, shape (n_wave,)
        1 where stars alone shine, 0 near emission lines.
    polynomials : Tensor, shape (n_term, n_wave)
        Legendre's, over the range.
    """

    def __init__(self, wave_aa):
        self.off_line = torch.from_numpy((~near_lines(wave_aa)).astype(np.float32))
        x = np.linspace(-1, 1, len(wave_aa))
        legendre = np.polynomial.legendre.legvander(x, _ORDER)  # (n_wave, n_term)
        self.polynomials = torch.from_numpy(legendre.T.astype(np.float32))
        row, column = np.triu_indices(_ORDER + 1)
        products = np.zeros((len(x), -(-len(row) // _COLUMNS) * _COLUMNS))
        products[:, : len(row)] = legendre[:, row] * legendre[:, column]
        self._products = torch.from_numpy(products.astype(np.float32))
        self._pair = torch.empty(_ORDER + 1, _ORDER + 1, dtype=torch.int64)
        self._pair[row, column] = self._pair[column, row] = torch.arange(len(row))

    def __call__(self, model, flux, flux_err, mask, calibration_error):
        """Fit.

        Parameters
        ----------
        model, flux, flux_err, mask : Tensor, shape (n_spec, n_wave)
            Model and flux in units in which they are of order 1, for their squares are to be in the range of float32.
            The model is overwritten.
        calibration_error : Tensor, shape (n_spec,)
            Added to the errors in quadrature.

        Returns
        -------
        model : Tensor, shape (n_spec, n_wave)
            In the unit of the data.
        reduced_chi2 : Tensor, shape (n_spec,)
            Of pixels away from emission lines.
        bend : Tensor, shape (n_spec, n_wave)
            The polynomial; beyond the outermost valid pixels, where nothing holds it, as it is there.
        """
        first, last = _valid_range(mask)
        # Bytes convert several times faster than booleans select, and NaN under the mask must go: 0 * NaN is NaN.
        valid = (~mask).view(torch.uint8).to(flux.dtype)
        data = (flux * valid).nan_to_num_(0.0, 0.0, 0.0)
        used = valid.mul_(self.off_line)
        uncalibrated = data * calibration_error[:, None]
        weight = (flux_err * flux_err).addcmul_(uncalibrated, uncalibrated).reciprocal_().mul_(used)
        weight.nan_to_num_(0.0, 0.0, 0.0)
        weighted = torch.mul(weight, model, out=uncalibrated)
        matrix = ((weighted * model) @ self._products)[:, self._pair]
        vector = weighted.mul_(data) @ self.polynomials.T
        n_term = len(self.polynomials)
        ridge = 1e-6 * matrix.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
        matrix = matrix + ridge[:, None, None] * torch.eye(n_term)
        # The fit is in float64: S/N 200 over 3000 pixels leaves float32 few digits.
        solution = torch.linalg.solve(matrix.double(), vector.double()[..., None])[..., 0].float()
        pixel = torch.arange(mask.shape[1]).clamp(first[:, None], last[:, None])
        bend = (solution @ self.polynomials).gather(1, pixel)
        model *= bend
        residual = data.sub_(model)
        chi2 = torch.linalg.vecdot(weight.mul_(residual), residual) / (used.sum(1) - n_term).clamp(min=1)
        return model, chi2, bend
