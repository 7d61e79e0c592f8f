"""The site of the documentation: `sphinx-build -W docs runs/site` in a checkout with the extra "docs"."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

project = "hyperstyle"
author = "the hyperstyle authors"
release = metadata.version("hyperstyle-inversion")

extensions = [
    "myst_nb",  # Markdown pages, and notebooks, which are executed
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings in Google's style
    "sphinx.ext.mathjax",
]

html_theme = "furo"
html_title = "hyperstyle"
html_copy_source = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4  # links to headings, as GitHub makes them
nb_execution_mode = "force"
nb_execution_in_temp = True  # what they write goes
nb_execution_timeout = 600
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "exclude-members": "__new__"}
napoleon_use_rtype = False
napoleon_use_ivar = True  # else an attribute and the property of that name are two objects
default_role = "py:obj"  # `name` in a docstring is a link where the name is documented
