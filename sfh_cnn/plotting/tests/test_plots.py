"""Plots show the numbers of the result, keep inside the figure and refuse what they cannot draw."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from matplotlib.text import Text
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError
from sfh_cnn.plotting import (
    axis_label,
    plot_amr,
    plot_bands,
    plot_corner,
    plot_map,
    plot_maps,
    plot_profile,
    plot_sfh,
    plot_spectrum,
    plot_style,
    plot_summary,
)
from sfh_cnn.plotting.style import label_of
from sfh_cnn.results import SFHResult
from sfh_cnn.results.tests.helpers import make_maps, make_result


@pytest.fixture(scope="module")
def result():
    """A single spectrum at 10 Mpc; not to be changed."""
    return make_result()[1]


def sticks_out(fig):
    """How far anything drawn, text included, reaches beyond the figure, inch."""
    fig.canvas.draw()
    drawn = fig.get_tightbbox()
    width, height = fig.get_size_inches()
    return max(-drawn.x0, -drawn.y0, drawn.x1 - width, drawn.y1 - height)


def test_history_shows_fractions_and_interval(result, plt):
    """Step heights are the fractions, the band its interval; the first bin is drawn from a finite place."""
    ax = plt.subplots()[1]
    artists = plot_sfh(result, ax)
    values, edges, _ = artists["line"].get_data()
    assert_allclose(values, result.mass_fraction.value)
    assert_allclose(edges[1:], result.age_grid.edges.to_value(u.Gyr)[1:])
    assert 0 < edges[0] < 0.01
    lower, upper = result.interval("mass_fraction")
    band = artists["interval"].get_data()
    assert_allclose(band.values, upper.value)
    assert_allclose(band.baseline, lower.value)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "10 Myr", "100 Myr", "1 Gyr", "10 Gyr"]
    linear = plot_sfh(result, plt.subplots()[1], time="linear")
    assert linear["line"].get_data().edges[0] == 0


def test_history_as_rate_and_cumulative(result, plt):
    """Rates carry their unit and a logarithmic axis; the cumulative mass runs from 1 to 0."""
    ax = plt.subplots()[1]
    artists = plot_sfh(result, ax, kind="sfr")
    assert_allclose(artists["line"].get_data().values, result.sfr.to_value(u.M_sun / u.yr))
    assert ax.get_yscale() == "log"
    assert "yr$^{-1}$" in ax.get_ylabel()
    cumulative = plot_sfh(result, plt.subplots()[1], kind="cumulative")
    assert_allclose(cumulative["line"].get_ydata(), result.cumulative_mass.value)
    assert cumulative["interval"] is not None
    without_network = make_result(1, scalar=True, engine=False)
    assert plot_sfh(without_network, plt.subplots()[1], kind="cumulative")["interval"] is None


def test_metallicity_fades_where_there_is_no_light(result, plt):
    """Lines at the bins' [M/H]; opacity follows the light fraction up to 5 per cent."""
    artists = plot_amr(result, plt.subplots()[1])
    heights = [segment[0, 1] for segment in artists["points"].get_segments()]
    assert_allclose(heights, result.metallicity.value)
    opacity = artists["points"].get_colors()[:, 3]
    share = result.light_fraction.value
    assert np.all(opacity[share >= 0.05] == 1)
    assert np.all(opacity[share < 0.04] < 0.85)
    assert share.argmin() in np.flatnonzero(opacity == opacity.min())


def test_metallicities_of_several_results_share_axes(plt):
    """One note for all of them, and all intervals inside the axes, whichever comes last."""
    result, ax = make_result(), plt.subplots()[1]
    artists = [plot_amr(result[i], ax) for i in range(3)]
    assert len({id(drawn["note"]) for drawn in artists}) == len(ax.texts) == 1
    low, high = ax.get_ylim()
    for i in range(3):
        lower, upper = (bound.value for bound in result[i].interval("metallicity", 0.68))
        assert low < lower.min() < upper.max() < high


def test_spectrum_residuals_and_masks(result, plt):
    """Residuals are (data - model) / error; masked pixels are shaded and left out."""
    _, (ax, below) = plt.subplots(2, 1)
    artists = plot_spectrum(result, ax, below)
    spectra = result.spectra
    good = ~spectra["mask"][0]
    want = (spectra["flux"][0] - result.reconstruct().flux.value) / spectra["flux_err"][0]
    got = artists["residual"].get_data().values
    assert_allclose(got[good], want[good])
    assert np.all(np.isnan(got[~good]))
    assert len(artists["masked"]) == 2
    assert artists["masked"][0].get_x() == pytest.approx(spectra["wave_aa"][200] - 2.5)
    assert "10^{-15}" in ax.get_ylabel()


def test_bands_show_missing_ones_as_implied_only(result, plt):
    """Each band has a reconstruction; only measured ones have a point."""
    artists = plot_bands(result, plt.subplots()[1])
    assert len(artists["model"].get_ydata()) == 2
    assert_allclose(artists["model"].get_ydata() * 1e-15, result.reconstruct().band_flux.value)
    assert np.isnan(artists["data"].lines[0].get_ydata()[1])


@pytest.mark.parametrize("size", [(7.2, 5.9), (3.5, 8.0), (10, 7)])
@pytest.mark.parametrize("kind", ["fraction", "sfr"])
def test_summary_keeps_inside_its_figure(result, plt, size, kind):
    """Nothing is cut off in a paper column, on a page or on a screen; the numbers are there."""
    fig = plot_summary(result, plt.figure(figsize=size), kind=kind)
    assert sticks_out(fig) < 0.01
    shown = " ".join(text.get_text() for text in fig.findobj(Text))
    for piece in ("mass-weighted age", "Gyr", "light-weighted [M/H]", "SNR_OUTSIDE", "sigma"):
        assert piece in shown


