# ruff: noqa: INP001 (a script, and no part of the package)
"""Write a golden file: a tiny network of today's layout, mock spectra, and what the network predicts for them.

Usage, once for each new layout:
    python sfh_cnn/tests/golden/make.py NAME

Quantiles of the mass formed since bin edges, which only draws use, are kept as ``out_formed``. The weights are those of
an untrained network after initialisation and calibration: the numbers mean nothing, but each
part of the file takes part in them. ``format-1`` was made in a like manner by version 0.1.
"""

import argparse
import dataclasses
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.diagnostics import evaluate
from sfh_cnn.network import NetworkConfig, Templates, save_artifact
from sfh_cnn.ssp import toy_ssp_library
from sfh_cnn.synthesis import InstrumentConfig, MockGenerator, SynthesisConfig
from sfh_cnn.training import RunConfig, TrainingConfig, build_network, build_templates, calibrate, held_out_mocks

FOLDER = Path(__file__).parent
UNIT = u.Unit("erg / (s cm2 Angstrom)")
INSTRUMENT = dataclasses.replace(
    InstrumentConfig(), wave_start_aa=4805.0, wave_step_aa=10.0, n_wave=128, bands=("F438W", "F814W")
)
NETWORK = NetworkConfig(
    n_projection=4, n_channel=2, n_token_channel=2, token_stride=2, tokens_together=2, n_token_hidden=4, n_head=2,
    n_branch=4, n_photometry=4, n_latent=8, n_residual=1, n_residual_hidden=4, n_hidden_per_variable=1, n_mixture=2,
)  # fmt: skip
AGE_EDGES_YR = (0.0, 1e8, 2e9, 1.38e10)
REDSHIFT = 0.01
#: Basis vectors of the templates; more would make the file large.
RANK = 3
#: Arrays of a result that are kept.
KEPT = (
    "mass_fraction", "light_fraction", "q_metallicity", "q_mass_weighted_log_age", "q_light_weighted_metallicity",
    "q_a_v", "q_log_mass_to_light", "v_flux", "snr", "latent", "unusualness", "surviving_fraction", "reduced_chi2",
)  # fmt: skip


def write_network(path):
    """A network without training; return its generator of mocks."""
    synthesis = SynthesisConfig(
        name="golden", libraries=("toy",), instrument=INSTRUMENT, age_edges_yr=AGE_EDGES_YR, seed=2026
    )
    generator = MockGenerator(synthesis, [toy_ssp_library(step_aa=10.0)])
    training = TrainingConfig(n_mocks=320, batch_size=32, chunk_size=64, n_initial=768, warmup_steps=2, n_worker=0)
    network = build_network(RunConfig(synthesis=synthesis, network=NETWORK, training=training), generator)
    calibrate(network, held_out_mocks(generator, "calibration", 512))
    network.eval().requires_grad_(False)
    accuracy = evaluate(network, held_out_mocks(generator, "test", 512))
    # Only what predictions ask for.
    accuracy = {"n_mocks": 512, "reduced_chi2_limit": 3.0, "velocity_width_limit": accuracy["velocity_width_limit"]}
    contract = generator.contract().replace(accuracy=accuracy)
    save_artifact(network, cut_templates(build_templates(generator.grid)), contract, NETWORK, path)
    return generator


def cut_templates(full):
    """The first basis vectors alone."""
    n_age, n_met, _, n_source, _, n_coarse = full.sizes
    cut = Templates(n_age, n_met, RANK, n_source, RANK, n_coarse)
    parts = {"basis": slice(RANK), "coarse_basis": slice(RANK)}
    parts |= dict.fromkeys(("coefficients", "coarse_coefficients"), (..., slice(RANK)))
    cut.load_state_dict({name: value[parts.get(name, ...)] for name, value in full.state_dict().items()})
    return cut


def mock_spectra(generator):
    """Four of S/N 50 on pixels of 4.5 Angstrom, 1e-16 erg/s/cm2/Angstrom; and their F438W."""
    mocks = generator.chunk(5, 4, observed=False)
    wave_aa = np.arange(4750.0, 6200.0, 4.5)
    flux = np.array([np.interp(wave_aa / (1 + REDSHIFT), generator.wave_aa, row) for row in mocks["flux"]])
    flux *= 1e-16
    err = np.full_like(flux, 0.02 * np.median(flux))
    flux += err * np.random.default_rng(0).standard_normal(flux.shape)
    return {"wave_aa": wave_aa, "flux": flux, "err": err, "band": 1e-16 * mocks["band_flux"][:, 0].astype(float)}


def main():
    """Write NAME.pt and NAME.npz beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the two files")
    path = FOLDER / parser.parse_args().name
    torch.set_num_threads(1)
    torch.manual_seed(2026)
    given = mock_spectra(write_network(path.with_suffix(".pt")))
    spectrum = Spectrum(
        spectral_axis=given["wave_aa"] * u.AA,
        flux=given["flux"] * UNIT,
        uncertainty=StdDevUncertainty(given["err"], UNIT),
        redshift=REDSHIFT,
        meta={"medium": "air"},
    )
    band = given["band"] * UNIT
    predictor = SFHPredictor.from_file(path.with_suffix(".pt"))
    result = predictor.predict(spectrum, {"F438W": (band, 0.05 * band)}, distance=10 * u.Mpc)
    draws = result.engine.draw(result.arrays["latent"], 3, seed=1, raked=False)
    network = result.engine.network
    with torch.no_grad():
        quantiles = network.in_units(network.heads(torch.from_numpy(result.arrays["latent"]))[1])
    np.savez_compressed(
        path.with_suffix(".npz"),
        **given,
        **{f"out_{name}": result.arrays[name] for name in KEPT},
        out_model_flux=result.reconstruct().flux.value,
        out_formed=quantiles[:, -network.n_cumulative :].numpy(),
        out_draws_a_v=draws["a_v"],
        out_draws_mass_fraction=draws["mass_fraction"],
        out_draws_metallicity=draws["metallicity"],
    )


if __name__ == "__main__":
    main()
