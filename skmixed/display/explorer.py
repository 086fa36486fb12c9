"""A page to play with a fitted model: one file of HTML, without a server.

Bokeh draws the pictures. What is moved are controls of HTML, which a keyboard and a screen reader
know; `explorer_controls.js` has what they do, `explorer_drawing.js` what is shown then, and
`explorer_numbers.js` the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skmixed._extras import missing
from skmixed.display._explored_models import SLOPE, t_quantiles
from skmixed.display._explorer_tables import ExplorerTables
from skmixed.display._fitted_models import model_inside, response_of

_HERE = Path(__file__).parent
_SCRIPTS = ("numbers", "observations", "drawing", "controls")  # of the page, one after another
_MEGABYTE = 1e6  # as on disk
_T_QUANTILES = 4001  # of t: interpolation errs by less than a millionth of them
_NODES_OF_PAGE = 32  # over what is not known of a mean: tails of observations err by less than 1e-6
_FIRST_SHOWN = (0.0, 0.5, 1.0)  # shares of the groups below those that are chosen at first
_MOST_BESIDE = 500  # groups whose intervals lie beside each other: those of more cover each other
_HEIGHT = 340  # pixels of a picture


def explore(
    estimator: Any,
    X: Any,
    path: str | Path,
    *,
    groups: Any = None,
    factor: str | None = None,
    level: float = 0.95,
    title: str | None = None,
    reference: Mapping[str, Any] | None = None,
    max_size: float = 6.0,
) -> Path:
    """Write an interactive web page of a fitted model.

    On the page, groups are searched for and chosen, and columns are moved by sliders and lists. It
    shows predictions of up to six groups and of a new one with their intervals, curves over any
    column, all groups ranked by prediction or random effect, and the contributions of columns and
    groups to a prediction. It is one HTML file that needs no server and no network, works by
    keyboard and with a screen reader, and follows light and dark settings.

    Parameters
    ----------
    estimator : estimator
        A fitted `MixedLinearRegressor`, `MixedGeneralizedRegressor`, `MixedClassifier` or
        `BayesianMixedRegressor`, `GroupedModels` of linear models with intervals, a pipeline that
        ends in one of them, or a search over such.
    X : array-like or data frame of shape (n, n_features)
        Rows that tell which values the columns take, such as those of the fit.
    path : str or Path
        Where to write the page.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Labels of the rows, if they were given as `groups` to `fit`.
    factor : str or None, default=None
        The grouping factor whose groups are explored; None is the one with most levels. A level
        brings the effects of the levels of other factors in which all its rows lie, as a class
        brings that of its school; levels of crossed factors are taken as unknown.
    level : float, default=0.95
        Probability of the intervals.
    title : str or None, default=None
        Heading of the page; None is the formula, or the estimator's name.
    reference : mapping of str to object, default=None
        Values of columns at which the page begins, and from which contributions count. Columns
        that are not named have their median, or their most frequent category.
    max_size : float, default=6
        Largest size of the file in megabytes; a page that would be larger is refused.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        If Bokeh is not installed.
    TypeError
        For other kinds of estimators, such as learners without coefficients, nonlinear models and
        ordered categories.
    ValueError
        For unknown names and values, a level that is no probability, a model without groups or
        without intervals, multiple membership (``mm()``), several effects of related levels, and
        for a page that would be larger than `max_size`.

    See Also
    --------
    PredictionDisplay : One picture of predictions over a feature.
    RandomEffectsDisplay : The effects of all groups.
    skmixed.MixedLinearRegressor.predict_interval : The intervals.

    Notes
    -----
    The page multiplies what `predict` and `predict_interval` are made of, stored in single
    precision, or in 8 or 16 bits where these are enough. Predictions agree with `predict` to 1e-5
    of their size or of the width of the interval, and interval ends with `predict_interval` to a
    thousandth of that width. Credible intervals are exact at the reference values; elsewhere they
    agree to a few hundredths of their width.

    Intervals are for the mean of a group or for a single observation, except that probabilities and
    models with a residual structure have those of the mean alone. The ranks always show intervals
    of the mean.

    Numeric columns move in steps over their range in X, or through their distinct values if these
    are few. Columns of the model that are not products of functions of single columns, such as
    ``log(a + b)`` or principal components, are shown as functions of one column; the page says so.

    The file holds the labels of all groups and the distinct values of categorical columns, but no
    rows of X. It is 1.4 MB plus 50 to 400 bytes a group, depending on the number of columns whose
    coefficients vary.

    References
    ----------
    .. [1] Knowles, J. E. & Frederick, C. (2024). merTools: tools for analyzing mixed effect
       regression models. R package, ``shinyMer``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.display import explore
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> with TemporaryDirectory() as folder:
    ...     page = explore(model, X, f"{folder}/sleep.html", title="Reaction times")
    ...     page.stat().st_size < 6e6
    True
    """
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise missing("Bokeh", "explore", "explore") from error
    model, transform = model_inside(estimator)
    given = dict(reference or {})
    tables = ExplorerTables.of(model, X, groups, factor, level, given, max_size, transform)
    text = _page(model, tables, title)
    size = len(text.encode()) / _MEGABYTE
    if size > max_size:
        raise ValueError(
            f"the page has {size:.1f} MB, and max_size={max_size:g} allows {max_size:g} MB: choose "
            "a factor of fewer levels, or raise max_size"
        )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def _page(estimator: Any, tables: ExplorerTables, title: str | None) -> str:
    """Return the page as text."""
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.models import CustomJS
    from bokeh.resources import INLINE

    roots, parts = _pictures(tables)
    drawing = CustomJS(
        args={**parts, "tables": _arrays(estimator, tables)},
        code="\n".join(
            (_HERE / f"explorer_{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS
        ),
    )
    document = Document()
    for root in roots:
        document.add_root(root)
    document.js_on_event("document_ready", drawing)
    formula = str(getattr(estimator, "formula_", "")) or type(estimator).__name__
    n, name = len(tables.labels), tables.model.factor
    groups = f"{n:,} groups of {name}" if n > 1 else f"one group of {name}"
    return file_html(
        document,
        INLINE,
        title or formula,
        template=(_HERE / "explorer.html").read_text(encoding="utf-8"),
        template_variables={
            "style": (_HERE / "explorer.css").read_text(encoding="utf-8"),
            "subtitle": f"{formula if title else type(estimator).__name__}; {groups}",
            "factor": name,
            "unknown": " and ".join(tables.model.left_out),
            "notes": _notes(tables),
        },
        suppress_callback_warning=True,
    )


def _notes(tables: ExplorerTables) -> list[str]:
    """Return what the page says of what is not exact."""
    notes = list(tables.tables.notes)
    notes += [
        f"{each.name}: its {len(each.values)} most frequent categories; {each.left_out:,} more "
        "are left out."
        for each in tables.tables.moved
        if each.left_out
    ]
    if tables.quantiles:
        notes.append("Credible intervals have the shape of the posterior at the reference values.")
    if tables.model.averages:
        notes.append("Predictions are averaged over the uncertainty of the effects of groups.")
    return notes


def _pictures(tables: ExplorerTables) -> tuple[list[Any], dict[str, Any]]:
    """Return the roots of the page, and what the script draws into by name.

    The script also gives them their colours, which follow the reader's light or dark screen.
    """
    from bokeh.models import BasicTicker, ColumnDataSource, FixedTicker, HoverTool
    from bokeh.plotting import figure

    def source(*names: str, name: str) -> Any:
        return ColumnDataSource({each: [] for each in names}, name=name)

    settings: dict[str, Any] = {
        "height": _HEIGHT,
        "sizing_mode": "stretch_width",
        "tools": "",  # those to move a picture would take the finger that scrolls the page
        "toolbar_location": None,
    }
    ends = ("x", "value", "low", "high", "label")
    said = [("group", "@label"), ("value", "@value"), ("interval", "@low to @high")]
    lines = source("xs", "ys", "colour", "dash", name="lines")
    bands = source("xs", "ys", "colour", name="bands")
    points = source(*ends, "colour", name="points")
    curves = figure(name="curves", **settings)
    curves.patches("xs", "ys", source=bands, fill_color="colour", fill_alpha=0.15, line_color=None)
    curves.multi_line("xs", "ys", source=lines, color="colour", line_dash="dash", line_width=2)
    curves.segment("x", "low", "x", "high", source=points, color="colour", line_width=2)
    dots = curves.scatter("x", "value", source=points, color="colour", size=8)
    curves.add_tools(HoverTool(renderers=[dots], tooltips=said))
    everyone = source(*ends, name="everyone")
    marked = source(*ends, "colour", name="marked")
    new = source("x", "value", name="level")
    ranks = figure(name="ranks", x_axis_label="rank", **settings)
    if len(tables.labels) <= _MOST_BESIDE:
        whiskers = ranks.segment("x", "low", "x", "high", source=everyone, line_alpha=0.6)
        dots = ranks.scatter("x", "value", source=everyone, size=4)
    else:
        whiskers = ranks.varea("x", "low", "high", source=everyone, fill_alpha=0.5)
        dots = ranks.line("x", "value", source=everyone, line_width=2)
    line = ranks.line("x", "value", source=new, line_dash="dashed", line_width=1.5)
    ranks.segment("x", "low", "x", "high", source=marked, color="colour", line_width=3)
    chosen = ranks.scatter("x", "value", source=marked, color="colour", size=10)
    ranks.add_tools(HoverTool(renderers=[dots, chosen], tooltips=said))
    return [curves, ranks], {
        "curves_figure": curves,
        "ranks_figure": ranks,
        "lines": lines,
        "bands": bands,
        "points": points,
        "number_ticker": BasicTicker(),
        "category_ticker": FixedTicker(ticks=[]),
        "everyone": everyone,
        "marked": marked,
        "level": new,
        "faint_glyphs": [whiskers.glyph, dots.glyph],
        "level_glyph": line.glyph,
    }


def _response_text(estimator: Any) -> str:
    """Write what is predicted."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return f"probability of {classes[1]}"
    response = response_of(estimator)
    return "prediction" if response == "y" else f"predicted {response}"


