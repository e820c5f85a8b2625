"""How often the engine makes a device wait: once per layer where somebody can leave, never elsewhere."""

import itertools

import pytest
import torch
from test_engine import B, E, StubModel, stub
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from exitnas.inference.engine import Plan, run
from exitnas.policies import POLICIES
from exitnas.policies.base import make_policy


class SynchronizationCounter(TorchDispatchMode):
    """Counts the operations that make a GPU wait for the host or the other way round."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.transfers = TransferCounter(self)

    def __enter__(self):
        self.transfers.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.transfers.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += by_mask or name in ("nonzero", "_local_scalar_dense", "masked_select", "equal", "unique")
        return func(*args, **(kwargs or {}))


class TransferCounter(TorchFunctionMode):
    """Counts for another counter what copies to the host, which on CPU never reaches the dispatcher."""

    def __init__(self, counter):
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.counter.count += func in (torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy)
        return func(*args, **(kwargs or {}))


def synchronizations(model: StubModel, batch: dict[str, torch.Tensor], policy) -> list[int]:
    """How many each layer that was run had, its exit and decision included."""
    marks: list[int] = []
    layer = model.backbone.layer
    with SynchronizationCounter() as counter:
        model.backbone.layer = lambda *given: (marks.append(counter.count), layer(*given))[1]
        run(model, batch, policy)
    model.backbone.layer = layer
    assert marks[0] == 0
    return [after - before for before, after in itertools.pairwise([*marks, counter.count])]


@pytest.mark.parametrize("name", POLICIES.names())
def test_one_synchronization_where_somebody_can_leave_and_none_elsewhere(name):
    model, batch = stub()
    with torch.no_grad():
        logits, certainty = model.everything(batch)
    for policy in POLICIES.get(name).sweep(logits, 6, certainty=certainty):
        found = synchronizations(model, batch, policy)
        assert found == [int(ask) for ask in Plan.of(model, policy).asks[: len(found)]]
        assert len(found) == run(model, batch, policy).exits.max()


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("entropy", {"threshold": 1e-9}, [1, 1, 1, 1, 0]),  # the last layer needs none
        ("static", {"exit": 4}, [0, 0, 0, 0]),
        ("patience", {"patience": 3}, [0, 0, 0, 1, 0]),
        ("cobee", {"tau": 1e-9, "patience": 2}, [0, 0, 1, 1, 0]),
        ("voting", {"delta": 3.0, "k": 0.0}, [0, 0, 1, 1, 0]),
        ("voting", {"delta": 1.5, "k": 0.5}, [0, 0, 1, 1, 0]),  # 2, 3, 3, 3 votes are needed
        ("voting", {"delta": 1.1, "k": 0.5}, [0, 1, 1, 0, 0]),  # 2, 2, 2, 3: who stayed has one vote at layer 3
        ("hybrid", {"threshold": 0.0, "delta": 1.1, "switch": 3}, [0, 0, 0, 1, 0]),
        ("hybrid", {"threshold": 1e-9, "delta": 9.0, "switch": 2}, [1, 1, 0, 0, 0]),
    ],
)
def test_where_synchronizations_fall(name, parameters, expected):
    model, batch = stub()
    policy = make_policy(name, parameters)
    found = synchronizations(model, batch, policy)
    assert found == expected[: len(found)]
    assert list(map(int, Plan.of(model, policy).asks)) == [*expected, 0][:E]


def test_synchronization_counter_sees_what_it_should():
    with SynchronizationCounter() as counter:
        values = torch.arange(4)
        values[values > 1].sum().item()
        values.nonzero()
        values.tolist()
        values.cpu()
    assert counter.count == 5


@pytest.mark.parametrize("name", POLICIES.names())
def test_policies_read_no_value(name):
    """On the meta device every read of a value is an error."""
    logits, certainty = torch.randn(B, E, 3), torch.rand(B, E)
    labels = torch.zeros(B, dtype=torch.int64, device="meta")
    for policy in POLICIES.get(name).sweep(logits, 3, certainty=certainty):
        state = policy.start(B, E, 3, "meta")
        for index in range(E):
            here = logits[:, index].to("meta")
            leave = policy.step(index, here, state, certainty=certainty[:, index].to("meta"), labels=labels)
            answers, shares = policy.answer(here, state)
            assert (leave.shape, answers.shape, shares.shape) == ((B,), (B,), (B, 3))
            assert {leave.device.type, answers.device.type, shares.device.type} == {"meta"}
