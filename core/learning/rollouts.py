"""A step's rollouts on disk: every reply, and for each of its tokens which weights made it, how likely, why it counts.

Two files in the stage's folder, always kept: `samples/step-00001.jsonl`, a line a reply for people and their tools, and
`rollouts/step-00001.safetensors`, the token columns beside. The second holds the digest of the first and its own, so
that what is read is what was written. Nothing is clipped or rounded: log-probabilities stand as the generator gave
them, -inf among them, in float32 as the stage computes with them. `aftertrain replay` recomputes a step from the two.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.errors import RunError, unknown
from aftertrain.core.events import Sample
from aftertrain.core.events.lines import event_of
from aftertrain.core.ground import reading
from aftertrain.core.ground.cleaning import json_text, json_written
from aftertrain.core.records import JSON

if TYPE_CHECKING:
    from aftertrain.core.batch import PackedBatch

LEARNT = "learnt"
REASONS = (
    LEARNT,
    "prompt",
    "environment",
    "no_signal",
    "cut",
    "unjudged",
    "cancelled",
    "stale",
    "filtered",
    "off_policy",
)
"""Why a token is a target, or is none: it is the prompt's or an environment's words; its group's replies all earned the
same; it is of a reply that was cut, not judged, cancelled, made by weights too old, or filtered out; or a correction
left it out, as the trainer finds it too likely or unlikely to have been sampled."""
SIZE = 16 << 30
"""Bytes of a file that are read."""
CURE = "the step cannot be replayed; take both files of the step away, and others still can"
_NAME = re.compile(r"step-([0-9]{5,})\.safetensors")
_FIXED = {"token_ids": np.int32, "sampled": np.bool_, "reasons": np.uint8, "versions": np.int32, "logprobs": np.float32}
_COLUMN = "column."


@dataclass(frozen=True)
class ReplyTokens:
    """The tokens of one reply: prompt, and all turns after it. `N` is their number, `T` that of the sampled ones.

    Attributes:
        token_ids: int32 `[N]`.
        sampled: bool `[N]`: the policy drew this token; others are the prompt's or an environment's.
        reasons: uint8 `[N]`, places in `REASONS`.
        versions: int32 `[T]`: version of the weights that made each sampled token.
        logprobs: float32 `[T]`: the generator's log-probability (nats) of each, as it came.
        columns: float32 `[T]` by name: the trainer's `old_logprobs`, `reference_logprobs`, `advantages` …; NaN where
            the trainer never scored the reply.
        group: which of the step's problems it answers.
    """

    token_ids: NDArray[Any]
    sampled: NDArray[Any]
    reasons: NDArray[Any]
    versions: NDArray[Any]
    logprobs: NDArray[Any]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    group: int = 0

    @classmethod
    def of_reply(
        cls,
        prompt_ids: Sequence[int],
        token_ids: Sequence[int],
        logprobs: Sequence[float],
        versions: Sequence[int],
        *,
        group: int,
        reason: str = LEARNT,
        columns: Mapping[str, NDArray[Any]] | None = None,
    ) -> ReplyTokens:
        """A prompt and one sampled reply to it.

        Args:
            reason: of all tokens of the reply.
            columns: `[N]` or `[T]`, see `columns_by_reply`.
        """
        turns = [(token_ids, logprobs, versions, ())]
        return cls.of_turns(prompt_ids, turns, group=group, reason=reason, columns=columns)

    @classmethod
    def of_turns(
        cls,
        prompt_ids: Sequence[int],
        turns: Sequence[tuple[Sequence[int], Sequence[float], Sequence[int], Sequence[int]]],
        *,
        group: int,
        reason: str = LEARNT,
        columns: Mapping[str, NDArray[Any]] | None = None,
    ) -> ReplyTokens:
        """A prompt, sampled replies, and what an environment said to each.

        Args:
            turns: ids of a reply, with their log-probabilities and versions, and ids of what follows it.
            reason: of all tokens of the replies.
            columns: `[N]` or `[T]`, see `columns_by_reply`.
        """
        ids, sampled = [*prompt_ids], [False] * len(prompt_ids)
        reasons = [code("prompt")] * len(prompt_ids)
        for reply, _, _, observed in turns:
            ids += [*reply, *observed]
            sampled += [True] * len(reply) + [False] * len(observed)
            reasons += [code(reason)] * len(reply) + [code("environment")] * len(observed)
        mask = np.array(sampled, np.bool_)
        return cls(
            np.array(ids, np.int32),
            mask,
            np.array(reasons, np.uint8),
            np.array([version for _, _, versions, _ in turns for version in versions], np.int32),
            np.array([value for _, logprobs, _, _ in turns for value in logprobs], np.float32),
            {name: column[mask] if len(column) == len(mask) else column for name, column in (columns or {}).items()},
            group,
        )


@dataclass(frozen=True)
class Rollouts:
    """All replies of one step.

    Attributes:
        step: counted from 1.
        samples: what people read of each reply, in the order of their tickets.
        replies: the tokens of each, in the same order.
        facts: of the whole step, JSON data: temperature, seed, the estimator's name …
    """

    step: int
    samples: tuple[Sample, ...]
    replies: tuple[ReplyTokens, ...]
    facts: Mapping[str, JSON] = field(default_factory=dict)

    def find(self, id: str) -> int:
        """Place of a reply.

        Raises:
            RunError: there is none of this id; names the nearest.
        """
        names = [sample.id for sample in self.samples]
        if id not in names:
            raise RunError(f"step {self.step}: {unknown('reply', id, names)}")
        return names.index(id)


class RolloutFile:
    """The files of one step.

    Args:
        folder: the stage's.
        step: counted from 1.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.step = step
        self.samples = folder / "samples" / f"step-{step:05d}.jsonl"
        self.tokens = folder / "rollouts" / f"step-{step:05d}.safetensors"

    def write(self, rollouts: Rollouts) -> None:
        """Write both files, each whole or not at all; the same rollouts are the same bytes.

        Raises:
            RunError: they cannot be written. ValueError: the rollouts are not of this step, or shapes do not agree.
        """
        if rollouts.step != self.step:
            raise ValueError(f"rollouts of step {rollouts.step} are not those of step {self.step}")
        from safetensors.numpy import save

        lines = _lines(rollouts.samples)
        tensors = _flat(rollouts)
        head = {
            "step": rollouts.step,
            "ids": [sample.id for sample in rollouts.samples],
            "lengths": [len(reply.token_ids) for reply in rollouts.replies],
            "groups": [reply.group for reply in rollouts.replies],
            "reasons": list(REASONS),
            "facts": rollouts.facts,
            "samples": hashlib.sha256(lines).hexdigest(),
        }
        head["tensors"] = _digest(head, tensors)
        # One key, for the format does not promise an order of several.
        written = save(tensors, {"rollouts": json_text(head, verbatim=True)})
        _replace(self.samples, lines)
        _replace(self.tokens, written)

    def read(self) -> Rollouts:
        """Both files, checked against their digests.

        Raises:
            RunError: one is missing, damaged, or was changed; says which.
        """
        head, tensors = self._tensors()
        lines = reading.read_bytes(self.samples, limit=SIZE, cure=CURE)
        if hashlib.sha256(lines).hexdigest() != head["samples"]:
            raise RunError(f"{self.samples}: is not what was written with {self.tokens.name}; {CURE}")
        samples = tuple(_sample(line, f"{self.samples}:{n}") for n, line in enumerate(lines.splitlines(), 1))
        n = len(head["ids"])
        if [sample.id for sample in samples] != head["ids"] or not len(head["lengths"]) == len(head["groups"]) == n:
            raise RunError(f"{self.tokens}: its replies are not those of {self.samples.name}; {CURE}")
        return Rollouts(self.step, samples, _parted(head, tensors), head["facts"])

    def read_samples(self) -> tuple[Sample, ...]:
        """What people read of each reply, without its tokens, and not checked against them.

        Raises:
            RunError: the file is missing or damaged.
        """
        lines = reading.read_bytes(self.samples, limit=SIZE, cure=CURE)
        return tuple(_sample(line, f"{self.samples}:{n}") for n, line in enumerate(lines.splitlines(), 1))

    def ids(self) -> list[str]:
        """Ids of the replies, by the head of the tokens' file alone: quick, and not checked against what follows it.

        Raises:
            RunError: the file is missing, or has no such head.
        """
        where = str(self.tokens)
        try:
            with self.tokens.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                content = file.read(min(size, SIZE))
            head = reading.parse_json(reading.decode(content, where), where)["__metadata__"]["rollouts"]
            return reading.typed(reading.parse_json(head, where)["ids"], list[str], where, cure=CURE)
        except OSError as error:
            raise RunError(f"{where}: cannot be read: {error.strerror or error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{where}: is no file of rollouts, or damaged: {error}; {CURE}") from error

    def _tensors(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        content = reading.read_bytes(self.tokens, limit=SIZE, cure=CURE)
        try:
            tensors: dict[str, NDArray[Any]] = load(content)
            size = int.from_bytes(content[:8], "little")
            outer = reading.parse_json(reading.decode(content[8 : 8 + size], str(self.tokens)), str(self.tokens))
            head = reading.parse_json(outer["__metadata__"]["rollouts"], str(self.tokens))
            if head.pop("tensors") != _digest(head, tensors):
                raise RunError(f"{self.tokens}: its checksum differs; {CURE}")
        except (SafetensorError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.tokens}: is no file of rollouts, or damaged: {error}; {CURE}") from error
        return head, tensors


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write replies as JSON lines, whole or not at all.

    Raises:
        RunError: they cannot be written.
    """
    _replace(path, _lines(samples))


def kept_steps(folder: Path) -> list[int]:
    """Steps of which a stage's folder has rollouts, in order."""
    named = (_NAME.fullmatch(path.name) for path in (folder / "rollouts").glob("step-*"))
    return sorted(int(name[1]) for name in named if name)


def code(reason: str) -> int:
    """Place of a reason in `REASONS`.

    Raises:
        ValueError: it is none.
    """
    if reason not in REASONS:
        raise ValueError(unknown("reason", reason, REASONS))
    return REASONS.index(reason)


def columns_by_reply(batches: Iterable[PackedBatch]) -> dict[str, dict[str, NDArray[Any]]]:
    """The token columns of a step's micro-batches, apart by reply: float32 `[N]`, prompt included, by sample id."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for batch in batches:
        ends = [*accumulate(batch.lengths)]
        arrays = {name: column.detach().cpu().float().numpy() for name, column in batch.columns.items()}
        for name, end, length in zip(batch.sample_ids, ends, batch.lengths, strict=True):
            found[name] = {column: values[end - length : end].copy() for column, values in arrays.items()}
    return found


def _lines(samples: Iterable[Sample]) -> bytes:
    return "".join(f"{json_written(sample.facts())}\n" for sample in samples).encode()


def _flat(rollouts: Rollouts) -> dict[str, NDArray[Any]]:
    """All replies' arrays, one after the other."""
    replies = rollouts.replies
    if len(replies) != len(rollouts.samples):
        raise ValueError(f"{len(rollouts.samples)} samples and tokens of {len(replies)} replies")
    for sample, reply in zip(rollouts.samples, replies, strict=True):
        n, drawn = len(reply.token_ids), int(reply.sampled.sum())
        shapes = {"sampled": n, "reasons": n, "versions": drawn, "logprobs": drawn}
        sizes = {name: (getattr(reply, name), size) for name, size in shapes.items()}
        for name, (array, size) in {**sizes, **{name: (c, drawn) for name, c in reply.columns.items()}}.items():
            if array.shape != (size,):
                raise ValueError(f"reply {sample.id!r}: {name} has shape {array.shape}, needs ({size},)")
    tensors = {name: _joined([getattr(reply, name) for reply in replies], kind) for name, kind in _FIXED.items()}
    for name in sorted({name for reply in replies for name in reply.columns}):
        columns = [reply.columns.get(name, np.full(reply.logprobs.shape, np.nan, np.float32)) for reply in replies]
        tensors[_COLUMN + name] = _joined(columns, np.float32)
    return tensors


def _joined(arrays: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *arrays], dtype=kind)


