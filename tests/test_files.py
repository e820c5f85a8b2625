"""Files are written whole or not at all, and JSON is read with one-line errors."""

import os
from pathlib import Path

import pytest

from exitnas.errors import ExitnasError
from exitnas.files import json_text, read_json, replacing, write_json, write_text


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
        (b'{"a": "\xff"}', "not UTF-8 text (invalid start byte at byte 7)"),
    ],
)
def test_malformed_json_is_one_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ExitnasError) as caught:
        read_json(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path):
    with pytest.raises(ExitnasError, match=r"no such file$"):
        read_json(tmp_path / "none.json")
    with pytest.raises(ExitnasError, match=r"is a folder, a JSON file was expected$"):
        read_json(tmp_path)
