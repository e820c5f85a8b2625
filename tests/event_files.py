"""Reading TensorBoard's event files as TensorBoard does."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def series(events: EventAccumulator, tag: str) -> dict[int, float]:
    """Step -> value; no step twice."""
    found = events.Scalars(tag)
    assert len({event.step for event in found}) == len(found)
    return {event.step: event.value for event in found}


def near(values: dict[int, float]) -> Any:
    return pytest.approx(values, rel=1e-5, abs=1e-6)
