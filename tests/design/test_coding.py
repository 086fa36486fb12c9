"""What the columns of formulas are said to be products of, checked on the columns themselves."""

import numpy as np
import pandas as pd
import pytest

from skmixed.design.formula import learn_matrix

ROWS = np.arange(24)
FRAME = pd.DataFrame(
    {
        "x": (ROWS * 7 % 24) + 1.0,
        "z": np.sqrt(ROWS),
        "f": np.array(list("abc"))[ROWS % 3],
        "g": np.array(list("uv"))[ROWS // 3 % 2],
        "k": ROWS // 2 % 2 + 1,
        "tot.al": np.array(list("pqr"))[ROWS // 4 % 3],
    }
)


@pytest.mark.parametrize(
    "expression",
    [
        "1", "x", "f", "0 + f", "f * g", "f * g - g", "f:g - 1", "f:x", "0 + f + g + x:z:f",
        "`tot.al` * x", "C(k) + f:x", "factor(k) * f", "C(f, contr.sum) * x", "poly(x, 2) * f",
        "C(f, contr.helmert) * g * x", "np.log(x):f + I(z**2)",
    ],
)  # fmt: skip
def test_columns_are_the_products_that_are_told(expression):
    matrix, values = learn_matrix(expression, FRAME)
    part = matrix.fixed_part
    assert len(part.columns) == values.shape[1]
    known = dict(zip(matrix.names, values.T, strict=True))
    known |= {"x": FRAME["x"], "z": FRAME["z"], "np.log(x)": np.log(FRAME["x"])}
    variables = {"f": "f", "g": "g", "C(k)": "k", "tot.al": "tot.al"}
    for column, expected in zip(part.columns, values.T, strict=True):
        product = np.ones(len(FRAME))
        for factor, codes in column.codes.items():
            variable = variables.get(factor, "f")
            places = [part.levels[variable].index(level) for level in FRAME[variable]]
            product = product * codes[places]
        for number in column.numbers:
            product = product * np.asarray(known[number])
        np.testing.assert_allclose(product, expected, atol=1e-12)


def test_variables_are_told_apart():
    part = learn_matrix("f * x + C(k) + log(z + 1)", FRAME)[0].fixed_part
    assert part.levels == {"f": ("a", "b", "c"), "k": (1, 2)}
    assert part.numbers == ("x", "z")
    assert part.terms["f:x"] == [6, 7]
    assert part.terms["(Intercept)"] == [0]
