"""The compiled kernels do what the Python beside them does, with any data, and never look beyond an array."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn import SFHPredictor
from sfh_cnn.core import WavelengthGrid, kernels
from sfh_cnn.examples import load_example_photometry, load_example_spectrum
from sfh_cnn.network import NetworkConfig, PackedNetwork, SFHNet
from sfh_cnn.prediction import blocks
from sfh_cnn.prediction.comparison import compare
from sfh_cnn.prediction.polynomial_fit import PolynomialFit
from sfh_cnn.spectra import resample_to_grid
from sfh_cnn.tests.small import small_generator

pytestmark = pytest.mark.skipif(kernels.compiled is None, reason="the kernels were not compiled")

GRID = WavelengthGrid(4800.0, 5.0, 96)
#: Numbers that spectra are full of, and those that they should not have.
FLUX = st.sampled_from([1.0, 1.5, 0.3, -2.0, 0.0, 1e-20, 3e20, np.nan, np.inf, -np.inf])
ERR = st.sampled_from([0.1, 0.2, 1e-19, 0.0, -1.0, np.nan, np.inf])


def both(function, *args):
    """What a function gives with the kernels, and without them."""
    compiled = function(*args)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compiled", None)
        return compiled, function(*args)


def rows_of(rng, n, length, odd):
    """Flux, errors and mask, some rows of them with odd values."""
    flux = rng.normal(1.0, 0.3, (n, length))
    err = rng.uniform(0.01, 0.3, (n, length))
    mask = np.zeros((n, length), dtype=bool)
    for row, where, value, error, masked in odd:
        flux[row % n, where % length], err[row % n, where % length] = value, error
        mask[row % n, where % length :][:masked] = True
    return flux, err, mask


ODD = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 10_000), FLUX, ERR, st.integers(0, 80)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    ODD,
    st.sampled_from([0.3, 1.0, 4.9, 5.0, 5.2, 17.0]),
    st.sampled_from(["<f4", "<f8", ">f4", ">f8", "<f2"]),
    st.booleans(),
    st.booleans(),
)
def test_resampling(seed, odd, step_aa, kind, has_err, strided):
    """Any sampling, number format, order in memory; bad pixels of all kinds; partial overlap."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(4600.0, 5300.0)
    wave_aa = start + np.cumsum(step_aa * rng.uniform(0.5, 1.5, int(rng.integers(2, 1500 if step_aa < 1 else 300))))
    flux, err, mask = rows_of(rng, 5, len(wave_aa), odd)
    with np.errstate(over="ignore"):
        flux, err = (values.astype(kind) for values in (flux, err))
    if strided:
        flux, err, mask = (np.repeat(values, 2, axis=1)[:, ::2] for values in (flux, err, mask))
    redshift = np.array([0.0, 0.0, 0.01, np.nan, -0.001])
    args = (wave_aa, flux, err if has_err else None, mask, redshift, GRID)
    compiled, plain = both(resample_to_grid, *args)
    assert_array_equal(compiled[2], plain[2])
    for out, expected in zip(compiled[: 2 if has_err else 1], plain, strict=False):
        assert out.dtype == np.float32
        assert_allclose(out, expected, rtol=2e-5, atol=1e-5 * np.abs(expected).max())
    assert has_err or compiled[1] is None


@pytest.mark.parametrize("step_aa", [1.25, 2.43, 2.5, 2.6, 5.0])
@pytest.mark.parametrize("n_in", [150, 151])
def test_resampling_of_even_pixels(step_aa, n_in):
    """As of most instruments: the input moves on by one, two or four pixels for each of the grid's."""
    rng = np.random.default_rng(n_in)
    flux, err, mask = rows_of(rng, 4, n_in, [(1, 70, np.nan, 0.1, 0), (2, 5, 1.0, 0.1, 40), (3, n_in - 1, 1.0, 0.0, 0)])
    arguments = (4795.0 + step_aa * np.arange(n_in), flux.astype(np.float32), err.astype(np.float32), mask)
    compiled, plain = both(resample_to_grid, *arguments, np.array([0.0, 0.001, 0.0, 0.002]), GRID)
    assert_array_equal(compiled[2], plain[2])
    assert not plain[2].all(1).any()
    for out, expected in zip(compiled[:2], plain, strict=False):
        assert_allclose(out, expected, rtol=2e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), ODD, st.integers(1, 90))
