"""The page: `render(run_folder)` puts the facts, charts and choices together and fills the template.

The result is one HTML text without outside assets. A content security policy with the hash of its only script lets
nothing else run, so that even a fault in escaping could not make a model's reply act. Same files, same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from aftertrain.core import clusters
from aftertrain.core.events import Sample
from aftertrain.core.ground.cleaning import visible
from aftertrain.plugins.report import numbers, provenance, rollouts
from aftertrain.plugins.report.alarms import Told, alarms
from aftertrain.plugins.report.chart import BOX
from aftertrain.plugins.report.curation import curated
from aftertrain.plugins.report.curves import Curves, curves
from aftertrain.plugins.report.facts import Difference, Run, Score, Stage
from aftertrain.plugins.report.forest import Forest, Row, forest
from aftertrain.plugins.report.graph import graph, is_evaluation, tones
from aftertrain.plugins.report.instances import Browsed, Chosen, Instances
from aftertrain.plugins.report.lengths import Lengths, lengths
from aftertrain.plugins.report.marking import marked
from aftertrain.plugins.report.outcome import (
    Comparison,
    ScoreSeries,
    all_comparisons,
    main_series,
    model_of,
    overall,
    score_series,
    sentence,
    steps,
)
from aftertrain.plugins.report.outline import outline
from aftertrain.plugins.report.reading import read_run
from aftertrain.plugins.report.settings import DEFAULTS, HtmlSettings
from aftertrain.plugins.report.suites import HEIGHT, WIDTH, heat_maps, parts_of, suite_sentence, suite_tables
from aftertrain.plugins.report.verdicts import outcome_rows, place

TRAINING_SAMPLES = 6


@dataclass(frozen=True, slots=True)
class Panel:
    """One series: its scores, its differences, and the comparison of first and last."""

    series: ScoreSeries
    scores: Forest
    differences: Forest | None
    overall: Comparison | None


@dataclass(frozen=True, slots=True)
class Training:
    """One training stage: its rows, curves, alarms and a few sampled replies."""

    stage: Stage
    lengths: Lengths | None
    curves: Curves
    alarms: tuple[Told, ...]
    samples: tuple[tuple[int | None, Sample], ...]


def render(run_folder: Path, settings: HtmlSettings = DEFAULTS) -> str:
    """The report of a run as HTML.

    Raises:
        RunError: the folder holds no run, or one of its files is damaged.
    """
    run = read_run(run_folder)
    instances = Instances({stage.name: stage.folder for stage in run.stages if is_evaluation(stage)})
    series = score_series(run.scores, instances)
    shown = main_series(series)
    suites = suite_tables(run)
    compared = all_comparisons(run, shown, instances)
    templates = environment(settings)
    script, style = asset("script.js"), asset("style.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return templates.get_template("template.html.j2").render(
        run=run,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
        script=script,
        style=style,
        sentence=suite_sentence(run, suites) or sentence(run, shown, compared),
        steps=steps(run, shown, compared),
        trouble=_trouble(run),
        panels=[_panel(run, curve, compared[curve]) for curve in shown],
        computed=any(c.computed for group in compared.values() for c in group),
        more=[curve for curve in series if curve not in shown],
        suites=suites,
        heat_maps=heat_maps(run, instances),
        contaminations=[(stage.name, row, parts_of(stage, row)) for stage in run.stages for row in stage.contamination],
        openings=list(dict.fromkeys(opening for stage in run.stages for opening in stage.openings)),
        browsed=_browsed(series, instances, settings.questions),
        chosen=[(curve, problems) for curve in shown[:1] if (problems := _choose(curve, instances, settings.problems))],
        curated=[made for stage in run.stages if (made := curated(stage)) is not None],
        trainings=[
            _training(stage) for stage in run.stages if (stage.metrics or stage.rows) and not is_evaluation(stage)
        ],
        rollouts=[
            browsed
            for stage in run.stages
            if (browsed := rollouts.browse(stage, run.manifest.base.path, settings.rollouts, settings.characters))
        ],
        standing=[(stage.name, told) for stage in run.stages for told in alarms(stage) if told.until is None],
        health=[
            (stage.name, place(row.task, row.temperature), row)
            for stage in run.stages
            for row in stage.health
            if not instances.likelihood(stage.name, row.task)
        ],
        speeds=[(stage.name, place(row.task, row.temperature), row) for stage in run.stages for row in stage.speeds],
        outcomes=outcome_rows(run.stages, instances),
        graph=graph(run),
        tones=tones(run),
        facts=provenance.facts(run),
        machine=provenance.machine(run),
        plugins=provenance.plugins(run),
        packages=list(run.manifest.packages.items()),
        others=[(entry, outline(entry.data)) for entry in run.others],
        warnings=[("", text) for text in run.warnings]
        + [(stage.name, text) for stage in run.stages for text in stage.warnings],
        version=provenance.version(run),
    )


def environment(settings: HtmlSettings) -> jinja2.Environment:
    """Templates with their filters: numbers as people read them, and model text that hides nothing and ends."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("aftertrain.plugins.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "number": numbers.number,
        "count": numbers.count,
        "counted": numbers.counted,
        "percent": numbers.percent,
        "duration": numbers.duration,
        "visible": visible,
        "excerpt": lambda text: visible(str(text)[: settings.characters]),
        "marked": lambda text, answer: marked(visible(str(text)[: settings.characters]), visible(str(answer or ""))),
        "hidden": lambda text: max(0, len(str(text)) - settings.characters),
        "outline": outline,
        "when": provenance.when,
        "questions": _counted,
    }
    templates.globals |= {"model_of": model_of, "box": BOX, "spark": (WIDTH, HEIGHT)}
    return templates


