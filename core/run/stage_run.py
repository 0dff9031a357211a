"""One stage of a run: begun or gone on with, done, and recorded as done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from aftertrain.core.book import Book
from aftertrain.core.errors import RunError
from aftertrain.core.events import Books, Checkpointed, Event, Rewind, StageDone, StageStarted, Timing, Warned
from aftertrain.core.ground.openings import keep_openings, openings
from aftertrain.core.ranks import ALONE
from aftertrain.core.records import Artifact
from aftertrain.core.run.ancestry import trained_on
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.done import write_done
from aftertrain.core.run.folder import remove, write_json
from aftertrain.core.run.graph import Node
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.run.lineage import Lineage
from aftertrain.core.run.orders import Order
from aftertrain.core.run.records import LINEAGE, MACHINE, reasons, recorded_machine, recorded_why
from aftertrain.core.run.session import Session
from aftertrain.core.stage import BASE, Learnt, StageContext

MODELS = ("model", "reward_model", "adapter")
"""Artifacts that descend from the models that they were made of."""


@dataclass
class StageRun:
    """A stage that is not done.

    Attributes:
        folder: the stage's, under this lineage.
        here: what of this machine decides bits.
        nodes: the whole graph.
        artifacts: what the stages before made, by stage, and the base model.
    """

    session: Session
    node: Node
    lineage: Lineage
    folder: Path
    here: Mapping[str, object]
    nodes: tuple[Node, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, Artifact], damage: str | None) -> Artifact:
        """Do the stage, from its last checkpoint on if there is one.

        Args:
            damage: why what was done before is not good.

        Raises:
            RunError: it was begun on a machine that gives other bits; or its book does not balance.
        """
        session, node, folder = self.session, self.node, self.folder
        ranks = session.ranks if node.stage.shared else ALONE
        notes = [f"{damage}; the stage is done again"] if damage else []
        why = self._why()
        notes += self._abandoned(why)
        folder.mkdir(parents=True, exist_ok=True)
        remove(folder / "done.json")
        remove(folder / "model")
        ledger = Ledger(Book(), ranks)
        checkpoints = Checkpoints(
            folder / "checkpoints",
            on_damage=notes.append,
            before_commit=session.log.sync,
            on_saved=lambda step, path: self._emit(Checkpointed(str(path.relative_to(session.folder.path))), step),
            beside=ledger.save,
            ranks=ranks,
        )

        step, state = checkpoints.latest() or (0, None)
        if state is not None:
            ledger.restore(state)
        notes += self._check_machine(step)
        if not (folder / LINEAGE).exists():
            write_json(folder / LINEAGE, {"hash": self.lineage.hash, "why": why, **asdict(self.lineage)})
        parents = {parent.role: parent.stage for parent in node.inputs}
        self._emit(StageStarted(node.use.name, self.lineage.hash, tuple(why), resumed_from=step, inputs=parents))
        if session.log.attempt > 1:
            self._emit(Rewind(), step)
        inherited = [opening for artifact in inputs.values() for opening in openings(Path(artifact.path))]
        notes += [f"sealed benchmark: {opening}" for opening in dict.fromkeys(inherited)]
        for note in notes:
            self._emit(Warned(note))
        context = StageContext(
            name=node.name,
            folder=folder,
            seed=session.job.recipe.seed_of(node.name),
            inputs=inputs,
            builder=session.job.builder,
            checkpoints=checkpoints,
            emit=self._emit,
            stopping=session.stopping,
            chat_template=session.job.recipe.chat_template,
            book=ledger.book,
            ranks=ranks,
            cache=session.folder.cache,
            trained_on=self._trained_on() if node.stage.looks_back else {},
        )
        started = time.monotonic()
        with node.at_work():
            if node.stage.shared:
                session.lead.give(Order(node.name, folder, inputs, checkpoints.latest()))
            artifact = node.stage.run(context)
        if balances := ledger.close(node.name):
            self._emit(Books(balances))
        session.log.sync()
        if artifact.type in MODELS:
            keep_openings(Path(artifact.path), inherited)
        artifact = write_done(folder, artifact, node, self.lineage.hash)
        checkpoints.clear()
        self._emit(StageDone(artifact, Timing(time.monotonic() - started)))
        return artifact

    def _trained_on(self) -> dict[str, Learnt]:
        job, made = self.session.job, self.artifacts

        def folder(stage: str) -> Path | None:
            return self.session.folder.stage(stage, made[stage].digest) if stage in made else None

        def elsewhere() -> dict[str, Learnt]:
            base = made.get(BASE)
            return {} if base is None or base.type != "model" else job.elsewhere(Path(base.path))

        return trained_on(self.node, self.nodes, job.builder, folder, elsewhere)

    def _emit(self, event: Event, step: int | None = None, /) -> None:
        self.session.log.emit(event, self.node.name, step)

    def _why(self) -> list[str]:
        """Why this stage runs: in its own folder as recorded, else against its last version under another hash."""
        try:
            own = recorded_why(self.folder)
        except RunError as error:
            remove(self.folder / LINEAGE)
            return [f"{error}; it is written anew"]
        return reasons(self._others(), self.lineage) if own is None else own

    def _abandoned(self, why: Iterable[str]) -> list[str]:
        """A half-done version under another hash is not gone on with: say so."""
        if (self.folder / LINEAGE).exists():
            return []
        half = [
            version.name
            for version in self._others()
            if (version / "checkpoints").exists() and not (version / "done.json").exists()
        ]
        return [f"{name} is half done and left as it is, because it differs: {'; '.join(why)}" for name in half]

    def _others(self) -> list[Path]:
        """Versions of the stage under other hashes."""
        return [version for version in self.session.folder.versions(self.node.name) if version != self.folder]

    def _check_machine(self, step: int) -> list[str]:
        before = recorded_machine(self.folder, self.node.name) if step else None
        if before is None:
            write_json(self.folder / MACHINE, self.here)
            return []
        changed = [(name, value) for name, value in self.here.items() if before.get(name) != value]
        if not changed:
            return []
        what = "; ".join(f"{name} {before.get(name)} then, {value} now" for name, value in changed)
        if self.session.job.other_machine:
            return [f"resumed on another machine, so its bits may differ from an uninterrupted run's: {what}"]
        raise RunError(
            f"stage {self.node.name!r} is half done (step {step}) and was begun elsewhere: {what}. Going on here would "
            "give other bits than an uninterrupted run. Make these equal again (threads: in the recipe, --nproc), or "
            "accept it with --allow-other-machine, or start anew with --restart"
        )
