"""Settings come from astropy's configuration system: a file of the user's, a session, a block of code."""

import os
import subprocess
import sys

import pytest

from sfh_cnn.core import conf


def test_defaults_ask_for_nothing_special():
    """Without a file: the processor, PyTorch's own threads, the first network."""
    assert (conf.device, conf.threads, conf.network) == ("cpu", 0, "")


def test_a_value_holds_inside_its_block():
    """The way of astropy to change a setting for a while."""
    with conf.set_temp("batch_size", 7):
        assert conf.batch_size == 7
    assert conf.batch_size == 512


def test_a_wrong_value_is_refused():
    """Threads are a number, and not a negative one."""
    with pytest.raises(TypeError, match="threads"), conf.set_temp("threads", -1):
        pass


def test_the_file_of_the_user_is_read(tmp_path):
    """In a process of its own, for astropy reads it once; the place is that which astropy's functions name."""
    folder = tmp_path / "config"
    (folder / "sfh_cnn").mkdir(parents=True)
    (folder / "sfh_cnn" / "sfh_cnn.cfg").write_text("device = cuda:1\nthreads = 3\n")
    code = "from sfh_cnn import conf; print(conf.device, conf.threads, conf.batch_size)"
    # An environment variable that astropy has long had: the folder that holds the packages' folders.
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["cuda:1", "3", "512"]


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path):
    """Batch systems have such homes; defaults hold and no file is written."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    environment = {**os.environ, "HOME": str(home)}
    code = "from sfh_cnn import conf; print(conf.device)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "cpu"
    # Folders do not count: astropy 7.0 makes its own where it can, and root can everywhere.
    assert [path for path in home.rglob("*") if path.is_file()] == []
