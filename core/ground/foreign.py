"""Code that is not ours: it may neither end the program, nor be taken for the user, nor bend what others rely on.

Whatever a stranger's module, constructor, stage or observer raises is either an exception that its caller handles, or
`EndedProgram`: `sys.exit(0)` in a component would otherwise end a run with status 0 and nothing done. Standard library
only.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aftertrain.core.errors import PluginError
from aftertrain.core.ground.bearings import Bearings

log = logging.getLogger(__name__)
ENDED = 70
"""Exit status in place of a stranger's `os._exit(0)` (EX_SOFTWARE of sysexits.h)."""
PATIENCE_SECONDS = 5.0
"""After so long something still being imported is named."""
_SHOWN = 2000


class EndedProgram(PluginError):
    """A stranger's code raised what would end the program (`SystemExit` and its like)."""


@contextmanager
def foreign(
    what: str,
    *,
    cure: str = "",
    patience: float | None = None,
    randomness: bool = True,
    level: int = logging.WARNING,
) -> Iterator[None]:
    """Run a stranger's code in the block; what it bends is put back and told in a warning.

    Args:
        what: what is run, for people: `plugin 'acme'`.
        cure: ends the message of what is raised and told.
        patience: seconds after which the block is named in a warning, because it may hang.
        randomness: put random states back too.
        level: of the log's line that tells what was bent.

    Raises:
        EndedProgram: it raised something that is no `Exception`, and the user did not ask to stop.
        Exception: what it raised otherwise.
    """
    with ExitStack() as stack:
        asked = stack.enter_context(_user_s_interrupts())
        stack.enter_context(_no_quiet_end(what))
        if patience is not None:
            stack.enter_context(_named_after(patience, what, cure))
        bearings = Bearings(randomness=randomness)
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and asked():
                raise
            raise EndedProgram(
                f"{what} raised {told(error)}, which would have ended the program; components raise errors" + _end(cure)
            ) from error
        finally:
            bent = bearings.restore()
            if bent:
                log.log(level, "%s %s; what can be is put back%s", what, ", ".join(bent), _end(cure))


def told(error: BaseException) -> str:
    """`ValueError: message (file:line)`, whatever the error's own `__str__` does, and of bounded length.

    Of an `EndedProgram` its message, which says all of that.
    """
    message = message_of(error)
    if isinstance(error, EndedProgram):
        return message
    if len(message) > _SHOWN:
        message = f"{message[:_SHOWN]}…"
    return f"{type(error).__name__}: {message or 'no message'}{raised_at(error)}"


def message_of(error: BaseException) -> str:
    """`str(error)`, also of an error that raises when it is asked for it."""
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001  a stranger's __str__ may raise anything
        return f"<its text cannot be had: {type(second).__name__}>"


def raised_at(error: BaseException) -> str:
    """` (file:line)` of the innermost frame that is neither the import machinery's nor ours."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})"
    skipped = (str(Path(importlib.__file__).parent), "<frozen ", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(skipped)]
    own = [f for f in frames if not {"pluggy", "contextlib.py"} & {*Path(f.filename).parts}]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _end(cure: str) -> str:
    return f"; {cure}" if cure else ""


@contextmanager
def _user_s_interrupts() -> Iterator[Callable[[], bool]]:
    """Whether a signal of the user came inside the block: a stranger can raise `KeyboardInterrupt` as well."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: True
        return
    came: list[int] = []
    both = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in both.items() if callable(handler)}

    def note(number: int, frame: Any) -> Any:
        came.append(number)
        return handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _no_quiet_end(what: str) -> Iterator[None]:
    """`os._exit(0)` of this process inside the block ends it with a word and a status that is none of success."""
    end, process = os._exit, os.getpid()

    def loud(status: int) -> Any:
        if os.getpid() == process and status == 0:
            os.write(2, f"error: {what} called os._exit(0); nothing after it was done\n".encode(errors="replace"))
            status = ENDED
        end(status)

    os._exit = loud
    try:
        yield
    finally:
        os._exit = end


@contextmanager
def _named_after(patience: float, what: str, cure: str) -> Iterator[None]:
    message = "%s has been importing for %g seconds; if it hangs, %s"
    timer = threading.Timer(patience, log.warning, (message, what, patience, cure or "stop it with Ctrl-C"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
