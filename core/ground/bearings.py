"""What a program is steered by and a stranger's module may bend on import: taken down, and put back.

Streams, the working folder, signal handlers, built-in functions, hooks of the interpreter, the locale, filters for
every warning, logging's off switch, random states, and torch's defaults. Only what Python can tell cheaply is held; a
stranger who wants to do harm can do it otherwise.
"""

from __future__ import annotations

import builtins
import contextlib
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
from types import ModuleType
from typing import Any

_HOOKS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")


class Bearings:
    """All of it at one moment; `restore` puts back what differs, and says what that was.

    Args:
        randomness: hold random states too.
    """

    def __init__(self, *, randomness: bool = True) -> None:
        self._hooks = {name: getattr(sys, name) for name in _HOOKS}
        self._thread_hook = threading.excepthook
        self._tracing = sys.gettrace(), sys.getprofile()
        self._builtins = dict(vars(builtins))
        self._descriptors = [_copied(number) for number in range(3)]
        self._folder = _folder()
        self._handlers = _handlers()
        self._locale = locale.setlocale(locale.LC_ALL)
        self._filters = tuple(map(id, warnings.filters))
        self._silenced = logging.root.manager.disable
        self._depth = sys.getrecursionlimit()
        self._collecting = gc.isenabled()
        self._threads = set(threading.enumerate())
        self._random = _random_states() if randomness else None
        self._torch = _torch_defaults(sys.modules.get("torch"))

    def restore(self) -> list[str]:
        """Put everything back.

        Returns:
            what was changed, in the past tense: `replaced sys.stdout`. Random states come back unsaid.
        """
        done = [*self._restore_python(), *self._restore_process(), *self._restore_libraries()]
        threads = [t for t in threading.enumerate() if t not in self._threads and not t.daemon]
        done += [f"started the thread {_name(thread)}, which keeps the program from ending" for thread in threads]
        if self._random is not None:
            _set_random_states(self._random)
        return done

    def _restore_python(self) -> Iterator[str]:
        now = vars(builtins)
        changed = sorted(name for name, value in self._builtins.items() if now.get(name, self) is not value)
        now.update({name: self._builtins[name] for name in changed if name != "_"})
        yield from (f"replaced the built-in {name!r}" for name in changed if name != "_")
        for name, value in self._hooks.items():
            if getattr(sys, name, None) is not value:
                setattr(sys, name, value)
                yield f"replaced sys.{name}"
        if threading.excepthook is not self._thread_hook:
            threading.excepthook = self._thread_hook
            yield "replaced threading.excepthook"
        if (sys.gettrace(), sys.getprofile()) != self._tracing:
            sys.settrace(self._tracing[0])
            sys.setprofile(self._tracing[1])
            yield "set a trace or profile function"
        if sys.getrecursionlimit() < self._depth:
            sys.setrecursionlimit(self._depth)
            yield "lowered the recursion limit"
        if self._collecting and not gc.isenabled():
            gc.enable()
            yield "switched the garbage collector off"

    def _restore_process(self) -> Iterator[str]:
        for number, copy in enumerate(self._descriptors):
            if copy is None:
                continue
            if not _same(number, copy):
                os.dup2(copy, number)
                yield f"closed or replaced the file descriptor {number}"
            os.close(copy)
        for name in _HOOKS[:3]:
            stream = getattr(sys, name)
            if getattr(stream, "closed", False) is True:
                number = _HOOKS.index(name)
                fresh = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
                setattr(sys, name, fresh)
                yield f"closed sys.{name}"
        if self._folder is not None and _folder() != self._folder:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
            yield "changed the working folder"
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
                    yield f"replaced the handler of {signal.Signals(number).name}"

    def _restore_libraries(self) -> Iterator[str]:
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
            yield "changed the locale"
        broad = [entry for entry in warnings.filters if id(entry) not in self._filters and _is_broad(entry)]
        if broad:
            warnings.filters[:] = [entry for entry in warnings.filters if entry not in broad]  # type: ignore[index]
            getattr(warnings, "_filters_mutated", lambda: None)()
            yield f"set a filter for every warning ({broad[0][0]!r})"
        if logging.root.manager.disable > self._silenced:
            logging.disable(self._silenced)
            yield "switched logging off"
        torch = sys.modules.get("torch")
        if torch is not None:
            yield from _restore_torch(torch, self._torch)


def _name(thread: threading.Thread) -> str:
    return repr(str(thread.name))


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _handlers() -> dict[int, Any]:
    own = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
    more = (signal.SIGCHLD, signal.SIGPIPE)
    return {number: signal.getsignal(number) for number in (*own, *more)}


def _copied(number: int) -> int | None:
    try:
        copy = os.dup(number)
    except OSError:
        return None
    if copy > 2:
        return copy
    os.close(copy)
    return None


def _same(number: int, copy: int) -> bool:
    try:
        return os.path.sameopenfile(number, copy)
    except OSError:
        return False


def _is_broad(entry: Any) -> bool:
    _, message, category, module, line = entry
    return message is None and module is None and line == 0 and category in (Warning, Exception, BaseException)


def _random_states() -> list[tuple[Callable[[Any], Any], Any]]:
    found: list[tuple[Callable[[Any], Any], Any]] = [(random.setstate, random.getstate())]
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "random"):
        found.append((numpy.random.set_state, numpy.random.get_state()))
    if torch is not None and hasattr(torch, "get_rng_state"):
        found.append((torch.set_rng_state, torch.get_rng_state()))
    return found


def _set_random_states(states: list[tuple[Callable[[Any], Any], Any]]) -> None:
    for put, state in states:
        put(state)


def _torch_defaults(torch: ModuleType | None) -> tuple[Any, bool, int] | None:
    if torch is None or not hasattr(torch, "is_grad_enabled"):
        return None
    return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()


def _restore_torch(torch: ModuleType, before: tuple[Any, bool, int] | None) -> Iterator[str]:
    """What decides bits; where torch was not there before, its own defaults."""
    dtype, grad, threads = before or (torch.float32, True, torch.get_num_threads())
    if torch.get_default_dtype() is not dtype:
        torch.set_default_dtype(dtype)
        yield "changed torch's default dtype"
    if torch.is_grad_enabled() is not grad:
        torch.set_grad_enabled(grad)
        yield "switched torch's gradients"
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
        yield "changed torch's number of threads"
