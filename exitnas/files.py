"""Writing files whole: to a temporary name in the same folder, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def read_json(path: Path | str) -> Any:
    """Parse a JSON file; a missing or malformed one is an `ExitnasError` with the line."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExitnasError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ExitnasError(f"{path}: is a folder, a JSON file was expected") from None
    except UnicodeDecodeError as error:
        raise ExitnasError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ExitnasError(f"{path}: line {error.lineno}: not valid JSON ({error.msg})") from None
