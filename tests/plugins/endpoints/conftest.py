"""A server with a script, and the generator `openai` that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import Message
from aftertrain.plugins.endpoints import line
from aftertrain.plugins.endpoints.openai import OpenAI
from aftertrain.plugins.endpoints.settings import OpenAISettings


def answer(text: str | None = "4", *, finish: Any = "stop", model: str = "tiny", **fields: Any) -> dict[str, Any]:
    """What a chat server says: three tokens of prompt, two of reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return {"model": model, "choices": [choice], "usage": usage, **fields}


def request(name: str = "a", content: str = "2 + 2?", **sampling: Any) -> GenerationRequest:
    """A question in a conversation."""
    drawn = Sampling(**{"max_new_tokens": 8, "temperature": 0.0, **sampling})
    return GenerationRequest(name, (), drawn, 7, messages=(Message("user", content),))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "FIRST_WAIT", 0.01)


@pytest.fixture
def ask(httpserver: HTTPServer) -> Iterator[Callable[..., OpenAI]]:
    """Makes an opened generator that asks the server's model `tiny`; keyword arguments are settings."""
    opened: list[OpenAI] = []

    def made(**settings: Any) -> OpenAI:
        generator = OpenAI(OpenAISettings(**settings), None)  # type: ignore[arg-type]  # it builds nothing
        generator.open(f"{httpserver.url_for('/v1')}#tiny")
        opened.append(generator)
        return generator

    yield made
    for generator in opened:
        generator.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of two layers."""
    from aftertrain.testing.model import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")
