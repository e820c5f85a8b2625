"""A user's own data described by a YAML file."""

import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.tasks import get_task
from exitnas.tasks.loading import load_task

MINIMAL = "files: {train: train.csv}\ntext: body\nlabel: queue\n"
ROWS = "body,queue\n" + "".join(f"ticket {i},{('10', '9', 'n/a')[i % 3] if i % 2 else '9'}\n" for i in range(40))
NUMERIC = "body,queue\n" + "".join(f"ticket {i},{('10', '9')[i % 2]}\n" for i in range(40))


def write(folder, text, train=ROWS):
    (folder / "train.csv").write_text(train)
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def test_only_a_training_file(tmp_path):
    spec = get_task(write(tmp_path, MINIMAL))
    assert (spec.name, spec.metric, spec.labels) == ("mine", "accuracy", None)
    data = load_task(spec)
    assert data.spec.labels == ("10", "9", "n/a")
    assert data.spec.num_labels == 3
    assert data.sizes == {"train": 32, "dev": 4, "test": 4}
    assert data.source == f"files in {tmp_path}"


def test_numeric_labels_are_names_sorted_as_numbers(tmp_path):
    data = load_task(get_task(write(tmp_path, MINIMAL, NUMERIC)))
    assert data.spec.labels == ("9", "10")
    everything = zip(data.train.texts, data.train.labels, strict=True)
    assert all(label == 1 - int(text.split()[1]) % 2 for text, label in everything)


def test_all_files_a_pair_and_given_labels(tmp_path):
    text = "name: q\nfiles: {train: a.jsonl, validation: b.jsonl, test: a.jsonl}\ntext: [x, y]\nlabel: z\n"
    rows = '{"x": "1", "y": "2", "z": "no"}\n{"x": "3", "y": "4", "z": "yes"}\n'
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(rows)
    data = load_task(get_task(write(tmp_path, text + "labels: ['yes', 'no']\nmetric: acc_f1\n")))
    assert data.train.pairs == ["2", "4"]
    assert data.train.labels == [1, 0]
    assert data.sizes == {"train": 2, "dev": 2, "test": 2}


def test_regression(tmp_path):
    rows = "body,queue\n" + "".join(f"ticket {i},{i / 2}\n" for i in range(10))
    data = load_task(get_task(write(tmp_path, MINIMAL + "type: regression\n", rows)))
    assert data.spec.metric == "pearson_spearman"
    assert data.spec.num_labels == 1
    assert data.train.labels == [int(text.split()[1]) / 2 for text in data.train.texts]


def test_regression_within_limits(tmp_path):
    rows = "body,queue\n" + "".join(f"ticket {i},{i / 2}\n" for i in range(10))
    ranged = MINIMAL + "type: regression\nvalue_range: [0, 4.5]\n"
    assert load_task(get_task(write(tmp_path, ranged, rows))).spec.value_range == (0, 4.5)
    with pytest.raises(ExitnasError, match=r"line 11: column 'queue': expected a number from 0 to 4, got '4\.5'"):
        load_task(get_task(write(tmp_path, ranged.replace("4.5", "4"), rows)))


