"""The Galactic foreground against published coefficients."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError
from sfh_cnn.spectra import deredden, galactic_extinction


def test_published_coefficients():
    """Fitzpatrick (1999), table 3: A / E(B-V) of the R = 3.1 curve at its spline anchors."""
    wave_aa = [26500.0, 12200.0, 6000.0, 5470.0, 4670.0, 4110.0, 2700.0, 2600.0]
    expected = [0.265, 0.829, 2.688, 3.055, 3.806, 4.315, 6.265, 6.591]
    assert_allclose(galactic_extinction(wave_aa), expected, rtol=2e-3)


def test_deredden_brightens_by_the_extinction():
    """0.1 mag of E(B-V) is 0.3 mag in V; blue gains more; each spectrum may have its own; zero changes nothing."""
    wave_aa = np.array([4500.0, 5470.0, 8000.0])
    flux = np.ones((2, 3))
    out = deredden(flux, wave_aa, np.array([0.0, 0.1]))
    assert_allclose(out[0], 1)
    assert_allclose(2.5 * np.log10(out[1, 1]), 0.3055, rtol=2e-3)
    assert out[1, 0] > out[1, 1] > out[1, 2] > 1
    assert_allclose(deredden(flux, wave_aa, 0.1)[0], out[1])
    own_axes = np.stack([wave_aa, wave_aa[::-1]])
    assert_allclose(deredden(flux, own_axes, 0.1), [out[1], out[1, ::-1]])


def test_refusals():
    """Negative reddening and wavelengths outside the law are errors."""
    with pytest.raises(SFHCNNError, match="not negative"):
        deredden(np.ones(2), np.array([5000.0, 6000.0]), -0.1)
    with pytest.raises(SFHCNNError, match="1000-33000"):
        galactic_extinction([500.0])
