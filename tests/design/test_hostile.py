"""Text from strangers: whatever is no formula is refused before anything is evaluated."""

import builtins
import pickle
import time

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skmixed import MixedEffectsRegressor, MixedLinearRegressor, MixedLinearRegressorCV, lmer
from skmixed.design import formula
from skmixed.design.grammar.functions import FUNCTIONS
from skmixed.design.records import checksum

pytest.importorskip("formulaic")

RNG = np.random.default_rng(7)
TABLE = pd.DataFrame(
    {
        "x": RNG.gamma(2.0, size=40),
        "z": RNG.normal(size=40),
        "f": RNG.choice(list("ab"), 40),
        "g": np.arange(40) % 8,
        "open": RNG.normal(size=40),
        "os": RNG.normal(size=40),
    }
)
Y = RNG.normal(size=40) + TABLE.x


def wide(text):
    """Letters that Python's parser takes for these."""
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


HOSTILE = [
    # calls of what Python has
    "__import__('os').system('true')", "I(__import__('os').system('true'))", "eval('1')",
    "I(eval('x'))", "exec('1')", "I(compile('1', '', 'eval'))", "open('canary')",
    "I(open('canary'))", "I(x + open('canary', 'w').write('1'))", "print(x)", "input()",
    "globals()", "I(locals())", "vars(x)", "dir(x)", "getattr(x, 'mean')", "I(getattr(x, 'T'))",
    "setattr(x, 'a', 1)", "delattr(x, 'a')", "breakpoint()", "exit()", "quit()", "help()",
    "I(type(x))", "type('A', (), {})", "object()", "super()", "memoryview(x)", "bytearray(10)",
    "list(x)", "map(abs, x)", "sorted(x)", "len(x)", "sum(x)", "max(x, z)", "id(x)", "hash(x)",
    "I(str(x))", "repr(x)", "format(x)", "I(chr(65))", "range(10)", "zip(x, z)", "iter(x)",
    # attributes
    "x.mean()", "I(x - x.mean())", "x.values", "I(x.T)", "I(x.__class__)", "I((x).mean())",
    "x.to_csv('canary')", "I(x.__array__())", "I(''.__class__.__mro__)", "I((1).__class__)",
    "I(f.str.len())", "log(x).mean()", "I([].__class__)", "I(x.values.tofile('canary'))",
    "log.__class__(x)", "I.__globals__", "center.__wrapped__(x)", "C.__globals__['x']",
    # numpy beyond the list
    "np.load('canary')", "np.save('canary', x)", "np.fromfile('canary')", "x + np.mean(x)",
    "np.vectorize(x)(z)", "np.frompyfunc(x, 1, 1)", "np.lib.npyio.load('a')", "np.f2py.os",
    "np.random.seed(1)", "np.exp.reduce(x)", "np.exp.__class__", "np.zeros(10**9)", "np", "I(np)",
    "np.exp(x, z)", "np.exp(x, out=z)", "np.add(x, z, z)", "log(x, z)", "sqrt(x, where=z)",
    "np.testing.measure('1')", "np.ctypeslib.ctypes", "numpy.exp(x)", "pd.eval('1')", "os.environ",
    "os.system('true')", "sys.exit()", "subprocess.run('true')",
    # other code
    "I((lambda: 1)())", "I(lambda a: a)", "(lambda x: x)(x)", "I([a for a in x])",
    "I({a for a in x})",
    "I({a: 1 for a in x})", "I(sum(a for a in x))", "I(x[0])", "x[0]", "I(x[::-1])", "I(f'{x}')",
    "I((a := x))", "log(*[x])", "log(**{'x': x})", "I(1 if x else 2)", "I(x and z)", "I(not x)",
    "I(x is z)", "I(x in z)", "I(~x)", "I(x @ z)", "I(x << 2)", "I(...)", "I(b'x')", "I(1j * x)",
    "I(await x)", "I(yield x)", "{import os}", "{x; z}", "{x = 1}", "I(x # z\n)", "{x #}", "I('x')",
    "I('a' * 10**9)", "I('%1000000000d' % 5)", "I([x] * 10**9)", "I(x > 0 > z)", "I({'a': x})",
    "I(x)(z)", "I()(x)", "`x`(z)", "'x'.join(f)", "x if z else f", "lambda: x", "assert x",
    "import os", "x; z", "x := z", "x = z", "@x", "$x", "x ? z", "x!", "\\x", "I(\\x)",
    # what a known function could be given
    "C(f, __import__('os'))", "C(f, contr.os)", "C(f, contr.treatment.__init__)", "C(f, eval('x'))",
    "C(f, contr.treatment(open('canary')))", "C(f, x)", "hashed(f, 4, hash_func=eval)",
    "hashed(f, levels=10**9)", "poly(x, z)", "poly(x, 2, 1)", "poly(x, 1000000)",
    "bs(x, df=1000000)",
    "cr(x, df=5000)", "bs(x, _state={})", "scale(x, _context=1)", "scale(x, center=x)", "Q('np')",
    "center(x, 1)", "bs(x, knots=open('canary'))", "scale(x == 'a\"]')", "center(f == \"a']\")",
    "poly(x, 2, raw='\\x41')", "bs(x, df=4, extrapolation='a\"] + 1')", "lag(x)", "standardize()",
    # numbers that fill the memory
    "I(10^10^10 * x)", "I(9**9**9**9)", "I(x * 2^99999)", "I(x + 1e400)",
    "I(x * " + "9" * 400 + ")",
    # look-alikes of letters: the parser of Python takes them for the letters themselves
    f"{wide('eval')}('x')", f"I({wide('open')}('canary'))", f"__{wide('i')}mport__('os')",
    f"I(x.{wide('m')}ean())",
    # columns that are called as well
    "open(x)", "os.system(x)", "I(open.real)", "os(x)", "I(os.path)",
]  # fmt: skip


