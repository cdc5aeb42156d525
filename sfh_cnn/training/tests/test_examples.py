"""The configurations for other instruments, from training to prediction, in miniature and on the made-up library."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.core import Flag
from sfh_cnn.diagnostics import measure
from sfh_cnn.tests.small import NETWORK, small_config, small_library
from sfh_cnn.training import as_artifact, calibrate, held_out_mocks, load_run, load_run_config, release, train

pytest.importorskip("lightning")
pytest.importorskip("speclite", reason="speclite, which has the curves of ugriz, is not installed")

UNIT = u.Unit("1e-16 erg / (s cm2 Angstrom)")
BANDS = ("SDSS_u", "SDSS_g", "SDSS_r", "SDSS_i", "SDSS_z")


def library_with_z():
    """The made-up library ends inside the band z; here its red end goes on."""
    library = small_library()
    beyond = np.arange(library.wave_aa[-1] + 2.0, 11500.0, 2.0)
    return dataclasses.replace(
        library,
        wave_aa=np.append(library.wave_aa, beyond),
        flux=np.pad(library.flux, ((0, 0), (0, 0), (0, beyond.size)), mode="edge"),
        lsf_fwhm_aa=np.pad(library.lsf_fwhm_aa, (0, beyond.size), mode="edge"),
    )


def miniature(name):
    """A shipped configuration with a small network and three steps."""
    training = small_config(n_mocks=96, steps_per_epoch=3).training
    return dataclasses.replace(load_run_config(name), network=NETWORK, training=training)


@pytest.mark.filterwarnings("ignore")  # lightning's advice on workers and loggers
@pytest.mark.parametrize("name", ["manga-ugriz", "califa"])
def test_an_example_is_trained_released_and_predicts(tmp_path, name):
    """One of its own mocks, with ugriz and without, over the wavelengths and bands that its card promises."""
    libraries, path = [library_with_z()], tmp_path / f"{name}.pt"
    train(miniature(name), tmp_path / "run", libraries=libraries, progress_bar=False, accelerator="cpu")
    network, generator, config, record = load_run(tmp_path / "run", libraries)
    calibrate(network, held_out_mocks(generator, "calibration", 200))
    accuracy = measure(as_artifact(network, generator, config), generator, 200)
    release(network, generator, config, path, accuracy=accuracy, record=record)

    predictor = SFHPredictor.from_file(path)
    assert predictor.contract.name == name
    assert predictor.contract.bands == BANDS
    mocks = generator.chunk(7, 4, observed=False)
    flux, redshift = mocks["flux"][0] * UNIT, float(mocks["redshift"][0])
    axis = config.synthesis.instrument.wavelength_grid.wavelength * (1 + redshift)
    error = StdDevUncertainty(np.full(flux.shape, 0.02) * UNIT)
    spectrum = Spectrum(flux=flux, uncertainty=error, spectral_axis=axis, redshift=redshift)
    bands = {band: [value] * UNIT for band, value in zip(BANDS, mocks["band_flux"][0], strict=True)}
    errors = {f"{band}_err": 0.02 * value for band, value in bands.items()}
    ugriz = QTable({**bands, **errors})
    alone, with_bands = (
        predictor.predict(spectrum, photometry, medium="air", calibration_error=0) for photometry in (None, ugriz)
    )
    # Three steps teach nothing: such a network finds every spectrum unusual, and bands that disagree.
    expected = Flag.UNUSUAL_SPECTRUM | Flag.POOR_RECONSTRUCTION | Flag.BANDS_DISAGREE
    for result in (alone, with_bands):
        assert not int(result.flags) & ~expected
        np.testing.assert_allclose(result.mass_fraction.sum(), 1, atol=1e-3)
        assert 0 < result.mass_weighted_age.to_value("Gyr") < 14
    assert np.abs(with_bands.mass_fraction - alone.mass_fraction).max() > 1e-4
