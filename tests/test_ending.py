"""How commands end from outside: signals of a scheduler, a full disk, an interruption."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from exitnas.cli import list_command
from exitnas.cli.ending import Terminated, terminable
from exitnas.training.runs import Run

FULL = Path("/dev/full")
WAIT = """
import signal, sys
from exitnas.cli import list_command
from exitnas.cli.main import main
from exitnas.files import replacing

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup, where the tests are under it, has switched off
path = sys.argv.pop()

def wait():
    with replacing(path) as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        sys.stdin.read()

list_command._policies = wait
main()
"""


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")])
def test_a_signal_ends_a_command_in_one_line_and_leaves_no_half_file(tmp_path: Path, number: int, name: str):
    words = [sys.executable, "-c", WAIT, "list", "policies", str(tmp_path / "file.json")]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, text=True, **pipes) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        job.send_signal(number)
        assert job.wait(60) == 128 + number
        assert job.stderr is not None
        assert job.stderr.read() == f"Error: ended by {name}\n"
    assert not list(tmp_path.iterdir())


def test_ignored_signals_and_those_of_a_launcher_stay_as_they_are(monkeypatch: pytest.MonkeyPatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(Terminated, match="ended by SIGTERM"):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with terminable():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["list", "policies"], ["list", "policies", "--json"]])
def test_a_full_disk_behind_stdout(arguments: list[str]):
    code = "from exitnas.cli.main import main; main()"
    with FULL.open("w") as full:
        job = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (job.returncode, job.stderr) == (1, "Error: cannot write the output: No space left on device\n")


def test_other_errors_without_a_file_are_bugs(cli: Any, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise OSError("odd")

    monkeypatch.setattr(list_command, "_policies", fail)
    with pytest.raises(OSError, match="odd"):
        cli("list", "policies")


def test_an_interruption_while_options_are_read(cli: Any, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "parse_args", interrupt)
    assert cli("list", "policies", code=130).stderr.split("\n") == ["", "Error: interrupted", ""]


def test_files_that_a_killed_run_left_half_written_are_removed_with_it(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".history.jsonl.77.tmp").write_text("half")
    (tmp_path / ".mine.tmp").write_text("not ours")
    Run.create(tmp_path, overwrite=True).start("search", {}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", ".mine.tmp"}
