"""
A network of your own, in miniature
===================================

From a stellar library to a network file, for an imaginary spectrograph, in less than a minute. Everything is small: a
made-up library, 320 pixels, 25 000 mocks, a narrow network. The steps are those of a real one, which takes a real
library, millions of mocks and an hour (:doc:`/user_guide/own_network`). It needs the extra ``train``.
"""

# %%
# What to learn
# -------------
# A configuration is a frozen dataclass, or the same as a TOML file. What it leaves out keeps its default.

import tempfile
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.core import build_config
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.diagnostics import measure
from sfh_cnn.plotting import plot_sfh
from sfh_cnn.ssp import toy_ssp_library
from sfh_cnn.training import RunConfig, as_artifact, calibrate, held_out_mocks, load_run, release, train

library = toy_ssp_library(step_aa=2.0)
table = {
    "synthesis": {
        "name": "miniature",
        "libraries": ["toy"],
        "instrument": {
            "wave_start_aa": 4802.5,  # rest frame, air
            "wave_step_aa": 4.0,
            "n_wave": 320,  # to 6082 Angstrom; the means need 5070-5950
            "observed_range_aa": [4700, 6500],
            "lsf_fwhm_polynomial": [5.0],
            "bands": ["F438W", "F814W"],
            "sky_windows_aa": [[5565, 5590]],
            "notch_window_aa": [0, 0],
        },
    },
    "network": {"n_projection": 32, "n_channel": 8, "n_token_channel": 16, "n_latent": 64, "n_residual": 1},
    "training": {
        "n_mocks": 25_600,
        "batch_size": 128,
        "steps_per_epoch": 100,
        "warmup_steps": 20,
        "n_validation": 512,
        "n_initial": 1024,
        "n_worker": 0,
    },
}
config = build_config(table, RunConfig)

# %%
# Train, calibrate, measure, release
# ----------------------------------
# On the command line these are ``sfh-cnn train`` and ``sfh-cnn release``, which does the last three.

folder = Path(tempfile.mkdtemp())
train(config, folder / "run", libraries=[library], progress_bar=False)
network, generator, config, record = load_run(folder / "run", [library])
calibrate(network, held_out_mocks(generator, "calibration", 1000))
accuracy = measure(as_artifact(network, generator, config), generator, 1000)
release(network, generator, config, folder / "miniature.pt", accuracy=accuracy, record=record)

for name in ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity"):
    score = accuracy["overall"][name]
    inside = 100 * score["coverage"]["68"]
    print(f"{name:28} scatter {score['scatter']:.2f} dex, {inside:.0f} % inside the 68 % intervals")

# %%
# Use it
# ------
# The file is a network like any other. Here it sees mocks that it was not trained with, at S/N 30. So short a training
# leaves wide intervals, but they should hold what they promise.

predictor = SFHPredictor.from_file(folder / "miniature.pt")
mocks = generator.chunk(index=12_345, n=200, observed=False)
truth = dict(zip(SCALAR_NAMES, mocks["scalars"].T))
rng = np.random.default_rng(1)
unit = u.Unit("1e-16 erg / (s cm2 Angstrom)")
wave = config.synthesis.instrument.wavelength_grid.wavelength
spectra = []
for flux, z in zip(mocks["flux"], mocks["redshift"].astype(float)):
    error = np.full_like(flux, np.median(flux) / 30)
    noisy = (flux + error * rng.standard_normal(flux.size)) * unit
    axis = wave * (1 + z)
    spectra.append(Spectrum(flux=noisy, uncertainty=StdDevUncertainty(error), spectral_axis=axis, redshift=z))
result = predictor.predict(spectra, medium="air", calibration_error=0)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
true, found = truth["light_weighted_log_age"], result.light_weighted_log_age.value
lower, upper = (bound.value for bound in result.interval("light_weighted_log_age", 0.68))
axes[0].errorbar(true, found, yerr=[found - lower, upper - found], fmt="o", ms=3, lw=0.6, color="#0072B2", alpha=0.6)
axes[0].axline((9, 9), slope=1, color="#4D4D4D", lw=1)
axes[0].set(title="Found against true", xlabel="true light-weighted log age [dex(yr)]", ylabel="predicted")
plot_sfh(result[0], axes[1], kind="cumulative")
axes[1].set_title("One of them")

print(f"inside the 68 % intervals: {100 * np.mean((lower < true) & (true < upper)):.0f} % of {len(result)}")

# %%
# What else a real network wants: a look at the prior before the training (``sfh-cnn synthesize --preview``), and at
# coverage by circumstances after it (``sfh-cnn info``).
