"""Files that a disk, a network or a joker spoilt: what was written, or SFHCNNError, OSError or an error of units."""

import random

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from hypothesis import given
from hypothesis import strategies as st

from sfh_cnn import SFHPredictor, SFHResult
from sfh_cnn.core import SFHCNNError, load_config
from sfh_cnn.examples import load_example_spectrum
from sfh_cnn.spectra import is_cube_file, open_cube, open_spectrum_file, read_spectra, read_spectrum_file
from sfh_cnn.training import RunConfig

from .fuzz import bounded
from .small import write_small_artifact

#: What the documentation of the readers names.
DOCUMENTED = (SFHCNNError, OSError, u.UnitsError)
#: Bytes that mean something to FITS, YAML or TOML.
PLANTED = [
    *(b"\xff\xfe", b"\x00", b"\r", b'"', b"'", b"NaN", b"1e999", b"-", b"&a *a ", b"[[", b"\n[training]\n"),
    b'!!python/object/apply:os.mkdir ["owned"]',
    b"\n# - {name: x, datatype: object}\n",
]

pytestmark = pytest.mark.filterwarnings("ignore")  # astropy has much to say about such files


def image_header(n_axis):
    """Of a spectrum or a cube, as MUSE has them."""
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"} if n_axis == 3 else {}
    header |= {f"CTYPE{n_axis}": "AWAV", f"CUNIT{n_axis}": "Angstrom", f"CRVAL{n_axis}": 4750.0}
    header |= {f"CDELT{n_axis}": 4.0, f"CRPIX{n_axis}": 1.0, "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom"}
    return fits.Header(header)


def images(path, data):
    """DATA, STAT and DQ."""
    header = image_header(data.ndim)
    parts = {"DATA": data, "STAT": np.ones_like(data), "DQ": np.zeros(data.shape, "i4")}
    hdus = [fits.ImageHDU(part, header, name=name) for name, part in parts.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


def read_spectrum(path):
    """As users do, and as ``sfh-cnn predict`` does."""
    if not is_cube_file(path):
        read_spectrum_file(path)
        read_spectra(open_spectrum_file(path), redshift=0.08)


def read_cube(path):
    """Its pixels too."""
    cube = open_cube(path)
    cube.read(0, cube.shape[1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good file of each kind, with its reader."""
    folder = tmp_path_factory.mktemp("good")
    spectrum = load_example_spectrum()
    columns = {"wavelength": spectrum.wavelength, "flux": spectrum.flux, "error": spectrum.uncertainty.quantity}
    columns = {name: u.Quantity(column)[:300] for name, column in columns.items()}
    QTable(columns, meta={"redshift": 0.08, "medium": "air"}).write(folder / "table.ecsv")
    QTable(columns).write(folder / "table.fits")
    QTable({name: column[np.newaxis] for name, column in columns.items()}).write(folder / "eso.fits")
    sdss = {"loglam": np.log10(columns["wavelength"].value), "flux": columns["flux"].value, "ivar": np.ones(300)}
    table = fits.BinTableHDU.from_columns([fits.Column(name, "E", array=value) for name, value in sdss.items()])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(folder / "sdss.fits")
    images(folder / "muse.fits", columns["flux"].value)
    images(folder / "cube.fits", np.ones((40, 3, 3), "f4"))
    result = SFHPredictor.from_file(write_small_artifact(folder / "small.pt")).predict(spectrum, keep_spectra=False)
    result.write(folder / "result.fits")
    result.write(folder / "result.ecsv")
    text = '[training]\nseed = 3\nbatch_size = 64\nchunk_size = 128\n[synthesis]\nname = "x"\nlibraries = ["toy"]\n'
    (folder / "run.toml").write_text(text + "[synthesis.observation]\nsnr_range = [3.0, 200.0]\n")
    readers = dict.fromkeys(("table.ecsv", "table.fits", "eso.fits", "sdss.fits", "muse.fits"), read_spectrum)
    readers |= {"cube.fits": read_cube, "run.toml": lambda path: load_config(path, RunConfig)}
    readers |= {f"result.{suffix}": lambda path: SFHResult.read(path).to_table() for suffix in ("fits", "ecsv")}
    return {name: (folder / name, reader) for name, reader in readers.items()}


def spoil(data, rng):
    """Cut, flip bits, lose a block, change the header, or plant something."""
    data, kind = bytearray(data), rng.choice(["cut", "flip", "lose", "header", "plant"])
    where = rng.randrange(len(data))
    if kind == "cut":
        del data[where:]
    elif kind == "flip":
        for _ in range(rng.choice([1, 5, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "lose":
        data[where : where + 200] = bytes(len(data[where : where + 200]))
    elif kind == "header":
        for _ in range(rng.choice([1, 3])):
            data[rng.randrange(min(len(data), 6 * 2880))] = rng.choice(b"0123456789 '=/TFADEJKB-ex\xff\n\x00")
    else:
        where %= 4000
        data[where:where] = rng.choice(PLANTED)
    return bytes(data)


@pytest.mark.parametrize(
    "name",
    [
        *("table.ecsv", "table.fits", "eso.fits", "sdss.fits", "muse.fits", "cube.fits"),
        *("result.fits", "result.ecsv", "run.toml"),
    ],
)
def test_good_files_are_read(files, name):
    """Otherwise what follows would show nothing."""
    path, reader = files[name]
    reader(path)


@bounded
@given(seed=st.integers(0, 2**32))
def test_spoilt_files_are_read_or_refused(files, tmp_path_factory, seed):
    """No other exception comes out, and nothing is done that a file says."""
    folder = tmp_path_factory.mktemp("spoilt")
    rng = random.Random(seed)
    for name, (path, reader) in files.items():
        spoilt = folder / name
        spoilt.write_bytes(spoil(path.read_bytes(), rng))
        try:
            reader(spoilt)
        except DOCUMENTED as err:
            if isinstance(err, SFHCNNError) and len(str(err)) < 10:
                raise
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
