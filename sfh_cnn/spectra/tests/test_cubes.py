"""Cubes as surveys write them: flux, variance, mask, wavelengths and unit, whatever the format."""

import gzip
import importlib.util
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.spectra import PlainSpectrum, open_cube, read_muse_cube, read_spectra, vacuum_to_air

SHAPE = (30, 5, 4)
RNG = np.random.default_rng(1)
FLUX = RNG.normal(50, 10, SHAPE).astype(np.float32)
VARIANCE = RNG.uniform(1, 4, SHAPE).astype(np.float32)
BAD = RNG.random(SHAPE) < 0.05
UNIT = u.Unit("1e-20 erg / (s cm2 Angstrom)")


def header(**changes):
    """A celestial WCS with 0.5 arcsec pixels and a linear axis."""
    values = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT1": "deg", "CUNIT2": "deg",
        "CUNIT3": "Angstrom", "CRVAL1": 40.0, "CRVAL2": 10.0, "CRVAL3": 5000.0, "CRPIX1": 2.0, "CRPIX2": 3.0,
        "CRPIX3": 1.0, "CDELT1": -0.5 / 3600, "CDELT2": 0.5 / 3600, "CDELT3": 2.0,
        "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom",
    }  # fmt: skip
    return fits.Header({key: value for key, value in {**values, **changes}.items() if value is not None})


def write(path, *hdus):
    """A file of images; the first is the primary one if it has no name."""
    made = [fits.ImageHDU(data, head, name=name) for name, data, head in hdus if name]
    primary = next((fits.PrimaryHDU(data, head) for name, data, head in hdus if not name), fits.PrimaryHDU())
    fits.HDUList([primary, *made]).writeto(path)
    return path


def muse(tmp_path):
    """DATA, STAT, DQ; 0 is good."""
    return write(
        tmp_path / "muse.fits", ("DATA", FLUX, header()), ("STAT", VARIANCE, None), ("DQ", 8 * BAD.astype("i4"), None)
    )


def manga(tmp_path):
    """FLUX, IVAR, MASK with bits of which not all are bad, WAVE in vacuum and logarithmic."""
    ivar = np.where(BAD, 0, 1 / VARIANCE).astype(np.float32)
    mask = np.where(BAD, 1024, 2).astype("i4")
    wave = 10 ** (3.7 + 1e-4 * np.arange(SHAPE[0]))
    head = header(CTYPE3="WAVE-LOG", BUNIT="1E-17 erg/s/cm^2/Ang/spaxel")
    return write(
        tmp_path / "manga-1-LOGCUBE.fits", ("FLUX", FLUX, head), ("IVAR", ivar, None), ("MASK", mask, None),
        ("WAVE", wave, None),
    )  # fmt: skip


def califa(tmp_path):
    """Primary, ERROR (standard deviations), BADPIX; no BUNIT, and CTYPE3 that FITS does not know."""
    head = header(CTYPE3="WAVELENGTH", BUNIT=None)
    return write(
        tmp_path / "NGC.V500.rscube.fits", ("", FLUX, head), ("ERROR", np.sqrt(VARIANCE), None),
        ("BADPIX", BAD.astype("u1"), None),
    )  # fmt: skip


@pytest.mark.parametrize(("make", "scale"), [(muse, 1e-20), (manga, 1e-17), (califa, 1e-16)])
def test_formats_of_surveys(tmp_path, make, scale):
    """All rows at once or two of them: the same pixels, as plain native float32."""
    cube = open_cube(make(tmp_path))
    assert cube.shape == SHAPE
    flux, variance, bad = cube.read(0, 5)
    assert_array_equal(flux.reshape(SHAPE), FLUX)
    assert_array_equal(bad.reshape(SHAPE), BAD)
    assert_allclose(variance[~bad], VARIANCE.reshape(flux.shape)[~bad], rtol=1e-6)
    assert flux.dtype == np.float32
    assert flux.dtype.isnative
    part = cube.read(1, 3, slice(10, 20))
    assert_array_equal(part[0].reshape(10, 2, 4), FLUX[10:20, 1:3])
    assert_array_equal(part[2].reshape(10, 2, 4), BAD[10:20, 1:3])
    spectra = read_spectra(cube.spectra(flux.T, variance.T, bad.T), redshift=0.01)
    assert_allclose(spectra.flux[7], FLUX[:, 1, 3] * scale, rtol=1e-5)
    wave = 10 ** (3.7 + 1e-4 * np.arange(30)) if make is manga else 5000 + 2.0 * np.arange(30)
    assert_allclose(spectra.wave_aa, vacuum_to_air(wave) if make is manga else wave, rtol=1e-12)
    assert_allclose(cube.wcs.wcs_pix2world([[1, 2]], 0), [[40, 10]])


