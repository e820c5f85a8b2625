"""Plain values from JSON that anybody may have written: what is not of the expected kind is as good as absent."""

from collections.abc import Sequence
from typing import Any, TypeVar

LARGEST = 1e20
"""No number in a run's files is larger: 64-bit seeds and the counts of the largest model stay below."""

T = TypeVar("T")


def as_dict(value: Any) -> dict[str, Any]:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def numbers(value: Any) -> list[float]:
    """`value` when it is a list of numbers, none beyond `LARGEST`, else an empty one."""
    if not isinstance(value, list):
        return []
    fine = all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) <= LARGEST for one in value)
    return [float(one) for one in value] if fine else []


def within_reach(value: Any) -> Any:
    """`value` with None in place of every number in it that is infinite, not a number or beyond `LARGEST`."""
    if isinstance(value, dict):
        return {key: within_reach(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [within_reach(inner) for inner in value]
    return value if not isinstance(value, int | float) or abs(value) <= LARGEST else None


def thinned(values: Sequence[T], most: int) -> list[T]:
    """At most `most` of `values`, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
