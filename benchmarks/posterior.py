"""Posteriors here, in rstanarm, numpyro and bambi: CPU seconds, and seconds an effective draw.

Usage: python benchmarks/posterior.py DIRECTORY PEER CASE, once for the data (PEER "data"), which
come from R's lme4, and then for every peer and case; it prints a line of figures. Four chains of
1,000 draws, after 1,000 for others to warm up; random effects are drawn too, but for InstEval. Of
the hundred groups rstanarm gets one chain of 600. PEER "columns" and CASE k: k correlated random
columns here, with k (k + 1) / 2 + 1 variance parameters; "8 hamiltonian" draws them along the
gradient.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

# name: fixed part and random part of the formula, response, groups
CASES = {
    "sleepstudy": ("Days", "(Days | Subject)", "Reaction", ["Subject"]),
    "Dyestuff2": ("1", "(1 | Batch)", "Yield", ["Batch"]),
    "Penicillin": ("1", "(1 | plate) + (1 | sample)", "diameter", ["plate", "sample"]),
    "groups": ("x", "(1 | g)", "y", ["g"]),
    "InstEval": ("service", "(1 | s) + (1 | d) + (1 | dept)", "y", ["s", "d", "dept"]),
}
R_DATA = """
suppressMessages(library(lme4)); o <- commandArgs(TRUE)[1]
InstEval$service <- as.numeric(InstEval$service) - 1
for (n in c("sleepstudy", "Dyestuff2", "Penicillin", "InstEval"))
  write.csv(get(n), file.path(o, paste0(n, ".csv")), row.names=FALSE)
"""
R_SAMPLE = """
suppressMessages(library(rstanarm)); a <- commandArgs(TRUE)
d <- read.csv(a[1]); for (g in strsplit(a[2], ",")[[1]]) d[[g]] <- factor(d[[g]])
t <- system.time(f <- stan_lmer(as.formula(a[3]), d, chains=as.integer(a[4]),
                                iter=as.integer(a[5]), cores=1, seed=1, refresh=0))
s <- summary(f); s <- s[!grepl("^b\\\\[|^mean_PPD|^log-posterior", rownames(s)), ]
cat(sprintf("%.3f %.1f\\n", t[["user.self"]] + t[["sys.self"]], min(s[, "n_eff"])))
"""


def write_data(directory):
    """Write the tables of R, and one of 100 groups of 52 to 152 rows."""
    script = directory / "data.R"
    script.write_text(R_DATA)
    subprocess.run(["Rscript", script, directory], check=True)
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(100), rng.integers(52, 153, 100))
    x = rng.standard_normal(len(g))
    y = 1.0 + 0.5 * x + rng.standard_normal(100)[g] + 2.0 * rng.standard_normal(len(g))
    pd.DataFrame({"x": x, "y": y, "g": g}).to_csv(directory / "groups.csv", index=False)


def table_of(directory, name):
    """Return a table with its groups as texts."""
    table = pd.read_csv(directory / f"{name}.csv")
    return table.astype(dict.fromkeys(CASES[name][3], str))


def least_effective(draws):
    """Return the least effective number of draws, (chains, draws) each."""
    from arviz_stats.base import array_stats

    axes = {"chain_axis": 0, "draw_axis": 1}
    return min(float(array_stats.ess(each, method="bulk", **axes)) for each in draws)


def in_skmixed(directory, name):
    """Fit, sample and draw the random effects; the last but for InstEval."""
    from skmixed import MixedLinearRegressor
    from skmixed.bayes import sample

    fixed, random, response, groups = CASES[name]
    table, is_large = table_of(directory, name), name == "InstEval"
    X = table[groups if fixed == "1" else [fixed, *groups]]

    def once():
        model = MixedLinearRegressor(random).fit(X, table[response])
        draws = sample(
            model, "rstanarm", random_state=1, n_jobs=2 if is_large else 1, verbose=is_large
        )
        for group in [] if is_large else groups:
            draws.effects(group)
        return draws

    best = {"cpu": np.inf}
    for _ in range(1 if is_large else 5):
        cpu, wall = time.process_time(), time.perf_counter()
        draws = once()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if cpu < best["cpu"]:
            best = {"cpu": cpu, "wall": wall}
    return {
        **best,
        "ess": least_effective(draws.parameters.values()),
        "evaluations": draws.n_evaluations,
        "efficiency": draws.efficiency,
        "pareto_k": draws.pareto_k,
    }


def in_rstanarm(directory, name):
    """Sample by rstanarm, which is compiled."""
    script = directory / "sample.R"
    script.write_text(R_SAMPLE)
    fixed, random, response, groups = CASES[name]
    formula = f"{response} ~ {fixed} + {random}"
    size = ["1", "600"] if name == "groups" else ["4", "2000"]
    command = ["Rscript", script, directory / f"{name}.csv", ",".join(groups), formula, *size]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu, ess = (float(each) for each in printed.split()[-2:])
    return {"cpu": cpu, "ess": ess}


def in_numpyro(directory, name):
    """Sample by NUTS of numpyro, effects standardised."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    fixed, random, response, groups = CASES[name]
    table = table_of(directory, name)
    y = jnp.asarray(table[response].to_numpy(float))
    unit = float(table[response].std())
    X = np.ones((len(table), 1))
    if fixed != "1":
        X = np.column_stack([X, table[fixed] - table[fixed].mean()])
    X, k = jnp.asarray(X), 1 if random.startswith("(1 ") else 2
    codes = [np.unique(table[group], return_inverse=True)[1] for group in groups]

    def model():
        sigma = numpyro.sample("sigma", dist.Exponential(1.0 / unit))
        beta = numpyro.sample("beta", dist.Normal(0.0, 2.5 * unit).expand([X.shape[1]]))
        mean = float(table[response].mean()) + X @ beta
        for number, code in enumerate(codes):
            scales = numpyro.sample(f"sd{number}", dist.HalfNormal(2.5 * unit).expand([k]))
            root = jnp.diag(scales)
            if k > 1:
                root = root @ numpyro.sample(f"root{number}", dist.LKJCholesky(k, 1.0))
            shape = [int(code.max()) + 1, k]
            z = numpyro.sample(f"z{number}", dist.Normal().expand(shape).to_event(2))
            mean = mean + ((z @ root.T)[code] * X[:, :k]).sum(axis=1)
        numpyro.sample("y", dist.Normal(mean, sigma), obs=y)

    chains = MCMC(NUTS(model), num_warmup=1000, num_samples=1000, num_chains=4, progress_bar=False)
    times = []
    for key in range(2):  # the second time it is compiled
        start = time.process_time()
        chains.run(jax.random.PRNGKey(key))
        drawn = chains.get_samples(group_by_chain=True)
        jax.block_until_ready(drawn)
        times.append(time.process_time() - start)
    wanted = [np.asarray(drawn[each]) for each in drawn if each.startswith(("sigma", "beta", "sd"))]
    ess = least_effective(
        [e for each in wanted for e in each.reshape(4, 1000, -1).T.swapaxes(1, 2)]
    )
    return {"cpu": times[1], "compiling": times[0] - times[1], "ess": ess}


