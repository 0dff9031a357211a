"""A reply of an online stage with all that became of it: verdicts, other readings of it, rewards, its tokens' fate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from aftertrain.core.errors import AftertrainError, RunError, unknown

if TYPE_CHECKING:
    from aftertrain.core.events import Sample
    from aftertrain.core.learning.rollouts import ReplyTokens
    from aftertrain.core.records import Problem, Verdict
    from aftertrain.core.run.manifest import Manifest
    from aftertrain.core.settings import Use
    from aftertrain.core.verifier import Verifier


@dataclass(frozen=True)
class Reading:
    """A verdict of the same verifier with one setting changed.

    Attributes:
        verifier: its name among the rewards.
        change: as `setting=value`.
    """

    verifier: str
    change: str
    verdict: Verdict


@dataclass(frozen=True)
class FoundReply:
    """A reply of one step.

    Attributes:
        name: `RUN:STAGE`.
        steps: all steps that have a reply of this id.
        truths: what it is compared with, by the name of the reward.
        readings: what other settings of its verifiers make of it.
        unread: why there are none.
    """

    name: str
    step: int
    steps: tuple[int, ...]
    sample: Sample
    tokens: ReplyTokens
    truths: tuple[tuple[str, str], ...] = ()
    readings: tuple[Reading, ...] = ()
    unread: str = ""


@dataclass(frozen=True)
class Passage:
    """One of a problem's replies, as the steps went by."""

    step: int
    sample: Sample


def find_reply(run: str | os.PathLike[str], id: str, step: int | None = None) -> FoundReply:
    """The reply of an id, in that step or the last one that has it.

    Args:
        run: `RUN:STAGE`; RUN alone where it has one stage with rollouts.

    Raises:
        RunError: there is no such run, stage, step or reply; a file is damaged.
    """
    from aftertrain.core.learning.rollouts import RolloutFile

    name, stage, folder, manifest = _stage(run)
    steps = tuple(dict.fromkeys(place for place, sample in _lines(folder, id) if sample.id == id))
    if not steps or (step is not None and step not in steps):
        where = f"in step {step}" if step is not None else "in any step"
        there = f"; it is in step {', '.join(map(str, steps))}" if steps else _near(folder, id)
        raise RunError(f"{name}: no reply {id!r} {where}{there}")
    chosen = steps[-1] if step is None else step
    rollouts = RolloutFile(folder, chosen).read()
    place = rollouts.find(id)
    sample = rollouts.samples[place]
    found = FoundReply(name, chosen, steps, sample, rollouts.replies[place])
    return _read(found, stage, folder, manifest)


def passages(run: str | os.PathLike[str], problem: str) -> list[Passage]:
    """All replies to a problem, step by step; empty where there is none.

    Raises:
        RunError: see `find_reply`.
    """
    _, _, folder, _ = _stage(run)
    return [Passage(step, sample) for step, sample in _lines(folder, problem) if sample.problem == problem]


def _stage(run: str | os.PathLike[str]) -> tuple[str, str, Path, Manifest]:
    from aftertrain.api.finished import manifest_of, split_name
    from aftertrain.api.history import history
    from aftertrain.core.learning.rollouts import kept_steps
    from aftertrain.core.run.folder import RunFolder

    path, wanted = split_name(run)
    folders = {stage.name: RunFolder(path).stage(stage.name, stage.hash) for stage in history(path)}
    kept = {stage: folder for stage, folder in folders.items() if kept_steps(folder)}
    if not kept:
        raise RunError(f"{path}: no stage has rollouts; aftertrain show {path} --samples shows what stages recorded")
    if wanted and wanted not in kept:
        raise RunError(f"{path}: {unknown('stage with rollouts', wanted, kept)}")
    if not wanted and len(kept) > 1:
        there = ", ".join(kept)
        raise RunError(f"{path} has several stages with rollouts, {there}: name one, as in {path.name}:{min(kept)}")
    stage = wanted or next(iter(kept))
    return f"{path.name}:{stage}", stage, kept[stage], manifest_of(path)


