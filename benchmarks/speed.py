"""How fast sfh_cnn is: prediction by batch size, pPXF, cubes, synthesis, training, cold start, whole processes, memory.

    cd benchmarks
    PYTHONPATH=.. OMP_NUM_THREADS=1 python speed.py --csv ../docs/development/_speed.csv

CPU seconds of one process unless it says wall: they do not count other programs on the machine, which still cost cache
and clock. Medians and ranges of repeated runs; ratios are of one run. The documentation draws its figures from the CSV.
"""

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from threadpoolctl import threadpool_limits

import sfh_cnn
from sfh_cnn import SFHPredictor
from sfh_cnn.core import kernels
from sfh_cnn.network import SFHNet
from sfh_cnn.spectra import open_spectra
from sfh_cnn.synthesis import MockGenerator, ObservationConfig, SynthesisConfig
from sfh_cnn.training import LossConfig, joint_loss, load_run_config, to_tensors

BATCHES = (1, 64, 1024, 16384)
CUBE_SIZES = (16, 32, 64, 96)
PARTS = ("predict", "ppxf", "cube", "synthesis", "training", "start", "process")
DERIVED = (
    *("mass_weighted_log_age", "light_weighted_log_age", "mass_weighted_metallicity", "light_weighted_metallicity"),
    *("a_v", "mass_to_light"),
)
#: pPXF is given the network's age bins, and once as many as its own grids of FSPS and GALAXEV have.
N_AGE_PPXF = 43
UNIT = u.Unit("1e-17 erg / (s cm2 Angstrom)")
#: MUSE's own pixels.
WAVE_AA = np.arange(4750.0, 9350.0, 1.25)
#: Noise is all that is wrong with these mocks, and all have bands.
OBSERVATION = ObservationConfig(
    snr_range=(10, 100),
    velocity_error_kms=30.0,
    full_coverage_share=1.0,
    masked_share=0.0,
    no_bands_share=0.0,
    some_bands_share=0.0,
)


class Report:
    """Prints each measurement and keeps it for the CSV."""

    def __init__(self):
        self.rows = []

    def add(self, what, values, unit, size=1, threads=1):
        """Add a measurement; return its median."""
        low, median, high = (float(np.quantile(values, share)) for share in (0, 0.5, 1))
        self.rows.append(
            {"what": what, "size": size, "threads": threads, "unit": unit}
            | {name: f"{value:.4g}" for name, value in (("median", median), ("low", low), ("high", high))}
        )
        print(f"{what:52s} {size:6d} {threads:2d} {median:10.4g} {unit}  ({low:.4g} to {high:.4g})", flush=True)
        return median

    def write(self, path, machine):
        """Write the CSV, and beside it what it was measured on."""
        path.with_suffix(".txt").write_text(f"{machine}\n")
        with open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


def times(function, clock, repeat=5):
    """Seconds of a clock that each of some calls takes, after a first one."""
    function()
    seconds = []
    for _ in range(repeat):
        start = clock()
        function()
        seconds.append(clock() - start)
    return np.array(seconds)


def cpu_times(function, repeat=5):
    """Of this process."""
    return times(function, time.process_time, repeat)


def wall_times(function, repeat=5):
    """As one waits."""
    return times(function, time.perf_counter, repeat)


def make_mocks():
    """A group of mocks that share a redshift, and their configuration."""
    generator = MockGenerator(SynthesisConfig(observation=OBSERVATION))
    return generator.chunk(0, 256), generator


def observed(mocks, config, n):
    """Mocks as a user has them: a stack on MUSE's own pixels, not on the network's, and a table of bands."""
    redshift = float(mocks["redshift"][0])
    wave = config.instrument.wavelength_grid.wave_aa * (1 + redshift)
    inside = (wave[0] < WAVE_AA) & (wave[-1] > WAVE_AA)
    rows, near = np.arange(n) % len(mocks["flux"]), np.searchsorted(wave, WAVE_AA[inside])
    flux, err = (np.ascontiguousarray(mocks[name][:, near])[rows] for name in ("flux", "flux_err"))
    bands = QTable()
    for i, name in enumerate(config.instrument.bands):
        for column, values in ((name, "band_flux"), (f"{name}_err", "band_flux_err")):
            bands[column] = mocks[values][rows, i] * UNIT
    return WAVE_AA[inside], flux, err, redshift, bands


