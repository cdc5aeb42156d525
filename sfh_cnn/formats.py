"""Formats of cubes that specutils does not know by itself: ``Spectrum.read(path, format="MUSE cube")``.

``import sfh_cnn`` is all it takes, before or after specutils, and it does not import specutils for it.
"""

from __future__ import annotations

import sys

__all__ = ["register_formats"]

#: The second is the same under the name of the survey; only the first is recognised without being named.
_FORMATS = ("MUSE cube", "PHANGS-MUSE")


def register_formats() -> None:
    """Register the formats with specutils: now, if it is there, or else when it is imported."""
    if "specutils" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _WhenImported())


class _WhenImported:
    """Watches for the import of specutils, once. Its loaders have no entry points that a package could use."""

    def find_spec(self, name, path=None, target=None):
        if name != "specutils":
            return None
        others = [finder for finder in sys.meta_path if not isinstance(finder, _WhenImported)]
        specs = (finder.find_spec(name, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                # Only now: who asks whether specutils is there finds it, too, and need not import it.
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register()

            spec.loader.exec_module = exec_module
        return spec


def _register():
    from specutils.io.registers import data_loader

    for name in _FORMATS:
        known = _is_muse_cube if name == _FORMATS[0] else _never
        data_loader(name, identifier=known, extensions=["fits"], priority=10, force=True)(_read)


def _read(file_obj, **_options):
    from sfh_cnn.spectra import read_muse_cube

    return read_muse_cube(file_obj)


def _is_muse_cube(_origin, *args, **kwargs):
    from specutils.io.parsing_utils import read_fileobj_or_hdulist

    with read_fileobj_or_hdulist(*args, **kwargs) as hdus:
        instruments = {hdus[0].header.get("INSTRUME"), hdus["DATA"].header.get("INSTRUME")}
        return "MUSE" in instruments and hdus["DATA"].header["NAXIS"] == 3


def _never(*_args, **_kwargs):
    return False
