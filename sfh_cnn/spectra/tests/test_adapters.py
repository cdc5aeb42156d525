"""Spectra of every class, unit and axis order give the same plain arrays."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, WavelengthGrid, pixel_edges
from sfh_cnn.spectra import PlainSpectrum, adapters, galactic_extinction, read_spectra, vacuum_to_air

specutils = pytest.importorskip("specutils")

WAVE_AA = np.linspace(4800.0, 7000.0, 200)
RNG = np.random.default_rng(5)
FLUX = RNG.uniform(1e-17, 2e-17, (3, 200))
ERR = RNG.uniform(1e-19, 2e-19, (3, 200))


def make(flux=FLUX, err=ERR, wave=WAVE_AA * u.AA, redshift=0.02, **kwargs):
    """A specutils Spectrum in house units."""
    return specutils.Spectrum(
        spectral_axis=wave,
        flux=u.Quantity(flux, FLUX_UNIT) if not hasattr(flux, "unit") else flux,
        uncertainty=None if err is None else StdDevUncertainty(err),
        redshift=redshift,
        **kwargs,
    )


def check(spectra, rows=slice(None), rtol=1e-10):
    """The arrays are those of this module."""
    assert_allclose(spectra.wave_aa, WAVE_AA, rtol=rtol)
    assert_allclose(spectra.flux, FLUX[rows], rtol=rtol)
    assert_allclose(spectra.flux_err, ERR[rows], rtol=rtol)
    assert_allclose(spectra.redshift, 0.02)
    assert not spectra.mask.any()


def test_one_and_many():
    """A single spectrum is a stack of one that remembers it was single."""
    one, many = read_spectra(make(FLUX[0], ERR[0]), medium="air"), read_spectra(make(), medium="air")
    check(one, rows=[0])
    check(many)
    assert one.scalar
    assert not many.scalar
    assert len(many) == 3
    assert (many.medium, many.relative, many.per) == ("air", False, "")


def test_flux_axis_first_or_last():
    """The spectral axis is where spectral_axis_index says, also when the stack is square."""
    check(read_spectra(make(FLUX.T, ERR.T, spectral_axis_index=0), medium="air"))
    square = np.tile(FLUX[0], (200, 1)) * np.arange(1, 201)[:, np.newaxis]
    spectrum = make(square.T, square.T, spectral_axis_index=0)
    assert_allclose(read_spectra(spectrum, medium="air").flux, square)


@pytest.mark.parametrize("unit", [u.um, u.nm, u.AA])
def test_spectral_axis_in_other_units_and_descending(unit):
    """Micrometres, nanometres, long wavelengths first: the arrays are the same, mask and errors included."""
    mask = np.zeros(FLUX.shape, dtype=bool)
    mask[0, :5] = True
    spectrum = make(FLUX[:, ::-1], ERR[:, ::-1], (WAVE_AA[::-1] * u.AA).to(unit), mask=mask[:, ::-1])
    spectra = read_spectra(spectrum, medium="air")
    assert (spectra.mask == mask).all()
    assert_allclose(spectra.wave_aa, WAVE_AA)
    assert_allclose(spectra.flux_err, ERR)


def test_frequency_is_in_vacuum():
    """The speed of light over a frequency is a vacuum wavelength; f_nu becomes f_lambda."""
    wave = WAVE_AA * u.AA
    f_nu = (FLUX * FLUX_UNIT).to(u.mJy, u.spectral_density(wave))
    err_nu = (ERR * FLUX_UNIT).to_value(u.mJy, u.spectral_density(wave))
    spectra = read_spectra(make(f_nu, err_nu, wave.to(u.THz, u.spectral())))
    assert spectra.medium == "vacuum"
    assert_allclose(spectra.wave_aa, vacuum_to_air(WAVE_AA))
    assert_allclose(spectra.flux, FLUX, rtol=1e-3)  # f_nu nu = f_lambda lambda, at the air wavelength
    assert_allclose(spectra.flux_err / spectra.flux, ERR / FLUX, rtol=1e-10)


def test_velocity_axis():
    """Velocities about a rest wavelength become wavelengths."""
    velocity = (WAVE_AA * u.AA).to(u.km / u.s, u.doppler_optical(5500 * u.AA))
    spectrum = make(wave=velocity, velocity_convention="optical", rest_value=5500 * u.AA)
    check(read_spectra(spectrum, medium="air"))


@pytest.mark.parametrize("unit", ["1e-20 erg / (s cm2 AA)", "W / (m2 um)", "mJy", "ABmag"])
def test_flux_units(unit):
    """Any flux density gives the same flux and errors; magnitudes are not one."""
    if unit == "ABmag":
        with pytest.raises(u.UnitConversionError, match="no flux density"):
            read_spectra(make(FLUX[0] / 1e-17 * u.ct, None), medium="air")
        return
    density = u.spectral_density(WAVE_AA * u.AA)
    flux, err = (FLUX * FLUX_UNIT).to(unit, density), (ERR * FLUX_UNIT).to_value(unit, density)
    check(read_spectra(make(flux, err), medium="air"))


def test_surface_brightness_and_arbitrary_flux():
    """Solid angles are taken off and remembered; no unit at all is allowed and flagged."""
    spectra = read_spectra(make(FLUX * FLUX_UNIT / u.arcsec**2, ERR), medium="air")
    check(spectra)
    assert spectra.per == "arcsec2"
    relative = read_spectra(make(FLUX * u.dimensionless_unscaled, ERR), medium="air")
    check(relative)
    assert relative.relative


@pytest.mark.parametrize(
    "uncertainty",
    [
        StdDevUncertainty(ERR),
        StdDevUncertainty(ERR * 1e17, unit="1e-17 erg / (s cm2 AA)"),
        VarianceUncertainty(ERR**2),
        VarianceUncertainty(ERR**2 * 1e40, unit=(1e-20 * FLUX_UNIT) ** 2),
        InverseVariance(ERR**-2),
        InverseVariance(ERR**-2 * 1e-40, unit=(1e-20 * FLUX_UNIT) ** -2),
        ERR,
        ERR * FLUX_UNIT,
    ],
)
def test_uncertainties_of_every_kind(uncertainty):
    """Standard deviation, variance or inverse variance, with its own unit or the flux's."""
    check(read_spectra(make(err=None), uncertainty=uncertainty, medium="air"))


