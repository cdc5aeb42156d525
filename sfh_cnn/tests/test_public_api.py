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


def functions_of(thing):
    """A public function, or the methods and properties of a public class, as they were written in this package."""
    members = [thing]
    if inspect.isclass(thing):
        members = [member for name, member in [*vars(thing).items()] if not name.startswith("_") or name == "__init__"]
    for member in members:
        for wrapper in ("__func__", "fget", "func"):  # of methods, properties and cached properties
            member = getattr(member, wrapper, member)
        function = inspect.unwrap(member) if callable(member) else member
        # what dataclass makes has no file; what is a dependency's is not ours to annotate
        if inspect.isfunction(function) and function.__code__.co_filename.startswith(sfh_cnn.__path__[0]):
            yield function


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_carry_types(room):
    """Every argument and every return value of what a room lists; mypy checks that they are right."""
    front_door = importlib.import_module(f"sfh_cnn.{room}")
    bare = {}
    for name in front_door.__all__:
        for function in functions_of(getattr(front_door, name)):
            expected = {*inspect.signature(function).parameters, "return"} - {"self", "cls"}
            if missing := expected - {*function.__annotations__}:
                bare[function.__qualname__] = missing
    assert bare == {}


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