def as_spectrum(wave, flux, err, redshift):
    """The class that users have."""
    from specutils import Spectrum

    flux = u.Quantity(flux, UNIT, copy=False, dtype=np.float32)
    options = {"redshift": redshift, "meta": {"medium": "air"}}
    return Spectrum(spectral_axis=wave * u.AA, flux=flux, uncertainty=StdDevUncertainty(err), **options)


def intervals(result):
    """Intervals of what does not need draws."""
    return [result.interval(name) for name in DERIVED]


def predict_speed(report, predictor, data, label="predict"):
    """(a): the whole of predict with intervals, by batch; the median of the largest, in seconds per spectrum."""
    wave, flux, err, redshift, bands = data
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch in [size for size in BATCHES if size <= len(flux)]:
            spectrum, table = as_spectrum(wave, flux[:batch], err[:batch], redshift), bands[:batch]

            def run(spectrum=spectrum, table=table):
                intervals(predictor.predict(spectrum, table, progress_bar=False))

            repeat = 20 if batch < 1000 else 5 if batch < 10_000 else 3
            timer = cpu_times if threads == 1 else wall_times
            seconds = report.add(label, timer(run, repeat) / batch * 1e6, "us", batch, threads) / 1e6
            if threads == 1:
                alone = seconds
    torch.set_num_threads(1)
    return alone


def shares(report, predictor, data, n=1024):
    """The parts of (a)."""
    wave, flux, err, redshift, _ = data
    block = sfh_cnn.conf.batch_size
    spectrum = as_spectrum(wave, flux[:n], err[:n], redshift)
    grid = predictor.contract.wavelength_grid
    starts = range(0, n, block)

    def prepare():
        spectra = open_spectra(spectrum)
        return [spectra.block(slice(i, i + block)).resample(grid) for i in starts]

    parts = report.add("of this: reading and resampling", cpu_times(prepare) / n * 1e6, "us", n)
    flux, flux_err, mask = (torch.from_numpy(value) for value in prepare()[0])
    scale = flux.mean()
    missing = torch.full((block, predictor.contract.n_band), torch.nan)
    small = torch.full((block,), 0.01)
    batch = [flux / scale, flux_err / scale, mask, missing, missing, small, small]
    with torch.inference_mode():
        times = cpu_times(lambda: predictor._program(*batch), 20) / block * 1e6
        parts += report.add("of this: network", times, "us", block)
        eager = predictor.engine.network
        report.add("network as PyTorch runs it", cpu_times(lambda: eager(*batch), 20) / block * 1e6, "us", block)
        outputs = predictor._program(*batch)
        times = cpu_times(lambda: predictor.engine.compare(batch, outputs), 20)
        parts += report.add("of this: reconstruction and chi2", times / block * 1e6, "us", block)
    rest = cpu_times(lambda: predictor.predict(spectrum)) / n * 1e6 - parts
    report.add("of this: flags, scaling, assembling the result", rest, "us", n)
    result = predictor.predict(spectrum[:64])
    many = predictor.predict(spectrum)
    report.add("of this: intervals", cpu_times(lambda: intervals(many)) / n * 1e6, "us", n)
    report.add("200 joint draws (only when asked for)", cpu_times(lambda: result.draws(200), 3) / 64 * 1e6, "us", 64)


