"""Bands against spectra of simple shape, whose band fluxes another function integrates; and the flag."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sfh_cnn import SFHPredictor
from sfh_cnn.core import Flag
from sfh_cnn.examples import load_example_photometry, open_example_spectrum
from sfh_cnn.network import Templates
from sfh_cnn.photometry import band_flux
from sfh_cnn.prediction.band_check import BandCheck
from sfh_cnn.prediction.limits import band_limit
from sfh_cnn.tests.small import small_generator

COARSE_AA = np.arange(2000.0, 11000.0, 10.0)
REDSHIFT = 0.02
BANDS = ("F438W", "F555W", "F814W")


def slope(wave_aa):
    """A spectrum that rises with wavelength."""
    return wave_aa / 5000.0


def make_check():
    """4800-8800 Angstrom: all but the blue end of F555W, most of F814W, nothing of F438W; one kind of stars."""
    contract = small_generator().contract()
    observation = {"grey_mismatch": 0.03, "zero_point_error": 0.04}
    contract = contract.replace(wave_start_aa=4801.25, wave_step_aa=2.5, n_wave=1600, bands=BANDS)
    contract = contract.replace(band_pivots_aa=(4326.0, 5308.0, 8059.0), synthesis={"observation": observation})
    templates = Templates(1, 1, 1, 1, 1, len(COARSE_AA))
    templates.coarse_coefficients.fill_(1.0)
    templates.coarse_basis.copy_(torch.from_numpy(slope(COARSE_AA)))
    wave_aa = contract.wavelength_grid.wave_aa
    return BandCheck(contract, templates, COARSE_AA, torch.zeros(len(COARSE_AA))), wave_aa


def true_bands(redshift=REDSHIFT):
    """Of the slope, by the public function."""
    fine_aa = np.arange(2000.0, 11000.0, 1.0)
    observed = fine_aa * (1 + redshift) * u.AA
    flux = slope(fine_aa) * u.Unit("erg / (s cm2 Angstrom)")
    return np.array([band_flux(observed, flux, band).value for band in BANDS])


def mismatch(bands, error=0.05, spoilt=None, by=1.0, masked=True):
    """Of one spectrum at seven times the level of the stars."""
    check, wave_aa = make_check()
    stars = torch.from_numpy(slope(wave_aa).astype(np.float32))[None]
    flux = 7 * stars
    hidden = torch.zeros(1, len(wave_aa), dtype=torch.bool)
    if spoilt is not None:
        where = torch.from_numpy(spoilt(wave_aa))
        flux[0, where] *= by
        hidden[0] = where & masked
    bands = torch.tensor(np.array(bands)[None], dtype=torch.float32)
    batch = [flux, 0.1 * flux, hidden, bands, error * bands, torch.tensor([REDSHIFT]), torch.tensor([0.01])]
    used = ~hidden & torch.from_numpy((wave_aa < 6500) | (wave_aa > 6600))
    sampled = torch.stack([stars, torch.where(used, flux, 0.0), used.float()])[..., check.pixels]
    return float(check.mismatch(torch.ones(1, 1, 1), torch.zeros(1), sampled, batch)[0])


def test_bands_that_agree():
    """The level of the spectrum, stars for what it does not cover: no difference beyond that of 10 Angstrom pixels."""
    assert mismatch(7 * true_bands()) < 0.05


@pytest.mark.parametrize(("factor", "band"), [(2.0, 1), (0.5, 2), (1.2, 1)])
def test_a_wrong_band_in_units_of_what_is_allowed(factor, band):
    """Error of the band, mismatch and zero point of the card with the calibration error added, in quadrature."""
    bands = 7 * true_bands()
    bands[band] *= factor
    allowed = np.sqrt((0.05 * factor) ** 2 + (0.03 + 0.01) ** 2 + (0.04 + 1.5 * 0.01) ** 2)
    assert_allclose(mismatch(bands), abs(factor - 1) / allowed, rtol=0.02, atol=0.05)


def test_a_band_that_the_spectrum_does_not_cover_says_nothing():
    """F438W a hundred times too bright is none of its business; alone it gives no number."""
    bands = 7 * true_bands()
    bands[0] *= 100
    assert mismatch(bands) < 0.05
    assert np.isnan(mismatch([bands[0], np.nan, np.nan]))
    assert np.isnan(mismatch([np.nan] * 3))


def test_masked_pixels_and_lines_do_not_count():
    """Whatever is in them; and a band that has lost two thirds of its light is left out."""
    bands = 7 * true_bands()
    assert mismatch(bands, spoilt=lambda wave: (wave > 5000) & (wave < 5500), by=np.nan) < 0.05
    assert mismatch(bands, spoilt=lambda wave: (wave > 6500) & (wave < 6600), by=50.0, masked=False) < 0.05
    bands[2] *= 3
    assert mismatch(bands, spoilt=lambda wave: wave > 7300, by=50.0) < 0.05


def test_cards_without_a_limit_flag_nothing(predictor):
    """Those of earlier versions; else the limit goes with the S/N that noise and calibration error leave."""
    contract = predictor.contract
    assert band_limit(contract, np.array([3.0, 300.0]), np.array([0.0, 0.0])) == np.inf
    card = {"band_mismatch_limit": {"snr": [10.0, 20.0], "limit": [3.0, 5.0]}}
    limit = band_limit(contract.replace(accuracy=card), np.array([1.0, 15.0, 1e9]), np.array([0.0, 0.0, 0.05]))
    assert_allclose(limit, [3.0, 4.0, 5.0], rtol=1e-6)


@pytest.mark.parametrize(("factor", "flagged"), [(1.0, False), (2.0, True), (0.1, True)])
def test_bands_off_by_a_common_factor_are_flagged(factor, flagged):
    """The example galaxy, its bands through another aperture."""
    released = SFHPredictor.pretrained()
    accuracy = {**released.contract.accuracy, "band_mismatch_limit": {"snr": [3.0, 200.0], "limit": [4.0, 4.0]}}
    contract = released.contract.replace(accuracy=accuracy)
    predictor = SFHPredictor(dataclasses.replace(released._artifact, contract=contract))
    table = load_example_photometry()
    for name in table.colnames:
        table[name] = table[name] * factor
    flags = predictor.predict(open_example_spectrum(), table, ebv=0.45).flags
    assert bool(flags & Flag.BANDS_DISAGREE) == flagged
    alone = predictor.predict(open_example_spectrum(), ebv=0.45).flags
    assert not alone & Flag.BANDS_DISAGREE
