"""Several worker processes: shared cores, and what happens when one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from postgres import PASSWORD, server

from exitnas.tuning import pool
from exitnas.tuning.storage import Address, opened

SPACE = """
name: tiny
exit_lr: {low: 1e-3, high: 2e-2, log: true}
search: {arch_lr: {low: 0.01, high: 0.1}}
"""


@pytest.fixture
def command_of(world: Any, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a study on the tiny task; a trial takes a few seconds."""
    (tmp_path / "space.yaml").write_text(SPACE)

    def make(*extra: object) -> list[str]:
        given: dict[str, Any] = {
            "task": world.tasks["single"],
            "backbone": world.backbone,
            "tuning-space": tmp_path / "space.yaml",
            "output": tmp_path / "study",
            "epochs": 6,
            "batch-size": 8,
            "device": "cpu",
            "set": "search.refine=0",
        }
        flags = [str(word) for key, value in given.items() for word in (f"--{key}", value)]
        return [sys.executable, "-m", "exitnas", "tune", *flags, *map(str, extra)]

    return make


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as url:
        yield url


def start(command: list[str], **environment: str) -> "subprocess.Popen[str]":
    everything = {**os.environ, **environment}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=everything)


def trials_at(address: str) -> list[Any]:
    """The trials of the study named `study`."""
    with opened(Address(address)) as storage:
        return optuna.load_study(study_name="study", storage=storage).get_trials()


def running_trial(address: str, folder: Path, process: Any) -> Any:
    """Wait until a trial is in the middle of its search."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        if (folder / "study.json").exists():
            found = [t for t in trials_at(address) if t.state.name == "RUNNING" and "run" in t.user_attrs]
            found = [t for t in found if (Path(t.user_attrs["run"]) / "search" / "history.jsonl").exists()]
            if found:
                return found[0]
        time.sleep(0.1)
    raise AssertionError("no trial began")


def check_complete(trials: list[Any], killed: Any, count: int) -> None:
    """No trial lost: as many complete as were asked for, the killed one failed and its parameters tried again."""
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") == count
    assert states.count("FAIL") == 1
    assert len(states) == count + 1
    assert trials[killed.number].state.name == "FAIL"
    again = [t for t in trials if t.system_attrs.get("retry_history") == [killed.number]]
    assert [t.params for t in again] == [trials[killed.number].params]
    assert again[0].state.name == "COMPLETE"


def test_the_cores_are_divided(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [pool.threads_per_worker(n) for n in (1, 2, 3, 8, 16)] == [8, 4, 2, 1, 1]
    for given, threads in (("1", 1), ("3", 3), ("16", 4), ("3,2", 3), ("many", 4), ("0", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert pool.threads_per_worker(2) == threads


@pytest.mark.slow
def test_a_killed_worker_on_a_journal_is_replaced(command_of: Callable[..., list[str]], tmp_path: Path):
    process = start(command_of("--workers", 2, "--trials", 3, "--pruner", "none", "--json"))
    journal = str(tmp_path / "study" / "journal.log")
    killed = running_trial(journal, tmp_path / "study", process)
    os.kill(killed.user_attrs["worker"]["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    check_complete(trials_at(journal), killed, 3)
    rows = json.loads(out)["trials"]
    assert rows[killed.number]["reason"] == f"killed: its worker (process {killed.user_attrs['worker']['pid']}) is gone"
    assert len({row["run"] for row in rows}) == 4


def test_a_killed_worker_on_postgresql_is_replaced(command_of: Callable[..., list[str]], tmp_path: Path, database: str):
    command = command_of("--workers", 2, "--trials", 3, "--pruner", "none")
    process = start(command, EXITNAS_STORAGE=database)
    killed = running_trial(database, tmp_path / "study", process)
    os.kill(killed.user_attrs["worker"]["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    check_complete(trials_at(database), killed, 3)
    everything = [
        out,
        err,
        *(p.read_text() for p in (tmp_path / "study").rglob("*") if p.suffix in (".json", ".log", ".txt")),
    ]
    assert not any(word in text for text in everything for word in (PASSWORD, "s3cret"))
    shown = subprocess.run(
        [sys.executable, "-m", "exitnas", "tune", "show", str(tmp_path / "study"), "--storage", database],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "s3cret" not in shown.stdout + shown.stderr
    assert "dashboard: optuna-dashboard postgresql+psycopg://tuner:***@127.0.0.1" in shown.stdout


@pytest.mark.slow
def test_the_trial_of_another_machine_is_found_by_its_silence(
    command_of: Callable[..., list[str]], tmp_path: Path, database: str
):
    """A whole command is killed; a second one, which takes its workers for another machine's, waits for two beats."""
    with opened(Address(database)) as storage:
        if "study" in {s.study_name for s in optuna.get_all_study_summaries(storage)}:
            optuna.delete_study(study_name="study", storage=storage)
    command = command_of("--trials", 2, "--pruner", "none", "--heartbeat", 1, "--storage", database)
    process = start(command)
    killed = running_trial(database, tmp_path / "study", process)
    process.kill()
    process.communicate()
    with opened(Address(database)) as storage:
        study = optuna.load_study(study_name="study", storage=storage)
        study_id = storage.get_study_id_from_name("study")
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, killed.number)
        storage.set_trial_user_attr(trial_id, "worker", {**killed.user_attrs["worker"], "machine": "elsewhere"})
        assert study.trials[killed.number].state.name == "RUNNING"
    time.sleep(4)
    second = start(command)
    _, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    check_complete(trials_at(database), killed, 2)


@pytest.mark.slow
def test_a_killed_command_on_a_journal_is_gone_on_with(command_of: Callable[..., list[str]], tmp_path: Path):
    command = command_of("--trials", 2, "--pruner", "none")
    process = start(command)
    journal = str(tmp_path / "study" / "journal.log")
    killed = running_trial(journal, tmp_path / "study", process)
    process.kill()
    process.communicate()
    second = start(command)
    _, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert f"trial {killed.number} was killed; queued again" in err
    check_complete(trials_at(journal), killed, 2)
