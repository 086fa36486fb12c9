import numpy as np
import pytest

from skmixed.core.nonlinear.curve import GivenCurve
from skmixed.core.nonlinear.named_curves import CURVES, NAMES_IN_R
from tests.core.nonlinear.curve_tables import fit_of, rows_of, start_of, table

AXIS = np.linspace(0.5, 24.0, 40)
POINTS = {  # parameters near which curves are drawn, along AXIS
    "logistic": [190.0, 11.0, 4.0],
    "four_parameter_logistic": [10.0, 190.0, 12.0, -3.0],
    "asymptotic": [103.0, -8.5, -2.3],
    "asymptotic_offset": [100.0, -2.0, 1.5],
    "asymptotic_origin": [100.0, -2.0],
    "biexponential": [3.0, 0.5, 0.6, -2.3],
    "first_order": [-2.4, 0.45, -3.2],
    "gompertz": [4.6, 2.2, 0.8],
    "michaelis_menten": [210.0, 5.0],
    "weibull": [160.0, 115.0, -5.5, 2.2],
}


def drawn(name, spread=0.05):
    curve, rng = CURVES[name](), np.random.default_rng(0)
    point = np.array(POINTS[name])
    parameters = point[:, None] + spread * rng.normal(size=(len(point), len(AXIS)))
    inputs = np.stack([np.full(len(AXIS), 4.5), AXIS], axis=-1)[:, -len(curve.inputs) :]
    return curve, parameters, inputs


@pytest.mark.parametrize("name", CURVES)
def test_the_derivatives_are_those_of_differences(name):
    curve, parameters, inputs = drawn(name)
    _, slopes = curve.slopes(parameters, inputs)
    bends = curve.bends(parameters, inputs)
    for place in range(len(parameters)):
        moved, step = parameters.copy(), 1e-5 * max(1.0, abs(POINTS[name][place]))
        moved[place] += step
        above, slopes_above = curve.slopes(moved, inputs)
        moved[place] -= 2.0 * step
        below, slopes_below = curve.slopes(moved, inputs)
        found = (above - below) / (2.0 * step)
        np.testing.assert_allclose(slopes[:, place], found, atol=1e-8 * np.abs(found).max())
        found = (slopes_above - slopes_below) / (2.0 * step)
        np.testing.assert_allclose(bends[:, :, place], found, atol=1e-7 * np.abs(found).max())


FORMULAS = {  # as R's help pages have them
    "logistic": "Asym / (1 + exp((xmid - x) / scal))",
    "four_parameter_logistic": "A + (B - A) / (1 + exp((xmid - x) / scal))",
    "asymptotic": "Asym + (R0 - Asym) * exp(-exp(lrc) * x)",
    "asymptotic_offset": "Asym * (1 - exp(-exp(lrc) * (x - c0)))",
    "asymptotic_origin": "Asym * (1 - exp(-exp(lrc) * x))",
    "biexponential": "A1 * exp(-exp(lrc1) * x) + A2 * exp(-exp(lrc2) * x)",
    "first_order": "Dose * exp(lKe + lKa - lCl) * (exp(-exp(lKe) * x) - exp(-exp(lKa) * x))"
    "/ (exp(lKa) - exp(lKe))",
    "gompertz": "Asym * exp(-b2 * b3**x)",
    "michaelis_menten": "Vm * x / (K + x)",
    "weibull": "Asym - Drop * exp(-exp(lrc) * x**pwr)",
}


@pytest.mark.parametrize("name", CURVES)
def test_values_are_those_of_the_formulas_of_r(name):
    curve, parameters, inputs = drawn(name)
    values = dict(zip(curve.names, parameters, strict=True))
    values |= {"exp": np.exp, "Dose": inputs[:, 0], "x": inputs[:, -1]}
    expected = eval(FORMULAS[name], values)
    np.testing.assert_allclose(curve.value(parameters, inputs), expected, rtol=1e-12)


