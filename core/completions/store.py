"""Replies in one SQLite file, by keys that say who made them of what.

Written so that a kill at any moment leaves whole replies: each call of `add` is one transaction of a write-ahead log.
Processes and threads may share a file. A row that is not what was written is told, never served.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError, RunError
from aftertrain.core.records import UNKNOWN_ID, Completion

APPLICATION = 0x61667465
"""What SQLite's header says of the file: `afte`."""
SCHEMA = 1
PATIENCE = 60.0
"""Seconds to wait for another process's transaction."""
MOST = 500
"""Keys of one query."""
AWAY = "move it away, and replies are made anew"


class StoreUnusable(RunError):
    """The file cannot be written or read now (a full disk): no fault of what was asked, and no answer to it."""


class StoreDamaged(DataError):
    """The file is no store, or holds what was not written so."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply without what belongs to one request (its id, its prompt)."""

    n_prompt: int
    completion: Completion

    def of(self, id_: str, prompt_ids: tuple[int, ...]) -> Completion:
        """The reply to a request that asks the same."""
        reply = self.completion
        ids = prompt_ids or (UNKNOWN_ID,) * self.n_prompt
        return Completion(
            id_,
            ids,
            reply.token_ids,
            reply.logprobs,
            reply.versions,
            reply.finish_reason,
            reply.text,
            reply.text_with_special,
            likeliest=reply.likeliest,
        )


class CompletionStore:
    """An open file, made where there is none.

    Raises:
        DataError: the file is another program's, of another version, or damaged. RunError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path.parent}: cannot be made: {error.strerror or error}") from error
        with self._told():
            self._connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False, isolation_level=None)
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def find(self, keys: Iterable[str]) -> dict[str, Kept]:
        """What is kept under these keys.

        Raises:
            DataError: a row is damaged.
        """
        wanted, found = list(dict.fromkeys(keys)), {}
        for start in range(0, len(wanted), MOST):
            part = wanted[start : start + MOST]
            marks = ",".join("?" * len(part))
            with self._lock, self._told():
                rows = self._connection.execute(
                    f"SELECT key, reply, digest FROM completions WHERE key IN ({marks})", part
                ).fetchall()
            for key, reply, digest in rows:
                found[key] = self._read(key, reply, digest)
        return found

    def add(self, replies: Mapping[str, Completion]) -> bool:
        """Keep replies, all or none; what is there already stays. Returns whether none of them was there.

        Raises:
            RunError: the disk is full or the file unwritable.
        """
        rows = [(key, text := _written(reply), _digest(key, text)) for key, reply in replies.items()]
        with self._lock, self._told(), self._transaction():
            added = self._connection.executemany("INSERT OR IGNORE INTO completions VALUES (?, ?, ?)", rows).rowcount
        return not rows or added == len(rows)

    def count(self) -> int:
        """How many replies are kept."""
        with self._lock, self._told():
            return int(self._connection.execute("SELECT count(*) FROM completions").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        with self._transaction():
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            (application,), (version,) = (
                self._connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            if not tables and not application and not version:
                self._connection.execute(f"PRAGMA application_id={APPLICATION}")
                self._connection.execute(f"PRAGMA user_version={SCHEMA}")
                self._connection.execute(
                    "CREATE TABLE completions (key TEXT PRIMARY KEY, reply TEXT NOT NULL, digest TEXT NOT NULL) "
                    "WITHOUT ROWID"
                )
            elif application != APPLICATION:
                raise DataError(
                    f"{self.path}: is another program's database, no store of completions; name another file"
                )
            elif version != SCHEMA:
                raise DataError(
                    f"{self.path}: is a store of completions of version {version}, this aftertrain reads {SCHEMA}; "
                    f"{AWAY}"
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # over a full disk SQLite has rolled back by itself
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreUnusable(f"{self.path}: the store of completions cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(f"{self.path}: is no store of completions, or a damaged one: {error}; {AWAY}") from error

    def _read(self, key: str, reply: str, digest: str) -> Kept:
        try:
            if digest != _digest(key, reply):
                raise ValueError("its digest is another")
            return _kept(json.loads(reply))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreDamaged(f"{self.path}: the reply {key[:16]} is damaged: {error}; {AWAY}") from error


def _written(reply: Completion) -> str:
    """The reply as JSON; floats keep every bit."""
    return json.dumps(
        {
            "prompt": len(reply.prompt_ids),
            "ids": reply.token_ids,
            "logprobs": reply.logprobs,
            "versions": reply.versions,
            "finish": reply.finish_reason,
            "text": reply.text,
            "special": reply.text_with_special,
            **({"likeliest": reply.likeliest} if reply.likeliest else {}),
        },
        separators=(",", ":"),
    )


def _kept(data: dict[str, Any]) -> Kept:
    reply = Completion(
        "",
        (),
        tuple(data["ids"]),
        tuple(data["logprobs"]),
        tuple(data["versions"]),
        data["finish"],
        data["text"],
        data["special"],
        likeliest=tuple((token, logprob) for token, logprob in data.get("likeliest", ())),
    )
    return Kept(data["prompt"], reply)


def _digest(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\0{text}".encode()).hexdigest()
