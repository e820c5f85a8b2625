"""Same answers for any batch size, order and padding: random models of every family under every policy."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_backbones import every_row, make
from torch.nn.functional import pad

from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import ACTIVATIONS, ENCODERS, POOLINGS
from exitnas.inference.engine import run
from exitnas.inference.simulate import Outcome, simulate
from exitnas.inference.stream import run_stream
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, make_policy
from exitnas.tasks.spec import TaskSpec
from exitnas.training.device import seeded

ROWS, LONGEST, WIDTH, VOCABULARY = 9, 12, 8, 40
Batch = dict[str, torch.Tensor]


def random_exit(chance: random.Random) -> ExitGenotype:
    """Any operations, at least one of them letting something through."""
    encoder = chance.choice([name for name in ENCODERS if name != "null"]), chance.choice(ENCODERS.names())
    return ExitGenotype(
        activation_in=chance.choice(ACTIVATIONS.names()),
        encoder=encoder if chance.random() < 0.5 else encoder[::-1],
        pooling=chance.choice(POOLINGS.names()),
        activation_out=chance.choice(ACTIVATIONS.names()),
    )


def random_model(build: Callable[[], Any], chance: random.Random, classes: int) -> MultiExitForSequenceClassification:
    """A random encoder of the family with random exits and a certainty head, all weights large enough to matter."""
    backbone = make(build)
    layers, hidden = backbone.num_layers, backbone.hidden_size
    exits = tuple(random_exit(chance) for _ in range(layers))
    genotype = Genotype(backbone="tiny", layers=layers, hidden_size=hidden, width=WIDTH, exits=exits)
    common: dict[str, Any] = {"name": "tiny", "text_columns": ("text",), "label_column": "label"}
    if classes == 1:
        spec = TaskSpec(**common, regression=True, value_range=(0, 5), metric="pearson_spearman")
    else:
        spec = TaskSpec(**common, labels=tuple("abcd"[:classes]), metric="accuracy")
    with seeded(chance.randrange(1000)), torch.no_grad():
        model = MultiExitForSequenceClassification.assemble(backbone, genotype, spec, {}, certainty=True)
        for parameter in [*model.exits.parameters(), *model.certainty.parameters()]:
            parameter.add_(0.4 * torch.randn(parameter.shape))
    return model.eval()


def random_rows(chance: random.Random, classes: int) -> list[Batch]:
    """Rows of 1 to LONGEST tokens, each a batch of one without padding."""
    rows = []
    for _ in range(ROWS):
        ids = torch.tensor([[chance.randrange(2, VOCABULARY) for _ in range(chance.randint(1, LONGEST))]])
        label = torch.tensor([chance.random() * 5 if classes == 1 else chance.randrange(classes)])
        rows.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": label})
    return rows


def padded(rows: list[Batch], extra: int) -> Batch:
    """One batch, padded on the right to the longest row and by `extra` tokens more."""
    longest = max(row["input_ids"].shape[1] for row in rows) + extra

    def fill(name: str, value: int) -> torch.Tensor:
        return torch.cat([pad(row[name], (0, longest - row[name].shape[1]), value=value) for row in rows])

    labels = torch.cat([row["labels"] for row in rows])
    return {"input_ids": fill("input_ids", 1), "attention_mask": fill("attention_mask", 0), "labels": labels}


def random_batches(rows: list[Batch], chance: random.Random) -> tuple[list[Batch], list[int]]:
    """The rows in random order, in batches of random sizes with random padding; and the order."""
    order = chance.sample(range(len(rows)), len(rows))
    batches, start = [], 0
    while start < len(order):
        size = chance.choice([1, 2, 3, 5, len(rows)])
        batches.append(padded([rows[i] for i in order[start : start + size]], chance.choice([0, 0, 1, 4])))
        start += size
    return batches, order


def joined(outcomes: list[Outcome]) -> Outcome:
    return Outcome(*(torch.cat([getattr(o, name) for o in outcomes]) for name in ("exits", "predictions", "scores")))


@torch.no_grad()
def everything(model: Any, rows: list[Batch]) -> dict[str, torch.Tensor]:
    """Logits [N, E, C], certainty [N, E] and labels [N], every row by itself."""
    logits, certainty = [], []
    for row in rows:
        states, mask = model.backbone(row["input_ids"], row["attention_mask"])
        logits.append(torch.stack([model.exit(i, hidden, mask) for i, hidden in enumerate(states)], 1))
        certainty.append(torch.stack([model.certainty(hidden.float(), mask) for hidden in states], 1))
    labels = torch.cat([row["labels"] for row in rows])
    return {"logits": torch.cat(logits), "certainty": torch.cat(certainty), "labels": labels}


def steady(policy: Policy, given: dict[str, torch.Tensor]) -> bool:
    """Whether changes of 1e-4 leave exits and predictions as they are: no row sits on a threshold's edge."""
    plain = simulate(policy, **given)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        signs = {name: torch.randn(given[name].shape, generator=generator).sign() for name in ("logits", "certainty")}
        moved = simulate(policy, **{**given, **{name: given[name] + 1e-4 * sign for name, sign in signs.items()}})
        if not torch.equal(moved.exits, plain.exits) or (moved.predictions - plain.predictions).abs().max() > 1e-3:
            return False
    return True


