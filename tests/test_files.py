"""Files are written whole or not at all; JSON and YAML are read with one-line errors."""

import os
from pathlib import Path

import pytest

from exitnas.errors import ExitnasError
from exitnas.files import (
    check_name,
    check_writable,
    json_kind,
    json_text,
    parse_json,
    read_json,
    read_yaml,
    replacing,
    write_json,
    write_text,
)


def test_a_file_is_replaced_and_folders_are_made(tmp_path: Path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "one\n")
    write_text(path, "zwölf\n")
    assert path.read_bytes() == "zwölf\n".encode()
    assert os.listdir(path.parent) == ["b.txt"]


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert temporary.parent == tmp_path
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_failing_value_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["file.json"]


def test_the_target_is_whole_at_every_moment(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_json_text_is_exact():
    assert json_text({"b": [1, "ü"], "a": None}) == '{\n  "b": [\n    1,\n    "ü"\n  ],\n  "a": null\n}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": }', "line 2: not valid JSON (Expecting value)"),
        (b"", "line 1: not valid JSON (Expecting value)"),
        (b"[" * 99_999, "expected at most 100 lists and objects inside each other, got more"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "expected at most 100 lists and objects inside each other, got more"),
        (b'{"a":\n' + b"1" * 5000 + b"}", "holds a number of more than 4300 digits"),
        (b'{"a": "\xff"}', "not UTF-8 text (invalid start byte at byte 7)"),
    ],
)
def test_malformed_json_is_one_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ExitnasError) as caught:
        read_json(path)
    shown = str(caught.value)
    assert shown in (f"{path}: {message}", f"{path}: line 1: {message}")


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path):
    with pytest.raises(ExitnasError, match=r"no such file$"):
        read_json(tmp_path / "none.json")
    with pytest.raises(ExitnasError, match=r"is a folder, a JSON file was expected$"):
        read_json(tmp_path)


def test_json_within_the_limits_and_lines_counted_from_elsewhere():
    deep = "[" * 100 + "]" * 100
    assert str(parse_json(deep, "x")) == deep
    assert parse_json("9" * 4300, "x") == int("9" * 4300)
    with pytest.raises(ExitnasError, match=r"^x: line 8: not valid JSON \(Expecting value\)$"):
        parse_json("[1,\n }", "x", 7)
    with pytest.raises(ExitnasError, match=r"^x: line 7: holds a number"):
        parse_json("-" + "9" * 5000, "x", 7)


def test_kinds_are_named_as_json_names_them():
    values = [None, True, 1, 0.5, "a", [], {}]
    names = ["null", "true or false", "number", "number", "text", "list", "object"]
    assert [json_kind(value) for value in values] == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"# words\n", "the file is empty"),
        (b"a: [1,\n", "line 2: not valid YAML (expected the node content, but found '<stream end>')"),
        (b"a: \x00\n", "not valid YAML (special characters are not allowed)"),
        (b"a: !!python/name:os.getcwd\n", "line 1: not valid YAML (could not determine a constructor for the tag"),
        (b"a: " + b"[" * 5000, "lists and keys are inside each other too deep"),
        (b"a: " + b"9" * 5000, "holds a number, date or tag that cannot be read (Exceeds the limit"),
        (b"a: 2024-13-45\n", "holds a number, date or tag that cannot be read (month must be in 1..12"),
        (b"a: !!bool perhaps\n", "holds a number, date or tag that cannot be read ('perhaps')"),
        (b"a: \xff\n", "not UTF-8 text (invalid start byte at byte 3)"),
    ],
)
def test_malformed_yaml_is_one_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(ExitnasError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_yaml_with_a_byte_order_mark(tmp_path: Path):
    (tmp_path / "file.yaml").write_text("a: [1, x]\n", encoding="utf-8-sig")
    assert read_yaml(tmp_path / "file.yaml") == {"a": [1, "x"]}


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path):
    path = tmp_path / ("n" * 250)  # the temporary name is longer than a name may be
    with pytest.raises(OSError, match="File name too long") as caught:
        write_text(path, "text")
    assert (caught.value.filename, caught.value.filename2) == (str(path), None)
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path, "text")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path), None)

    def refused(filename: str | None) -> None:
        with replacing(tmp_path / "file") as temporary:
            raise PermissionError(13, "Permission denied", str(temporary) if filename == "temporary" else filename)

    for filename, shown in (("temporary", tmp_path / "file"), (None, tmp_path / "file"), ("other", "other")):
        with pytest.raises(PermissionError) as caught:
            refused(filename)
        assert caught.value.filename == str(shown)


def test_a_file_that_cannot_be_written_is_found_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_writable(tmp_path / "new" / "file")
    assert os.listdir(tmp_path / "new") == []
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="File exists"):
        check_writable(tmp_path / "file" / "below")

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "temporary")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError) as caught:
        check_writable(tmp_path / "file")
    assert caught.value.filename == str(tmp_path / "file")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-x", "a\n", "é"])
def test_names_that_are_no_part_of_a_path(name: str):
    with pytest.raises(ValueError, match="expected letters, digits"):
        check_name(name)


def test_names_that_are():
    assert [check_name(name) for name in ("a", "LECO-o1", "4.2_é")] == ["a", "LECO-o1", "4.2_é"]
