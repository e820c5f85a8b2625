"""`--config`: flags over file over defaults, a run's own config, and one line for what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exitnas.cli import retrain_command
from exitnas.cli.config_file import JOB_KEYS, ConfigFile
from exitnas.exits.genotype import Origin
from exitnas.settings import RetrainSettings, SearchSettings
from exitnas.supernet.space import load_space

FOUND = load_space("linear").only_genotype(
    "tiny", 2, 16, Origin(task="rte", seed=7, settings={"epochs": 9, "batch_size": 8, "limit_train": 50})
)


def write(tmp_path: Path, content: Any, name: str = "own.yaml") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(tmp_path: Path, content: Any, model: Any = SearchSettings, name: str = "own.yaml") -> ConfigFile:
    command = "search" if model is SearchSettings else "retrain"
    return ConfigFile.read(str(write(tmp_path, content, name)), command, model)


# ---- reading ----


def test_keys_are_flags_with_dashes_or_underscores(tmp_path: Path):
    text = "task: rte\nexit-lr: 1e-3\narch_lr: 0.1\nscale-exits: false\noutput: here\nquiet: true\nd1-share: 0.4\n"
    file = read(tmp_path, text)
    assert file.settings == {
        "task": "rte", "exit_lr": "1e-3", "arch_lr": 0.1, "scale_exits": False, "d1_share": 0.4
    }  # fmt: skip
    assert file.job == {"output": "here", "quiet": True}
    settings = file.make(SearchSettings, file.under({"arch_lr": 0.2, "epochs": None}), {"arch_lr": 0.2})
    assert (settings.exit_lr, settings.arch_lr, settings.scale_exits, settings.d1_share) == (1e-3, 0.2, False, 0.4)
    assert settings.epochs == 10


def test_every_flag_of_the_two_commands_is_a_key():
    for command, model in (("search", SearchSettings), ("retrain", RetrainSettings)):
        module = __import__(f"exitnas.cli.{command}_command", fromlist=["command"])
        flags = [p for p in module.command.params if p.param_type_name == "option" and p.name != "config"]
        names = {opt.removeprefix("--").replace("-", "_") for p in flags for opt in p.opts if opt.startswith("--")}
        names = {f"{name}s" if name.endswith("_option") else name for name in names}
        assert len(names) > 20
        assert names - set(model.model_fields) - set(JOB_KEYS) - {"resume"} == set()


def test_json_reads_like_yaml(tmp_path: Path):
    values = {"task": "rte", "epochs": 3, "limit_train": None}
    assert read(tmp_path, values, name="own.json").settings == read(tmp_path, values).settings == values


def test_no_file_changes_nothing():
    file = ConfigFile.read(None, "search", SearchSettings)
    assert file.under({"task": "rte", "epochs": None}) == {"task": "rte"}
    assert file.job_values(output=None, quiet=False) == {"output": None, "quiet": False}


def test_job_flags_win(tmp_path: Path):
    file = read(tmp_path, "output: here\njson: true\noverwrite: false\n")
    assert file.job_values(output="there", overwrite=True, as_json=False, quiet=False) == {
        "output": "there", "overwrite": True, "as_json": True, "quiet": False
    }  # fmt: skip
    assert file.job_values(output=None)["output"] == "here"


@pytest.mark.parametrize(("content", "message"), [
    ("epochs: 2.5", "epochs: input should be a valid integer"),
    ("epochs: [1]", "epochs: input should be a valid integer"),
    ("epochs: true", "epochs: expected a number or text, got true"),
    ("epochs:", "epochs: expected a value, got none; leave the key out for the default"),
    ("epochs: 0", "epochs: input should be greater than or equal to 1, got 0"),
    ("lr: .nan", "lr: expected finite numbers, got nan"),
    ("arch-lr: .inf", "arch-lr: expected finite numbers, got inf"),
    ("lr: fast", "lr: input should be a valid number"),
    ("task: 5", "task: input should be a valid string, got 5"),
    ("split: often", "split: input should be 'epoch' or 'fixed', got 'often'"),
    ("scale_exits: 3", "scale_exits: input should be a valid boolean"),
    ("relaxation: softmx", "relaxation: unknown relaxation 'softmx': did you mean softmax"),
    ("archlr: 0.1", "archlr: unknown key; did you mean arch_lr"),
    ("objective: joint", "objective: unknown key; "),
    ("1: 2", "1: unknown key; "),
    ("exit-lr: 1\nexit_lr: 2", "exit_lr and exit-lr are the same key; leave one of them out"),
    ("overwrite: 1", "overwrite: expected true or false, got number"),
    ("output: [a]", "output: expected text, got list"),
    ("- task", "expected keys and values such as 'epochs: 5', got list"),
    ("settings: 5", "settings: unknown key; "),
    ("arch_warmup_epochs: '3'\nepochs: 3", "arch_warmup_epochs: 3 of 3 epochs leave none to search in"),
    ("arch_warmup_epochs: 3.0\nepochs: '3'", "arch_warmup_epochs: 3 of 3 epochs leave none to search in"),
    ("arch_warmup_epochs:", "arch_warmup_epochs: expected a value, got none"),
    ("arch_warmup_epochs: 3\nepochs: 3", "arch_warmup_epochs: 3 of 3 epochs leave none to search in"),
])  # fmt: skip
def test_wrong_contents_are_one_line_with_the_file(error_line: Any, tmp_path: Path, content: str, message: str):
    path = write(tmp_path, content if content.startswith(("task", "- ")) else f"task: rte\n{content}\n")
    assert error_line("search", "--config", path, code=2).startswith(f"{path}: {message}")


@pytest.mark.parametrize(("name", "content"), [
    ("own.yaml", "a: [1"), ("own.yaml", ""), ("own.yaml", "a: !!python/object/apply:os.getcwd []"),
    ("own.json", "{"), ("own.json", "[" * 2000), ("own.yaml", "epochs: " + "9" * 5000),
])  # fmt: skip
def test_what_is_no_yaml_or_json(error_line: Any, tmp_path: Path, name: str, content: str):
    path = write(tmp_path, content, name)
    assert error_line("search", "--config", path, code=1).startswith(f"{path}: ")


def test_nan_in_json_and_inside_options(error_line: Any, tmp_path: Path):
    path = write(tmp_path, '{"task": "rte", "lr": NaN}', "own.json")
    assert error_line("search", "--config", path, code=2) == f"{path}: lr: expected finite numbers, got nan"
    options = write(tmp_path, "objective_options: {temperature: .nan}")
    genotype = tmp_path / "genotype.json"
    FOUND.save(genotype)
    line = error_line("retrain", genotype, "--config", options, code=2)
    assert line.startswith(f"{options}: objective_options: expected finite numbers")


@pytest.mark.parametrize(("content", "kind"), [
    ("objective_options: 5", "number"), ("weighting_options: [1]", "list"), ("gradient_options: text", "text"),
])  # fmt: skip
def test_options_that_are_none(error_line: Any, tmp_path: Path, content: str, kind: str):
    path, genotype = write(tmp_path, content), tmp_path / "genotype.json"
    FOUND.save(genotype)
    line = error_line("retrain", genotype, "--config", path, code=2)
    assert line == f"{path}: {content.split(':')[0]}: expected options by name, such as {{temperature: 2}}, got {kind}"


@pytest.mark.parametrize(("epochs", "warmup"), [("'1'", 0), ("1", 0), ("'3'", 1), ("3.0", 1)])
def test_the_warm_up_follows_the_epochs_however_they_are_written(tmp_path: Path, epochs: str, warmup: int):
    file = read(tmp_path, f"task: rte\nepochs: {epochs}")
    assert file.make(SearchSettings, file.under({}), {}).model_dump()["arch_warmup_epochs"] == warmup


def test_places_that_hold_no_config(error_line: Any, tmp_path: Path):
    missing = "no such file; give a YAML or JSON file, or the directory of a run"
    for path in (tmp_path / "none.yaml", tmp_path):
        assert error_line("search", "--config", path, code=2) == f"--config {path}: {missing}"


def test_a_file_without_task(error_line: Any, tmp_path: Path):
    path = write(tmp_path, "epochs: 3")
    line = error_line("search", "--config", path, code=2)
    assert line.startswith(f"{path}: names no task; give one with --task")


def test_a_wrong_flag_is_blamed_on_the_flag(error_line: Any, tmp_path: Path):
    path = write(tmp_path, "task: rte\nepochs: 3")
    assert error_line("search", "--config", path, "--epochs", 0, code=2).startswith("--epochs: input should be greater")


# ---- a run's own config ----


def test_a_search_from_anothers_config_gives_the_same_genotype(cli: Any, searched: dict[str, Any], tmp_path: Path):
    """Byte for byte, from the file and from the directory; a flag changes what it names and nothing else."""
    run, original = Path(searched["run"]), Path(searched["genotype"]).read_bytes()
    cli("search", "--config", run / "config.json", "-o", tmp_path / "file", "--quiet")
    assert (tmp_path / "file" / "genotype.json").read_bytes() == original
    cli("search", "--config", run, "--seed", 43, "-o", tmp_path / "folder", "--quiet", "--json")
    first, second = (json.loads((p / "config.json").read_text()) for p in (run, tmp_path / "folder"))
    assert {key for key, value in second["settings"].items() if first["settings"][key] != value} == {"seed"}
    assert (tmp_path / "folder" / "genotype.json").read_bytes() != original


@pytest.mark.slow
def test_a_written_yaml_gives_the_same_genotype(cli: Any, world: Any, searched: dict[str, Any], tmp_path: Path):
    values = world.common(refine=3, refine_steps=2, output=str(tmp_path / "run"), quiet=True)
    path = write(tmp_path, "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in values.items()))
    cli("search", "--config", path)
    assert (tmp_path / "run" / "genotype.json").read_bytes() == Path(searched["genotype"]).read_bytes()


def test_configs_of_other_commands_name_the_right_one(
    error_line: Any, searched: dict[str, Any], retrained: dict[str, Any], tmp_path: Path
):
    run = Path(retrained["run"])
    line = error_line("search", "--config", run, code=2)
    assert line == (
        f"{run}: holds the settings of command 'retrain', not of 'search'; use exitnas retrain GENOTYPE --config {run}"
    )
    line = error_line("retrain", searched["genotype"], "--config", searched["run"], code=2)
    assert line.endswith(f"not of 'retrain'; use exitnas search --config {searched['run']}")
    other = write(tmp_path, {"command": "bake", "settings": {}}, "other.json")
    assert error_line("search", "--config", other, code=2).endswith("give the config of a search")


def test_retraining_from_a_runs_config(retrained: dict[str, Any], tmp_path: Path, monkeypatch: Any, world: Any):
    """The settings are the run's, and not those the genotype records."""
    seen: list[RetrainSettings] = []

    class StopError(Exception):
        pass

    def stop(settings: RetrainSettings, *_: Any) -> None:
        seen.append(settings)
        raise StopError

    monkeypatch.setattr("exitnas.training.retrain.retrain", stop)
    genotype = tmp_path / "genotype.json"
    world.genotype().save(genotype)
    for flags in ([], ["--epochs", "1"]):
        words = [str(genotype), "--config", retrained["run"], "-o", str(tmp_path / f"run{len(flags)}"), *flags]
        result = CliRunner().invoke(retrain_command.command, words)
        assert isinstance(result.exception, StopError)
    assert seen[0] == world.retrain(epochs=4)
    assert seen[1] == world.retrain(epochs=1)
