"""The operator `acme/sober`."""

from __future__ import annotations

from acme_aftertrain.settings import SoberSettings
from aftertrain.core.operator import Dropped, Filter, Row


class Sober(Filter[SoberSettings]):
    """Leaves out what is shouted."""

    Config = SoberSettings

    def dropped(self, row: Row) -> Dropped | None:
        """With the number of marks."""
        marks = row.text.count("!")
        return row.drop("shouted", marks=marks) if marks > self.settings.most else None
