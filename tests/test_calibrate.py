"""Calibration: the promise on a made-up population, the choice by hand, and what the command stores."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from exitnas.errors import ExitnasError
from exitnas.files import read_json
from exitnas.inference.calibrate import calibrate, halves
from exitnas.inference.choice import Outputs, best_at, row_losses, slow_to_fast, within_drop
from exitnas.inference.risk import fixed_sequence, passed
from exitnas.inference.session import Session
from exitnas.inference.simulate import simulate
from exitnas.modeling.saving import load_model
from exitnas.policies import POLICIES
from exitnas.policies.base import make_policy

CHOOSABLE = [name for name in POLICIES if name not in ("static", "oracle")]


def population(rows: int, seed: int = 0) -> Outputs:
    """Six exits of two classes, each a little better than the one before; certainty tells which are right."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (rows,), generator=generator)
    common = torch.randn(rows, 1, 2, generator=generator)
    noise = 0.6 * torch.randn(rows, 6, 2, generator=generator)
    signal = torch.nn.functional.one_hot(labels, 2)[:, None] * torch.linspace(1.0, 2.6, 6)[None, :, None]
    logits = 2 * (signal + common + noise)
    right = (logits.argmax(-1) == labels[:, None]).float()
    certainty = (0.5 * right + 0.5 * torch.rand(rows, 6, generator=generator)).clamp(0, 1)
    return Outputs(logits, labels.numpy(), certainty)


def test_the_promise_holds_over_resampled_rows():
    everybody = population(20_000)
    settings = slow_to_fast("entropy", population(500, seed=1), points=30)
    losses = np.stack(row_losses(settings, everybody))
    true = losses.mean(axis=1)
    max_drop, confidence, draws = 0.02, 0.9, 300
    assert true[0] < max_drop < true[-1]
    generator = np.random.default_rng(0)
    broken, chose, naive = 0, 0, 0
    for _ in range(draws):
        rows = generator.integers(0, losses.shape[1], 400)
        drawn = losses[:, rows]
        count = passed(fixed_sequence(drawn, max_drop, confidence), confidence)
        chose += count > 0
        broken += any(true[:count] > max_drop)
        naive += true[np.flatnonzero(drawn.mean(axis=1) <= max_drop).max(initial=0)] > max_drop
    assert broken <= binom.ppf(0.999, draws, 1 - confidence)
    assert chose > 0.9 * draws
    assert naive > 0.3 * draws  # taking the fastest whose measured drop is small enough keeps no such promise


@pytest.mark.parametrize("name", CHOOSABLE)
def test_settings_of_every_policy_go_from_slow_to_fast_and_ignore_labels(name: str):
    grid = population(300)
    settings = slow_to_fast(name, grid)
    assert len(settings) >= 3
    layers = [simulate(s, grid.logits, certainty=grid.certainty).exits.double().mean() for s in settings]
    assert layers == sorted(layers, reverse=True)
    assert layers[0] < 6
    assert settings == slow_to_fast(name, Outputs(grid.logits, 1 - grid.labels, grid.certainty))


@pytest.mark.parametrize("name", CHOOSABLE)
def test_every_policy_can_be_calibrated(name: str):
    rows = population(600, seed=2)
    chosen, tested = within_drop(slow_to_fast(name, population(300)), rows, "accuracy", 0.06, 0.9)
    assert chosen in tested
    assert chosen["layer_speedup"] > 1
    policy = make_policy(name, chosen["parameters"])
    outcome = simulate(policy, rows.logits, certainty=rows.certainty)
    full = rows.logits[:, -1].argmax(-1).numpy() == rows.labels
    drop = full.mean() - (outcome.predictions.numpy() == rows.labels).mean()
    assert chosen["drop"] == pytest.approx(drop)
    assert chosen["mean_exit"] == outcome.exits.double().mean()
    assert chosen["p_value"] <= 0.1
    assert all(entry["p_value"] <= 0.1 for entry in tested[:-1])


