"""predict_cube in a process of its own: interrupted by the system, and measured by it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

import sfh_cnn
from sfh_cnn.results import SFHMaps

from .mock_cube import REDSHIFT, make_mock_cube

ROOT = Path(sfh_cnn.__file__).parents[1]


def start(code, *arguments):
    """Start a Python process."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT between processes there")
def test_ctrl_c_leaves_a_run_that_goes_on(predictor, artifact_path, tmp_path):
    """SIGINT while it works: no output under its name, a line that says how to go on, and then the same maps."""
    make_mock_cube().write(tmp_path / "cube.fits")
    output = tmp_path / "maps.fits"
    process = start(
        """
        import signal, sys, time
        from sfh_cnn import SFHPredictor
        from sfh_cnn.prediction import cube
        from sfh_cnn.spectra import Cube
        cube._STRIPE_BYTES = 1
        read = Cube.read
        Cube.read = lambda *arguments: time.sleep(0.3) or read(*arguments)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
        predictor = SFHPredictor.from_file(sys.argv[1])
        predictor.predict_cube(sys.argv[2], redshift=float(sys.argv[3]), snr_cut=0, output=sys.argv[4])
        """,
        *(artifact_path, tmp_path / "cube.fits", REDSHIFT, output),
    )
    folder, patience = tmp_path / "maps.fits.parts", time.monotonic() + 300
    while not (folder / "block-00001.npz").exists() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=300)
    assert "KeyboardInterrupt" in messages
    assert process.returncode != 0
    assert not output.exists()
    blocks = {path.name: path.stat().st_mtime_ns for path in folder.glob("block-*.npz")}
    assert 2 <= len(blocks) < 9
    code = """
        import sys
        from sfh_cnn import SFHPredictor
        from sfh_cnn.prediction import cube
        cube._STRIPE_BYTES = 1
        predictor = SFHPredictor.from_file(sys.argv[1])
        predictor.predict_cube(sys.argv[2], redshift=float(sys.argv[3]), snr_cut=0, output=sys.argv[4])
    """
    for name in (output, tmp_path / "whole.fits"):
        again = start(code, artifact_path, tmp_path / "cube.fits", REDSHIFT, name)
        _, messages = again.communicate(timeout=300)
        assert again.returncode == 0, messages
    resumed, whole = SFHMaps.read(output), SFHMaps.read(tmp_path / "whole.fits")
    for key, value in whole.result.arrays.items():
        assert_array_equal(resumed.result.arrays[key], value, err_msg=key)
    assert resumed.result.meta["network_sha256"] == whole.result.meta["network_sha256"]


def write_sparse(path, n_y=300, n_x=300, n_wave=3681, rows=(140, 144)):
    """A cube of the size of a MUSE pointing, empty but for some rows; empty parts take no room on the disk."""
    header = fits.Header({"CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": 4749.9, "CRPIX3": 1.0, "CD3_3": 1.25})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CUNIT1": "deg"})
    header.update({"CUNIT2": "deg", "CD1_1": -5.6e-5, "CD2_2": 5.6e-5, "CRPIX1": 150.0, "CRPIX2": 150.0})
    header["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
    part = np.zeros((rows[1] - rows[0], n_x), dtype=">f4")
    rng = np.random.default_rng(0)
    with open(path, "wb") as stream:
        stream.write(fits.PrimaryHDU().header.tostring().encode())
        for name, level, scatter in (("DATA", 500.0, 10.0), ("STAT", 100.0, 0.0)):
            image = fits.ImageHDU(np.zeros((1, 1, 1), dtype="f4"), header, name=name).header
            image["NAXIS1"], image["NAXIS2"], image["NAXIS3"] = n_x, n_y, n_wave
            stream.write(image.tostring().encode())
            begin, plane = stream.tell(), n_y * n_x * 4
            for i in range(n_wave):
                part[:] = level + scatter * rng.standard_normal(part.shape, dtype="f4")
                stream.seek(begin + i * plane + rows[0] * n_x * 4)
                stream.write(part.tobytes())
            stream.truncate(begin + -(-n_wave * plane // 2880) * 2880)
            stream.seek(0, os.SEEK_END)


@pytest.mark.slow
@pytest.mark.parametrize("target_snr", [None, 500])
def test_a_cube_larger_than_its_share_of_memory(artifact_path, tmp_path, target_snr):
    """Of 2.65 GB of flux and variance, spaxels or bins, less than 1.3 are in memory as the system counts it."""
    path = tmp_path / "cube.fits"
    write_sparse(path)
    assert path.stat().st_size > 2.6e9
    process = start(
        """
        import json, resource, sys
        from sfh_cnn import SFHPredictor
        predictor = SFHPredictor.from_file(sys.argv[1])
        options = {"redshift": 0.001, "target_snr": json.loads(sys.argv[3]), "output": sys.argv[4]}
        maps = predictor.predict_cube(sys.argv[2], **options)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps([peak, maps.result.n_spec, maps.result.meta["seconds"]]))
        """,
        *(artifact_path, path, "null" if target_snr is None else target_snr, tmp_path / "maps.fits"),
    )
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    peak, n_spec, _ = json.loads(printed.splitlines()[-1])
    assert peak < 1.3e9
    # A spaxel has S/N 50, so that a bin needs a hundred of them.
    assert n_spec == 1200 if target_snr is None else 6 <= n_spec <= 12
