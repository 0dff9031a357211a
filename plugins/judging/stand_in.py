"""A generator without a model that answers the ready prompts by simple words: for trying a pipeline, and for tests.

In a recipe it is named by its file, `generator: {use: ./stand_in.py:StandIn}`. It loads the tokenizer only. Its answers
are worth nothing: WildGuard's questions it answers by a few words, and of two replies it prefers the longer one.
"""

from __future__ import annotations

import re

from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion
from aftertrain.plugins.judging.echo import Echo

FENCE = re.compile(r"^=== [0-9a-f]{16} ===$", re.MULTILINE)
REFUSES = re.compile(r"\b(sorry|cannot|can't)\b", re.IGNORECASE)
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
    if len(parts) < 5:
        return None
    first, second = len(parts[-4].strip()), len(parts[-2].strip())
    return f"Better: {'tie' if first == second else 'A' if first > second else 'B'}"
