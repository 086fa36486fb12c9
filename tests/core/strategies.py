"""Designs for hypothesis: it draws what kind of design, a seed draws the numbers."""

from hypothesis import settings
from hypothesis import strategies as st

from tests.core.designs import RELATIONS, TERMS, TRAITS, random_design

SEEDS = st.integers(0, 2**32 - 1)
BOUNDARIES = st.sampled_from(["inside", "edge", "zero"])
METHODS = st.sampled_from(["reml", "ml"])


def examples(count):
    """Run that many examples, the same ones every time."""
    return settings(max_examples=count, derandomize=True)


@st.composite
def designs(draw, relations=RELATIONS, n_factors=(1, 3), traits=TRAITS, **given):
    """Draw a design of 1 to 3 factors in the relations given."""
    count = draw(st.integers(*n_factors))
    options = {
        "relations": draw(st.tuples(*[st.sampled_from(relations)] * (count - 1))),
        "n_slopes": draw(st.tuples(*[st.integers(0, 2)] * count)),
        "terms": draw(st.tuples(*[st.sampled_from(TERMS)] * count)),
        "traits": draw(st.frozensets(st.sampled_from(traits), max_size=3)) if traits else (),
        "n_fixed": draw(st.integers(1, 2)),
        "intercept": draw(st.booleans()),
        "weights": draw(st.sampled_from([None, "integer", "fractional"])),
        "weighting": draw(st.sampled_from(["frequency", "precision"])),
        "method": draw(METHODS),
    }
    return random_design(draw(SEEDS), **{**options, **given})
