"""Where a study is kept: a journal file, or any database that Optuna reaches by URL. Passwords are never shown."""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from exitnas.errors import ExitnasError, UsageError

#: Seconds to wait for a database server that does not answer.
CONNECT_SECONDS = 5
#: Times a killed trial is tried again.
RETRIES = 2
HIDDEN = "***"


@dataclass(frozen=True)
class Address:
    """A storage.

    Attributes:
        text: a database URL, or the path of a journal file.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.is_database and re.match(r"[^/:]+:.*@", self.text):
            raise UsageError(
                "--storage: a URL starts with a scheme, such as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; "
                "put ./ in front if this is a file's name"
            )

    @property
    def is_database(self) -> bool:
        """Whether it is a URL; a journal file otherwise."""
        return "://" in self.text

    @property
    def passwords(self) -> list[tuple[int, int]]:
        """Where in the text a password stands: before the host, or as an option of the query; they can overlap."""
        found = [re.match(r"[^/]*://[^/:]*:(.*)@[^@]*$", self.text), re.match(r"[^/]*://[^/:]*:([^@]*)@", self.text)]
        found += re.finditer(r"(?i)[?&][^=&]*(?:password|passwd|pwd)[^=&]*=([^&]*)", self.text)
        return [match.span(1) for match in found if match]

    @property
    def shown(self) -> str:
        """The address without its password."""
        text, last = "", 0
        for start, end in sorted(self.passwords):
            if start >= last:
                text += self.text[last:start] + HIDDEN
            last = max(last, end)
        return text + self.text[last:]

    def hide(self, text: str) -> str:
        """`text` without the password, however it is quoted."""
        text = text.replace(self.text, self.shown)
        for start, end in self.passwords:
            written, plain = self.text[start:end], unquote(self.text[start:end])
            for form in {written, plain, quote(plain), quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1]}:
                text = text.replace(form, HIDDEN) if form else text
        return text


@contextmanager
def opened(address: Address, heartbeat: int = 30, must_exist: bool = False) -> Iterator[Any]:
    """The Optuna storage at an address, closed afterwards; Optuna's own log is silent meanwhile.

    Args:
        heartbeat: seconds between signs of life of a running trial in a database; after twice that a trial counts as
            killed and is tried again, at most `RETRIES` times. Journal files have no such thing.
        must_exist: only read: refuse a journal or SQLite file that is not there instead of making it, and leave a
            journal as it is.

    Raises:
        UsageError: an address that cannot be meant, or a missing driver.
        ExitnasError: the storage cannot be reached or is damaged.
    """
    import optuna

    _check_file(address, must_exist)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    database: Any = None
    try:
        with understood(address):
            storage = database = _database(address, heartbeat) if address.is_database else None
            if storage is None:
                storage = _journal(Path(address.text), must_exist)
        yield storage
    finally:
        optuna.logging.set_verbosity(verbosity)
        if database is not None:
            database.remove_session()
            database.engine.dispose()


@contextmanager
def understood(address: Address) -> Iterator[None]:
    """Inside, errors of the storage become one line without the password."""
    from optuna.exceptions import OptunaError, StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    def line(error: BaseException, start: str) -> str:
        cause = error.__cause__ or error
        cause = getattr(cause, "orig", None) or cause
        words = " ".join(str(cause).split()) or type(cause).__name__
        return f"{start} {address.shown}: {address.hide(words)[:200]}"

    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        hint = "expected a journal file's path, sqlite:///file, postgresql+psycopg://… or mysql+pymysql://…"
        raise UsageError(f"{line(error, '--storage')}; {hint}") from None
    except ImportError as error:
        raise UsageError(
            f"{line(error, '--storage')}; install the database's driver, such as psycopg or pymysql"
        ) from None
    except (SQLAlchemyError, StorageInternalError) as error:
        raise ExitnasError(line(error, "cannot use the storage")) from None
    except UnboundLocalError as error:  # Optuna, when the storage fails as a trial ends
        raise ExitnasError(line(error.__context__ or error, "cannot use the storage")) from None
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, OptunaError) as error:
        if isinstance(error, ExitnasError):
            raise
        raise ExitnasError(line(error, "cannot read the storage")) from None


def _check_file(address: Address, must_exist: bool) -> None:
    """Refuse a file that is not there, a database in memory, and a file that is no journal."""
    path = address.text
    if address.is_database:
        if not path.startswith("sqlite"):
            return
        path = path.partition(":///")[2].partition("?")[0]
        if path in ("", ":memory:") or "mode=memory" in address.text:
            raise UsageError(f"--storage {address.shown}: is gone when the command ends; write sqlite:///FILE")
    if must_exist and not Path(path).is_file():
        raise UsageError(f"{address.shown}: no such study file; start one with `exitnas tune`")
    if not address.is_database and Path(path).is_file():
        _check_journal(Path(path))


def _check_journal(path: Path) -> None:
    """Refuse, before anything is written, a file whose first line is no record of a journal; empty ones are fine."""
    with path.open("rb") as file:
        first = file.readline(1_000_000)
    if first.startswith(b"SQLite format 3"):
        raise UsageError(f"{path}: is an SQLite database; write sqlite:///{path}")
    try:
        whole = first.endswith(b"\n")
        is_journal = "op_code" in dict(json.loads(first)) if whole else first[:11] in (b"", b'{"op_code":')
    except (ValueError, TypeError, RecursionError):
        is_journal = False
    if not is_journal:
        raise ExitnasError(f"cannot read the storage {path}: is no journal of Optuna; give another file")


def _database(address: Address, heartbeat: int) -> Any:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    class Database(RDBStorage):
        """A sign of life that does not get through is left to the next one; Optuna's thread would give up for good."""

        def record_heartbeat(self, trial_id: int) -> None:
            with suppress(StorageInternalError, SQLAlchemyError):
                super().record_heartbeat(trial_id)

    dialect, _, driver = address.text.partition(":")[0].partition("+")
    options = {"connect_args": _connect_arguments(dialect, driver), "pool_pre_ping": dialect != "sqlite"}
    for attempt in range(3):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # heartbeats are "experimental" since Optuna 2.9
                return Database(
                    address.text,
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
                )
        except DBAPIError as error:  # two commands that make the tables of a new database at once
            if attempt == 2 or not re.search("already exists|duplicate", str(error.orig), re.IGNORECASE):
                raise
            sleep(0.5)
    raise AssertionError


def _connect_arguments(dialect: str, driver: str) -> dict[str, int]:
    """How a driver is told to give up on a server, or on the lock of SQLite."""
    if dialect == "sqlite":
        return {"timeout": 60}
    if dialect in ("postgresql", "mysql", "mariadb"):
        return {"connection_timeout" if driver == "mysqlconnector" else "connect_timeout": CONNECT_SECONDS}
    return {}


def _journal(path: Path, only_read: bool) -> Any:
    """A journal storage under a lock that works on NFS too and is found stale after 30 s by its absolute path."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.storages.journal._file import get_lock_file

    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    if path.is_file() and not only_read:
        with get_lock_file(lock):
            drop_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that has no end: its writer was killed, and the next one would be glued to it."""
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
