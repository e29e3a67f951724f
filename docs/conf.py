"""How Sphinx makes a site of the Markdown pages: ``make docs``.

The root of the sources is the root of the project, so that links between pages, to README.md and to code are the same
relative paths for Sphinx as on a code host. No page loads anything from another host.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import docname_join
from sphinx.util.matching import patfilter

project = "Score in Python"
copyright = "the authors of Score in Python"
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "deploy/**.md",
    "integrations/**.md",
    "benchmarks/**.md",
]
exclude_patterns = [".*", "build", "dist", "src", "tests", "tools", "node_modules"]

extensions = ["myst_parser"]
# Slugs of headings as on code hosts.
myst_heading_anchors = 4
nitpicky = True
highlight_language = "text"

html_theme = "furo"
html_title = "Score in Python"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
html_static_path: list[str] = []


def _patterns_take_what_is_there(app: Sphinx, name: str, source: list[str]) -> None:
    """A pattern of a table of contents that matches no page is passed over, not warned of."""

    def counts(line: str) -> bool:
        pattern = docname_join(name, line)
        return not re.fullmatch(r"[\w./*-]*\*[\w./*-]*", line) or bool(patfilter(app.env.found_docs, pattern))

    source[0] = "\n".join(filter(counts, source[0].split("\n")))


def _folders_are_their_readme(app: Sphinx, tree: nodes.document) -> None:
    """A link to a folder, as on a code host, leads to the page README.md in it."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in tree.findall(pending_xref):
        place = here / str(link["reftarget"])
        if link.get("refdomain") is None and (place / "README.md").is_file():
            link["refdomain"] = "doc"
            link["reftarget"] = app.env.path2doc(str((place / "README.md").resolve()))
            link["reftargetid"] = None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _patterns_take_what_is_there)
    app.connect("doctree-read", _folders_are_their_readme)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
