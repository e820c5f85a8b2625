"""Where studies are kept: passwords stay hidden, unreachable storages are one line, dead workers are found."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.tuning.liveness import born, is_gone, machine, reclaim, worker_id
from exitnas.tuning.storage import RETRIES, Address, drop_torn_line, opened

HIDDEN = [
    ("postgresql+psycopg://u:s3cret@host:5432/db", "postgresql+psycopg://u:***@host:5432/db"),
    ("postgresql://postgres:postgres@host/postgres", "postgresql://postgres:***@host/postgres"),
    ("mysql+pymysql://u:a%40b%2Fc@host/db", "mysql+pymysql://u:***@host/db"),
    ("mysql://u:p@ss/w:rd@host/db", "mysql://u:***@host/db"),
    ("postgresql://host/db?user=u&password=s3cret&x=1", "postgresql://host/db?user=u&password=***&x=1"),
    ("postgresql+psycopg://me@srv:S3CRET@localhost:1/db", "postgresql+psycopg://me@srv:***@localhost:1/db"),
    (
        "postgresql://h/db?sslpassword=a&ssl_key_password=b&PASSWORD=c",
        "postgresql://h/db?sslpassword=***&ssl_key_password=***&PASSWORD=***",
    ),
    ("postgresql://u:p@h/db?password=a@b", "postgresql://u:***"),
    ("postgresql://u@host/db", "postgresql://u@host/db"),
    ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
    ("runs/a/journal.log", "runs/a/journal.log"),
]


@pytest.mark.parametrize(("text", "shown"), HIDDEN)
def test_an_address_is_shown_without_its_password(text: str, shown: str):
    assert Address(text).shown == shown


def test_a_password_is_hidden_however_it_is_quoted():
    address = Address("postgresql://u:a%40b%2Fc@host/db")
    told = address.hide("no 'a@b/c', a%40b%2Fc, a%40b/c at postgresql://u:a%40b%2Fc@host/db")
    assert told == "no '***', ***, *** at postgresql://u:***@host/db"
    address = Address("postgresql://u:s3cret@h/db?password=a@b")
    assert "s3cret" not in address.hide("password s3cret is wrong")


def test_a_url_without_scheme_is_no_journal(error_line: Callable[..., str]):
    assert error_line("tune", "show", "user:s3cret@localhost/db", code=2).startswith("--storage: a URL starts with a")
    assert Address("./user:a@b/journal.log").shown == "./user:a@b/journal.log"


def test_files_that_are_no_journals_stay_as_they_are(tmp_path: Path, error_line: Callable[..., str]):
    notes, database = tmp_path / "notes.txt", tmp_path / "study.db"
    notes.write_text("first\nno newline at the end")
    database.write_bytes(b"SQLite format 3\0" + b"rest without an end")
    before = [path.read_bytes() for path in (notes, database)]
    for write in (False, True):
        with pytest.raises(ExitnasError, match="is no journal"), opened(Address(str(notes)), must_exist=not write):
            pass
        with pytest.raises(UsageError, match=f"write sqlite:///{database}"), opened(Address(str(database))):
            pass
    for text in ("one line", "5\n", "[1, 2]\n", "[" * 100_000 + "\n", '{"a": 1}\n'):
        notes.write_text(text)
        assert "is no journal of Optuna" in error_line("tune", "show", notes, code=1)
        assert notes.read_text() == text
    assert database.read_bytes() == before[1]


@pytest.mark.parametrize("line", ["[1, 2]", "5", '{"op_code": 99, "worker_id": "a"}', '{"op_code": 4}', "null"])
def test_a_journal_with_a_bad_record_is_one_line(tmp_path: Path, error_line: Callable[..., str], line: str):
    path = tmp_path / "journal.log"
    with opened(Address(str(path))) as storage:
        optuna.create_study(study_name="a", storage=storage)
    path.write_text(path.read_text() + line + "\n")
    assert error_line("tune", "show", path, code=1).startswith(f"cannot read the storage {path}: ")


def test_showing_leaves_a_torn_line_to_its_writer(tmp_path: Path):
    path = tmp_path / "journal.log"
    with opened(Address(str(path))) as storage:
        optuna.create_study(study_name="a", storage=storage)
    torn = path.read_bytes() + b'{"op_code": 4, "wor'
    path.write_bytes(torn)
    with opened(Address(str(path)), must_exist=True) as storage:
        assert optuna.get_all_study_names(storage) == ["a"]
    assert path.read_bytes() == torn


@pytest.mark.parametrize("content", ["{}", "[]", '{"name": 1, "storage": "a"}', '{"name": "a", "storage": null}', "{"])
def test_a_bad_study_file_is_one_line(tmp_path: Path, error_line: Callable[..., str], content: str):
    (tmp_path / "study.json").write_text(content)
    assert error_line("tune", "show", tmp_path, code=1).startswith(f"{tmp_path}/study.json: ")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unreachable_database_is_one_line_within_seconds(closed_port: int, error_line: Callable[..., str]):
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://u:s3cret@127.0.0.1:{closed_port}/db"
    began = time.monotonic()
    line = error_line("tune", "show", url, code=1)
    assert time.monotonic() - began < 10
    assert line.startswith(f"cannot use the storage postgresql+psycopg://u:***@127.0.0.1:{closed_port}/db: ")
    assert "s3cret" not in line
    assert "refused" in line


def test_addresses_that_cannot_be_meant(tmp_path: Path, error_line: Callable[..., str]):
    line = error_line("tune", "show", "nosuch://u:s3cret@host/db", code=2)
    assert line.startswith("--storage nosuch://u:***@host/db: ")
    assert "s3cret" not in line
    missing = f"sqlite:///{tmp_path}/none.db"
    assert (
        error_line("tune", "show", missing, code=2) == f"{missing}: no such study file; start one with `exitnas tune`"
    )
    assert not (tmp_path / "none.db").exists()
    broken = tmp_path / "broken.log"
    broken.write_text("not a journal\nat all\n")
    assert error_line("tune", "show", broken, code=1).startswith(f"cannot read the storage {broken}: ")
    database = tmp_path / "broken.db"
    database.write_bytes(b"no database" * 100)
    line = error_line("tune", "show", f"sqlite:///{database}", code=1)
    assert line.startswith(f"cannot use the storage sqlite:///{database}: file is not a database")


def test_a_storage_with_several_studies_asks_for_the_name(tmp_path: Path, error_line: Callable[..., str]):
    path = tmp_path / "journal.log"
    with opened(Address(str(path))) as storage:
        for name in ("one", "two"):
            optuna.create_study(study_name=name, storage=storage)
    assert error_line("tune", "show", path, code=2) == f"{path}: --name is missing; it holds one, two"
    assert error_line("tune", "show", path, "--name", "three", code=2).endswith(
        "no study 'three' there; it holds one, two"
    )
    assert "was not made by `exitnas tune`" in error_line("tune", "show", path, "--name", "one", code=1)


def test_a_line_torn_by_a_kill_does_not_spoil_the_journal(tmp_path: Path):
    path = tmp_path / "journal.log"
    with opened(Address(str(path))) as storage:
        study = optuna.create_study(study_name="a", storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    with opened(Address(str(path))) as storage:
        study = optuna.load_study(study_name="a", storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert path.read_bytes().startswith(whole)
    assert [json.loads(line)["op_code"] >= 0 for line in path.read_text().splitlines()]
    drop_torn_line(path)
    assert len(study.trials) == 3


def test_who_is_alive():
    me = worker_id()
    assert me["pid"] == os.getpid()
    assert not is_gone(me)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    other = {"machine": machine(), "pid": process.pid, "born": born(process.pid)}
    assert not is_gone(other)
    process.kill()
    process.wait()
    assert is_gone(other)
    assert not is_gone({**other, "machine": "elsewhere"})  # nothing can be told about another machine
    assert not is_gone(None)
    assert is_gone({**me, "born": "1"})  # the pid was given to another process


def test_a_dead_workers_trial_is_failed_and_tried_again_a_few_times(tmp_path: Path):
    gone = {"machine": machine(), "pid": 2**22 + 1, "born": "1"}
    with opened(Address(str(tmp_path / "journal.log"))) as storage:
        study = optuna.create_study(study_name="a", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        value = None
        for attempt in range(RETRIES + 1):
            trial = study.ask()
            assert trial.suggest_float("x", 0, 1) == (value := value or trial.params["x"])
            trial.set_user_attr("worker", gone)
            assert reclaim(study, storage) == [(attempt, attempt < RETRIES)]
            assert reclaim(study, storage) == []
        alive = study.ask()
        alive.set_user_attr("worker", worker_id())
        elsewhere = study.ask()
        elsewhere.set_user_attr("worker", {**gone, "machine": "elsewhere"})
        assert reclaim(study, storage) == []
        assert [number for number, _ in reclaim(study, storage, everyone=True)] == [RETRIES + 1, RETRIES + 2]
        states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL"] * (RETRIES + 3) + ["WAITING"] * 2
    assert study.trials[0].user_attrs["reason"] == f"killed: its worker (process {gone['pid']}) is gone"
    assert "reason" not in study.trials[-1].user_attrs


FOUR = """
import sys, optuna
from exitnas.tuning.sampling import NumberedTPE
from exitnas.tuning.storage import Address, opened
with opened(Address(sys.argv[1])) as storage:
    study = optuna.load_study(study_name="a", storage=storage, sampler=NumberedTPE(1))
    def objective(trial):
        value = trial.suggest_float("x", 0, 1)
        for step in range(5):
            trial.report(value, step)
            trial.should_prune()
        trial.set_user_attr("process", sys.argv[2])
        return value
    study.optimize(objective, n_trials=6)
