"""sfh-cnn plot: every kind of picture of what predict wrote."""

import json

import astropy.units as u
import pytest

from sfh_cnn import SFHPredictor
from sfh_cnn.examples import load_example_spectrum


@pytest.fixture(scope="session")
def result_file(tmp_path_factory, network_file):
    """Two spectra, without stored draws."""
    result = SFHPredictor.from_file(network_file).predict([load_example_spectrum()] * 2, distance=350 * u.Mpc)
    path = tmp_path_factory.mktemp("result") / "two.fits"
    result.write(path)
    return path


@pytest.mark.parametrize("kind", ["summary", "sfh", "amr", "corner"])
def test_each_kind_is_drawn(run, tmp_path, result_file, network_file, kind):
    """One spectrum of several as a picture."""
    figure = tmp_path / "figure.png"
    run("plot", result_file, "-o", figure, "--kind", kind, "--index", 1, "--network", network_file)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.stat().st_size > 10_000


def test_all_spectra_on_pages(run, tmp_path, result_file):
    """Without --index each spectrum has its page; a picture of another format has no pages."""
    figure = tmp_path / "figure.pdf"
    printed = json.loads(run("plot", result_file, "-o", figure, "--kind", "sfh", "--json"))
    assert printed == {"input": str(result_file), "output": str(figure)}
    assert figure.read_bytes().count(b"/Type /Page ") == 2


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        ([], "several pages", 1),
        (["--index", "2"], "holds 2 spectra", 1),
        (["--index", "0", "--kind", "corner"], "--draws", 1),
        (["--index", "0", "--kind", "maps"], "holds no maps", 2),
    ],
)
def test_what_cannot_be_drawn_is_refused(refused, tmp_path, result_file, options, message, code):
    """In one line, and no picture is left behind."""
    figure = tmp_path / "figure.png"
    line, status = refused("plot", result_file, "-o", figure, *options)
    assert message in line
    assert status == code
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_result_is_refused(refused, tmp_path):
    """Neither a missing file nor a foreign one."""
    foreign = tmp_path / "foreign.fits"
    foreign.write_text("no FITS")
    assert "does not exist" in refused("plot", tmp_path / "missing.fits", "-o", tmp_path / "x.png")[0]
    assert "foreign.fits" in refused("plot", foreign, "-o", tmp_path / "x.png")[0]
