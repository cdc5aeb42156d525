"""sfh-cnn photometry: fluxes of known images, in the form that predict takes."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.testing import assert_allclose

pytest.importorskip("photutils")


@pytest.fixture
def image(tmp_path):
    """An even image of 2 electrons/s per pixel of 0.1 arcsec, on a sky level of 1 beyond 2 arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, -20.0], [51, 51]
    wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
    y, x = np.indices((101, 101)) - 50
    header = wcs.to_header()
    header["BUNIT"], header["PHOTFLAM"] = "ELECTRONS/S", 1e-19
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.where(np.hypot(x, y) < 20, 2.0, 1.0), header).writeto(path)
    return path


@pytest.mark.parametrize("position", [("150.0", "-20.0"), ("10:00:00", "-20:00:00")])
def test_flux_of_a_circle(run, tmp_path, image, position):
    """Area times surface brightness less the level of the annulus; the table goes into predict."""
    output = tmp_path / "bands.ecsv"
    aperture = ("--position", *position, "--radius", "1arcsec", "--background", "3 arcsec", "4 arcsec")
    printed = json.loads(run("photometry", image, "--bands", "F814W", *aperture, "-o", output, "--json"))
    table = QTable.read(output)
    expected = np.pi * 10**2 * (2 - 1) * 1e-19
    assert_allclose(table["F814W"].value, expected, rtol=1e-6)
    assert_allclose(printed["F814W"]["value"], expected, rtol=1e-6)
    assert printed["F814W"]["unit"] == "erg / (Angstrom s cm2)"
    assert {"F814W_err", "F814W_coverage"} <= set(table.colnames)


def test_regions_of_ds9(run, tmp_path, image):
    """Each region is a row."""
    pytest.importorskip("regions")
    regions = tmp_path / "two.reg"
    regions.write_text('fk5\ncircle(150.0,-20.0,1")\ncircle(150.0,-20.0,0.5")\n')
    printed = json.loads(run("photometry", image, "--bands", "F814W", "--regions", regions, "--json"))
    assert_allclose(printed["F814W"]["value"], np.pi * np.array([10, 5]) ** 2 * 2e-19, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--bands", "F814W,F555W", "--regions", "a.reg"], "1 images need as many --bands", 2),
        (["{image}", "--bands", "F814W,F814W", "--regions", "a.reg"], "--bands has a band twice", 2),
        (["--bands", "F814W"], "either --regions, or --position", 2),
        (["--bands", "F814W", "--position", "1", "2", "--radius", "3 kg"], "no angle", 2),
        (["--bands", "F814W", "--position", "here", "there", "--radius", "1arcsec"], "no position", 2),
        (["--bands", "F999W", "--position", "1", "2", "--radius", "1arcsec"], "unknown band", 1),
        (["--bands", "F814W", "--regions", "missing.reg"], "missing.reg", 1),
    ],
)
def test_bad_input_is_refused(refused, image, arguments, message, code):
    """In one line."""
    line, status = refused("photometry", image, *(text.replace("{image}", str(image)) for text in arguments))
    assert message in line
    assert status == code
