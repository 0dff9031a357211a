"""The stage `synthesize`: persona-driven prompts and answers, as rows for the stages after it (F10)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from aftertrain.core.asking.asker import Asker
from aftertrain.core.asking.settings import AskingSettings
from aftertrain.core.completions.keeping import sharing
from aftertrain.core.errors import AftertrainError, DataError, Interrupted
from aftertrain.core.events import Metrics, Progress
from aftertrain.core.operator import Dropped, Row
from aftertrain.core.records import Artifact, ArtifactType, Check, Conversation, Message, PlanItem, Problem
from aftertrain.core.rows.files import part, write_lines
from aftertrain.core.rows.funnel import Funnel, Passage, write_funnel
from aftertrain.core.rows.left_out import FOLDER, LeftOut, left_out_line
from aftertrain.core.rows.shelf import Shelf, cell, table
from aftertrain.core.run.folder import remove
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.synthesis.choosing import choose
from aftertrain.plugins.synthesis.material import Material
from aftertrain.plugins.synthesis.settings import SynthesizeSettings
from aftertrain.plugins.synthesis.writing import Draft, Writer, total

STAGE = "synthesize"
SHARD = 10_000
EXAMPLES = 3


class Synthesize(Stage[SynthesizeSettings]):
    """A teacher writes a prompt for each of many personas, answers are asked for, and votes or a verifier decide.

    Every reply is kept in the run's store by what was asked: a killed stage goes on without asking, or paying, twice.
    """

    Config = SynthesizeSettings

    def inputs(self) -> Sequence[StageInput]:
        """None."""
        return ()

    @property
    def output(self) -> ArtifactType:
        """Rows."""
        return "data"

    def fingerprints(self) -> Mapping[str, str]:
        """Of templates, personas and constraints, and of the models' files."""
        askers = [Asker(settings, self.builder, needs_template=True) for settings in self._models]
        judge = self._judge().content()
        return (
            {"material": self._material.digest}
            | ({"verifier": judge} if judge else {})
            | {f"model {number}": content for number, asker in enumerate(askers, 1) if (content := asker.content())}
        )

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether models, files and verifier are here; how much is asked."""
        settings, items = self.settings, []
        try:
            words, personas = self._material.words, self._material.personas
            for model in self._models:
                Asker(model, self.builder, needs_template=True).preflight()
            self._judge().preflight()
        except AftertrainError as error:
            return [PlanItem("synthesis", str(error), "error")]
        calls = settings.rows * (1 + settings.answers)
        items.append(PlanItem("prompts", f"{settings.rows:,} of {len(personas):,} personas by {words.name}"))
        items.append(
            PlanItem("calls", f"{calls:,} at most, retries apart: 1 prompt and {settings.answers} answers each")
        )
        if settings.rule == "majority" and settings.answers == 1:
            items.append(PlanItem("answers", "one answer agrees with itself: set answers to 3 or more", "warning"))
        if settings.license is None:
            items.append(PlanItem("license", "not stated: what the teacher's terms allow is for you to say", "warning"))
        return items

    def run(self, context: StageContext) -> Artifact:
        """Write, answer, choose.

        Raises:
            DataError: nothing is left.
            Interrupted: the user asked to stop; replies are kept.
        """
        settings = self.settings
        askers = [Asker(model, self.builder, needs_template=True) for model in self._models]
        teacher, answering = askers[0], askers[-1]
        judge = isolate(self._judge(), shared_pool())
        judge.preflight()
        writer = Writer(settings.skill, self._material, teacher, answering, context.seed)
        context.book.expect("row", map(self._id, range(settings.rows)))
        rows: list[Row] = []
        lost: list[Draft] = []
        seen: set[str] = set()
        with sharing(context.replies), ExitStack() as held:
            held.callback(judge.close)
            for asker in askers:
                held.callback(asker.close)
            for start in range(0, settings.rows, settings.batch):
                if context.stopping():
                    raise Interrupted(f"stage {context.name!r}: stopped; every reply so far is kept")
                drafts = writer.prompts(range(start, min(start + settings.batch, settings.rows)))
                _refuse_repeated(drafts, seen)
                writer.answers([draft for draft in drafts if not draft.lost], settings.answers)
                left = [draft for draft in drafts if not draft.lost]
                chosen = choose(left, settings.rule, judge, settings.agreement)
                rows += [self._row(draft, *chosen[draft.number]) for draft in left if not draft.lost]
                lost += [draft for draft in drafts if draft.lost]
                context.emit(Progress(min(start + settings.batch, settings.rows), settings.rows, "prompts"))
        return self._publish(context, rows, lost)

    def _row(self, draft: Draft, place: int, share: float) -> Row:
        settings, id = self.settings, self._id(draft.number)
        prompt = (Message("user", draft.prompt),)
        source = self._source
        record: Conversation | Problem
        if settings.output == "problem":
            assert settings.verifier is not None
            record = Problem(id, prompt, (Check(settings.verifier.name, draft.truth),), source, settings.license)
        else:
            answer = Message("assistant", draft.answers[place] or "")
            record = Conversation(id, (*prompt, answer), source, settings.license)
        words = self._material.words
        facts = {
            "persona": draft.persona,
            "teacher": settings.teacher.model.rpartition("/")[2],
            "answering": (settings.answering or settings.teacher).model.rpartition("/")[2],
            "template": f"{words.name} {words.version}".strip(),
            "agreement": share,
            **total(draft.spent),
        }
        return Row(record, _named(facts), (STAGE,))

    def _left_out(self, draft: Draft) -> Dropped:
        id, evidence = self._id(draft.number), {"message": draft.evidence, "persona": draft.persona}
        asked = (Message("user", draft.prompt),) if draft.prompt else ()
        record = Problem(id, asked, (), self._source, self.settings.license)
        return Row(record, _named(total(draft.spent)), (STAGE,)).drop(draft.lost, **evidence)

    def _funnel(self, rows: Sequence[Row], lost: Sequence[Draft], shelf: Shelf) -> Funnel:
        """Prompts that were to be written, and what became of them."""
        source, reasons = self._source, Counter(draft.lost for draft in lost)
        passage = Passage(
            came={source: len(rows) + len(lost)},
            kept={source: len(rows)},
            dropped={reason: {source: count} for reason, count in sorted(reasons.items())},
        )
        funnel = Funnel(read=len(rows) + len(lost), passages={STAGE: passage})
        funnel.rows, funnel.characters, funnel.words = shelf.rows, shelf.characters, shelf.words
        for row in rows:
            funnel.see(row)
        for draft in lost:
            left = self._left_out(draft)
            funnel.miss(LeftOut(left.row.id, STAGE, left.reason, left.evidence, left.row))
        return funnel

    @property
    def _source(self) -> str:
        return f"synthetic-{self.settings.skill}"

    def _publish(self, context: StageContext, rows: Sequence[Row], lost: Sequence[Draft]) -> Artifact:
        for draft in lost:
            context.book.drop("row", draft.lost, self._id(draft.number))
        context.book.end("row", "kept", [row.id for row in rows])
        reasons = dict(Counter(draft.lost for draft in lost))
        if not rows:
            first = next((draft.evidence for draft in lost if draft.evidence), "")
            planned = f"{self.settings.rows:,} prompts"
            raise DataError(f"no row is left: of {planned} {_counted(reasons)}; the first: {first}")
        folder = context.folder / "data"
        remove(folder)
        shelf = Shelf(folder, self.settings.format)
        record = type(rows[0].record).__name__
        for number, start in enumerate(range(0, len(rows), SHARD)):
            shelf.put(number, record, rows[start : start + SHARD])
        write_lines(
            folder / FOLDER / f"{part(0)}.jsonl", (left_out_line(STAGE, self._left_out(draft)) for draft in lost)
        )
        write_funnel(folder, self._funnel(rows, lost, shelf))
        contents = shelf.close()
        # What was paid for prompts that are left out was paid too.
        spent = [row.facts for row in rows] + [_named(total(draft.spent)) for draft in lost]
        cost = sum(float(facts["synthesize.cost"]) for facts in spent)
        tokens = sum(int(facts["synthesize.reply_tokens"]) for facts in spent)
        shelf.card(context.name, STAGE, contents, self._told(rows, reasons))
        agreement = sum(float(row.facts["synthesize.agreement"]) for row in rows) / len(rows)
        context.emit(Metrics({"rows": len(rows), "agreement": agreement, "reply_tokens": tokens, "cost": cost}))
        details = {"rows": len(rows), "record": record, "dropped": reasons, "reply_tokens": tokens, "cost": cost}
        return Artifact("data", str(folder), context.name, digest="", details=details)

    def _told(self, rows: Sequence[Row], reasons: Mapping[str, int]) -> Iterator[str]:
        words, rule = self._material.words, self.settings.rule
        yield f"Prompts by the template {words.name}, version {words.version or 'not stated'}; rule: {rule}."
        yield ""
        if reasons:
            yield from table("Left out", reasons, "prompts")
        yield "## Examples"
        yield ""
        for row in rows[:EXAMPLES]:
            yield f"- `{row.id}` {cell(row.text)}"

    def _id(self, number: int) -> str:
        digest = hashlib.sha256(f"{self._material.words.text}/{self.settings.skill}".encode()).hexdigest()[:8]
        return f"synthetic-{self.settings.skill}-{digest}-{number}"

    @property
    def _models(self) -> tuple[AskingSettings, ...]:
        return (self.settings.teacher, *([self.settings.answering] if self.settings.answering else []))

    @cached_property
    def _material(self) -> Material:
        return Material(self.settings)

    def _judge(self) -> Verifier[Any]:
        assert self.settings.verifier is not None
        return self.builder.build(self.settings.verifier)


def _refuse_repeated(drafts: Sequence[Draft], seen: set[str]) -> None:
    for draft in drafts:
        words = " ".join(draft.prompt.casefold().split())
        if draft.lost or words not in seen:
            seen.add(words)
        else:
            draft.leave_out("repeated", "another prompt is the same, case and white space apart")


def _named(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{STAGE}.{name}": value for name, value in facts.items()}


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
