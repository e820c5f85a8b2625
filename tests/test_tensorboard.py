"""TensorBoard's event files, read back as TensorBoard reads them."""

import json
import re
from math import log
from pathlib import Path
from typing import Any

import pytest
from event_files import near, read, series
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from exitnas.exits.genotype import Genotype
from exitnas.exits.operations import EDGES
from exitnas.reporting.hparams import FINAL
from exitnas.reporting.tensorboard import Scalars, tag_part
from exitnas.search.bilevel import search
from exitnas.supernet.discretize import entropies
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run


def history_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(summary["run"]) / "history.jsonl").read_text().splitlines()]


def test_a_search_logs_what_its_history_says(searched: dict[str, Any]):
    events, lines = read(Path(searched["run"]) / "tb"), history_of(searched)
    assert [line["step"] for line in lines] == [4, 8]
    for name in ("avg", "best"):
        assert series(events, f"dev/{name}") == near({line["step"]: line[name] for line in lines})
    for exit_ in range(3):
        scores = {line["step"]: line["exits"][exit_] for line in lines}
        assert series(events, f"dev/exit_{exit_ + 1:02d}") == near(scores)
    assert series(events, "loss/weights") == near({line["step"]: line["loss"]["weights"] for line in lines})
    assert series(events, "loss/architecture") == near({8: lines[1]["loss"]["architecture"]})  # epoch 1 warms up
    for group in lines[0]["rates"]:
        rates = {line["step"]: line["rates"][group] for line in lines}
        assert series(events, f"learning_rate/{tag_part(group)}") == near(rates)
    for name in (*EDGES, "all"):
        of_history = {line["step"]: line["entropy"][name] for line in lines}
        assert series(events, f"entropy/{name}") == near({0: 1.0, **of_history})
    for layer in range(3):
        for edge, candidates in lines[0]["probabilities"][layer].items():
            for name in candidates:
                of_history = {line["step"]: line["probabilities"][layer][edge][name] for line in lines}
                tag = f"probability_layer_{layer + 1:02d}/{edge}/{name}"
                assert series(events, tag) == near({0: 1 / len(candidates), **of_history})


def test_the_history_of_a_search_tells_rates_and_probabilities(searched: dict[str, Any]):
    lines, genotype = history_of(searched), Genotype.load(searched["genotype"])
    # 8 steps, warm-up 1: the last step of an epoch of 4 is number 3 and 7, at (8 - n) / 7 of the rate
    for line, factor in zip(lines, (5 / 7, 1 / 7), strict=True):
        backbone, exits = 1e-3 * factor, 5e-3 * factor
        expected = {"backbone": backbone, "backbone (no decay)": backbone, "exits": exits, "exits (no decay)": exits}
        assert line["rates"] == pytest.approx({**expected, "architecture": 3e-2})
    assert lines[-1]["probabilities"] == [dict(edges) for edges in genotype.probabilities or ()]
    assert lines[-1]["entropy"]["all"] < 1
    assert lines[-1]["entropy"] == pytest.approx(entropies(genotype.probabilities or ()))


