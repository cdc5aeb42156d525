"""Spectra in files: what is written by other means comes out as it was, and what is no spectrum is refused."""

import gzip
import importlib.util
import shutil
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from numpy.testing import assert_allclose

from sfh_cnn.spectra import is_cube_file, open_spectrum_file, read_spectra, read_spectrum_file

N = 300
WAVE_AA = 5000 + 1.25 * np.arange(N)
FLUX = 1 + 0.1 * np.sin(np.arange(N) / 20)
ERROR = np.linspace(0.01, 0.03, N)


@pytest.fixture
def sdss_file(tmp_path):
    """A spectrum as SDSS publishes it: vacuum, 1e-17, inverse variance, redshift in another table."""
    ivar, bits = 1 / ERROR**2, np.zeros(N, dtype=np.int32)
    ivar[10] = 0
    bits[20], bits[30] = 1 << 23, 1 << 8  # a bright sky line; a note on the fibre
    columns = {"flux": (FLUX, "E"), "loglam": (np.log10(WAVE_AA), "D"), "ivar": (ivar, "E"), "and_mask": (bits, "J")}
    coadd = fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=array) for name, (array, form) in columns.items()], name="COADD"
    )
    about = fits.BinTableHDU.from_columns([fits.Column("Z", "E", array=[0.0321])], name="SPECOBJ")
    primary = fits.PrimaryHDU()
    primary.header["BUNIT"] = "1E-17 erg/cm^2/s/Ang"
    path = tmp_path / "spec.fits"
    fits.HDUList([primary, coadd, about]).writeto(path)
    return path


def test_sdss(sdss_file):
    """Wavelengths go to air, about 1.4 Angstrom down; errors, masks, unit and redshift are those of the file."""
    spectra = read_spectra(read_spectrum_file(sdss_file))
    assert spectra.medium == "vacuum"
    assert_allclose(WAVE_AA[0] - spectra.wave_aa[0], 1.395, atol=0.002)  # Morton (1991)
    assert_allclose(spectra.flux[0], FLUX * 1e-17, rtol=1e-6)
    assert_allclose(spectra.redshift, 0.0321, rtol=1e-6)
    assert list(np.flatnonzero(spectra.mask[0])) == [10, 20]
    good = ~spectra.mask[0]
    assert_allclose(spectra.flux_err[0, good], ERROR[good] * 1e-17, rtol=1e-6)


