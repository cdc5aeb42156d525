"""Mocks against the same story told another way: a direct sum over the library, convolved by hand."""

import dataclasses
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core.constants import C_KMS, FWHM_PER_SIGMA, SCALAR_NAMES, V_WINDOW_AA
from sfh_cnn.photometry import Bandpass, band_matrix, bandpass, register_bandpass
from sfh_cnn.synthesis import (
    DustPrior,
    MetallicityPrior,
    MockGenerator,
    ObservationConfig,
    SFHPrior,
    attenuation_curve,
)

REDSHIFT, SIGMA_KMS, METALLICITY_DEX, START_YR = 0.02, 120.0, -0.2, 4e9
CLEAN = {"no_calibration_error_share": 1.0, "emission_share": 0.0, "masked_share": 0.0, "full_coverage_share": 1.0}


def pinned(small_config, a_v=0.0, law="charlot-fall", **observation):
    """A configuration that leaves only the noise to chance: constant star formation for 4 Gyr at one [M/H]."""
    level = {"level_dex": (METALLICITY_DEX, METALLICITY_DEX), "typical_share": 0.0}
    return dataclasses.replace(
        small_config,
        instrument=dataclasses.replace(small_config.instrument, lsf_fwhm_polynomial=(3.2,)),
        sfh=SFHPrior({"constant": 1.0}, {"constant": {"start_yr": (START_YR, START_YR)}}),
        metallicity=MetallicityPrior({"flat": 1.0}, {"flat": level}),
        dust=DustPrior(a_v_range=(a_v, a_v), laws={law: 1.0}, no_birth_cloud_share=1.0),
        observation=ObservationConfig(
            **{
                "redshift_range": (REDSHIFT, REDSHIFT),
                "velocity_error_kms": 0.0,
                "velocity_dispersion_range_kms": (SIGMA_KMS, SIGMA_KMS),
                "snr_range": (20.0, 20.0),
                "right_error_share": 1.0,
                **CLEAN,
                **observation,
            }
        ),
    )


def direct_sum(toy, low_yr=1e5, high_yr=START_YR):
    """Spectrum of constant star formation between two ages, L_sun/Angstrom per M_sun, on the library's pixels."""
    edges = np.concatenate([[low_yr if low_yr > 1e5 else 0.0], np.geomspace(max(low_yr, 1e5), high_yr, 401)[1:]])
    middle = np.maximum(0.5 * (edges[1:] + edges[:-1]), toy.age_yr[0])
    return np.diff(edges) / (high_yr - edges[0]) @ toy.interpolate(middle, METALLICITY_DEX)


def scalar(mocks, name):
    """One derived quantity of all mocks."""
    return mocks["scalars"][:, SCALAR_NAMES.index(name)]


@pytest.fixture(scope="module")
def generator(small_config, toy):
    """Mocks of the small instrument with everything on."""
    return MockGenerator(small_config, [toy])


@pytest.fixture(scope="module")
def steady(small_config, toy):
    """The pinned history without dust, noise-free, and its generator."""
    generator = MockGenerator(pinned(small_config), [toy])
    return generator, generator.chunk(0, 3, observed=False)


def test_the_same_numbers_each_time(generator, small_config, toy):
    """A chunk follows from configuration, library and number alone: not from what was made before it."""
    first = generator.chunk(3, 300)
    generator.chunk(1, 10)
    again = MockGenerator(small_config, [toy]).chunk(3, 300)
    for name, array in first.items():
        assert_array_equal(array, again[name])
    assert not np.array_equal(first["flux"], generator.chunk(4, 300)["flux"])
    reseeded = MockGenerator(dataclasses.replace(small_config, seed=2), [toy]).chunk(3, 300)
    assert not np.array_equal(first["flux"], reseeded["flux"])


