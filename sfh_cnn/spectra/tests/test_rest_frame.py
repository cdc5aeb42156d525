"""Air, vacuum and redshift, against specutils and published line wavelengths."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError
from sfh_cnn.spectra import air_to_vacuum, to_air, to_rest_frame, vacuum_to_air

WAVE_AA = np.linspace(2100.0, 11000.0, 500)


def test_agrees_with_specutils():
    """The same Ciddor (1996) index as specutils, to 1e-9 Angstrom; its other formulae agree within 0.3 mA."""
    specutils = pytest.importorskip("specutils.utils.wcs_utils")
    ours = vacuum_to_air(WAVE_AA)
    assert_allclose(ours, specutils.vac_to_air(WAVE_AA * u.AA, method="Ciddor1996").value, atol=1e-9)
    assert_allclose(ours, specutils.vac_to_air(WAVE_AA * u.AA, method="Morton2000").value, atol=3e-4)


@pytest.mark.parametrize(("vacuum_aa", "air_aa"), [(5008.240, 5006.843), (6564.61, 6562.80), (4862.683, 4861.325)])
def test_published_line_wavelengths(vacuum_aa, air_aa):
    """[OIII], H alpha and H beta as SDSS (vacuum) and NIST (air) list them."""
    assert_allclose(vacuum_to_air(vacuum_aa), air_aa, atol=0.01)


def test_round_trip():
    """Air to vacuum is the exact inverse."""
    assert_allclose(air_to_vacuum(vacuum_to_air(WAVE_AA)), WAVE_AA, atol=1e-9)


def test_far_ultraviolet_stays_in_vacuum():
    """Below 2000 Angstrom nothing changes and nothing diverges."""
    wave_aa = np.array([91.0, 912.0, 1215.67, 1999.0])
    assert_allclose(vacuum_to_air(wave_aa), wave_aa)
    assert_allclose(air_to_vacuum(wave_aa), wave_aa)


def test_to_air_and_rest_frame():
    """The medium decides; the redshift divides."""
    assert_allclose(to_air(WAVE_AA, "air"), WAVE_AA)
    assert_allclose(to_air(WAVE_AA, "vacuum"), vacuum_to_air(WAVE_AA))
    assert_allclose(to_rest_frame(6562.8 * 1.0857, 0.0857), 6562.8)
    with pytest.raises(SFHCNNError, match="'air' or 'vacuum', got 'water'"):
        to_air(WAVE_AA, "water")
