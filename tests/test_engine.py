"""The engine on a small stub encoder: same answers as the simulation, and no work for samples that have left."""

import pytest
import torch
from torch import nn

from exitnas.backbones.base import Context
from exitnas.errors import UsageError
from exitnas.inference.engine import run
from exitnas.inference.simulate import simulate
from exitnas.policies import POLICIES
from exitnas.policies.base import make_policy

B, T, D, E = 24, 7, 16, 5


class StubBackbone(nn.Module):
    """Token layers that mix through the masked mean; counts the rows each layer runs and the compactions."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, D)
        self.mixers = nn.ModuleList(nn.Linear(2 * D, D) for _ in range(E))
        self.rows: list[int] = []

    def embed(self, input_ids, attention_mask, token_type_ids=None):
        self.rows = []
        hidden = self.words(input_ids)
        if token_type_ids is not None:
            hidden = hidden + token_type_ids[..., None]
        mask = attention_mask.bool()
        return hidden, Context(mask=mask, per_sample={"weight": mask[..., None].float()}, shared={})

    def layer(self, index, hidden, context):
        self.rows.append(len(hidden))
        weight = context.per_sample["weight"]
        mean = (hidden * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        return hidden + torch.tanh(self.mixers[index](torch.cat([hidden, mean.expand_as(hidden)], -1)))


class StubExit(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.linear = nn.Linear(D, classes)
        self.calls = 0
        self.dtypes: set[torch.dtype] = set()

    def forward(self, hidden, mask):
        self.calls += 1
        weight = mask[..., None].float()
        logits = self.linear((hidden * weight).sum(1) / weight.sum(1))
        self.dtypes.add(logits.dtype)
        return logits


class StubModel(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.backbone = StubBackbone()
        self.exits = nn.ModuleList(StubExit(classes) for _ in range(E))
        self.probe = nn.Linear(D, 1)
        self.certainties = 0

    def exit(self, index, hidden, mask):
        return self.exits[index](hidden, mask)

    def certainty(self, hidden, mask):
        self.certainties += 1
        return self.probe(hidden[:, 0]).sigmoid()[:, 0]

    def everything(self, batch):
        """Logits [B, E, C] and certainty [B, E] of all exits."""
        hidden, context = self.backbone.embed(batch["input_ids"], batch["attention_mask"])
        logits, certainty = [], []
        for index, head in enumerate(self.exits):
            hidden = self.backbone.layer(index, hidden, context)
            logits.append(head(hidden, context.mask))
            certainty.append(self.certainty(hidden, context.mask))
        return torch.stack(logits, 1), torch.stack(certainty, 1)


def stub(classes: int = 3) -> tuple[StubModel, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(classes)
    model = StubModel(classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    lengths = torch.randint(2, T + 1, (B,), generator=generator)
    labels = torch.randint(0, classes, (B,), generator=generator)
    return model, {
        "input_ids": torch.randint(0, 50, (B, T), generator=generator),
        "attention_mask": (torch.arange(T)[None] < lengths[:, None]).long(),
        "labels": labels,
    }


CASES = [(name, classes) for name in POLICIES for classes in (1, 2, 3) if classes > 1 or POLICIES.get(name).regression]


@pytest.mark.parametrize(("name", "classes"), CASES)
@torch.no_grad()
def test_engine_equals_simulation_for_any_batch(name, classes):
    model, batch = stub(classes)
    logits, certainty = model.everything(batch)
    for policy in POLICIES.get(name).sweep(logits, 6, certainty=certainty):
        expected = simulate(policy, logits, certainty=certainty, labels=batch["labels"])
        got = run(model, batch, policy)
        assert torch.equal(got.exits, expected.exits)
        torch.testing.assert_close(got.predictions, expected.predictions)
        torch.testing.assert_close(got.scores, expected.scores)
        assert got.predictions.dtype == expected.predictions.dtype
        assert sum(model.backbone.rows) == int(expected.exits.sum())  # nobody runs a layer too many
        for row in (0, 5, B - 1):
            alone = run(model, {key: value[row : row + 1] for key, value in batch.items()}, policy)
            assert alone.exits.tolist() == expected.exits[row : row + 1].tolist()
            torch.testing.assert_close(alone.predictions, expected.predictions[row : row + 1])


def test_samples_leave_one_by_one():
    model, batch = stub()
    with torch.no_grad():
        logits, _ = model.everything(batch)
    policy = POLICIES.get("entropy").sweep(logits, 3)[1]
    outcome = run(model, batch, policy)
    counts = torch.bincount(outcome.exits - 1, minlength=E)
    assert (counts > 0).sum() >= 3
    assert model.backbone.rows == [B - int(counts[:index].sum()) for index in range(len(model.backbone.rows))]


def test_static_runs_one_exit_and_no_later_layer():
    model, batch = stub()
    outcome = run(model, batch, make_policy("static", {"exit": 3}))
    assert model.backbone.rows == [B, B, B]
    assert [head.calls for head in model.exits] == [0, 0, 1, 0, 0]
    assert outcome.exits.tolist() == [3] * B


def test_nobody_leaving_copies_nothing(monkeypatch):
    model, batch = stub()
    monkeypatch.setattr(Context, "select", lambda self, keep: pytest.fail("compacted although nobody left"))
    outcome = run(model, batch, make_policy("entropy", {"threshold": 1e-9}))
    assert outcome.exits.tolist() == [E] * B
    with torch.no_grad():
        last = model.everything(batch)[0][:, -1]
    torch.testing.assert_close(outcome.scores, last.softmax(-1))


def test_everybody_leaving_stops():
    model, batch = stub()
    run(model, batch, make_policy("max_prob", {"threshold": 0.0}))
    assert model.backbone.rows == [B]


NEVER = [  # settings that keep everybody, and the exits they need
    ("entropy", {"threshold": 0.0}, [E]),
    ("max_prob", {"threshold": 1.0}, [E]),
    ("lte", {"threshold": 1.0}, [E]),
    ("patience", {"patience": E - 1}, [E]),
    ("cobee", {"tau": 0.0}, [E]),
    ("cobee", {"tau": 0.5, "patience": E - 1}, [E]),
    ("hybrid", {"threshold": 0.0, "delta": 1.0, "switch": E}, [E]),
    ("voting", {"delta": 99.0}, [1, 2, 3, 4, 5]),
    ("hybrid", {"threshold": 0.0, "delta": 99.0, "switch": 2}, [1, 2, 3, 4, 5]),
    ("entropy", {"threshold": 1e-9}, [1, 2, 3, 4, 5]),
]


@pytest.mark.parametrize(("name", "parameters", "needed"), NEVER)
def test_no_exit_is_run_that_nobody_reads(name, parameters, needed):
    model, batch = stub()
    outcome = run(model, batch, make_policy(name, parameters))
    assert outcome.exits.tolist() == [E] * B
    assert [index + 1 for index, head in enumerate(model.exits) if head.calls] == needed
    assert {head.calls for head in model.exits} <= {0, 1}


def test_certainty_is_computed_only_where_it_is_compared():
    model, batch = stub()
    run(model, batch, make_policy("lte", {"threshold": 1.0}))
    assert model.certainties == 0
    run(model, batch, make_policy("lte", {"threshold": 0.999999}))
    assert model.certainties == E - 1


def test_exits_keep_full_precision_under_autocast():
    model, batch = stub()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outcome = run(model, batch, make_policy("max_prob", {"threshold": 0.6}))
    assert {dtype for head in model.exits for dtype in head.dtypes} == {torch.float32}
    assert outcome.scores.dtype == torch.float32


def test_token_types_reach_the_backbone():
    model, batch = stub()
    policy = make_policy("static", {"exit": E})
    plain = run(model, batch, policy).scores
    typed = run(model, {**batch, "token_type_ids": torch.ones(B, T, dtype=torch.int64)}, policy).scores
    assert not torch.allclose(plain, typed)


def test_requests_that_cannot_be_served():
    model, batch = stub()
    unlabelled = {key: value for key, value in batch.items() if key != "labels"}
    with pytest.raises(UsageError, match=r"'oracle' needs labels"):
        run(model, unlabelled, make_policy("oracle", {}))
    with pytest.raises(UsageError, match=r"exit must be 1\.\.5 here, got 6"):
        run(model, batch, make_policy("static", {"exit": 6}))
    with pytest.raises(UsageError, match="at least 2 classes"):
        run(stub(classes=1)[0], batch, make_policy("entropy", {"threshold": 0.1}))
    with pytest.raises(ValueError, match="eval mode"):
        run(model.train(), batch, make_policy("entropy", {"threshold": 0.1}))
