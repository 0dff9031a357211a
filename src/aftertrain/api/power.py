"""What an evaluation would cost and what it could show, before anything is spent.

For each task: questions, tokens, minutes, what is missing here, and the paired difference of two models that its
questions find with power 80 % (Connor 1987; `core.statistics.pairs_needed`).
"""

from __future__ import annotations

import math
import os
import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.api.asked_model import AskedModel, asked_model
from aftertrain.api.rates import Rate, known_rate, measured_rate
from aftertrain.api.report import RUNS
from aftertrain.core.clusters import (
    ASSUMED_CORRELATION,
    LEAST_CLUSTERS,
    LEAST_GROUPS,
    LEAST_PAIRS,
    are_several,
    counts,
    mean_size,
    names,
    planned_effect,
    questions_needed,
)
from aftertrain.core.errors import AftertrainError, RunError
from aftertrain.core.statistics import detectable, pairs_needed

if TYPE_CHECKING:
    from aftertrain.api.evaluation import Task
    from aftertrain.core.benchmark.suite import NamedTask
    from aftertrain.core.eval_task import EvalTask, Instance
    from aftertrain.core.settings import Builder, Use

ASSUMED = (0.1, 0.3, 0.4)
"""Shares of discordant pairs where no earlier pair of runs says one; the middle one is gone by."""
COUNTED = 256
"""Prompts of a task that are counted in tokens; the others are taken to be like them."""
ROW, BYTES = 1000, 5
"""Bytes of a saved output beside its prompt and reply, and of a token of a reply."""
LONGEST = 8
"""Prompts, by their characters, among which the longest is looked for."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier pair of runs says of a task.

    Attributes:
        discordant: share of questions that one answered rightly and the other did not.
        correlation: of differences within a cluster; None where that pair shows none.
    """

    discordant: float
    correlation: float | None = None