def three_rows() -> Outputs:
    """[3, 3, 2]: exit 1 is right and sure on row 0 alone, exit 2 on rows 0 and 1, exit 3 on all."""
    answers = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    sure = torch.tensor([[8.0, 8.0, 8.0], [1.0, 8.0, 8.0], [1.0, 2.0, 8.0]])
    return Outputs(torch.nn.functional.one_hot(answers, 2) * sure[..., None], np.array([0, 0, 0]))


def test_best_at_a_speedup_by_hand():
    rows = three_rows()
    settings = [make_policy("max_prob", {"threshold": t}) for t in (0.5, 0.8, 0.99, 1.0)]
    # mean layers 1, (1+2+2)/3, (1+2+3)/3, 3; right 1, 2, 3, 3 of 3
    chosen, seen = best_at(settings, rows, "accuracy", 1.5)
    assert [entry["mean_exit"] for entry in seen] == pytest.approx([3, 2, 5 / 3, 1])
    assert chosen["parameters"] == {"threshold": 0.99}
    assert (chosen["score"], chosen["drop"], chosen["p_value"]) == (1.0, None, None)
    assert best_at(settings, rows, "accuracy", 1.6)[0]["parameters"] == {"threshold": 0.8}
    assert best_at(settings, rows, "accuracy", 3.0)[0]["parameters"] == {"threshold": 0.5}
    with pytest.raises(ExitnasError, match=r"speed-up of 4 in layers .* nearest: threshold 0.5, speed-up 3.00"):
        best_at(settings, rows, "accuracy", 4.0)


def test_within_a_drop_by_hand():
    rows = three_rows()
    settings = [make_policy("max_prob", {"threshold": t}) for t in (0.99, 0.8, 0.5)]
    assert [loss.tolist() for loss in row_losses(settings, rows)] == [[0, 0, 0], [0, 0, 1], [0, 1, 1]]
    # three unchanged rows are as probable as 0.4^3 = 0.064 when 60 % get worse
    chosen, tested = within_drop(settings, rows, "accuracy", 0.6, 0.9)
    assert chosen["parameters"] == {"threshold": 0.99}
    assert [entry["p_value"] for entry in tested] == pytest.approx([0.064, 0.352], rel=1e-3)
    with pytest.raises(ExitnasError) as caught:
        within_drop(settings, rows, "accuracy", 0.6, 0.95)
    line = str(caught.value)
    assert "nearest: threshold 0.99, cost 0.0000, mean layers 2.00, p-value 0.064 where 0.05 is needed" in line
    assert "take at least 4 rows" in line
    with pytest.raises(ExitnasError, match="none of them lets a training row leave early"):
        within_drop([], rows, "accuracy", 0.6, 0.9)


def test_regression_is_held_by_its_error():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0] * 100)
    logits = torch.stack([values + 2.0, values + 0.02, values], dim=1)[..., None]
    rows = Outputs(logits, values.double().numpy())
    settings = [make_policy("patience", {"patience": 1, "tau": tau}) for tau in (0.5, 5.0)]
    assert [loss.mean() for loss in row_losses(settings, rows, span=4.0)] == pytest.approx([0.0, 0.005], abs=1e-7)
    chosen, _ = within_drop(settings[1:], rows, "pearson_spearman", 0.05, 0.9, span=4.0)
    assert (chosen["drop"], chosen["mean_exit"]) == (pytest.approx(0.005, abs=1e-7), 2.0)
    with pytest.raises(ExitnasError, match="share of the label's range of 4"):
        within_drop(settings[1:], rows, "pearson_spearman", 0.004, 0.9, span=4.0)


def test_halves_share_no_row():
    rows = population(11)
    first, second = halves(rows)
    assert (len(first), len(second)) == (5, 6)
    both = torch.cat([first.logits, second.logits]).flatten(1)
    assert len(both.unique(dim=0)) == 11
    assert halves(rows)[0].labels.tolist() == first.labels.tolist()


