"""Tokenising in parallel: batches come out in the order of the rows, the same for any number of processes.

Children are started as programs of their own and spoken to through pipes: no fork of a process with threads, no second
import of the user's script. Small data sets never need one.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from aftertrain.core.dataset import BadRow
from aftertrain.core.errors import RunError
from aftertrain.plugins.training.columns import encode, schema
from aftertrain.plugins.training.rows import Rules, TrainingRecord

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

CHUNK = 500
"""Rows of a batch."""
ALONE = 4_000
"""Rows that this process tokenises before it starts others, whose imports take seconds."""
AHEAD = 4
"""Batches in work or waiting for each process."""
_LENGTH = struct.Struct("<Q")
_PROGRAM = "from aftertrain.plugins.training.tokenising import serve; serve()"


def tokenised(
    tokenizer: PreTrainedTokenizerBase,
    records: Iterable[TrainingRecord | BadRow],
    rules: Rules,
    *,
    workers: int = 1,
    alone: int = ALONE,
    first: int = 0,
    between: Callable[[int], None] = lambda rows: None,
) -> Iterator[pa.RecordBatch]:
    """Batches of tokenised rows.

    Args:
        workers: processes for data sets of more than `alone` rows; 1 starts none.
        first: number of the first row.
        between: called with the number of rows done, after each batch.

    Raises:
        RunError: a process died.
    """
    rows = iter(records)
    done = 0

    def chunks(limit: int | None) -> Iterator[tuple[list[TrainingRecord | BadRow], int]]:
        start = done
        while limit is None or start < limit:
            if not (chunk := list(islice(rows, CHUNK))):
                return
            yield chunk, start
            start += len(chunk)

    for chunk, start in chunks(alone if workers > 1 else None):
        yield encode(tokenizer, chunk, first + start, rules)
        done = start + len(chunk)
        between(done)
    if workers == 1 or done < alone:
        return
    with ExitStack() as stack:
        pool = stack.enter_context(_Pool(workers, tokenizer, rules))
        waiting: deque[tuple[Future[pa.RecordBatch], int]] = deque()
        for chunk, start in chunks(None):
            waiting.append((pool.submit(chunk, first + start), start + len(chunk)))
            if len(waiting) >= AHEAD * workers:
                batch, done = _next(waiting)
                yield batch
                between(done)
        while waiting:
            batch, done = _next(waiting)
            yield batch
            between(done)


def _next(waiting: deque[tuple[Future[pa.RecordBatch], int]]) -> tuple[pa.RecordBatch, int]:
    batch, done = waiting.popleft()
    return batch.result(), done


class _Pool:
    """Child processes, a thread for each that speaks with it."""

    def __init__(self, size: int, tokenizer: PreTrainedTokenizerBase, rules: Rules) -> None:
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        self._children: list[_Child] = []
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="tokenising")
        try:
            for _ in range(size):
                self._children.append(_Child(tokenizer, rules))
                self._idle.put(self._children[-1])
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *raised: object) -> None:
        for child in self._children:
            child.end()
        self._threads.shutdown(cancel_futures=True)

    def submit(self, chunk: list[TrainingRecord | BadRow], first: int) -> Future[pa.RecordBatch]:
        return self._threads.submit(self._work, chunk, first)

    def _work(self, chunk: list[TrainingRecord | BadRow], first: int) -> pa.RecordBatch:
        child = self._idle.get()
        try:
            return child.encode(chunk, first)
        finally:
            self._idle.put(child)


class _Child:
    """One process."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rules: Rules) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends its children
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._hello = pickle.dumps((tokenizer, rules))

    def encode(self, chunk: list[TrainingRecord | BadRow], first: int) -> pa.RecordBatch:
        import pyarrow as pa

        try:
            if self._hello:
                _put(self._to, self._hello)
                self._hello = b""
            _put(self._to, pickle.dumps((chunk, first)))
            kind, answer = pickle.loads(_get(self._from))
        except (OSError, EOFError) as error:
            raise RunError(
                f"a process that tokenises rows {first} to {first + len(chunk) - 1} died (status "
                f"{self._process.wait()}); set data_workers: 1 to do without"
            ) from error
        if kind == "raised":
            raise answer
        return pa.ipc.read_record_batch(pa.py_buffer(answer), schema())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what is still to be written to it goes nowhere
            self._to.close()
        self._from.close()


def serve() -> None:
    """The life of a child: a tokenizer and rules, then rows until the pipe closes."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    tokenizer, rules = pickle.loads(_get(questions))
    while True:
        try:
            chunk, first = pickle.loads(_get(questions))
        except EOFError:
            return
        answer: tuple[str, Any]
        try:
            answer = "batch", encode(tokenizer, chunk, first, rules).serialize().to_pybytes()
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised again in the parent
            answer = "raised", _portable(error)
        _put(answers, pickle.dumps(answer))


def _portable(error: Exception) -> Exception:
    """An exception that survives pickling; one that does not goes by its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  third parties' exceptions fail in their own ways
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _put(pipe: IO[bytes], body: bytes) -> None:
    pipe.write(_LENGTH.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _get(pipe: IO[bytes]) -> bytes:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return body
