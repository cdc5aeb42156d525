"""Tables, dictionaries, spectra and texts say what the result says."""

from xml.etree import ElementTree

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.results import format_interval

from .helpers import make_maps, make_result


@pytest.fixture(scope="module")
def result():
    """Three spectra at 10 Mpc; not to be changed."""
    return make_result()


def test_table_has_units_descriptions_and_intervals(result):
    """One row per spectrum; each column described; bounds around the values."""
    table = result.to_table()
    assert len(table) == 3
    assert all(table[name].info.description for name in table.colnames)
    assert table["mass_weighted_log_age"].unit == u.dex(u.yr)
    assert table["sfr"].unit == u.M_sun / u.yr
    assert table["sfr"].shape == (3, 16)
    assert_array_equal(table["a_v_lower"].value, result.interval("a_v")[0].value)
    assert np.all(table["a_v_lower"] < table["a_v"])
    assert len(result[0].to_table()) == 1
    assert "mass_formed" not in make_result(distance_mpc=None).to_table().colnames


def test_dict_is_plain_and_names_its_units(result):
    """Only numpy arrays; the same numbers as the properties."""
    plain = result.to_dict()
    assert all(type(value) is np.ndarray for value in plain.values())
    assert_array_equal(plain["sfr_msun_yr"], result.sfr.to_value(u.M_sun / u.yr))
    assert_array_equal(plain["mass_weighted_age_gyr_upper"], result.interval("mass_weighted_age")[1].value)
    assert "specific_sfr_per_yr" in plain
    assert plain["age_edges_gyr"][-1] == pytest.approx(13.8)


def test_reconstruction_as_a_spectrum(result):
    """A specutils spectrum with the reconstructed flux on the rest-frame grid."""
    spectrum = result[0].to_spectrum()
    assert_allclose(spectrum.spectral_axis.to_value(u.AA), result.contract.wavelength_grid.wave_aa)
    assert_array_equal(spectrum.flux.value, result[0].reconstruct().flux.value)


@pytest.mark.parametrize(
    ("numbers", "want"),
    [
        ((7.123, 6.25, 8.3), ("7.12", "+1.18", "-0.87", 0)),
        ((5.43e9, 4.9e9, 6.1e9), ("5.43", "+0.67", "-0.53", 9)),
        ((-0.0321, -0.05, -0.01), ("-0.032", "+0.022", "-0.018", 0)),
        ((2.5e-4, 1e-5, 9e-4), ("2.5", "+6.5", "-2.4", -4)),
        ((-0.00123, -0.15, 0.15), ("0.00", "+0.15", "-0.15", 0)),
        ((0.0, 0.0, 0.0), ("0.00", "+0.00", "+0.00", 0)),
        ((np.nan, 1.0, 2.0), ("nan", "+nan", "-nan", 0)),
    ],
)
def test_numbers_carry_the_digits_they_deserve(numbers, want):
    """Two digits of the smaller error, one exponent for all three."""
    assert format_interval(*numbers) == want


def test_repr_of_a_single_spectrum(result):
    """Aligned, with units, intervals and flag names."""
    lines = repr(result[1]).splitlines()
    assert "made-up-network" in lines[0]
    assert "IMF Kroupa" in lines[0]
    ages = [line for line in lines if "weighted age" in line]
    assert len(ages) == 2
    assert all(line.endswith("Gyr") for line in ages)
    assert len({line.index("Gyr") for line in ages}) == 1
    value = format_interval(*(q.value for q in (result[1].mass_weighted_age, *result[1].interval("mass_weighted_age"))))
    assert value[0] in ages[0]
    assert lines[-1].endswith("SNR_OUTSIDE, PARTIAL_COVERAGE")
    assert "mass formed" in repr(result[1])
    assert "mass formed" not in repr(make_result(1, distance_mpc=None, scalar=True))


def test_repr_of_many_is_short():
    """A thousand rows fit on a screen."""
    assert len(repr(make_result(30, engine=False)).splitlines()) < 14


def test_html_of_maps_gives_the_span_over_spaxels():
    """Median and 16 to 84 per cent, over spaxels with a spectrum; well-formed; masses only with a distance."""
    maps = make_maps()
    text = maps._repr_html_()
    low, middle, high = np.nanpercentile(maps.a_v.value, (16, 50, 84))
    assert all(f">{value:.3g}<" in text for value in (low, middle, high))
    ElementTree.fromstring(f"<div>{text}</div>")
    assert "M_sun/yr" in text.replace(" ", "")
    assert "M_sun/yr" not in make_maps(distance_mpc=None)._repr_html_().replace(" ", "")


def test_html_of_one_and_many(result):
    """A table either way, markup of names escaped."""
    for one in (result, result[0]):
        text = one._repr_html_()
        assert "<table" in text
        assert "made-up-network" in text
    assert "mass fraction &lt; 100 Myr" in result[0]._repr_html_()
