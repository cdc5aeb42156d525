"""Configuration of the documentation, on top of the settings that astropy packages share."""

import os
from datetime import UTC, datetime

from sphinx.util.docutils import SphinxDirective
from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import intersphinx_mapping

import sfh_cnn
from sfh_cnn.core import flag_table

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
htmlhelp_basename = f"{project}doc"

linkcheck_retry = 3
# Publishers that turn automatic readers away.
linkcheck_ignore = [r"https://doi\.org/.*", r"https://ui\.adsabs\.harvard\.edu/.*"]


class FlagTable(SphinxDirective):
    """The table of quality flags, straight from their registry in the package."""

    def run(self):
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 10 30 60", ""]
        for bit, name, meaning in [("Bit", "Name", "Meaning"), *flag_table()]:
            lines += [f"   * - {bit}", f"     - {name}", f"     - {meaning}"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    """Register what these pages add to Sphinx."""
    app.add_directive("flag-table", FlagTable)
