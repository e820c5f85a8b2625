"""Rows to answer: reading JSONL, what is refused, and what is left out on request."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch

from exitnas.errors import ExitnasError, UsageError
from exitnas.inference.predict import default_policy, predict
from exitnas.inference.rows import read_rows
from exitnas.inference.session import Session


@pytest.fixture(scope="module")
def session(retrained: dict[str, Any]) -> Session:
    return Session.open(retrained["run"])


def test_rows_of_a_file(session: Session, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two\u2028lines", "other": 3}\r\n', encoding="utf-8-sig")
    assert read_rows(str(path), session.data.spec) == [(1, ("one", None)), (3, ("two\u2028lines", None))]


def test_rows_of_pairs_by_the_tasks_columns_or_by_text(retrained_pair: dict[str, Any], tmp_path: Path):
    spec = Session.open(retrained_pair["run"]).data.spec
    path = tmp_path / "rows.jsonl"
    path.write_text('{"first": "a", "second": "b"}\n{"text": "c", "text_pair": "d"}\n')
    assert read_rows(str(path), spec) == [(1, ("a", "b")), (2, ("c", "d"))]


def test_rows_of_tables(session: Session, retrained_pair: dict[str, Any], tmp_path: Path):
    texts = ["one, two", "three\nlines", "5"]
    (tmp_path / "rows.csv").write_text('label,text\nx,"one, two"\nx,"three\nlines"\nx,5\n', encoding="utf-8-sig")
    (tmp_path / "rows.TSV").write_text('text\none, two\n"three\nlines"\n5\n')
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "rows.parquet")
    for name, numbers in (("rows.csv", (2, 3, 5)), ("rows.TSV", (2, 3, 5)), ("rows.parquet", (1, 2, 3))):
        rows = [(number, (text, None)) for number, text in zip(numbers, texts, strict=True)]
        assert read_rows(str(tmp_path / name), session.data.spec) == rows
    pairs = Session.open(retrained_pair["run"]).data.spec
    (tmp_path / "pairs.csv").write_text("second,first\nb,a\n")
    assert read_rows(str(tmp_path / "pairs.csv"), pairs) == [(2, ("a", "b"))]


def test_bad_rows_of_tables(session: Session, tmp_path: Path):
    path, spec = tmp_path / "rows.csv", session.data.spec
    path.write_text("text,label\ngood,1\n ,2\nbad,3\n")
    with pytest.raises(ExitnasError, match=r"rows\.csv: line 3: expected text in text, got none$"):
        read_rows(str(path), spec)
    told: list[str] = []
    assert read_rows(str(path), spec, told.append) == [(2, ("good", None)), (4, ("bad", None))]
    assert told == [f"{path}: line 3: expected text in text, got none"]
    path.write_text("txt\ngood\n")
    with pytest.raises(ExitnasError, match=r"line 1: expected a column 'text'; did you mean txt\? known: txt$"):
        read_rows(str(path), spec, told.append)
    table = pyarrow.table({"text": ["a", None]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(ExitnasError, match=r"rows\.parquet: row 2: column 'text': expected a text, got"):
        read_rows(str(tmp_path / "rows.parquet"), spec)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": \n', "line 2: not valid JSON (Expecting value)"),
        (b'{"text": "a"}\n\n{"txt": "b"}\n', "line 3: expected an object with text in text, got txt"),
        (b'["a"]\n', "line 1: expected an object with text in text, got list"),
        (b'{"text": null}\n', "line 1: expected an object with text in text, got null in text"),
        (b'{"text": 3.5}\n', "line 1: expected an object with text in text, got number in text"),
        (b"{}\n", "line 1: expected an object with text in text, got an empty object"),
        (b"\n" + b"[" * 99999, "line 2: expected at most 100 lists and objects inside each other, got more"),
        (b'{"text": ' + b"9" * 5000 + b"}", "line 1: holds a number of more than 4300 digits"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', "line 2: expected UTF-8 text, got byte 0xff; convert the file to UTF-8"),
        (b'{"text": " "}\n', "line 1: expected text in text, got none"),
        (b'{"text": "a \\ud800 b"}\n', "line 1: expected Unicode text in text, got half a surrogate pair"),
        (b"\n\n", "holds no rows"),
    ],
)
def test_bad_rows_name_the_line(session: Session, tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(ExitnasError) as caught:
        read_rows(str(path), session.data.spec)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_of_rows(session: Session, tmp_path: Path):
    with pytest.raises(UsageError, match=r"none.jsonl: no such file$"):
        read_rows(str(tmp_path / "none.jsonl"), session.data.spec)
    with pytest.raises(UsageError, match="is a folder, a file of rows was expected"):
        read_rows(str(tmp_path), session.data.spec)


def test_bad_rows_are_left_out_where_asked(session: Session, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    lines = [b'{"text": "a"}', b"{", b'{"text": "\xff"}', b'{"text": ""}', '{"text": "\ufffd"}'.encode(), b'{"t": 1}']
    path.write_bytes(b"\n".join(lines))
    told: list[str] = []
    assert read_rows(str(path), session.data.spec, told.append) == [(1, ("a", None)), (5, ("\ufffd", None))]
    assert [line.removeprefix(f"{path}: line ")[:2] for line in told] == ["2:", "3:", "4:", "6:"]
    assert told[1] == f"{path}: line 3: expected UTF-8 text, got bytes that are not"
    path.write_bytes(lines[1])
    with pytest.raises(ExitnasError, match="holds no rows that can be answered"):
        read_rows(str(path), session.data.spec, told.append)


def test_the_command_reports_bad_rows_and_goes_on(retrained: dict[str, Any], cli: Any, error_line: Any, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n{"text": [/x]}\n{"text": "bad"}\n', encoding="utf-8")
    line = error_line("predict", retrained["run"], "--input", path, code=1)
    assert line.startswith(f"{path}: line 2: ")
    result = cli("predict", retrained["run"], "--input", path, "--skip-bad-rows", "--json")
    assert [answer["line"] for answer in json.loads(result.stdout)] == [1, 3]
    assert result.stderr.splitlines()[0].startswith(f"warning: skipped: {path}: line 2: ")
    assert "--input" in error_line("predict", retrained["run"], "--text", "good", "--skip-bad-rows", code=2)


@pytest.mark.parametrize("text", ["", " \n", "half \udcff"])
def test_texts_that_cannot_be_answered(session: Session, text: str):
    with pytest.raises(UsageError, match=r"^row 2: expected "):
        predict(session.model, session.tokenizer, [("good", None), (text, None)], default_policy(session.model))


def test_damaged_weights_give_no_answer(retrained: dict[str, Any]):
    broken = Session.open(retrained["run"])
    torch.nn.init.constant_(broken.model.exits[-1].classifier.weight, float("nan"))
    with pytest.raises(ExitnasError, match="not finite"):
        predict(broken.model, broken.tokenizer, [("good", None)], default_policy(broken.model))