@dataclass(frozen=True, slots=True)
class Clustering:
    """How the questions of a task hang together.

    Attributes:
        by: what those of a cluster share.
        counts: how many are in how many.
        correlation: ρ, of the differences of two models within a cluster: an earlier pair's, or assumed.
        measured: whether an earlier pair says it.
        effect: 1 + (m̃ - 1)ρ of the questions that would be asked (Kish 1965): of so many times as many they find what
            independent ones do; infinite of fewer clusters than find anything.
        size: m̃ = Σ m² / Σ m, over all questions of the task; infinite likewise.
        asked: whether an earlier pair was given.
    """

    by: str
    counts: str
    correlation: float
    measured: bool
    effect: float
    size: float
    asked: bool = False

    def __str__(self) -> str:
        if math.isinf(self.effect):
            return f"clustered by {self.by}: {self.counts}; fewer than {LEAST_CLUSTERS} clusters find no difference"
        few = f", as the earlier pair shows none (that takes {LEAST_PAIRS} pairs in {LEAST_GROUPS} clusters)"
        said = "by the earlier pair" if self.measured else f"assumed{few if self.asked else ''}"
        return (
            f"clustered by {self.by}: {self.counts}; differences are counted with a design effect of {self.effect:.2g} "
            f"(correlation {self.correlation:.2g} within a cluster, {said})"
        )


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """One task, as it would be run.

    Attributes:
        n: questions that would be asked, of so many (`of`).
        prompt_tokens: read, from a sample of the prompts where there are many.
        longest: tokens of the longest prompt, with its longest choice.
        reply_tokens: written at most.
        characters: of prompts, where their tokens cannot be counted here.
        minutes: at most; None where no rate is known.
        cost: of an endpoint's tokens at most, by its prices; 0 where it has none.
        saved: bytes that its outputs take on disk, at most.
        missing: what is not here that it needs, and how it is had.
        notes: what a user should know.
        earlier: of an earlier pair of runs, None where there is none.
        detects: by share of discordant pairs, the difference that n questions find; None where they find none.
        needed: questions for the difference that is asked for; None where none is.
        clustering: None where its questions are independent.
    """

    name: str
    n: int = 0
    of: int = 0
    prompt_tokens: int = 0
    longest: int = 0
    reply_tokens: int = 0
    characters: int = 0
    minutes: float | None = None
    cost: float = 0.0
    saved: int = 0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    earlier: Earlier | None = None
    detects: Mapping[float, float | None] = field(default_factory=dict)
    needed: int | None = None
    clustering: Clustering | None = None


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What an evaluation would do.

    Attributes:
        rate: by which minutes are counted; None where it is not known.
        difference: that is asked for.
        free: bytes on the disk where its run would lie.
    """

    model: str
    rows: tuple[PlannedRow, ...]
    rate: Rate | None
    difference: float | None
    free: int

    @property
    def ready(self) -> list[PlannedRow]:
        """The rows that can be run."""
        return [row for row in self.rows if row.n and not row.missing]


def plan_evaluation(
    model: str | os.PathLike[str],
    tasks: Sequence[Task],
    settings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    *,
    chat_template: str | None = None,
    earlier: Sequence[str | os.PathLike[str]] = (),
    difference: float | None = None,
    rate: Rate | None = None,
) -> EvaluationPlan:
    """Plan an evaluation; nothing is run, and no weights are loaded.

    Args:
        model: a folder, a hub name, a run's, or an endpoint, which is not asked.
        tasks: names or mappings, of suites too.
        settings: of the stage, as for `evaluate`.
        overrides: paths into its recipe, as `stages.evaluate.tasks.0.shots=4`.
        earlier: two finished evaluations, from which the share of discordant pairs and, unless `rate` is given, the
            speed are taken.
        difference: for which each task's questions are counted.
        rate: tokens a second; None takes that of the latest evaluation of the model under `runs/`.

    Raises:
        RecipeError: unknown tasks or settings. ModelError: there is no such model. RunError: `earlier` is no pair.
    """
    from aftertrain.api.evaluation import STAGE, load_one_stage, named_model, with_generator
    from aftertrain.core.benchmark.suite import named_tasks

    if earlier and len(earlier) != 2:
        raise RunError(f"an earlier pair of runs is two evaluations, not {len(earlier)}")
    named = named_model(os.fspath(model))
    recipe = {
        "name": STAGE,
        "model": named,
        "chat_template": chat_template,
        "stages": {STAGE: {"use": "evaluate", "tasks": list(tasks), **with_generator(named, settings or {})}},
    }
    loaded = load_one_stage(recipe, overrides)
    stage: Any = loaded.recipe.stages[STAGE].settings
    asked = asked_model(loaded.recipe.base_model, stage, loaded.builder, chat_template)
    rate = rate or (measured_rate(earlier[-1]) if earlier else known_rate(asked.name, Path(RUNS)))
    known = _earlier(*earlier) if earlier else {}
    planner = _Planner(loaded.builder, stage, asked, rate, known, difference)
    rows = tuple(planner.row(named) for named in named_tasks(stage.tasks))
    place = next(folder for folder in (Path(RUNS), Path.cwd()) if folder.is_dir())
    return EvaluationPlan(os.fspath(model), rows, rate, difference, shutil.disk_usage(place).free)


def _earlier(before: str | os.PathLike[str], after: str | os.PathLike[str]) -> dict[str, Earlier]:
    """By task, of its headline."""
    from aftertrain.api.comparing import compare
    from aftertrain.api.comparison import discordance

    comparison = compare(before, after)
    found: dict[str, Earlier] = {}
    for row in comparison.differences[comparison.sides[1]]:
        if (share := discordance(row)) is not None:
            found.setdefault(row.task, Earlier(max(share, 1 / row.n), row.correlation))
    return found


@dataclass
class _Planner:
    builder: Builder
    stage: Any
    asked: AskedModel
    rate: Rate | None
    known: Mapping[str, Earlier]
    difference: float | None

    def row(self, named: NamedTask) -> PlannedRow:
        """One task; what keeps it from running stands in `missing`."""
        from aftertrain.core.benchmark.seal import sealed_as
        from aftertrain.core.benchmark.source import with_folder
        from aftertrain.plugins.evaluation.suite import ReadyTask

        use = with_folder(named.use, self.stage.data)
        missing = [*self.asked.lacking, *_lacking(self.builder, use)]
        try:
            task: EvalTask[Any] = self.builder.build(use)
            every = task.instances()
        except AftertrainError as error:
            return PlannedRow(named.name, missing=tuple(dict.fromkeys([*missing, str(error)])))
        sealed = sealed_as(task, every) or (named.name if named.sealed else None)
        if sealed is not None and self.stage.unseal is None:
            missing.append(f"a reason to score the sealed benchmark {sealed!r}: 'unseal' of the stage, --unseal")
        limits = [most for most in (self.stage.limit, named.limit) if most is not None]
        n = min([*limits, len(every)])
        try:
            missing += self.asked.objections(task, ReadyTask(named.name, task, self.stage, named.limit, use=use))
            read, longest, write = self._tokens(task, every, n)
            refused, notes = self._fit(task, longest)
            missing += refused
        except AftertrainError as error:
            missing.append(str(error))
            read = longest = write = 0
            notes = []
        counted = self.asked.counts
        earlier = self.known.get(named.name)
        shares = (earlier.discordant,) if earlier else ASSUMED
        clustering = clustering_of(task, every, _asked(every, n), earlier)
        effect = 1.0 if clustering is None else clustering.effect
        return PlannedRow(
            named.name,
            n,
            len(every),
            read if counted else 0,
            longest if counted else 0,
            write,
            0 if counted else read,
            None if self.rate is None or not read or not counted else self.rate.minutes(read, write),
            self.asked.generator.price(read, write) if counted else 0.0,
            _saved(task, every, n, write),
            tuple(dict.fromkeys(missing)),
            (*notes, *((str(clustering),) if clustering is not None else ()), *task.notes()),
            earlier,
            {share: detectable(n, share, effect) for share in shares},
            None if self.difference is None else needed_for(self.difference, earlier, clustering, len(every)),
            clustering,
        )

    def _reply(self, task: EvalTask[Any]) -> int:
        """Most tokens of one reply; 0 where none is made."""
        from aftertrain.core.eval_task import ReplyTask

        if not isinstance(task, ReplyTask):
            return 0
        return self.stage.max_new_tokens or task.sampling().max_new_tokens

    def _fit(self, task: EvalTask[Any], longest: int) -> tuple[list[str], list[str]]:
        """What of the model's context keeps the task from running, as the stage would refuse it; and what is noted."""
        from aftertrain.core.eval_task import TextTask

        window, reply = self.asked.window, self._reply(task)
        if window is None or not self.asked.counts or isinstance(task, TextTask):  # a long text is scored in windows
            return [], []
        if longest + min(1, reply) > window:
            told = f"the longest prompt has {longest:,} tokens, the model's context {window:,}"
            cure = "a recipe's overlong: truncate cuts their start, overlong: fewer_shots takes worked examples away"
            return ([f"{told}; {cure}"], []) if self.stage.overlong == "stop" else ([], [told])
        if longest + reply > window:
            return [], [f"replies to the longest prompts are cut earlier: {longest:,} + {reply:,} of {window:,} tokens"]
        return [], []

    def _tokens(self, task: EvalTask[Any], every: Sequence[Instance], n: int) -> tuple[int, int, int]:
        """Tokens (or characters) of prompts, of the longest, and tokens of replies at most."""
        from aftertrain.core.eval_task import ReplyTask

        count = self.asked.counter(chat=any(instance.chat for instance in every))
        sample = every if len(every) <= COUNTED else random.Random(0).sample(list(every), COUNTED)
        counts = [count(instance) for instance in sample]
        by_length = sorted(every, key=lambda i: sum(len(message.content) for message in i.messages))[-LONGEST:]
        longest = max(count(instance)[1] for instance in by_length)
        samples = temperatures = 0
        if isinstance(task, ReplyTask):
            samples, temperatures = task.samples, len(self.stage.temperatures or (0.0,))
        asked = max(1, samples * temperatures)
        mean = sum(whole for whole, _ in counts) / len(counts)
        return round(mean * n * asked), longest, n * samples * temperatures * self._reply(task)


