"""Named recipes: the published way of training, as data, with the hyper-parameters the papers print per task.

A recipe holds values of `RetrainSettings`; whatever is given beside it takes precedence. Learning rates are the papers'
for backbone and exits alike; the exits keep their own `exit_lr` here, since they start from scratch.
"""

from dataclasses import dataclass, field
from typing import Any

from exitnas.errors import UsageError
from exitnas.registry import nearest

#: Settings that make a recipe what it is; a different value beside `--recipe` contradicts it.
IDENTITY = ("objective", "weighting", "gradient", "lte")
#: Epochs of `RetrainSettings` when nobody says otherwise.
DEFAULT_EPOCHS = 10
_OPTIONS = ("objective_options", "weighting_options", "gradient_options")


@dataclass(frozen=True)
class Recipe:
    """One published way of training.

    Attributes:
        source: paper and the place of the numbers.
        settings: what holds for every task.
        tasks: what the paper prints per task, on top; `warmup_epochs` counts epochs and becomes a share.
        policy: the exit policy the paper uses.
        parameters: of the policy, where the paper prints them.
        variants: other values of an identity setting that the paper tries itself.
    """

    source: str
    settings: dict[str, Any]
    policy: str
    parameters: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def recommended(self) -> dict[str, Any]:
        """The policy and its printed parameters, JSON-ready."""
        return {"policy": self.policy, "parameters": self.parameters}


def _leebert(lr: float, weights_lr: float, batch_size: int, cycle: int) -> dict[str, Any]:
    options = {"lr": weights_lr, "cycle": cycle}
    return {"lr": lr, "batch_size": batch_size, "weighting_options": options}


def _gaml(lr: float, warmup_epochs: float, batch_size: int, alpha: float) -> dict[str, Any]:
    options = {"alpha": alpha}
    return {"lr": lr, "batch_size": batch_size, "warmup_epochs": warmup_epochs, "gradient_options": options}


def _ensemble(lr: float, batch_size: int, epochs: int, warmup: float, lambda_: float) -> dict[str, Any]:
    options = {"lambda": lambda_}
    return {"lr": lr, "batch_size": batch_size, "epochs": epochs, "warmup": warmup, "objective_options": options}


RECIPES: dict[str, Recipe] = {
    "leebert": Recipe(
        source="LeeBERT (Zhu 2021), eq. 5 with learning from all exits, CLO-v2; table 3",
        settings={"objective": "mutual", "objective_options": {"teachers": "all"}, "weighting": "clo_v2"},
        tasks={
            "cola": _leebert(2e-5, 1e-3, 16, 2),
            "mnli": _leebert(1e-5, 1e-5, 128, 4),
            "mrpc": _leebert(1e-5, 1e-4, 32, 4),
            "qnli": _leebert(1e-5, 1e-5, 128, 8),
            "qqp": _leebert(1e-5, 1e-5, 128, 4),
            "rte": _leebert(2e-5, 1e-3, 16, 4),
            "sst2": _leebert(2e-5, 1e-4, 128, 4),
        },
        policy="patience",
        parameters={"patience": 4},
        variants={"weighting": ("uniform", "random", "slo", "blo", "clo_v1")},
    ),
    "gaml-bert": Recipe(
        source="GAML-BERT (Zhu et al. 2021), eq. 1-2 and 4-6, GA-soft, KD averaged as in LeeBERT eq. 4; table 7",
        settings={
            "objective": "mutual",
            "objective_options": {"teachers": "all", "weights": "depth"},
            "gradient": "ga_soft",
            "gradient_options": {"alpha": 0.2},
        },
        tasks={
            "cola": _gaml(5e-5, 1.2, 32, 0.3),
            "mnli": _gaml(2e-5, 0.8, 256, 0.2),
            "mrpc": _gaml(2e-5, 1.0, 16, 0.2),
            "qnli": _gaml(1e-5, 1.0, 128, 0.5),
            "qqp": _gaml(1e-5, 0.8, 256, 0.3),
            "rte": _gaml(5e-5, 1.2, 16, 0.2),
            "sst2": _gaml(5e-5, 0.8, 128, 0.3),
        },
        policy="patience",
        variants={"gradient": ("ga_hard",)},
    ),
    "berxit": Recipe(
        source="BERxiT (Xin et al. 2021), eq. 6-11; appendix B: 3 epochs for BERT and ALBERT, 10 for RoBERTa",
        settings={"objective": "alternating", "objective_options": {"by": "step"}, "lte": True, "epochs": 3},
        policy="lte",
    ),
    "ensemble": Recipe(
        source="Sun et al. 2021, eq. 14; table 5 (ALBERT); for BERT they take --objective-option alpha=depth",
        settings={"objective": "diversity", "objective_options": {"lambda": 0.1}, "max_length": 128},
        tasks={
            "mrpc": _ensemble(5e-5, 32, 3, 0.1, 0.1),
            "sst2": _ensemble(1e-5, 16, 5, 0.0, 0.5),
            "qnli": _ensemble(2e-5, 32, 3, 0.1, 0.5),
            "rte": _ensemble(3e-5, 16, 5, 0.1, 0.1),
            "agnews": _ensemble(1e-5, 32, 5, 0.1, 0.5),
            "trec": _ensemble(2e-5, 16, 4, 0.1, 0.3),
            "sst5": _ensemble(2e-5, 16, 3, 0.2, 0.1),
        },
        policy="voting",
    ),
    "fastbert": Recipe(
        source="FastBERT (Liu et al. 2020), two stages",
        settings={"objective": "self_distillation", "objective_options": {"stages": 2}},
        policy="entropy",
        parameters={"normalized": True},
    ),
    "deebert": Recipe(
        source="DeeBERT (Xin et al. 2020), two stages (LECO eq. 2-3)",
        settings={"objective": "two_stage"},
        policy="entropy",
    ),
    "pabee": Recipe(
        source="PABEE (Zhou et al. 2020), deeper exits weigh more (GAML-BERT eq. 1)",
        settings={"objective": "weighted", "objective_options": {"weights": "depth"}},
        policy="patience",
    ),
    "leco": Recipe(
        source="LECO, joint training (eq. 1), learning rate of section 6.3",
        settings={"objective": "joint", "lr": 2e-5},
        policy="cobee",
    ),
}


