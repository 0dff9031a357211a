"""The stage's work folder: replies of each model, then ratings, block by block; what is there is not made again.

work/replies/MODEL/part-00000.jsonl    see `replying`
work/rated/part-00000.jsonl            a line for the block, then its replies with their ratings
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.records import Problem
from aftertrain.core.rows.files import part, read_objects, write_lines
from aftertrain.plugins.preferences.rating import Rated, Rater, Rating
from aftertrain.plugins.preferences.reply import ENDLESS, Reply, from_line, to_line


class Work:
    """What has been done, in files.

    Args:
        models: names, in their order.
        prompts: all, in their order.
        size: prompts of a block.
    """

    def __init__(self, folder: Path, models: Sequence[str], prompts: Sequence[Problem], size: int) -> None:
        self.folder, self.models = folder, models
        self.blocks = [prompts[start : start + size] for start in range(0, len(prompts), size)]

    def replies_of(self, model: str) -> Path:
        """Folder of a model's replies."""
        return self.folder / "replies" / model

    def missing(self, model: str) -> list[int]:
        """Blocks to which a model has not replied."""
        folder = self.replies_of(model)
        return [n for n in range(len(self.blocks)) if not (folder / f"{part(n)}.jsonl").exists()]

    def replies(self, block: int) -> dict[str, list[Reply]]:
        """All replies to the prompts of a block, by the prompt's id, model after model; joined by that id alone.

        Raises:
            DataError: a reply to another prompt lies there: the folder was changed by hand.
        """
        found: dict[str, list[Reply]] = {prompt.id: [] for prompt in self.blocks[block]}
        for model in self.models:
            path = self.replies_of(model) / f"{part(block)}.jsonl"
            for line in read_objects(path):
                reply = from_line(line)
                if reply.prompt not in found:
                    raise DataError(f"{path}: holds a reply to prompt {reply.prompt!r}, which is not of its block")
                found[reply.prompt].append(reply)
        return found

    def unrated(self) -> list[int]:
        """Blocks whose replies are not rated."""
        return [n for n in range(len(self.blocks)) if not self._rated(n).exists()]

    def rate(self, block: int, rater: Rater, thoughts: str) -> None:
        """Rate the replies to a block that can be used, and write them all down.

        Args:
            thoughts: what becomes of thoughts in rows; where they are cut, a reply without end of them is none.
        """
        replies = [reply for found in self.replies(block).values() for reply in found]
        replies = [_usable(reply, thoughts) for reply in replies]
        prompts = {prompt.id: prompt for prompt in self.blocks[block]}
        rated = rater.rate(prompts, [reply for reply in replies if not reply.dropped])
        self._rated(block).parent.mkdir(parents=True, exist_ok=True)
        head = {"order": dict(rated.order), "outcomes": {name: dict(c) for name, c in rated.outcomes.items()}}
        lines = (_line(reply, rated.ratings.get(reply.id)) for reply in replies)
        write_lines(self._rated(block), iter([head, *lines]))

    def ratings(self, block: int) -> tuple[Rated, dict[str, list[tuple[Reply, Rating]]]]:
        """What was rated of a block: the counts, and by prompt its replies with their ratings."""
        lines = read_objects(self._rated(block))
        head = next(lines)
        rated = Rated(outcomes={n: Counter(c) for n, c in head["outcomes"].items()}, order=Counter(head["order"]))
        found: dict[str, list[tuple[Reply, Rating]]] = {prompt.id: [] for prompt in self.blocks[block]}
        for reply, rating in _read(lines):
            found[reply.prompt].append((reply, rating))
        return rated, found

    def _rated(self, block: int) -> Path:
        return self.folder / "rated" / f"{part(block)}.jsonl"


def _usable(reply: Reply, thoughts: str) -> Reply:
    if reply.dropped or reply.message(thoughts) is not None:
        return reply
    return replace(reply, dropped=ENDLESS)


def _line(reply: Reply, rating: Rating | None) -> dict[str, Any]:
    if rating is None:
        rating = Rating(unrated=reply.dropped)
    return {
        "reply": to_line(reply),
        "rating": rating.value,
        "unrated": rating.unrated,
        "facts": dict(rating.facts),
        "detail": rating.detail,
    }


def _read(lines: Iterator[Mapping[str, Any]]) -> Iterator[tuple[Reply, Rating]]:
    for line in lines:
        yield from_line(line["reply"]), Rating(line["rating"], line["unrated"], line["facts"], line["detail"])
