"""predict_cube against spectra taken out of the cube by hand, in every way that a cube can come."""

import importlib.util
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.nddata import StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from specutils import Spectrum

from sfh_cnn.core import CoverageError, Flag, SFHCNNError
from sfh_cnn.photometry import load_bandpass
from sfh_cnn.prediction import cube as cube_module
from sfh_cnn.results import SFHMaps
from sfh_cnn.spectra import Cube, extract_aperture, open_cube, read_muse_cube

from .mock_cube import N_X, N_Y, REDSHIFT, WAVE_AA, make_mock_cube

UNIT = u.Unit("1e-20 erg / (s cm2 Angstrom)")
#: An untrained network gives A_V and the like of any size; numbers must agree as float32 arithmetic does.
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


@pytest.fixture(scope="module")
def maps(predictor, path, mock):
    """All spaxels, each at its own velocity."""
    return predictor.predict_cube(
        path, redshift=REDSHIFT, velocity=mock.velocity_kms * u.km / u.s, snr_cut=0, distance=10 * u.Mpc
    )


def alone(predictor, mock, y, x, redshift=REDSHIFT, **options):
    """One spaxel, or the sum of several, through `predict`."""
    y, x = np.atleast_1d(y), np.atleast_1d(x)
    spectrum = Spectrum(
        spectral_axis=WAVE_AA * u.AA,
        flux=mock.flux[:, y, x].sum(axis=1) * UNIT,
        uncertainty=StdDevUncertainty(np.sqrt((mock.error[:, y, x] ** 2).sum(axis=1))),
        meta={"medium": "air"},
    )
    return predictor.predict(spectrum, redshift=redshift, **options)


def assert_same_history(result, other):
    """Same numbers, same flags."""
    for name in ("mass_fraction", "q_metallicity", "q_a_v", "latent"):
        assert_allclose(result.arrays[name], other.arrays[name], **CLOSE)
    assert_array_equal(result.arrays["flags"], other.arrays["flags"])


@pytest.mark.parametrize(("y", "x"), [(4, 5), (0, 0), (8, 11), (3, 8)])
def test_a_spaxel_alone_and_in_its_cube_are_the_same(predictor, mock, maps, y, x):
    """Rotation included: each spaxel is taken to rest with its own velocity."""
    redshift = (1 + REDSHIFT) * (1 + mock.velocity_kms[y, x] / 299792.458) - 1
    single = alone(predictor, mock, y, x, redshift, distance=10 * u.Mpc)
    assert_same_history(maps[y, x], single)
    assert_allclose(maps.mass_formed[y, x].value, single.mass_formed.value, rtol=1e-3)
    assert maps.redshift[y, x].value == pytest.approx(redshift, abs=1e-12)


def test_maps_lie_on_the_sky_of_the_cube(maps, mock):
    """The celestial part of the WCS, and shapes as on the sky."""
    assert maps.mass_weighted_log_age.shape == (N_Y, N_X)
    assert maps.light_fraction.shape == (N_Y, N_X, 16)
    sky = WCS(mock.header).celestial
    assert_allclose(maps.wcs.wcs_pix2world([[3, 2]], 0), sky.wcs_pix2world([[3, 2]], 0))


def in_memory(mock):
    """The cube as a Spectrum of three axes."""
    return Spectrum(
        spectral_axis=WAVE_AA * u.AA,
        spectral_axis_index=0,
        flux=mock.flux.astype(np.float32) * UNIT,
        uncertainty=VarianceUncertainty((mock.error**2).astype(np.float32)),
        meta={"medium": "air"},
    )


