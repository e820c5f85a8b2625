"""`exitnas draw`: tables, JSON, pictures, and what it refuses."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from random_genotype import random_genotype

from exitnas.drawing.table import COLUMNS, exit_records, table_rows
from exitnas.exits.genotype import ExitGenotype, Genotype, Origin


def small(pooling: str = "cls", encoder: tuple[str, str] = ("conv_1", "null"), **more: Any) -> Genotype:
    """One searched exit of width 4 on hidden size 8."""
    exit_ = ExitGenotype(activation_in="relu", encoder=encoder, pooling=pooling, activation_out="null", **more)
    probabilities = {
        "activation_in": {"relu": 0.5, "gelu": 0.5},
        "encoder_1": {encoder[0]: 0.75, "mha_2": 0.25},
        "encoder_2": {encoder[1]: 0.4, "conv_5": 0.6},
        "pooling": {pooling: 1.0},
        "activation_out": {"null": 0.9, "tanh": 0.1},
    }
    return Genotype(
        backbone="b", layers=1, hidden_size=8, width=4, exits=(exit_,), probabilities=(probabilities,), origin=Origin()
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two genotypes of 6 layers in run directories, and one of 4 layers that nobody searched for, as a file."""
    paths = [tmp_path / "one" / "genotype.json", tmp_path / "two" / "genotype.json", tmp_path / "flat.json"]
    genotypes = [random_genotype(6), random_genotype(6, 1, task="trec"), random_genotype(4, 2, "mha", searched=False)]
    for path, genotype in zip(paths, genotypes, strict=True):
        path.parent.mkdir(exist_ok=True)
        genotype.save(path)
    return paths


def test_record_of_an_exit() -> None:
    record = exit_records(small(), tokens=10, classes=3)[0]
    assert record["parameters"] == (8 * 4 + 4) + (4 * 4 + 4) + (4 * 3 + 3)
    assert record["macs"] == 8 * 4 + 4 * 4 + 4 * 3  # conv_1 and cls read the first token only
    assert record["least_sure"] == {
        "edge": "encoder_2", "operation": "null", "probability": 0.4,
        "runner_up": "conv_5", "runner_up_probability": 0.6,
    }  # fmt: skip
    assert "differs" not in record
    assert table_rows([record]) == [
        ["1", "relu", "conv_1 + null", "cls", "null", "71", "0.00", "0.40 null (encoder_2)"]
    ]
    assert len(COLUMNS) == 8


def test_differences_are_by_edge_and_the_order_of_the_encoder_pair_does_not_count() -> None:
    def differs(genotype: Genotype, reference: Genotype) -> list[str]:
        return list(exit_records(genotype, tokens=1, classes=2, reference=reference)[0]["differs"])

    assert differs(small(encoder=("null", "conv_1")), small()) == []
    assert differs(small("avg"), small()) == ["pooling"]
    assert differs(small(encoder=("conv_1", "skip")), small()) == ["encoder_1", "encoder_2"]
    assert len(exit_records(random_genotype(3), tokens=1, classes=2, reference=small())[2]["differs"]) == 5
    row = table_rows(
        exit_records(
            small("avg", ("null", "skip"), repaired="encoder_2", refined=True), tokens=1, classes=2, reference=small()
        )
    )[0]
    assert row[:5] == ["1 refined", "relu", "≠ null + skip *", "≠ avg", "null"]


def test_tables_of_several(cli: Any, files: list[Path]) -> None:
    result = cli("draw", files[0].parent, files[1], files[2])
    assert result.stderr == ""
    first, second, third = re.split(r"\n(?=two: |flat: )", result.stdout)
    assert first.startswith("one: exits of bert-base-uncased")
    assert "≠" not in first
    assert "C = 2" in first
    assert "≠: differs from the first genotype" in second
    assert "C = 6" in second  # trec's classes
    assert "least sure: " in first
    assert "least sure: " not in third
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in first.splitlines() if line.startswith("│")]
    records = exit_records(random_genotype(6), tokens=128, classes=2)
    assert rows == table_rows(records)


def test_json_of_several_and_of_chosen_layers(cli: Any, files: list[Path]) -> None:
    arguments = [*files, "--layer", 4, "--layer", "2", "--tokens", "16", "--json"]
    documents = json.loads(cli("draw", *arguments).stdout)
    assert [document["name"] for document in documents] == ["one", "two", "flat"]
    assert [document["classes"] for document in documents] == [2, 6, 2]
    assert documents[1]["exits"] == json.loads(json.dumps(
        exit_records(random_genotype(6, 1), layers=[2, 4], tokens=16, classes=6, reference=random_genotype(6))
    ))  # fmt: skip
    assert [record["layer"] for record in documents[0]["exits"]] == [2, 4]
    assert all(record["least_sure"] is None for record in documents[2]["exits"])
    assert documents[0]["task"] == "rte"


