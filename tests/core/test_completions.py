"""The store of completions: what is served, what never is, and files that are none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.completions.keeping import Keeping, shared_store, sharing
from aftertrain.core.completions.store import CompletionStore
from aftertrain.core.errors import DataError, RunError
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.records import UNKNOWN_ID, Completion, Message
from aftertrain.core.settings import Settings, Use, unhashed

URL = "http://localhost:1/v1#tiny"


class EchoSettings(Settings):
    """Of the generator below."""

    loud: bool = False
    threads: int = unhashed(1)


class Echo(Generator[EchoSettings]):
    """Repeats a prompt; counts what it was asked."""

    remote = True
    asked: list[str]

    @property
    def takes(self) -> Any:
        return "messages"

    def open(self, model: str, version: int = 0) -> None:
        self.queue: list[GenerationRequest] = []

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        self.queue += requests

    def collect(self, timeout: float | None = None) -> list[Completion]:
        done, self.queue = self.queue[:1], self.queue[1:]
        for request in done:
            self.asked.append(request.messages[0].content)
        return [
            Completion(r.id, (UNKNOWN_ID,) * 4, (5, 2), (-0.1, -1 / 3), (0, 0), "stop", r.messages[0].content, "x")
            for r in done
        ]

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        self.queue = []

    def update_weights(self, weights: Any, version: int) -> None:
        raise NotImplementedError


@pytest.fixture
def reply(tmp_path: Path) -> Callable[..., tuple[Completion, int]]:
    """Asks for one reply through the store, and says how often the generator was asked."""

    def made(
        request: GenerationRequest, *, model: str = URL, store: str = "kept.sqlite", **settings: Any
    ) -> tuple[Completion, int]:
        use = Use("generator", "echo", EchoSettings(**settings))
        generator = Echo(use.settings, None)  # type: ignore[arg-type]
        generator.asked = []
        with sharing(tmp_path / store):
            keeping = Keeping(use, generator, lambda: model, shared_store())
            (completion,) = keeping.generate([request])
        assert shared_store() is None
        return completion, len(generator.asked)

    return made


ASKED = GenerationRequest("a", (), Sampling(max_new_tokens=8), 7, messages=(Message("user", "Hi 😀"),))


def test_the_same_question_is_asked_once(reply: Callable[..., Any]) -> None:
    """Bit for bit the same reply, under the name of whoever asks; threads and the like are no part of the question."""
    first, asked = reply(ASKED)
    assert (first.text, asked) == ("Hi 😀", 1)
    again, asked = reply(replace(ASKED, id="b"), threads=2)
    assert (again, asked) == (replace(first, id="b"), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message("user", "Hi"),)},
        {"messages": (Message("system", ""), *ASKED.messages)},
        {"messages": (*ASKED.messages, Message("assistant", ""))},
        {"seed": 8},
        {"sampling": Sampling(max_new_tokens=9)},
        {"sampling": Sampling(max_new_tokens=8, temperature=0.5)},
        {"sampling": Sampling(max_new_tokens=8, top_p=0.5)},
        {"sampling": Sampling(max_new_tokens=8, stop=("#",))},
    ],
    ids=str,
)
def test_another_question_is_another(change: dict[str, Any], reply: Callable[..., Any]) -> None:
    assert reply(ASKED)[1] == 1
    assert reply(replace(ASKED, **change))[1] == 1


@pytest.mark.parametrize("change", [{"model": URL + "-2"}, {"model": "http://localhost:2/v1#tiny"}, {"loud": True}])
def test_another_model_or_setting_is_another(change: dict[str, Any], reply: Callable[..., Any]) -> None:
    assert reply(ASKED)[1] == 1
    assert reply(ASKED, **change)[1] == 1


def test_a_folders_files_are_the_model(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, tokenizer and template: a byte of any of them makes another model; a moved folder is the same one."""
    import shutil

    from aftertrain.core.completions.identity import maker_digest

    monkeypatch.setattr(Echo, "remote", False)
    use = Use("generator", "echo", EchoSettings())
    generator = Echo(use.settings, None)  # type: ignore[arg-type]
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    before = maker_digest(use, generator, str(folder))
    assert before == maker_digest(use, generator, str(tiny_model))
    with (folder / "tokenizer_config.json").open("a") as file:
        file.write("\n")
    assert maker_digest(use, generator, str(folder)) != before