def test_arrays_are_as_documented(generator, small_config):
    """Shapes and types of spectra, bands and truth."""
    mocks = generator.chunk(0, 300)
    n_wave, n_age = small_config.instrument.n_wave, 16
    shapes = {
        "flux": (n_wave,), "flux_err": (n_wave,), "mask": (n_wave,), "band_flux": (2,), "band_flux_err": (2,),
        "mass_fraction": (n_age,), "light_fraction": (n_age,), "metallicity": (n_age,),
        "scalars": (len(SCALAR_NAMES),), "redshift": (), "calibration_error": (), "family": (), "enrichment": (),
    }  # fmt: skip
    assert {name: array.shape[1:] for name, array in mocks.items()} == shapes
    assert {array.dtype.name for array in mocks.values()} == {"float32", "bool", "int8"}
    assert np.all(mocks["flux_err"] > 0)
    assert_allclose(mocks["mass_fraction"].sum(axis=1), 1, rtol=1e-5)
    assert_allclose(mocks["light_fraction"].sum(axis=1), 1, rtol=1e-5)
    assert mocks["metallicity"].min() >= -2.0 - 1e-6
    assert mocks["metallicity"].max() <= 0.4 + 1e-6


def test_the_spectrum_is_the_sum_of_the_library(steady, toy):
    """Noise-free mock against the direct sum, broadened by hand to 3.2 Angstrom and 120 km/s."""
    generator, mocks = steady
    flux = direct_sum(toy)
    window = (toy.wave_aa >= V_WINDOW_AA[0]) & (toy.wave_aa <= V_WINDOW_AA[1])
    level = flux[window].mean()
    lsf = np.sqrt((3.2 / (1 + REDSHIFT)) ** 2 - 2.5**2) / FWHM_PER_SIGMA
    expected = []
    for wave_aa in generator.wave_aa:
        # The last term is the width of a pixel.
        sigma = np.sqrt(lsf**2 + (wave_aa * SIGMA_KMS / C_KMS) ** 2 + 2.5**2 / 12)
        kernel = np.exp(-0.5 * ((toy.wave_aa - wave_aa) / sigma) ** 2)
        expected.append(flux @ kernel / kernel.sum())
    assert_allclose(mocks["flux"][0], np.array(expected) / level, rtol=2e-3)
    assert_array_equal(mocks["flux"][0], mocks["flux"][2])


def test_bands_are_those_of_the_redshifted_sum(steady, toy):
    """Band fluxes relative to the V band, seen at the redshift."""
    generator, mocks = steady
    flux = direct_sum(toy)
    window = (toy.wave_aa >= V_WINDOW_AA[0]) & (toy.wave_aa <= V_WINDOW_AA[1])
    expected = flux @ band_matrix(toy.wave_aa, generator.config.instrument.bands, REDSHIFT) / flux[window].mean()
    assert_allclose(mocks["band_flux"][0], expected, rtol=3e-3)


def test_truth_is_that_of_the_history(steady, toy):
    """Fractions of mass and light, means and mass-to-light ratio from their definitions."""
    generator, mocks = steady
    edges, log_age = generator.age_grid.edges_yr, generator.age_grid.log_ages_dex
    mass = np.clip(START_YR - edges[:-1], 0, np.diff(edges)) / START_YR
    assert_allclose(mocks["mass_fraction"][0], mass, atol=2e-3)
    window = (toy.wave_aa >= V_WINDOW_AA[0]) & (toy.wave_aa <= V_WINDOW_AA[1])
    per_mass = np.array(
        [
            direct_sum(toy, low, min(high, START_YR))[window].mean() if low < START_YR else 0
            for low, high in zip(np.maximum(edges[:-1], 1e5), edges[1:], strict=True)
        ]
    )
    light = mass * per_mass
    assert_allclose(mocks["light_fraction"][0], light / light.sum(), atol=3e-3)
    assert_allclose(scalar(mocks, "light_weighted_log_age")[0], light @ log_age / light.sum(), atol=0.01)
    assert_allclose(scalar(mocks, "mass_weighted_log_age")[0], mass @ log_age, atol=0.005)
    assert_allclose(scalar(mocks, "light_weighted_metallicity"), METALLICITY_DEX, atol=1e-4)
    width = V_WINDOW_AA[1] - V_WINDOW_AA[0]
    assert_allclose(scalar(mocks, "log_mass_to_light")[0], -np.log10(light.sum() * width), atol=2e-3)
    assert_allclose(scalar(mocks, "log_recent_fraction")[0], np.log10(1e8 / START_YR), atol=2e-3)
    assert_allclose(scalar(mocks, "velocity_dispersion"), SIGMA_KMS, rtol=1e-6)


