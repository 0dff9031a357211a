"""Walks a recipe's graph: reuses what is done, resumes what is half done, runs the rest, and leaves a record.

Whatever happens, the last good state stays: a stage is done when its `done.json` is, and that is written last.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aftertrain.core.book import Book
from aftertrain.core.errors import AftertrainError, DataError, Interrupted, RankLost, RunError
from aftertrain.core.events import (
    Books,
    Checkpointed,
    DataCheck,
    Event,
    Rewind,
    RunDone,
    RunFailed,
    RunStarted,
    StageDone,
    StageReused,
    StageStarted,
    Timing,
    Warned,
)
from aftertrain.core.events.diary import EventLog
from aftertrain.core.ground.foreign import EndedProgram, foreign, message_of, told
from aftertrain.core.ground.memory import memory_refusal
from aftertrain.core.learning.deadline import on_deadline
from aftertrain.core.learning.processes import Processes, joined
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.core.recipe import Recipe
from aftertrain.core.records import Artifact
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.disk import disk_refusal
from aftertrain.core.run.done import read_done, write_done
from aftertrain.core.run.fanout import Fanout
from aftertrain.core.run.folder import RunFolder, remove, write_json
from aftertrain.core.run.graph import Locate, Node, build_graph
from aftertrain.core.run.launched import Line, linger, own_words
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.run.lineage import Lineage, trace
from aftertrain.core.run.manifest import machine, manifest
from aftertrain.core.run.orders import Lead, Order, follow
from aftertrain.core.run.records import LINEAGE, MACHINE, reasons, recorded_machine, recorded_why
from aftertrain.core.run.signals import StopSignals
from aftertrain.core.settings import Builder
from aftertrain.core.stage import BASE, PlanContext, ReadsAhead, Stage, StageContext


@dataclass(frozen=True)
class Job:
    """What to run, how and where.

    Attributes:
        folder: the run's folder, `runs/<name>`.
        base_folder: what relative model folders are relative to (the recipe's).
        source: where the recipe came from, for the manifest.
        plugins: facts about the loaded plugins, for the manifest.
        restart: start every stage anew, whatever there is.
        other_machine: resume a half-done stage though threads, torch or CPU differ from those it was begun with.
        on_stop: called in the signal handler when the user first asks to stop.
    """

    recipe: Recipe
    builder: Builder
    folder: Path
    base_folder: Path
    source: str = ""
    plugins: Sequence[Mapping[str, Any]] = ()
    observers: Sequence[object] = ()
    locate: Locate = lambda path: "recipe"
    restart: bool = False
    other_machine: bool = False
    on_stop: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        folder: the run's folder.
        artifacts: the base model under `base`, and what each stage made, in the order they ran.
        reused: names of the stages that were done already.
    """

    folder: Path
    artifacts: Mapping[str, Artifact]
    reused: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, list[dict[str, Any]]]:
        """Scores of each evaluation stage: task, metric, temperature, mean, interval (see the event `scores`)."""
        made = {name: artifact.details.get("scores") for name, artifact in self.artifacts.items()}
        return {name: scores for name, scores in made.items() if scores is not None}


def run_job(job: Job) -> RunResult:
    """Run a recipe to its end.

    Raises:
        RecipeError: the stages do not form a graph. Nothing has been written.
        Interrupted: the user asked to stop; the same command goes on from there.
        AftertrainError: anything a user can mend; `run_failed` is in the events.
    """
    nodes = build_graph(job.recipe.stages, job.builder, job.locate)
    line = Line()
    with joined() as ranks:
        if not isinstance(ranks, Processes) or ranks.first:
            return _lead(job, nodes, ranks, line)
        with own_words(job.folder, ranks, line):
            try:
                return _follow(job, nodes, ranks)
            except RankLost:
                linger(line)
                raise


def _lead(job: Job, nodes: tuple[Node, ...], ranks: Ranks, line: Line) -> RunResult:
    with RunFolder(job.folder) as folder, StopSignals(job.on_stop, ranks.size > 1) as stopping:
        lead = Lead(ranks)
        fanout = Fanout(job.observers)
        fanout.open(folder.path)
        log = EventLog(folder.events, fanout)
        token = on_deadline.set(lambda message: _report(log, RunError(message), ""))
        line.report_to(lambda message: _report(log, RankLost(message), ""))
        try:
            result = _Walk(job, nodes, folder, log, stopping, ranks, lead, line).all()
            lead.give(None)
            return result
        finally:
            on_deadline.reset(token)
            fanout.close()
            log.close()