def test_uncertainty_in_another_kind_of_unit():
    """Errors per frequency go with flux per wavelength, of any kind; what is no flux density is named."""
    err = (ERR * FLUX_UNIT).to(u.mJy, u.spectral_density(WAVE_AA * u.AA))
    for uncertainty in (err, VarianceUncertainty(err**2), InverseVariance(err**-2)):
        check(read_spectra(make(err=None), uncertainty=uncertainty, medium="air"))
    turned = make(FLUX[:, ::-1], None, WAVE_AA[::-1] * u.AA)
    check(read_spectra(turned, uncertainty=err[:, ::-1], medium="air"))
    for wrong in (ERR * u.mag, ERR * u.ABmag, ERR * u.m):
        with pytest.raises(u.UnitConversionError, match="uncertainty is in"):
            read_spectra(make(err=None), uncertainty=wrong, medium="air")


def test_uncertainties_of_derived_classes():
    """They are what their parents are."""

    class OwnVariance(VarianceUncertainty):
        """Somebody's own class."""

    check(read_spectra(make(err=None), uncertainty=OwnVariance(ERR**2), medium="air"))


@pytest.mark.parametrize("unit", [u.ABmag, u.dex(FLUX_UNIT)])
def test_logarithmic_flux_is_refused(unit):
    """By name; specutils does not hold it, a table does."""
    with pytest.raises(u.UnitConversionError, match="is logarithmic; convert it"):
        read_spectra(PlainSpectrum(WAVE_AA * u.AA, FLUX[0] * unit, redshift=0.01), medium="air")


