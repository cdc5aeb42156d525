"""Cubes with every extension that a survey documents: the right ones are read, and the others do not disturb.

PHANGS-MUSE: data release 1 (Emsellem et al. 2022, A&A 659, A191), files of the MUSE pipeline. MaNGA: data model of the
DRP, MPL-11/DR17 (Law et al. 2016, AJ 152, 83). CALIFA: Husemann et al. (2013, A&A 549, A87), García-Benito et al.
(2015, A&A 576, A135).
"""

import gzip

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.spectra import open_cube, read_spectra, vacuum_to_air

SHAPE = (40, 4, 5)
RNG = np.random.default_rng(5)
FLUX = RNG.normal(50, 10, SHAPE).astype(np.float32)
ERROR = RNG.uniform(1, 2, SHAPE).astype(np.float32)
SKY = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": 186.0, "CRVAL2": 12.0,
    "CRPIX1": 3.0, "CRPIX2": 2.0,
}  # fmt: skip


def extensions(path, primary, *hdus):
    """A file of a primary HDU and others."""
    fits.HDUList([primary, *hdus]).writeto(path)
    return path


def phangs(path):
    """As ``NGC4303-0.92asec.fits``: DATA, STAT with its own BUNIT; NaN outside of the mosaic, in both."""
    header = fits.Header({**SKY, "CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": 4749.9, "CRPIX3": 1.0})
    header.update({"CD1_1": -5.6e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5.6e-5, "CD3_3": 1.25})
    header.update({"CD1_3": 0.0, "CD2_3": 0.0, "CD3_1": 0.0, "CD3_2": 0.0, "OBJECT": "NGC4303 (DATA)"})
    header.update({"HDUCLASS": "ESO", "HDUDOC": "DICD", "HDUCLAS1": "IMAGE", "HDUCLAS2": "DATA", "ERRDATA": "STAT"})
    outside = np.zeros(SHAPE, dtype=bool)
    outside[:, 0, :2] = True
    data = fits.ImageHDU(np.where(outside, np.nan, FLUX), header, name="DATA")
    data.header["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
    stat = fits.ImageHDU(np.where(outside, np.nan, ERROR**2), header, name="STAT")
    stat.header["BUNIT"] = "(10**(-20)*erg/s/cm**2/Angstrom)**2"
    primary = fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MUSE", "TELESCOP": "ESO-VLT-U4", "OBJECT": "NGC4303"}))
    return extensions(path, primary, data, stat), outside, 4749.9 + 1.25 * np.arange(SHAPE[0]), 1e-20


def manga(path):
    """As ``manga-8485-1901-LOGCUBE.fits``: all extensions of DR17."""
    header = fits.Header({**SKY, "CTYPE3": "WAVE-LOG", "CUNIT3": "Angstrom", "CRPIX3": 1, "CRVAL3": 3621.5959848601933})
    header.update({"CD1_1": -0.5 / 3600, "CD2_2": 0.5 / 3600, "CD3_3": 0.83390326})
    header.update({"BUNIT": "1E-17 erg/s/cm^2/Ang/spaxel", "INSTRUME": "MaNGA", "HDUCLASS": "SDSS"})
    header.update({"HDUCLAS1": "CUBE", "ERRDATA": "IVAR", "QUALDATA": "MASK"})
    mask = np.zeros(SHAPE, dtype="i4")
    mask[:, 0, 0] = 2**0 + 2**1 + 2**10  # NOCOV, LOWCOV, DONOTUSE
    mask[5, 1, 1] = 2**1  # low coverage alone is a remark
    mask[6, 1, 2] = 2**3 + 2**10  # FORESTAR
    mask[7, 2, 2] = 2**2 + 2**10  # DEADFIBER
    ivar = (1 / ERROR**2).astype("f4")
    ivar[:, 0, 0] = 0
    wave = 10 ** (np.log10(3621.5959848601933) + 1e-4 * np.arange(SHAPE[0]))
    plane = np.ones(SHAPE[1:], dtype="f4")
    names = {
        "MASK": mask, "LSFPOST": np.full(SHAPE, 2.6, "f4"), "LSFPRE": np.full(SHAPE, 2.5, "f4"), "WAVE": wave,
        "SPECRES": np.full(SHAPE[0], 1900.0), "SPECRESD": np.full(SHAPE[0], 90.0),
        "PRESPECRES": np.full(SHAPE[0], 2000.0), "PRESPECRESD": np.full(SHAPE[0], 90.0),
    }  # fmt: skip
    hdus = [fits.ImageHDU(FLUX, header, name="FLUX"), fits.ImageHDU(ivar, name="IVAR")]
    hdus += [fits.ImageHDU(value, name=name) for name, value in names.items()]
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("MJD", "J", array=[57000])], name="OBSINFO"))
    hdus += [fits.ImageHDU(plane, name=f"{band}{kind}") for kind in ("IMG", "PSF") for band in "GRIZ"]
    sparse = [fits.Column(name, "D", array=[0.0]) for name in ("INDXI_C1", "INDXJ_C1", "RHOIJ")]
    hdus += [fits.BinTableHDU.from_columns(sparse, name=f"{band}CORREL") for band in "GRIZ"]
    head = {"TELESCOP": "SDSS 2.5-M", "PLATEIFU": "8485-1901", "EBVGAL": 0.02, "DRP3QUAL": 0, "BSCALE": 1.0}
    bad = mask >= 2**10
    extensions(path, fits.PrimaryHDU(header=fits.Header(head)), *hdus)
    return path, bad, vacuum_to_air(wave), 1e-17


