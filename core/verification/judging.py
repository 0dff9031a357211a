"""Judging one case in a worker, whatever the verifier does."""

from __future__ import annotations

import pickle
from typing import Any

from aftertrain.core.ground.cleaning import described
from aftertrain.core.records import Verdict


def judged(verifier: Any, case: bytes) -> dict[str, Any]:
    """The verdict on one case as JSON data; an error for whatever else the verifier does.

    Raises:
        MemoryError: there is no memory left.
    """
    failure = "the case cannot be read in a process of its own:"
    try:
        taken = pickle.loads(case)
        failure = "the verifier raised"
        return plain(verifier.verify([taken]))
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - a verifier that raises, or leaves, loses one case, and says why
        return {"outcome": "error", "detail": f"{failure} {described(error)}"}


def plain(verdicts: Any) -> dict[str, Any]:
    """The verdict on one case as JSON data.

    Raises:
        TypeError: it is not a list of one verdict. ValueError: it says what no verdict says.
    """
    if not isinstance(verdicts, list) or len(verdicts) != 1 or not isinstance(verdicts[0], Verdict):
        raise TypeError(f"verify must return a list of one Verdict per case, not {verdicts!r:.100}")
    (given,) = verdicts
    Verdict.__post_init__(given)  # again: what has got round it, or was changed since
    return {"outcome": given.outcome, "value": given.value, "extracted": given.extracted, "detail": given.detail}
