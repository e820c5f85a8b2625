"""Searches and retrainings that take no time: what tests of studies run instead of real ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Origin
from exitnas.supernet.space import load_space
from exitnas.tuning import trial
from exitnas.tuning.fixed import fixed_settings
from exitnas.tuning.space import read_space
from exitnas.tuning.study import Request

SPACE = read_space(
    {
        "name": "small",
        "lr": {"low": 1e-5, "high": 1e-3, "log": True},
        "search": {"arch_lr": {"low": 0.01, "high": 0.1}, "exit_width": {"choices": [16, 32]}},
    },
    "small",
)


def score(settings: Any, share: float) -> float:
    """Best where lr is 2e-4 and `share` of the epochs has passed; the width costs nothing."""
    return share * (1 - abs(settings.lr - 2e-4) / 1e-3)


def fake_search(settings: Any, run: Any, report: Any) -> dict[str, Any]:
    """Logs as many epochs as a search does."""
    if settings.arch_lr > 0.0999:
        raise ExitnasError(f"step 3: the loss is nan; lower arch_lr {settings.arch_lr:.3f}")
    for epoch in range(1, settings.epochs + 1):
        value = score(settings, epoch / settings.epochs)
        run.log(epoch=epoch, step=epoch, split="dev", avg=value, best=value)
    genotype = load_space("linear").only_genotype("tiny", 3, 32, Origin(task=settings.task))
    genotype.save(run.path / "genotype.json")
    costs = [{"parameters": 3, "macs": 10 * (settings.exit_width or 1)}] * 3
    summary = {"genotype": str(run.path / "genotype.json"), "avg": value, "best": value, "costs": costs}
    run.write_summary(summary)
    return summary


def fake_retrain(settings: Any, genotype: Any, run: Any, report: Any) -> dict[str, Any]:
    """Logs as many epochs as a retraining does, once per seed."""
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for epoch in range(1, settings.epochs + 1):
            value = score(settings, epoch / settings.epochs)
            run.log(seed=seed, stage="all", epoch=epoch, step=epoch, split="dev", avg=value, best=value)
    costs = [{"parameters": 3, "macs": 10}] * 3
    summary = {"seeds": [{"dev": {"avg": value, "best": value}}] * settings.seeds, "costs": costs}
    run.write_summary(summary)
    return summary


def use_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace search and retraining in this process."""
    monkeypatch.setattr(trial, "search", fake_search)
    monkeypatch.setattr(trial, "retrain", fake_retrain)


def requests(world: Any, folder: Path) -> Callable[..., Request]:
    """Requests for studies on the tiny task, in `folder/study` unless told otherwise."""

    def make(**values: Any) -> Request:
        flags = {"task": str(world.tasks["single"]), "backbone": str(world.backbone), "device": "cpu", "epochs": 4}
        fixed = fixed_settings({**flags, **values.pop("flags", {})}, values.pop("set", ()))
        given = {"task": flags["task"], "folder": str(folder / "study"), "space": SPACE, "fixed": fixed}
        return Request(**{**given, **values})

    return make


def drawn(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters of every trial."""
    return [trial["parameters"] for trial in summary["trials"]]
