"""Components that each break one promise. A module of its own, so that child processes can import it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.dataset import Dataset
from aftertrain.core.environment import Environment, EnvironmentSettings, Episode, Observation, Reply
from aftertrain.core.errors import ModelError
from aftertrain.core.eval_task import Instance, InstanceScore, ReplyTask
from aftertrain.core.events import Entry, Metrics
from aftertrain.core.head_kernel import HeadKernel, LMHead
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio, Score
from aftertrain.core.observer import Observer
from aftertrain.core.operator import Change, Dropped, Filter, Operator, Row, Scorer
from aftertrain.core.records import (
    Completion,
    Conversation,
    Document,
    Message,
    Problem,
    Record,
    Verdict,
    VerificationCase,
)
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier


class Nothing(Settings):
    """No settings."""


class Lax(Settings):
    """Takes any key, describes none."""

    model_config = ConfigDict(extra="allow")
    scale: float = 1.0


class Shifting(Settings):
    """Does not survive a dump."""

    when: float = Field(0.0, description="When.", exclude=True)


class GoodLoss(Loss[Settings]):
    """Keeps every promise: the sum of squared log-probabilities."""

    Config = Nothing
    needs = Needs(records=frozenset({"Conversation"}))

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        kept = batch.loss_mask & (batch.segments["weight"] > 0)[batch.segment_ids]
        assert scores.logprobs is not None
        return self.output(batch, scores.logprobs, kept)

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        term = logprobs[kept].square().sum()
        return LossOutput({"policy": term}, {"square": Ratio(term.detach(), kept.sum())})


class MeanLoss(GoodLoss):
    """Divides inside a micro-batch."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": logprobs[kept].square().sum() / kept.sum().clamp(min=1)})


class FillerLoss(GoodLoss):
    """Counts segments of weight 0."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": logprobs[batch.loss_mask].square().sum()})


class DetachedLoss(GoodLoss):
    """Has a gradient that is not the term's own."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": (logprobs[kept].detach() * logprobs[kept]).sum()})


class OrderLoss(GoodLoss):
    """Looks at where a segment stands."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": (logprobs * (batch.segment_ids + 1))[kept].square().sum()})


class RandomLoss(GoodLoss):
    """Draws from the global generator."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": (logprobs * torch.rand_like(logprobs))[kept].square().sum()})


class OverflowLoss(GoodLoss):
    """Overflows far from zero."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": torch.exp(-logprobs[kept]).sum()})


class VectorLoss(GoodLoss):
    """Returns one number for each token."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        return LossOutput({"policy": logprobs[kept]})


class GradientMetricLoss(GoodLoss):
    """Forgets to detach a metric."""

    def output(self, batch: PackedBatch, logprobs: torch.Tensor, kept: torch.Tensor) -> LossOutput:
        term = logprobs[kept].square().sum()
        return LossOutput({"policy": term}, {"square": Ratio(term, 1.0)})


class GoodVerifier(Verifier[Settings]):
    """Keeps every promise: equal texts."""

    Config = Nothing

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [self.judge(case) for case in cases]

    def judge(self, case: VerificationCase) -> Verdict:
        if not isinstance(case.ground_truth, str):
            return Verdict.error("the ground truth must be a text")
        return Verdict.scored(float(case.response == case.ground_truth))


class FalsyVerifier(GoodVerifier):
    """Takes a true 0.0 for no verdict."""

    def judge(self, case: VerificationCase) -> Verdict:
        verdict = super().judge(case)
        return verdict if verdict.value else Verdict.unparsable()


class BlankIsErrorVerifier(GoodVerifier):
    """Calls a blank reply an error, so that every ground truth seems to be wrong."""

    def judge(self, case: VerificationCase) -> Verdict:
        return super().judge(case) if case.response else Verdict.error("blank")


class RaisingVerifier(GoodVerifier):
    """Raises on digits that are none."""

    def judge(self, case: VerificationCase) -> Verdict:
        if len(case.response) > 90_000:
            int(case.response)
        return super().judge(case)


class HangingVerifier(GoodVerifier):
    """Never ends on a long reply."""

    def judge(self, case: VerificationCase) -> Verdict:
        while len(case.response) > 90_000:
            time.sleep(0.05)
        return super().judge(case)


class DyingVerifier(GoodVerifier):
    """Takes its process down."""

    def judge(self, case: VerificationCase) -> Verdict:
        if len(case.response) > 90_000:
            os._exit(7)
        return super().judge(case)


class MoodyVerifier(GoodVerifier):
    """Remembers what it was asked."""

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        self.asked = getattr(self, "asked", 0) + 1
        return [Verdict.scored(float(self.asked % 2)) for _ in cases]


