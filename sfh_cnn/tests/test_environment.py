"""What a pipeline counts on: no network, no stray files, no changed settings of the process, no surprise in its parts.

Each test has a process of its own; only there can all of it be seen.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import sfh_cnn

#: Where the package is imported from, whatever the folder of the process.
HOME_OF_PACKAGE = str(Path(sfh_cnn.__file__).parents[1])


def run_python(code, *arguments, cwd=None, **environment):
    """What a fresh process prints last, as JSON."""
    where = {"PYTHONPATH": HOME_OF_PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, **where, **environment},
        capture_output=True,
        check=False,
        cwd=cwd,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_asks_the_network():
    """Importing, loading, predicting and printing: not one attempt, not even one that fails silently."""
    code = """
        import importlib, json, pkgutil, socket

        attempts = []
        def refuse(*arguments, **options):
            attempts.append(str(arguments))
            raise OSError("there is no network")
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse

        import sfh_cnn
        for room in sfh_cnn.__all__:
            getattr(sfh_cnn, room)
        from sfh_cnn.cli.main import main
        main(["predict", "example", "--photometry", "example", "--json"], standalone_mode=False)
        main(["info"], standalone_mode=False)
        try:
            main(["predict", "http://127.0.0.1:9/galaxy.fits"], standalone_mode=False)
        except Exception as err:
            print(type(err).__name__)
        print(json.dumps(attempts))
    """
    assert run_python(code) == []


def _is_of_others(path):
    return bool({".astropy", "astropy", "matplotlib"} & set(path.parts))


def test_nothing_is_written_beside_the_output(tmp_path):
    """Fresh homes and folders for temporary files stay empty, but for empty caches of astropy and matplotlib.

    Python itself tries whether it may write to the folder of temporary files; specutils imports matplotlib.
    """
    places = {
        name: tmp_path / name for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR")
    }
    work = tmp_path / "work"
    for folder in (*places.values(), work):
        folder.mkdir()
    code = """
        import json, os, sys

        written = set()
        def watch(event, arguments):
            paths = ()
            if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
                paths = arguments[:1]
            elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link"):
                paths = arguments
            written.update(os.path.abspath(os.fsdecode(path)) for path in paths if isinstance(path, (str, bytes)))
        sys.addaudithook(watch)

        from sfh_cnn import SFHPredictor
        from sfh_cnn.examples import load_example_spectrum
        result = SFHPredictor.pretrained().predict(load_example_spectrum())
        result.draws(10)
        result.reconstruct()
        result.write("result.fits")
        print(json.dumps(sorted(written - {"/dev/null"})))
    """
    written = run_python(code, cwd=work, **{name: str(path) for name, path in places.items()})
    allowed = (work, places["TMPDIR"])
    stray = [path for path in map(Path, written) if path.parent not in allowed and not _is_of_others(path)]
    # astropy 7.0 makes an empty folder for the settings of each package
    assert [path for path in stray if not path.is_dir()] == []
    assert [path.name for path in work.iterdir()] == ["result.fits"]
    left = [path for folder in places.values() for path in folder.rglob("*") if path.is_file()]
    assert [path for path in left if not _is_of_others(path)] == []


def test_importing_and_predicting_change_no_setting_of_the_process():
    """Every module of the package is imported, after what it stands on, and a prediction is made."""
    code = """
        import importlib, json, locale, logging, multiprocessing, os, pkgutil, random, signal, sys, threading, warnings

        for name in ("astropy.table", "astropy.units", "astropy.io.fits", "astropy.cosmology", "scipy.interpolate",
                     "specutils", "torch", "rich.table", "click", "h5py", "lightning", "matplotlib.pyplot",
                     "dask.array", "distributed", "photutils.aperture", "regions", "reproject", "spectral_cube",
                     "dust_extinction", "glue"):
            try:
                importlib.import_module(name)
            except ImportError:
                pass
        import numpy as np
        import torch

        def state():
            now = {
                "warnings": list(map(str, warnings.filters)),
                "numpy errors": np.geterr(),
                "numpy print": {name: str(value) for name, value in np.get_printoptions().items()},
                "numpy random": str(np.random.get_state()),
                "python random": hash(random.getstate()),
                "torch random": torch.get_rng_state().tolist(),
                "torch": [str(torch.get_default_dtype()), torch.get_num_threads(), torch.get_num_interop_threads(),
                          torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
                          torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled],
                "logging": [logging.root.level, list(map(str, logging.root.handlers))],
                "locale": locale.setlocale(locale.LC_ALL),
                "environment": dict(os.environ),
                "signals": {str(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
                "hooks": [str(sys.excepthook), str(sys.displayhook), sys.getrecursionlimit()],
                "folder": os.getcwd(),
                "path": list(sys.path),
                "start method": multiprocessing.get_start_method(allow_none=True),
                "threads": [thread.name for thread in threading.enumerate()],
            }
            if "matplotlib" in sys.modules:
                now["matplotlib"] = str(sys.modules["matplotlib"].rcParams)
            return now

        def changed(before, after):
            return {name: [before[name], after[name]] for name in before if before[name] != after[name]}

        before = state()
        import sfh_cnn
        for module in pkgutil.walk_packages(sfh_cnn.__path__, "sfh_cnn."):
            if not {"tests", "conftest"} & set(module.name.split(".")):
                importlib.import_module(module.name)
        imported = state()

        from sfh_cnn.examples import load_example_spectrum
        result = sfh_cnn.SFHPredictor.pretrained().predict(load_example_spectrum())
        result.draws(10, seed=1)
        result.reconstruct()
        print(json.dumps([changed(before, imported), changed(imported, state())]))
    """
    by_import, by_predicting = run_python(code)
    assert by_import == {}
    assert by_predicting == {}


@pytest.mark.parametrize("n_thread", [1, 2])
def test_threads_are_as_many_as_the_user_says(n_thread):
    """By the environment, or by torch itself; nothing sets them back."""
    code = """
        import json, sys, torch
        from sfh_cnn import SFHPredictor
        from sfh_cnn.examples import load_example_spectrum
        seen = [torch.get_num_threads()]
        predictor = SFHPredictor.pretrained()
        predictor.predict(load_example_spectrum())
        seen.append(torch.get_num_threads())
        torch.set_num_threads(3 - seen[0])
        predictor.predict(load_example_spectrum())
        print(json.dumps([*seen, torch.get_num_threads()]))
    """
    assert run_python(code, OMP_NUM_THREADS=str(n_thread)) == [n_thread, n_thread, 3 - n_thread]


_POOL = """
import json
import multiprocessing
import sys

import numpy as np
from sfh_cnn import SFHPredictor
from sfh_cnn.examples import open_example_spectrum


def predict(predictor, ebv):
    result = predictor.predict(open_example_spectrum(), ebv=ebv)
    return [float(result.mass_weighted_log_age.value), *map(float, result.mass_fraction)]


if __name__ == "__main__":
    tasks = [(SFHPredictor.pretrained(), ebv) for ebv in (0.0, 0.2, 0.4)]
    here = [predict(*task) for task in tasks]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        there = pool.starmap_async(predict, tasks).get(timeout=120)
    print(json.dumps([here, there]))
"""


@pytest.mark.parametrize(("method", "n_thread"), [("fork", 2), ("spawn", 2)])
def test_a_predictor_goes_to_other_processes(tmp_path, method, n_thread):
    """After it was used here. A fork leaves the threads of OpenMP behind, and torch must not wait for them."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    script = tmp_path / "pool.py"
    script.write_text(_POOL)  # spawned processes import it by its path
    done = subprocess.run(
        [sys.executable, script, method],
        env={**os.environ, "PYTHONPATH": HOME_OF_PACKAGE, "OMP_NUM_THREADS": str(n_thread)},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    here, there = map(np.array, json.loads(done.stdout))
    assert_allclose(there, here, rtol=2e-3, atol=2e-4)
    assert np.ptp(here[:, 0]) > 0.005  # other reddening, other age


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux gives it")
def test_memory_grows_by_the_result_alone():
    """Four times as many spectra: their results, half as much again, and 64 MB at the most."""
    code = """
        import json, resource
        import astropy.units as u
        import numpy as np
        from sfh_cnn import SFHPredictor
        from sfh_cnn.examples import open_example_spectrum
        from sfh_cnn.spectra import PlainSpectrum

        one, predictor = open_example_spectrum(), SFHPredictor.pretrained()

        def peak(n):  # the input is one spectrum, seen n times
            shape = (n, one.flux.size)
            many = PlainSpectrum(
                spectral_axis=one.spectral_axis,
                flux=u.Quantity(np.broadcast_to(one.flux.value, shape), one.flux.unit, copy=False),
                redshift=one.redshift,
                spectral_axis_index=1,
                meta=one.meta,
            )
            error = np.broadcast_to(one.uncertainty.array, shape)
            result = predictor.predict(many, uncertainty=error, keep_spectra=False, progress_bar=False)
            assert np.ptp(result.mass_weighted_log_age.value) < 1e-3
            size = sum(array.nbytes for array in result.arrays.values())
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, size

        print(json.dumps([peak(4096), peak(16384)]))
    """
    (few, few_bytes), (many, many_bytes) = run_python(code)
    assert many - few < 1.5 * (many_bytes - few_bytes) + 64 * 1024**2
