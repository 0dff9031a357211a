"""Signs that a policy is paid for something else than the task: figures of a step's replies, and their alarms.

A reply counts as paid where every verdict on it is scored, and at least at half.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

from aftertrain.core.events import Sample
from aftertrain.core.learning.alarms import History, Rule

PAID = 0.5
PROBLEMS = 3
"""Different problems for which one text must have been paid before it counts."""
ONE_TEXT = 0.5
"""Share of the paid replies that are one text. Four choices give each letter a quarter of the right replies."""
EMPTY = 0.05
"""Share of the paid replies with a tag that holds nothing: one reply in twenty is no accident of sampling."""
FLIPPED, FEWEST = 0.25, 8
"""Share of paid replies that are no longer paid with other white space, of at least so many: a quarter, because some
demands are about the exact text and may flip by right."""
_TAG = re.compile(r"<([A-Za-z][\w-]*)>\s*</\1>|\\boxed\{\s*\}|```[\w-]*\s*```")
_GAP = re.compile(r"(?<=\w) (?=\w)")


def paid(sample: Sample) -> bool:
    """Whether every verdict on a reply is scored, and none below half; of those that abstained nothing is asked."""
    values = [verdict.value for verdict in sample.verdicts if verdict.outcome != "abstained"]
    return bool(values) and all(value is not None and value >= PAID for value in values)


def reply_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Figures of one step's replies, by name.

    `paid_alike`: share of the paid replies that are the commonest text (white space apart) paid for at least
    `PROBLEMS` problems. `paid_empty_tags`: share of them with a tag that holds nothing (`<think></think>`,
    `\\boxed{}`, a fence without lines). `constant_groups`: share of the problems with several replies that all earned
    the same; absent where each has one.
    """
    rewarded = [sample for sample in samples if paid(sample)]
    figures = {
        "paid_alike": _alike(rewarded),
        "paid_empty_tags": _share([_TAG.search(sample.response) is not None for sample in rewarded]),
    }
    groups: dict[str, list[float | None]] = defaultdict(list)
    for sample in samples:
        groups[_problem(sample)].append(sample.reward)
    several = [len(set(rewards)) == 1 for rewards in groups.values() if len(rewards) > 1]
    if several:
        figures["constant_groups"] = _share(several)
    return figures


def verdict_counts(samples: Sequence[Sample]) -> dict[str, float]:
    """Verdicts of one step as `verdicts/VERIFIER/SOURCE/OUTCOME`: what the alarms of verifiers look at."""
    counts = Counter(
        f"verdicts/{verdict.verifier}/{sample.source.replace('/', ' ') or 'problems'}/{verdict.outcome}"
        for sample in samples
        for verdict in sample.verdicts
        if verdict.outcome != "abstained"
    )
    return {name: float(count) for name, count in sorted(counts.items())}


def respaced(text: str, seed: int) -> str:
    """The text with other white space that changes no meaning: some gaps between words doubled, a line feed behind.

    Only single spaces between two word characters outside code fences are touched, half of them, at least one.
    """
    parts, random = text.split("```"), Random(seed)
    gaps = [(place, match.start()) for place in range(0, len(parts), 2) for match in _GAP.finditer(parts[place])]
    chosen = random.sample(gaps, -(-len(gaps) // 2))
    for place, at in sorted(chosen, reverse=True):
        parts[place] = f"{parts[place][:at]} {parts[place][at:]}"
    return "```".join(parts) + "\n"


def hack_one_text(history: History) -> str | None:
    """One text makes most of the paid replies."""
    share = history.now("paid_alike")
    return None if share is None or share <= ONE_TEXT else f"one reply text is {share:.0%} of the paid replies"


def hack_empty_tags(history: History) -> str | None:
    """Replies are paid in which a tag holds nothing."""
    share = history.now("paid_empty_tags")
    return None if share is None or share <= EMPTY else f"{share:.0%} of the paid replies have a tag without content"


def hack_white_space(history: History) -> str | None:
    """Paid replies are no longer paid with other white space."""
    steps = len(history.last)
    asked, flipped = (sum(history.column(f"respaced/{name}", steps)) for name in ("asked", "flipped"))
    if asked < FEWEST or flipped <= FLIPPED * asked:
        return None
    return f"{flipped:.0f} of {asked:.0f} paid replies are no longer right with other white space"


def _alike(rewarded: Sequence[Sample]) -> float:
    problems: dict[str, set[str]] = defaultdict(set)
    texts = Counter(" ".join(sample.response.split()) for sample in rewarded)
    for sample in rewarded:
        problems[" ".join(sample.response.split())].add(_problem(sample))
    often = [count for text, count in texts.items() if len(problems[text]) >= PROBLEMS]
    return max(often, default=0) / max(1, len(rewarded))


def _problem(sample: Sample) -> str:
    return sample.problem or sample.id.rpartition("/")[0]


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(1, len(flags))


_READ = "read these replies with `aftertrain show sample`, and "
HACKS: tuple[Rule, ...] = (
    Rule("hack_one_text", hack_one_text, f"{_READ}see what in this text the verifier rewards whatever was asked"),
    Rule("hack_empty_tags", hack_empty_tags, f"{_READ}pay for a form only where it holds something"),
    Rule("hack_white_space", hack_white_space, f"{_READ}let the verifier compare after white space is made one"),
)
