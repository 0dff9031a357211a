"""The stage `curate`: rows through operators, to an artifact of rows that later stages read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from aftertrain.core.completions.keeping import sharing
from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import AftertrainError, DataError, Interrupted
from aftertrain.core.events import Progress
from aftertrain.core.generator import Generator
from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.ground.wording import counted
from aftertrain.core.records import Artifact, ArtifactType, PlanItem
from aftertrain.core.rows.chain import Step, named
from aftertrain.core.run.folder import discard, sweep
from aftertrain.core.settings import nested
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput
from aftertrain.core.verification.parcel import Parcel
from aftertrain.plugins.curation.artifact import publish
from aftertrain.plugins.curation.executor import executor
from aftertrain.plugins.curation.fact_names import FactNames, fact_names
from aftertrain.plugins.curation.settings import CurateSettings
from aftertrain.plugins.curation.source import read_source
from aftertrain.plugins.curation.work import Group, Task, put_away, rows_before, work


class Curate(Stage[CurateSettings]):
    """Takes the rows of a data set through operators. Nothing is lost: each row is kept, or left out for a reason.

    The work is done shard by shard in as many processes as there are cores; what is done survives a kill, and the bytes
    that come out do not depend on the number of processes. Memory is that of a shard for each process.
    """

    Config = CurateSettings

    def inputs(self) -> Sequence[StageInput]:
        """None: rows that it takes from other stages are found by their settings."""
        return ()

    @property
    def output(self) -> ArtifactType:
        """Rows."""
        return "data"

    def fingerprints(self) -> Mapping[str, str]:
        """Of the rows, and of what the operators read beside them."""
        digests = {"data": self._data().content()}
        for name, operator in self._steps:
            if own := operator.fingerprint():
                digests[name] = own
        return digests

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether rows and operators fit together, and what the operators need."""
        items = [PlanItem("operators", fault, "error") for fault in self._misfits()]
        for name, operator in () if items else self._steps:
            try:
                operator.check()
            except AftertrainError as error:
                items.append(PlanItem(name, str(error), "error"))
        if items or not context.figures:
            return items
        settings = self.settings
        rows = len(self._data())
        shards = -(-rows // settings.shard_rows)
        workers = min(self._workers, shards)
        items.append(
            PlanItem("rows", f"{rows:,} in {counted(shards, 'shard')}, by {counted(workers, 'process', 'processes')}")
        )
        items.append(PlanItem("operators", " -> ".join(name for name, _ in self._steps) or "none: counted and written"))
        if unchecked := self._fact_names.unchecked:
            items.append(PlanItem("not checked", "; ".join(unchecked)))
        return items + [PlanItem("data", note, "warning") for note in self._data().notes()]

    def run(self, context: StageContext) -> Artifact:
        """All rows through all operators; what an earlier attempt did is not done again.

        Raises:
            DataError: rows and operators do not fit together, or an operator lost a row.
            Interrupted: the user asked to stop; what is done is kept.
        """
        if faults := self._misfits():
            raise DataError("; ".join(faults))

        def stop() -> None:
            if context.stopping():
                raise Interrupted(f"stage {context.name!r}: stopped; the shards that are done are kept")

        sweep(context.folder)
        folder = context.folder / "work"
        read = read_source(self._data(), folder, self.settings.shard_rows, stop)
        groups = list(_groups(self._steps, folder))
        records = [read.record if rows else "" for rows in read.shards]
        try:
            with sharing(self._store(context)):
                for group in groups:
                    records = self._through(group, records, context, stop)
        finally:
            put_away()
        artifact = publish(context, read, groups, self.settings.format)
        discard(folder)
        return artifact

    def _through(self, group: Group, records: list[str], context: StageContext, stop: Any) -> list[str]:
        """All shards through one group; the record types that come out."""
        group.place.mkdir(exist_ok=True)
        self._learn(group, records, context)
        left = [shard for shard in range(len(records)) if not group.done(shard)]
        done, total = len(records) - len(left), len(records)
        parcels = tuple((name, Parcel.of(operator)) for name, operator in group.steps) if left else ()
        store = self._store(context)
        tasks = [
            Task(group.number, parcels, group.folder, shard, records[shard], context.seed, store) for shard in left
        ]
        names = ", ".join(name for name, _ in group.steps)
        if tasks:
            for _ in executor(min(self._workers, len(tasks)))(work, tasks, stop):
                done += 1
                context.emit(Progress(done, total, f"shards ({names})"))
        # One account after the other: each holds the ids of a shard.
        return [account.record for shard in range(total) if (account := group.account(shard)) is not None]

    def _learn(self, group: Group, records: list[str], context: StageContext) -> None:
        _, operator = group.steps[0]
        mark = group.place / "learnt.done"
        if not operator.learns or mark.exists():
            return
        group.learnt.mkdir(exist_ok=True)
        operator.learn(rows_before(group, records), group.learnt, context.seed)
        mark.touch()

    def _misfits(self) -> list[str]:
        """Operators that cannot be given the rows that would come to them."""
        faults, record = [], self._data().record_type
        for name, operator in self._steps:
            if record.__name__ not in operator.takes:
                faults.append(f"{name} takes {' or '.join(sorted(operator.takes))}, and is given {record.__name__}")
            record = operator.gives(record)
        return faults or self._fact_names.faults

    @property
    def _fact_names(self) -> FactNames:
        data = self._data()
        return fact_names(self._steps, data.record_type, data.fact_names())

    def _store(self, context: StageContext) -> Path | None:
        """The file of replies, where an operator asks a model."""
        asks = any(use.kind == Generator.kind for use in nested(self.settings.operators))
        return context.replies if asks else None

    @property
    def _workers(self) -> int:
        return self.settings.workers or usable_cores()

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return tuple(named((use.name, self.builder.build(use)) for use in self.settings.operators))

    def _data(self) -> Dataset[Any]:
        return self.builder.build(self.settings.data)


def _groups(steps: Sequence[Step], folder: Path) -> Iterator[Group]:
    """Operators in groups: an operator that learns begins one."""
    group: list[Step] = []
    number = 1
    for step in steps:
        if group and step[1].learns:
            yield Group(number, tuple(group), folder)
            group, number = [], number + 1
        group.append(step)
    if group:
        yield Group(number, tuple(group), folder)
