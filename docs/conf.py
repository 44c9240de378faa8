"""Sphinx configuration of the course's site: `make site`. sources.py gathers the pages; no notebook is run."""

import tomllib
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]

project = "Cross-modal alignment for language models"
author = "The course's authors"
html_title = "Cross-modal alignment"
language = "en"

extensions = ["myst_nb"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # readers see the stored outputs, which CI has checked
nb_ipywidgets_js = {}  # no script from another host; stored widgets show nothing without a kernel anyway
nb_merge_streams = True

html_theme = "furo"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["course.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "top_of_page_buttons": [],
    "footer_icons": [],
}


# Formulas as MathML, which browsers draw without a script or a network and screen readers can read.


def _formula(writer, node, display):
    if display == "block":
        writer.body.append('<div class="math" tabindex="0">')  # wide formulas scroll, by keyboard too
    writer.body.append(convert(node.astext(), display=display))
    if display == "block":
        writer.body.append("</div>")
    from docutils.nodes import SkipNode

    raise SkipNode


def setup(app):
    """Register the renderer of formulas."""
    app.add_html_math_renderer(
        "mathml",
        (lambda writer, node: _formula(writer, node, "inline"), None),
        (lambda writer, node: _formula(writer, node, "block"), None),
    )


html_math_renderer = "mathml"
