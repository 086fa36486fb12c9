"""Another name of 07_boosting.py."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("07_boosting.py")), run_name="__main__")
