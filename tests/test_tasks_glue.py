"""GLUE's own archive: real files where present, and every trap of the format in small."""

from pathlib import Path

import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.tasks import get_task
from exitnas.tasks.loading import load_task

GLUE = Path(__file__).resolve().parents[2] / "shared" / "data" / "glue"
HAVE_GLUE = (GLUE / "RTE" / "train.tsv").is_file()
MNLI_COLUMNS = "index promptID pairID genre sentence1 sentence2 label1 gold_label".replace(" ", "\t")


def write(folder, train, dev, name="dev.tsv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.tsv").write_bytes(train.encode())
    (folder / name).write_bytes(dev.encode())
    return str(folder)


@pytest.mark.skipif(not HAVE_GLUE, reason="no GLUE files in ../shared/data/glue")
@pytest.mark.parametrize(
    ("name", "folder", "dev", "test", "held_out"),
    [
        ("rte", "RTE", 138, 139, 0),
        ("mrpc", "MRPC", 204, 204, 0),
        ("sst2", "SST-2", 1000, 872, 1000),
        ("stsb", "STS-B", 750, 750, 0),
    ],
)
def test_real_files(name, folder, dev, test, held_out):
    data = load_task(get_task(name), data_dir=str(GLUE))
    rows = (GLUE / folder / "train.tsv").read_bytes().count(b"\n") - 1
    assert data.sizes == {"train": rows - held_out, "dev": dev, "test": test}
    assert data.source == f"GLUE files in {GLUE / folder}"
    assert "seed 42" in data.notes[0]


@pytest.mark.skipif(not HAVE_GLUE, reason="no GLUE files in ../shared/data/glue")
def test_real_rows_and_label_meaning():
    rte = load_task(get_task("rte"), data_dir=str(GLUE / "RTE"))
    assert len(rte.train) == 2490
    assert rte.train.texts[0] == "No Weapons of Mass Destruction Found in Iraq Yet."
    assert rte.spec.labels[rte.train.labels[0]] == "not_entailment"
    mrpc = load_task(get_task("mrpc"), data_dir=str(GLUE))
    assert mrpc.train.texts[0].startswith('Amrozi accused his brother , whom he called " the witness "')
    assert mrpc.train.pairs[0].startswith("Referring to him as only")
    assert mrpc.spec.labels[mrpc.train.labels[0]] == "equivalent"
    stsb = load_task(get_task("stsb"), data_dir=str(GLUE))
    assert stsb.train.labels[:2] == [5.0, 3.8]


def test_byte_order_mark_column_order_quotes_and_windows_line_ends(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    rows = '1\t1\t2\t" an open quote\tsecond "\r\n0\t3\t4\t"\t"a\u2028b\x85c\r\n'
    data = load_task(get_task("mrpc"), data_dir=write(tmp_path / "MRPC", header + rows, header + rows))
    assert data.train.texts == ['" an open quote', '"']
    assert data.train.pairs == ['second "', '"a\u2028b\x85c']
    assert data.train.labels == [1, 0]


def test_cola_has_no_header(tmp_path):
    train = "gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tThey drank the pub.\n"
    data = load_task(get_task("cola"), data_dir=write(tmp_path / "CoLA", train, train))
    assert data.train.texts == ["Our friends won't buy this.", "They drank the pub."]
    assert data.train.labels == [1, 0]


def test_cola_in_the_columns_of_the_hub_is_not_taken_for_glue(tmp_path):
    rows = 'sentence\tlabel\n"one ""quoted"" word"\tacceptable\nplain\t0\n'
    data = load_task(get_task("cola"), data_dir=write(tmp_path, rows, rows))
    assert data.train.texts == ['one "quoted" word', "plain"]
    assert data.train.labels == [1, 0]


def test_qqp_broken_rows_are_counted(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    good = "1\t2\t3\tWhy?\tHow come?\t1\n4\t5\t6\tWho?\t\t0\n"
    data = load_task(
        get_task("qqp"), data_dir=write(tmp_path / "QQP", header + good + "7\t8\t9\tcut off\n", header + good)
    )
    assert data.train.pairs == ["How come?", ""]
    assert data.notes[0] == "1 rows with missing fields skipped"


def test_mnli_test_has_both_parts(tmp_path):
    rows = f"{MNLI_COLUMNS}\n" + "".join(f"{i}\tp\tq\tfiction\tA{i}\tB{i}\tneutral\tentailment\n" for i in range(20))
    folder = tmp_path / "MNLI"
    write(folder, rows, rows, "dev_matched.tsv")
    write(folder, rows, rows.replace("A", "C"), "dev_mismatched.tsv")
    data = load_task(get_task("mnli"), data_dir=str(tmp_path))
    assert data.sizes == {"train": 20, "dev": 20, "test": 20}
    assert set(data.test.parts) == {"matched", "mismatched"}
    assert all(
        (part == "matched") == text.startswith("A") for text, part in zip(data.test.texts, data.test.parts, strict=True)
    )
    assert set(data.train.labels) == {0}


RTE = "index\tsentence1\tsentence2\tlabel\n"
GOOD = "0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (RTE + GOOD + "2\tc\td\n", r"train\.tsv: line 4: expected 4 tab-separated fields .*sentence2.* got 3"),
        (RTE + GOOD + "2\tc\td\tmaybe\n", r"train\.tsv: line 4: column 'label': expected one of entailment.*'maybe'"),
        (RTE + "\n" + GOOD + "2\tc\td\t2\n", r"train\.tsv: line 5: .*or 0 to 1, got '2'"),
        (RTE.replace("sentence2", "sentence") + GOOD, r"line 1: expected a column 'sentence2'; did you mean sentence"),
        (RTE, r"train\.tsv: expected at least one row"),
        ("", r"train\.tsv: line 1: expected a column 'sentence1'"),
    ],
)
def test_malformed_files_name_file_and_line(train, message, tmp_path):
    with pytest.raises(ExitnasError, match=message) as error:
        load_task(get_task("rte"), data_dir=write(tmp_path, train, RTE + GOOD))
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)


def test_bytes_that_are_not_utf8_name_the_line(tmp_path):
    write(tmp_path, RTE + GOOD, RTE + GOOD)
    (tmp_path / "dev.tsv").write_bytes((RTE + GOOD).encode() + b"2\tcaf\xe9\td\tentailment\n")
    with pytest.raises(ExitnasError, match=r"dev\.tsv: line 4: expected UTF-8 text, got byte 0xe9"):
        load_task(get_task("rte"), data_dir=str(tmp_path))


def test_stsb_value_outside_its_range(tmp_path):
    rows = "index\tsentence1\tsentence2\tscore\n0\ta\tb\t2.5\n1\tc\td\t5.5\n"
    with pytest.raises(ExitnasError, match=r"line 3: column 'label': expected a number from 0 to 5, got '5.5'"):
        load_task(get_task("stsb"), data_dir=write(tmp_path / "STS-B", rows, rows))


def test_folder_without_the_task(tmp_path):
    (tmp_path / "SST-2").mkdir()
    with pytest.raises(ExitnasError, match=r"no training file of task rte; expected RTE/train.tsv .*found SST-2/"):
        load_task(get_task("rte"), data_dir=str(tmp_path))
    with pytest.raises(UsageError, match="no such folder"):
        load_task(get_task("rte"), data_dir=str(tmp_path / "nowhere"))
