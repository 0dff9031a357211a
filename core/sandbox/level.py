"""Which walls this machine allows, found by trying them on a program that looks for holes."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from aftertrain.core.sandbox import landlock
from aftertrain.core.sandbox.calls import table
from aftertrain.core.sandbox.limits import LOOK, Limits, environment
from aftertrain.core.sandbox.seccomp import ARCHITECTURES
from aftertrain.core.sandbox.worker import LevelName, SandboxError, Worker

LEVELS: tuple[LevelName, ...] = ("bubblewrap", "namespaces", "rlimits")
"""From the best to the last."""
CLOSED = {
    "bubblewrap": "no network, no files but Python's, no environment, limits, all processes killed (bubblewrap)",
    "namespaces": "no network, no files but Python's, no environment, limits, all processes killed (own namespaces)",
    "rlimits": "limits on time, memory and processes only",
}
OPEN = "a program can READ this machine's files, and one that sets out to can reach the memory of a process of the same"
OPEN += " user and FAKE A PASS"
"""What is open at level `rlimits` where the kernel has no Landlock."""
UNFILTERED = "a program can ALTER AND END other processes of its user, aftertrain among them"
"""The same where there is no filter of system calls."""
_SECRET = "aftertrain-canary"
_PROBE = """
import json, os, resource, socket, sys
asked = json.load(sys.stdin)
found = []
def tries(name, attempt):
    try:
        if attempt() is not False:
            found.append(name)
    except (OSError, KeyError):
        pass
def forks():
    for _ in range(64):
        if os.fork() == 0:
            import time
            time.sleep(5)
            os._exit(0)
tries("network", lambda: socket.create_connection(("127.0.0.1", asked["port"]), 1))
tries("files of this machine", lambda: open(asked["file"]).read())
tries("writing outside the scratch folder", lambda: open(asked["folder"] + "/hole", "w"))
tries("writing to the root", lambda: open("/hole", "w"))
tries("the environment", lambda: any(name in os.environ for name in asked["variables"]))
tries("the owner's environment", lambda: open(f"/proc/{asked['owner']}/environ").read())
tries("any number of processes", forks)
tries("the name of this machine", lambda: os.uname().nodename == asked["host"] != "sandbox")
kind, keeper = resource.RLIMIT_NOFILE, os.getppid()
tries("the limits of the process that keeps it", lambda: resource.prlimit(keeper, kind, resource.getrlimit(kind)))
open("scratch", "w").close()
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Level:
    """The best level that works here.

    Attributes:
        name: `bubblewrap` and `namespaces` isolate, `rlimits` does not.
        refused: for each better level, why it cannot be had.
    """

    name: LevelName
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def isolated(self) -> bool:
        """Whether a program can neither reach the network nor see this machine's files."""
        return self.name != "rlimits"

    def describe(self) -> str:
        """One line for people: the level, what it closes, what is open or closed by other means, and why no better one
        is had.
        """
        closed = f"{self.name}: {CLOSED[self.name]}"
        if self.isolated:
            return closed
        files = "Landlock closes other programs' files and memory" if landlock.version() else OPEN
        processes = "" if _filtered() else f"; {UNFILTERED}"
        reasons = "".join(f"; not {name}: {reason}" for name, reason in self.refused)
        return f"{closed}; {files}{processes}{reasons}"

    @property
    def memory(self) -> str:
        """How the memory of a program is limited, for people."""
        counted, reason = self.name not in _uncounted, _ungrouped.get(self.name, "not tried")
        how = f"counted in /proc every {LOOK:g} s"
        if not reason:
            kernel = "of each process, and of all together by the kernel (control group)"
            return f"{kernel}, and {how}" if counted else kernel
        uncounted = "not of all together: there is no /proc inside to count them by"
        together = f"and of all together, {how}" if counted else uncounted
        return f"of each process, {together}; control groups: no ({reason})"

    @property
    def calls(self) -> str:
        """What keeps a program from the kernel, for people."""
        if not _filtered():
            return f"not filtered: there is no filter for {sys.platform} on {platform.machine()}"
        allowed = sum(call.verdict not in ("refuse", "absent") for call in table())
        return f"{allowed} allowed, some by their arguments, all others refused (seccomp, {platform.machine()})"


def _filtered() -> bool:
    return sys.platform == "linux" and platform.machine() in ARCHITECTURES


_uncounted: set[LevelName] = set()
"""Levels at which the memory of all processes of a program together is not counted."""
_ungrouped: dict[LevelName, str] = {}
"""Of each level that was tried, why its programs are in no control group; empty where they are."""
_lock = threading.Lock()
chosen_level: dict[str, Level] = {}


def level() -> Level:
    """The best level, tried once per process (about 0.2 s)."""
    with _lock:
        if "level" not in chosen_level:
            chosen_level["level"] = _find()
        return chosen_level["level"]


def _find() -> Level:
    refused: list[tuple[str, str]] = []
    for name in LEVELS:
        reason = why_not(name)
        if reason is None:
            return Level(name, tuple(refused))
        refused.append((name, reason))
    raise SandboxError("no sandbox works here: " + "; ".join(f"{name}: {reason}" for name, reason in refused))


def why_not(name: LevelName) -> str | None:
    """Why a level cannot be had here; None when it works."""
    if name != "rlimits" and sys.platform != "linux":
        return f"it needs Linux, this is {sys.platform}"
    if name == "bubblewrap" and bubblewrap() is None:
        return "the program bwrap is not installed"
    try:
        holes = holes_of(name)
    except SandboxError as error:
        return str(error).removeprefix(f"sandbox level {name}: ")
    return f"a program got through to {', '.join(holes)}" if holes and name != "rlimits" else None


def bubblewrap() -> str | None:
    """Where the program bwrap is."""
    return shutil.which("bwrap", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/usr/local/bin"]))


def holes_of(name: LevelName) -> list[str]:
    """What a program on that level gets at.

    Raises:
        SandboxError: the level does not work at all.
    """
    worker = Worker(name, Limits(seconds=10, processes=4), bwrap=bubblewrap() or "")
    if not worker.counts:
        _uncounted.add(name)
    _ungrouped[name] = worker.ungrouped
    try:
        with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
            os.chmod(folder, 0o777)
            canary = Path(folder) / "canary"
            canary.write_text(_SECRET)
            asked = {
                "port": server.getsockname()[1],
                "file": str(canary),
                "folder": folder,
                "owner": os.getpid(),
                "host": socket.gethostname(),
                "variables": sorted(os.environ.keys() - environment("").keys()),
            }
            raw = worker.run(_PROBE.encode(), json.dumps(asked).encode(), 65536, 10.0)
    finally:
        worker.close()
    if raw.status != 0:
        errors = raw.outputs[1].decode(errors="replace").strip().splitlines()
        raise SandboxError(f"a program does not run there: {raw.why or (errors or [f'status {raw.status}'])[-1]}")
    holes: list[str] = json.loads(raw.outputs[0])
    return holes
