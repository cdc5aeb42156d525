"""What a network learns from another one."""

import copy
import dataclasses

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core import SFHCNNError, SFHCNNWarning
from sfh_cnn.network import Artifact, PackedNetwork, SFHNet
from sfh_cnn.tests.small import small_config, small_generator, small_library, small_network
from sfh_cnn.training import INPUT_NAMES, lesson, to_tensors, train

pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")  # lightning's advice on workers and loggers


@pytest.fixture(scope="module")
def batch():
    """Mocks."""
    return to_tensors(small_generator().chunk(92, 256))


@pytest.fixture
def teacher():
    """Without calibration, as in training."""
    network = copy.deepcopy(small_network())
    network.interval_factor.fill_(1.0)
    return network


def answers_of(network, batch):
    """Latent vectors and quantiles."""
    latent = network.encode(*[batch[name] for name in INPUT_NAMES])
    return latent, network.heads(latent)[1]


@torch.no_grad()
def test_there_is_nothing_to_learn_from_oneself(teacher, batch):
    """Also with other scales of the answers: the answers themselves count."""
    latent, quantiles = answers_of(teacher, batch)
    parts = lesson(teacher, teacher, batch, latent, quantiles)
    assert set(parts) == {"latent", "answers"}
    assert max(parts.values()) < 1e-10
    other = copy.deepcopy(teacher)
    other.quantity_std *= 2.0
    other.quantity_mean += 0.5 * teacher.quantity_std
    rescaled = 0.5 * (quantiles - 0.5)
    assert lesson(teacher, other, batch, latent, rescaled)["answers"] < 1e-8


@torch.no_grad()
def test_differences_are_in_units_of_intervals_and_scatter(teacher, batch):
    """Half a 68 per cent interval, and a tenth of the scatter of the latent vectors; wild differences count less."""
    latent, quantiles = answers_of(teacher, batch)
    width = (quantiles[..., -2] - quantiles[..., 1]).clamp(min=0.02)[..., None]
    parts = lesson(teacher, teacher, batch, latent + 0.1 * latent.std(0), quantiles + 0.5 * width)
    assert_close(parts["answers"], torch.tensor(0.25))
    assert_close(parts["latent"], torch.tensor(0.01), rtol=1e-3, atol=0)
    assert_close(lesson(teacher, teacher, batch, latent, quantiles + 100 * width)["answers"], torch.tensor(396.0))
    assert "latent" not in lesson(teacher, teacher, batch, latent[:, 1:], quantiles)


@torch.no_grad()
def test_teacher_and_pupil_need_not_predict_the_same_quantities(teacher, batch):
    """Of those that one of them lacks, the mass formed since bin edges, there is nothing to learn."""
    more = copy.deepcopy(teacher)
    assert more.n_cumulative == 14
    config = small_config().network
    fewer = SFHNet(small_generator().contract(), dataclasses.replace(config, cumulative=False)).eval()
    state, own = more.state_dict(), fewer.state_dict()
    fewer.load_state_dict({name: state[name][: len(value)] if value.ndim else value for name, value in own.items()})
    more.quantity_std[-14:] *= 2.0
    for one, other in ((fewer, more), (more, fewer)):
        parts = lesson(one, other, batch, *answers_of(other, batch))
        assert max(parts.values()) < 1e-10


def test_on_a_cpu_the_teacher_is_packed(tmp_path, monkeypatch, teacher, batch):
    """And says the same; in mixed precision it stays as it is."""
    said = []

    def spy(one, network, batch, latent, quantiles):
        inputs = [batch[name] for name in INPUT_NAMES]
        with torch.no_grad():
            assert_close(one.encode(*inputs), SFHNet.encode(one, *inputs), atol=1e-4, rtol=1e-4)
        said.append("encode" in vars(one))
        return lesson(one, network, batch, latent, quantiles)

    monkeypatch.setattr("sfh_cnn.training.lightning_module.lesson", spy)
    for precision in ("32-true", "bf16-mixed"):
        run(tmp_path / precision, small_config(n_mocks=32, precision=precision), teacher=teacher)
    assert said == [PackedNetwork.is_available(teacher), False]


def run(folder, config, **settings):
    """A short training."""
    return train(config, folder, libraries=[small_library()], progress_bar=False, accelerator="cpu", **settings)


def test_a_pupil_comes_closer_to_its_teacher(tmp_path, teacher, batch):
    """In the same few steps; the teacher stays as it is, and a run that has one is resumed with it only."""
    before = copy.deepcopy(teacher.state_dict())
    config = small_config(n_mocks=32 * 30, learning_rate=0.01, seed=5)
    alone, taught = run(tmp_path / "alone", config), run(tmp_path / "taught", config, teacher=teacher)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    with torch.no_grad():
        off = [lesson(teacher, network, batch, *answers_of(network, batch)) for network in (alone, taught)]
    assert off[1]["latent"] < 0.5 * off[0]["latent"]
    assert off[1]["answers"] < off[0]["answers"]
    with pytest.raises(SFHCNNError, match="has a teacher, a network; give it again"):
        run(tmp_path / "taught", config, resume=True)
    again = run(tmp_path / "taught", config, resume=True, teacher=teacher)  # nothing is left to do
    assert torch.equal(again.join.weight, taught.join.weight)
    with pytest.raises(SFHCNNError, match="differs from the configuration"):
        run(tmp_path / "alone", config, resume=True, teacher=teacher)
    with pytest.raises(SFHCNNError, match="names a teacher, somebody, and none is given"):
        run(tmp_path / "new", small_config(teacher="somebody"))


def test_a_teacher_of_another_subject_is_refused(tmp_path, teacher):
    """Pixels, bands and age bins must be the same."""
    teacher.n_age = 8
    with pytest.raises(SFHCNNError, match="the teacher has other numbers of pixels, bands or age bins"):
        run(tmp_path, small_config(), teacher=teacher)


def released(network, **changes):
    """A network with its card, which says something else."""
    contract = small_generator().contract().replace(name="other", **changes)
    return Artifact(network, None, contract, small_config().network, sha256="")


@pytest.mark.parametrize(
    "changes",
    [{"bands": ("u", "g")}, {"wave_start_aa": 4700.0}, {"age_edges_yr": (*range(16), 13.8e9)}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_teacher_that_sees_something_else_is_refused(tmp_path, teacher, changes):
    """Although it has as many pixels, bands and bins; what differs is named, and nothing is written."""
    (name,) = changes
    with pytest.raises(SFHCNNError, match=f"the teacher 'other' differs from the configuration in {name}"):
        run(tmp_path, small_config(), teacher=released(teacher, **changes))
    assert not list(tmp_path.glob("*.json"))


def test_an_artifact_teaches_and_is_started_from(tmp_path, teacher):
    """As its network does; where it saw something else, a warning says so of the start."""
    config = small_config(n_mocks=32)
    networks = [
        run(tmp_path / str(i), config, teacher=source, init_from=source)
        for i, source in enumerate((teacher, released(teacher)))
    ]
    states = [network.state_dict() for network in networks]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    start = released(teacher, bands=("u", "g"), wave_start_aa=4700.0)
    with pytest.warns(SFHCNNWarning, match="start from, 'other', was made for other wavelengths, bands than"):
        run(tmp_path / "warned", config, init_from=start)
