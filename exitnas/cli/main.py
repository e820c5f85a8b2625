"""The `exitnas` command: finds each subcommand's file when it is asked for, and prints errors as one line."""

import os
import sys
from importlib import import_module

import click

from exitnas import __version__
from exitnas.errors import ExitnasError
from exitnas.registry import nearest

COMMANDS = {
    "demo": "The whole pipeline on the packaged model and corpus, no network.",
    "search": "Search the exits of an encoder for a task; writes a genotype.",
    "retrain": "Train the exits of a genotype on a fresh encoder; writes a model.",
    "evaluate": "Scores per exit, trade-off curves of the exit policies, measured speed.",
    "predict": "Answer texts with a trained model under an exit policy.",
    "draw": "Draw a genotype as a picture.",
    "list": "List tasks, spaces, backbones, objectives or policies.",
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
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ExitnasError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="exitnas")
def main() -> None:
    """Neural architecture search for the early exits of BERT-style encoders.

    stdout carries the result, stderr the progress. Exit code 0: done, 1: the job failed, 2: bad usage.
    """