def test_dust_dims_as_its_law_says(steady, small_config, toy):
    """The dusty mock over the clean one is 10^(-0.4 A); the mass-to-light ratio rises by A over the V band."""
    generator, clean = steady
    dusty = MockGenerator(pinned(small_config, a_v=1.2), [toy]).chunk(0, 1, observed=False)
    curve = attenuation_curve("charlot-fall", generator.wave_aa)
    ratio = dusty["flux"][0] / clean["flux"][0] * 10 ** (0.48 * curve)
    assert_allclose(ratio / ratio.mean(), 1, atol=2e-4)
    rise = scalar(dusty, "log_mass_to_light_attenuated") - scalar(dusty, "log_mass_to_light")
    assert_allclose(rise, 0.48, atol=0.005)
    assert_allclose(scalar(dusty, "a_v"), 1.2, rtol=1e-6)


def test_birth_clouds_dim_the_young_alone(generator):
    """Extra dust reaches stars below 10 Myr; the diffuse dust all."""
    n_coarse, one = len(generator.grid.coarse_wave_aa), np.ones(1)
    fine = (np.full((1, len(generator.wave_aa)), 3.0), np.full((1, len(generator.wave_aa)), 2.0))
    coarse = (np.full((1, n_coarse), 3.0), np.full((1, n_coarse), 2.0))
    law = np.array([list(generator.config.dust.laws).index("charlot-fall")])
    flux, _, v_dust_free, _ = generator._dusty_light(fine, coarse, 0.5 * one, 1.5 * one, law)
    x = generator.wave_aa / 5500
    expected = (3 * 10 ** (-0.4 * 1.5 * x**-1.3) + 2) * 10 ** (-0.4 * 0.5 * x**-0.7)
    assert_allclose(flux[0], expected, rtol=1e-5)
    assert_allclose(v_dust_free, 5.0)


def test_velocities_are_positive_to_the_red(generator, toy):
    """A velocity error of +100 km/s moves H beta by 1.6 Angstrom to the red on the network's pixels."""
    spectrum = np.interp(generator.grid.source_wave_aa, toy.wave_aa, toy.interpolate(3e8, 0.0))
    near = np.abs(generator.wave_aa - 4861) < 30

    def centre(velocity_kms):
        flux = generator.kinematics(0.0, 100.0, velocity_kms) @ spectrum
        depth = flux[near].max() - flux[near]
        return (depth * generator.wave_aa[near]).sum() / depth.sum()

    assert centre(100.0) - centre(0.0) == pytest.approx(4861 * 100 / C_KMS, rel=0.1)


def test_noise_and_errors_are_as_declared(small_config, toy):
    """S/N 20 means 20: errors are the flux over 20 at the median, and the noise scatters by the errors."""
    generator = MockGenerator(pinned(small_config), [toy])
    seen, true = generator.chunk(0, 256), generator.chunk(0, 256, observed=False)
    snr = np.median(seen["flux"], axis=1) / np.median(seen["flux_err"], axis=1)
    assert_allclose(np.median(snr), 20, rtol=0.02)
    # Neighbours that share noise scatter less: (1 - s)^2 + s^2 on average over s from 0 to 0.5 in 40 per cent.
    pull = (seen["flux"] - true["flux"]) / seen["flux_err"]
    assert np.mean(pull**2) == pytest.approx(0.6 + 0.4 * 2 / 3, rel=0.05)
    assert np.all(seen["calibration_error"] == 0)


