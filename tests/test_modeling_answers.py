"""What `forward` answers with: early exit under a policy, all exits on request, temperatures."""

from typing import Any

import pytest
import torch
from tiny_model import B, E, tiny_batch, tiny_model
from transformers import Trainer, TrainingArguments

from exitnas.errors import ExitnasError, UsageError
from exitnas.inference.engine import run
from exitnas.modeling.early_exit import TIE, LogitAnswers
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.policies.base import make_policy
from exitnas.policies.voting import Voting


@pytest.fixture
def model() -> MultiExitForSequenceClassification:
    return tiny_model().eval()


def inputs(**options: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tiny_batch(**options).items() if name != "labels"}


def all_logits(model: Any) -> torch.Tensor:
    """`[E, B, C]` from the exits themselves."""
    with torch.no_grad():
        states, mask = model.backbone(**inputs())
        return torch.stack([exit_(hidden, mask) for exit_, hidden in zip(model.exits, states, strict=True)])


def test_without_a_policy_only_the_last_exit_is_computed(model: MultiExitForSequenceClassification):
    called: list[int] = []
    for index, exit_ in enumerate(model.exits):
        exit_.register_forward_hook(lambda *_, index=index: called.append(index))
    out = model(**inputs())
    assert called == [E - 1]
    assert out.loss is None
    assert out.exit_logits is None
    assert out.exit_layer.tolist() == [E] * B
    assert out.logits.requires_grad
    torch.testing.assert_close(out.logits.detach(), all_logits(model)[-1])


@pytest.mark.parametrize("ask", ["output_exits", "labels", "training"])
def test_all_exits_are_computed_where_they_are_asked_for(model: MultiExitForSequenceClassification, ask: str):
    model.set_policy("static", exit=1)
    model.train(ask == "training")
    batch: dict[str, Any] = tiny_batch() if ask == "labels" else inputs()
    out = model(**batch, output_exits=ask == "output_exits")
    torch.testing.assert_close(out.exit_logits.detach(), all_logits(model))
    assert torch.equal(out.logits, out.exit_logits[-1])
    assert out.exit_layer.tolist() == [E] * B
    assert (out.loss is None) == (ask != "labels")


