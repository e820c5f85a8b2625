"""Trials that fail: their reason stays, the study goes on, and what was killed is tried again."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from tiny_tuning import drawn, fake_retrain, fake_search, requests, use_fakes

from exitnas.errors import ExitnasError
from exitnas.tuning import liveness, pool, trial
from exitnas.tuning.budget import Budget
from exitnas.tuning.find import look
from exitnas.tuning.liveness import NAMELESS, reclaim, worker_id
from exitnas.tuning.storage import Address, opened
from exitnas.tuning.study import Request, tune


@pytest.fixture
def request_of(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    use_fakes(monkeypatch)
    return requests(world, tmp_path)


def test_a_failed_trial_keeps_its_reason_and_the_study_goes_on(
    request_of: Any, silent: Any, monkeypatch: Any, tmp_path: Path
):
    def sometimes(settings: Any, run: Any, report: Any) -> dict[str, Any]:
        number = run._trial.number
        if number == 1:
            raise ExitnasError("step 3: the loss is nan at exits 2")
        if number == 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\nmore")
        if number == 3:
            raise KeyError("bug")
        return fake_search(settings, run, report)

    monkeypatch.setattr(trial, "search", sometimes)
    summary = tune(request_of(), silent, trials=5)
    assert summary["states"] == {"complete": 2, "failed": 3}
    reasons = [row["reason"] for row in summary["trials"][1:4]]
    assert reasons[0] == "step 3: the loss is nan at exits 2"
    assert reasons[1].startswith("out of memory: [enforce fail]")
    assert "\n" not in reasons[1]
    assert reasons[2] == "KeyError: 'bug'"
    folder = tmp_path / "study" / "trials"
    assert (folder / "0001" / "failure.txt").read_text() == reasons[0] + "\n"
    assert "Traceback" in (folder / "0003" / "failure.txt").read_text()
    assert json.loads((folder / "0002" / "trial.json").read_text())["reason"] == reasons[1]


def test_three_failures_alike_at_the_start_end_the_study(request_of: Any, silent: Any, monkeypatch: Any):
    def never(settings: Any, run: Any, report: Any) -> dict[str, Any]:
        raise ExitnasError(f"step {run._trial.number}: no room")

    monkeypatch.setattr(trial, "search", never)
    with pytest.raises(ExitnasError, match="the first 3 trials failed alike: step 0: no room"):
        tune(request_of(), silent, trials=9)
    assert look(request_of().folder)["states"] == {"failed": 3}


def test_an_interrupted_trial_is_queued_again(request_of: Any, silent: Any, monkeypatch: Any):
    def interrupted(settings: Any, run: Any, report: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(request_of(), silent, trials=2)
    monkeypatch.setattr(trial, "search", fake_search)
    summary = tune(request_of(), silent, trials=1)
    assert [t["state"] for t in summary["trials"]] == ["failed", "complete"]
    assert drawn(summary)[0] == drawn(summary)[1]
    assert summary["trials"][0]["reason"] == "interrupted"
    assert summary["trials"][1]["retry_of"] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_goal_that_is_no_number_fails_the_trial(request_of: Any, silent: Any, monkeypatch: Any, value: float):
    def diverged(settings: Any, genotype: Any, run: Any, report: Any) -> dict[str, Any]:
        return {**fake_retrain(settings, genotype, run, report), "seeds": [{"dev": {"avg": value}}]}

    monkeypatch.setattr(trial, "retrain", diverged)
    summary = tune(request_of(), silent, trials=1)
    assert summary["trials"][0]["reason"] == f"goal avg is {value}: training diverged; such settings are none to choose"
    told = json.loads((Path(summary["trials"][0]["run"]) / "trial.json").read_text())
    assert (told["state"], told["reason"]) == ("failed", summary["trials"][0]["reason"])


def test_a_reason_that_begins_with_killed_is_no_kill(request_of: Any, silent: Any, monkeypatch: Any):
    def never(*_: Any) -> None:
        raise ExitnasError("killed the mood")

    monkeypatch.setattr(trial, "search", never)
    with pytest.raises(ExitnasError, match="failed alike: killed the mood"):
        tune(request_of(), silent, trials=9)


def test_a_trial_without_a_workers_name_is_dead_after_a_while(tmp_path: Path, monkeypatch: Any):
    with opened(Address(str(tmp_path / "journal.log"))) as storage:
        study = optuna.create_study(study_name="a", storage=storage)
        study.ask()
        named = study.ask()
        named.set_user_attr("worker", worker_id())
        assert reclaim(study, storage) == []
        later = datetime.now() + timedelta(seconds=NAMELESS + 5)
        monkeypatch.setattr(liveness, "datetime", SimpleNamespace(now=lambda: later))
        assert reclaim(study, storage) == [(0, True)]
        assert reclaim(study, storage, dead=[1]) == [(1, True)]


def test_a_worker_that_dies_idle_is_replaced_once_it_has_worked(tmp_path: Path):
    """Its trial goes back into the budget; one that never worked ends the study."""
    dead = SimpleNamespace(
        process=SimpleNamespace(returncode=-9), running=None, finished=1, last_words=lambda: "x", log="1.log"
    )
    budget = Budget(1, None)
    assert budget.take()
    bury: Any = pool._buried
    bury(dead, None, None, budget, None)
    assert budget.left()
    dead.finished = 0
    with pytest.raises(ExitnasError, match=r"a worker ended with code -9 before its trial: x; see 1.log"):
        bury(dead, None, None, budget, None)


def test_a_worker_that_dies_between_drawing_and_naming_gives_its_trial_back(tmp_path: Path):
    budget, told = Budget(1, None), []
    with opened(Address(str(tmp_path / "journal.log"))) as storage:
        study = optuna.create_study(study_name="a", storage=storage)
        study.ask()
        dead = SimpleNamespace(process=SimpleNamespace(returncode=-9), running=0, finished=0)
        assert budget.take()
        bury: Any = pool._buried
        bury(dead, study, storage, budget, told.append)
        assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]
    assert budget.left()
    assert (told[0].state, told[0].killed) == ("failed", True)
