"""One program and its unittest class, run in a sandbox by `harness.py`."""

from __future__ import annotations

import json
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.sandbox.limits import Result
from aftertrain.core.sandbox.sandbox import Sandbox

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
RELIES_ON = ("aftertrain.plugins.code.harness",)


def run(sandbox: Sandbox, code: str, tests: str) -> InstanceScore:
    """Whether the class `TestCases` of `tests` passes in one module with `code`."""
    token = secrets.token_hex(16)
    script = f"{_harness()}main({code!r}, {tests!r})\n"
    result = sandbox.run(script, token + "\n", lambda output: _report(output, token).get("failed") == {})
    return _score(result, _report(result.stdout, token))


@cache
def _harness() -> str:
    """Its source, which is the script; numerical libraries use one thread."""
    source = Path(__file__).with_name("harness.py").read_text(encoding="utf-8")
    return source + "".join(f"os.environ[{name!r}] = '1'\n" for name in ONE_THREAD)


def _report(output: str, token: str) -> dict[str, Any]:
    """The harness's line, or nothing."""
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("token") == token else {}


def _score(result: Result, report: dict[str, Any]) -> InstanceScore:
    """Passed, failed (out of time and memory, too), or not judged where the sandbox itself broke."""
    if result.outcome == "error":
        return InstanceScore({"passed": 0.0}, outcome="error", detail=result.detail)
    if not report:
        return InstanceScore({"passed": 0.0}, detail=result.detail or "the program ended before its tests did")
    failed = report["failed"]
    if not failed and report["ran"]:
        return InstanceScore({"passed": 1.0}, detail=f"{report['ran']} tests pass")
    name, why = next(iter(failed.items()), ("all", "no test ran"))
    return InstanceScore({"passed": 0.0}, detail=f"{len(failed)} of {report['ran']} tests fail; {name}: {why}")