def fixed(text):
    MixedLinearRegressor("(1 | g)", fixed=text).fit(TABLE, Y)


def bar(text):
    MixedLinearRegressor(f"(z + {text} | g)").fit(TABLE[["x", "z", "g"]], Y)


def mapping(text):
    MixedLinearRegressor({"g": ["1", text]}).fit(TABLE[["x", "z", "g"]], Y)


def offset(text):
    lmer(f"y ~ x + offset({text}) + (1 | g)", TABLE.assign(y=Y))


def response(text):
    lmer(f"{text} ~ x + (1 | g)", TABLE.assign(y=Y))


def weights(text):
    lmer("y ~ x + (1 | g)", TABLE.assign(y=Y), weights=text)


def candidate(text):
    MixedLinearRegressorCV([f"(0 + {text} | g)"]).fit(TABLE[["x", "z", "g"]], Y)


def slope_beside_trees(text):
    MixedEffectsRegressor(random=f"({text} | g)").fit(TABLE[["x", "z", "g"]], Y)


ENTRIES = [fixed, bar, mapping, offset, response, weights, candidate, slope_beside_trees]


@pytest.fixture
def nothing_evaluates(monkeypatch):
    """Make whatever evaluates an expression fail, and whatever opens a file or imports."""

    def evaluates(*arguments, **more):
        raise AssertionError("something was evaluated")

    for name in ("read_plain", "learn_by_formulaic", "replay_by_formulaic"):
        monkeypatch.setattr(formula, name, evaluates)
    monkeypatch.setattr("os.system", evaluates)
    return evaluates


def test_there_are_enough():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 112


@pytest.mark.parametrize("text", HOSTILE)
def test_code_is_refused_in_words_before_anything_is_evaluated(
    text, nothing_evaluates, monkeypatch
):
    monkeypatch.setattr(builtins, "eval", nothing_evaluates)
    further = ENTRIES[3:][HOSTILE.index(text) % 5]
    for enter in (*ENTRIES[:3], further):
        with pytest.raises(ValueError, match=r"\w+ .*\w+") as caught:
            enter(text)
        assert len(str(caught.value)) < 1_000, enter


NAMES = [
    "__import__", "__import__('os')", "eval", "open", "print", "lambda", "class", "None", "True",
    "import os", "x; import os", "a\nb", "it's", 'say "x"', "x + z", "x*2", "x.mean()", "I(x)",
    "log", "np", "np.exp", "contr", "pi", wide("x"), "x\u200b", "ﬁ", "{x}", "x[0]", "-1",
    "column_0__",
    "0", "(1 | g)", "offset(x)", "__FORMULAIC_STATE__", "self", "y ~ x", "%in%", "'", "#", "1e5",
    "_", "__class__", "\\x41", "x\ty", "", " ",
]  # fmt: skip


def test_there_are_enough_names():
    assert len(set(NAMES)) == len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_a_name(name, monkeypatch):
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("a name was run"))
    plain = TABLE[["x", "g"]].set_axis(["u", "v"], axis=1)
    hostile = plain.set_axis([name, "v"], axis=1)
    expected = MixedLinearRegressor("(1 | v)").fit(plain, Y)
    found = MixedLinearRegressor("(1 | v)").fit(hostile, Y)
    assert_allclose(found.coef_, expected.coef_)
    as_group = plain[["v", "u"]].set_axis([name, "u"], axis=1)
    if not name.strip():
        return
    assert_allclose(MixedLinearRegressor({(name,): ["1"]}).fit(as_group, Y).coef_, expected.coef_)
    if "\n" in name or "\t" in name:
        return
    for text in (f"`{name}`", f"I(`{name}` * 1)", f"log(exp(`{name}`))", f"scale(`{name}`)"):
        reference = MixedLinearRegressor("(1 | v)", fixed=text.replace(f"`{name}`", "u"))
        model = MixedLinearRegressor("(1 | v)", fixed=text).fit(hostile, Y)
        assert_allclose(model.coef_, reference.fit(plain, Y).coef_, rtol=1e-9)
        assert_allclose(model.predict(hostile[::-1]), reference.predict(plain[::-1]), rtol=1e-9)
    slopes = MixedLinearRegressor({"v": ["1", f"I(`{name}` + 0)"]}).fit(hostile, Y)
    assert slopes.random_covariance_["v"].shape == (2, 2)


@pytest.mark.parametrize("name", ["a`b", "`", "``", "x` + `z"])
def test_a_name_with_backticks_is_a_plain_column_or_refused(name):
    hostile = TABLE[["x", "g"]].set_axis([name, "v"], axis=1).assign(y=Y)
    assert MixedLinearRegressor("(1 | v)").fit(hostile[[name, "v"]], Y).coef_.shape == (1,)
    for formula_text in (f"y ~ `{name}` + (1 | v)", f"{name} ~ y + (1 | v)"):
        with pytest.raises(ValueError, match=r"closed|operator|uses no column|refers to|be named"):
            lmer(formula_text, hostile)


def test_names_that_python_takes_for_one_stay_two():
    table = pd.DataFrame({"ﬁ": TABLE.x, "fi": TABLE.z, "column_0__": TABLE.os, "a b": TABLE.open})
    for text, expected in {"I(2 * ﬁ) + fi": ("x", "z"), "I(2 * fi) + ﬁ": ("z", "x")}.items():
        found = formula.learn_matrix(f"0 + {text}", table)[1]
        assert_allclose(found, np.column_stack([2 * TABLE[expected[0]], TABLE[expected[1]]]))
    both = formula.learn_matrix("0 + I(2 * `a b`) + I(3 * column_0__)", table)
    assert both[0].names == ("I(2 * a b)", "I(3 * column_0__)")
    assert_allclose(both[1], np.column_stack([2 * TABLE.open, 3 * TABLE.os]))


LETTERS = "abcdefghijklmnopqrstuvwxy"
TOO_MUCH = {
    "brackets": "(" * 5_000 + "x" + ")" * 5_000,
    "calls": "I(" * 5_000 + "x" + ")" * 5_000,
    "square brackets": "[" * 5_000,
    "a power": "(x + z + f + os)**20",
    "a product": "*".join(LETTERS),
    "a sum to a power": "(" + "+".join(LETTERS) + ")^9",
    "a million dots": "." * 1_000_000,
    "dots and signs": ".+" * 500_000,
    "signs": "I(" + "-" * 5_000 + "x)",
    "a long sum": "I(" + "+".join("x" * 2_000) + ")",
    "a long term": ":".join(LETTERS * 100),
    "nesting": "/".join(LETTERS * 100),
    "within": "%in%".join(LETTERS * 100),
    "indices": "I(x" + "[0]" * 1_000 + ")",
    "called again": "I(x" + "(x)" * 1_000 + ")",
    "quotes": "'" * 15_001,
    "choices": "I(" + "1 if x else " * 1_000 + "1)",
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_is_too_long_deep_or_many_is_refused_soon(kind, nothing_evaluates):
    text = TOO_MUCH[kind]
    table = TABLE.assign(**dict.fromkeys(LETTERS, TABLE.x)) if kind != "signs" else TABLE
    for enter in (
        lambda: MixedLinearRegressor("(1 | g)", fixed=text).fit(table, Y),
        lambda: MixedLinearRegressor(f"({text} | g)").fit(table, Y),
        lambda: MixedLinearRegressor(f"({text} || g)").fit(table, Y),
        lambda: MixedLinearRegressor(f"(1 | {text})").fit(table, Y),
    ):
        assert min(seconds_to_refuse(enter) for _ in range(2)) < 0.1  # they take a fourth of that


def seconds_to_refuse(enter):
    began = time.process_time()
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        enter()
    assert "Error" not in str(caught.value)
    return time.process_time() - began


def test_the_users_names_are_out_of_reach():
    secret = np.ones(40)  # in this frame, as in that of a user
    with pytest.raises(ValueError, match="refers to 'secret'"):
        fixed("I(x + secret)")
    assert secret.sum() == 40


def twice(values):
    return 2 * values


def test_context_is_said():
    table = TABLE.assign(y=Y)
    knots = [1.0, 2.0]
    given = {"twice": twice, "knots": knots, "shift": 3.0}
    model = lmer(
        "twice(y) ~ twice(x) + bs(z, knots=knots) + I(os + shift) + offset(twice(os)) + "
        "(twice(z) | g)",
        table,
        weights="twice(x)",
        context=given,
        covariance="diagonal",
    )
    written = table.assign(w=2 * table.x, r=2 * table.y, s=2 * table.z, o=2 * table.os)
    expected = lmer(
        "r ~ w + bs(z, knots=[1.0, 2.0]) + I(os + 3) + offset(o) + (s | g)",
        written,
        weights="w",
        covariance="diagonal",
    )
    assert model.criterion_ == pytest.approx(expected.criterion_)
    assert_allclose(model.predict(table), expected.predict(written), rtol=1e-6)
    assert model.get_params()["context"] is given
    assert clone(model).context == given
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict(table), model.predict(table))
    with pytest.raises(TypeError, match="parameter context of this MixedLinearRegressor cannot be"):
        model.to_dict()
    alone = MixedEffectsRegressor(random="(twice(z) | g)", context={"twice": twice})
    assert alone.fit(TABLE[["x", "z", "g"]], Y).mixed_model_.n_groups_ == {"g": 8}
    chosen = MixedLinearRegressorCV(["(twice(z) | g)", "(1 | g)"], context={"twice": twice}, cv=2)
    assert chosen.fit(TABLE[["x", "z", "g"]], Y).n_groups_ == {"g": 8}


