"""Pictures of the tables of the pages of benchmarks, read from these: one function a picture."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

PAGES = Path("../benchmarks")  # pictures are drawn where they lie
OURS, THEIRS = "#e8862e", "#4c8dca"
WIDTH = 6.4  # inches: texts can be read on a telephone, too
OUR_NAMES = ("skmixed", "Mixed", "BLUP", "the same", "adjusted")


def tables(page):
    """Return the tables of a page: of each the header and the rows, lists of cells."""
    text = (PAGES / page).read_text(encoding="utf-8").replace(r"\|", "¦")
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [line.strip("|").replace("`", "").replace("*", "") for line in block.splitlines()]
        rows = [[cell.strip().replace("¦", "|") for cell in line.split("|")] for line in lines]
        found.append((rows[0], rows[2:]))
    return found


def table(page, *words):
    """Return the first table of a page whose header has the words."""
    return next(found for found in tables(page) if all(word in found[0] for word in words))


def number(cell):
    """Return the first number of a cell, or NaN."""
    found = re.search(r"-?\d[\d.,]*(?:e\d+)?", cell)
    return float(found[0].replace(",", "")) if found else np.nan


def seconds(cell, unit=1.0):
    """Return the seconds of a cell and how they are written; NaN where it tells no time."""
    if not re.match(r"[>\d]", cell):
        return np.nan, ""
    time = number(cell) * (1e-3 if re.match(r"[> ]*[\d.]+ ms", cell) else unit)
    text = f"{time:,.0f} s" if time >= 100 else f"{time:.2g} s"
    return time, "> " * cell.startswith(">") + text


def times_of(cells):
    """Return the seconds of the cells of a row, ours first.

    The ratios in brackets are within a run, and seconds may be of several: so where a cell has a
    ratio, it is what is shown.
    """
    ours = seconds(cells[0])
    ratios = [re.search(r"\(([\d.]+)x\)", cell) for cell in cells[1:]]
    return [ours] + [
        (ours[0] * float(ratio[1]), f"{float(ratio[1]):.3g} times")
        if ratio and float(ratio[1])
        else seconds(cell)
        for ratio, cell in zip(ratios, cells[1:], strict=True)
    ]


def colour_of(name):
    """Return the colour of bars of a package or model."""
    return OURS if name.startswith(OUR_NAMES) else THEIRS


def axes_of(n_rows, n_titles, label):
    """Return axes that have room for rows and titles between them."""
    height = 0.27 * n_rows + 0.42 * n_titles + 0.7
    ax = plt.subplots(figsize=(WIDTH, height), layout="constrained")[1]
    ax.set_xlabel(label)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def put_title(ax, place, title):
    """Write a title above the row at a place."""
    ax.text(0, place - 0.95, title, transform=ax.get_yaxis_transform(), va="center", weight="bold")


def put_rows(ax, places, names):
    """Name the rows at the places, from above."""
    ax.set_yticks(places, names)
    ax.set_ylim(max(places) + 0.7, -1.5)


def bars(tasks, label="seconds per fit (log scale)"):
    """Draw bars of tasks: of each the name and the times of packages that have one."""
    tasks = [
        (task, [(name, *found) for name, found in times.items() if np.isfinite(found[0])])
        for task, times in tasks
    ]
    ax = axes_of(sum(len(times) for _, times in tasks), len(tasks), label)
    places, names, place = [], [], 0.0
    least = min(time for _, times in tasks for _, time, _ in times)
    for task, times in tasks:
        put_title(ax, place, task)
        for name, time, text in times:
            ax.barh(place, time, 0.8, color=colour_of(name))
            ax.text(time, place, f" {text}", va="center", size=9, color="0.3")
            places.append(place)
            names.append(name)
            place += 1.0
        place += 1.5
    ax.set_xscale("log")
    ax.set_xlim(10 ** np.floor(np.log10(least) - 0.3), 8 * ax.get_xlim()[1])
    put_rows(ax, places, names)


def columns(header, rows, names, first=1):
    """Return the tasks of a table with a column a package, of rows with names that are wanted."""
    return [
        (title, dict(zip(header[first:], times_of(row[first:]), strict=True)))
        for row in rows
        for title in [names.get(row[0])]
        if title
    ]


def index():
    """Draw linear models in short."""
    header, rows = tables("index.md")[0]
    bars(columns(header, rows, {row[0]: f"{row[0]}, {row[1]} rows" for row in rows}, 2))


def fits():
    """Draw linear models."""
    header, rows = table("fits.md", "statsmodels")
    names = {row[0]: row[0].replace("_", " ") for row in rows}
    bars(columns(header, rows, names))


def generalized():
    """Draw generalized models of many rows, and the well-known ones."""
    chosen = []
    for header, rows in tables("generalized.md"):
        if "its errors" in header:
            names = {row[0]: row[0].replace("_", " ") for row in rows}
            chosen += columns(header, rows, names)
    wanted = ("logit", "counts", "cbpp", "contraception", "verbagg", "grouse", "arabidopsis")
    for _, times in chosen:
        del times["its errors"]
    bars([(name, times) for name, times in chosen if name.startswith(wanted)][:8])


def structures():
    """Draw one model, or two, of every section of the page of structures."""
    wanted = [
        "four curves",
        "four curves, 20 groups",
        "400 x 6, AR(1): ar1",
        "400 x 6, two latent: rr",
        "2,000 series: (t | id), ar1(| id)",
        "fev_data of mmrm",
        "bcva_data of mmrm",
    ]
    tasks = {}
    for header, rows in tables("structures.md"):
        if "package" not in header:
            continue
        for model, n_rows, ours, package, theirs, *_ in rows:
            if model in wanted and theirs:
                times = tasks.setdefault(
                    f"{model}, {n_rows} rows", {"skmixed": seconds(ours, 1e-3)}
                )
                times[{"gls": "nlme, gls"}.get(package, package)] = seconds(theirs, 1e-3)
    bars(list(tasks.items()))


def posterior():
    """Draw posteriors, by the seconds that a thousand effective draws take."""
    tasks = []
    for model, _, package, _, _, each, _ in tables("posterior.md")[0][1]:
        if model:
            tasks.append((model, {}))
        tasks[-1][1][package] = seconds(each)  # milliseconds a draw are seconds a thousand
    bars(tasks, "seconds per 1,000 effective draws (log scale)")


def nonlinear():
    """Draw nonlinear models, by both methods."""
    tasks = {}
    for model, method, ours, theirs, *_ in tables("nonlinear.md")[0][1]:
        times = tasks.setdefault(model, {})
        peer = "nlmer" if method == "Laplace" else "nlme"
        times |= {f"skmixed, {method}": seconds(ours, 1e-3), peer: seconds(theirs, 1e-3)}
    bars(list(tasks.items()))


def pairs_of(page):
    """Draw a table of levels, rows, model, our seconds and lme4's."""
    bars([
        (f"{levels} levels, {rows} rows: {model}",
         {"skmixed": seconds(ours), "lme4": seconds(theirs)})
        for levels, rows, model, ours, theirs, *_ in tables(page)[0][1]
    ])  # fmt: skip


