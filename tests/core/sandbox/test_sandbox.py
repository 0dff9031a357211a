"""The sandbox from its owner's side. What hostile programs do is in tests/hostile."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aftertrain.core.sandbox import level as level_module
from aftertrain.core.sandbox import walls
from aftertrain.core.sandbox import worker as worker_module
from aftertrain.core.sandbox.level import Level, level
from aftertrain.core.sandbox.limits import MEGA, Limits, UnitTests
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.core.sandbox.worker import LevelName, SandboxError, Worker

ADD = "print(sum(map(int, input().split())))"
SQUARE = UnitTests(("assert f(3) == 9",))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=5), workers=2) as made:
        yield made


def children() -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def test_a_script_gets_its_input_and_gives_its_output(sandbox: Sandbox) -> None:
    result = sandbox.run(ADD, "1 2\n")
    assert (result.outcome, result.stdout, result.stderr) == ("ok", "3\n", "")


@pytest.mark.parametrize(
    ("program", "outcome", "detail"),
    [
        ("import sys; sys.exit(3)", "failed", "ended with status 3"),
        ("import sys; sys.exit('no')", "failed", "no"),
        ("raise ValueError('no')", "failed", "ValueError: no"),
        ("import os; os.kill(os.getpid(), 9)", "failed", "ended by SIGKILL"),
        ("x = [0] * 10**10", "memory", "MemoryError"),
        ("import atexit; atexit.register(print, 'bye')", "ok", ""),
    ],
)
def test_how_a_script_ends_is_told(sandbox: Sandbox, program: str, outcome: str, detail: str) -> None:
    result = sandbox.run(program)
    assert (result.outcome, result.detail) == (outcome, detail)


def test_a_script_runs_as_main_with_a_clean_interpreter(sandbox: Sandbox) -> None:
    program = "import sys, os\nif __name__ == '__main__': print(sys.argv, sorted(os.environ), os.listdir('.'))"
    assert sandbox.run(program).stdout == "['<program>'] ['HOME', 'LANG', 'PATH', 'TMPDIR'] []\n"


def test_the_same_program_does_the_same_each_time() -> None:
    """Hashes of texts and `random` do not change from run to run, from process to process."""
    program = "import random; print({'a', 'b', 'c', 'd', 'e'}, random.random())"
    outputs = set()
    for _ in range(2):
        with Sandbox(Limits(seconds=5), workers=1) as made:
            outputs |= {made.run(program).stdout for _ in range(2)}
    assert len(outputs) == 1


def test_many_at_once_come_back_in_order(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(sandbox.workers) as pool:
        results = list(pool.map(lambda n: sandbox.run(ADD, f"{n} 1"), range(8)))
    assert [result.stdout for result in results] == [f"{n + 1}\n" for n in range(8)]


def test_threads_share_it(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert [found.stdout for found in pool.map(lambda n: sandbox.run(ADD, f"{n} 0"), range(12))] == [
            f"{n}\n" for n in range(12)
        ]


def test_the_thread_that_started_it_may_end() -> None:
    """A signal on the end of a parent comes when its *thread* ends; the sandbox's process must live on."""
    with Sandbox(Limits(seconds=5), workers=1) as made:
        thread = threading.Thread(target=made.run, args=(ADD, "1 1"))
        thread.start()
        thread.join()
        before = children()
        assert made.run(ADD, "1 2").stdout == "3\n"
        assert children() == before


def test_out_of_pickle_it_works(sandbox: Sandbox) -> None:
    with pickle.loads(pickle.dumps(sandbox)) as copy:
        assert copy.limits == sandbox.limits
        assert copy.run(ADD, "2 2").stdout == "4\n"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="forking a process with threads warns")
