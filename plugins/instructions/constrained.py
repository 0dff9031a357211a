"""Prompts of any data set, each with an instruction that a program checks: problems for learning to follow it (F32)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.records import Check, Conversation, Problem
from aftertrain.plugins.instructions.ifeval.verifier import instructions
from aftertrain.plugins.instructions.kind import Unusable
from aftertrain.plugins.instructions.settings import ConstrainedSettings


class Constrained(Dataset[ConstrainedSettings]):
    """Each prompt with the sentence behind its last user turn, and a check of the instruction by `ifeval`.

    Of a conversation the prompt is what comes before its first reply; of a problem it is the problem's, whose own
    checks are left out.
    """

    Config = ConstrainedSettings

    def __init__(self, settings: ConstrainedSettings, builder: Any) -> None:
        super().__init__(settings, builder)
        self._data: Dataset[Any] = builder.build(settings.data)
        self._check = Check(
            "ifeval",
            {"instruction_id_list": [settings.instruction], "kwargs": [dict(settings.arguments)]},
        )

    @property
    def record_type(self) -> type[Problem]:
        return Problem

    def __iter__(self) -> Iterator[Problem]:
        """The problems.

        Raises:
            DataError: the instruction is unknown or lacks an argument, or a record has no user turn to ask it in.
        """
        try:
            instructions(self._check.ground_truth)
        except Unusable as error:
            raise DataError(f"constrained: {error}") from error
        return map(self._problem, self._data)

    def fingerprint(self) -> str:
        """SHA-256 over the data set's and the settings."""
        own = self.settings.model_dump(mode="json", exclude={"data"})
        said = json.dumps([self._data.fingerprint(), own], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def notes(self) -> Sequence[str]:
        """Those of the data set."""
        return self._data.notes()

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """Where the data set has them."""
        return self._data.where(ids)

    def _problem(self, record: Any) -> Problem:
        if isinstance(record, Problem):
            prompt = record.prompt
        elif isinstance(record, Conversation):
            replies = [place for place, message in enumerate(record.messages) if message.role == "assistant"]
            prompt = record.messages[: replies[0]] if replies else record.messages
        else:
            raise DataError(
                f"constrained: a {type(record).__name__} has no prompt; conversations and problems have one"
            )
        if not prompt or prompt[-1].role != "user":
            raise DataError(f"constrained: record {record.id!r} has no user turn at the end of its prompt")
        asked = replace(
            prompt[-1], content=f"{prompt[-1].content.rstrip()}{self.settings.joint}{self.settings.sentence}"
        )
        return Problem(record.id, (*prompt[:-1], asked), (self._check,), record.source, record.license, record.tools)
