"""`exitnas report`: the page of real tiny runs, whatever state they are in."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from exitnas.exits.genotype import Genotype
from exitnas.exits.operations import EDGES
from exitnas.files import read_json, write_json
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run
from exitnas.training.truncated import train_truncated
from tests.conftest import make_genotype
from tests.report_page import Page, report_html, values_of


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., str]:
    """The HTML of a report."""
    return partial(report_html, tmp_path / "report.html")


@pytest.fixture(scope="module")
def truncated(world, silent, tmp_path_factory) -> Path:
    run = Run.create(tmp_path_factory.mktemp("cut") / "layers-2")
    train_truncated(world.retrain(epochs=1), world.genotype(), 2, run, silent)
    return run.path


def test_the_page_of_a_trained_run(report_of, retrained, truncated):
    html = report_of(retrained["run"], baselines=[truncated])
    page = Page(html)
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert ("html", {"lang": "en"}) in page.tags
    for words in ("What was run", "Run it again", "Exits", "Scores and training", "Trade-off", "Left first", "conv_3"):
        assert words in page.text
    for picture in re.findall(r'data-name="\d\.cost"><title>exit (\d): ([\d,]+) parameters, ([\d,]+) MACs', html):
        exit_, *costs = (int(text.replace(",", "")) for text in picture)
        assert costs == [retrained["costs"][exit_ - 1][name] for name in ("parameters", "macs")]
    counted = f"MACs) of an exit at the mean length of the training rows, {retrained['tokens']} tokens</text>"
    assert html.count(counted) == 1
    for score in retrained["exits"]:
        assert f"{100 * score:.1f}" in page.text
    (run,) = values_of(html).values()
    assert set(run["curves"]) == {
        *("static", "entropy", "max_prob", "patience", "cobee", "voting", "hybrid", "oracle", "truncated"),
    }
    assert [point[0] for point in run["curves"]["static"]] == [round(score, 5) for score in retrained["exits"]]
    assert [point[1] for point in run["curves"]["static"]] == [1.0, 2.0, 3.0]
    for curve in run["curves"].values():
        for score, layers, speedup, macs, _, counts in curve:
            assert 0 <= score <= 1
            assert speedup == pytest.approx(3 / layers, abs=1e-3)
            assert macs > 0
            if counts:
                assert sum(counts) == run["rows"] == 40
                mean = sum(n * layer for layer, n in enumerate(counts, start=1)) / 40
                assert layers == pytest.approx(mean, abs=1e-4)
    (cut,) = run["curves"]["truncated"]
    assert cut[0] == pytest.approx(read_json(truncated / "summary.json")["score"], abs=1e-5)
    assert cut[1:3] == [2, 1.5]
    best = max(point[0] for point in run["curves"]["static"])
    assert run["curves"]["oracle"][0][0] >= best


def test_every_picture_is_named(report_of, retrained):
    pictures = [attrs for tag, attrs in Page(report_of(retrained["run"])).tags if tag == "svg"]
    assert len(pictures) > 5
    for attrs in pictures:
        assert attrs.get("role") == "img" or attrs.get("aria-hidden") == "true"


def test_the_inputs_shown_are_those_that_left_first_and_last(report_of, retrained):
    html = report_of(retrained["run"])
    (run,) = values_of(html).values()
    counts = run["curves"][run["policy"]][run["index"]][5]
    told = ", ".join(f"layer {layer}: {count}" for layer, count in enumerate(counts, start=1))
    assert f'aria-label="Inputs that left after each layer: {told}"' in html
    used = [layer for layer, count in enumerate(counts, start=1) if count]
    first, last = html.split("Left first")[1].split("Left last")
    layers = [[int(n) for n in re.findall(r"<b>layer (\d)</b>", part)] for part in (first, last)]
    assert layers[0][0] == used[0]
    assert layers[1][0] == used[-1]
    assert layers[0] == sorted(layers[0])
    assert layers[1] == sorted(layers[1], reverse=True)
    assert "✓ right" in html


def test_nothing_is_fetched_and_one_script_may_run(report_of, retrained, searched):
    html = report_of(retrained["run"], searched["run"])
    page = Page(html)
    for _, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                assert value is not None
                assert value.startswith("#") or value == "data:,"
            assert not name.startswith("on")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert html.count("<script") == 2
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "script-src 'sha256-" in policy


def test_text_and_names_with_markup_appear_as_text(world, silent, report_of, tmp_path):
    evil = "<script>alert('x')</script> & \"good\" </script>"
    folder = tmp_path / "evil"
    folder.mkdir()
    for split, count in (("train", 12), ("dev", 8), ("test", 8)):
        rows = [{"text": f"{evil} {'good' if n % 2 else 'bad'} {n}", "label": f"<b>{n % 2}"} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = 'it\'s "<img src=x onerror=alert(1)>"'
    lines = ["name: evil", "files: {train: train.jsonl, validation: dev.jsonl, test: test.jsonl}"]
    task = folder / 'it\'s "<i>".yaml'
    task.write_text("\n".join([*lines, "text: text", "label: label"]) + "\n")
    settings = world.retrain(epochs=1).model_copy(update={"task": str(task)})
    run = Run.create(tmp_path / "evil <i>run")
    retrain(settings, make_genotype(world.backbone, task), run, silent)
    for file, place in (("summary.json", ()), ("model/config.json", ("task",))):
        values = read_json(run.path / file)
        target = values if not place else values[place[0]]
        target["name" if place else "task"] = name
        write_json(run.path / file, values)
    html = report_of(run.path)
    page = Page(html)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert "i" not in tags
    assert tags.count("b") == len(re.findall(r"<b>layer ", html))
    assert evil in page.text
    assert name in page.text
    assert "✓ right: <b>" in page.text
    assert values_of(html)["run-1"]["name"] == "evil <i>run"
    assert "<" not in html[html.index('id="values">') + 12 : html.index("</script>", html.index('id="values">'))]


def test_a_search_run_shows_probabilities_and_no_curves(report_of, searched):
    html = report_of(searched["run"])
    page = Page(html)
    assert "Probabilities of the operations" in page.text
    assert "not finished" not in page.text
    assert values_of(html) == {}
    assert [attrs.get("class") for tag, attrs in page.tags if tag == "svg"].count("mini") == 3 * len(EDGES)


def test_several_runs_are_compared(report_of, retrained, searched, truncated, world, silent, tmp_path):
    other = Run.create(tmp_path / "other")
    retrain(world.retrain(epochs=2, lr=2e-3, seeds=2), world.genotype(), other, silent)
    html = report_of(retrained["run"], other.path, searched["run"], truncated)
    page = Page(html)
    assert "All runs" in page.text
    assert "Settings that differ" in page.text
    assert "truncated baseline" in page.text
    assert set(values_of(html)) == {"run-1", "run-2"}
    part = html[html.index('<div class="together"') : html.index("Settings that differ")]
    drawn = re.findall(r'<g class="series( off)?" data-run="(run-\d)" data-policy="(\w+)"', part)
    shown = {(run, policy) for off, run, policy in drawn if not off}
    policy = values_of(html)["run-1"]["policy"]
    assert shown == {(r, p) for r in ("run-1", "run-2") for p in (policy, "oracle")} | {("run-1", "truncated")}
    deviation = 100 * read_json(other.path / "summary.json")["std"]["avg"]
    assert f"± {deviation:.1f}" in page.text
    assert page.text.count("Scores in the table of exits above are") == 1
    assert "are means over 2 seeds; here they are of the saved model alone, that of the seed best on dev." in page.text
    assert html.count('<g class="node" data-name="1.layer"') == 2  # the same exits are drawn once


def test_a_regression_has_neither_oracle_nor_right_and_wrong(report_of, retrained_regression):
    html = report_of(retrained_regression["run"])
    (run,) = values_of(html).values()
    assert set(run["curves"]) == {"static", "patience"}
    assert "right</span>" not in html
    assert "oracle" not in Page(html).text
    assert re.search(r"predicted \d\.\d\d, label \d\.\d\d", html)


def test_a_search_draws_the_genotype_it_found(report_of, searched):
    html = report_of(searched["run"])
    genotype = Genotype.load(searched["genotype"])
    nodes = dict(re.findall(r'data-name="(\d\.pooling)">.*?<text[^>]*>(\w+)</text>', html))
    assert nodes == {f"{n}.pooling": exit_.pooling for n, exit_ in enumerate(genotype.exits, start=1)}
