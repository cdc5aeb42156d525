"""Spectra without specutils are the same spectra."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.table import MaskedColumn, QTable
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.spectra import PlainSpectrum, open_spectra, open_spectrum_file, read_spectra

WAVE = np.linspace(4800.0, 7000.0, 40)
FLUX = 1e-17 * np.random.default_rng(1).uniform(1, 2, (5, 40)).astype(np.float32)
UNIT = u.erg / u.s / u.cm**2 / u.AA


@pytest.mark.parametrize("axis", [0, 1])
def test_the_arrays_are_those_of_specutils(axis):
    """Either way round, with errors, mask and redshift."""
    turn = np.transpose if axis == 0 else np.asarray
    mask = FLUX > 1.9e-17
    plain = PlainSpectrum(
        WAVE * u.AA, turn(FLUX) * UNIT, StdDevUncertainty(turn(0.1 * FLUX)), turn(mask), 0.01, {"medium": "air"}, axis
    )
    one, other = read_spectra(plain), read_spectra(plain.to_specutils())
    for name in ("wave_aa", "flux", "flux_err", "mask"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    assert_allclose(one.redshift, other.redshift)  # specutils stores 1 + z
    assert_array_equal(one.mask, mask)


def test_blocks_are_rows_of_the_whole():
    """Reading in pieces, also in another order."""
    plain = PlainSpectrum(WAVE * u.AA, FLUX * UNIT, redshift=0.01, meta={"medium": "air"}, spectral_axis_index=1)
    whole = read_spectra(plain, redshift=[0.01, np.nan, 0.02, 0.03, 0.04])
    rows = np.array([3, 1])
    part = open_spectra(plain, redshift=[0.01, np.nan, 0.02, 0.03, 0.04]).block(rows)
    for name in ("flux", "mask", "redshift"):
        assert_array_equal(getattr(part, name), getattr(whole, name)[rows])
    assert part.mask[1].all()


def test_a_table_of_many_spectra(tmp_path):
    """A row for each wavelength, an element of the vectors for each spectrum."""
    table = QTable({"wavelength": WAVE * u.AA, "flux": FLUX.T * UNIT, "error": 0.1 * FLUX.T * UNIT})
    table.meta = {"REDSHIFT": 0.01, "MEDIUM": "air"}
    table.write(tmp_path / "many.fits")
    spectra = read_spectra(open_spectrum_file(tmp_path / "many.fits"))
    assert_array_equal(spectra.flux, FLUX)
    assert_array_equal(spectra.redshift, np.full(5, 0.01))


def table_of_many(**columns):
    """Spectra as columns of vectors, with a pixel that is not a number."""
    flux = FLUX.T.copy()
    flux[7, 2] = np.nan
    table = QTable({"wavelength": WAVE / 10 * u.nm, "flux": flux * UNIT, "error": 0.1 * flux * UNIT, **columns})
    table.meta = {"REDSHIFT": 0.01, "MEDIUM": "air"}
    return table


def in_file(array):
    """Whether an array is a part of a file."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def assert_same_spectra(one, other):
    """To the last bit."""
    for name in ("wave_aa", "flux", "flux_err", "mask", "redshift"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.relative, one.medium) == (other.relative, other.medium)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"flux": FLUX.T.astype(float) * u.mJy, "error": 0.1 * FLUX.T.astype(float) * u.Jy},
        {"flux": FLUX.T, "error": FLUX.T},
        {"mask": (FLUX.T > 1.9e-17).astype(np.int16)},
        {"name": ["x"] * 40, "fibre": MaskedColumn(np.arange(40), mask=np.arange(40) > 3)},
    ],
    ids=["plain", "other units", "no unit", "mask", "columns of no interest"],
)
def test_large_tables_stay_in_their_file(tmp_path, columns):
    """Nothing is copied before a block is wanted, and its numbers are those of the table that astropy reads."""
    path = tmp_path / "many.fits"
    table_of_many(**columns).write(path)
    opened = open_spectrum_file(path)
    assert in_file(opened.flux)
    assert in_file(opened.uncertainty.array)
    with fits.open(path, memmap=False) as hdus:
        packed = tmp_path / "many.fits.gz"
        hdus.writeto(packed)
    assert not in_file(open_spectrum_file(packed).flux)
    assert_same_spectra(read_spectra(opened), read_spectra(open_spectrum_file(packed)))
    assert read_spectra(opened).mask[2, 7] or "flux" in columns


