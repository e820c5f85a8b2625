"""Finding a study again by its folder, journal file or database, and writing its best settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exitnas.errors import UsageError
from exitnas.files import write_text
from exitnas.tuning.parameters import settled
from exitnas.tuning.record import StudyRecord, read_record
from exitnas.tuning.saved import Saved
from exitnas.tuning.storage import Address, opened, understood
from exitnas.tuning.summary import chosen_trial, describe


@contextmanager
def found(
    study: str, name: str | None = None, storage: str | None = None
) -> Iterator[tuple[Any, StudyRecord, Address, Path | None]]:
    """The Optuna study, its record, where it is kept, and its folder where that is known.

    Args:
        study: a study's folder, its name under `runs/`, a journal file or a database URL.
        name: of the study, where the storage holds several.
        storage: of a folder's study, where its file does not tell the password; else `EXITNAS_STORAGE`.

    Raises:
        UsageError: nothing is there, or the name is missing or unknown.
        ExitnasError: the storage failed, here or inside the `with`; one line without the password.
    """
    import optuna

    folder = next((path for path in (Path(study), Path("runs") / study) if (path / "study.json").is_file()), None)
    if folder is None:
        address = Address(study)
        if not address.is_database and not Path(study).is_file():
            raise UsageError(
                f"{study}: no study; expected the folder of `exitnas tune`, a journal file or a database URL"
            )
    else:
        saved = Saved.read(folder)
        name, address = name or saved.name, saved.address(folder, storage)
    with opened(address, must_exist=True) as place, understood(address):
        names = sorted(optuna.get_all_study_names(place))
        if name is None and len(names) == 1:
            name = names[0]
        if name is None or name not in names:
            asked = "--name is missing" if name is None else f"no study {name!r} there"
            raise UsageError(f"{address.shown}: {asked}; it holds {', '.join(names) or 'none'}")
        loaded = optuna.load_study(study_name=name, storage=place)
        yield loaded, read_record(loaded), address, folder


def look(study: str, name: str | None = None, storage: str | None = None) -> dict[str, Any]:
    """The summary of a study, see `exitnas.tuning.summary.describe`."""
    with found(study, name, storage) as (loaded, record, address, folder):
        return describe(loaded, record, address, folder)


def write_best(
    study: str,
    name: str | None = None,
    storage: str | None = None,
    trial: int | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a trial's settings as `best-search.yaml` and `best-retrain.yaml`, which `--config` takes.

    Returns:
        `study, trial, values, parameters, files`.

    Raises:
        UsageError: several goals and no trial chosen, a file is there already.
        ExitnasError: no trial is complete.
    """
    import yaml

    with found(study, name, storage) as (loaded, record, address, folder):
        summary = describe(loaded, record, address, folder)
    chosen = chosen_trial(summary, trial)
    told = settled(record.tuning_space(), record.fixed, chosen["parameters"], record.search_only)
    target = Path(output) if output else folder or Path()
    files = []
    for phase, settings in (("search", told.search), ("retrain", told.retrain)):
        if settings is None:
            continue
        path = target / f"best-{phase}.yaml"
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: is there already; choose another folder with --output, or pass --overwrite")
        values = ", ".join(f"{goal} {value:.6g}" for goal, value in (chosen["values"] or {}).items()) or "not complete"
        head = f"# Trial {chosen['number']} of study {summary['study']}: {values}\n"
        files.append((path, head + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)))
    for path, text in files:
        write_text(path, text)
    return {
        "study": summary["study"],
        "trial": chosen["number"],
        "values": chosen["values"],
        "parameters": chosen["parameters"],
        "files": [str(path) for path, _ in files],
    }
