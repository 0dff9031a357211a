"""What an evaluation task promises: there is something to ask, and any output gets every metric."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from aftertrain.core.clusters import are_several
from aftertrain.core.eval_task import (
    ChoiceScores,
    ChoiceTask,
    EvalTask,
    Instance,
    Output,
    ReplyTask,
    TextScores,
    TextTask,
)
from aftertrain.core.generator import Sampling
from aftertrain.core.records import Completion
from aftertrain.testing.fresh import in_child
from aftertrain.testing.promise import Subject, require
from aftertrain.testing.verifier import HOSTILE

LIMIT = 20
"""Instances whose scoring is tried with every hostile output."""
PATIENCE = 120.0


def instances_are_not_empty(subject: Subject) -> None:
    """There are instances, each with a unique id, a prompt with text, and choices if choices are scored.

    Where they make up clusters, the task says what those of one share.
    """
    task = _task(subject)
    instances = task.instances()
    require(len(instances) > 0, "it has no instances")
    seen: set[str] = set()
    for instance in instances:
        require(instance.id and instance.id not in seen, f"id {instance.id!r} is empty or given twice")
        seen.add(instance.id)
        require(any(m.content.strip() for m in instance.messages), f"instance {instance.id!r} has an empty prompt")
        require(isinstance(instance.cluster, str), f"instance {instance.id!r}: cluster {instance.cluster!r} is no text")
        if isinstance(task, ChoiceTask):
            require(bool(instance.choices), f"instance {instance.id!r} has no choices")
        if isinstance(task, TextTask):
            require(not instance.chat, f"instance {instance.id!r} is a text to score, and is no chat: chat=False")
    clustered = are_several([instance.cluster for instance in instances])
    require(not clustered or task.clustered_by.strip(), "instances make up clusters, and 'clustered_by' is blank")


def instances_are_stable(subject: Subject) -> None:
    """Twice, in a new instance and in a new process: equal instances and fingerprint."""
    task = _task(subject)
    first = list(task.instances())
    require(list(task.instances()) == first, "asked twice, instances differ")
    require(list(_task(subject).instances()) == first, "a new instance has other instances")
    print_ = task.fingerprint()
    require(re.fullmatch(r"[0-9a-f]{16,}", print_), f"the fingerprint {print_!r} is no hex digest")
    ids, theirs, content = in_child(identify, task, patience=PATIENCE, doing="making instances in a new process")
    require(ids == [instance.id for instance in first], "a new process makes other instances")
    require(theirs == print_, f"a new process finds the fingerprint {theirs}, this one {print_}")
    require(content == task.content(), f"a new process finds the content {content}, this one {task.content()}")


def scoring_is_total(subject: Subject) -> None:
    """Any output, however odd, gets every one of `metrics` as a finite number, alone and among others."""
    task: Any = _task(subject)
    metrics = set(task.metrics)
    for instance in list(task.instances())[:LIMIT]:
        outputs = list(_outputs(task, instance))
        scores = [task.score(instance, output) for output in outputs]
        for output, score in zip(outputs, scores, strict=True):
            what = f"instance {instance.id!r}, output {str(output)[:80]}"
            require(set(score.metrics) == metrics, f"{what}: metrics {sorted(score.metrics)}, not {sorted(metrics)}")
            require(all(math.isfinite(v) for v in score.metrics.values()), f"{what}: {dict(score.metrics)}")
        if hasattr(task, "score_all"):
            together = task.score_all([instance] * len(outputs), outputs)
            require(list(together) == scores, f"instance {instance.id!r}: score_all and score differ")


def figures_are_numbers(subject: Subject) -> None:
    """Each of `figures`, named once, makes a finite number of the scores of a question's outputs."""
    task: Any = _task(subject)
    figures = task.figures()
    names = [figure.name for figure in figures]
    require(names and len(set(names)) == len(names), f"figures are named {names}")
    instance = task.instances()[0]
    samples = getattr(task, "samples", 1)
    outputs = [output for _, output in zip(range(samples), cycle(_outputs(task, instance)), strict=False)]
    scores = [task.score(instance, output) for output in outputs]
    for figure in figures:
        value = figure.value(scores)
        require(isinstance(value, float) and math.isfinite(value), f"figure {figure.name!r} gives {value!r}")


def sampling_is_settings(subject: Subject) -> None:
    """`sampling` says how replies are drawn, and `samples` how many."""
    task = _task(subject)
    if isinstance(task, ReplyTask):
        require(isinstance(task.sampling(), Sampling), "sampling() gives no Sampling")
        require(task.samples >= 1, f"samples is {task.samples!r}")


def identify(task: EvalTask[Any], tell: Callable[[str], None]) -> tuple[list[str], str, str]:
    """Ids, fingerprint and content; runs in a child process."""
    tell("making its instances in a new process")
    return [instance.id for instance in task.instances()], task.fingerprint(), task.content()


def _outputs(task: EvalTask[Any], instance: Instance) -> Iterator[Output]:
    """Hostile outputs of the task's kind."""
    if isinstance(task, ReplyTask):
        for text in (text for text in HOSTILE if len(text) < 10_001):
            yield Completion(instance.id, (1,), (2,), (0.0,), (0,), "length", text)
    elif isinstance(task, ChoiceTask):
        count = len(instance.choices)
        for logprobs in ((0.0,) * count, (-1e6,) * count, tuple(-float(i) for i in range(count))):
            baseline = (-1.0,) * count if instance.baseline is not None else ()
            yield ChoiceScores(logprobs, (1,) * count, (False,) * count, baseline)
    else:
        yield from (TextScores(0.0, 1), TextScores(-1e6, 1), TextScores(-1.0, 10_000))


def _task(subject: Subject) -> EvalTask[Any]:
    component: EvalTask[Any] = subject.component()
    known = isinstance(component, ReplyTask | ChoiceTask | TextTask)
    require(known, f"{subject.entry.component} is no ReplyTask, ChoiceTask or TextTask")
    return component
