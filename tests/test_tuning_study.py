"""Studies: what they draw, pruning, fronts, and the files of the winner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_tuning import drawn, fake_search, requests, use_fakes

from exitnas.cli.config_file import ConfigFile
from exitnas.errors import ExitnasError, UsageError
from exitnas.settings import RetrainSettings, SearchSettings
from exitnas.tuning import trial
from exitnas.tuning.find import look, write_best
from exitnas.tuning.study import Request, tune


@pytest.fixture
def request_of(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    use_fakes(monkeypatch)
    return requests(world, tmp_path)


def test_the_first_trial_takes_the_defaults_and_the_best_is_at_least_as_good(request_of: Any, silent: Any):
    summary = tune(request_of(), silent, trials=8)
    assert drawn(summary)[0] == {"lr": 5e-5, "search.arch_lr": 0.03, "search.exit_width": 32}
    assert summary["best"]["values"]["avg"] == max(t["values"]["avg"] for t in summary["trials"] if t["values"])
    assert summary["best"]["values"]["avg"] >= summary["trials"][0]["values"]["avg"] == pytest.approx(0.85)
    assert summary["front"] == [summary["best"]["number"]]


def test_every_trial_is_a_run_directory(request_of: Any, silent: Any, tmp_path: Path):
    summary = tune(request_of(), silent, trials=2)
    for number, row in enumerate(summary["trials"]):
        folder = tmp_path / "study" / "trials" / f"{number:04d}"
        assert row["run"] == str(folder)
        assert (folder / "search" / "genotype.json").is_file()
        lines = (folder / "retrain" / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
        told = json.loads((folder / "trial.json").read_text())
        assert (told["state"], told["parameters"], told["values"]) == ("complete", row["parameters"], row["values"])
    assert json.loads((tmp_path / "study" / "summary.json").read_text()) == summary


def test_a_database_keeps_a_study_too(request_of: Any, silent: Any, tmp_path: Path):
    request = request_of(storage=f"sqlite:///{tmp_path}/studies.db", name="one")
    first = tune(request, silent, trials=1)
    assert tune(request, silent, trials=2)["states"] == {"complete": 3}
    assert look(request.storage)["trials"][:1] == look(request.folder)["trials"][:1] == first["trials"]
    journal = tune(request_of(folder=str(tmp_path / "journal")), silent, trials=3)
    assert drawn(journal) == drawn(look(request.storage))


def test_missing_data_is_found_before_the_first_trial(request_of: Any, silent: Any, tmp_path: Path):
    with pytest.raises(ExitnasError, match="nowhere"):
        tune(request_of(flags={"backbone": "./nowhere"}), silent, trials=1)
    assert not (tmp_path / "study" / "study.json").exists()


def test_bad_trials_are_pruned_at_quarters_of_the_epochs(request_of: Any, silent: Any, monkeypatch: Any):
    steps: dict[int, list[int]] = {}

    def spy(found: Any, run: Any, report: Any) -> dict[str, Any]:
        summary = fake_search(found, run, report)
        steps[run._trial.number] = sorted(run._trial.study.get_trials()[run._trial.number].intermediate_values)
        return summary

    monkeypatch.setattr(trial, "search", spy)
    request = request_of(set=[("search.epochs", 3), ("retrain.epochs", 8), ("retrain.seeds", 2)])
    summary = tune(request, silent, trials=14)
    pruned = [t for t in summary["trials"] if t["state"] == "pruned"]
    assert pruned
    assert all(t["reason"].startswith("avg 0.") for t in pruned)
    assert steps[0] == [1, 2, 4]  # a third, two thirds, all of it
    distance = [abs(t["parameters"]["lr"] - 2e-4) for t in (summary["best"], *pruned)]
    assert distance[0] < min(distance[1:])
    free = tune(request_of(folder=request.folder + "-free", pruner="none", fixed=request.fixed), silent, trials=14)
    assert "pruned" not in free["states"]


def test_the_pruner_hears_quarters_of_both_runs(request_of: Any, silent: Any, monkeypatch: Any):
    seen: list[tuple[int, float]] = []

    class Trial:
        def report(self, value: float, step: int) -> None:
            seen.append((step, round(value, 3)))

        def should_prune(self) -> bool:
            judged.append(seen[-1][0])
            return False

    judged: list[int] = []
    settings = RetrainSettings(task="x", epochs=8)
    folder = Path(request_of().folder)
    run = trial.WatchedRun.create(folder / "search").watch(Trial(), "avg", 2, 0)  # type: ignore[attr-defined]
    for epoch in (1, 2):
        run.log(epoch=epoch, avg=epoch / 10)
    assert (seen, judged) == ([(2, 0.1), (4, 0.2)], [4])  # the first report of a trial is not judged
    seen.clear()
    run = trial.WatchedRun.create(folder / "a").watch(Trial(), "avg", settings.epochs, 4, "all")  # type: ignore[attr-defined]
    for seed in (42, 43):
        for epoch in range(1, 9):
            run.log(seed=seed, stage="all", epoch=epoch, avg=epoch / 10)
    run.log(seed=42, stage="other", epoch=8, avg=0.0)
    assert seen == [(5, 0.2), (6, 0.4), (7, 0.6), (8, 0.8)]
    assert judged == [4, 5, 6, 7, 8]


def test_no_trial_starts_after_the_time(request_of: Any, silent: Any):
    assert tune(request_of(), silent, timeout=0)["trials"][0]["state"] == "waiting"


def test_several_goals_give_a_front_that_nothing_beats(request_of: Any, silent: Any):
    summary = tune(request_of(goals=("avg", "macs"), search_only=True), silent, trials=10)
    points = {t["number"]: (t["values"]["avg"], -t["values"]["macs"]) for t in summary["trials"]}
    beaten = {a for a, x in points.items() for y in points.values() if y != x and y[0] >= x[0] and y[1] >= x[1]}
    assert summary["front"] == sorted(points.keys() - beaten)
    assert 0 < len(summary["front"]) < 10
    assert set(summary["importances"]) == {"avg", "macs"}
    assert summary["importances"]["macs"]["search.exit_width"] > 0.9
    assert (summary["best"], summary["states"]) == (None, {"complete": 10})


def test_the_best_is_written_as_files_that_the_commands_take(request_of: Any, silent: Any, tmp_path: Path):
    request = request_of(set=[("objective", "mutual"), ("objective_options.temperature", 2)])
    summary = tune(request, silent, trials=3)
    written = write_best(request.folder)
    best = summary["best"]["parameters"]
    assert written["trial"] == summary["best"]["number"]
    search_file, retrain_file = written["files"]
    for path, command, model in (
        (search_file, "search", SearchSettings),
        (retrain_file, "retrain", RetrainSettings),
    ):
        settings: Any = model(**ConfigFile.read(path, command, model).under({}))
        assert settings.lr == best["lr"]
        assert settings.epochs == 4
        assert settings.task == request.task
    assert yaml.safe_load(Path(search_file).read_text())["exit_width"] == best["search.exit_width"]
    assert settings.objective_options == {"temperature": 2}
    with pytest.raises(UsageError, match="is there already"):
        write_best(request.folder)
    other = write_best(request.folder, trial=0, output=str(tmp_path / "zero"))
    assert yaml.safe_load(Path(other["files"][0]).read_text())["lr"] == 5e-5
    with pytest.raises(UsageError, match="--trial 9: study study has no such trial"):
        write_best(request.folder, trial=9)


def test_what_cannot_be_asked_for(request_of: Any, silent: Any, tmp_path: Path):
    with pytest.raises(UsageError, match="unknown pruner 'medium': did you mean median"):
        tune(request_of(pruner="medium"), silent, trials=1)
    with pytest.raises(UsageError, match="the same goal twice"):
        tune(request_of(goals=("avg", "avg")), silent, trials=1)
    with pytest.raises(UsageError, match="nothing is left to tune"):
        tune(request_of(flags={"lr": 1e-4, "arch_lr": 0.1, "exit_width": 8}), silent, trials=1)
    with pytest.raises(UsageError, match="--task is missing"):
        tune(Request(folder=str(tmp_path / "new")), silent, trials=1)
    for bad in (str(tmp_path / "none"), "none"):
        with pytest.raises(UsageError, match="no study; expected the folder of `exitnas tune`"):
            look(bad)