def test_a_compartment_with_equal_rates_is_the_limit():
    curve, inputs = CURVES["first_order"](), np.array([[2.0, 3.0], [2.0, 0.0]])
    point = np.full((3, 2), 0.1)
    rate = np.exp(0.1)
    value, slopes = curve.slopes(point, inputs)
    np.testing.assert_allclose(value, [2.0 * rate * 3.0 * np.exp(-3.0 * rate), 0.0], rtol=1e-14)
    moved = point + np.array([[1e-6], [0.0], [0.0]])
    difference = (curve.value(moved, inputs) - value) / 1e-6
    np.testing.assert_allclose(slopes[:, 0], difference, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", CURVES)
def test_least_squares_of_a_curve_find_it_again(name):
    curve, parameters, inputs = drawn(name, spread=0.0)
    data = {str(place): column for place, column in enumerate(inputs.T)}
    value = curve.value(parameters, inputs)
    data["y"] = value + 1e-3 * np.ptp(value) * np.random.default_rng(1).normal(size=len(value))
    rows = rows_of(data, "y", [k for k in data if k != "y"], [], name, [])
    fit = fit_of(rows)
    assert fit.report.converged
    drawn_again = curve.value(np.repeat(fit.beta[:, None], len(AXIS), 1), inputs)
    assert np.abs(drawn_again - value).max() < 2e-3 * np.ptp(value)


# R 4's getInitial, of one group of a data set of R: least squares, as its functions end with.
QN1 = ([95, 175, 250, 350, 500, 675, 1000], [16, 30.4, 34.8, 37.2, 35.3, 39.2, 39.7])
DNASE = (
    np.log(np.repeat([0.04882812, 0.1953125, 0.390625, 0.78125, 1.5625, 3.125, 6.25, 12.5], 2)),
    np.array([17, 18, 121, 124, 206, 215, 377, 374, 614, 609, 1019, 1001, 1334, 1364, 1730, 1710])
    / 1000,
)
TREATED = (
    np.repeat([0.02, 0.06, 0.11, 0.22, 0.56, 1.1], 2),
    [76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200],
)
DAYS = [*range(0, 22, 2), 21]
CHICK_1 = (DAYS, [42, 51, 59, 64, 76, 93, 106, 125, 149, 171, 199, 205])
CHICK_6 = (DAYS, [41, 49, 59, 74, 97, 124, 141, 148, 155, 160, 160, 157])
IN_R = {
    "SSfpl": (CHICK_1, [27.45320302931, 348.97122709088, 19.39053035121, 6.67262165274]),
    "SSasympOff": (QN1, [38.13978200463, -4.38064701018, 51.22323849236]),
    "SSgompertz": (DNASE, [4.603333831257, 2.271339073467, 0.716466585104]),
    "SSmicmen": (TREATED, [212.6837072712059, 0.0641212257945]),
    "SSweibull": (CHICK_6, [158.97564662668, 115.00843927432, -5.54284337265, 2.46060808001]),
}
GROUPS_IN_R = {
    "SSasymp": (("loblolly", "Seed", 301, ["age"], "height"),
                [95.66687879677, -9.07824080062, -3.11638102643]),
    "SSasympOrig": (("loblolly", "Seed", 301, ["age"], "height"),
                    [240.34513933772, -4.41829176302]),
    "SSlogis": (("orange", "Tree", 3, ["age"], "circumference"),
                [158.829436467, 734.842096866, 400.954810868]),
    "SSbiexp": (("indometh", "Subject", 1, ["time"], "conc"),
                [2.029277436412, 0.579388691203, 0.191547455281, -1.787784882782]),
    # of nls: getInitial ends before the least squares here
    "SSfol": (("theoph", "Subject", 1, ["Dose", "Time"], "conc"),
              [-2.9196142, 0.57516119, -3.9158566]),
}  # fmt: skip


def of_group(name, group, label, inputs, response):
    data = table(name)
    return {key: data[key][data[group] == label] for key in [*inputs, response]}, inputs, response


@pytest.mark.parametrize("name", NAMES_IN_R)
def test_starts_polished_are_those_of_getinitial(name):
    if name in IN_R:
        (x, y), expected = IN_R[name]
        data, inputs, response = {"x": np.array(x), "y": np.array(y, float)}, ["x"], "y"
    else:
        group, expected = GROUPS_IN_R[name]
        data, inputs, response = of_group(*group)
    rows = rows_of(data, response, inputs, [], NAMES_IN_R[name], [])
    fit = fit_of(rows, max_iter=200)
    assert fit.report.converged
    np.testing.assert_allclose(fit.beta, expected, rtol=2e-5)
    rough = rows.residuals(start_of(rows), []) @ rows.residuals(start_of(rows), [])
    assert rough < 0.2 * np.square(data[response] - data[response].mean()).sum()


PARAMETERS, INPUTS = np.array([[2.0, 3.0, 4.0], [0.5, 0.2, 0.1]]), np.array([[1.0], [2.0], [3.0]])


def power(parameters, X):
    a, b = parameters
    return a * X[:, 0] ** b


def power_slopes(parameters, X):
    a, b = parameters
    x = X[:, 0]
    return np.stack([x**b, a * x**b * np.log(x)], axis=-1)


def made(function, jacobian=None):
    return GivenCurve.of(function, ("a", "b"), jacobian, PARAMETERS, INPUTS)


def through_reals(parameters, X):
    return power(np.real(parameters), X)


def for_reals(parameters, X):
    return power(parameters.astype(float), X) if parameters.dtype.kind == "f" else 1 / [0]


@pytest.mark.parametrize(
    ("function", "jacobian", "way", "digits"),
    [
        (power, power_slopes, "user", 1e-15),
        (power, None, "complex step", 1e-14),
        (through_reals, None, "differences", 1e-9),
        (for_reals, None, "differences", 1e-9),
    ],
)
def test_a_function_is_differentiated_in_the_best_way_there_is(function, jacobian, way, digits):
    curve = made(function, jacobian)
    assert curve.derivatives == way
    slopes = curve.slopes(PARAMETERS, INPUTS)[1]
    np.testing.assert_allclose(slopes, power_slopes(PARAMETERS, INPUTS), rtol=0, atol=10 * digits)
    a, b = PARAMETERS
    x, log = INPUTS[:, 0], np.log(INPUTS[:, 0])
    mixed, own = x**b * log, a * x**b * log**2
    expected = np.array([[0 * x, mixed], [mixed, own]]).transpose(2, 0, 1)
    bends = curve.bends(PARAMETERS, INPUTS)
    np.testing.assert_allclose(bends, expected, atol=5e-5)  # second differences keep few digits


@pytest.mark.parametrize(
    ("function", "jacobian", "message"),
    [
        (lambda p, X: p[0] * np.nan, None, "the model is nan at the start, in 3 rows"),
        (lambda p, X: p[0].sum(), None, r"an array of shape \(\), and \(3,\) are needed"),
        (power, lambda p, X: 2 * power_slopes(p, X), "the jacobian is not that of the model"),
        (power, lambda p, X: power_slopes(p, X).T, r"shape \(2, 3\), and \(3, 2\) are needed"),
    ],
)
def test_a_function_that_is_no_curve_is_refused_in_words(function, jacobian, message):
    with pytest.raises(ValueError, match=message):
        made(function, jacobian)
