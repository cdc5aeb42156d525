"""Network files of earlier versions load, and predict what they predicted then.

A file in ``golden/`` is never changed and never removed: when the layout changes, one of the new layout is added with
``golden/make.py``. ``format-1`` was written by version 0.1, before the joint posterior began with the means;
``format-1-means-first`` after that; ``format-1-cumulative`` when the attention began to see tokens side by side and the
network to predict quantiles of the mass formed since bin edges.
"""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.nddata import StdDevUncertainty
from numpy.testing import assert_allclose
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.network import NetworkConfig, load_artifact

FOLDER = Path(__file__).parent / "golden"
UNIT = u.Unit("erg / (s cm2 Angstrom)")
#: Changes of torch, of the order of sums and of threads; what is looked for is far larger.
CLOSE = {"rtol": 2e-3, "atol": 2e-3}
#: Measured on the spectrum.
_NOT_OF_THE_FILE = ("v_flux", "snr", "reduced_chi2")


@pytest.fixture(params=sorted(path.stem for path in FOLDER.glob("*.pt")))
def golden(request):
    """A result of today and the numbers of then."""
    then = np.load(FOLDER / f"{request.param}.npz", allow_pickle=False)
    spectrum = Spectrum(
        spectral_axis=then["wave_aa"] * u.AA,
        flux=then["flux"] * UNIT,
        uncertainty=StdDevUncertainty(then["err"], UNIT),
        redshift=0.01,
        meta={"medium": "air"},
    )
    band = then["band"] * UNIT
    predictor = SFHPredictor.from_file(FOLDER / f"{request.param}.pt")
    return predictor.predict(spectrum, {"F438W": (band, 0.05 * band)}, distance=10 * u.Mpc), then


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("format-1", {"means_first": False, "tokens_together": 1, "cumulative": False}),
        ("format-1-means-first", {"means_first": True, "tokens_together": 1, "cumulative": False}),
        ("format-1-cumulative", {"means_first": True, "tokens_together": 2, "cumulative": True}),
    ],
)
def test_there_is_one_of_each_layout(name, layout):
    """The files are there, also where the package is installed; the last one is of the layout that is written today."""
    config = load_artifact(FOLDER / f"{name}.pt").config
    assert {key: getattr(config, key) for key in layout} == layout
    if name == "format-1-cumulative":
        assert {key: getattr(NetworkConfig(), key) for key in layout} == layout


def test_predictions_are_those_of_then(golden):
    """Medians, quantiles, fractions and latent vectors; S/N and V flux, which are the code's alone, roughly."""
    result, then = golden
    names = [name.removeprefix("out_") for name in then.files if name.startswith("out_")]
    names = [name for name in names if name in result.arrays and name not in _NOT_OF_THE_FILE]
    assert len(names) >= 9
    for name in names:
        assert_allclose(result.arrays[name], then[f"out_{name}"], **CLOSE, err_msg=name)
    for name in ("v_flux", "snr"):
        assert_allclose(result.arrays[name], then[f"out_{name}"], rtol=0.02, err_msg=name)


def test_draws_and_reconstruction_are_those_of_then(golden):
    """What hangs on the templates and on the joint posterior in the file; a seed stays a seed."""
    result, then = golden
    assert_allclose(result.reconstruct().flux.value, then["out_model_flux"], rtol=5e-3)
    # The joint density is in the file; which of its draws are kept is the code's.
    draws = result.engine.draw(result.arrays["latent"], 3, seed=1, raked=False)
    assert_allclose(draws["a_v"], then["out_draws_a_v"], **CLOSE)
    assert_allclose(draws["mass_fraction"], then["out_draws_mass_fraction"], rtol=0.02, atol=0.01)
    if "out_formed" in then.files:  # quantiles of the mass formed since bin edges, which draws are kept to
        network = result.engine.network
        with torch.no_grad():
            quantiles = network.in_units(network.heads(torch.from_numpy(result.arrays["latent"]))[1])
        assert network.n_cumulative == 1
        assert_allclose(quantiles[:, -1:], then["out_formed"], **CLOSE)
    if "out_draws_metallicity" in then.files:
        assert_allclose(draws["metallicity"], then["out_draws_metallicity"], rtol=0.02, atol=0.01)
