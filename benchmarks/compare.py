"""Time skmixed and every peer that is installed on the same models; write a Markdown table.

Each (model, package) runs in a process of its own with one BLAS thread. Seconds are medians; the
other columns say how many times as long a package takes as skmixed in the same run. A package that
ends more than 1e-3 above the lowest criterion is marked.

Usage: python benchmarks/compare.py [--scale 1] [--limit 300] [--cases ...] [--peers ...]
                                    [--output docs/benchmarks/fits.md]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from cases import CASES, INSTEVAL

HERE = Path(__file__).parent
MODULES = {
    "skmixed": "skmixed",
    "linear_regression": "sklearn",
    "mixedlm": "mixedlm",
    "mixedlm_rs": "mixedlm_rs",
    "lme_python": "lme_python",
    "gpboost": "gpboost",
    "statsmodels": "statsmodels",
}
DISTRIBUTIONS = ["numpy", "scipy", "pandas", "scikit-learn"]
OFF = 1e-3


def installed():
    """Return the peers that can be run here."""
    found = [peer for peer, module in MODULES.items() if find_spec(module)]
    return [*found, "lme4"] if shutil.which("Rscript") else found


def run(peer, case, scale, limit):
    """Run one fit in a fresh process; return its figures or a reason."""
    command = [sys.executable, str(HERE / "worker.py"), peer, case, str(scale), "5"]
    threads = dict.fromkeys(["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"], "1")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env={**os.environ, **threads}
        )
    except subprocess.TimeoutExpired:
        return {"unfit": f"> {limit:.0f} s"}
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"unfit": "failed"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def cell(figures, ours, best):
    """Return one cell of the table of seconds."""
    if "unfit" in figures:
        return figures["unfit"]
    seconds = statistics.median(figures["seconds"])
    text = f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds:.2f} s"
    text += f" ({seconds / ours:.1f}x)"
    criterion = figures["criterion"]
    if criterion is not None and criterion > best + OFF:
        text += f", criterion +{criterion - best:.2g}"
    return text


def tables(results, peers):
    """Return the tables of seconds and of memory as lines of Markdown."""
    head = ["| model | " + " | ".join(peers) + " |", "|---" * (len(peers) + 1) + "|"]
    seconds, memory = list(head), list(head)
    for case, row in results.items():
        ours = statistics.median(row["skmixed"]["seconds"])
        criteria = [f["criterion"] for f in row.values() if f.get("criterion") is not None]
        best = min(criteria)
        seconds.append(
            f"| {case} | " + " | ".join(cell(row[peer], ours, best) for peer in peers) + " |"
        )
        cells = [f"{row[p]['memory']:.0f}" if "memory" in row[p] else "-" for p in peers]
        memory.append(f"| {case} | " + " | ".join(cells) + " |")
    return seconds, memory


def write(path, results, peers, scale):
    """Write the report."""
    seconds, memory = tables(results, peers)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in DISTRIBUTIONS]
    models = [f"- `{name}`: {CASES[name].__doc__}" for name in results]
    lines = [
        "# Linear mixed models: time and memory of a fit",
        "",
        "Made by `python benchmarks/compare.py`: fit only, data in memory, REML (gpboost: maximum",
        "likelihood, uncorrelated), one BLAS thread, medians of the fits possible in 5 seconds;",
        "in brackets, the ratio to skmixed. `linear_regression` is scikit-learn's least squares on",
        "the same columns, without groups.",
        "",
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {', '.join(versions)}; sizes times {scale:g}.",
        "",
        *models,
        "",
        "## Time",
        "",
        *seconds,
        "",
        "## Peak memory beyond the data, MB",
        "",
        *memory,
        "",
    ]
    Path(path).write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def main():
    """Run all pairs and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies rows and levels")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one package")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--peers", nargs="*", default=installed())
    parser.add_argument("--output", default=str(HERE.parent / "docs/benchmarks/fits.md"))
    options = parser.parse_args()
    names = [name for name in options.cases if name != "insteval" or INSTEVAL.exists()]
    results = {}
    for name in names:
        results[name] = {}
        for peer in options.peers:
            results[name][peer] = run(peer, name, options.scale, options.limit)
            print(name, peer, results[name][peer].get("unfit", "done"), file=sys.stderr, flush=True)
    write(options.output, results, options.peers, options.scale)


if __name__ == "__main__":
    main()
