"""The same history through other people's code: bagpipes for the whole chain, pPXF for the kinematics."""

import dataclasses

import numpy as np
import pytest

from sfh_cnn.core.constants import SCALAR_NAMES, V_WINDOW_AA
from sfh_cnn.photometry import load_bandpass
from sfh_cnn.spectra import smoothing_operator
from sfh_cnn.synthesis import (
    DustPrior,
    InstrumentConfig,
    MetallicityPrior,
    MockGenerator,
    ObservationConfig,
    SFHPrior,
    SynthesisConfig,
)

REDSHIFT, SIGMA_KMS = 0.01, 150.0
#: Luminosity of the Sun in bagpipes, erg/s.
BAGPIPES_L_SUN = 3.826e33

#: Name of the history: our family and its pinned parameters, and the same for bagpipes (Gyr).
HISTORIES = {
    "delayed": (
        {"delayed_tau": {"start_yr": (8e9, 8e9), "tau_yr": (2e9, 2e9)}},
        ("delayed", {"age": 8.0, "tau": 2.0}),
    ),
    "old": ({"delayed_tau": {"start_yr": (12e9, 12e9), "tau_yr": (5e8, 5e8)}}, ("delayed", {"age": 12.0, "tau": 0.5})),
    "constant": ({"constant": {"start_yr": (9e9, 9e9)}}, ("constant", {"age_min": 0.0, "age_max": 9.0})),
}
#: Attenuation law: ours, and the same for bagpipes.
DUST = {"calzetti": "Calzetti", "charlot-fall": "VW07"}


def pinned_config(family, metallicity_dex, law, a_v):
    """A configuration whose priors leave nothing to chance. No line spread is added: 2.5 Angstrom, as the library."""
    pinned = {"level_dex": (metallicity_dex, metallicity_dex), "typical_share": 0.0}
    return SynthesisConfig(
        instrument=dataclasses.replace(InstrumentConfig(), lsf_fwhm_polynomial=(2.5,)),
        sfh=SFHPrior(dict.fromkeys(family, 1.0), family),
        metallicity=MetallicityPrior({"flat": 1.0}, {"flat": pinned}),
        dust=DustPrior(a_v_range=(a_v, a_v), laws={law: 1.0}, no_birth_cloud_share=1.0),
        observation=ObservationConfig(
            redshift_range=(REDSHIFT, REDSHIFT),
            velocity_error_kms=0.0,
            velocity_dispersion_range_kms=(SIGMA_KMS, SIGMA_KMS),
        ),
    )


@pytest.fixture
def bagpipes(monkeypatch):
    """Bagpipes with a sampling fine enough to compare with."""
    pytest.importorskip("bagpipes", reason="bagpipes is not installed")
    import bagpipes

    monkeypatch.setattr(bagpipes.config, "max_redshift", 0.1)
    monkeypatch.setattr(bagpipes.config, "R_spec", 20_000.0)
    monkeypatch.setattr(bagpipes.config, "R_phot", 1_000.0)
    return bagpipes


def bagpipes_galaxy(bagpipes, tmp_path, history, metallicity_solar, law, a_v, config):
    """Spectrum on our pixels (rest frame) and band fluxes, erg/s/cm2/Angstrom, for 1e10 M_sun formed."""
    kind, parameters = history
    paths = []
    for name in config.instrument.bands:
        band = load_bandpass(name)
        paths.append(str(tmp_path / f"{name}.txt"))
        np.savetxt(paths[-1], np.stack([band.wave_aa, band.throughput], axis=1))
    model = bagpipes.model_galaxy(
        {
            "redshift": REDSHIFT,
            kind: {**parameters, "massformed": 10.0, "metallicity": metallicity_solar},
            "dust": {"type": law, "Av": a_v, "eta": 1.0},
            "veldisp": SIGMA_KMS,
        },
        filt_list=paths,
        spec_wavs=config.instrument.wavelength_grid.wave_aa * (1 + REDSHIFT),
    )
    return model.spectrum[:, 1], model.photometry, model.lum_flux


@pytest.mark.filterwarnings("ignore")  # bagpipes and what it imports warn about a good deal
@pytest.mark.parametrize(
    ("history", "metallicity_solar", "law", "a_v"),
    [("delayed", 1.0, "calzetti", 0.8), ("old", 2.5, "charlot-fall", 0.0), ("constant", 0.4, "charlot-fall", 1.5)],
)
def test_bagpipes_makes_the_same_galaxy(bagpipes, bc03, tmp_path, history, metallicity_solar, law, a_v):
    """Spectrum within 0.2 per cent rms (2 anywhere), bands within 0.01 mag, mass-to-light ratio within 1 per cent."""
    family, theirs = HISTORIES[history]
    config = pinned_config(family, np.log10(metallicity_solar), law, a_v)
    ours = MockGenerator(config, [bc03]).chunk(0, 1, observed=False)
    flux, bands, dilution = bagpipes_galaxy(bagpipes, tmp_path, theirs, metallicity_solar, DUST[law], a_v, config)

    wave_aa = config.instrument.wavelength_grid.wave_aa
    scale = np.mean(flux / ours["flux"][0])
    ratio = flux / (scale * ours["flux"][0])
    window = (wave_aa >= V_WINDOW_AA[0]) & (wave_aa <= V_WINDOW_AA[1])
    v_luminosity = np.mean(flux[window]) * dilution * (1 + REDSHIFT) / BAGPIPES_L_SUN * np.ptp(V_WINDOW_AA)
    mass_to_light = 10 ** ours["scalars"][0, SCALAR_NAMES.index("log_mass_to_light_attenuated")]
    assert np.std(ratio) < 0.002
    assert np.abs(ratio - 1).max() < 0.02
    assert np.abs(2.5 * np.log10(bands / scale / ours["band_flux"][0])).max() < 0.01
    assert 1e10 / v_luminosity == pytest.approx(mass_to_light, rel=0.01)


@pytest.mark.filterwarnings("ignore")
def test_ppxf_broadens_the_same_way():
    """A Gaussian whose width changes along a spectrum of sharp lines, as pPXF's ``varsmooth`` makes it."""
    ppxf_util = pytest.importorskip("ppxf.ppxf_util", reason="ppxf is not installed")
    rng = np.random.default_rng(1)
    wave_aa = np.arange(4700.0, 5300.0, 0.25)
    spikes = (rng.random(len(wave_aa)) < 0.03).astype(float)
    flux = 1 - 0.5 * ppxf_util.gaussian_filter1d(spikes, np.full(len(wave_aa), 4.0))
    sigma_aa = np.linspace(1.5, 4.0, len(wave_aa))
    ours = smoothing_operator(wave_aa, sigma_aa) @ flux
    theirs = ppxf_util.varsmooth(wave_aa, flux, sigma_aa)
    inside = slice(100, -100)
    assert np.abs(ours - theirs)[inside].max() < 0.02 * np.std(theirs)
