"""Which parts of a training plan go together, and what the named recipes stand for."""

import json

import pytest

from exitnas.errors import UsageError
from exitnas.objectives import OBJECTIVES
from exitnas.objectives.gradient import GRADIENT_RULES
from exitnas.objectives.plan import TrainingPlan
from exitnas.objectives.recipes import RECIPES, apply_recipe, get_recipe
from exitnas.objectives.weighting import WEIGHTINGS
from exitnas.policies import POLICIES
from exitnas.settings import RetrainSettings, make_settings
from exitnas.tasks.catalog import TASKS


def plan(objective, **values) -> TrainingPlan:
    return TrainingPlan.from_settings(RetrainSettings(task="mrpc", objective=objective, **values))


SENSIBLE = [
    ("mutual", {"weighting": "clo_v2"}),
    ("mutual", {"gradient": "ga_soft"}),
    ("mutual", {"weighting": "slo", "gradient": "ga_hard", "lte": True}),
    ("alternating", {"lte": True}),
    ("diversity", {"weighting": "random"}),
    ("self_distillation", {"objective_options": {"stages": 1}, "weighting": "clo_v2"}),
    ("self_distillation", {"objective_options": {"stages": 1}, "gradient": "ga_soft"}),
    ("self_distillation", {"objective_options": {"stages": 1}, "lte": True}),
    ("global_past_future", {"weighting": "blo", "gradient": "equilibrium"}),
    ("joint", {"gradient": "equilibrium"}),
    ("two_stage", {"lte": True}),
]


@pytest.mark.parametrize(("objective", "values"), SENSIBLE)
def test_sensible_combinations_work(objective, values):
    made = plan(objective, **values)
    described = json.loads(json.dumps(made.describe()))
    assert described["objective"]["name"] == objective
    assert described["weighting"]["name"] == values.get("weighting", "uniform")
    assert described["lte"] is values.get("lte", False)


NONSENSE = [
    ("joint", {"weighting": "clo_v2"}, "--weighting clo_v2 weighs the terms of an exit .* joint gives every exit one"),
    ("self_distillation", {"weighting": "slo"}, "self_distillation gives every exit one term at a time"),
    ("diversity", {"weighting": "clo_v1"}, "diversity, which is subtracted and has no bound"),
    ("joint", {"gradient": "ga_soft"}, "--gradient ga_soft aligns a distillation gradient .* joint never has both"),
    ("diversity", {"gradient": "ga_hard"}, "diversity never has both"),
    ("self_distillation", {"gradient": "ga_hard"}, "self_distillation never has both in one step"),
    ("mutual", {"gradient": "ga_soft", "objective_options": {"alpha": 0.2}}, "leave out the alpha of mutual"),
    ("alternating", {"gradient": "equilibrium"}, "alternating trains only some of them at a time"),
    ("two_stage", {"gradient": "equilibrium"}, "two_stage trains only some"),
    ("self_distillation", {"lte": True}, "--lte adds its loss to the exits' task losses, and the second stage"),
    ("jiont", {}, "unknown objective 'jiont': did you mean joint"),
    ("mutual", {"weighting": "clo"}, "unknown weighting 'clo': did you mean"),
    ("mutual", {"gradient": "ga"}, "unknown gradient rule 'ga'"),
]


@pytest.mark.parametrize(("objective", "values", "message"), NONSENSE)
def test_nonsense_is_refused_with_the_reason_in_one_line(objective, values, message):
    with pytest.raises(UsageError, match=message) as caught:
        plan(objective, **values)
    assert "\n" not in str(caught.value)


def test_every_pair_is_either_made_or_refused_by_a_usage_error():
    made = set()
    for objective in OBJECTIVES:
        for weighting in WEIGHTINGS:
            for gradient in GRADIENT_RULES:
                try:
                    plan(objective, weighting=weighting, gradient=gradient)
                    made.add((objective, weighting, gradient))
                except UsageError:
                    assert (weighting, gradient) != ("uniform", "sum")
    assert {row[0] for row in made} == set(OBJECTIVES)
    assert ("mutual", "clo_v2", "ga_soft") in made


