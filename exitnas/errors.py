"""The exceptions exitnas raises on purpose; everything else is a bug and keeps its traceback."""


class ExitnasError(Exception):
    """A job that cannot go on. Its text is one line: what was expected, what came, what to do."""

    exit_code = 1


class UsageError(ExitnasError):
    """A request that cannot be meant: an unknown name, a value out of range, options that contradict."""

    exit_code = 2


def require(condition: bool, message: str) -> None:
    """Raise `UsageError(message)` unless `condition` holds."""
    if not condition:
        raise UsageError(message)
