"""What the sides of `online.py` share: the comparison, the questions, the reward, and how a step is timed."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_child import Sample, forget_peak, heard, resident, say


@dataclass(frozen=True)
class Spec:
    """One comparison.

    Attributes:
        model: Hugging Face folder that both sides load, with tokenizer and chat template. Its end-of-sequence token is
            one that it does not draw, so that every reply has `tokens` tokens on both sides.
        questions: file of GSM8K rows.
        prompts: of a step, each with `samples` replies.
        steps: all, the first a warm-up.
        micro: rows of TRL's micro-batch, and of the plain loop's.
        micro_tokens: our packing budget.
    """

    model: str
    questions: str
    prompts: int
    samples: int
    tokens: int
    steps: int
    threads: int
    micro: int
    micro_tokens: int

    @classmethod
    def read(cls, text: str) -> Spec:
        """From the JSON that the parent hands over."""
        return cls(**json.loads(text))

    @property
    def replies(self) -> int:
        """Of a step."""
        return self.prompts * self.samples


def write_questions(data: Path, count: int, path: Path, characters: int | None = None) -> str:
    """The first training rows of GSM8K as a file, their questions cut to so many characters."""
    with gzip.open(data / "gsm8k" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
    cut = [json.dumps({**row, "question": row["question"][:characters]}) for row in rows]
    path.write_text("\n".join(cut) + "\n", encoding="utf-8")
    return str(path)


def questions(path: str) -> list[str]:
    """The texts of the questions, in order."""
    return [json.loads(line)["question"] for line in Path(path).read_text(encoding="utf-8").splitlines()]


def digits(reply: str) -> float:
    """The share of a reply's characters that are digits: a reward that differs from reply to reply."""
    return sum(character.isdigit() for character in reply) / max(1, len(reply))


class Gate:
    """Times steps, each of which waits until the parent says go; the first, a warm-up, does not wait.

    Args:
        before: bytes that the process held when all was imported and nothing loaded.
        parameters: numbers of the model's weights.
    """

    def __init__(self, before: int, parameters: int, steps: int) -> None:
        # 16 bytes a weight for float32 weights, gradients and two moments, which no trainer can do without.
        self.fixed, self.left = before + 16 * parameters, steps
        self._sample = Sample()
        self._sample.__enter__()

    def done(self, **figures: Any) -> None:
        """A step is over: tell the parent, and return when the next one may begin."""
        self._sample.__exit__()
        told = {"wall": self._sample.wall, "cpu": self._sample.cpu, "peak": resident("VmHWM"), "fixed": self.fixed}
        say(**told, **figures)
        self.left -= 1
        if self.left and heard()["do"] == "step":
            forget_peak()
            self._sample.__enter__()