@pytest.mark.parametrize("kind", ["masked flux", "masked mask", "logical mask"])
def test_masks_of_large_tables(tmp_path, kind):
    """What has masked values, or is not numbers, is read by astropy."""
    table, path = table_of_many(), tmp_path / "many.fits"
    bad = np.zeros(FLUX.T.shape, dtype=bool)
    bad[3, 1] = True
    if kind == "masked flux":
        table["flux"] = Masked(table["flux"], mask=bad)
    else:
        table["mask"] = bad if kind == "logical mask" else MaskedColumn(bad.astype(np.int16), mask=~bad, fill_value=-9)
    table.write(path)
    opened = open_spectrum_file(path)
    assert not in_file(opened.flux)
    spectra = read_spectra(opened)
    bad[7, 2] = True
    assert spectra.mask[~bad.T].any() == (kind == "masked mask")  # the word for nothing is not 0
    assert spectra.mask[bad.T].all()
    assert_array_equal(spectra.flux[~bad.T], FLUX[~bad.T])


@pytest.mark.parametrize(
    ("form", "keyword", "value"), [("I", "TSCAL2", 0.5), ("E", "TZERO2", 3.0), ("I", "TNULL2", 107), ("PE", "", None)]
)
def test_columns_that_mean_something_else(tmp_path, form, keyword, value):
    """Scaled numbers, integers with a word for nothing, rows of any length: astropy knows what they say."""
    path, counts = tmp_path / "many.fits", 100 + np.arange(80).reshape(40, 2)
    made = [
        fits.Column("wavelength", "D", unit="nm", array=WAVE / 10),
        fits.Column("flux", f"2{form[-1]}", unit="mJy", array=counts),
    ]
    if form == "PE":
        made.append(fits.Column("more", "PJ()", array=np.array([[1], [2, 3]] * 20, dtype=object)))
    fits.BinTableHDU.from_columns(made).writeto(path)
    if keyword:
        fits.setval(path, keyword, value=value, ext=1)
    opened = open_spectrum_file(path)
    assert not in_file(opened.flux)
    flux = {"TSCAL2": 0.5 * counts, "TZERO2": counts + 3.0}.get(keyword, counts)
    bad = counts == value if keyword == "TNULL2" else np.zeros(counts.shape, dtype=bool)
    assert_array_equal(np.broadcast_to(opened.mask, bad.shape), bad)
    assert_array_equal(u.Quantity(getattr(opened.flux, "unmasked", opened.flux)).to_value(u.mJy)[~bad], flux[~bad])


def test_one_row_of_many_spectra_is_not_mapped(tmp_path):
    """A table of one row is a spectrum, as in the archive of ESO."""
    row = {"wavelength": WAVE[None] * u.AA, "flux": FLUX[:1] * UNIT}
    QTable(row, meta={"REDSHIFT": 0.01}).write(tmp_path / "one.fits")
    assert_array_equal(read_spectra(open_spectrum_file(tmp_path / "one.fits")).flux, FLUX[:1])


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty, InverseVariance])
@pytest.mark.parametrize("dtype", [">f4", "f4", "f8", "i4"])
def test_spectra_across_the_memory_are_the_same(kind, dtype):
    """A row for each wavelength or one for each spectrum, more of them than a block has: to the last bit."""
    rng = np.random.default_rng(2)
    flux, err = (rng.uniform(1, 900, (150, 40)).astype(dtype) for _ in range(2))
    mask = rng.random((150, 40)) < 0.1
    along, across = (
        PlainSpectrum(WAVE * u.AA, turn(flux) * u.mJy, kind(turn(err)), turn(mask), 0.01, {"medium": "air"}, axis)
        for turn, axis in ((np.array, 1), (lambda array: np.array(array.T), 0))
    )
    assert_same_spectra(read_spectra(along), read_spectra(across))
