"""The form of a reply: tagged blocks (DeepSeek-R1's `<think>`, `<answer>`), length, and how it ends.

No patterns: texts are counted and found, in linear time.
"""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import FormatSettings
from aftertrain.plugins.verifiers.string import SHOWN


class Format(Verifier[FormatSettings]):
    """Ground truth: not looked at, so null or any JSON (a check of the same problem may need it)."""

    Config = FormatSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored by the demands that are met; an error where the ground truth is not JSON."""
        return [self._verdict(case) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        if not isinstance(case.ground_truth, str | int | float | list | dict | None):
            return Verdict.error(f"the ground truth must be JSON, or null, not {type(case.ground_truth).__name__}")
        settings, reply = self.settings, case.response
        demands: dict[str, bool] = {}
        contents = None
        if settings.tags:
            contents = blocks(reply, settings.tags)
            demands["tags"] = contents is not None
        demands |= _lengths(reply, settings)
        if settings.stop:
            demands["stop"] = reply.endswith(settings.stop) or reply.rstrip().endswith(settings.stop)
        met = sum(demands.values())
        missed = [name for name, is_met in demands.items() if not is_met]
        value = met / len(demands) if settings.score == "share" else float(not missed)
        detail = f"{met} of {len(demands)} demands met" + (f"; not met: {', '.join(missed)}" if missed else "")
        return Verdict.scored(value, contents[-1][:SHOWN] if contents else None, detail)


def _lengths(reply: str, settings: FormatSettings) -> dict[str, bool]:
    """The demands on length that are made, and whether each is met."""
    characters = len(reply)
    words = len(reply.split()) if settings.min_words is not None or settings.max_words is not None else 0
    bounds = {
        "min_characters": (settings.min_characters, characters),
        "max_characters": (characters, settings.max_characters),
        "min_words": (settings.min_words, words),
        "max_words": (words, settings.max_words),
    }
    return {name: low <= high for name, (low, high) in bounds.items() if low is not None and high is not None}


def blocks(text: str, tags: Sequence[str]) -> list[str] | None:
    """What stands in each tag's block, or None where the text is not exactly these blocks in this order.

    >>> blocks("<think>3 + 4</think> <answer> 7 </answer>", ["think", "answer"])
    ['3 + 4', '7']
    >>> blocks("So: <think>3 + 4</think> <answer>7</answer>", ["think", "answer"]) is None
    True
    """
    contents: list[str] = []
    rest = text.strip()
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1 or not rest.startswith(opening):
            return None
        content, closed, rest = rest.removeprefix(opening).partition(closing)
        if not closed:
            return None
        contents.append(content.strip())
        rest = rest.strip()
    return None if rest or not all(contents) else contents