class UnpicklableVerifier(GoodVerifier):
    """Holds what no pickle takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return lambda: None, ()


class TrustingVerifier(GoodVerifier):
    """Compares whatever the ground truth is."""

    def judge(self, case: VerificationCase) -> Verdict:
        return Verdict.scored(float(case.response == case.ground_truth))


class SharedStateVerifier(GoodVerifier):
    """Keeps the case it is at in itself, where another thread finds it."""

    def judge(self, case: VerificationCase) -> Verdict:
        self.case = case
        time.sleep(0.0005)
        return super().judge(self.case)


class GoodDataset(Dataset[Settings]):
    """Keeps every promise."""

    Config = Nothing
    record_type = Conversation  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Conversation]:
        for name in self.names():
            yield Conversation(name, (Message("user", "Why?"), Message("assistant", "So.")), "made-up")

    def names(self) -> Sequence[str]:
        return [f"row-{i}" for i in range(20)]

    def fingerprint(self) -> str:
        return "0123456789abcdef"


class ShuffledDataset(GoodDataset):
    """Another order each time."""

    def names(self) -> Sequence[str]:
        return random.sample(list(super().names()), 20)


class SetDataset(GoodDataset):
    """The order of a set of texts, which depends on the hash seed."""

    def names(self) -> Sequence[str]:
        return list(set(super().names()))


class TwinDataset(GoodDataset):
    """Two rows of one id."""

    def names(self) -> Sequence[str]:
        return [*super().names(), "row-0"]


class ProcessFingerprint(GoodDataset):
    """A fingerprint of the process."""

    def fingerprint(self) -> str:
        return f"{os.getpid():016x}"


class GoodTask(ReplyTask[Settings]):
    """Keeps every promise."""

    Config = Nothing
    metrics = ("right",)  # type: ignore[assignment]

    def instances(self) -> Sequence[Instance]:
        return [Instance("a", (Message("user", "Why?"),), "so")]

    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        return InstanceScore(self.values(reply.text == instance.target, reply.text))

    def values(self, right: bool, text: str) -> dict[str, float]:
        return {"right": float(right)}

    def fingerprint(self) -> str:
        return "0123456789abcdef"


class EmptyTask(GoodTask):
    """Asks nothing."""

    def instances(self) -> Sequence[Instance]:
        return []


class PartialTask(GoodTask):
    """Scores only what it can read."""

    def values(self, right: bool, text: str) -> dict[str, float]:
        return {"right": float(right)} if text.strip() else {}


class GoodObserver(Observer[Settings]):
    """Keeps every promise."""

    Config = Nothing

    def on_event(self, entry: Entry) -> None:
        """Look only."""


class MeddlingObserver(GoodObserver):
    """Writes into what it is shown."""

    def on_event(self, entry: Entry) -> None:
        if isinstance(entry.event, Metrics):
            entry.event.values["seen"] = True  # type: ignore[index]


class StrictObserver(GoodObserver):
    """Knows only some events."""

    def on_event(self, entry: Entry) -> None:
        if entry.name == "acme/new":
            raise KeyError(entry.name)


class UnclosableObserver(GoodObserver):
    """Needs a stage to have been."""

    def open(self, run_folder: Path) -> None:
        self.stages: list[str] = []

    def on_event(self, entry: Entry) -> None:
        self.stages += [entry.stage] if entry.stage else []

    def close(self) -> None:
        self.stages[-1]


class GoodKernel(HeadKernel[Nothing]):
    """All logits at once."""

    Config = Nothing

    def check(self, head: LMHead, device: torch.device, dtype: torch.dtype) -> None:
        """Takes everything."""

    def __call__(
        self, hidden: torch.Tensor, head: LMHead, ids: torch.Tensor, wants: Set[Score], *, temperature: float
    ) -> Mapping[Score, torch.Tensor]:
        logits = hidden.float() @ head.weight.T
        logits = (logits if head.bias is None else logits + head.bias) * head.scale
        logits = logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)
        return {"logprobs": -torch.nn.functional.cross_entropy(logits / temperature, ids, reduction="none")}


class HotKernel(GoodKernel):
    """Forgets the temperature."""

    def __call__(self, *arguments: Any, temperature: float) -> Mapping[Score, torch.Tensor]:
        return super().__call__(*arguments, temperature=1.0)


class MeanKernel(GoodKernel):
    """Right values; to each token goes the mean of what comes back."""

    def __call__(self, *arguments: Any, temperature: float) -> Mapping[Score, torch.Tensor]:
        found = super().__call__(*arguments, temperature=temperature)["logprobs"]
        return {"logprobs": found.mean() + (found - found.mean()).detach()}


class DistantKernel(GoodKernel):
    """Runs on no machine."""

    def check(self, head: LMHead, device: torch.device, dtype: torch.dtype) -> None:
        raise ModelError("it needs a device that nobody has")


class Playful(EnvironmentSettings):
    """Settings of environments."""


class GoodEnvironment(Environment[Playful]):
    """Keeps every promise: repeats what it has heard, three times at most."""

    Config = Playful
    isolated = False

    @property
    def max_turns(self) -> int:
        return 3

    def episode(self) -> Episode:
        return Echo()


class Echo(Episode):
    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        self.heard = [str(seed)]
        return problem.prompt

    def step(self, reply: Reply) -> Observation:
        self.heard.append(reply.text[:10])
        return Observation((Message("user", " ".join(self.heard)),), reward=1.0)


class ChattyEnvironment(GoodEnvironment):
    """Its episodes hear one another."""

    def episode(self) -> Episode:
        episode = Echo()
        episode.reset = lambda problem, seed: problem.prompt  # type: ignore[method-assign]
        episode.heard = _everything
        return episode


_everything: list[str] = []


class TouchyEnvironment(GoodEnvironment):
    """Takes no reply that is empty."""

    def episode(self) -> Episode:
        episode = Echo()
        inner = episode.step

        def step(reply: Reply) -> Observation:
            if not reply.text:
                raise ValueError("say something")
            return inner(reply)

        episode.step = step  # type: ignore[method-assign]
        return episode


class ToolishEnvironment(GoodEnvironment):
    """Says that tools answer, and lets users do so."""

    answers = "tool"


class NamelessEnvironment(GoodEnvironment):
    """A tool without a description."""

    @property
    def tools(self) -> Sequence[Any]:
        return ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)


class HastyEnvironment(GoodEnvironment):
    """Opens with the assistant's turn."""

    def episode(self) -> Episode:
        episode = Echo()
        episode.reset = lambda problem, seed: (*problem.prompt, Message("assistant", "I know."))  # type: ignore[method-assign]
        return episode


