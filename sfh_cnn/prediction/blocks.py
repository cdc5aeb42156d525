"""InputBlocks: what the network is given, block by block, and what the data alone say about each spectrum."""

import numpy as np

from sfh_cnn.core import Flag, kernels
from sfh_cnn.spectra import estimate_noise, galactic_extinction, redshift_order

__all__ = ["InputBlocks"]

#: Coverage of the network's range below which a spectrum is flagged.
_FULL_COVERAGE = 0.9
#: More pixels than this share, negative by 3 sigma, are no noise.
_NEGATIVE_SHARE = 0.1
#: The S/N is the median of every so many pixels: as good as that of all, and its selection is not the longest step.
_SNR_STRIDE = 4


class InputBlocks:
    """Inputs of the network for blocks of spectra, each taken from the observed pixels while it is in the cache.

    `parts` says which rows go together, and `take` makes the inputs of one such block; several threads may do so.

    Parameters
    ----------
    contract : ModelContract
    spectra : object
        From `sfh_cnn.spectra.open_spectra`.
    bands : tuple of ndarray, shape (n_spec, n_band)
        Band fluxes and errors in the unit of the spectra, NaN where missing.
    calibration_error : ndarray, shape (n_spec,)
    ebv : ndarray, shape (n_spec,), or None
        Galactic foreground to take out of the spectra.
    near_lines : ndarray of bool, shape (n_wave,), or None
        Pixels to mask.
    flags : ndarray of int, shape (n_spec,)
        Changed in place.
    keep : bool
        Whether to keep what the network is given.
    size : int
        Spectra per block.

    Attributes
    ----------
    snr, valid_share : ndarray, shape (n_spec,)
        Median S/N per pixel.
    unit : ndarray, shape (n_spec,)
        Unit of the network's inputs, in that of the spectra.
    kept : dict of ndarray, or None
        ``flux``, ``flux_err``, ``mask`` (n_spec, n_wave) on the network's pixels, in the unit of the spectra.
    """

    def __init__(self, contract, spectra, bands, calibration_error, ebv, near_lines, flags, keep, size):
        self.contract, self.spectra, self.bands = contract, spectra, bands
        self.calibration_error, self.ebv, self.near_lines = calibration_error, ebv, near_lines
        self.flags, self.size = flags, size
        n_spec, n_wave = len(spectra), contract.n_wave
        self.snr, self.unit = np.zeros(n_spec), np.ones(n_spec)
        self.valid_share = np.zeros(n_spec)
        self.kept = None
        if keep:
            kinds = {"flux": np.float32, "flux_err": np.float32, "mask": bool}
            self.kept = {name: np.empty((n_spec, n_wave), dtype=kind) for name, kind in kinds.items()}
        self._extinction = None if ebv is None else galactic_extinction(spectra.wave_aa)

    def parts(self):
        """The blocks: a slice or an array of rows each."""
        # Spectra of about one redshift go through one matrix: better together.
        order, n_spec = redshift_order(self.spectra.redshift), len(self.spectra)
        for start in range(0, max(n_spec, 1), self.size):
            block = slice(start, min(start + self.size, n_spec))
            yield block if order is None else order[block]

    def take(self, rows):
        """The good ones of some rows, and the arguments of `SFHNet.forward` for them.

        Fills ``flags`` and the attributes of these rows.
        """
        flux, flux_err, mask = self._on_grid(rows)
        level = self._check(rows, flux, flux_err, mask)
        # 1e-20 erg/s/cm2/Angstrom and its squares must fit in float32; a power of two changes no digit.
        good = (self.flags[rows] & (Flag.NO_DATA | Flag.FEW_PIXELS)) == 0
        self.unit[rows] = np.exp2(np.floor(np.log2(np.where(good, level, 1.0))))
        number = np.arange(len(self.spectra))[rows]
        if not good.all():
            number, flux, flux_err, mask = (values[good] for values in (number, flux, flux_err, mask))
        return number, self._arguments(number, flux, flux_err, mask)

    def _on_grid(self, rows):
        """Flux, error and mask on the network's pixels."""
        part = self.spectra.block(rows)
        if part.flux_err is None:
            noise = estimate_noise(part.flux, part.mask)
            part.flux_err = np.broadcast_to(noise[:, None], part.flux.shape)
            self.flags[rows] |= int(Flag.NO_UNCERTAINTY)
        if self.ebv is not None:
            ebv = self.ebv[rows]
            ebv = ebv[:1] if (ebv == ebv[:1]).all() else ebv
            extinction = self._extinction if self._extinction.ndim == 1 else self._extinction[rows]
            factor = (10 ** (0.4 * ebv[:, None] * extinction)).astype(part.flux.dtype)
            part.flux, part.flux_err = part.flux * factor, part.flux_err * factor
        flux, flux_err, mask = part.resample(self.contract.wavelength_grid)
        if self.near_lines is not None:
            mask |= self.near_lines
        if self.kept is not None:
            self.kept["flux"][rows], self.kept["flux_err"][rows], self.kept["mask"][rows] = flux, flux_err, mask
        return flux, flux_err, mask

    def _arguments(self, number, flux, flux_err, mask):
        unit = self.unit[number, None]
        per_unit = (1.0 / unit).astype(np.float32)
        bands = [(values[number] / unit).astype(np.float32) for values in self.bands]
        singles = (np.nan_to_num(self.spectra.redshift[number]), self.calibration_error[number])
        flux *= per_unit  # in place: nobody else has them, and the memory is what takes the time
        flux_err *= per_unit
        return flux, flux_err, mask, *bands, *(one.astype(np.float32) for one in singles)

    def _check(self, rows, flux, flux_err, mask):
        """Set the flags that the data alone decide, and the S/N per pixel; return the mean flux."""
        domain, n_wave = self.contract.domain, flux.shape[1]
        n_valid, span, level, snr, negative = _statistics(flux, flux_err, mask)
        covered = span / n_wave
        low, high = domain["snr"]
        redshift = self.spectra.redshift[rows]
        low_z, high_z = domain["redshift"]
        found = {
            Flag.NO_DATA: (n_valid == 0) | ~(level > 0),
            Flag.FEW_PIXELS: (n_valid < 0.5 * domain["min_coverage"] * n_wave)
            | (covered < 0.8 * domain["min_coverage"]),
            Flag.PARTIAL_COVERAGE: covered < _FULL_COVERAGE,
            Flag.NEGATIVE_FLUX: negative > _NEGATIVE_SHARE,
            Flag.SNR_OUTSIDE: (snr < low) | (snr > high),
            Flag.REDSHIFT_OUTSIDE: ~((redshift >= low_z) & (redshift <= high_z)),
        }
        flags = self.flags[rows]
        for flag, where in found.items():
            flags[where] |= int(flag)
        self.flags[rows] = flags
        self.snr[rows] = snr
        self.valid_share[rows] = n_valid / n_wave
        return level


