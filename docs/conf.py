"""Configuration of the documentation, on top of the settings that astropy packages share."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import extensions, intersphinx_mapping

import sfh_cnn

sys.path.insert(0, str(Path(__file__).parent))
extensions += ["package_tables", "sphinx_gallery.gen_gallery"]

project = "sfh_cnn"
author = "sfh_cnn developers"
copyright = f"{datetime.now(UTC).year}, {author}"
release = sfh_cnn.__version__
version = release.split("+")[0]

# Links into other projects' pages need their inventories, hence the network. Without it the pages must
# build all the same, so they are fetched only where asked for, and references to other projects are
# then checked too.
if os.environ.get("READTHEDOCS") == "True" or "SFH_CNN_DOCS_INTERSPHINX" in os.environ:
    del intersphinx_mapping["pythonloc"], intersphinx_mapping["astropy.org"]
    intersphinx_mapping |= {
        "photutils": ("https://photutils.readthedocs.io/en/stable/", None),
        "specutils": ("https://specutils.readthedocs.io/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }
else:
    intersphinx_mapping.clear()

# A reference to a name of this package must lead somewhere; those into other packages need the inventories.
nitpicky = True
nitpick_ignore = [("py:class", "sfh_cnn.results.derived.DerivedQuantities")]  # private; its members are listed
nitpick_ignore_regex = [] if intersphinx_mapping else [("py:.*", r"(?!sfh_cnn\.).*")]

# The diagrams need graphviz and say little here: hardly a class has a parent.
automodapi_inheritance_diagram = False
automodsumm_inherited_members = False
numpydoc_xref_param_type = False
# The docstrings say more about types than the hints, which are for editors and type checkers.
autodoc_typehints = "none"

# Tutorials are scripts, run when the pages are built; a script that fails fails the build.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib|list|tuple|dict",
    "matplotlib_animations": False,
    "min_reported_time": 0,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "write_computation_times": False,
}

plot_formats = [("png", 150)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {"savefig.bbox": "tight"}

html_title = f"sfh_cnn {version}"
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "collapse_navigation": True,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "icon_links": [],
    "navigation_depth": 3,
    "show_nav_level": 1,
    "use_edit_page_button": False,
}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
# Pages without pages below them have nothing to navigate to.
html_sidebars = {
    name: [] for name in ("how_it_works", "can_i_trust_it", "model_cards", "glossary", "citing", "changes")
}
htmlhelp_basename = f"{project}doc"

linkcheck_retry = 3
# Publishers that turn automatic readers away.
linkcheck_ignore = [r"https://doi\.org/.*", r"https://ui\.adsabs\.harvard\.edu/.*"]
