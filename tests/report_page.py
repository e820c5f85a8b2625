"""Making a report and reading it back, for its tests."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from exitnas.cli.reproduce import command_line
from exitnas.files import write_json
from exitnas.reporting.report.page import write_report

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Page(HTMLParser):
    """Tags with their attributes, text outside of scripts and styles, and whether every tag was closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def values_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="values">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def report_html(output: Path, *runs: Any, **options: Any) -> str:
    """The HTML of the report of `runs`."""
    write_report(output, runs, reproduce=command_line, overwrite=True, device="cpu", **options)
    return output.read_text(encoding="utf-8")


def make_run(
    folder: Path,
    command: str = "retrain",
    lines: int = 2,
    probabilities: Any = None,
    processes: int = 1,
    **settings: Any,
) -> Path:
    """A run directory with settings and a history, not finished."""
    settings = {"task": "rte", "epochs": 4, "seed": 42, **settings}
    config = {"command": command, "settings": settings, "data": {}, "versions": {}, "processes": processes}
    write_json(folder / "config.json", config)
    history: list[dict[str, Any]] = [
        {"seed": 42, "epoch": n, "exits": [0.5, 0.5 + n / 10], "avg": 0.5 + n / 20} for n in range(1, lines + 1)
    ]
    if probabilities is not None:
        history = [{**line, "probabilities": probabilities} for line in history]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")
    return folder
