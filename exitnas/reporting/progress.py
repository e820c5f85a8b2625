"""Progress on stderr: a bar where there is a terminal, a line per epoch everywhere."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from exitnas.distributed import launched_rank

T = TypeVar("T")


class Reporter:
    """Shows what a job is doing. The library calls it; what it shows never reaches stdout.

    Of several processes (`accelerate launch`, torchrun) the first one alone shows anything.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, quiet: bool = False):
        from rich.console import Console

        quiet = quiet or launched_rank() > 0
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.bars = not quiet and sys.stderr.isatty()

    def line(self, text: str) -> None:
        """One line of text."""
        self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that should be read."""
        from rich.markup import escape

        self.console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yield `items` behind a progress bar."""
        if not self.bars:
            yield from items
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(description, total=total)
            for item in items:
                yield item
                progress.advance(task)
