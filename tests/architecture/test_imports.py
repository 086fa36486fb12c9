"""What importing the package costs, and what its modules may be called."""

import subprocess
import sys
from pathlib import Path

import pytest

import skmixed

# Optional, or heavy: loaded only by the function that needs it.
LAZY = ["arviz_base", "arviz_stats", "dask", "distributed", "duckdb", "formulaic", "matplotlib"]
LAZY += ["bokeh", "polars", "pymc", "pyspark", "pytensor", "xarray"]
# A module is named after what it is about.
NAMELESS = {"common", "helpers", "misc", "util", "utils"}

# The only ones that ask what kind of table there is.
DOORS = {"design/tables.py", "estimators/reading/_input_table.py"}

MODULES = sorted(Path(skmixed.__file__).parent.rglob("*.py"))


def test_import_loads_no_optional_dependency():
    program = f"import skmixed, sys; print(*(set({LAZY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_kinds_of_tables_are_told_apart_at_the_door():
    root = Path(skmixed.__file__).parent
    asking = {str(path.relative_to(root)) for path in MODULES if "is_frame" in path.read_text()}
    assert asking == DOORS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_is_named_after_its_subject(path):
    assert path.stem.lstrip("_") not in NAMELESS
