"""The command line that makes a run again, from what its `config.json` records."""

import json
import shlex
from typing import Any

import click

from exitnas.cli.genotypes import recorded
from exitnas.errors import ExitnasError
from exitnas.reporting.report.collect import RunRecord
from exitnas.reporting.report.panels import processes
from exitnas.schema import parse
from exitnas.settings import RetrainSettings, SearchSettings, TrainingSettings, make_settings

_OPTIONS = ("objective_options", "weighting_options", "gradient_options")


def command_line(record: RunRecord) -> tuple[str, list[str]]:
    """The command with the flags that differ from what it would take by itself, quoted for a shell.

    Where a setting has no flag, the command takes all of them from the run by `--config`. A run of several processes is
    started in as many.

    Returns:
        The command, and what a reader must know of it besides; an empty command when nothing is known of the run, or
        its settings cannot be read.
    """
    search = record.kind == "search"
    if not search and (record.kind == "unknown" or record.genotype is None):
        return "", []
    given = {name: value for name, value in record.settings.items() if value is not None}
    try:
        parse(SearchSettings if search else RetrainSettings, given, "config.json: settings")
    except ExitnasError as error:
        return "", [f"no command makes it again: {error}"]
    return _search(record) if search else _retrain(record)


def _program(record: RunRecord) -> list[str]:
    """How exitnas is started."""
    count = processes(record)
    return ["torchrun", "--nproc_per_node", str(count), "-m", "exitnas"] if count > 1 else ["exitnas"]


def _search(record: RunRecord) -> tuple[str, list[str]]:
    from exitnas.cli.search_command import command

    values = dict(record.settings)
    try:
        base = make_settings(SearchSettings, task=values.get("task"), epochs=values.get("epochs")).model_dump(
            mode="json"
        )
    except ExitnasError:
        return "", []
    base |= {"task": None, "epochs": SearchSettings.model_fields["epochs"].default}
    flags, unsaid = _flags(command, values, base)
    if unsaid:
        return shlex.join([*_program(record), "search", "--config", str(record.path)]), [_no_flag(unsaid)]
    return shlex.join([*_program(record), "search", *flags]), []


def _retrain(record: RunRecord) -> tuple[str, list[str]]:
    from exitnas.cli.baseline_command import command as baseline
    from exitnas.cli.retrain_command import command as retrain

    genotype, values = record.genotype, dict(record.settings)
    assert genotype is not None
    searched = bool(genotype.origin.settings)  # else a space of one point, which records no settings
    own_defaults: dict[str, Any] = {}
    if searched or record.kind == "retrain":
        own_defaults = recorded(genotype, RetrainSettings, values.get("task"))
    try:
        base = _base(values, own_defaults, None if record.kind == "baseline" else values.get("recipe"))
    except ExitnasError:
        return "", []
    base |= {"task": own_defaults.get("task"), "recipe": None}
    if record.kind == "retrain":
        flags, unsaid = _flags(retrain, values, base)
        words = [*_program(record), "retrain", str(record.path / "genotype.json")]
        if unsaid:
            return shlex.join([*words, "--config", str(record.path)]), [_no_flag(unsaid)]
        return shlex.join([*words, *flags]), []
    for name in ("objective", "recipe", "layers"):  # the command's own doing
        base[name] = values.get(name)
    flags, unsaid = _flags(baseline, values, base)
    exits = "GENOTYPE" if searched else str(genotype.origin.space)
    words = [*_program(record), "baseline", "truncated", "--layers", str(values.get("layers"))]
    words += ["--exits", exits, *flags]
    notes = [_no_flag(unsaid)] if unsaid else []
    if searched:
        notes.append("GENOTYPE stands for the genotype of the whole encoder, whose first exits these are.")
    return shlex.join(words), notes


def _no_flag(unsaid: list[str]) -> str:
    return f"What no flag says: {', '.join(unsaid)}."


def _base(values: dict[str, Any], own_defaults: dict[str, Any], recipe: Any) -> dict[str, Any]:
    """The settings the command would take with nothing but its task and its recipe given."""
    given = {"task": values.get("task"), **own_defaults}
    if recipe:
        from exitnas.objectives.recipes import apply_recipe
        from exitnas.tasks import get_task

        given = apply_recipe(recipe, get_task(str(values["task"])).name, {}, given)
    settings: TrainingSettings = make_settings(RetrainSettings, **given)
    return settings.model_dump(mode="json")


def _flags(command: click.Command, values: dict[str, Any], base: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Flags of `command` for every value that differs from `base`; those without one as text."""
    options = {one.name: one for one in command.params if isinstance(one, click.Option)}
    flags: list[str] = []
    unsaid: list[str] = []
    for name, value in values.items():
        if name in base and value == base[name]:
            continue
        option = options.get(name)
        if option is None or value is None or (option.is_flag and not value and not option.secondary_opts):
            unsaid.append(f"{name} = {json.dumps(value)}")
        elif option.is_flag:
            flags.append((option.opts if value else option.secondary_opts)[0])
        elif name in _OPTIONS:
            before = base.get(name) or {}
            for key, inner in value.items():
                if before.get(key) != inner:
                    flags += [option.opts[0], f"{key}={json.dumps(inner)}"]
            unsaid += [f"{name} without {key}" for key in before if key not in value]
        else:
            flags += [option.opts[0], str(value)]
    return flags, unsaid