def related_levels():
    """Draw levels of known covariance."""
    pairs_of("related_levels.md")


def memberships():
    """Draw rows of several levels."""
    pairs_of("memberships.md")


def scaling():
    """Draw the sums of rows in files, and the search where there is one."""
    tasks, case = {}, ""
    for header, rows in tables("scaling.md")[:2]:
        for name, method, total, _, search, _ in rows:
            case = name or case
            title = f"{case}: {header[0].removeprefix('case, ').partition(', ')[0]}"
            whole = seconds(total)[0] + np.nan_to_num(seconds(search)[0])
            ours = method in ("skmixed", "n_jobs=2")
            method = f"skmixed, {method}" if method == "n_jobs=2" else method
            tasks.setdefault(title, {})[method + (", whole fit" if ours else "")] = (
                whole,
                f"{whole:.3g} s",
            )
    bars(list(tasks.items()), "seconds (log scale)")


def dots(groups, label, kinds=("known groups", "new groups"), line=None):
    """Draw dots: of groups a title and, by name of a row, a value for known and one for new."""
    ax = axes_of(sum(len(rows) for _, rows in groups), len(groups), label)
    places, names, place = [], [], 0.0
    for title, rows in groups:
        put_title(ax, place, title)
        for name, (known, new) in rows.items():
            colour = colour_of(name)
            ax.plot([known, new], [place, place], color=colour, alpha=0.4)
            ax.plot(known, place, "o", color=colour)
            ax.plot(new, place, "o", mfc="white", color=colour)
            places.append(place)
            names.append(name)
            place += 1.0
        place += 1.5
    if line is not None:
        ax.axvline(line, color="0.5", lw=1, zorder=0)
    ax.plot([], [], "o", color="0.4", label=kinds[0])
    ax.plot([], [], "o", mfc="white", color="0.4", label=kinds[1])
    ax.figure.legend(loc="outside upper right", ncols=2, frameon=False)
    put_rows(ax, places, names)
    return ax


