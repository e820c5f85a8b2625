"""The README's commands and Python, run in its order on its own YAML file, with a tiny backbone and tiny data."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import rows_of, save_backbone
from test_readme import CALLS, TEXT

SHORT = ("--epochs", "1", "--batch-size", "8", "--limit-train", "32", "--limit-eval", "16", "--max-length", "32")


def write_files(folder: Path) -> None:
    """`reviews.yaml` as printed with its files, a JSONL stream, and RTE and MRPC in GLUE's own layout."""
    (folder / "reviews.yaml").write_text(re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)[0], encoding="utf-8")
    rows = rows_of("single", 100)
    for name, part in (("train", rows[:48]), ("dev", rows[48:72]), ("test", rows[72:])):
        lines = ["review,stars", *(f"{row['text']},{1 + (row['label'] == 'up')}" for row in part)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    stream = [json.dumps({"review": row["text"]}) for row in rows[:9]]
    (folder / "reviews.jsonl").write_text("\n".join(stream) + "\n", encoding="utf-8")
    pairs = rows_of("pair", 60)
    for task, header, line in (
        ("RTE", "index\tsentence1\tsentence2\tlabel", "{n}\t{first}\t{second}\t{rte}"),
        ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{mrpc}\t{n}\t{n}\t{first}\t{second}"),
    ):
        (folder / "glue" / task).mkdir(parents=True)
        for split, part in (("train", pairs[:40]), ("dev", pairs[40:])):
            lines = [
                line.format(n=n, rte=("entailment", "not_entailment")[n % 2], mrpc=n % 2, **row)
                for n, row in enumerate(part)
            ]
            (folder / "glue" / task / f"{split}.tsv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def shortened(call: str, backbone: Path) -> list[str]:
    """The words of a call, with the tiny backbone and a short training; a drop that 16 rows can vouch for."""
    words = [str(backbone) if word == "minilm-l6" else word for word in shlex.split(call, comments=True)[1:]]
    if words[0] in ("search", "retrain", "baseline"):
        words += [word for word in SHORT if "--epochs" not in words or word not in SHORT[:2]]
    if words[0] == "tune" and "--trials" in words:
        words += [*SHORT, "--set", "refine=1"]
        words[words.index("--trials") + 1], words[words.index("--workers") + 1] = "2", "1"
    if words[0] == "search":
        words += ["--refine", "1"] if "--space" not in words else []
    if words[0] == "calibrate":
        words[words.index("--max-drop") + 1] = "0.5"
    if words[0] == "evaluate":
        words += ["--time-samples", "2", "--time-rounds", "1"]
    return words


@pytest.mark.filterwarnings("ignore:.*pipelines sequentially on GPU")
def test_everything_in_the_readme_runs(tmp_path: Path, monkeypatch: Any, cli: Any, capsys: Any):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    backbone = save_backbone(tmp_path / "tiny", layers=5)
    ran = []
    for call in CALLS:
        words = shortened(call, backbone)
        if words[0] == "demo":  # the packaged model and corpus: run by .ci/run as printed
            continue
        result = cli(*words)
        assert result.stdout.strip(), call
        ran.append(words[0])
    expected = {"search", "draw", "retrain", "calibrate", "evaluate", "predict", "baseline", "list", "report", "tune"}
    assert expected <= set(ran)
    assert "<svg" in (tmp_path / "exits.svg").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        with torch.random.fork_rng(devices=[]):
            exec(compile(block, "README.md", "exec"), {})
        assert capsys.readouterr().out.strip(), block