def test_empty_texts_are_kept_and_noted(tmp_path):
    data = load_task(get_task(write(tmp_path, MINIMAL, NUMERIC + '" ",9\n"",10\n')))
    lines = NUMERIC.count("\n")
    assert data.notes[0] == f"2 rows have an empty text, the first is {tmp_path / 'train.csv'}: line {lines + 1}"
    assert not any("empty" in note for note in load_task(get_task(write(tmp_path, MINIMAL, NUMERIC))).notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "value_range: [0, 5]\n", r"value_range: only a regression task has one"),
        (MINIMAL + "type: regression\nvalue_range: [5, 0]\n", r"value_range: expected smallest < largest, got \[5"),
        (MINIMAL + "type: regression\nvalue_range: 5\n", r"value_range: input should be a valid tuple, got 5"),
        (MINIMAL + "metrics: accuracy\n", r"metrics: unknown key; did you mean metric\?"),
        (
            "files: {train: train.csv}\ntext: body\nlable: queue\n",
            r"lable: unknown key; did you mean label or labels\?",
        ),
        (MINIMAL.replace("{train", "{trian: x, train"), r"files.trian: unknown key; did you mean train\?"),
        (MINIMAL.replace("label: queue\n", ""), r"label: required, but not given"),
        (MINIMAL + "metric: acuracy\n", r"metric: unknown metric 'acuracy'; did you mean accuracy\?"),
        (MINIMAL + "metric: pearson_spearman\n", r"does not fit a classification task; use one of accuracy"),
        (MINIMAL + "type: regression\nmetric: f1\n", r"does not fit a regression task; use one of pearson_spearman"),
        (MINIMAL + "labels: [yes, no]\n", r"labels: YAML reads yes, no"),
        (MINIMAL + "labels: [a, b, c]\nmetric: f1\n", r"f1 needs exactly two labels, got 3"),
        (MINIMAL + "labels: [a]\n", r"expected at least two different names"),
        (MINIMAL.replace("body", "[a, b, c]"), r"text: .*at most 2"),
        (MINIMAL.replace("body", "queue"), r"every column can be used once only"),
        ("files: [\n", r"mine\.yaml: line \d: not valid YAML"),
        ("- a\n", r"expected keys name, files, text, label, got list"),
        ("", r"mine\.yaml: the file is empty"),
        ("# only words\n", r"mine\.yaml: the file is empty"),
        (
            MINIMAL + "labels: [0.5, 1.5]\n",
            r"mine\.yaml: labels: expected names or whole numbers, got 0\.5; put quotes",
        ),
        (MINIMAL + "labels: [null, b]\n", r"labels: expected names or whole numbers, got None; put quotes"),
        (MINIMAL + "name: ../../x\n", r"name: expected letters, digits, '_', '\.' and '-', .* got '\.\./\.\./x'"),
        (MINIMAL + "name: ''\n", r"name: expected letters, .* got ''"),
        (MINIMAL + "name: a/b\n", r"name: expected letters, .* got 'a/b'"),
    ],
)
def test_wrong_yaml(text, message, tmp_path):
    with pytest.raises(ExitnasError, match=message) as error:
        get_task(write(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_missing_files(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        get_task(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ExitnasError, match=r"gone\.csv: no such file; give its folder with --data-dir$"):
        load_task(get_task(write(tmp_path, MINIMAL.replace("train.csv", "gone.csv"))))
    with pytest.raises(ExitnasError, match=r"expected a file ending in .csv, .tsv, .jsonl, .parquet, got .yaml"):
        load_task(get_task(write(tmp_path, MINIMAL.replace("train.csv", "mine.yaml"))))


def test_labels_that_do_not_fit(tmp_path):
    with pytest.raises(ExitnasError, match=r"f1 needs exactly two labels, the training data has 3"):
        load_task(get_task(write(tmp_path, MINIMAL + "metric: f1\n")))
    (tmp_path / "dev.csv").write_text("body,queue\nhello,11\n")
    text = MINIMAL.replace("train.csv", "train.csv, validation: dev.csv")
    with pytest.raises(ExitnasError, match=r"dev\.csv: line 2: column 'queue': expected one of 9, 10, got '11'"):
        load_task(get_task(write(tmp_path, text, NUMERIC)))
    few = r"^task mine, files in .*: expected at least 3 different training texts to split, got 2$"
    with pytest.raises(ExitnasError, match=few):
        load_task(get_task(write(tmp_path, MINIMAL, "body,queue\na,1\nb,2\n")))
    with pytest.raises(ExitnasError, match="at least two classes in column 'queue', got 1"):
        load_task(get_task(write(tmp_path, MINIMAL, "body,queue\na,1\nb,1\n")))


def test_labels_of_whole_numbers_and_names_with_dots(tmp_path):
    spec = get_task(write(tmp_path, MINIMAL + "name: Q4.2-tickets_é\nlabels: [9, '10']\n", NUMERIC))
    assert (spec.name, spec.labels) == ("Q4.2-tickets_é", ("9", "10"))


def test_a_label_of_thousands_of_digits_is_a_name(tmp_path):
    long = "7" * 5000
    data = load_task(get_task(write(tmp_path, MINIMAL, NUMERIC.replace(",10", f",{long}"))))
    assert data.spec.labels == (long, "9")
