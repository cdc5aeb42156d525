"""Files written to the documented format of each library give back what was put in."""

import gzip

import h5py
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.ssp import SSPLibrary, readers, register_reader

# Ages of the toy library that a file takes, so that the files stay small.
SOME = slice(0, 41, 10)


def test_formats():
    """The public libraries are all there."""
    formats = {"bc03-miles", "dsps", "e-miles", "fsps", "galaxev", "mastar", "ppxf", "xsl"}
    assert formats <= set(SSPLibrary.formats())


@pytest.mark.parametrize("flavour", ["emiles", "fsps", "galaxev", "xsl"])
def test_ppxf(toy, tmp_path, flavour):
    """The six arrays that ppxf.sps_util.sps_lib reads, in its order of axes."""
    path = tmp_path / f"spectra_{flavour}_9.0.npz"
    np.savez_compressed(
        path,
        templates=np.moveaxis(toy.flux, (0, 1, 2), (2, 1, 0)),
        masses=toy.surviving_fraction.T,
        lam=toy.wave_aa,
        ages=toy.age_yr / 1e9,
        metals=toy.metallicity_dex,
        fwhm=toy.lsf_fwhm_aa,
    )
    library = SSPLibrary.read(path)
    assert library.name == f"ppxf-{flavour}"
    assert_array_equal(library.flux, toy.flux)
    assert_allclose(library.age_yr, toy.age_yr)
    assert_array_equal(library.surviving_fraction, toy.surviving_fraction)
    assert_array_equal(library.lsf_fwhm_aa, toy.lsf_fwhm_aa)
    # The lines of the toy library are in air, whatever the name of the file suggests.
    assert library.medium == "air"


def test_ppxf_with_a_missing_array(tmp_path):
    """The error names what is missing."""
    path = tmp_path / "spectra_emiles_9.0.npz"
    np.savez(path, templates=np.zeros((2, 2, 2)), lam=np.arange(2))
    with pytest.raises(SFHCNNError, match="lacks masses, ages"):
        SSPLibrary.read(path, format="ppxf")


def _galaxev_file(path, toy, i, z, text="Padova 1994 + toy, Chabrier IMF, X=0.7000, Y=0.2800, Z="):
    """One metallicity in the layout of GALAXEV's ascii_ised, with an age 0 and records that start mid-line."""
    ages = np.append(0, toy.age_yr[SOME])
    flux = np.concatenate([toy.flux[i, :1], toy.flux[i, SOME]]).astype(float)

    def record(values):
        return [str(len(values)), *(f"{value:.6E}" for value in values)]

    body = record(toy.wave_aa)
    for spectrum in flux:
        body += record(spectrum) + record([0.5, 0.25, 0.125])
    living = np.append(1, toy.surviving_fraction[i, SOME])
    body += record(np.full(ages.size, 7.0)) + record(living) + record(np.full(ages.size, 3.0))
    lines = [" ".join(record(ages))]
    lines += [
        "  0.1000E+00  0.1000E+03  2",
        "  0.1 0.5 1.3 0.9 0.2 0.1",
        " 1. 2. 3. 4. 5.",
        f" {text}{z:.4f}",
        " more text",
    ]
    # Fortran writes 1.0E-101 as 1.0-101
    body[body.index(f"{0.125:.6E}")] = "1.000000-101"
    lines += [" ".join(body[k : k + 1000]) for k in range(0, len(body), 1000)]
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_galaxev(toy, tmp_path):
    """A folder with two metallicities: Z from the text, age 0 dropped, mass of living stars, FWHM by name."""
    _galaxev_file(tmp_path / "bc2003_hr_xmiless_m42_chab_ssp.ised_ASCII", toy, 1, 0.004)
    _galaxev_file(tmp_path / "bc2003_hr_xmiless_m62_chab_ssp.ised_ASCII.gz", toy, 3, 0.02)
    library = SSPLibrary.read(tmp_path)
    assert library.name == "galaxev"
    assert_allclose(library.metallicity_dex, [np.log10(0.2), 0], atol=1e-12)
    assert_allclose(library.age_yr, toy.age_yr[SOME], rtol=1e-6)
    assert_allclose(library.flux, toy.flux[[1, 3], SOME], rtol=2e-6)
    assert_allclose(library.surviving_fraction, toy.surviving_fraction[[1, 3], SOME], rtol=1e-6)
    assert library.imf.startswith("Chabrier")
    assert_allclose(np.interp([5000, 8000], library.wave_aa, library.lsf_fwhm_aa), [2.5, 3.0])
    assert library.medium == "air"