def test_compressed(sdss_file):
    """A gzipped file reads as the plain one."""
    path = sdss_file.with_suffix(".fits.gz")
    with open(sdss_file, "rb") as plain, gzip.open(path, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    assert_allclose(read_spectrum_file(path).flux.value, read_spectrum_file(sdss_file).flux.value)


@pytest.mark.parametrize(("name", "redshift"), [("NGC3073", 0.00376266), ("NGC3522", 0.00401801)])
def test_real_sdss_spectra(name, redshift):
    """The galaxies that ppxf ships: redshift of the SDSS pipeline, S/N about 50, few bad pixels."""
    found = importlib.util.find_spec("ppxf")
    if found is None:
        pytest.skip("ppxf is not installed")
    (path,) = (Path(found.origin).parent / "spectra").glob(f"{name}_SDSS_*.fits")
    spectra = read_spectra(read_spectrum_file(path))
    assert_allclose(spectra.redshift, redshift, rtol=1e-5)
    assert spectra.mask.mean() < 0.01
    assert 30 < np.median(spectra.flux / spectra.flux_err) < 80
    # H alpha, in emission or absorption, departs most from its surroundings at its rest wavelength in air.
    rest_aa = spectra.wave_aa / (1 + spectra.redshift[0])
    near = np.abs(rest_aa - 6562.80) < 12
    departure = np.abs(spectra.flux[0, near] - np.median(spectra.flux[0, near]))
    assert abs(rest_aa[near][departure.argmax()] - 6562.80) < 2


@pytest.mark.parametrize("ctype", ["AWAV", "LINEAR", "WAVELENGTH"])
def test_muse_spectrum(tmp_path, ctype):
    """A one-dimensional DATA with STAT and DQ, as mpdaf writes it, by any name that it has for the axis."""
    data = fits.ImageHDU(FLUX.astype(np.float32), name="DATA")
    data.header.update(
        {"CRVAL1": 5000.0, "CRPIX1": 1.0, "CDELT1": 1.25, "CTYPE1": ctype, "CUNIT1": "Angstrom"}
        | {"BUNIT": "10**(-20)*erg/s/cm**2/Angstrom"}
    )
    quality = np.zeros(N, dtype=np.uint8)
    quality[5] = 1
    stat = fits.ImageHDU((ERROR**2).astype(np.float32), name="STAT")
    path = tmp_path / "muse.fits"
    fits.HDUList([fits.PrimaryHDU(), data, stat, fits.ImageHDU(quality, name="DQ")]).writeto(path)
    spectra = read_spectra(read_spectrum_file(path), redshift=0.01)
    assert spectra.medium == "air"
    assert_allclose(spectra.wave_aa, WAVE_AA)
    assert_allclose(spectra.flux[0], FLUX * 1e-20, rtol=1e-6)
    assert_allclose(spectra.flux_err[0], ERROR * 1e-20, rtol=1e-6)
    assert list(np.flatnonzero(spectra.mask[0])) == [5]


@pytest.mark.parametrize("suffix", [".ecsv", ".fits"])
@pytest.mark.parametrize(
    ("columns", "power"),
    [(("wavelength", "flux", "error"), 1), (("WAVE", "Flux", "variance"), 2), (("lam", "flam", "ivar"), -2)],
)
def test_tables(tmp_path, suffix, columns, power):
    """Columns by any usual name, each with its unit; redshift and medium from the metadata."""
    unit = 1e-17 * u.erg / u.s / u.cm**2 / u.AA
    wave, flux, error = columns
    table = QTable({wave: (WAVE_AA / 10) * u.nm, flux: FLUX * unit, error: (ERROR * unit) ** power})
    table["mask"] = np.arange(N) == 7
    table.meta.update({"redshift": 0.02, "medium": "vacuum"})
    path = tmp_path / f"table{suffix}"
    table.write(path)
    spectra = read_spectra(read_spectrum_file(path))
    assert spectra.medium == "vacuum"
    assert_allclose(spectra.redshift, 0.02)
    assert_allclose(spectra.flux[0], FLUX * 1e-17, rtol=1e-12)
    assert_allclose(spectra.flux_err[0], ERROR * 1e-17, rtol=1e-12)
    assert list(np.flatnonzero(spectra.mask[0])) == [7]


def test_table_without_unit_of_the_flux(tmp_path):
    """Histories need no absolute flux; errors are then in the same arbitrary unit."""
    table = Table({"wavelength": WAVE_AA, "flux": FLUX, "err": ERROR})
    table["wavelength"].unit = "Angstrom"
    table.write(tmp_path / "plain.ecsv")
    spectra = read_spectra(read_spectrum_file(tmp_path / "plain.ecsv"), redshift=0.01)
    assert spectra.relative
    assert_allclose(spectra.flux_err[0], ERROR)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_units_that_astropy_does_not_read(tmp_path, shape):
    """With a factor, which the standard of FITS does not allow; what nobody reads is named."""

    def write(unit):
        values, form = (np.multiply.outer(array, np.ones(shape)) for array in (FLUX, ERROR)), f"{sum(shape) or 1}D"
        columns = [fits.Column(name, form, unit=unit, array=next(values)) for name in ("flux", "err")]
        columns.append(fits.Column("wave", "D", unit="Angstrom", array=WAVE_AA))
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "table.fits", overwrite=True)

    write("1e-20 erg/s/cm2/Angstrom")
    for read in (read_spectrum_file, open_spectrum_file):
        spectra = read_spectra(read(tmp_path / "table.fits"), redshift=0.01, medium="air")
        assert_allclose(spectra.flux[-1], FLUX * 1e-20)
        assert_allclose(spectra.flux_err[-1], ERROR * 1e-20)
    for unit, match in (("furlong", "'furlong' is not understood"), ("mag(AB)", "logarithmic")):
        write(unit)
        with pytest.raises(ValueError, match=match):
            read_spectrum_file(tmp_path / "table.fits")


def test_missing_values_of_a_table_are_bad_pixels(tmp_path):
    """An empty cell is a masked pixel."""
    text = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: wavelength, unit: Angstrom, datatype: float64}\n"
    text += '# - {name: flux, unit: mJy, datatype: float64}\nwavelength flux\n5000 1\n5001 ""\n5002 1\n'
    (tmp_path / "gap.ecsv").write_text(text)
    spectra = read_spectra(read_spectrum_file(tmp_path / "gap.ecsv"), redshift=0.01)
    assert list(spectra.mask[0]) == [False, True, False]


