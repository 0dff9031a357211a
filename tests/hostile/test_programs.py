"""No program gets out, stays, starves the machine or scores without being right, at any level that this machine has."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.sandbox import landlock
from aftertrain.core.sandbox.level import LEVELS, why_not
from aftertrain.core.sandbox.limits import MEGA, Limits
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.plugins.code.code import Code
from aftertrain.plugins.code.settings import CodeSettings
from tests.hostile.programs import ASSERTS, PROGRAMS, SQUARE, Program

SECONDS = 1.0
SLACK = 1.0
RIGHT = VerificationCase("right", "", "def square(x): return x * x", SQUARE)


class Room:
    """A sandbox of one level with the verifier on it, and what programs are sent to find."""

    def __init__(self, level: str, folder: Path) -> None:
        self.level, self.folder = level, folder
        self.sandbox = Sandbox(
            Limits(SECONDS, 256 * MEGA, 12, 8 * MEGA, MEGA),
            use=level,  # type: ignore[arg-type]
            workers=1,
        )
        self.verifier = Code(CodeSettings(timeout=SECONDS, extract="all"), cast(Any, None))
        self.verifier._sandbox = self.sandbox
        (folder / "secret").write_text("secret")
        folder.chmod(0o777)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(self.server.getsockname())
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "socket"))
        self.unix.listen()
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0aftertrain-test-{os.getpid()}")
        self.abstract.listen()

    def judge(self, program: Program) -> Verdict:
        told = {
            "PORT": self.server.getsockname()[1],
            "FOLDER": self.folder,
            "OWNER": os.getpid(),
            "ABSTRACT": os.getpid(),
        }
        source = program.source
        if len(source) < 10_000:
            source = re.sub(
                "|".join(f"(?<![A-Z]){name}(?![A-Z])" for name in told), lambda m: str(told[m[0]]), program.source
            )
        (verdict,) = self.verifier.verify([VerificationCase("hostile", "", source, program.truth)])
        return verdict

    def close(self) -> None:
        self.verifier.close()
        for opened in (self.server, self.datagrams, self.unix, self.abstract):
            opened.close()


@pytest.fixture(scope="module", params=LEVELS)
def room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    reason = why_not(request.param)
    if reason:
        pytest.skip(f"level {request.param} cannot be had: {reason}")
    os.environ["AFTERTRAIN_SECRET"] = "secret"
    made = Room(request.param, tmp_path_factory.mktemp("owner"))
    yield made
    made.close()
    del os.environ["AFTERTRAIN_SECRET"]


def descendants(root: int) -> set[int]:
    """Processes below `root`, by /proc."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: set[int] = set()
    level = {root}
    while level := {pid for pid, parent in parents.items() if parent in level} - found:
        found |= level
    return found


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_program(room: Room, program: Program) -> None:
    if room.level == "rlimits" and (program.mounts or (program.walls and not landlock.version())):
        pytest.skip("rlimits do not promise it here")
    (before,) = room.verifier.verify([RIGHT])
    quiet = len(descendants(os.getpid()))
    start = time.monotonic()
    verdict = room.judge(program)
    taken = time.monotonic() - start
    outcome = verdict.outcome if verdict.outcome != "scored" else {1.0: "pass", 0.0: "fail"}.get(verdict.value or 0.0)
    assert outcome in program.expect, verdict
    assert taken < 2 * SECONDS + SLACK
    while len(living := descendants(os.getpid())) > quiet and time.monotonic() < start + taken + SLACK:
        time.sleep(0.01)
    assert len(living) <= quiet, "something lives on"
    (after,) = room.verifier.verify([RIGHT])
    assert before.value == after.value == 1.0, (before, after)


@pytest.mark.slow
def test_each_assert_counts_for_itself(room: Room) -> None:
    """One of two asserts hangs or crashes: the other still counts."""
    rate = Code(CodeSettings(timeout=SECONDS, score="pass_rate", extract="all"), cast(Any, None))
    rate._sandbox = room.sandbox
    for evil in ("while True: pass", "import os; os._exit(0)", "import ctypes; ctypes.string_at(0)"):
        source = f"def square(x):\n    if x > 0:\n        {evil}\n    return x * x"
        (verdict,) = rate.verify([VerificationCase("half", "", source, ASSERTS)])
        assert verdict.value == 0.5, verdict


def test_there_are_enough() -> None:
    assert len(PROGRAMS) >= 80
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
