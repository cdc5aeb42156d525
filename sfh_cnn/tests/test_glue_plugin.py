"""Glue opens maps: found by its entry point, recognised by content, shown with units and coordinates."""

from importlib.metadata import entry_points

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from sfh_cnn import glue_plugin
from sfh_cnn.results import SFHMaps
from sfh_cnn.results.tests.helpers import make_maps, make_result

pytestmark = pytest.mark.filterwarnings("ignore")  # glue's own affairs


@pytest.fixture
def path(tmp_path):
    """Maps of 9 by 11 spaxels."""
    make_maps().write(tmp_path / "maps.fits")
    return tmp_path / "maps.fits"


def test_only_maps_are_recognised(path, tmp_path):
    """Results, other FITS files, other files and missing ones are left to glue."""
    make_result(2).write(tmp_path / "result.fits")
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    (tmp_path / "broken.fits").write_text("no FITS")
    assert glue_plugin.is_maps_file(str(path))
    for name in ("result.fits", "image.fits", "broken.fits", "missing.fits", "table.csv"):
        assert not glue_plugin.is_maps_file(str(tmp_path / name))


def test_entry_point_leads_to_the_plugin():
    """What an installed package tells glue."""
    found = [entry for entry in entry_points(group="glue.plugins") if entry.name == "sfh_cnn"]
    if not found:
        pytest.skip("the package is not installed")
    assert found[0].load() is glue_plugin.setup


def test_glue_opens_maps(path):
    """Through glue's own function that opens files: the numbers, units and coordinates of the maps."""
    pytest.importorskip("glue")
    from glue.config import data_factory
    from glue.core.data_factories import load_data

    members = data_factory.members[:]
    glue_plugin.setup()
    try:
        images, cubes = load_data(str(path))
    finally:
        data_factory._members = members
    maps = SFHMaps.read(path)
    assert images.label == "made-up-network maps"
    assert_array_equal(images["mass_weighted_age"], maps.mass_weighted_age.value)
    assert images.get_component("mass_formed").units == "solMass"
    assert_array_equal(images["a_v_upper"], maps.interval("a_v")[1].value)
    assert_array_equal(cubes["mass_fraction"][3], maps.mass_fraction.value[..., 3])
    assert_array_equal(cubes["log_age_of_bin"][:, 0, 0], maps.age_grid.log_ages.value)
    sky = images.coords.pixel_to_world(2, 3)
    assert sky.separation(maps.wcs.pixel_to_world(2, 3)).arcsec < 1e-6
