"""How much likelier a reply becomes, to a given model, by a reference before it: the C of F47."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.engine import Continuation, Engine
from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.packed.likelihoods import likelihoods
from aftertrain.core.run.base_model import find_model
from aftertrain.core.settings import Builder, Use
from aftertrain.core.text.chat import load_tokenizer

BUDGET = 8192
"""Tokens of one forward."""
UNBOUNDED = 1 << 20


class Coherence:
    """C(r, R) = (log p(r | prompt, R) − log p(r | prompt)) / tokens of r, in nats, by a scorer of one's own choice.

    Both are plain text: the prompt, a blank line, the reference and another one where it is given, the reply. What does
    not fit the scorer's window is cut: the reply after half of it, then the beginning of what stands before.
    """

    def __init__(self, model: str, engine: Use[Engine[Any]], builder: Builder) -> None:
        self._name, self._use, self._builder = model, engine, builder
        self._loaded: tuple[Engine[Any], Any, int] | None = None

    def preflight(self) -> None:
        """Find the scorer.

        Raises:
            ModelError: there is none.
        """
        find_model(self._name, Path.cwd())

    def gains(self, cases: Sequence[tuple[str, str, str]]) -> list[float]:
        """The gain of each (prompt, reference, reply); 0 for a reply without tokens.

        Raises:
            ModelError: the scorer cannot be loaded. NumericsError: its weights are broken.
        """
        engine, tokenizer, window = self._scorer()
        items: list[Continuation] = []
        lengths = []
        for prompt, reference, reply in cases:
            ids = _ids(tokenizer, reply)[: window // 2]
            lengths.append(len(ids))
            for before in (f"{prompt}\n\n{reference}\n\n", f"{prompt}\n\n"):
                context = _ids(tokenizer, before)[-(window - len(ids)) :]
                items += [Continuation((*context, *ids), len(context))] if ids else []
        scored = iter(likelihoods(engine, items, BUDGET) if items else [])
        return [(next(scored).logprob - next(scored).logprob) / length if length else 0.0 for length in lengths]

    def _scorer(self) -> tuple[Engine[Any], Any, int]:
        if self._loaded is None:
            folder = str(find_model(self._name, Path.cwd()))
            tokenizer = load_tokenizer(folder, needs_template=False)
            window = (context_window(folder) or UNBOUNDED) - 1
            if window < 2:
                raise ModelError(f"{self._name}: a context of {window + 1} tokens has no room for a reply")
            engine = self._builder.build(self._use)
            engine.load(folder, seed=0)
            self._loaded = engine, tokenizer, window
        return self._loaded


def _ids(tokenizer: Any, text: str) -> list[int]:
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found: list[int] = tokenizer(clean, add_special_tokens=False, verbose=False)["input_ids"]
    return found