def encoding():
    """Draw the errors of encoders on known rows and on new labels, relative to no labels."""
    rows = tables("encoding.md")[0][1]
    encoders = ["TargetEncoder", "BLUPEncoder(adjust=False)", "BLUPEncoder()"]
    chosen = [row for row in rows if row[0] != "highest" and row[1] == "linear"]
    ax = dots(
        [
            (
                row[0],
                {name: (number(row[2 + n]), number(row[6 + n])) for n, name in enumerate(encoders)},
            )
            for row in chosen
            if max(map(number, row[6:9])) > 1.02 or row[0].startswith("geometric")
        ],
        "error relative to no labels (log scale)",
        ("known labels", "new labels"),
        line=1.0,
    )  # fmt: skip
    ax.set_xscale("log")
    marks = [0.7, 0.8, 1, 1.5, 2, 3, 4]
    ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
    ax.minorticks_off()


def effects():
    """Draw the errors of boosting with random effects."""
    rows = tables("encoding.md")[-2][1]
    draw_models([(f"{row[0]} rows", *row[1:4]) for row in rows], "error of the mean")


def effects_classes():
    """Draw the losses of classifiers with random effects."""
    rows = tables("effects_classes.md")[0][1]
    draw_models([(row[0], row[1], row[2], row[4]) for row in rows], "held-out log-loss")


def draw_models(rows, label):
    """Draw rows of a data set, a model and its losses on known and new groups."""
    groups = {}
    for data, model, known, new in rows:
        groups.setdefault(data, {})[model] = (number(known), number(new))
    dots(list(groups.items()), label)


def coverage():
    """Draw the coverage of intervals of predictions beside their nominal levels."""
    header, rows = tables("calibration.md")[0]
    kinds = header[2:]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.62 * len(rows) + 1.3), layout="constrained")
    for level in (50, 80, 95):
        ax.axvline(level, color="0.5", lw=1, zorder=0)
    for n, kind in enumerate(kinds):
        held = [[number(part) for part in row[2 + n].split("/")] for row in rows]
        place = np.arange(len(rows)) + 0.16 * (n - 1.5)
        colour = OURS if "known" in kind else THEIRS
        face = colour if "mean" in kind else "white"
        ax.plot(held, place, "o", color=colour, mfc=face, ms=5)
        ax.plot([], [], "o", color=colour, mfc=face, ms=5, label=kind)
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel="coverage of nominal 50, 80 and 95% intervals, %")
    ax.set_xticks([50, 60, 70, 80, 90, 95])
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
