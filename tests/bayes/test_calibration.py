import pytest

from tests.bayes.calibration import (
    LEVELS,
    MODELS,
    coverage,
    p_values,
    simulated,
    simulated_binomial,
)

N = 400


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")  # of weights in doubt
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_ranks_of_truths_are_uniform(model):
    found = [simulated(model, seed) for seed in range(N)]
    values = p_values(found)
    assert min(values.values()) > 1e-4, values
    assert sum(value < 0.05 for value in values.values()) <= 3 + len(values) // 5
    # k of a thousand weights is noisy: ranks are uniform all the same
    assert sum(each.pareto_k > 0.7 for each in found) < 0.05 * N


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("prior", ["reference", "weak"])
def test_intervals_hold_as_much_as_they_say(prior):
    shares = coverage(20, prior, N)
    for level, share in zip(LEVELS, shares.T, strict=True):
        assert abs(share - level).max() < 4 * (level * (1 - level) / N) ** 0.5


def test_a_few_ranks_of_every_model():
    for model in MODELS[:8:3]:
        found = simulated(model, 0)
        assert all(0 <= rank <= 99 for rank in found.ranks.values())
        assert found.efficiency > 0.5


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")
def test_ranks_of_truths_of_a_binomial_model_are_uniform():
    values = p_values([simulated_binomial(seed) for seed in range(N)])
    assert min(values.values()) > 1e-4, values