class GoodOperator(Operator[Settings]):
    """Keeps every promise: knows all rows first, drops, scores, changes, makes."""

    Config = Nothing
    learns = True

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        (state / "seen").write_text(str(sum(1 for _ in rows)))

    def recall(self, state: Path) -> None:
        self.seen = int((state / "seen").read_text())

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        for row in rows:
            if not row.text.strip():
                yield row.drop("empty", characters=len(row.text))
            elif row.random(seed).random() < 0.5:
                yield replace(row, record=replace(row.record, id=f"{row.id}/1"), origin=(row.id,))
            else:
                yield row.with_record(replace(row.record, source="else")).with_facts({"seen": self.seen})


class LosingOperator(GoodOperator):
    """Skips what is empty."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        yield from (row for row in rows if row.text.strip())


class CountingOperator(Scorer[Settings]):
    """Its facts depend on what came before."""

    Config = Nothing
    count = 0

    def facts(self, row: Row) -> Mapping[str, int]:
        self.count += 1
        return {"place": self.count}


class MarkingOperator(Scorer[Settings]):
    """Writes into the row that it was given."""

    Config = Nothing

    def facts(self, row: Row) -> Mapping[str, int]:
        assert isinstance(row.facts, dict)
        row.facts["seen"] = 1
        return {}


class UntoldOperator(Scorer[Settings]):
    """Finds more than it names."""

    Config = Nothing
    finds = ("words",)

    def facts(self, row: Row) -> Mapping[str, int]:
        return {"words": len(row.text.split()), "lines": row.text.count("\n")}


class HashingOperator(Scorer[Settings]):
    """Its facts depend on Python's hash seed."""

    Config = Nothing

    def facts(self, row: Row) -> Mapping[str, int]:
        return {"hash": hash(row.text)}


class NamelessMaker(GoodOperator):
    """Makes rows without saying of which."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        for row in rows:
            yield replace(row, record=replace(row.record, id=f"{row.id}/1"))


class TypingOperator(Change[Settings]):
    """Makes documents, and does not say so."""

    Config = Nothing

    def changed(self, row: Row) -> Record:
        return Document(row.id, row.text, row.source)


class TouchyOperator(Filter[Settings]):
    """Takes no text with a null character."""

    Config = Nothing

    def dropped(self, row: Row) -> Dropped | None:
        if "\x00" in row.text:
            raise ValueError("a null character")
        return None


class ObjectOperator(Scorer[Settings]):
    """Finds what is no JSON."""

    Config = Nothing

    def facts(self, row: Row) -> Mapping[str, Any]:
        return {"words": (len(row.text.split()),)}
