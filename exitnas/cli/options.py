"""Options that several commands share: the same word with the same meaning everywhere."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def compose(*decorators: Decorator) -> Decorator:
    """One decorator from several, listed in the order they show in `--help`."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


task = click.option("--task", metavar="NAME|FILE.yaml", help="Task, see `exitnas list tasks`, or your own YAML file.")
backbone = click.option("--backbone", metavar="NAME", help="Alias, hub id or folder; see `exitnas list backbones`.")
data_dir = click.option("--data-dir", metavar="DIR", help="Folder with the task's data files; else package or hub.")
output = click.option("--output", "-o", metavar="DIR", help="Run directory to write.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace a run already in the output directory.")
going_on = compose(
    click.option("--resume", is_flag=True, help="Go on with the run in the output directory, if it was interrupted."),
    click.option(
        "--checkpoint-minutes", type=float, metavar="M", help="Save what --resume needs every M minutes.  [5]"
    ),
)
device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.  [auto]")
precision = click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of the backbone.  [fp32]")
offline = click.option("--offline", is_flag=True, default=None, help="Never ask the hub; use what is cached.")
batch_size = click.option("--batch-size", type=int, help="Rows per step.  [32]")
max_length = click.option("--max-length", type=int, help="Longest row in tokens.  [128]")
limit_train = click.option("--limit-train", type=int, metavar="N", help="Use only N training rows.")
limit_eval = click.option("--limit-eval", type=int, metavar="N", help="Use only N rows of dev and of test.")
seed = click.option("--seed", type=int, help="Seed of initialization, dropout and data order.  [42]")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
config = click.option(
    "--config", metavar="FILE|RUN", help="Settings from a YAML or JSON file, its keys the flags; or those of a run."
)
quiet = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")

training = compose(
    click.option("--epochs", type=int, help="Passes over the training rows.  [10]"),
    batch_size,
    click.option("--accumulate", type=int, metavar="N", help="Cut a process's rows of a step into N parts.  [1]"),
    max_length,
    click.option("--lr", type=float, help="Learning rate of the backbone.  [5e-5]"),
    click.option("--exit-lr", type=float, help="Learning rate of the exits.  [1e-3]"),
    click.option("--warmup", type=float, help="Share of the steps over which the rates rise.  [0.1]"),
    click.option("--weight-decay", type=float, help="Weight decay of backbone and exits.  [0.01]"),
    click.option("--dropout", type=float, help="Dropout of the encoder.  [the encoder's own]"),
    seed,
    click.option("--split-seed", type=int, help="Seed of the dev/test split, apart from --seed.  [42]"),
    limit_train,
    limit_eval,
    device,
    precision,
    offline,
)

retraining = compose(
    data_dir,
    output,
    overwrite,
    going_on,
    training,
    click.option("--seeds", type=int, help="Train with this many seeds, for mean and deviation.  [1]"),
    as_json,
    quiet,
)


#: Parameters of a command that say where and how it works, and are no settings.
JOB = ("output", "overwrite", "resume", "checkpoint_minutes", "as_json", "quiet")


def take_job(values: dict[str, Any]) -> dict[str, Any]:
    """Remove what is no setting from a command's keyword arguments."""
    return {name: values.pop(name) for name in JOB}


def of_a_run(job: dict[str, Any]) -> dict[str, Any]:
    """What `exitnas.training.runs.Run.create` takes of `take_job`."""
    return {name: job[name] for name in ("overwrite", "resume", "checkpoint_minutes")}


class NamedValue(click.ParamType):
    """`NAME=VALUE`; the value is read as JSON where it is JSON (numbers, true, false), as text otherwise."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        from exitnas.errors import ExitnasError
        from exitnas.files import NotJsonError, parse_json

        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"expected NAME=VALUE, got {value!r}", param, ctx)
        try:
            return key, parse_json(text, key)
        except NotJsonError:
            return key, text
        except ExitnasError as error:
            self.fail(str(error), param, ctx)


def _named(word: str, what: str) -> Decorator:
    return click.option(
        f"--{word}-option", f"{word}_options", multiple=True, type=NamedValue(), help=f"Option of the {what}; repeat."
    )


training_plan = compose(
    click.option("--recipe", metavar="NAME", help="A paper's way of training, see `exitnas list recipes`."),
    click.option("--objective", metavar="NAME", help="Training objective, see `exitnas list objectives`.  [joint]"),
    _named("objective", "objective"),
    click.option("--weighting", metavar="NAME", help="Loss weighting, see `exitnas list weightings`.  [uniform]"),
    _named("weighting", "weighting"),
    click.option("--gradient", metavar="NAME", help="Gradient rule, see `exitnas list gradients`.  [sum]"),
    _named("gradient", "gradient rule"),
    click.option("--lte", is_flag=True, default=None, help="Train a certainty head too, for policy lte."),
)


def take_plan_options(values: dict[str, Any]) -> None:
    """Turn the repeated NAME=VALUE options into dictionaries in place; those not given become None."""
    for word in ("objective_options", "weighting_options", "gradient_options"):
        values[word] = dict(values[word]) or None


policy_parameters = compose(
    click.option("--exit", "exit_", type=int, metavar="M", help="static: the layer that answers, from 1."),
    click.option("--threshold", type=float, help="entropy, hybrid (leave below), max_prob, lte (leave above)."),
    click.option("--patience", type=int, help="patience, cobee: agreements in a row needed to leave."),
    click.option("--tau", type=float, help="cobee: largest disagreement; patience on regression: largest difference."),
    click.option("--delta", type=float, help="voting, hybrid: votes needed to leave, over layers^k."),
    click.option("--k", type=float, help="voting, hybrid: exponent of the layer count.  [0.5]"),
    click.option("--switch", type=int, metavar="M", help="hybrid: last layer that asks for entropy, votes after it."),
    click.option("--normalized", is_flag=True, default=None, help="entropy: divided by log C, between 0 and 1."),
)

#: Command-line word -> the policy's parameter.
POLICY_PARAMETERS = {
    "exit_": "exit",
    "threshold": "threshold",
    "patience": "patience",
    "tau": "tau",
    "delta": "delta",
    "k": "k",
    "switch": "switch",
    "normalized": "normalized",
}


def take_policy_parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the policy options from a command's keyword arguments; those given, under the policy's own names."""
    taken = {name: values.pop(option) for option, name in POLICY_PARAMETERS.items()}
    return {name: value for name, value in taken.items() if value is not None}
