"""Another name of 06_high_cardinality.py."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("06_high_cardinality.py")), run_name="__main__")
