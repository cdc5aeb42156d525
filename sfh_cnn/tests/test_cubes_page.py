"""The Python of the page about cubes runs from top to bottom, on a small galaxy in place of NGC 3627."""

import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from sfh_cnn.examples import load_example_spectrum
from sfh_cnn.photometry import load_bandpass

from .pages import HAS_PAGES, blocks

if not HAS_PAGES:
    pytest.skip("the pages are in the checkout only", allow_module_level=True)

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

N, SPAXEL_ARCSEC = 34, 0.2
N_IMAGE, PIXEL_ARCSEC = 180, 0.05
REDSHIFT = 0.00243
PHOTFLAM = 1e-19


def celestial(n, scale_arcsec):
    """Header of a tangent plane around one point of the sky."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (170.06, 12.99), ((n + 1) / 2, (n + 1) / 2)
    wcs.wcs.cdelt = -scale_arcsec / 3600, scale_arcsec / 3600
    wcs.wcs.cunit = "deg", "deg"
    return wcs.to_header()


def profile(n, scale_arcsec):
    """Surface brightness of a round galaxy, 1 in its middle, flat enough for the resolution not to matter."""
    y, x = (np.indices((n, n)) - (n - 1) / 2) * scale_arcsec
    return np.exp(-(x**2 + y**2) / (2 * 2.0**2))


def make_files():
    """A cube, its MAPS and two images, as PHANGS distributes them, in the working directory."""
    spectrum = load_example_spectrum()
    wave_aa = 4750 + 1.25 * np.arange(3681)
    moved_aa = spectrum.spectral_axis.to_value(u.AA) / (1 + spectrum.redshift.value) * (1 + REDSHIFT)
    flux = np.interp(wave_aa, moved_aa, spectrum.flux.value / np.nanmedian(spectrum.flux.value))
    light = profile(N, SPAXEL_ARCSEC)
    header = celestial(N, SPAXEL_ARCSEC)
    header.update({"CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": wave_aa[0], "CDELT3": 1.25, "CRPIX3": 1.0})
    header["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
    data = (1000 * flux[:, None, None] * light).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 30, data.shape).astype(np.float32)
    stat = header.copy()
    stat["BUNIT"] = "10**(-40)*erg**2/s**2/cm**4/Angstrom**2"
    cube = [fits.ImageHDU(data + noise, header, "DATA"), fits.ImageHDU(np.full_like(data, 900), stat, "STAT")]
    fits.HDUList([fits.PrimaryHDU(), *cube]).writeto("NGC3627_MUSE.fits")
    shutil.copy("NGC3627_MUSE.fits", "cube.fits")
    bins = np.arange(N * N).reshape(N, N) // 20
    maps = [fits.ImageHDU(bins, name="BIN_ID"), fits.ImageHDU(np.full((N, N), 20.0), name="V_STARS")]
    fits.HDUList([fits.PrimaryHDU(), *maps]).writeto("NGC3627_MAPS.fits")
    for name in ("F275W", "F555W"):
        pivot_aa = load_bandpass(name).pivot.to_value(u.AA)
        near = np.median(flux[np.abs(wave_aa - max(pivot_aa, 5200)) < 400])
        level = 1e-17 * near * (PIXEL_ARCSEC / SPAXEL_ARCSEC) ** 2
        keywords = {"BUNIT": "ELECTRONS/S", "PHOTFLAM": PHOTFLAM, "PHOTPLAM": pivot_aa}
        image_header = celestial(N_IMAGE, PIXEL_ARCSEC)
        image_header.update(keywords)
        image = (level / PHOTFLAM * profile(N_IMAGE, PIXEL_ARCSEC)).astype(np.float32)
        fits.writeto(f"ngc3627_{name.lower()}.fits", image, image_header)


def test_the_page_runs(tmp_path, monkeypatch):
    """With a cluster on this machine instead of the one of the page."""
    monkeypatch.chdir(tmp_path)
    make_files()
    names = {}
    texts = [text for page, _, text in blocks("python") if page.endswith("cubes.rst")]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
    ) as cluster:
        for text in texts:
            exec(compile(text.replace("tcp://node1:8786", cluster.scheduler_address), "page", "exec"), names)
    maps, images, found = (names[name] for name in ("maps", "images", "found"))
    assert maps.shape == (N, N)
    assert np.isfinite(maps.light_weighted_log_age.value).mean() > 0.9  # the rest is too faint
    assert set(images) == {"F275W", "F555W"}
    assert_allclose([found.east.to_value(u.arcsec), found.north.to_value(u.arcsec)], 0, atol=0.05)
    assert {path.name for path in tmp_path.iterdir()} >= {"NGC3627_sfh.fits", "maps.fits", "maps.html"}
