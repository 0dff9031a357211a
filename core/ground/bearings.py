"""What a program is steered by and a stranger's module may bend on import: taken down, and put back.

Streams, the working folder, signal handlers, built-in functions, hooks of the interpreter, the locale, filters for
every warning, logging's off switch, random states, and torch's defaults. Only what Python can tell cheaply is held; a
stranger who wants to do harm can do it otherwise.
"""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

_HOOKS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE")


class _State(NamedTuple):
    """Something that is read and set as one value; `change` says that it was another, empty where nobody is told."""

    change: str
    read: Callable[[], Any]
    put: Callable[[Any], object]


class Bearings:
    """All of it at one moment; `restore` puts back what differs, and says what that was.

    Args:
        randomness: hold random states too.
    """

    def __init__(self, *, randomness: bool = True) -> None:
        self._builtins = dict(vars(builtins))
        self._descriptors = [_copied(number) for number in range(3)]
        states = [*_states(), *_torch_states(), *(_random_states() if randomness else ())]
        self._before = [(state, state.read()) for state in states]
        self._without_torch = not any(_torch_states())
        self._filters = tuple(map(id, warnings.filters))
        self._silenced = logging.root.manager.disable
        self._depth = sys.getrecursionlimit()
        self._collecting = gc.isenabled()
        self._threads = set(threading.enumerate())

    def restore(self) -> list[str]:
        """Put everything back.

        Returns:
            what was changed, in the past tense: `replaced sys.stdout`. Random states come back unsaid.
        """
        parts = (self._restore_interpreter, self._restore_states, self._restore_streams, self._restore_libraries)
        return list(dict.fromkeys(change for restore in parts for change in restore()))

    def _restore_interpreter(self) -> Iterator[str]:
        now = vars(builtins)
        changed = sorted(name for name, value in self._builtins.items() if now.get(name, self) is not value)
        now.update({name: self._builtins[name] for name in changed if name != "_"})
        yield from (f"replaced the built-in {name!r}" for name in changed if name != "_")
        if sys.getrecursionlimit() < self._depth:
            sys.setrecursionlimit(self._depth)
            yield "lowered the recursion limit"
        if self._collecting and not gc.isenabled():
            gc.enable()
            yield "switched the garbage collector off"

    def _restore_states(self) -> Iterator[str]:
        before = self._before
        if self._without_torch and any(_torch_states()):  # what decides bits is as torch itself sets it
            before = [*before, *zip(_torch_states(), (sys.modules["torch"].float32, True), strict=False)]
        for state, value in before:
            now = state.read()
            if now is not value and not (isinstance(value, str | int) and now == value):
                state.put(value)
                if state.change:
                    yield state.change

    def _restore_streams(self) -> Iterator[str]:
        for number, copy in enumerate(self._descriptors):
            if copy is None:
                continue
            if not _same(number, copy):
                os.dup2(copy, number)
                yield f"closed or replaced the file descriptor {number}"
            os.close(copy)
        for number, name in enumerate(_HOOKS[:3]):
            if getattr(getattr(sys, name), "closed", False) is True:
                fresh = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
                setattr(sys, name, fresh)
                yield f"closed sys.{name}"

    def _restore_libraries(self) -> Iterator[str]:
        broad = [entry for entry in warnings.filters if id(entry) not in self._filters and _is_broad(entry)]
        if broad:
            warnings.filters[:] = [entry for entry in warnings.filters if entry not in broad]  # type: ignore[index]
            getattr(warnings, "_filters_mutated", lambda: None)()
            yield f"set a filter for every warning ({broad[0][0]!r})"
        if logging.root.manager.disable > self._silenced:
            logging.disable(self._silenced)
            yield "switched logging off"
        for thread in threading.enumerate():
            if thread not in self._threads and not thread.daemon:
                yield f"started the thread {str(thread.name)!r}, which keeps the program from ending"


def _states() -> Iterator[_State]:
    for owner, name in (*((sys, name) for name in _HOOKS), (threading, "excepthook")):
        hook = partial(getattr, owner, name, None)
        yield _State(f"replaced {owner.__name__}.{name}", hook, partial(setattr, owner, name))
    yield _State("set a trace or profile function", sys.gettrace, sys.settrace)
    yield _State("set a trace or profile function", sys.getprofile, sys.setprofile)
    if _folder() is not None:
        yield _State("changed the working folder", _folder, _go_to)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.Signals[name] for name in _SIGNALS):
            if signal.getsignal(number) is not None:
                handler = partial(signal.getsignal, number)
                yield _State(f"replaced the handler of {number.name}", handler, partial(signal.signal, number))
    set_locale = partial(locale.setlocale, locale.LC_ALL)
    yield _State("changed the locale", set_locale, set_locale)


def _torch_states() -> Iterator[_State]:
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "is_grad_enabled"):
        yield _State("changed torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
        yield _State("switched torch's gradients", torch.is_grad_enabled, torch.set_grad_enabled)
        yield _State("changed torch's number of threads", torch.get_num_threads, torch.set_num_threads)


def _random_states() -> Iterator[_State]:
    yield _State("", random.getstate, random.setstate)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "random"):
        yield _State("", numpy.random.get_state, numpy.random.set_state)
    if torch is not None and hasattr(torch, "get_rng_state"):
        yield _State("", torch.get_rng_state, torch.set_rng_state)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _go_to(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _copied(number: int) -> int | None:
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return None


def _same(number: int, copy: int) -> bool:
    try:
        return os.path.sameopenfile(number, copy)
    except OSError:
        return False


def _is_broad(entry: Any) -> bool:
    _, message, category, module, line = entry
    return message is None and module is None and line == 0 and category in (Warning, Exception, BaseException)
