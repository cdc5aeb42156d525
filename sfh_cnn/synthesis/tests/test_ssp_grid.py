"""Stellar libraries on common grids: averages, interpolation, compression and the joining of libraries."""

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad

from sfh_cnn.core import AgeGrid, SFHCNNError, SFHCNNWarning
from sfh_cnn.core.constants import FWHM_PER_SIGMA, V_WINDOW_AA
from sfh_cnn.photometry import band_matrix
from sfh_cnn.ssp import SSPLibrary, toy_ssp_library
from sfh_cnn.synthesis.ssp_grid import CompressedSSP, SSPGrid, _age_average, fine_age_edges, metallicity_weights

EDGES_YR = AgeGrid.default().edges_yr
WAVE_RANGE_AA, BAND_RANGE_AA = (4900.0, 5300.0), (3500.0, 9000.0)


def other_library(toy):
    """A second library: old and near solar only, with redder spectra and another mass scale."""
    age, met = toy.age_yr >= 6e7, (toy.metallicity_dex >= -1.1) & (toy.metallicity_dex <= 0.1)
    tilt = (toy.wave_aa / 5500) ** 0.2
    return dataclasses.replace(
        toy,
        name="other",
        age_yr=toy.age_yr[age],
        metallicity_dex=toy.metallicity_dex[met],
        flux=toy.flux[met][:, age] * tilt * 0.6,
        surviving_fraction=None,
    )


@pytest.fixture(scope="module")
def grid(toy):
    """The toy library on the default bins; do not change."""
    return SSPGrid([toy], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)


@pytest.fixture(scope="module")
def hybrid(toy):
    """Two libraries, one of which covers less; do not change."""
    return SSPGrid([toy, other_library(toy)], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)


def old_spectra(grid, library):
    """High-resolution spectra (n_old, n_met, n_wave) of one library, from their coefficients."""
    return grid.old.coefficients[library] @ grid.old.basis


