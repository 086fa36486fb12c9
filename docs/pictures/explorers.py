"""The explorers of the guide: pages of two models, and a picture of one of them.

The site's build calls `write`; `python docs/pictures/explorers.py` takes the picture anew, which
needs a Chromium.
"""

import contextlib
import io
import runpy
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from skmixed import lmer
from skmixed.datasets import load_sleepstudy
from skmixed.display import explore

HERE = Path(__file__).parent
WIDTH, HEIGHT = 480, 1066  # pixels of the picture on the page, readable on a telephone
SHARPNESS = 2  # pixels of the file for one of the page
COLOURS = 128  # of the file: a page has few


def write(folder):
    """Write the pages into a folder."""
    folder.mkdir(exist_ok=True)
    X, y = load_sleepstudy(return_X_y=True)
    table = X.assign(Reaction=y)
    sleep = lmer("Reaction ~ Days + (Days | Subject)", table)
    explore(sleep, table, folder / "sleepstudy.html", title="Reaction times and sleep")
    plt.switch_backend("agg")
    with contextlib.redirect_stdout(io.StringIO()):
        example = runpy.run_path(str(HERE.parents[1] / "examples" / "13_counts_and_rates.py"))
    plt.close("all")
    machines, stops = example["X"], example["counts"]
    explore(stops, machines, folder / "stops.html", title="Stops of machines")


def take(folder):
    """Take the picture of the guide."""
    taken = folder / "explorer.png"
    subprocess.run(
        [
            *(shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu"),
            *("--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={taken}"),
            *(f"--force-device-scale-factor={SHARPNESS}", "--virtual-time-budget=5000"),
            (folder / "sleepstudy.html").as_uri(),
        ],
        check=True,
    )
    small = Image.open(taken).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(HERE.parent / "_static" / "explorer.png", optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        take(Path(name))
