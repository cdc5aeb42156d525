"""The pages of the documentation, where the tests run in a checkout."""

import re
import textwrap
from pathlib import Path

import sfh_cnn

ROOT = Path(sfh_cnn.__file__).parents[1]
#: Other packages install a folder named docs; this file is ours.
HAS_PAGES = (ROOT / "docs" / "package_tables.py").exists()
#: Written when the pages are built.
MADE = ("docs/api/", "docs/generated/", "docs/tutorials/", "docs/_build/", "docs/reference/api/")
PAGES = [page.relative_to(ROOT).as_posix() for page in [*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst")]]
PAGES = sorted(page for page in PAGES if not page.startswith(MADE))


def blocks(*languages):
    """The page, line and text of every block that is in one of these languages; "" is that of ``::``."""
    for page in PAGES:
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            found = re.match(r"( *)\.\. code-block:: (\w+)$", line) or re.match(r"( *)(?!\.\. ).*::()$", line)
            if found is None or found.group(2) not in languages:
                continue
            text = []
            for below in lines[number:]:
                if below.strip() and len(below) - len(below.lstrip()) <= len(found.group(1)):
                    break
                text.append(below)
            yield page, number, textwrap.dedent("\n".join(text)).strip("\n")