def test_entropies_by_hand():
    sure, even = {"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}
    quarter = (0.25 * log(4) + 0.75 * log(4 / 3)) / log(2)
    layers = ({"x": sure, "y": even, "one": {"a": 1.0}}, {"x": {"a": 0.25, "b": 0.75}, "y": even, "one": {"a": 1.0}})
    assert entropies(layers) == pytest.approx({"x": quarter / 2, "y": 1.0, "all": (quarter + 2) / 4})
    assert entropies(({"x": {"a": 0.9, "b": 0.9}},)) == pytest.approx({"x": 1.0, "all": 1.0})  # need not sum to 1
    assert entropies(({"one": {"a": 1.0}},)) == {}


@pytest.mark.parametrize("name", ["searched", "two_seeds", "retrained"])
def test_the_layout_names_tags_that_exist(name: str, request: pytest.FixtureRequest):
    from tensorboard.plugins.custom_scalar import layout_pb2

    folder = Path(request.getfixturevalue(name)["run"]) / "tb"
    events = read(folder if name == "searched" else folder / "seed_42")
    titles = {
        "searched": {"overview", "architecture", "layer 01", "layer 02", "layer 03"},
        "two_seeds": {"overview", "loss weights"},
        "retrained": {"overview"},
    }
    (saved,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(saved.tensor_proto.string_val[0])
    assert {category.title for category in layout.category} == titles[name]
    for category in layout.category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert [tag for tag in events.Tags()["scalars"] if re.search(pattern, tag)], pattern


@pytest.fixture(scope="module")
def two_seeds(world: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Retraining with learned loss weights and aligned gradients, two seeds."""
    values = {"objective": "mutual", "weighting": "clo_v2", "gradient": "ga_soft", "seeds": 2, "epochs": 2}
    run = Run.create(tmp_path_factory.mktemp("two_seeds") / "run")
    return retrain(world.retrain(**values), world.genotype(), run, silent)


def test_retraining_logs_weights_angles_and_rates(two_seeds: dict[str, Any]):
    lines, folder = history_of(two_seeds), Path(two_seeds["run"])
    terms = json.loads((folder / "loss_weights.json").read_text())["terms"]
    angles = json.loads((folder / "gradient_angles.json").read_text())["seeds"]
    for seed in (42, 43):
        events = read(folder / "tb" / f"seed_{seed}")
        own = [line for line in lines if line["seed"] == seed]
        assert len(own) == 2
        assert series(events, "dev/avg") == near({line["step"]: line["avg"] for line in own})
        assert series(events, "loss/weights") == near({line["step"]: line["loss"] for line in own})
        shares = {line["step"]: line["angles_above_90"] for line in own}
        assert series(events, "gradient/share_above_90") == near(shares)
        assert series(events, "gradient/angle") == near(dict(enumerate(angles[str(seed)], start=1)))
        for group in own[0]["rates"]:
            rates = {line["step"]: line["rates"][group] for line in own}
            assert series(events, f"learning_rate/{tag_part(group)}") == near(rates)
        tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("loss_weights")}
        expected = set()
        for exit_, row in enumerate(own[-1]["loss_weights"]):
            for column, value in enumerate(row):
                if value > 0:
                    tag = f"loss_weights_exit_{exit_ + 1:02d}/{tag_part(terms[column])}"
                    weights = {line["step"]: line["loss_weights"][exit_][column] for line in own}
                    assert series(events, tag) == near(weights)
                    expected.add(tag)
        assert tags == expected
        assert "loss_weights_exit_01/from_exit_3" in tags


def hparams(events: EventAccumulator, tag: str) -> bytes:
    return events.SummaryMetadata(tag).plugin_data.content


def test_settings_and_final_metrics(searched: dict[str, Any], two_seeds: dict[str, Any]):
    folders = {"search": Path(searched["run"]) / "tb", "retrain": Path(two_seeds["run"]) / "tb" / "seed_43"}
    columns = []
    for command, folder in folders.items():
        events = read(folder)
        start = metadata.parse_session_start_info_plugin_data(hparams(events, metadata.SESSION_START_INFO_TAG)).hparams
        assert start["command"].string_value == command
        assert start["exit_lr"].number_value == 5e-3
        assert start["seed"].number_value == (42 if command == "search" else 43)
        end = metadata.parse_session_end_info_plugin_data(hparams(events, metadata.SESSION_END_INFO_TAG))
        assert end.status == 1  # success
        columns.append(metadata.parse_experiment_plugin_data(hparams(events, metadata.EXPERIMENT_TAG)))
        assert set(start) <= {info.name for info in columns[-1].hparam_infos}
    assert columns[0] == columns[1]
    assert [info.name.tag for info in columns[0].metric_infos] == [f"final/{name}" for name in FINAL]

    of_search, of_seed = read(folders["search"]), read(folders["retrain"])
    sums = {name: sum(cost[name] for cost in searched["costs"]) for name in ("parameters", "macs")}
    expected = {"dev_avg": searched["avg"], "dev_best": searched["best"]}
    for name, value in {**expected, **{f"exit_{name}": value for name, value in sums.items()}}.items():
        assert series(of_search, f"final/{name}") == near({8: value})
    result = two_seeds["seeds"][1]
    for split in ("dev", "test"):
        for name in ("avg", "best"):
            assert list(series(of_seed, f"final/{split}_{name}").values()) == [pytest.approx(result[split][name])]


def test_the_board_compares_runs(searched: dict[str, Any], two_seeds: dict[str, Any]):
    """What TensorBoard's own HPARAMS backend makes of a search and two seeds side by side."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(Path(searched["run"]) / "tb"), "search")
    multiplexer.AddRunsFromDirectory(str(Path(two_seeds["run"]) / "tb"), "retrain")
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, "logs")
    context = backend_context.Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(slice_size=10, include_metrics=True)
    request.allowed_statuses.extend([0, 1, 2, 3])
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    groups = handler.run().session_groups
    rows = {group.name: {metric.name.tag: metric.value for metric in group.metric_values} for group in groups}
    assert set(rows) == {"search/.", "retrain/seed_42", "retrain/seed_43"}
    assert rows["search/."]["final/dev_avg"] == pytest.approx(searched["avg"])
    assert rows["retrain/seed_43"]["final/test_avg"] == pytest.approx(two_seeds["seeds"][1]["test"]["avg"])


def test_a_search_that_fails_leaves_a_readable_log(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any):
    class StoppedError(Exception):
        pass

    def stop(self: Run, **values: Any) -> None:
        raise StoppedError

    closed: list[Scalars] = []
    close = Scalars.close
    monkeypatch.setattr(Scalars, "close", lambda self: (closed.append(self), close(self))[1])
    monkeypatch.setattr(Run, "log", stop)
    with pytest.raises(StoppedError):
        search(world.search(), Run.create(tmp_path / "run"), silent)
    assert len(closed) == 1
    events = read(tmp_path / "run" / "tb")
    assert set(series(events, "dev/avg")) == {4}
    end = metadata.parse_session_end_info_plugin_data(hparams(events, metadata.SESSION_END_INFO_TAG))
    assert end.status == 2  # failure


def test_an_interrupted_search_is_not_marked_as_failed(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any):
    """It may be resumed, and TensorBoard keeps the first end it reads."""

    def stop(self: Run, **values: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", stop)
    with pytest.raises(KeyboardInterrupt):
        search(world.search(), Run.create(tmp_path / "run"), silent)
    assert metadata.SESSION_END_INFO_TAG not in read(tmp_path / "run" / "tb").summary_metadata
