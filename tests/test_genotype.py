"""The genotype: its file, its published schema, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.exits import genotype as module
from exitnas.exits.genotype import SCHEMA_FILE, ExitGenotype, Genotype, Origin, json_schema
from exitnas.exits.operations import EDGES, ENCODERS

EXIT = {"activation_in": "tanh", "encoder": ["conv_3", "null"], "pooling": "avg", "activation_out": "relu"}
NAMES = ("tanh", "null", "relu", "gelu", "swish", "conv_3", "skip", "mha_8", "avg", "max")
EVEN: dict[str, dict[str, float]] = {edge: dict.fromkeys(NAMES, 0.1) for edge in EDGES}
REGENERATE = 'python -c "from exitnas.exits.genotype import write_schema; write_schema()"'


def document(**changes: Any) -> dict[str, Any]:
    """A whole genotype file of two layers, with `changes`; a value of `...` removes the key."""
    whole = {"schema_version": 1, "backbone": "bert", "layers": 2, "hidden_size": 48, "width": 16, "exits": [EXIT] * 2}
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def load(tmp_path: Path, value: Any) -> Genotype:
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return Genotype.load(path)


def with_exit(**changes: Any) -> dict[str, Any]:
    """The second exit changed."""
    return document(exits=[EXIT, {**EXIT, **changes}])


def test_round_trip_keeps_everything_and_equal_genotypes_give_equal_bytes(tmp_path: Path) -> None:
    genotype = Genotype(
        backbone="modèle/é",
        layers=2,
        hidden_size=48,
        width=None,
        exits=(
            ExitGenotype(activation_in="gelu", encoder=("null", "mha_8"), pooling="sa", activation_out="null"),
            ExitGenotype(
                activation_in="relu",
                encoder=("skip", "null"),
                pooling="max",
                activation_out="swish",
                repaired="encoder_1",
            ),
        ),
        probabilities=({**EVEN, "pooling": {"sa": 0.123456, "cls": 0.876544}}, EVEN),
        origin=Origin(
            task="rte", space="leco", seed=3, exitnas_version="0.1", settings={"lr": 2e-5, "nested": [1, None]}
        ),
    )
    one, two = tmp_path / "one.json", tmp_path / "deep" / "two.json"
    genotype.save(one)
    loaded = Genotype.load(one)
    assert loaded == genotype
    loaded.save(two)
    assert one.read_bytes() == two.read_bytes()
    assert "modèle/é" in one.read_text(encoding="utf-8")
    assert one.read_text(encoding="utf-8").endswith("}\n")


def test_file_has_the_documented_keys() -> None:
    value = json.loads(Genotype(**document()).to_json())
    assert list(value) == [
        "schema_version", "backbone", "layers", "hidden_size", "width", "exits", "probabilities", "origin",
    ]  # fmt: skip
    assert value["exits"][0] == {**EXIT, "repaired": None, "refined": False}
    assert value["schema_version"] == 1


def test_key_order_and_spacing_of_the_file_do_not_matter(tmp_path: Path) -> None:
    turned = dict(reversed(document().items()))
    assert load(tmp_path, turned).to_json() == Genotype(**document()).to_json()


def test_optional_parts_may_be_left_out(tmp_path: Path) -> None:
    genotype = load(tmp_path, document(schema_version=...))
    assert genotype.probabilities is None
    assert genotype.origin == Origin()
    assert genotype.exits[0].repaired is None


def test_width_null_means_the_hidden_size() -> None:
    assert Genotype(**document()).exit_width == 16
    assert Genotype(**document(width=None)).exit_width == 48


def test_operation_by_edge() -> None:
    exit_ = Genotype(**document()).exits[0]
    assert [exit_.operation(edge) for edge in EDGES] == ["tanh", "conv_3", "null", "avg", "relu"]


def test_published_schema_is_up_to_date() -> None:
    published = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert published == json_schema(), f"genotype.schema.json is out of date; run: {REGENERATE}"


def test_schema_names_operations_and_forbids_unknown_keys() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    exit_ = schema["$defs"]["ExitGenotype"]
    assert exit_["additionalProperties"] is False
    assert [item["enum"] for item in exit_["properties"]["encoder"]["prefixItems"]] == [ENCODERS.names()] * 2
    assert "summed" in exit_["properties"]["encoder"]["description"]


def test_write_schema_writes_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCHEMA_FILE", tmp_path / "schema.json")
    module.write_schema()
    assert (tmp_path / "schema.json").read_bytes() == SCHEMA_FILE.read_bytes()


@pytest.mark.parametrize(("value", "parts"), [
    (with_exit(pooling="average"), ["exits.1.pooling", "unknown pooling 'average'", "avg", "known: cls"]),
    (with_exit(encoder=["conv3", "null"]), ["exits.1.encoder.0", "'conv3'", "did you mean conv_3"]),
    (with_exit(activation_in="Tanhh"), ["exits.1.activation_in", "did you mean tanh"]),
    (with_exit(poling="avg"), ["exits.1.poling", "unknown key", "did you mean pooling"]),
    (document(hiden_size=3), ["hiden_size", "unknown key", "did you mean hidden_size"]),
    (document(origin={"tasks": "rte"}), ["origin.tasks", "unknown key", "did you mean task"]),
    (with_exit(encoder=["null", "null"]), ["exits.1", "both encoder operations are null", "at most one"]),
    (with_exit(encoder=["conv_1"]), ["exits.1.encoder.1", "required"]),
    (with_exit(encoder=["conv_1", "skip", "skip"]), ["exits.1.encoder", "2"]),
    (with_exit(repaired="pooling"), ["exits.1.repaired", "encoder_1", "'pooling'"]),
    (document(exits=[EXIT] * 3), ["exits", "one per layer (2)", "got 3"]),
    (document(exits=[EXIT, {**EXIT, "encoder": ["skip", "mha_8"]}], width=12),
     ["exits.1.encoder.1", "mha_8 needs a width divisible by 8", "got width 12"]),
    (document(exits=[EXIT, {**EXIT, "encoder": ["mha_8", "skip"]}], width=None, hidden_size=12),
     ["exits.1.encoder.0", "divisible by 8", "width 12"]),
    (document(schema_version=2), ["schema_version", "should be 1", "got 2"]),
    (document(backbone=...), ["backbone", "required"]),
    (document(layers=0, exits=[]), ["layers", "greater than or equal to 1", "got 0"]),
    (document(width=-4), ["width", "got -4"]),
    (document(width="wide"), ["width", "integer", "'wide'"]),
    (document(probabilities=[EVEN]), ["probabilities", "one per layer (2)", "got 1"]),
    (document(probabilities=[EVEN, {"pooling": {"cls": 1.0}}]),
     ["probabilities.1", "expected the edges activation_in, encoder_1"]),
    (document(exits=None), ["exits", "got None"]),
    ([1, 2], ["got [1, 2]"]),
])  # fmt: skip
def test_refusals_name_the_path_what_was_expected_and_what_came(tmp_path: Path, value: Any, parts: list[str]) -> None:
    with pytest.raises(ExitnasError) as caught:
        load(tmp_path, value)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "genotype.json"))
    assert "\n" not in message
    assert [part for part in parts if part not in message] == [], message


def test_several_problems_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ExitnasError, match=r"width: .*got 0 \(2 more problems\)"):
        load(tmp_path, document(exits=[{**EXIT, "pooling": "no"}] * 2, width=0))


@pytest.mark.parametrize(("text", "part"), [
    ("{", "line 1: not valid JSON"),
    ('{\n "layers": 2,,\n}', "line 2: not valid JSON"),
    ("", "not valid JSON"),
])  # fmt: skip
def test_broken_files_are_named_with_the_line(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ExitnasError) as caught:
        Genotype.load(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


def test_missing_file_folder_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(ExitnasError, match="no such file"):
        Genotype.load(tmp_path / "none.json")
    with pytest.raises(ExitnasError, match="is a folder"):
        Genotype.load(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExitnasError, match="not UTF-8"):
        Genotype.load(tmp_path / "bytes")


def test_a_genotype_is_not_changed_in_place() -> None:
    genotype = Genotype(**document())
    with pytest.raises(ValueError, match="frozen"):
        genotype.layers = 3
    with pytest.raises(ValueError, match="frozen"):
        genotype.exits[0].pooling = "cls"


def test_check_fits() -> None:
    genotype = Genotype(**document())
    genotype.check_fits(2, 48, "other")
    for layers, hidden in ((3, 48), (2, 64)):
        with pytest.raises(UsageError) as caught:
            genotype.check_fits(layers, hidden, "other")
        for part in ("2 layers of hidden size 48 (bert)", f"other has {layers} layers", str(hidden), "--backbone bert"):
            assert part in str(caught.value)


def test_a_row_added_from_outside_is_accepted() -> None:
    """In a process of its own, since a registry row stays."""
    code = """