def test_bad_pixels():
    """NaN, infinite, masked, and zero or negative variance are masked; the rest is untouched."""
    flux, variance, mask = FLUX.copy(), ERR**2, np.zeros(FLUX.shape, dtype=bool)
    flux[0, 1], flux[0, 2], variance[0, 3], variance[0, 4], variance[0, 5] = np.nan, np.inf, 0, -1, np.nan
    mask[0, 6] = True
    spectrum = specutils.Spectrum(
        spectral_axis=WAVE_AA * u.AA, flux=flux * FLUX_UNIT, uncertainty=VarianceUncertainty(variance), mask=mask
    )
    spectra = read_spectra(spectrum, redshift=0.02, medium="air")
    assert np.flatnonzero(spectra.mask.any(axis=0)).tolist() == [1, 2, 3, 4, 5, 6]
    assert not spectra.mask[1:].any()
    zero_ivar = read_spectra(make(err=None), uncertainty=InverseVariance(np.zeros(FLUX.shape)), medium="air")
    assert zero_ivar.mask.all()


def test_integer_mask_argument_and_masked_array():
    """A data-quality array is a mask where it is not 0; numpy masked errors count too."""
    quality = np.zeros(FLUX.shape, dtype=np.uint8)
    quality[1, 7] = 4
    err = np.ma.array(ERR, mask=False)
    err[2, 9] = np.ma.masked
    spectra = read_spectra(make(err=None), uncertainty=err, mask=quality, medium="air")
    assert np.argwhere(spectra.mask).tolist() == [[1, 7], [2, 9]]


def test_mask_of_the_other_polarity_is_noticed():
    """A mask that marks nearly everything is likely meant the other way round."""
    from astropy import log

    with log.log_to_list() as said:
        read_spectra(make(mask=np.ones(FLUX.shape, dtype=bool)), medium="air")
    assert any("pass mask=~mask" in record.message for record in said)


def test_big_endian_and_memory_mapped(tmp_path):
    """Arrays as FITS files hold them."""
    big = FLUX.astype(">f8")
    big.tofile(tmp_path / "flux")
    mapped = np.memmap(tmp_path / "flux", dtype=">f8", mode="r", shape=FLUX.shape)
    spectrum = make(u.Quantity(mapped, FLUX_UNIT, copy=False), ERR.astype(">f4").astype(">f8"))
    assert_allclose(read_spectra(spectrum, medium="air").flux, FLUX)


def test_single_precision_stays_and_loses_nothing():
    """float32 of a cube is not doubled in memory; variances of 1e-38 survive the way to errors."""
    unit = 1e-20 * FLUX_UNIT
    spectrum = specutils.Spectrum(
        spectral_axis=WAVE_AA * u.AA,
        flux=u.Quantity((FLUX * 1e20).astype(np.float32), unit, dtype=np.float32),
        uncertainty=VarianceUncertainty(((ERR * 1e20) ** 2).astype(np.float32)),
    )
    spectra = read_spectra(spectrum, redshift=0.02, medium="air")
    assert spectra.flux.dtype == spectra.flux_err.dtype == np.float32
    check(spectra, rtol=1e-6)


def test_where_the_redshift_comes_from():
    """Argument, then the spectrum, then its metadata; a stored 0 is no redshift."""
    own = make()
    assert_allclose(read_spectra(own, redshift=0.05, medium="air").redshift, 0.05)
    assert_allclose(read_spectra(own, redshift=[0.0, 0.01, 0.02], medium="air").redshift, [0, 0.01, 0.02])
    moving = make(redshift=None, radial_velocity=3000 * u.km / u.s)
    assert_allclose(read_spectra(moving, medium="air").redshift, 0.010057, atol=1e-6)
    assert_allclose(read_spectra(make(redshift=None, meta={"redshift": 0.03}), medium="air").redshift, 0.03)
    with pytest.raises(SFHCNNError, match="give redshift="):
        read_spectra(make(redshift=None), medium="air")
    assert_allclose(read_spectra(make(redshift=None), redshift=0, medium="air").redshift, 0)