def califa(path):
    """As ``NGC5947.V500.rscube.fits``: no BUNIT, errors of 1e10 and BADPIX where there is nothing, ERRWEIGHT."""
    header = fits.Header({**SKY, "CTYPE3": "WAVELENGTH", "CUNIT3": "Angstrom", "CRVAL3": 3749.0, "CDELT3": 2.0})
    header.update({"CRPIX3": 1.0, "CD1_1": -1.0 / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0 / 3600, "CD3_3": 2.0})
    header["HIERARCH PIPE UNITS"] = "10^-16 erg/s/cm^2"
    bad = np.zeros(SHAPE, dtype=bool)
    bad[3:6, 1, :] = True
    error = np.where(bad, np.float32(1e10), ERROR)
    hdus = [fits.ImageHDU(error, name="ERROR"), fits.ImageHDU(np.full(SHAPE, 1.1, "f4"), name="ERRWEIGHT")]
    hdus += [fits.ImageHDU(bad.astype("u1"), name="BADPIX"), fits.ImageHDU(np.ones(SHAPE, "f4"), name="FIBCOVER")]
    flux = np.where(bad, 0, FLUX)
    return extensions(path, fits.PrimaryHDU(flux, header), *hdus), bad, 3749 + 2.0 * np.arange(SHAPE[0]), 1e-16


@pytest.mark.parametrize("make", [phangs, manga, califa])
@pytest.mark.parametrize("packed", [False, True])
def test_cubes_as_surveys_document_them(tmp_path, make, packed):
    """Flux, error, bad pixels, wavelengths in air and sky, plain and compressed by gzip."""
    path, bad, wave_aa, scale = make(tmp_path / "cube.fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
    if packed:
        content = path.read_bytes()
        path = tmp_path / "cube.fits.gz"
        path.write_bytes(gzip.compress(content, 1))
    cube = open_cube(path)
    flux, variance, marked = cube.read(0, SHAPE[1])
    assert_array_equal(marked.reshape(SHAPE), bad)
    spectra = read_spectra(cube.spectra(flux.T, variance.T, marked.T), redshift=0.01)
    good = ~bad.reshape(SHAPE[0], -1).T
    assert_allclose(spectra.flux[good], scale * FLUX.reshape(SHAPE[0], -1).T[good], rtol=1e-5)
    assert_allclose(spectra.flux_err[good], scale * ERROR.reshape(SHAPE[0], -1).T[good], rtol=1e-5)
    assert_array_equal(spectra.mask, ~good)
    assert_allclose(spectra.wave_aa, wave_aa, rtol=1e-9)
    assert not spectra.relative
    assert_allclose(cube.wcs.wcs_pix2world([[2, 1]], 0), [[186.0, 12.0]], atol=1e-9)
    assert cube.planes_between(wave_aa[3] - 0.1, wave_aa[8] + 0.1) == slice(3, 9)


def test_the_wavelengths_of_manga_are_the_array_and_not_the_header(tmp_path):
    """Even if the header of FLUX had another reference pixel: 0.3 Angstrom are 20 km/s."""
    path, _, wave_aa, _ = manga(tmp_path / "cube.fits")
    fits.setval(path, "CRPIX3", value=2, extname="FLUX")
    cube = open_cube(path)
    assert cube.medium == "vacuum"
    assert_allclose(vacuum_to_air(cube.spectral_axis.to_value(u.AA)), wave_aa, rtol=1e-12)
