"""Every figure looks as it did: ``pytest --mpl`` compares with the pictures in ``baseline``.

Text is left out, for its pixels depend on the version of FreeType. After a change that is meant, look at the new
pictures that ``pytest --mpl-generate-path=sfh_cnn/plotting/tests/baseline sfh_cnn/plotting/tests/test_pictures.py``
makes, and commit them. Without ``--mpl`` the figures are only drawn.
"""

import astropy.units as u
import pytest

from sfh_cnn.plotting import plot_amr, plot_bands, plot_corner, plot_maps, plot_profile, plot_sfh, plot_spectrum
from sfh_cnn.plotting import plot_summary as draw_summary
from sfh_cnn.results.tests.helpers import make_maps, make_result

#: A line that moved by a pixel or a band with another colour differs by more.
picture = pytest.mark.mpl_image_compare(
    style="default", remove_text=True, tolerance=4, savefig_kwargs={"dpi": 45, "metadata": {"Software": None}}
)


@pytest.fixture(scope="module")
def results():
    """Three spectra at 10 Mpc; not to be changed."""
    return make_result()


@picture
def test_history(results, plt):
    """Fractions over log time, rates, and the cumulative mass over linear time."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 3))
    plot_sfh(results[1], axes[0])
    plot_sfh(results[1], axes[1], kind="sfr")
    plot_sfh(results[1], axes[2], kind="cumulative", time="linear")
    return figure


@picture
def test_comparison(results, plt):
    """Two results in one axes, each with its colour."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3))
    for result, color in ((results[0], "#0072B2"), (results[2], "#E69F00")):
        plot_sfh(result, axes[0], kind="cumulative", color=color, label="one")
        plot_amr(result, axes[1], color=color)
    return figure


@picture
def test_spectrum(results, plt):
    """Data, reconstruction and masked pixels; residuals; bands."""
    figure, axes = plt.subplots(3, 1, figsize=(6, 6))
    plot_spectrum(results[1], axes[0], axes[1])
    plot_bands(results[1], axes[2])
    return figure


@picture
@pytest.mark.parametrize("width", [9, 3.4])
def test_summary(results, plt, width):
    """On a page, and in a column where the panels stand below each other."""
    figure = plt.figure(figsize=(width, 6 if width > 5 else 8))
    draw_summary(results[1], figure)
    return figure


@picture
def test_corner(results, plt):
    """The joint posterior of three quantities."""
    return plot_corner(results[1], ("mass_weighted_log_age", "mass_weighted_metallicity", "a_v"), n_draws=1000)


@picture
def test_maps(plt):
    """The default selection on the sky."""
    return plot_maps(make_maps())


@picture
def test_profile(plt):
    """Points with errors over radius."""
    figure, axes = plt.subplots(figsize=(4, 3))
    plot_profile(make_maps().radial_profile((5, 4), step=0.5 * u.arcsec), "light_weighted_age", axes)
    return figure
