"""What the stage hands on: rows, every reply with its rating and end, what was left out, the card; and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.book import Book
from aftertrain.core.errors import DataError
from aftertrain.core.events import Sample, SampleVerdict, VerdictCounts, Warned
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.operator import Row
from aftertrain.core.records import Artifact, Problem
from aftertrain.core.rows.columns import to_columns
from aftertrain.core.rows.files import part, write_lines
from aftertrain.core.rows.shelf import Shelf
from aftertrain.core.run.folder import remove
from aftertrain.core.stage import StageContext
from aftertrain.plugins.preferences.card import told
from aftertrain.plugins.preferences.choosing import STAGE, Chooser, Chosen, Rated
from aftertrain.plugins.preferences.measure import Lengths, PairFigures
from aftertrain.plugins.preferences.prompts import Prompts
from aftertrain.plugins.preferences.settings import PreferencesSettings
from aftertrain.plugins.preferences.work import Work

RESPONSE = "response"
DROPPED, REPLIES, FIGURES = "dropped", "replies", "preferences.json"
RECORDS = {"pairs": "PreferencePair", "best": "Conversation", "rows": "Conversation"}


@dataclass
class Tally:
    """Counts over all prompts and replies.

    Attributes:
        prompts: by how they ended.
        replies: by model, and how they ended.
        ratings: by model, the rated replies' ratings added up and counted.
        spread: rated replies by rating.
        outcomes: verdicts by verifier or aspect.
        order: of a judge of pairs.
    """

    prompts: Counter[str] = field(default_factory=Counter)
    replies: dict[str, Counter[str]] = field(default_factory=dict)
    ratings: dict[str, list[float]] = field(default_factory=dict)
    spread: Counter[float] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    order: Counter[str] = field(default_factory=Counter)
    lengths: Lengths = field(default_factory=Lengths)
    pairs: PairFigures = field(default_factory=PairFigures)


class Publisher:
    """Writes the artifact, block by block."""

    def __init__(
        self, settings: PreferencesSettings, context: StageContext, work: Work, prompts: Prompts, chooser: Chooser
    ) -> None:
        self._settings, self._context, self._work, self._prompts = settings, context, work, prompts
        self._chooser, self._tally, self._shown = chooser, Tally(), settings.shown
        self._reply_lines: list[dict[str, Any]] = []
        self._unrated = ""

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
        self._enter_left_out(context.book)
        left: list[dict[str, Any]] = [
            {"operator": STAGE, "reason": row.reason, "evidence": json_text({"message": row.message}), "id": row.id}
            for row in self._prompts.left_out
        ]
        rows: list[Row] = []
        waiting = number = 0
        for block, asked in enumerate(self._work.blocks):
            rows += self._block(block, left)
            write_lines(folder / REPLIES / f"{part(block)}.jsonl", self._reply_lines)
            waiting += len(asked)
            if waiting >= settings.shard_rows or block == len(self._work.blocks) - 1:
                if rows:
                    shelf.put(number, record, rows)
                write_lines(folder / DROPPED / f"{part(number)}.jsonl", left)
                rows, left, waiting, number = [], [], 0, number + 1
        self._warn()
        if not shelf.rows:
            raise DataError(self._nothing())
        contents = shelf.close()
        figures = self._figures()
        (folder / FIGURES).write_text(f"{json_text(figures, indent=1)}\n", encoding="utf-8")
        shelf.card(context.name, STAGE, contents, told(settings.output, figures))
        context.emit(VerdictCounts({name: dict(counts) for name, counts in self._tally.outcomes.items()}), 1)
        details = {"rows": contents.rows, "record": record, "preferences": figures}
        return Artifact("data", str(folder), context.name, digest="", details=details)

    def _enter_left_out(self, book: Book) -> None:
        left_out = self._prompts.left_out
        book.expect("row", [*(prompt.id for prompt in self._prompts.kept), *(row.id for row in left_out)])
        for row in left_out:
            book.drop("row", row.reason, row.id)
            self._tally.prompts[row.reason] += 1
        owed = [
            f"{prompt.id}/{model.called}/{number}"
            for prompt in self._prompts.kept
            for model in self._settings.models
            for number in range(self._settings.samples_of(model))
        ]
        book.expect(RESPONSE, owed)

    def _block(self, block: int, left: list[dict[str, Any]]) -> list[Row]:
        """The rows of a block; what made none is added to `left`."""
        rated, by_prompt = self._work.ratings(block)
        for name, counts in rated.outcomes.items():
            self._tally.outcomes.setdefault(name, Counter()).update(counts)
        self._tally.order.update(rated.order)
        self._reply_lines = []
        rows: list[Row] = []
        for prompt in self._work.blocks[block]:
            replies = by_prompt[prompt.id]
            chosen = self._chooser.choose(prompt, replies)
            self._enter(prompt, replies, chosen)
            if chosen.left is not None:
                evidence = json_text(dict(chosen.left.figures))
                why = {"operator": STAGE, "reason": chosen.left.reason, "evidence": evidence, "record": "Problem"}
                left.append({**why, **to_columns(Row(prompt))})
            rows += chosen.rows
        return rows

    def _enter(self, prompt: Problem, replies: Sequence[Rated], chosen: Chosen) -> None:
        book, tally = self._context.book, self._tally
        for reply, rating in replies:
            ends = tally.replies.setdefault(reply.model, Counter())
            tokens = {"made": len(reply.token_ids), "context": reply.n_prompt}
            if rating.value is None:
                reason = rating.unrated if reply.dropped else f"unrated: {rating.unrated}"
                book.drop(RESPONSE, reason, reply.id, **tokens)
                state = f"dropped: {reason}"
                self._unrated = self._unrated or rating.detail
            else:
                state = chosen.states.get(reply.id, "set_aside")
                book.end(RESPONSE, state, reply.id, **tokens)
                tally.ratings.setdefault(reply.model, []).append(rating.value)
                tally.spread[round(rating.value, 6)] += 1
            ends[state] += 1
            self._reply_lines.append(
                {
                    "id": reply.id,
                    "prompt": reply.prompt,
                    "model": reply.model,
                    "text": reply.text,
                    "rating": rating.value,
                    "rated": json_text(dict(rating.facts)),
                    "finish_reason": "" if reply.dropped and not reply.text else reply.finish_reason,
                    "why": reply.why or rating.detail,
                    "tokens": len(reply.token_ids),
                    "state": state,
                }
            )
        self._show(prompt, replies, chosen)
        tally.lengths.add([(rating.value, len(reply.text)) for reply, rating in replies if rating.value is not None])
        if chosen.left is not None:
            book.drop("row", chosen.left.reason, prompt.id)
            tally.prompts[chosen.left.reason] += 1
            return
        book.end("row", "replaced", prompt.id)
        made = [row.id for row in chosen.rows]
        book.owe("row", made)
        book.end("row", "kept", made)
        tally.prompts["used"] += 1
        if chosen.pair is not None:
            self._measure(prompt, replies, *chosen.pair)

    def _measure(self, prompt: Problem, replies: Sequence[Rated], chosen: Rated, rejected: Rated) -> None:
        (better, high), (worse, low) = chosen, rejected
        assert high.value is not None
        assert low.value is not None
        places = [reply.id for reply, _ in replies]
        self._tally.pairs.add(
            prompt.source,
            (better.model, worse.model),
            (high.value, low.value),
            (len(better.text), len(worse.text)),
            places.index(better.id) < places.index(worse.id),
        )

    def _show(self, prompt: Problem, replies: Sequence[Rated], chosen: Chosen) -> None:
        if not self._shown:
            return
        self._shown -= 1
        asked = "\n".join(turn.content for turn in prompt.prompt)
        for reply, rating in replies:
            facts = tuple(
                SampleVerdict(name, "scored" if value is not None else "abstained", None, reward=value)
                for name, value in rating.facts.items()
            )
            state = chosen.states.get(reply.id, "set_aside") if rating.value is not None else rating.unrated
            self._context.emit(
                Sample(
                    asked,
                    reply.text,
                    rating.value,
                    facts,
                    id=reply.id,
                    finish_reason=reply.finish_reason,
                    tokens=len(reply.token_ids),
                    problem=prompt.id,
                    source=prompt.source,
                    state=state,
                ),
                1,
            )

    def _nothing(self) -> str:
        """That no row came out, and why."""
        prompts, replies = self._tally.prompts, sum(self._tally.replies.values(), Counter[str]())
        ended = ", ".join(f"{count:,} {reason}" for reason, count in prompts.most_common())
        states = ", ".join(f"{count:,} {state}" for state, count in replies.most_common(5))
        first = f"; the first that could not be rated: {self._unrated}" if self._unrated else ""
        return f"no row came out of {len(self._prompts.kept):,} prompts ({ended}); of their replies {states}{first}"

    def _warn(self) -> None:
        """Tell how many replies the rater failed on."""
        for name, outcomes in self._tally.outcomes.items():
            failed = outcomes["error"] + outcomes["timeout"]
            if failed:
                total = sum(outcomes.values())
                self._context.emit(
                    Warned(
                        f"rating: {name} failed on {failed:,} of {total:,} replies ({failed / total:.0%}), which are "
                        f"left out; the first: {self._unrated or 'no detail'}"
                    )
                )

    def _figures(self) -> dict[str, Any]:
        """All that was counted and measured, as JSON."""
        tally, settings = self._tally, self._settings
        models = {
            model.called: {
                "policy": "on" if model.on_policy else "off",
                "replies": dict(tally.replies.get(model.called, {})),
                "rated": len(tally.ratings.get(model.called, ())),
                "mean_rating": _mean(tally.ratings.get(model.called, ())),
            }
            for model in settings.models
        }
        figures: dict[str, Any] = {
            "prompts": dict(tally.prompts),
            "models": models,
            "ratings": {f"{rating:g}": count for rating, count in sorted(tally.spread.items())[:50]},
            "verdicts": {name: dict(counts) for name, counts in tally.outcomes.items()},
            "length_correlation": tally.lengths.correlation,
            "order": _order(tally.order),
        }
        if settings.output == "pairs":
            figures["pairs"] = tally.pairs.told(settings.diversity_weight, models)
        return figures


def _order(order: Mapping[str, int]) -> dict[str, Any] | None:
    """How a judge of pairs follows the place; None where each reply was rated by itself, which has none."""
    total = sum(order.values())
    if not total:
        return None
    return {"comparisons": total, **{name: order.get(name, 0) / total for name in ("first", "second", "neither")}}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