def _lines(folder: Path, id: str) -> Iterator[tuple[int, Sample]]:
    """Replies whose lines hold a text, with their steps, in order."""
    from aftertrain.core.events import Sample
    from aftertrain.core.events.lines import event_of
    from aftertrain.core.ground.cleaning import json_text
    from aftertrain.core.ground.reading import decode, parse_json, read_lines
    from aftertrain.core.learning.rollouts import RolloutFile, kept_steps

    wanted = json_text(id, verbatim=True)[1:-1].encode()
    for step in kept_steps(folder):
        path = RolloutFile(folder, step).samples
        for number, line in read_lines(path):
            if wanted in line:
                facts = parse_json(decode(line, f"{path}:{number}"), str(path), line=number)
                sample = event_of(Sample, facts)
                if isinstance(sample, Sample):
                    yield step, sample


def _near(folder: Path, id: str) -> str:
    """Ids of the last step that are like it."""
    from aftertrain.core.errors import nearest
    from aftertrain.core.learning.rollouts import RolloutFile, kept_steps

    samples = RolloutFile(folder, kept_steps(folder)[-1]).read().samples
    guess = nearest(id, [sample.id for sample in samples])
    return f". Did you mean {guess!r}?" if guess else f"; one of the last step is {samples[0].id!r}" if samples else ""


def _read(reply: FoundReply, stage: str, folder: Path, manifest: Manifest) -> FoundReply:
    """With what the reply is compared with and what its verifiers' other settings make of it; or why there is none."""
    from aftertrain.api.finished import loaded_manifest
    from aftertrain.core.ground.cleaning import json_text
    from aftertrain.core.verification import isolate, shared_pool
    from aftertrain.core.verification.checks import case_of, reward_name, with_rewards
    from aftertrain.core.verification.settings import PoolSettings

    sample = reply.sample
    truths, readings = [], []
    try:
        loaded = loaded_manifest(manifest, run=folder.parents[1])
        settings: Any = loaded.recipe.stages[stage].settings
        problem = _problem(loaded.builder.build(settings.data), sample.problem)
        uses = {reward_name(use): use for use in settings.rewards}
        everywhere = [name for name, use in uses.items() if loaded.builder.build(use).every_problem]
        for check in with_rewards(problem, uses, settings.checks, everywhere).checks:
            name, truth = check.verifier, check.ground_truth
            truths.append((name, truth if isinstance(truth, str) else json_text(truth)))
            for change, use in _changes(uses[name]):
                verifier: Verifier[Any] = loaded.builder.build(use)
                verifier.preflight()
                asked = case_of(problem, check, sample.id, thoughts=_thoughts(folder, manifest, problem))
                special = sample.response_with_special
                case = replace(asked, response=sample.response, response_with_special=special)
                isolated = isolate(verifier, shared_pool(PoolSettings()))
                readings.append(Reading(name, change, isolated.verify([case])[0]))
    except AftertrainError as error:
        return replace(reply, truths=tuple(truths), unread=str(error))
    return replace(reply, truths=tuple(truths), readings=tuple(readings))


def _problem(data: Any, id: str) -> Problem:
    for problem in data:
        if problem.id == id:
            return problem  # type: ignore[no-any-return]  # a data set of problems, as the stage had it
    raise RunError(f"the stage's data have no problem {id!r} any more")


def _changes(use: Use[Any]) -> Iterator[tuple[str, Use[Any]]]:
    """The verifier with another value of one of its settings that are a choice among words."""
    from pydantic import ValidationError

    from aftertrain.core.settings import Use

    kind = type(use.settings)
    for name, field in kind.model_fields.items():
        if get_origin(field.annotation) is not Literal:
            continue
        for value in get_args(field.annotation):
            if value == getattr(use.settings, name):
                continue
            given = {key: getattr(use.settings, key) for key in use.settings.model_fields_set}
            try:
                yield f"{name}={value}", Use(use.kind, use.name, kind(**{**given, name: value}))
            except ValidationError:
                continue  # the two do not go together


def _thoughts(folder: Path, manifest: Manifest, problem: Problem) -> Any:
    """How the chat template marks thoughts; None where the stage has left no model, and so no template, yet."""
    from aftertrain.core.text.answer import thoughts_of
    from aftertrain.core.text.chat import load_tokenizer, render_text

    if not (folder / "model").is_dir():
        return None
    tokenizer = load_tokenizer(str(folder / "model"), manifest.recipe.get("chat_template"))
    text = render_text(tokenizer, problem.prompt, generation_prompt=True, tools=problem.tools)
    return thoughts_of(str(tokenizer.chat_template), text)
