"""Judging one case in a worker, whatever the verifier does."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from typing import Any

from aftertrain.core.ground.cleaning import described
from aftertrain.core.verifier import checked


def judged(verifier: Any, case: bytes) -> dict[str, Any]:
    """The verdict on one case as JSON data; an error for whatever else the verifier does.

    Raises:
        MemoryError: there is no memory left.
    """
    failure = "the case cannot be read in a process of its own:"
    try:
        taken = pickle.loads(case)
        failure = "the verifier raised"
        (verdict,) = checked(verifier.verify([taken]), 1)
        return asdict(verdict)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - a verifier that raises, or leaves, loses one case, and says why
        return {"outcome": "error", "detail": f"{failure} {described(error)}"}
