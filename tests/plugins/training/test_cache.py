"""The cache of tokenised rows: its key, damage, writers that meet, and folders that cannot be written."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aftertrain.core.records import Conversation, Message
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.training import cache, supply
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.cache import cache_folder, cached, key_of
from aftertrain.plugins.training.columns import encode
from aftertrain.plugins.training.rows import Rules
from aftertrain.plugins.training.store import read

PARTS: dict[str, Any] = {"data": "d", "tokenizer": "t", "rules": {"learn": "all"}, "code": {"m": "1"}}


@pytest.fixture(scope="module")
def batch(tiny_model: Path) -> Any:
    turns = (Message("user", "Hi"), Message("assistant", "Ho"))
    return encode(load_tokenizer(str(tiny_model)), [Conversation(str(i), turns, "s") for i in range(3)], 0, Rules())


class Maker:
    """Yields the batch and counts how often it was asked."""

    def __init__(self, batch: Any) -> None:
        self.batch, self.calls = batch, 0

    def __call__(self) -> Iterator[Any]:
        self.calls += 1
        yield self.batch


def refuse(message: str) -> None:
    raise AssertionError(message)


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AFTERTRAIN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "tokens"
    monkeypatch.delenv("AFTERTRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "aftertrain" / "tokens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "aftertrain" / "tokens"


@pytest.mark.parametrize(
    "change", [{"data": "e"}, {"tokenizer": "u"}, {"rules": {"learn": "last"}}, {"code": {"m": "2"}}]
)
def test_each_part_is_in_the_key(change: dict[str, Any]) -> None:
    assert key_of(**{**PARTS, **change}) != key_of(**PARTS) == key_of(**PARTS)


def test_another_version_of_a_library_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(**PARTS)
    monkeypatch.setattr(cache, "version", lambda name: "0")
    assert key_of(**PARTS) != before


def test_an_entry_is_made_once(batch: Any, tmp_path: Path) -> None:
    make = Maker(batch)
    for _ in range(2):
        assert len(cached(tmp_path, "key", make, warn=refuse)) == 3
    assert make.calls == 1


def break_bytes(entry: Path) -> None:
    """One bit of one token id: the file still reads as Arrow."""
    (segment,) = Atoms(read(entry / "rows.arrow"), np.array([1]), 10**6)[0]
    content = bytearray((entry / "rows.arrow").read_bytes())
    ids = np.array(segment.token_ids, np.int32).tobytes()
    assert content.count(ids) > 1
    content[content.index(ids) + len(ids)] ^= 1
    (entry / "rows.arrow").write_bytes(content)
    assert Atoms(read(entry / "rows.arrow"), np.array([1]), 10**6)[0] != [segment]


def break_about(entry: Path) -> None:
    (entry / "about.json").write_text("{")


def other_key(entry: Path) -> None:
    about = json.loads((entry / "about.json").read_text())
    (entry / "about.json").write_text(json.dumps({**about, "key": "other"}))


def lose_rows(entry: Path) -> None:
    (entry / "rows.arrow").unlink()


@pytest.mark.parametrize("harm", [break_bytes, break_about, other_key, lose_rows])
def test_damage_is_told_of_and_mended(harm: Callable[[Path], None], batch: Any, tmp_path: Path) -> None:
    """One flipped bit is enough."""
    make, told = Maker(batch), []
    cached(tmp_path, "key", make, warn=refuse)
    harm(tmp_path / "key")
    assert len(cached(tmp_path, "key", make, warn=told.append)) == 3
    assert make.calls == 2
    assert len(told) == 1
    assert "damaged" in told[0]
    assert "the rows are tokenised again" in told[0]
    cached(tmp_path, "key", make, warn=refuse)
    assert make.calls == 2


def test_a_failure_leaves_nothing_and_a_killed_writer_s_rest_is_swept(batch: Any, tmp_path: Path) -> None:
    def fail() -> Iterator[Any]:
        yield batch
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        cached(tmp_path, "key", fail, warn=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]
    (tmp_path / "key.writing.old").mkdir()
    cached(tmp_path, "key", Maker(batch), warn=refuse)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def test_the_second_writer_waits_and_reads_what_the_first_made(batch: Any, tmp_path: Path) -> None:
    """The second asks while the first is at work, waits at least once, and makes nothing itself."""
    began, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def slowly() -> Iterator[Any]:
        calls.append("first")
        began.set()
        assert go_on.wait(30)
        yield batch

    def never() -> Iterator[Any]:
        calls.append("second")
        yield batch

    first = threading.Thread(target=lambda: cached(tmp_path, "key", slowly, warn=refuse))
    first.start()
    assert began.wait(30)
    assert len(cached(tmp_path, "key", never, warn=refuse, pause=go_on.set)) == 3
    first.join()
    assert go_on.is_set()
    assert calls == ["first"]


def test_waiting_can_be_given_up(batch: Any, tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    tmp_path.joinpath("key.lock").touch()
    with cache.lock_file(tmp_path / "key.lock", stop), pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "key", Maker(batch), warn=refuse, pause=stop)


def test_without_locks_the_last_writer_gives_way(batch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that knows no locks two writers work at once; the entry is whole whoever comes first."""
    import errno

    def no_locks(*args: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache.fcntl, "flock", no_locks)
    inner = Maker(batch)

    def meanwhile() -> Iterator[Any]:
        cached(tmp_path, "key", inner, warn=refuse)
        yield batch

    assert len(cached(tmp_path, "key", meanwhile, warn=refuse)) == 3
    assert inner.calls == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def _write_at_once(folder: str, rows: Any, barrier: Any) -> None:
    barrier.wait()
    assert len(cached(Path(folder), "key", lambda: [rows], warn=refuse)) == 3


