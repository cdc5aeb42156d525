"""Spectra without specutils are the same spectra."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
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
