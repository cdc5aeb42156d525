"""The page that shows a prior."""

import dataclasses

import numpy as np
import pytest

from sfh_cnn.synthesis import MetallicityPrior, SFHPrior, preview


@pytest.mark.slow
def test_preview_shows_the_prior_it_is_given(tmp_path, small_config, toy):
    """Same prior and seed: same picture; another seed: another picture; never over an existing file."""
    image = pytest.importorskip("matplotlib.image")
    config = dataclasses.replace(small_config, sfh=SFHPrior({"constant": 1}), metallicity=MetallicityPrior({"flat": 1}))

    def picture(name, seed):
        path = tmp_path / name
        preview(dataclasses.replace(config, seed=seed), path, n_prior=50, n_example=2, libraries=[toy])
        return image.imread(path)

    first = picture("a.png", 1)
    assert np.array_equal(first, picture("b.png", 1))
    assert not np.array_equal(first, picture("c.png", 2))


def test_preview_draws_a_page_and_keeps_what_is_there(tmp_path, small_config, toy):
    """A prior of all families fits on the page, one without bands and full of noise does, too."""
    image = pytest.importorskip("matplotlib.image")
    observation = dataclasses.replace(small_config.observation, snr_range=(3.0, 5.0), no_bands_share=1.0)
    config = dataclasses.replace(small_config, observation=observation)
    path = tmp_path / "page.png"
    preview(config, path, n_prior=50, n_example=1, libraries=[toy])
    page = image.imread(path)
    assert np.std(page[..., :3], axis=(0, 1)).min() > 0.05  # not blank
    with pytest.raises(FileExistsError, match="overwrite"):
        preview(config, path, libraries=[toy])
    assert np.array_equal(image.imread(path), page)
