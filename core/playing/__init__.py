"""Episodes of environments, run here or in a killable process, one ticket after the other."""

from __future__ import annotations

from aftertrain.core.playing.table import Table

__all__ = ["Table"]
