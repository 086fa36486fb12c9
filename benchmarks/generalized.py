"""Time generalized models here and in every peer that is installed; write a Markdown page.

Each fit runs in a process of its own with one thread, a peer's right after one of skmixed, and the
two medians are compared. The estimates of every package are judged by one criterion, -2
log-likelihood in Laplace's approximation: a package that ends more than 1e-3 above the lowest is
marked, since it has stopped before the end. Figures are kept in a file between calls, so that large
models can be run one by one.

Usage: python benchmarks/generalized.py [--cases ...] [--peers ...] [--limit 300] [--seconds 5]
                                        [--keep figures.json] [--output ... | --no-page]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import generalized_peers as peers
import numpy as np
from generalized_cases import CASES, DATA, LARGE, SMALL
from generalized_peers import UnfitError

HERE = Path(__file__).parent
PYTHON_PEERS = ["glmm", "gpboost", "mixedlm", "statsmodels"]
R_PEERS = ["lme4", "glmmTMB"]
OURS, FORMULA = "skmixed", "skmixed_formula"
OFF = 1e-3  # above the lowest criterion: lme4's searches end at about that
REPEATS = 20  # of R's fits to small sets


# --- one process ------------------------------------------------------------------------------


def measure(fit, budget, settle=None):
    """Time a fit until the budget is spent, and what settles it afterwards."""
    seconds, settling = [], []
    began = time.perf_counter()
    while not seconds or (time.perf_counter() - began < budget and len(seconds) < 200):
        start = time.perf_counter()
        found = fit()
        seconds.append(time.perf_counter() - start)
        if settle is not None:
            start = time.perf_counter()
            settle(found)
            settling.append(time.perf_counter() - start)
    return seconds, settling, found


def observed(case):
    """Return the rows of a case in the units that the core fits in."""
    from skmixed.core.families.catalogue import family_of
    from skmixed.core.generalized.approximation.observations import Observations
    from skmixed.core.model.spec import ModelSpec, Term
    from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

    data, factors, terms, codes, indexes = case.data, [], [], [], []
    for place, name in enumerate(case.groups):
        has_slope = case.slope is not None and place == 0
        columns = (0, 1 + case.fixed.index(case.slope)) if has_slope else (0,)
        levels, of_rows = np.unique(data[name], return_inverse=True)
        factors.append(FactorLayout((name,), columns))
        terms.append(Term(place, columns, "unstructured"))
        codes.append(of_rows)
        indexes.append(GroupIndex((name,), (levels,)))
    layout = Layout(("1", *case.fixed, "y"), tuple(factors))
    table, weights = np.column_stack([case.exog, data["y"]]), peers.trials_of(case)
    rows = Rows(table, tuple(codes), tuple(indexes), weights)
    spec = ModelSpec(tuple(range(1 + len(case.fixed))), tuple(terms), "ml", "frequency")
    offset = data["offset"].to_numpy() if "offset" in data else None
    return Observations.of(layout, rows, spec, family_of(case.family, "auto"), offset)


def criterion_at(case, beta, covariances):
    """Return -2 log-likelihood, approximated, at estimates of any package."""
    from skmixed.core.generalized.approximation.laplace import evaluate_laplace
    from skmixed.core.generalized.approximation.modes import Point

    observations = observed(case)
    units = observations.units
    maps = units.to_raw[list(observations.spec.fixed), :-1]
    scaled = np.linalg.lstsq(maps, np.asarray(beta, dtype=float), rcond=None)[0]
    lambdas = []
    for covariance, random_map in zip(covariances, units.random_maps, strict=True):
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        lambdas.append(np.linalg.solve(random_map, root))
    return evaluate_laplace(observations, Point(scaled, lambdas, np.zeros(0))).criterion


def one(peer, name, scale, budget):
    """Fit one model with one package; return its figures."""
    case = CASES[name](scale)
    warnings.simplefilter("ignore")
    if peer in R_PEERS:
        repeats = 1 if name in LARGE else REPEATS
        seconds, estimates = peers.run_r(peer, case, repeats, budget)
        return {"seconds": seconds, "criterion": criterion_at(case, *estimates)}
    fit = getattr(peers, f"prepare_{peer}")(case)
    if peer.startswith(OURS):
        seconds, errors, found = measure(fit, budget, lambda made: made.parameter_covariance)
        return {"seconds": seconds, "errors": errors, "criterion": found.criterion}
    seconds, _, estimates = measure(fit, budget)
    return {"seconds": seconds, "criterion": criterion_at(case, *estimates)}


def run(peer, case, options):
    """Run one fit in a fresh process; return its figures, seconds as medians, or a reason."""
    command = [sys.executable, str(HERE / "generalized.py"), "--one", peer, case]
    command += [str(options.scale), str(options.seconds)]
    names = ["OPENBLAS", "OMP", "MKL", "RAYON"]
    threads = dict.fromkeys([f"{name}_NUM_THREADS" for name in names], "1")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=options.limit,
            env={**os.environ, **threads},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"unfit": f"> {options.limit:.0f} s"}
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"unfit": "failed"}
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    for part in ("seconds", "errors"):
        if part in figures:
            figures[part] = statistics.median(figures[part])
    return figures


# --- the page ---------------------------------------------------------------------------------


def duration(seconds):
    """Return seconds as text."""
    if seconds < 0.0995:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def cell(figures, lowest):
    """Return one cell of the table of seconds."""
    if figures is None:
        return "-"
    if "unfit" in figures:
        return figures["unfit"]
    ratio = figures["seconds"] / figures["ours"]
    text = f"{duration(figures['seconds'])} ({ratio:.2g}x)"
    if ratio >= 99.5:
        text = f"{duration(figures['seconds'])} ({ratio:.0f}x)"
    above = figures["criterion"] - lowest
    return text + (f", +{above:.2g}" if above > OFF else "")


def table(results, names, others):
    """Return the lines of one table."""
    labels = ["`glmer()`" if peer == FORMULA else peer for peer in others]
    columns = ["model", OURS, "its errors", *labels]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name in names:
        row = results[name]
        ours = row[OURS]
        lowest = min(figures["criterion"] for figures in row.values() if "criterion" in figures)
        own = statistics.median(figures["ours"] for figures in row.values() if "ours" in figures)
        cells = [duration(own), duration(ours["errors"])]
        cells += [cell(row.get(peer), lowest) for peer in others]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def r_versions():
    """Return the versions of R's packages."""
    calls = [f'cat(" {name}", as.character(packageVersion("{name}")))' for name in R_PEERS]
    if not shutil.which("Rscript"):
        return ""
    call = ["Rscript", "-e", "; ".join(calls)]
    return subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip()


