"""The figure of README.rst, of the example spectrum: python docs/figures/example.py, from the checkout."""

from pathlib import Path

import astropy.units as u

from sfh_cnn import SFHPredictor
from sfh_cnn.examples import load_example_photometry, load_example_spectrum
from sfh_cnn.plotting import plot_summary

#: Foreground of the Milky Way towards Abell 478, mag.
E_BV = 0.45

result = SFHPredictor.pretrained().predict(
    load_example_spectrum(),
    photometry=load_example_photometry(),
    ebv=E_BV,
    distance=390 * u.Mpc,
    line_mask=500 * u.km / u.s,
)
figure = plot_summary(result, title="Brightest galaxy of Abell 478, MUSE")
path = Path(__file__).parents[1] / "_static" / "example.png"
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=110)
print(f"{path}: {path.stat().st_size / 1000:.0f} kB")  # noqa: T201
