"""The search: a flat loop that alternates architecture and weight steps and ends with a genotype."""

from itertools import cycle
from typing import Any

from exitnas import __version__
from exitnas.distributed import begin
from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Origin
from exitnas.reporting.progress import Reporter
from exitnas.reporting.silent import silent
from exitnas.reporting.tensorboard import Scalars
from exitnas.search.refine import refine
from exitnas.search.second_order import second_order_step
from exitnas.search.state import SearchState, rows_of_d1
from exitnas.search.steps import architecture_step, weight_step
from exitnas.search.traces import SearchTraces
from exitnas.settings import SearchSettings
from exitnas.supernet.discretize import collapse_warning, decisions, discretize, undecided_warning
from exitnas.supernet.space import SearchSpace, load_space
from exitnas.training.batches import shuffled
from exitnas.training.checkpoint import set_generators
from exitnas.training.device import seeded, to_device
from exitnas.training.evaluation import all_logits, exit_scores, summarize
from exitnas.training.runs import Run, data_record
from exitnas.training.schedules import linear
from exitnas.training.setup import Setup, prepare


def search(settings: SearchSettings, run: Run, report: Reporter) -> dict[str, Any]:
    """Search exits and write the run directory: config, history, TensorBoard, genotype, summary.

    Under `accelerate launch` or torchrun all processes call this; the first one writes.

    A space with a single point (`linear`, `mha`) has nothing to search: its genotype is written at once.

    Returns:
        The summary: `run, genotype, avg, best, exits, seconds`, and `decisions` (of the arg-max exits), `refined`
        (layers whose exit replaced the arg-max one), `warning`, `costs`. Scores are those of the supernet on dev, None
        when nothing was searched.

    Raises:
        ExitnasError: bad data, an unreachable source, or a loss that is not finite.
    """
    space = load_space(settings.space).with_width(settings.exit_width)
    setup = prepare(settings)
    if space.exits() > 1 and len(setup.train) < 2:
        raise ExitnasError(f"{setup.data.source}: a search halves the training rows, expected at least 2, got 1")
    source = origin(setup, settings, space)
    setup.tell(report)
    record = settings.model_dump(mode="json")
    content = data_record(setup.data), setup.checksums(space=space.model_dump(mode="json"))
    scores: list[float] | None = None
    if space.exits() == 1:
        backbone = setup.backbone
        genotype = space.only_genotype(settings.backbone, backbone.num_layers, backbone.hidden_size, source)
        largest, counted = genotype, setup.counted(genotype)
        run.start("search", record, *content, report)
        if run.summary is not None:
            return run.summary
    else:
        with seeded(settings.seed, setup.device):
            state = SearchState.start(setup, settings, space)
            begin(state.supernet, settings.seed)
            saved = run.start("search", record, *content, report)
            if run.summary is not None:
                return run.summary
            with Scalars(run.path / "tb", report) if run.writes else silent() as scalars:
                scalars.start_session({"command": "search", **record})
                scores = _search(state, saved, setup, settings, source, run, scalars, report)
                architecture = state.supernet.architecture
                largest = discretize(architecture, settings.backbone, setup.backbone.hidden_size, source)
                genotype = refine(largest, state, setup, settings, report) if settings.refine else largest
                counted = setup.counted(genotype)
                if genotype != largest:
                    scalars.genotype(state.step, genotype, "refined")
                scalars.final(state.step, {"dev": summarize(scores)}, counted["costs"])
    if run.writes:
        genotype.save(run.path / "genotype.json")
    found = (undecided_warning(largest), collapse_warning(largest))
    warning = "; ".join(text for text in found if text) or None
    summary = {
        "run": str(run.path),
        "genotype": str(run.path / "genotype.json"),
        **({"exits": None, "avg": None, "best": None} if scores is None else summarize(scores)),
        "seconds": run.seconds,
        "decisions": decisions(largest),
        "refined": [layer for layer, exit_ in enumerate(genotype.exits, start=1) if exit_.refined],
        "warning": warning,
        **counted,
    }
    run.write_summary(summary)
    return summary


def _search(
    state: SearchState,
    saved: dict[str, Any] | None,
    setup: Setup,
    settings: SearchSettings,
    source: Origin,
    run: Run,
    scalars: Scalars,
    report: Reporter,
) -> list[float]:
    """Run the loop on `state` to its end, from what a checkpoint holds if `saved`; the last scores on dev."""
    per_epoch = -(-rows_of_d1(len(setup.train), settings.d1_share) // settings.batch_size)
    total = per_epoch * settings.epochs
    scores: list[float] = []
    scaled = settings.scale_exits and not setup.spec.regression
    traces = SearchTraces(state, settings, source, scalars)
    traces.start(run.history)
    if saved is not None:
        state.load_state_dict(saved)
        set_generators(saved["generators"])
        state.anneal(settings, total)  # as the epoch before left it
        scores = run.history[-1]["exits"]
        report.line(f"resumed after search epoch {state.epoch}/{settings.epochs}")
    while state.epoch < settings.epochs:
        if settings.split == "epoch" or state.epoch == 0:
            state.split(len(setup.train), settings.d1_share)
        first, second = (shuffled(setup.train, half, settings.batch_size, state.generator) for half in state.halves)
        searching = state.epoch >= settings.arch_warmup_epochs
        losses: dict[str, list[float]] = {"weights": [], "architecture": []}
        pairs = zip(first, cycle(second), strict=False)
        for rows, other_rows in report.track(pairs, f"search epoch {state.epoch + 1}/{settings.epochs}", len(first)):
            batch = to_device(setup.train.batch(rows), setup.device)
            factor = linear(state.step, total, settings.warmup)
            if searching:
                other = to_device(setup.train.batch(other_rows), setup.device)
                if settings.second_order:
                    loss = second_order_step(state, other, batch, factor, settings.clip, scaled, settings.accumulate)
                else:
                    loss = architecture_step(state, other, settings.precision, scaled, settings.accumulate)
                losses["architecture"].append(loss)
            state.anneal(settings, total)
            loss = weight_step(state, batch, settings.precision, factor, settings.clip, settings.accumulate)
            losses["weights"].append(loss)
        state.epoch += 1
        state.anneal(settings, total)

        logits = all_logits(state.supernet, setup.dev, settings.batch_size, setup.device, settings.precision)
        scores = exit_scores(logits, setup.data.dev, setup.spec)
        result = summarize(scores)
        means = {name: sum(values) / len(values) for name, values in losses.items() if values}
        told = traces.evaluation(means, result)
        run.log(epoch=state.epoch, step=state.step, split="dev", loss=means, **result, **told)
        report.line(
            f"search epoch {state.epoch}/{settings.epochs}: loss {means['weights']:.3f}, "
            f"dev avg {100 * result['avg']:.1f}, best {100 * result['best']:.1f}"
        )
        run.checkpoint(state.state_dict)
    return scores


def origin(setup: Setup, settings: SearchSettings, space: SearchSpace) -> Origin:
    """What the genotype records of the search; nothing that differs between two equal runs."""
    values = settings.model_dump(mode="json", exclude={"task", "backbone", "data_dir", "space", "seed", "offline"})
    return Origin(
        task=settings.task,
        data_dir=settings.data_dir,
        data_source=setup.data.source,
        space=space.name,
        seed=settings.seed,
        exitnas_version=__version__,
        settings=values,
    )
