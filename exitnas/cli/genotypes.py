"""Reading the genotype a command was given, and the defaults it records."""

from pathlib import Path
from typing import Any

from exitnas.errors import UsageError
from exitnas.exits.genotype import Genotype


def load_genotype(path: str) -> Genotype:
    """A genotype from a JSON file, or from a run directory that holds one.

    Raises:
        UsageError: nothing is there.
        ExitnasError: the file is not a genotype.
    """
    found = Path(path)
    if found.is_dir():
        found = found / "genotype.json"
    if not found.is_file():
        raise UsageError(f"{path}: no such genotype; expected a genotype.json or the run directory of a search")
    return Genotype.load(found)


def recorded(genotype: Genotype, settings: type[Any], task: str | None = None) -> dict[str, Any]:
    """What the genotype records that `settings` has a field for.

    Args:
        task: the task asked for; the data folder and the limits of another task are not taken over.
    """
    origin = genotype.origin
    values = {name: value for name, value in origin.settings.items() if name in settings.model_fields}
    if task not in (None, origin.task):
        values = {name: value for name, value in values.items() if not name.startswith("limit_")}
        return {**values, "seed": origin.seed, "backbone": genotype.backbone}
    values |= {"task": origin.task, "data_dir": origin.data_dir, "seed": origin.seed, "backbone": genotype.backbone}
    return {name: value for name, value in values.items() if value is not None}
