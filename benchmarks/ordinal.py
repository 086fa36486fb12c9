"""Time a cumulative link mixed model of VerbAgg here and in ordinal's clmm.

The response has three categories, the random part is (1 | id), 316 people; Laplace's approximation,
one thread. The fit here is the median of several, that of R one, in seconds of the processor;
beside them stands -2 log-likelihood.

Usage: python benchmarks/ordinal.py [--repeats 20] [--link logit]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time

import pandas as pd
from generalized_cases import DATA

from skmixed import clmm

FORMULA = "resp ~ btype + situ + mode + Anger + Gender + (1 | id)"
IN_R = """
suppressMessages(library(ordinal))
data <- read.csv("{path}", stringsAsFactors = TRUE)
data$resp <- ordered(data$resp, c("no", "perhaps", "yes"))
spent <- system.time(m <- clmm({formula}, data, link = "{link}"))
cat(sprintf("%.1f %.4f %s", spent[["user.self"]], -2 * logLik(m), packageVersion("ordinal")))
"""


def main():
    """Time both and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--link", choices=("logit", "probit"), default="logit")
    args = parser.parse_args()
    path = DATA / "VerbAgg.csv.gz"
    data, seconds = pd.read_csv(path), []
    data["resp"] = pd.Categorical(data["resp"], ["no", "perhaps", "yes"], ordered=True)
    for _ in range(args.repeats):
        start = time.perf_counter()
        model = clmm(FORMULA, data, link=args.link)
        seconds.append(time.perf_counter() - start)
    print(f"skmixed: {statistics.median(seconds):.3f} s, {model.criterion_:.4f}")
    program = IN_R.format(path=path, formula=FORMULA, link=args.link)
    found = subprocess.run(["Rscript", "-e", program], capture_output=True, text=True, check=True)
    spent, criterion, version = found.stdout.split()
    print(f"ordinal {version}: {spent} s, {criterion}")


if __name__ == "__main__":
    main()
