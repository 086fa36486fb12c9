"""Where fits made in R are found, and the tables they were made from.

The figures under tests/reference/ travel with the project. The whole set (every model, every
data set) lies outside it, in the directory named by the environment variable
SKMIXED_REFERENCE, by default ../shared/reference seen from the project's root.
"""

import csv
import json
import os
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from skmixed.datasets import load_sleepstudy
from tests.reference.extract_figures import reduce, reduce_inference

PROJECT = Path(__file__).resolve().parents[1]
FIGURES = PROJECT / "tests" / "reference" / "figures"
INFERENCE = PROJECT / "tests" / "reference" / "inference"
TABLES = PROJECT / "tests" / "reference" / "data"
WHOLE_SET = Path(os.environ.get("SKMIXED_REFERENCE", PROJECT / ".." / "shared" / "reference"))

needs_whole_set = pytest.mark.skipif(
    not (WHOLE_SET / "fits").is_dir(),
    reason="the whole reference set is not here; SKMIXED_REFERENCE says where it is",
)

# What R did to a table before fitting, and the weights it used: R's text and the same in pandas.
PREPARATIONS = {
    "D$prop <- D$incidence/D$size": lambda D: D.assign(prop=D["incidence"] / D["size"]),
}
WEIGHTS = {
    "size": lambda D: D["size"].to_numpy(dtype=float),
    "1 + (Days %% 3)": lambda D: 1.0 + D["Days"].to_numpy() % 3,
}


def committed_names():
    """Names of the fits whose figures the project carries."""
    return sorted(path.stem for path in FIGURES.glob("*.json"))


def committed_figures(name):
    """Figures of one fit that the project carries."""
    return json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))


@cache
def committed_table(dataset):
    """Published data that the project carries."""
    if dataset == "sleepstudy":
        return load_sleepstudy()
    stored = json.loads((TABLES / f"{dataset}.json").read_text(encoding="utf-8"))
    return pd.DataFrame(stored["columns"])


def whole_set_names():
    """Names of all linear mixed models of the whole set, none where it is absent."""
    paths = sorted((WHOLE_SET / "fits").glob("*.json"))
    return [path.stem for path in paths if '"type": "lmm"' in _head(path)]


def inference_names():
    """Names of the fits with tests and intervals, the committed ones and the whole set's."""
    committed = [path.stem for path in INFERENCE.glob("*.json")]
    fits = [name for name in committed if not name.startswith("l")]
    return sorted({*fits, *whole_set_names()})


def inference_figures(name):
    """Tests and intervals of one fit: the committed figures, or else the whole set's."""
    path = INFERENCE / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return whole_set_inference(name)


def whole_set_inference(name):
    """Tests and intervals of one fit of the whole set."""
    path = WHOLE_SET / "fits" / f"{name}.json"
    return reduce_inference(json.loads(path.read_text(encoding="utf-8")))


def comparison(name):
    """Figures of one comparison of models that the project carries."""
    return json.loads((INFERENCE / f"{name}.json").read_text(encoding="utf-8"))


def table(dataset):
    """The table of a data set, the project's own or the whole set's."""
    if dataset == "sleepstudy" or (TABLES / f"{dataset}.json").exists():
        return committed_table(dataset)
    return whole_set_table(dataset)


def whole_set_figures(name):
    """Figures of one fit of the whole set, in the form of the committed ones."""
    return reduce(json.loads((WHOLE_SET / "fits" / f"{name}.json").read_text(encoding="utf-8")))


@cache
def whole_set_table(dataset):
    """Read a table of the whole set, its string columns as strings."""
    columns = json.loads((WHOLE_SET / "data" / "columns.json").read_text(encoding="utf-8"))[dataset]
    strings = {name: str for name, c in columns["columns"].items() if c["type"] == "string"}
    path = WHOLE_SET / "data" / columns["file"]
    return pd.read_csv(path, dtype=strings, na_values=["NA"], keep_default_na=False,
                       quoting=csv.QUOTE_MINIMAL)  # fmt: skip


def model_data(figures, table):
    """Table and weights as R had them at the fit: prepared, factors in R's level order."""
    if figures["prep"]:
        table = PREPARATIONS[figures["prep"]](table)
    weights = WEIGHTS[figures["weights"]](table) if figures["weights"] else None
    return ordered(table, figures["factor_levels"]), weights


def ordered(table, factor_levels):
    """Make a categorical of each column whose levels are not in the order of their strings.

    R's figures only count the levels of large factors, which are in that order.
    """
    explicit = {
        name: pd.Categorical(table[name], categories=levels)
        for name, levels in factor_levels.items()
        if name in table and isinstance(levels, list) and levels != sorted(levels)
    }
    return table.assign(**explicit)


def _head(path):
    with path.open(encoding="utf-8") as file:
        return file.read(300)
