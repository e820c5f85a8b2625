"""Turning pydantic's validation errors into one line: the path, what was expected, what came, the nearest name."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from exitnas.errors import ExitnasError
from exitnas.registry import nearest

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """Base of every schema in exitnas: immutable, unknown keys refused, docstrings become descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


def parse(model: type[M], data: Any, where: str) -> M:
    """Validate `data` against `model`.

    Args:
        where: what is being read (a file name), put in front of the message.

    Raises:
        ExitnasError: one line with the path of the first wrong value and how many more there are.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # An unknown key is shown before what it left missing: it is most often a misspelling.
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        path = "".join(f"{part}." for part in first["loc"])[:-1] + ": " if first["loc"] else ""
        more = f" ({len(problems) - 1} more problem{'s' * (len(problems) > 2)})" if len(problems) > 1 else ""
        raise ExitnasError(f"{where}: {path}{_reason(model, first)}{more}") from None


def _reason(model: type[BaseModel], problem: Any) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(problem['loc'][-1]), _keys_at(model, problem['loc'][:-1]))}"
    if kind == "missing":
        return "required, but not given"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]}, got {_short(value)}"


def _keys_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the model that sits at `path` inside `model`."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        annotation = current.model_fields[part].annotation if part in current.model_fields else None
        found = _model_in(annotation)
        if found is None:
            return list(current.model_fields)
        current = found
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in getattr(annotation, "__args__", ()) if (m := _model_in(a)) is not None), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