def test_after_a_fork_it_starts_its_own_processes(sandbox: Sandbox) -> None:
    sandbox.run(ADD, "1 1")
    child = os.fork()
    if child == 0:
        os._exit(0 if sandbox.run(ADD, "1 2").stdout == "3\n" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sandbox.run(ADD, "1 3").stdout == "4\n"


def test_a_killed_process_is_replaced_at_the_cost_of_one_case_at_most() -> None:
    """What it started ends a moment later by itself, and may still answer until then."""
    before = children()
    with Sandbox(Limits(seconds=5), workers=1) as made:
        made.run(ADD, "1 1")
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
            while pid in children() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
        found = [(result.outcome, result.stdout) for result in (made.run(ADD, "1 2") for _ in range(4))]
    assert found.count(("ok", "3\n")) >= 3
    assert {outcome for outcome, _ in found} <= {"ok", "error"}
    assert found[-1] == ("ok", "3\n")


OWNER = """
import sys, threading
from aftertrain.core.sandbox.limits import Limits
from aftertrain.core.sandbox.sandbox import Sandbox
made = Sandbox(Limits(seconds=60), use=sys.argv[1], workers=2)
made.run("")
print("ready", flush=True)
loop = "import os, time\\nif os.fork() == 0:\\n    os.setsid()\\nwhile True: time.sleep(0.01)"
threading.Thread(target=made.run, args=(loop,)).start()
made.run(loop)
"""


def group(session_of: set[int]) -> set[int]:
    """Processes below any of those."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = folder.joinpath("stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(folder.name)] = int(fields[1])
    found, now = set(), session_of
    while now := {pid for pid, parent in parents.items() if parent in now} - found:
        found |= now
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("name", level_module.LEVELS)
def test_nothing_outlives_an_owner_that_is_killed(name: str) -> None:
    if reason := level_module.why_not(name):
        pytest.skip(reason)
    owner = subprocess.Popen([sys.executable, "-c", OWNER, name], stdout=subprocess.PIPE, start_new_session=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"ready\n"
    deadline = time.monotonic() + 20
    while len(group({owner.pid})) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    inside = group({owner.pid})
    assert len(inside) >= 6
    os.killpg(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 1.5
    while (left := [pid for pid in inside if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_isolation_that_is_required_and_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    poor = Level("rlimits", (("bubblewrap", "not installed"), ("namespaces", "forbidden")))
    monkeypatch.setitem(level_module.chosen_level, "level", poor)
    with pytest.raises(SandboxError, match=r"not bubblewrap: not installed; not namespaces: forbidden.*apt install"):
        Sandbox(require="isolated")


def test_without_isolation_it_says_so_aloud(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("aftertrain.core.sandbox.sandbox._warned", threading.Event())
    for _ in range(2):
        Sandbox(use="rlimits").close()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "WITHOUT isolation" in record.getMessage()


def test_the_level_is_found_once_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_module, "chosen_level", {})
    monkeypatch.setattr(level_module, "why_not", lambda name: None if name == "namespaces" else f"no {name}")
    assert level() == Level("namespaces", (("bubblewrap", "no bubblewrap"),))
    monkeypatch.setattr(level_module, "why_not", lambda name: pytest.fail("tried again"))
    assert level().isolated


@pytest.mark.parametrize("name", ["HOME", "TMPDIR", "LANG", "OWNERS_OWN"])
def test_the_owners_environment_is_a_hole_only_where_a_program_has_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {name: "/owner", **os.environ})
    assert "the environment" not in level_module.holes_of("rlimits")
    given = level_module.environment
    monkeypatch.setattr(level_module, "environment", lambda folder: {k: "" for k in given(folder) if k != "LANG"})
    monkeypatch.setitem(os.environ, "LANG", "C")
    assert "the environment" in level_module.holes_of("rlimits")


def test_a_level_with_a_hole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_module, "holes_of", lambda name: ["network"])
    assert level_module.why_not("namespaces") == "a program got through to network"


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"memory_bytes": MEGA}, {"processes": 0}, {"seconds": float("inf")}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Limits(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("program", "tests", "outcomes"),
    [
        ("def f(x): return x * x", SQUARE, ["passed"]),
        ("def f(x): return x + x", SQUARE, ["failed"]),
        ("def g(x): return x * x", SQUARE, ["failed"]),
        ("def f(x):\n    while True: pass", SQUARE, ["timeout"]),
        # The state of the program lives on from test to test, as in one process.
        (
            "n = 0\ndef f():\n    global n\n    n += 1\n    return n",
            UnitTests(("assert f() == 1", "assert f() == 2")),
            ["passed"] * 2,
        ),
        # Calls that are sent ahead are not mixed up when one test ends before its last call.
        ("def f(x): return x", UnitTests(("assert f(1) == 2 == f(2)", "assert f(3) == 3")), ["failed", "passed"]),
        ("def f(x): return x", UnitTests(("assert f(1) + f(2) == 4", "assert f(2) == 2")), ["failed", "passed"]),
        # Arguments are changed in place.
        ("def f(x): x.sort()", UnitTests(("a = [2, 1]\nf(a)\nassert a == [1, 2]",)), ["passed"]),
        # A Counter is a dict, a named tuple a tuple; a generator, a class and a function stay with the program.
        (
            "import collections\ndef f(x): return collections.Counter(x)",
            UnitTests(("assert f('aa') == {'a': 2}",)),
            ["passed"],
        ),
        ("def f(x): yield from range(x)", UnitTests(("assert list(f(3)) == [0, 1, 2]",)), ["passed"]),
        ("def f(x): return map(str, range(x))", UnitTests(("assert ''.join(f(3)) == '012'",)), ["passed"]),
        (
            "class Node:\n    def __init__(self, v): self.v, self.next = v, None\ndef f(n): return n.next.v",
            UnitTests(("assert f(a) == 2",), ("a = Node(1)\na.next = Node(2)",)),
            ["passed"],
        ),
        ("def f(x):\n    def g(y): return x + y\n    return g", UnitTests(("assert f(1)(2) == 3",)), ["passed"]),
        (
            "def f(x): raise ValueError(x)",
            UnitTests(("try:\n    f(1)\nexcept ValueError as e:\n    assert str(e) == '1'\nelse:\n    assert False",)),
            ["passed"],
        ),
        # Names: a function called like a builtin, a module of the tests, a helper of the program.
        ("def sum(a, b): return a - b", UnitTests(("assert sum(3, 1) == 2",)), ["passed"]),
        ("def f(x): return x / 3", UnitTests(("assert math.isclose(f(1), 0.333333333333)",)), ["passed"]),
        ("def set(x): return 0\ndef f(x): return x", UnitTests(("assert set(f([1])) == set([2])",)), ["failed"]),
        ("def f(x): return x\ndef helper(x): return x + 1", UnitTests(("assert helper(f(1)) == 2",)), ["passed"]),
        # Values from JSON.
        ("def f(a, b): return (a, b)", UnitTests(entry="f", calls=(([1, 2], [1, 2]),)), ["passed"]),
        (
            "class Solution:\n    def f(self, a): return a + 0.1",
            UnitTests(entry="f", calls=(([0.2], 0.3),)),
            ["passed"],
        ),
        ("def f(a): return True", UnitTests(entry="f", calls=(([1], 1),)), ["passed"]),
        ("def f(a): return a", UnitTests(entry="f", calls=(([[1]], 1, [1]),)), ["passed"]),
        ("def f(a): return a", UnitTests(entry="f", calls=(([[1]], 1),)), ["failed"]),
        # A list with the text "o" is changed in place; so is one that gets an object of the program.
        ("def f(x): x.append(1)", UnitTests(("a = ['o']\nf(a)\nassert a == ['o', 1]",)), ["passed"]),
        (
            "class N: v = 3\ndef f(x): x.append(N())",
            UnitTests(("a = []\nf(a)\nassert a[0].v == 3 and f(a) is None and a[0] is a[0]",)),
            ["passed"],
        ),
        # What cannot cross is an error, whatever the test makes of it.
        ("def f(g): return g(2)", UnitTests(("assert f(lambda x: x) == 2",)), ["error"]),
        ("def f(g): return 0", UnitTests(("try:\n    f(lambda x: x)\nexcept Exception:\n    pass",)), ["error"]),
        ("def f():\n    a = []\n    a.append(a)\n    return a", UnitTests(("assert f()",)), ["error"]),
        (
            "class E(ValueError): pass\ndef f(): raise E('no')",
            UnitTests(("try:\n    f()\nexcept ValueError as e:\n    assert str(e) == 'no'\nelse:\n    assert 0",)),
            ["passed"],
        ),
        # The program cannot end a loop of the tests, or shadow what they decide with.
        ("def f(x): raise StopIteration", UnitTests(("assert all(map(f, [1, 2]))",)), ["failed"]),
        ("def all(x): return True\ndef f(x): return 0", UnitTests(("assert all(map(f, [1, 2]))",)), ["failed"]),
        ("def f(): yield 1", UnitTests(("g = f()\nassert next(g) == 1 and next(g, 5) == 5",)), ["passed"]),
    ],
)
def test_tests_see_the_program_as_if_it_were_with_them(
    sandbox: Sandbox, program: str, tests: UnitTests, outcomes: list[str]
) -> None:
    quick = sandbox
    if "while True" in program:
        with Sandbox(Limits(seconds=0.5), workers=1) as quick:
            found = quick.test(program, tests, stop_at_failure=False)
    else:
        found = quick.test(program, tests, stop_at_failure=False)
    assert [one.outcome for one in found] == outcomes, found


def test_it_stops_at_the_first_failure_where_told(sandbox: Sandbox) -> None:
    tests = UnitTests(("assert f(1) == 1", "assert f(2) == 1", "assert f(3) == 3"))
    assert [one.outcome for one in sandbox.test("def f(x): return x", tests)] == ["passed", "failed"]


def test_all_tests_together_have_their_time() -> None:
    """Three tests of half a second each that hang, and 0.7 s for all."""
    with Sandbox(Limits(seconds=0.5), workers=1) as made:
        tests = UnitTests(("assert f()",) * 3)
        made.test("def f(): return 1", tests)
        start = time.monotonic()
        found = made.test("def f():\n    while True: pass", tests, stop_at_failure=False, seconds=0.7)
        assert [one.outcome for one in found] == ["timeout"] * 3
        assert time.monotonic() - start < 0.7 + 1


def test_packages_are_there_only_when_asked_for() -> None:
    program = "import pydantic; print(1)"
    for packages, outcome in ((False, "failed"), (True, "ok")):
        with Sandbox(Limits(seconds=10), workers=1, packages=packages) as made:
            assert made.run(program).outcome == outcome


FAKER = """
import os
line = b'{"passed": true, "error": "", "gone": false}\\n' * 3 + b'{"end": true}\\n'
for fd in os.listdir("/proc/OWNER/fd"):
    try:
        if os.readlink(f"/proc/OWNER/fd/{fd}").startswith(("pipe:", "socket:")):
            os.write(os.open(f"/proc/OWNER/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK), line)
    except OSError:
        pass
def f(x): return 0
"""
FAKED = """
import os, sys
from aftertrain.core.sandbox.limits import Limits, UnitTests
from aftertrain.core.sandbox.sandbox import Sandbox
with Sandbox(Limits(seconds=5), use="rlimits", workers=1) as made:
    found = made.test(sys.argv[1].replace("OWNER", str(os.getpid())), UnitTests(("assert f(3) == 9",)))
print(found[0].outcome, found[0].detail)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_program_of_the_same_user_cannot_write_into_the_report() -> None:
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if not path.startswith(sys.base_prefix))}
    user = 65534 if os.getuid() == 0 else None
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            command = [python, "-c", FAKED, FAKER]
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=60, env=environment, user=user
            )
            if not ("Permission" in done.stderr or "ModuleNotFoundError" in done.stderr):
                break
    else:
        pytest.skip("another user cannot read this Python")
    assert done.stdout.startswith("failed"), done


