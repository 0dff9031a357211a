"""The data set `quickstart`: the world's examples as records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aftertrain.core.dataset import Dataset
from aftertrain.core.records import Check, Conversation, Message, PreferencePair, Problem, Record
from aftertrain.core.run.sources import read_source
from aftertrain.core.settings import Settings
from aftertrain.plugins.quickstart import world
from aftertrain.plugins.quickstart.settings import QuickstartSettings

LICENSE = "Apache-2.0"


class Quickstart(Dataset[QuickstartSettings]):
    """Word problems and answers, a pure function of the settings and of `world.py`."""

    Config: ClassVar[type[Settings]] = QuickstartSettings

    @property
    def record_type(self) -> type[Record]:
        split = self.settings.split
        return Conversation if split == "sft" else PreferencePair if split == "preference" else Problem

    def __len__(self) -> int:
        return self.settings.rows

    def fingerprint(self) -> str:
        rules = {name: getattr(self.settings, name) for name in type(self.settings).model_fields}
        return hashlib.sha256(f"{self.content()}{json.dumps(rules, separators=(',', ':'))}".encode()).hexdigest()

    def content(self) -> str:
        """The meaning of `world.py`, which makes the rows."""
        return read_source(Path(world.__file__), world.__name__).digest

    def __iter__(self) -> Iterator[Record]:
        name = f"quickstart-{self.settings.split}"
        for number, row in enumerate(self._rows()):
            yield self._record(row, f"{name}-{self.settings.seed}-{number}", name)

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        seed, rows = self.settings.seed, self.settings.rows
        if self.settings.split == "sft":
            return world.sft_examples(seed, rows)
        if self.settings.split == "preference":
            return world.preference_pairs(seed, rows, self.settings.noise)
        return world.rlvr_problems(seed, rows, "train" if self.settings.split == "problems" else "test")

    def _record(self, row: Mapping[str, Any], identity: str, source: str) -> Record:
        if self.settings.split == "sft":
            return Conversation(identity, _messages(row["messages"]), source, LICENSE)
        if self.settings.split == "preference":
            chosen, rejected = _messages(row["chosen"]), _messages(row["rejected"])
            return PreferencePair(identity, chosen[:-1], chosen[-1:], rejected[-1:], source, license=LICENSE)
        check = Check("gsm8k", row["ground_truth"])
        return Problem(identity, _messages(row["messages"]), (check,), source, LICENSE)


def _messages(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)
