"""Settings of the documentation site; contributing/index.md says how to build and check it."""

import importlib
import inspect
import os
import runpy
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert as mathml
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # the package that the site is about, installed or not
sys.path.insert(0, str(HERE))  # gallery_pages

import skmixed  # noqa: E402

project = "scikit-mixed"
author = "the skmixed developers"
copyright = f"2026, {author}"
release = version = skmixed.__version__

extensions = [
    "gallery_pages",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
# The docstrings' single backticks: a link if it names something public, else code.
default_role = "py:obj"
smartquotes = False
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"(?!skmixed\.).*"),
    ("py:class", r"(?!skmixed\.).*"),
]
exclude_patterns = ["pictures"]
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}
if os.environ.get("SKMIXED_INTERSPHINX"):  # needs the internet
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

# --- pages ---------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "dollarmath"]
html_math_renderer = "mathml"  # which browsers show without a script
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = project
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
# Pages that have no others below or beside them.
ALONE = ["changes", "index", "limitations", "notation", "search", "start", "which"]
html_sidebars = {page: [] for page in ALONE}
html_theme_options = {
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "navbar_persistent": ["search-button"],
    "logo": {"text": project, "alt_text": f"{project}, start page"},
    "icon_links": [
        {
            "name": "Repository",
            "url": "https://github.com/scikit-mixed/scikit-mixed",
            "icon": "fa-brands fa-github",
        }
    ],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# --- pictures and gallery ------------------------------------------------------------------------

plot_basedir = str(HERE / "pictures")
plot_formats = ["svg"]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {"savefig.bbox": "tight", "savefig.transparent": True, "svg.hashsalt": project}
plot_apply_rcparams = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    # Other names of 06 and 07, and the tutorial as a program that prints.
    "ignore_pattern": r"^(boosting_with_groups|encoder|tutorial)\.py$",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skmixed",),
    "reference_url": {"skmixed": None},
    "image_scrapers": ("gallery_pages",),
    "default_thumb_file": str(HERE / "_static" / "thumbnail.png"),
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
}

# --- API -----------------------------------------------------------------------------------------

autosummary_generate = True
# Two pages must not differ in case alone: some file systems would take them for one.
autosummary_filename_map = {
    "skmixed.inference.Bootstrap": "skmixed.inference.Bootstrap-class",
    "skmixed.inference.Profile": "skmixed.inference.Profile-class",
}
autodoc_typehints = "none"  # docstrings say what parameters are
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autosummary_context = {
    "machinery": ["__init__", "get_metadata_routing", "get_params", "set_params", "set_output"],
}

# Not `bayes` and `distributed`: without their module, `fit` or `summary` are methods.
MODULES = ("datasets", "display", "exceptions", "inference", "model_selection")


def public_names():
    """Return the full name of what is public by its short name and by that after `skmixed.`."""
    names = {}
    for room in ["bayes", "distributed", *MODULES]:
        module = importlib.import_module(f"skmixed.{room}")
        for name in getattr(module, "__all__", dir(module)):
            if not name.startswith("_"):
                names[f"{room}.{name}"] = f"skmixed.{room}.{name}"
                if room in MODULES:
                    names[name] = f"skmixed.{room}.{name}"
    own = (name for name in skmixed.__all__ if not inspect.ismodule(getattr(skmixed, name)))
    return names | {name: f"skmixed.{name}" for name in own}


PUBLIC = public_names()


class TrimmedBlocks(SphinxTransform):
    """Take off the blank line with which a session on a page ends."""

    default_priority = 400

    def apply(self, **kwargs):
        """Cut the end of every literal block."""
        for block in list(self.document.findall(nodes.literal_block)):
            text = block.astext().rstrip()
            block.rawsource, block.children = text, []  # they must agree, or there are no colours
            block += nodes.Text(text)


class CodeLinks(SphinxTransform):
    """Make links of the names and calls of public classes and functions in the text of pages."""

    default_priority = 400

    def apply(self, **kwargs):
        """Put a reference around code that names something public and is in no link yet."""
        beside_r = self.env.docname.startswith("coming_from/")
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext().removeprefix("skmixed.").partition("(")[0]
            target = PUBLIC.get(name)
            is_of_r = name.islower() and (beside_r or in_column_of_r(literal))
            if target and not in_link(literal) and not is_of_r:
                link = pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True
                )
                link["refdoc"] = self.env.docname
                literal.replace_self(link)
                link += literal


def in_column_of_r(node):
    """Tell whether a node is in a column of a table that shows what to type in R."""
    while node is not None and not isinstance(node, nodes.entry):
        node = node.parent
    if node is None:
        return False
    head = next(iter(node.parent.parent.parent.findall(nodes.thead)), None)
    column = node.parent.index(node)
    return head is not None and head[0][column].astext() in {"R", "in R"}


def in_link(node):
    """Tell whether a node is part of a reference or a heading already."""
    outer = (nodes.reference, nodes.title, pending_xref)
    while node is not None and not isinstance(node, outer):
        node = node.parent
    return node is not None


def resolve_short_name(app, env, node, contnode):
    """Resolve a public name that stands without its module."""
    full = PUBLIC.get(node.get("reftarget"))
    if node.get("refdomain") != "py" or full is None:
        return None
    domain = env.get_domain("py")
    document = node.get("refdoc", env.docname)
    return domain.resolve_xref(env, document, app.builder, "obj", full, node, contnode)


def write_math(writer, node):
    """Write a formula, within a line or on one of its own, as MathML."""
    is_block = isinstance(node, nodes.math_block)
    formula = mathml(node.astext(), display="block" if is_block else "inline")
    writer.body.append(f"<p>{formula}</p>" if is_block else formula)
    raise nodes.SkipNode


def write_explorers(app, error):
    """Write the explorers that the guide links to, beside its pages."""
    if error is None and app.builder.format == "html":
        program = runpy.run_path(str(HERE / "pictures" / "explorers.py"))
        program["write"](Path(app.outdir) / "explorers")


def setup(app):
    """Register what is above with Sphinx."""
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.add_transform(TrimmedBlocks)
    app.add_transform(CodeLinks)
    app.connect("missing-reference", resolve_short_name)
    app.connect("build-finished", write_explorers)
