"""A generator whose replies are kept: what was asked before is not asked again, in this run or the next.

The model is opened when a reply is first missing, so that a pass over replies that are all kept loads none. A batch of
a model in this process is kept as it is decoded, whole; which requests share a batch moves logits in the last bit, so a
reply from the store is one that this generator gave to this request, and equals what it would give now to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aftertrain.core.completions.identity import maker_digest, request_key
from aftertrain.core.completions.store import CompletionStore
from aftertrain.core.errors import RunError
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.records import Completion
from aftertrain.core.settings import Use

_shared: list[CompletionStore] = []


@contextmanager
def sharing(path: Path | None) -> Iterator[CompletionStore | None]:
    """Open a run's store for all that asks models in this process while the context lasts; None for no store.

    Raises:
        DataError, RunError: see `CompletionStore`.
    """
    if path is None:
        yield None
        return
    store = CompletionStore(path)
    _shared.append(store)
    try:
        yield store
    finally:
        _shared.remove(store)
        store.close()


def shared_store() -> CompletionStore | None:
    """The store of the innermost `sharing`, None outside of one."""
    return _shared[-1] if _shared else None


class Keeping:
    """One model under one generator, and the store that is asked first.

    Args:
        use: what the generator was built from.
        folder: gives the model's folder (or its endpoint) when a reply is first missing; where replies may be kept, at
            the first request.
        store: None keeps nothing.
    """

    def __init__(
        self,
        use: Use[Generator[Any]],
        generator: Generator[Any],
        folder: Callable[[], str],
        store: CompletionStore | None,
    ) -> None:
        self.generator = generator
        self.from_store = 0
        self.opening = 0.0
        self._use, self._folder, self._store = use, folder, store
        self._maker: str | None = None
        self._is_open = False
        self._keys: dict[str, str] = {}

    def recalled(self, requests: Sequence[GenerationRequest], *, whole: bool = False) -> dict[str, Completion]:
        """The replies that are kept, by the requests' ids.

        Args:
            whole: all of them or none: what a model in this process says is rounded by what is asked beside it, so that
                a part of a call would not come out again as it was.

        Raises:
            DataError: the store is damaged.
        """
        if self._store is None or not requests:
            return {}
        keys = {request.id: self._key(request) for request in requests}
        found = self._store.find(keys.values())
        kept = {r.id: found[keys[r.id]].of(r.id, r.prompt_ids) for r in requests if keys[r.id] in found}
        if whole and len(kept) < len(keys):
            return {}
        self.from_store += len(kept)
        return kept

    def open(self) -> None:
        """Open the model, if it is not."""
        if not self._is_open:
            started = time.monotonic()
            self.generator.open(self._folder())
            self.opening += time.monotonic() - started
            self._is_open = True

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Hand requests to the generator, opened if it was not."""
        self.open()
        self.generator.submit(requests)
        if self._store is not None:
            self._keys |= {request.id: self._key(request) for request in requests}

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """What the generator finished, kept before it is returned; a refusal says nothing of the model and is not.

        Where a reply was kept already (of a call that is asked whole), that one is returned, as in the next run.
        """
        completions = self.generator.collect(timeout)
        if self._store is None or not completions:
            return completions
        keys = [self._keys.pop(reply.id) for reply in completions]
        given = [(key, reply) for key, reply in zip(keys, completions, strict=True) if reply.finish_reason != "refused"]
        if self._store.add(dict(given)):
            return completions
        kept = self._store.find(key for key, _ in given)
        return [
            kept[key].of(reply.id, reply.prompt_ids) if reply.finish_reason != "refused" else reply
            for key, reply in zip(keys, completions, strict=True)
        ]

    def cancel(self) -> None:
        """Drop all requests."""
        self._keys.clear()
        if self._is_open:
            self.generator.cancel()

    def generate(
        self, requests: Sequence[GenerationRequest], timeout: float | None = None, *, whole: bool = False
    ) -> list[Completion]:
        """Replies in the order of the requests, kept ones and new ones.

        Args:
            whole: see `recalled`.
        """
        replies: dict[str, Completion] = self.recalled(requests, whole=whole)
        missing = [request for request in requests if request.id not in replies]
        if missing:
            self.submit(missing)
        while len(replies) < len(requests):
            completions = self.collect(timeout)
            if not completions:
                lost = next(request.id for request in requests if request.id not in replies)
                raise RunError(f"the generator {self._use.name!r} lost the request {lost!r}")
            replies.update((reply.id, reply) for reply in completions)
        return [replies[request.id] for request in requests]

    def close(self) -> None:
        """Free the model; the next request opens it again."""
        if self._is_open:
            self.generator.close()
        self._is_open = False

    def _key(self, request: GenerationRequest) -> str:
        if self._maker is None:
            self._maker = maker_digest(self._use, self.generator, self._folder())
        return request_key(self._maker, self.generator.takes, request)
