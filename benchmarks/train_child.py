"""What both sides of `train.py` share: the sample of one step, memory of the process, and the lines to the parent."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "@@ "
"""Opens a line for the parent; everything else on stdout is chatter of libraries."""


@dataclass(frozen=True)
class Spec:
    """One comparison.

    Attributes:
        case: `sft-padding`, `sft-packing`, `sft-padding_free`, `dpo-live`, `dpo-cached`, `reward`.
        model: Hugging Face folder that both sides load, tokenizer included.
        data: folder of the shared data (`gsm8k`, `preferences`).
        rows: rows of a step. With TRL's packing, bins of `max_length` tokens.
        micro: rows of TRL's micro-batch.
        steps: steps, the first a warm-up.
        max_length: tokens of the longest sample, and of TRL's packed bins.
        micro_tokens: our packing budget.
        mode: what ours keeps for the backward pass: `lean` (as it does by itself), `none` (as transformers does),
            `selective` or `full` (the settings of `activation_checkpointing`).
    """

    case: str
    model: str
    data: str
    rows: int
    micro: int
    steps: int
    threads: int
    max_length: int
    micro_tokens: int
    mode: str = "lean"

    @property
    def kind(self) -> str:
        """`sft`, `dpo` or `reward`."""
        return self.case.split("-")[0]

    @classmethod
    def read(cls, text: str) -> Spec:
        """From the JSON that the parent hands over."""
        return cls(**json.loads(text))


class Sample:
    """Wall and CPU seconds (all threads) of a `with` block."""

    def __enter__(self) -> Sample:
        self._wall, self._cpu = time.perf_counter(), _cpu()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, _cpu() - self._cpu


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def available() -> int:
    """Bytes of memory that programs may still take."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    assert found is not None
    return int(found.group(1)) * 1024


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process in memory now, or at its peak since `forget_peak` (`VmHWM`)."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found.group(1)) * 1024


def forget_peak() -> None:
    """Make `VmHWM` start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def say(**values: Any) -> None:
    """A line to the parent."""
    sys.stdout.write(MARK + json.dumps(values) + "\n")
    sys.stdout.flush()


def heard() -> dict[str, Any]:
    """The parent's next line; ends the process when there is none."""
    line = sys.stdin.readline()
    if not line:
        sys.stdout.flush()
        os._exit(0)
    told: dict[str, Any] = json.loads(line)
    return told


def fixed_bytes(before: int, parameters: int, *, reference: bool) -> int:
    """Memory no trainer can do without: imports, float32 weights, gradients and two moments, and a reference's weights.

    What the peak holds above it is called activation memory; it includes whatever a side wastes.
    """
    return before + (16 + 4 * reference) * parameters


def conversations(data: Path, count: int) -> list[dict[str, Any]]:
    """GSM8K training rows as prompt and completion."""
    with gzip.open(data / "gsm8k" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
    return [
        {
            "prompt": [{"role": "user", "content": row["question"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in rows
    ]


def preferences(data: Path, count: int) -> list[dict[str, Any]]:
    """HH-RLHF pairs: a dialogue as the prompt, two last turns."""
    path = data / "preferences" / "hh_rlhf_harmless_test_first_half.jsonl.gz"
    pairs: list[dict[str, Any]] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            chosen, rejected = (_turns(row[key]) for key in ("chosen", "rejected"))
            if chosen[:-1] != rejected[:-1] or not all(turn["content"] for turn in (*chosen, *rejected)):
                continue
            pairs.append({"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]})
            if len(pairs) == count:
                break
    return pairs


def _turns(text: str) -> list[dict[str, str]]:
    parts = re.split(r"\n\n(Human|Assistant): ", "\n\n" + text.strip() if not text.startswith("\n\n") else text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[role], "content": said.strip()} for role, said in zip(parts[::2], parts[1::2], strict=True)]
