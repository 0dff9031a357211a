"""Measuring on data that are not trained on, now and then in training: what offline and online stages share."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aftertrain.core.dataset import Dataset
from aftertrain.core.settings import PositiveInt, Settings, Use


class HeldOut(Settings):
    """Data that are not trained on, and when they are looked at; a stage says what a step is, and what is measured."""

    data: Use[Dataset[Any]] = Field(description="The records, of the kind that the stage learns from.")
    every: PositiveInt = Field(100, description="Steps between two measurements; the last step has one.")
    rows: PositiveInt | None = Field(None, description="Only the first so many that can be used; null: all.")

    def due(self, step: int, total: int) -> bool:
        """Whether it is measured after that step of so many, counted from 1."""
        return step % self.every == 0 or step == total
