"""Options of objectives, weightings and gradient rules: dataclass fields, checked one by one with one-line errors."""

import math
from dataclasses import MISSING, fields
from typing import Any

from exitnas.errors import UsageError, require
from exitnas.registry import Registry, nearest


def option_names(entry: Any, fixed: dict[str, Any] | None = None) -> dict[str, str]:
    """Option name -> field name of a dataclass, without the fields fixed by its row.

    A field named like a Python keyword carries a trailing underscore (`lambda_`), its option does not (`lambda`).
    """
    return {
        field.name.rstrip("_"): field.name for field in fields(entry) if field.init and field.name not in (fixed or {})
    }


def option_values(entry: Any) -> dict[str, Any]:
    """Options of an instance and their values, JSON-ready."""
    return {option: getattr(entry, name) for option, name in option_names(entry).items()}


def build(registry: Registry, name: str, options: dict[str, Any]) -> Any:
    """The entry `name` of `registry` with `options`.

    Raises:
        UsageError: an unknown name or option (with the nearest), or a value out of its range.
    """
    entry = registry.get(name)
    known = option_names(entry, registry.fixed(name))
    for option in options:
        if option not in known:
            hint = nearest(option, list(known)) if known else "it takes none"
            raise UsageError(f"{registry.kind} {name!r} has no option {option!r}: {hint}")
    required = {field.name for field in fields(entry) if field.default is MISSING and field.default_factory is MISSING}
    missing = [option for option, field in known.items() if field in required and option not in options]
    require(not missing, f"{registry.kind} {name!r} needs a value for {', '.join(missing)}")
    return registry.create(name, **{known[option]: value for option, value in options.items()})


def number(
    owner: str, option: str, value: Any, low: float, high: float, *, above: bool = False, below: bool = False
) -> None:
    """Refuse what is no finite number in [low, high]; `above` and `below` leave out the ends."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = fits and (low < value if above else low <= value) and (value < high if below else value <= high)
    if math.isinf(high):
        valid = f"{'above' if above else 'at least'} {low:g}"
    else:
        valid = f"{'above' if above else 'at least'} {low:g} and {'below' if below else 'at most'} {high:g}"
    require(fits, f"{owner}: {option} must be a number {valid}, got {value!r}")


def count(owner: str, option: str, value: Any, low: int = 1) -> None:
    """Refuse what is no whole number of at least `low`."""
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= low
    require(fits, f"{owner}: {option} must be a whole number of at least {low}, got {value!r}")


def choice(owner: str, option: str, value: Any, known: tuple[Any, ...]) -> None:
    """Refuse what is not among `known`."""
    fits = any(value == entry and type(value) is type(entry) for entry in known)
    require(fits, f"{owner}: {option} must be one of {', '.join(map(str, known))}, got {value!r}")


def flag(owner: str, option: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    require(isinstance(value, bool), f"{owner}: {option} must be true or false, got {value!r}")
