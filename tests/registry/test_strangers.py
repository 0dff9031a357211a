"""A stranger's code may neither end the program nor bend it: on import, while registering, in settings and making."""

from __future__ import annotations

import builtins
import locale
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.errors import PluginError, RecipeError
from aftertrain.core.ground.foreign import EndedProgram, foreign, told
from aftertrain.registry.discovery import discover
from aftertrain.registry.load import load_local
from aftertrain.registry.recipe import loads
from tests.registry.conftest import Install, registering

ENDINGS = {
    "import sys; sys.exit(0)": "SystemExit: 0",
    "raise SystemExit": "SystemExit: no message",
    "exit('bye')": "SystemExit: bye",
    "raise KeyboardInterrupt": "KeyboardInterrupt: no message",
    "raise GeneratorExit": "GeneratorExit: no message",
    "class Own(BaseException): pass\nraise Own('own')": "Own: own",
    "import asyncio; raise asyncio.CancelledError": "CancelledError: no message",
    "class Mute(BaseException):\n    def __str__(self): raise SystemExit(0)\nraise Mute": "Mute: <its text cannot",
}
FAILURES = {
    "class Mute(Exception):\n    def __str__(self): raise SystemExit(0)\nraise Mute": "Mute: <its text cannot",
    "class Odd(Exception):\n    def __str__(self): return 3\nraise Odd": "Odd: <its text cannot be had: TypeError>",
    "raise ValueError('x' * 10**6)": "ValueError: xxx",
    "raise RecursionError": "RecursionError: no message",
    "raise MemoryError": "MemoryError: no message",
    "def f(): f()\nf()": "RecursionError: maximum recursion",
}


@pytest.mark.parametrize(("source", "message"), (ENDINGS | FAILURES).items())
def test_whatever_a_plugin_raises_is_its_note(install: Install, source: str, message: str) -> None:
    (plugin,) = discover([install(registering(("loss", "acme/margin"), before=source))]).plugins
    assert plugin.state == "broken"
    assert message in plugin.note
    assert len(plugin.note) < 3000
    assert "acme/__init__.py:" in plugin.note


@pytest.mark.parametrize(("source", "message"), ENDINGS.items())
def test_whatever_a_registering_function_raises_is_a_note(install: Install, source: str, message: str) -> None:
    body = registering(("loss", "acme/margin")) + "".join(f"    {line}\n" for line in source.split("\n"))
    (plugin,) = discover([install(body)]).plugins
    assert plugin.state == "broken"
    assert message in plugin.note


