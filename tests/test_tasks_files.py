"""CSV, TSV, JSONL and Parquet files with the hub's column names."""

import json

import pytest

from exitnas.errors import ExitnasError
from exitnas.tasks import get_task
from exitnas.tasks.loading import load_task
from exitnas.tasks.tables import read_table

SST2 = "sentence,label\ngood film,1\nbad film,0\n"


def write(folder, **files):
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return str(folder)


def test_each_type_gives_the_same_rows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    texts, labels = ['a "b", c', "two\nlines", "tab\there", ""], [0, 1, 1, 0]
    quoted = [text.replace('"', '""') for text in texts]
    pairs = list(zip(quoted, labels, strict=True))
    (tmp_path / "a.csv").write_text("sentence,label\n" + "".join(f'"{q}",{n}\n' for q, n in pairs))
    (tmp_path / "a.tsv").write_text("\ufeffsentence\tlabel\r\n" + "".join(f'"{q}"\t{n}\r\n' for q, n in pairs))
    lines = [json.dumps({"label": n, "sentence": t, "extra": None}) for t, n in zip(texts, labels, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    pyarrow.parquet.write_table(pyarrow.table({"sentence": texts, "label": labels}), tmp_path / "a.parquet")
    for suffix in ("csv", "tsv", "jsonl", "parquet"):
        table = read_table(tmp_path / f"a.{suffix}", ("sentence", "label"))
        assert table.columns["sentence"] == texts
        assert [int(value) for value in table.columns["label"]] == labels
    assert read_table(tmp_path / "a.csv", ("label",)).numbers == [2, 3, 5, 6]


def test_parquet_shards_are_joined_in_order(tmp_path):
    import pyarrow
    import pyarrow.parquet

    for shard, text in enumerate(["first", "second"]):
        table = pyarrow.table({"sentence": [text] * 2, "label": [0, 1]})
        pyarrow.parquet.write_table(table, tmp_path / f"train-0000{shard}-of-00002.parquet")
    data = load_task(get_task("sst2"), data_dir=write(tmp_path, validation_csv=SST2))
    assert data.train.texts == ["first", "first", "second", "second"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train_csv", "sentence,label\na,1\nb\n", r"train\.csv: line 3: expected 2 fields \(sentence, label\), got 1"),
        ("train_csv", 'sentence,label\n"a\nb",1\n"c,0\n', r"train\.csv: line 4: not valid CSV"),
        ("train_csv", "text,label\na,1\n", r"line 1: expected a column 'sentence'; .*known: text, label"),
        ("train_csv", "sentence,label,label\na,1,1\n", r"column 'label' occurs 2 times"),
        ("train_csv", "", r"expected a header line with sentence, label, got an empty file"),
        ("train_csv", "sentence,label\na,\n", r"line 2: column 'label': expected a label, got nothing"),
        ("train_jsonl", '{"sentence": "a", "label": 1}\n{"sentence"\n', r"train\.jsonl: line 2: not valid JSON \(Exp"),
        ("train_jsonl", "null\n", r"train\.jsonl: line 1: expected one JSON object, got null"),
        (
            "train_jsonl",
            '{"sentence": "a", "label": NaN}\n',
            r"line 1: column 'label': expected .*, got the number nan",
        ),
        ("train_jsonl", '{"sentence": "a", "label": 1e999}\n', r"expected a label, got the number inf"),
        (
            "train_jsonl",
            '{"sentence": "a", "label": ' + "[" * 9999 + "\n",
            r"train\.jsonl: line 1: expected at most 100 l",
        ),
        (
            "train_jsonl",
            '\n{"label": ' + "9" * 5000 + "}\n",
            r"train\.jsonl: line 2: holds a number of more than 4300 d",
        ),
        ("train_jsonl", '\n["a", 1]\n', r"line 2: expected one JSON object, got list"),
        ("train_jsonl", '{"sentence": null, "label": 1}\n', r"line 1: column 'sentence': expected a text, got nothing"),
        ("train_jsonl", '{"label": 1}\n', r"line 1: expected a column 'sentence'; known: label"),
        ("train_parquet", "not parquet", r"train\.parquet: not a readable Parquet file"),
    ],
)
def test_malformed_files(name, text, message, tmp_path):
    with pytest.raises(ExitnasError, match=message) as error:
        load_task(get_task("sst2"), data_dir=write(tmp_path, validation_csv=SST2, **{name: text}))
    assert "\n" not in str(error.value)


def test_two_candidates_for_one_split_are_refused(tmp_path):
    folder = write(tmp_path, train_csv=SST2, train_jsonl="", validation_csv=SST2)
    with pytest.raises(ExitnasError, match=r"several train files \(train.csv, train.jsonl\)"):
        load_task(get_task("sst2"), data_dir=folder)


def test_missing_evaluation_file(tmp_path):
    with pytest.raises(ExitnasError, match=r"no validation file \(validation.csv or"):
        load_task(get_task("sst2"), data_dir=write(tmp_path, train_csv=SST2, test_csv=SST2))


def test_hidden_test_labels_are_never_used(tmp_path):
    unlabelled = SST2.replace(",1", ",-1").replace(",0", ",-1")
    folder = write(tmp_path, train_csv=SST2, validation_csv=SST2, test_csv=unlabelled)
    data = load_task(get_task("sst2"), data_dir=folder)
    assert data.sizes == {"train": 2, "dev": 1, "test": 1}
    assert data.notes[0].startswith("test file ignored")


def test_label_spellings(tmp_path):
    rows = "text,label\na,World\nb,world\nc,SCI/TECH\nd,3\ne,2.0\nf, Sports \n"
    data = load_task(get_task("agnews"), data_dir=write(tmp_path, train_csv=rows, validation_csv=rows, test_csv=rows))
    assert data.train.labels == [0, 0, 3, 3, 2, 1]