def test_statistics(seed, odd, length):
    """Counts are the same; the median is the same number."""
    rng = np.random.default_rng(seed)
    flux, err, mask = rows_of(rng, 4, length, odd)
    with np.errstate(all="ignore"):
        flux, err = (np.nan_to_num(values.astype(np.float32), posinf=1e6, neginf=-1e6) for values in (flux, err))
    err = np.maximum(err, 1e-30)  # as they come out of the resampling
    compiled, plain = both(blocks._statistics, flux, err, mask)
    for i, name in enumerate(("n_valid", "span", "level", "snr", "negative")):
        assert_allclose(compiled[i], plain[i], rtol=1e-5, atol=1e-5 * np.abs(flux).max(), err_msg=name)
    assert_array_equal(compiled[3], plain[3])


@pytest.mark.parametrize("n", [1, 2, 3, 800])
@pytest.mark.parametrize("values", ["spread", "equal", "negative", "infinite"])
def test_median(n, values):
    """Of few and many, with ties, of either sign."""
    rng = np.random.default_rng(n)
    ratio = {
        "spread": rng.normal(size=n),
        "equal": np.full(n, 0.7),
        "negative": -rng.exponential(size=n) * 1e-30,
        "infinite": np.where(np.arange(n) % 3 == 0, np.inf, rng.normal(size=n)),
    }[values].astype(np.float32)
    out = np.empty((1, 5))
    kernels.compiled.statistics((1, n, 1), ratio[None], np.ones((1, n), np.float32), np.zeros((1, n), bool), out)
    assert out[0, 3] == np.median(ratio.astype(float))


@torch.inference_mode()
@pytest.mark.parametrize(
    "layers",
    [
        {},
        {"block_px": 8, "token_stride": 7, "projection_px": 3, "n_channel": 20},
        {"projection_px": 2, "n_head": 1, "n_residual": 1},
        {"block_px": 8, "n_token_channel": 32, "tokens_together": 2, "cumulative": True},
        {"block_px": 12},  # the rows of the last step reach beyond the last block
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_packed_network(layers, precision):
    """Masked stretches, bad numbers under the mask, hard limits."""
    contract = small_generator().contract()
    torch.manual_seed(5)
    network = SFHNet(contract, NetworkConfig(**layers)).eval()
    if not PackedNetwork.is_available(network, precision):
        pytest.skip("not on this processor")
    rng = np.random.default_rng(6)
    flux, err, mask = rows_of(rng, 9, contract.n_wave, [(i, 37 * i, np.nan, np.inf, 40 * i) for i in range(8)])
    flux[8], mask[7] = 1e4 * flux[8], True
    arrays = [flux, err, np.abs(rng.normal(1, 0.2, (9, contract.n_band))), np.full((9, contract.n_band), 0.1)]
    flux, err, bands, band_err = (torch.from_numpy(values.astype(np.float32)) for values in arrays)
    single = torch.full((9,), 0.01)
    packed = PackedNetwork(network, precision)
    compiled, plain = both(packed, flux, err, torch.from_numpy(mask), bands, band_err, single, single)
    tolerance = 2e-5 if precision == "float32" else 0.02
    for name, value in plain.items():
        assert torch.isfinite(value).all(), name
        assert_allclose(compiled[name], value, rtol=0, atol=tolerance * float(value.abs().max()), err_msg=name)


def test_descriptions_of_blocks():
    """Logarithms of all sizes, blocks without data, and what is not a number."""
    network = SFHNet(small_generator().contract(), NetworkConfig()).eval()
    features, shape = network.features, (50, network.features.n_block)
    rng = np.random.default_rng(8)
    level, noise = (10 ** rng.uniform(low, 5, shape).astype(np.float32) for low in (-2, -7))
    count = rng.integers(0, features.block_px + 1, shape).astype(np.float32)
    level[3, 2], level[4, 1], noise[5, 0] = np.nan, np.inf, np.inf
    mean, std = rng.normal(0, 1, (3, shape[1])), rng.uniform(0.1, 2, (3, shape[1]))
    expected = features.blocks(*(torch.from_numpy(values.astype(float)) for values in (level, noise, count)))
    expected = (expected.numpy() - mean) / std
    out = np.empty(expected.shape, dtype=np.float32)
    scales = (values.astype(np.float32) for values in (mean, std))
    kernels.compiled.describe((*shape, features.block_px), level, noise, count, *scales, out)
    expected[4, 0, 1] = np.nan  # a continuum without end is no continuum
    assert_allclose(out, expected, rtol=2e-6, atol=2e-5)
    assert np.isnan(out).sum() == 2


@torch.inference_mode()
def test_quantiles():
    """From outputs of the head that are tiny and huge, with levels that cross; no answer stays none."""
    network = SFHNet(small_generator().contract(), NetworkConfig()).eval()
    packed = PackedNetwork(network)
    generator = torch.Generator().manual_seed(7)
    network.interval_factor.copy_(torch.rand(network.interval_factor.shape, generator=generator) + 0.5)
    network.quantity_mean.normal_(generator=generator)
    size = 10 ** torch.linspace(-6, 2, 40)[:, None]
    raw = size * torch.randn(40, network.quantiles.out_features, generator=generator)
    raw[7] = torch.nan
    compiled, plain = both(packed._physical, raw)
    assert_allclose(compiled, plain, rtol=1e-5, atol=1e-5)
    assert (plain[8:, 2 * network.n_age :].diff(dim=-1) == 0).any()  # levels that would cross
    assert torch.isnan(compiled[7]).all()


def test_stars_far_and_near():
    """Shifts by less and by more than pixels, to both sides, and none where there is no answer."""
    engine = SFHPredictor.pretrained().engine
    stars, fit, n_wave = engine._star_spectra, engine._fit, len(engine.wave_aa)
    weights = torch.rand(8, *stars.templates.coefficients.shape[:2], generator=torch.Generator().manual_seed(1))
    at_rest = stars.at_rest(weights, torch.tensor([0.0, 40.0, 80.0, 120.0, 160.0, 200.0, 300.0, 60.0]))
    velocity = torch.tensor([0.0, 3.0, -3.0, 75.0, -75.0, 400.0, -2000.0, torch.nan])
    history = {"velocity": velocity, "a_v": torch.tensor([0.0, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 1.0])}
    data = (torch.ones(8, n_wave), torch.full((8, n_wave), 0.1), torch.zeros(8, n_wave, dtype=torch.bool))
    given = (stars, fit, *at_rest, history, (*data, torch.full((8,), 0.01)), slice(5, 90), slice(0, None, 1))
    (chi2, _, compiled), (expected, _, plain) = both(compare, *given)
    assert torch.isnan(compiled[0, -1]).all()
    assert torch.isnan(chi2[-1])
    assert_allclose(compiled[0, :-1, 1:-1], plain[0, :-1, 1:-1], rtol=2e-5)
    assert_allclose(chi2[:-1], expected[:-1], rtol=2e-3)


class NoShift:
    """Stars as they are, with a margin that nobody looks at."""

    margin = 2

    def __init__(self, n_wave):
        self.pixel_per_kms, self.log2_dust = torch.zeros(2, n_wave)

    def seen(self, rows, position, velocity_kms, a_v):
        """As `StarSpectra.seen`."""
        return rows[position][:, 2:-2].clone()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), ODD, st.integers(200, 400), st.integers(1, 20))
