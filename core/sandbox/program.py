"""Runs a program as a script, the way `python program.py` would."""

from __future__ import annotations

import atexit
import builtins
import os
import random
import sys
import threading
import traceback
import types
from _sitebuiltins import Quitter
from typing import NoReturn

NAME = "<program>"


def give_exits() -> None:
    """Put `exit` and `quit` among the builtins, as `site` does, which nothing has imported here."""
    for name in ("exit", "quit"):
        setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))


def run(program: int, stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Execute the source in `program` with these standard streams, and end with its status."""
    source = read_all(program).decode("utf-8", "surrogatepass")
    for standard, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = [NAME]
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    random.seed(0)
    give_exits()
    status = 1
    try:
        status = _execute(source, main)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (whatever a program does at its end, it ends here)
        status = status or 1
    finally:
        os._exit(status)


def _execute(source: str, main: types.ModuleType) -> int:
    try:
        exec(compile(source, NAME, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        sys.stderr.flush()
        return 1
    except BaseException as error:  # noqa: BLE001 (as the interpreter does)
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        sys.stdout.flush()
        traceback.print_exception(type(error), error, trace)
        sys.stderr.flush()
        return 1
    return 0


def read_all(descriptor: int) -> bytes:
    """The file's content from its start."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb") as file:
        return file.read()
