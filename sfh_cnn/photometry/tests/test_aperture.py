"""Aperture photometry against photutils itself, known sources and Monte Carlo noise."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.photometry import load_bandpass, measure_bands, read_photometry

aperture = pytest.importorskip("photutils.aperture")
regions = pytest.importorskip("regions")

PHOTFLAM = 1.5e-19
SKY = SkyCoord(63.36, 10.465, unit="deg")


def make_header(scale_arcsec=0.04, shape=(200, 200), angle_deg=30.0, **keywords):
    """A rotated tangential WCS centred on SKY, with the keywords of a drizzled HST image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [SKY.ra.deg, SKY.dec.deg]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[-cos, sin], [sin, cos]])
    header = wcs.to_header()
    header.update({"PHOTFLAM": PHOTFLAM, "BUNIT": "ELECTRONS/S", **keywords})
    return header


def gaussian(shape=(200, 200), sigma=5.0, flux=1000.0):
    """A round source in the middle."""
    y, x = np.indices(shape)
    centre = (np.array(shape) - 1) / 2
    profile = np.exp(-0.5 * ((x - centre[1]) ** 2 + (y - centre[0]) ** 2) / sigma**2)
    return flux * profile / (2 * np.pi * sigma**2)


def test_encircled_flux_of_a_gaussian():
    """1 - exp(-r^2 / 2 sigma^2) of the counts, times PHOTFLAM."""
    shape = aperture.SkyCircularAperture(SKY, r=0.4 * u.arcsec)  # 10 pixels, 2 sigma
    table = measure_bands({"F555W": (gaussian(), make_header())}, shape, errors={"F555W": np.full((200, 200), 0.1)})
    assert_allclose(table["F555W"].to_value(FLUX_UNIT), 1000 * PHOTFLAM * (1 - np.exp(-2)), rtol=2e-3)
    assert_allclose(table["F555W_err"].to_value(FLUX_UNIT), 0.1 * PHOTFLAM * np.sqrt(np.pi * 100), rtol=1e-3)
    assert_allclose(table["F555W_coverage"], 1)


def test_agrees_with_photutils():
    """Sums and errors of many positions are those of aperture_photometry."""
    rng = np.random.default_rng(1)
    data, error = rng.normal(1, 0.3, (200, 200)), rng.uniform(0.2, 0.4, (200, 200))
    shapes = aperture.EllipticalAperture(rng.uniform(40, 160, (6, 2)), a=9, b=5, theta=0.3 * u.rad)
    ours = measure_bands({"F555W": (data, make_header())}, shapes, errors={"F555W": error})
    theirs = aperture.aperture_photometry(data, shapes, error=error)
    assert_allclose(ours["F555W"].value / PHOTFLAM, theirs["aperture_sum"], rtol=1e-10)
    assert_allclose(ours["F555W_err"].value / PHOTFLAM, theirs["aperture_sum_err"], rtol=1e-10)


def test_every_form_of_an_aperture(tmp_path):
    """Photutils, regions, and a DS9 file mark the same pixels."""
    sky = regions.CircleSkyRegion(SKY, 0.4 * u.arcsec)
    name = str(tmp_path / "apertures.reg")
    regions.Regions([sky, sky]).write(name, format="ds9", precision=10)
    pixel = aperture.CircularAperture((99.5, 99.5), r=10)
    image = {"F555W": (gaussian(), make_header())}
    expected = measure_bands(image, pixel)["F555W"][0]
    in_pixels = sky.to_pixel(WCS(make_header()))
    for shapes, n in [(sky, 1), ([sky, pixel], 2), (regions.Regions([sky]), 1), (name, 2), (in_pixels, 1)]:
        table = measure_bands(image, shapes)
        assert len(table) == n
        assert_allclose(table["F555W"].value, expected.value, rtol=1e-4)
    square = regions.PolygonPixelRegion(regions.PixCoord([89.5, 109.5, 109.5, 89.5], [89.5, 89.5, 109.5, 109.5]))
    table = measure_bands({"F555W": (np.ones((200, 200)), make_header())}, square)
    assert_allclose(table["F555W"].value, 400 * PHOTFLAM)


