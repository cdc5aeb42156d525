"""How fast sfh_cnn is: prediction by batch size, pPXF on the same spectra, synthesis, training, cold start, memory.

Usage: python benchmarks/speed.py [--network FILE] [--n 4096] [--skip ppxf training ...]

CPU seconds of one process (they do not count other programs on the machine, which still cost cache and clock);
medians and ranges of repeated runs; ratios from this run.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version

import astropy.units as u
import numpy as np
import torch
from accuracy import MEANS, OBSERVATION, UNIT
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from ppxf_fit import MODES, Fitter, Templates, line_spread
from specutils import Spectrum
from threadpoolctl import threadpool_limits

import sfh_cnn
from sfh_cnn import SFHPredictor
from sfh_cnn.network import NetworkConfig, SFHNet
from sfh_cnn.spectra import read_spectra
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator, SynthesisConfig
from sfh_cnn.training import LossConfig, joint_loss, to_tensors

BATCHES = (1, 64, 1024, 16384)
PARTS = ("predict", "synthesis", "training", "ppxf", "start")


def cpu_times(function, repeat=5):
    """CPU seconds of each of some calls after a first one."""
    function()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return np.array(times)


def line(label, seconds, per, unit="us"):
    """Print median and range per spectrum; return the median in seconds."""
    values = np.asarray(seconds) / per
    shown = values * {"us": 1e6, "ms": 1e3, "s": 1.0}[unit]
    print(f"{label:58s} {np.median(shown):9.1f} {unit}   ({shown.min():.1f} to {shown.max():.1f})")
    return float(np.median(values))


def observed(mocks, config):
    """Mocks as a user has them: a stack on MUSE's own pixels, not on the network's, and a table of bands."""
    redshift = float(mocks["redshift"][0])
    rest = config.instrument.wavelength_grid.wave_aa
    wave = 4750.0 + 1.25 * np.arange(3680)
    inside = (wave > rest[0] * (1 + redshift)) & (wave < rest[-1] * (1 + redshift))
    near = np.clip(np.searchsorted(rest * (1 + redshift), wave[inside]), 0, len(rest) - 1)
    spectrum = Spectrum(
        spectral_axis=wave[inside] * u.AA,
        flux=mocks["flux"][:, near] * UNIT.unit * np.float32(UNIT.value),
        uncertainty=StdDevUncertainty(mocks["flux_err"][:, near] * np.float32(UNIT.value)),
        redshift=redshift,
        meta={"medium": "air"},
    )
    bands = QTable()
    for i, name in enumerate(config.instrument.bands):
        bands[name], bands[f"{name}_err"] = mocks["band_flux"][:, i] * UNIT, mocks["band_flux_err"][:, i] * UNIT
    return spectrum, bands


def predict_speed(predictor, spectrum, bands, n):
    """(a): the whole of predict by batch, with intervals of all stored quantities, and its parts."""
    per_spectrum = None
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch in [size for size in BATCHES if size <= n]:
            part, table = spectrum[:batch], bands[:batch]
            start = time.perf_counter()
            cpu = cpu_times(lambda part=part, table=table: predictor.predict(part, table), 5 if batch > 1 else 20)
            wall = (time.perf_counter() - start) / (len(cpu) + 1) / batch * 1e6
            value = line(f"predict, {threads} thread(s), {batch} spectra", cpu, batch)
            print(f"{'':58s} {wall:9.1f} us   wall")
            if threads == 1:
                per_spectrum = value
    torch.set_num_threads(1)
    count = min(n, 1024)
    part = spectrum[:count]
    spectra = read_spectra(part)
    grid = predictor.contract.wavelength_grid
    flux, flux_err, mask = spectra.resample(grid)
    line("of this: reading (classes, units, masks)", cpu_times(lambda: read_spectra(part)), count)
    line("of this: resampling", cpu_times(lambda: spectra.resample(grid)), count)
    rows = slice(0, 128)
    zeros = np.full((128, predictor.contract.n_band), np.nan, dtype=np.float32)
    one, unit = np.full(128, 0.01, dtype=np.float32), np.float32(UNIT.value)
    arguments = (flux[rows] / unit, flux_err[rows] / unit, mask[rows], zeros, zeros, one, one)
    batch = [torch.from_numpy(np.ascontiguousarray(value)) for value in arguments]
    with torch.inference_mode():
        line("of this: network", cpu_times(lambda: predictor.engine.network(*batch), 20), 128)
        outputs = predictor.engine.network(*batch)
        line("of this: reconstruction and chi2", cpu_times(lambda: predictor.engine.compare(batch, outputs), 20), 128)
    result = predictor.predict(spectrum[:64])
    line("joint posterior, 200 draws (only when asked for)", cpu_times(lambda: result.draws(200), 3), 64)
    names = (*MEANS, "a_v")
    line("intervals of the four means and A_V", cpu_times(lambda: [result.interval(name) for name in names]), 64)
    return per_spectrum


def ppxf_speed(mocks, config, ours, n=4):
    """(b): pPXF on some of the same spectra, and the ratio."""
    redshift = float(mocks["redshift"][0])
    templates = Templates(SSPLibrary.read("bc03-miles"), config.age_grid, (-2.0, 0.4))
    spread = line_spread(config.instrument, redshift)
    wave_aa = config.instrument.wavelength_grid.wave_aa
    fitter = Fitter(templates, wave_aa, redshift, spread, config.instrument.bands)
    for mode in MODES:
        times = []
        for i in range(n):
            data = [mocks[name][i].astype(float) for name in ("flux", "flux_err")]
            bands = [mocks[name][i].astype(float) for name in ("band_flux", "band_flux_err")]
            times.append(fitter.fit(mode, *data, mocks["mask"][i], *bands)["cpu_s"])
        seconds = line(f"pPXF, {mode}", times, 1, "ms")
        if ours:
            print(f"{'':58s} {seconds / ours:9.0f} times predict")


def training_speed(generator):
    """(e): forward, loss and backward of the full network."""
    network = SFHNet(generator.contract(), NetworkConfig())
    batch = to_tensors(generator.chunk(1, 256))

    def step():
        joint_loss(network, batch, LossConfig())[0].backward()

    line("training step without the optimiser, batch 256", cpu_times(step), 256)


def run_python(code):
    """Wall seconds, CPU seconds and peak memory (MB) of a fresh interpreter."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    # VmHWM starts anew with the program; ru_maxrss remembers this one, which it was forked from.
    code += "\nprint(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, float(done.stdout.split()[-1]) / 1024


