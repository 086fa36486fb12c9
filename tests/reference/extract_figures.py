"""Reduce fits made in R to the figures that the tests compare with.

Run from the project's root where the whole reference set is at hand:

    python -m tests.reference.extract_figures PATH_OF_THE_REFERENCE_SET

It rewrites tests/reference/figures/ and tests/reference/inference/ (one file per fit or comparison
named below) and tests/reference/data/ (small published tables, with their sources). The figures
were computed by lme4 with an optimum polished by Newton steps; their versions are in every file.
"""

import csv
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

FITS = [
    *(f"sleep_{model}_{method}"
      for model in ["ri", "slope", "uncorr", "w1"] for method in ["reml", "ml"]),
    *(f"sleep_{model}_reml"
      for model in ["slope_only", "poly", "offset", "rankdef", "nofixint", "dayfac", "null",
                    "badscale"]),
    *(f"{model}_{method}"
      for model in ["dyestuff", "dyestuff2", "pastes", "penicillin", "machines_slopes", "rail",
                    "cbpp_lmm_w"]
      for method in ["reml", "ml"]),
    "pastes_explicit_reml", "penicillin_samplefixed_reml", "machines_cell_reml",
    "machines_nested_reml", "machines_noint_ml", "ergo_reml",
]  # fmt: skip

# Fits whose tests, intervals and explained variance are kept: by lmerTest and pbkrtest, limits of
# the likelihood ratio by root finding.
INFERENCE = [
    "sleep_slope_reml", "sleep_slope_ml", "sleep_uncorr_ml", "sleep_ri_ml", "sleep_rankdef_reml",
    "sleep_poly_reml", "sleep_w1_reml", "dyestuff_ml", "dyestuff_reml", "dyestuff2_reml",
    "pastes_ml", "penicillin_ml", "penicillin_reml", "machines_nested_reml", "machines_slopes_reml",
    "machines_noint_reml", "ergo_reml",
]  # fmt: skip
COMPARISONS = ["lrt_sleep", "lrt_sleep_reml", "lrt_machines", "lsmeans_ergo"]

SOURCES = {
    "Dyestuff": "Davies, O. L. and Goldsmith, P. L. (1972), Statistical Methods in Research and "
    "Production, 4th ed., section 6.4: yield of dyestuff from five preparations of six batches.",
    "Dyestuff2": "Box, G. E. P. and Tiao, G. C. (1973), Bayesian Inference in Statistical "
    "Analysis, section 5.1.2: simulated, laid out as the dyestuff data.",
    "Pastes": "Davies, O. L. and Goldsmith, P. L. (1972), section 6.5: strength of a chemical "
    "paste, two assays of three casks from each of ten batches.",
    "Penicillin": "Davies, O. L. and Goldsmith, P. L. (1972), section 6.6: diameter of the zone "
    "of inhibition of six samples on each of 24 plates.",
    "Machines": "Milliken, G. A. and Johnson, D. E. (1992), Analysis of Messy Data I: "
    "productivity of six workers on three machines, three times each.",
    "ergoStool": "Devore, J. L. (2000), Probability and Statistics for Engineering and the "
    "Sciences: effort to rise from four stools, nine subjects.",
    "Rail": "Devore, J. L. (2000): travel time of ultrasonic waves in six rails, three times each.",
    "cbpp": "Lesnoff, M. et al. (2004), Preventive Veterinary Medicine 64, 27-40: "
    "cases of contagious bovine pleuropneumonia in herds.",
}

COPIED = [
    "name", "dataset", "formula", "REML", "weights", "prep", "note", "n_obs", "factor_levels",
    "fixef", "fixef_se", "dropped_columns", "theta", "theta_names", "sigma", "criterion",
    "log_lik", "AIC", "BIC", "is_singular", "devfun_points",
]  # fmt: skip


def reduce(fit):
    """Keep of a full reference fit what the tests compare with."""
    figures = {key: fit[key] for key in COPIED}
    used = set(re.findall(r"[\w.]+", fit["formula"]))
    figures["factor_levels"] = {k: v for k, v in fit["factor_levels"].items() if k in used}
    figures["versions"] = {key: fit["versions"][key] for key in ["R", "lme4"]}
    figures["ranef"] = {name: _effects(effects) for name, effects in fit["ranef"].items()}
    figures["covariance"] = {
        name: _joint_covariance(name, effects["columns"], fit["varcorr"]["terms"])
        for name, effects in fit["ranef"].items()
    }
    figures["predict"] = _predictions(fit)
    return figures


