"""One registry for everything that is looked up by name: a table of rows, each imported when first used.

A row maps a name to `"module:attribute"`, so listing names (for `--help`, errors, schemas) imports nothing heavy.
"""

import difflib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from exitnas.errors import UsageError


def nearest(name: str, known: list[str]) -> str:
    """A sentence fragment that names the closest of `known` to `name`, then all of them."""
    by_fold = {entry.lower(): _readable(entry) for entry in known}
    close = difflib.get_close_matches(name.lower(), list(by_fold), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(by_fold[c] for c in close)}? " if close else ""
    return f"{hint}known: {', '.join(map(_readable, known))}"


def _readable(name: str) -> str:
    """`name`, in quotes where its blanks would not be seen."""
    return name if name and name == name.strip() else repr(name)


class Registry:
    """Names of one kind (`"policy"`, `"objective"`, ...), each naming where its entry lives.

    Args:
        kind: the noun used in error messages.
        rows: name -> `"module:attribute"`; keyword arguments fixed by the row follow as a tuple `(target, kwargs)`.
    """

    def __init__(self, kind: str, rows: dict[str, str | tuple[str, dict[str, Any]]]):
        self.kind = kind
        self._rows = dict(rows)

    def names(self) -> list[str]:
        """All names in the order of the table."""
        return list(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def check(self, name: str) -> str:
        """`name` itself when known; otherwise `UsageError` with the nearest names."""
        if name not in self._rows:
            raise UsageError(f"unknown {self.kind} {name!r}: {nearest(name, self.names())}")
        return name

    def get(self, name: str) -> Any:
        """The entry itself (a class or function), imported on first use."""
        row = self._rows[self.check(name)]
        target = row if isinstance(row, str) else row[0]
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)

    def fixed(self, name: str) -> dict[str, Any]:
        """The keyword arguments fixed by the row."""
        row = self._rows[self.check(name)]
        return {} if isinstance(row, str) else dict(row[1])

    def create(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call the entry with the row's fixed keyword arguments and the given ones."""
        return self.get(name)(*args, **{**self.fixed(name), **kwargs})

    def register(self, name: str, target: str, **fixed: Any) -> None:
        """Add a row from outside the package, e.g. a user's own operation; a taken name is refused."""
        if name in self._rows:
            raise UsageError(f"{self.kind} {name!r} is already registered; choose another name")
        self._rows[name] = (target, fixed) if fixed else target
