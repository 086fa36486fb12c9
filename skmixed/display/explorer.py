"""A page to play with a fitted model: one file of HTML, without a server.

Bokeh has the widgets and pictures, `explorer.js` what happens when one is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skmixed._extras import missing
from skmixed.core.linalg import FloatArray
from skmixed.display._drawing import BLACK, GREY, PALETTE
from skmixed.display._explored_models import SLOPE, t_quantiles
from skmixed.display._explorer_tables import ExplorerTables
from skmixed.display._fitted_models import predictor_of, response_of

_HERE = Path(__file__).parent
_MEGABYTE = 1e6  # as on disk
_T_QUANTILES = 4001  # of t: interpolation errs by less than a millionth of them
_DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot", "solid")
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
    """Write a page on which a fitted model can be played with.

    Groups are searched for and chosen, columns moved by sliders and lists. The page shows the
    predictions of the chosen groups and of a new one with their intervals, curves over one column,
    where the groups stand among all others, and what columns and groups add to a prediction. It is
    one file that needs no server and no network, only a browser.

    Parameters
    ----------
    estimator : estimator
        Fitted. `MixedLinearRegressor`, `MixedGeneralizedRegressor`, `MixedClassifier`,
        `BayesianMixedRegressor` or `GroupedModels` of linear models with intervals.
    X : array-like or data frame of shape (n, n_features)
        Rows that tell which values columns take, as those of the fit.
    path : str or Path
        Where to write the page.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Labels of the rows, if they were given as `groups` to `fit`.
    factor : str or None, default=None
        The grouping factor whose groups are explored; None is the one with most levels. Levels of
        others are taken as unknown.
    level : float, default=0.95
        Probability of the intervals.
    title : str or None, default=None
        Heading of the page; None is the formula, or the estimator's name.
    reference : mapping of str to object, default=None
        Values of columns at which the page begins, and from which contributions count; otherwise
        the median of numbers, and the most frequent category.
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
        For another kind of estimator.
    ValueError
        For unknown names and values, a level that is no probability, a model without groups or
        without intervals, and for a page that would be larger than `max_size`.

    See Also
    --------
    PredictionDisplay : One picture of predictions over a feature.
    RandomEffectsDisplay : The effects of all groups.
    skmixed.MixedLinearRegressor.predict_interval : The intervals.

    Notes
    -----
    All numbers come from the model: the page multiplies what `predict` and `predict_interval` are
    made of, stored in single precision, or in 8 or 16 bits where these are enough. Predictions
    agree with `predict` to 1e-5 of their size or of the width of the interval, and ends with
    `predict_interval` to a thousandth of that width. Ends of a posterior are its standard deviation
    times quantiles that are exact at the reference, and agree to some hundredths elsewhere.
    Intervals of models with a family or a residual structure are those of the mean alone.

    Numbers move in steps over the range that they have in X, one of few distinct values through
    these. Columns of a formula that are no products of functions of single columns, as ``log(a +
    b)``, are shown as functions of one of these; the page says so.

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
    given = dict(reference or {})
    tables = ExplorerTables.of(estimator, X, groups, factor, level, given, max_size)
    text = _page(estimator, tables, title)
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

    controls = _controls(tables)
    pictures, parts = _pictures(estimator, tables)
    shared = {name: each for name, each in controls.items() if name not in ("all", "column")}
    moving = CustomJS(
        args={
            **shared,
            **parts,
            "tables": _arrays(estimator, tables),
            "colours": list(PALETTE[:-1]),
            "dashes": list(_DASHES),
        },
        code=(_HERE / "explorer.js").read_text(encoding="utf-8"),
    )
    for each in controls["all"]:
        each.js_on_change("active" if hasattr(each, "active") else "value", moving)
    document = Document()
    for root in (controls["column"], *pictures):
        document.add_root(root)
    document.js_on_event("document_ready", moving)
    formula = str(getattr(estimator, "formula_", "")) or type(estimator).__name__
    n, name = len(tables.labels), tables.model.factor
    return file_html(
        document,
        INLINE,
        title or formula,
        template=(_HERE / "explorer.html").read_text(encoding="utf-8"),
        template_variables={
            "subtitle": f"{formula if title else type(estimator).__name__}; {n:,} groups of {name}",
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
        notes.append("Intervals are those of the posterior; their shape is that at the reference.")
    if tables.model.averages:
        notes.append("Predictions are averaged over what is not known of the groups.")
    return notes


def _controls(tables: ExplorerTables) -> dict[str, Any]:
    """Return the widgets by the names that the script has for them."""
    from bokeh.models import AutocompleteInput, CheckboxGroup, Column, Select

    labels = tables.labels
    wide = {"sizing_mode": "stretch_width"}
    order = np.argsort(_centers_at_reference(tables), kind="stable")
    places = dict.fromkeys(round(share * (len(order) - 1)) for share in _FIRST_SHOWN)
    first = [labels[order[place]] for place in places]
    adding = AutocompleteInput(
        title=f"Add a group of {tables.model.factor} (type part of its name)",
        completions=labels,
        case_sensitive=False,
        search_strategy="includes",
        min_characters=1,
        max_completions=12,
        name="adding",
        **wide,
    )
    chosen = CheckboxGroup(labels=first, active=list(range(len(first))), name="chosen")
    with_new = CheckboxGroup(labels=["a new group beside them"], active=[0], name="with_new")
    moved = tables.tables.moved
    columns = [_control(each, number) for number, each in enumerate(moved)]
    numbered = [(str(number), each.name) for number, each in enumerate(moved)]
    varied = [n for n, each in enumerate(moved) if each.numbers is not None] or [0]
    axis = Select(
        title="Curves over",
        options=numbered or [("0", "–")],
        value=str(varied[0]),
        name="axis_column",
        **wide,
    )
    kinds = None
    if tables.model.has_observations:
        choices = [("mean", "the mean of a group"), ("observation", "an observation")]
        kinds = Select(title="Intervals of", options=choices, value="mean", name="kinds", **wide)
    effects = [(str(n), f"effect: {name}") for n, name in enumerate(tables.effect_names)]
    ranked_by = Select(
        title="Groups ranked by",
        options=[("-1", "prediction at these values"), *effects],
        value="-1",
        name="ranked_by",
        **wide,
    )
    shown = [adding, chosen, with_new, *columns, axis, *([kinds] if kinds else []), ranked_by]
    return {
        "adding": adding,
        "chosen": chosen,
        "with_new": with_new,
        "controls": columns,
        "axis_column": axis,
        "kinds": kinds,
        "ranked_by": ranked_by,
        "all": shown,
        "column": Column(*shown, name="controls", **wide),
    }


def _control(column: Any, number: int) -> Any:
    """Return a slider for numbers in even steps, a list for other values."""
    from bokeh.models import Select, Slider

    settings: dict[str, Any] = {
        "title": column.name,
        "name": f"column{number}",
        "sizing_mode": "stretch_width",
    }
    values = column.numbers
    steps = np.diff(values) if values is not None else np.zeros(0)
    if len(steps) and np.ptp(steps) <= 1e-9 * steps[0]:  # rounding of even steps
        start, end = float(values[0]), float(values[-1])
        now, step = float(values[column.place]), float(np.round(steps[0], 12))
        form = "0[.]" + "0" * max(0, -int(np.floor(np.log10(step))) + 1)
        return Slider(start=start, end=end, value=now, step=step, format=form, **settings)
    options = [(str(place), text) for place, text in enumerate(column.texts)]
    return Select(options=options, value=str(column.place), **settings)


def _pictures(estimator: Any, tables: ExplorerTables) -> tuple[list[Any], dict[str, Any]]:
    """Return the roots of the page, and what the script draws into by name."""
    from bokeh.models import BasicTicker, Column, ColumnDataSource, Div, FactorRange, FixedTicker
    from bokeh.plotting import figure

    def source(*names: str, name: str) -> Any:
        return ColumnDataSource({each: [] for each in names}, name=name)

    response = _response_text(estimator, tables)
    settings: dict[str, Any] = {
        "height": _HEIGHT,
        "sizing_mode": "stretch_width",
        "tools": "pan,box_zoom,reset,save",
        "toolbar_location": "above",
    }
    curves = source("xs", "ys", "colour", "dash", "label", name="curves")
    bands = source("xs", "ys", "colour", name="bands")
    points = source("x", "y", "low", "high", "colour", "label", name="points")
    over = figure(name="curves", y_axis_label=response, **settings)
    over.patches("xs", "ys", source=bands, fill_color="colour", fill_alpha=0.13, line_color=None)
    over.multi_line("xs", "ys", source=curves, color="colour", line_dash="dash", line_width=2)
    over.segment("x", "low", "x", "high", source=points, color="colour", line_width=2)
    over.scatter("x", "y", source=points, color="colour", size=8)
    names = ("x", "value", "low", "high", "label")
    ranks, marked = source(*names, name="ranks"), source(*names, "colour", name="marked")
    among = figure(name="ranks", x_axis_label="rank", y_axis_label=response, **settings)
    faint = 0.4 if len(tables.labels) <= _MOST_BESIDE else 0.08
    among.segment("x", "low", "x", "high", source=ranks, color=GREY, line_alpha=faint)
    among.scatter("x", "value", source=ranks, color=GREY, size=3)
    among.segment("x", "low", "x", "high", source=marked, color="colour", line_width=3)
    among.scatter("x", "value", source=marked, color="colour", size=9, line_color=BLACK)
    contributions = source("y", "right", "colour", name="contributions")
    factors = FactorRange(factors=[])
    makes_up = figure(
        name="bars", y_range=factors, x_axis_label=f"added to {predictor_of(estimator)}", **settings
    )
    makes_up.hbar(y="y", right="right", height=0.7, source=contributions, color="colour")
    makes_up.ygrid.grid_line_color = None
    summary = Div(name="summary", sizing_mode="stretch_width")
    base = Div(name="base", sizing_mode="stretch_width")
    for each in (over, among, makes_up):
        each.toolbar.logo = None
    below = Column(base, makes_up, name="contributions", sizing_mode="stretch_width")
    return [summary, over, among, below], {
        "summary": summary,
        "base": base,
        "curves": curves,
        "bands": bands,
        "points": points,
        "curve_axis": over.xaxis[0],
        "number_ticker": BasicTicker(),
        "category_ticker": FixedTicker(ticks=[]),
        "ranks": ranks,
        "marked": marked,
        "rank_axis": among.yaxis[0],
        "contributions": contributions,
        "contribution_range": factors,
    }


def _response_text(estimator: Any, tables: ExplorerTables) -> str:
    """Write what is predicted."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return f"probability of {classes[1]}"
    return f"prediction [{response_of(estimator)}]"


def _centers_at_reference(tables: ExplorerTables) -> FloatArray:
    """Return the linear predictor of all groups at the reference, (n_groups,)."""
    return np.asarray(tables.own.astype(np.float64) @ tables.scaled()[tables.varying])


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
        "factor": model.factor,
        "response": _response_text(estimator, tables),
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
    }