def test_compressed_files(tmp_path):
    """By gzip, and by tiles."""
    path = muse(tmp_path)
    packed = tmp_path / "muse.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert_array_equal(open_cube(packed).read(1, 3)[0].reshape(30, 2, 4), FLUX[:, 1:3])
    tiles = fits.HDUList(
        [fits.PrimaryHDU(), fits.CompImageHDU(FLUX, header(), name="DATA", compression_type="GZIP_2", quantize_level=0)]
    )
    tiles.writeto(tmp_path / "tiles.fits")
    assert_array_equal(open_cube(tmp_path / "tiles.fits").read(1, 3)[0].reshape(30, 2, 4), FLUX[:, 1:3])


def test_scaled_integers(tmp_path):
    """BSCALE and BZERO are obeyed."""
    hdu = fits.PrimaryHDU(np.arange(24, dtype="i2").reshape(2, 3, 4), header())
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 10.0
    hdu.writeto(tmp_path / "scaled.fits")
    assert_allclose(open_cube(tmp_path / "scaled.fits").read(0, 1)[0][:, 1], [10.5, 16.5])


def test_surface_brightness_becomes_flux_of_a_spaxel(tmp_path):
    """A spaxel of 0.25 square arcsec has a quarter of the flux of one square arcsec."""
    head = header(BUNIT="1e-16 erg/s/cm^2/Angstrom/arcsec^2")
    cube = open_cube(write(tmp_path / "sb.fits", ("DATA", FLUX, head)))
    assert (1 * cube.unit).to_value("erg / (s cm2 Angstrom)") == pytest.approx(0.25e-16, rel=1e-6)


def as_spectrum(flux, uncertainty=None, **kwargs):
    """A Spectrum of three axes."""
    wave = (5000 + 2.0 * np.arange(SHAPE[0])) * u.AA
    return PlainSpectrum(wave, flux, uncertainty, meta={"medium": "air"}, **kwargs)


def read_back(cube):
    """Flux and error in the house unit, as the network gets them, and the bad pixels."""
    flux, variance, bad = cube.read(0, SHAPE[1])
    spectra = read_spectra(cube.spectra(flux.T, variance.T, bad.T), redshift=0.01)
    return (values.T.reshape(SHAPE) for values in (spectra.flux, spectra.flux_err, spectra.mask))


@pytest.mark.parametrize(
    "cube",
    [
        (Masked(FLUX * UNIT, mask=BAD), header()),
        (np.ma.array(FLUX, mask=BAD), header()),
        as_spectrum(Masked(FLUX * UNIT, mask=BAD)),
        as_spectrum(np.moveaxis(Masked(FLUX * UNIT, mask=BAD), 0, 2), spectral_axis_index=2),
        (Masked((100 * FLUX).astype(int), mask=BAD), header()),
    ],
)
def test_masked_values_are_bad_pixels(cube):
    """Of any class that astropy and numpy have, real numbers or integers."""
    assert_array_equal(open_cube(cube).read(0, 5)[2].reshape(SHAPE), BAD)
    assert_array_equal(open_cube(cube).read(1, 3, slice(10, 20))[2].reshape(10, 2, 4), BAD[10:20, 1:3])


