"""Verification cases from what people write: lines of a file, mappings, records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aftertrain.core.errors import nearest
from aftertrain.core.records import VerificationCase

FIELDS = ("response", "ground_truth", "prompt", "id", "source")
NEEDED = FIELDS[:2]


def case_of(row: Mapping[str, Any], number: int, *, needs_truth: bool = True) -> VerificationCase:
    """A case from a mapping; further keys are left alone.

    Args:
        number: its id where it has none.
        needs_truth: whether it must have a ground truth; None stands for one that is missing.

    Raises:
        ValueError: a field is missing. TypeError: response or prompt is no text.
    """
    missing = [key for key in NEEDED if key not in row and (needs_truth or key != "ground_truth")]
    if missing:
        there = ", ".join(map(str, row)) or "no fields"
        raise ValueError(f"has no {' and no '.join(missing)}; it has {there}{_guesses(missing, row)}")
    name, source = row.get("id"), row.get("source")
    case = VerificationCase(
        id=str(number) if name is None else str(name),
        prompt="" if row.get("prompt") is None else row["prompt"],
        response=row["response"],
        ground_truth=row.get("ground_truth"),
        source="" if source is None else str(source),
    )
    return checked(case)


def strict_case(
    case: VerificationCase | Mapping[str, Any], number: int, *, needs_truth: bool = True
) -> VerificationCase:
    """A case from Python, where a key that is none of a case's is a misspelt one.

    Raises:
        ValueError, TypeError: see `case_of`; the message begins with the case's number.
    """
    try:
        if isinstance(case, VerificationCase):
            return checked(case)
        if not isinstance(case, Mapping):
            raise TypeError(f"a mapping or VerificationCase is needed, found {type(case).__name__}")
        record = case_of(case, number, needs_truth=needs_truth)
        odd = [key for key in case if key not in FIELDS]
        if odd:
            raise ValueError(f"a case has no {', '.join(map(repr, odd))}{_guesses(odd, FIELDS)}")
    except (TypeError, ValueError) as error:
        raise type(error)(f"case {number}: {error}; a case has {', '.join(FIELDS)}") from error
    return record


def checked(case: VerificationCase) -> VerificationCase:
    """The same case.

    Raises:
        TypeError: response or prompt is no text: what a verifier would make of it is anybody's guess.
    """
    for field, value in (("response", case.response), ("prompt", case.prompt)):
        if not isinstance(value, str):
            raise TypeError(f"{field} must be a string, found {type(value).__name__}")
    return case


def _guesses(asked: list[str], known: Any) -> str:
    names = [str(name) for name in known]
    guesses = [f"{guess!r} for {name!r}" for name in asked if (guess := nearest(str(name), names)) is not None]
    return f" (is it {', '.join(guesses)}?)" if guesses else ""