"""


@pytest.mark.slow
def test_four_processes_at_once_leave_a_whole_journal(tmp_path: Path):
    path = tmp_path / "journal.log"
    with opened(Address(str(path))) as storage:
        optuna.create_study(study_name="a", storage=storage)
    commands = [[sys.executable, "-c", FOUR, str(path), str(number)] for number in range(4)]
    running: list[Any] = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in running] == [0] * 4
    with opened(Address(str(path))) as storage:
        trials = optuna.load_study(study_name="a", storage=storage).trials
    assert [trial.number for trial in trials] == list(range(24))
    assert all(trial.state.name == "COMPLETE" and len(trial.intermediate_values) == 5 for trial in trials)
    assert sorted(trial.user_attrs["process"] for trial in trials) == sorted("0123" * 6)
    assert len({trial.params["x"] for trial in trials}) == 24  # workers that share a seed draw different numbers


def test_a_folder_never_keeps_a_password_and_says_so(tmp_path: Path, error_line: Callable[..., str]):
    (tmp_path / "study.json").write_text(json.dumps({"name": "a", "storage": "postgresql://u:***@host/db"}))
    line = error_line("tune", "show", tmp_path, code=2)
    assert line == f"{tmp_path}: is kept in postgresql://u:***@host/db and its password is not: pass --storage"


def test_errors_of_settings_come_before_the_storage(tmp_path: Path):
    with pytest.raises(UsageError), opened(Address(str(tmp_path / "none.log")), must_exist=True):
        pass
    with pytest.raises(ExitnasError), opened(Address(f"sqlite:///{tmp_path}/no/such/folder.db")):
        pass


def test_a_sign_of_life_that_does_not_get_through_is_not_the_last(tmp_path: Path):
    database = tmp_path / "a.db"

    def stale(study: Any) -> bool:
        return bool(study._storage._get_stale_trial_ids(study._study_id))

    def lose_the_database_for_a_while(trial: Any) -> float:
        time.sleep(0.2)
        database.rename(tmp_path / "away.db")
        database.write_bytes(b"no database" * 1000)
        time.sleep(1.5)  # a sign of life fails meanwhile
        (tmp_path / "away.db").replace(database)
        time.sleep(2)  # without another one the trial counts as killed
        return float(stale(study))

    with opened(Address(f"sqlite:///{database}"), heartbeat=1) as storage:
        study = optuna.create_study(storage=storage)
        study.optimize(lose_the_database_for_a_while, n_trials=1)
        assert study.best_value == 0
