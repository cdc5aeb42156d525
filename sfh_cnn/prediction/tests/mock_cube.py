"""A rotating disc with a young ring as a MUSE cube, written plane by plane and without the code under test."""

import dataclasses

import numpy as np
from astropy.io import fits

from sfh_cnn.tests.small import small_generator

C_KMS = 299792.458
REDSHIFT = 0.005
N_Y, N_X = 9, 12
WAVE_AA = np.arange(4750.0, 6150.0, 5.0)


@dataclasses.dataclass
class MockCube:
    """What is in the cube: values in 1e-20 erg/s/cm2/Angstrom."""

    flux: np.ndarray
    error: np.ndarray
    velocity_kms: np.ndarray
    header: fits.Header
    bands: dict

    def write(self, path, **more):
        """Write ``DATA``, ``STAT`` and whatever else is given."""
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(self.flux.astype(np.float32), self.header, name="DATA")]
        hdus.append(fits.ImageHDU((self.error**2).astype(np.float32), self.header, name="STAT"))
        hdus += [fits.ImageHDU(data, name=name) for name, data in more.items()]
        fits.HDUList(hdus).writeto(path)
        return str(path)


def make_mock_cube():
    """Two populations on the sky, each spaxel shifted by its velocity, with noise."""
    rng = np.random.default_rng(3)
    grid = small_generator().config.instrument.wavelength_grid
    mocks = small_generator().chunk(2, 16, observed=False)
    old, young = mocks["flux"][3].astype(float), mocks["flux"][8].astype(float)
    y, x = np.indices((N_Y, N_X))
    radius = np.hypot(y - 4, x - 5.5)
    bright, ring = 400 * np.exp(-radius / 4), np.exp(-((radius - 3) ** 2))
    velocity_kms = 150 * (x - 5.5) / (1 + radius)
    flux = np.empty((len(WAVE_AA), N_Y, N_X))
    for i, j in np.ndindex(N_Y, N_X):
        rest_aa = WAVE_AA / (1 + REDSHIFT) / (1 + velocity_kms[i, j] / C_KMS)
        spectrum = np.interp(rest_aa, grid.wave_aa, old + ring[i, j] * young)
        flux[:, i, j] = bright[i, j] * spectrum / spectrum.mean()
    error = np.full_like(flux, 6.0)
    flux += error * rng.standard_normal(flux.shape)
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT3": "Angstrom",
            "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": 40.0, "CRVAL2": -10.0, "CRVAL3": WAVE_AA[0],
            "CRPIX1": 6.5, "CRPIX2": 5.0, "CRPIX3": 1.0, "CD1_1": -0.2 / 3600, "CD2_2": 0.2 / 3600, "CD3_3": 5.0,
            "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom",
        }
    )  # fmt: skip
    bands = {"F814W": (0.8 * bright, 0.05 * bright), "F438W": (0.7 * bright, 0.05 * bright)}
    return MockCube(flux, error, velocity_kms, header, bands)
