"""The configurations that the package ships, and their errors."""

import dataclasses
import tomllib
from importlib.resources import files

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError, SFHCNNWarning, WavelengthGrid, build_config, config_to_dict
from sfh_cnn.synthesis import InstrumentConfig, MockGenerator, SynthesisConfig, amr_prior, sfh_prior

FOLDER = files("sfh_cnn") / "data" / "configs"
#: quick.toml says only how to train.
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.name.endswith(".toml") and path.name != "quick.toml")


def read(name):
    """The whole file as dictionaries."""
    return tomllib.loads((FOLDER / name).read_text())


def synthesis(name):
    """The part of a file that belongs to this room."""
    return build_config(read(name)["synthesis"], SynthesisConfig, where=name)


def test_the_examples_are_there():
    """One file for each instrument of the documentation."""
    assert {"phangs-muse-hst.toml", "manga-ugriz.toml", "califa.toml"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_suits_network_and_library(name):
    """Pixels fill the network's blocks and end where BC03-MILES becomes coarse."""
    config = synthesis(name)
    assert config.instrument.n_wave % 16 == 0
    assert config.instrument.wavelength_grid.wave_aa[-1] < 8750
    assert config.name == name.removesuffix(".toml")


@pytest.mark.parametrize("name", ["phangs-muse-hst-local.toml", "manga-ugriz.toml", "califa.toml"])
def test_the_instruments_make_mocks(name, bc03):
    """Finite spectra and bands on the grid that the file names, some of it seen by each spectrum."""
    config = synthesis(name)
    if any(band.startswith("SDSS") for band in config.instrument.bands):
        pytest.importorskip("speclite", reason="speclite is not installed")
    mocks = MockGenerator(config, [bc03]).chunk(0, 300)
    assert mocks["flux"].shape == (300, config.instrument.n_wave)
    assert np.all(np.isfinite(mocks["flux"]))
    assert np.mean(np.isfinite(mocks["band_flux"])) > 0.4
    assert np.all(np.any(~mocks["mask"], axis=1))


def test_the_line_spread_of_manga():
    """The polynomial in the file gives the resolving power that MaNGA quotes: 1600 at 4000, 2000 at 7000 Angstrom."""
    polynomial = synthesis("manga-ugriz.toml").instrument.lsf_fwhm_polynomial
    for wave_aa, resolving_power in [(4000, 1613), (5000, 1815), (7000, 1992), (9000, 2409)]:
        assert wave_aa / np.polyval(polynomial, wave_aa) == pytest.approx(resolving_power, rel=0.03)


@pytest.mark.parametrize("name", [*NAMES, "quick.toml"])
def test_every_file_is_a_run(name):
    """The tables of the network and of training are known to their rooms, too."""
    training = pytest.importorskip("sfh_cnn.training", reason="torch is not installed")
    run = build_config(read(name), training.RunConfig, where=name)
    expected = SynthesisConfig() if name == "quick.toml" else synthesis(name)
    assert run.synthesis == expected


def test_the_default_file_spells_out_the_defaults():
    """What the commented file says is what happens without a file, but for wider pixels; nothing is left out."""
    expected = SynthesisConfig(libraries=("bc03-miles", "e-miles"))
    pixels = {"wave_start_aa": 4750.625, "wave_step_aa": 2.5, "n_wave": 1600}
    assert_allclose(WavelengthGrid(*pixels.values()).edges_aa, expected.instrument.wavelength_grid.edges_aa[::2])
    expected = dataclasses.replace(
        expected,
        instrument=dataclasses.replace(expected.instrument, **pixels),
        observation=dataclasses.replace(expected.observation, snr_range=(4.3, 280.0), calibration_scale_px=12.5),
    )
    assert synthesis("phangs-muse-hst.toml") == expected
    assert synthesis("phangs-muse-hst.toml").sha256() == expected.sha256()
    training = pytest.importorskip("sfh_cnn.training", reason="torch is not installed")

    def keys(table):
        return {name: keys(value) for name, value in table.items() if isinstance(value, dict)} | {
            name: None for name, value in table.items() if not isinstance(value, dict)
        }

    assert keys(read("phangs-muse-hst.toml")) == keys(config_to_dict(training.RunConfig()))


def test_the_local_file_is_the_local_prior():
    """The numbers in the file are those of the priors in the code."""
    local = synthesis("phangs-muse-hst-local.toml")
    assert local.sfh.built == sfh_prior.LOCAL_DISCS.built
    assert local.metallicity.built == amr_prior.LOCAL_DISCS.built
    assert local.sfh.families == sfh_prior.LOCAL_DISCS.families
    assert local.metallicity.families == amr_prior.LOCAL_DISCS.families


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"libraries": []}, "libraries needs at least one"),
        ({"observation": {"snr_range": [5, 1]}}, "snr_range needs"),
        ({"observation": {"masked_share": 1.5}}, "masked_share is a share between 0 and 1"),
        ({"dust": {"laws": {"calzeti": 1.0}}}, "unknown dust law calzeti; known: calzetti"),
        ({"dust": {"a_v_range": [-1, 1]}}, "a_v_range needs 0 <= low"),
        ({"age_edges_yr": [1e7, 1e6]}, "increasing"),
        ({"age_edges_yr": [1e6, 1e7, 1e10]}, r"age_edges_yr must begin at 0 .* got 1e\+06 yr"),
        ({"seed": -1}, "seed must be a finite number of at least 0, got -1"),
        ({"mixed_library_share": 1.5}, "mixed_library_share is a share between 0 and 1, got 1.5"),
        ({"instrument": {"n_wave": 1}}, "n_wave >= 2"),
        (
            {"dust": {"laws": {"calzetti": 0, "milky-way": 0}}},
            "weights of dust laws must be finite, >= 0 and not all 0",
        ),
        ({"dust": {"laws": {"calzetti": 1, "milky-way": -1}}}, "weights of dust laws must be"),
        ({"dust": {"laws": {}}}, r"weights of dust laws .* got \{\}"),
        ({"dust": {"birth_cloud_factor": -1}}, "birth_cloud_factor must be a finite number of at least 0, got -1"),
        ({"dust": {"no_birth_cloud_share": -0.1}}, "no_birth_cloud_share is a share between 0 and 1, got -0.1"),
        (
            {"observation": {"calibration_error_max": -0.1}},
            "calibration_error_max must be a finite number of at least 0",
        ),
        ({"observation": {"calibration_scale_px": 0}}, "calibration_scale_px must be larger than 0 pixels, got 0"),
        (
            {"observation": {"velocity_error_kms": -5}},
            "velocity_error_kms must be a finite number of at least 0, got -5",
        ),
        ({"observation": {"error_factor": 0.5}}, "error_factor must be a finite number of at least 1, got 0.5"),
        ({"observation": {"grey_mismatch": -0.1}}, "grey_mismatch must be a finite number of at least 0, got -0.1"),
        ({"observation": {"zero_point_error": -1}}, "zero_point_error must be a finite number of at least 0, got -1"),
        ({"observation": {"min_coverage": 1.5}}, "min_coverage is a share between 0 and 1, got 1.5"),
        (
            {"sfh": {"parameters": {"burst_on_top": {"burst_share": [0, 0.5]}}}},
            r"burst_share of BurstOnTop is drawn in log and needs numbers above 0, got \(0.0, 0.5\)",
        ),
        ({"metallicity": {"parameters": {"scatter": {"bases": []}}}}, "bases of Scatter needs at least one of flat"),
        ({"metallicity": {"parameters": {"scatter": {"bases": ["flt"]}}}}, "'flt'; known families: flat"),
        ({"instrument": {"wave_strat_aa": 4000}}, "unknown key wave_strat_aa"),
    ],
)
def test_bad_settings_are_refused(table, match):
    """A typing error is named when the file is read, not discovered an hour later."""
    with pytest.raises(SFHCNNError, match=match):
        build_config(table, SynthesisConfig)


