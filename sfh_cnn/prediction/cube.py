"""predict_cube(): a cube, block by block, into maps.

Rows of spaxels are read in stripes, each once. Single spaxels go to the network as they come; the spectra of bins are
summed up stripe by stripe, and a bin goes to the network when its last row is in. So the memory needed depends on the
width of a stripe and not on the size of the cube. Stripes know nothing of each other, here or on a cluster: what is
added up across them is added up in their order, and the numbers are the same.
"""

import contextlib
import dataclasses
import hashlib
import time
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy import log
from astropy.table import QTable
from astropy.utils.masked import Masked
from scipy import sparse

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, map_on_cluster, progress
from sfh_cnn.photometry import to_flux_density
from sfh_cnn.results import SFHMaps, SFHResult
from sfh_cnn.spectra import estimate_noise, plain_redshift

from .binning import bin_spaxels
from .cube_parts import MemoryParts, parts_in_folder
from .map_files import read_bin_map, redshift_map

__all__ = ["predict_cube"]

#: Bytes of a stripe of rows in memory: flux, variance and masks.
_STRIPE_BYTES = 3.2e8
#: Spectra that go through the network together.
_BATCH = 1024
#: Planes summed at a time.
_PLANES = 128
#: Observed wavelengths that S/N ratios refer to, Angstrom: free of strong lines in nearby galaxies (as for
#: PHANGS-MUSE, Emsellem et al. 2022, A&A 659, A191).
_SNR_WINDOW_AA = (5300.0, 5500.0)
#: A wavelength at which less than this share of a bin's light is in good spaxels is masked.
_MIN_COVERAGE = 0.5
#: A band is used for a bin if at least this share of its spaxels has a flux.
_MIN_BAND_COVERAGE = 0.9
#: Planes of flux, errors and mask by which a cube is known again.
_N_HASHED = 5


def predict_cube(
    predictor,
    source,
    *,
    images,
    velocity,
    bins,
    redshift,
    options,
    target_snr,
    binning,
    snr_cut,
    noise_correlation,
    output,
    overwrite,
    progress_bar,
    scheduler,
):
    """Maps of a cube.

    Parameters
    ----------
    predictor : SFHPredictor
    source : `~sfh_cnn.spectra.Cube`
    images, velocity, bins, redshift : see `SFHPredictor.predict_cube`
    options : dict
        Arguments of `SFHPredictor.predict`, the same for all spectra.
    target_snr, binning, snr_cut, noise_correlation : see `SFHPredictor.predict_cube`
    output, overwrite, progress_bar, scheduler : see `SFHPredictor.predict_cube`

    Returns
    -------
    `~sfh_cnn.results.SFHMaps`
    """
    output = None if output is None else Path(output)
    if output is not None and output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; pass overwrite=True (--overwrite) to replace it")
    if bins is not None and target_snr is not None:
        raise SFHCNNError("give bins or target_snr, not both")
    shape = source.shape[1:]
    redshift = source.redshift if redshift is None else redshift
    if redshift is None:
        raise SFHCNNError("the redshift of the cube is not known; give redshift=...")
    redshifts = redshift_map(redshift, velocity, shape)
    if not np.isfinite(redshifts).any():
        raise SFHCNNError("no spaxel has a redshift; look at the velocity map")
    options = {**options, "distance": _distance(options["distance"], redshift)}
    correlation = noise_correlation if callable(noise_correlation) else _constant(noise_correlation)
    bands = {} if images is None else _band_maps(images, predictor.contract.bands, shape)
    grid = predictor.contract.wavelength_grid
    z_low, z_high = np.nanmin(redshifts), np.nanmax(redshifts)
    if snr_cut is None:
        snr_cut = 0.0 if target_snr is not None else _lowest_snr(predictor.contract, source, z_low)

    planes = source.planes_between(grid.edges_aa[0] * (1 + z_low) - 10, grid.edges_aa[-1] * (1 + z_high) + 10)
    if planes.stop - planes.start < 2:
        planes = slice(0, source.shape[0])  # predict says what is wrong
    begin = time.perf_counter()
    if target_snr is not None:
        signal, noise = _signal_and_noise_maps(source, planes)
        noise[~(signal >= snr_cut * noise) | ~np.isfinite(redshifts)] = np.nan
        bin_id = bin_spaxels(signal, noise, target_snr, method=binning, correlation=correlation)
    elif bins is not None:
        bin_id = read_bin_map(bins, shape, np.isfinite(redshifts))
    else:
        bin_id = None

    work = _Work(predictor, source, planes, redshifts, bin_id, bands, correlation, snr_cut, options)
    if bin_id is not None:
        work.total.add({"seconds": {"binning": time.perf_counter() - begin}})
    if output is None:
        return _finish(work, MemoryParts(), progress_bar, scheduler)
    with parts_in_folder(output.with_name(output.name + ".parts"), work.fingerprint(), overwrite) as parts:
        maps = _finish(work, parts, progress_bar, scheduler)
        maps.write(output, overwrite=overwrite)
        parts.remove()
    return maps


