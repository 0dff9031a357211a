"""What a program behind walls can tell of the machine, and where its sockets lead."""
# ruff: noqa: E501  (a program reads better on its line)

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftertrain.core.sandbox import landlock, walls, worker
from aftertrain.core.sandbox.level import LEVELS, why_not
from aftertrain.core.sandbox.limits import MEGA, Limits, UnitTests
from aftertrain.core.sandbox.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="walls need Linux")]
SQUARE = UnitTests(("assert square(3) == 9",))
LOOK = """
import ctypes, gc, os, platform, resource, site, socket, subprocess, sys, sysconfig, traceback
def told():
    yield "host", os.uname().nodename
    yield "host", socket.gethostname()
    yield "host", platform.node()
    yield "domain", (lambda b: ctypes.CDLL(None).getdomainname(b, 64) and "" or b.value.decode())(ctypes.create_string_buffer(64))
    yield "shell", subprocess.run(["/bin/sh", "-c", "uname -n; cat /etc/host*; env; pwd; cat /proc/*/*"], capture_output=True).stdout
    for name in ("/etc/hostname", "/etc/hosts", "/etc/machine-id", "/proc/sys/kernel/hostname", "/proc/self/mountinfo",
                 "/proc/mounts", "/proc/self/maps", "/proc/self/cmdline", "/proc/self/environ", "/proc/1/cmdline",
                 "/proc/self/cgroup", "/proc/1/maps", "/proc/keys", "/proc/net/unix", "/proc/self/smaps"):
        try: yield name, open(name, "rb").read()
        except OSError: pass
    for link in ("/proc/self/exe", "/proc/self/cwd", "/proc/1/exe", "/proc/1/root", "/dev/stdin", *(f"/proc/self/fd/{n}" for n in range(9))):
        try: yield link, os.readlink(link)
        except OSError: pass
    yield "python", [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.executable, sys.path, sys.orig_argv, sys.argv,
                     sys._base_executable, sys.pycache_prefix, sys.flags, os.getcwd(), dict(os.environ), site.__file__]
    yield "modules", [str(vars(m).get(n)) for m in list(sys.modules.values()) for n in ("__file__", "__cached__", "__path__", "__spec__")]
    yield "code", sorted({c.co_filename for f in gc.get_objects() if hasattr(f, "__code__") for c in [f.__code__]})
    frame, frames = sys._getframe(), []
    while frame:
        frames.append(frame.f_code.co_filename)
        frame = frame.f_back
    yield "frames", frames
    try: open("/nowhere")
    except OSError: yield "traceback", traceback.format_exc()
    yield "sysconfig", sysconfig.get_paths()
for name, what in told(): print(name, what)
"""


