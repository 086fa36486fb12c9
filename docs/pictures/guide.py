"""Pictures of pages of the guide: one function a page."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import logistic

from skmixed import BLUPEncoder, GroupedModels, MixedLinearRegressor, MixedNonlinearRegressor
from skmixed.bayes import sample
from skmixed.datasets import load_sleepstudy, make_schools
from skmixed.display import PredictionDisplay, ShrinkageDisplay, SmoothDisplay

WIDTH = 6.4  # inches: texts can be read on a telephone, too


def axes_of(height, n_columns=1, **settings):
    """Return the axes of a figure of one row."""
    size = (WIDTH, height)
    return plt.subplots(1, n_columns, figsize=size, layout="constrained", **settings)[1]


def random_effects():
    """Draw the lines of subjects by three random terms."""
    X, y = load_sleepstudy(return_X_y=True)
    days = np.array([0.0, 9.0])
    terms = ["(1 | Subject)", "(0 + Days | Subject)", "(Days | Subject)"]
    axes = axes_of(2.8, 3, sharey=True)
    for ax, term in zip(axes, terms, strict=True):
        model = MixedLinearRegressor(term).fit(X, y)
        for subject in X["Subject"].unique():
            rows = pd.DataFrame({"Days": days, "Subject": subject})
            ax.plot(days, model.predict(rows), color="C0", lw=0.8, alpha=0.7)
        ax.plot(days, model.intercept_ + model.coef_[0] * days, color="C1", lw=2.5)
        ax.set_title(term, size=9, family="monospace")
    axes[1].set_xlabel("day of the study")
    axes[0].set_ylabel("reaction time, ms")


def curves():
    """Draw the smooths of two columns."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.uniform(20, 80, 600), "dose": rng.uniform(0, 4, 600)})
    X["clinic"] = rng.integers(0, 30, 600)
    y = np.sin(X["age"] / 8) + 0.3 * X["dose"] + rng.normal(size=30)[X["clinic"]]
    y += rng.normal(scale=0.5, size=600)
    model = MixedLinearRegressor("(1 | clinic)", fixed="s(age) + s(dose)").fit(X, y)
    SmoothDisplay.from_estimator(model, ax=axes_of(2.8, 2))


def covariances():
    """Draw correlations of six visits by four structures."""
    distance = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    rng = np.random.default_rng(2)
    free = np.corrcoef(np.tril(rng.uniform(-0.2, 1, (6, 6))) + 0.4 * np.eye(6))
    structures = {
        "cs": np.where(distance, 0.5, 1.0),
        "ar1": 0.75**distance,
        "toep": np.array([1, 0.8, 0.3, 0.5, 0.1, -0.2])[distance],
        "us": free,
    }
    axes = axes_of(2.1, 4)
    for ax, (name, correlation) in zip(axes, structures.items(), strict=True):
        image = ax.imshow(correlation, vmin=-1, vmax=1, cmap="RdBu_r")
        ax.set_title(name, family="monospace")
        ax.set(xticks=[], yticks=[])
    axes[0].set(xlabel="visit", ylabel="visit")
    plt.colorbar(image, ax=axes, label="correlation", shrink=0.8)


