"""The stages of a recipe made ready, for a look at what goes into them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError, UnknownName

if TYPE_CHECKING:
    from aftertrain.api.prompts import Request
    from aftertrain.api.runs import Overrides
    from aftertrain.core.records import Record
    from aftertrain.core.settings import Use
    from aftertrain.core.stage import PlanContext, Stage
    from aftertrain.registry.recipe import LoadedRecipe


@dataclass(frozen=True)
class ReadyStage:
    """A stage and what it may look at before it runs; it starts from the recipe's own model, whatever `from` says.

    Attributes:
        use: what the recipe says of it.
    """

    name: str
    use: Use[Stage[Any]]
    stage: Stage[Any]
    context: PlanContext


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing to look at.

    Attributes:
        name: what a heading says of it: its id, where it comes from.
        parts: what it consists of, each with its name.
    """

    name: str
    parts: tuple[tuple[str, str], ...]


def ready_stages(
    recipe: str | os.PathLike[str] | LoadedRecipe, overrides: Overrides = (), *, weights: bool = False
) -> dict[str, ReadyStage]:
    """The stages of a recipe by name, parents first.

    Args:
        weights: whether the model's weights must be there.

    Raises:
        AftertrainError: the recipe or its model cannot be used.
    """
    from aftertrain.api.plan import find_made_rows
    from aftertrain.api.runs import make_job
    from aftertrain.core.ground.endpoint import is_endpoint
    from aftertrain.core.learning.seeding import use_determinism
    from aftertrain.core.run.base_model import base_type, find_model
    from aftertrain.core.run.graph import build_graph
    from aftertrain.core.stage import PlanContext

    job = make_job(recipe, overrides)
    nodes = build_graph(job.recipe.stages, job.builder, job.locate, base_type(job.recipe.model))
    find_made_rows(job, nodes)
    model = job.recipe.base_model
    if not is_endpoint(model):
        model = str(find_model(model, job.base_folder, weights=weights))
    if weights:
        use_determinism(job.recipe.threads)
    template = job.recipe.chat_template
    return {
        n.name: ReadyStage(
            n.name, n.use, n.stage, PlanContext(n.name, model, job.recipe.seed_of(n.name), job.builder, template)
        )
        for n in nodes
    }


def named_stage(stages: Mapping[str, ReadyStage], name: str) -> ReadyStage:
    """The stage of a name.

    Raises:
        UnknownName: there is no such stage.
    """
    if name not in stages:
        raise UnknownName("stage", name, stages)
    return stages[name]


def rows(ready: ReadyStage, number: int) -> Iterator[Shown]:
    """The first rows of each data set of a stage, as they are read: what a recipe's fields and formats make of a file.

    Args:
        number: how many of each; 0 takes all.

    Raises:
        RunError: the stage reads no data set. DataError: a row does not fit.
    """
    uses = list(_outermost(ready.use, "dataset"))
    if not uses:
        raise RunError(f"stage {ready.name!r} reads no data set")
    for use in uses:
        data = ready.context.builder.build(use)
        records = list(islice(data, number or None))
        places = data.where([record.id for record in records])
        for record in records:
            name = " · ".join(
                filter(None, (record.id, f"{type(record).__name__} of {use.name}", places.get(record.id)))
            )
            yield Shown(name, tuple(parts_of(record)))


