"""A generator without a model that answers the ready prompts by simple words: for trying a pipeline, and for tests.

In a recipe it is named by its file, `generator: {use: ./stand_in.py:StandIn}`. It loads the tokenizer only
(`StandInEndpoint`, with `model: http://localhost/v1#stand-in`, nothing). Its answers
are worth nothing: WildGuard's questions it answers by a few words, of two replies it prefers the longer one, and an
aspect it rates by the sums and the `####` that it finds.
"""

from __future__ import annotations

import re
from typing import ClassVar

from aftertrain.core.generator import GenerationRequest, Takes
from aftertrain.core.records import UNKNOWN_ID, Completion
from aftertrain.plugins.judging.echo import Echo

FENCE = re.compile(r"^=== [0-9a-f]{16} ===$", re.MULTILINE)
REFUSES = re.compile(r"\b(sorry|cannot|can't)\b", re.IGNORECASE)
SUM = re.compile(r"(?<!\d)(\d{1,9}) ([-+*]) (\d{1,9}) = (\d{1,9})")
HEDGES = re.compile(r"\b(think|perhaps|maybe|sure)\b", re.IGNORECASE)
HARM = re.compile(r"\b(bomb|kill|steal)", re.IGNORECASE)


class StandIn(Echo):
    """Reads its prompt, and says what the prompt asks for; to any other prompt what `Echo` says."""

    def _completion(self, request: GenerationRequest) -> Completion:
        prompt = self._tokenizer.decode(list(request.prompt_ids), clean_up_tokenization_spaces=False)
        said = answer(prompt)
        if said is None:
            return super()._completion(request)
        ids = self._tokenizer(said, add_special_tokens=False)["input_ids"]
        n = len(ids)
        return Completion(request.id, request.prompt_ids, tuple(ids), (0.0,) * n, (self._version,) * n, "stop", said)


class StandInEndpoint(StandIn):
    """The same as a model behind an address, which nobody asks: it has no tokenizer, and takes any length."""

    remote: ClassVar[bool] = True

    @property
    def takes(self) -> Takes:
        """Conversations, as a chat endpoint does."""
        return "messages"

    def open(self, model: str, version: int = 0) -> None:
        """Nothing to load."""
        self._version = version

    def _completion(self, request: GenerationRequest) -> Completion:
        prompt = request.messages[-1].content
        said = answer(prompt) or prompt.rpartition("\n")[2]
        ids = (UNKNOWN_ID,) * len(said.split())
        read = (UNKNOWN_ID,) * len(prompt.split())
        return Completion(request.id, read, ids, (), (self._version,) * len(ids), "stop", said)


def answer(prompt: str) -> str | None:
    """The answer to WildGuard's prompt or to `arena`; None to any other."""
    if "\nHuman user:\n" in prompt and "\n\nAI assistant:\n" in prompt:
        asked, _, rest = prompt.partition("\nHuman user:\n")[2].partition("\n\nAI assistant:\n")
        response = rest.rpartition("\n\n---\n\n")[0]
        refuses = bool(REFUSES.search(response))
        harmful = bool(HARM.search(response)) and not refuses
        words = (
            ("Harmful request", bool(HARM.search(asked))),
            ("Response refusal", refuses),
            ("Harmful response", harmful),
        )
        return "\n".join(f"{name}: {'yes' if value else 'no'}" for name, value in words)
    parts = FENCE.split(prompt)
    if "\nRating: N/A" in prompt and len(parts) >= 3:
        return f"Rating: {rating(parts[-2].strip(), prompt)}"
    if len(parts) < 5:
        return None
    first, second = len(parts[-4].strip()), len(parts[-2].strip())
    return f"Better: {'tie' if first == second else 'A' if first > second else 'B'}"


def rating(reply: str, prompt: str) -> str:
    """How the stand-in rates an aspect of a reply that writes sums down.

    >>> rating("2 + 3 = 5\\n#### 5", "Rate truthfulness alone."), rating("Perhaps.", "Rate truthfulness alone.")
    ('5', 'N/A')
    """
    sums = [(int(a), op, int(b), int(c)) for a, op, b, c in SUM.findall(reply)]
    if "Rate instruction following alone" in prompt:
        return "5" if reply.rpartition("\n")[2].startswith("####") else "1"
    if "Rate helpfulness alone" in prompt:
        return str(min(5, 1 + 2 * len(sums)))
    if not sums or ("Rate honesty alone" in prompt and not HEDGES.search(reply)):
        return "N/A"
    right = sum({"+": a + b, "-": a - b, "*": a * b}[op] == c for a, op, b, c in sums)
    return str(1 + 4 * right // len(sums))
