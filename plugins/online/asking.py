"""Asking the problems of one step until enough groups of replies are worth learning from.

Everything here goes by tickets: problems are drawn, groups judged, kept and refilled in the order in which they were
asked, whatever came back first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.errors import CheckpointError, PluginError
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.selection import Group, Past, Selection
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged

Judge = Callable[[Sequence[Prompt], int], list[Judged]]
"""Makes and judges the replies to problems, the first of which is the step's group of that number."""


@dataclass(frozen=True)
class Asked:
    """What a step's problems came to.

    Attributes:
        judged: the replies that are learnt from.
        dropped: groups that are not, by why (a state of a ticket).
        metrics: figures of the selection; none where all problems of the plan are asked and kept.
    """

    judged: Sequence[Judged]
    dropped: Mapping[str, Sequence[Sequence[Judged]]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def left_out(self) -> list[str]:
        """Ids of the replies that are not learnt from."""
        return [reply.rollout.id for groups in self.dropped.values() for group in groups for reply in group]

    @property
    def every(self) -> list[Judged]:
        """All replies of the step, those not learnt from too, in the order of their tickets."""
        others = [reply for groups in self.dropped.values() for group in groups for reply in group]
        return sorted([*self.judged, *others], key=lambda reply: reply.rollout.group)


class Asking:
    """The problems of a stage, step by step.

    Args:
        order: the plan: shuffled epochs.
        wanted: groups that a step learns from.
        varying: steps differ in size, so that which problems they have is not known beforehand.

    Attributes:
        taken: problems taken from the stream so far, which a checkpoint must hold, as it must `past`.
    """

    def __init__(
        self,
        selection: Selection[Any],
        prompts: Sequence[Prompt],
        order: BatchPlan,
        wanted: int,
        seed: int,
        *,
        varying: bool = False,
    ) -> None:
        self.planned = selection.planned and not varying
        """Whether the steps' problems are those of the plan, known beforehand."""
        self._selection, self._prompts, self._order = selection, prompts, order
        self._wanted, self._seed = wanted, seed
        self._ids = [prompt.problem.id for prompt in prompts]
        self.taken, self.past = 0, Past()

    def ask(self, step: int, judge: Judge, wanted: int | None = None) -> Asked:
        """One step, counted from 1: at most `rounds` times, until `wanted` groups are kept.

        Args:
            wanted: where steps vary, groups of this one.

        Raises:
            PluginError: the selection names problems or groups that there are not.
        """
        wanted = self._wanted if wanted is None else wanted
        if self.planned:
            return Asked(judge([self._prompts[row] for row in self._order.rows(step - 1)], 0))
        kept: list[list[Judged]] = []
        constant: list[list[Judged]] = []
        asked = round_ = 0
        seen = set[int]()
        while len(kept) < wanted and round_ < self._selection.rounds:
            count = self._selection.asks(wanted - len(kept))
            seed = sub_seed(self._seed, "selection", step, round_)
            drawn = self._selection.draw(count, self._stream(seen), self._ids, self.past, seed)
            self._check_places("draws the problems", drawn, len(self._ids))
            rows = [row for row in dict.fromkeys(drawn) if row not in seen][:count]
            if not rows:
                break
            seen.update(rows)
            for group in _groups(judge([self._prompts[row] for row in rows], asked)):
                facts = _facts(group)
                self.past.add(facts)
                (kept if self._selection.keep(facts) else constant).append(group)
            asked, round_ = asked + len(rows), round_ + 1
        chosen = {*self._selection.choose([_facts(group) for group in kept], wanted)}
        self._check_places("chooses the groups", chosen, len(kept))
        if len(chosen) > wanted:
            raise PluginError(f"{self._name} chooses {len(chosen)} groups where {wanted} are wanted")
        learnt = [group for place, group in enumerate(kept) if place in chosen]
        aside = [group for place, group in enumerate(kept) if place not in chosen]
        metrics = {
            "asked_problems": float(asked),
            "asking_rounds": float(round_),
            "kept_rate": len(learnt) / asked,
        }
        judged = [reply for group in learnt for reply in group]
        return Asked(judged, {"no_signal": constant, "set_aside": aside}, metrics)

    @property
    def _name(self) -> str:
        return f"the selection {type(self._selection).__name__}"

    def _check_places(self, does: str, places: Collection[Any], n: int) -> None:
        if bad := [place for place in places if not isinstance(place, int) or not 0 <= place < n]:
            raise PluginError(f"{self._name} {does} {sorted(map(str, bad))[:5]}, which are no places among {n}")

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, as plain data; empty where steps follow the plan."""
        return {} if self.planned else {"taken": self.taken, "past": self.past.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: it is not in it.
        """
        if self.planned:
            return
        try:
            self.taken, self.past = int(state["taken"]), Past.of(state["past"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint does not say which problems were asked: {error}") from error

    def _stream(self, seen: Collection[int]) -> Iterator[int]:
        """The rows from where the last draw stopped, epoch after epoch, without those seen in this step."""
        given = set(seen)
        while len(given) < self._order.n_rows:
            epoch, place = divmod(self.taken, self._order.n_rows)
            self.taken += 1
            row = self._order.order(epoch)[place]
            if row not in given:
                given.add(row)
                yield row


def _groups(judged: Sequence[Judged]) -> list[list[Judged]]:
    groups: dict[int, list[Judged]] = {}
    for reply in judged:
        groups.setdefault(reply.rollout.group, []).append(reply)
    return list(groups.values())


def _facts(group: Sequence[Judged]) -> Group:
    return Group(
        group[0].rollout.prompt.problem.id,
        tuple(reply.total for reply in group if not reply.left_out),
        sum(reply.verified for reply in group if not reply.left_out),
    )
