"""The `exitnas` command: finds each subcommand's file when it is asked for, and prints errors as one line."""

import errno
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from exitnas import __version__
from exitnas.cli import launch
from exitnas.cli.ending import Terminated, silence_stdout, terminable
from exitnas.errors import ExitnasError
from exitnas.registry import nearest

#: What is wrong with the disk, not with exitnas, even where Python does not say which file it was.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

COMMANDS = {
    "demo": "The whole pipeline on the packaged model and corpus, no network.",
    "search": "Search the exits of an encoder for a task; writes a genotype.",
    "retrain": "Train the exits of a genotype on a fresh encoder; writes a model.",
    "baseline": "Train the first layers of an encoder alone: what early exit has to beat.",
    "evaluate": "Scores per exit, trade-off curves of the exit policies, measured speed.",
    "calibrate": "Choose a policy's setting on held-out rows and store it with the model.",
    "predict": "Answer texts with a trained model under an exit policy.",
    "draw": "Draw a genotype as a picture.",
    "report": "One HTML file that shows runs: scores, trade-offs, architectures.",
    "tune": "Tune the settings of search and retraining with Optuna.",
    "list": "List tasks, spaces, backbones, ways of training, exit policies.",
}


class Commands(click.Group):
    """Subcommands by name; a file is imported only when its command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return import_module(f"exitnas.cli.{name}_command").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command {args[0]!r}: {nearest(args[0], list(COMMANDS))}", ctx)
        found = super().resolve_command(ctx, args)
        if found[0] is not None:
            launch.enter(found[0])
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with terminable(), launch.one_voice():
                return super().invoke(ctx)
        except click.UsageError as error:
            usage_error(error, error.ctx.command_path if error.ctx else f"{ctx.command_path} {ctx.invoked_subcommand}")
        except (ExitnasError, Terminated) as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted", 130)
        except BrokenPipeError:
            silence_stdout()
            sys.exit(1)
        except OSError as error:
            if error.filename is None:
                if error.errno not in DISK:
                    raise
                silence_stdout()
            fail(f"{error.filename2 or error.filename or 'cannot write the output'}: {error.strerror}", 1)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """As click's own, with errors of the options before a command in the same one line as all others."""
        try:
            result = super().main(*args, **{"prog_name": "exitnas", **extra, "standalone_mode": False})
        except click.UsageError as error:
            usage_error(error, error.ctx.command_path if error.ctx else "exitnas")
        except click.Abort:  # click's name for an interruption, here one before a command ran
            fail("interrupted", 130)
        sys.exit(result if isinstance(result, int) else 0)


def usage_error(error: click.UsageError, command: str) -> NoReturn:
    """Say in one line what click found wrong and where the help is."""
    reason = " ".join(error.format_message().split()).rstrip(".?")
    fail(f"{reason}; see {command} --help", error.exit_code)


def fail(text: str, code: int) -> NoReturn:
    """One line on stderr, and out."""
    launch.let_the_first_tell()
    click.echo(f"Error: {text}", err=True)
    sys.exit(code)


@click.group(
    name="exitnas",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="exitnas")
def main() -> None:
    """Neural architecture search for the early exits of BERT-style encoders.

    stdout carries the result, stderr the progress. Exit code 0: done, 1: the job failed, 2: bad usage.
    """
