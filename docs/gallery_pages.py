"""The gallery as a reader finds it: sections, links of an example, and what its pictures show.

sphinx-gallery runs the examples and writes their pages; what is here rewrites these as they are
read, so that an example begins with its downloads and the page of the guide that explains it.
"""

import ast
import re
import textwrap
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
WIDE = 750  # pixels: the text of a wider picture cannot be read at the width of a telephone

# Section by section, of every example the page of the guide that explains it, and what it shows.
SECTIONS = {
    "Start here": {
        "quickstart": ("tutorial", "Fit, predict and cross-validate in forty lines."),
        "00_tutorial": ("tutorial", "Nine models of one data set, each with R's code."),
        "00_tutorial_continued": ("tutorial", "What to do with a fitted model."),
        "01_shrinkage": ("shrinkage", "How a mixed model shrinks each person's line."),
    },
    "Linear mixed models": {
        "02_random_slopes": ("random_effects", "Effects that vary between groups, and the test."),
        "03_crossed_effects": ("random_effects", "Judges and wines: two factors at once."),
        "04_nested": ("random_effects", "Classes in schools, and what goes wrong otherwise."),
        "25_which_shops_stand_out": ("intervals", "Ranks that know how little is known."),
        "24_memberships": ("memberships", "Pupils who changed schools, matches of two players."),
        "10_tests_and_intervals": ("inference", "Degrees of freedom, profiles, residual plots."),
        "11_grid_search": ("cross_validation", "The random part as a parameter to tune."),
    },
    "Other responses": {
        "12_binary_response": ("generalized", "A logistic mixed model for yes or no."),
        "13_counts_and_rates": ("generalized", "Poisson and negative binomial, with exposures."),
        "14_ordered_categories": ("ordinal", "Hotel ratings by a cumulative link model."),
    },
    "Curves and time": {
        "15_curves": ("curves", "A common smooth curve, and one for each child."),
        "21_growth_curves": ("nonlinear", "Logistic growth with a limit for each tree."),
        "16_repeated_measures": ("repeated_measures", "Treatments compared at every visit."),
        "17_covariances": ("covariances", "Neighbouring visits are correlated: AR(1) and others."),
        "18_serial_correlation": ("serial_correlation", "Forecasts from the latest residual."),
        "19_unequal_variances": ("unequal_variances", "A residual variance for each stratum."),
    },
    "Posteriors and related levels": {
        "20_posterior": ("posterior", "Posterior draws in a fraction of a second."),
        "22_related_levels": ("related_levels", "Pedigrees and neighbouring fields."),
        "23_meta_analysis": ("meta_analysis", "Thirteen trials with known standard errors."),
    },
    "In machine learning": {
        "05_grouped_models": ("grouped_models", "One estimator per class, shrunk."),
        "06_high_cardinality": ("encoding", "Thousands of labels as one column, without leakage."),
        "07_boosting": ("any_learner", "Boosting plus random effects of shops."),
        "08_new_customers": ("prediction", "Learn new groups without refitting."),
        "09_streaming": ("big_data", "Out-of-core fits from files."),
    },
}
GUIDES = {name: guide for section in SECTIONS.values() for name, (guide, _) in section.items()}


def title_of(example):
    """Return the title of an example."""
    text = (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)).partition("\n")[0]


def card(example, sentence):
    """Return the card of an example, which its picture heads."""
    title = title_of(example)
    return f"""
   .. grid-item-card:: {title}
      :img-top: /gallery/images/thumb/sphx_glr_{example}_thumb.png
      :img-alt: Figure of the example: {title}
      :link: /gallery/{example}
      :link-type: doc

      {sentence}
"""


def index_of(text):
    """Return the index of the gallery, of which the header is kept."""
    parts = [text.partition(".. raw:: html")[0]]
    for section, examples in SECTIONS.items():
        parts.append(f"{section}\n{'-' * len(section)}\n\n.. grid:: 2 2 3 4\n   :gutter: 3\n")
        parts += [card(example, sentence) for example, (_, sentence) in examples.items()]
        pages = "".join(f"   /gallery/{example}\n" for example in examples)
        parts.append(f"\n.. toctree::\n   :hidden:\n   :caption: {section}\n\n{pages}\n")
    parts.append(
        "All examples as :download:`notebooks </gallery/gallery_jupyter.zip>` or as "
        ":download:`Python programs </gallery/gallery_python.zip>`.\n"
    )
    return "\n".join(parts)


def example_of(text, name):
    """Return the page of an example with its downloads under the title, not at the end."""
    text = re.sub(r"\.\. only:: html\n\n    \.\. note::\n(?:        .*\n|\n)+", "", text, count=1)
    text = re.sub(r"\n\.\. _sphx_glr_download_[\s\S]*", "\n", text)
    links = f"""
.. container:: example-links

   :download:`Notebook <{name}.ipynb>` :download:`Python program <{name}.py>`
   Guide: :doc:`/guide/{GUIDES[name]}`

"""
    return re.sub(r"(\n\S.*\n={3,}\n)", lambda found: found[1] + links, text, count=1)


def rewrite(app, name, source):
    """Change the text of a page of the gallery as it is read."""
    room, _, page = name.partition("/")
    if room == "gallery":
        source[0] = index_of(source[0]) if page == "index" else example_of(source[0], page)


def description(figure):
    """Return in words what is drawn against what, panel by panel."""
    panels = []
    for axes in figure.axes:
        across, up = (" ".join(label.split()) for label in (axes.get_xlabel(), axes.get_ylabel()))
        drawn = f"{up} against {across}" if across and up else across or up
        title = " ".join(axes.get_title().split())
        panels.append(f"{title}: {drawn}" if title and drawn else title or drawn)
    legends = [axes.get_legend() for axes in figure.axes] + figure.legends
    entries = [entry.get_text() for legend in legends if legend for entry in legend.get_texts()]
    said = "; ".join(dict.fromkeys(filter(None, panels)))
    return f"{said}. Shown: {', '.join(dict.fromkeys(entries))}" if entries else said


def described_pictures(block, block_vars, gallery_conf):
    """Save the figures of a block, with what they show as the alternative text."""
    import matplotlib.pyplot as plt
    from sphinx_gallery.scrapers import matplotlib_scraper

    figures = [plt.figure(number) for number in plt.get_fignums()]
    title = title_of(Path(block_vars["src_file"]).stem)
    texts = iter([f"{title}. {description(figure)}" for figure in figures])
    is_wide = any(figure.bbox.width > WIDE for figure in figures)
    rst = matplotlib_scraper(block, block_vars, gallery_conf, transparent=True)
    rst = re.sub(r":alt: .*", lambda _: f":alt: {next(texts)}", rst)
    return f".. container:: wide-picture\n{textwrap.indent(rst, '   ')}" if is_wide else rst


def _get_sg_image_scraper():
    return described_pictures


def setup(app):
    """Have the pages of the gallery rewritten."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
