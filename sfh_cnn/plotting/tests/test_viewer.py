"""The page of maps: what it holds agrees with the maps, and a real browser shows it without any network."""

import base64
import html
import json
import os
import re
import shutil
import subprocess

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError
from sfh_cnn.plotting import write_viewer
from sfh_cnn.results import SFHMaps
from sfh_cnn.results.tests.helpers import make_maps

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def maps():
    """Square bins, the first column empty; not to be changed."""
    return make_maps()


@pytest.fixture(scope="module")
def page(maps, tmp_path_factory):
    """The page of these maps, with spectra."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_viewer(maps, path, title="NGC <3627> & co")
    return path


def data_of(path):
    """The numbers inside a page."""
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)[1])


def unpacked(part):
    """Numbers as the page unpacks them."""
    whole = np.frombuffer(base64.b64decode(part["data"]), "<u2").astype(float)
    low, high = np.atleast_1d(part["low"]), np.atleast_1d(part["high"])
    whole = whole.reshape(len(low), -1)
    return np.where(whole == 65535, np.nan, low[:, None] + (high - low)[:, None] * whole / 65534)


def browse(path, fragment="", script="", width=1366):
    """The page as Chromium has it after its scripts, as text of elements by their id; and the whole."""
    if script:
        changed = path.with_name("changed.html")
        changed.write_text(path.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>"))
        path = changed
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},900"]
    options += [f"--user-data-dir={path.parent / 'profile'}", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [CHROMIUM, *options, "--dump-dom", path.as_uri() + fragment]
    home = {**os.environ, "HOME": str(path.parent)}
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, env=home)
    dom = done.stdout.decode()
    if "</html>" not in dom:
        pytest.skip(f"chromium does not run here: {done.stderr.decode()[-300:]}")
    found = re.findall(r'<(\w+)[^>]*\bid="(\w+)"[^>]*>(.*?)</\1>', dom.split('type="application/json"')[0], re.DOTALL)
    return {name: html.unescape(re.sub("<[^>]*>", " ", text)).strip() for _, name, text in found}, dom


def test_page_holds_the_maps(maps, page):
    """Values, intervals and histories to 1/65534 of their range; bins where they are."""
    data = data_of(page)
    quantities = {one["name"]: one for one in data["quantities"]}
    result = maps.result
    for name in ("mass_weighted_log_age", "light_weighted_metallicity", "a_v", "mass_formed"):
        value, (lower, upper) = getattr(result, name), result.interval(name)
        for key, part in (("value", value), ("lower", lower), ("upper", upper)):
            plain = np.log10(part.value) if quantities[name]["log"] else part.value
            assert_allclose(unpacked(quantities[name][key])[0], plain, atol=1e-4)
    assert quantities["mass_weighted_log_age"]["unit"] == "dex(yr)"
    assert "M" in quantities["mass_formed"]["unit"]
    assert_allclose(unpacked(data["histories"]["fraction"])[0], result.mass_fraction.value.ravel(), atol=2e-5)
    assert_allclose(
        unpacked(data["histories"]["z_upper"])[0], result.interval("metallicity")[1].value.ravel(), atol=1e-4
    )
    bins = np.frombuffer(base64.b64decode(data["bin_id"]), "<i4").reshape(maps.shape)
    assert np.array_equal(bins, maps.bin_id)
    assert data["title"] == "NGC <3627> & co"


def test_spectra_and_reconstruction(maps, page):
    """Each on its own scale; masked pixels are gaps."""
    spectra, kept = data_of(page)["spectra"], maps.result.spectra
    flux = unpacked(spectra["flux"])
    assert np.array_equal(np.isnan(flux), kept["mask"])
    scale = np.abs(kept["flux"]).max(axis=1, keepdims=True)
    assert_allclose(flux / scale, np.where(kept["mask"], np.nan, kept["flux"]) / scale, atol=2e-5)
    assert_allclose(unpacked(spectra["model"]) / scale, maps.result.reconstruct().flux.value / scale, atol=2e-5)
    assert spectra["start"] == kept["wave_aa"][0]


def test_many_spectra_are_averaged(maps, page, tmp_path, monkeypatch):
    """Wide pixels keep the flux: a page with a tenth of the bytes has ten pixels in one."""
    from sfh_cnn.plotting import viewer

    monkeypatch.setattr(viewer, "_SPECTRA_BYTES", 4 * maps.result.spectra["flux"].size / 10)
    write_viewer(maps, tmp_path / "small.html")
    small, full = data_of(tmp_path / "small.html")["spectra"], data_of(page)["spectra"]
    assert small["n"] == full["n"] // 10
    assert small["step"] == 10 * full["step"]
    assert_allclose(small["start"], full["start"] + 4.5 * full["step"])
    flux = unpacked(full["flux"]).reshape(-1, small["n"], 10)
    whole = ~np.isnan(flux).any(axis=2)
    assert_allclose(unpacked(small["flux"])[whole], flux.mean(axis=2)[whole], rtol=1e-3)
    assert (tmp_path / "small.html").stat().st_size < page.stat().st_size


def test_page_asks_for_nothing(page):
    """No address in the page, and a policy that forbids any."""
    text = page.read_text(encoding="utf-8")
    outside = text.split('id="data"')[0] + text.split("</script>", 1)[1]
    assert not re.search(r"https?:|//[a-z]|@import|<link|src=", outside)
    assert "default-src 'none'" in text


def test_a_cut_out_holds_its_bins_only(maps, tmp_path):
    """Numbers of bins start anew; a page without WCS says so by having no grid."""
    write_viewer(SFHMaps(maps.result, maps.bin_id)[3:6, 3:9], tmp_path / "cut.html")
    data = data_of(tmp_path / "cut.html")
    assert (data["n_bin"], data["sky"], data["shape"]) == (2, None, [3, 6])


def test_refusals(maps, page, tmp_path, monkeypatch):
    """An existing page, no bins, too many."""
    from sfh_cnn.plotting import viewer

    with pytest.raises(FileExistsError):
        write_viewer(maps, page)
    with pytest.raises(SFHCNNError, match="have 0"):
        write_viewer(maps[0:2, 0:1], tmp_path / "none.html")
    monkeypatch.setattr(viewer, "_MAX_BINS", 3)
    with pytest.raises(SFHCNNError, match=r"1 to 3 bins.*cut-out"):
        write_viewer(maps, tmp_path / "many.html")
    assert not list(tmp_path.iterdir())


@in_browser
def test_browser_shows_the_bin_of_the_address(maps, page):
    """Value, unit, coordinates and spectrum of the spaxel that the fragment names; no script failed."""
    y, x = 4, 7
    shown, dom = browse(page, f"#map=a_v&x={x}&y={y}")
    row = maps.bin_id[y, x]
    value = maps[y, x].a_v.value
    assert shown["where"].endswith(f"A_V of bin {row}: {value:.3f} mag")
    assert shown["heading"] == f"Bin {row}: {maps.bin_size[row]} spaxels"
    ra, dec = re.search(r"RA (\S+), Dec (\S+)", shown["where"]).groups()
    place = SkyCoord(Angle(ra, u.hourangle), Angle(dec.replace("\N{MINUS SIGN}", "-"), u.deg))
    assert place.separation(maps.wcs.pixel_to_world(x, y)) < 0.02 * u.arcsec
    assert shown["title"] == "NGC <3627> & co"
    assert dom.count("<svg viewBox") >= 4  # spectrum, residual, history, relation
    assert f"{maps[y, x].mass_weighted_log_age.value:.3f}" in shown["numbers"]
    assert "NaN" not in dom.split('type="application/json"')[0]


@in_browser
def test_browser_follows_mouse_and_keys(maps, page):
    """A click selects the spaxel under it, arrow keys the next; an empty spaxel says so."""
    y, x = 7, 9
    click = f"""
        const box = el("sky").getBoundingClientRect(), n = [{maps.shape[1]}, {maps.shape[0]}];
        el("sky").dispatchEvent(new MouseEvent("click", {{
            clientX: box.left + box.width * ({x} + 0.5) / n[0],
            clientY: box.top + box.height * (n[1] - {y} - 0.5) / n[1] }}));
    """
    assert f"spaxel x {x}, y {y}:" in browse(page, script=click)[0]["where"]
    keys = (
        click
        + """
        for (const key of ["ArrowLeft", "ArrowDown", "ArrowDown"])
            el("sky").dispatchEvent(new KeyboardEvent("keydown", { key }));
    """
    )
    assert f"spaxel x {x - 1}, y {y - 2}:" in browse(page, script=keys)[0]["where"]
    shown, _ = browse(page, "#x=0&y=0")
    assert shown["heading"] == "No spectrum here"


@in_browser
def test_browser_draws_the_map(maps, page):
    """The pixel of a spaxel has the colour of its value; north is up; hatching shows through where there is none."""
    script = """
        const [w, h] = [el("sky").width / NX, el("sky").height / NY], c = el("sky").getContext("2d");
        const at = (x, y) => Array.from(c.getImageData((x + .5) * w, (NY - y - .5) * h, 1, 1).data);
        document.title = JSON.stringify([at(0, 4), at(5, 1), at(5, 7)]);
    """
    _, dom = browse(page, "#map=mass_formed", script)
    empty, low, high = json.loads(html.unescape(re.search("<title>(.*?)</title>", dom)[1]))
    assert empty[3] == 0
    # Bins are brighter row by row, and so is the colour map.
    assert sum(high[:3]) > sum(low[:3])


@in_browser
def test_page_fits_a_phone_and_says_what_is_missing(maps, tmp_path):
    """Nothing is wider than 390 pixels; without spectra the page says how to have them."""
    path = tmp_path / "page.html"
    write_viewer(make_maps(spectra=False), path)
    script = "document.title = document.documentElement.scrollWidth + ' ' + innerWidth"
    _, dom = browse(path, script=script, width=390)
    wide, window = map(int, re.search("<title>(.*?)</title>", dom)[1].split())
    assert wide <= window <= 500
    assert re.search(r'id="no-spectrum">', dom)  # no longer hidden
    assert re.search(r'id="spectrum-part" hidden', dom)
