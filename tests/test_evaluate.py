"""Evaluation of a trained model, its report and curves, and prediction under every policy."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from exitnas.errors import UsageError
from exitnas.inference.curves import COLUMNS, write_curves
from exitnas.inference.evaluate import Evaluation, applicable
from exitnas.inference.predict import default_policy, predict
from exitnas.inference.session import Session, open_model
from exitnas.inference.simulate import simulate
from exitnas.policies.base import make_policy
from exitnas.training.evaluation import all_logits, exit_scores, predictions

POLICY_KEYS = {"policy", "parameters", "score", "mean_exit", "layer_speedup", "macs", "wall_clock_speedup"}
POLICIES = ["static", "entropy", "max_prob", "patience", "cobee", "voting", "hybrid"]


@pytest.fixture(scope="module")
def session(retrained: dict[str, Any]) -> Session:
    return Session.open(retrained["run"])


@pytest.fixture(scope="module")
def evaluation(session: Session) -> Evaluation:
    return session.evaluation()


def rows_of(session: Session, split: str = "test") -> list[tuple[str, str | None]]:
    """Texts of a split as `predict` takes them."""
    rows = getattr(session.data, split)
    return list(zip(rows.texts, rows.pairs or [None] * len(rows), strict=True))


def test_logits_are_in_row_order_for_any_batch_size(evaluation: Evaluation, session: Session):
    encoded, _ = evaluation.splits["test"]
    model = session.model
    by_row = []
    with torch.no_grad():
        for row in range(len(encoded)):
            batch = encoded.batch([row])
            del batch["labels"]
            by_row.append(model(**batch, output_exits=True).exit_logits[:, 0])
    expected = torch.stack(by_row)
    for size in (1, 7, 64):
        logits = all_logits(model, encoded, size, torch.device("cpu"))
        assert logits.shape == (40, 3, 2)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_the_mode_of_the_model_is_restored(evaluation: Evaluation, session: Session):
    encoded, _ = evaluation.splits["dev"]
    session.model.train()
    in_training = all_logits(session.model, encoded, 8, torch.device("cpu"))
    assert session.model.training
    session.model.eval()
    assert torch.equal(in_training, all_logits(session.model, encoded, 8, torch.device("cpu")))  # no dropout
    assert not session.model.training


def test_exit_scores_by_hand(session: Session):
    spec, split = session.data.spec, session.data.test.take([0, 1, 2, 3])
    assert split.labels == [0, 1, 0, 1]
    logits = torch.zeros(4, 3, 2)
    logits[:, 0, 1] = 1.0  # exit 1 says class 1 to everybody
    logits[[1, 3], 1, 1] = 2.0  # exit 2 is right
    logits[0, 2, 1] = 1.0  # exit 3: 1, 0, 0, 0
    assert predictions(logits, False).tolist() == [[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0]]
    assert exit_scores(logits, split, spec) == [0.5, 1.0, 0.25]


def test_the_scores_are_those_of_retraining(evaluation: Evaluation, retrained: dict[str, Any]):
    assert evaluation.exits("test")["exits"] == retrained["exits"]
    assert evaluation.exits("dev") == retrained["seeds"][0]["dev"]


def test_the_report(evaluation: Evaluation):
    chosen = [make_policy("cobee", {"tau": 0.2}), make_policy("static", {"exit": 2})]
    report = evaluation.report(chosen, samples=2, rounds=1)
    assert {"task", "metric", "split", "exits", "avg", "best", "policies"} <= set(report)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["task"], report["metric"], report["split"]) == ("single", "accuracy", "test")
    first, second = report["policies"]
    assert POLICY_KEYS | {"exit_histogram"} <= set(first)
    assert (first["policy"], first["parameters"]) == ("cobee", {"tau": 0.2, "patience": 1})
    assert sum(first["exit_histogram"]) == 40
    assert first["wall_clock_speedup"] > 0
    assert second["score"] == report["exits"][1]
    assert (second["mean_exit"], second["layer_speedup"], second["exit_histogram"]) == (2.0, 1.5, [0, 40, 0])
    assert second["macs"] == sum(evaluation.layer_macs[:2]) + evaluation.exit_macs[1]
    assert report["full"] == {"score": report["exits"][2], "macs": evaluation.full_macs()}
    assert evaluation.full_macs() == sum(evaluation.layer_macs) + evaluation.exit_macs[2]
    assert set(report["curves"]) == {"cobee", "static"}


def test_a_report_without_timing_or_curves(evaluation: Evaluation):
    report = evaluation.report([make_policy("entropy", {"threshold": 0.1})], split="dev", curves=False, samples=0)
    assert "curves" not in report
    assert report["split"] == "dev"
    assert report["policies"][0]["wall_clock_speedup"] is None
    assert evaluation.report([], samples=0)["policies"] == []


@pytest.mark.parametrize("name", ["entropy", "max_prob", "cobee"])
def test_curves_have_at_least_twenty_points(evaluation: Evaluation, name: str):
    curve = evaluation.curve(name)
    assert len(curve) >= 20
    layers = [point.mean_exit for point in curve]
    assert layers == sorted(layers)
    assert len(set(layers)) == len(layers)
    earliest = 2.0 if name == "cobee" else 1.0
    assert (layers[0], layers[-1]) == (earliest, 3.0)
    assert curve[-1].score == evaluation.exits()["exits"][-1]
    if name != "cobee":
        assert curve[0].score == evaluation.exits()["exits"][0]


def test_a_point_of_the_curve_is_made_again_by_its_parameters(evaluation: Evaluation):
    for name in POLICIES:
        point = evaluation.curve(name, "dev")[0]
        assert evaluation.point(make_policy(name, point.parameters), "dev") == point


def test_the_setting_chosen_on_dev_costs_no_more_than_allowed(evaluation: Evaluation):
    full = evaluation.exits("dev")["exits"][-1]
    for name in POLICIES:
        for drop in (0.0, 0.2):
            point = evaluation.point(evaluation.chosen(name, drop), "dev")
            able = [p for p in evaluation.curve(name, "dev") if p.score >= full - drop - 1e-9]
            fastest = min((p.mean_exit for p in able), default=evaluation.curve(name, "dev")[-1].mean_exit)
            assert point.mean_exit == fastest


def test_which_policies_apply(session: Session, retrained_regression: dict[str, Any]):
    assert session.policies() == POLICIES
    other = Session.open(retrained_regression["run"])
    assert applicable(other.model, other.data.spec) == ["static", "patience"]
    with pytest.raises(UsageError, match="needs a classifier with at least 2 classes"):
        other.evaluation().curve("entropy")


def test_regression_with_patience_and_tau(retrained_regression: dict[str, Any]):
    # Rounding differs between batch sizes and can swap two near-equal values, which a rank correlation shows.
    session = Session.open(retrained_regression["run"], batch_size=8)
    evaluation = session.evaluation()
    assert evaluation.exits()["exits"] == pytest.approx(retrained_regression["exits"], abs=1e-5)
    policy = make_policy("patience", {"patience": 1, "tau": 0.05})
    report = evaluation.report([policy], samples=1, rounds=1)
    assert report["policies"][0]["parameters"] == {"patience": 1, "tau": 0.05}
    assert len(report["curves"]["patience"]) >= 20
    answers = predict(session.model, session.tokenizer, rows_of(session), policy, **session.settings)
    outcome = simulate(policy, evaluation.logits["test"])
    assert [a["exit"] for a in answers] == outcome.exits.tolist()
    assert [a["label"] for a in answers] == pytest.approx(outcome.predictions.tolist(), abs=1e-5)
    assert all(a["scores"] == {} for a in answers)


@pytest.mark.parametrize("name", POLICIES)
def test_predict_answers_as_evaluate_counts_in_any_batch(evaluation: Evaluation, session: Session, name: str):
    names = session.data.spec.labels
    rows = rows_of(session)
    for point in evaluation.curve(name)[::6]:
        policy = make_policy(name, point.parameters)
        outcome = simulate(policy, evaluation.logits["test"])
        for size in (1, 8):
            answers = predict(session.model, session.tokenizer, rows, policy, batch_size=size, max_length=128)
            assert [a["exit"] for a in answers] == outcome.exits.tolist()
            assert [a["label"] for a in answers] == [names[i] for i in outcome.predictions.tolist()]
            scores = torch.tensor([[a["scores"][label] for label in names] for a in answers])
            torch.testing.assert_close(scores, outcome.scores, atol=1e-5, rtol=1e-5)
        right = sum(a["label"] == names[label] for a, label in zip(answers, session.data.test.labels, strict=True))
        assert right / len(rows) == pytest.approx(point.score)


def test_predict_keeps_the_order_of_rows(session: Session):
    rows = rows_of(session)
    policy = default_policy(session.model)
    forward = predict(session.model, session.tokenizer, rows, policy, batch_size=4)
    backward = predict(session.model, session.tokenizer, rows[::-1], policy, batch_size=4)[::-1]
    assert [a["label"] for a in forward] == [a["label"] for a in backward]
    assert {a["exit"] for a in forward} == {3}
    assert all(sum(a["scores"].values()) == pytest.approx(1.0, abs=1e-5) for a in forward)
    assert predict(session.model, session.tokenizer, [], policy) == []


def test_pairs_are_two_texts(retrained_pair: dict[str, Any], session: Session):
    pair = Session.open(retrained_pair["run"])
    policy = default_policy(pair.model)
    answers = predict(pair.model, pair.tokenizer, rows_of(pair), policy, **pair.settings)
    right = [pair.data.spec.labels.index(a["label"]) for a in answers]
    assert sum(a == b for a, b in zip(right, pair.data.test.labels, strict=True)) / 40 == pytest.approx(
        retrained_pair["exits"][-1]
    )
    with pytest.raises(UsageError, match=r"row 2: task pair takes two texts \(first, second\), got 1"):
        predict(pair.model, pair.tokenizer, [("good", "bad"), ("good", None)], policy)
    with pytest.raises(UsageError, match=r"row 1: task single takes one text \(text\), got 2"):
        predict(session.model, session.tokenizer, [("good", "bad")], default_policy(session.model))


def test_a_policy_that_needs_what_the_model_lacks(session: Session, evaluation: Evaluation):
    with pytest.raises(UsageError, match="certainty"):
        evaluation.curve("lte")
    with pytest.raises(UsageError, match="certainty"):
        predict(session.model, session.tokenizer, [("good", None)], make_policy("lte", {"threshold": 0.5}))
    with pytest.raises(UsageError, match="labels"):
        predict(session.model, session.tokenizer, [("good", None)], make_policy("oracle", {}))


def test_what_a_session_takes_from_training(retrained: dict[str, Any], world: Any):
    session = Session.open(retrained["run"], limit_eval=5)
    assert (session.data.sizes["dev"], session.data.sizes["test"]) == (5, 5)
    assert session.settings == {"batch_size": 32, "max_length": 64, "precision": "fp32"}  # all its positions
    assert not session.model.training
    with pytest.raises(UsageError, match="--limit-eval: expected at least 1, got 0"):
        Session.open(retrained["run"], limit_eval=0)
    with pytest.raises(UsageError, match=r"its labels no, yes are not those the model was trained for"):
        Session.open(retrained["run"], task=str(world.tasks["pair"]))


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("max_length", 3)])
def test_settings_out_of_range(retrained: dict[str, Any], option: str, value: int):
    with pytest.raises(UsageError, match=f"^--{option.replace('_', '-')}: expected at least"):
        open_model(retrained["run"], **{option: value})


def test_curves_as_csv(evaluation: Evaluation, tmp_path: Path):
    curves = evaluation.report([make_policy("entropy", {"threshold": 0.1})], samples=0)["curves"]
    write_curves(tmp_path / "curves.csv", curves)
    with open(tmp_path / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(curves["entropy"])
    for row, point in zip(rows, curves["entropy"], strict=True):
        assert json.loads(row["parameters"]) == point["parameters"]
        assert (float(row["score"]), float(row["mean_exit"])) == (point["score"], point["mean_exit"])