def test_same_sky_in_images_of_different_scale():
    """Bands with different pixels and orientation give the same flux for the same patch of sky."""
    coarse = gaussian((100, 100), sigma=2.5)
    images = {"F555W": (gaussian(), make_header()), "F814W": (coarse, make_header(0.08, (100, 100), angle_deg=-70))}
    table = measure_bands(images, aperture.SkyCircularAperture(SKY, r=0.6 * u.arcsec))
    assert_allclose(table["F555W"].value, table["F814W"].value, rtol=0.01)


@pytest.mark.parametrize("form", ["file", "pair", "ccddata"])
def test_every_form_of_an_image(form, tmp_path):
    """A FITS file with primary keywords and an ERR extension, a pair, a CCDData: the same numbers."""
    data, error, header = gaussian().astype(np.float32), np.full((200, 200), 0.1, dtype=np.float32), make_header()
    errors = None
    if form == "file":
        primary = fits.PrimaryHDU()
        primary.header["PHOTFLAM"] = header.pop("PHOTFLAM")
        hdus = [primary, fits.ImageHDU(data, header, name="SCI"), fits.ImageHDU(error, name="ERR")]
        fits.HDUList(hdus).writeto(tmp_path / "image.fits")
        image = tmp_path / "image.fits"
    elif form == "pair":
        image, errors = (data, header), {"F555W": error}
    else:
        wcs = WCS(header)
        image = CCDData(data, unit="electron / s", wcs=wcs, uncertainty=StdDevUncertainty(error), meta=header)
    table = measure_bands({"F555W": image}, aperture.SkyCircularAperture(SKY, r=0.4 * u.arcsec), errors=errors)
    assert_allclose(table["F555W"].value, 1000 * PHOTFLAM * (1 - np.exp(-2)), rtol=2e-3)
    assert_allclose(table["F555W_err"].value, 0.1 * PHOTFLAM * np.sqrt(np.pi * 100), rtol=1e-3)


def test_image_in_flux_density():
    """An image in f_nu needs no PHOTFLAM and lands at the band's pivot."""
    header = make_header(BUNIT="uJy")
    del header["PHOTFLAM"]
    table = measure_bands({"F814W": (gaussian(), header)}, aperture.CircularAperture((99.5, 99.5), r=40))
    expected = (1000 * u.uJy).to(FLUX_UNIT, u.spectral_density(load_bandpass("F814W").pivot))
    assert_allclose(table["F814W"].value, expected.value, rtol=1e-6)


def test_image_in_surface_brightness():
    """The flux of an aperture on a flat field of 1 MJy/sr is its area, and so is the error."""
    header = make_header(BUNIT="MJy/sr")
    shape, flat = aperture.CircularAperture((99.5, 99.5), r=10), np.ones((200, 200))
    table = measure_bands({"F814W": (flat, header)}, shape, errors={"F814W": 0.1 * flat})
    one = (1 * u.MJy / u.sr * (0.04 * u.arcsec) ** 2).to(FLUX_UNIT, u.spectral_density(load_bandpass("F814W").pivot))
    assert_allclose(table["F814W"].value, np.pi * 100 * one.value, rtol=1e-6)
    assert_allclose(table["F814W_err"].value, 0.1 * np.sqrt(np.pi * 100) * one.value, rtol=1e-3)
    bare = {"BUNIT": "MJy/sr"}
    with pytest.raises(SFHCNNError, match=r"images\['F814W'\] is a surface brightness per sr"):
        measure_bands({"F814W": (flat, bare)}, shape)


def test_errors_match_the_scatter_of_repeated_measurements():
    """Empty apertures on white noise scatter as their errors say; the correlation factor scales them."""
    data = np.random.default_rng(2).normal(0, 0.5, (400, 400))
    places = np.stack(np.meshgrid(np.arange(20, 390, 20), np.arange(20, 390, 20)), axis=-1).reshape(-1, 2)
    shapes = aperture.CircularAperture(places, r=8)
    image = {"F555W": (data, make_header())}
    table = measure_bands(image, shapes)
    assert_allclose(np.std(table["F555W"].value), table["F555W_err"][0].value, rtol=0.1)
    wider = measure_bands(image, shapes, noise_correlation=1.5)
    assert_allclose(wider["F555W_err"].value, 1.5 * table["F555W_err"].value)


