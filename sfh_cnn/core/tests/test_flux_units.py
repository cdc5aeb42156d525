"""Units as cubes spell them."""

import astropy.units as u
import pytest

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, parse_flux_unit, strip_solid_angle


@pytest.mark.parametrize(
    ("text", "scale", "per"),
    [
        ("10**(-20)*erg/s/cm**2/Angstrom", 1e-20, ""),  # MUSE pipeline, mpdaf
        ("10^(-20)*erg/s/cm^2/Angstrom", 1e-20, ""),
        ("1E-20 erg s-1 cm-2 Angstrom-1", 1e-20, ""),
        ("1e-20 erg.s**-1.cm**-2.angstrom**-1", 1e-20, ""),  # ESO
        ("1E-17 erg/s/cm^2/Ang/spaxel", 1e-17, "pix"),  # MaNGA
        ("10**-16 erg s^-1 cm^-2 A^-1", 1e-16, ""),  # CALIFA
        ("erg / (s cm2 AA)", 1, ""),
        ("erg/cm2/s/A/arcsec2", 1, "arcsec2"),
    ],
)
def test_spellings(text, scale, per):
    """Every spelling gives the same unit, without the solid angle."""
    unit, found = strip_solid_angle(parse_flux_unit(text))
    assert unit.to(FLUX_UNIT) == pytest.approx(scale)
    assert found == per


def test_units_of_other_packages():
    """A spaxel of specutils is a pixel; an ampere made from 'A' by astropy was an Angstrom."""
    spaxel = u.def_unit("spaxel", u.pixel)
    unit, per = strip_solid_angle(u.Unit("1e-17 erg / (s cm2)") / u.AA / spaxel)
    assert (unit.to(FLUX_UNIT), per) == (pytest.approx(1e-17), "spaxel")
    assert strip_solid_angle(u.Unit("erg / (s cm2 A)"))[0].to(FLUX_UNIT) == pytest.approx(1)
    assert strip_solid_angle(u.mJy / u.sr) == (u.mJy, "sr")


def test_nonsense_is_refused():
    """What nobody can read is named."""
    with pytest.raises(SFHCNNError, match="'furlongs' is not understood"):
        parse_flux_unit("furlongs")