def test_fine_bins_fill_the_bins():
    """Every edge of the network's bins is one of theirs, and each belongs where it lies."""
    edges, parent = fine_age_edges(EDGES_YR)
    assert np.all(np.diff(edges) > 0)
    assert set(EDGES_YR) <= set(edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    assert_array_equal(parent, np.searchsorted(EDGES_YR, middle) - 1)
    assert_allclose(np.bincount(parent, np.diff(edges)), np.diff(EDGES_YR))


def test_the_average_over_a_bin_is_an_integral(toy):
    """Light of constant star formation in a bin, against quadrature of light interpolated in log age."""
    edges, _ = fine_age_edges(EDGES_YR)
    light = toy.visual_light()[3]
    average = _age_average(edges, toy.age_yr) @ light
    for i in (0, 3, 9, 12, 40, 60, len(edges) - 2):

        def at(age_yr):
            return np.interp(np.log10(age_yr), np.log10(toy.age_yr), light)

        kinks = toy.age_yr[(toy.age_yr > edges[i]) & (toy.age_yr < edges[i + 1])]
        low = max(edges[i], 1.0)
        total, _ = quad(at, low, edges[i + 1], points=kinks[:40], limit=200)
        assert_allclose(average[i], total / (edges[i + 1] - low), rtol=2e-3)


@settings(deadline=None)
@given(value=st.floats(-3, 1))
def test_metallicities_are_interpolated_and_clipped(value):
    """The two weights give back the value inside the nodes and the end outside."""
    nodes = np.array([-2.0, -1.0, -0.3, 0.4])
    index, part = metallicity_weights(np.array([value]), nodes)
    assert 0 <= part[0] <= 1
    back = nodes[index[0]] * (1 - part[0]) + nodes[index[0] + 1] * part[0]
    assert back == pytest.approx(np.clip(value, -2, 0.4), abs=1e-12)


def test_compression_keeps_full_rank_exactly_and_says_what_it_loses():
    """With all vectors nothing is lost; with fewer, the residual is the one stated."""
    flux = np.random.default_rng(0).random((1, 5, 2, 30)) + 1
    full, short = CompressedSSP(flux, 30), CompressedSSP(flux, 4)
    assert_allclose(full.coefficients @ full.basis, flux, rtol=1e-5)
    assert full.max_residual < 1e-12
    lost = (short.coefficients @ short.basis - flux) / flux.mean(axis=-1, keepdims=True)
    assert_allclose(np.sqrt(np.mean(lost**2, axis=-1)).max(), short.max_residual, rtol=1e-4)


def test_bc03_is_compressed_well(bc03):
    """Any SSP of the real library to 0.2 per cent rms over the range of MUSE; colours from the ultraviolet on, too."""
    bands = ["F275W", "F336W", "F438W", "F555W", "F814W"]
    grid = SSPGrid([bc03], EDGES_YR, (4750.0, 8750.0), (2000.0, 9800.0))
    for part in (grid.young, grid.old, grid.coarse_young, grid.coarse_old):
        assert part.max_residual < 0.002
    solar = np.argmin(np.abs(grid.nodes_dex))
    coarse = grid.coarse_old.coefficients[0, :, solar] @ grid.coarse_old.basis
    library = bc03.crop(1500, 10500)
    middle = np.sqrt(grid.edges_yr[grid.n_young + 1 :] * grid.edges_yr[grid.n_young : -1])
    ours, theirs = (
        -2.5 * np.log10(flux @ band_matrix(wave_aa, bands))
        for wave_aa, flux in ((grid.coarse_wave_aa, coarse), (library.wave_aa, library.interpolate(middle, 0.0)))
    )
    # The library's own steps in age show where a fine bin is not its middle: most colours agree far better.
    difference = (ours[:, :4] - ours[:, 1:]) - (theirs[:, :4] - theirs[:, 1:])
    assert np.median(np.abs(difference)) < 0.003
    assert np.abs(difference).max() < 0.05


def test_mixing_is_the_sum_of_the_spectra(grid, toy):
    """Two populations on a node of [M/H], against the library itself."""
    weights = np.zeros((1, len(grid.parent) - grid.n_young, len(grid.nodes_dex)), dtype=np.float32)
    solar = np.argmin(np.abs(grid.nodes_dex))
    weights[0, 5, solar], weights[0, 60, solar] = 0.25, 0.75
    flux = grid.old.project(weights, np.ones((1, 1), dtype=np.float32)) @ grid.old.basis
    middle = 0.5 * (grid.edges_yr[1:] + grid.edges_yr[:-1])[grid.n_young :]
    spectra = toy.interpolate(middle[[5, 60]], 0.0)
    expected = np.interp(grid.source_wave_aa, toy.wave_aa, np.array([0.25, 0.75]) @ spectra)
    assert_allclose(flux[0], expected, rtol=3e-3)


def test_visual_light_is_that_of_the_library(grid, toy):
    """L_sun in the V window per M_sun formed, in bins so narrow that the age hardly matters."""
    middle = 0.5 * (grid.edges_yr[1:] + grid.edges_yr[:-1])
    expected = toy.interpolate(middle, 0.0)
    window = (toy.wave_aa >= V_WINDOW_AA[0]) & (toy.wave_aa <= V_WINDOW_AA[1])
    expected = expected[:, window].mean(axis=1) * (V_WINDOW_AA[1] - V_WINDOW_AA[0])
    solar = np.argmin(np.abs(grid.nodes_dex))
    assert_allclose(grid.v_light[0, 12:, solar], expected[12:], rtol=5e-3)


def test_surviving_mass_is_interpolated(grid, toy):
    """Between living at birth and what the library says of old age; NaN where it says nothing."""
    solar = np.argmin(np.abs(grid.nodes_dex))
    middle = 0.5 * (grid.edges_yr[1:] + grid.edges_yr[:-1])
    assert_allclose(
        grid.surviving[12:, solar],
        np.interp(np.log10(middle[12:]), np.log10(toy.age_yr), toy.surviving_fraction[3]),
        rtol=2e-3,
    )
    silent = dataclasses.replace(toy, surviving_fraction=None)
    assert np.all(np.isnan(SSPGrid([silent], EDGES_YR, (5000.0, 5100.0), (4000.0, 6000.0)).surviving))


def test_a_second_library_is_itself_where_it_has_data(hybrid, toy):
    """Same colours and lines as its own spectra, on the mass scale of the base."""
    tilt = (hybrid.source_wave_aa / 5500) ** 0.2
    ratio = old_spectra(hybrid, 1) / old_spectra(hybrid, 0)
    covered = hybrid.edges_yr[hybrid.n_young : -1] >= 1e8
    nodes = (hybrid.nodes_dex >= -1.01) & (hybrid.nodes_dex <= 0.01)
    shape = ratio[covered][:, nodes] / tilt
    assert_allclose(shape, np.broadcast_to(shape.mean(), shape.shape), rtol=5e-3)
    # Equal light per mass at solar metallicity: the factor 0.6 of the library is gone.
    solar = np.argmin(np.abs(hybrid.nodes_dex))
    own, base = hybrid.v_light[::-1, hybrid.n_young :][:, covered, solar]
    assert_allclose(own.sum(), base.sum(), rtol=0.01)


def test_the_base_stands_in_where_a_library_has_nothing(hybrid):
    """Young stars are the base's; beyond the [M/H] of the library its ends change as the base does."""
    young = hybrid.edges_yr[hybrid.n_young : -1] < 5e7
    assert_allclose(old_spectra(hybrid, 1)[young], old_spectra(hybrid, 0)[young], rtol=1e-3)
    assert_allclose(hybrid.v_light[1, : hybrid.n_young], hybrid.v_light[0, : hybrid.n_young])
    old = hybrid.edges_yr[hybrid.n_young : -1] >= 1e8
    base, other = old_spectra(hybrid, 0)[old], old_spectra(hybrid, 1)[old]
    low = np.argmin(np.abs(hybrid.nodes_dex + 1.0))
    assert low > 0
    assert_allclose(other[:, 0] / other[:, low], base[:, 0] / base[:, low], rtol=3e-3)


def test_resolution_is_that_of_the_coarsest(toy):
    """A sharp library beside a coarse one is broadened to its line width: neither betrays itself by its lines."""
    wave = toy.wave_aa
    line = 1 - 0.5 * np.exp(-0.5 * ((wave - 5100) / (2.5 / 2.3548)) ** 2)
    coarse_line = 1 - 0.5 * (2.5 / 6) * np.exp(-0.5 * ((wave - 5100) / (6 / 2.3548)) ** 2)
    sharp = dataclasses.replace(toy, flux=np.broadcast_to(line, toy.flux.shape))
    coarse = dataclasses.replace(
        toy, flux=np.broadcast_to(coarse_line, toy.flux.shape), lsf_fwhm_aa=np.full(len(wave), 6.0)
    )
    grid = SSPGrid([sharp, coarse], EDGES_YR, (5050.0, 5150.0), (4000.0, 6000.0))
    assert_allclose(grid.source_sigma_aa, 6 / 2.3548, rtol=1e-4)
    assert_allclose(old_spectra(grid, 0)[0, 0], old_spectra(grid, 1)[0, 0], atol=0.004)


def test_e_miles_beside_bc03_is_e_miles(bc03):
    """The real second library: its spectra to 0.2 per cent where no resolution is lost, its colours to 0.02 mag."""
    folder = os.environ.get("SFH_CNN_EMILES")
    if folder is None:
        pytest.skip("SFH_CNN_EMILES does not name the folder ppxf/miles_models of the ppxf 8.2.6 source distribution")
    library = SSPLibrary.read(folder)
    grid = SSPGrid([bc03, library], EDGES_YR, (4750.0, 7200.0), (1980.0, 9760.0))
    bands = ["F275W", "F336W", "F438W", "F555W", "F814W"]
    middle = np.sqrt(grid.edges_yr[grid.n_young + 1 :] * grid.edges_yr[grid.n_young : -1])
    scales = []
    for metallicity_dex in library.metallicity_dex:
        node = np.argmin(np.abs(grid.nodes_dex - metallicity_dex))
        coarse = grid.coarse_old.coefficients[1, :, node] @ grid.coarse_old.basis
        for i in (30, 50, 70):
            theirs = library.interpolate(middle[i], metallicity_dex)
            ratio = old_spectra(grid, 1)[i, node] / np.interp(grid.source_wave_aa, library.wave_aa, theirs)
            assert np.std(ratio) / np.mean(ratio) < 0.002
            scales.append(np.mean(ratio))
            light = coarse[i] @ band_matrix(grid.coarse_wave_aa, bands), theirs @ band_matrix(library.wave_aa, bands)
            magnitude = -2.5 * np.log10(light[0] / light[1])
            assert np.abs(magnitude - magnitude[3]).max() < 0.02
    # One factor for all: from the Salpeter IMF of E-MILES to that of the base.
    assert np.std(scales) / np.mean(scales) < 0.005


@pytest.mark.parametrize("edges_yr", [(0.0, 1e9, 1e10), (1e8, 1e9, 1e10), (0.0, 1e6, 1e7), (1e6, 1e7, 1e10)])
def test_bins_that_do_not_tell_young_stars_from_old_are_refused(edges_yr):
    """A first bin of 1 Gyr, bins without young stars, bins without old ones, bins without the youngest."""
    with pytest.raises(SFHCNNError, match="youngest bin begin at 0 and end at 1e\\+08 yr"):
        SSPGrid([toy_ssp_library(step_aa=20.0)], np.array(edges_yr), (4800.0, 6000.0), (3500.0, 9800.0), (-2.0, 0.4))


def test_young_stars_are_the_base_s_in_light_and_spectrum(toy):
    """A second library that covers stars below 10 Myr, and makes them brighter, lends them neither light nor level."""
    brighter = dataclasses.replace(toy, flux=toy.flux * np.where(toy.age_yr < 9e6, 3.0, 1.0)[:, None])
    grid = SSPGrid([toy, brighter], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)
    assert_array_equal(grid.v_light[1, : grid.n_young], grid.v_light[0, : grid.n_young])
    # The first older bins still feel the step at 9 Myr; a level from the young ones would be off by 0.13 in log.
    assert_allclose(grid.v_light[1, grid.n_young + 5 :], grid.v_light[0, grid.n_young + 5 :], rtol=0.02)


def test_spectra_of_unknown_level_get_that_of_the_base(toy):
    """As a second library each population shines as the base's does; as the base there is no mass to learn."""
    factor = np.random.default_rng(0).uniform(0.2, 5, (len(toy.metallicity_dex), len(toy.age_yr), 1))
    loose = dataclasses.replace(toy, name="loose", flux=toy.flux * factor, per_mass_formed=False)
    grid = SSPGrid([toy, loose], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)
    assert_allclose(grid.v_light[1], grid.v_light[0], rtol=1e-4)
    with pytest.raises(SFHCNNError, match="'loose' has no fluxes per mass formed"):
        SSPGrid([loose, toy], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)


def part_of(library, ages, metallicities):
    """A library of some ages and metallicities alone."""
    return dataclasses.replace(
        library,
        age_yr=library.age_yr[ages],
        metallicity_dex=library.metallicity_dex[metallicities],
        flux=library.flux[metallicities, ages],
        surviving_fraction=None,
    )


@pytest.mark.parametrize(
    ("ages", "metallicities", "match"),
    [
        (
            slice(20, None),
            slice(None),
            r"'toy' has ages of 3.98107e\+07-1.58489e\+10 yr for mocks of 0-1.38e\+10 yr: its",
        ),
        (slice(0, -3), slice(None), r"'toy' has ages of 100000-6.45654e\+09 yr"),
        (slice(None), slice(1, None), r"'toy' has \[M/H\] of -1 to 0.4 for mocks of -2 to 0.4: its"),
        (slice(20, None), slice(0, -1), r"'toy' has ages .* and \[M/H\] of -2 to 0 for mocks of -2 to 0.4"),
    ],
)
def test_gaps_of_the_base_are_told(toy, ages, metallicities, match):
    """A base without young or old, poor or rich stars gives its nearest spectra instead, and says so."""
    part = part_of(toy, ages, metallicities)
    with pytest.warns(SFHCNNWarning, match=match):
        SSPGrid([part], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)
    SSPGrid([toy, part], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)  # no warning: a second library may cover less


@pytest.mark.parametrize(("age", "metallicity"), [(slice(1), slice(None)), (slice(None), slice(1))])
def test_a_single_population_is_no_grid(toy, age, metallicity):
    """There is nothing to interpolate between."""
    single = part_of(toy, age, metallicity)
    with pytest.raises(SFHCNNError, match=r"'toy' needs two or more ages and metallicities .* got (1 and 5|41 and 1)"):
        SSPGrid([toy, single], EDGES_YR, WAVE_RANGE_AA, BAND_RANGE_AA)


def test_sharp_lines_keep_their_depth(toy):
    """Lines far narrower than the sampling lose no light, wherever they lie; the cell counts as width."""
    wave, sigma = np.arange(3900.0, 6100.0, 0.1), 0.15
    centres = 4950 + np.arange(20) * 15.13
    lines = 1 - 0.5 * np.exp(-0.5 * ((wave - centres[:, None]) / sigma) ** 2).sum(axis=0)
    sharp = dataclasses.replace(
        toy,
        wave_aa=wave,
        age_yr=[1e5, 2e10],
        metallicity_dex=[-2.0, 0.4],
        flux=np.broadcast_to(lines, (2, 2, len(wave))),
        surviving_fraction=None,
        lsf_fwhm_aa=np.full(len(wave), FWHM_PER_SIGMA * sigma),
    )
    grid = SSPGrid([sharp], EDGES_YR, WAVE_RANGE_AA, (4000.0, 6000.0))
    missing = (1 - old_spectra(grid, 0)[0, 0]) * 0.9
    width = [missing[np.abs(grid.source_wave_aa - centre) < 4].sum() for centre in centres]
    assert_allclose(width, 0.5 * sigma * np.sqrt(2 * np.pi), rtol=0.01)
    assert_allclose(grid.source_sigma_aa, np.sqrt(sigma**2 + 0.9**2 / 12), rtol=1e-5)
