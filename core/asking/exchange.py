"""What is asked of a model, what it says, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aftertrain.core.asking.settings import Prices
    from aftertrain.core.records import Completion, Message


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt.

    Attributes:
        case_id: of the case, part of the seed of a drawn reply.
        text: the whole prompt, special tokens written out, no lone surrogates in it.
        add_special: let the tokenizer add its own (a BOS), for a text that has none.
        messages: the conversation, of which `text` is what people are shown, for a model whose server renders it.
    """

    case_id: str
    text: str
    add_special: bool = False
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Spent:
    """What replies took. Those from the cache (`from_cache`) cost nothing."""

    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost: float = 0.0
    from_cache: int = 0

    def with_reply(self, reply: Completion, prices: Prices) -> Spent:
        """The same and one reply more."""
        prompt, tokens = len(reply.prompt_ids), len(reply.token_ids)
        return replace(
            self,
            calls=self.calls + 1,
            prompt_tokens=self.prompt_tokens + prompt,
            reply_tokens=self.reply_tokens + tokens,
            cost=self.cost + (prompt * prices.prompt + tokens * prices.reply) / 1e6,
        )

    def __str__(self) -> str:
        """Calls, tokens and cost in words."""
        calls = "1 call" if self.calls == 1 else f"{self.calls} calls"
        cost = f", cost {self.cost:.6g}" if self.cost else ""
        return f"{calls}, {self.prompt_tokens} + {self.reply_tokens} tokens{cost}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one question.

    Attributes:
        reply: the last reply's text.
        usable: what was looked for in it; None where no reply holds it.
        spent: on all replies, retries included.
        likeliest: first tokens of that reply, where they were asked for and told (`Completion.likeliest`).
    """

    reply: str = ""
    usable: str | None = None
    spent: Spent = Spent()
    likeliest: tuple[tuple[str, float], ...] = ()
