"""`pipeline("text-classification")` on a saved model: labels, batches, pairs, and stopping early."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import sentence
from transformers import AutoTokenizer, pipeline

from exitnas.backbones.loading import load_backbone, quiet
from exitnas.inference.predict import predict
from exitnas.modeling import MultiExitForSequenceClassification
from exitnas.modeling.saving import load_model, save_model, store_policy
from exitnas.policies.base import Policy, make_policy
from exitnas.tasks import get_task
from exitnas.tasks.loading import load_task
from exitnas.training.device import seeded

TEXTS = [sentence(number, ["good"] if number % 2 else ["awful"]) for number in range(9)]


@pytest.fixture(scope="module")
def folder(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directories of models with random exits, by kind of task; the pair task's names are `no` and `yes`."""
    made: dict[str, Path] = {}

    def saved(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "model"
            spec = load_task(get_task(str(world.tasks[kind]))).spec
            with seeded(11):
                model = MultiExitForSequenceClassification.assemble(
                    load_backbone(str(world.backbone)), world.genotype(kind), spec, {"max_length": 64}
                )
            save_model(model, AutoTokenizer.from_pretrained(world.backbone), made[kind])
        return made[kind]

    return saved


def opened(folder: Path, **options: Any) -> Any:
    with quiet():
        return pipeline("text-classification", model=str(folder), device="cpu", **options)


def median_policy(model: Any, tokenizer: Any, texts: list[str]) -> Policy:
    """Leaves when sure enough, at a threshold that about half of the early answers pass, off every observed value."""
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        sure = model(**batch, output_exits=True).exit_logits[:-1].softmax(-1).amax(-1).flatten().sort().values
    middle = len(sure) // 2
    return make_policy("max_prob", {"threshold": float(sure[middle - 1 : middle + 1].mean())})


def count_rows(model: Any) -> list[int]:
    """A list that grows by the batch size of every encoder layer run from now on."""
    rows: list[int] = []
    for layer in model.backbone.encoder.encoder.layer:
        layer.register_forward_hook(lambda module, inputs, output: rows.append(output.shape[0]))
    return rows


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", ["median", "voting", "patience", "cobee", "static"])
def test_texts_get_the_answers_of_the_policy(folder: Callable[[str], Path], name: str, batch_size: int):
    classify = opened(folder("single"))
    parameters: dict[str, Any] = {"voting": {"delta": 1.2}, "patience": {"patience": 1}, "cobee": {"tau": 0.05}}
    fixed = {"static": {"exit": 2}, **parameters}
    if name == "median":
        policy = median_policy(classify.model, classify.tokenizer, TEXTS)
    else:
        policy = make_policy(name, fixed[name])
    expected = predict(classify.model, classify.tokenizer, [(text, None) for text in TEXTS], policy, batch_size=3)
    classify.model.set_policy(policy)
    rows = count_rows(classify.model)
    answers = classify(TEXTS, batch_size=batch_size)
    assert [answer["label"] for answer in answers] == [row["label"] for row in expected]
    scores = [row["scores"][row["label"]] for row in expected]
    assert [answer["score"] for answer in answers] == pytest.approx(scores, abs=1e-5)
    assert sum(rows) == sum(row["exit"] for row in expected)
    if name == "median":
        assert len({row["exit"] for row in expected}) > 1


def test_all_scores_of_a_vote_are_its_shares(folder: Callable[[str], Path]):
    classify = opened(folder("single"))
    classify.model.set_policy("voting", delta=9.0)
    policy = classify.model.policy
    expected = predict(classify.model, classify.tokenizer, [(text, None) for text in TEXTS], policy)
    for answer, row in zip(classify(TEXTS, top_k=None), expected, strict=True):
        assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(row["scores"], abs=1e-5)
        assert set(row["scores"].values()) <= {0.0, 1.0} | {float(torch.tensor(n / 3)) for n in (1, 2)}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_pairs(folder: Callable[[str], Path], batch_size: int):
    classify = opened(folder("pair"))
    pairs = [(first, second) for first, second in zip(TEXTS, TEXTS[3:], strict=False)]
    policy = make_policy("patience", {"patience": 1})
    expected = predict(classify.model, classify.tokenizer, list(pairs), policy)
    classify.model.set_policy(policy)
    answers = classify([{"text": first, "text_pair": second} for first, second in pairs], batch_size=batch_size)
    assert [answer["label"] for answer in answers] == [row["label"] for row in expected]
    assert {answer["label"] for answer in answers} <= {"no", "yes"}
    scores = [row["scores"][row["label"]] for row in expected]
    assert [answer["score"] for answer in answers] == pytest.approx(scores, abs=1e-5)


def test_regression_gives_the_value(folder: Callable[[str], Path]):
    classify = opened(folder("regression"))
    policy = make_policy("patience", {"patience": 1, "tau": 0.2})
    expected = predict(classify.model, classify.tokenizer, [(text, None) for text in TEXTS], policy)
    classify.model.set_policy(policy)
    answers = classify(TEXTS, batch_size=4)
    assert [answer["score"] for answer in answers] == pytest.approx([row["label"] for row in expected], abs=1e-5)
    assert {answer["label"] for answer in answers} == {"score"}


def test_without_a_policy_the_last_exit_answers_in_batches_too(folder: Callable[[str], Path]):
    classify = opened(folder("single"))
    assert classify.model.policy is None
    expected = predict(
        classify.model, classify.tokenizer, [(t, None) for t in TEXTS], make_policy("static", {"exit": 3})
    )
    answers = classify(TEXTS, batch_size=7)
    assert [answer["label"] for answer in answers] == [row["label"] for row in expected]


def test_a_stored_policy_is_in_force_from_loading_on(folder: Callable[[str], Path], tmp_path: Path):
    model, tokenizer = load_model(folder("single"))
    save_model(model, tokenizer, tmp_path / "model")
    store_policy(tmp_path / "model", {"name": "static", "parameters": {"exit": 1}}, [2.0, 1.0, 1.0])
    classify = opened(tmp_path / "model", trust_remote_code=False)
    rows = count_rows(classify.model)
    with torch.no_grad():
        states, mask = model.backbone(**tokenizer(TEXTS[0], return_tensors="pt"))
        expected = (model.exits[0](states[0], mask) / 2.0).softmax(-1)[0]
    answer = classify(TEXTS[0])[0]
    assert rows == [1]
    assert answer["score"] == pytest.approx(float(expected.max()), abs=1e-6)
    assert load_model(tmp_path / "model")[0].policy == make_policy("static", {"exit": 1})


def test_a_model_object_and_its_tokenizer(folder: Callable[[str], Path]):
    model, tokenizer = load_model(folder("single"))
    model.set_policy("static", exit=2)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    rows = count_rows(model)
    assert classify(TEXTS[:4], batch_size=2)[0]["label"] in ("down", "up")
    assert sum(rows) == 8


def test_transformers_does_not_call_the_model_unsupported(folder: Callable[[str], Path]):
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        pipeline("text-classification", model=str(folder("single")), device="cpu")
    finally:
        logger.removeHandler(handler)
    assert said == []


def test_importing_modeling_is_all_that_the_auto_classes_need(folder: Callable[[str], Path]):
    code = (
        "import sys, exitnas; assert 'torch' not in sys.modules\n"
        "import exitnas.modeling\n"
        "from transformers import AutoModelForSequenceClassification as Auto\n"
        "print(type(Auto.from_pretrained(sys.argv[1], trust_remote_code=False)).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder("single"))], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "MultiExitForSequenceClassification\n", done.stderr


def test_truncation_cuts_where_training_did(retrained: dict[str, Any], world: Any, silent: Any, tmp_path: Path):
    """A text longer than the length of training: the pipeline sees the tokens that `predict` sees."""
    from exitnas.training.retrain import retrain
    from exitnas.training.runs import Run

    settings = world.retrain(max_length=8, epochs=1)
    run = retrain(settings, world.genotype(), Run.create(tmp_path / "short"), silent)
    classify = pipeline("text-classification", model=run["model"], truncation=True)
    assert classify.tokenizer.model_max_length == 8
    text = "good " * 20
    seen: list[int] = []
    classify.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    classify(text)
    assert seen == [8]
