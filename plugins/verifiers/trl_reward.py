"""A reward function of TRL's form, as it is: `(prompts, completions, completion_ids, **columns)` gives a reward each.

It is called once with all replies that are to be judged, in a process of its own, as TRL calls it once a step: a
function may compare its rows, or ask a judge about all at once. Where a call raises, or returns the wrong count, its
replies are given to it one by one, so that only those which do so are errors.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aftertrain.core.errors import RunError, unknown
from aftertrain.core.ground.module_file import module_file
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.run.sources import read_source
from aftertrain.core.settings import Builder
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers.function_process import FunctionProcess, Lost
from aftertrain.plugins.verifiers.function_worker import GIVEN
from aftertrain.plugins.verifiers.settings import TRLRewardSettings
from aftertrain.plugins.verifiers.string import not_json

RELIES_ON = ("aftertrain.plugins.verifiers.function_worker",)
LOSSES = 3
"""Processes lost over single replies, one after the other, from which on there is no use in starting more."""


class TRLReward(Verifier[TRLRewardSettings]):
    """Ground truth: the columns of its row, as a mapping, or what is handed to it as the column that `column` names."""

    Config = TRLRewardSettings
    isolated: ClassVar[bool] = False
    every_problem: ClassVar[bool] = True

    def __init__(self, settings: TRLRewardSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._source, _, self._name = settings.function.rpartition(":")
        self._process: FunctionProcess | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings, self.builder)

    @property
    def wants_turns(self) -> bool:
        """For the prompt as messages, and the completion's ids."""
        return True

    @property
    def own_scale(self) -> bool:
        """With `scale: raw`."""
        return self.settings.scale == "raw"

    @property
    def timeout(self) -> float:
        """Seconds of a call."""
        return self.settings.timeout

    def content(self) -> str:
        """Of the function's file, or of its module's where Python finds it."""
        file = self._file()
        what = f"{Path(self._source).name}:{self._name}"
        digest = "" if file is None else read_source(file, file.stem).documented
        return hashlib.sha256(f"{what}\0{digest}".encode()).hexdigest()

    def preflight(self) -> None:
        """Load the function.

        Raises:
            RunError: it is not there, raises, or asks for what no row has.
        """
        if self._source.endswith(".py") and not Path(self._source).is_file():
            raise RunError(f"there is no file {self._source}")
        with self._lock:
            process = self._started()
        if process.parameters.get("trainer_state"):
            raise RunError(
                f"the reward function {self._name} must have TRL's 'trainer_state', which there is none of here; give "
                "the parameter a default"
            )

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case: a reward, abstained where the function returns None, or why there is none."""
        unfit = {place: wrong for place, case in enumerate(cases) if (wrong := self._unfit(case)) is not None}
        fit = [case for place, case in enumerate(cases) if place not in unfit]
        judged = iter(self._judged(fit) if fit else [])
        return [unfit[place] if place in unfit else next(judged) for place in range(len(cases))]

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """Columns that the function must have and a case's ground truth has not."""
        with self._lock:
            process = self._started()
        reasons: list[str | None] = []
        for case in cases:
            wrong = not_json(case.ground_truth)
            missing = [
                name
                for name, needed in process.parameters.items()
                if needed and name not in (*GIVEN, *self._columns(case))
            ]
            if wrong is None and missing:
                said = unknown("column", missing[0], self._columns(case))
                reasons.append(f"{self._name} needs it: {said} Set column: {missing[0]}, or give a mapping of columns")
            else:
                reasons.append(None if wrong is None else wrong.detail)
        return reasons

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process = None

    def _judged(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        with self._lock:
            whole = self._called(cases)
            if isinstance(whole, list) or len(cases) == 1 or whole.outcome == "timeout":
                return whole if isinstance(whole, list) else [whole] * len(cases)
            verdicts: list[Verdict] = []
            lost = 0
            for case in cases:
                single = whole if lost >= LOSSES else self._called([case])
                lost = lost + (self._process is None) if not isinstance(single, list) else 0
                verdicts += single if isinstance(single, list) else [single]
            return verdicts

    def _called(self, cases: Sequence[VerificationCase]) -> list[Verdict] | Verdict:
        """The verdicts of one call, or the one that all its cases share because it failed."""
        try:
            answer = self._started().call(self._arguments(cases), self.settings.timeout)
        except TimeoutError as error:
            self._process = None
            return Verdict.timeout(f"{self._name}: {error}")
        except Lost as error:
            self._process = None
            return Verdict.error(f"{self._name}: {error}")
        if "failed" in answer:
            return Verdict.error(f"{self._name} raised {answer['failed']}")
        return [self._verdict(reward) for reward in answer["rewards"]]

    def _verdict(self, reward: float | list[str] | None) -> Verdict:
        if reward is None:
            return Verdict.abstained(f"{self._name} returned None")
        if isinstance(reward, list):
            return Verdict.error(f"{self._name}: {reward[0]}")
        if self.settings.scale == "raw":
            return Verdict.rewarded(reward, detail=f"{self._name}: {reward:g}")
        if not 0.0 <= reward <= 1.0:
            return Verdict.error(f"{self._name}: it returned {reward:g}, outside [0, 1]; set scale: raw")
        return Verdict.scored(reward, detail=f"{self._name}: {reward:g}")

    def _unfit(self, case: VerificationCase) -> Verdict | None:
        """Why the function cannot be called with this case."""
        if (wrong := not_json(case.ground_truth)) is not None:
            return wrong
        with self._lock:
            needs_ids = self._started().parameters.get("completion_ids", False)
        if needs_ids and case.response and not case.token_ids:
            return Verdict.error(f"{self._name} reads token ids, and this reply's are not known")
        return None

    def _columns(self, case: VerificationCase) -> dict[str, Any]:
        truth = case.ground_truth
        columns = {str(key): value for key, value in truth.items()} if isinstance(truth, Mapping) else {}
        return {"source": case.source, **(columns or {self.settings.column: truth})}

    def _arguments(self, cases: Sequence[VerificationCase]) -> dict[str, Any]:
        """The call's keyword arguments: lists of one entry a case."""
        rows = [self._columns(case) for case in cases]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names if name not in GIVEN}
        texts = self.settings.form == "text"
        return {
            **columns,
            "prompts": [case.prompt if texts else _messages(case) for case in cases],
            "completions": [
                case.response if texts else [{"role": "assistant", "content": case.response}] for case in cases
            ],
            "completion_ids": [list(case.token_ids) for case in cases],
        }

    def _started(self) -> FunctionProcess:
        if self._process is None:
            self._process = FunctionProcess(self._source, self._name, self.settings.arguments)
        return self._process

    def _file(self) -> Path | None:
        return Path(self._source) if self._source.endswith(".py") else module_file(self._source)


def _messages(case: VerificationCase) -> list[dict[str, str]]:
    """The prompt as TRL has it."""
    if not case.turns:
        return [{"role": "user", "content": case.prompt}]
    return [{"role": turn.role, "content": turn.content} for turn in case.turns]
