"""Tables that are written some rows at a time are those that astropy writes, to the last byte."""

import gzip
import itertools

import numpy as np
import pytest
from astropy.io import fits

from sfh_cnn.results.fits_stream import open_stream, table_header, write_hdu, write_table

RNG = np.random.default_rng(3)
N = 300
COLUMNS = {
    "double": RNG.normal(size=N),
    "single": RNG.normal(size=(N, 3)).astype("f4"),
    "cube": RNG.normal(size=(N, 4, 2)),
    "short": np.arange(N, dtype="i2"),
    "integer": np.arange(2 * N, dtype="i4").reshape(N, 2),
    "long": np.arange(N, dtype="i8") << 40,
    "truth": RNG.random((N, 5)) < 0.5,
    "text": np.array([b"spectrum", b"of a"] * (N // 2)),
}
CODES = {"double": "1D", "single": "3E", "cube": "8D", "short": "1I", "integer": "2J", "long": "1K", "truth": "5L"}


def by_astropy(path, image):
    """The same file by astropy's own writer."""
    columns = [
        fits.Column(
            name,
            CODES.get(name, "8A"),
            unit="Gyr" if name == "double" else None,
            array=value,
            dim="(2,4)" if name == "cube" else None,
        )
        for name, value in COLUMNS.items()
    ]
    table = fits.BinTableHDU.from_columns(columns, name="TABLE")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="IMAGE"), table]).writeto(path)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_the_file_is_the_one_that_astropy_writes(tmp_path, suffix):
    """Numbers, truths, text and an image, in one piece or in blocks of unequal size."""
    image = RNG.normal(size=(5, 7)).astype("f4")
    by_astropy(tmp_path / "astropy.fits", image)
    header = table_header(COLUMNS, {"double": "Gyr"}, "TABLE")
    for ends in ([0, N], [0, 1, 200, N]):
        path = tmp_path / f"stream{len(ends)}{suffix}"
        with open_stream(path) as stream:
            write_hdu(stream, fits.ImageHDU(image, name="IMAGE"))
            pieces = itertools.pairwise(ends)
            write_table(stream, header, [{key: value[a:b] for key, value in COLUMNS.items()} for a, b in pieces])
        content = path.read_bytes()
        content = gzip.decompress(content) if suffix.endswith("gz") else content
        assert content == (tmp_path / "astropy.fits").read_bytes()
