"""The form of a reply: tagged blocks (DeepSeek-R1's `<think>`, `<answer>`), length, and how it ends.

No patterns: texts are counted and found, in linear time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from aftertrain.core.records import Thoughts, Verdict, VerificationCase
from aftertrain.core.text.answer import begun, marked
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.settings import FormatSettings
from aftertrain.plugins.verifiers.string import SHOWN, not_json


class Format(Verifier[FormatSettings]):
    """Ground truth: not looked at, so null or any JSON (a check of the same problem may need it)."""

    Config = FormatSettings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored by the demands that are met; an error where the ground truth is not JSON."""
        return [self._verdict(case) for case in cases]

    def _verdict(self, case: VerificationCase) -> Verdict:
        if wrong := not_json(case.ground_truth):
            return wrong
        settings, reply = self.settings, self._reply(case)
        demands: dict[str, bool] = {}
        contents = None
        if settings.tags:
            contents = self._contents(case)
            demands["tags"] = contents is not None
        demands |= _lengths(reply, settings)
        if settings.stop:
            demands["stop"] = reply.endswith(settings.stop) or reply.rstrip().endswith(settings.stop)
        met = sum(demands.values())
        missed = [name for name, is_met in demands.items() if not is_met]
        value = met / len(demands) if settings.score == "share" else float(not missed)
        detail = f"{met} of {len(demands)} demands met" + (f"; not met: {', '.join(missed)}" if missed else "")
        return Verdict.scored(value, contents[-1][:SHOWN] if contents else None, detail)

    @property
    def needs_truth(self) -> bool:
        """It looks at the reply alone."""
        return False

    def handed_on(self, case: VerificationCase) -> VerificationCase:
        """The last block, or the text behind the blocks where that is demanded; the case as it is where they are not
        as they should be, or the one block there is may be anything."""
        contents = self._contents(case) if self.settings.tags else None
        if contents is None or (len(contents) < 2 and self.settings.after == "nothing"):
            return case
        return replace(
            case,
            response=contents[-1],
            response_with_special=None,
            part="block" if len(contents) > 1 else "answer",
            whole=self._reply(case),
        )

    def _reply(self, case: VerificationCase) -> str:
        """The whole reply, with tags that are special tokens."""
        tags = [bracketed for tag in self.settings.tags for bracketed in (f"<{tag}>", f"</{tag}>")]
        return marked(case.reply, case.response_with_special, tags)

    def _contents(self, case: VerificationCase) -> list[str] | None:
        """What stands in the blocks, and behind them where something is demanded or found there."""
        tags = self.settings.tags
        first = Thoughts(f"<{tags[0]}>", f"</{tags[0]}>")
        known = case.thoughts is not None and case.thoughts.begun and case.thoughts.opening == first.opening
        prefilled = self.settings.prefilled
        if prefilled is None:
            prefilled = known or begun(case.prompt, first)
        return blocks(self._reply(case), tags, after=self.settings.after, prefilled=prefilled)


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


def blocks(
    text: str,
    tags: Sequence[str],
    *,
    after: Literal["nothing", "text", "anything"] = "nothing",
    prefilled: bool = False,
) -> list[str] | None:
    """What stands in each tag's block, and the text behind them if any, or None where the text is not these blocks in
    this order.

    Args:
        after: what may follow them.
        prefilled: the prompt has written the first opening tag, so that the text must lack it.

    >>> blocks("<think>3 + 4</think> <answer> 7 </answer>", ["think", "answer"])
    ['3 + 4', '7']
    >>> blocks("So: <think>3 + 4</think> <answer>7</answer>", ["think", "answer"]) is None
    True
    >>> blocks("3 + 4</think> It is 7.", ["think"], after="text", prefilled=True)
    ['3 + 4', 'It is 7.']
    """
    if prefilled:
        text = f"<{tags[0]}>{text}"
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
    if not all(contents) or (rest and after == "nothing") or (not rest and after == "text"):
        return None
    return [*contents, rest] if rest else contents
