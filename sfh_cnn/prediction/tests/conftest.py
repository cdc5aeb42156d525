"""A released network in miniature and mock observations for it; do not change them."""

import astropy.units as u
import numpy as np
import pytest
from specutils import Spectrum

from sfh_cnn import SFHPredictor
from sfh_cnn.tests.small import small_generator, write_small_artifact

from .mock_cube import make_mock_cube

UNIT = u.Unit("erg / (s cm2 Angstrom)")


@pytest.fixture(scope="session")
def artifact_path(tmp_path_factory):
    """The released file."""
    return write_small_artifact(tmp_path_factory.mktemp("artifact") / "small.pt")


@pytest.fixture(scope="session")
def predictor(artifact_path):
    """One for all tests."""
    return SFHPredictor.from_file(artifact_path)


class Observations:
    """Twelve clean mock spectra at redshift 0.01, observed frame, S/N 50, on 4.5 Angstrom pixels."""

    n, redshift = 12, 0.01

    def __init__(self):
        grid = small_generator().config.instrument.wavelength_grid
        mocks = small_generator().chunk(5, self.n, observed=False)
        self.wave_aa = np.arange(4750.0, 6150.0, 4.5)
        rest_aa = self.wave_aa / (1 + self.redshift)
        self.flux = 1e-16 * np.array([np.interp(rest_aa, grid.wave_aa, row) for row in mocks["flux"]], dtype=float)
        self.err = np.full_like(self.flux, 0.02 * np.median(self.flux))
        self.flux += self.err * np.random.default_rng(0).standard_normal(self.flux.shape)

    def spectrum(self, rows=slice(None), flux=None, err=None, unit=UNIT, **more):
        """The observations, or some of them, as a Spectrum."""
        from astropy.nddata import StdDevUncertainty

        flux = (self.flux if flux is None else flux)[rows]
        err = (self.err if err is None else err)[rows]
        settings = {
            "spectral_axis": self.wave_aa * u.AA,
            "flux": flux * unit,
            "uncertainty": StdDevUncertainty(err, unit),
            "redshift": self.redshift,
            "meta": {"medium": "air"},
            **more,
        }
        return Spectrum(**{name: value for name, value in settings.items() if value is not None})


@pytest.fixture(scope="session")
def observed():
    """Spectra to predict from."""
    return Observations()


@pytest.fixture(scope="module")
def mock():
    """A disc; do not change."""
    return make_mock_cube()


@pytest.fixture(scope="module")
def path(mock, tmp_path_factory):
    """The same in a file."""
    return mock.write(tmp_path_factory.mktemp("cube") / "cube.fits")