def test_a_masked_variance_is_a_bad_pixel():
    """Also where it is not the cube's own."""
    cube = open_cube((FLUX * UNIT, header()), variance=np.ma.array(VARIANCE, mask=BAD))
    assert_array_equal(cube.read(0, 5)[2].reshape(SHAPE), BAD)


@pytest.mark.parametrize("unit", ["erg / (s cm2 Angstrom)", "W / (m2 um)", "erg / (s cm2 Hz)", "1e-20 W / (m2 Hz)"])
@pytest.mark.parametrize("level", [1e-20, 1e-23, 1.0, 1e5])
@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty, InverseVariance])
def test_squares_of_errors_are_in_range(kind, level, unit):
    """In units that nobody scaled, squares of errors need not fit in float32; others are labelled with them, too."""
    wave = (5000 + 2.0 * np.arange(SHAPE[0]))[:, None, None] * u.AA
    error, factor = np.sqrt(VARIANCE.astype(float)) * level, FLUX_UNIT.to(unit, 1.0, u.spectral_density(wave))
    power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[kind]
    cube = open_cube(as_spectrum(FLUX * level * factor * u.Unit(unit), kind((error * factor) ** power)))
    flux, err, bad = read_back(cube)
    assert not bad.any()
    assert_allclose(flux, FLUX * level, rtol=1e-6)
    assert_allclose(err, error, rtol=1e-6)


def test_a_variance_in_another_unit():
    """The factor between the units need not fit in float32, and the user's arrays stay as they are."""
    given = {
        "erg / (s cm2 Angstrom)": (VARIANCE.astype(float) * 1e-40).astype(np.float32),
        "1e-19 erg / (s cm2 Angstrom)": VARIANCE / np.float32(100),
    }
    for unit, values in given.items():
        before = values.copy()
        cube = open_cube((FLUX * UNIT, header()), values << u.Unit(unit) ** 2)
        _, err, bad = read_back(cube)
        assert not bad.any()
        assert_allclose(err, np.sqrt(VARIANCE) * 1e-20, rtol=1e-3)  # 1e-40 has few digits in float32
        assert_array_equal(values, before)


@pytest.mark.parametrize("unit", [UNIT / u.arcsec**2, FLUX_UNIT / u.arcsec**2])
def test_a_variance_of_surface_brightness(unit):
    """In the square of the cube's own unit, or in that of a spaxel's flux: 0.25 square arcsec."""
    level = 1 / unit.to(UNIT / u.arcsec**2)
    flux, variance = FLUX.astype(float) * level, VARIANCE.astype(float) * level**2
    for given in (variance, variance * unit**2, variance / 16 * (unit * u.arcsec**2) ** 2):
        read_flux, err, _ = read_back(open_cube((flux * unit, header()), given))
        assert_allclose(read_flux, FLUX * 0.25e-20, rtol=1e-6)
        assert_allclose(err, np.sqrt(VARIANCE) * 0.25e-20, rtol=1e-6)


class OwnStdDev(StdDevUncertainty):
    """Somebody's own class."""


@pytest.mark.parametrize(
    "variance",
    [
        (VARIANCE * UNIT**2, header()),
        (VARIANCE, header()),
        as_spectrum(VARIANCE * UNIT**2),
        as_spectrum(np.moveaxis(VARIANCE, 0, 2) * UNIT**2, spectral_axis_index=2),
        VarianceUncertainty(VARIANCE),
        InverseVariance(1e4 / VARIANCE, unit=(0.01 * UNIT) ** -2 * 1e-8),
        OwnStdDev(np.sqrt(VARIANCE) * 10, unit=0.1 * UNIT),
    ],
)
def test_a_variance_of_any_class(variance):
    """Whatever a cube comes in, and the uncertainties of astropy."""
    _, err, bad = read_back(open_cube((FLUX * UNIT, header()), variance))
    assert not bad.any()
    assert_allclose(err, np.sqrt(VARIANCE) * 1e-20, rtol=1e-6)


