"""StarSpectra: what the stars of predicted histories look like, with dispersion, velocity and dust."""

import numpy as np
import torch

from sfh_cnn.core.constants import C_KMS
from sfh_cnn.spectra import broadening_operator
from sfh_cnn.synthesis import attenuation_curve

__all__ = ["StarSpectra"]

#: Velocity dispersions for which the templates are broadened, km/s; the nearest one is used.
_SIGMA_NODES_KMS = np.arange(0.0, 351.0, 25.0)
#: Redshift at which the instrument's line spread is taken to the rest frame.
_TYPICAL_REDSHIFT = 0.01
#: Pixels beyond each end, copies of the outermost one, so that a shift by less than that is a view of the same row.
_MARGIN = 8


class StarSpectra:
    """Spectra of stars on a network's pixels.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
    templates : `~sfh_cnn.network.Templates`
    instrument : `~sfh_cnn.synthesis.InstrumentConfig`
        Its line spread.

    Attributes
    ----------
    margin : int
        Pixels that `at_rest` adds at each end.
    pixel_per_kms, log2_dust : Tensor, shape (n_wave,)
        Doppler shift in pixels for a velocity of 1 km/s; log2 of the transmission for an A_V of 1 mag.
    """

    margin = _MARGIN

    def __init__(self, contract, templates, instrument):
        self.templates, self.instrument = templates, instrument
        grid = contract.wavelength_grid
        self.edges_aa, self.n_wave = grid.edges_aa, grid.n_wave
        # As a power of two, for that is the fastest one.
        self.log2_dust = torch.from_numpy(-0.4 * np.log2(10) * attenuation_curve("calzetti", grid.wave_aa)).float()
        self.pixel_per_kms = torch.from_numpy((grid.wave_aa / grid.step_aa / C_KMS).astype(np.float32))
        self._sigma_nodes = torch.from_numpy(_SIGMA_NODES_KMS.astype(np.float32))
        self._broadened = {}

    def at_rest(self, weights, dispersion_kms):
        """Broadened spectra.

        Parameters
        ----------
        weights : Tensor, shape (n_spec, n_age, n_met)
            Of the templates.
        dispersion_kms : Tensor, shape (n_spec,)

        Returns
        -------
        rows : Tensor, shape (n_spec, n_wave + margins)
            In some order.
        position : Tensor of int, shape (n_spec,)
            The row of each spectrum.
        """
        node = (dispersion_kms[:, None] - self._sigma_nodes).abs().argmin(1)
        order = node.argsort()
        coefficients = torch.tensordot(weights, self.templates.coefficients, 2)[order]  # (n_spec, rank)
        rows = torch.empty(len(order), self.n_wave + 2 * _MARGIN)
        start = 0
        for i, n in enumerate(node.bincount().tolist()):
            if n:
                part = slice(start, start + n)
                torch.mm(coefficients[part], self._basis(i), out=rows[part])
                start += n
        position = torch.empty_like(order)
        position[order] = torch.arange(len(order))
        return rows, position

    def seen(self, rows, position, velocity_kms, a_v):
        """Doppler shifted by linear interpolation, behind dust.

        Parameters
        ----------
        rows, position : Tensor
            From `at_rest`; positions of the spectra that are wanted.
        velocity_kms, a_v : Tensor, shape (n_spec,)
            A_V in mag.

        Returns
        -------
        Tensor, shape (n_spec, n_wave)
            The outermost pixels may have their neighbours' values.
        """
        n_wave, length = self.n_wave, rows.shape[1]
        whole = (velocity_kms * self.pixel_per_kms[n_wave // 2]).round().clamp_(1 - _MARGIN, _MARGIN - 1)
        whole = whole.nan_to_num_(0.0)  # of spectra without an answer
        # A row that begins elsewhere is shifted by whole pixels; one more at each end, for differences.
        windows = rows.view(-1).as_strided((max(rows.numel() - n_wave - 1, 0), n_wave + 2), (1, 1))
        shifted = windows.index_select(0, position * length + _MARGIN - 1 - whole.long())
        pixels = torch.outer(velocity_kms, self.pixel_per_kms).sub_(whole[:, None])
        # Beyond some 90 km/s the shift differs by more than a pixel from one end of the spectrum to the other.
        far = pixels[:, [0, -1]].abs().amax(1) > 1.0
        if far.any():
            full = pixels[far] + whole[far, None]
            pixels[far] = 0.0
        # Between neighbours: from the left where the shift is to the red, else from the right.
        step = shifted[:, 1:] - shifted[:, :-1]
        model = torch.addcmul(shifted[:, 1:-1], pixels.clamp(min=0.0), step[:, :-1], value=-1.0)
        model.addcmul_(pixels.clamp_(max=0.0), step[:, 1:], value=-1.0)
        if far.any():
            model[far] = _interpolate(rows[position[far], _MARGIN:-_MARGIN], full)
        return model.mul_(torch.outer(a_v, self.log2_dust).exp2_())

    def _basis(self, node):
        """Template basis on the network's pixels for one velocity dispersion; made when first needed."""
        if node not in self._broadened:
            templates = self.templates
            n_source = templates.basis.shape[1]
            first, step = (float(value) for value in templates.source_wave_aa)
            source_aa = first + step * np.arange(n_source)
            edges, z = self.edges_aa, _TYPICAL_REDSHIFT
            spread = self.instrument.lsf_sigma_aa(edges * (1 + z)) / (1 + z)
            own = np.interp(edges, source_aa, templates.source_sigma_aa.numpy())
            variance = np.maximum(spread**2 - own**2, 0) + (edges * _SIGMA_NODES_KMS[node] / C_KMS) ** 2
            operator = broadening_operator(source_aa, edges, np.sqrt(variance))
            basis = (operator @ templates.basis.numpy().T).T
            self._broadened[node] = torch.from_numpy(np.pad(basis, ((0, 0), (_MARGIN, _MARGIN)), mode="edge"))
        return self._broadened[node]


def _interpolate(model, pixels):
    """Values (n_spec, n_wave) so many pixels to the blue of each pixel."""
    position = (torch.arange(model.shape[1]) - pixels).clamp(0, model.shape[1] - 1.001)
    low = position.long()
    part = position - low
    return model.gather(1, low) * (1 - part) + model.gather(1, low + 1) * part