@pytest.fixture(scope="module", params=[name for name in LEVELS if name != "rlimits"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    with Sandbox(Limits(10, 256 * MEGA, 12), use=request.param, workers=1) as opened:
        yield opened


def test_no_name_of_the_host_and_no_path_is_readable(sandbox: Sandbox) -> None:
    if worker.immovable:
        pytest.skip("this Python starts nowhere but where it is installed")
    if landlock.version() < landlock.MOVES:
        pytest.skip("without Landlock /proc tells of paths")
    result = sandbox.run(LOOK)
    assert result.outcome == "ok", result
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("host ")] == ["host sandbox"] * 3
    assert {"domain ", "domain (none)"} & set(lines)
    system = ("/usr", "/bin", "/lib", "/nix/store", "/gnu/store")
    roots = [Path(worker.__file__).parents[3], Path.cwd(), Path.home(), Path(sys.prefix), Path(sys.base_prefix)]
    private = {str(root) for root in roots if root != Path("/") and not str(root).startswith(system)}
    assert private
    for path in private:
        assert [line[:300] for line in lines if path in line] == []


def test_python_still_starts_itself(sandbox: Sandbox) -> None:
    program = "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import json; print(7)'], capture_output=True))"
    assert "stdout=b'7\\n'" in sandbox.run(program).stdout


LINE = """
import fcntl, os, socket, stat, time
mine = []
for fd in range(256):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode): mine.append(fd)
    except OSError: pass
tried = []
for fd in mine:
    line = socket.socket(fileno=os.dup(fd))
    for name, attempt in {
        "name": lambda: line.bind("\\0aftertrain-test-line"),
        "peer": lambda: line.connect("\\0aftertrain-test-host"),
        "interfaces": lambda: fcntl.ioctl(line, 0x8912, bytes(16)),
        "process": lambda: line.getsockopt(socket.SOL_SOCKET, 77),
        "namespace": lambda: fcntl.ioctl(line, 0x894C),
        "owner": lambda: fcntl.fcntl(line, fcntl.F_SETOWN, os.getppid()),
        "listening": lambda: line.listen(),
    }.items():
        try: attempt()
        except OSError: continue
        tried.append(name)
time.sleep(0.5)
def square(x): return x * x
def found(): return [len(mine), *tried]
"""


@pytest.mark.parametrize("level", LEVELS)
def test_the_line_to_the_tests_leads_to_no_socket_of_the_host(level: str) -> None:
    """A program can name its end of the line only where nobody else sees the name, and reaches nothing else by it."""
    if reason := why_not(level):  # type: ignore[arg-type]
        pytest.skip(reason)
    named, ended = [], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            named.extend(line for line in Path("/proc/net/unix").read_text().splitlines() if "test-line" in line)

    allowed = "[1]" if level == "rlimits" else "[1, 'name']"
    with socket.socket(socket.AF_UNIX) as host, Sandbox(Limits(10), use=level, workers=1) as opened:  # type: ignore[arg-type]
        host.bind("\0aftertrain-test-host")
        host.listen()
        thread = threading.Thread(target=watch)
        thread.start()
        results = opened.test(LINE, UnitTests(("assert square(3) == 9", f"assert found() == {allowed}")))
        ended.set()
        thread.join()
        assert [result.outcome for result in results] == ["passed", "passed"], results
        assert named == []
        host.setblocking(False)
        with pytest.raises(BlockingIOError):
            host.accept()


def test_names_inside() -> None:
    """The system's paths stay, Python and packages get names that say nothing."""
    seen = walls.places(["/usr", sys.base_prefix, "/home/ann/packages"], "/home/ann/aftertrain")
    moved = not sys.base_prefix.startswith("/usr")
    assert seen["/usr"] == "/usr"
    assert seen[sys.base_prefix] == ("/python" if moved else sys.base_prefix)
    assert seen["/home/ann/aftertrain"] == "/aftertrain"
    assert walls.inside("/home/ann/packages/numpy", seen) == f"{seen['/home/ann/packages']}/numpy"
    assert "ann" not in "".join(seen.values())
    assert walls.inside("/home/annabel", seen) == "/home/annabel"
    own = walls.places(["/usr", sys.base_prefix, "/home/ann/packages"], "/home/ann/aftertrain", own_names=True)
    assert own["/home/ann/packages"] == "/home/ann/packages"


def test_a_python_that_does_not_move_keeps_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not("namespaces"):
        pytest.skip(reason)
    started: list[bool] = []
    start = worker.Worker._start

    def only_at_home(self: worker.Worker, config: dict[str, object]) -> None:
        started.append(bool(config["own_names"]))
        if not config["own_names"]:
            raise worker.SandboxError("no such library")
        start(self, config)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "immovable", set())
    monkeypatch.setattr(worker.Worker, "_start", only_at_home)
    with Sandbox(Limits(10), use="namespaces", workers=1) as opened:
        assert opened.run("import sys; print(sys.base_prefix)").stdout == sys.base_prefix + "\n"
        assert opened.run("print(1)").stdout == "1\n"
    assert started == [False, True]
    assert os.path.basename(next(iter(worker.immovable))).startswith("python")
