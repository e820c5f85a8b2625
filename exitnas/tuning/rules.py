"""Options of objectives, weightings and gradient rules as dimensions of a study."""

from dataclasses import fields
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from exitnas.errors import ExitnasError
from exitnas.objectives import OBJECTIVES
from exitnas.objectives.gradient import GRADIENT_RULES
from exitnas.objectives.options import build, option_names
from exitnas.objectives.weighting import WEIGHTINGS
from exitnas.registry import Registry

RULES: dict[str, Registry] = {"objective": OBJECTIVES, "weighting": WEIGHTINGS, "gradient": GRADIENT_RULES}


def has_option(rule: str, name: str, option: str) -> bool:
    """Whether the entry `name` of a rule (`objective`, `weighting`, `gradient`) has an option."""
    registry = RULES[rule]
    return name in registry and option in option_names(registry.get(name), registry.fixed(name))


def owners(rule: str, option: str) -> list[str]:
    """The entries of a rule that have an option."""
    return [name for name in RULES[rule] if has_option(rule, name, option)]


def option_type(rule: str, name: str, option: str) -> type:
    """`int` for an option that takes whole numbers only, `float` for one that takes any number, else `str`."""
    entry = RULES[rule].get(name)
    field = next(f for f in fields(entry) if f.name == option_names(entry)[option])
    words = str(getattr(field.type, "__name__", field.type)).replace("|", " ").split()
    return float if "float" in words else int if "int" in words else str


def default_option(rule: str, name: str, option: str) -> Any:
    """The default of an option."""
    return getattr(RULES[rule].create(name), option_names(RULES[rule].get(name))[option])


def try_option(rule: str, name: str, options: dict[str, Any], where: str) -> None:
    """Raise the one line that says why these options cannot be."""
    try:
        build(RULES[rule], name, options)
    except ExitnasError as error:
        raise ExitnasError(f"{where}: {error}") from None


def check_option(
    rule: str, option: str, drawn: tuple[Any, ...] | None, values: tuple[Any, ...], where: str, ranged: bool = False
) -> None:
    """An option must be one of a rule that can be drawn, and take the values.

    Args:
        drawn: the entries of the rule that the space draws from; None where the rule is fixed on the command line or
            stays the default, which is known when the study starts.
        values: those to try.
        ranged: the values are the ends of a range, which is of whole numbers where the option is.

    Raises:
        ExitnasError: one line, `where` in front.
    """
    names = [name for name in owners(rule, option) if drawn is None or name in drawn]
    if not names:
        raise ExitnasError(f"{where}: no {rule} that can be drawn has an option {option!r}")
    whole = ranged and option_type(rule, names[0], option) is int
    for value in values:
        try_option(rule, names[0], {option: int(value) if whole else value}, where)


def plain_types(annotation: Any) -> set[Any]:
    """The plain types an annotation allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain_types(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for part in get_args(annotation) for kind in plain_types(part)}
    return {annotation}
