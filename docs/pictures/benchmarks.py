"""Bars of the tables of times, on a logarithmic scale: one function a picture."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

PAGES = Path("../benchmarks")  # pictures are drawn where they lie
COLOURS = {"skmixed": "C1", "lme4": "C0", "mixedlm": "C2", "statsmodels": "0.6", "glmm": "C2"}
COLOURS |= {"gpboost": "C4", "rstanarm": "C0", "numpyro": "C4", "bambi": "C2", "glmmTMB": "C0"}
COLOURS |= {"mgcv": "C3", "gamm4": "C5", "nlme": "C2", "gamrs": "C9"}


def tables(page):
    """Return the tables of a page: of each the header and the rows, lists of cells."""
    text = (PAGES / page).read_text(encoding="utf-8").replace(r"\|", "¦")
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [
            [cell.strip().replace("¦", "|").replace("`", "") for cell in line.strip("|").split("|")]
            for line in block.splitlines()
        ]
        found.append((rows[0], rows[2:]))
    return found


def seconds(cell, unit=1.0):
    """Return the first number of a cell in seconds, and whether it is a lower bound; or None."""
    found = re.search(r"[\d.,]+", cell)
    return found and (float(found[0].replace(",", "")) * unit, cell.startswith(">"))


def draw(tasks, label):
    """Draw bars of tasks: of each a name and the times of packages."""
    heights = [len(times) for _, times in tasks]
    figure, ax = plt.subplots(figsize=(9, 0.32 * sum(heights) + 0.3 * len(tasks) + 1.2))
    place, ticks, seen = 0.0, [], {}
    for (_, times), height in zip(tasks, heights, strict=True):
        ticks.append(place + (height - 1) / 2)
        for package, found in times.items():
            time, is_more = found or (np.nan, False)
            colour = COLOURS[package.split()[0].rstrip(",")]
            bar = ax.barh(place, time, 0.9, color=colour)
            seen.setdefault(package.split()[0].rstrip(","), bar)
            number = f"{time:,.0f}" if time >= 100 else f"{time:.2g}"
            text = f" {'> ' * is_more}{number} s" if found else " not run"
            ax.text(time if found else 1e-3, place, text, va="center", size=8, color="0.3")
            place += 1.0
        place += 0.8
    ax.set(xscale="log", xlabel=label, ylim=(place - 1, -0.8))
    ax.set_xlim(1e-3, 6 * ax.get_xlim()[1])
    ax.set_yticks(ticks, [name for name, _ in tasks])
    where = {"loc": "lower center", "bbox_to_anchor": (0.3, 1.0)}
    ax.legend(seen.values(), seen, frameon=False, ncols=len(seen), **where)
    ax.spines[["top", "right"]].set_visible(False)
    figure.set_layout_engine("constrained")


def columns(header, rows):
    """Return the tasks of a table with a column a package."""
    return [
        (f"{row[0]}\n{row[1]} rows", dict(zip(header[2:], map(seconds, row[2:]), strict=True)))
        for row in rows
    ]


def fits():
    """Draw linear models."""
    draw(columns(*tables("index.md")[0]), "seconds a fit, logarithmic")


def generalized():
    """Draw generalized models."""
    draw(columns(*tables("index.md")[1]), "seconds a fit, logarithmic")


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
                    f"{model}\n{n_rows} rows", {"skmixed": seconds(ours, 1e-3)}
                )
                name = {"gls": "nlme, gls"}.get(package, package)
                times[name] = seconds(theirs, 1e-3)
    draw(list(tasks.items()), "seconds a fit, logarithmic")


def posterior():
    """Draw posteriors, by the seconds that a thousand effective draws take."""
    tasks = []
    for model, _, package, _, _, each, _ in tables("posterior.md")[0][1]:
        if model:
            tasks.append((model, {}))
        tasks[-1][1][package] = seconds(each)  # milliseconds a draw are seconds a thousand
    draw(tasks, "seconds a thousand effective draws, logarithmic")
