"""Our side of `online.py`: the stage `online` as a recipe has it, held between its steps until the parent says go."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from online_child import Gate, Spec, digits
from train_child import resident

from aftertrain.core.book import Book
from aftertrain.core.events import Event, Metrics
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.packed.model import skeleton
from aftertrain.core.records import Artifact, Verdict, VerificationCase
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.settings import Settings
from aftertrain.core.stage import StageContext
from aftertrain.core.verifier import Verifier
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver


class Digits(Verifier[Settings]):
    """The reward of both sides; judged in processes of its own, as any verifier is."""

    Config = Settings

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """The share of digits."""
        return [Verdict.scored(digits(case.response)) for case in cases]


def settings(spec: Spec) -> dict[str, Any]:
    """GRPO as TRL has it by default: no KL penalty, one update, clipped at 0.2, gradients clipped at 1."""
    reward = f"{Path(__file__).resolve()}:Digits"
    return {
        "use": "online",
        "data": {"use": "jsonl", "path": spec.questions, "format": "gsm8k", "as": "problem"},
        "rewards": [{"use": reward}],
        "checks": {"gsm8k": reward},
        "loss": {"use": "grpo"},
        "advantages": "group",
        "kl": {"beta": 0.0},
        "reward": {"positive": 1.0, "negative": 0.0, "missing_eos": None},
        "sampling": {"max_new_tokens": spec.tokens, "temperature": 1.0},
        "batch": {
            "prompts": spec.prompts,
            "samples_per_prompt": spec.samples,
            "updates": 1,
            "micro_tokens": spec.micro_tokens,
        },
        "steps": spec.steps,
        "optimizer": {"lr": 1e-6, "max_grad_norm": 1.0, "schedule": "constant"},
        "engine": {"use": "torch", "device": "cpu"},
        "checkpoint_every": 10**6,
    }


class Steps:
    """Hears of each step's figures by its events, and of its end by being asked whether to stop."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._figures: dict[str, Any] = {}

    def emit(self, event: Event, step: int | None = None, /) -> None:
        """Keep the step's metrics."""
        if isinstance(event, Metrics):
            self._figures = {"metrics": dict(event.values), "timing": dict(event.timing)}

    def stopping(self) -> bool:
        """Asked at the end of each step."""
        self._gate.done(reply_tokens=int(self._figures["metrics"]["response_tokens"]), **self._figures)
        return False


def main() -> None:
    spec = Spec.read(sys.argv[1])
    use_determinism(spec.threads)
    registry = installed(frozenset())
    resolver, builder = SettingsResolver(registry), ComponentBuilder(registry)
    stage = builder.build(resolver.resolve("stage", settings(spec)))
    parameters = sum(weight.numel() for weight in skeleton(read_config(spec.model), "lm").parameters())
    # Loading is in the first step, which is a warm-up.
    steps = Steps(Gate(resident(), parameters, spec.steps))
    with tempfile.TemporaryDirectory() as folder:
        stage.run(
            StageContext(
                name="rlvr",
                folder=Path(folder),
                seed=0,
                inputs={"model": Artifact("model", spec.model, "base", "digest")},
                builder=builder,
                checkpoints=Checkpoints(Path(folder) / "checkpoints"),
                emit=steps.emit,
                stopping=steps.stopping,
                book=Book(),
            )
        )


if __name__ == "__main__":
    main()
