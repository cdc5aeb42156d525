"""``import sfh_cnn`` alone teaches specutils the cubes of MUSE, whichever is imported first."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import sfh_cnn

ROOT = Path(sfh_cnn.__file__).parents[1]


def in_fresh_process(code, *arguments):
    """Run code in a new interpreter and return the JSON that it prints last."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def cube_file(tmp_path_factory):
    """Two by three spaxels with INSTRUME of MUSE; one pixel is bad."""
    path = tmp_path_factory.mktemp("formats") / "cube.fits"
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT1": "deg", "CUNIT2": "deg",
            "CUNIT3": "Angstrom", "CRVAL1": 40.0, "CRVAL2": -10.0, "CRVAL3": 4750.0, "CRPIX3": 1.0, "CD3_3": 1.25,
            "CD1_1": -5.6e-5, "CD2_2": 5.6e-5, "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom",
        }
    )  # fmt: skip
    bad = np.zeros((20, 2, 3), dtype="i4")
    bad[3, 1, 1] = 1
    data, stat = np.ones((20, 2, 3), dtype="f4"), np.full((20, 2, 3), 4.0, dtype="f4")
    hdus = [fits.ImageHDU(data, header, name="DATA"), fits.ImageHDU(stat, header, name="STAT")]
    primary = fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MUSE"}))
    fits.HDUList([primary, *hdus, fits.ImageHDU(bad, name="DQ")]).writeto(path)
    return path


@pytest.mark.parametrize("order", ["sfh_cnn, specutils", "specutils, sfh_cnn", "sfh_cnn, specutils.io.registers"])
def test_the_formats_are_there_in_any_order(cube_file, order):
    """Named, recognised and listed; the cube as it is in the file; other classes of astropy are not disturbed."""
    seen = in_fresh_process(
        f"""
        import io, json, sys
        import {order}
        from specutils import Spectrum, SpectrumList
        from astropy.nddata import CCDData
        cubes = [Spectrum.read(sys.argv[1], format=name) for name in ("MUSE cube", "PHANGS-MUSE")]
        cubes += [Spectrum.read(sys.argv[1]), SpectrumList.read(sys.argv[1], format="MUSE cube")[0]]
        listed = io.StringIO()
        Spectrum.read.list_formats(listed)
        print(json.dumps({{
            "classes": [type(cube).__name__ for cube in cubes],
            "bad": [int(cube.mask.sum()) for cube in cubes],
            "shapes": [cube.shape for cube in cubes],
            "listed": [name in listed.getvalue() for name in ("MUSE cube", "PHANGS-MUSE")],
            "other": CCDData.read(sys.argv[1], hdu=1, unit="adu").shape,
            "hooks": sum(type(one).__module__ == "sfh_cnn.formats" for one in sys.meta_path),
        }}))
        """,
        cube_file,
    )
    assert seen["classes"] == ["Spectrum"] * 4
    assert seen["bad"] == [1] * 4
    assert seen["shapes"] == [[20, 2, 3]] * 4
    assert seen["listed"] == [True, True]
    assert seen["other"] == [20, 2, 3]
    assert seen["hooks"] == 0


def test_who_asks_for_specutils_takes_nothing_away(cube_file):
    """Looking for it, as many packages do before they import it, leaves the watch in place; more than one, too."""
    seen = in_fresh_process(
        """
        import importlib.util, json, sys
        import sfh_cnn
        from sfh_cnn.formats import register_formats
        register_formats()
        found = [importlib.util.find_spec(name) is not None for name in ("specutils", "specutils", "specutils.io")]
        from specutils import Spectrum
        print(json.dumps([found, Spectrum.read(sys.argv[1], format="MUSE cube").shape]))
        """,
        cube_file,
    )
    assert seen == [[True] * 3, [20, 2, 3]]


def test_the_import_is_light():
    """Neither specutils nor astropy is loaded for it, and the processor is busy for less than 0.1 s."""
    seen = in_fresh_process("""
        import json, sys, time
        begin = time.process_time()
        import sfh_cnn
        print(json.dumps({
            "seconds": time.process_time() - begin,
            "heavy": sorted({name.split(".")[0] for name in sys.modules} & {"specutils", "astropy", "numpy"}),
        }))
    """)
    assert seen["seconds"] < 0.1
    assert seen["heavy"] == []


def test_a_missing_specutils_is_told_as_ever():
    """The watch for it gets in nobody's way."""
    seen = in_fresh_process("""
        import json, sys
        import sfh_cnn
        sys.path[:] = [place for place in sys.path if place and "packages" not in place]
        try:
            import specutils
        except ImportError as err:
            print(json.dumps(str(err)))
    """)
    assert seen == "No module named 'specutils'"
