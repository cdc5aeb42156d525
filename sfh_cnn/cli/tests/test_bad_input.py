"""What bad input gets on the command line: one line and an exit status, or a flag and numbers beside it.

What happens to whole cubes, full disks and killed processes is tested in ``prediction/tests/test_cube_process.py``,
``tests/test_disk_full.py`` and ``tests/test_kill.py``; files that exist, in ``test_spectra.py``.
"""

import gzip
import json
import zipfile

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from numpy.testing import assert_allclose

from sfh_cnn.examples import load_example_spectrum
from sfh_cnn.prediction import predictor as predictor_module
from sfh_cnn.spectra import adapters

from .conftest import invoke

UNIT = u.Unit("erg / (s cm2 Angstrom)")


@pytest.fixture
def write(tmp_path):
    """Write the example, with parts of it changed, as a table; return its path."""
    spectrum = load_example_spectrum()

    def write_table(name="galaxy.ecsv", meta=None, order=slice(None), **columns):
        parts = {
            "wavelength": u.Quantity(spectrum.wavelength, u.AA),
            "flux": spectrum.flux.to(UNIT),
            "error": spectrum.uncertainty.array * spectrum.flux.unit.to(UNIT) * UNIT,
            **columns,
        }
        table = QTable({key: value[order] for key, value in parts.items() if value is not None})
        table.meta = {"redshift": 0.0858, "medium": "air"} if meta is None else meta
        table.write(tmp_path / name, overwrite=True)
        return tmp_path / name

    write_table.flux = spectrum.flux.to_value(UNIT)
    write_table.error = spectrum.uncertainty.array * spectrum.flux.unit.to(UNIT)
    write_table.wave_aa = spectrum.wavelength.to_value(u.AA)
    return write_table


@pytest.fixture
def predicted(run, network_file):
    """Predict and return what is printed of each spectrum."""

    def predict(*arguments):
        return json.loads(run("predict", *arguments, "--network", network_file, "--json"))["spectra"]

    return predict


def numbers(spectrum):
    """Value of each quantity that is a number; None for NaN."""
    return {name: entry["value"] for name, entry in spectrum["quantities"].items() if np.ndim(entry["value"]) == 0}


def assert_same(here, there, rtol=2e-3):
    """The same numbers."""
    for name, value in numbers(here).items():
        assert_allclose(value, numbers(there)[name], rtol=rtol, atol=2e-4, err_msg=name)


# ---- wavelengths and redshift --------------------------------------------------------------------------------------


def test_outside_the_wavelength_range(write, refused, network_file):
    """Both ranges are named."""
    path = write(wavelength=(write.wave_aa + 6000) * u.AA)
    line, code = refused("predict", path, "--network", network_file)
    assert "covers" in line
    assert "4800-6000" in line
    assert code == 1


def test_partial_coverage_is_flagged(write, predicted):
    """Three quarters of the range."""
    (spectrum,) = predicted(write(order=write.wave_aa < 5700 * 1.0858))
    assert "PARTIAL_COVERAGE" in spectrum["flags"]
    assert numbers(spectrum)["a_v"] is not None


@pytest.mark.parametrize("redshift", ["-0.1", "-300", "nan"])
def test_a_redshift_that_is_none(write, refused, network_file, redshift):
    """Too negative, a velocity, not a number."""
    line, code = refused("predict", write(), "--network", network_file, "--redshift", redshift)
    assert "redshift" in line
    assert code == 1


def test_a_redshift_beyond_training_is_flagged(write, predicted):
    """Of the two spectra, the one."""
    first, second = predicted(write(), write("far.ecsv"), "--redshift", 0.0858, "--redshift", 0.12)
    assert "REDSHIFT_OUTSIDE" not in first["flags"]
    assert "REDSHIFT_OUTSIDE" in second["flags"]


def test_the_axis_may_descend_and_be_in_any_unit(write, predicted):
    """From red to blue, in nanometres and mJy."""
    flux, error = (
        (values * UNIT).to(u.mJy, u.spectral_density(write.wave_aa * u.AA)) for values in (write.flux, write.error)
    )
    path = write(
        "other.ecsv", order=slice(None, None, -1), wavelength=write.wave_aa / 10 * u.nm, flux=flux, error=error
    )
    here, there = predicted(path, write())
    assert_same(here, there)


def test_a_disordered_axis_is_refused(write, refused, network_file):
    """Two pixels have changed places."""
    wave_aa = write.wave_aa.copy()
    wave_aa[[1000, 1001]] = wave_aa[[1001, 1000]]
    line, code = refused("predict", write(wavelength=wave_aa * u.AA), "--network", network_file)
    assert "not monotonic" in line
    assert code == 1