def _follow(job: Job, nodes: tuple[Node, ...], ranks: Processes) -> RunResult:
    """Run the stages that rank 0 shares, as it says, and leave every record to it."""
    use_determinism(job.recipe.threads)
    stages = {node.name: node.stage for node in nodes}
    with StopSignals(lambda: None, True) as stopping:
        for order in follow(ranks):
            ledger = Ledger(Book(), ranks)
            context = StageContext(
                name=order.stage,
                folder=order.folder,
                seed=job.recipe.seed_of(order.stage),
                inputs=order.inputs,
                builder=job.builder,
                checkpoints=Checkpoints(
                    order.folder / "checkpoints", ranks=ranks, found=order.found, beside=ledger.save
                ),
                emit=_unsaid,
                stopping=stopping,
                chat_template=job.recipe.chat_template,
                book=ledger.book,
                ranks=ranks,
            )
            with foreign(f"stage {order.stage!r}", randomness=False, level=_level(stages[order.stage])):
                stages[order.stage].run(context)
            ledger.close(order.stage)
    return RunResult(job.folder.absolute(), {})


def _unsaid(event: Event, step: int | None = None, /) -> None:
    """A rank other than 0 has the same events and does not tell them."""


@dataclass
class _Walk:
    """One attempt at a run."""

    job: Job
    nodes: tuple[Node, ...]
    folder: RunFolder
    log: EventLog
    stopping: StopSignals
    ranks: Ranks
    lead: Lead
    line: Line
    current: str = ""
    threads: int = 0
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)

    def all(self) -> RunResult:
        started = time.monotonic()
        try:
            self._start()
            for node in self.nodes:
                self.current = node.name
                self._stop_if_asked()
                self._stage(node)
            self.current = ""
            self.log.emit(RunDone(Timing(time.monotonic() - started)))
        except BaseException as error:
            known = self._understood(error)
            _report(self.log, known, self.current)
            if known is error:
                raise
            raise known from error
        return RunResult(self.folder.path, self.artifacts, tuple(self.reused))

    def _start(self) -> None:
        recipe, job = self.job.recipe, self.job
        self.threads = use_determinism(recipe.threads)
        base = find_model(recipe.model, job.base_folder)
        digest = model_digest(base)
        self.artifacts[BASE] = Artifact("model", str(base), BASE, digest)
        facts = manifest(
            recipe,
            source=job.source,
            base=base,
            base_digest=digest,
            threads=self.threads,
            ranks=self.ranks.size,
            plugins=job.plugins,
        )
        facts["order"] = [node.name for node in self.nodes]
        write_json(self.folder.manifest, facts)
        shown = ("name", "recipe", "order", "hardware", "threads", "plugins")
        versions = {"python": facts["python"], **_versions(facts["packages"])}
        self.log.emit(RunStarted(**{key: facts[key] for key in shown}, versions=versions))
        for damage in self.log.damage:
            self.log.emit(Warned(damage))
        self._find_data(str(base))

    def _find_data(self, base: str) -> None:
        """Look at every stage's data before the first stage runs: what the last one cannot use is told today."""
        problems: dict[str, AftertrainError] = {}
        for node in self.nodes:
            self._stop_if_asked()
            try:
                with foreign(f"stage {node.name!r}", randomness=False, level=_level(node.stage)):
                    node.stage.fingerprints()
                    self._check_data(node, base)
            except Interrupted:
                raise
            except AftertrainError as error:
                problems[node.name] = error
        if len(problems) == 1:
            ((self.current, problem),) = problems.items()
            raise problem
        if problems:
            raise DataError("\n".join(f"stage {name!r}: {told}" for name, told in problems.items()))

    def _check_data(self, node: Node, base: str) -> None:
        """What `plan` checks, and its rows, unless the stage was done before: it is likely to be reused."""
        done = any((folder / "done.json").exists() for folder in self.folder.versions(node.name))
        if done and not self.job.restart:
            return
        recipe = self.job.recipe
        seed = recipe.seed_of(node.name)
        context = PlanContext(node.name, base, seed, self.job.builder, recipe.chat_template, figures=False)
        if isinstance(node.stage, ReadsAhead):
            self.log.emit(DataCheck(node.name))
        if failed := [item for item in node.stage.plan(context) if item.status == "error"]:
            raise RunError(
                f"stage {node.name!r} cannot start: {'; '.join(f'{item.label}: {item.value}' for item in failed)}"
            )
        if isinstance(node.stage, ReadsAhead):
            node.stage.check_data(context, self.stopping)

    def _stage(self, node: Node) -> None:
        digests = {name: artifact.digest for name, artifact in self.artifacts.items()}
        lineage = trace(node, self.job.recipe, self.job.builder, digests)
        folder = self.folder.stage(node.name, lineage.hash)
        if self.job.restart and lineage.hash not in digests.values():
            remove(folder)
        artifact, damage = read_done(folder, node, lineage.hash)
        if artifact is not None:
            remove(folder / "checkpoints")
            self.reused.append(node.name)
            self.log.emit(StageReused(lineage.hash, artifact), node.name)
        else:
            artifact = self._run(node, lineage, folder, damage)
        self.artifacts[node.name] = artifact

    def _run(self, node: Node, lineage: Lineage, folder: Path, damage: str | None) -> Artifact:
        emit = partial(self._emit, node.name)
        ranks = self.ranks if node.stage.shared else ALONE
        notes = [f"{damage}; the stage is done again"] if damage else []
        why = self._why(node, lineage, folder)
        notes += self._abandoned(node, folder, why)
        folder.mkdir(parents=True, exist_ok=True)
        remove(folder / "done.json")
        remove(folder / "model")
        ledger = Ledger(Book(), self.ranks if node.stage.shared else ALONE)
        checkpoints = Checkpoints(
            folder / "checkpoints",
            on_damage=notes.append,
            before_commit=self.log.sync,
            on_saved=lambda step, path: emit(Checkpointed(str(path.relative_to(self.folder.path))), step),
            beside=ledger.save,
            ranks=ranks,
        )
        checkpoints.sweep()
        step, state = checkpoints.latest() or (0, None)
        if state is not None:
            ledger.restore(state)
        notes += self._check_machine(node, folder, step)
        if not (folder / LINEAGE).exists():
            write_json(folder / LINEAGE, {"hash": lineage.hash, "why": why, **asdict(lineage)})
        emit(
            StageStarted(
                use=node.use.name,
                hash=lineage.hash,
                why=tuple(why),
                resumed_from=step,
                inputs={parent.role: parent.stage for parent in node.inputs},
            )
        )
        if self.log.attempt > 1:
            emit(Rewind(), step)
        for note in notes:
            emit(Warned(note))
        context = StageContext(
            name=node.name,
            folder=folder,
            seed=self.job.recipe.seed_of(node.name),
            inputs={parent.role: self.artifacts[parent.stage] for parent in node.inputs},
            builder=self.job.builder,
            checkpoints=checkpoints,
            emit=emit,
            stopping=self.stopping,
            chat_template=self.job.recipe.chat_template,
            book=ledger.book,
            ranks=ranks,
        )
        started = time.monotonic()
        made = self._made(node, context)
        if balances := ledger.close(node.name):
            emit(Books(balances))
        self.log.sync()
        artifact = write_done(folder, made, node, lineage.hash)
        checkpoints.clear()
        emit(StageDone(artifact, Timing(time.monotonic() - started)))
        return artifact

    def _made(self, node: Node, context: StageContext) -> Artifact:
        with foreign(f"stage {node.name!r}", randomness=False, level=_level(node.stage)):
            if node.stage.shared:
                self.lead.give(Order(node.name, context.folder, context.inputs, context.checkpoints.latest()))
            return node.stage.run(context)

    def _emit(self, stage: str, event: Event, step: int | None = None, /) -> None:
        self.log.emit(event, stage, step)

    def _why(self, node: Node, lineage: Lineage, folder: Path) -> list[str]:
        """Why this stage runs: in its own folder as recorded, else against its last version under another hash."""
        try:
            own = recorded_why(folder)
        except RunError as error:
            remove(folder / LINEAGE)
            return [f"{error}; it is written anew"]
        return (
            reasons([one for one in self.folder.versions(node.name) if one != folder], lineage) if own is None else own
        )

    def _abandoned(self, node: Node, folder: Path, why: Iterable[str]) -> list[str]:
        """A half-done version under another hash is not gone on with: say so."""
        if (folder / LINEAGE).exists():
            return []
        half = [
            version.name
            for version in self.folder.versions(node.name)
            if version != folder and (version / "checkpoints").exists() and not (version / "done.json").exists()
        ]
        return [f"{name} is half done and left as it is, because it differs: {'; '.join(why)}" for name in half]

    def _check_machine(self, node: Node, folder: Path, step: int) -> list[str]:
        here, file = machine(self.threads, self.ranks.size), folder / MACHINE
        before = recorded_machine(folder, node.name) if step else None
        differences = (
            [
                f"{name} {before.get(name)} then, {value} now"
                for name, value in here.items()
                if before.get(name) != value
            ]
            if before
            else []
        )
        if not step or not differences:
            if before is None or not step:
                write_json(file, here)
            return []
        what = "; ".join(differences)
        if self.job.other_machine:
            return [f"resumed on another machine, so its bits may differ from an uninterrupted run's: {what}"]
        raise RunError(
            f"stage {node.name!r} is half done (step {step}) and was begun elsewhere: {what}. Going on here would give "
            "other bits than an uninterrupted run. Make these equal again (threads: in the recipe, --nproc), or accept "
            "it with --allow-other-machine, or start anew with --restart"
        )

    def _stop_if_asked(self) -> None:
        if self.stopping():
            raise Interrupted("stopped between two stages")

    def _understood(self, error: BaseException) -> BaseException:
        """The error as a user should see it; a defect stays what it is."""
        stage = f"stage {self.current!r}" if self.current else "the run"
        if isinstance(error, KeyboardInterrupt):
            return Interrupted(f"{stage} was stopped at once; it goes on from its last checkpoint")
        if not isinstance(error, Exception):
            return EndedProgram(f"{stage} raised {told(error)}, which would have ended the program")
        if isinstance(error, RankLost):
            lost = self.line.wait() or (self.ranks.presence.lost() if isinstance(self.ranks, Processes) else "")
            return RankLost(f"{stage}: {lost}") if lost else error
        refused = disk_refusal(error)
        if refused is not None:
            return RunError(f"{stage}: cannot write into {self.folder.path}: {refused}; what was done before is kept")
        full = memory_refusal(error)
        if full is not None:
            return RunError(
                f"{stage}: out of memory: {full[:300]}. Lower batch.micro_tokens (or max_tokens), set "
                "engine.activation_checkpointing: true or engine.lora, or share the model out with the engine "
                "deepspeed; for generation lower the generator's batch. What was done before is kept"
            )
        return error


def _report(log: EventLog, error: BaseException, stage: str) -> None:
    """Write `run_failed`; the error itself is about to be raised, so a full disk here must not hide it."""
    failed = RunFailed(
        _message(error),
        type(error).__name__,
        stage,
        interrupted=isinstance(error, Interrupted),
        traceback="" if isinstance(error, AftertrainError) else "".join(traceback.format_exception(error)),
    )
    try:
        log.emit(failed)
    except (RunError, OSError) as second:
        error.add_note(f"and it could not be written down: {second}")


def _message(error: BaseException) -> str:
    """What a user's error says; a defect with its class, for its message alone may say nothing."""
    return message_of(error) or type(error).__name__


def _level(stage: Stage[Any]) -> int:
    """Of the line that tells what a stage bent: our own may, within it."""
    return logging.DEBUG if type(stage).__module__.startswith("aftertrain.") else logging.WARNING


def _versions(installed: Mapping[str, str]) -> dict[str, str]:
    names = ("aftertrain", "torch", "transformers", "tokenizers", "safetensors", "numpy")
    return {name: installed[name] for name in names if name in installed}
