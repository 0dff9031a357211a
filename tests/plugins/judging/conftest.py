"""A scripted generator in place of a model, and verifiers that use it with the tiny model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.records import Completion, Verdict, VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.core.verifier import Verifier

Say = Callable[[str, GenerationRequest], str | Exception]
"""From a prompt's text and the request to a reply, or to what `collect` raises; ModelError refuses the request."""


class Script(Generator[Settings]):
    """Says what a test wants, one reply of four tokens at a time, and remembers what it was asked."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.opened: list[str] = []
        self.closed = 0
        self.requests: list[GenerationRequest] = []
        self.prompts: list[str] = []
        self.queue: list[GenerationRequest] = []

    def open(self, model: str, version: int = 0) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self.opened.append(model)

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        for request in requests:
            self.requests.append(request)
            self.prompts.append(self.tokenizer.decode(list(request.prompt_ids), clean_up_tokenization_spaces=False))
            if isinstance(said := self.say(self.prompts[-1], request), ModelError):
                raise said
        self.queue += requests

    def collect(self, timeout: float | None = None) -> list[Completion]:
        if not self.queue:
            return []
        request = self.queue[-1]
        said = self.say(self.tokenizer.decode(list(request.prompt_ids), clean_up_tokenization_spaces=False), request)
        if isinstance(said, Exception):
            raise said
        self.queue.pop()
        return [Completion(request.id, request.prompt_ids, (5,) * 4, (0.0,) * 4, (0,) * 4, "stop", said)]

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        self.queue.clear()

    def update_weights(self, weights: Any, version: int) -> None:
        raise AssertionError("a judge's weights never change")

    def close(self) -> None:
        self.closed += 1


class Equal(Verifier[Settings]):
    """1 where reply and ground truth are equal; unparsable for '?'. Remembers its batches."""

    def __init__(self) -> None:
        super().__init__(Settings(), None)  # type: ignore[arg-type]
        self.batches: list[list[VerificationCase]] = []

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        self.batches.append(list(cases))
        return [
            Verdict.unparsable("mute") if case.response == "?" else Verdict.scored(case.response == case.ground_truth)
            for case in cases
        ]


@dataclass
class Builder:
    """Resolves every name; builds one scripted generator and one `Equal`."""

    script: Script
    equal: Equal = field(default_factory=Equal)

    def resolve(self, kind: str, value: Mapping[str, Any]) -> Use[Any]:
        return Use(kind, value["use"], Settings())

    def build(self, use: Use[Any]) -> Any:
        return self.script if use.kind == "generator" else self.equal


@dataclass
class Bench:
    """A verifier with its generator and inner verifier."""

    verifier: Any
    script: Script
    equal: Equal

    def judge(self, *cases: VerificationCase) -> list[Verdict]:
        found: list[Verdict] = self.verifier.verify(list(cases))
        return found


@pytest.fixture
def make(tiny_model: Path) -> Callable[..., Bench]:
    """Makes a verifier of a class with settings; `say` is the script."""

    def made(cls: type[Verifier[Any]], say: Say, **settings: Any) -> Bench:
        builder = Builder(Script(say))
        written = {"model": str(tiny_model), "sampling": {"max_new_tokens": 16}, **settings}
        checked = TypeAdapter(cls.Config).validate_python(written, context={"resolver": builder})
        return Bench(cls(checked, builder), builder.script, builder.equal)

    return made


def case(response: str, truth: Any = "4", *, id: str = "c", prompt: str = "2 + 2?", source: str = "sums") -> Any:
    return VerificationCase(id, prompt, response, truth, source)
