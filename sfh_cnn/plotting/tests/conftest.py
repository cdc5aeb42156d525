"""Figures are drawn without a screen and closed after each test."""

import pytest


@pytest.fixture(autouse=True)
def plt():
    """Matplotlib's pyplot on a backend without a screen."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")
