"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COUNTER = '''"""An environment in the shape of TRL's own example."""

import random


class Counter:
    def reset(self, **columns) -> str | None:
        self.counter = random.randint(0, 9)
        return f" Count from {self.counter}."

    def increment(self, step: int) -> int:
        """
        Increment the internal counter.

        Args:
            step: Value to add to the counter.

        Returns:
            The updated counter value.
        """
        self.counter += step
        return self.counter

    def get_reward(self) -> float:
        return float(self.counter)
'''


def trl(folder: Path) -> dict[str, Any]:
    """A counter."""
    path = folder / "counter.py"
    path.write_text(COUNTER, encoding="utf-8")
    return {"factory": f"{path}:Counter"}


EXAMPLES = {("environment", "trl"): trl}
