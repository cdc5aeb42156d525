"""Spectra summed up behind maps are those that the maps were made from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction import attach_spectra
from sfh_cnn.prediction import bin_spectra as module

from .mock_cube import REDSHIFT, WAVE_AA


@pytest.fixture(scope="module")
def path(mock, tmp_path_factory):
    """The same in a file, with a bad pixel in one spaxel."""
    bad = np.zeros(mock.flux.shape, dtype=np.int32)
    bad[100, 4, 5] = 1
    return mock.write(tmp_path_factory.mktemp("cube") / "cube.fits", DQ=bad)


@pytest.fixture(scope="module")
def maps(predictor, path):
    """Bins of several spaxels."""
    return predictor.predict_cube(path, redshift=REDSHIFT, target_snr=60, ebv=0.1, noise_correlation=1.5)


def test_reconstruction_fits_as_well_as_in_the_maps(predictor, maps, path, monkeypatch):
    """Flux, errors and masks are those of predict_cube: the reduced chi2 agrees; in stripes of a row too."""
    arrays = maps.result.arrays
    whole = attach_spectra(predictor, maps, path, ebv=0.1, noise_correlation=1.5)
    assert_allclose(whole.result.reconstruct().reduced_chi2, arrays["reduced_chi2"], rtol=1e-3)
    assert_array_equal(whole.result.arrays["mass_fraction"], arrays["mass_fraction"])
    monkeypatch.setattr(module, "_STRIPE", 1)
    rows = attach_spectra(predictor, maps, path, ebv=0.1, noise_correlation=1.5)
    assert_allclose(rows.result.spectra["flux"], whole.result.spectra["flux"], rtol=1e-5)
    assert_array_equal(rows.bin_id, maps.bin_id)


def test_spectrum_is_the_sum_of_its_spaxels(predictor, maps, mock, path):
    """Total flux and error of a bin without bad pixels; no extinction taken off unless asked."""
    spectra = attach_spectra(predictor, maps, path).result.spectra
    number = maps.bin_id[0, 0]
    y, x = np.nonzero(maps.bin_id == number)
    rest_aa = WAVE_AA / (1 + REDSHIFT)
    inside = (spectra["wave_aa"] > rest_aa[5]) & (spectra["wave_aa"] < rest_aa[-5])
    own = mock.flux[:, y, x].sum(axis=1) * 1e-20
    window = (rest_aa > spectra["wave_aa"][inside][0]) & (rest_aa < spectra["wave_aa"][inside][-1])
    assert_allclose(spectra["flux"][number][inside].mean(), own[window].mean(), rtol=0.01)


def test_refusals(predictor, maps, path, monkeypatch):
    """Another cube, too many bins."""
    with pytest.raises(SFHCNNError, match="give the cube that they are of"):
        attach_spectra(predictor, maps[0:4, 0:4], path)
    monkeypatch.setattr(module, "_MAX_BINS", 1)
    with pytest.raises(SFHCNNError, match="make larger bins"):
        attach_spectra(predictor, maps, path)