def test_summary_draws_what_there_is(plt):
    """No distance, no spectra, no network, nothing but NaN: still a figure without complaint."""
    poor = make_result(1, scalar=True, distance_mpc=None, spectra=False, engine=False)
    fig = plot_summary(poor)
    assert sticks_out(fig) < 0.01
    assert "mass formed" not in " ".join(text.get_text() for text in fig.findobj(Text))
    base = make_result(1, scalar=True)
    nothing = {k: np.full_like(v, np.nan) if v.dtype.kind == "f" else v for k, v in base.arrays.items()}
    failed = SFHResult(base.contract, nothing, spectra=base.spectra, engine=base.engine, scalar=True)
    plot_summary(failed).canvas.draw()


def test_summary_from_a_file_without_the_network(result, plt, tmp_path):
    """The stored reconstruction is drawn."""
    result.write(tmp_path / "one.fits")
    fig = plot_summary(SFHResult.read(tmp_path / "one.fits"))
    assert "reconstruction" in " ".join(text.get_text() for text in fig.findobj(Text))


def test_plots_change_no_global_setting(result, plt):
    """Matplotlib's settings are as before."""
    before = dict(plt.rcParams)
    plot_summary(result)
    with plot_style():
        assert plt.rcParams["font.size"] == 9
    assert dict(plt.rcParams) == before


def test_corner_draws_the_posterior(result, plt):
    """The titles carry the median; labels stay inside; per-bin quantities are refused."""
    fig = plot_corner(result, ("mass_weighted_log_age", "a_v", "t50"), n_draws=500)
    assert len(fig.axes) == 9
    median = np.median(result.draws(500, seed=0).a_v.value)
    assert f"{median:.3f}" in fig.axes[4].get_title()
    assert sticks_out(fig) < 0.01
    with pytest.raises(SFHCNNError, match="names has sfr"):
        plot_corner(result, ("a_v", "sfr"))


def test_corner_of_a_spectrum_without_a_prediction_says_so(result, plt, monkeypatch):
    """Instead of an error that would end a file of many pages; of draws that are partly finite those are drawn."""
    draws = result.draws(100)

    def corner(a_v):
        monkeypatch.setattr(SFHResult, "draws", lambda *_args: SimpleNamespace(a_v=a_v, t50=draws.t50))
        return plot_corner(result, ("a_v", "t50"))

    fig = corner(draws.a_v * np.nan)
    assert fig.axes == []
    assert [text.get_text().splitlines()[0] for text in fig.texts] == ["no finite draws of"]
    assert label_of("a_v") in fig.texts[0].get_text()
    assert label_of("t50") not in fig.texts[0].get_text()
    assert sticks_out(fig) < 0.01
    half = np.where(np.arange(100) < 50, np.nan, 1.0) * draws.a_v
    fig = corner(half)
    assert len(fig.axes) == 4
    assert f"{np.nanmedian(half.value):.3f}" in fig.axes[0].get_title()


def test_maps_show_the_numbers_and_stay_inside(plt):
    """Pixels are the map's values; masses are logarithmic; colour bars carry units."""
    maps = make_maps()
    artists = plot_map(maps, "mass_weighted_age")
    assert_allclose(artists["image"].get_array().filled(np.nan), maps.mass_weighted_age.value)
    assert artists["colorbar"].ax.get_ylabel() == "mass-weighted age [Gyr]"
    mass = plot_map(maps, "mass_formed", plt.subplots()[1])
    assert_allclose(mass["image"].get_array().filled(np.nan), np.log10(maps.mass_formed.value))
    assert sticks_out(plot_maps(maps)) < 0.01
    with pytest.raises(SFHCNNError, match="one number per spaxel"):
        plot_map(maps, "sfr")


def test_profile_spans_its_annuli(plt):
    """Points at the middle of each annulus with the result's values."""
    profile = make_maps().radial_profile((5, 4), step=0.5 * u.arcsec)
    ax = plt.subplots()[1]
    line = plot_profile(profile, "light_weighted_age", ax)["points"].lines[0]
    assert_allclose(line.get_xdata(), profile.radius.value)
    assert_allclose(line.get_ydata(), profile.result.light_weighted_age.value)
    assert ax.get_xlabel() == "radius [arcsec]"
    with pytest.raises(SFHCNNError, match="one number per annulus"):
        plot_profile(profile, "sfr")


def test_labels_carry_units():
    """Words or symbols, and the unit in brackets if there is one."""
    assert axis_label("mass_fraction") == "mass fraction"
    assert axis_label("metallicity") == "[M/H] [dex]"
    assert axis_label("mass_formed", u.M_sun / u.pc**2).endswith("pc$^{-2}$]")
    assert axis_label("mass_weighted_age", short=True) == r"$\langle t\rangle_M$ [Gyr]"


def test_wrong_requests_are_refused(result):
    """Many spectra, unknown kinds and scales, nothing to draw."""
    many = make_result()
    for function in (plot_sfh, plot_amr, plot_spectrum, plot_bands, plot_summary, plot_corner):
        with pytest.raises(SFHCNNError, match=r"pass result\[i\]"):
            function(many)
    with pytest.raises(SFHCNNError, match="kind is one of"):
        plot_sfh(result, kind="rate")
    with pytest.raises(SFHCNNError, match="time is 'log' or 'linear'"):
        plot_sfh(result, time="loglog")
    with pytest.raises(SFHCNNError, match="needs what was fitted"):
        plot_spectrum(make_result(1, scalar=True, spectra=False))