def _first_shown(tables: ExplorerTables) -> list[int]:
    """Return the numbers of the groups that are chosen at first: the least, middle and largest."""
    own = np.asarray(tables.own.astype(np.float64) @ tables.scaled()[tables.varying])
    order = np.argsort(own, kind="stable")
    places = dict.fromkeys(round(share * (len(order) - 1)) for share in _FIRST_SHOWN)
    return [int(order[place]) for place in places]


def _observed(tables: ExplorerTables) -> dict[str, Any] | None:
    """Return what the script needs of a family to tell where observations lie; None without."""
    model = tables.model
    if model.family is None or not model.has_observations:
        return None
    nodes, weights = np.polynomial.legendre.leggauss(_NODES_OF_PAGE)
    phi = [float(each) for each in model.phi]
    return {"family": model.family.name, "phi": phi, "nodes": nodes, "weights": weights}


def _arrays(estimator: Any, tables: ExplorerTables) -> dict[str, Any]:
    """Return what the script multiplies, by the names that it has for them."""
    model, family = tables.model, tables.model.family
    columns = tables.tables
    terms: dict[str, list[int]] = {}
    for place in range(len(columns.constants)):
        name = columns.written(place)
        if name:
            terms.setdefault(name, []).append(place)
    return {
        "labels": tables.labels,
        "first_shown": _first_shown(tables),
        "factor": model.factor,
        "response": _response_text(estimator),
        "predictor": "" if family is None else f"{family.link}({response_of(estimator)})",
        "is_probability": hasattr(estimator, "classes_"),
        "has_observations": model.has_observations,
        "observed": _observed(tables),
        "level": tables.level,
        "link": "identity" if family is None else family.link,
        "averages": model.averages,
        "base": model.base,
        "n_slopes": sum(name.startswith(SLOPE) for name in tables.forms),
        "t": t_quantiles(tables.level, _T_QUANTILES),
        "constants": columns.constants,
        "center": tables.center,
        "scale": tables.scale,
        "first": tables.pairs[0],
        "second": tables.pairs[1],
        "varying": tables.varying.astype(np.int32),
        "coefficients": tables.coefficients,
        "own": tables.own.ravel(),
        "forms": {
            name: {
                "common": form.common,
                "parts": [
                    {"places": each.places, "own": each.values.ravel(), "scale": each.scale}
                    for each in form.parts
                ],
            }
            for name, form in tables.forms.items()
        },
        "noise": tables.noise,
        "quantiles": {name: each.ravel() for name, each in tables.quantiles.items()} or None,
        "moved": [
            {
                "name": each.name,
                "texts": each.texts,
                "numbers": each.numbers,
                "place": each.place,
                "touched": each.touched.astype(np.int32),
                "factors": each.factors.ravel(),
            }
            for each in columns.moved
        ],
        "terms": [{"name": name, "columns": places} for name, places in terms.items()],
        "effect_names": tables.effect_names,
        "effects": tables.effects.ravel(),
        "effects_are_deviations": model.effects_are_deviations,
    }
