"""A stage's book: everything that it owes an account of, and the one state in which each ended. Standard library only.

What is owed is stated apart from the work, by its key, and ends by its key. `core.run.ledger` compares the two when
the stage is done, so that what was lost, and what was counted twice, cannot pass as finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError, UnknownName

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = int | str
"""What tells one occurrence from the others of its unit: a number, or an id."""

DROPPED = "dropped: "
"""Begins the states that a unit's list does not hold: left out, for the reason that follows."""
REASONS = 200
"""Different reasons that one book may hold: a reason is a word or two to count by, no message."""
_LONGEST = 80
_WHOLE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind of occurrence.

    Attributes:
        what: an occurrence of it.
        states: in which it can end beside `dropped: REASON`, and what each says.
    """

    what: str
    states: Mapping[str, str]


UNITS: Mapping[str, Unit] = {
    "row": Unit(
        "a row of a data set, once for each epoch of training; of a row that makes several samples, each of these",
        {
            "learnt": "its targets were part of an update of the weights",
            "cut": "the same, and what lies beyond batch.max_tokens was not read",
            "skipped": "it was read, and the update of its step was left out because it was not finite",
            "unreached": "training ended before it, by max_steps or with the steps that an epoch does not fill",
            "kept": "it was handed on: to be asked online, or to the stage that follows",
            "replaced": "rows that were made of it took its place",
        },
    ),
    "ticket": Unit(
        "a reply that is owed to a prompt of online learning",
        {
            "trained": "it ended by itself, was judged, and was part of the step's updates",
            "cut": "the same, but it was cut at sampling.max_new_tokens",
            "unparsable": "no answer was found in it; it was trained on with reward.on_unparsable",
            "timeout": "judging it took too long; it was trained on with reward.on_timeout, or left out",
            "error": "judging it, or its environment, failed; it was trained on with reward.on_error, or left out",
            "abstained": "no check applied to it; it was trained on with reward.on_abstained",
            "no_signal": "all replies to its prompt earned the same, so that its advantage is 0",
            "set_aside": "the step had enough replies that told more, so that it was not learnt from",
            "stale": "the weights had moved too far before it could be trained on",
            "cancelled": "it was called off before it was whole",
        },
    ),
    "response": Unit(
        "a reply that is owed to a prompt of a stage of preferences",
        {
            "chosen": "it is the better one of a pair",
            "rejected": "it is the worse one of a pair",
            "kept": "it was handed on as a row",
            "set_aside": "it was rated, and no row was made of it",
        },
    ),
    "case": Unit(
        "a question of an evaluation task, once for each temperature",
        {
            "scored": "the reply, or the choice, was judged",
            "cut": "the reply was cut at max_new_tokens, and was scored as it stands",
            "unparsable": "no answer was found in the reply",
            "timeout": "judging the reply took too long",
            "error": "judging the reply failed",
            "abstained": "the rule did not apply to it",
            "cancelled": "the reply was called off before it was whole",
        },
    ),
    "verification": Unit(
        "a line of `aftertrain verify`",
        {
            "scored": "the response was judged",
            "unparsable": "no answer was found in the response",
            "timeout": "judging it took too long",
            "error": "judging it failed",
            "abstained": "the rule did not apply to it",
        },
    ),
}
"""The closed list of each unit. A plugin's own unit is named `PLUGIN/UNIT`, and what it did ends as `done`."""
OWN = Unit("a plugin's own", {"done": "the stage did what it owed"})
TOKENS: Mapping[str, str] = {
    "learnt": "targets of an update of the weights",
    "context": "read beside them: prompts, and turns that are not learnt",
    "masked": "targets that were read and not learnt from: of a step that was skipped, or of replies without a signal",
    "cut": "not read: cut off, or of rows that were left out or not reached",
    "made": "written by a model that was not trained on them, or choices whose likelihood was taken",
}
"""What became of tokens, whatever the unit."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Of some keys, how many they are and the sum of their marks, which tells other keys of the same number apart.

    >>> both = Sum.of([1, "a"])
    >>> both == Sum.of("a") + Sum.of(1), both == Sum.of([2, "a"]), both == Sum.of(range(1, 3))
    (True, False, False)
    """

    count: int = 0
    mark: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.count + other.count, (self.mark + other.mark) & _WHOLE)

    @classmethod
    def of(cls, keys: Key | Iterable[Key] | NDArray[Any]) -> Sum:
        """Of one key, of several, or of an array of whole numbers; equal keys count as often as they stand there."""
        if isinstance(keys, range) or hasattr(keys, "dtype"):
            return _of_numbers(keys)
        marks = [_mark(key) for key in ([keys] if isinstance(keys, int | str) else keys)]
        return cls(len(marks), sum(marks) & _WHOLE)


@dataclass(slots=True)
class Account:
    """One unit of a book.

    Attributes:
        expected: what this attempt at the stage began by stating.
        owed: what the stage took on as it went along, in earlier attempts too.
        ended: what ended, whatever its state.
        expected_tokens: None where nobody stated them.
        owed_tokens: likewise.
    """

    expected: Sum = Sum()
    owed: Sum = Sum()
    ended: Sum = Sum()
    expected_tokens: int | None = None
    owed_tokens: int | None = None
    states: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)