def test_one_row_of_arrays(tmp_path):
    """As in the archive of ESO, where QUAL 0 is good."""
    quality = np.zeros(N, dtype=np.int16)
    quality[3] = 1
    unit = "10**(-19).erg.cm**(-2).s**(-1).angstrom**(-1)"
    columns = [("WAVE", "D", "angstrom", WAVE_AA), ("FLUX", "D", unit, FLUX), ("ERR", "D", unit, ERROR)]
    hdu = fits.BinTableHDU.from_columns(
        [
            *[fits.Column(name, f"{N}{form}", unit=unit, array=[array]) for name, form, unit, array in columns],
            fits.Column("QUAL", f"{N}I", array=[quality]),
        ]
    )
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "eso.fits")
    spectra = read_spectra(read_spectrum_file(tmp_path / "eso.fits"), redshift=0.01, medium="air")
    assert_allclose(spectra.flux[0], FLUX * 1e-19)
    assert_allclose(spectra.flux_err[0], ERROR * 1e-19)
    assert list(np.flatnonzero(spectra.mask[0])) == [3]


def test_the_rest_is_left_to_specutils(tmp_path):
    """A linear spectrum of IRAF's kind, recognised and by the name of its format."""
    hdu = fits.PrimaryHDU(FLUX)
    hdu.header.update({"CRVAL1": 5000.0, "CRPIX1": 1.0, "CDELT1": 1.25, "CTYPE1": "LINEAR", "CUNIT1": "Angstrom"})
    hdu.header["BUNIT"] = "erg s-1 cm-2 Angstrom-1"
    hdu.writeto(tmp_path / "linear.fits")
    for format_name in (None, "wcs1d-fits"):
        mine = read_spectrum_file(tmp_path / "linear.fits", format=format_name)
        assert_allclose(mine.wavelength.to_value(u.AA), WAVE_AA)
        assert_allclose(mine.flux.value, FLUX)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        (
            "flux.ecsv",
            "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: flux, datatype: float64}\nflux\n1.0\n2.0\n",
            "has no column",
        ),
        ("bare.txt", "wavelength flux\n5000 1\n5001 1\n", "have no unit"),
        ("text.dat", "Dear editor,\nplease find\nattached", "no spectrum that is understood|no column"),
        ("binary.dat", b"\xff\xfe\x00\x81", "no spectrum that is understood"),
    ],
)
def test_what_is_no_spectrum_is_refused(tmp_path, name, content, match):
    """The message names the file and what is missing."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=match) as refusal:
        read_spectrum_file(path)
    assert name in str(refusal.value)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_truncated_file_is_refused(tmp_path, sdss_file):
    """Half of a download."""
    path = tmp_path / "half.fits"
    path.write_bytes(sdss_file.read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"half\.fits is no FITS file of a spectrum, or it is damaged"):
        read_spectrum_file(path)


def test_a_cube_is_refused(tmp_path):
    """A cube is recognised, and no spectrum."""
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 3, 2)), name="DATA")]).writeto(tmp_path / "cube.fits")
    assert is_cube_file(tmp_path / "cube.fits")
    with pytest.raises(ValueError, match="holds a cube"):
        read_spectrum_file(tmp_path / "cube.fits")


def test_other_files_are_no_cubes(tmp_path, sdss_file):
    """Neither a spectrum, nor text, nor nothing."""
    (tmp_path / "text.fits").write_text("no FITS")
    assert not any(is_cube_file(path) for path in (sdss_file, tmp_path / "text.fits", tmp_path / "missing.fits"))


def test_a_missing_file_is_said_so(tmp_path):
    """FileNotFoundError with the name."""
    with pytest.raises(FileNotFoundError, match=r"nothing\.fits"):
        read_spectrum_file(tmp_path / "nothing.fits")


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
def test_tables_made_with_the_axis_of_a_spectrum(tmp_path, suffix):
    """Astropy writes their class, which is specutils' own, and does not read it."""
    from specutils import Spectrum

    spectrum = Spectrum(spectral_axis=np.linspace(5000, 6000, 50) * u.AA, flux=np.arange(50.0) * u.Jy)
    QTable({"wavelength": spectrum.wavelength, "flux": spectrum.flux}).write(tmp_path / f"table.{suffix}")
    again = read_spectrum_file(tmp_path / f"table.{suffix}")
    assert_allclose(again.wavelength.to_value(u.AA), np.linspace(5000, 6000, 50))
    assert_allclose(again.flux.to_value(u.Jy), np.arange(50.0))