def test_a_context_gives_its_names_and_no_more():
    def given(text, **context):
        return MixedLinearRegressor("(1 | g)", fixed=text, context=context).fit(TABLE, Y)

    for text in (
        "twice.__globals__",
        "I(twice.__code__)",
        "twice(x)(z)",
        "I(eval(x))",
        "I(twice)(x)",
    ):
        with pytest.raises(ValueError, match=r"no attributes|refers to|no a call|takes"):
            given(text, twice=twice)
    for name in (
        "log",
        "np",
        "C",
        "_f",
        "a b",
        "class",
        "pi",
        wide("f"),
    ):
        with pytest.raises(ValueError, match="context has the name"):
            given("x", **{name: twice})


def test_a_lambda_is_refused_by_pickle_in_words():
    inner = {"f": lambda values: values + 1}
    model = MixedLinearRegressor("(1 | g)", fixed="f(x)", context=inner).fit(TABLE, Y)
    with pytest.raises(pickle.PicklingError, match=r"context\['f'\] .* with def at the top"):
        pickle.dumps(model)
    assert_allclose(clone(model).fit(TABLE, Y).coef_, model.coef_)


def test_stored_text_passes_the_same_gate():
    model = lmer("y ~ I(2 * x) + offset(z) + (0 + I(z^2) | g)", TABLE.assign(y=Y))
    kept = model.to_dict()
    again = MixedLinearRegressor.from_dict(kept)
    assert_allclose(again.predict(TABLE), model.predict(TABLE))
    code = "I(__import__('os').system('true'))"
    for change in (
        lambda stored: stored["parameters"].update(fixed=code),
        lambda stored: stored["parameters"].update(random=f"({code} | g)"),
        lambda stored: stored["fitted"]["design"].update(offsets=[code]),
        lambda stored: stored["fitted"]["design"]["matrices"][0].update(expression=code),
        lambda stored: stored["fitted"]["design"]["matrices"][1].update(expression=code),
    ):
        stored = pickle.loads(pickle.dumps(kept))
        change(stored)
        del stored["checksum"]
        stored["checksum"] = checksum(stored)
        with pytest.raises(
            ValueError, match=r"refers to '__import__'|no attributes|uses no column"
        ):
            MixedLinearRegressor.from_dict(stored)


def test_every_listed_function_can_be_called():
    settings = {"poly": ", 2", "bs": ", df=4", "cc": ", df=3", "cr": ", df=3", "cs": ", df=3"}
    settings |= {"ns": ", df=3", "cut": ", 3", "relevel": ", 'b'"}
    settings |= {"hashed": ", levels=3"}
    unit = TABLE.assign(x=TABLE.x / (1 + TABLE.x.max()), z=0.5, big=2.0 + TABLE.x)
    for name, function in FUNCTIONS.items():
        columns = ["big" if name in ("np.arccosh",) else "x", "z", "z"][: function.n_columns]
        if name in ("ifelse", "np.where"):
            columns = ["x > 0.2", "x", "z"]
        elif name == "relevel":
            columns = ["f"]
        text = f"{name}({', '.join(columns)}{settings.get(name, '')})"
        assert formula.learn_matrix(f"0 + {text}", unit)[1].shape[0] == 40, text
