"""Temperature scaling against temperatures known in closed form, and where the model applies it."""

import math

import pytest
import torch

from exitnas.training.batches import Encoded
from exitnas.training.evaluation import all_logits
from exitnas.training.temperature import RANGE, best_temperature, exit_temperatures, tempered
from tests.tiny_model import E, tiny_batch, tiny_model


def gap_rows(gap: float, right: int, wrong: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [N, 2] that prefer class 0 by `gap`, `right` of them rightly: the best t has sigmoid(gap / t) = share."""
    count = right + wrong
    return torch.tensor([[gap, 0.0]]).repeat(count, 1), torch.tensor([0] * right + [1] * wrong)


@pytest.mark.parametrize(("gap", "right", "wrong"), [(4.0, 8, 2), (0.5, 8, 2), (1.0, 6, 4)])
def test_the_temperature_that_makes_confidence_equal_accuracy(gap: float, right: int, wrong: int):
    share = right / (right + wrong)
    expected = gap / math.log(share / (1 - share))
    found, loss = best_temperature(*gap_rows(gap, right, wrong))
    assert found == pytest.approx(expected, rel=2e-3)
    assert loss == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share), rel=1e-5)


def test_temperatures_stay_in_range_and_bad_logits_give_none():
    assert best_temperature(*gap_rows(1.0, 10, 0))[0] == pytest.approx(1 / RANGE, rel=1e-2)
    assert best_temperature(*gap_rows(1.0, 3, 7))[0] == pytest.approx(RANGE, rel=1e-2)
    assert best_temperature(torch.tensor([[math.nan, 0.0]]), torch.tensor([0])) == (1.0, math.inf)


def test_every_exit_has_its_own():
    first, labels = gap_rows(4.0, 8, 2)
    logits = torch.stack([first, first / 8, first * 3], dim=1)
    found = exit_temperatures(logits, labels)
    base = 4.0 / math.log(4)
    assert found == pytest.approx([base, base / 8, base * 3], rel=2e-3)
    scaled = tempered(logits, found)
    assert scaled[:, 1] == pytest.approx(logits[:, 1] / found[1])
    assert torch.softmax(scaled, -1)[0, :, 0] == pytest.approx(torch.full((3,), 0.8), rel=1e-3)


def test_the_model_divides_in_eval_mode_only():
    model, batch = tiny_model(), tiny_batch()
    rows: list[tuple[list[int], list[int] | None]] = [(ids.tolist(), None) for ids in batch["input_ids"]]
    data = Encoded(rows, batch["labels"], 0)
    raw = all_logits(model, data, 3, torch.device("cpu"))
    trained = model(**batch).loss
    model.config.temperatures = [0.5, 2.0, 4.0]
    assert all_logits(model, data, 3, torch.device("cpu")) == pytest.approx(tempered(raw, [0.5, 2.0, 4.0]), abs=1e-6)
    assert model(**batch).loss == trained
    model.eval()
    with torch.no_grad():
        answered = model(batch["input_ids"], batch["attention_mask"], output_exits=True).exit_logits
        model.config.temperatures = None
        before = model(batch["input_ids"], batch["attention_mask"], output_exits=True).exit_logits
    assert answered == pytest.approx(before / torch.tensor([0.5, 2.0, 4.0])[:, None, None], abs=1e-6)
    assert len(before) == E
