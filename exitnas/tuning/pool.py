"""Several workers on one machine: processes that share the cores, given one trial after another."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.tuning.budget import Budget
from exitnas.tuning.liveness import reclaim
from exitnas.tuning.worker import Job, Outcome, outcome

#: Environment variables by which libraries take their number of threads, read when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Seconds that workers are given to end after an interruption.
PATIENCE = 20


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_worker(workers: int) -> int:
    """The cores divided among workers, at least one each, and no more than `OMP_NUM_THREADS` where that is set."""
    share = max(1, cores() // workers)
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(share, int(asked)) if asked.isdecimal() and int(asked) else share


class Worker:
    """A worker process and the thread that listens to it."""

    def __init__(self, job: Job, threads: int, log: Path, inbox: "queue.Queue[tuple[Worker, dict[str, Any] | None]]"):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.running: int | None = None
        self.finished = 0
        with log.open("a", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exitnas.tuning.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            )
        self._listener = threading.Thread(target=self._listen, args=(inbox,), daemon=True)
        self._listener.start()
        self.tell(asdict(job))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a line; a worker that is gone is found by its listener."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def stop(self, patience: float) -> None:
        """Let it end by itself for `patience` seconds, then end it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join()
        self.process.stdout.close()

    def last_words(self) -> str:
        """The last line it wrote to stderr."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _listen(self, inbox: "queue.Queue[tuple[Worker, dict[str, Any] | None]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            inbox.put((self, json.loads(line)))
        inbox.put((self, None))


def run_pool(study: Any, storage: Any, job: Job, workers: int, budget: Budget, told: Callable[[Outcome], None]) -> None:
    """Run trials in `workers` processes until the budget is spent.

    A worker that dies is replaced; a trial it was at is failed with the reason and queued again.

    Args:
        told: called with every trial that ended.

    Raises:
        ExitnasError: a worker cannot work at all: it died before its first trial.
    """
    inbox: queue.Queue[tuple[Worker, dict[str, Any] | None]] = queue.Queue()
    threads, made = threads_per_worker(workers), 0
    alive: list[Worker] = []
    try:
        while alive or (made == 0 and budget.left()):
            while len(alive) < workers and budget.take():
                made += 1
                worker = Worker(job, threads, Path(job.folder) / "workers" / f"{made:02d}.log", inbox)
                worker.tell({"go": True})
                alive.append(worker)
            if not alive:
                break
            worker, message = inbox.get()
            if worker not in alive:  # the end of one that was told to stop
                continue
            if message is None:
                alive.remove(worker)
                worker.stop(PATIENCE)
                _buried(worker, study, storage, budget, told)
            elif message["event"] == "error":
                raise ExitnasError(message["reason"])
            elif message["event"] == "started":
                worker.running = message["number"]
            else:
                worker.running = None
                worker.finished += 1
                told(Outcome(**message["outcome"]))
                if budget.take():
                    worker.tell({"go": True})
                else:
                    alive.remove(worker)
                    worker.stop(PATIENCE)
    finally:
        for worker in alive:
            worker.stop(PATIENCE)
        if alive:
            with suppress(Exception):  # what stopped the others is told, not that clearing up failed too
                reclaim(study, storage)


def _buried(worker: Worker, study: Any, storage: Any, budget: Budget, told: Callable[[Outcome], None]) -> None:
    """Clear up after a worker that died: its trial is queued again, or counts as failed after too many tries."""
    code = worker.process.returncode
    if worker.running is None:
        if not worker.finished:
            said = f"{worker.last_words()}; see {worker.log}"
            raise ExitnasError(f"a worker ended with code {code} before its trial: {said}")
        budget.give_back()
        return
    again = dict(reclaim(study, storage, dead=[worker.running]))
    ended = outcome(study.get_trials(deepcopy=False)[worker.running])
    if ended.state == "failed" and again.get(worker.running, True):
        budget.give_back()
    told(ended)