PARTS = {
    "leebert": ("mutual", "clo_v2", "sum", False, "patience"),
    "gaml-bert": ("mutual", "uniform", "ga_soft", False, "patience"),
    "berxit": ("alternating", "uniform", "sum", True, "lte"),
    "ensemble": ("diversity", "uniform", "sum", False, "voting"),
    "fastbert": ("self_distillation", "uniform", "sum", False, "entropy"),
    "deebert": ("two_stage", "uniform", "sum", False, "entropy"),
    "pabee": ("weighted", "uniform", "sum", False, "patience"),
    "leco": ("joint", "uniform", "sum", False, "cobee"),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("task", ["mrpc", "bbc-news"])
def test_recipes_are_valid_plans(name, task):
    settings = make_settings(RetrainSettings, task=task, **apply_recipe(name, task, {}))
    made = TrainingPlan.from_settings(settings)
    recipe = get_recipe(name)
    parts = (made.objective.name, made.weighting, made.gradient, made.lte, recipe.policy)
    assert parts == PARTS[name]
    assert settings.recipe == name
    assert recipe.policy in POLICIES
    assert set(recipe.tasks) <= set(TASKS)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_printed_per_task_is_valid_for_every_task(name):
    for task in get_recipe(name).tasks:
        TrainingPlan.from_settings(make_settings(RetrainSettings, task=task, **apply_recipe(name, task, {})))


def test_hyper_parameters_are_those_the_papers_print():
    leebert = apply_recipe("leebert", "mrpc", {})
    assert (leebert["lr"], leebert["batch_size"]) == (1e-5, 32)
    assert leebert["weighting_options"] == {"lr": 1e-4, "cycle": 4}
    gaml = apply_recipe("gaml-bert", "rte", {"epochs": 6})
    assert (gaml["lr"], gaml["batch_size"], gaml["gradient_options"]) == (5e-5, 16, {"alpha": 0.2})
    assert gaml["warmup"] == pytest.approx(1.2 / 6)
    default = make_settings(RetrainSettings, task="rte").epochs
    assert apply_recipe("gaml-bert", "rte", {})["warmup"] == pytest.approx(1.2 / default)
    ensemble = apply_recipe("ensemble", "mrpc", {})
    assert (ensemble["epochs"], ensemble["objective_options"]) == (3, {"lambda": 0.1})
    assert apply_recipe("berxit", "mrpc", {})["epochs"] == 3


def test_what_is_given_takes_precedence_option_by_option():
    given = {"lr": 3e-5, "epochs": None, "weighting_options": {"cycle": 2}, "objective_options": {"temperature": 2.0}}
    values = apply_recipe("leebert", "mrpc", given, {"lr": 9.0, "epochs": 7})
    assert (values["lr"], values["epochs"], values["batch_size"]) == (3e-5, 7, 32)
    assert values["weighting_options"] == {"lr": 1e-4, "cycle": 2}
    assert values["objective_options"] == {"teachers": "all", "temperature": 2.0}
    assert apply_recipe("gaml-bert", "mrpc", {"warmup": 0.05})["warmup"] == 0.05


def test_a_papers_own_variants_are_no_contradiction():
    values = apply_recipe("leebert", "mrpc", {"weighting": "slo", "objective": "mutual"})
    assert values["weighting"] == "slo"
    assert values["weighting_options"] == {"lr": 1e-4}
    TrainingPlan.from_settings(make_settings(RetrainSettings, task="mrpc", **values))
    hard = apply_recipe("gaml-bert", "mrpc", {"gradient": "ga_hard"})
    assert (hard["gradient"], hard["gradient_options"]) == ("ga_hard", {"alpha": 0.2})


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("leebert", {"objective": "joint"}, "--recipe leebert means objective mutual, but joint was given"),
        ("leebert", {"gradient": "ga_soft"}, "--recipe leebert means gradient sum, but ga_soft was given"),
        ("berxit", {"lte": False}, "--recipe berxit means lte on, but off was given"),
        ("pabee", {"lte": True}, "--recipe pabee means lte off, but on was given"),
        ("gaml-bert", {"gradient": "sum"}, r"means gradient ga_soft \(or ga_hard\), but sum was given"),
        ("leberet", {}, "unknown recipe 'leberet': did you mean leebert"),
    ],
)
def test_contradictions_are_refused_in_one_line(name, given, message):
    with pytest.raises(UsageError, match=message) as caught:
        apply_recipe(name, "mrpc", given)
    assert "\n" not in str(caught.value)


def test_clo_moves_its_weights_by_the_models_rate_unless_told():
    """lambda_1 of LeeBERT eq. 9 is the learning rate of the model."""
    base = {"task": "rte", "objective": "mutual", "weighting": "clo_v2", "lr": 4e-5}
    assert TrainingPlan.from_settings(RetrainSettings(**base)).new_weighting().lr_d1 == 4e-5
    own = RetrainSettings(**base, weighting_options={"lr_d1": 1e-3})
    assert TrainingPlan.from_settings(own).new_weighting().lr_d1 == 1e-3