@pytest.mark.parametrize("kind", ["Spectrum", "wavelength last", "arrays", "SpectralCube", "dask", "variance file"])
def test_all_classes_of_cubes_give_the_same_maps(predictor, mock, path, maps, kind, tmp_path):
    """Whatever the pixels come in."""
    variance = None
    if kind == "Spectrum":
        cube = in_memory(mock)
    elif kind == "wavelength last":
        cube = Spectrum(
            spectral_axis=WAVE_AA * u.AA,
            spectral_axis_index=2,
            flux=np.moveaxis(mock.flux, 0, -1) * UNIT,
            uncertainty=StdDevUncertainty(np.moveaxis(mock.error, 0, -1)),
            meta={"medium": "air"},
        )
    elif kind == "arrays":
        cube, variance = (mock.flux * UNIT, WCS(mock.header)), mock.error**2 * UNIT**2
    elif kind == "variance file":
        cube = str(tmp_path / "data.fits")
        fits.writeto(cube, mock.flux.astype(np.float32), mock.header)
        variance = path  # its STAT
    else:
        spectral_cube = pytest.importorskip("spectral_cube")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not understand the unit, and says so
            cube, variance = (
                spectral_cube.SpectralCube.read(path, hdu=name, use_dask=kind == "dask") for name in ("DATA", "STAT")
            )
    other = predictor.predict_cube(
        cube, variance, redshift=REDSHIFT, velocity=mock.velocity_kms * u.km / u.s, snr_cut=0, distance=10 * u.Mpc
    )
    assert_array_equal(other.bin_id, maps.bin_id)
    assert_same_history(other.result, maps.result)


@pytest.mark.parametrize("gap", [False, True])
def test_spaxels_are_handed_on_as_they_lie_in_the_cube(predictor, mock, path, monkeypatch, gap):
    """Turned from planes to spectra block by block in the cache, also where some of them are left out."""
    taken, spectra = [], Cube.spectra

    def spy(self, flux, *rest):
        taken.append(flux)
        return spectra(self, flux, *rest)

    monkeypatch.setattr(Cube, "spectra", spy)
    velocity = mock.velocity_kms.copy()
    if gap:
        velocity[4, 5] = np.nan
    maps = predictor.predict_cube(path, redshift=REDSHIFT, velocity=velocity * u.km / u.s, snr_cut=0)
    assert sum(map(len, taken)) == N_X * N_Y - gap
    assert all(flux.strides[0] < flux.strides[1] for flux in taken)
    assert_allclose(maps.result.redshift, (1 + REDSHIFT) * (1 + velocity[np.isfinite(velocity)] / 299792.458) - 1)


def test_bins_are_the_sums_of_their_spaxels(predictor, mock, path):
    """Sums of flux and variance, as by hand; the error grows by the correlation of neighbours."""
    bins = np.full((N_Y, N_X), -1)
    bins[2:7, 2:6], bins[0, 3:5], bins[7, 7] = 40, 7, 12
    maps = predictor.predict_cube(path, redshift=REDSHIFT, bins=bins)
    assert_array_equal(maps.bin_id, np.where(bins < 0, -1, np.searchsorted([7, 12, 40], bins)))
    for row, number in enumerate([7, 12, 40]):
        assert_same_history(maps.result[row], alone(predictor, mock, *np.nonzero(bins == number)))
    correlated = predictor.predict_cube(path, redshift=REDSHIFT, bins=bins, noise_correlation=1.5)
    assert_allclose(correlated.result.snr, maps.result.snr / [1.5, 1, 1.5], rtol=1e-5)
    by_size = predictor.predict_cube(path, redshift=REDSHIFT, bins=bins, noise_correlation=lambda n: 1 + np.log10(n))
    assert_allclose(by_size.result.snr, maps.result.snr / (1 + np.log10([2, 1, 20])), rtol=1e-5)


def test_a_pixel_lost_in_one_spaxel_of_a_bin_is_made_up_for(predictor, mock, tmp_path):
    """By the light of the other spaxels, where they are most of the bin."""
    quality = np.zeros(mock.flux.shape, dtype=np.int32)
    quality[100:120, 4, 5] = 1
    damaged = make_mock_cube()
    damaged.flux[100:120, 4, 5] = 1e6
    bins = np.full((N_Y, N_X), -1)
    bins[3:6, 4:7] = 0
    whole = predictor.predict_cube(mock.write(tmp_path / "a.fits"), redshift=REDSHIFT, bins=bins)
    part = predictor.predict_cube(damaged.write(tmp_path / "b.fits", DQ=quality), redshift=REDSHIFT, bins=bins)
    assert_allclose(part.result.mass_fraction.value, whole.result.mass_fraction.value, atol=0.01)
    assert_allclose(part.result.v_flux.value, whole.result.v_flux.value, rtol=0.01)


