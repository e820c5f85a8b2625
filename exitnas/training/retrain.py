"""Retraining: a fresh backbone and the exits of a genotype, from scratch, checkpoint by AVG on dev (LECO 6.3)."""

from shutil import rmtree
from typing import Any

import numpy as np

from exitnas import __version__
from exitnas.backbones import ALIASES
from exitnas.backbones.sources import resolve
from exitnas.distributed import begin
from exitnas.drawing.heatmap import draw_loss_weights
from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype
from exitnas.modeling.card import SETTINGS
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.modeling.saving import save_model
from exitnas.objectives.plan import TrainingPlan
from exitnas.objectives.recipes import get_recipe
from exitnas.reporting.progress import Reporter
from exitnas.reporting.silent import silent
from exitnas.reporting.tensorboard import Scalars
from exitnas.settings import RetrainSettings
from exitnas.training.device import seeded
from exitnas.training.evaluation import all_logits, exit_scores, summarize
from exitnas.training.fit import fit
from exitnas.training.runs import Run, data_record
from exitnas.training.setup import Setup, prepare
from exitnas.training.traces import WEIGHTS_FILE


def retrain(settings: RetrainSettings, genotype: Genotype, run: Run, report: Reporter) -> dict[str, Any]:
    """Train the exits of `genotype` on a fresh backbone and write the run directory.

    Under `accelerate launch` or torchrun all processes call this; the first one writes.

    With several seeds, every seed trains its own model; the one with the best AVG on dev is saved, or with the best
    last exit where the objective chooses its checkpoint by that.

    Returns:
        The summary: `task, metric, split, exits, avg, best` (test, the mean over seeds), `std` of avg and best over
        seeds, `seeds` with every seed's scores, `plan` of training, `policy` a recipe recommends, `costs` per exit
        for a row of `tokens` tokens (the mean), `seconds`.

    Raises:
        UsageError: the genotype does not fit the backbone, or the plan of training makes no sense.
        ExitnasError: bad data, an unreachable source, or a loss that is not finite.
    """
    plan = TrainingPlan.from_settings(settings)
    setup = prepare(settings)
    plan.check_task(setup.spec.regression)
    if settings.layers is not None:
        setup.backbone.truncate(settings.layers)
    genotype.check_fits(setup.backbone.num_layers, setup.backbone.hidden_size, settings.backbone)
    setup.tell(report)
    checksums = setup.checksums(genotype=genotype.model_dump(mode="json"))
    saved = run.start("retrain", settings.model_dump(mode="json"), data_record(setup.data), checksums, report)
    if run.summary is not None:
        return run.summary
    if run.writes and saved is None:
        genotype.save(run.path / "genotype.json")
    results: list[dict[str, Any]] = [] if saved is None else saved["results"]
    best = -float("inf") if saved is None else saved["best"]
    for seed in range(settings.seed + len(results), settings.seed + settings.seeds):
        beside = {"results": list(results), "best": best}
        if saved is None and run.writes:  # of a seed that began after the checkpoint
            rmtree(run.path / "tb" / f"seed_{seed}", ignore_errors=True)
        with seeded(seed, setup.device):
            model, result = _one_seed(setup, settings, plan, genotype, seed, run, report, saved, beside)
        saved = None
        score = result["dev"]["exits"][-1] if plan.objective.stages()[-1].select == "last" else result["dev"]["avg"]
        if not results or score > best:
            best = score
            if run.writes:
                save_model(model, setup.tokenizer, run.path / "model")
        results.append(result)
    summary = {
        "run": str(run.path),
        "model": str(run.path / "model"),
        "task": setup.spec.name,
        "metric": setup.spec.metric,
        "split": "test",
        "objective": settings.objective,
        "recipe": settings.recipe,
        "plan": plan.describe(),
        "policy": None if settings.recipe is None else get_recipe(settings.recipe).recommended(),
        **_over_seeds(results),
        "seeds": results,
        **setup.counted(genotype),
        "seconds": run.seconds,
    }
    if run.writes and (run.path / WEIGHTS_FILE).exists():
        try:
            draw_loss_weights(run.path / WEIGHTS_FILE, run.path / "loss_weights.png")
        except ExitnasError as error:
            report.line(str(error))
    run.write_summary(summary)
    return summary


def _one_seed(
    setup: Setup,
    settings: RetrainSettings,
    plan: TrainingPlan,
    genotype: Genotype,
    seed: int,
    run: Run,
    report: Reporter,
    saved: dict[str, Any] | None,
    beside: dict[str, Any],
) -> tuple[MultiExitForSequenceClassification, dict[str, Any]]:
    backbone = setup.fresh_backbone()
    record = {
        "version": __version__,
        "max_length": setup.max_length,
        "data": settings.model_dump(include={"data_dir", "split_seed", "limit_eval"}),
    }
    model: Any = MultiExitForSequenceClassification.assemble(backbone, genotype, setup.spec, record, certainty=plan.lte)
    if all(stage.exits == "last" for stage in plan.objective.stages()):
        model.config.policy = {"name": "static", "parameters": {"exit": len(model.exits)}}  # the others are untrained
    model = model.to(setup.device)
    result: dict[str, Any] = {"seed": seed}
    begin(model, seed)
    with Scalars(run.path / "tb" / f"seed_{seed}", report) if run.writes else silent() as scalars:
        scalars.start_session({"command": "retrain", **settings.model_dump(mode="json"), "seed": seed})
        told = fit(model, setup, settings, plan, seed, run, scalars, report, saved, beside)
        if "angles_above_90" in told:
            result["angles_above_90"] = told["angles_above_90"]
        for name in ("dev", "test"):
            encoded, split = setup.split(name)
            logits = all_logits(model, encoded, settings.batch_size, setup.device, settings.precision)
            result[name] = summarize(exit_scores(logits, split, setup.spec))
        costs = setup.counted(genotype)["costs"]
        scalars.final(run.history[-1]["step"], {name: result[name] for name in ("dev", "test")}, costs)
    model.config.exitnas = {**record, "results": _recorded(setup, settings, seed, result)}
    report.line(f"seed {seed}: test avg {100 * result['test']['avg']:.1f}, best {100 * result['test']['best']:.1f}")
    return model, result


def _recorded(setup: Setup, settings: RetrainSettings, seed: int, result: dict[str, Any]) -> dict[str, Any]:
    """What the model keeps of its training for the card (`exitnas.modeling.card.Results`)."""
    source = resolve(settings.backbone)
    hub_id = ALIASES[settings.backbone].hub if source.where == "package" else source.path_or_id
    told = {key: value for key, value in settings.model_dump(mode="json").items() if key in SETTINGS}
    return {
        "base_model": None if source.where == "folder" else hub_id,
        "tokens": max(1, round(setup.train.mean_length())),
        "rows": setup.data.sizes,
        "dev": result["dev"]["exits"],
        "test": result["test"]["exits"],
        "settings": {**told, "max_length": setup.max_length, "seed": seed},
    }


def _over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean test scores over seeds; `std` is the sample deviation, None for a single seed."""
    tests = [result["test"] for result in results]
    exits = np.mean([test["exits"] for test in tests], axis=0).tolist()
    averages = [test["avg"] for test in tests]
    bests = [test["best"] for test in tests]
    several = len(results) > 1
    return {
        "exits": exits,
        "avg": float(np.mean(averages)),
        "best": float(np.mean(bests)),
        "std": {"avg": float(np.std(averages, ddof=1)), "best": float(np.std(bests, ddof=1))} if several else None,
    }
