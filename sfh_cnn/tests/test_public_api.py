"""What every public name owes its user: it exists, and its docstring describes the signature that it has."""

import importlib
import inspect
import pkgutil
import re

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

import sfh_cnn

ROOMS = [module.name for module in pkgutil.iter_modules(sfh_cnn.__path__) if module.name not in ("conftest", "tests")]
ROOMS = [name for name in ROOMS if not name.startswith("_")]


def public_objects(room):
    """Name, thing and parameters of every public function, class and method of a room."""
    front_door = importlib.import_module(f"sfh_cnn.{room}")
    for name in front_door.__all__:
        thing = getattr(front_door, name)
        if inspect.isfunction(thing):
            yield name, thing, [*inspect.signature(thing).parameters]
        if not inspect.isclass(thing):
            continue
        # an exception takes a message and has no signature of its own
        yield name, thing, [] if issubclass(thing, BaseException) else [*inspect.signature(thing).parameters]
        for method, member in vars(thing).items():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and not method.startswith("_"):
                first = 0 if isinstance(member, staticmethod) else 1  # self or cls is not documented
                yield f"{name}.{method}", function, [*inspect.signature(function).parameters][first:]


@pytest.mark.parametrize("room", ROOMS)
def test_the_front_door_lists_what_exists_once(room):
    """``__all__`` names things that are there, none of them private or twice."""
    front_door = importlib.import_module(f"sfh_cnn.{room}")
    assert len(front_door.__all__) == len(set(front_door.__all__))
    for name in front_door.__all__:
        assert not name.startswith("_")
        assert hasattr(front_door, name)


@pytest.mark.parametrize("name", sfh_cnn.__all__)
def test_the_names_of_daily_use_are_at_the_top(name):
    """``from sfh_cnn import SFHPredictor`` works, although the package loads it only then."""
    assert getattr(sfh_cnn, name) is not None
    assert name in dir(sfh_cnn)


def test_an_unknown_name_is_an_attribute_error():
    """A typing error is told as Python tells it."""
    with pytest.raises(AttributeError, match="no attribute 'SFHPredicter'"):
        sfh_cnn.SFHPredicter  # noqa: B018


@pytest.mark.parametrize("thing", ["AgeGrid", "SFHMaps", "SFHPredictor", "SFHResult", "SSPLibrary", "citation"])
def test_names_of_daily_use_carry_types(thing):
    """Every argument and every return value; mypy checks that they are right."""
    public = getattr(sfh_cnn, thing)
    functions = [public] if inspect.isfunction(public) else [public.__init__]
    for name, member in vars(public).items() if inspect.isclass(public) else ():
        if not name.startswith("_"):
            functions.append(getattr(member, "fget", getattr(member, "func", getattr(member, "__func__", member))))
    for function in filter(inspect.isfunction, functions):
        if function.__code__.co_filename == "<string>":
            continue  # made by dataclass
        names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
        assert set(function.__annotations__) == {*names, "return"}, function.__qualname__


def test_types_are_those_of_plotting_functions_too():
    """A figure or a dictionary of artists, from a result and an axes."""
    from sfh_cnn import plotting

    for name in plotting.__all__:
        if name.startswith("plot_") and name not in ("plot_style", "plot_viewer"):
            assert "return" in getattr(plotting, name).__annotations__, name


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_describe_the_signature(room):
    """There is a docstring; if it lists parameters, they are those of the signature, in its order."""
    wrong = {}
    for name, thing, parameters in public_objects(room):
        described = (ClassDoc if inspect.isclass(thing) else FunctionDoc)(thing)
        listed = [name for parameter in described["Parameters"] for name in re.findall(r"\w+", parameter.name)]
        if not inspect.getdoc(thing) or (listed and listed != parameters):
            wrong[name] = f"described {listed}, the signature has {parameters}"
    assert wrong == {}
