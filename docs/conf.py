"""How Sphinx builds the documentation: `python3 dev.py docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import percloss

project = "percloss"
copyright = "the percloss authors, Apache-2.0"
version = release = percloss.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "docs.extension"]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.citation"]  # a source that only docstrings off these pages cite

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_custom_sections = ["Shape"]
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"percloss {release}"
html_math_renderer = "mathml"
html_copy_source = False
