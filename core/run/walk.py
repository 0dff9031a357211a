"""Walks a recipe's graph: reuses what is done, resumes what is half done, runs the rest, and leaves a record.

Whatever happens, the last good state stays: a stage is done when its `done.json` is, and that is written last.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from aftertrain.core.errors import AftertrainError, DataError, Interrupted, RunError
from aftertrain.core.events import DataCheck, RunDone, RunStarted, StageReused, Timing, Warned
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.records import Artifact
from aftertrain.core.run.base_model import base_artifact
from aftertrain.core.run.done import read_done
from aftertrain.core.run.failure import understood, write_failure
from aftertrain.core.run.folder import remove, write_json
from aftertrain.core.run.graph import Node
from aftertrain.core.run.job import RunResult
from aftertrain.core.run.launched import Line
from aftertrain.core.run.lineage import trace
from aftertrain.core.run.manifest import Base, Manifest, hardware, machine, packages
from aftertrain.core.run.session import Session
from aftertrain.core.run.stage_run import StageRun
from aftertrain.core.stage import BASE, PlanContext, ReadsAhead

LIBRARIES = ("aftertrain", "torch", "transformers", "tokenizers", "safetensors", "numpy")
"""Whose versions the event `run_started` has."""


@dataclass
class Walk:
    """One attempt at all stages."""

    session: Session
    nodes: tuple[Node, ...]
    line: Line
    current: str = ""
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)

    def all(self) -> RunResult:
        """Run every stage that is not done.

        Raises:
            BaseException: what ended it, as a user should see it; it is in the events.
        """
        started, session = time.monotonic(), self.session
        try:
            here = self._start()
            self._check([node for node in self.nodes if not node.awaited(self.artifacts)])
            for node in self.nodes:
                self.current = node.name
                session.stop_if_asked()
                self._stage(node, here)
            self.current = ""
            session.log.emit(RunDone(Timing(time.monotonic() - started)))
        except BaseException as error:
            known = understood(error, self.current, session.folder.path, session.ranks, self.line)
            write_failure(session.log, known, self.current)
            if known is error:
                raise
            raise known from error
        return RunResult(session.folder.path, self.artifacts, tuple(self.reused))

    def _start(self) -> Mapping[str, object]:
        """Find the base model and write down what is run; returns what of this machine decides bits."""
        session, job, recipe = self.session, self.session.job, self.session.job.recipe
        threads = use_determinism(recipe.threads)
        base = None
        if recipe.model is not None:
            base = self.artifacts[BASE] = base_artifact(recipe.model, job.base_folder)
        manifest = Manifest(
            name=recipe.name,
            source=job.source,
            recipe=recipe.model_dump(mode="json", by_alias=True),
            seed=recipe.seed,
            threads=threads,
            ranks=session.ranks.size,
            base=Base() if base is None else Base(base.path, base.digest),
            python=platform.python_version(),
            packages=packages(),
            plugins=tuple(job.plugins),
            hardware=hardware(),
            order=tuple(node.name for node in self.nodes),
        )
        write_json(session.folder.manifest, asdict(manifest))
        versions = {name: version for name, version in manifest.packages.items() if name in LIBRARIES}
        session.log.emit(
            RunStarted(
                name=manifest.name,
                recipe=manifest.recipe,
                order=manifest.order,
                hardware=manifest.hardware,
                threads=threads,
                plugins=manifest.plugins,
                versions={"python": manifest.python, **versions},
            )
        )
        for damage in session.log.damage:
            session.log.emit(Warned(damage))
        return machine(threads, session.ranks.size)

    def _check(self, nodes: Sequence[Node]) -> None:
        """Look at stages before they run, at most of them before the first: what the last one cannot use is told today.

        Those whose rows an earlier stage makes are looked at as soon as it has made them.
        """
        problems: dict[str, AftertrainError] = {}
        for node in nodes:
            self.session.stop_if_asked()
            try:
                with node.at_work():
                    node.stage.fingerprints()
                    self._check_stage(node)
            except Interrupted:
                raise
            except AftertrainError as error:
                problems[node.name] = error
        if len(problems) == 1:
            ((self.current, problem),) = problems.items()
            raise problem
        if problems:
            raise DataError("\n".join(f"stage {name!r}: {problem}" for name, problem in problems.items()))

    def _check_stage(self, node: Node) -> None:
        """What `plan` checks, and its rows, unless the stage was done before: it is likely to be reused."""
        session, job, stage = self.session, self.session.job, node.stage
        was_done = any((folder / "done.json").exists() for folder in session.folder.versions(node.name))
        if was_done and not job.restart:
            return
        base = self.artifacts[BASE].path if BASE in self.artifacts else ""
        seed, template = job.recipe.seed_of(node.name), job.recipe.chat_template
        context = PlanContext(node.name, base, seed, job.builder, template, figures=False)
        if isinstance(stage, ReadsAhead):
            session.log.emit(DataCheck(node.name))
        if failed := [f"{item.label}: {item.value}" for item in stage.plan(context) if item.status == "error"]:
            raise RunError(f"stage {node.name!r} cannot start: {'; '.join(failed)}")
        if isinstance(stage, ReadsAhead):
            stage.check_data(context, session.stopping)

    def _stage(self, node: Node, here: Mapping[str, object]) -> None:
        session = self.session
        digests = {name: artifact.digest for name, artifact in self.artifacts.items()}
        lineage = trace(node, session.job.recipe, session.job.builder, digests)
        folder = session.folder.stage(node.name, lineage.hash)
        if session.job.restart and lineage.hash not in digests.values():
            remove(folder)
        artifact, damage = read_done(folder, node, lineage.hash)
        if artifact is not None:
            remove(folder / "checkpoints")
            self.reused.append(node.name)
            session.log.emit(StageReused(lineage.hash, artifact), node.name)
        else:
            inputs = {parent.role: self.artifacts[parent.stage] for parent in node.inputs}
            artifact = StageRun(session, node, lineage, folder, here, self.nodes, self.artifacts).run(inputs, damage)
        awaiting = [later for later in self.nodes if node.name in later.awaited(self.artifacts)]
        self.artifacts[node.name] = artifact
        self._check([later for later in awaiting if not later.awaited(self.artifacts)])
