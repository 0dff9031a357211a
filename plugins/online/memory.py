"""How many problems a step asks, by the memory that verification leaves (F40).

What is measured of the machine is measured before a step, written down, and read where it is written: a resumed attempt
asks in each step as many problems as the one before it did, whatever is free by then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from aftertrain.core.errors import CheckpointError, RunError
from aftertrain.core.ground.memory import free_bytes, peak_bytes
from aftertrain.core.ground.reading import parse_json, read_text, typed
from aftertrain.core.learning.shaping import batch_by_memory
from aftertrain.plugins.online.memory_settings import MemorySettings

GIB = 2**30
FILE = "batches.jsonl"
"""In the stage's folder: a line for each step that was begun."""
FIGURES = ("prompts", "free_gib", "need_gib")
CURE = "without this file no step can be repeated; start the stage anew with --restart"


class MemoryBatch:
    """Sizes of steps.

    Args:
        planned: B₀, problems of a step.
        least: the fewest that a step can do with.
        most: problems that there are.
        folder: of the stage.
        judging: process ids of what judges.

    Raises:
        CheckpointError: what was written down cannot be read.
    """

    def __init__(
        self,
        settings: MemorySettings,
        planned: int,
        folder: Path,
        judging: Callable[[], Sequence[int]],
        *,
        least: int,
        most: int,
    ) -> None:
        self.settings, self._planned, self._least, self._most = settings, planned, least, most
        self._path, self._judging = folder / FILE, judging
        self._known = _read(self._path)

    def measured(self, step: int) -> dict[str, float]:
        """B_t of a step, counted from 1, as `prompts`, with the `free_gib` and `need_gib` that it comes from.

        Raises:
            RunError: it cannot be written down.
        """
        if step not in self._known:
            settings = self.settings
            free = free_bytes() / GIB if settings.free_gib is None else settings.free_gib
            need = peak_bytes(self._judging()) / GIB if settings.need_gib is None else settings.need_gib
            # What has not judged yet needs nothing that is known.
            size = batch_by_memory(self._planned, free, need) if need > 0 else self._planned
            size = min(max(size, self._least), self._most)
            self._known[step] = {"prompts": float(size), "free_gib": free, "need_gib": need}
            self._write(step)
        return self._known[step]

    def _write(self, step: int) -> None:
        line = json.dumps({"step": step, **self._known[step]})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self._path}: the size of step {step} cannot be written: {error.strerror}") from error


def _read(path: Path) -> dict[int, dict[str, float]]:
    """What is written, by step. A last line that is torn was of a step that was not begun."""
    if not path.is_file():
        return {}
    text = read_text(path, error=CheckpointError, cure=CURE)
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    known: dict[int, dict[str, float]] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        value = parse_json(line, str(path), line=number, error=CheckpointError, cure=CURE)
        record = typed(value, dict[str, float], f"{path}:{number}", error=CheckpointError, cure=CURE)
        if record.keys() != {"step", *FIGURES}:
            raise CheckpointError(f"{path}:{number}: it has {', '.join(record)}, and no line was written so; {CURE}")
        known[int(record["step"])] = {name: record[name] for name in FIGURES}
    return known