def test_wrong_error_bars_are_wrong_by_the_factor(small_config, toy):
    """Quoted errors scatter around the true ones, up to the factor and no further."""
    config = pinned(small_config, right_error_share=0.0, error_factor=1.5)
    seen = MockGenerator(config, [toy]).chunk(0, 256)
    level = np.log(np.median(seen["flux"], axis=1) / np.median(seen["flux_err"], axis=1) / 20)
    assert np.abs(level).max() < np.log(1.5) + 0.03
    assert np.std(level) == pytest.approx(0.5 * np.log(1.5), rel=0.2)


def test_noise_free_mocks_are_observed_as_they_would_have_been(small_config, toy):
    """Noise of the declared size around what was there, anew each time; what the generator itself sees is the same."""
    generator = MockGenerator(pinned(small_config), [toy])
    clean = generator.chunk(0, 512, observed=False)
    kept = {name: value.copy() for name, value in clean.items()}
    seen, again = (generator.observe(clean, np.random.default_rng(seed)) for seed in (1, 2))
    for name, value in kept.items():
        assert_array_equal(clean[name], value)
    direct = generator.chunk(0, 512)
    assert {name: value.dtype for name, value in seen.items()} == {name: v.dtype for name, v in direct.items()}
    deviations = [(s["flux"] - clean["flux"]) / s["flux_err"] for s in (seen, again)]
    assert np.std(deviations[0]) == pytest.approx(
        np.std((direct["flux"] - clean["flux"]) / direct["flux_err"]), rel=0.02
    )
    assert abs(np.mean(deviations[0] * deviations[1])) < 0.01
    assert_array_equal(seen["mass_fraction"], clean["mass_fraction"])


def test_groups_are_observed_at_their_redshift(small_config, toy):
    """The end of the spectrograph lies elsewhere in the rest frame of each group."""
    instrument = dataclasses.replace(small_config.instrument, observed_range_aa=(4950.0, 5600.0))
    config = dataclasses.replace(pinned(small_config, redshift_range=(0.0, 0.1)), instrument=instrument)
    generator = MockGenerator(config, [toy])
    clean = generator.chunk(0, 1024, observed=False)
    mask = generator.observe(clean, np.random.default_rng(0))["mask"]
    observed = generator.wave_aa * (1 + clean["redshift"][:, None])
    assert len(np.unique(clean["redshift"])) == 4
    assert_array_equal(mask, (observed < 4950) | (observed > 5600))


def test_calibration_errors_bend_the_spectrum(small_config, toy):
    """The smooth ratio of bent and true spectrum has the rms that the network is told."""
    config = pinned(small_config, no_calibration_error_share=0.0, snr_range=(1e4, 1e4))
    generator = MockGenerator(config, [toy])
    seen, true = generator.chunk(0, 256), generator.chunk(0, 256, observed=False)
    rms = np.sqrt(np.mean((seen["flux"] / true["flux"] - 1) ** 2, axis=1))
    told = seen["calibration_error"]
    assert told.max() <= 0.03
    assert told.min() >= 0.001
    assert np.sqrt(np.mean((rms / told) ** 2)) == pytest.approx(1, rel=0.1)


def test_the_spectrograph_ends_where_it_ends(small_config, toy):
    """Pixels that lie beyond the observed range at this redshift are masked in every mock."""
    instrument = dataclasses.replace(small_config.instrument, observed_range_aa=(4950.0, 5600.0))
    config = dataclasses.replace(pinned(small_config), instrument=instrument)
    generator = MockGenerator(config, [toy])
    observed = generator.wave_aa * (1 + REDSHIFT)
    expected = (observed < 4950) | (observed > 5600)
    assert_array_equal(generator.chunk(0, 20)["mask"], np.broadcast_to(expected, (20, len(observed))))


def test_families_follow_their_weights(generator, small_config):
    """The numbers recorded are those of the configuration's families."""
    mocks = generator.chunk(0, 2048, observed=False)
    weights = np.array(list(small_config.sfh.families.values()))
    share = np.bincount(mocks["family"], minlength=len(weights)) / 2048
    assert_allclose(share, weights / weights.sum(), atol=0.03)
    assert mocks["enrichment"].max() < len(small_config.metallicity.families)
    assert np.all(mocks["redshift"] >= -0.003)
    assert np.mean(mocks["redshift"] < 0.02) > 0.3


