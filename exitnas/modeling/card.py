"""The model card: `README.md` of a model directory, written from what its config records."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from exitnas.errors import ExitnasError
from exitnas.exits.exit import exit_costs
from exitnas.exits.genotype import Genotype
from exitnas.files import read_json, write_json, write_text
from exitnas.modeling.configuration import MultiExitConfig
from exitnas.schema import Frozen, parse
from exitnas.tasks.spec import TaskSpec

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("card.md.jinja")

#: Settings of training that a card tells; those that name files of one machine are not among them.
SETTINGS = (
    *("recipe", "objective", "objective_options", "weighting", "weighting_options", "gradient", "gradient_options"),
    *("lte", "epochs", "batch_size", "max_length", "lr", "exit_lr", "weight_decay", "warmup", "clip", "seed"),
    "precision",
)

#: Our metrics by the names of https://hf.co/metrics, where they have one.
HUB_METRICS = {"matthews": "matthews_correlation", "macro_f1": "f1"}


class Results(Frozen):
    """What retraining measured, kept in the config under `exitnas.results`."""

    base_model: str | None = None
    """Hub id of the backbone; None when it came from a folder."""
    tokens: int = Field(ge=1)
    """Mean length of a training row in tokens, which the exits' MACs are counted for."""
    rows: dict[str, int]
    """Rows of train, dev and test."""
    dev: list[float]
    """Score of every exit on dev, a fraction."""
    test: list[float]
    """Score of every exit on test."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of training."""


def write_card(folder: Path | str, tags: list[str] | None = None) -> None:
    """Write the card of a model directory anew, from its `config.json`.

    Raises:
        ExitnasError: the config is damaged.
    """
    folder = Path(folder)
    write_text(folder / CARD, card_of(folder, read_json(folder / "config.json"), tags))


def card_of(folder: Path, values: Any, tags: list[str] | None = None) -> str:
    """The card of a model directory whose `config.json` holds `values`; errors as in `write_card`."""
    try:
        config = MultiExitConfig.from_dict(values)
    except Exception as error:  # not an object, or values of a wrong type
        reason = " ".join(str(error).split())[:200]
        raise ExitnasError(f"{folder / 'config.json'}: not the config of a model ({reason}); copy it again") from error
    try:
        return card_text(config, tags)
    except ExitnasError as error:
        raise ExitnasError(f"{folder}: {error}") from None


def card_text(config: MultiExitConfig, tags: list[str] | None = None) -> str:
    """The card as Markdown with YAML front matter; only recorded figures, and none where nothing was recorded."""
    genotype, spec = config.read_genotype(), config.read_task()
    recorded = (config.exitnas or {}).get("results")
    results = None if recorded is None else parse(Results, recorded, "config.json: exitnas: results")
    if results is not None and not len(results.dev) == len(results.test) == genotype.layers:
        raise ExitnasError(
            f"config.json: exitnas: results: expected dev and test scores of {genotype.layers} exits, "
            f"got {len(results.dev)} and {len(results.test)}"
        )
    backbone = (results and results.base_model) or str((config.backbone or {}).get("model_type"))
    policy = config.policy or {}
    calibration = figures(policy.get("calibration"))
    return _template().render(
        front_matter=front_matter(spec, results, calibration, tags or []),
        title=f"{backbone.rsplit('/')[-1]} with early exits for {spec.name}",
        backbone=backbone,
        spec=spec,
        description="" if spec.base_dir else spec.description,
        columns=[*spec.text_columns],
        labels=spec.labels,
        layers=genotype.layers,
        hidden_size=genotype.hidden_size,
        width=genotype.exit_width,
        exits=exit_rows(genotype, config.check_labels(), results),
        results=results,
        settings=told_settings(results),
        policy=policy.get("name"),
        parameters=policy.get("parameters") or {},
        calibration=calibration,
        temperatures=config.temperatures,
        last_only=_last_only(results),
        version=(config.exitnas or {}).get("version"),
    )