def _saved(task: EvalTask[Any], every: Sequence[Instance], n: int, written: int) -> int:
    """Bytes of a task's saved outputs at most: prompts once; replies as rows, in two checkpoints, and in the store."""
    from aftertrain.core.eval_task import ReplyTask

    samples = task.samples if isinstance(task, ReplyTask) else 1
    prompts = sum(len(message.content) for instance in every for message in instance.messages) / len(every)
    return round(n * samples * (prompts + ROW)) + 4 * BYTES * written


def _asked(every: Sequence[Instance], n: int) -> Sequence[Instance]:
    """Those that the stage would ask."""
    from aftertrain.plugins.evaluation.suite import subset

    return subset(every, n)


def clustering_of(
    task: EvalTask[Any], every: Sequence[Instance], asked: Sequence[Instance], earlier: Earlier | None
) -> Clustering | None:
    """How the questions that would be asked hang together; None where all of the task are independent."""
    whole, mine = ([instance.cluster for instance in instances] for instances in (every, asked))
    if not are_several(whole):
        return None
    measured = earlier is not None and earlier.correlation is not None
    rho = earlier.correlation if earlier is not None and earlier.correlation is not None else ASSUMED_CORRELATION
    effect = planned_effect(mean_size(mine), rho) if len(set(names(mine))) >= LEAST_CLUSTERS else math.inf
    size = mean_size(whole) if len(set(names(whole))) >= LEAST_CLUSTERS else math.inf
    return Clustering(task.clustered_by, counts(mine), rho, measured, effect, size, earlier is not None)


def needed_for(difference: float, earlier: Earlier | None, clustering: Clustering | None, total: int) -> int | None:
    """Questions that find a difference, of a task that has `total`; None where no number does."""
    share = earlier.discordant if earlier else ASSUMED[1]
    if difference > share:
        return None
    independent = pairs_needed(difference, share)
    if clustering is None:
        return independent
    if math.isinf(clustering.size):
        return None
    return questions_needed(independent, total, clustering.size, clustering.correlation)


def _lacking(builder: Builder, use: Use[Any]) -> Iterable[str]:
    """What the verifiers and judges that a task names do not find here: packages, data, keys, a sandbox."""
    from aftertrain.core.settings import nested
    from aftertrain.core.verifier import Verifier

    for inner in nested(use.settings):
        if inner.kind != Verifier.kind:
            continue
        try:
            builder.build(inner).preflight()
        except AftertrainError as error:
            yield f"{inner.kind} {inner.name}: {error}"
