"""Time against the number of spectra and of spaxels, from what benchmarks/speed.py measured."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

from sfh_cnn.plotting import COLORS

# Plot directives run in the folder of this file.
with open(Path("..") / "development" / "_speed.csv") as stream:
    rows = list(csv.DictReader(stream))


def series(what, unit):
    """Sizes and medians of a measurement with one thread."""
    chosen = [row for row in rows if row["what"] == what and row["unit"] == unit and row["threads"] == "1"]
    return tuple([float(row[name]) for row in chosen] for name in ("size", "median"))


fig, (by_batch, by_cube) = plt.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
for what, color, line in (("predict", "history", "-"), ("predict, bfloat16", "model", "--")):
    size, median = series(what, "us")
    if size:
        by_batch.plot(size, median, line, marker="o", color=COLORS[color], label=what)
by_batch.axhline(100, color="0.6", linewidth=1, linestyle=":", label="goal")
by_batch.set(xscale="log", yscale="log", xlabel="spectra in a call", ylabel="microseconds per spectrum")
by_batch.legend(frameon=False)

for what, color, line in (("predict_cube", "history", "-"), ("reading a cube with numpy", "metallicity", "--")):
    size, median = series(what, "s wall")
    by_cube.plot(size, median, line, marker="o", color=COLORS[color], label=what)
size, median = series("predict_cube", "s wall")
by_cube.plot(size, [median[-1] * n / size[-1] for n in size], color="0.6", linewidth=1, linestyle=":", label="linear")
by_cube.set(xscale="log", yscale="log", xlabel="spaxels", ylabel="seconds")
by_cube.legend(frameon=False)