def ppxf_speed(report, mocks, config, ours, n=12, n_noise=20):
    """(b): pPXF on some of the same spectra, and the ratio: of its mean time, for that of predict is a mean, too.

    Then with templates of as many ages as its own grids have, and with errors, from fits of so many noisy copies.
    """
    from ppxf_fit import MODES, Fitter, Templates, line_spread

    from sfh_cnn.core import AgeGrid
    from sfh_cnn.ssp import SSPLibrary

    redshift = float(mocks["redshift"][0])
    spread = line_spread(config.instrument, redshift)

    def make_fitter(age_grid):
        templates = Templates(SSPLibrary.read("bc03-miles"), age_grid, (-2.0, 0.4))
        wave_aa = config.instrument.wavelength_grid.wave_aa
        return Fitter(templates, wave_aa, redshift, spread, config.instrument.bands)

    def fit(fitter, mode, i, noise=0.0):
        data = [mocks[name][i].astype(float) for name in ("flux", "flux_err", "band_flux", "band_flux_err")]
        for values, errors in (data[:2], data[2:]):
            values += noise * errors * rng.standard_normal(len(values))
        return fitter.fit(mode, *data[:2], mocks["mask"][i], *data[2:])["cpu_s"]

    def add(label, times):
        report.add(f"pPXF, {label}", np.array(times) * 1e3, "ms")
        if ours:
            report.add(f"pPXF, {label}, over predict", [np.mean(times) / ours], "times")

    rng = np.random.default_rng(1)
    few = make_fitter(config.age_grid)
    for mode in MODES:
        add(mode, [fit(few, mode, i) for i in range(n)])
    many = make_fitter(AgeGrid(np.append(0.0, np.geomspace(1e6, 1.38e10, N_AGE_PPXF)) * u.yr))
    for mode in ("spectrum + bands", "as PHANGS"):
        add(f"{mode}, {N_AGE_PPXF} ages", [fit(many, mode, i) for i in range(n)])
    mode = "spectrum + bands"
    add(
        f"{mode}, errors by {n_noise} noisy copies",
        [sum(fit(few, mode, i, 1.0) for _ in range(n_noise)) for i in range(2)],
    )


def write_cube(path, wave, flux, err, size, bunit="10**(-17)*erg/s/cm**2/Angstrom"):
    """A cube as MUSE's pipeline writes it."""
    rows = np.arange(size * size) % len(flux)
    data, variance = (np.ascontiguousarray(values.T) for values in (flux[rows], err[rows] ** 2))
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT3": "Angstrom", "BUNIT": bunit}
    cards |= {"CRVAL1": 40.0, "CRVAL2": -10.0, "CRVAL3": wave[0], "CRPIX1": 1.0, "CRPIX2": 1.0, "CRPIX3": 1.0}
    cards |= {"CD1_1": -5.6e-5, "CD2_2": 5.6e-5, "CD3_3": 1.25, "CD1_2": 0.0, "CD2_1": 0.0}
    cards |= {"CUNIT1": "deg", "CUNIT2": "deg"}
    header = fits.Header(cards)
    shape = (len(wave), size, size)
    parts = [fits.ImageHDU(part.reshape(shape), header, name) for part, name in ((data, "DATA"), (variance, "STAT"))]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(path, overwrite=True)


def read_plainly(path):
    """Both cubes of a file as native arrays."""
    with fits.open(path) as hdus:
        return [hdus[name].data.astype(np.float32) for name in ("DATA", "STAT")]


def cube_speed(report, predictor, data, folder):
    """(c): maps of a cube in a file, and reading the same file."""
    wave, flux, err, redshift, _ = data
    for size in CUBE_SIZES:
        path = Path(folder) / f"cube_{size}.fits"
        write_cube(path, wave, flux, err, size)
        report.add("reading a cube with numpy", wall_times(lambda path=path: read_plainly(path), 3), "s wall", size**2)

        def run(path=path):
            predictor.predict_cube(path, redshift=redshift, progress_bar=False)

        report.add("predict_cube", wall_times(run, 2), "s wall", size**2)
    return path


def training_speed(report, config, generator):
    """(e): forward, loss and backward of the full network."""
    network = SFHNet(generator.contract(), config.network)
    batch = to_tensors(generator.chunk(1, 256))

    def step():
        joint_loss(network, batch, LossConfig())[0].backward()

    report.add("training samples", 256 / cpu_times(step, 3), "/s", 256)


def process(report, label, arguments, repeat=3, size=1):
    """Wall time, CPU time and peak memory of fresh interpreters."""
    runs = []
    for _ in range(repeat):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        runs.append((cpu, wall, float(done.stdout.split()[-1]) / 1024))
    for values, unit in zip(np.transpose(runs), ("s CPU", "s wall", "MB"), strict=True):
        report.add(label, values, unit, size)


# VmHWM starts anew with the program; ru_maxrss remembers the one that it was forked from.
_MEMORY = "\nprint(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])"


