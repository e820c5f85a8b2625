"""Speed measurement: what is timed, how turns are taken, the stock model, the command's report."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from test_backbones import batch, every_row, make
from tiny_model import CLASSES, tiny_model

from exitnas.drawing.tradeoff import tradeoff
from exitnas.errors import ExitnasError, UsageError
from exitnas.inference import speed
from exitnas.inference.contestants import check_task, describe, nobody_leaves, open_baseline, stock, stock_model
from exitnas.inference.engine import run
from exitnas.inference.session import Session
from exitnas.inference.speed import Contestant, even_batches, measure_speed, race
from exitnas.machine import cpu_model, describe_machine
from exitnas.policies.base import make_policy
from exitnas.training.batches import Encoded
from exitnas.training.runs import Run
from exitnas.training.truncated import train_truncated

CPU = torch.device("cpu")


def rows(lengths: list[int]) -> Encoded:
    return Encoded([(list(range(1, n + 1)), None) for n in lengths], torch.zeros(len(lengths), dtype=torch.long), 0)


def test_batches_are_of_even_length_longest_first():
    data = rows([3, 9, 5, 7, 1])
    assert even_batches(data, 64, 2) == [[1, 3], [2, 0], [4]]
    assert even_batches(data, 3, 1) == [[2], [0], [4]]  # rows 0, 2, 4
    with pytest.raises(UsageError, match="no rows to time: the split is empty; choose another --split"):
        even_batches(rows([]), 4, 1)
    with pytest.raises(UsageError, match="expected a batch size of at least 1, got 0"):
        even_batches(data, 4, 0)
    with pytest.raises(UsageError, match="expected at least 1 row to time, got 0"):
        even_batches(data, 0, 1)


class Clock:
    """A clock that only contestants move; `log` holds who ran in what order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[tuple[str, int]] = []

    def contestant(
        self, name: str, costs: list[float], layers: float, data: Encoded, kind: str = "policy"
    ) -> Contestant:
        """Takes `costs[i]` seconds at its i-th call (the last one from then on) and as many `layers`."""
        calls = iter(costs)
        cost = 0.0

        def answer(given: dict[str, torch.Tensor]) -> torch.Tensor:
            nonlocal cost
            cost = next(calls, cost)
            self.now += cost
            self.log.append((name, given["input_ids"].shape[1]))
            return torch.full((len(given["input_ids"]),), layers)

        return Contestant(name, answer, data, kind)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(speed, "perf_counter", lambda: made.now)
    return made


def test_turns_rotate_and_the_first_round_does_not_count(clock: Clock):
    data = rows([4, 2])
    batches = even_batches(data, 64, 1)
    # Two batches a round: a warm-up of 100 s each, then rounds of 1, 2 | 3, 4 | 8, 6.
    first = clock.contestant("a", [100, 100, 1, 2, 3, 4, 8, 6], 6, data)
    second = clock.contestant("b", [100, 100, 0.5], 3, data)
    seconds, layers = race([first, second], batches, CPU, rounds=3)
    assert seconds.tolist() == [[3, 4], [0.5, 0.5]]
    assert layers == [6, 3]
    assert "".join(name for name, _ in clock.log) == "baababbabaababba"
    assert [length for _, length in clock.log] == [4, 4, 2, 2] * 4
    assert set(Counter(clock.log).values()) == {4}


def test_the_figures_by_hand(clock: Clock):
    data = rows([5, 4, 3, 2, 1])
    plain = clock.contestant("stock", [9, 9, 9, 0.4, 0.2, 0.1], 6, data, "stock")
    early = clock.contestant("early", [9, 9, 9, 0.1, 0.1, 0.05], 2, data)
    slow, fast = measure_speed([plain, early], CPU, batch_size=2, rounds=1)
    assert (slow.name, slow.kind, slow.batch_size, slow.rows) == ("stock", "stock", 2, 5)
    assert (slow.median_ms, slow.speedup, slow.layer_speedup) == (pytest.approx(200), 1.0, 1.0)
    assert slow.p95_ms == pytest.approx(200 + 0.9 * 200)  # between the 2nd and the 3rd of three, at 0.95 * 2 = 1.9
    assert slow.rows_per_second == pytest.approx(5 / 0.7)
    assert (fast.median_ms, fast.speedup) == (pytest.approx(100), pytest.approx(0.7 / 0.25))
    assert (fast.layer_speedup, fast.rows_per_second) == (3.0, pytest.approx(20))


@every_row
def test_the_stock_model_has_the_backbones_weights(family: str, build: Any):
    backbone = make(build)
    model = stock_model(backbone, 3)
    ids, attention = batch(backbone.config)
    with torch.no_grad():
        expected, mask = backbone(ids, attention)
        states = model(input_ids=ids, attention_mask=attention, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[-1][mask], expected[-1][mask], rtol=0, atol=1e-6)
    assert not model.training
    assert model.config._attn_implementation == backbone.config._attn_implementation
    shared = {p.data_ptr() for p in backbone.parameters()}
    assert shared <= {p.data_ptr() for p in model.parameters()}  # the same memory, not a copy