def test_local_background():
    """A pedestal with a gradient and a bright neighbour in the annulus is taken off; its uncertainty is added."""
    rng = np.random.default_rng(3)
    data = gaussian() + 7 + 0.01 * np.arange(200) + rng.normal(0, 0.1, (200, 200))
    data[125:129, 99:103] = 500  # in the annulus
    shape = aperture.SkyCircularAperture(SKY, r=0.8 * u.arcsec)
    annulus = aperture.SkyCircularAnnulus(SKY, r_in=0.9 * u.arcsec, r_out=1.6 * u.arcsec)
    errors = {"F555W": np.full((200, 200), 0.1)}
    table = measure_bands({"F555W": (data, make_header())}, shape, errors=errors, background=annulus)
    bare = measure_bands({"F555W": (data, make_header())}, shape, errors=errors)
    assert abs(table["F555W"][0].value / PHOTFLAM - 1000) < 4 * table["F555W_err"][0].value / PHOTFLAM
    assert bare["F555W"][0].value / PHOTFLAM > 9000
    assert table["F555W_err"][0] > bare["F555W_err"][0]


def test_bad_pixels_and_edges():
    """A few bad pixels are made up for by area; an aperture half off the image, or off it, gives NaN."""
    data = np.ones((200, 200))
    data[99:101, 99:101] = np.nan
    image = {"F555W": (data, make_header())}
    table = measure_bands(image, aperture.CircularAperture([(99.5, 99.5), (0, 100), (-500, 0)], r=10))
    assert_allclose(table["F555W"][0].value, np.pi * 100 * PHOTFLAM, rtol=1e-6)
    assert_allclose(table["F555W_coverage"], [1 - 4 / (np.pi * 100), 0.53, 0], atol=0.01)
    assert np.isnan(table["F555W"][1:]).all()
    assert np.isnan(table["F555W_err"][1:]).all()


def test_the_table_is_what_read_photometry_takes():
    """No renaming between measuring and predicting."""
    images = {band: (gaussian() + 1, make_header()) for band in ("F275W", "F814W")}
    table = measure_bands(images, aperture.CircularAperture([(99.5, 99.5), (-500, 0)], r=10))
    flux, err, bad = read_photometry(table, ("F275W", "F555W", "F814W"), 2)
    assert_allclose(flux[0, [0, 2]], table["F275W"][0].value)
    assert np.isfinite(err[0, [0, 2]]).all()
    assert bad.tolist() == [False, True]


def test_refusals_and_warnings():
    """Missing WCS or calibration, unequal lists, unknown bands; an image of another camera is told."""
    from astropy import log

    sky = aperture.SkyCircularAperture(SKY, r=0.4 * u.arcsec)
    pixel = aperture.CircularAperture((99.5, 99.5), r=10)
    good = {"F555W": (gaussian(), make_header())}
    with pytest.raises(SFHCNNError, match="celestial WCS"):
        measure_bands({"F555W": (gaussian(), {"PHOTFLAM": PHOTFLAM})}, sky)
    with pytest.raises(SFHCNNError, match=r"images\['F555W'\] has neither PHOTFLAM"):
        measure_bands({"F555W": (gaussian(), {})}, pixel)
    with pytest.raises(SFHCNNError, match="unknown band 'V'"):
        measure_bands({"V": (gaussian(), make_header())}, pixel)
    with pytest.raises(SFHCNNError, match="background has 2 regions for 1 apertures"):
        measure_bands(good, pixel, background=[pixel, pixel])
    with pytest.raises(SFHCNNError, match="errors has F814W"):
        measure_bands(good, pixel, errors={"F814W": gaussian()})
    with pytest.raises(SFHCNNError, match="its image"):
        measure_bands(good, pixel, errors={"F555W": np.ones((2, 2))})
    with pytest.raises(SFHCNNError, match="got int"):
        measure_bands(good, 3)
    with log.log_to_list() as said:
        measure_bands({"F814W": (gaussian(), make_header(PHOTPLAM=7996.0))}, pixel)
    assert any("another camera" in record.message for record in said)