def prompts(ready: ReadyStage, number: int) -> Iterator[Shown]:
    """The first prompts that a stage gives a model, as the model reads them: template, shots and begun reply in place.

    Args:
        number: how many of each task or data set; 0 takes all.

    Raises:
        RunError: the stage asks a model nothing. DataError: a row does not fit, or the template cannot render it.
    """
    from aftertrain.api.prompts import requests
    from aftertrain.core.benchmark.source import with_folder
    from aftertrain.core.records import Problem
    from aftertrain.core.text.chat import load_tokenizer, prompt_text

    builder = ready.context.builder
    folder = getattr(ready.use.settings, "data", None)
    uses = [with_folder(use, folder) for use in _outermost(ready.use, "eval_task")]
    tasks = [(use.name, builder.build(use)) for use in uses]
    sets = [(use.name, builder.build(use)) for use in _outermost(ready.use, "dataset")]
    problems = [(name, data) for name, data in sets if data.record_type is Problem] if not tasks else []
    if not tasks and not problems:
        raise RunError(f"stage {ready.name!r} asks a model nothing: it has neither tasks nor problems")
    tokenizer = load_tokenizer(ready.context.model, ready.context.chat_template, needs_template=False)
    for name, task in tasks:
        yield from shown(requests(name, task, tokenizer, number or None))
    for name, data in problems:
        for problem in islice(data, number or None):
            text = prompt_text(tokenizer, problem.prompt, tools=problem.tools)
            yield Shown(f"{problem.id} · {name}", (("", text),))


def shown(asked: Iterable[Request]) -> Iterator[Shown]:
    """A question and what is scored behind it under one heading; equal contexts in a row stand once."""
    for (task, formulation, id_), group in groupby(asked, key=lambda r: (r.task, r.formulation, r.id)):
        parts: list[tuple[str, str]] = []
        context = None
        for request in group:
            parts += [] if request.context == context else [("", request.context)]
            parts += [] if request.continuation is None else [("continuation", request.continuation)]
            context = request.context
        yield Shown(" · ".join(filter(None, (id_, task, formulation))), tuple(parts))


def samples(run: Path, stage: str | None, step: int | None, number: int) -> Iterator[Shown]:
    """The last replies of a run that its stages recorded, with what was judged of them.

    Args:
        run: the run's folder.
        stage: only of this stage.
        step: only of this step.
        number: how many of each stage; 0 takes all.

    Raises:
        RunError: the run has none; names the stages that have some.
    """
    from aftertrain.core.events import Sample
    from aftertrain.core.events.lines import read_events

    entries = read_events(run / "events.jsonl")
    recorded = [(entry.stage, entry.step, entry.event) for entry in entries if isinstance(entry.event, Sample)]
    chosen = [row for row in recorded if stage in (None, row[0]) and step in (None, row[1])]
    if not chosen:
        there = ", ".join(dict.fromkeys(name for name, _, _ in recorded)) or "none"
        raise RunError(f"{run}: no such samples; stages that recorded some: {there}")
    for name in dict.fromkeys(name for name, _, _ in chosen):
        for _, at, sample in [row for row in chosen if row[0] == name][-number:]:
            parts = [("prompt", sample.prompt), ("response", sample.response)]
            parts += [("reward", str(sample.reward))] if sample.reward is not None else []
            for verdict in sample.verdicts:
                facts = (verdict.outcome, verdict.value, verdict.extracted, verdict.detail)
                parts.append((verdict.verifier, " · ".join(str(fact) for fact in facts if fact not in (None, ""))))
            yield Shown(" · ".join(filter(None, (name, f"step {at}", sample.task))), tuple(parts))


def _outermost(use: Use[Any], kind: str) -> Iterator[Use[Any]]:
    """Components of a kind in the settings of another, without those inside one that is already among them."""
    from aftertrain.core.settings import components

    inside: set[int] = set()
    for component in components(use):
        if component.kind == kind and id(component) not in inside:
            inside.update(map(id, components(component)))
            yield component


def parts_of(record: Record) -> Iterator[tuple[str, str]]:
    """The fields of a record that say something; each message is a part of its own."""
    from dataclasses import fields

    from aftertrain.core.ground.cleaning import json_text, plain
    from aftertrain.core.records import Message

    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == "id" or value in (None, ()):
            continue
        if isinstance(value, tuple) and isinstance(value[0], Message):
            for message in value:
                more = {k: v for k, v in plain(message).items() if v and k not in ("role", "content", "learn")}
                text = "\n".join(filter(None, (message.content, json_text(more) if more else "")))
                yield f"{field.name}, {message.role}{'' if message.learn else ', not learnt'}", text
        else:
            yield field.name, value if isinstance(value, str) else json_text(value)
