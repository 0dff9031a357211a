"""Programs whose verdicts are known: judged between others, they show whether a sandbox's processes still judge right.

A program that passes shows it by itself: all that it needed was there. So the canary is judged after one that did not,
before that is believed.
"""

from __future__ import annotations

from aftertrain.core.sandbox import plan
from aftertrain.core.sandbox.booth import Booth
from aftertrain.core.sandbox.limits import UnitTests
from aftertrain.core.sandbox.worker import SandboxError

SECONDS = 10.0
"""What a canary may take, generous for a busy machine."""
_BODY = """
import os
def canary(x):
    opened = [os.open(os.devnull, os.O_RDWR) for _ in range(8)] + list(os.pipe())
    for descriptor in opened:
        os.close(descriptor)
    return x * x if len(bytearray(2**20)) == 2**20 else None
"""
_MODULE = _BODY.encode()
_SCRIPT = (_BODY + "print(canary(int(input())))\n").encode()
_TESTS = UnitTests(("assert canary(-7) == 49", "assert canary(-7) == 50"))


def script_is_judged_right(booth: Booth) -> bool:
    """Run one as a script."""
    try:
        raw = booth.run(_SCRIPT, b"-7\n", 4096, SECONDS)
    except SandboxError:
        return False
    return raw.status == 0 and raw.outputs[0] == b"49\n" and not raw.changed


def tests_are_judged_right(booth: Booth) -> bool:
    """Test one as a module: of two tests, the first holds and the second does not."""
    try:
        job = plan.job(_TESTS, 0, SECONDS, stop=False)
        exam = booth.examine(_MODULE, job, len(_TESTS), SECONDS)
    except SandboxError:
        return False
    passed = [line["passed"] for line in exam.lines]
    return exam.complete and passed == [True, True, False] and not exam.changed
