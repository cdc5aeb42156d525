"""Tables and dicts of bands into arrays, and what is refused."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.photometry import read_photometry, table, to_flux_density

BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")


def make_table(**columns):
    """Two bands for three spectra, with columns that are no photometry."""
    return QTable(
        {
            "id": [1, 2, 3],
            "radius": [1, 2, 3] * u.kpc,
            "F814W": [1e-17, 2e-17, 3e-17] * FLUX_UNIT,
            "F814W_err": [1e-18, 1e-18, 1e-18] * FLUX_UNIT,
            "F275W": [21.0, 22.0, 23.0] * u.ABmag,
            "F275W_err": [0.1, 0.1, 0.2] * u.mag,
            **columns,
        }
    )


def test_table():
    """Columns land at the place of their band; others are missing, not bad."""
    flux, err, bad = read_photometry(make_table(), BANDS, 3)
    assert flux.shape == err.shape == (3, 5)
    assert_allclose(flux[:, 4], [1e-17, 2e-17, 3e-17])
    assert_allclose(err[:, 4], 1e-18)
    assert_allclose(flux[1, 0], to_flux_density(22 * u.ABmag, "F275W")[0])
    assert np.isnan(flux[:, 1:4]).all()
    assert not bad.any()


def test_plain_table_with_units_and_mask():
    """A Table, as read from a file, is as good as a QTable; masked entries are missing."""
    plain = Table(make_table(), masked=True)
    plain["F814W"].mask[1] = True
    flux, _, bad = read_photometry(plain, BANDS, 3)
    assert_array_equal(np.isnan(flux[:, 4]), [False, True, False])
    assert_allclose(flux[[0, 2], 4], [1e-17, 3e-17])
    assert not bad.any()


def test_round_trip_through_a_file(tmp_path):
    """What is written as ECSV is read as it was."""
    make_table().write(tmp_path / "bands.ecsv")
    again = read_photometry(QTable.read(tmp_path / "bands.ecsv"), BANDS, 3)
    for one, two in zip(again, read_photometry(make_table(), BANDS, 3), strict=True):
        assert_array_equal(one, two)


def test_dict():
    """A dict of pairs is the table; None is nothing at all."""
    whole = make_table()
    pairs = {band: (whole[band], whole[f"{band}_err"]) for band in ("F814W", "F275W")}
    for one, two in zip(read_photometry(pairs, BANDS, 3), read_photometry(whole, BANDS, 3), strict=True):
        assert_array_equal(one, two)
    flux, err, bad = read_photometry(None, BANDS, 2)
    assert np.isnan(flux).all()
    assert np.isnan(err).all()
    assert not bad.any()


def test_single_spectrum_takes_scalars():
    """One spectrum: plain numbers with units."""
    flux, err, _ = read_photometry({"F555W": (2 * u.mJy, 0.1 * u.mJy)}, BANDS, 1)
    assert_allclose(err[0, 3] / flux[0, 3], 0.05)


def test_bands_without_errors_get_five_per_cent_and_it_is_said_once():
    """The documented default."""
    from astropy import log

    table._tell_default_error.cache_clear()
    with log.log_to_list() as said:
        for _ in range(2):
            flux, err, _ = read_photometry({"F555W": [2, -3] * u.mJy}, BANDS, 2)
    assert_allclose(err[:, 3], 0.05 * np.abs(flux[:, 3]))
    assert sum("5 per cent" in record.message for record in said) == 1


def test_bad_values_drop_the_band_and_are_told():
    """NaN, infinite, zero or negative errors: that band of that spectrum goes; masked entries are only missing."""
    value = Masked([1.0, 2.0, np.nan, 4.0, 5.0, 6.0] * u.mJy, mask=[False, False, False, False, True, False])
    error = [0.1, 0.0, 0.1, np.inf, 0.1, -1.0] * u.mJy
    photometry = {"F438W": (value, error), "F814W": (np.ones(6) * u.mJy, np.ones(6) * u.uJy)}
    flux, err, bad = read_photometry(photometry, BANDS, 6)
    assert_array_equal(bad, [False, True, True, True, False, True])
    assert_array_equal(np.isfinite(flux[:, 2]), [True, False, False, False, False, False])
    assert_array_equal(np.isnan(flux), np.isnan(err))
    assert np.isfinite(flux[:, 4]).all()
    negative = read_photometry({"F438W": (-1 * u.mJy, 1 * u.mJy)}, BANDS, 1)
    assert negative[0][0, 2] < 0  # noise may be negative, and is kept
    assert not negative[2].any()


@pytest.mark.parametrize("unit", [(u.mJy, u.uJy), (u.ABmag, u.mag)])
def test_errors_are_one_for_each_spectrum(unit):
    """Other numbers of errors are refused by name; one error for all spectra is taken."""
    flux, err = (np.full(3, 20.0) << one for one in unit)
    with pytest.raises(SFHCNNError, match=r"error of photometry\['F814W'\] has shape \(2,\) for 3 spectra"):
        read_photometry({"F814W": (flux, err[:2])}, BANDS, 3)
    with pytest.raises(SFHCNNError, match=r"has shape \(3,\) for 1 spectra"):
        read_photometry({"F814W": (flux[0], err)}, BANDS, 1)
    each = read_photometry({"F814W": (flux, err)}, BANDS, 3)
    assert_array_equal(read_photometry({"F814W": (flux, err[0])}, BANDS, 3)[1], each[1])


def test_refusals():
    """Unknown bands, missing or wrong units, wrong numbers of rows, other classes."""
    with pytest.raises(SFHCNNError, match="photometry has F606W; the network knows F275W"):
        read_photometry({"F606W": 1 * u.mJy}, BANDS, 1)
    with pytest.raises(SFHCNNError, match="photometry has F606W"):
        read_photometry(make_table(F606W=[1, 2, 3] * u.mJy), BANDS, 3)
    with pytest.raises(SFHCNNError, match="none of the bands"):
        read_photometry(QTable({"id": [1]}), BANDS, 1)
    with pytest.raises(SFHCNNError, match=r"photometry\['F814W'\] has 3 for 2 spectra"):
        read_photometry(make_table()["F814W", "F814W_err"], BANDS, 2)
    with pytest.raises(SFHCNNError, match="one value for 2 spectra"):
        read_photometry({"F814W": 1 * u.mJy}, BANDS, 2)
    with pytest.raises(u.UnitTypeError, match=r"photometry\['F814W'\] needs a unit"):
        read_photometry({"F814W": np.ones(2)}, BANDS, 2)
    with pytest.raises(u.UnitTypeError, match="needs a unit"):
        read_photometry(QTable({"F814W": [1.0, 2.0]}), BANDS, 2)
    with pytest.raises(u.UnitConversionError, match="is in km"):
        read_photometry({"F814W": 1 * u.km}, BANDS, 1)
    with pytest.raises(SFHCNNError, match="got list"):
        read_photometry([1, 2], BANDS, 2)