class Book:
    """What a stage owes and what became of it (`StageContext.book`).

    The book travels in the stage's checkpoints: what is written between two of them is kept or forgotten together with
    the work that it tells of. So write what belongs to a step before the step's checkpoint is saved, and what belongs
    to none at the end of `run`. Of several ranks that share a stage rank 0 states what is owed, and each ends what it
    did.

    Attributes:
        accounts: by unit.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def expect(self, unit: str, keys: Key | Iterable[Key] | NDArray[Any], tokens: int | None = None) -> None:
        """State what is owed, where that is known before the work begins; said again at each attempt, and not kept.

        Args:
            unit: one of `UNITS`, or a plugin's own, `PLUGIN/UNIT`.
            keys: what is owed, each once; a key that stands there twice is owed twice.
            tokens: of all of these together; the tokens that are entered must then add up to it.

        Raises:
            UnknownName: there is no such unit.
        """
        account = self._account(unit)
        account.expected += Sum.of(keys)
        account.expected_tokens = _added(account.expected_tokens, tokens)

    def owe(self, unit: str, keys: Key | Iterable[Key] | NDArray[Any], tokens: int | None = None) -> None:
        """Take on more, where it is found as the work goes on (a stream); kept by checkpoints. Else as `expect`."""
        account = self._account(unit)
        account.owed += Sum.of(keys)
        account.owed_tokens = _added(account.owed_tokens, tokens)

    def end(self, unit: str, state: str, keys: Key | Iterable[Key] | NDArray[Any], **tokens: int) -> None:
        """Enter the state in which these ended, and what became of their tokens.

        Raises:
            UnknownName: there is no such unit, the unit has no such state, or tokens have none of this name.
        """
        states = states_of(unit)
        if state not in states:
            raise UnknownName(
                f"state of a {unit}", state, states, note="What is left out ends by `drop`, with a reason."
            )
        self._end(unit, state, keys, tokens)

    def drop(self, unit: str, reason: str, keys: Key | Iterable[Key] | NDArray[Any], **tokens: int) -> None:
        """Enter that these were left out.

        Args:
            reason: a word or two to count by (`overlong`).
            keys: none, to have a reason refused before the work is done.

        Raises:
            UnknownName: there is no such unit, or tokens have no state of this name.
            RunError: the reason is empty, a message, or one too many.
        """
        if not reason.strip() or len(reason) > _LONGEST or "\n" in reason:
            raise RunError(f"a {unit} is dropped for a reason of a word or two to count by, not {reason[:200]!r}")
        states = self._account(unit).states
        states.setdefault(DROPPED + reason, 0)
        if len(states) > REASONS:
            raise RunError(f"{unit}: over {REASONS} reasons, {reason!r} too: a reason is a word or two to count by")
        self._end(unit, DROPPED + reason, keys, tokens)

    def read(self, unit: str, **tokens: int) -> None:
        """Enter tokens apart from the occurrences that they belong to.

        Raises:
            UnknownName: there is no such unit, or tokens have no state of this name.
        """
        for state in tokens:
            if state not in TOKENS:
                raise UnknownName("state of tokens", state, TOKENS)
        self._account(unit).tokens.update({state: int(count) for state, count in tokens.items()})

    def _end(self, unit: str, state: str, keys: Key | Iterable[Key] | NDArray[Any], tokens: Mapping[str, int]) -> None:
        ended = Sum.of(keys)
        self.read(unit, **tokens)
        account = self._account(unit)
        account.ended += ended
        if ended.count:
            account.states[state] += ended.count

    def _account(self, unit: str) -> Account:
        states_of(unit)
        return self.accounts.setdefault(unit, Account())


def states_of(unit: str) -> Mapping[str, str]:
    """In which an occurrence of the unit can end beside `dropped: REASON`.

    Raises:
        UnknownName: there is no such unit.
    """
    if unit in UNITS:
        return UNITS[unit].states
    if "/" in unit:
        return OWN.states
    raise UnknownName("unit", unit, UNITS, note="A plugin's own begins with its name: 'acme/page'.")


def _added(sum_: int | None, more: int | None) -> int | None:
    return sum_ if more is None else (sum_ or 0) + int(more)


def _mark(key: Key) -> int:
    if isinstance(key, str):
        return int.from_bytes(blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
    # SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits whose sums do not follow those of the numbers.
    bits = (key + 0x9E3779B97F4A7C15) & _WHOLE
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _WHOLE
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _WHOLE
    return bits ^ (bits >> 31)


def _of_numbers(keys: Any) -> Sum:
    """The same marks of many numbers at once."""
    import numpy as np

    numbers = np.arange(keys.start, keys.stop, keys.step) if isinstance(keys, range) else np.asarray(keys)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(f"keys are whole numbers or ids, not {numbers.dtype}")
    bits = numbers.astype(np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    marks = bits ^ (bits >> np.uint64(31))
    return Sum(int(numbers.size), int(marks.sum(dtype=np.uint64)) & _WHOLE)