def test_the_hash_follows_every_setting(small_config):
    """Seed and order of the families count: both change what is drawn."""
    assert small_config.sha256() == dataclasses.replace(small_config).sha256()
    assert small_config.sha256() != dataclasses.replace(small_config, seed=2).sha256()
    families = dict(reversed(small_config.sfh.families.items()))
    turned = dataclasses.replace(small_config, sfh=dataclasses.replace(small_config.sfh, families=families))
    assert small_config.sha256() != turned.sha256()


def test_a_library_that_is_too_short_is_refused(small_config, toy):
    """Rather than mocks that are zero or extrapolated where the library has nothing."""
    with pytest.raises(SFHCNNError, match=r"'toy' covers 1500-5000 Angstrom; the spectra .* need 4730-5667"):
        MockGenerator(small_config, [toy.crop(1500, 5000)])
    with pytest.raises(SFHCNNError, match=r"'toy' covers 4600-10500 Angstrom; the bands at all redshifts need"):
        MockGenerator(small_config, [toy.crop(4600, 10500)])


def test_a_library_that_is_too_coarse_is_told(small_config, toy):
    """A line spread that cannot be matched is never silent: the range and the size of it are named."""
    sharp = dataclasses.replace(InstrumentConfig(), wave_step_aa=2.5, n_wave=320, lsf_fwhm_polynomial=(1.0,))
    with pytest.warns(SFHCNNWarning, match=r"between 4750 and 5548 Angstrom .* by up to 6\d km/s"):
        generator = MockGenerator(dataclasses.replace(small_config, instrument=sharp), [toy])
    # FWHM 2.5 of the library against 1 Angstrom.
    expected = np.sqrt(2.5**2 - 1) / 2.3548 / 5000 * 299792
    assert np.interp(5000, generator.wave_aa, generator.lsf_excess_kms(0.0)) == pytest.approx(expected, rel=1e-3)
    MockGenerator(small_config, [toy])  # MUSE is nearly as broad as MILES: no warning (warnings are errors here)
