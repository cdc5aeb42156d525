"""What the default network's card says: scatter by S/N, coverage of the intervals, bias of each age bin."""

import matplotlib.pyplot as plt
import numpy as np

from sfh_cnn import SFHPredictor
from sfh_cnn.plotting import COLORS

MEANS = {
    "light_weighted_log_age": ("log age, light", COLORS["history"], "-"),
    "mass_weighted_log_age": ("log age, mass", COLORS["history"], "--"),
    "light_weighted_metallicity": ("[M/H], light", COLORS["metallicity"], "-"),
    "mass_weighted_metallicity": ("[M/H], mass", COLORS["metallicity"], "--"),
    "a_v": ("$A_V$ [mag]", COLORS["model"], ":"),
}

contract = SFHPredictor.pretrained().contract
accuracy = contract.accuracy
fig, (by_snr, coverage, by_bin) = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")

groups = {name: group for name, group in accuracy["groups"].items() if name.startswith("S/N")}
for key, (label, color, line) in MEANS.items():
    scatter = [group[key]["scatter"] for group in groups.values()]
    by_snr.plot(range(len(groups)), scatter, marker="o", color=color, linestyle=line, label=label)
by_snr.set_xticks(range(len(groups)), list(groups))
by_snr.set(ylabel="scatter [dex]", xlim=(-0.3, len(groups) - 0.7))
by_snr.set_ylim(bottom=0)
by_snr.legend(frameon=False, fontsize=8)

levels = ("50", "68", "95")
promised = [0.50, 0.6827, 0.9545]
coverage.plot([0.4, 1], [0.4, 1], color="0.7", linewidth=1, zorder=0)
for key, (label, color, line) in MEANS.items():
    held = [accuracy["overall"][key]["coverage"][level] for level in levels]
    coverage.plot(promised, held, marker="o", markersize=4, color=color, linestyle=line, label=label)
coverage.set(xlabel="promised by the interval", ylabel="share of truths inside", xlim=(0.4, 1), ylim=(0.4, 1))

bias = np.array(accuracy["overall"]["mass_fraction_bias_by_bin"])
by_bin.axhline(0, color="0.7", linewidth=1, zorder=0)
by_bin.bar(range(1, len(bias) + 1), bias, color=COLORS["history"])
limit = max(0.01, 1.2 * np.abs(bias).max())
by_bin.set(xlabel="age bin, youngest first", ylabel="mean error of the mass fraction", ylim=(-limit, limit))
