"""What the stage hands on: rows, every reply with its rating and end, what was left out, the card; and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.events import Sample, SampleVerdict, VerdictCounts, Warned
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.operator import Row
from aftertrain.core.records import Artifact, Problem
from aftertrain.core.rows.files import part, write_lines, write_text
from aftertrain.core.rows.funnel import Funnel, Passage, write_funnel
from aftertrain.core.rows.left_out import FOLDER as DROPPED
from aftertrain.core.rows.left_out import LeftOut, bad_row_line, left_out_line
from aftertrain.core.rows.shelf import Shelf
from aftertrain.core.run.folder import remove
from aftertrain.core.stage import StageContext
from aftertrain.plugins.preferences.card import told
from aftertrain.plugins.preferences.choosing import STAGE, Chooser, Chosen, Rated
from aftertrain.plugins.preferences.prompts import Prompts
from aftertrain.plugins.preferences.rating import Rating
from aftertrain.plugins.preferences.reply import Reply
from aftertrain.plugins.preferences.settings import PreferencesSettings
from aftertrain.plugins.preferences.tally import USED, Tally, in_short
from aftertrain.plugins.preferences.work import Work

RESPONSE = "response"
REPLIES, FIGURES = "replies", "preferences.json"
RECORDS = {"pairs": "PreferencePair", "best": "Conversation", "rows": "Conversation"}
Line = dict[str, Any]


class Publisher:
    """Writes the artifact, block by block."""

    def __init__(
        self, settings: PreferencesSettings, context: StageContext, work: Work, prompts: Prompts, chooser: Chooser
    ) -> None:
        self._settings, self._context, self._work, self._prompts = settings, context, work, prompts
        self._chooser, self._tally, self._shown = chooser, Tally(), settings.shown
        self._passage, self._funnel = Passage(), Funnel()

    def publish(self) -> Artifact:
        """Everything into the stage's folder, and into its book.

        Raises:
            DataError: no row came out; says what became of the prompts.
        """
        context, settings = self._context, self._settings
        folder = context.folder / "data"
        remove(folder)
        shelf = Shelf(folder, settings.format)
        (folder / DROPPED).mkdir()
        (folder / REPLIES).mkdir()
        record = RECORDS[settings.output]
        left = self._enter_owed()
        rows: list[Row] = []
        waiting = number = 0
        for block, asked in enumerate(self._work.blocks):
            replies: list[Line] = []
            rows += self._block(block, left, replies)
            write_lines(folder / REPLIES / f"{part(block)}.jsonl", replies)
            waiting += len(asked)
            if waiting >= settings.shard_rows or block == len(self._work.blocks) - 1:
                if rows:
                    shelf.put(number, record, rows)
                write_lines(folder / DROPPED / f"{part(number)}.jsonl", left)
                rows, left, waiting, number = [], [], 0, number + 1
        for words in self._tally.failures():
            context.emit(Warned(words), 1)
        if not shelf.rows:
            raise DataError(self._tally.nothing())
        contents = shelf.close()
        figures = self._tally.figures(settings)
        self._passage.figures = in_short(figures)
        funnel = self._funnel
        funnel.passages[STAGE] = self._passage
        funnel.rows, funnel.characters, funnel.words = shelf.rows, shelf.characters, shelf.words
        write_funnel(folder, funnel)
        write_text(folder / FIGURES, f"{json_text(figures, indent=1)}\n")
        shelf.card(context.name, STAGE, contents, told(settings.output, figures))
        context.emit(VerdictCounts({name: dict(counts) for name, counts in self._tally.outcomes.items()}), 1)
        details = {"rows": contents.rows, "record": record, "preferences": figures}
        return Artifact("data", str(folder), context.name, digest="", details=details)

    def _enter_owed(self) -> list[Line]:
        """State what is owed, and end the rows that were never asked; returns their lines."""
        book, prompts, lines = self._context.book, self._prompts, list[Line]()
        book.expect("row", [*(prompt.id for prompt in prompts.kept), *(row.id for row in prompts.left_out)])
        for row in prompts.left_out:
            book.drop("row", row.reason, row.id)
            self._tally.prompts[row.reason] += 1
            if row.record is None:
                self._funnel.bad[row.reason] = self._funnel.bad.get(row.reason, 0) + 1
                lines.append(bad_row_line(row.id, row.reason, row.message))
            else:
                self._came(row.record.source)
                lines.append(self._dropped(self._prompts.row(row.record), row.reason, {"message": row.message}))
        book.expect(
            RESPONSE,
            [
                f"{prompt.id}/{model.called}/{number}"
                for prompt in prompts.kept
                for model in self._settings.models
                for number in range(self._settings.samples_of(model))
            ],
        )
        return lines

    def _block(self, block: int, left: list[Line], lines: list[Line]) -> list[Row]:
        """The rows of a block; prompts that made none are added to `left`, replies to `lines`."""
        rated, by_prompt = self._work.ratings(block)
        self._tally.block(rated)
        rows: list[Row] = []
        for prompt in self._work.blocks[block]:
            replies = by_prompt[prompt.id]
            chosen = self._chooser.choose(prompt, replies)
            lines += [self._enter_reply(*one, chosen) for one in replies]
            self._show(prompt, replies, chosen)
            self._came(prompt.source)
            self._tally.prompt(prompt, replies, USED if chosen.left is None else chosen.left.reason, chosen.pair)
            if chosen.left is not None:
                self._context.book.drop("row", chosen.left.reason, prompt.id)
                row = self._prompts.row(prompt).with_facts(chosen.left.facts)
                left.append(self._dropped(row, chosen.left.reason, chosen.left.figures))
            else:
                self._enter_made(prompt, chosen.rows)
                rows += chosen.rows
        return rows

    def _enter_made(self, prompt: Problem, rows: Sequence[Row]) -> None:
        book, passage, made = self._context.book, self._passage, [row.id for row in rows]
        book.end("row", "replaced", prompt.id)
        book.owe("row", made)
        book.end("row", "kept", made)
        passage.replaced[prompt.source] = passage.replaced.get(prompt.source, 0) + 1
        passage.made[prompt.source] = passage.made.get(prompt.source, 0) + len(rows)
        for row in rows:
            self._funnel.see(row)

    def _enter_reply(self, reply: Reply, rating: Rating, chosen: Chosen) -> Line:
        """End a reply in the book; returns its line."""
        tokens = {"made": len(reply.token_ids), "context": reply.n_prompt}
        if rating.value is None:
            reason = rating.unrated if reply.dropped else f"unrated: {rating.unrated}"
            self._context.book.drop(RESPONSE, reason, reply.id, **tokens)
            state = f"dropped: {reason}"
        else:
            state = chosen.states.get(reply.id, "set_aside")
            self._context.book.end(RESPONSE, state, reply.id, **tokens)
        self._tally.reply((reply, rating), state)
        return {
            "id": reply.id,
            "prompt": reply.prompt,
            "model": reply.model,
            "text": reply.text,
            "rating": rating.value,
            "rated": json_text(dict(rating.facts)),
            "finish_reason": reply.finish_reason,
            "why": reply.why or rating.detail,
            "tokens": len(reply.token_ids),
            "state": state,
        }

    def _came(self, source: str) -> None:
        self._funnel.read += 1
        self._passage.came[source] = self._passage.came.get(source, 0) + 1

    def _dropped(self, row: Row, reason: str, evidence: dict[str, Any]) -> Line:
        by_source = self._passage.dropped.setdefault(reason, {})
        by_source[row.source] = by_source.get(row.source, 0) + 1
        self._funnel.miss(LeftOut(row.id, STAGE, reason, evidence, row))
        return left_out_line(STAGE, row.drop(reason, **evidence))

    def _show(self, prompt: Problem, replies: Sequence[Rated], chosen: Chosen) -> None:
        if not self._shown:
            return
        self._shown -= 1
        asked = "\n".join(turn.content for turn in prompt.prompt)
        for reply, rating in replies:
            facts = tuple(
                SampleVerdict(name, "abstained" if value is None else "scored", reward=value)
                for name, value in rating.facts.items()
            )
            sample = Sample(
                asked,
                reply.text,
                rating.value,
                facts,
                id=reply.id,
                finish_reason=reply.finish_reason,
                tokens=len(reply.token_ids),
                problem=prompt.id,
                source=prompt.source,
                state=chosen.states.get(reply.id, "set_aside") if rating.value is not None else rating.unrated,
            )
            self._context.emit(sample, 1)
