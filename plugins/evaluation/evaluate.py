"""The stage `evaluate`: a model's scores on tasks, each with its interval, and differences to other stages in pairs.

Work goes in blocks of instances, each committed as a checkpoint: a killed evaluation repeats at most one block, and
ends with the bits of one that was never killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aftertrain.core.benchmark.source import reads_folder
from aftertrain.core.benchmark.suite import named_tasks
from aftertrain.core.completions.keeping import sharing
from aftertrain.core.component import aside
from aftertrain.core.errors import DataError, Interrupted
from aftertrain.core.eval_task import ReplyTask, TextTask
from aftertrain.core.events import Missing, Progress, Sample, SampleVerdict, Scores, Speed, VerdictCounts, Warned
from aftertrain.core.ground.endpoint import is_endpoint
from aftertrain.core.ground.openings import Opening
from aftertrain.core.ground.usage import Unused
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.stage import Compared, PlanContext, Rescored, SavedReply, Stage, StageContext, StageInput
from aftertrain.plugins.evaluation import contamination, fitting, health, sealing, summary
from aftertrain.plugins.evaluation.accounts import CASE, check_outcomes, enter_cases
from aftertrain.plugins.evaluation.asking import Asking, asking
from aftertrain.plugins.evaluation.prompts import too_long
from aftertrain.plugins.evaluation.rows import ScoredInstance, read_instances, write_instances
from aftertrain.plugins.evaluation.runner import Runner
from aftertrain.plugins.evaluation.settings import EvaluateSettings
from aftertrain.plugins.evaluation.suite import Absent, Block, ReadyTask, blocks, ready_tasks

if TYPE_CHECKING:
    from aftertrain.plugins.evaluation import comparing, doubts, outlook, rescoring, speeds
else:
    comparing = aside("aftertrain.plugins.evaluation.comparing")
    doubts = aside("aftertrain.plugins.evaluation.doubts")
    outlook = aside("aftertrain.plugins.evaluation.outlook")
    rescoring = aside("aftertrain.plugins.evaluation.rescoring")
    speeds = aside("aftertrain.plugins.evaluation.speeds")

INSTANCES = Path("samples") / "instances.jsonl"
SHORTER = "'overlong: truncate' cuts their start, 'fewer_shots' takes worked examples away, 'limit' questions"
UNBOUNDED = 2**62
"""Tokens that fit a model whose configuration names no limit."""


class Evaluate(Stage[EvaluateSettings]):
    """Scores one model. Its artifact's details hold `scores`, `differences` and `health`."""

    Config = EvaluateSettings
    shared = True
    looks_back = True

    def inputs(self) -> Sequence[StageInput]:
        """The model, and the scores of each compared stage under the role `compare:<stage>`."""
        model = StageInput("model", self.settings.from_, frozenset({"model", "endpoint"}))
        return [model, *(StageInput(f"compare:{s}", s, frozenset({"scores"})) for s in self.settings.compared)]

    @property
    def output(self) -> str:
        """Scores."""
        return "scores"

    def fingerprints(self) -> Mapping[str, str]:
        """Of each task."""
        prints = {f"task {task.name}": task.task.content() for task in self._given[0]}
        return prints | {f"task {row.name}": "missing" for row in self._absent}

    @cached_property
    def _given(self) -> tuple[list[ReadyTask], list[Absent]]:
        """Tasks as they are set."""
        return ready_tasks(self.settings, self.builder)

    @cached_property
    def _ready(self) -> tuple[list[ReadyTask], list[Absent]]:
        """Tasks as they are asked: of some with fewer worked examples, once `_fit` or `_saved` has found out."""
        return self._given

    @property
    def _tasks(self) -> list[ReadyTask]:
        return self._ready[0]

    @property
    def _absent(self) -> list[Absent]:
        return self._ready[1]

    def run(self, context: StageContext) -> Artifact:
        """Score all tasks, block by block. Several ranks take turns at the blocks, each of which has the same bits
        whoever computes it; rank 0 keeps what all of them find.

        Raises:
            DataError: a compared stage scored another version of a task, or a prompt does not fit the model's context.
            Interrupted: the user asked to stop; finished blocks are saved.
        """
        model = context.inputs["model"].path
        ask = asking(self.settings, self.builder, self._tasks, model, context.chat_template)
        fewer = self._fit(ask)
        others = self._compared(context)
        work = blocks(self._tasks, self.settings.block)
        ranks = context.ranks
        runner = Runner(self.settings, self.builder, ask, seed=context.seed, local=ranks.local)
        saved = context.checkpoints.latest()
        if saved is None:
            done, rows = 0, []
            for item in [*fewer, *self._checks(ask), *outlook.crowded(self._tasks, context.folder)]:
                if item.status == "error":
                    raise DataError(item.value)
                context.emit(Warned(f"{item.label}: {item.value}"), 1)
            for task in self._tasks:
                for note in task.task.notes():
                    context.emit(Warned(f"{task.name}: {note}"), 1)
        else:
            done, rows = saved[0], self._restore(saved[1], runner)
        checked = contamination.check(self.settings.contamination, self._tasks, context) if ranks.first else []
        self._refuse_contaminated(checked)
        opened = sealing.opened(context, self._tasks, self.settings.unseal) if ranks.first else []
        total = sum((block.stop - block.start) * block.task.samples for block in work)
        with sharing(context.replies_in(self.settings.store)), closing(runner):
            for start in range(done, len(work), ranks.size):
                if ranks.any(context.stopping(), "whether to stop"):
                    raise Interrupted(f"stage {context.name!r} stopped after {len(rows)} of {total} outputs")
                dealt = work[start : start + ranks.size]
                mine = runner.run(dealt[ranks.rank]) if ranks.rank < len(dealt) else []
                check_outcomes(context.book, mine)
                context.book.read(CASE, **runner.tokens())
                for number, (block, fresh) in enumerate(zip(dealt, ranks.gather(mine, "scored outputs"), strict=False)):
                    rows += fresh
                    self._tell(context, start + number + 1, block, fresh, (len(rows), total))
                save = partial(_save, rows=tuple(rows)) if ranks.first else _nothing
                context.checkpoints.save(start + len(dealt), save)
        measured = speeds.together(ranks.gather(runner.speeds.found(), "speeds"))
        if not ranks.first:
            return Artifact("scores", str(context.folder), context.name, digest="")
        return self._conclude(context, len(work) + 1, rows, others, (opened, checked, measured))

    def _refuse_contaminated(self, checked: Sequence[contamination.Checked]) -> None:
        """The gate.

        Raises:
            DataError: a task contaminates a source, or data that trained the model cannot be looked at, and that is an
                error.
        """
        if self.settings.contamination.gate != "error":
            return
        rows = [entry.row for entry in checked]
        if found := list(contamination.told(rows)):
            raise DataError(
                f"{'; '.join(found)}. Take the rows out (the operator decontaminate), or let the scores stand with a "
                "warning: contamination: {gate: warn}"
            )
        if unseen := list(contamination.unseen(rows)):
            raise DataError(
                f"{'; '.join(unseen)}. Bring these data back, let the scores stand with a warning (contamination: "
                "{gate: warn}), or look for nothing (contamination: {gate: off, reason: ...})"
            )

    def without_use(self) -> Mapping[str, Unused]:
        """What is for replies where none are made, for log-likelihoods where none are taken, and for benchmarks."""
        tasks = named_tasks(self.settings.tasks)
        generates = {isinstance(self.builder.build(task.use), ReplyTask) for task in tasks}
        idle: dict[str, Unused] = {}
        remote = self.builder.build(self.settings.generator).remote
        if True not in generates:
            replies = ("temperatures", "max_new_tokens", "timeout", "store", *(() if remote else ("generator",)))
            idle |= dict.fromkeys(replies, Unused("no task makes replies"))
        if False not in generates:
            idle |= dict.fromkeys(("engine", "micro_tokens"), Unused("every task makes replies"))
        elif remote:
            idle |= dict.fromkeys(("engine", "micro_tokens"), Unused("an endpoint is asked", ("generator",)))
        if not any(reads_folder(task.use.settings) for task in tasks):
            idle["data"] = Unused("no task reads a benchmark of the hub")
        return idle

    def _refused(self, ask: Asking) -> list[PlanItem]:
        """Tasks that an endpoint cannot be asked."""
        return [PlanItem(name, f"cannot be asked: {why}", "error") for name, why in ask.objections(self._tasks)]

    def _fit(self, ask: Asking) -> list[PlanItem]:
        """Take worked examples away where prompts do not fit, if that is asked for; says of which task how many."""
        if self.settings.overlong != "fewer_shots" or not ask.counts:
            return []
        told: list[PlanItem] = []
        fitted: list[ReadyTask] = []
        for task in self._given[0]:
            fewer = None if self._fits(ask, task) else fitting.with_fewer(task, self.builder, partial(self._fits, ask))
            if fewer is not None:
                shown = (
                    f"{fewer.shots} of {task.shots} worked examples, as many as fit a context of {ask.window} tokens"
                )
                told.append(PlanItem(f"{task.name}: fewer shots", shown, "warning"))
            fitted.append(fewer or task)
        self._ready = fitted, self._absent
        return told

    def _fits(self, ask: Asking, task: ReadyTask) -> bool:
        return isinstance(task.task, TextTask) or not too_long(task.instances, ask.tokenizer, ask.window or UNBOUNDED)

    def _saved(self, folder: Path) -> list[ScoredInstance]:
        """Saved outputs; tasks are set as these were asked."""
        rows = read_instances(folder / INSTANCES)
        if self.settings.overlong == "fewer_shots":
            self._ready = [fitting.as_saved(task, self.builder, rows) for task in self._given[0]], self._absent
        return rows

    def _checks(self, ask: Asking) -> list[PlanItem]:
        """What keeps the stage from running, and what a reader must know before it does."""
        sealed = sealing.refused(self._tasks, self.settings.unseal)
        return [*sealed, *self._missing(), *self._refused(ask), *self._too_long(ask)]

    def _missing(self) -> list[PlanItem]:
        return [PlanItem(f"{row.name}: missing", row.why, "warning") for row in self._absent]

    def _too_long(self, ask: Asking) -> list[PlanItem]:
        """Tasks with prompts that do not fit; every prompt must render."""
        items: list[PlanItem] = []
        window = ask.window
        for task in self._tasks if ask.counts else ():
            if isinstance(task.task, TextTask):
                continue  # a long text is scored in windows
            if long := too_long(task.instances, ask.tokenizer, window or UNBOUNDED):
                status: Literal["error", "warning"] = "warning" if self.settings.overlong == "truncate" else "error"
                cure = f"; {SHORTER}" if status == "error" else "; their start is cut"
                items.append(PlanItem(f"{task.name}: too long", outlook.overlong(task, long, window) + cure, status))
        return items

    def check_data(self, context: PlanContext, stopping: Callable[[], bool]) -> None:
        """The engine's needs, where choices of a folder's model are scored."""
        if any(not task.generates for task in self._tasks) and not is_endpoint(context.model):
            self.builder.build(self.settings.engine).preflight(context.model)

    def rescore(self, folder: Path, out: Path | None) -> Rescored:
        """Score the saved outputs by these settings."""
        saved = self._saved(folder)
        rescored = rescoring.rescored(self._tasks, saved)
        if out is not None:
            write_instances(out / INSTANCES.name, rescored.rows)
        return rescored.told()

    def compared(self, folder: Path, others: Mapping[str, Path], tasks: Mapping[str, str]) -> Compared:
        """Saved outputs beside those of others, over the same questions."""
        rows = [replace(row, task=tasks[row.task]) for row in self._saved(folder) if row.task in tasks]
        shared = [task.called(tasks[task.name]) for task in self._tasks if task.name in tasks]
        theirs = {name: read_instances(other / INSTANCES) for name, other in others.items()}
        return Compared(tuple(summary.differences(shared, rows, theirs)), tuple(comparing.flips(shared, rows, theirs)))

    def replies(self, folder: Path) -> list[SavedReply]:
        """The saved replies, with what was asked."""
        saved = self._saved(folder)
        return list(rescoring.replies(self._tasks, saved))

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether every prompt fits; instances, prompt and reply tokens per task; once for stages that ask alike."""
        asked = self.settings.model_dump_json(exclude={"from_", "compare"})
        key = f"evaluation by {asked} of {context.model}, {context.chat_template!r}, figures: {context.figures}"
        if key not in context.found:
            context.found[key] = self._planned(context)
        return list(context.found[key])

    def _planned(self, context: PlanContext) -> list[PlanItem]:
        ask = asking(self.settings, self.builder, self._tasks, context.model, context.chat_template)
        items = [*self._fit(ask), *self._checks(ask)]
        if context.figures and not any(item.status == "error" for item in items):
            items += outlook.outlook(self.settings, self.builder, self._tasks, ask)
        return items

    def _compared(self, context: StageContext) -> dict[str, list[ScoredInstance]]:
        others = {}
        for stage in self.settings.compared:
            artifact = context.inputs[f"compare:{stage}"]
            doubts.check_comparable(self._tasks, context.name, stage, artifact.details["scores"])
            others[stage] = read_instances(Path(artifact.path) / INSTANCES)
        return others

    def _restore(self, folder: Path, runner: Runner) -> list[ScoredInstance]:
        prompts = {(task.name, instance.id): instance for task in self._tasks for instance in task.instances}
        rows = read_instances(folder / INSTANCES.name)
        return [replace(row, prompt=runner.prompt(prompts[row.task, row.id])) for row in rows]

    def _tell(
        self, context: StageContext, step: int, block: Block, rows: Sequence[ScoredInstance], done: tuple[int, int]
    ) -> None:
        primary = block.task.task.metrics[0]
        for row in rows[: max(0, self.settings.shown - block.start)]:
            value = row.metrics[primary]
            verdict = SampleVerdict(row.task, row.outcome, value, row.extracted, row.detail)
            sample = Sample(row.prompt, row.output, value, (verdict,), task=row.task, temperature=row.temperature)
            context.emit(sample, step)
        if block.task.generates:
            context.emit(VerdictCounts({block.task.name: Counter(row.outcome for row in rows)}), step)
        context.emit(Progress(done[0], done[1], "instances"), step)

    def _conclude(
        self,
        context: StageContext,
        step: int,
        rows: Sequence[ScoredInstance],
        others: Mapping[str, Sequence[ScoredInstance]],
        known: tuple[Sequence[Opening], Sequence[contamination.Checked], Sequence[Speed]],
    ) -> Artifact:
        opened, checked, measured = known
        write_instances(context.folder / INSTANCES, rows)
        enter_cases(context.book, self._tasks, rows)
        scores = Scores(
            tuple(summary.scores(self._tasks, rows)),
            tuple(summary.differences(self._tasks, rows, others)),
            tuple(health.health(self._tasks, rows)),
            (*(Missing(row.name, row.why) for row in self._absent), *summary.undefined(self._tasks, rows)),
            tuple(opened),
            tuple(contamination.scored(checked, self._tasks, rows)),
        )
        for message in (
            *contamination.told(scores.contamination),
            *contamination.unseen(scores.contamination),
            *doubts.doubts(scores.scores, scores.health),
            *doubts.alarms(scores.health),
        ):
            context.emit(Warned(message), step)
        context.emit(replace(scores, timing=tuple(measured)), step)
        return Artifact("scores", str(context.folder), context.name, digest="", details=scores.facts())


def _nothing(folder: Path) -> None:
    """What a rank that is not the first adds to a checkpoint."""


def _save(folder: Path, rows: Sequence[ScoredInstance]) -> None:
    """Prompts are rendered again on a resume: they are most of the bytes."""
    write_instances(folder / INSTANCES.name, _without_prompts(rows))


def _without_prompts(rows: Sequence[ScoredInstance]) -> Iterator[ScoredInstance]:
    for row in rows:
        yield replace(row, prompt="")