def asset(name: str) -> str:
    """A file of the page's own: its style or its script."""
    return resources.files("aftertrain.plugins.report").joinpath(name).read_text(encoding="utf-8")


def _panel(run: Run, series: ScoreSeries, compared: Sequence[Comparison]) -> Panel:
    colour = tones(run)
    rows = [_score_row(run, series, score, colour.get(score.stage, "t0")) for score in series.scores]
    differences = [_difference_row(run, series, comparison) for comparison in compared]
    words = " · ".join(filter(None, (series.task, series.metric.replace("_", " "), series.condition)))
    return Panel(
        series,
        forest(words, "%" if series.share else "", rows, bounds=(0.0, 100.0) if series.share else None, zero=False),
        forest(words, "points" if series.share else "", differences, bounds=None, zero=True) if differences else None,
        overall(series, compared),
    )


def _score_row(run: Run, series: ScoreSeries, score: Score, tone: str) -> Row:
    scale, found = 100 if series.share else 1, score.interval
    mean, low, high = (None, score.lowest, score.highest) if found is None else (found.mean, found.low, found.high)
    return Row(
        label=model_of(run, score.stage),
        detail=score.stage,
        tone=tone,
        mean=None if mean is None else mean * scale,
        low=None if low is None else low * scale,
        high=None if high is None else high * scale,
        value=series.headline(score),
        interval="" if found is None else series.interval(found.low, found.high),
        n=_counted(score),
        note=", ".join(filter(None, (_clustered(score), _doubt(series, score)))),
    )


def _counted(score: Score) -> str:
    """Questions that a score is made of, and of how many where some have no verdict."""
    n = numbers.count(score.n)
    return n if score.of in (None, score.n) else f"{n} of {numbers.count(score.of or 0)}"


def _difference_row(run: Run, series: ScoreSeries, compared: Comparison) -> Row:
    d = compared.difference
    scale = 100 if series.share else 1
    detail = "first to last, computed here" if compared.computed else f"{d.stage} against {d.against}"
    return Row(
        label=f"{model_of(run, d.stage)} − {model_of(run, d.against)}",
        detail=detail,
        tone=compared.direction,
        mean=d.mean * scale,
        low=d.low * scale,
        high=d.high * scale,
        value=series.write_difference(d.mean),
        interval=series.difference_interval(d.low, d.high),
        n=numbers.count(d.n),
        verdict=compared.verdict,
        note=", ".join(filter(None, (_flips(d), _clustered(d)))),
    )


def _clustered(row: Score | Difference) -> str:
    return "" if row.clusters is None else clusters.told(row.clustered_by, row.clusters)


def _doubt(series: ScoreSeries, score: Score) -> str:
    """What judging that failed leaves open of a score."""
    if not score.unjudged:
        return ""
    words = f"{numbers.count(score.unjudged)} could not be judged"
    if score.lowest is None or score.highest is None:
        return f"{words}, and nothing bounds what they leave open"
    return f"{words}: {series.interval(score.lowest, score.highest)}"


def _flips(difference: Difference) -> str:
    left_out = f"{numbers.counted(difference.unjudged, 'pair')} left out, not judged" if difference.unjudged else ""
    if difference.better is None or difference.worse is None:
        return left_out
    flips = f"{numbers.count(difference.better)} up, {numbers.count(difference.worse)} down"
    p = difference.adjusted
    flips += "" if p is None else ", p < 0.001" if p < 0.001 else f", p = {numbers.number(p, 2)}"
    return ", ".join(filter(None, (flips, left_out)))


def _browsed(series: Sequence[ScoreSeries], instances: Instances, number: int) -> list[Browsed]:
    """Questions of each task at its first temperature."""
    first = {curve.task: curve for curve in reversed(series)}
    tasks = dict.fromkeys(curve.task for curve in series)
    return [
        question
        for task in tasks
        for question in instances.browse(
            list(dict.fromkeys(score.stage for score in first[task].scores)), task, first[task].temperature, number
        )
    ]


def _choose(series: ScoreSeries, instances: Instances, number: int) -> Chosen | None:
    if not series.share or series.mixed:
        return None
    stages = [score.stage for score in series.scores]
    return instances.choose(stages, series.task, series.metric, series.temperature, number)


def _training(stage: Stage) -> Training:
    """Samples evenly spaced over the recorded ones, the first and the last among them."""
    total, wanted = len(stage.samples), min(TRAINING_SAMPLES, len(stage.samples))
    places = {round(index * (total - 1) / max(1, wanted - 1)) for index in range(wanted)}
    shown = tuple(stage.samples[place] for place in sorted(places))
    return Training(stage, lengths(stage.rows), curves(stage), alarms(stage), shown)


def _trouble(run: Run) -> str:
    """What a reader must know first of a run that is not whole; empty when it finished."""
    undone = [stage.name for stage in run.stages if stage.status not in ("done", "reused")]
    left = f" Not done: {', '.join(undone)}." if undone else ""
    stopped = next((s for s in run.stages if s.status in ("failed", "interrupted", "unfinished") and s.hash), None)
    where = ""
    if stopped is not None:
        of = f" of {numbers.count(stopped.total)}" if stopped.total else ""
        where = f" in stage {stopped.name}" + (f" after step {numbers.count(stopped.step)}{of}" if stopped.step else "")
    again = " Running the same recipe again goes on from the last checkpoint."
    match run.status:
        case "failed":
            return f"This run failed{where}: {run.error or 'no reason was recorded'}.{left}".replace("..", ".")
        case "interrupted":
            return f"This run was stopped by the user{where}.{left}{again}"
        case "unfinished":
            return f"This run has no recorded end{where}: it was killed or is still running.{left}{again}"
        case _:
            return f"This run finished, but not every stage was run.{left}" if undone else ""