def test_early_exit_gives_the_logits_of_the_exit_each_sample_left_at(model: MultiExitForSequenceClassification):
    logits = all_logits(model)
    sure = logits.softmax(-1).amax(-1)[:-1].flatten().sort().values
    policy = make_policy("max_prob", {"threshold": float(sure[len(sure) // 2 - 1 : len(sure) // 2 + 1].mean())})
    model.set_policy(policy)
    out = model(**inputs())
    expected = run(model, inputs(), policy)
    assert torch.equal(out.exit_layer, expected.exits)
    assert len(set(out.exit_layer.tolist())) > 1
    rows = torch.arange(B)
    torch.testing.assert_close(out.logits, logits[out.exit_layer - 1, rows], atol=1e-6, rtol=1e-5)
    assert not out.logits.is_inference()
    assert out.exit_logits is None


def test_answers_depend_neither_on_the_batch_nor_on_padding(model: MultiExitForSequenceClassification):
    model.set_policy("patience", patience=1)
    batch = inputs()
    together = model(**batch)
    wide = {name: torch.nn.functional.pad(value, (0, 4)) for name, value in batch.items()}
    for row in reversed(range(B)):
        alone = model(**{name: value[row : row + 1] for name, value in wide.items()})
        assert alone.exit_layer[0] == together.exit_layer[row]
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-5, rtol=1e-5)


def test_regression_answers_with_the_value():
    model = tiny_model(regression=True).eval()
    values = all_logits(model)
    model.set_policy("static", exit=2)
    torch.testing.assert_close(model(**inputs()).logits, values[1])


def test_a_tuple_on_request(model: MultiExitForSequenceClassification):
    out = model(**inputs(), return_dict=False)
    assert isinstance(out, tuple)
    assert [value.shape for value in out] == [(B, 3), (B,)]


def test_a_vote_becomes_logits_whose_softmax_is_its_shares():
    policy = Voting(delta=9.0)
    state = policy.start(2, 3, 3)
    for index, classes in enumerate(([0, 1], [2, 1], [2, 0])):
        logits = torch.nn.functional.one_hot(torch.tensor(classes), 3).float()
        policy.step(index, logits, state)
    predictions, answers = LogitAnswers(policy).answer(logits, state)
    assert predictions.tolist() == answers.argmax(-1).tolist() == [2, 1]
    expected = torch.tensor([[1 / 3, 0, 2 / 3], [1 / 3, 2 / 3, 0]])
    torch.testing.assert_close(answers.softmax(-1), expected, atol=1e-5, rtol=0)
    assert bool(answers.isfinite().all())


def test_a_tied_vote_is_won_by_the_class_that_the_policy_names():
    """One vote each for classes 1 and 0: the later one, class 0, is no accident of arg-max when it is class 2."""
    policy = Voting(delta=9.0)
    for first, second in ((1, 0), (0, 2)):
        state = policy.start(1, 2, 3)
        for index, winner in enumerate((first, second)):
            policy.step(index, torch.eye(3)[[winner]], state)
        predictions, answers = LogitAnswers(policy).answer(torch.eye(3)[[second]], state)
        assert predictions.tolist() == [second] == answers.argmax(-1).tolist()
        assert float(answers[0, second] - answers[0, first]) == pytest.approx(TIE, rel=0.1)


def test_temperatures_divide_in_eval_mode_alone(model: MultiExitForSequenceClassification):
    plain = all_logits(model)
    model.config.temperatures = [2.0, 1.0, 0.5]
    expected = plain / torch.tensor([2.0, 1.0, 0.5])[:, None, None]
    torch.testing.assert_close(model(**inputs(), output_exits=True).exit_logits.detach(), expected)
    for index in range(E):
        model.set_policy("static", exit=index + 1)
        torch.testing.assert_close(model(**inputs()).logits, expected[index])
    torch.testing.assert_close(model.train()(**inputs()).exit_logits.detach(), plain)


def test_set_policy(model: MultiExitForSequenceClassification):
    model.set_policy("patience", patience=2)
    assert model.policy == make_policy("patience", {"patience": 2})
    assert model.config.policy is None
    model.set_policy(None)
    assert model.policy is None
    for name, parameters, reason in (
        ("patiense", {}, "did you mean patience"),
        ("patience", {}, "needs a value for patience"),
        ("patience", {"patience": 0}, "whole number of at least 1"),
        ("patience", {"patience": 1, "tau": 0.5}, "tau is for regression"),
        ("static", {"exit": E + 1}, "exit must be 1..3"),
        ("oracle", {}, "needs labels"),
        ("lte", {"threshold": 0.5}, "needs a certainty head"),
        (None, {"patience": 2}, "parameters need the name of a policy"),
    ):
        with pytest.raises(UsageError, match=reason):
            model.set_policy(name, **parameters)
    assert model.policy is None
    with pytest.raises(UsageError, match="regression"):
        tiny_model(regression=True).set_policy("entropy", threshold=0.1)
    tiny_model(certainty=True).set_policy("lte", threshold=0.5)


@pytest.mark.parametrize("wrong", [[1.0, 1.0], [1.0, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, float("nan"), 1.0]])
def test_impossible_temperatures_are_refused(model: MultiExitForSequenceClassification, wrong: list[float]):
    model.config.temperatures = wrong
    with pytest.raises(ExitnasError, match="temperatures: expected 3 numbers above 0"):
        MultiExitForSequenceClassification(model.config)


def test_a_regression_model_has_no_temperatures():
    config = tiny_model(regression=True).config
    config.temperatures = [1.0] * E
    with pytest.raises(ExitnasError, match="temperatures: expected null for a regression model"):
        MultiExitForSequenceClassification(config)


class Rows(torch.utils.data.Dataset):
    """The rows of `tiny_batch`."""

    def __init__(self) -> None:
        self.batch = tiny_batch()

    def __len__(self) -> int:
        return B

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: value[index] for name, value in self.batch.items()}


def test_a_trainer_takes_a_step_and_predicts(tmp_path: Any):
    model = tiny_model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=B, report_to=[], use_cpu=True,
        disable_tqdm=True, dataloader_pin_memory=False, learning_rate=1e-2, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Rows())
    trainer.train()
    changed = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"backbone", "exits"}
    told = trainer.predict(Rows())  # type: ignore[arg-type]
    assert told.predictions.shape == (B, 3)
    torch.testing.assert_close(torch.tensor(told.predictions), all_logits(model.eval())[-1])