def serial_correlation():
    """Draw forecasts of a series that ended above its level, with and without the correlation."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(40, 40))
    for week in range(1, 40):
        noise[:, week] = 0.85 * noise[:, week - 1] + np.sqrt(1 - 0.85**2) * noise[:, week]
    table = pd.DataFrame({
        "shop": np.repeat(np.arange(40), 40),
        "week": np.tile(np.arange(40), 40),
        "sales": (20 + rng.normal(size=(40, 1)) + 2 * noise).ravel(),
    })  # fmt: skip
    known = table[table["week"] < 30]
    features = ["shop", "week"]
    model = MixedLinearRegressor("(1 | shop)", fixed="1", residual="ar1(week | shop)")
    model.fit(known[features], known["sales"])
    last = known[known["week"] == 29].set_index("shop")["sales"]
    shop = (last - known.groupby("shop")["sales"].mean()).idxmax()
    ax = axes_of(3.4)
    one = table[table["shop"] == shop]
    ax.plot(one["week"], one["sales"], color="0.6")
    ax.plot(one["week"][:30], one["sales"][:30], color="black", label="sales, known to week 29")
    after = one[one["week"] >= 30]
    for serial, color, label in [(False, "C0", "serial=False"), (True, "C1", "serial=True")]:
        mean, low, high = model.predict(after[features], interval=0.9, serial=serial).T
        ax.plot(after["week"], mean, color=color, lw=2, label=f"forecast, {label}")
        ax.fill_between(after["week"], low, high, color=color, alpha=0.2, lw=0)
    ax.set(xlabel="week", ylabel="sales")
    ax.legend(frameon=False, loc="upper left", fontsize="small")


def posterior():
    """Draw posteriors of three parameters, and the estimates by REML."""
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    parameters = sample(model, random_state=0).parameters
    covariance = model.random_covariance_["Subject"].to_numpy()
    fitted = [model.coef_[0], covariance[1, 1] ** 0.5, covariance[0, 0] ** 0.5]
    names = ["Days", "sd_Days|Subject", "sd_(Intercept)|Subject"]
    for ax, name, value in zip(axes_of(2.5, 3), names, fitted, strict=True):
        ax.hist(parameters[name].ravel(), bins=50, density=True, color="C0", alpha=0.6)
        ax.axvline(value, color="C1", lw=2)
        ax.set(yticks=[])
        ax.set_xlabel(name, size=9)


def nonlinear():
    """Draw the curves of five trees and of a new one."""
    trunks = [
        [30, 58, 87, 115, 120, 142, 145], [33, 69, 111, 156, 172, 203, 203],
        [30, 51, 75, 108, 115, 139, 140], [32, 62, 112, 167, 179, 209, 214],
        [30, 49, 81, 125, 142, 174, 177],
    ]  # fmt: skip
    ages = [118, 484, 664, 1004, 1231, 1372, 1582]
    orange = pd.DataFrame({"tree": np.repeat(np.arange(1, 6), 7), "age": np.tile(ages, 5)})
    y = np.ravel(trunks)
    model = MixedNonlinearRegressor("logistic", random="Asym | tree").fit(orange, y)
    ax = axes_of(3.6)
    PredictionDisplay.from_estimator(model, orange, "age", ax=ax)
    ax.plot(orange["age"], y, ".", color="0.4", zorder=0)
    ax.set(xlabel="age, days", ylabel="trunk, mm")


def grouped_models():
    """Draw the coefficients of classes by themselves, and shrunk."""
    pupils = make_schools()
    X, y = pupils[["open", "agree", "social", "school", "class"]], pupils["extro"]
    model = GroupedModels(group_features=["school", "class"]).fit(X, y)
    ShrinkageDisplay.from_estimator(model, columns=["open", "agree"], ax=axes_of(4.2))


def encoding():
    """Draw what labels are encoded as by their mean, for few rows and for many."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=400)
    shop = np.concatenate([rng.integers(400, size=1600), rng.integers(40, size=1200)])
    y = quality[shop] + rng.normal(size=len(shop))
    encoder = BLUPEncoder(random_state=0).set_output(transform="pandas")
    table = pd.DataFrame({"shop": shop, "y": y - y.mean()})
    table["code"] = encoder.fit(table[["shop"]], y).transform(table[["shop"]])["shop"]
    labels = table.groupby("shop").agg(n=("y", "size"), own=("y", "mean"), code=("code", "first"))
    ax = axes_of(3.6)
    ax.axline((0, 0), slope=1, color="0.6", lw=1)
    for low, high, name in [(1, 3, "1 to 3 rows"), (4, 9, "4 to 9 rows"), (20, 99, "20 or more")]:
        chosen = labels[labels["n"].between(low, high)]
        ax.plot(chosen["own"], chosen["code"], ".", label=name)
    ax.set(xlabel="mean of the label minus overall mean", ylabel="encoded value")
    ax.legend(frameon=False)


def ordinal():
    """Draw the latent distribution of cold and warm wines, cut by thresholds."""
    thresholds, shift = [-0.42, 1.65], 1.49
    latent = np.linspace(-5, 7, 400)
    edges = [-5, *thresholds, 7]
    for ax, (name, mean) in zip(
        axes_of(2.6, 2, sharey=True), [("cold", 0.0), ("warm", shift)], strict=True
    ):
        for n, category in enumerate(["none", "weak", "strong"]):
            part = (latent >= edges[n]) & (latent <= edges[n + 1])
            share = np.diff(logistic.cdf(edges[n : n + 2], mean))[0]
            density = logistic.pdf(latent[part], mean)
            ax.fill_between(latent[part], density, color=f"C{n}", alpha=0.6, lw=0)
            ax.plot([], [], "s", color=f"C{n}", alpha=0.6, label=f"{category}, {share:.0%}")
        ax.vlines(thresholds, 0, 0.28, color="0.3", ls="--", lw=1)
        ax.set(title=name, xlabel="latent bitterness", yticks=[], ylim=(0, 0.45))
        ax.legend(frameon=False, fontsize="small", loc="upper left")


def generalized():
    """Draw the curves of shops, of an average shop, and the mean of all."""
    rng = np.random.default_rng(0)
    price = np.linspace(-5, 6, 100)
    effects = rng.normal(scale=1.5, size=5000)
    of_shops = logistic.cdf(0.5 - price + effects[:, None])
    ax = axes_of(3.4)
    ax.plot(price, of_shops[:40].T, color="0.8", lw=0.7)
    ax.plot(price, logistic.cdf(0.5 - price), color="C0", lw=2, label="average shop")
    ax.plot(price, of_shops.mean(axis=0), color="C1", lw=2, label="mean over shops (new shop)")
    ax.plot([], [], color="0.8", label="single shops")
    ax.set(xlabel="price", ylabel="probability of a purchase")
    ax.legend(frameon=False)
