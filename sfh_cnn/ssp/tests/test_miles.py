"""MILES files written to the format of the web tool, and the real ones where they are."""

import tarfile

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError, SFHCNNWarning
from sfh_cnn.ssp import SSPLibrary


def _write(folder, family="Eun1.30", tail="_iPp0.00_baseFe_linear_FWHM_variable.fits", skip=None):
    """Six spectra named and laid out as the MILES web tool does; flux = age + 100 [M/H] + pixel."""
    for met in ("m0.40", "p0.00"):
        for age in ("00.1000", "01.0000", "10.0000"):
            if (met, age) == skip:
                continue
            value = float(age) + 100 * float(met[1:]) * (-1 if met[0] == "m" else 1)
            hdu = fits.PrimaryHDU((value + np.arange(9000)).astype(">f4"))
            hdu.header["CRVAL1"], hdu.header["CDELT1"], hdu.header["CRPIX1"] = 1680.2, 0.9, 1
            hdu.writeto(folder / f"{family}Z{met}T{age}{tail}")


def test_file_names_and_axis(tmp_path):
    """Age and signed [M/H] come from the names, the wavelengths from the header."""
    _write(tmp_path)
    library = SSPLibrary.read(tmp_path)
    assert library.name == "e-miles"
    assert_allclose(library.metallicity_dex, [-0.4, 0])
    assert_allclose(library.age_yr, [1e8, 1e9, 1e10])
    assert_allclose(library.wave_aa[[0, 1, -1]], [1680.2, 1681.1, 1680.2 + 0.9 * 8999])
    assert_allclose(library.flux[0, 2, :3], [-30, -29, -28])
    assert library.imf.startswith("Salpeter")
    assert library.surviving_fraction is None
    assert (library.medium, library.solar_metallicity) == ("air", 0.019)


def test_resolution_steps(tmp_path):
    """Vazdekis et al. (2016): 3 A, 5 A, 2.51 A, then 60 km/s, so that it is 23.57 A at 50000 A."""
    _write(tmp_path)
    library = SSPLibrary.read(tmp_path)
    assert_allclose(np.interp([2000, 3300, 5000], library.wave_aa, library.lsf_fwhm_aa), [3, 5, 2.51])
    assert_allclose(library.lsf_fwhm_aa[-1] * 50000 / library.wave_aa[-1], 23.57, atol=0.01)


def test_tar_archive_is_read_in_place(tmp_path):
    """A compressed archive, with the files in a subfolder, gives the same library."""
    folder = tmp_path / "models"
    folder.mkdir()
    _write(folder)
    archive = tmp_path / "models.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "deep/down")
    assert SSPLibrary.read(archive).sha256 == SSPLibrary.read(folder).sha256


def test_mixed_models_are_refused(tmp_path):
    """Two IMFs in one folder make no library."""
    _write(tmp_path)
    _write(tmp_path, family="Ebi1.30")
    with pytest.raises(SFHCNNError, match="one kind of MILES model"):
        SSPLibrary.read(tmp_path)


def test_an_incomplete_age_is_left_out(tmp_path):
    """An age that lacks a metallicity goes, with a warning that names it."""
    _write(tmp_path, skip=("p0.00", "01.0000"))
    with pytest.warns(SFHCNNWarning, match=r"missing \(Gyr\): 1$"):
        library = SSPLibrary.read(tmp_path)
    assert_allclose(library.age_yr, [1e8, 1e10])


def test_mass_table(tmp_path):
    """Living stars and remnants are taken from the row of the same slope and nearest [M/H] and age."""
    _write(tmp_path)
    rows = ["#IMF slope [M/H]   Age    Mtotal  M(*+remn)  M*"]
    for slope in (0.3, 1.3):
        for met in (-0.3960, 0.0):
            rows += [
                f"UN {slope:.2f} {met:.4f} {t:.4f} 1.0 {slope / 2 + met / 10 - t / 100:.4f} 0.5" for t in (0.1, 1, 10)
            ]
    (tmp_path / "Vazdekis2012_ssp_mass_Padova00_UN_baseFe_v10.0.txt").write_text("\n".join(rows))
    library = SSPLibrary.read(tmp_path)
    expected = 0.65 + np.array([[-0.0396], [0]]) - np.array([0.1, 1, 10]) / 100
    assert_allclose(library.surviving_fraction, expected, atol=1e-4)


def test_real_files(e_miles):
    """The grid of the ppxf 8.2.6 source distribution: 25 ages, 6 metallicities, 1680-50000 Angstrom."""
    assert e_miles.flux.shape == (6, 25, 53689)
    assert_allclose(e_miles.metallicity_dex, [-1.71, -1.31, -0.71, -0.4, 0, 0.22])
    assert_allclose(e_miles.age_yr[[0, -1]], [6.31e7, 1.58489e10])


def test_magnitudes_are_the_published_ones(e_miles, e_miles_folder):
    """SDSS g, r and i of every SSP per solar mass formed agree with the table of the MILES web site.

    The magnitudes are integrated by pPXF with its own filters.
    """
    ppxf_util = pytest.importorskip("ppxf.ppxf_util")
    table = (e_miles_folder / "Vazdekis2012_ssp_sdss_miuscat_UN1.30_v9.txt").read_text()
    rows = np.array([line.split()[1:] for line in table.splitlines() if not line.startswith("#")], dtype=float)
    library = e_miles.crop(3000, 10000)
    difference = []
    area_cm2 = 4 * np.pi * 3.0856775814913673e19**2
    for i, met in enumerate(library.metallicity_dex):
        for j in range(0, library.age_yr.size, 4):
            flux = library.flux[i, j].astype(float) * 3.826e33 / area_cm2
            magnitude = ppxf_util.mag_spectrum(library.wave_aa, flux, ["SDSS/g", "SDSS/r", "SDSS/i"])
            row = np.argmin(np.hypot(rows[:, 1] - met, np.log10(rows[:, 2] * 1e9 / library.age_yr[j])))
            difference.append(magnitude - rows[row, 4:7])
    assert np.all(np.abs(np.mean(difference, axis=0)) < [0.02, 0.005, 0.005])
    assert np.all(np.std(difference, axis=0) < [0.015, 0.005, 0.005])


def test_mass_of_real_files(e_miles, e_miles_folder):
    """At 10 Gyr and solar metallicity 0.7195 of the mass is left in stars and remnants (Vazdekis table)."""
    assert_allclose(e_miles.surviving_fraction[4, np.argmin(np.abs(e_miles.age_yr - 1e10))], 0.7195)
    assert_array_equal(SSPLibrary.read(e_miles_folder, format="e-miles").age_yr, e_miles.age_yr)


def test_colours_of_two_libraries_agree(e_miles, bc03):
    """BC03 and E-MILES know nothing of each other: their solar 5 Gyr spectra differ by a few per cent in shape."""
    wave_aa = np.arange(4700.0, 7200.0, 25.0)
    ours, theirs = (np.interp(wave_aa, x.wave_aa, x.interpolate(5e9, 0.0)) for x in (bc03, e_miles))
    assert np.std(ours / theirs / np.mean(ours / theirs)) < 0.04
