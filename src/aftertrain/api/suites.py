"""The tables of suites that a finished evaluation scored."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aftertrain.core.benchmark.table import Line


def suites(run: str | os.PathLike[str]) -> dict[str, list[Line]]:
    """Each suite's table by its name, as `aftertrain evaluate` prints it.

    Args:
        run: a run's folder or its name under `runs/`; with `:STAGE` where it has several evaluations.

    Returns:
        Lines in their order, the suite's number first: name, value, low, high (95 %), n, reference, standing, missing …

    Raises:
        RunError: there is no finished evaluation, or several.
    """
    from aftertrain.api.finished import finished_evaluation

    return finished_evaluation(run).suites()
