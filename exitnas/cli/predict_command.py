"""`exitnas predict`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.command("predict")
@click.argument("model", type=click.Path())
@click.option("--text", "texts", multiple=True, help="Text to answer; may be repeated.")
@click.option("--text-pair", "pairs", multiple=True, help="Second text of a pair, one per --text.")
@click.option(
    "--input", "input_", metavar="FILE", help="Rows in JSONL, CSV, TSV or Parquet, with the task's text columns."
)
@click.option("--skip-bad-rows", is_flag=True, help="Report rows of --input that cannot be answered, and go on.")
@click.option("--policy", metavar="NAME", help="Exit policy with its parameters.  [the stored one, else off]")
@options.policy_parameters
@click.option("--stream", is_flag=True, help="Pool texts that stay across batches: deep layers run on full ones.")
@options.batch_size
@options.max_length
@options.device
@options.precision
@options.as_json
def command(
    model: str, texts: tuple[str, ...], pairs: tuple[str, ...], input_: str | None, policy: str | None, **values: Any
) -> None:
    """Answer texts with MODEL, a run directory of `exitnas retrain` or its model/.

    Texts leave early by the policy that `exitnas calibrate` stored, or by the one given.

    Examples:

      exitnas predict runs/retrain-sst2-leco --text "A joy to watch." --policy cobee --tau 0.1

      exitnas predict runs/retrain-rte-leco --input pairs.jsonl --json
    """
    as_json, stream, skip = values.pop("as_json"), values.pop("stream"), values.pop("skip_bad_rows")
    fixed = options.take_policy_parameters(values)
    if bool(texts) == bool(input_):
        raise click.UsageError("give either --text or --input")
    if skip and not input_:
        raise click.UsageError("--skip-bad-rows needs --input")
    if pairs and len(pairs) != len(texts):
        raise click.UsageError(f"--text-pair must be given once per --text: {len(texts)} texts, {len(pairs)} pairs")
    if fixed and policy is None:
        raise click.UsageError(f"--{next(iter(fixed))} needs --policy")
    from exitnas.inference.predict import predict, requested_policy
    from exitnas.inference.rows import read_rows
    from exitnas.inference.session import open_model
    from exitnas.policies import POLICIES
    from exitnas.policies.base import make_policy
    from exitnas.reporting.progress import Reporter

    if policy is not None:
        make_policy(policy, fixed) if fixed else POLICIES.check(policy)  # before the model is loaded
    loaded, tokenizer, used = open_model(model, **values)
    rule = requested_policy(loaded, policy, fixed)
    spec = loaded.config.read_task()
    if input_:
        report = Reporter()
        numbered = read_rows(input_, spec, (lambda reason: report.warn(f"skipped: {reason}")) if skip else None)
    else:
        numbered = [(0, (text, pairs[index] if pairs else None)) for index, text in enumerate(texts)]
    rows = [row for _, row in numbered]
    answers = predict(loaded, tokenizer, rows, rule, stream=stream, **used)
    if skip:
        answers = [{"line": line, **answer} for (line, _), answer in zip(numbered, answers, strict=True)]
    if as_json:
        render.print_json(answers)
        return
    table = []
    for (first, second), answer in zip(rows, answers, strict=True):
        label = answer["label"]
        score = "-" if spec.regression else f"{answer['scores'][label]:.3f}"
        shown = first if second is None else f"{first} | {second}"
        table.append([shown[:70], f"{label:.3f}" if spec.regression else label, score, answer["exit"]])
    render.print_table(spec.name, ["text", "label", "score", "exit"], table)
