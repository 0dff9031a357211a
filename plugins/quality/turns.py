"""Whether a row's turns are whole: none empty, none cut off, and in an order that a conversation can have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from aftertrain.core.operator import Row, Scorer
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair, Problem
from aftertrain.plugins.quality.settings import TurnsSettings

_CLOSERS = "\"'”’»)]}*_`~ \t\n"
"""What may stand behind the mark that ends a sentence."""
_ENDS = ".!?…:;。！？"
_UNFINISHED = frozenset(
    ("a", "an", "the", "and", "or", "but", "of", "to", "in", "on", "at", "for", "with", "by", "from", "as", "is", "are",
     "was", "were", "that", "which", "because")
)  # fmt: skip
_OPEN_LIST = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s*$")


class Turns(Scorer[TurnsSettings]):
    """Facts: `empty`, turns in which nothing is said; `truncated`, replies that seem cut off; `order`, whether roles
    follow one another as they may; `faults`, the number of all these; `what`, in words.

    A reply seems cut off where a code block or a bracket of thoughts is left open, its last line is the bare mark of a
    list item, or it has eight words or more and ends in a comma, a hyphen, or a word that no English sentence ends in.
    """

    Config = TurnsSettings
    finds = ("empty", "truncated", "order", "faults", "what")
    takes = frozenset({"Conversation", "PreferencePair", "Feedback", "Problem"})

    def facts(self, row: Row) -> Mapping[str, Any]:
        """Of all turns; of a pair's two replies each with the prompt."""
        empty = sum(turn.empty for turn in row.turns)
        cut = [turn for turn in row.turns if turn.role == "assistant" and truncated(turn.content)]
        disorders = list(dict.fromkeys(fault for turns in _talks(row) for fault in self._disorder(row, turns)))
        what = [*(["empty turn"] if empty else []), *(["reply cut off"] if cut else []), *disorders]
        return {
            "empty": empty,
            "truncated": len(cut),
            "order": not disorders,
            "faults": empty + len(cut) + len(disorders),
            "what": what,
        }

    def _disorder(self, row: Row, turns: Sequence[Message]) -> Iterator[str]:
        roles = [turn.role for turn in turns]
        if "system" in roles[1:] and self.settings.system == "first":
            yield "system turn not at the start"
        talk = [role for role in roles if role != "system"]
        if talk[:1] != ["user"]:
            yield "does not begin with the user"
        wanted = "user" if isinstance(row.record, Problem) else "assistant"
        if talk and talk[-1] not in ({wanted, "tool"} if wanted == "user" else {wanted}):
            yield f"does not end with the {wanted}"
        for before, after in pairwise(turns):
            if before.role == after.role and before.role in ("user", "assistant"):
                yield f"two turns of the {before.role} in a row"
            if after.role == "tool" and before.role != "tool" and not before.tool_calls:
                yield "tool turn without a call"


def _talks(row: Row) -> Iterator[Sequence[Message]]:
    """The conversations that a row holds."""
    match record := row.record:
        case Conversation():
            yield record.messages
        case PreferencePair():
            yield (*record.prompt, *record.chosen)
            yield (*record.prompt, *record.rejected)
        case Feedback():
            yield (*record.prompt, *record.reply)
        case Problem():
            yield record.prompt


def truncated(reply: str) -> bool:
    """Whether a reply seems cut off.

    >>> truncated("It is 4."), truncated("4"), truncated("First you open the box, and then you turn the")
    (False, False, True)
    >>> truncated("```python" + chr(10) + "print(1)"), truncated("Two things:" + chr(10) + "1. a" + chr(10) + "2.")
    (True, True)
    """
    text = reply.rstrip()
    if not text:
        return False
    if sum(line.lstrip().startswith("```") for line in text.splitlines()) % 2:
        return True
    if text.count("<think>") > text.count("</think>"):
        return True
    last = text.splitlines()[-1]
    if "\n" in text and _OPEN_LIST.match(last):
        return True
    bare = text.rstrip(_CLOSERS)
    words = text.split()
    if len(words) < 8 or not bare or bare[-1] in _ENDS:
        return False
    return bare[-1] in ",-–—" or (text[-1] not in "`)}]" and words[-1].casefold() in _UNFINISHED)
