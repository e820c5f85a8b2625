"""`retrain --config`: flags over recipe over file over what the genotype records."""

import json
from pathlib import Path
from typing import Any

import pytest

from exitnas.cli.config_file import ConfigFile
from exitnas.cli.retrain_command import _settings
from exitnas.exits.genotype import Genotype, Origin
from exitnas.settings import RetrainSettings
from exitnas.supernet.space import load_space

FOUND = load_space("linear").only_genotype(
    "tiny", 2, 16, Origin(task="rte", seed=7, settings={"epochs": 9, "batch_size": 8, "limit_train": 50})
)


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def retrain_settings(tmp_path: Path, content: Any, found: Genotype = FOUND, **flags: Any) -> RetrainSettings:
    file = ConfigFile.read(str(write(tmp_path, content)), "retrain", RetrainSettings)
    return _settings(found, "g.json", file, flags)


def test_flags_file_and_the_genotypes_record(tmp_path: Path):
    settings = retrain_settings(tmp_path, "epochs: 4\nlr: 1.0e-4", lr=2e-4)
    assert (settings.lr, settings.epochs, settings.batch_size, settings.seed) == (2e-4, 4, 8, 7)
    assert settings.limit_train == 50
    assert retrain_settings(tmp_path, "limit_train:").limit_train is None


def test_a_recipe_in_the_file_stands_below_its_other_keys(tmp_path: Path):
    """LeeBERT prints a rate of 2e-5 and cycle 4 for RTE."""
    text = "recipe: leebert\nlr: 1.0e-4\nweighting_option: {cycle: 6}\n"
    settings = retrain_settings(tmp_path, text)
    assert (settings.recipe, settings.objective, settings.weighting) == ("leebert", "mutual", "clo_v2")
    assert (settings.lr, settings.batch_size, settings.epochs) == (1e-4, 16, 9)
    assert settings.weighting_options == {"cycle": 6, "lr": 1e-3}
    assert retrain_settings(tmp_path, text, lr=3e-5, weighting_options={"cycle": 8}).weighting_options["cycle"] == 8


def test_a_recipe_as_flag_stands_above_the_file(tmp_path: Path):
    text = "objective: self_distillation\nobjective_options: {stages: 2}\nlte: true\nlr: 1.0e-4\nepochs: 4\n"
    settings = retrain_settings(tmp_path, text, recipe="leebert")
    assert (settings.recipe, settings.objective, settings.lte) == ("leebert", "mutual", False)
    assert settings.objective_options == {"teachers": "all"}
    assert (settings.lr, settings.epochs) == (2e-5, 4)


@pytest.mark.parametrize("recipe", ["leebert", "gaml-bert", "berxit", "ensemble", "fastbert"])
def test_the_config_of_a_recipes_run_gives_the_same_settings(tmp_path: Path, recipe: str):
    """Every value is recorded, so that the recipe named there changes nothing."""
    first = retrain_settings(tmp_path, "epochs: 6", recipe=recipe)
    config = {"command": "retrain", "settings": first.model_dump(mode="json")}
    assert retrain_settings(tmp_path, config) == first


def test_a_flag_against_the_files_recipe(tmp_path: Path, error_line: Any):
    path, genotype = write(tmp_path, "recipe: leebert"), tmp_path / "genotype.json"
    FOUND.save(genotype)
    line = error_line("retrain", genotype, "--config", path, "--objective", "joint", code=2)
    assert line == f"{path}: recipe leebert means objective mutual, but joint was given: leave one of them out"


def test_options_are_merged_unless_a_flag_names_another_rule(tmp_path: Path):
    text = "objective: mutual\nobjective_options: {teachers: all, temperature: 2}\n"
    assert retrain_settings(tmp_path, text, objective_options={"temperature": 3}).objective_options == {
        "teachers": "all", "temperature": 3
    }  # fmt: skip
    other = retrain_settings(tmp_path, text, objective="joint")
    assert (other.objective, other.objective_options) == ("joint", {})