def test_the_fit_of_stars(seed, odd, length, stride):
    """Chi2, window flux and what is looked at, with bad numbers under the mask and nothing left to fit."""
    rng = np.random.default_rng(seed)
    fit = PolynomialFit(np.linspace(4900.0, 6400.0, length))
    # In prediction what is bad is masked; a polynomial that is not held anywhere near would differ by rounding.
    parts = enumerate(odd[:3])  # one stretch in each row
    odd = [(row, where, *((value, error, n) if n else (1.0, 0.1, 0))) for row, (_, where, value, error, n) in parts]
    flux, err, mask = rows_of(rng, 4, length, odd)
    rows = rng.uniform(0.8, 1.2, (4, length + 4))
    rows, flux, err = (torch.from_numpy(array.astype(np.float32)) for array in (rows, flux, err))
    spectra = (flux, err, torch.from_numpy(mask), torch.tensor([0.0, 0.01, 0.03, 0.1]))
    history = {"velocity": torch.zeros(4), "a_v": torch.zeros(4)}
    position = torch.tensor([2, 0, 3, 1])
    given = (NoShift(length), fit, rows, position, history, spectra, slice(90, 110), slice(stride // 2, None, stride))
    compiled, plain = both(compare, *given)
    for out, expected, name in zip(compiled[:2], plain[:2], ("chi2", "window"), strict=True):
        assert_allclose(out, expected, rtol=2e-3, atol=1e-3, equal_nan=True, err_msg=name)
    assert_allclose(compiled[2], plain[2], rtol=1e-6)


def test_a_whole_prediction():
    """Answers, flags and chi2 of the example."""
    predictor = SFHPredictor.pretrained()

    def predict():
        return predictor.predict(load_example_spectrum(), photometry=load_example_photometry())

    compiled, plain = both(predict)
    assert compiled.flags == plain.flags
    for name in ("mass_fraction", "metallicity", "a_v", "mass_weighted_log_age", "mass_to_light"):
        assert_allclose(getattr(compiled, name).value, getattr(plain, name).value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert_allclose(compiled.reduced_chi2, plain.reduced_chi2, rtol=1e-3)


def test_a_spectrum_does_not_know_its_neighbours():
    """To the last bit: each goes through the kernels by itself."""
    rng = np.random.default_rng(9)
    wave_aa = np.linspace(4790.0, 5300.0, 300)
    flux, err, mask = rows_of(rng, 3, 300, [(1, 100, np.nan, 0.1, 30)])
    together = resample_to_grid(wave_aa, flux, err, mask, np.zeros(3), GRID)
    for i in range(3):
        alone = resample_to_grid(wave_aa, *(values[[i]] for values in (flux, err, mask)), np.zeros(1), GRID)
        for one, all_of_them in zip(alone, together, strict=True):
            assert_array_equal(one[0], all_of_them[i])


def calls():
    """Each kernel with arrays that fit: name, sizes, arguments."""
    f, b = (lambda *shape: np.ones(shape, np.float32)), (lambda *shape: np.zeros(shape, bool))
    first = np.arange(10, dtype=np.int32)
    rows = np.arange(3)
    weights = (rows, first, f(2, 10), f(10), f(11), 0.5)
    yield "resample", (3, 11, 3, 10, 3, 2, 4), [f(3, 11), f(3, 11), b(3, 11), *weights, f(3, 10), f(3, 10), b(3, 10)]
    yield "statistics", (3, 11, 4), [f(3, 11), f(3, 11), b(3, 11), np.zeros((3, 5))]
    yield "block_sums", (3, 2, 4), [f(3, 8), b(3, 8), f(3, 2), f(3, 2)]
    spectrum = [f(3, 8), f(3, 8), b(3, 8), f(3, 2), f(3, 2), f(3, 4), f(3)]
    spectrum += [f(16, 16), f(16)]
    yield "high_pass", (3, 2, 4, 2, 5, 3, 4), [0.02, *spectrum, f(3, 4), f(3, 3, 5), f(3, 2)]
    yield "attend", (3, 5, 2, 4), [90.0, f(3, 5, 24), f(3, 5, 8)]
    model = [f(3, 25), rows, f(3), f(3), f(9), f(9)]
    data = [f(3, 9), f(3, 9), b(3, 9), f(3), f(9), f(5, 9)]
    yield "compare", (3, 3, 9, 8, 2, 5, 1, 3), [*model, *data, f(3), f(3), f(3, 3, 3)]


@pytest.mark.parametrize(("name", "sizes", "arguments"), list(calls()), ids=[name for name, _, _ in calls()])
def test_sizes_are_checked(name, sizes, arguments):
    """One item less, in any array, or items of another size, is an error."""
    kernel = getattr(kernels.compiled, name)
    kernel(sizes, *arguments)
    for i, array in enumerate(arguments):
        if isinstance(array, np.ndarray):
            for wrong in (array.ravel()[:-1].copy(), array.astype(np.complex128), array[::-1]):
                if wrong.flags.c_contiguous and wrong.nbytes == array.nbytes:
                    continue
                with pytest.raises((ValueError, BufferError)):
                    kernel(sizes, *arguments[:i], wrong, *arguments[i + 1 :])


@pytest.mark.parametrize(
    ("name", "index", "value", "match"),
    [
        ("resample", 3, np.array([0, 1, 3]), "no row"),
        ("resample", 3, np.array([0, 1, -1]), "no row"),
        ("resample", 4, np.arange(1, 11, dtype=np.int32), "beyond the spectrum"),
        ("resample", 4, np.arange(-1, 9, dtype=np.int32), "beyond the spectrum"),
        ("compare", 1, np.array([0, 1, 3]), "no row"),
    ],
)
def test_indices_are_checked(name, index, value, match):
    """No index leads out of an array."""
    sizes, arguments = next((sizes, arguments) for one, sizes, arguments in calls() if one == name)
    arguments[index] = value
    with pytest.raises(ValueError, match=match):
        getattr(kernels.compiled, name)(sizes, *arguments)


def test_they_can_be_left_out():
    """By the environment, for comparisons."""
    code = "from sfh_cnn.core import kernels; print(kernels.compiled)"
    environment = {**os.environ, "SFH_CNN_COMPILED": "0"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "None"