def in_bambi(directory, name):
    """Sample bambi's model by nutpie."""
    import bambi
    import nutpie

    fixed, random, response, _ = CASES[name]
    start = time.process_time()
    model = bambi.Model(f"{response} ~ {fixed} + {random}", table_of(directory, name))
    model.build()
    compiled = nutpie.compile_pymc_model(model.backend.model)
    compiling, start = time.process_time() - start, time.process_time()
    trace = nutpie.sample(
        compiled, draws=1000, tune=1000, chains=4, cores=1, seed=1, progress_bar=False
    )
    cpu = time.process_time() - start
    shown = [
        n for n in trace.posterior if n.endswith("_sigma") or n in ("Intercept", fixed, "sigma")
    ]
    values = [trace.posterior[each].to_numpy() for each in shown]
    parts = [e for each in values for e in each.reshape(4, 1000, -1).transpose(2, 0, 1)]
    return {"cpu": cpu, "compiling": compiling, "ess": least_effective(parts)}


def in_columns(directory, case):
    """Sample a model of k correlated random columns of 40 groups, by the sampler named after k."""
    from skmixed import MixedLinearRegressor
    from skmixed.bayes import sample

    rng, (k, *sampler) = np.random.default_rng(5), case.split()
    k = int(k)
    names = [f"x{number}" for number in range(1, k)]
    Z = np.column_stack([np.ones(600), rng.standard_normal((600, k - 1))])
    g = rng.integers(40, size=600)
    effects = rng.standard_normal((40, k)) * np.linspace(1.0, 0.3, k)
    y = Z.sum(axis=1) + (Z * effects[g]).sum(axis=1) + rng.standard_normal(600)
    X = pd.DataFrame(Z[:, 1:], columns=names).assign(g=g.astype(str))
    model = MixedLinearRegressor(f"({' + '.join(['1', *names])} | g)").fit(X, y)
    cpu = time.process_time()
    draws = sample(model, random_state=0, sampler=sampler[0] if sampler else "importance")
    cpu = time.process_time() - cpu
    return {
        "cpu": cpu,
        "ess": least_effective(draws.parameters.values()),
        "evaluations": draws.n_evaluations,
        "efficiency": draws.efficiency,
        "pareto_k": draws.pareto_k,
        "thinning": draws.thinning,
    }


PEERS = {
    "skmixed": in_skmixed,
    "rstanarm": in_rstanarm,
    "numpyro": in_numpyro,
    "bambi": in_bambi,
    "columns": in_columns,
}


def main():
    """Print the figures of one peer and case."""
    directory, peer = Path(sys.argv[1]), sys.argv[2]
    if peer == "data":
        write_data(directory)
        return
    print(json.dumps({"peer": peer, "case": sys.argv[3], **PEERS[peer](directory, sys.argv[3])}))


if __name__ == "__main__":
    main()
