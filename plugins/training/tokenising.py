"""Tokenising in parallel: batches come out in the order of the rows, the same for any number of processes.

Children are started as programs of their own and spoken to through pipes: no fork of a process with threads, no second
import of the user's script. Small data sets never need one.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, count, islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING

from aftertrain.core.dataset import BadRow
from aftertrain.core.errors import RunError
from aftertrain.plugins.training.columns import encode, schema
from aftertrain.plugins.training.rows import Rules, TrainingRecord

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

Chunk = tuple[list[TrainingRecord | BadRow], int]
"""Rows, and the number of the first."""
CHUNK = 500
"""Rows of a batch."""
ALONE = 4_000
"""Rows that this process tokenises before it starts others, whose imports take seconds."""
AHEAD = 4
"""Batches in work or waiting for each process."""
_PROGRAM = "from aftertrain.plugins.training.tokenising import serve; serve()"


def tokenised(
    tokenizer: PreTrainedTokenizerBase,
    records: Iterable[TrainingRecord | BadRow],
    rules: Rules,
    *,
    workers: int = 1,
    alone: int = ALONE,
    first: int = 0,
) -> Iterator[pa.RecordBatch]:
    """Batches of tokenised rows.

    Args:
        workers: processes for data sets of more than `alone` rows; 1 starts none.
        first: number of the first row.

    Raises:
        RunError: a process died.
    """
    rows = iter(records)
    chunks: Iterator[Chunk] = zip(iter(lambda: list(islice(rows, CHUNK)), []), count(first, CHUNK), strict=False)
    near = islice(chunks, None if workers == 1 else -(-alone // CHUNK))
    for chunk, number in near:
        yield encode(tokenizer, chunk, number, rules)
    yield from _spread(chunks, tokenizer, rules, workers)


def _spread(
    chunks: Iterator[Chunk], tokenizer: PreTrainedTokenizerBase, rules: Rules, workers: int
) -> Iterator[pa.RecordBatch]:
    """Batches of what is left, made by child processes; a thread speaks with each."""
    if (ahead := next(chunks, None)) is None:
        return
    with ExitStack() as stack:
        threads = ThreadPoolExecutor(workers, thread_name_prefix="tokenising")
        stack.callback(threads.shutdown, cancel_futures=True)
        idle: SimpleQueue[_Child] = SimpleQueue()
        for _ in range(workers):
            idle.put(child := _Child(tokenizer, rules))
            stack.callback(child.end)

        def work(chunk: Chunk) -> pa.RecordBatch:
            child = idle.get()
            try:
                return child.encode(chunk)
            finally:
                idle.put(child)

        waiting: deque[Future[pa.RecordBatch]] = deque()
        for chunk in chain([ahead], chunks):
            waiting.append(threads.submit(work, chunk))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        for batch in waiting:
            yield batch.result()


class _Child:
    """One process."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rules: Rules) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # whatever a library prints is nothing that is asked for
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for this process, which ends its children
            )
        self._questions: list[object] = [(tokenizer, rules)]

    def encode(self, chunk: Chunk) -> pa.RecordBatch:
        import pyarrow as pa

        rows, first = chunk
        self._questions.append(chunk)
        try:
            while self._questions:
                self._pipe.send(self._questions.pop(0))
            answer = self._pipe.recv()
        except (OSError, EOFError) as error:
            raise RunError(
                f"a process that tokenises rows {first} to {first + len(rows) - 1} died (status "
                f"{self._process.wait()}); set data_workers: 1 to do without"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return pa.ipc.read_record_batch(pa.py_buffer(answer), schema())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def serve() -> None:
    """The life of a child: a tokenizer and rules, then rows until the pipe closes."""
    with Connection(int(sys.argv[1])) as pipe:
        tokenizer, rules = pipe.recv()
        while True:
            try:
                rows, first = pipe.recv()
            except (EOFError, ConnectionResetError):
                return
            answer: bytes | Exception
            try:
                answer = encode(tokenizer, rows, first, rules).serialize().to_pybytes()
            except Exception as error:  # noqa: BLE001  whatever it is, it is raised again in the parent
                answer = _portable(error)
            pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """An exception that survives pickling; one that does not goes by its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  third parties' exceptions fail in their own ways
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