@pytest.mark.parametrize(("source", "message"), (ENDINGS | FAILURES).items())
def test_whatever_a_local_file_raises_is_a_plugin_error(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(PluginError) as caught:
        load_local("loss", "./mine.py:Mine", tmp_path)
    assert f"{tmp_path / 'mine.py'}" in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 3000


CLASS = """
from typing import Any
from pydantic import Field, field_validator
from aftertrain.core.loss import Loss
from aftertrain.core.settings import Settings

class Mute(BaseException):
    def __str__(self): raise SystemExit(0)

class MineSettings(Settings):
    k: int = Field(1, description="K.")
    {validator}

class Mine(Loss[MineSettings]):
    Config = MineSettings
    {body}
    def __call__(self, batch, scores): ...
"""
RECIPE = """name: r
model: m
stages:
  a:
    use: train
    data: {use: jsonl, path: x, format: messages}
    loss: {use: './mine.py:Mine', k: 2}
    batch: {sequences: 1, max_tokens: 8}
    optimizer: {lr: 1.0}
    epochs: 1
"""


@pytest.mark.parametrize(
    "raised", ["SystemExit(0)", "KeyboardInterrupt", "Mute", "TypeError('odd')", "OSError(5, 'e')"]
)
def test_settings_that_raise_are_told_at_their_place(tmp_path: Path, raised: str) -> None:
    validator = f"@field_validator('k')\n    def check(cls, value): raise {raised}"
    (tmp_path / "mine.py").write_text(CLASS.format(validator=validator, body=""))
    with pytest.raises(RecipeError) as caught:
        loads(RECIPE, source="r.yaml", folder=tmp_path)
    (issue,) = caught.value.issues
    assert issue.where.startswith("r.yaml:7:")
    assert raised.partition("(")[0] in issue.message
    assert f"{tmp_path / 'mine.py'}:" in issue.message


@pytest.mark.parametrize("raised", ["SystemExit(0)", "KeyboardInterrupt", "Mute", "TypeError('odd')"])
def test_a_constructor_that_raises_is_a_plugin_error(tmp_path: Path, raised: str) -> None:
    body = f"def __init__(self, settings, builder): raise {raised}"
    (tmp_path / "mine.py").write_text(CLASS.format(validator="", body=body))
    loaded = loads(RECIPE, source="r.yaml", folder=tmp_path)
    with pytest.raises(PluginError, match=rf"loss './mine.py:Mine' .*{raised.partition('(')[0]}.*mine.py:\d+"):
        loaded.builder.build(loaded.recipe.stages["a"].settings.loss)


def _closed_stdout() -> None:
    os.close(1)


def _thread() -> None:
    threading.Thread(target=time.sleep, args=(0.2,), name="forever").start()


def _torch() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(torch.get_num_threads() + 1)


BENT: dict[str, Callable[[], Any]] = {
    "replaced sys.stdout": lambda: setattr(sys, "stdout", None),
    "replaced sys.stderr": lambda: setattr(sys, "stderr", object()),
    "replaced sys.excepthook": lambda: setattr(sys, "excepthook", print),
    "replaced threading.excepthook": lambda: setattr(threading, "excepthook", print),
    "replaced the built-in 'open'": lambda: setattr(builtins, "open", None),
    "replaced the built-in 'ValueError'": lambda: setattr(builtins, "ValueError", KeyError),
    "replaced the built-in 'len'": lambda: delattr(builtins, "len"),
    "closed or replaced the file descriptor 1": _closed_stdout,
    "closed or replaced the file descriptor 2": lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2),
    "changed the working folder": lambda: os.chdir("/"),
    "replaced the handler of SIGINT": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "replaced the handler of SIGTERM": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "replaced the handler of SIGCHLD": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "set a filter for every warning ('ignore')": lambda: warnings.simplefilter("ignore"),
    "switched logging off": lambda: logging.disable(logging.CRITICAL),
    "changed the locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    "lowered the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() - 1),
    "switched the garbage collector off": lambda: __import__("gc").disable(),
    "set a trace or profile function": lambda: sys.setprofile(lambda *given: None),
    "started the thread 'forever', which keeps the program from ending": _thread,
    "changed torch's default dtype": _torch,
    "switched torch's gradients": _torch,
    "changed torch's number of threads": _torch,
}


@pytest.fixture
def _in_c_locale() -> Iterator[None]:
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize("change", BENT)
@pytest.mark.usefixtures("_in_c_locale")
def test_what_a_stranger_bends_is_put_back_and_told(change: str, caplog: pytest.LogCaptureFixture) -> None:
    def seen() -> list[Any]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
        files = [os.fstat(number).st_ino for number in range(3)]
        state = [os.getcwd(), dict(vars(builtins)), sys.stdout, sys.stderr, sys.excepthook, threading.excepthook]
        more = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), list(warnings.filters)]
        last = [
            sys.getrecursionlimit(),
            logging.root.manager.disable,
            locale.setlocale(locale.LC_ALL),
            sys.getprofile(),
        ]
        return [handlers, files, state, more, last]

    before = seen()
    with foreign("plugin 'acme'"):
        BENT[change]()
    after = seen()
    assert after == before
    (said,) = [record.getMessage() for record in caplog.records if record.name == "aftertrain.core.ground.foreign"]
    assert said.startswith("plugin 'acme' ")
    assert change in said


def test_random_states_are_as_before() -> None:
    random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), torch.rand(1)
    random.seed(1)
    torch.manual_seed(1)
    with foreign("plugin 'acme'"):
        random.seed(7)
        torch.manual_seed(7)
    assert (random.random(), torch.rand(1)) == expected


def test_the_user_s_own_interrupt_is_no_stranger_s() -> None:
    with pytest.raises(KeyboardInterrupt), foreign("plugin 'acme'"):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(EndedProgram, match=r"plugin 'acme' raised KeyboardInterrupt"), foreign("plugin 'acme'"):
        raise KeyboardInterrupt


def test_what_is_sound_bends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with foreign("plugin 'acme'"):
        builtins.something_new = 1  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", message="something of mine")
    del builtins.something_new  # type: ignore[attr-defined]
    assert not caplog.records


def test_an_error_s_words_are_bounded_and_name_the_place() -> None:
    with pytest.raises(ValueError, match="xxx") as caught:
        raise ValueError("x" * 10_000)
    assert told(caught.value).endswith(f"… ({__file__}:{caught.tb.tb_lineno})")
    assert len(told(caught.value)) < 3000