def steady_settings(given: dict[str, torch.Tensor], chance: random.Random) -> list[Policy]:
    """A setting of every policy that can serve: of three at random the one that tells the rows apart best."""
    chosen: list[Policy] = []
    for name in POLICIES:
        entry = POLICIES.get(name)
        if given["logits"].shape[2] == 1 and not entry.regression:
            continue
        settings = [p for p in entry.sweep(given["logits"], 7, certainty=given["certainty"]) if steady(p, given)]
        some = chance.sample(settings, min(3, len(settings)))
        chosen += sorted(some, key=lambda p: -len(simulate(p, **given).exits.unique()))[:1]
    return chosen


def same(found: Outcome, expected: Outcome) -> None:
    assert torch.equal(found.exits, expected.exits)
    torch.testing.assert_close(found.predictions, expected.predictions, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [1, 3, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 4))])
@every_row
def test_same_answers_for_any_batch(family: str, build: Callable[[], Any], classes: int):
    chance = random.Random(f"{family} {classes}")
    model, rows = random_model(build, chance, classes), random_rows(chance, classes)
    model.backbone.double()  # so that rounding, another with every kernel, hides nothing
    model.exits.double()
    given = everything(model, rows)
    policies = steady_settings(given, chance)
    assert len({policy.name for policy in policies}) >= (3 if classes == 1 else 7)
    spread = 0
    for policy in policies:
        alone = joined([run(model, row, policy) for row in rows])
        same(alone, simulate(policy, **given))
        spread = max(spread, len(alone.exits.unique()))
        batches, order = random_batches(rows, chance)
        expected = Outcome(alone.exits[order], alone.predictions[order], alone.scores[order])
        same(joined([run(model, batch, policy) for batch in batches]), expected)
        streamed = run_stream(model, batches, policy, chance.choice([1, 2, 3, 4, 8]), lag=chance.choice([1, 2, 99]))
        same(joined(list(streamed)), expected)
    assert spread >= (2 if classes == 1 else 3)  # some policy told the rows apart


@every_row
def test_bf16_autocast_gives_finite_answers(family: str, build: Callable[[], Any]):
    chance = random.Random(family)
    model, rows = random_model(build, chance, 3), random_rows(chance, 3)
    policies = steady_settings(everything(model, rows), chance)
    batches, _ = random_batches(rows, chance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for policy in policies[::3]:
            for found in (
                joined([run(model, batch, policy) for batch in batches]),
                joined(list(run_stream(model, batches, policy, 4))),
            ):
                assert found.scores.dtype == torch.float32
                torch.testing.assert_close(found.scores.sum(1), torch.ones(ROWS))
                assert ((found.exits >= 1) & (found.exits <= model.backbone.num_layers)).all()


@every_row
def test_without_a_question_no_value_is_read_on_the_device(
    family: str, build: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
):
    """On the meta device every read of a value, hence every synchronization, is an error."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # which does not know that device
    chance = random.Random(family)
    model = random_model(build, chance, 3).to("meta")
    batch = {name: value.to("meta") for name, value in padded(random_rows(chance, 3), 1).items()}
    batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    for policy in (make_policy("static", {"exit": 3}), make_policy("voting", {"delta": 99.0})):
        assert run(model, batch, policy).scores.shape == (ROWS, 3)
    with pytest.raises(NotImplementedError, match="nonzero"):
        run(model, batch, make_policy("patience", {"patience": 2}))
