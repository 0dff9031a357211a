"""Accuracy on problems that are not trained on, now and then in online learning, and the weights that were best."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.errors import CheckpointError
from aftertrain.core.generator import Generator, Sampling
from aftertrain.core.learning.rollouts import write_samples
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.statistics import mean_interval
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged, verdicts_on
from aftertrain.plugins.online.rollout import Stand, roll_out
from aftertrain.plugins.online.validation_settings import ValidationSettings

DRAFT = ".writing-"
WITHHOLD = 0.05
"""Share of replies without a verdict above which there is no accuracy."""


class Validation:
    """Held-out problems and the best policy so far.

    Args:
        sampling: of the stage; its temperature is the validation's own.
        threshold: the value from which a verdict counts as verified; None for 1.
        folder: of the stage; best weights lie in `best/step-00010`, replies in `validation/step-00010.jsonl`.

    Attributes:
        best: step and accuracy of the best measurement, which a checkpoint must hold; None before the first.
    """

    def __init__(
        self,
        settings: ValidationSettings,
        prompts: Sequence[Prompt],
        *,
        stand: Stand,
        sampling: Sampling,
        threshold: float | None,
        folder: Path,
        seed: int,
        timeout: float,
    ) -> None:
        self.settings, self._prompts, self._threshold = settings, prompts[: settings.rows], threshold
        self._sampling = sampling.model_copy(update={"temperature": settings.temperature})
        self._stand = stand
        self._folder, self._seed, self._timeout = folder, sub_seed(seed, "validation"), timeout
        self.best: tuple[int, float] | None = None
        self._committed: int | None = None

    def measure(self, generator: Generator[Any], verifiers: Mapping[str, Verifier[Any]], step: int) -> dict[str, float]:
        """Figures of the policy as the generator has it, by names that begin with `validation_`.

        The replies are drawn by the same seeds each time. The accuracy is over those that have a verdict, its interval
        Wilson's (95 %); of several replies to a problem that of the problems' means. Others are counted in
        `unjudged_rate`; with them stand `accuracy_lowest` and `accuracy_highest`, as if all of them were wrong, or
        right. Of more than `WITHHOLD` of them there is no accuracy, so that no weights are best by what nobody judged.
        """
        rollouts = roll_out(
            generator,
            self._stand,
            self._prompts,
            self._sampling,
            self.settings.samples,
            seed=self._seed,
            step=0,
            timeout=self._timeout,
        )
        judged = [
            Judged(rollout, verdicts, 0.0, 0.0, threshold=self._threshold)
            for rollout, verdicts in zip(rollouts, verdicts_on(rollouts, verifiers), strict=True)
        ]
        write_samples(self._folder / "validation" / f"step-{step:05d}.jsonl", [reply.sample() for reply in judged])
        n, unjudged = len(judged), sum(reply.unjudged for reply in judged)
        failed = sum(any(v.outcome in ("error", "timeout") for _, v in reply.verdicts) for reply in judged)
        figures = {
            **_accuracy(judged, self.settings.samples, unjudged),
            "problems": float(len(self._prompts)),
            "response_length": sum(reply.rollout.sampled for reply in judged) / n,
            "finished_rate": sum(reply.rollout.ended for reply in judged) / n,
            "failed_rate": failed / n,
            "unjudged_rate": unjudged / n,
        }
        return {f"validation_{name}": value for name, value in figures.items()}

    def rank(self, step: int, accuracy: float | None, save: Callable[[Path], None]) -> dict[str, float]:
        """Keep the weights of that step if it is the best so far; tells which step is. Without an accuracy it is not.

        Those that the last checkpoint counts on stay beside, for a resume may need them.

        Args:
            save: writes the policy's state into a folder.
        """
        if accuracy is not None and (self.best is None or accuracy > self.best[1]):
            self.best = step, accuracy
            if self.settings.keep == "best":
                self._keep(step, save)
        if self.best is None:
            return {}
        return {"validation_best_step": float(self.best[0]), "validation_best_accuracy": self.best[1]}

    def best_weights(self, last: int) -> Path | None:
        """Folder of the state that the stage should leave; None for that of its last step.

        Raises:
            CheckpointError: it is gone.
        """
        if self.settings.keep == "last" or self.best is None or self.best[0] == last:
            return None
        folder = self._place(self.best[0])
        if not folder.is_dir():
            raise CheckpointError(
                f"{folder}: the weights of the best step are gone; start the stage anew with --restart, or leave its "
                "last weights with validation.keep: last"
            )
        return folder

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, as plain data; the checkpoint counts on these weights from now on."""
        self._committed = None if self.best is None else self.best[0]
        return {"best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: it is no such state.
        """
        try:
            best = state["best"]
            self.best = None if best is None else (int(best[0]), float(best[1]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"the checkpoint does not say which step was best: {error}") from error
        self._committed = None if self.best is None else self.best[0]

    def clear(self) -> None:
        """Remove the best weights, once the stage has left its model."""
        shutil.rmtree(self._folder / "best", ignore_errors=True)

    def _keep(self, step: int, save: Callable[[Path], None]) -> None:
        final = self._place(step)
        draft = final.with_name(f"{DRAFT}{final.name}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save(draft)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        kept = {final, self._place(self._committed)} if self._committed is not None else {final}
        for other in {*final.parent.iterdir()} - kept:
            shutil.rmtree(other, ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self._folder / "best" / f"step-{step:05d}"


def _accuracy(judged: Sequence[Judged], samples: int, unjudged: int) -> dict[str, float]:
    """The share of replies that are verified, problem by problem, and between what it lies where some have no verdict.

    The interval is Wilson's where each problem has one reply.
    """
    figures, n = {}, len(judged)
    if unjudged:
        right = sum(reply.verified for reply in judged)
        figures = {"accuracy_lowest": right / n, "accuracy_highest": (right + unjudged) / n}
    if unjudged > WITHHOLD * n:
        return figures
    problems = [judged[i : i + samples] for i in range(0, n, samples)]
    known = [[reply.verified for reply in problem if not reply.unjudged] for problem in problems]
    interval = mean_interval([sum(right) / len(right) for right in known if right])
    return {"accuracy": interval.mean, "accuracy_low": interval.low, "accuracy_high": interval.high, **figures}