def test_redshifts_that_are_refused():
    """Velocities, numbers below -0.003, wrong lengths; one unknown redshift masks its own spectrum only."""
    with pytest.raises(SFHCNNError, match=r"below -0\.003"):
        read_spectra(make(), redshift=-0.01, medium="air")
    with pytest.raises(SFHCNNError, match="velocity"):
        read_spectra(make(), redshift=3000 * u.km / u.s, medium="air")
    with pytest.raises(SFHCNNError, match=r"shape \(2,\) for 3 spectra"):
        read_spectra(make(), redshift=[0.01, 0.02], medium="air")
    with pytest.raises(SFHCNNError, match="not finite"):
        read_spectra(make(), redshift=np.nan, medium="air")
    some = read_spectra(make(), redshift=[0.01, np.nan, 0.02], medium="air")
    assert some.mask.all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("meta", "medium"),
    [
        ({"medium": "vacuum"}, "vacuum"),
        ({"header": {"CTYPE3": "AWAV"}}, "air"),
        ({"header": {"CTYPE1": "WAVE-LOG"}}, "vacuum"),
        ({"header": {"CTYPE3": "WAVELENGTH"}}, "air"),  # CALIFA, mpdaf
        ({"header": {"VACUUM": 1}}, "vacuum"),  # SDSS
        ({"header": {"AIRORVAC": "air"}}, "air"),
    ],
)
def test_medium_from_the_metadata(meta, medium):
    """What header and metadata say decides; the argument overrides."""
    spectrum = make(meta=meta)
    spectra = read_spectra(spectrum)
    assert spectra.medium == medium
    assert_allclose(spectra.wave_aa, WAVE_AA if medium == "air" else vacuum_to_air(WAVE_AA))
    assert_allclose(read_spectra(spectrum, medium="air").wave_aa, WAVE_AA)


def test_medium_from_the_wcs():
    """A FITS WCS of type AWAV is in air."""
    wcs = WCS(naxis=1)
    wcs.wcs.ctype, wcs.wcs.cunit = ["AWAV"], ["Angstrom"]
    wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = [4800], [1.25], [1]
    spectrum = specutils.Spectrum(flux=np.ones(50) * FLUX_UNIT, wcs=wcs)
    spectra = read_spectra(spectrum, redshift=0.01)
    assert spectra.medium == "air"
    assert_allclose(spectra.wave_aa[:2], [4800, 4801.25])


def test_unknown_medium_is_air_and_said_once():
    """The default is logged the first time only."""
    from astropy import log

    adapters._tell_default_medium.cache_clear()
    with log.log_to_list() as said:
        assert read_spectra(make()).medium == "air"
        read_spectra(make())
    assert sum("air is taken" in record.message for record in said) == 1


def test_list_with_a_common_axis_is_a_stack():
    """A SpectrumList, or a plain list, of like spectra is what the two-dimensional Spectrum is."""
    members = [make(FLUX[i], ERR[i]) for i in range(3)]
    check(read_spectra(specutils.SpectrumList(members), medium="air"))
    check(read_spectra(members, medium="air", redshift=0.02))


def test_list_with_different_axes():
    """Each spectrum keeps its own axis; resampled, it is what it would be alone."""
    grid = WavelengthGrid(5000.0, 5.0, 300)
    members = [make(FLUX[0], ERR[0]), make(FLUX[1, :150], ERR[1, :150], WAVE_AA[:150] * u.AA, redshift=0.03)]
    spectra = read_spectra(members, medium="air")
    assert spectra.wave_aa.shape == (2, 200)
    assert spectra.mask[1, 150:].all()
    together = spectra.resample(grid)
    for i, member in enumerate(members):
        alone = read_spectra(member, medium="air").resample(grid)
        for many, one in zip(together, alone, strict=True):
            assert (many[i] == one[0]).all()


