"""Runs the unittest class of one question of BigCodeBench on a program, in a sandbox: its source is the script there.

Program and tests share a fresh module, as in BigCodeBench's own harness, since tests patch names of the program. What
came of them is one line with a token that standard input held.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import time
import types
import unittest
from typing import Any

MODULE = "__test__"


def judge(code: str, tests: str) -> dict[str, Any]:
    """How many tests ran, and the last line of what each that failed says, by its name."""
    module = types.ModuleType(MODULE)
    known = {"__builtins__": builtins, "__file__": f"{MODULE}.py", "__package__": None, "__doc__": None}
    module.__dict__.update({**known, "sys": sys, "os": os, "environ": os.environ})
    try:
        exec(compile(code + "\n" + tests, f"{MODULE}.py", "exec"), module.__dict__)
        sys.modules[MODULE] = module
        result = unittest.TestResult()
        unittest.TestLoader().loadTestsFromTestCase(module.TestCases).run(result)
    except BaseException as error:  # noqa: BLE001 (whatever a program does, it has not passed)
        return {"ran": 0, "failed": {"all": f"{type(error).__name__}: {error}"[:300]}}
    failed = [*result.failures, *result.errors]
    told = {test.id().rpartition(".")[2]: (trace.strip().splitlines() or [""])[-1][:300] for test, trace in failed}
    return {"ran": result.testsRun, "failed": told}


def main(code: str, tests: str) -> None:
    """Judge, report, end; prints of the program go nowhere."""
    token = sys.stdin.readline().strip()
    report, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.environ["TZ"] = "UTC"
    time.tzset()
    builtins.exit = builtins.quit = None  # type: ignore[assignment]
    found = {"token": token, **judge(code, tests)}
    with open(report, "w", encoding="utf-8", errors="replace") as file:
        file.write(json.dumps(found) + "\n")
    os._exit(0)