def test_what_was_collected_survives_what_was_not(tmp_path: Path, reply: Callable[..., Any]) -> None:
    """Of three replies two are there when the process dies: the third alone is asked for afterwards."""
    requests = [replace(ASKED, id=name, messages=(Message("user", name),)) for name in "abc"]
    use = Use("generator", "echo", EchoSettings())
    generator = Echo(use.settings, None)  # type: ignore[arg-type]
    generator.asked = []
    with sharing(tmp_path / "kept.sqlite") as store:
        keeping = Keeping(use, generator, lambda: URL, store)
        keeping.submit(requests)
        keeping.collect()
        keeping.collect()
        other = sqlite3.connect(tmp_path / "kept.sqlite")  # as if a second process looked, before any goodbye
        assert other.execute("SELECT count(*) FROM completions").fetchone() == (2,)
        other.close()
        generator.asked.clear()
        assert [r.text for r in Keeping(use, generator, lambda: URL, store).generate(requests)] == ["a", "b", "c"]
        assert generator.asked == ["c"]


def test_a_call_that_is_asked_whole_returns_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a call that lacks a reply none is counted as recalled; what was kept is what comes out, then and later."""
    requests = [replace(ASKED, id=name, messages=(Message("user", name),)) for name in "abc"]
    use = Use("generator", "echo", EchoSettings())
    generator = Echo(use.settings, None)  # type: ignore[arg-type]
    generator.asked = []
    echoed = generator.collect
    monkeypatch.setattr(
        generator,
        "collect",
        lambda timeout=None: [replace(reply, text=f"{reply.text}{len(generator.asked)}") for reply in echoed(timeout)],
    )
    with sharing(tmp_path / "kept.sqlite"):
        keeping = Keeping(use, generator, lambda: URL, shared_store())
        assert [reply.text for reply in keeping.generate(requests[:2], whole=True)] == ["a1", "b2"]
        assert keeping.recalled(requests, whole=True) == {}
        assert keeping.from_store == 0
        assert [reply.text for reply in keeping.generate(requests, whole=True)] == ["a1", "b2", "c5"]
        assert keeping.from_store == 0
        assert [reply.text for reply in keeping.generate(requests, whole=True)] == ["a1", "b2", "c5"]
        assert keeping.from_store == 3
        assert generator.asked == ["a", "b", "a", "b", "c"]
        assert keeping.recalled([*requests, replace(ASKED, id="d")]).keys() == {"a", "b", "c"}
        assert keeping.from_store == 6


def test_files_that_are_no_store_are_told(tmp_path: Path) -> None:
    text, other, newer, spoilt = (tmp_path / name for name in ("text", "other", "newer", "spoilt"))
    text.write_text("no database at all" * 100)
    with pytest.raises(DataError, match=r"is no store of completions, or a damaged one: .*; move it away"):
        CompletionStore(text)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(DataError, match="another program's database"):
        CompletionStore(other)
    CompletionStore(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(DataError, match="of version 2, this aftertrain reads 1; move it away"):
        CompletionStore(newer)
    store = CompletionStore(spoilt)
    store.add({"key": Completion("a", (), (5,), (-0.1,), (0,), "stop", "4")})
    with sqlite3.connect(spoilt) as connection:
        connection.execute("UPDATE completions SET reply = replace(reply, '\"4\"', '\"5\"')")
    connection.close()
    with pytest.raises(DataError, match="the reply key is damaged: its digest is another"):
        store.find(["key"])
    store.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made"):
        CompletionStore(tmp_path / "file" / "kept.sqlite")
