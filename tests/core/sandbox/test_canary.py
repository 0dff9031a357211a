"""A keeper that judges a known program wrongly is replaced, and what it judged is judged again."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftertrain.core.sandbox import canary, keeper
from aftertrain.core.sandbox.booth import Booth
from aftertrain.core.sandbox.level import LEVELS, why_not
from aftertrain.core.sandbox.limits import Limits, UnitTests
from aftertrain.core.sandbox.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("prlimit"), reason="needs the program prlimit")]
RIGHT = "import os\ndef square(x):\n    os.close(os.open(os.devnull, os.O_RDONLY))\n    return x * x"
WRONG = "def square(x): return x + x"
SQUARE = UnitTests(("assert square(3) == 9",))


@pytest.fixture(params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    with Sandbox(Limits(seconds=10), use=request.param, workers=1) as opened:
        yield opened


def keepers(sandbox: Sandbox, role: str = "programs") -> list[int]:
    """The processes of a worker: the outermost first, the keeper last."""
    (booth,) = sandbox._idle
    return below(booth._workers[role].pid)  # type: ignore[index]


def below(pid: int) -> list[int]:
    """A process, its child, and so on."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int((folder / "stat").read_text().rpartition(")")[2].split()[1])] = int(folder.name)
    chain = [pid]
    while child := parents.get(chain[-1]):
        chain.append(child)
    return chain


def alter(pid: int, limit: str, value: int) -> None:
    """Set a limit of a process, as its own user: another's are not even root's to set in most containers."""
    text = Path(f"/proc/{pid}/status").read_text()
    user, group = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) for name in ("Uid", "Gid"))
    ours = {} if user == os.getuid() else {"user": user, "group": group, "extra_groups": []}
    subprocess.run(["prlimit", f"--pid={pid}", f"--{limit}={value}:{value}"], check=True, **ours)  # type: ignore[call-overload]


POISONS = [("programs", "nofile", 4), ("tests", "as", 2**20), ("programs", "nproc", 0), ("tests", "fsize", 0)]


def test_right_programs_score_one_after_a_keeper_was_altered(sandbox: Sandbox) -> None:
    assert sandbox.test(RIGHT, SQUARE)[0].outcome == "passed"
    for role, limit, value in POISONS:
        for pid in keepers(sandbox, role):
            alter(pid, limit, value)
        for _ in range(2):
            assert sandbox.test(RIGHT, SQUARE)[0].outcome == "passed", limit
            assert sandbox.test(WRONG, SQUARE)[0].outcome == "failed", limit
    assert sandbox.run("print(input())", "9", lambda output: output == "9\n").stdout == "9\n"


def test_a_change_during_a_program_replaces_the_keeper_and_names_it(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.run("")
    before = keepers(sandbox)

    def alter_all() -> None:
        while len(below(before[0])) <= len(before):
            time.sleep(0.01)
        alter(before[-1], "nofile", 100)

    thread = threading.Thread(target=alter_all)
    thread.start()
    result = sandbox.run("import time; time.sleep(1); print(3)")
    thread.join()
    assert result.stdout == "3\n"
    (record,) = caplog.records
    assert "limit NOFILE (was (256, 256), is (100, 100))" in record.getMessage()
    assert "import time; time.sleep(1); print(3)" in record.getMessage()
    sandbox.run("")
    assert not set(keepers(sandbox)) & set(before)


@pytest.mark.parametrize(
    ("sound", "judged", "outcome", "told"),
    [
        ([True], 1, "failed", ""),
        ([False, True, True], 2, "failed", "judging again, alone"),
        ([False, True, False], 2, "failed", "breaks the processes that keep programs, each time"),
        ([False, False], 1, "error", "judging again, alone"),
    ],
)
def test_how_often_a_program_is_judged(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sound: list[bool],
    judged: int,
    outcome: str,
    told: str,
) -> None:
    """`sound` is what the canary says, time after time."""
    answers, count = iter(sound), 0
    examine = Booth.examine

    def counted(booth: Booth, program: bytes, tests: bytes, number: int, seconds: float) -> object:
        nonlocal count
        count += 1
        return examine(booth, program, tests, number, seconds)

    monkeypatch.setattr(Booth, "examine", counted)
    monkeypatch.setattr(canary, "tests_are_judged_right", lambda booth: next(answers))
    with Sandbox(Limits(seconds=10), workers=1) as sandbox, caplog.at_level(logging.WARNING):
        assert sandbox.test(WRONG, SQUARE)[0].outcome == outcome
    assert count == judged
    assert next(answers, None) is None
    assert told in caplog.text


def test_a_right_program_costs_no_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "tests_are_judged_right", lambda booth: pytest.fail("judged"))
    with Sandbox(Limits(seconds=10), workers=1) as sandbox:
        assert sandbox.test(RIGHT, SQUARE)[0].outcome == "passed"


def test_a_script_whose_output_is_not_wanted_costs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Booth] = []
    monkeypatch.setattr(canary, "script_is_judged_right", lambda booth: calls.append(booth) or True)
    with Sandbox(Limits(seconds=10), workers=1) as sandbox:
        sandbox.run("print(1)", accept=lambda output: output == "1\n")
        assert not calls
        sandbox.run("print(1)", accept=lambda output: output == "2\n")
    assert len(calls) == 1


def test_a_change_of_state_has_a_name() -> None:
    before = keeper.state(None)
    assert keeper.changes(before, keeper.state(None)) == ""
    mask = os.umask(0o123)
    try:
        assert keeper.changes(before, keeper.state(None)) == f"umask (was {mask}, is {0o123})"
    finally:
        os.umask(mask)
