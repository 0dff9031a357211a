"""What online learning enters into its book: each problem that was read, and each reply that is owed, once.

Replies that are owed come from the plan; what ended from the micro-batches that were trained on. Updates that see a
reply again are passes over it, and are not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from aftertrain.core.batch import PackedBatch
from aftertrain.core.book import Book
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.plugins.online.problems import Prompts
from aftertrain.plugins.online.reward import Judged

ROW, TICKET = "row", "ticket"
STEP = 1 << 32
"""Tickets of a step have the numbers from the step's own multiple of this on."""


class Accounts:
    """Writes the tickets of one attempt into a book.

    Args:
        samples: replies to a prompt.
        compares: whether a reply's advantage is what sets it apart from the others to its prompt.
    """

    def __init__(self, book: Book, samples: int, *, compares: bool) -> None:
        self._book, self._samples, self._compares = book, samples, compares

    def expect(self, prompts: Prompts, plan: BatchPlan, steps: int) -> None:
        """Owe the problems that were read, and the replies of all steps, before the first step of an attempt."""
        self._book.expect(ROW, prompts.ids)
        for step in range(1, steps + 1):
            replies = len(plan.rows(step - 1)) * self._samples
            self._book.expect(TICKET, range(step * STEP, step * STEP + replies))

    def ask(self, step: int, first: int, problems: int) -> None:
        """Owe the replies to problems that a step asks as it goes along, from the group of number `first` on.

        Args:
            step: counted from 1.
        """
        start = step * STEP + first * self._samples
        self._book.owe(TICKET, range(start, start + problems * self._samples))

    def step(
        self,
        step: int,
        judged: Sequence[Judged],
        minibatches: Iterable[Sequence[PackedBatch]],
        left_out: Collection[str] = (),
    ) -> dict[str, str]:
        """Enter what the updates of a step were made of; returns in which state each reply ended, by id.

        Args:
            step: counted from 1.
            left_out: replies that the method chose not to learn from: those in no pair.
        """
        rollouts = [reply.rollout for reply in judged]
        owed = sum(rollout.tokens for rollout in rollouts)
        self._book.owe(TICKET, (), tokens=owed)
        silent = self._without_signal(judged)
        states = {reply.rollout.id: state_of(reply, silent=reply.rollout.group in silent) for reply in judged}
        for batch in (batch for part in minibatches for batch in part):
            targets = batch.segment_sum(batch.targets.float(), batch.targets).tolist()
            groups = batch.segments["group"].tolist()
            for name, group, length, learnt in zip(batch.sample_ids, groups, batch.lengths, targets, strict=True):
                number = self._number(step, group, name)
                own = "masked" if group in silent else "learnt"
                tokens = {own: int(learnt), "context": length - int(learnt)}
                self._book.end(TICKET, states[name], number, **tokens)
        for reply in (reply for reply in judged if reply.rollout.id in left_out):
            rollout = reply.rollout
            tokens = {"masked": rollout.sampled, "context": rollout.tokens - rollout.sampled}
            number = self._number(step, rollout.group, rollout.id)
            states[rollout.id] = state_of(reply, silent=True)
            self._book.end(TICKET, states[rollout.id], number, **tokens)
        return states

    def drop(self, step: int, dropped: Mapping[str, Sequence[Sequence[Judged]]]) -> dict[str, str]:
        """Enter the replies that a selection left out, by the state in which they end; it owed them as it went along.

        Args:
            step: counted from 1.

        Returns:
            in which state each ended, by id.
        """
        states: dict[str, str] = {}
        for state, groups in dropped.items():
            for reply in (reply for group in groups for reply in group):
                rollout = reply.rollout
                tokens = {"masked": rollout.sampled, "context": rollout.tokens - rollout.sampled}
                self._book.owe(TICKET, (), tokens=sum(tokens.values()))
                ended = state_of(reply, silent=True) if state == "no_signal" else state
                states[rollout.id] = ended
                self._book.end(TICKET, ended, self._number(step, rollout.group, rollout.id), **tokens)
        return states

    def close(self, prompts: Prompts) -> None:
        """Enter what became of the problems, after the last step."""
        self._book.end(ROW, "kept", [prompt.problem.id for prompt in prompts.kept])
        for reason, names in prompts.dropped.items():
            self._book.drop(ROW, reason, names)

    def _number(self, step: int, group: int, name: str) -> int:
        """Of the ticket of a reply."""
        return step * STEP + group * self._samples + int(name.rpartition("/")[2])

    def _without_signal(self, judged: Iterable[Judged]) -> set[int]:
        """Groups whose replies all earned the same, where only differences count."""
        rewards: dict[int, set[float]] = {}
        for reply in judged:
            rewards.setdefault(reply.rollout.group, set()).update([] if reply.left_out else [reply.total])
        return {group for group, values in rewards.items() if len(values) <= 1} if self._compares else set()


def state_of(judged: Judged, *, silent: bool) -> str:
    """In which a reply ended.

    Judging that failed says nothing of the reply, so that it comes first; then whether anything was learnt; then what
    may be the reason for the rest: a reply that was cut may have no answer only for that.
    """
    outcomes = {verdict.outcome for _, verdict in judged.verdicts}
    for failed in ("error", "timeout"):
        if failed in outcomes:
            return failed
    if judged.rollout.completion.finish_reason == "cancelled":
        return "cancelled"
    if outcomes == {"abstained"}:
        return "abstained"
    if silent:
        return "no_signal"
    if not judged.rollout.ended:
        return "cut"
    return "unparsable" if "unparsable" in outcomes else "trained"