def _distance(distance, redshift):
    """One distance for all spaxels: a cosmology would take their rotation for distance."""
    if not hasattr(distance, "luminosity_distance"):
        return distance
    z = float(np.nanmedian(plain_redshift(redshift)))
    if not z > 0:
        raise SFHCNNError(f"a cosmology gives no distance at redshift {z:g}; give distance as a length")
    return distance.luminosity_distance(z)


def _lowest_snr(contract, source, redshift):
    """The lowest S/N that a network was trained for, in pixels of the cube."""
    wave_aa = source.spectral_axis.to_value(u.AA, equivalencies=u.spectral())
    step_aa = abs(np.median(np.diff(wave_aa))) / (1 + redshift)
    return contract.domain["snr"][0] * float(np.sqrt(step_aa / contract.wave_step_aa))


def _finish(work, parts, progress_bar, scheduler):
    """Do the blocks that are missing and make the maps."""
    _, n_y, n_x = work.source.shape
    with progress(n_y * n_x, work.source.name, unit="spaxels", enabled=progress_bar) as advance:
        try:
            work.run(parts, advance, scheduler)
        except KeyboardInterrupt:
            if parts.lasting:
                log.warning(f"stopped; the same call goes on from block {parts.n_done} of {len(work.stripes)}")
            raise
    return work.maps(parts.columns())


def _constant(factor):
    if not factor >= 1:
        raise SFHCNNError(f"noise_correlation must be at least 1, got {factor}")
    return lambda n_spaxel: np.where(np.asarray(n_spaxel) > 1, factor, 1.0)


def _band_maps(images, bands, shape):
    """Flux and error of each band for each spaxel, plain arrays in erg/s/cm2/Angstrom."""
    maps = {}
    for band, pair in images.items():
        name = f"images[{band!r}]"
        if band not in bands:
            raise SFHCNNError(f"images has {band}; the network knows {', '.join(bands)}")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[1] is None:
            raise SFHCNNError(f"{name} must be a pair of flux and error, got {type(pair).__name__}")
        flux, error = (part.filled(np.nan) if hasattr(part, "filled") else part for part in pair)
        for part in (flux, error):
            if np.shape(part) != tuple(shape):
                raise SFHCNNError(f"{name} has shape {np.shape(part)}, the cube's image {tuple(shape)}")
        maps[band] = to_flux_density(flux, band, error, name=name)
    return maps