def _statistics(flux, flux_err, mask):
    """Numbers of a block of spectra, each (n_spec,).

    Valid pixels, pixels between the first and the last of them, mean flux, median S/N, and the share of valid pixels
    that are negative by more than 3 sigma; 0 where no pixel is valid.
    """
    n_spec, n_wave = mask.shape
    if kernels.compiled is not None:
        out = np.empty((n_spec, 5))
        kernels.compiled.statistics((n_spec, n_wave, _SNR_STRIDE), flux, flux_err, mask, out)
        n_valid, span, level, snr, negative = out.T
        return n_valid, span, level, snr, negative
    n_valid = n_wave - np.count_nonzero(mask, axis=1)
    some = np.maximum(n_valid, 1)
    if n_valid.min(initial=n_wave) == n_wave:
        span, level = n_valid, flux.mean(axis=1).astype(float)
    else:
        valid = ~mask
        first, last = valid.argmax(axis=1), n_wave - valid[:, ::-1].argmax(axis=1)
        span = np.where(n_valid > 0, last - first, 0)
        level = (flux * valid).sum(axis=1).astype(float) / some
    valid = ~mask[:, ::_SNR_STRIDE]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of masked pixels, and of tiny errors
        ratio = np.where(valid, flux[:, ::_SNR_STRIDE] / flux_err[:, ::_SNR_STRIDE], np.inf)
    n_valid_here = np.count_nonzero(valid, axis=1)
    negative = np.count_nonzero(ratio < -3, axis=1) / np.maximum(n_valid_here, 1)
    snr = np.zeros(n_spec)
    for n in np.unique(n_valid_here[n_valid_here > 0]):  # masked pixels are the last ones in order
        rows, half = np.flatnonzero(n_valid_here == n), n // 2
        parted = np.partition(ratio[rows], half, axis=1)
        upper = parted[:, half]
        lower = upper if n % 2 else parted[:, :half].max(axis=1)
        snr[rows] = 0.5 * (lower.astype(float) + upper)
    return n_valid, span, level, snr, negative
