"""The oldest versions that are tested are the lower bounds of pyproject.toml."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = ["bayes", "dask", "duckdb", "explore", "formula", "plot", "spark", "test"]
    wanted = [*project["dependencies"], *(entry for name in names for entry in extras[name])]
    bounds = dict(entry.split(">=") for entry in wanted if ">=" in entry)
    return {name.partition("[")[0]: bound for name, bound in bounds.items()}


def pinned():
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_every_lower_bound_is_pinned():
    bounds, pins = lower_bounds(), pinned()
    assert pins.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert re.match(rf"{re.escape(bound)}(\.\d+)*$", pins[name]), name
