"""The command line: help without heavy imports, output on the right stream, and the whole flow on a tiny encoder."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from exitnas import __version__
from exitnas.cli.list_command import KINDS
from exitnas.cli.main import COMMANDS, main

HEAVY = ("torch", "transformers", "pandas", "sklearn", "datasets", "scipy", "accelerate", "numpy", "rich")


def command_of(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(cli: Any, name: str):
    command = command_of(name)
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in ("split", "help"):
            assert option.help, option.opts
    text = cli(name, "--help").stdout
    assert text.startswith(f"Usage: exitnas {name} ")
    assert command.help.splitlines()[0].split(";")[0][:40] in text
    assert COMMANDS[name] in " ".join(cli("--help").stdout.split())


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=lambda a: a[0] if a else "exitnas")
def test_help_imports_nothing_heavy(arguments: list[str]):
    code = (
        "import sys, exitnas.cli.main as cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("Usage: exitnas")
    assert result.stderr == "[]\n"


def test_no_arguments_show_the_help_and_version_is_told(cli: Any):
    assert cli().stdout == cli("--help").stdout == cli("-h").stdout
    assert __version__ in cli("--version").stdout


def test_the_words_of_common_options_are_the_same_everywhere():
    seen: dict[str, tuple[Any, ...]] = {}
    for name in COMMANDS:
        for option in command_of(name).params:
            word = option.opts[0]
            if word in ("--batch-size", "--max-length", "--seed", "--device", "--precision", "--json", "--task"):
                now = (option.name, type(option.type), option.opts)
                assert seen.setdefault(word, now) == now, f"{name} {word}"
    assert len(seen) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_list(cli: Any, kind: str):
    rows = json.loads(cli("list", kind, "--json").stdout)
    assert len(rows) >= 4
    assert len({frozenset(row) for row in rows}) == 1
    table = cli("list", kind)
    assert table.stderr == ""
    for row in rows:
        assert str(next(iter(row.values()))) in table.stdout


def test_list_counts_the_paper_space_truly(cli: Any):
    rows = {row["space"]: row for row in json.loads(cli("list", "spaces", "--json").stdout)}
    assert rows["leco"]["exits per layer"] == str(5 * 8 * 8 * 4 * 5)
    assert rows["leco"]["architectures (12 layers)"] == "4.72e45"  # (5 * 8 * 8 * 4 * 5) ** 12
    assert f"{6400**12:.3g}" == "4.72e+45"
    fewer = json.loads(cli("list", "spaces", "--layers", 1, "--json").stdout)
    assert next(row for row in fewer if row["space"] == "leco")["architectures (1 layers)"] == "6400"


def train_options(world: Any, **more: Any) -> list[str]:
    values = {"epochs": 2, "batch-size": 8, "lr": 1e-3, "exit-lr": 5e-3, "device": "cpu", **more}
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def test_the_whole_flow(cli: Any, world: Any, tmp_path: Path):
    found, trained = tmp_path / "found", tmp_path / "trained"
    task, backbone = world.tasks["single"], world.backbone
    result = cli("search", "--task", task, "--backbone", backbone, "-o", found, *train_options(world), "--json")
    summary = json.loads(result.stdout)
    assert {"run", "genotype", "avg", "best", "exits", "seconds"} <= set(summary)
    assert summary == json.loads((found / "summary.json").read_text())
    assert "search epoch 2/2" in result.stderr

    result = cli("draw", found / "genotype.json", "-o", tmp_path / "exits.svg")
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert {path.suffix for path in paths} >= {".dot", ".svg"}
    assert all(path.is_file() for path in paths)

    result = cli("retrain", found, "-o", trained, "--epochs", 1, "--json", "--quiet")
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    assert {"task", "metric", "split", "exits", "avg", "best"} <= set(summary)
    settings = json.loads((trained / "config.json").read_text())["settings"]
    assert (settings["epochs"], settings["batch_size"], settings["task"]) == (1, 8, str(task))

    timing = ["--time-samples", "2", "--time-rounds", "1", "--quiet"]
    curves = tmp_path / "curves.csv"
    report = json.loads(cli("evaluate", trained, *timing, "--curves", curves, "--json").stdout)
    assert report["exits"] == pytest.approx(summary["exits"])
    assert [row["policy"] for row in report["policies"]] == [
        "static",
        "entropy",
        "max_prob",
        "patience",
        "cobee",
        "voting",
        "hybrid",
    ]
    assert curves.read_text().startswith("policy,parameters,")
    one = json.loads(cli("evaluate", trained / "model", "--policy", "cobee", "--tau", 0.3, *timing, "--json").stdout)
    assert [row["parameters"] for row in one["policies"]] == [{"tau": 0.3, "patience": 1}]

    answers = json.loads(cli("predict", trained, "--text", "bal good", "--text", "poor dut", "--json").stdout)
    assert [set(answer) for answer in answers] == [{"label", "exit", "scores"}] * 2
    rows = world.tasks["single"].with_name("test.jsonl")
    entropy = ["--policy", "entropy", "--threshold", 0.6]
    many = json.loads(cli("predict", trained, "--input", rows, *entropy, "--batch-size", 3, "--json").stdout)
    assert len(many) == 40
    assert {answer["label"] for answer in many} <= {"up", "down"}


def test_tables_are_for_people(cli: Any, world: Any, retrained: dict[str, Any], tmp_path: Path):
    task = ["--task", world.tasks["single"], "--backbone", world.backbone]
    result = cli("search", *task, "--space", "linear", "-o", tmp_path)
    assert "exits found in space linear" in result.stdout
    assert f"genotype: {tmp_path / 'genotype.json'}" in result.stdout
    assert "next: exitnas retrain" in result.stdout
    assert "data: " in result.stderr
    table = cli("evaluate", retrained["run"], "--policy", "static", "--exit", 1, "--time-samples", 0).stdout
    assert "full model" in table
    assert "3.00x" in table
    table = cli("predict", retrained["run"], "--text", "good bal").stdout
    assert "good bal" in table
    assert "up" in table or "down" in table


def test_a_search_that_decided_nothing_warns_on_stderr(cli: Any, world: Any, tmp_path: Path):
    options = train_options(world, **{"arch-lr": 1e-6, "epochs": 1})
    result = cli("search", "--task", world.tasks["single"], "--backbone", world.backbone, "-o", tmp_path, *options)
    assert "warning: " in result.stderr
    assert "close to noise" in result.stderr
    assert "warning" not in result.stdout


def test_pairs_and_regression_are_predicted(cli: Any, retrained_pair: Any, retrained_regression: Any):
    pair = cli("predict", retrained_pair["run"], "--text", "good", "--text-pair", "bad", "--json")
    assert json.loads(pair.stdout)[0]["label"] in ("no", "yes")
    policy = ["--policy", "patience", "--patience", 1, "--tau", 0.5]
    value = json.loads(cli("predict", retrained_regression["run"], "--text", "good", *policy, "--json").stdout)[0]
    assert isinstance(value["label"], float)
    assert value["exit"] in (2, 3)


def test_overwriting(cli: Any, error_line: Any, world: Any, tmp_path: Path):
    arguments = ["search", "--task", world.tasks["single"], "--backbone", world.backbone, "--space", "linear"]
    cli(*arguments, "-o", tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert "already holds a run" in error_line(*arguments, "-o", tmp_path, code=2)
    (tmp_path / "genotype.json").write_text("old")
    error_line(*arguments, "-o", tmp_path, "--overwrite", "--backbone", "bert-bse", code=2)
    assert (tmp_path / "genotype.json").read_text() == "old"  # a request that cannot be meant destroys nothing
    cli(*arguments, "-o", tmp_path, "--overwrite")
    assert json.loads((tmp_path / "genotype.json").read_text())["layers"] == 3
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_process_of_its_own(process: Any, world: Any, tmp_path: Path):
    task = ["--task", world.tasks["single"], "--backbone", world.backbone]
    result = process("search", *task, "-o", tmp_path / "run", *train_options(world, epochs=1), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["run"] == str(tmp_path / "run")
    assert "Warning" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_process_that_fails(process: Any):
    result = process("draw", "nowhere.json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "Error: nowhere.json: no such genotype; expected a genotype.json or the run directory of a search\n"
    )


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path):
    code = "from exitnas.cli.main import main; main()"
    command = f'"{sys.executable}" -c "{code}" list tasks | head -1'
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr
    assert "tasks" in result.stdout