def test_table_and_json_of_a_space(cli: Any) -> None:
    table = cli("draw", "--space", "leco").stdout
    assert "conv_1 conv_3 conv_5 mha_2 mha_4 mha_8 skip null" in table
    assert "6,400 exits per layer" in table
    document = json.loads(cli("draw", "--space", "leco", "--json").stdout)
    assert document["exits"] == 6400
    assert document["candidates"]["pooling"] == ["cls", "max", "avg", "sa"]


def test_pictures(cli: Any, files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "side.svg"
    path.write_text("an older picture")
    command = ["draw", *files[:2], "-o", path, "--layer", "all", "--columns", 2, "--tokens", 40, "--title", "Two tasks"]
    assert cli(*command).stdout.splitlines() == [str(path), str(path.with_suffix(".dot"))]
    text = path.read_text(encoding="utf-8")
    ET.fromstring(text)
    for part in (">Two tasks<", ">one<", ">two<", "at 40 tokens, for 2 or 6 classes"):
        assert part in text
    assert "digraph" in path.with_suffix(".dot").read_text(encoding="utf-8")
    assert json.loads(cli("draw", files[2], "-o", tmp_path / "only.dot", "--json").stdout) == {
        "pictures": [str(tmp_path / "only.dot")],
        "renderer": "none",
    }
    cli("draw", "--space", "mha", "-o", tmp_path / "cell.svg", "--title", "One point")
    assert ">One point<" in (tmp_path / "cell.svg").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "cell.dot", "cell.svg", "flat.json", "only.dot", "side.dot", "side.svg",
    ]  # fmt: skip


def test_genotypes_with_the_same_name_are_told_apart_by_their_paths(cli: Any, files: list[Path]) -> None:
    documents = json.loads(cli("draw", files[0], files[0].parent, files[2], "--json").stdout)
    assert [document["name"] for document in documents] == [str(files[0]), str(files[0].parent), "flat"]


def test_a_task_that_is_not_there_counts_as_two_classes(cli: Any, tmp_path: Path) -> None:
    for task in ("gone.yaml", "no-such-task"):
        random_genotype(2, task=task).save(tmp_path / "g.json")
        assert json.loads(cli("draw", tmp_path / "g.json", "--json").stdout)[0]["classes"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to draw; give a genotype.json"),
        (["G", "--space", "leco"], "give one of the two"),
        (["--space", "lecco"], "unknown search space 'lecco': did you mean leco"),
        (["--space", "leco", "--layer", "2"], "--layer is for genotypes"),
        (["--space", "leco", "--columns", "2", "-o", "x.svg"], "--columns is for genotypes"),
        (["--space", "leco", "-o", "x.gif"], "unknown kind of picture '.gif'"),
        (["G", "-o", "x.gif"], "give a file that ends in .svg, .png, .pdf, .dot"),
        (["G", "--layer", "7"], "layer 7: expected 1 to 6, all that one has"),
        (["G", "--layer", "0", "-o", "x.svg"], "layer 0: expected 1 to 6"),
        (["G", "--layer", "two"], "--layer two: expected numbers of layers, from 1, or all"),
        (["G", "--layer", "all", "--layer", "2"], "expected numbers of layers"),
        (["G", "--layer", "9" * 9000], "expected 1 to 6"),
        (["G", "--columns", "0", "-o", "x.svg"], "--columns"),
        (["G", "--columns", "9" * 400, "-o", "x.svg"], "--columns"),
        (["G", "--columns", "2"], "--columns is for pictures; name the picture with -o"),
        (["G", "--title", "t"], "--title is for pictures"),
        (["G", "--tokens", "0"], "--tokens"),
        (["G", "--tokens", "9" * 400], "--tokens"),
        (["G", "gone.json"], "gone.json: no such genotype"),
    ],
)
def test_refused(
    error_line: Any, files: list[Path], monkeypatch: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [files[0] if argument == "G" else argument for argument in arguments]
    assert message in error_line("draw", *given, code=2)
    assert [*tmp_path.glob("x.*")] == []


def test_an_unreadable_genotype_is_one_line(error_line: Any, files: list[Path]) -> None:
    files[1].write_text('{"layers": 2}')
    assert error_line("draw", files[0], files[1], code=1).startswith(f"{files[1]}: ")


@pytest.mark.parametrize("size", ["width", "hidden_size"])
def test_sizes_beyond_reason_are_one_line(error_line: Any, files: list[Path], size: str) -> None:
    values = json.loads(files[0].read_text())
    files[0].write_text(json.dumps({**values, size: 10**400}))
    assert f"{size}: input should be less than or equal to 1000000" in error_line("draw", files[0], code=1)