def test_filled_up_axes_stay_within_the_law_of_extinction():
    """A spectrum of coarse pixels in a list with one of fine ones."""
    fine, coarse = np.arange(4760, 8740, 1.0), np.arange(4760, 8740, 10.0)
    infrared = np.arange(8000, 29990, 20.0)
    members = [make(np.ones(len(wave)), None, wave * u.AA) for wave in (fine, coarse, infrared)]
    spectra = read_spectra(members, medium="air")
    assert galactic_extinction(spectra.wave_aa).shape == (3, len(fine))
    for wave, filled in zip((fine, coarse, infrared), spectra.wave_aa, strict=True):
        assert_allclose(filled[: len(wave)], wave)
        assert_allclose(pixel_edges(filled)[: len(wave) + 1], pixel_edges(wave))


def test_spectrum_collection():
    """A SpectrumCollection is a list."""
    collection = specutils.SpectrumCollection(
        flux=FLUX * FLUX_UNIT,
        spectral_axis=u.Quantity(np.tile(WAVE_AA, (3, 1)), u.AA),
        uncertainty=StdDevUncertainty(ERR),
    )
    check(read_spectra(collection, redshift=0.02, medium="air"))


def test_resample_many_redshifts():
    """Each spectrum is moved by its own redshift: a line lands at its rest wavelength."""
    grid, redshifts = WavelengthGrid(5000.0, 1.25, 400), np.array([0.0, 0.05, np.nan, 0.01])
    wave_aa = np.arange(4900.0, 6000.0, 1.25)
    centre = 5270 * (1 + np.nan_to_num(redshifts))
    flux = np.exp(-0.5 * ((wave_aa - centre[:, np.newaxis]) / 3) ** 2)
    spectrum = specutils.Spectrum(spectral_axis=wave_aa * u.AA, flux=flux * FLUX_UNIT)
    out, err, mask = read_spectra(spectrum, redshift=redshifts, medium="air").resample(grid)
    assert err is None
    assert mask.all(axis=1).tolist() == [False, False, True, False]
    known = [0, 1, 3]
    assert_allclose((out[known] @ grid.wave_aa) / out[known].sum(axis=1), 5270, atol=0.03)


def test_refusals():
    """Foreign classes, cubes, broken axes and odd uncertainties are named."""
    with pytest.raises(SFHCNNError, match="got ndarray"):
        read_spectra(FLUX)
    with pytest.raises(SFHCNNError, match="predict_cube"):
        read_spectra(make(np.ones((2, 2, 200)), None), medium="air")
    with pytest.raises(SFHCNNError, match="empty"):
        read_spectra([])
    with pytest.raises(SFHCNNError, match="StdDevUncertainty"):
        read_spectra(make(err=None), uncertainty=UnknownUncertainty(ERR), medium="air")
    with pytest.raises(SFHCNNError, match="all or none"):
        read_spectra([make(FLUX[0], ERR[0]), make(FLUX[1], None)], medium="air")
    with pytest.raises(SFHCNNError, match="uncertainty has 1 entries for 2"):
        read_spectra([make(FLUX[0], None), make(FLUX[1], None)], uncertainty=[ERR[0]], medium="air")
    with pytest.raises(SFHCNNError, match="medium must be"):
        read_spectra(make(), medium="water")


def test_one_unknown_redshift_of_a_list_is_a_bad_row_and_a_wrong_number_of_them_an_error():
    """As in a stack of spectra."""
    wave = np.linspace(5000, 6000, 20) * u.AA
    spectra = [specutils.Spectrum(spectral_axis=wave, flux=np.ones(20) * u.mJy) for _ in range(3)]
    read = read_spectra(spectra, redshift=[0.01, np.nan, 0.02], medium="air")
    assert read.mask.all(axis=1).tolist() == [False, True, False]
    with pytest.raises(SFHCNNError, match="redshift is not finite"):
        read_spectra(spectra, redshift=[np.nan] * 3, medium="air")
    with pytest.raises(SFHCNNError, match=r"shape \(2,\) for 3 spectra"):
        read_spectra(spectra, redshift=[0.01, 0.02], medium="air")