def test_air_is_taken_and_said_once(write, network_file):
    """Where neither the file nor --medium says it."""
    path, other = write(meta={"redshift": 0.0858}), write("other.ecsv", meta={"redshift": 0.0858})
    adapters._tell_default_medium.cache_clear()
    said = invoke("predict", path, other, "--network", network_file)
    assert said.stderr.count("air is taken") == 1
    adapters._tell_default_medium.cache_clear()
    assert "air is taken" not in invoke("predict", path, "--network", network_file, "--medium", "air").stderr


# ---- pixels --------------------------------------------------------------------------------------------------------


def test_without_errors_the_noise_is_estimated(write, predicted):
    """A flag, and an S/N that is not that of errors of 1."""
    bare, full = predicted(write("bare.ecsv", error=None)), predicted(write())
    assert "NO_UNCERTAINTY" in bare[0]["flags"]
    assert "NO_UNCERTAINTY" not in full[0]["flags"]
    assert 0.2 < bare[0]["snr"] / full[0]["snr"] < 5


def test_bad_pixels_are_masked_however_they_are_marked(write, predicted):
    """As NaN, as infinity, by an error of zero, below zero or NaN, by a mask: one answer."""
    bad = np.random.default_rng(2).random(len(write.flux)) < 0.1
    paths = [write("mask.ecsv", mask=bad)]
    for i, value in enumerate((np.nan, np.inf, -np.inf)):
        paths.append(write(f"flux{i}.ecsv", flux=np.where(bad, value, write.flux) * UNIT))
    for i, value in enumerate((0.0, -1.0, np.nan, np.inf)):
        paths.append(write(f"error{i}.ecsv", error=np.where(bad, value, write.error) * UNIT))
    first, *others = predicted(*paths)
    for other in others:
        assert_same(other, first)
        assert other["flags"] == first["flags"]


def test_bad_spectra_leave_the_others_alone(write, predicted):
    """Nothing but NaN, zeros, negative flux, a few pixels: no numbers and a flag; the good one as if alone."""
    few = np.where(np.arange(len(write.flux)) < 60, write.flux, np.nan)
    cases = {"nan": np.full_like(write.flux, np.nan), "zero": 0 * write.flux, "negative": -write.flux, "few": few}
    paths = [write(f"{name}.ecsv", flux=flux * UNIT) for name, flux in cases.items()]
    alone = predicted(write())
    *bad, good = predicted(*paths, write())
    for name, spectrum in zip(cases, bad, strict=True):
        assert {"NO_DATA", "FEW_PIXELS"} & set(spectrum["flags"]), name
        assert set(numbers(spectrum).values()) == {None}, name
    assert good["flags"] == alone[0]["flags"]
    assert_same(good, alone[0])


def test_noise_is_flagged(write, predicted):
    """S/N below the domain."""
    noise = write.error * np.random.default_rng(3).standard_normal(len(write.flux))
    (spectrum,) = predicted(write(flux=(0.3 * write.error + noise) * UNIT))
    assert "SNR_OUTSIDE" in spectrum["flags"]


# ---- files ---------------------------------------------------------------------------------------------------------


def test_names_and_links_of_any_kind(write, predicted, tmp_path):
    """Letters of any language, spaces, a link; zipped, and in whole numbers with an offset as FITS has them."""
    (tmp_path / "dir with ünï").mkdir()
    paths = [write("dir with ünï/gäl axy.fits"), write("galaxy.fits")]
    (tmp_path / "link.fits").symlink_to(paths[0])
    (tmp_path / "galaxy.fits.gz").write_bytes(gzip.compress(paths[1].read_bytes()))
    step = write.wave_aa[1] - write.wave_aa[0]
    header = {"CTYPE1": "AWAV", "CUNIT1": "Angstrom", "CRVAL1": write.wave_aa[0], "CDELT1": step, "CRPIX1": 1.0}
    images = [fits.PrimaryHDU(write.flux, fits.Header({**header, "BUNIT": "erg s-1 cm-2 Angstrom-1"}))]
    images.append(images[0].copy())
    low, high = images[1].data.min(), images[1].data.max()
    images[1].scale("int16", bzero=(low + high) / 2, bscale=(high - low) / 6e4)
    for i, image in enumerate(images):
        image.writeto(tmp_path / f"image{i}.fits")
    first, *others = predicted(*paths, tmp_path / "link.fits", tmp_path / "galaxy.fits.gz", "--redshift", 0.0858)
    for other in others:
        assert_same(other, first)
    floats, integers = predicted(tmp_path / "image0.fits", tmp_path / "image1.fits", "--redshift", 0.0858)
    assert_same(integers, floats, rtol=0.05)


