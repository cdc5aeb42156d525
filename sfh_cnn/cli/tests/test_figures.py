"""sfh-cnn plot: every kind of picture of what predict wrote."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from sfh_cnn import SFHPredictor
from sfh_cnn.examples import load_example_spectrum


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def maps_of_cube(tmp_path_factory, network_file):
    """Maps of a cube of six spaxels, and the cube."""
    folder = tmp_path_factory.mktemp("maps")
    wave = np.arange(4750.0, 6150.0, 5.0)
    flux = 300 + 20 * np.sin(wave / 40)[:, None, None] * np.ones((2, 3))
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT3": "Angstrom"})
    header.update({"CRVAL3": wave[0], "CD3_3": 5.0, "CRPIX3": 1.0, "CD1_1": -5e-5, "CD2_2": 5e-5, "CRVAL1": 40.0})
    header["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(flux, header, name="DATA"),
        fits.ImageHDU(0 * flux + 25, header, name="STAT"),
    ]
    fits.HDUList(hdus).writeto(folder / "cube.fits")
    predictor = SFHPredictor.from_file(network_file)
    predictor.predict_cube(folder / "cube.fits", redshift=0.005, output=folder / "maps.fits", snr_cut=0)
    return folder / "maps.fits", folder / "cube.fits"


def test_page_of_maps(run, tmp_path, maps_of_cube, network_file):
    """With the spectra of the cube, and without; a picture beside it if asked for."""
    maps, cube = maps_of_cube
    run("plot", maps, "--html", tmp_path / "bare.html")
    run(
        "plot",
        maps,
        "--html",
        tmp_path / "full.html",
        "--cube",
        cube,
        "--network",
        network_file,
        "-o",
        tmp_path / "m.png",
    )
    assert '"spectra":null' in (tmp_path / "bare.html").read_text()
    assert '"spectra":{"n":' in (tmp_path / "full.html").read_text()
    assert (tmp_path / "m.png").is_file()


def test_pages_that_cannot_be_written(refused, tmp_path, maps_of_cube, result_file):
    """Spectra, no output, a cube without a page."""
    page = tmp_path / "page.html"
    assert "holds no maps" in refused("plot", result_file, "--html", page)[0]
    assert "Missing option" in refused("plot", maps_of_cube[0])[0]
    assert "--cube is for --html" in refused("plot", maps_of_cube[0], "-o", tmp_path / "a.png", "--cube", "x.fits")[0]
    assert not list(tmp_path.iterdir())