@pytest.mark.slow
def test_many_processes_at_once(batch: Any, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    children = [context.Process(target=_write_at_once, args=(str(tmp_path), batch, barrier)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def test_a_second_run_tokenises_nothing_and_other_policies_neither(
    bench: Callable[..., Any], conversations: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    """Another length limit reads the same entry; another template, data or code makes its own."""
    monkeypatch.setenv("AFTERTRAIN_CACHE", str(tmp_path / "cache"))
    made = []
    real = supply.tokenised
    monkeypatch.setattr(supply, "tokenised", lambda *args, **others: made.append(1) or real(*args, **others))
    settings = {"loss": {"use": "sft"}, "data": {"use": "jsonl", "path": str(conversations)}, "max_steps": 1}
    for batch in ({}, {"max_tokens": 30}, {"max_tokens": 30, "overlong": "truncate"}):
        bench(f"run-{len(batch)}", **settings, batch={"sequences": 4, **batch}).run()
    assert len(made) == 1
    bench("last", **settings, batch={"learn": "last"}).run()
    assert len(made) == 2
    deciding: list[Any] = []
    monkeypatch.setattr(supply, "source_digests", lambda parts: deciding.extend(parts) or {"changed": "code"})
    bench("code", **settings).run()
    assert len(made) == 3
    assert {supply.tokenised, supply.fingerprint} <= set(deciding), "what orders batches and tells tokenizers apart"
    with conversations.open("a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    bench("data", **settings).run()
    assert len(made) == 4
    model = shutil.copytree(tiny_model, tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", "<|human|>").replace("<|' + message", "<<' + message"))
    bench("template", **settings, model=model).run()
    assert len(made) == 5


def test_a_cache_that_cannot_be_written_is_told_of(
    bench: Callable[..., Any], conversations: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stage keeps its rows in its own folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("AFTERTRAIN_CACHE", str(tmp_path / "file"))
    stage = bench("x", loss={"use": "sft"}, data={"use": "jsonl", "path": str(conversations)}, max_steps=1)
    stage.run()
    (warning,) = stage.of("warning")
    assert "tokenised rows are kept in the stage's folder; set AFTERTRAIN_CACHE" in warning["message"]
    assert len(list((stage.folder / "tokens").glob("*/rows.arrow"))) == 1
    assert len(stage.stage.batches(stage.plan_context(), 1)) == 1