def start_speed():
    """(f) and (g): import, time to the first answer, peak memory."""
    first = (
        "from sfh_cnn.examples import load_example_spectrum\nfrom sfh_cnn import SFHPredictor\n"
        "SFHPredictor.pretrained().predict(load_example_spectrum())"
    )
    for label, code in (("import sfh_cnn", "import sfh_cnn"), ("first answer of a cold start", first)):
        runs = np.array([run_python(code) for _ in range(3)])
        wall, cpu, memory = np.median(runs, axis=0)
        print(f"{label:58s} {cpu:9.2f} s CPU, {wall:.2f} s wall, peak memory {memory:.0f} MB")


def main():
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="file of a released network; by default the one that ships")
    parser.add_argument("--n", type=int, default=4096, help="largest number of spectra")
    parser.add_argument("--skip", nargs="*", default=[], choices=PARTS)
    args = parser.parse_args()
    threadpool_limits(1)
    torch.set_num_threads(1)
    print(f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}")
    versions = (f"{name} {version(name)}" for name in ("torch", "numpy", "astropy", "ppxf"))
    print(f"sfh_cnn {sfh_cnn.__version__}, {', '.join(versions)}")
    predictor = SFHPredictor.from_file(args.network) if args.network else SFHPredictor.pretrained()
    config = SynthesisConfig(observation=OBSERVATION)
    generator = MockGenerator(config)
    base = generator.chunk(0, 256)
    ours = None
    if "predict" not in args.skip:
        mocks = {name: np.concatenate([value] * -(-args.n // 256))[: args.n] for name, value in base.items()}
        ours = predict_speed(predictor, *observed(mocks, config), args.n)
        print(f"{'peak memory so far':58s} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:9.0f} MB")
    if "ppxf" not in args.skip:
        ppxf_speed(base, config, ours)
    if "synthesis" not in args.skip:
        default = MockGenerator(SynthesisConfig())
        line("synthesis, 1 thread, per mock", cpu_times(lambda: default.chunk(3, 1024), 3), 1024)
    if "training" not in args.skip:
        training_speed(generator)
    if "start" not in args.skip:
        start_speed()


def _processor():
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            return next((text.split(":")[1].strip() for text in lines if text.startswith("model name")), "")
    return platform.processor()


if __name__ == "__main__":
    main()
