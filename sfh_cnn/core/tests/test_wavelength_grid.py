"""Tests of the rest-frame pixels."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError, WavelengthGrid
from sfh_cnn.core.wavelength_grid import pixel_edges


def test_pixels_of_the_public_demo_of_the_method():
    """4800 to 7000 Angstrom in steps of 1.25 are 1761 pixels."""
    grid = WavelengthGrid(4800.0, 1.25, 1761)
    assert_allclose(grid.wave_aa[[0, -1]], [4800, 7000])
    assert_allclose(grid.wavelength[-1].to_value(u.nm), 700)


def test_edges_enclose_the_pixels():
    """Each centre lies half a pixel inside its edges, and the edges span all pixels."""
    grid = WavelengthGrid(4750.0, 1.25, 8)
    assert_allclose((grid.edges_aa[1:] + grid.edges_aa[:-1]) / 2, grid.wave_aa)
    assert_allclose(np.diff(grid.edges_aa), 1.25)


@pytest.mark.parametrize("arguments", [(0, 1, 10), (4750, 0, 10), (4750, -1, 10), (4750, 1, 1), (np.nan, 1, 10)])
def test_impossible_pixels_are_refused(arguments):
    """The message repeats what came."""
    with pytest.raises(SFHCNNError, match="needs start > 0, step > 0 and n_wave >= 2, got"):
        WavelengthGrid(*arguments)


def test_grids_are_values():
    """Equal grids are equal and hash alike; any difference counts."""
    grid = WavelengthGrid(4750.0, 1.25, 100)
    assert grid == WavelengthGrid(4750, 1.25, 100)
    assert hash(grid) == hash(WavelengthGrid(4750, 1.25, 100))
    for other in (WavelengthGrid(4751, 1.25, 100), WavelengthGrid(4750, 1.5, 100), WavelengthGrid(4750, 1.25, 101)):
        assert grid != other
    assert grid != 4750


def test_repr_says_air():
    """The medium is part of what a grid is."""
    assert repr(WavelengthGrid(4750.0, 1.25, 3)) == "<WavelengthGrid: 3 pixels of 1.25 Angstrom, 4749.38-4753.12, air>"


def test_pixel_edges_of_linear_pixels_are_exact():
    """Half a pixel beyond the outer centres, half-way between the others."""
    grid = WavelengthGrid(4750.0, 1.25, 50)
    assert_allclose(pixel_edges(grid.wave_aa), grid.edges_aa, rtol=1e-14)


def test_pixel_edges_of_logarithmic_pixels_bracket_the_centres():
    """They increase with the centres, one more than there are pixels."""
    wave_aa = np.geomspace(3800, 9200, 200)
    edges_aa = pixel_edges(wave_aa)
    assert edges_aa.shape == (201,)
    assert np.all((edges_aa[:-1] < wave_aa) & (wave_aa < edges_aa[1:]))