def _parted(head: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> tuple[ReplyTokens, ...]:
    """The flat arrays, apart by reply; reasons as this version counts them."""
    places = np.array([code(reason) for reason in head["reasons"]], np.uint8)
    ends = [*accumulate(head["lengths"], initial=0)]
    drawn = np.concatenate([[0], np.cumsum(tensors["sampled"])])
    columns = {name.removeprefix(_COLUMN): array for name, array in tensors.items() if name.startswith(_COLUMN)}
    replies = []
    for start, end, group in zip(ends, ends[1:], head["groups"], strict=False):
        first, last = int(drawn[start]), int(drawn[end])
        replies.append(
            ReplyTokens(
                tensors["token_ids"][start:end],
                tensors["sampled"][start:end],
                places[tensors["reasons"][start:end]],
                tensors["versions"][first:last],
                tensors["logprobs"][first:last],
                {name: array[first:last] for name, array in columns.items()},
                group,
            )
        )
    return tuple(replies)


def _digest(head: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over what the header says and over each array, by name."""
    found = hashlib.sha256(json_text(head, verbatim=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _sample(line: bytes, where: str) -> Sample:
    facts = reading.typed(reading.parse_json(reading.decode(line, where), where), dict[str, Any], where, cure=CURE)
    sample = event_of(Sample, facts)
    if not isinstance(sample, Sample):
        raise RunError(f"{where}: is no reply; {CURE}")
    return sample


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and on the disk."""
    draft = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise RunError(f"{path}: cannot write rollouts: {error.strerror or error}") from error
