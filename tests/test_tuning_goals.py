"""Every goal of a study: its value on a known result, its direction, and the contract of the registry."""

from typing import Any

import pytest

from exitnas.errors import ExitnasError
from exitnas.exits.exit import exit_costs
from exitnas.tuning import GOALS
from exitnas.tuning.goals import Goal, Result
from exitnas.tuning.latency import mean_exit_milliseconds


def result(genotype: Any, **changes: Any) -> Result:
    costs = exit_costs(genotype, 2, 6)
    seeds = [{"dev": {"avg": 0.5, "best": 0.7}}, {"dev": {"avg": 0.6, "best": 0.9}}]
    given: dict[str, Any] = {
        "search": {"avg": 0.4, "best": 0.45, "costs": costs},
        "retrain": {"seeds": seeds, "costs": costs},
        "genotype": genotype,
        "num_labels": 2,
        "tokens": 6,
    }
    return Result(**{**given, **changes})


@pytest.mark.parametrize("name", GOALS.names())
def test_contract(name: str, world: Any):
    goal = GOALS.create(name)
    assert isinstance(goal, Goal)
    assert goal.direction in ("maximize", "minimize")
    value = goal.measure(result(world.genotype()))
    assert isinstance(value, float)
    assert value > 0
    # shares are scores on dev: more is better, and only they are known during training
    assert (goal.unit == "") == (goal.direction == "maximize") == (goal.intermediate is not None)


def test_scores_are_means_over_seeds_on_dev(world: Any):
    found = result(world.genotype())
    assert GOALS.create("avg").measure(found) == pytest.approx(0.55)
    assert GOALS.create("best").measure(found) == pytest.approx(0.8)
    only = result(world.genotype(), retrain=None)
    assert (GOALS.create("avg").measure(only), GOALS.create("best").measure(only)) == (0.4, 0.45)
    nothing = result(world.genotype(), retrain=None, search={"avg": None, "best": None})
    with pytest.raises(ExitnasError, match="leave out --search-only"):
        GOALS.create("avg").measure(nothing)


def test_costs_are_sums_over_exits(world: Any):
    found = result(world.genotype())
    costs = exit_costs(world.genotype(), 2, 6)
    assert GOALS.create("macs").measure(found) == sum(cost["macs"] for cost in costs)
    assert GOALS.create("parameters").measure(found) == sum(cost["parameters"] for cost in costs)


def test_an_exit_that_does_more_takes_longer(world: Any):
    small = world.genotype()
    wide = small.model_copy(update={"width": 512, "hidden_size": 512})
    assert 0 < mean_exit_milliseconds(small, 2, 8, rounds=5) < mean_exit_milliseconds(wide, 2, 256, rounds=5)
