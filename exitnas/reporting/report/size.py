"""Keeping a report of many runs small enough to send around."""

from collections.abc import Callable, Sequence
from typing import Any

LIMIT = 1_000_000
"""Bytes that a report should stay below."""
#: What a run's section can do without, and what stands there instead.
DETAILS: dict[str, Any] = {
    "picture": None,
    "picture_at": None,
    "scores_chart": None,
    "training_chart": None,
    "epochs": [],
    "probabilities": None,
    "loss_weights": [],
    "evaluated": None,
    "charts": [],
    "table": [],
}
LEFT_OUT = "pictures and curves of this run are left out to keep the report small; a report of it alone has them"


def fitted(
    sections: Sequence[dict[str, Any]], render: Callable[[Sequence[dict[str, Any]]], str], limit: int
) -> tuple[str, int]:
    """The page with the details of as many runs, the first ones, as stay below `limit` bytes; a single run keeps all.

    Returns:
        The page and how many runs lack their details. It can still be too large: tables and commands always stay.
    """
    page = render(sections)
    if len(sections) == 1 or len(page.encode()) <= limit:
        return page, 0
    low, high = 0, len(sections) - 1  # runs with details: `low` are few enough, more than `high` are too many
    page = render(_lean(sections, 0))
    while low < high:
        middle = (low + high + 1) // 2
        wider = render(_lean(sections, middle))
        if len(wider.encode()) <= limit:
            low, page = middle, wider
        else:
            high = middle - 1
    return page, len(sections) - low


def _lean(sections: Sequence[dict[str, Any]], whole: int) -> list[dict[str, Any]]:
    """The sections, all but the first `whole` of them without details."""
    return [*sections[:whole], *({**one, **DETAILS, "notes": [*one["notes"], LEFT_OUT]} for one in sections[whole:])]
