"""Mixtures of registered families: what star formation and metallicity priors have in common."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError, build_config

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Family", "FamilyRegistry", "choose_families", "log_range", "log_uniform", "uniform"]


@dataclasses.dataclass(frozen=True)
class Family:
    """Base of the built-in families: pairs of numbers are ranges and are checked as such."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_range = isinstance(value, tuple) and not all(isinstance(item, str) for item in value)
            if is_range and not (np.all(np.isfinite(value)) and value[0] <= value[1]):
                raise SFHCNNError(
                    f"{field.name} of {type(self).__name__} needs two finite numbers, low <= high, got {value}"
                )
            if is_range and "log" in field.metadata and value[0] <= 0:
                raise SFHCNNError(
                    f"{field.name} of {type(self).__name__} is drawn in log and needs numbers above 0, got {value}"
                )


class FamilyRegistry:
    """Families by name.

    Parameters
    ----------
    kind : str
        What the families are of, for error messages.
    """

    def __init__(self, kind):
        self.kind = kind
        self._classes = {}

    @property
    def names(self):
        """Names of all families, in the order of registration."""
        return tuple(self._classes)

    def __getitem__(self, name):
        return self._classes[self._known(name)]

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator that adds a dataclass with a ``draw`` method under ``name``.

        Raises
        ------
        SFHCNNError
            If the name is taken, or the class is no dataclass or has no ``draw``.
        """

        def add(cls):
            if name in self._classes:
                raise SFHCNNError(f"{self.kind} family {name!r} is registered already; choose another name")
            if not (dataclasses.is_dataclass(cls) and callable(getattr(cls, "draw", None))):
                raise SFHCNNError(f"{self.kind} family {name!r} must be a dataclass with a draw method, got {cls!r}")
            self._classes[name] = cls
            return cls

        return add

    def build(self, weights, parameters):
        """Check a mixture and make its families.

        Parameters
        ----------
        weights : dict of str to float
            Weight of each family, not normalised.
        parameters : dict of str to dict
            Parameters that differ from the defaults of a family.

        Returns
        -------
        dict
            Name to family, in the order of ``weights``.

        Raises
        ------
        SFHCNNError
            If a family or parameter is unknown, or the weights cannot be normalised.
        """
        values = np.array(list(weights.values()), dtype=float)
        if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values.sum() > 0):
            raise SFHCNNError(f"weights of {self.kind} families must be finite, >= 0 and not all 0, got {weights}")
        if unused := sorted(set(parameters) - set(weights)):
            raise SFHCNNError(f"parameters given for {self.kind} families without a weight: {', '.join(unused)}")
        return {
            name: build_config(parameters.get(name, {}), self[name], where=f"{self.kind} family {name}")
            for name in weights
        }

    def _known(self, name):
        if name not in self._classes:
            raise SFHCNNError(f"unknown {self.kind} family {name!r}; known families: {', '.join(self.names)}")
        return name


def choose_families(rng, n, weights):
    """Draw which family each of ``n`` histories belongs to.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    n : int
        Number of histories.
    weights : sequence of float
        Weights, not normalised.

    Returns
    -------
    ndarray of int, shape (n,)
        Position in ``weights``.
    """
    share = np.cumsum(weights) / np.sum(weights)
    return np.searchsorted(share, rng.random(n), side="right")


def log_range(low, high):
    """Default of a family's parameter that is a range for `log_uniform`: both ends must be positive."""
    return dataclasses.field(default=(low, high), metadata={"log": True})


def uniform(rng, bounds, n):
    """Even draws between two bounds, shape (n, 1)."""
    return rng.uniform(*bounds, size=(n, 1))


def log_uniform(rng, bounds, n):
    """Draws even in the logarithm between two positive bounds, shape (n, 1)."""
    return np.exp(rng.uniform(*np.log(bounds), size=(n, 1)))
