"""How a command ends when it is asked to from outside, or when nobody reads what it says."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from exitnas.distributed import launched

#: What a scheduler sends before it takes the machine away, and a terminal that closes.
SIGNALS = ("SIGTERM", "SIGHUP")


class Terminated(KeyboardInterrupt):
    """One of `SIGNALS` came. An interruption like Ctrl-C: what is half-written is removed, trials are queued again.

    Attributes:
        exit_code: 128 and the signal's number, as a shell has it.
    """

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, `SIGNALS` raise `Terminated`, unless they are ignored (nohup) or somebody else handles them.

    A process among several is left alone: its launcher ends it at once while it waits for the others.
    """
    numbers = [number for name in SIGNALS if (number := getattr(signal, name, None)) is not None]
    taken = []
    if launched() == 1:
        for number in numbers:
            with suppress(ValueError):  # not the main thread, which alone may
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _terminate)
                    taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def silence_stdout() -> None:
    """Send the rest of stdout nowhere, so that the interpreter's end does not complain about it again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