def command(*arguments):
    """Arguments of a Python that runs ``sfh-cnn`` and tells its peak memory."""
    code = f"from sfh_cnn.cli.main import main\nmain({list(map(str, arguments))!r}, standalone_mode=False)"
    return ["-c", code + _MEMORY]


def process_speed(report, data, folder, n, cube=None):
    """Whole processes: ``sfh-cnn predict`` on a file of many spectra and on a cube."""
    wave, flux, err, redshift, _ = data
    path = Path(folder) / "spectra.fits"
    rows = np.arange(n) % len(flux)
    table = QTable(
        {
            "wavelength": wave * u.AA,
            "flux": (flux[rows] * np.float32(UNIT.scale)).T * u.Unit("erg / (s cm2 Angstrom)"),
            "uncertainty": (err[rows] * np.float32(UNIT.scale)).T * u.Unit("erg / (s cm2 Angstrom)"),
        },
        meta={"REDSHIFT": redshift, "MEDIUM": "air"},
    )
    table.write(path, overwrite=True)
    output = Path(folder) / "out.fits"
    arguments = command("predict", path, "-o", output, "--overwrite", "--threads", 1)
    process(report, "sfh-cnn predict, a file of spectra", arguments, 1, n)
    if cube is not None:
        arguments = command("predict", cube, "-o", output, "--overwrite", "--redshift", redshift, "--threads", 1)
        process(report, "sfh-cnn predict, a cube", arguments, 1, max(CUBE_SIZES) ** 2)


def start_speed(report):
    """(f) and (g): import, time to the first answer, peak memory."""
    process(report, "import sfh_cnn", ["-c", "import sfh_cnn" + _MEMORY])
    process(report, "import torch, for comparison", ["-c", "import torch" + _MEMORY])
    process(report, "sfh-cnn predict example, cold start", command("predict", "example"))


def main():
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="file of a released network; by default the one that ships")
    parser.add_argument("--n", type=int, default=16384, help="largest number of spectra")
    parser.add_argument("--n-file", type=int, default=20000, help="spectra in the file of the whole process")
    parser.add_argument("--skip", nargs="*", default=[], choices=PARTS)
    parser.add_argument("--csv", type=Path, help="file to write")
    args = parser.parse_args()
    threadpool_limits(1)
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "astropy", "ppxf"))
    machine = (
        f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"sfh_cnn {sfh_cnn.__version__.split('+')[0]}, {versions}"
    )
    print(f"{machine}; load {os.getloadavg()[0]:.1f}")
    report = Report()
    load = SFHPredictor.from_file if args.network else SFHPredictor.pretrained
    predictor = load(args.network)
    mocks, generator = make_mocks()
    data = observed(mocks, generator.config, args.n)
    config = load_run_config("phangs-muse-hst-bc03")
    released = MockGenerator(config.synthesis)
    ours = cube = None
    with tempfile.TemporaryDirectory() as folder:
        if "predict" not in args.skip:
            ours = predict_speed(report, predictor, data)
            shares(report, predictor, data)
            if kernels.compiled is not None:
                compiled, kernels.compiled = kernels.compiled, None
                predict_speed(report, predictor, data, "predict, without compiled kernels")
                kernels.compiled = compiled
            if torch.cpu._is_avx512_bf16_supported():
                predict_speed(report, load(args.network, precision="bfloat16"), data, "predict, bfloat16")
            report.add("peak memory so far", [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024], "MB")
        if "ppxf" not in args.skip:
            ppxf_speed(report, mocks, generator.config, ours)
        if "cube" not in args.skip:
            cube = cube_speed(report, predictor, data, folder)
        if "synthesis" not in args.skip:
            report.add("mocks", 1024 / cpu_times(lambda: released.chunk(3, 1024), 3), "/s", 1024)
        if "training" not in args.skip:
            training_speed(report, config, released)
        if "start" not in args.skip:
            start_speed(report)
        if "process" not in args.skip:
            process_speed(report, data, folder, args.n_file, cube)
    if args.csv:
        report.write(args.csv, machine)


def _processor():
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            return next((text.split(":")[1].strip() for text in lines if text.startswith("model name")), "")
    return platform.processor()


if __name__ == "__main__":
    main()
