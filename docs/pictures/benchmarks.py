"""Bars of the table of times on the page of the benchmarks, on a logarithmic scale."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

PAGE = Path("../benchmarks/index.md")  # pictures are drawn where they lie
COLOURS = ["C1", "C0", "C2", "0.6"]


def table(text):
    """Return the header and the rows of the first table of a page, as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    end = next(n for n, row in enumerate(rows[2:], start=2) if row[0] == "model")
    return rows[0], rows[2:end]


def seconds(cell):
    """Return seconds, and whether they are a lower bound; NaN for what was not run."""
    found = re.search(r"[\d.]+", cell)
    return (float(found[0]) if found else np.nan), cell.startswith(">")


header, rows = table(PAGE.read_text(encoding="utf-8"))
packages = header[2:]
figure, ax = plt.subplots(figsize=(9, 5.5), layout="constrained")
height = 0.8 / len(packages)
for number, (package, colour) in enumerate(zip(packages, COLOURS, strict=True)):
    found = [seconds(row[2 + number]) for row in rows]
    times = np.array([time for time, _ in found])
    places = np.arange(len(rows)) + number * height
    ax.barh(places, times, height, color=colour, label=package)
    for place, (time, is_more) in zip(places, found, strict=True):
        known = not np.isnan(time)
        text = f" {'> ' * is_more}{time:g} s" if known else " not run"
        ax.text(time if known else 1e-3, place, text, va="center", size=8, color="0.3")
ax.set(xscale="log", xlim=(1e-3, 400), xlabel="seconds a fit, logarithmic")
ax.set_yticks(np.arange(len(rows)) + 0.4 - height / 2, [f"{row[0]}\n{row[1]} rows" for row in rows])
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4)
ax.spines[["top", "right"]].set_visible(False)