@pytest.mark.parametrize(
    "kind", ["empty.fits", "empty.ecsv", "no_data.fits", "four.fits", "no_rows.fits", "folder.fits", "dead.fits"]
)
def test_files_that_hold_nothing(write, refused, network_file, tmp_path, kind):
    """Of no bytes, no data, four axes, no rows; a folder and a link to nowhere: each is named."""
    path = tmp_path / kind
    if kind.startswith("empty"):
        path.touch()
    elif kind == "folder.fits":
        path.mkdir()
    elif kind == "dead.fits":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "no_rows.fits":
        write(kind, order=slice(0))
    else:
        fits.PrimaryHDU(np.ones((2, 2, 2, 50), "f4") if kind == "four.fits" else None).writeto(path)
    line, code = refused("predict", path, "--network", network_file, "--redshift", 0.08)
    assert kind in line or "wavelengths must be" in line
    assert code == 1


def test_an_output_that_cannot_be(refused, network_file, tmp_path):
    """A folder that is not there, a file as a folder."""
    (tmp_path / "file").touch()
    for folder in ("nowhere", "file"):
        line, code = refused(
            "predict", "example", "--network", network_file, "--output", tmp_path / folder / "result.fits"
        )
        assert "does not exist" in line
        assert code == 1


# ---- units and photometry ------------------------------------------------------------------------------------------


def test_a_unit_that_is_no_flux_density(write, refused, network_file):
    """Named, with what was expected."""
    line, code = refused("predict", write(flux=write.flux * u.K, error=None), "--network", network_file)
    assert "flux is in K" in line
    assert "erg" in line
    assert code == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"F814W": [1.0] * u.K}, "F814W"),
        ({"F814W": [1.0]}, "unit"),
        ({"F999W": [1.0] * u.Jy}, "the network knows F438W, F814W"),
        ({"F814W": [1.0, 2.0] * u.Jy, "F814W_err": [0.1, 0.1] * u.Jy}, "give a row for each"),
        ({"name": ["a"]}, "none of the bands F438W, F814W"),
    ],
)
def test_bad_photometry_is_refused(refused, network_file, tmp_path, columns, message):
    """Wrong unit, none, an unknown band, rows of something else, no band at all."""
    QTable(columns).write(tmp_path / "bands.ecsv")
    line, code = refused("predict", "example", "--network", network_file, "--photometry", tmp_path / "bands.ecsv")
    assert message in line
    assert code == 1


@pytest.mark.parametrize("distance", ["11", "0", "far"])
def test_a_distance_that_is_none(refused, network_file, distance):
    """Without a unit, a word."""
    line, code = refused("predict", "example", "--network", network_file, "--distance", distance)
    assert f"'{distance}' is neither a length such as '11 Mpc'" in line
    assert code == 2


# ---- networks and devices ------------------------------------------------------------------------------------------


def test_a_truncated_network_and_one_of_another_version(refused, network_file, tmp_path):
    """Refused before anything of it is used."""
    (tmp_path / "short.pt").write_bytes(network_file.read_bytes()[:-1000])
    with zipfile.ZipFile(network_file) as old, zipfile.ZipFile(tmp_path / "later.pt", "w") as new:
        for name in old.namelist():
            later = json.dumps({"format": "sfh_cnn network", "version": 99})
            new.writestr(name, later if name.endswith("format.json") else old.read(name))
    for name, message in (("short.pt", "short.pt"), ("later.pt", "reads version 1")):
        line, code = refused("predict", "example", "--network", tmp_path / name)
        assert message in line
        assert code == 1


def test_a_network_that_is_not_the_released_one(refused, network_file, monkeypatch):
    """The file in the installation has another hash."""
    monkeypatch.setattr(predictor_module, "released_network", lambda _name: (network_file, "0" * 64))
    line, code = refused("predict", "example")
    assert "SHA-256 differs" in line
    assert code == 1


def test_an_unknown_network_and_an_unknown_device(refused, network_file):
    """What there is, is named."""
    line, code = refused("predict", "example", "--network", "phangs-muse-hts")
    assert "available: phangs-muse-hst" in line
    assert code == 1
    for device in ("nonsense", "cpu:x"):
        line, code = refused("predict", "example", "--network", network_file, "--device", device)
        assert f"device '{device}' cannot be used here" in line
        assert code == 1