@pytest.fixture
def model(retrained: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the trained run, to store choices in."""
    return Path(shutil.copytree(retrained["run"], tmp_path / "run"))


@pytest.fixture
def regression(retrained_regression: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(retrained_regression["run"], tmp_path / "regression"))


def stored(run: Path) -> Any:
    return read_json(run / "model" / "config.json").get("policy")


def test_the_choice_is_stored_and_becomes_the_default(cli: Any, model: Path):
    before = read_json(model / "model" / "config.json")
    request = ["calibrate", model, "--policy", "entropy", "--max-drop", 0.4, "--confidence", 0.9]
    result = json.loads(cli(*request, "--json", "--quiet").stdout)
    record = result["policy"]["calibration"]
    assert stored(model) == result["policy"]
    promised = {"split": "dev", "rows": 24, "max_drop": 0.4, "confidence": 0.9, "loss": "accuracy lost"}
    assert promised.items() <= record.items()
    assert record["p_value"] <= 0.1
    after = read_json(model / "model" / "config.json")
    assert {**after, "policy": None} == before
    assert "entropy" in (model / "model" / "README.md").read_text()

    policy = make_policy("entropy", result["policy"]["parameters"])
    assert load_model(model)[0].policy == policy
    text = ["predict", model, "--text", "good", "--text", "bad wool", "--json"]
    by_default = json.loads(cli(*text).stdout)
    threshold = result["policy"]["parameters"]["threshold"]
    assert by_default == json.loads(cli(*text, "--policy", "entropy", "--threshold", threshold).stdout)
    assert by_default == json.loads(cli(*text, "--policy", "entropy").stdout)
    assert {row["exit"] for row in json.loads(cli(*text, "--policy", "static", "--exit", 3).stdout)} == {3}

    evaluate = ["evaluate", model, "--time-samples", 0, "--quiet"]
    rows = {row["policy"]: row for row in json.loads(cli(*evaluate, "--json").stdout)["policies"]}
    assert rows["entropy"]["parameters"] == policy.parameters()
    assert [name for name, row in rows.items() if row["stored"]] == ["entropy"]
    assert "max_prob" in rows
    assert "(stored)" in cli(*evaluate, "--policy", "entropy").stdout
    assert "(stored)" not in cli(*evaluate, "--policy", "entropy", "--threshold", 0.123).stdout
    assert "(stored)" not in cli(*evaluate, "--policy", "entropy", "--max-drop", 0.5).stdout

    shown = cli("calibrate", model, "--policy", "cobee", "--patience", 2, "--target-speedup", 1)
    assert "promises nothing" in shown.stdout
    assert "stored in" in shown.stderr
    assert (stored(model)["name"], stored(model)["parameters"]["patience"]) == ("cobee", 2)
    assert "nothing is stored" in cli("calibrate", model, "--clear").stdout
    assert read_json(model / "model" / "config.json") == before
    assert {row["exit"] for row in json.loads(cli(*text).stdout)} == {3}


def test_temperatures_are_fitted_on_other_rows_and_stored(cli: Any, model: Path):
    request = ["calibrate", model, "--policy", "max_prob", "--max-drop", 0.6, "--confidence", 0.9, "--temperature"]
    result = json.loads(cli(*request, "--json", "--quiet").stdout)
    record = result["policy"]["calibration"]
    assert (record["rows"], record["temperature_rows"]) == (12, 12)
    loaded = load_model(model)[0]
    assert loaded.config.temperatures == result["temperatures"]
    assert all(0.05 <= t <= 20 for t in result["temperatures"])
    assert len(set(result["temperatures"])) == 3

    session = Session.open(str(model), device="cpu")
    again = calibrate(session, "max_prob", max_drop=0.6, confidence=0.9)  # stored temperatures play no part
    plain = calibrate(Session.open(str(model), device="cpu"), "max_prob", max_drop=0.6, confidence=0.9)
    assert again == plain
    assert again["temperatures"] is None
    assert "fitted on 12 other rows" in " ".join(cli(*request, "--quiet").stdout.split())


def test_no_setting_qualifies(error_line: Any, model: Path):
    line = error_line("calibrate", model, "--policy", "cobee", "--quiet", code=1)
    assert "no setting is shown to cost at most 0.01 (accuracy lost) with confidence 0.95 on 24 rows; nearest: " in line
    assert "take at least 299 rows" in line
    line = error_line("calibrate", model, "--policy", "cobee", "--target-speedup", 3, "--quiet", code=1)
    assert "no setting reaches a speed-up of 3 in layers" in line
    assert stored(model) is None


def test_regression_by_default_with_patience(cli: Any, error_line: Any, regression: Path):
    result = json.loads(cli("calibrate", regression, "--max-drop", 0.9, "--json", "--quiet").stdout)
    assert (stored(regression)["name"], result["policy"]["parameters"]["patience"]) == ("patience", 1)
    assert "share of the label's range" in result["policy"]["calibration"]["loss"]
    assert "--temperature is for classes" in error_line("calibrate", regression, "--temperature", "--quiet", code=2)
    line = error_line("calibrate", regression, "--policy", "entropy", "--quiet", code=2)
    assert "needs a classifier" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--policy", "cobe"], "unknown policy 'cobe': did you mean cobee?"),
        (["--policy", "static"], "policy 'static' has no threshold to calibrate: use one of entropy"),
        (["--policy", "oracle"], "policy 'oracle' looks at the labels"),
        (["--policy", "lte"], "policy 'lte' needs a certainty head"),
        (["--policy", "cobee", "--tau", 0.1], "so tau cannot be given; it takes patience"),
        (["--policy", "entropy", "--delta", 2], "so delta cannot be given; it takes normalized"),
        (["--policy", "cobee", "--patience", 0], "patience must be a whole number of at least 1"),
        (["--patience", 2], "--patience needs --policy"),
        (["--max-drop", -0.01], "--max-drop must be at least 0 and below 1 (0.01 is one point), got -0.01"),
        (["--max-drop", "nan"], "--max-drop must be at least 0"),
        (["--max-drop", 1], "--max-drop must be at least 0 and below 1"),
        (["--confidence", 1], "--confidence must be above 0 and below 1, got 1.0"),
        (["--confidence", 95], "--confidence must be above 0 and below 1, got 95.0"),
        (["--target-speedup", 0.5], "--target-speedup must be a number of at least 1, got 0.5"),
        (["--target-speedup", 2, "--max-drop", 0], "are two goals: give one"),
        (["--target-speedup", 2, "--confidence", 0.9], "--confidence belongs to --max-drop"),
        (["--clear", "--policy", "cobee"], "--clear stands alone"),
    ],
)
def test_bad_requests(error_line: Any, model: Path, options: list[Any], expected: str):
    assert expected in error_line("calibrate", model, *options, "--quiet", code=2)
    assert stored(model) is None


def test_bad_folders(error_line: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "no such folder" in error_line("calibrate", tmp_path / "nowhere", code=2)

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(30, "Read-only file system", "elsewhere")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", refuse)
        line = error_line("calibrate", model, "--policy", "cobee", code=1)
        assert line == f"{model / 'model' / 'config.json'}: Read-only file system"
    (model / "model" / "config.json").write_text("[1]")
    assert "expected an object, got list" in error_line("calibrate", model, "--clear", code=1)


def test_a_damaged_choice_is_told_and_can_be_cleared(cli: Any, error_line: Any, model: Path):
    config = model / "model" / "config.json"
    values = read_json(config)
    config.write_text(json.dumps({**values, "policy": {"name": "cobee", "parameters": {"tau": -1}}}))
    line = error_line("predict", model, "--text", "good", code=1)
    assert "config.json: policy: policy 'cobee': tau must be a number of at least 0" in line
    cli("calibrate", model, "--clear")
    assert read_json(config) == values