def test_uncertainties_of_derived_classes():
    """They are what their parents are."""
    cube = open_cube(as_spectrum(FLUX * UNIT, OwnStdDev(np.sqrt(VARIANCE))))
    assert_allclose(cube.read(0, 5)[1].reshape(SHAPE), VARIANCE, rtol=1e-6)


def test_units_that_do_not_fit():
    """Magnitudes, errors in another kind of unit and variances of the wrong shape or class are named."""
    with pytest.raises(u.UnitConversionError, match="logarithmic"):
        open_cube((FLUX * u.ABmag, header()))
    with pytest.raises(u.UnitConversionError, match="uncertainty is in Jy"):
        open_cube(as_spectrum(FLUX * UNIT, StdDevUncertainty(FLUX, unit=u.Jy)))
    with pytest.raises(u.UnitConversionError, match=r"variance is in mag\(AB\)"):
        open_cube((FLUX * UNIT, header()), FLUX * u.ABmag)
    with pytest.raises(SFHCNNError, match="UnknownUncertainty is not understood"):
        open_cube((FLUX * UNIT, header()), UnknownUncertainty(VARIANCE))
    for variance in (VARIANCE[0], 1.0, [1.0, 2.0]):
        with pytest.raises(SFHCNNError, match="variance must be a cube of three axes"):
            open_cube((FLUX * UNIT, header()), variance)


def test_planes_of_a_range_of_wavelengths(tmp_path):
    """In air, also for a cube in vacuum."""
    assert open_cube(muse(tmp_path)).planes_between(5009, 5015) == slice(5, 8)
    cube = open_cube(manga(tmp_path))
    air = vacuum_to_air(cube.spectral_axis.to_value(u.AA))
    assert cube.planes_between(air[3] - 0.01, air[9] + 0.01) == slice(3, 10)
    assert cube.planes_between(1000, 2000) == slice(0, 0)


def test_refusals(tmp_path):
    """What is wrong, by name."""
    with pytest.raises(FileNotFoundError, match="no cube"):
        open_cube(tmp_path / "nothing.fits")
    image = write(tmp_path / "image.fits", ("SCI", FLUX[0], None))
    with pytest.raises(SFHCNNError, match="holds no cube"):
        open_cube(image)
    with pytest.raises(SFHCNNError, match="BUNIT"):
        open_cube(write(tmp_path / "unit.fits", ("DATA", FLUX, header(BUNIT=None))))
    with pytest.raises(SFHCNNError, match="shape"):
        open_cube(write(tmp_path / "shape.fits", ("DATA", FLUX, header()), ("STAT", VARIANCE[:-1], None)))
    with pytest.raises(SFHCNNError, match="FITS file, a SpectralCube"):
        open_cube([1, 2])
    with pytest.raises(u.UnitConversionError, match="variance"):
        open_cube((FLUX * u.Unit("erg / (s cm2 Angstrom)"), header()), VARIANCE * u.m)
    text = tmp_path / "text.fits"
    text.write_text("this is no FITS file")
    with pytest.raises(SFHCNNError, match="no FITS file"):
        open_cube(text)
    path = muse(tmp_path)
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.warns(AstropyUserWarning, match="truncated"), pytest.raises(SFHCNNError, match="is truncated"):
        open_cube(path).read(0, 5)


@pytest.mark.skipif(importlib.util.find_spec("mpdaf") is None, reason="the real cube comes with mpdaf")
def test_the_real_minicube():
    """Rows of the cube on disk are those of the cube in memory."""
    path = Path(importlib.util.find_spec("mpdaf").origin).parent / "data" / "sdetect" / "minicube.fits"
    whole = read_muse_cube(path)
    flux, variance, bad = open_cube(path).read(17, 19)
    assert_array_equal(flux.reshape(-1, 2, 40), whole.flux.value[:, 17:19])
    assert_array_equal(variance.reshape(-1, 2, 40), whole.uncertainty.array[:, 17:19])
    same = open_cube(whole).read(17, 19)
    assert_array_equal(same[0], flux)
    assert_array_equal(same[2], bad)
