"""Files give back what was written, to the last bit, and refuse what is not theirs."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits, registry
from astropy.table import QTable, Table
from numpy.testing import assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.results import SFHResult

from .helpers import make_contract, make_result


def assert_same(left, right):
    """Same arrays, dtypes, contract and record."""
    assert left.contract == right.contract
    assert left.meta == right.meta
    assert left.scalar == right.scalar
    for one, other in ((left.arrays, right.arrays), (left.spectra or {}, right.spectra or {})):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert value.dtype == other[key].dtype, key
            assert_array_equal(value, other[key], err_msg=key)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".ecsv", ".asdf"])
@pytest.mark.parametrize("scalar", [False, True])
def test_round_trip_to_the_last_digit(tmp_path, suffix, scalar):
    """Write, read, compare every stored array bit by bit; NaN, float32 and masks included."""
    if suffix == ".asdf":
        pytest.importorskip("asdf")
    result = make_result(1 if scalar else 3, scalar=scalar, engine=False)
    result.arrays["q_a_v"][0, 2] = np.nan
    path = tmp_path / f"result{suffix}"
    result.write(path)
    assert_same(SFHResult.read(path), result)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_formats_are_those_of_astropys_registry(tmp_path):
    """Formats can be named, listed, and added by others."""
    result = make_result(2, engine=False)
    result.write(tmp_path / "odd.name", format="ecsv")
    assert_same(SFHResult.read(tmp_path / "odd.name", format="ecsv"), result)
    assert set(registry.get_formats(SFHResult)["Format"]) == {"fits", "ecsv", "asdf"}
    with pytest.raises(SFHCNNError, match="format= be one of asdf, ecsv, fits"):
        result.write(tmp_path / "x.fits", format="hdf5")
    registry.register_writer("ages", SFHResult, lambda one, path, *_: np.savetxt(path, one.a_v.value))
    try:
        result.write(tmp_path / "ages.txt", format="ages")
    finally:
        registry.unregister_writer("ages", SFHResult)
    assert_array_equal(np.loadtxt(tmp_path / "ages.txt"), result.a_v.value)


def test_contract_survives_the_journey_whole(tmp_path):
    """Tuples and nested records of the contract come back equal enough to compare."""
    result = make_result(2)
    result.write(tmp_path / "a.fits")
    back = SFHResult.read(tmp_path / "a.fits")
    assert back.age_grid == result.age_grid
    assert back.contract.to_json() == result.contract.to_json()


@pytest.mark.parametrize("suffix", [".fits", ".ecsv"])
def test_stored_draws_and_reconstruction_work_without_the_network(tmp_path, suffix):
    """draws=N stores draws; the reconstruction rides with the spectra; slices keep both."""
    result = make_result()
    path = tmp_path / f"result{suffix}"
    result.write(path, draws=64)
    back = SFHResult.read(path)
    assert back.engine is None
    want = np.sort(result.draws(64, seed=0).a_v.value.astype(np.float32), axis=1)
    assert_array_equal(np.sort(back.draws(64).a_v.value, axis=1), want)
    assert back[1].draws(10).mass_fraction.shape == (10, 16)
    assert np.all(np.isfinite(back.interval("t50")[0].value))
    assert_array_equal(back[1].reconstruct().flux.value, result[1].reconstruct().flux.value)
    with pytest.raises(SFHCNNError, match="65 draws were asked and this result stores 64"):
        back.draws(65)


def test_spectra_can_be_left_out(tmp_path):
    """spectra=False makes a small file; everything else is there."""
    result = make_result()
    result.write(tmp_path / "small.fits", spectra=False)
    back = SFHResult.read(tmp_path / "small.fits")
    assert back.spectra is None
    assert_array_equal(back.mass_formed.value, result.mass_formed.value)


def test_network_without_bands(tmp_path):
    """Arrays of no width survive."""
    base = make_result(2, engine=False)
    contract = make_contract(bands=(), band_pivots_aa=())
    spectra = {**base.spectra, "band_flux": np.empty((2, 0)), "band_flux_err": np.empty((2, 0))}
    result = SFHResult(contract, base.arrays, spectra=spectra)
    for suffix in (".fits", ".ecsv"):
        result.write(tmp_path / f"x{suffix}")
        assert_same(SFHResult.read(tmp_path / f"x{suffix}"), result)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".ecsv", ".asdf"])
@pytest.mark.parametrize("spectra", [False, True])
def test_no_spectra_at_all(tmp_path, suffix, spectra):
    """A selection that nothing fulfils is written and read like any other."""
    if suffix == ".asdf":
        pytest.importorskip("asdf")
    result = make_result(3, engine=False, spectra=spectra)[:0]
    result.write(tmp_path / f"none{suffix}")
    assert_same(SFHResult.read(tmp_path / f"none{suffix}"), result)


def test_files_speak_to_other_tools(tmp_path):
    """Units and names are readable with plain astropy, without this package."""
    result = make_result()
    result.write(tmp_path / "x.fits")
    result.write(tmp_path / "x.ecsv")
    with fits.open(tmp_path / "x.fits") as hdus:
        summary = hdus["SUMMARY"]
        assert summary.columns["mass_formed"].unit == "solMass"
        assert summary.columns["mass_weighted_log_age"].unit == "dex(yr)"
        assert_array_equal(summary.data["mass_weighted_age"], result.mass_weighted_age.value)
        assert summary.header["IMF"] == "Kroupa"
    table = QTable.read(tmp_path / "x.ecsv")
    assert table["q_mass_weighted_log_age"].unit == u.dex(u.yr)
    assert table["v_flux"].unit == u.erg / u.s / u.cm**2 / u.AA


def test_existing_file_is_kept_unless_asked(tmp_path):
    """overwrite=False refuses and leaves the file alone."""
    path = tmp_path / "x.fits"
    make_result(2).write(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_result(3).write(path)
    assert path.read_bytes() == before
    make_result(3).write(path, overwrite=True)
    assert len(SFHResult.read(path)) == 3


def test_foreign_files_are_refused_clearly(tmp_path):
    """Not a result, another version, not a file, no known suffix."""
    fits.PrimaryHDU(np.zeros(3)).writeto(tmp_path / "image.fits")
    with pytest.raises(SFHCNNError, match="holds no sfh_cnn result"):
        SFHResult.read(tmp_path / "image.fits")
    Table({"a": [1]}).write(tmp_path / "other.ecsv")
    with pytest.raises(SFHCNNError, match="not an sfh_cnn result"):
        SFHResult.read(tmp_path / "other.ecsv")
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE nonsense")
    with pytest.raises(SFHCNNError, match=r"broken\.fits is no result of sfh_cnn, or it is damaged"):
        SFHResult.read(tmp_path / "broken.fits")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        SFHResult.read(tmp_path / "nowhere.fits")
    with pytest.raises(SFHCNNError, match=r"should end in one of \.fits"):
        make_result(1).write(tmp_path / "x.csv")
    make_result(1).write(tmp_path / "old.ecsv")
    text = (tmp_path / "old.ecsv").read_text()
    assert "version: '1'" in text
    (tmp_path / "old.ecsv").write_text(text.replace("version: '1'", "version: '0'"))
    with pytest.raises(SFHCNNError, match="result format 0"):
        SFHResult.read(tmp_path / "old.ecsv")
