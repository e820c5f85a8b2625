"""A tiny encoder and three tiny tasks on disk, and runs made from them once per session."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner, Result

from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.reporting.progress import Reporter
from exitnas.search.bilevel import search
from exitnas.settings import RetrainSettings, SearchSettings
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run

# MKL chooses its kernels anew in every process, on a busy virtual machine not always the same ones; tests that compare
# processes bit for bit want one choice. It reads this at its first product, so setting it after the import is in time.
os.environ.setdefault("MKL_CBWR", "AVX2")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD, BAD = ["good", "fine", "great"], ["bad", "poor", "awful"]
WORDS = [*GOOD, *BAD, *(a + b for a in "bdfgklmnprstvz" for b in ("al", "en", "im", "or", "ut", "ash", "est", "ing"))]
LAYERS, HIDDEN = 3, 32


def save_backbone(folder: Path, layers: int = LAYERS, hidden: int = HIDDEN) -> Path:
    """A random BERT with a WordPiece tokenizer over `WORDS`, saved as transformers does."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n", encoding="utf-8")
    config = transformers.BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sentence(number: int, words: list[str]) -> str:
    """Filler words chosen by `number`, 2 to 11 of them, with `words` in the middle."""
    filler = [WORDS[(7 * number + 13 * i) % (len(WORDS) - 6) + 6] for i in range(2 + number * number % 10)]
    middle = len(filler) // 2
    return " ".join([*filler[:middle], *words, *filler[middle:]])


def rows_of(kind: str, count: int) -> list[dict[str, Any]]:
    """`count` rows: single texts and pairs by the word they hold, regression by how many good words."""
    rows: list[dict[str, Any]] = []
    for n in range(count):
        word = (GOOD if n % 2 else BAD)[n // 2 % 3]
        if kind == "single":
            rows.append({"text": sentence(n, [word]), "label": "up" if n % 2 else "down"})
        elif kind == "pair":
            rows.append({"first": sentence(n, []), "second": sentence(n + 3, [word]), "label": ("no", "yes")[n % 2]})
        else:
            rows.append({"text": sentence(n, GOOD[: n % 4]), "score": n % 4 + 0.25 * (n % 3)})
    return rows


def save_task(folder: Path, kind: str, count: int = 60) -> Path:
    """Write train, dev and test as JSONL and the YAML file that describes them."""
    folder.mkdir(parents=True)
    for split, start, stop in (("train", 0, count), ("dev", count, count + 24), ("test", count + 24, count + 64)):
        lines = [json.dumps(row) for row in rows_of(kind, stop)[start:]]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = "[first, second]" if kind == "pair" else "text"
    lines = [f"name: {kind}", "files: {train: train.jsonl, validation: dev.jsonl, test: test.jsonl}", f"text: {text}"]
    lines += ["label: score", "type: regression"] if kind == "regression" else ["label: label"]
    path = folder / f"{kind}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_genotype(backbone: Path | str, task: Path | str, layers: int = LAYERS, hidden: int = HIDDEN) -> Genotype:
    """One exit of three kinds after another: convolution with average, attention with max, skip with cls."""
    kinds = [
        ExitGenotype(activation_in="relu", encoder=("conv_3", "null"), pooling="avg", activation_out="tanh"),
        ExitGenotype(activation_in="tanh", encoder=("mha_2", "skip"), pooling="max", activation_out="null"),
        ExitGenotype(activation_in="gelu", encoder=("skip", "conv_1"), pooling="sa", activation_out="swish"),
    ]
    return Genotype(
        backbone=str(backbone),
        layers=layers,
        hidden_size=hidden,
        width=8,
        exits=tuple(kinds[i % 3] for i in range(layers)),
        origin=Origin(task=str(task), seed=7, settings={"epochs": 2, "batch_size": 8, "exit_lr": 5e-3}),
    )


@dataclass(frozen=True)
class World:
    """Paths of the tiny backbone and tasks, and settings that suit them."""

    backbone: Path
    tasks: dict[str, Path]

    def common(self, kind: str = "single", **values: Any) -> dict[str, Any]:
        """Settings of both search and retraining."""
        given = {"task": str(self.tasks[kind]), "backbone": str(self.backbone), "device": "cpu"}
        return {**given, "epochs": 2, "batch_size": 8, "lr": 1e-3, "exit_lr": 5e-3, **values}

    def search(self, kind: str = "single", **values: Any) -> SearchSettings:
        """Settings of a search."""
        return SearchSettings(**self.common(kind, **{"refine": 3, "refine_steps": 2, **values}))

    def retrain(self, kind: str = "single", **values: Any) -> RetrainSettings:
        """Settings of retraining."""
        return RetrainSettings(**self.common(kind, **values))

    def genotype(self, kind: str = "single") -> Genotype:
        """A genotype for the backbone and a task."""
        return make_genotype(self.backbone, self.tasks[kind])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    kinds = ("single", "pair", "regression")
    return World(save_backbone(folder / "tiny"), {kind: save_task(folder / kind, kind) for kind in kinds})


@pytest.fixture(scope="session")
def silent() -> Reporter:
    return Reporter(quiet=True)


@pytest.fixture(scope="session")
def searched(world: World, silent: Reporter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Summary of a search of the leco space on the single-text task."""
    return search(world.search(), Run.create(tmp_path_factory.mktemp("searched") / "run"), silent)


def _retrained(world: World, silent: Reporter, folder: Path, kind: str, **values: Any) -> dict[str, Any]:
    return retrain(world.retrain(kind, **values), world.genotype(kind), Run.create(folder / "run"), silent)


@pytest.fixture(scope="session")
def retrained(world: World, silent: Reporter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Summary of retraining on the single-text task."""
    return _retrained(world, silent, tmp_path_factory.mktemp("retrained"), "single", epochs=4)


@pytest.fixture(scope="session")
def retrained_pair(world: World, silent: Reporter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Summary of retraining on the pair task."""
    return _retrained(world, silent, tmp_path_factory.mktemp("retrained-pair"), "pair")


@pytest.fixture(scope="session")
def retrained_regression(world: World, silent: Reporter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Summary of retraining on the regression task."""
    return _retrained(world, silent, tmp_path_factory.mktemp("retrained-regression"), "regression", epochs=4)


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run a command in this process: `cli("list", "tasks", code=0)`; an unexpected exception is raised."""
    from exitnas.cli.main import main

    def call(*arguments: Any, code: int | None = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if code is not None:
            assert result.exit_code == code, f"exit code {result.exit_code}: {result.stderr}"
        return result

    return call


@pytest.fixture
def error_line(cli: Callable[..., Result]) -> Callable[..., str]:
    """Run a command that must fail; its one line of error, without `Error: `."""

    def call(*arguments: Any, code: int) -> str:
        result = cli(*arguments, code=code)
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("Error: "), result.stderr
        assert result.stdout == ""
        return lines[0].removeprefix("Error: ")

    return call


@pytest.fixture
def process() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command in an interpreter of its own."""

    def call(*arguments: Any) -> "subprocess.CompletedProcess[str]":
        code = "from exitnas.cli.main import main; main()"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return call
