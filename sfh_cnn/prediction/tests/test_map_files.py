"""Maps of bins and velocities as the analysis pipelines document their files."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction.map_files import read_bin_map, redshift_map

SHAPE = (4, 5)
C_KMS = 299792.458
BINS = np.array([[0, 0, 1, 1, -1], [0, 2, 2, 1, -1], [3, 2, 2, 4, 4], [3, 3, -1, 4, 4]])
VELOCITY = np.linspace(-150, 150, 20).reshape(SHAPE)
EVERYWHERE = np.ones(SHAPE, dtype=bool)


def write(path, *hdus):
    """A file with an empty primary HDU, in order for the standard."""
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    with fits.open(path) as written:
        written.verify("exception")
    return path


def phangs_maps(path):
    """MAPS of the PHANGS-MUSE pipeline: images in float64, NaN outside."""
    outside = BINS < 0
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -5.6e-5, "CD2_2": 5.6e-5})
    images = {
        "ID": np.arange(20.0).reshape(SHAPE), "FLUX": np.ones(SHAPE), "SNR": np.full(SHAPE, 30.0),
        "SNRBIN": np.full(SHAPE, 40.0), "BIN_ID": np.where(outside, np.nan, BINS),
        "V_STARS": np.where(outside, np.nan, VELOCITY), "FORM_ERR_V_STARS": np.full(SHAPE, 5.0),
        "SIGMA_STARS": np.full(SHAPE, 60.0), "FORM_ERR_SIGMA_STARS": np.full(SHAPE, 9.0),
        "HB4861_FLUX": np.ones(SHAPE), "HA6562_VEL": VELOCITY + 7,
    }  # fmt: skip
    return write(path, *(fits.ImageHDU(image, header, name=name) for name, image in images.items()))


def manga_maps(path):
    """MAPS of the MaNGA DAP: five planes of BINID, velocities in km/s with IVAR and MASK (MANGA_DAPPIXMASK)."""
    mask = np.zeros(SHAPE, dtype="i4")
    mask[BINS < 0] = 2**0 + 2**30  # NOCOV, DONOTUSE
    mask[2, 2] = 2**10  # MULTICOMP is a remark
    mask[3, 0] = 2**5  # UNRELIABLE
    channels = np.stack([BINS, np.where(BINS == 4, -1, BINS), BINS, BINS, BINS]).astype("i4")
    images = {
        "SPX_SKYCOO": np.zeros((2, *SHAPE)), "SPX_SNR": np.ones(SHAPE), "BINID": channels,
        "BIN_SNR": np.full(SHAPE, 12.0), "STELLAR_VEL": np.where(BINS < 0, 0.0, VELOCITY),
        "STELLAR_VEL_IVAR": np.full(SHAPE, 0.04), "STELLAR_VEL_MASK": mask, "STELLAR_SIGMA": np.full(SHAPE, 70.0),
    }  # fmt: skip
    return write(path, *(fits.ImageHDU(image, name=name) for name, image in images.items()))


def ngist_table(path, masks=True):
    """``RUN_table.fits``: a row for each spaxel, minus the nearest bin where it is masked; and ``RUN_mask.fits``."""
    masked = BINS < 0
    nearest = np.where(masked, [[0, 0, 0, 0, 1]] * 3 + [[0, 0, 0, 4, 4]], BINS)
    written = np.where(masked, -nearest, BINS).ravel()  # minus 0 is 0: the masked spaxel of the last row
    y, x = np.indices(SHAPE)
    columns = [fits.Column("ID", "J", array=np.arange(20)), fits.Column("BIN_ID", "J", array=written)]
    columns += [fits.Column(name, "D", array=value.ravel() * 0.2) for name, value in (("X", x), ("Y", y))]
    columns += [fits.Column(name, "D", array=np.ones(20)) for name in ("FLUX", "SNR", "XBIN", "YBIN", "SNRBIN")]
    columns.append(fits.Column("NSPAX", "J", array=np.ones(20)))
    write(path, fits.BinTableHDU.from_columns(columns, name="TABLE"))
    if masks:
        columns = [fits.Column("MASK", "J", array=masked.ravel().astype(int))]
        mask_file = path.with_name(path.name.replace("_table", "_mask"))
        write(mask_file, fits.BinTableHDU.from_columns(columns, name="MASKFILE"))
    return path


def ngist_maps(path):
    """``RUN_SPATIAL_BINNING_maps.fits``: images in float64."""
    images = {"BINID": np.where(BINS < 0, np.nan, BINS), "FLUX": np.ones(SHAPE), "SNR": np.ones(SHAPE)}
    return write(path, *(fits.ImageHDU(image, name=name) for name, image in images.items()))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (phangs_maps, "NGC4303-0.92asec_MAPS.fits"),
        (manga_maps, "manga-8485-1901-MAPS-HYB10-MILESHC-MASTARSSP.fits"),
        (ngist_table, "NGC4303_table.fits"),
        (ngist_maps, "NGC4303_SPATIAL_BINNING_maps.fits"),
    ],
)
def test_bins_as_pipelines_document_them(tmp_path, make, name):
    """The bins that were written, and none where the pipeline had none."""
    path = make(tmp_path / name)
    assert_array_equal(read_bin_map(path, SHAPE, EVERYWHERE), BINS)
    with pytest.raises(SFHCNNError, match=r"rows|shape"):
        read_bin_map(path, (3, 3), np.ones((3, 3), dtype=bool))


def test_a_table_without_its_masks(tmp_path):
    """Minus the nearest bin is no bin; only minus 0 cannot be told from 0."""
    bins = read_bin_map(ngist_table(tmp_path / "run_table.fits", masks=False), SHAPE, EVERYWHERE)
    assert_array_equal(np.argwhere(bins != BINS), [[3, 2]])
    assert bins[3, 2] == 0


def test_velocities_of_phangs(tmp_path):
    """Relative to the redshift of the galaxy; NaN stays NaN."""
    redshifts = redshift_map(0.00522, phangs_maps(tmp_path / "MAPS.fits"), SHAPE)
    expected = (1 + 0.00522) * (1 + VELOCITY / C_KMS) - 1
    assert_allclose(redshifts, np.where(BINS < 0, np.nan, expected), rtol=1e-12)


def test_velocities_of_manga(tmp_path):
    """Those that the mask spoils are left out; remarks in the mask spoil nothing."""
    redshifts = redshift_map(0.02, manga_maps(tmp_path / "MAPS.fits"), SHAPE)
    bad = BINS < 0
    bad[3, 0] = True
    assert_array_equal(np.isnan(redshifts), bad)
    assert redshifts[2, 2] == pytest.approx(1.02 * (1 + VELOCITY[2, 2] / C_KMS) - 1, abs=1e-12)


def test_a_map_of_velocities_as_an_array():
    """Any unit of velocity; masked elements are none."""
    masked = Masked(VELOCITY * 1e3 * u.m / u.s, mask=VELOCITY < -100)
    expected = np.where(VELOCITY < -100, np.nan, 1.01 * (1 + VELOCITY / C_KMS) - 1)
    assert_allclose(redshift_map(0.01, masked, SHAPE), expected, rtol=1e-12)
