"""Commands under `accelerate launch` and torchrun: which of them may, one voice for all, starting the processes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from time import sleep

from exitnas.distributed import join, launched, launched_rank, on_cpu, part
from exitnas.errors import UsageError, require

#: The commands that divide their work among processes.
ABLE = ("search", "retrain", "baseline")


def enter(command: str) -> None:
    """Meet the other processes, if this one was started among several.

    Raises:
        UsageError: the command has nothing to divide.
    """
    start_what_was_asked_for(command)
    if launched() == 1:
        return
    check(command)
    join(cpu=on_cpu())


def check(command: str) -> None:
    """Refuse a command that several processes would only repeat."""
    require(
        command in ABLE, f"{command} runs in one process and was started in several; only {', '.join(ABLE)} divide work"
    )


def let_the_first_tell() -> None:
    """Wait before telling what went wrong, unless this is the first process of its machine.

    The launcher ends all processes as soon as one has failed, so what all of them would say is said once, and what only
    this one knows is still said.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        sleep(3)


@contextmanager
def one_voice() -> Iterator[None]:
    """Inside, all processes but the first print nothing; at the end they part."""
    if launched_rank() > 0:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    else:
        yield
    part()


def start_what_was_asked_for(command: str) -> None:
    """Start the processes of `accelerate launch --cpu --num_processes N`, which leaves that to MPI and starts one.

    It tells its one child that there should be several (by a master port), but not how many; its own command line does.
    This process then becomes torchrun, which starts them.

    Raises:
        UsageError: how many processes were asked for cannot be found out, or they are to run on several machines.
    """
    if not on_cpu() or launched() > 1 or "LOCAL_RANK" in os.environ or "MASTER_PORT" not in os.environ:
        return
    check(command)
    count = processes_asked_for()
    if count > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        os.execv(sys.executable, [*torchrun, "-m", "exitnas", *sys.argv[1:]])


def processes_asked_for() -> int:
    """The number of processes in the command line of the `accelerate launch` above this process."""
    import psutil
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    words = psutil.Process(os.getppid()).cmdline()
    try:
        start = next(place for place, word in enumerate(words) if word in ("launch", "accelerate.commands.launch"))
    except StopIteration:
        raise UsageError(
            "accelerate launch --cpu starts a single process without MPI; start several with "
            "torchrun --nproc_per_node N -m exitnas ..."
        ) from None
    asked = launch_command_parser().parse_args(words[start + 1 :])
    recorded = load_config_from_file(asked.config_file) if asked.config_file else None
    count, machines = (
        getattr(asked, name) or getattr(recorded, name, None) or 1 for name in ("num_processes", "num_machines")
    )
    require(
        machines == 1,
        "accelerate launch --cpu reaches several machines through MPI only; use torchrun --nnodes on each of them",
    )
    return count
