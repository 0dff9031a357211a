"""No program alters a process other than its own, and one that could would cost its neighbours nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from aftertrain.core.sandbox.level import LEVELS, why_not
from aftertrain.core.sandbox.limits import MEGA, Limits, UnitTests
from aftertrain.core.sandbox.sandbox import Sandbox
from tests.hostile.keepers import ATTACKS, script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="there is no filter here"
    ),
]
RIGHT = "def square(x): return x * x"
SQUARE = UnitTests(("assert square(3) == 9",))


@pytest.mark.parametrize("name", LEVELS)
def test_no_program_alters_its_keeper(name: str) -> None:
    """Each attack in a program of its own; afterwards the same keeper judges a right program right."""
    if reason := why_not(name):  # type: ignore[arg-type]
        pytest.skip(reason)
    with Sandbox(Limits(10, 256 * MEGA, 12), use=name, workers=1) as sandbox:  # type: ignore[arg-type]
        assert sandbox.test(RIGHT, SQUARE)[0].outcome == "passed"
        keepers = workers(sandbox)
        found = {}
        for attack in ATTACKS:
            result = sandbox.run(script([attack], "os.getppid()"))
            right = sandbox.test(RIGHT, SQUARE)[0]
            if (result.stdout, right.outcome, workers(sandbox)) != ("[]\n", "passed", keepers):
                found[attack] = (result, right)
        assert found == {}


def workers(sandbox: Sandbox) -> list[int]:
    """Process ids of what a sandbox has started and holds idle."""
    return sorted(worker.pid for booth in sandbox._idle for worker in booth._workers.values())


OWNER = """
import os, sys
from aftertrain.core.sandbox.limits import MEGA, Limits, UnitTests
from aftertrain.core.sandbox.sandbox import Sandbox
from tests.hostile.keepers import ATTACKS, script
from tests.hostile.test_keepers import RIGHT, SQUARE
before = [open(f"/proc/self/{name}").read() for name in ("limits", "oom_score_adj")], os.sched_getaffinity(0)
with Sandbox(Limits(20, 256 * MEGA, 12), use="rlimits", workers=1) as sandbox:
    for target in ("os.getppid()", str(os.getpid())):
        print(sandbox.run(script(list(ATTACKS), target)))
        print(sandbox.test(RIGHT, SQUARE)[0].outcome)
after = [open(f"/proc/self/{name}").read() for name in ("limits", "oom_score_adj")], os.sched_getaffinity(0)
print(before == after)
"""


def test_no_program_alters_aftertrain_itself_where_it_is_of_the_same_user() -> None:
    """Level `rlimits` without root: keeper, aftertrain and program are one user, so that only the filter and Landlock
    stand between them.
    """
    result = as_another_user(OWNER)
    lines = result.stdout.splitlines()
    assert len(lines) == 5, result
    for report, right in (lines[0:2], lines[2:4]):
        assert "stdout='[]\\n'" in report, report
        assert right == "passed"
    assert lines[4] == "True"


def as_another_user(source: str) -> subprocess.CompletedProcess[str]:
    """Run Python, not as root."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *(path for path in sys.path if path and not path.startswith(sys.base_prefix))]
    user = 65534 if os.getuid() == 0 else None
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            result = subprocess.run(
                [python, "-c", source],
                check=False,
                capture_output=True,
                text=True,
                timeout=100,
                env={"PYTHONPATH": os.pathsep.join(paths)},
                user=user,
            )
        except (PermissionError, FileNotFoundError):
            continue
        if not ("Permission denied: '/root" in result.stderr or "ModuleNotFoundError" in result.stderr):
            return result
    pytest.skip("another user cannot read this Python")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls of i386 are made by x86-64")
def test_calls_of_i386_end_the_process() -> None:
    """`int 0x80` with the number of getpid of i386."""
    source = """
import ctypes, mmap, os
code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
code.write(bytes.fromhex("b814000000cd80c3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
child = os.fork()
if child == 0:
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    os._exit(0)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""
    with Sandbox(Limits(10, 256 * MEGA, 12), workers=1) as sandbox:
        assert sandbox.run(source).stdout == "31\n"


def test_there_are_enough() -> None:
    assert len(ATTACKS) >= 60