def get_recipe(name: str) -> Recipe:
    """The recipe `name`, or a `UsageError` with the nearest names."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}: {nearest(name, list(RECIPES))}")
    return RECIPES[name]


def apply_recipe(name: str, task: str, given: dict[str, Any], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """Settings of recipe `name` for `task`, under those that were `given`.

    Options are merged one by one; entries of `given` that are None count as not given.

    Args:
        task: name of the task; what the paper prints for it is used where it prints something.
        given: values of `RetrainSettings` the user chose.
        defaults: values the recipe takes precedence over, such as those a genotype records.

    Returns:
        Values for `make_settings(RetrainSettings, ...)`, `recipe` among them.

    Raises:
        UsageError: an unknown recipe, or a given value that contradicts it.
    """
    recipe = get_recipe(name)
    given = {key: value for key, value in given.items() if value is not None}
    neutral: dict[str, Any] = {"weighting": "uniform", "gradient": "sum", "lte": False}
    for key in IDENTITY:
        own = recipe.settings.get(key, neutral.get(key))
        allowed = (own, *recipe.variants.get(key, ()))
        if key in given and given[key] not in allowed:
            also = f" (or {', '.join(map(str, allowed[1:]))})" if allowed[1:] else ""
            raise UsageError(
                f"--recipe {name} means {key} {_shown(own)}{also}, but {_shown(given[key])} was given: "
                "leave one of them out"
            )
    values: dict[str, Any] = dict(defaults or {})
    changed = {
        f"{key}_options" for key in IDENTITY if given.get(key, recipe.settings.get(key)) != recipe.settings.get(key)
    }
    for layer in (recipe.settings, recipe.tasks.get(task, {})):
        for key, value in layer.items():
            if key in changed:  # another rule than the recipe's own: keep the options it has, too
                value = {option: v for option, v in value.items() if option in _known_options(key, given)}
            values[key] = {**values.get(key, {}), **value} if key in _OPTIONS else value
    for key, value in given.items():
        values[key] = {**values.get(key, {}), **value} if key in _OPTIONS else value
    rise = values.pop("warmup_epochs", None)
    if rise is not None and "warmup" not in given:
        epochs = values.get("epochs", DEFAULT_EPOCHS)
        values["warmup"] = min(0.99, rise / max(1, epochs))
    return {**values, "recipe": name}


def _known_options(key: str, given: dict[str, Any]) -> set[str]:
    from exitnas.objectives.gradient import GRADIENT_RULES
    from exitnas.objectives.options import option_names
    from exitnas.objectives.weighting import WEIGHTINGS

    registry = {"weighting_options": WEIGHTINGS, "gradient_options": GRADIENT_RULES}[key]
    name = given[key.removesuffix("_options")]
    return set(option_names(registry.get(name), registry.fixed(name)))


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