def page(results, others):
    """Return the report."""
    named = ["numpy", "scipy", *[peer for peer in others if peer in PYTHON_PEERS]]
    versions = ", ".join(f"{name} {version(name)}" for name in named)
    large, small = ([name for name in kind if name in results] for kind in (LARGE, SMALL))
    ratios = {
        peer: [
            row[peer]["seconds"] / row[peer]["ours"]
            for row in (results[name] for name in small)
            if "seconds" in row.get(peer, {})
        ]
        for peer in others
    }
    middles = [
        f"| {peer} | {len(found)} | {statistics.median(found):.3g} | {min(found):.3g} | "
        f"{max(found):.3g} |"
        for peer, found in ratios.items()
        if found
    ]
    return [
        "# Generalized mixed models: time of a fit",
        "",
        "Made by `python benchmarks/generalized.py`: data in memory, one thread, Laplace's",
        "approximation, defaults of every package, each fit in its own process after one of",
        "skmixed; medians of the fits possible in a few seconds, and one fit of R to the large",
        "data sets. The cells of a row are from one run. In brackets, the ratio to skmixed's",
        "estimator in the preceding process; skmixed's own cell is the median of these processes.",
        "`its errors` is the additional time for standard errors, which are computed on first",
        "request; the other packages, except gpboost, compute them in the fit. `glmer()` is",
        "skmixed with the same formula and data frame as lme4; the estimator is given arrays.",
        "",
        "All estimates are evaluated with the same function, -2 log-likelihood by Laplace's",
        f"approximation; `+` is the excess over the lowest value, if more than {OFF:g}.",
        "statsmodels' `BinomialBayesMixedGLM` and `PoissonBayesMixedGLM` (`fit_vb`) use another",
        "approximation, and priors. glmm is run without likelihood-ratio tables, for which it",
        "refits Poisson models. `not alone`: run once, beside other programs.",
        "",
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {versions}; {r_versions()}.",
        "",
        "## Simulated data",
        "",
        *[f"- `{name}`: {CASES[name].__doc__}" for name in large],
        "",
        *table(results, large, others),
        "",
        "## Well-known data",
        "",
        *[f"- `{name}`: {CASES[name].__doc__}" for name in small],
        "",
        *table(results, small, others),
        "",
        "Ratio of times to that of skmixed's estimator, over these data sets:",
        "",
        "| package | data sets | median | lowest | highest |",
        "|---|---|---|---|---|",
        *middles,
        "",
    ]


def installed():
    """Return the peers that can be run here."""
    found = [peer for peer in PYTHON_PEERS if find_spec(peer)]
    return [*(R_PEERS if shutil.which("Rscript") else []), *found]


def main():
    """Run what is asked for, keep the figures, write the page."""
    if sys.argv[1:2] == ["--one"]:
        peer, name, scale, budget = sys.argv[2:]
        try:
            figures = one(peer, name, float(scale), float(budget))
        except UnfitError as reason:
            figures = {"unfit": str(reason)}
        print(json.dumps(figures))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies rows and levels")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one process")
    parser.add_argument("--seconds", type=float, default=5.0, help="of fits, repeated")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--peers", nargs="*", default=[FORMULA, *installed()])
    parser.add_argument("--keep", help="file of figures, added to")
    parser.add_argument("--no-page", action="store_true", help="keep the figures only")
    parser.add_argument("--output", default=str(HERE.parent / "docs/benchmarks/generalized.md"))
    options = parser.parse_args()
    kept = Path(options.keep) if options.keep else None
    results = json.loads(kept.read_text()) if kept and kept.exists() else {}
    for name in options.cases:
        if name in SMALL and not DATA.exists():
            continue
        row = results.setdefault(name, {})
        for peer in options.peers:
            row[OURS] = run(OURS, name, options)
            row[peer] = {**run(peer, name, options), "ours": row[OURS]["seconds"]}
            print(name, peer, row[peer], file=sys.stderr, flush=True)
            if kept:
                kept.write_text(json.dumps(results))
    if not options.no_page:
        run_here = {peer for row in results.values() for peer in row}
        others = [peer for peer in (FORMULA, *installed()) if peer in run_here]
        text = "\n".join(page(results, others))
        Path(options.output).write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
