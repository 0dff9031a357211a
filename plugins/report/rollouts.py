"""Rollouts of an online stage to look through: of some problems, what was replied in the steps that asked them.

Which problems is blind: those that most steps asked, and among these by a hash of their ids. Only the heads of the
steps' files are read to choose, and then the steps that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aftertrain.core.errors import RunError
from aftertrain.core.events import Sample
from aftertrain.core.learning.rollouts import REASONS, ReplyTokens, RolloutFile, code, kept_steps
from aftertrain.plugins.report.facts import Stage
from aftertrain.plugins.report.instances import blind
from aftertrain.plugins.report.tokens import Run, load_tokenizer, pieces, runs, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

VISITS, REPLIES = 6, 4
"""Steps of a problem, and replies of a step, that are shown; of more, evenly spaced ones."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the policy said in one turn, or what an environment answered.

    Attributes:
        reward: of the turn, where an environment gave one.
    """

    policy: bool
    runs: tuple[Run, ...]
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A reply.

    Attributes:
        fate: how many of its tokens were learnt, or why not.
        versions: of the weights that made it.
    """

    sample: Sample
    parts: tuple[Part, ...]
    fate: str
    versions: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A step that asked the problem: all its rewards, and some of its replies in the order of their rewards."""

    step: int
    rewards: tuple[float, ...]
    tokens: float
    replies: tuple[Shown, ...]

    @property
    def mean(self) -> float:
        """Reward."""
        return sum(self.rewards) / len(self.rewards)


@dataclass(frozen=True, slots=True)
class Asked:
    """A problem, and what became of it.

    Attributes:
        steps: how many steps asked it.
    """

    id: str
    source: str
    prompt: str
    steps: int
    visits: tuple[Visit, ...]


@dataclass(frozen=True, slots=True)
class Browsed:
    """One stage's rollouts.

    Attributes:
        total: problems that were asked, shown or not.
        scale: the advantage that has the deepest colour; 0 where there is none.
        notes: what could not be shown, and why.
    """

    stage: str
    problems: tuple[Asked, ...]
    total: int
    scale: float
    notes: tuple[str, ...]


def browse(stage: Stage, base: str, number: int, characters: int) -> Browsed | None:
    """Up to `number` problems of a stage; None where it has no rollouts, or none are wanted.

    Args:
        base: folder of the recipe's own model, whose tokenizer serves as long as the stage has left none.
        characters: that are shown of a reply.
    """
    steps = kept_steps(stage.folder) if stage.folder is not None and number else []
    if not steps or stage.folder is None:
        return None
    notes: list[str] = []
    asked = _asked(stage.folder, steps, notes)
    chosen = sorted(asked, key=lambda id: (-len(asked[id]), blind((id, 0))))[:number]
    visits = {id: _spaced(asked[id], VISITS) for id in chosen}
    found = _read(stage.folder, visits, notes)
    tokenizer = load_tokenizer([stage.folder / "model", *([Path(base)] if base else [])])
    if tokenizer is None:
        notes.append("no tokenizer.json was found, so that replies are shown as text, without their tokens' advantages")
    scale = max((_greatest(tokens) for groups in found.values() for _, tokens in groups), default=0.0)
    drawing = _Drawing(tokenizer, scale, characters)
    problems = [
        Asked(id, rows[0][0].source, rows[0][0].prompt, len(asked[id]), tuple(drawing.visits(id, visits[id], found)))
        for id in chosen
        if (rows := [row for step in visits[id] for row in found.get((id, step), [])])
    ]
    if drawing.strange:
        notes.append("some replies are shown as text: the tokenizer that was found does not make that text of them")
    return Browsed(stage.name, tuple(problems), len(asked), scale, tuple(notes))


@dataclass
class _Drawing:
    """Replies into parts.

    Attributes:
        strange: whether the tokenizer is not that of the replies.
    """

    tokenizer: Tokenizer | None
    scale: float
    characters: int
    strange: bool = False

    def visits(
        self, id: str, steps: Sequence[int], found: Mapping[tuple[str, int], Sequence[tuple[Sample, ReplyTokens]]]
    ) -> Iterator[Visit]:
        for step in steps:
            rows = found.get((id, step), [])
            if not rows:
                continue
            ordered = sorted(rows, key=lambda row: -(row[0].reward or 0.0))
            shown = [ordered[place] for place in _spaced(range(len(ordered)), REPLIES)]
            yield Visit(
                step,
                tuple(sample.reward or 0.0 for sample, _ in ordered),
                sum(sample.tokens or 0 for sample, _ in rows) / len(rows),
                tuple(self._reply(*row) for row in shown),
            )

    def _reply(self, sample: Sample, tokens: ReplyTokens) -> Shown:
        drawn = tokens.reasons[tokens.sampled]
        fates = {REASONS[place]: int((drawn == place).sum()) for place in sorted({*drawn.tolist()})}
        fate = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in fates.items())
        versions = ", ".join(map(str, sorted({*tokens.versions.tolist()})))
        parts = None if self.tokenizer is None else self._parts(self.tokenizer, sample, tokens)
        if parts is None:
            answer = _answer(sample)
            parts = [Part(policy=True, runs=tuple(runs([sample.response], [0.0], 0.0, answer=answer)))]
        room = max(1, self.characters // len(parts))
        cut = tuple(Part(part.policy, tuple(shortened(part.runs, room)), part.reward) for part in parts)
        return Shown(sample, cut, fate, versions)

    def _parts(self, tokenizer: Tokenizer, sample: Sample, tokens: ReplyTokens) -> list[Part] | None:
        """Turn by turn; None where the tokenizer is another one."""
        mask = tokens.sampled
        first = int(mask.argmax()) if mask.any() else len(mask)
        edges = [first, *(np.flatnonzero(np.diff(mask[first:])) + first + 1).tolist(), len(mask)]
        spans = [(low, high) for low, high in pairwise(edges) if low < high]
        none = np.full(len(tokens.logprobs), np.nan, np.float32)
        columns = {name: tokens.columns.get(name, none) for name in ("advantages", "turn_rewards")}
        rewards = np.nan_to_num(columns["turn_rewards"])
        several, parts, done = len(spans) > 1, list[Part](), 0
        opening = tokenizer.decode(tokens.token_ids[:first].tolist(), skip_special_tokens=False) if several else ""
        if opening and sample.prompt not in opening:  # the environment's own
            parts.append(Part(policy=False, runs=(Run(opening, "env"),)))
        for low, high in spans:
            texts = pieces(tokenizer, tokens.token_ids[low:high].tolist())
            if not mask[low]:
                parts.append(Part(policy=False, runs=(Run("".join(texts), "env"),)))
                continue
            own = slice(done, done + high - low)
            done += high - low
            last = done == len(tokens.logprobs)
            if last and not several and not _says(tokenizer, tokens.token_ids[low:high].tolist(), sample.response):
                self.strange = True
                return None
            out = (tokens.reasons[low:high] == code("off_policy")).tolist()
            answer = _answer(sample) if last else None
            shown = runs(texts, columns["advantages"][own].tolist(), self.scale, answer=answer, out=out)
            reward = float(rewards[own][-1]) if several or rewards.any() else None
            parts.append(Part(policy=True, runs=tuple(shown), reward=reward))
        return parts


def _asked(folder: Path, steps: Sequence[int], notes: list[str]) -> dict[str, list[int]]:
    """The steps that asked each problem."""
    asked: dict[str, list[int]] = {}
    for step in steps:
        try:
            ids = RolloutFile(folder, step).ids()
        except RunError as error:
            notes.append(f"step {step}: {error}")
            continue
        for id in dict.fromkeys(id.rpartition("/")[0] for id in ids):
            asked.setdefault(id, []).append(step)
    return asked


def _read(
    folder: Path, visits: Mapping[str, Sequence[int]], notes: list[str]
) -> dict[tuple[str, int], list[tuple[Sample, ReplyTokens]]]:
    """The replies to these problems in these steps; each file is read once."""
    found: dict[tuple[str, int], list[tuple[Sample, ReplyTokens]]] = {}
    for step in sorted({step for steps in visits.values() for step in steps}):
        try:
            rollouts = RolloutFile(folder, step).read()
        except RunError as error:
            notes.append(f"step {step}: {error}")
            continue
        for sample, tokens in zip(rollouts.samples, rollouts.replies, strict=True):
            id = sample.id.rpartition("/")[0]
            if step in visits.get(id, ()):
                found.setdefault((id, step), []).append((sample, tokens))
    return found


def _spaced(items: Sequence[int], most: int) -> list[int]:
    """Evenly spaced ones, the first and the last among them.

    >>> _spaced(range(9), 3), _spaced([4, 7], 3)
    ([0, 4, 8], [4, 7])
    """
    if len(items) <= most:
        return [*items]
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _greatest(tokens: ReplyTokens) -> float:
    found = np.abs(np.nan_to_num(tokens.columns.get("advantages", np.zeros(1, np.float32))))
    return float(found.max(initial=0.0))


def _answer(sample: Sample) -> str | None:
    """What a verifier read in it, the first that read anything."""
    return next((verdict.extracted for verdict in sample.verdicts if verdict.extracted), None)


def _says(tokenizer: Tokenizer, ids: Sequence[int], response: str) -> bool:
    """Whether a tokenizer makes a reply's recorded text of its ids; that may end sooner, at a stop string."""
    text = tokenizer.decode([*ids], skip_special_tokens=True)
    return text.strip().startswith(response.strip())