def test_a_report_line_without_the_secret_breaks_the_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftertrain.core.sandbox.worker.Worker.order", _with_other_secret)
    (found,) = sandbox.test("def f(x): return x * x", SQUARE)
    assert found.outcome == "error"
    assert "not the examiner's" in found.detail


def _with_other_secret(self: Worker, mode: str, descriptors: list[int], seconds: float, **more: str) -> None:
    more = dict.fromkeys(more, "forged")
    line = json.dumps({"mode": mode, "seconds": seconds, **more}).encode() + b"\n"
    socket.send_fds(self.control, [line], list(descriptors))


@pytest.mark.slow
@pytest.mark.parametrize("name", level_module.LEVELS)
def test_its_own_code_may_lie_where_programs_have_their_scratch_folder(
    name: LevelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := level_module.why_not(name):
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        copy = Path(shutil.copytree(worker_module.HERE, f"{folder}/sandbox"))
        monkeypatch.setattr(worker_module, "HERE", copy)
        with Sandbox(Limits(seconds=5), use=name, workers=1) as made:
            assert made.run("import os; print(os.listdir('.'))").stdout == "[]\n"
            assert made.test("def f(x): return x * x", SQUARE)[0].outcome == "passed"


def test_packages_in_the_scratch_folder_refuse_the_level_with_the_cause() -> None:
    with pytest.raises(OSError, match=r"/tmp/venv lies in /tmp.*elsewhere"):
        walls.refuse_hidden(["/usr", "/tmp/venv"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("name", level_module.LEVELS)
def test_memory_of_all_processes_counts_together(name: LevelName) -> None:
    """Five processes with 60 MiB each, and 256 MiB allowed."""
    if reason := level_module.why_not(name):
        pytest.skip(reason)
    source = "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        held = b'x' * (60 * 2**20)\n"
    source += "        time.sleep(60)\ntime.sleep(60)"
    with Sandbox(Limits(10, 256 * MEGA, 12), use=name, workers=1) as made:
        assert made.run(source).outcome == "memory"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a filter")
@pytest.mark.parametrize("name", level_module.LEVELS)
def test_memory_that_would_escape_counting_is_refused(name: LevelName) -> None:
    """Memory shared without a file stays when all but one of its pages are unmapped, and nobody counts it then."""
    if reason := level_module.why_not(name):
        pytest.skip(reason)
    source = "import mmap\nheld = mmap.mmap(-1, 2**20)"
    with Sandbox(Limits(10, 256 * MEGA, 12), use=name, workers=1) as made:
        assert made.run(source).outcome == "memory"
        assert made.run(source.replace("2**20", "2**20, flags=mmap.MAP_PRIVATE")).outcome == "ok"