from exitnas.errors import UsageError
from exitnas.exits.exit import Exit
from exitnas.exits.genotype import ExitGenotype
from exitnas.exits.operations import ENCODERS
try:
    ExitGenotype(activation_in="tanh", encoder=("mine", "null"), pooling="cls", activation_out="tanh")
except ValueError as error:
    assert "unknown encoder operation 'mine'" in str(error)
else:
    raise AssertionError
ENCODERS.register("mine", "exitnas.exits.operations.convolution:Convolution", kernel_size=7)
exit_ = ExitGenotype(activation_in="tanh", encoder=("mine", "null"), pooling="cls", activation_out="tanh")
assert Exit(exit_, 8, 4, 2).encoder[0].kernel_size == 7
try:
    ENCODERS.register("mine", "a:b")
except UsageError as error:
    assert "already registered" in str(error)
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_probabilities_list_what_was_chosen(tmp_path: Path) -> None:
    short = {**EVEN, "pooling": {"max": 0.5, "cls": 0.5}}
    with pytest.raises(ExitnasError, match=r"probabilities\.1\.pooling: lacks the chosen operation avg"):
        load(tmp_path, document(probabilities=[EVEN, short]))


def test_a_misspelt_key_is_shown_before_the_key_it_left_missing(tmp_path: Path) -> None:
    wrong = {("poling" if key == "pooling" else key): value for key, value in EXIT.items()}
    with pytest.raises(ExitnasError, match=r"exits\.1\.poling: unknown key; did you mean pooling"):
        load(tmp_path, document(exits=[EXIT, wrong]))