def test_the_stock_contestant_takes_what_its_forward_takes():
    model = tiny_model().eval()
    data = rows([4, 2, 3])
    state = torch.get_rng_state()
    contestant = stock(model.backbone, 3, data)
    assert torch.equal(torch.get_rng_state(), state)
    assert contestant.answer(data.batch([0, 1, 2])).tolist() == [3, 3, 3]
    assert contestant.kind == "stock"


@pytest.mark.parametrize("regression", [False, True])
def test_nobody_leaves_and_every_exit_is_read(regression: bool):
    model = tiny_model(regression).eval()
    data = rows([4, 2, 3])
    calls: Counter[int] = Counter()
    for index, module in enumerate(model.exits):
        module.register_forward_hook(lambda *_, index=index: calls.update([index]))
    policy = nobody_leaves(1 if regression else 3)
    assert run(model, data.batch([0, 1, 2]), policy).exits.tolist() == [3, 3, 3]
    assert calls == {0: 1, 1: 1, 2: 1}


def test_policies_in_words():
    assert describe(make_policy("entropy", {"threshold": 0.12345})) == "entropy threshold=0.1235"
    assert describe(make_policy("cobee", {"tau": 0.1, "patience": 2})) == "cobee tau=0.1 patience=2"
    assert describe(make_policy("entropy", {"threshold": 0.0})) == "entropy threshold=0"


def test_the_machine_is_named():
    machine = describe_machine(CPU, "bf16")
    assert (machine["device"], machine["precision"], machine["torch"]) == ("cpu", "bf16", torch.__version__)
    assert machine["name"] == machine["cpu"] == cpu_model()
    assert machine["threads"] == torch.get_num_threads()


@pytest.fixture(scope="module")
def truncated(world: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    run = Run.create(tmp_path_factory.mktemp("truncated") / "run")
    return train_truncated(world.retrain(epochs=1), world.genotype(), 1, run, silent)["run"]


def test_evaluate_with_speed(cli: Any, retrained: dict[str, Any], truncated: str):
    given = ["--policy", "static", "--exit", 2, "--speed", "--speed-batch-size", 4, "--baseline", truncated]
    small = ["--time-samples", 3, "--time-rounds", 1, "--quiet"]
    report = json.loads(cli("evaluate", retrained["run"], *given, *small, "--json").stdout)
    found = report["speed"]
    assert [row["batch_size"] for row in found] == [1] * 4 + [4] * 4
    assert [row["rows"] for row in found] == [3] * 4 + [32] * 4  # eight batches of 4
    names = ["stock transformers model", "nobody leaves", "static exit=2", truncated]
    assert [row["name"] for row in found] == names * 2
    assert [row["layer_speedup"] for row in found] == [1.0, 1.0, 1.5, 3.0] * 2
    for row in found:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["rows_per_second"] > 0
    assert found[0]["speedup"] == found[4]["speedup"] == 1.0
    (baseline,) = report["baselines"]
    assert (baseline["name"], baseline["layers"], baseline["policy"]) == (truncated, 1, "static")
    assert baseline["score"] == json.loads((Path(truncated) / "summary.json").read_text())["score"]
    assert {"device", "name", "cpu", "threads", "torch", "precision"} == set(report["machine"])
    shown = cli("evaluate", retrained["run"], *given, *small).stdout
    assert "median ms" in shown
    assert "stock transformers model" in shown


def test_evaluate_without_speed_measures_none(cli: Any, retrained: dict[str, Any]):
    given = ["--policy", "static", "--exit", 2, "--time-samples", 0, "--quiet", "--json"]
    assert "speed" not in json.loads(cli("evaluate", retrained["run"], *given).stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed", "--speed-batch-size", 0], "--speed-batch-size must be at least 1, got 0"),
        (["--baseline", "somewhere"], "--baseline is timed with --speed only: add --speed"),
        (["--speed", "--time-samples", 0], "--speed times --time-samples rows: expected at least 1, got 0"),
        (["--speed", "--baseline", "nowhere"], "nowhere: no such folder; expected a run directory"),
    ],
)
def test_requests_that_cannot_be(error_line: Any, retrained: dict[str, Any], arguments: list[Any], message: str):
    assert error_line("evaluate", retrained["run"], "--quiet", *arguments, code=2).startswith(message)