@pytest.mark.parametrize("binned", [False, True])
def test_stripes_do_not_show(predictor, mock, path, maps, monkeypatch, binned):
    """One row at a time gives what the whole cube gives, and each byte is read once."""
    options = {"redshift": REDSHIFT, "velocity": mock.velocity_kms * u.km / u.s, "distance": 10 * u.Mpc}
    bins = np.arange(N_Y * N_X).reshape(N_Y, N_X) % 5 if binned else None  # every bin in every row
    options |= {"bins": bins} if binned else {"snr_cut": 0}
    whole = predictor.predict_cube(path, **options)
    monkeypatch.setattr(cube_module, "_STRIPE_BYTES", 1)
    rows = []
    read = Cube.read
    monkeypatch.setattr(Cube, "read", lambda self, y0, y1, planes: rows.append((y0, y1)) or read(self, y0, y1, planes))
    striped = predictor.predict_cube(path, **options)
    assert rows == [(y, y + 1) for y in range(N_Y)]
    assert_same_history(striped.result, whole.result)


@pytest.mark.parametrize("binned", [False, True])
def test_a_stopped_run_goes_on(predictor, path, monkeypatch, tmp_path, binned):
    """Ctrl-C in the middle, then the same call: identical to the last bit, and what is done is not done again."""
    bins = np.repeat(np.arange(N_Y) // 2, N_X).reshape(N_Y, N_X) if binned else None
    options = {"redshift": REDSHIFT, "bins": bins, "snr_cut": 0}
    monkeypatch.setattr(cube_module, "_STRIPE_BYTES", 1)
    whole = predictor.predict_cube(path, output=tmp_path / "whole.fits", **options)
    read = Cube.read
    monkeypatch.setattr(Cube, "read", _stopping(read, 5))
    with pytest.raises(KeyboardInterrupt):
        predictor.predict_cube(path, output=tmp_path / "maps.fits", **options)
    assert not (tmp_path / "maps.fits").exists()
    assert (tmp_path / "maps.fits.parts").is_dir()
    with pytest.raises(SFHCNNError, match="other data or settings"):
        predictor.predict_cube(path, output=tmp_path / "maps.fits", calibration_error=0.02, **options)
    seen = []
    monkeypatch.setattr(Cube, "read", lambda self, y0, y1, planes: seen.append((y0, y1)) or read(self, y0, y1, planes))
    resumed = predictor.predict_cube(path, output=tmp_path / "maps.fits", **options)
    assert next(one for one in seen if one != (0, N_Y)) == ((4, 5) if binned else (5, 6))
    for key, value in whole.result.arrays.items():
        assert_array_equal(resumed.result.arrays[key], value, err_msg=key)
    assert not (tmp_path / "maps.fits.parts").exists()
    with pytest.raises(FileExistsError, match="overwrite"):
        predictor.predict_cube(path, output=tmp_path / "maps.fits", **options)


def _stopping(read, row):
    """Cube.read that is interrupted at a row."""

    def interrupted(self, y0, y1, planes):
        if (y0, y1) == (row, row + 1):
            raise KeyboardInterrupt
        return read(self, y0, y1, planes)

    return interrupted


def test_the_file_holds_the_maps(predictor, path, maps, mock, tmp_path):
    """To the last digit, with unit and WCS, and in order for the FITS standard."""
    output = tmp_path / "maps.fits"
    written = predictor.predict_cube(
        path,
        redshift=REDSHIFT,
        velocity=mock.velocity_kms * u.km / u.s,
        snr_cut=0,
        distance=10 * u.Mpc,
        output=output,
    )
    for one in (written, SFHMaps.read(output)):
        assert_same_history(one.result, maps.result)
        assert_array_equal(one.bin_id, maps.bin_id)
    with fits.open(output) as hdus:
        hdus.verify("exception")
        assert hdus["MASS_FORMED"].header["BUNIT"] == "solMass"
        assert_allclose(hdus["MASS_FORMED"].data, maps.mass_formed.value, rtol=1e-6)


def test_bad_and_faint_spaxels_are_left_out(predictor, tmp_path):
    """NaN and a flag for them; the others are as they were."""
    mock = make_mock_cube()
    mock.flux[:, 4, 4] = np.nan
    mock.error[:, 4, 5] = 0
    mock.flux[:, 4, 6] *= -1
    path = mock.write(tmp_path / "cube.fits")
    maps = predictor.predict_cube(path, redshift=REDSHIFT, snr_cut=0)
    left_out = np.zeros((N_Y, N_X), dtype=bool)
    left_out[4, 4:7] = True
    assert_array_equal(maps.bin_id < 0, left_out)
    assert np.isnan(maps.a_v[4, 4].value)
    assert np.all(maps.flags[left_out] == Flag.NO_DATA)
    assert_same_history(maps[4, 7], alone(predictor, mock, 4, 7))
    window = (WAVE_AA >= 5300) & (WAVE_AA <= 5500)
    snr = mock.flux[window].mean(axis=0) / 6
    bright = predictor.predict_cube(path, redshift=REDSHIFT, snr_cut=30)
    assert_array_equal(bright.bin_id >= 0, (snr >= 30) & ~left_out)
    with pytest.raises(SFHCNNError, match="lower snr_cut"):
        predictor.predict_cube(path, redshift=REDSHIFT, snr_cut=1000)


@pytest.mark.parametrize("wider", [1.0, 4.0])
def test_the_faintest_spaxels_are_those_of_the_training(predictor, path, wider):
    """The S/N of a network is that of its own pixels; four of a cube's in one have twice their S/N."""
    own_aa = (WAVE_AA[1] - WAVE_AA[0]) / (1 + REDSHIFT)
    contract = predictor.contract.replace(wave_step_aa=wider * own_aa)
    contract = contract.replace(domain={**contract.domain, "snr": (6.0, 200.0)})
    assert_allclose(cube_module._lowest_snr(contract, open_cube(path), REDSHIFT), 6.0 / wider**0.5, rtol=1e-6)


def test_bins_reach_the_signal_to_noise_asked_for(predictor, path):
    """The network sees it too; pixels of its grid are as wide as those of this cube."""
    maps = predictor.predict_cube(path, redshift=REDSHIFT, target_snr=100)
    assert 3 < maps.result.n_spec < 60
    assert (maps.bin_id >= 0).all()
    assert np.mean(maps.result.snr > 85) > 0.9


def test_bands_go_with_spaxels_and_bins(predictor, mock, path):
    """As in `predict` with photometry; outside the images bands are missing."""
    images = {band: tuple(part * UNIT for part in pair) for band, pair in mock.bands.items()}
    images["F438W"][0][:, :3] = np.nan
    maps = predictor.predict_cube(path, images=images, redshift=REDSHIFT, snr_cut=0)
    photometry = {band: tuple(part[4, 6] for part in pair) for band, pair in images.items()}
    assert_same_history(maps[4, 6], alone(predictor, mock, 4, 6, photometry=photometry))
    del photometry["F438W"]
    photometry["F814W"] = tuple(part[4, 1] for part in images["F814W"])
    assert_same_history(maps[4, 1], alone(predictor, mock, 4, 1, photometry=photometry))
    bins = np.full((N_Y, N_X), -1)
    bins[4, 5:8], bins[4, :3] = 0, 1
    binned = predictor.predict_cube(path, images=images, redshift=REDSHIFT, bins=bins)
    total = {band: (flux[4, 5:8].sum(), np.sqrt((error[4, 5:8] ** 2).sum())) for band, (flux, error) in images.items()}
    assert_same_history(binned.result[0], alone(predictor, mock, [4, 4, 4], [5, 6, 7], photometry=total))
    with pytest.raises(SFHCNNError, match="F999W"):
        predictor.predict_cube(path, images={"F999W": images["F814W"]}, redshift=REDSHIFT)
    flux, error = images["F814W"]
    with pytest.raises(SFHCNNError, match=r"images\['F814W'\] must be a pair of flux and error, got Quantity"):
        predictor.predict_cube(path, images={"F814W": flux[:2]}, redshift=REDSHIFT)
    with pytest.raises(u.UnitTypeError, match=r"images\['F814W'\] needs a unit"):
        predictor.predict_cube(path, images={"F814W": (flux.value, error.value)}, redshift=REDSHIFT)
    options = {"redshift": REDSHIFT, "snr_cut": 0}
    pivot = load_bandpass("F814W").pivot
    in_jy = tuple(part.to(u.Jy, u.spectral_density(pivot)) for part in (flux, error))
    one, other = (predictor.predict_cube(path, images={"F814W": pair}, **options) for pair in ((flux, error), in_jy))
    assert_allclose(other.mass_weighted_log_age.value, one.mass_weighted_log_age.value, rtol=1e-5)


def test_galactic_dust_is_taken_off_spectra_and_bands(predictor, mock, path):
    """As `predict` does, spaxel by spaxel and in bins; without it the answer is another."""
    images = {band: tuple(part * UNIT for part in pair) for band, pair in mock.bands.items()}
    photometry = {band: tuple(part[4, 6] for part in pair) for band, pair in images.items()}
    one = np.full((N_Y, N_X), -1)
    one[4, 6] = 0
    single = alone(predictor, mock, 4, 6, photometry=photometry, ebv=0.3)
    for options in ({"snr_cut": 0}, {"bins": one}):
        maps = predictor.predict_cube(path, images=images, redshift=REDSHIFT, ebv=0.3, **options)
        assert_same_history(maps[4, 6], single)
    without = alone(predictor, mock, 4, 6, photometry=photometry)
    assert np.abs(without.arrays["latent"] - single.arrays["latent"]).max() > 0.1
    assert without.v_flux / single.v_flux < 0.6


def test_files_of_phangs(predictor, mock, path, tmp_path):
    """Velocities and bins from one file of maps; spaxels without a velocity are left out."""
    velocity = mock.velocity_kms.copy()
    velocity[0] = np.nan
    bins = np.arange(N_Y * N_X).reshape(N_Y, N_X) // 4
    maps_file = tmp_path / "NGC0000_MAPS.fits"
    hdus = [fits.ImageHDU(velocity, name="V_STARS"), fits.ImageHDU(bins.astype(float), name="BIN_ID")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(maps_file)
    maps = predictor.predict_cube(path, redshift=REDSHIFT, velocity=maps_file, bins=maps_file)
    given = predictor.predict_cube(path, redshift=REDSHIFT, velocity=velocity * u.km / u.s, bins=bins)
    assert_same_history(maps.result, given.result)
    assert np.all(maps.bin_id[0] == -1)
    assert maps.redshift[3, 4].value == pytest.approx(
        (1 + REDSHIFT) * (1 + velocity[3, 4:8].mean() / 299792.458) - 1, abs=1e-9
    )


def test_a_cosmology_gives_one_distance(predictor, mock, path):
    """Rotation is no distance: that of the galaxy's redshift for all spaxels."""
    options = {"redshift": REDSHIFT, "velocity": mock.velocity_kms * u.km / u.s, "snr_cut": 0}
    maps = predictor.predict_cube(path, distance=Planck18, **options)
    same = predictor.predict_cube(path, distance=Planck18.luminosity_distance(REDSHIFT), **options)
    assert np.isfinite(maps.mass_formed).all()
    assert_array_equal(maps.mass_formed, same.mass_formed)
    with pytest.raises(SFHCNNError, match="no distance at redshift"):
        predictor.predict_cube(path, distance=Planck18, redshift=-0.001)


def test_a_velocity_that_is_none_costs_one_spaxel(predictor, mock, path, caplog):
    """A fit that ran away is no redshift."""
    velocity_kms = mock.velocity_kms.copy()
    velocity_kms[2, 3] = -9000.0
    maps = predictor.predict_cube(path, redshift=REDSHIFT, velocity=velocity_kms * u.km / u.s, snr_cut=0)
    assert "in 1 spaxels; they are left out" in caplog.text
    missing = np.isnan(maps.mass_weighted_log_age)
    assert missing[2, 3]
    assert missing.sum() == 1


@pytest.mark.parametrize("change", ["mask", "variance"])
def test_another_mask_or_variance_is_another_run(predictor, mock, path, monkeypatch, tmp_path, change):
    """Blocks that wait are not taken for those of a call that would give other numbers."""
    monkeypatch.setattr(cube_module, "_STRIPE_BYTES", 1)
    options = {"redshift": REDSHIFT, "snr_cut": 0, "output": tmp_path / "maps.fits"}
    monkeypatch.setattr(Cube, "read", _stopping(Cube.read, 5))
    with pytest.raises(KeyboardInterrupt):
        predictor.predict_cube(path, **options)
    some = np.zeros(mock.flux.shape, dtype=bool)
    some[20:160] = True
    more = {"mask": some} if change == "mask" else {"variance": (mock.error * (1 + some)) ** 2 * UNIT**2}
    with pytest.raises(SFHCNNError, match="other data or settings"):
        predictor.predict_cube(path, **more, **options)


def test_refusals(predictor, mock, path):
    """One line that says what to do."""
    with pytest.raises(SFHCNNError, match="redshift"):
        predictor.predict_cube(path)
    with pytest.raises(SFHCNNError, match="not both"):
        predictor.predict_cube(path, redshift=0.01, bins=np.zeros((N_Y, N_X), int), target_snr=10)
    with pytest.raises(SFHCNNError, match=r"bins has shape \(2, 2\)"):
        predictor.predict_cube(path, redshift=0.01, bins=np.zeros((2, 2), int))
    with pytest.raises(SFHCNNError, match="velocity has shape"):
        predictor.predict_cube(path, redshift=0.01, velocity=np.zeros(3) * u.km / u.s)
    with pytest.raises(u.UnitTypeError, match="velocity"):
        predictor.predict_cube(path, redshift=0.01, velocity=mock.velocity_kms)
    with pytest.raises(SFHCNNError, match="redshift is a velocity"):
        predictor.predict_cube(path, redshift=720 * u.km / u.s)
    with pytest.raises(SFHCNNError, match="noise_correlation"):
        predictor.predict_cube(path, redshift=0.01, noise_correlation=0.5)
    with pytest.raises(CoverageError, match="Angstrom"):
        predictor.predict_cube(path, redshift=0.9, snr_cut=0)
    with pytest.raises(FileNotFoundError, match="no cube"):
        predictor.predict_cube("nothing.fits", redshift=0.01)


def test_without_uncertainties_the_noise_is_that_of_the_spectra(predictor, mock, tmp_path):
    """Flagged, and near the truth."""
    fits.writeto(tmp_path / "cube.fits", mock.flux.astype(np.float32), mock.header)
    maps = predictor.predict_cube(tmp_path / "cube.fits", redshift=REDSHIFT, snr_cut=5)
    inside = maps.bin_id >= 0
    assert np.all(maps.flags[inside] & Flag.NO_UNCERTAINTY)
    assert inside[4, 5]
    assert open_cube(tmp_path / "cube.fits").noise is None
    snr = np.median(mock.flux[:, 4, 5]) / 6
    assert maps.snr[4, 5].value == pytest.approx(snr, rel=0.3)


@pytest.mark.skipif(importlib.util.find_spec("mpdaf") is None, reason="the real cube comes with mpdaf")
def test_the_real_minicube(predictor):
    """A bin of a real cube is the aperture of the same spaxels."""
    path = Path(importlib.util.find_spec("mpdaf").origin).parent / "data" / "sdetect" / "minicube.fits"
    maps = predictor.predict_cube(path, redshift=0.0857, target_snr=8)
    assert maps.result.n_spec > 5
    assert (maps.bin_id >= 0).mean() > 0.9
    cube = read_muse_cube(path)
    number = maps.bin_id[17, 21]
    aperture = extract_aperture(cube, maps.bin_id == number)
    by_hand = predictor.predict(aperture, redshift=0.0857)
    assert_allclose(maps.result.v_flux[number].value, by_hand.v_flux.value, rtol=0.01)
    assert_allclose(maps.result.snr[number], by_hand.snr, rtol=0.02)