def front_matter(spec: TaskSpec, results: Results | None, calibration: dict[str, Any], tags: list[str]) -> str:
    """The YAML between the `---` lines, as the hub reads it: library, task, tags, base model, data, model-index.

    The model-index holds the test scores of the last and the best exit and their mean, and the score of a calibrated
    policy on the rows it was chosen on.
    """
    from huggingface_hub import EvalResult, ModelCardData

    name = one_line(spec.name)
    measured: list[tuple[str, str, float]] = []
    if results is not None:
        measured.append(("test", "last exit", results.test[-1]))
        if not _last_only(results):
            mean = sum(results.test) / len(results.test)
            measured += [("test", "best exit", max(results.test)), ("test", "mean of exits", mean)]
    if isinstance(calibration.get("score"), float) and "split" in calibration:
        measured.append((str(calibration["split"]), "calibrated exit policy", calibration["score"]))
    scores = [
        EvalResult(
            task_type="text-classification",
            dataset_type=spec.hub.path if spec.hub else name,
            dataset_name=name,
            dataset_config=spec.hub.config if spec.hub else None,
            dataset_split=split,
            metric_type=HUB_METRICS.get(spec.metric, spec.metric),
            metric_name=f"{spec.metric}, {what}",
            metric_value=round(value, 6),
        )
        for split, what, value in measured
    ]
    data = ModelCardData(
        library_name="exitnas",
        pipeline_tag="text-classification",
        tags=["exitnas", "early-exit", "multi-exit", "adaptive-inference", *tags],
        base_model=results.base_model if results else None,
        datasets=[spec.hub.path] if spec.hub else None,
        metrics=[HUB_METRICS.get(spec.metric, spec.metric)],
        model_name=f"exitnas {name}",
        eval_results=scores or None,
    )
    return str(data.to_yaml()).strip()


def exit_rows(genotype: Genotype, num_labels: int, results: Results | None) -> list[dict[str, Any]]:
    """The table of exits: operations, parameters, MACs (for the recorded length) and scores where recorded."""
    costs = exit_costs(genotype, num_labels, results.tokens if results else 1)
    return [
        {
            "layer": index + 1,
            "operations": exit_,
            "encoder": " + ".join(name for name in exit_.encoder if name != "null"),
            **costs[index],
            "dev": results.dev[index] if results else None,
            "test": results.test[index] if results else None,
        }
        for index, exit_ in enumerate(genotype.exits)
    ]


def _last_only(results: Results | None) -> bool:
    """Whether the objective trained the last exit alone, as that of a truncated baseline does."""
    return results is not None and results.settings.get("objective") == "last"


def told_settings(results: Results | None) -> dict[str, Any]:
    """The settings of training that a card tells, in its order, without those that are off."""
    known = results.settings if results else {}
    return {key: known[key] for key in SETTINGS if known.get(key) not in (None, {})}


def figures(calibration: Any) -> dict[str, Any]:
    """What a calibration recorded in plain values, without what is nested or names files."""
    known = calibration if isinstance(calibration, dict) else {}
    return {
        key: value
        for key, value in known.items()
        if isinstance(value, bool | int | float) or (isinstance(value, str) and "/" not in value and "\\" not in value)
    }


def for_the_public(folder: Path | str, tags: list[str]) -> None:
    """Take what names files of this machine out of a model directory's `config.json`; write its card with `tags`."""
    path = Path(folder) / "config.json"
    values = read_json(path)
    for key in ("backbone", "genotype", "exitnas"):
        values[key] = without_paths(values.get(key) or {})
    for place in (values["genotype"].get("origin") or {}, values["exitnas"].get("data") or {}):
        place.update(dict.fromkeys(("data_dir", "data_source") & place.keys()))
    if values["task"].get("base_dir"):
        values["task"] |= {"base_dir": None, "description": ""}
    write_json(path, values)
    write_card(folder, tags)


def without_paths(value: Any) -> Any:
    """A JSON value in which the name alone is left of every absolute path."""
    if isinstance(value, dict):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def one_line(text: Any) -> str:
    """Whitespace, control characters included, folded to single blanks."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", str(text)).split())


def markdown(text: Any) -> str:
    """Plain text that Markdown shows as it is: one line, its special characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", one_line(text))


def code(text: Any) -> str:
    """Text as a code span, also inside a table; backticks and bars cannot stand there and become similar signs."""
    return "`" + one_line(text).replace("`", "'").replace("|", "¦") + "`"


def percent(value: float) -> str:
    """A fraction in percent, one digit after the point."""
    return f"{100 * value:.1f}"


def number(value: Any) -> Any:
    """A float with at most four significant digits; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: what needs escaping goes through `markdown` or `code`.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters |= {"markdown": markdown, "code": code, "percent": percent, "number": number}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
