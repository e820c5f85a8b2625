"""Search spaces: the shipped ones, their sizes, one's own, and where an installed wheel finds them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from transformers import BertConfig

from exitnas.backbones.loading import backbone_from_config
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import Origin
from exitnas.exits.operations import EDGES
from exitnas.supernet.space import DEFAULT_SPACE, FOLDERS, SearchSpace, load_space, space_names
from exitnas.supernet.supernet import Supernet

ROOT = Path(__file__).resolve().parents[1]
SPACE = """\
name: own
description: my own
width: 16
activation_in: [tanh]
encoder_1: [skip, conv_3]
encoder_2: [mha_2, null]
pooling: [cls, avg, sa]
activation_out: [tanh, null]
"""


def own(tmp_path: Path, text: str = SPACE, name: str = "own.yaml") -> SearchSpace:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_space(str(path))


@pytest.mark.parametrize("name", space_names())
def test_shipped_space_loads_under_its_own_name(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.description
    assert all(space.candidates(edge) for edge in EDGES)


def test_names_start_with_the_default() -> None:
    assert DEFAULT_SPACE == "leco"
    assert space_names()[0] == "leco"
    assert set(space_names()) >= {"leco", "leco-appendix", "leco-o1", "leco-o2", "linear", "mha"}
    assert space_names() == list(dict.fromkeys(space_names()))


def test_the_leco_space_is_the_one_of_the_paper() -> None:
    space = load_space("leco")
    assert space.width == 32
    assert set(space.activation_in) == set(space.activation_out) == {"relu", "gelu", "swish", "tanh", "null"}
    operations = {"conv_1", "conv_3", "conv_5", "mha_2", "mha_4", "mha_8", "skip", "null"}
    assert set(space.encoder_1) == set(space.encoder_2) == operations
    assert set(space.pooling) == {"cls", "max", "avg", "sa"}


@pytest.mark.parametrize(("name", "exits"), [
    ("leco", 5 * 8 * 8 * 4 * 5), ("leco-o1", 8 * 8 * 4), ("leco-o2", 8 * 8), ("leco-appendix", 6 * 9 * 9 * 4 * 6),
    ("linear", 1), ("mha", 1),
])  # fmt: skip
def test_number_of_exits(name: str, exits: int) -> None:
    assert load_space(name).exits() == exits
    assert load_space(name).architectures(12) == exits**12


def test_the_papers_count_has_one_encoder_edge() -> None:
    leco = load_space("leco")
    assert leco.exits() == 6400
    assert leco.architectures(12) == 6400**12
    one_edge = leco.model_copy(update={"encoder_2": ("null",)})
    assert one_edge.architectures(12) == (5 * 8 * 4 * 5) ** 12
    assert f"{one_edge.architectures(12):.2e}" == "6.87e+34"


def test_only_genotype_is_the_single_point() -> None:
    genotype = load_space("mha").only_genotype("tiny", 3, 96, Origin(space="mha"))
    assert (genotype.layers, genotype.hidden_size, genotype.width) == (3, 96, 64)
    assert genotype.exits[0].encoder == ("mha_4", "null")
    assert [genotype.exits[2].operation(edge) for edge in EDGES] == ["tanh", "mha_4", "null", "cls", "tanh"]
    linear = load_space("linear").only_genotype("tiny", 1, 96, Origin())
    assert linear.width is None
    assert linear.exits[0].encoder == ("skip", "null")
    with pytest.raises(UsageError, match="space leco holds 6400 exits per layer"):
        load_space("leco").only_genotype("tiny", 3, 96, Origin())


def test_own_file_with_bare_nulls(tmp_path: Path) -> None:
    space = own(tmp_path)
    assert space.encoder_2 == ("mha_2", "null")
    assert space.activation_out == ("tanh", "null")
    assert space.exits() == 1 * 2 * 2 * 3 * 2
    assert own(tmp_path, SPACE.replace("null", '"null"'), "quoted.yml") == space
    assert own(tmp_path, SPACE.replace("width: 16", "width: null")).width is None


@pytest.mark.parametrize(("old", "new", "parts"), [
    ("[skip, conv_3]", "[skip, conv3]", ["encoder_1.1", "'conv3'", "did you mean conv_3"]),
    ("pooling: [cls", "pooling: [clss", ["pooling.0", "unknown pooling 'clss'", "did you mean cls"]),
    ("pooling:", "poling:", ["poling: unknown key", "did you mean pooling", "more problem"]),
    ("name: own", "name: own\nwidht: 3", ["widht", "unknown key", "did you mean width"]),
    ("[tanh]", "[]", ["activation_in", "at least one"]),
    ("[skip, conv_3]", "[skip, skip]", ["encoder_1", "none twice"]),
    ("[skip, conv_3]", "[null, ~]", ["encoder_1", "none twice"]),
    ("[tanh]", "tanh", ["activation_in", "got 'tanh'"]),
    ("width: 16", "width: 0", ["width", "got 0"]),
    ("width: 16", "", ["width", "required"]),
    ("width: 16\n", "width: 15\n", ["yaml: encoder_2: mha_2 needs a width divisible by 2, got width 15"]),
    ("name: own", "name: ../own", ["name: expected letters, digits", "got '../own'"]),
    ("[tanh]", "[tanh", ["not valid YAML", "line"]),
])  # fmt: skip
def test_wrong_files_are_refused_with_the_path_of_the_value(
    tmp_path: Path, old: str, new: str, parts: list[str]
) -> None:
    assert old in SPACE
    with pytest.raises(ExitnasError) as caught:
        own(tmp_path, SPACE.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "own.yaml"))
    assert "\n" not in message
    assert [part for part in parts if part not in message] == [], message


def test_a_space_of_null_encoders_is_refused(tmp_path: Path) -> None:
    text = SPACE.replace("[skip, conv_3]", "[null]").replace("[mha_2, null]", "[null]")
    with pytest.raises(ExitnasError, match="nothing would reach the pooling"):
        own(tmp_path, text)


def test_a_space_without_width_meets_the_hidden_size(tmp_path: Path) -> None:
    text = SPACE.replace("width: 16", "width: null").replace("[skip, conv_3]", "[mha_4]")
    one = text.replace("[mha_2, null]", "[skip]").replace("[cls, avg, sa]", "[cls]").replace("[tanh, null]", "[tanh]")
    message = (
        "space own: encoder_1: mha_4 needs a width divisible by 4, got width 30, the encoder's hidden size; "
        "set a width or choose another backbone"
    )
    with pytest.raises(UsageError) as caught:
        own(tmp_path, one).only_genotype("tiny", 3, 30, Origin())
    assert str(caught.value) == message
    assert own(tmp_path, one).only_genotype("tiny", 3, 32, Origin()).exit_width == 32
    config = BertConfig(vocab_size=9, hidden_size=30, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(UsageError) as caught:
        Supernet(backbone_from_config(config), own(tmp_path, text), 2)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExitnasError, match=r"own\.yaml"):
        own(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ExitnasError, match="not UTF-8 text"):
        load_space(str(tmp_path / "own.yaml"))


def test_yaml_tags_make_no_objects(tmp_path: Path) -> None:
    with pytest.raises(ExitnasError, match="not valid YAML"):
        own(tmp_path, SPACE.replace("my own", "!!python/object/apply:os.getcwd []"))


def test_unknown_name_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown search space 'lecco': did you mean leco"):
        load_space("lecco")
    with pytest.raises(UsageError, match=r"--space .*none\.yaml: no such file; give a space's name or the path"):
        load_space(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="unknown search space"):
        load_space("../search_spaces/leco")


def test_a_wheel_carries_the_spaces_and_finds_them_outside_the_checkout(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    wheels, unzipped = tmp_path / "wheels", tmp_path / "unzipped"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unzipped)
    shipped = sorted(path.name for path in (unzipped / "exitnas" / "search_spaces").glob("*.yaml"))
    assert shipped == sorted(path.name for path in (ROOT / "search_spaces").glob("*.yaml"))
    assert (unzipped / "exitnas" / "exits" / "genotype.schema.json").is_file()

    # -I keeps the working folder and PYTHONPATH out; the first entry of sys.path wins over an editable install.
    code = f"""
import sys
sys.path.insert(0, {str(unzipped)!r})
import exitnas
from exitnas.supernet.space import load_space, space_names
print(exitnas.__file__)
print(*space_names())
print(load_space("leco").exits())
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, names, exits = done.stdout.splitlines()
    assert Path(where).is_relative_to(unzipped)
    assert names.split() == space_names()
    assert exits == "6400"


def test_checkout_and_wheel_folders_are_the_only_places() -> None:
    assert [folder.name for folder in FOLDERS] == ["search_spaces"] * 2
    assert FOLDERS[1] == ROOT / "search_spaces"
    for path in (ROOT / "search_spaces").glob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem
