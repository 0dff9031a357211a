"""What ends a run, as its user should see it, and as its record has it."""

from __future__ import annotations

import traceback
from pathlib import Path

from aftertrain.core.errors import AftertrainError, Interrupted, RankLost, RunError
from aftertrain.core.events import RunFailed
from aftertrain.core.events.diary import EventLog
from aftertrain.core.ground.foreign import EndedProgram, message_of, told
from aftertrain.core.ground.memory import memory_refusal
from aftertrain.core.learning.processes import Processes
from aftertrain.core.ranks import Ranks
from aftertrain.core.run.disk import disk_refusal
from aftertrain.core.run.launched import Line


def understood(error: BaseException, stage: str, folder: Path, ranks: Ranks, line: Line) -> BaseException:
    """The error as a user should see it; a defect stays what it is.

    Args:
        stage: name of the one that was at work; empty between stages.
        folder: the run's.
        line: to the launcher, which knows how a lost rank ended.
    """
    at = f"stage {stage!r}" if stage else "the run"
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(f"{at} was stopped at once; it goes on from its last checkpoint")
    if not isinstance(error, Exception):
        return EndedProgram(f"{at} raised {told(error)}, which would have ended the program")
    if isinstance(error, RankLost):
        lost = line.wait() or (ranks.presence.lost() if isinstance(ranks, Processes) else "")
        return RankLost(f"{at}: {lost}") if lost else error
    if (refused := disk_refusal(error)) is not None:
        return RunError(f"{at}: cannot write into {folder}: {refused}; what was done before is kept")
    if (full := memory_refusal(error)) is not None:
        return RunError(
            f"{at}: out of memory: {full[:300]}. Lower batch.micro_tokens (or max_tokens), set "
            "engine.activation_checkpointing: true or engine.lora, or share the model out with the engine "
            "deepspeed; for generation lower the generator's batch. What was done before is kept"
        )
    return error


def write_failure(log: EventLog, error: BaseException, stage: str = "") -> None:
    """Write `run_failed`; the error itself is about to be raised, so a full disk here must not hide it."""
    failed = RunFailed(
        # A defect's message alone may say nothing.
        message_of(error) or type(error).__name__,
        type(error).__name__,
        stage,
        interrupted=isinstance(error, Interrupted),
        traceback="" if isinstance(error, AftertrainError) else "".join(traceback.format_exception(error)),
    )
    try:
        log.emit(failed)
    except (RunError, OSError) as second:
        error.add_note(f"and it could not be written down: {second}")
