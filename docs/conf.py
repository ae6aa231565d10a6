"""How the documentation is built: `make docs`."""

import doctest
import os
import re
import sys
from pathlib import Path
from typing import Any

import art_nip

# What examples print and where files go shall not depend on who builds the pages.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

project = "art-nip"
author = "the art-nip developers"
version = release = art_nip.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "notebooks/results"]

# Notebooks are executed by the tests; pages show the outputs that are kept in them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say shapes and ranges, which types do not
autodoc_default_options = {"members": True}

html_theme = "pydata_sphinx_theme"
html_title = "art-nip"
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

# A classifier that the examples of all pages may use: small, untrained, on real digits.
doctest_default_flags = doctest.ELLIPSIS
doctest_global_setup = "from examples import *"


def _escape_stars(*arguments: Any) -> None:
    """Let docstrings say ``(N, *input_shape)``: to reST a star begins an emphasis."""
    lines = arguments[-1]
    lines[:] = [re.sub(r"\*(?=\w+[,)])", r"\\*", line) for line in lines]


def setup(app: Any) -> None:
    """Tell Sphinx of the above."""
    app.connect("autodoc-process-docstring", _escape_stars)