def test_the_contract_says_what_was_made(generator, small_config, toy):
    """Grids, bands, library and domain travel with whatever is trained on the mocks."""
    contract = generator.contract()
    assert contract.wavelength_grid == small_config.instrument.wavelength_grid
    assert contract.bands == ("F438W", "F814W")
    assert contract.libraries[0]["sha256"] == toy.sha256
    assert contract.domain["snr"] == [3.0, 200.0]
    assert contract.synthesis["sha256"] == small_config.sha256()


def test_two_libraries_are_mixed_at_equal_age_and_metallicity(small_config, toy):
    """Twins of one library give the mocks of that library, whatever the mixture."""
    twin = dataclasses.replace(toy, name="twin")
    config = pinned(small_config)
    one = MockGenerator(config, [toy]).chunk(0, 20, observed=False)
    two = MockGenerator(dataclasses.replace(config, mixed_library_share=1.0), [toy, twin]).chunk(0, 20, observed=False)
    assert_allclose(two["flux"], np.broadcast_to(one["flux"][:1], two["flux"].shape), rtol=1e-3)
    assert_allclose(scalar(two, "log_mass_to_light"), scalar(one, "log_mass_to_light")[0], atol=1e-3)


def test_light_labels_are_those_of_the_spectra(small_config, toy):
    """With a second library of other young stars, too, the light of the history is the light that is seen."""
    brighter = dataclasses.replace(toy, name="brighter", flux=toy.flux * np.where(toy.age_yr < 9e6, 3.0, 1.0)[:, None])
    generator = MockGenerator(dataclasses.replace(small_config, mixed_library_share=0.0), [toy, brighter])
    history = generator._histories(np.random.default_rng(0), 200)
    bases = generator.broadened_bases(0.0, 100.0)
    dust = np.zeros(200, dtype=int), np.zeros(200), np.zeros(200)
    matrix = band_matrix(generator.grid.coarse_wave_aa, ["F814W"]).astype(np.float32)
    v_dust_free = generator.spectra(history, dust, bases, matrix)[2]
    assert_allclose(history["light"].sum(axis=1), v_dust_free * (V_WINDOW_AA[1] - V_WINDOW_AA[0]), rtol=2e-3)


def test_redshifts_beyond_the_nearby_ones(small_config, toy):
    """A range that begins above 0.02 has no nearby half."""
    config = pinned(small_config, redshift_range=(0.03, 0.1))
    redshift = MockGenerator(config, [toy]).chunk(0, 256 * 20, observed=False)["redshift"]
    assert redshift.min() >= 0.03
    assert redshift.max() > 0.07


def test_calibration_can_be_perfect(small_config, toy):
    """A largest calibration error of 0 leaves noise alone."""
    seen = MockGenerator(pinned(small_config, calibration_error_max=0.0, no_calibration_error_share=0.0), [toy])
    mocks = seen.chunk(0, 50)
    assert_array_equal(mocks["calibration_error"], 0)
    assert np.all(np.isfinite(mocks["flux"]))


def test_a_band_of_one_s_own_travels_to_the_workers(small_config, toy, monkeypatch):
    """A worker process gets the generator as a pickle and has never heard of the band."""
    monkeypatch.setattr(bandpass, "_registered", {})
    register_bandpass(Bandpass("mine", [5000.0, 5100.0, 5900.0, 6000.0], [0.0, 1.0, 1.0, 0.0]))
    instrument = dataclasses.replace(small_config.instrument, bands=("mine",))
    generator = MockGenerator(dataclasses.replace(small_config, instrument=instrument), [toy])
    here, parcel = generator.chunk(0, 3), pickle.dumps(generator)
    bandpass._registered.clear()
    there = pickle.loads(parcel)
    assert_array_equal(there.chunk(0, 3)["band_flux"], here["band_flux"])
    assert there.contract().band_pivots_aa == generator.contract().band_pivots_aa