def test_galaxev_that_do_not_belong_together(toy, tmp_path):
    """Two IMFs are refused, and a truncated file is named."""
    _galaxev_file(tmp_path / "bc2003_hr_stelib_m42_chab_ssp.ised_ASCII", toy, 1, 0.004)
    _galaxev_file(tmp_path / "bc2003_hr_stelib_m62_salp_ssp.ised_ASCII", toy, 3, 0.02)
    with pytest.raises(SFHCNNError, match="must share IMF"):
        SSPLibrary.read(tmp_path)
    path = tmp_path / "bc2003_hr_stelib_m42_chab_ssp.ised_ASCII"
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(SFHCNNError, match="cut short"):
        SSPLibrary.read(path)


def _write_dsps(path, toy):
    flux_nu = toy.flux * (toy.wave_aa**2 / 2.99792458e18)
    with h5py.File(path, "w") as file:
        file["ssp_lgmet"] = toy.metallicity_dex + np.log10(0.0142)
        file["ssp_lg_age_gyr"] = np.log10(toy.age_yr) - 9
        file["ssp_wave"] = toy.wave_aa
        file["ssp_flux"] = flux_nu


def test_dsps(toy, tmp_path):
    """L_sun/Hz becomes L_sun/Angstrom, log Z becomes [M/H]."""
    _write_dsps(tmp_path / "ssp.h5", toy)
    library = SSPLibrary.read(tmp_path / "ssp.h5")
    assert library.name == "dsps"
    assert_allclose(library.flux, toy.flux, rtol=1e-5)
    assert_allclose(library.metallicity_dex, toy.metallicity_dex, atol=1e-12)
    assert_allclose(library.age_yr, toy.age_yr)


@pytest.mark.parametrize(("imf", "formed"), [("Kroupa", 0.562), ("Salpeter", 0.319)])
def test_xsl(toy, tmp_path, imf, formed):
    """Fluxes at 10 pc of 0.562 or 0.319 M_sun, log10 of nm; MH-0.0 is solar."""
    log_nm = np.arange(np.log10(455.0), np.log10(895.0), 1e-4)
    for i, name in ((2, "-0.4"), (3, "-0.0"), (4, "0.4")):
        for j in (30, 38):
            spectrum = np.interp(10 * 10**log_nm, toy.wave_aa, toy.flux[i, j].astype(float))
            # 1 L_sun at 10 pc, the inverse of the factor on the web page of the library (0.562 M_sun: 5567946.09)
            hdu = fits.PrimaryHDU(spectrum * formed / (5567946.09 * 0.562))
            hdu.header["CRVAL1"], hdu.header["CDELT1"], hdu.header["CRPIX1"] = log_nm[0], 1e-4, 1.0
            hdu.writeto(tmp_path / f"XSL_SSP_logT{np.log10(toy.age_yr[j]):.1f}_MH{name}_{imf}_PC.fits")
    library = SSPLibrary.read(tmp_path)
    assert library.name == "xsl"
    assert_allclose(library.metallicity_dex, [-0.4, 0, 0.4])
    assert_allclose(np.log10(library.age_yr), np.log10(toy.age_yr[[30, 38]]), atol=0.051)
    expected = np.interp(library.wave_aa, toy.wave_aa, toy.flux[3, 38])
    # The web page gives the masses to three digits and takes 3.826e33 erg/s for the Sun.
    assert_allclose(library.flux[1, 1], expected, rtol=2e-3)
    # 13 km/s is 0.51 Angstrom at 5000 Angstrom
    assert_allclose(np.interp(5000, library.wave_aa, library.lsf_fwhm_aa), 0.5106, rtol=1e-3)
    assert library.imf.startswith(imf)


def _write_mastar(folder, toy):
    wave_aa = 10 ** (3.66 + 1e-4 * np.arange(2800))
    for i, met in ((2, "-0.40"), (3, "+0.00")):
        for j, age in ((10, "00.003"), (30, "01.000"), (38, "09.000")):
            spectrum = np.interp(wave_aa, toy.wave_aa * 1.00028, toy.flux[i, j])
            primary = fits.PrimaryHDU(spectrum / np.median(spectrum))
            primary.header.update({"CTYPE1": "WAVE-LOG", "CRPIX1": 1, "CRVAL1": 3.66, "CDELT1": 1e-4})
            hdus = fits.HDUList([primary, fits.ImageHDU(np.full(wave_aa.size, 1800.0), name="SRES")])
            hdus.writeto(folder / f"MaStar-SSP-A{age}-Z{met}.fits.gz")