def reduce_inference(fit):
    """Keep of a full reference fit its tests, intervals and parts of the variance."""
    described = ["name", "dataset", "formula", "REML", "weights", "prep", "factor_levels"]
    figures = {key: fit[key] for key in described}
    figures["versions"] = fit["versions"]
    kept = ["lmerTest", "kenward_roger", "confint_wald", "confint_profile",
            "confint_profile_exact", "r2", "icc"]  # fmt: skip
    figures |= {key: fit.get(key) for key in kept}
    figures["effective_parameters"] = (fit.get("hatvalues") or {}).get("sum")
    return figures


def reduce_comparison(comparison):
    """Keep all but the classification."""
    return {key: value for key, value in comparison.items() if key not in ("type", "kind", "set")}


def _effects(effects):
    """Conditional modes and variances of one factor, for the levels that are listed."""
    kept = {key: effects[key] for key in ["columns", "n_levels", "levels", "values", "sum_sq"]}
    if "postVar" in effects:
        return kept | {"postVar": effects["postVar"]}
    # Several terms on the factor: lme4 gives no covariances between terms.
    terms = list(effects["postVar_by_term"].values())
    joint = [_block_diagonal(blocks, None) for blocks in zip(*terms, strict=True)]
    return kept | {"postVar": joint}


def _joint_covariance(factor, columns, terms):
    """Covariance of all random columns of a factor: zeros between its terms."""
    own = [term for term in terms if re.sub(r"\.\d+$", "", term["group"]) == factor]
    assert [name for term in own for name in term["names"]] == columns
    return _block_diagonal([term["cov"] for term in own], 0.0)


def _block_diagonal(blocks, filler):
    size = sum(len(block) for block in blocks)
    matrix, start = [], 0
    for block in blocks:
        for row in block:
            matrix.append([filler] * start + list(row) + [filler] * (size - start - len(block)))
        start += len(block)
    return matrix


def _predictions(fit):
    predict = fit["predict"]
    kept = {key: predict[key] for key in ["newdata", "conditional", "re_form_NA", "new_level"]}
    kept["all_new_levels"] = predict.get("all_new_levels")
    # A term is a factor unless several terms share it.
    separate = len(fit["varcorr"]["terms"]) == len(fit["ranef"])
    kept["single_factors"] = {
        re.sub(r".*\|\s*|\)", "", term["re_form"]): term["values"]
        for term in predict.get("re_form_single_terms", [])
        if separate
    }
    return kept


def write_table(reference, dataset):
    """Copy a published table as columns of numbers and strings."""
    columns = json.loads((reference / "data" / "columns.json").read_text(encoding="utf-8"))[dataset]
    with (reference / "data" / columns["file"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = {}
    for name, column in columns["columns"].items():
        convert = str if column["type"] == "string" else json.loads
        table[name] = [convert(row[name]) for row in rows]
    _write(HERE / "data" / f"{dataset}.json", {"source": SOURCES[dataset]}, {"columns": table})


def _write(path, fields, nested=None):
    """Write JSON with one line per field, and per entry of the nested fields."""
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in fields.items()]
    for key, entries in (nested or {}).items():
        inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
        lines.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main(reference):
    """Rewrite the figures and the tables."""
    for dataset in SOURCES:
        write_table(reference, dataset)
    for name in FITS:
        figures = reduce(json.loads((reference / "fits" / f"{name}.json").read_text("utf-8")))
        nested = {key: figures.pop(key) for key in ["ranef", "predict"]}
        _write(HERE / "figures" / f"{name}.json", figures, nested)
    for names, keep in [(INFERENCE, reduce_inference), (COMPARISONS, reduce_comparison)]:
        for name in names:
            figures = keep(json.loads((reference / "fits" / f"{name}.json").read_text("utf-8")))
            _write(HERE / "inference" / f"{name}.json", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
