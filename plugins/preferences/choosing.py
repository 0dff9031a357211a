"""What is made of the rated replies to one prompt: rows, and the state in which each reply ends."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.operator import Row
from aftertrain.core.records import JSON, Conversation, Message, PreferencePair, Problem, Record
from aftertrain.plugins.preferences.pairing import Candidate, Left, best, pair, strength
from aftertrain.plugins.preferences.prompts import Prompts
from aftertrain.plugins.preferences.rating import Rating
from aftertrain.plugins.preferences.reply import Reply
from aftertrain.plugins.preferences.settings import PreferencesSettings

STAGE = "preferences"
"""In the history of the rows that it makes."""
Rated = tuple[Reply, Rating]


@dataclass
class Chosen:
    """What became of a prompt.

    Attributes:
        rows: made of it.
        left: why none was; None where one was.
        states: in which each rated reply ended, by its id; of one that is not there `set_aside`.
        pair: the replies of the pair.
    """

    rows: list[Row] = field(default_factory=list)
    left: Left | None = None
    states: dict[str, str] = field(default_factory=dict)
    pair: tuple[Rated, Rated] | None = None


class Chooser:
    """Makes rows.

    Args:
        on_policy: whether a model's replies count so, by its name.
        at_least: lowest rating of a best reply; None for none.
        seed: the stage's; each prompt draws from its own.
        prompts: what is known of their rows stays with the rows that are made of them.
    """

    def __init__(
        self,
        settings: PreferencesSettings,
        on_policy: Mapping[str, bool],
        at_least: float | None,
        seed: int,
        prompts: Prompts,
    ) -> None:
        self._settings, self._on_policy, self._at_least, self._seed = settings, on_policy, at_least, seed
        self._prompts = prompts

    def choose(self, prompt: Problem, replies: Sequence[Rated]) -> Chosen:
        """From the replies to one prompt, in the order of models and numbers; what is not rated is passed over."""
        rated = {reply.id: (reply, rating) for reply, rating in replies if rating.value is not None}
        rng = random.Random(sub_seed(self._seed, "preferences", "choose", prompt.id))
        candidates = [
            Candidate(reply.id, rating.value, self._message(reply).content)
            for reply, rating in rated.values()
            if rating.value is not None
        ]
        settings = self._settings
        if settings.output == "pairs":
            found = pair(candidates, rng, rejected=settings.rejected, margin=settings.margin)
            if isinstance(found, Left):
                return Chosen(left=found)
            two = rated[found[0].id], rated[found[1].id]
            return Chosen([self._pair(prompt, *two)], None, {found[0].id: "chosen", found[1].id: "rejected"}, two)
        taken: list[Candidate] | Left = (
            best(candidates, rng, at_least=self._at_least, most=settings.most)
            if settings.output == "best"
            else candidates or Left("no reply", {"replies": 0})
        )
        if isinstance(taken, Left):
            return Chosen(left=taken)
        rows = [self._conversation(prompt, *rated[reply.id]) for reply in taken]
        return Chosen(rows, None, {reply.id: "kept" for reply in taken})

    def _pair(self, prompt: Problem, chosen: Rated, rejected: Rated) -> Row:
        (better, high), (worse, low) = chosen, rejected
        assert high.value is not None
        assert low.value is not None
        record = PreferencePair(
            id=f"{prompt.id}/pair",
            prompt=prompt.prompt,
            chosen=(self._message(better),),
            rejected=(self._message(worse),),
            source=prompt.source,
            margin=high.value - low.value,
            license=prompt.license,
            tools=prompt.tools,
        )
        strong = strength(high.value, low.value)
        facts: dict[str, JSON] = {
            **{f"chosen_{key}": value for key, value in self._facts(better, high).items()},
            **{f"rejected_{key}": value for key, value in self._facts(worse, low).items()},
            "margin": high.value - low.value,
            **({} if strong is None else {"strength": strong}),
        }
        return self._made(prompt, record, facts)

    def _conversation(self, prompt: Problem, reply: Reply, rating: Rating) -> Row:
        # The prompt's own turns of the assistant are context: they were not rated.
        turns = tuple(
            Message(t.role, t.content, False, t.reasoning, t.tool_calls, t.tool_call_id, t.name)
            if t.role == "assistant"
            else t
            for t in prompt.prompt
        )
        record = Conversation(reply.id, (*turns, self._message(reply)), prompt.source, prompt.license, prompt.tools)
        return self._made(prompt, record, self._facts(reply, rating))

    def _made(self, prompt: Problem, record: Record, facts: Mapping[str, JSON]) -> Row:
        """What was known of the prompt, and what was found here; of one name the latter."""
        known = self._prompts.row(prompt)
        return Row(record, {**known.facts, **facts}, (*known.history, STAGE), (prompt.id,))

    def _facts(self, reply: Reply, rating: Rating) -> dict[str, Any]:
        return {
            "reply": reply.id,
            "model": reply.model,
            "policy": "on" if self._on_policy[reply.model] else "off",
            "rating": rating.value,
            **({"rated": dict(rating.facts)} if rating.facts else {}),
        }

    def _message(self, reply: Reply) -> Message:
        message = reply.message(self._settings.thoughts)
        assert message is not None, "what has none was left out before it was rated"
        return message