def test_a_baseline_of_another_task(error_line: Any, retrained: dict[str, Any], retrained_pair: dict[str, Any]):
    other = retrained_pair["run"]
    line = error_line("evaluate", retrained["run"], "--quiet", "--speed", "--baseline", other, code=2)
    assert line == (
        f"--baseline {other}: was trained for task pair, the model for single; "
        "train it with `exitnas baseline truncated --task single`"
    )
    with pytest.raises(UsageError, match="was trained for task tiny, the model for tiny"):
        check_task("x", CLASSES, CLASSES.model_copy(update={"labels": ("a", "b")}))


def test_a_damaged_baseline(retrained: dict[str, Any], truncated: str, tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    for file in (Path(truncated) / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ExitnasError, match="model"):
        open_baseline(str(tmp_path), Session.open(retrained["run"]))


def script(path: str) -> Any:
    """A script of the repository, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).resolve().parents[1] / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_judges_by_hand():
    judge = script("tools/bench_inference.py").judge
    row = {"kind": "policy", "batch_size": 1, "speedup": 1.9, "layer_speedup": 2.0}
    assert judge(row)["measured_over_layers"] == pytest.approx(0.95)
    assert judge(row)["wanted"]["met"]
    assert not judge({**row, "speedup": 1.89})["wanted"]["met"]
    assert judge({**row, "speedup": 1.81, "batch_size": 32})["wanted"]["met"]
    nobody = {"kind": "nobody leaves", "batch_size": 1, "speedup": 1 / 1.05, "layer_speedup": 1.0}
    assert judge(nobody)["time_over_stock"] == pytest.approx(1.05)
    assert judge(nobody)["wanted"]["met"]
    assert not judge({**nobody, "speedup": 1 / 1.07})["wanted"]["met"]
    assert judge({**nobody, "batch_size": 32})["wanted"] is None


def test_the_benchmark_runs(retrained: dict[str, Any], truncated: str, tmp_path: Path):
    given = ["--model", retrained["run"], "--policies", "cobee,entropy", "--batch-sizes", "1,4", "--rounds", "1"]
    given += ["--rows", "4", "--baseline", truncated, "--device", "cpu"]
    bench = script("tools/bench_inference.py").main
    result = CliRunner().invoke(bench, [*given, "--output", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "inference.json").read_text())
    assert len(found["speed"]) == 2 * 5
    assert (tmp_path / "inference.md").read_text() in result.stdout
    bad = CliRunner().invoke(bench, [*given, "--batch-sizes", "1,x"], catch_exceptions=False)
    assert bad.exit_code == 1
    assert "--batch-sizes: expected whole numbers of at least 1, such as 1,32, got '1,x'" in bad.stderr


def test_the_curves_are_timed_and_drawn(retrained: dict[str, Any], truncated: str, tmp_path: Path):
    given = ["--model", retrained["run"], "--baseline", truncated, "--policies", "patience,entropy", "--device", "cpu"]
    given += ["--points", "3", "--rows", "2", "--rounds", "1", "--output", str(tmp_path)]
    main = script("experiments/tradeoff_curves.py").main
    result = CliRunner().invoke(main, given, catch_exceptions=False)
    assert result.exit_code == 0
    series = json.loads((tmp_path / "tradeoff.json").read_text())["series"]
    assert set(series) == {"all layers", "patience", "entropy", "truncated"}
    assert all(point["milliseconds"] > 0 for points in series.values() for point in points)
    assert series["truncated"][0]["layers"] == 1
    assert series["truncated"][0]["name"] == "/".join(Path(truncated).parts[-2:])
    assert series["truncated"][0]["timed_layer_speedup"] == 3.0
    assert series["all layers"][0]["score"] == retrained["exits"][-1]
    rows = (tmp_path / "tradeoff.csv").read_text().splitlines()
    assert rows[0].startswith("series,policy,parameters,score")
    assert len(rows) == 1 + sum(map(len, series.values()))
    assert {"tradeoff.svg", "tradeoff.png"} <= {path.name for path in tmp_path.iterdir()}
    empty = CliRunner().invoke(main, [*given, "--truncated", str(tmp_path)], catch_exceptions=False)
    assert "holds no layers-K; expected an output of `exitnas baseline truncated`" in empty.stderr


def test_the_picture_has_a_line_per_policy_in_order_of_time_and_points():
    curves = {"cobee": [(3.0, 0.8), (1.0, 0.5)], "entropy": [(2.0, 0.7)]}
    figure = tradeoff(curves, {"truncated": [(2.0, 0.6, "3 layers")]}, title="rte")
    (axes,) = figure.axes
    first, second = axes.lines
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([1.0, 3.0], [50.0, 80.0])
    assert first.get_color() != second.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cobee", "entropy", "truncated"]
    assert axes.collections[0].get_offsets().tolist() == [[2.0, 60.0]]
    assert [text.get_text() for text in axes.texts] == ["3 layers"]


def test_a_picture_needs_matplotlib(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ExitnasError, match=r'^a trade-off picture needs matplotlib: pip install "exitnas\[viz\]"$'):
        tradeoff({}, {})
