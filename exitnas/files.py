"""Reading JSON and YAML with one-line errors, and writing files whole: under a temporary name, then renamed."""

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError

MAX_NESTING = 100
"""Deepest lists and objects read from JSON."""

_TEMPORARY = ".{name}.{process}.tmp"
_KINDS = {"NoneType": "null", "bool": "true or false", "int": "number", "float": "number", "str": "text"}


class NotJsonError(ExitnasError):
    """Text that is not JSON; JSON that is valid but cannot be read is a plain `ExitnasError`."""


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    Raises:
        OSError: the file cannot be written; it names `path`, not the temporary one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_TEMPORARY.format(name=path.name, process=os.getpid()))
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        of_another = error.filename is not None and str(error.filename) != str(temporary)
        if error.errno is None or of_another:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what `replacing(path)` left half-written because its process was killed."""
    for left in path.parent.glob(_TEMPORARY.format(name=path.name, process="*")):
        left.unlink(missing_ok=True)


def check_writable(path: Path | str) -> None:
    """Raise now the `OSError` that writing `path` after a long job would; makes its folder."""
    path = Path(path)
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def check_name(name: str) -> str:
    """`name` itself when it can be part of a file's name: `[A-Za-z0-9][\\w.-]*`; `ValueError` otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ValueError(f"expected letters, digits, '_', '.' and '-', the first a letter or digit, got {name[:60]!r}")
    return name


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8, newline-terminated lines as given) to `path` in one rename."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """JSON as exitnas writes it everywhere: two-space indent, UTF-8 kept, trailing newline, NaN refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as JSON to `path` in one rename."""
    write_text(path, json_text(value))


def parse_json(text: str, where: str, line: int = 1) -> Any:
    """The value of a JSON text.

    Args:
        where: what is being read (a file name), put in front of the message.
        line: number of the text's first line there.

    Raises:
        NotJsonError: not JSON; the message has the line.
        ExitnasError: lists and objects inside each other more than `MAX_NESTING` deep, or a whole number with more
            digits than Python reads.
    """
    at = f"{where}: line {line}" if "\n" not in text.strip() else where
    try:
        value = json.loads(text)
        deep = _deeper_than(value, MAX_NESTING)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{where}: line {line + error.lineno - 1}: not valid JSON ({error.msg})") from None
    except RecursionError:
        deep = True
    except ValueError:
        raise ExitnasError(f"{at}: holds a number of more than {sys.get_int_max_str_digits()} digits") from None
    if deep:
        raise ExitnasError(f"{at}: expected at most {MAX_NESTING} lists and objects inside each other, got more")
    return value


def json_kind(value: Any) -> str:
    """What JSON calls a value: null, true or false, number, text, list, object."""
    name = type(value).__name__
    return _KINDS.get(name, "object" if isinstance(value, dict) else name)


def read_json(path: Path | str) -> Any:
    """Parse a JSON file; a missing or malformed one is an `ExitnasError` with the line."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ExitnasError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ExitnasError(f"{path}: is a folder, a JSON file was expected") from None
    except UnicodeDecodeError as error:
        raise ExitnasError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    return parse_json(text, str(path))


def read_yaml(path: Path | str) -> Any:
    """Parse a YAML file into plain values; tags make no objects.

    Raises:
        ExitnasError: not UTF-8, not YAML (the message has the line), or nothing in it.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ExitnasError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise ExitnasError(f"{path}: {line}not valid YAML ({problem})") from None
    except RecursionError:
        raise ExitnasError(f"{path}: lists and keys are inside each other too deep") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What PyYAML lets through of a scalar that looks like a number or date, or is tagged as one, and is none.
        reason = " ".join(str(error).split())[:80]
        raise ExitnasError(f"{path}: holds a number, date or tag that cannot be read ({reason})") from None
    if content is None:
        raise ExitnasError(f"{path}: the file is empty")
    return content


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and dictionaries in `value` are inside each other more than `levels` deep."""
    nested = [value]
    for _ in range(levels + 1):
        nested = [v for v in nested if isinstance(v, dict | list)]
        if not nested:
            return False
        nested = [inner for v in nested for inner in (v.values() if isinstance(v, dict) else v)]
    return True
