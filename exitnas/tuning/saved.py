"""`study.json`: which study a folder is of, and where that is kept. Without the password."""

import os
from pathlib import Path

from pydantic import ConfigDict

from exitnas.errors import UsageError
from exitnas.files import read_json
from exitnas.schema import Frozen, parse
from exitnas.tuning.storage import HIDDEN, Address

FILE = "study.json"
#: Address of the storage, where the command line has none and a folder's file cannot tell it.
VARIABLE = "EXITNAS_STORAGE"


class Saved(Frozen):
    """What finding a study again needs of `study.json`; the rest of the file is for people."""

    model_config = ConfigDict(extra="ignore")

    name: str
    """Name of the study."""
    storage: str
    """Journal file or database URL; the password stands as `***`."""

    @classmethod
    def read(cls, folder: Path) -> "Saved":
        """The file of a study's folder.

        Raises:
            ExitnasError: it is missing, not JSON, or says something else.
        """
        return parse(cls, read_json(folder / FILE), str(folder / FILE))

    def here(self, folder: Path) -> str:
        """Where the study is kept; the journal of a folder that was moved lies in it still."""
        path = Path(self.storage)
        return self.storage if "://" in self.storage or path.is_file() else str(folder / path.name)

    def address(self, folder: Path, given: str | None) -> Address:
        """The storage: what the file says, with the password from `given` or from the environment.

        Raises:
            UsageError: `given` is another storage, or the password is nowhere.
        """
        kept = Address(self.here(folder))
        if HIDDEN not in kept.text:
            if given is not None and not same_place(kept, Address(given)):
                raise UsageError(
                    f"{folder}: is kept in {kept.shown}, not in {Address(given).shown}: "
                    "leave --storage out, or choose another folder"
                )
            return kept
        told = given or os.environ.get(VARIABLE)
        if told is None:
            raise UsageError(f"{folder}: is kept in {kept.text} and its password is not: pass --storage")
        return Address(told)


def same_place(one: Address, other: Address) -> bool:
    """Whether two addresses are one storage, whatever their passwords."""
    if one.is_database or other.is_database:
        return one.shown == other.shown
    return Path(one.text).absolute() == Path(other.text).absolute()


def check_folder(folder: Path, name: str, address: Address) -> None:
    """Refuse a folder that another study writes its runs and summary into.

    Raises:
        UsageError: its file names another study or storage.
    """
    if not (folder / FILE).is_file():
        return
    saved = Saved.read(folder)
    kept = Address(saved.here(folder))
    if saved.name != name or not same_place(kept, address):
        raise UsageError(
            f"--output {folder}: holds study {saved.name} kept in {kept.shown}, not study {name} in {address.shown}; "
            "choose another folder, or the same --name and --storage"
        )
