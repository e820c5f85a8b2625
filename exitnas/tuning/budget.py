"""How many trials a command may still start."""

from time import monotonic


class Budget:
    """Trials and time of one command.

    Args:
        trials: how many to run; None for as many as the time allows.
        timeout: seconds after which no trial is started; one that runs is finished.
    """

    def __init__(self, trials: int | None, timeout: float | None):
        self._trials = trials
        self._end = None if timeout is None else monotonic() + timeout

    def left(self) -> bool:
        """Whether another trial may start."""
        return (self._trials is None or self._trials > 0) and (self._end is None or monotonic() < self._end)

    def take(self) -> bool:
        """Take one trial from the budget if there is one left."""
        if not self.left():
            return False
        if self._trials is not None:
            self._trials -= 1
        return True

    def give_back(self) -> None:
        """A trial that was taken did not come to an end."""
        if self._trials is not None:
            self._trials += 1
