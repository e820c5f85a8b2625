"""The space of a study: its file, what it refuses, and the settings its values stand for."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.settings import SearchSettings
from exitnas.tuning.fixed import fixed_settings
from exitnas.tuning.parameters import (
    check_drawable,
    default_parameters,
    nearest_inside,
    settled,
    suggest,
    trial_settings,
)
from exitnas.tuning.space import TuningSpace, load_tuning_space, read_space

NOTHING: dict[str, dict[str, Any]] = {"search": {"task": "rte"}, "retrain": {"task": "rte"}}


def space(**entries: Any) -> TuningSpace:
    return read_space({"name": "own", **entries}, "own.yaml")


WRONG: list[tuple[Any, str]] = [
    ([1], "own.yaml: expected settings and their ranges, got list"),
    ({"lr": {"low": 1, "high": 2}}, "own.yaml: name: required, but not given"),
    ({"name": "a b", "lr": {"low": 1e-5, "high": 1e-3}}, "own.yaml: name: expected letters"),
    ({"name": "a"}, "own.yaml: names no setting to tune"),
    ({"name": "a", "exitlr": {"low": 1, "high": 2}}, "own.yaml: exitlr: unknown setting; did you mean exit_lr"),
    ({"name": "a", "search": {"objective": {"choices": ["joint"]}}}, "own.yaml: search.objective: unknown setting"),
    ({"name": "a", "task": {"choices": ["rte"]}}, "own.yaml: task: unknown setting"),
    ({"name": "a", "search": 3}, "own.yaml: search: expected settings and their ranges, got 3"),
    ({"name": "a", "lr": 3}, "own.yaml: lr: expected {low: , high: } or {choices: [ ]}, got 3"),
    ({"name": "a", "lr": {"low": 1}}, "own.yaml: lr: high: required, but not given"),
    ({"name": "a", "lr": {"low": 1, "high": 2, "hi": 3}}, "own.yaml: lr: hi: unknown key; did you mean high"),
    ({"name": "a", "lr": {"low": 2, "high": 1}}, "own.yaml: lr: expected low below high, got 2 and 1"),
    ({"name": "a", "lr": {"low": 0, "high": 1, "step": 2}}, "own.yaml: lr: step 2 leads out of the range from 0 to 1"),
    ({"name": "a", "search": {"space": {"choices": ["leco", "nosuch"]}}}, "own.yaml: search.space: unknown search"),
    ({"name": "a", "lr": {"low": 0, "high": 1, "log": True}}, "own.yaml: lr: a logarithmic range starts above 0"),
    ({"name": "a", "lr": {"low": 1, "high": 2, "log": True, "step": 1}}, "own.yaml: lr: log and step exclude"),
    ({"name": "a", "lr": {"low": -1, "high": 2}}, "own.yaml: lr: input should be greater than or equal to 0, got -1.0"),
    ({"name": "a", "lr": {"low": 1, "high": float("inf")}}, "own.yaml: lr: high: input should be a finite number"),
    ({"name": "a", "epochs": {"low": 1.5, "high": 3}}, "own.yaml: epochs: takes whole numbers, got 1.5, 3"),
    ({"name": "a", "epochs": {"low": 0, "high": 3}}, "own.yaml: epochs: input should be greater than or equal to 1"),
    ({"name": "a", "relaxation": {"low": 1, "high": 3}}, "own.yaml: relaxation: takes no numbers, so it has no range"),
    ({"name": "a", "lte": {"low": 0, "high": 1}}, "own.yaml: lte: takes no numbers"),
    ({"name": "a", "relaxation": {"choices": ["softmx"]}}, "own.yaml: relaxation: unknown relaxation 'softmx'"),
    ({"name": "a", "objective": {"choices": ["jointt"]}}, "own.yaml: objective: unknown objective 'jointt'"),
    ({"name": "a", "epochs": {"choices": []}}, "own.yaml: epochs: choices: "),
    ({"name": "a", "epochs": {"choices": [1, 1]}}, "own.yaml: epochs: holds a choice twice"),
    ({"name": "a", "epochs": {"choices": [None]}}, "own.yaml: epochs: takes no null"),
    ({"name": "a", "objective_options.tau": {"low": 1, "high": 2}}, "own.yaml: objective_options.tau: no objective"),
    (
        {"name": "a", "objective": {"choices": ["joint"]}, "objective_options.temperature": {"low": 1, "high": 2}},
        "own.yaml: objective_options.temperature: no objective that can be drawn",
    ),
    ({"name": "a", "objective_options.temperature": {"low": -1, "high": 2}}, "own.yaml: objective_options.temperature"),
    ({"name": "a", "lr": {"low": 1, "high": 2}, "search": {"lr": {"low": 1, "high": 2}}}, "own.yaml: lr and search.lr"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), WRONG, ids=[message[10:50] for _, message in WRONG])
def test_what_cannot_be_a_space_is_refused_in_one_line(content: Any, message: str):
    with pytest.raises(ExitnasError) as caught:
        read_space(content, "own.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bad_yaml(tmp_path: Path):
    with pytest.raises(UsageError, match=r"--tuning-space none.yaml: no such file"):
        load_tuning_space("none.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("name: [")
    with pytest.raises(ExitnasError, match="not valid YAML"):
        load_tuning_space(str(path))


def test_the_default_space_holds_the_default_settings():
    found = load_tuning_space(None)
    values, outside = default_parameters(found, NOTHING)
    assert outside == []
    search, retrain = trial_settings(found, NOTHING, values)
    assert search.model_copy(update={"exit_width": None}) == SearchSettings(task="rte")
    assert retrain is not None
    assert (retrain.objective, retrain.lr, retrain.epochs) == ("joint", search.lr, 10)


def test_sections_and_the_top_level():
    found = space(
        lr={"low": "1e-5", "high": 1e-3, "log": True},
        arch_lr={"low": 0.01, "high": 0.1},
        search={"epochs": {"low": 1, "high": 4}},
        retrain={"epochs": {"choices": [2, 3]}},
    )
    assert [(p.name, p.phases, p.whole) for p in found.parameters] == [
        ("lr", ("search", "retrain"), False),
        ("arch_lr", ("search",), False),
        ("search.epochs", ("search",), True),
        ("retrain.epochs", ("retrain",), False),
    ]
    values = {"lr": 2e-4, "arch_lr": 0.05, "search.epochs": 4, "retrain.epochs": 3}
    search, retrain = trial_settings(found, NOTHING, values)
    assert retrain is not None
    assert (search.lr, search.arch_lr, search.epochs) == (2e-4, 0.05, 4)
    assert (retrain.lr, retrain.epochs) == (2e-4, 3)


def test_options_are_drawn_only_for_the_rule_that_has_them():
    found = space(
        objective={"choices": ["joint", "mutual"]}, **{"objective_options.temperature": {"low": 1, "high": 4}}
    )
    chosen = {True: 0, False: 0}
    for seed in range(12):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        values = suggest(study.ask(), found, NOTHING)
        mutual = values["objective"] == "mutual"
        chosen[mutual] += 1
        assert ("objective_options.temperature" in values) == mutual
        _, retrain = trial_settings(found, NOTHING, values)
        assert retrain is not None
        assert set(retrain.objective_options) == ({"temperature"} if mutual else set())
    assert min(chosen.values()) > 0


def test_fixed_settings_leave_the_space():
    found = space(lr={"low": 1, "high": 2}, epochs={"low": 1, "high": 3}, arch_lr={"low": 1, "high": 2})
    fixed = fixed_settings({"lr": 0.5, "task": "rte"}, [("search.epochs", 2)])
    left, dropped = found.without(fixed)
    assert dropped == ["lr"]
    assert [(p.name, p.phases) for p in left.parameters] == [("epochs", ("retrain",)), ("arch_lr", ("search",))]
    search, retrain = trial_settings(left, fixed, {"epochs": 3, "arch_lr": 1.5})
    assert retrain is not None
    assert (search.lr, retrain.lr, search.epochs, retrain.epochs) == (0.5, 0.5, 2, 3)
    assert found.without(fixed, search_only=True)[1] == ["lr", "epochs"]


def test_setting_anything():
    fixed = fixed_settings(
        {"task": "rte", "epochs": None, "arch_lr": 0.1},
        [("refine", 3), ("retrain.objective-options.temperature", 2), ("retrain.objective", "mutual")],
    )
    assert fixed["search"] == {"task": "rte", "arch_lr": 0.1, "refine": 3}
    assert fixed["retrain"] == {"task": "rte", "objective": "mutual", "objective_options": {"temperature": 2}}
    with pytest.raises(UsageError, match=r"--set search\.objective: unknown setting"):
        fixed_settings({}, [("search.objective", "joint")])
    with pytest.raises(UsageError, match="--set epoch: unknown setting; did you mean epochs"):
        fixed_settings({}, [("epoch", 1)])
    with pytest.raises(UsageError, match="--set epochs: input should be"):
        fixed_settings({}, [("epochs", 0)])


def test_the_nearest_value_inside():
    found = {p.name: p for p in space(
        lr={"low": 1e-4, "high": 1e-2, "log": True},
        epochs={"low": 2, "high": 8, "step": 3},
        batch_size={"choices": [8, 64]},
        relaxation={"choices": ["sigmoid", "gumbel_softmax"]},
    ).parameters}  # fmt: skip
    assert nearest_inside(found["lr"], 5e-5) == 1e-4
    assert nearest_inside(found["lr"], 5e-3) == 5e-3
    assert [nearest_inside(found["epochs"], n) for n in (1, 4, 6, 7, 10)] == [2, 5, 5, 8, 8]
    assert nearest_inside(found["batch_size"], 32) == 8
    assert nearest_inside(found["batch_size"], 40) == 64
    assert nearest_inside(found["relaxation"], "softmax") == "sigmoid"


def test_settled_settings_are_what_a_config_file_holds():
    found = space(exit_lr={"low": 1e-4, "high": 1e-2}, objective={"choices": ["joint", "mutual"]})
    fixed = fixed_settings({"task": "rte", "backbone": "minilm-l6", "epochs": 3})
    told = settled(found, fixed, {"exit_lr": 1e-3, "objective": "mutual"})
    # exit_lr is told although it is the default: it was tuned
    assert told.search == {"task": "rte", "backbone": "minilm-l6", "epochs": 3, "exit_lr": 1e-3}
    assert told.retrain is not None
    assert {key: told.retrain[key] for key in ("objective", "epochs", "exit_lr", "backbone")} == {
        "objective": "mutual",
        "epochs": 3,
        "exit_lr": 1e-3,
        "backbone": "minilm-l6",
    }
    assert settled(found, fixed, {"exit_lr": 1e-3}, search_only=True).retrain is None


OPTION = {"objective_options.temperature": {"low": 1, "high": 2}}


@pytest.mark.parametrize(("entries", "given", "message"), [
    ({"exit_width": {"low": 10, "high": 20}}, [], "tuning space own: exit-width 10: encoder_1: mha_4 needs a"),
    ({"exit_width": {"choices": [8, 20]}}, [], "tuning space own: exit-width 20: encoder_1: mha_8"),
    ({"lr": {"low": 1, "high": 2}}, [("exit_width", 20)], "tuning space own: exit-width 20"),
    ({"exit_width": {"low": 10, "high": 20}, "space": {"choices": ["linear", "leco"]}}, [], "tuning space own: exit-w"),
    (OPTION, [], "nothing is left to tune in tuning space own: no trial would draw objective_options.temperature; add"),
    ({"lr": {"low": 1, "high": 2}}, [("lr", 1)], "nothing is left to tune in tuning space own: every setting of it is"),
])  # fmt: skip
def test_of_what_cannot_be_drawn_nothing_is_started(entries: dict[str, Any], given: list[Any], message: str):
    fixed = fixed_settings({"task": "rte"}, given)
    with pytest.raises(UsageError) as caught:
        check_drawable(space(**entries).without(fixed)[0], fixed)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("entries", "given"), [
    ({"exit_width": {"low": 8, "high": 64, "step": 8}}, []),
    ({"exit_width": {"low": 10, "high": 20}}, [("space", "linear")]),
    (OPTION, [("objective", "mutual")]),
    ({**OPTION, "objective": {"choices": ["joint", "mutual"]}}, []),
    ({**OPTION, "lr": {"low": 1, "high": 2}}, []),
])  # fmt: skip
def test_what_can_be_drawn_is_not_refused(entries: dict[str, Any], given: list[Any]):
    fixed = fixed_settings({"task": "rte"}, given)
    check_drawable(space(**entries).without(fixed)[0], fixed)
