"""
Star clusters
=============

A star cluster is one age and one metallicity, and the network knows nothing of that: it was trained for galaxies. What
comes out? Ten clusters of known age, at S/N 50.
"""

# %%
# Clusters from the BC03-MILES library (extra ``synthesis``)
# -----------------------------------------------------------

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import StdDevUncertainty
from scipy.ndimage import gaussian_filter1d
from specutils import Spectrum

from sfh_cnn import SFHPredictor, SSPLibrary

library = SSPLibrary.read("bc03-miles")
rest_aa = library.wavelength.to_value(u.AA)
wave_aa = np.arange(4750.0, 8740.0, 1.25)
log_age = np.linspace(7.3, 10.1, 10)
metallicity = np.where(log_age < 9.5, 0.0, -0.8)
unit = u.Unit("1e-16 erg / (s cm2 Angstrom)")
rng = np.random.default_rng(3)


def cluster(log_age, metallicity):
    """A noisy spectrum at rest, normalised to 1, with lines as narrow as the models have them."""
    flux = np.interp(wave_aa, rest_aa, library.interpolate(10**log_age, metallicity))
    flux = gaussian_filter1d(flux / flux.mean(), 0.5)
    error = np.full_like(flux, 0.02)
    flux = flux + error * rng.standard_normal(flux.size)
    uncertainty = StdDevUncertainty(error, unit=unit)
    return Spectrum(flux=flux * unit, uncertainty=uncertainty, spectral_axis=wave_aa * u.AA)


clusters = [cluster(*one) for one in zip(log_age, metallicity)]

# %%
# Mean ages
# ---------
# The light-weighted mean age is that of the cluster. The mass-weighted one allows for old stars behind the light of a
# young cluster, as galaxies have them; where it does, its interval is long. It is not what to quote for a cluster.

predictor = SFHPredictor.pretrained("phangs-muse-hst-bc03")
result = predictor.predict(clusters, redshift=0.0, medium="air", calibration_error=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name, color in (("light_weighted_log_age", "#0072B2"), ("mass_weighted_log_age", "#E69F00")):
    value = getattr(result, name).value
    lower, upper = (bound.value for bound in result.interval(name, 0.68))
    axes[0].errorbar(
        log_age, value, yerr=[value - lower, upper - value], fmt="o", ms=4, color=color, label=name.replace("_", " ")
    )
axes[0].axline((9, 9), slope=1, color="#4D4D4D", lw=1)
axes[0].set(title="Mean ages", xlabel="log age of the cluster [dex(yr)]", ylabel="predicted")
axes[0].legend(loc="upper left")
value = result.light_weighted_metallicity.value
lower, upper = (bound.value for bound in result.interval("light_weighted_metallicity", 0.68))
axes[1].errorbar(log_age, value, yerr=[value - lower, upper - value], fmt="o", ms=4, color="#009E73")
axes[1].step(log_age, metallicity, where="mid", color="#4D4D4D", lw=1, label="truth")
axes[1].set(title="Metallicity", xlabel="log age of the cluster [dex(yr)]", ylabel="light-weighted [M/H] [dex]")
axes[1].legend(loc="lower left")

for age, found, flags in zip(log_age, result.light_weighted_log_age.value, result.flag_names()):
    print(f"log age {age:5.2f}: light-weighted {found:5.2f}  {', '.join(flags) or 'no flag'}")

# %%
# Which bins?
# -----------
# The light fractions show how sharply the age is known; a cluster fills one or two bins.

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
edges = result.age_grid.edges.to_value(u.yr)
for i in (1, 4, 8):
    ax.stairs(result.light_fraction[i].value, np.log10(np.maximum(edges, 1e6)), label=f"log age {log_age[i]:.2f}")
ax.set(title="Light of three clusters", xlabel="log lookback time [dex(yr)]", ylabel="light fraction")
ax.legend(loc="upper left")

# %%
# Single bursts are rare among the mocks of galaxies, so a young cluster may well be flagged as unusual.
#
# A network trained with ``synthesis.sfh`` of single bursts alone (:doc:`/user_guide/own_network`) knows that clusters
# have one age, and is sharper; see :doc:`/user_guide/clusters` for what else to mind.
