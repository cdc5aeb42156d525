"""sfh-cnn predict: the numbers of the Python interface, on the screen, in JSON, in files and pictures."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import QTable
from numpy.testing import assert_allclose

from sfh_cnn import SFHMaps, SFHPredictor, SFHResult
from sfh_cnn.examples import load_example_photometry, load_example_spectrum

from .conftest import invoke


@pytest.fixture(scope="package")
def spectrum_file(tmp_path_factory):
    """The example without its redshift, as a plain table."""
    spectrum = load_example_spectrum()
    table = QTable(
        {"wavelength": u.Quantity(spectrum.wavelength), "flux": spectrum.flux, "error": spectrum.uncertainty.quantity},
        meta={"medium": "air"},
    )
    path = tmp_path_factory.mktemp("spectrum") / "galaxy.ecsv"
    table.write(path)
    return path


def test_numbers_are_those_of_the_predictor(run, network_file):
    """Median, interval and unit of each quantity, with photometry, dust and distance."""
    options = ("--photometry", "example", "--ebv", "0.4", "--distance", "350 Mpc", "--calibration-error", "0.02")
    printed = json.loads(
        run("predict", "example", "--network", network_file, *options, "--line-mask", "400 km/s", "--json")
    )
    result = SFHPredictor.from_file(network_file).predict(
        load_example_spectrum(),
        load_example_photometry(),
        distance=350 * u.Mpc,
        ebv=0.4,
        calibration_error=0.02,
        line_mask=400 * u.km / u.s,
    )
    (spectrum,) = printed["spectra"]
    for name in ("mass_weighted_log_age", "mass_fraction", "mass_formed", "recent_sfr", "t50"):
        value = getattr(result, name)
        value = (value() if callable(value) else value).value
        lower, upper = result.interval(name)
        entry = spectrum["quantities"][name]
        assert_allclose(entry["value"], value)
        assert_allclose([entry["lower"], entry["upper"]], [lower.value, upper.value])
    assert spectrum["quantities"]["mass_formed"]["unit"] == "solMass"
    assert spectrum["flags"] == result.flag_names()
    assert_allclose(printed["age_edges_yr"], result.age_grid.edges.value)


def test_screen_shows_numbers_and_what_the_flags_mean(run, network_file):
    """The text of the result, and a line for each flag."""
    text = run("predict", "example", "--network", network_file, "--calibration-error", "0.5")
    assert "mass-weighted age" in text
    assert "CALIBRATION_OUTSIDE: calibration_error outside" in text


def test_redshift_option_goes_with_a_file_that_has_none(run, refused, network_file, spectrum_file):
    """A table with the redshift as an option gives what the example with its own gives."""
    line, code = refused("predict", spectrum_file, "--network", network_file)
    assert "--redshift" in line
    assert code == 1
    mine = json.loads(run("predict", spectrum_file, "--network", network_file, "--redshift", "0.0858", "--json"))
    example = json.loads(run("predict", "example", "--network", network_file, "--json"))
    ages = [data["spectra"][0]["quantities"]["mass_weighted_log_age"]["value"] for data in (mine, example)]
    assert_allclose(*ages, rtol=1e-6)


def test_several_spectra_make_one_result(run, tmp_path, network_file, spectrum_file):
    """A row and a page for each; the file reads back with its draws."""
    output, figure = tmp_path / "two.fits", tmp_path / "two.pdf"
    redshifts = ("--redshift", "0.0858", "--redshift", "0.08")
    text = run(
        *("predict", spectrum_file, "example", *redshifts, "--network", network_file),
        *("-o", output, "--plot", figure, "--draws", 7),
    )
    result = SFHResult.read(output)
    assert "galaxy.ecsv" in text
    assert "0.0858" in text
    assert "[M/H] (mass) [dex]" in text  # brackets are no markup
    assert_allclose(result.redshift, [0.0858, 0.08])
    assert result.draws(7).mass_fraction.shape == (2, 7, 16)
    assert figure.read_bytes().count(b"/Type /Page ") == 2


def test_rows_are_named_after_their_files(run, refused, tmp_path, network_file, spectrum_file):
    """Files that hold several spectra, and one that holds a single one; each has a page."""
    one = load_example_spectrum()
    for name, n in (("three", 3), ("two", 2)):
        table = QTable({"wavelength": one.wavelength, "flux": np.tile(one.flux.value[:, None], n) * one.flux.unit})
        table["uncertainty"] = np.tile(one.uncertainty.array[:, None], n) * one.flux.unit
        table.write(tmp_path / f"{name}.ecsv")
    names = [tmp_path / "three.ecsv", spectrum_file, tmp_path / "two.ecsv"]
    common = ("--redshift", "0.0858", "--network", network_file)
    rows = json.loads(run("predict", *names, *common, "--json"))["spectra"]
    expected = [f"three.ecsv[{i}]" for i in range(3)] + [spectrum_file.name] + [f"two.ecsv[{i}]" for i in range(2)]
    assert [Path(row["input"]).name for row in rows] == expected
    line, _ = refused("predict", names[0], *common, "--plot", tmp_path / "three.png")
    assert "several pages" in line


@pytest.mark.parametrize(("more", "kept"), [((), False), (("--plot", "two.pdf"), True), (("--draws", "7"), False)])
def test_spectra_that_nobody_looks_at_are_not_kept(run, tmp_path, network_file, monkeypatch, more, kept):
    """Beyond the number whose spectra are written; a picture still shows them. The histories are the same."""
    spectrum = load_example_spectrum()
    vectors = {"flux": spectrum.flux, "error": spectrum.uncertainty.quantity}
    table = QTable({name: np.repeat(value[:, None], 2, axis=1) for name, value in vectors.items()})
    table["wavelength"] = u.Quantity(spectrum.wavelength)
    table.meta = {"medium": "air", "redshift": 0.0858}
    monkeypatch.chdir(tmp_path)
    table.write("two.fits")
    seen, predict = [], SFHPredictor.predict

    def spy(self, *arguments, **options):
        seen.append(predict(self, *arguments, **options))
        return seen[-1]

    monkeypatch.setattr(SFHPredictor, "predict", spy)
    command = ("predict", "two.fits", "--network", network_file, *more)
    run(*command, "-o", "kept.fits")
    monkeypatch.setattr("sfh_cnn.cli.spectra._MAX_KEPT", 1)
    run(*command, "-o", "large.fits", "--overwrite")
    assert [result.spectra is not None for result in seen] == [True, kept]
    small, large = (SFHResult.read(name) for name in ("kept.fits", "large.fits"))
    assert small.spectra is not None
    assert large.spectra is None
    assert all(np.array_equal(small.arrays[key], large.arrays[key], equal_nan=True) for key in small.arrays)


def test_files_are_not_replaced_unless_asked(run, refused, tmp_path, network_file):
    """Refused before anything is computed; replaced with --overwrite."""
    output = tmp_path / "result.ecsv"
    output.write_text("precious")
    line, code = refused("predict", "example", "--network", "none.pt", "-o", output)
    assert "--overwrite" in line
    assert code == 1
    assert output.read_text() == "precious"
    run("predict", "example", "--network", network_file, "-o", output, "--overwrite")
    assert np.isfinite(SFHResult.read(output).mass_weighted_age.value)


def test_answer_and_messages_go_to_different_places(tmp_path, network_file):
    """JSON alone on standard output, also where the package has something to say."""
    spectrum = load_example_spectrum()
    table = QTable({"wavelength": u.Quantity(spectrum.wavelength), "flux": spectrum.flux}, meta={"redshift": 0.0858})
    table.write(tmp_path / "bare.ecsv")
    result = invoke("predict", tmp_path / "bare.ecsv", "--network", network_file, "--json", "-o", tmp_path / "x.fits")
    assert json.loads(result.stdout)["spectra"][0]["flags"] == ["NO_UNCERTAINTY"]
    assert "Wrote" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["missing.fits"], "no spectrum file at missing.fits", 1),
        (["example", "--redshift", "3"], "in the rest frame", 1),
        (["example", "--redshift", "0.1", "--redshift", "0.2"], "2 times for 1 spectra", 2),
        (["example", "--distance", "3 kg"], "distance is in kg", 1),
        (["example", "--distance", "far"], "neither a length", 2),
        (["example", "--line-mask", "500"], "not a velocity such as '500 km/s'", 2),
        (["example", "--calibration-error", "2"], "calibration_error is a fraction", 1),
        (["example", "--photometry", "missing.ecsv"], "missing.ecsv", 1),
        (["example", "--plot", "picture.doc"], "should end in one of .png", 1),
        (["example", "example", "--plot", "picture.png"], "several pages", 1),
        (["example", "-o", "result.txt"], "should end in one of", 1),
        (["example", "-o", "no/folder/result.fits"], "does not exist", 1),
        (["example", "--medium", "water"], "'water' is not one of", 2),
        ([], "Missing argument", 2),
    ],
)
def test_bad_input_is_refused_in_one_line(refused, network_file, monkeypatch, tmp_path, arguments, message, code):
    """The exit status tells a mistake in the command (2) from one in the data (1)."""
    monkeypatch.chdir(tmp_path)
    line, status = refused("predict", "--network", network_file, *arguments)
    assert message in line
    assert status == code


@pytest.fixture
def cube_file(tmp_path):
    """Four spaxels, one of them with twice the light and one empty."""
    spectrum = load_example_spectrum()
    scale = np.array([[1.0, 2.0], [1.0, np.nan]])
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT1": "deg", "CUNIT2": "deg"}
    header |= {"CRVAL1": 63.355, "CRVAL2": 10.465, "CDELT1": -5.6e-5, "CDELT2": 5.6e-5, "CRPIX1": 1.0, "CRPIX2": 1.0}
    wave_aa = spectrum.wavelength.to_value(u.AA)
    header |= {"CUNIT3": "Angstrom", "CRVAL3": wave_aa[0], "CDELT3": wave_aa[1] - wave_aa[0], "CRPIX3": 1.0}
    data = fits.ImageHDU(spectrum.flux.value[:, None, None] * scale, name="DATA")
    data.header.update({**header, "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom"})
    stat = fits.ImageHDU((spectrum.uncertainty.array[:, None, None] * scale) ** 2, name="STAT")
    path = tmp_path / "cube.fits"
    fits.HDUList([fits.PrimaryHDU(), data, stat]).writeto(path)
    return path


def test_a_cube_makes_maps(run, tmp_path, network_file, cube_file):
    """Each spaxel has the numbers of its spectrum; the maps go into a picture, by predict and by plot."""
    output, options = tmp_path / "maps.fits", ("--network", network_file, "--redshift", "0.0858")
    extra = ("--plot", tmp_path / "first.png", "--html", tmp_path / "page.html")
    text = run("predict", cube_file, *options, "-o", output, *extra, "--json")
    run("plot", output, "-o", tmp_path / "second.png")
    maps, printed = SFHMaps.read(output), json.loads(text)
    assert printed["shape"] == [2, 2]
    assert printed["flagged_spaxels"]["NO_DATA"] == 1
    assert_allclose(printed["quantities"]["a_v"]["median"], np.nanmedian(maps.a_v.value))
    assert "mass_formed" not in printed["quantities"]
    alone = SFHPredictor.from_file(network_file).predict(load_example_spectrum())
    expected = alone.mass_weighted_log_age.value
    assert_allclose(maps.mass_weighted_log_age.value, [[expected, expected], [expected, np.nan]], atol=1e-3)
    for name in ("first.png", "second.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert '"spectra":{"n":' in (tmp_path / "page.html").read_text()


def test_options_of_cubes_and_of_spectra_do_not_mix(refused, tmp_path, network_file, cube_file):
    """What would be ignored is refused."""
    cases = [[cube_file], [cube_file, "-o", tmp_path / "m.fits", "--draws", 5], ["example", "--target-snr", 10]]
    cases += [["example", "--scheduler", "tcp://localhost:8786"], ["example", "--html", tmp_path / "page.html"]]
    for arguments in cases:
        line, code = refused("predict", *arguments, "--network", network_file)
        assert "cube" in line
        assert code == 2


@pytest.fixture
def manifest(tmp_path, cube_file):
    """One cube that works and one that does not exist."""
    path = tmp_path / "cubes.ecsv"
    table = QTable({"cube": [cube_file.name, "none.fits"], "output": ["a_maps.fits", "b_maps.fits"]})
    table["redshift"], table["distance"] = 0.0858, ["100 Mpc", "100 Mpc"]
    table.write(path)
    return path


def test_a_manifest_of_cubes(run, tmp_path, network_file, cube_file, manifest):
    """A table of what became of each; the exit status tells of failures; what is done is not done again."""
    result = invoke("predict", "--manifest", manifest, "--network", network_file)
    assert result.exit_code == 1
    assert "1 of 2 cubes failed" in result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[3:5]]
    assert [rows[0][i] for i in (0, 1, 2, 4)] == ["cube.fits", "a_maps.fits", "3", "done"]
    assert 0 <= float(rows[0][3]) < 10  # minutes
    assert rows[1][:7] == ["none.fits", "b_maps.fits", "0", "0.0", "no", "cube", "at"]
    run("predict", cube_file, "--network", network_file, "--redshift", 0.0858, "-o", tmp_path / "alone.fits")
    maps, alone = SFHMaps.read(tmp_path / "a_maps.fits"), SFHMaps.read(tmp_path / "alone.fits")
    assert_allclose(maps.mass_weighted_log_age.value, alone.mass_weighted_log_age.value)
    assert np.isfinite(maps.mass_formed.value[0, 0])
    (tmp_path / "none.fits").write_bytes(cube_file.read_bytes())
    rows = json.loads(run("predict", "--manifest", manifest, "--network", network_file, "--json"))
    assert [row["status"] for row in rows] == ["skipped", "done"]
    assert [row["n_spec"] for row in rows] == [0, 3]


def test_a_manifest_says_all_of_its_cubes(refused, network_file, manifest):
    """Options that a row should have are refused, and a spectrum beside it too."""
    for arguments in (["--redshift", 0.1], ["x.fits"], ["-o", "maps.fits"]):
        line, code = refused("predict", "--manifest", manifest, "--network", network_file, *arguments)
        assert "--manifest takes no" in line
        assert code == 2
    line, code = refused("predict", "--network", network_file)
    assert "Missing argument" in line
    assert code == 2


@pytest.mark.parametrize("content", [b"", b"PK nonsense"])
def test_a_file_that_is_no_network_is_refused(refused, tmp_path, content):
    """Damaged or foreign."""
    path = tmp_path / "network.pt"
    path.write_bytes(content)
    assert "not a network" in refused("predict", "example", "--network", path)[0]


def test_refining_asks_for_the_library(refused, network_file, cube_file):
    """In one line that says how to name its place; a cube is not refined."""
    line, _ = refused("predict", "example", "--network", network_file, "--refine")
    assert "--library toy=PATH" in line
    line, code = refused("predict", cube_file, "--network", network_file, "--refine", "-o", "maps.fits")
    assert "not for a cube" in line
    assert code == 2


def test_precision_is_that_of_the_predictor(run, network_file):
    """With bfloat16 the numbers are those of a predictor of that precision, and not those of float32."""
    if not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this processor has no products of bfloat16")
    options = ("example", "--network", network_file, "--json", "--precision")
    values = []
    for precision in ("float32", "bfloat16"):
        (spectrum,) = json.loads(run("predict", *options, precision))["spectra"]
        result = SFHPredictor.from_file(network_file, precision=precision).predict(load_example_spectrum())
        assert spectrum["quantities"]["a_v"]["value"] == pytest.approx(result.a_v.value, rel=1e-6)
        values.append(spectrum["quantities"]["a_v"]["value"])
    assert values[0] != values[1]
