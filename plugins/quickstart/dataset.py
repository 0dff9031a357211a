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
        split, seed, rows = self.settings.split, self.settings.seed, self.settings.rows
        source = f"quickstart-{split}"
        if split == "sft":
            for number, row in enumerate(world.sft_examples(seed, rows)):
                yield Conversation(f"{source}-{seed}-{number}", _messages(row["messages"]), source, LICENSE)
        elif split == "preference":
            for number, row in enumerate(world.preference_pairs(seed, rows, self.settings.noise)):
                chosen, rejected = _messages(row["chosen"]), _messages(row["rejected"])
                ends = chosen[-1:], rejected[-1:]
                yield PreferencePair(f"{source}-{seed}-{number}", chosen[:-1], *ends, source, license=LICENSE)
        else:
            part: world.Split = "train" if split == "problems" else "test"
            problems: Iterator[Mapping[str, Any]] = world.rlvr_problems(seed, rows, part)
            for number, problem in enumerate(problems):
                checks = (Check("gsm8k", problem["ground_truth"]),)
                yield Problem(f"{source}-{seed}-{number}", _messages(problem["messages"]), checks, source, LICENSE)


def _messages(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)