def _window(source, planes):
    """Planes for S/N ratios: the usual window, or the middle of what is used."""
    inside = source.planes_between(*_SNR_WINDOW_AA)
    start, stop = max(inside.start, planes.start), min(inside.stop, planes.stop)
    if stop - start >= 5:
        return slice(start, stop)
    fifth = max((planes.stop - planes.start) // 5, 5)
    middle = (planes.start + planes.stop) // 2
    return slice(max(middle - fifth // 2, planes.start), min(middle + fifth // 2 + 1, planes.stop))


def _signal_and_noise(flux, variance, bad):
    """Mean flux and rms error per pixel of each spaxel, (n_spaxel,); NaN where no pixel is good."""
    n_good = (~bad).sum(axis=0)
    share = np.where(n_good, 1 / np.maximum(n_good, 1), np.nan)
    signal = np.where(bad, 0, flux).sum(axis=0, dtype=float) * share
    if variance is None:
        return signal, estimate_noise(flux.T, bad.T)
    return signal, np.sqrt(np.where(bad, 0, variance).sum(axis=0, dtype=float) * share)


def _signal_and_noise_maps(source, planes):
    window = _window(source, planes)
    n_y, n_x = source.shape[1:]
    signal, noise = np.empty((n_y, n_x)), np.empty((n_y, n_x))
    for y0, y1 in _stripes(window, n_y, n_x):
        values = _signal_and_noise(*source.read(y0, y1, window))
        signal[y0:y1], noise[y0:y1] = (value.reshape(-1, n_x) for value in values)
    return signal, noise


def _stripes(planes, n_y, n_x):
    """First and last row + 1 of stripes of whole rows."""
    row_bytes = (planes.stop - planes.start) * n_x * 10
    rows = max(1, int(_STRIPE_BYTES // row_bytes))
    return [(y0, min(y0 + rows, n_y)) for y0 in range(0, n_y, rows)]


@dataclasses.dataclass
class _Block:
    """What became of a stripe."""

    #: Columns of a result, a dict for each batch.
    results: list = dataclasses.field(default_factory=list)
    #: Sums of the bins that other stripes have a share in, by number: flux, variance, light; and their light in all.
    sums: dict = dataclasses.field(default_factory=dict)
    meta: dict = dataclasses.field(default_factory=dict)
    seconds: dict = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def timed(self, name):
        begin = time.perf_counter()
        yield
        self.add({"seconds": {name: time.perf_counter() - begin}})

    def add(self, record):
        """Add metadata and times of another stripe or run."""
        self.meta |= record.get("meta", {})
        for name, value in record.get("seconds", {}).items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value


class _Work:
    """What is to be done with a cube; ``run`` does it.

    Everything but `run` and `maps` leaves it as it is, so that several threads and processes can share it.
    """

    def __init__(self, predictor, source, planes, redshifts, bin_id, bands, correlation, snr_cut, options):
        self.predictor, self.source, self.planes = predictor, source, planes
        self.redshifts, self.bands, self.correlation = redshifts, bands, correlation
        self.snr_cut, self.options = snr_cut, options
        n_y, n_x = source.shape[1:]
        self.stripes = _stripes(planes, n_y, n_x)
        self.window = _window(source, planes)
        self.total = _Block()
        self.binned = bin_id is not None
        self.bin_id = bin_id if self.binned else np.arange(n_y * n_x).reshape(n_y, n_x)
        if self.binned:
            self._prepare_bins()

    def fingerprint(self):
        """What decides the numbers, so that blocks of another run are not taken for those of this one."""
        digest = hashlib.sha256()

        def add(*arrays):
            for array in arrays:
                digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())

        add(self.redshifts, self.bin_id, *(part for pair in self.bands.values() for part in pair))
        for plane in np.unique(np.linspace(self.planes.start, self.planes.stop - 1, _N_HASHED).astype(int)).tolist():
            add(*self.source.read(0, self.source.shape[1], slice(plane, plane + 1)))
        return {
            "shape": list(self.source.shape),
            "planes": [self.planes.start, self.planes.stop],
            "stripes": len(self.stripes),
            "data": digest.hexdigest(),
            "network": self.predictor.sha256,
            "options": {name: repr(value) for name, value in self.options.items()},
            "snr_cut": float(self.snr_cut),
            "noise_correlation": [float(self.correlation(n)) for n in (1, 2, 100)],
            "bands": list(self.bands),
        }

    def run(self, parts, advance, scheduler=None):
        """Do the blocks that are missing, one for each stripe, here or on a cluster."""
        begin = done = parts.n_done
        self.total.add(parts.record)
        if self.binned and done < len(self.stripes):
            # The sums of bins that were not complete are not stored: their stripes are read once more.
            begin = self.first[self.last >= done].min(initial=done)
        n_x = self.source.shape[2]
        advance(sum(y1 - y0 for y0, y1 in self.stripes[:begin]) * n_x)
        todo = range(begin, len(self.stripes))
        if scheduler is None:
            blocks = (self.block(i, done) for i in todo)
        else:
            blocks = map_on_cluster(scheduler, _block_of, todo, (self, done))
        waiting = {}
        for i, block in zip(todo, blocks, strict=True):
            self._close_bins(i, block, waiting)
            self.total.add({"meta": block.meta, "seconds": block.seconds})
            if i >= done:
                parts.keep({"meta": self.total.meta, "seconds": self.total.seconds})
                parts.add(_joined(block.results))
            y0, y1 = self.stripes[i]
            advance((y1 - y0) * n_x)

    def block(self, i, done):
        """What one stripe gives by itself; bins that were complete in the first ``done`` stripes are left out."""
        block = _Block()
        y0, y1 = self.stripes[i]
        with block.timed("reading"):
            pixels = self.source.read(y0, y1, self.planes)
        if self.binned:
            self._bins_in(i, pixels, done, block)
        else:
            self._spaxels_in(i, pixels, block)
        return block

    def maps(self, columns):
        """All blocks as maps."""
        if not columns:
            raise SFHCNNError(
                f"no spaxel of {self.source.name} has a S/N above {self.snr_cut:g}; lower snr_cut, or bin the cube "
                "with target_snr"
            )
        numbers = np.asarray(columns.pop("number"))
        bin_id = self.bin_id
        if self.binned:
            order = np.argsort(numbers)
            columns = {key: value[order] for key, value in columns.items()}
        else:
            bin_id = np.full(bin_id.shape, -1)
            bin_id.ravel()[numbers] = np.arange(len(numbers))
        seconds = {key: round(value, 3) for key, value in self.total.seconds.items()}
        meta = {**self.total.meta, "cube": self.source.name, "snr_cut": float(self.snr_cut), "seconds": seconds}
        result = SFHResult(self.predictor.contract, columns, meta, engine=self.predictor.engine)
        return SFHMaps(result, bin_id, self.source.wcs)

    def _predict(self, block, numbers, flux, variance, bad, redshift, bands):
        """Add the arrays of a result, and the number of the spaxel or bin of each row."""
        with block.timed("predicting"):
            result = self.predictor.predict(
                self.source.spectra(flux, variance, bad, self.planes),
                _photometry(bands),
                redshift=redshift,
                keep_spectra=False,
                progress_bar=False,
                **self.options,
            )
        block.meta |= result.meta
        block.results.append({"number": numbers, **result.arrays})

    # ---- spaxels -----------------------------------------------------------------------------------------------

    def _spaxels_in(self, i, pixels, block):
        """Predict the spaxels of a stripe that are worth it."""
        rows = slice(*self.stripes[i])
        redshift, numbers = self.redshifts[rows].ravel(), self.bin_id[rows].ravel()
        bands = {band: [part[rows].ravel() for part in pair] for band, pair in self.bands.items()}
        inside = slice(self.window.start - self.planes.start, self.window.stop - self.planes.start)
        signal, noise = _signal_and_noise(*(None if part is None else part[inside] for part in pixels))
        chosen = np.flatnonzero((signal >= self.snr_cut * noise) & (noise > 0) & np.isfinite(redshift))
        for start in range(0, len(chosen), _BATCH):
            one = chosen[start : start + _BATCH]
            # Wavelength runs down the planes of a cube, and along the rows of spectra; who takes these turns them.
            spectra = [None if part is None else _columns(part, one).T for part in pixels]
            here = {band: [part[one] for part in pair] for band, pair in bands.items()}
            self._predict(block, numbers[one], *spectra, redshift[one], here)

    # ---- bins --------------------------------------------------------------------------------------------------

    def _prepare_bins(self):
        """Which stripes each bin begins and ends in; its size, redshift and bands."""
        inside = self.bin_id >= 0
        numbers = self.bin_id[inside]
        stripe_of_row = np.repeat(np.arange(len(self.stripes)), [y1 - y0 for y0, y1 in self.stripes])
        stripe = np.broadcast_to(stripe_of_row[:, np.newaxis], self.bin_id.shape)[inside]
        self.size = np.bincount(numbers)
        self.first = np.full(len(self.size), len(self.stripes))
        self.last = np.full(len(self.size), -1)
        np.minimum.at(self.first, numbers, stripe)
        np.maximum.at(self.last, numbers, stripe)
        self.bin_redshift = np.bincount(numbers, self.redshifts[inside]) / self.size
        self.bin_bands = {
            band: _bin_band(numbers, flux[inside], error[inside], self.size)
            for band, (flux, error) in self.bands.items()
        }

    def _bins_in(self, i, pixels, done, block):
        """Sum up the bins of a stripe; predict those that lie in it as a whole, and hand on the sums of the others."""
        flux, _, bad = pixels
        numbers = self.bin_id[slice(*self.stripes[i])].ravel()
        n_good = (~bad).sum(axis=0)
        mean = np.where(bad, 0, flux).sum(axis=0, dtype=float) / np.maximum(n_good, 1)
        # A bin of which all is negative keeps some weight: it is for the network to say what it is worth.
        weight = np.maximum(mean, 1e-6 * np.abs(mean))
        here = np.unique(numbers[numbers >= 0])
        here = here[self.last[here] >= done]
        for start in range(0, len(here), _BATCH):
            group = here[start : start + _BATCH]
            with block.timed("summing"):
                sums, light = self._sum_group(group, numbers, weight, pixels)
            whole = (self.first[group] == i) & (self.last[group] == i)
            if whole.any():
                self._predict_bins(block, group[whole], sums[:, whole], light[whole])
            for j in np.flatnonzero(~whole):
                block.sums[int(group[j])] = sums[:, j].copy(), light[j]

    def _sum_group(self, group, numbers, weight, pixels):
        """Sums over the spaxels of a stripe that are in some bins, (3, n_group, n_planes), and their light."""
        flux, variance, bad = pixels
        columns = np.flatnonzero(np.isin(numbers, group))
        row = np.searchsorted(group, numbers[columns])
        where = (row, np.arange(len(columns)))
        members = sparse.csr_array((np.ones(len(columns)), where), shape=(len(group), len(columns)))
        light = sparse.csr_array((weight[columns], where), shape=members.shape)
        sums = np.zeros((3, len(group), len(flux)))
        for start in range(0, len(flux), _PLANES):
            part = slice(start, start + _PLANES)
            good = ~bad[part][:, columns].T
            sums[0, :, part] = members @ np.where(good, flux[part][:, columns].T, 0)
            if variance is not None:
                sums[1, :, part] = members @ np.where(good, variance[part][:, columns].T, 0)
            sums[2, :, part] = light @ good.astype(float)
        return sums, np.bincount(row, weight[columns], minlength=len(group))

    def _close_bins(self, i, block, waiting):
        """Add the sums of bins that go on to those of the stripes before; predict those that end in this stripe."""
        for number, (sums, light) in block.sums.items():
            before = waiting.get(number, (0.0, 0.0))
            waiting[number] = before[0] + sums, before[1] + light
        ended = [number for number in block.sums if self.last[number] == i]
        for start in range(0, len(ended), _BATCH):
            group = np.array(ended[start : start + _BATCH])
            sums, light = zip(*(waiting.pop(number) for number in group.tolist()), strict=True)
            self._predict_bins(block, group, np.stack(sums, axis=1), np.array(light))

    def _predict_bins(self, block, numbers, sums, total):
        """Predict complete bins. What is lost at some wavelength is made up for by the share of the light there."""
        flux, variance, light = sums
        total = total[:, np.newaxis]
        covered = np.divide(light, total, out=np.zeros_like(light), where=total > 0)
        bad = covered < _MIN_COVERAGE
        scale = 1 / np.where(bad, 1.0, covered)
        factor = np.broadcast_to(self.correlation(self.size[numbers]), numbers.shape)[:, np.newaxis]
        variance = None if self.source.noise is None else (variance * (scale * factor) ** 2).astype(np.float32)
        bands = {band: [part[numbers] for part in pair] for band, pair in self.bin_bands.items()}
        flux = (flux * scale).astype(np.float32)
        self._predict(block, numbers, flux, variance, bad, self.bin_redshift[numbers], bands)


def _block_of(i, shared):
    """One stripe, on a worker."""
    work, done = shared
    return work.block(i, done)


def _columns(array, numbers):
    """Some columns in ascending order, as they lie: a view if they are neighbours."""
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return array[:, numbers[0] : numbers[-1] + 1]
    return array.take(numbers, axis=1)  # an index would turn them, spectrum by spectrum


def _joined(results):
    """Arrays of several results one below the other."""
    if not results:
        return {"number": np.zeros(0, dtype=int)}
    return {key: np.concatenate([one[key] for one in results]) for key in results[0]}


def _photometry(bands):
    """Bands as a table; a spaxel outside an image has no flux there, which is no fault of it."""
    if not bands:
        return None
    table = QTable()
    for band, (flux, error) in bands.items():
        absent = ~np.isfinite(flux)
        for name, values in ((band, flux), (f"{band}_err", error)):
            table[name] = Masked(np.where(absent, 0, values) * FLUX_UNIT, mask=absent)
    return table


def _bin_band(numbers, flux, error, size):
    """Flux and error of bins in one band, NaN where too many of their spaxels have none."""
    good = np.isfinite(flux) & np.isfinite(error)
    n_good = np.bincount(numbers[good], minlength=len(size))
    total = np.bincount(numbers[good], flux[good], minlength=len(size))
    variance = np.bincount(numbers[good], error[good] ** 2, minlength=len(size))
    scale = np.where(n_good >= _MIN_BAND_COVERAGE * size, size / np.maximum(n_good, 1), np.nan)
    return total * scale, np.sqrt(variance) * scale
