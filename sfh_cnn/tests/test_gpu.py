"""On a GPU: the numbers of the processor, and runs that end in files which work everywhere."""

import copy
import pickle
import shutil

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.examples import load_example_spectrum
from sfh_cnn.tests.small import killed_at, small_config, small_generator, small_library, write_small_artifact
from sfh_cnn.training import build_network, held_out_mocks, joint_loss, train

pytestmark = pytest.mark.gpu
#: Of what is compared, in units of its own scatter.
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def both():
    """The released network on the processor and on the GPU."""
    return SFHPredictor.pretrained(device="cpu"), SFHPredictor.pretrained(device="cuda")


@pytest.fixture(scope="module")
def stack():
    """Real spectra that differ: the example with other noise each time, and one without data."""
    spectrum, n = load_example_spectrum(), 1300
    err = spectrum.uncertainty.array
    noise = np.random.default_rng(1).standard_normal((n, len(err)))
    flux = spectrum.flux.value + noise * err
    flux[7] = np.nan
    return Spectrum(
        spectral_axis=u.Quantity(spectrum.wavelength),
        flux=flux * spectrum.flux.unit,
        uncertainty=StdDevUncertainty(np.tile(err, (n, 1))),
        redshift=float(spectrum.redshift),
        meta={"medium": "air"},
    )


def assert_same(here, there):
    """Two results, to rounding."""
    assert np.array_equal(here.flags, there.flags)
    for name, value in here.arrays.items():
        finite = value[np.isfinite(value)]
        scale = (finite.std() if finite.size else 0.0) + 1e-3 * np.abs(finite).max(initial=0) + 1e-30
        np.testing.assert_allclose(there.arrays[name], value, rtol=0, atol=TOLERANCE * scale, err_msg=name)


def test_predictions_are_those_of_the_processor(both, stack):
    """All quantities and flags; the spectrum without data is NaN on both."""
    here, there = (predictor.predict(stack, progress_bar=False) for predictor in both)
    assert np.isnan(there.mass_fraction[7]).all()
    assert np.isfinite(there.mass_fraction[8]).all()
    assert_same(here, there)


def test_threads_and_blocks_do_not_change_predictions(both, stack):
    """Blocks of another size, made ready by several threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = both[1].predict(stack, progress_bar=False)
        torch.set_num_threads(4)
        four = both[1].predict(stack, progress_bar=False, batch_size=200)
    finally:
        torch.set_num_threads(before)
    assert_same(one, four)


def test_draws_have_the_quantiles_of_the_network(both):
    """Draws are other ones than on the processor; their distribution is the same."""
    spectrum = load_example_spectrum()
    for name in ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity"):
        low, median, high = [], [], []
        for predictor in both:
            draws = predictor.predict(spectrum).draws(2000, seed=1)
            values = np.sort(getattr(draws, name).value)
            low.append(values[320])
            median.append(values[1000])
            high.append(values[1680])
        width = high[0] - low[0]
        assert np.ptp([low, median, high], axis=1).max() < 0.12 * width, name


def test_loss_is_that_of_the_processor():
    """Of a batch of mocks."""
    network = build_network(small_config(), small_generator())
    batch = held_out_mocks(small_generator(), "validation", 256)
    loss = small_config().training.loss
    here = joint_loss(network, batch, loss)[0]
    on_gpu = {name: value.cuda() for name, value in batch.items()}
    there = joint_loss(copy.deepcopy(network).cuda(), on_gpu, loss)[0]
    assert there.item() == pytest.approx(here.item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore")  # lightning's advice on workers and loggers
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_learns_as_on_the_processor(tmp_path, precision):
    """Forty steps with a teacher, mocks from another process: nearly the loss of the same steps on the processor."""
    pytest.importorskip("lightning")
    config = small_config(n_mocks=1280, n_worker=1)
    batch = held_out_mocks(small_generator(), "validation", 512)
    teacher = build_network(config, small_generator())
    losses = []
    for accelerator, chosen in (("cpu", "32-true"), ("gpu", precision)):
        settings = {"libraries": [small_library()], "progress_bar": False, "teacher": teacher}
        training = small_config(n_mocks=1280, n_worker=1, precision=chosen)
        network = train(training, tmp_path / accelerator, accelerator=accelerator, **settings)
        with torch.no_grad():
            losses.append(float(joint_loss(network.cpu(), batch, config.training.loss)[0]))
    with torch.no_grad():
        start = float(joint_loss(teacher, batch, config.training.loss)[0])
    assert losses[0] < start
    assert losses[1] == pytest.approx(losses[0], abs=0.1 * (start - losses[0]))


@pytest.mark.filterwarnings("ignore")
def test_a_killed_run_goes_on_anywhere(tmp_path):
    """Killed on the GPU, resumed there and on the processor: nearly the weights of an uninterrupted run."""
    pytest.importorskip("lightning")
    settings = {"libraries": [small_library()], "progress_bar": False}
    whole = train(small_config(), tmp_path / "whole", accelerator="gpu", **settings)
    with killed_at(7):
        train(small_config(), tmp_path / "killed", accelerator="gpu", **settings)
    for accelerator in ("gpu", "cpu"):
        folder = tmp_path / accelerator
        shutil.copytree(tmp_path / "killed", folder)
        network = train(small_config(), folder, resume=True, accelerator=accelerator, **settings)
        weights = [torch.cat([value.cpu().flatten() for value in net.parameters()]) for net in (network, whole)]
        # Rounding grows: where a gradient is nearly nothing, its sign is what the optimiser goes by.
        assert float((weights[0] - weights[1]).abs().mean()) < 1e-4


def test_a_file_goes_to_the_gpu_and_back(tmp_path):
    """Loaded onto the GPU, a network predicts; its predictor can be sent to another process."""
    path = write_small_artifact(tmp_path / "small.pt")
    predictor = SFHPredictor.from_file(path, device="cuda")
    again = pickle.loads(pickle.dumps(predictor))
    spectrum = load_example_spectrum()
    assert_same(predictor.predict(spectrum, redshift=0.0), again.predict(spectrum, redshift=0.0))
