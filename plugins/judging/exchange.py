"""What is asked of a model, what it says, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt.

    Attributes:
        case_id: of the case, part of the seed of a drawn reply.
        text: the whole prompt, special tokens written out, no lone surrogates in it.
        add_special: let the tokenizer add its own (a BOS), for a text that has none.
    """

    case_id: str
    text: str
    add_special: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one question, retries included.

    Attributes:
        reply: the last reply's text.
        found: what `read` made of it; None where it could use none of the replies.
        calls: replies it took.
        prompt_tokens: of all of them, as are `reply_tokens` and `cost`.
    """

    reply: str = ""
    found: str | None = None
    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost: float = 0.0

    @property
    def told(self) -> str:
        """Calls, tokens and cost in words."""
        calls = "1 call" if self.calls == 1 else f"{self.calls} calls"
        cost = f", cost {self.cost:.6g}" if self.cost else ""
        return f"{calls}, {self.prompt_tokens} + {self.reply_tokens} tokens{cost}"


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been asked for so far. Replies from the cache (`from_cache`) cost nothing."""

    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost: float = 0.0
    from_cache: int = 0
