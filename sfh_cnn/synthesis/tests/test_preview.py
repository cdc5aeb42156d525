"""The page that shows a prior."""

import types

import numpy as np
import pytest

from sfh_cnn.core import AgeGrid
from sfh_cnn.synthesis.amr_prior import MetallicityPrior
from sfh_cnn.synthesis.preview import preview
from sfh_cnn.synthesis.sfh_prior import SFHPrior


def picture(tmp_path, name, families, seed):
    """A small preview as pixels."""
    image = pytest.importorskip("matplotlib.image")
    config = types.SimpleNamespace(
        sfh=SFHPrior(families), metallicity=MetallicityPrior({"flat": 1}), age_grid=AgeGrid.default(), seed=seed
    )
    preview(config, tmp_path / name, n_prior=200, n_example=2)
    return image.imread(tmp_path / name)


def test_preview_shows_the_prior_it_is_given(tmp_path):
    """Same prior and seed: same picture; another seed: another picture; never over an existing file."""
    first = picture(tmp_path, "a.png", {"constant": 1}, 1)
    assert np.array_equal(first, picture(tmp_path, "b.png", {"constant": 1}, 1))
    assert not np.array_equal(first, picture(tmp_path, "c.png", {"constant": 1}, 2))
    with pytest.raises(FileExistsError, match="overwrite"):
        picture(tmp_path, "a.png", {"constant": 1}, 1)