def test_mastar(toy, tmp_path):
    """Vacuum, log-spaced, resolving power, spectra without levels until another library lends them."""
    _write_mastar(tmp_path, toy)
    library = SSPLibrary.read(tmp_path)
    assert library.name == "mastar"
    assert (library.medium, library.per_mass_formed) == ("vacuum", False)
    assert_allclose(library.age_yr, [3.16228e6, 1e9, 9e9])
    assert_allclose(library.lsf_fwhm_aa, library.wave_aa / 1800)
    with_levels = library.to_air().with_light_of(toy)
    assert_allclose(with_levels.visual_light()[1, 1], toy.interpolate(1e9, 0.0)[570:1451].mean(), rtol=2e-3)


def test_real_mastar(mangadap_templates):
    """The spectra of the wheel: 9 ages, 6 metallicities, each divided by its median."""
    library = SSPLibrary.read(mangadap_templates / "mastar_ssp_v1.0")
    assert library.flux.shape == (6, 9, 4562)
    assert_allclose(np.median(library.flux, axis=-1), 1, atol=5e-3)
    resolving_power = library.wave_aa / library.lsf_fwhm_aa
    assert 1300 < resolving_power.min() < resolving_power.max() < 2500


class _Population:
    """The documented interface of fsps.StellarPopulation, with the spectra of the toy library."""

    def __init__(self, toy, **params):
        self.toy = toy
        self.params = {"sfh": 0, "zcontinuous": 0, "imf_type": 1, "add_stellar_remnants": True, **params}
        self.zlegend = 0.0142 * 10**toy.metallicity_dex
        self.solar_metallicity = 0.0142
        self.ssp_ages = np.log10(toy.age_yr)
        self.resolutions = np.where(toy.wave_aa < 5000, -70.0, 64.0)

    def get_spectrum(self, zmet=None, tage=0.0, peraa=False):
        assert tage == 0.0
        assert peraa
        self.stellar_mass = self.toy.surviving_fraction[zmet - 1]
        return self.toy.wave_aa, self.toy.flux[zmet - 1]


def test_fsps(toy):
    """All metallicities (counted from 1), resolution from km/s, sign ignored."""
    library = SSPLibrary.read(_Population(toy))
    assert library.name == "fsps"
    assert_array_equal(library.flux, toy.flux)
    assert_array_equal(library.surviving_fraction, toy.surviving_fraction)
    assert_allclose(library.metallicity_dex, toy.metallicity_dex, atol=1e-12)
    assert_allclose(library.lsf_fwhm_aa[0], 4500 * 70 / 299792.458 * 2.35482, rtol=1e-5)
    assert library.imf.startswith("Chabrier")
    with pytest.raises(SFHCNNError, match="sfh=4"):
        SSPLibrary.read(_Population(toy, sfh=4))


def test_own_reader(toy, tmp_path, monkeypatch):
    """A registered reader is found by name, by content and refuses to be replaced."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))
    path = tmp_path / "mine.ssp"
    path.write_text("anything")
    register_reader("mine", lambda source=None: toy, lambda source: getattr(source, "suffix", "") == ".ssp")
    assert SSPLibrary.read(path) is toy
    assert SSPLibrary.read("mine") is toy
    with pytest.raises(SFHCNNError, match="registered already"):
        register_reader("mine", lambda source: toy)
    register_reader("broken", lambda source: None)
    with pytest.raises(SFHCNNError, match="must return an SSPLibrary"):
        SSPLibrary.read(path, format="broken")


def test_unknown_sources(tmp_path):
    """A missing path, a strange file and an unknown format each get an error that says what to do."""
    with pytest.raises(SFHCNNError, match="neither a file nor a folder"):
        SSPLibrary.read(tmp_path / "nowhere")
    with pytest.raises(SFHCNNError, match="pass format="):
        SSPLibrary.read(tmp_path)
    with pytest.raises(SFHCNNError, match="known formats: bc03-miles"):
        SSPLibrary.read(tmp_path, format="nonsense")
