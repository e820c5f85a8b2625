"""Going on with a study: the same draws, what is refused, and whose folder and record it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from tiny_tuning import SPACE, drawn, requests, use_fakes

from exitnas.errors import ExitnasError, UsageError
from exitnas.tuning import study, trial
from exitnas.tuning.find import look
from exitnas.tuning.record import read_record
from exitnas.tuning.space import read_space
from exitnas.tuning.storage import Address, opened
from exitnas.tuning.study import Request, tune


@pytest.fixture
def request_of(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    use_fakes(monkeypatch)
    return requests(world, tmp_path)


def test_the_same_seed_draws_the_same_and_going_on_is_as_if_never_stopped(request_of: Any, silent: Any, tmp_path: Path):
    whole = tune(request_of(), silent, trials=9)
    again = tune(request_of(folder=str(tmp_path / "again")), silent, trials=9)
    for count in (4, 5):
        parts = tune(request_of(folder=str(tmp_path / "parts")), silent, trials=count)
    other = tune(request_of(folder=str(tmp_path / "other"), seed=7), silent, trials=9)
    assert drawn(whole) == drawn(again) == drawn(parts)
    assert drawn(whole)[0] == drawn(other)[0]
    assert drawn(whole)[1:] != drawn(other)[1:]


def test_a_name_alone_goes_on(request_of: Any, silent: Any, tmp_path: Path):
    tune(request_of(), silent, trials=1)
    summary = tune(Request(folder=str(tmp_path / "study")), silent, trials=1)
    assert [trial["state"] for trial in summary["trials"]] == ["complete", "complete"]


def test_a_study_of_something_else_is_refused(request_of: Any, world: Any, silent: Any, tmp_path: Path):
    tune(request_of(), silent, trials=1)
    pair = str(world.tasks["pair"])
    other = read_space({**SPACE.content, "lr": {"low": 1e-5, "high": 1e-4}}, "other")
    renamed = read_space({**SPACE.content, "name": "renamed"}, "renamed")
    fixed = request_of(flags={"epochs": 5}).fixed
    for change, message in (
        ({"task": pair}, "study study has task single, but pair was asked for: choose another --name"),
        ({"space": other}, "study study has tuning space small with another lr, but small was asked for"),
        ({"space": renamed}, "study study has tuning space small, but renamed was asked for"),
        ({"goals": ("avg", "macs")}, "study study has goals avg, but avg, macs was asked for"),
        ({"search_only": True}, "study study has search_only False, but True was asked for"),
        ({"fixed": fixed}, "study study has search setting epochs 4, but 5 was asked for"),
    ):
        with pytest.raises(UsageError) as caught:
            tune(request_of(**change), silent, trials=1)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
    assert len(look(str(tmp_path / "study"))["trials"]) == 1


def test_where_the_data_lies_may_change(request_of: Any, world: Any, silent: Any):
    tune(request_of(), silent, trials=1)
    moved = request_of(flags={"data_dir": str(Path(world.tasks["single"]).parent)})
    assert tune(moved, silent, trials=1)["states"] == {"complete": 2}


def test_the_record_is_written_once_and_places_stay_on_their_machine(request_of: Any, world: Any, silent: Any):
    data = str(Path(world.tasks["single"]).parent)
    folder = Path(tune(request_of(), silent, trials=1)["folder"])
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "_run", lambda t, record, *_: seen.append(record.fixed["search"]["data_dir"]) or (0.5,))
        tune(request_of(flags={"data_dir": data}), silent, trials=1)
    assert seen == [data]
    with opened(Address(str(folder / "journal.log"))) as storage:
        record = read_record(optuna.load_study(study_name="study", storage=storage))
    assert "data_dir" not in record.fixed["search"]
    written = (folder / "journal.log").read_text().splitlines()
    assert sum('"user_attr":{"exitnas"' in line for line in written) == 1


def test_seed_and_pruner_are_the_studys(request_of: Any, silent: Any, tmp_path: Path):
    whole = tune(request_of(seed=7, pruner="none"), silent, trials=4)
    parts = request_of(folder=str(tmp_path / "parts"), seed=7, pruner="none")
    tune(parts, silent, trials=2)
    resumed = tune(Request(folder=parts.folder), silent, trials=2)
    assert drawn(resumed) == drawn(whole)
    for change, message in (({"seed": 8}, "study parts has seed 7, but 8"), ({"pruner": "median"}, "has pruner none")):
        with pytest.raises(UsageError, match=message):
            tune(request_of(folder=parts.folder, **change), silent, trials=1)


def test_two_commands_that_make_a_study_at_once_make_one(request_of: Any, silent: Any, monkeypatch: Any):
    """The second finds none, and by the time it makes its own the first one's is there."""
    first, real = request_of(), optuna.get_all_study_names
    calls: list[int] = []

    def none_yet(storage: Any) -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            tune(first, silent, trials=1)
            return []
        return real(storage)

    monkeypatch.setattr(optuna, "get_all_study_names", none_yet)
    with pytest.raises(UsageError, match="study study has goals avg, but avg, macs was asked for"):
        tune(request_of(goals=("avg", "macs")), silent, trials=1)
    assert len(look(first.folder)["trials"]) == 1


