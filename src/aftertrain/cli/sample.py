"""`aftertrain show sample`: one reply's reward as a tree, or a problem's replies over the steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely, echo_table
from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from aftertrain.api.replies import FoundReply
    from aftertrain.core.events import Sample, SampleVerdict

Tree = list[tuple[str, "Tree"]]
EXCERPT = 60


def show_sample(words: Sequence[str], step: int | None) -> None:
    """Show a reply, or all replies to a problem.

    Args:
        words: `RUN:STAGE` and the id of a reply or of a problem.
    """
    from aftertrain.api.replies import find_reply, passages

    if len(words) != 2:
        raise click.UsageError("a run's stage and an id: aftertrain show sample RUN:STAGE ID [--step N]")
    run, id = words
    if found := passages(run, id):
        chosen = [passage for passage in found if step in (None, passage.step)]
        rows = [[str(passage.step), *_row(passage.sample)] for passage in chosen]
        echo_table(rows, ("step", "id", "reward", "verdict", "tokens", "reply"))
        return
    reply = find_reply(run, id, step)
    for line in lines(reply):
        echo_safely(line)


def lines(reply: FoundReply) -> Iterator[str]:
    """A reply in words: prompt, reply, and the tree of its reward."""
    sample = reply.sample
    yield f"{reply.name} · step {reply.step} · {sample.id}" + (f" · {sample.source}" if sample.source else "")
    others = [str(step) for step in reply.steps if step != reply.step]
    if others:
        yield f"also in step {', '.join(others)} (--step N)"
    yield from ("", "prompt", *_indented(sample.prompt), "", _heading(sample), *_indented(_shown(sample)), "")
    yield f"reward {_number(sample.reward)}"
    yield from _drawn(tree(reply))


def tree(reply: FoundReply) -> Tree:
    """What a reward is made of, from the checks up, and what became of it."""
    sample = reply.sample
    earned = sample.reward if sample.earned is None else sample.earned
    checks: Tree = [_check(verdict, reply) for verdict in sample.verdicts]
    if reply.unread:
        checks.append((f"other readings cannot be had: {reply.unread}", []))
    checks += [_check(verdict, reply) for verdict in sample.shaping]
    parts: Tree = [(f"{name} {_number(value)}", []) for name, value in sample.parts.items()]
    if sample.base is not None and not parts:
        parts.append((f"reward model {_number(sample.base)}", []))
    grown: Tree = [(f"earned {_number(earned)}", [*checks, *parts])]
    if sample.earned is not None:
        cut = "cut at the token limit" if sample.finish_reason == "length" else "scaled or replaced"
        grown.append((f"became {_number(sample.reward)}: {cut}", []))
    return [*grown, _advantage(reply)]


def _check(verdict: SampleVerdict, reply: FoundReply) -> tuple[str, Tree]:
    worth = "" if verdict.value is None else f" {verdict.value:g}"
    earns = "" if verdict.reward is None else f" → {_number(verdict.reward)}"
    below: Tree = [(f"extracted {verdict.extracted!r}" if verdict.extracted is not None else "nothing extracted", [])]
    if verdict.detail:
        below.append((f"rule: {verdict.detail}", []))
    below += [(f"compared with {truth!r}", []) for name, truth in reply.truths if name == verdict.verifier]
    for reading in (reading for reading in reply.readings if reading.verifier == verdict.verifier):
        other = reading.verdict
        same = (other.outcome, other.value) == (verdict.outcome, verdict.value)
        value = "" if other.value is None else f" {other.value:g}"
        found = "" if other.extracted is None else f", {other.extracted!r}"
        mark = "" if same else "   ← another verdict"
        below.append((f"read with {reading.change}: {other.outcome}{value}{found}{mark}", []))
    return f"{verdict.verifier}: {verdict.outcome}{worth}{earns}", below


def _advantage(reply: FoundReply) -> tuple[str, Tree]:
    from aftertrain.core.learning.rollouts import REASONS

    tokens, sample = reply.tokens, reply.sample
    reasons = Counter(REASONS[place] for place, drawn in zip(tokens.reasons, tokens.sampled, strict=True) if drawn)
    below: Tree = [(f"tokens: {', '.join(f'{n:,} {reason}' for reason, n in reasons.items())}", [])]
    versions = sorted({*tokens.versions.tolist()})
    if versions:
        below.append((f"made by the weights of version {', '.join(map(str, versions))}", []))
    if len(tokens.logprobs):
        words = f"log-probability {float(tokens.logprobs.sum()):.4g} by the generator"
        if "old_logprobs" in tokens.columns:
            old = tokens.columns["old_logprobs"]
            apart = float(abs(old - tokens.logprobs).max())
            words += f", {float(old.sum()):.4g} by the trainer, at most {apart:.2g} apart at one token"
        below.append((words, []))
    if sample.state:
        below.append((f"in the books: {sample.state}", []))
    column = tokens.columns.get("advantages")
    if column is None or not len(column):
        return "no advantage: it was not learnt from", below
    least, most = float(column.min()), float(column.max())
    spread = "" if least == most else f", from {_number(least)} to {_number(most)}"
    return f"advantage {_number(float(column.mean()))} a token{spread}", below


def _row(sample: Sample) -> tuple[str, ...]:
    verdicts = ", ".join(v.outcome if v.value is None else f"{v.value:g}" for v in sample.verdicts)
    text = " ".join(sample.response.split())
    short = text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
    return sample.id, _number(sample.reward), verdicts, str(sample.tokens or 0), short


def _heading(sample: Sample) -> str:
    ends = {"stop": "ended by itself", "length": "cut at the token limit"}
    facts = [] if sample.tokens is None else [counted(sample.tokens, "token")]
    facts += [ends.get(sample.finish_reason, sample.finish_reason)] if sample.finish_reason else []
    return "reply" + (f" ({', '.join(facts)})" if facts else "")


def _shown(sample: Sample) -> str:
    return sample.response if sample.response_with_special is None else sample.response_with_special


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()] or ["  (empty)"]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _drawn(grown: Tree, before: str = "") -> Iterator[str]:
    """A tree in lines.

    >>> print("\\n".join(_drawn([("a", [("b", []), ("c", [])]), ("d", [])])))
    ├─ a
    │  ├─ b
    │  └─ c
    └─ d
    """
    for place, (text, below) in enumerate(grown):
        last = place == len(grown) - 1
        first, *rest = text.split("\n")
        yield f"{before}{'└' if last else '├'}─ {first}"
        further = before + ("   " if last else "│  ")
        yield from (f"{further}{line}" for line in rest)
        yield from _drawn(below, further)
