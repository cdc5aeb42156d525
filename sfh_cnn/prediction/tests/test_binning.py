"""Bins: complete, in one piece, and of the S/N asked for."""

import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_array_equal
from scipy import ndimage

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction.binning import bin_spaxels
from sfh_cnn.prediction.map_files import read_bin_map


def disc(n=50, seed=1):
    """An exponential disc with noise, a hole and a dead row."""
    y, x = np.indices((n, n))
    radius = np.hypot(y - 0.45 * n, x - 0.55 * n)
    rng = np.random.default_rng(seed)
    noise = 2 + rng.random((n, n))
    signal = 60 * np.exp(-radius / (0.3 * n)) + 0.2 * noise * rng.standard_normal((n, n))
    signal[np.hypot(y - 0.4 * n, x - 0.4 * n) < 0.08 * n] = np.nan
    noise[3 * n // 5] = 0
    return signal, noise


def snr_of_bins(bin_id, signal, noise, factor=lambda n: 1.0):
    """S/N of each bin from the spaxels on it."""
    inside = bin_id >= 0
    numbers = bin_id[inside]
    total = np.bincount(numbers, signal[inside])
    return total / np.sqrt(np.bincount(numbers, noise[inside] ** 2)) / factor(np.bincount(numbers))


@pytest.mark.parametrize("target", [5, 20, 60])
def test_every_usable_spaxel_is_in_one_bin_of_one_piece(target):
    """Bins number from 0 without a gap, and hang together by edges."""
    signal, noise = disc()
    bin_id = bin_spaxels(signal, noise, target)
    usable = np.isfinite(signal) & (noise > 0)
    assert_array_equal(bin_id >= 0, usable)
    assert_array_equal(np.unique(bin_id[usable]), np.arange(bin_id.max() + 1))
    for number in range(bin_id.max() + 1):
        assert ndimage.label(bin_id == number)[1] == 1


@pytest.mark.parametrize("target", [5, 20, 60])
def test_bins_reach_the_target_without_waste(target):
    """All but what is cut off at the rim; and no bin could do with half of its spaxels."""
    signal, noise = disc()
    bin_id = bin_spaxels(signal, noise, target)
    snr, size = snr_of_bins(bin_id, signal, noise), np.bincount(bin_id[bin_id >= 0])
    assert size[snr < target].sum() <= 0.02 * size.sum()
    assert np.median(snr[size > 1]) < 1.3 * target


def test_correlated_noise_makes_larger_bins():
    """The target holds for the noise that the factor says."""
    signal, noise = disc()

    def factor(n):
        return 1 + 1.62 * np.log10(n)

    bin_id = bin_spaxels(signal, noise, 20, correlation=factor)
    assert np.mean(snr_of_bins(bin_id, signal, noise, factor) >= 20) > 0.97
    assert bin_id.max() < bin_spaxels(signal, noise, 20).max()


def test_bright_spaxels_stay_alone_and_negative_ones_are_in_some_bin():
    """Limits of the S/N."""
    signal, noise = np.full((4, 5), 100.0), np.ones((4, 5))
    assert bin_spaxels(signal, noise, 50).max() == 19
    signal[0, 0] = -5
    bin_id = bin_spaxels(signal, noise, 50)
    assert bin_id[0, 0] >= 0
    assert_array_equal(bin_spaxels(np.ones((3, 3)), noise[:3, :3], 1e6), np.zeros((3, 3), int))


@pytest.mark.filterwarnings("ignore:.*VorBin is deprecated:UserWarning")
@pytest.mark.parametrize(("method", "package"), [("voronoi", "vorbin"), ("power", "powerbin")])
def test_packages_for_bins_if_installed(method, package):
    """Their bins, with this package's noise."""
    pytest.importorskip(package, exc_type=ImportError)
    signal, noise = disc(24)
    bin_id = bin_spaxels(signal, noise, 30, method=method)
    assert_array_equal(bin_id >= 0, np.isfinite(signal) & (noise > 0))
    assert np.median(snr_of_bins(bin_id, signal, noise)) == pytest.approx(30, rel=0.25)


def test_refusals(monkeypatch):
    """What cannot be binned."""
    monkeypatch.setitem(sys.modules, "powerbin", None)
    with pytest.raises(ImportError, match="pip install powerbin"):
        bin_spaxels(*disc(10), 5, method="power")
    signal, noise = disc(10)
    with pytest.raises(SFHCNNError, match="target_snr"):
        bin_spaxels(signal, noise, -1)
    with pytest.raises(SFHCNNError, match="accretion"):
        bin_spaxels(signal, noise, 5, method="hexagons")
    with pytest.raises(SFHCNNError, match="no spaxel"):
        bin_spaxels(np.full((2, 2), np.nan), np.ones((2, 2)), 5)


def test_bin_maps_of_any_kind(tmp_path):
    """Numbered anew in the order of the numbers; what is negative, masked, NaN or not usable is in no bin."""
    usable = np.ones((2, 3), dtype=bool)
    expected = np.array([[0, 0, 1], [-1, 2, 2]])
    image = np.array([[3, 3, 5], [-1, 9, 9]])
    as_float = np.where(image < 0, np.nan, image)
    masked = np.ma.array(np.abs(image), mask=image < 0)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((2, 3))), fits.ImageHDU(as_float, name="BIN_ID")]).writeto(
        tmp_path / "phangs.fits"
    )
    cube = np.stack([image, np.zeros_like(image)])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube, name="BINID")]).writeto(tmp_path / "manga.fits")
    Table({"ID": np.arange(6), "BIN_ID": image.ravel()}).write(tmp_path / "ngist.fits")
    fits.writeto(tmp_path / "image.fits", image)
    names = ("phangs.fits", "manga.fits", "ngist.fits", "image.fits")
    for bins in (image, as_float, masked, *(str(tmp_path / name) for name in names)):
        assert_array_equal(read_bin_map(bins, (2, 3), usable), expected)
    usable[0, 2] = False
    assert_array_equal(read_bin_map(image, (2, 3), usable), [[0, 0, -1], [-1, 1, 1]])
    with pytest.raises(SFHCNNError, match="whole numbers"):
        read_bin_map(image + 0.5, (2, 3), usable)
    with pytest.raises(SFHCNNError, match="no bin"):
        read_bin_map(np.full((2, 3), -1), (2, 3), usable)
    with pytest.raises(FileNotFoundError, match="no bin map"):
        read_bin_map(tmp_path / "nothing.fits", (2, 3), usable)
