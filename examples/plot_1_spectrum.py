"""
One galaxy, from spectrum to conclusions
========================================

The brightest galaxy of Abell 478, observed with MUSE and in F814W with HST: when did its stars form, how sure is that,
and does the answer depend on choices that we make?
"""

# %%
# The data
# --------
# Spectrum and flux come with the package. Any specutils ``Spectrum`` with errors and a redshift does as well.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np

from sfh_cnn import AgeGrid, SFHPredictor
from sfh_cnn.examples import load_example_photometry, load_example_spectrum
from sfh_cnn.plotting import plot_amr, plot_sfh, plot_summary

spectrum = load_example_spectrum()
bands = load_example_photometry()
bands

# %%
# The answer
# ----------
# Emission lines within 500 km/s are masked, for their gas is not in the models. Look at the residuals first: they
# should show no feature that stars have.

predictor = SFHPredictor.pretrained()
options = {"ebv": 0.45, "distance": 390 * u.Mpc, "line_mask": 500 * u.km / u.s}
result = predictor.predict(spectrum, photometry=bands, **options)
plot_summary(result, title="Brightest galaxy of Abell 478")

# %%
# The numbers, as a notebook shows them:

result

# %%
# When did half of the stars exist?
# ---------------------------------
# Everything that depends on the history has an interval, and a median that goes with it: ``result.t50`` is that of the
# mean history, which is smoother than any single one. Over coarse bins the history is known better than over the 16 of
# the network. Their shares are means, which may lie outside of the interval where the posterior has a long tail:

lower, upper = result.interval("t50", 0.68)
print(f"t50 = {result.quantile('t50', 0.5):.1f}, 68 per cent between {lower:.1f} and {upper:.1f}")

coarse = result.rebin(AgeGrid([0, 0.1, 1, 5, 13.8] * u.Gyr))
lower, upper = coarse.interval("mass_fraction", 0.68)
for edges, share, low, high in zip(coarse.age_grid.edges[:-1], coarse.mass_fraction, lower, upper):
    print(f"older than {edges.to_value('Gyr'):3.1f} Gyr: {share:.3f} of the mass, between {low:.3f} and {high:.3f}")

# %%
# What if?
# --------
# Without the band, and with less trust in the flux calibration. If conclusions change, they rest on that choice.

cases = {
    "with F814W": result,
    "without": predictor.predict(spectrum, **options),
    "calibration_error = 0.03": predictor.predict(spectrum, photometry=bands, calibration_error=0.03, **options),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
axes[0].set_title("Mass formed, three ways")
axes[1].set_title("Metallicity")
for (label, one), color in zip(cases.items(), ("#0072B2", "#E69F00", "#CC79A7")):
    plot_sfh(one, axes[0], kind="cumulative", color=color, label=label)
    plot_amr(one, axes[1], color=color)
axes[0].legend()

# %%
# Ages and metallicities can be traded for each other; the joint draws know how:

draws = result.draws(1000, seed=1)
age, metallicity = draws.light_weighted_log_age.value, draws.light_weighted_metallicity.value
print(f"correlation of light-weighted age and [M/H]: {np.corrcoef(age, metallicity)[0, 1]:+.2f}")

# %%
# Keep it
# -------

result.write("abell478.fits", overwrite=True)