def test_a_folder_is_of_one_study(request_of: Any, silent: Any, tmp_path: Path, monkeypatch: Any):
    folder = tmp_path / "study"
    tune(request_of(), silent, trials=1)
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    with pytest.raises(UsageError, match=f"--output {folder}: holds study study kept in .*, not study other"):
        tune(request_of(name="other"), silent, trials=1)
    with pytest.raises(UsageError, match=r"leave --storage out, or choose another folder"):
        tune(request_of(storage=f"sqlite:///{tmp_path}/a.db"), silent, trials=1)
    (folder / "study.json").unlink()  # as if two commands had begun at once
    summary = tune(request_of(name="other", storage=str(tmp_path / "other.log")), silent, trials=1)
    assert summary["trials"][0]["reason"].endswith("trials/0000: is there already; give the study a folder of its own")
    kept = {path: path.read_bytes() for path in before if path.parent.parent != tmp_path}
    assert {path: text for path, text in before.items() if path in kept} == kept


def test_the_environment_names_the_storage_of_new_studies_only(
    request_of: Any, silent: Any, tmp_path: Path, monkeypatch: Any
):
    journal = tune(request_of(), silent, trials=1)
    monkeypatch.setenv("EXITNAS_STORAGE", f"sqlite:///{tmp_path}/a.db")
    assert look(journal["folder"])["storage"] == journal["storage"]
    assert tune(request_of(), silent, trials=1)["states"] == {"complete": 2}
    assert tune(request_of(folder=str(tmp_path / "new")), silent, trials=1)["storage"] == f"sqlite:///{tmp_path}/a.db"
    with pytest.raises(UsageError, match=r"is kept in .*journal.log, not in sqlite:///.*: leave --storage out"):
        look(journal["folder"], storage=f"sqlite:///{tmp_path}/a.db")


def test_a_database_that_fails_in_mid_study_is_one_line(request_of: Any, silent: Any, tmp_path: Path, monkeypatch: Any):
    database = tmp_path / "a.db"

    def lost(*_: Any) -> None:
        database.write_bytes(b"no database" * 1000)
        raise ExitnasError("first error")

    monkeypatch.setattr(trial, "search", lost)
    with pytest.raises(ExitnasError) as caught:
        tune(request_of(storage=f"sqlite:///{database}"), silent, trials=2)
    assert str(caught.value) == f"cannot use the storage sqlite:///{database}: file is not a database"


def test_the_first_error_is_told_when_the_summary_fails_too(request_of: Any, silent: Any, monkeypatch: Any):
    def never(*_: Any) -> None:
        raise ExitnasError("no room")

    def no_summary(*_: Any) -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(trial, "search", never)
    monkeypatch.setattr(study, "describe", no_summary)
    with pytest.raises(ExitnasError, match="the first 3 trials failed alike: no room"):
        tune(request_of(), silent, trials=5)


def test_a_database_inside_the_folder_that_is_made(request_of: Any, silent: Any, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/study/study.db"
    assert tune(request_of(storage=url), silent, trials=1)["states"] == {"complete": 1}
    assert json.loads((tmp_path / "study" / "study.json").read_text())["storage"] == url
