"""Control groups of version 2: against a kernel of files that behaves like the real one, and on the real one."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aftertrain.core.sandbox import cgroup, delegation
from aftertrain.core.sandbox import level as level_module
from aftertrain.core.sandbox import worker as worker_module
from aftertrain.core.sandbox.cgroup import Group
from aftertrain.core.sandbox.delegation import LEAF, NoGroups, prepare
from aftertrain.core.sandbox.level import Level
from aftertrain.core.sandbox.limits import MEGA, Limits
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.core.sandbox.worker import Worker, sealed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
FILES = cgroup.files(Limits(memory_bytes=256 * MEGA, file_bytes=64 * MEGA, processes=7))


class Kernel:
    """A file system of control groups in a folder, and a /proc: the rules of the kernel's documentation, no processes.

    `root` is the folder of the real root, which may hold processes beside groups with limits.
    """

    def __init__(self, folder: Path, controllers: str = "memory pids") -> None:
        self.root, self.proc = folder / "cgroup", folder / "proc"
        (self.proc / "self").mkdir(parents=True)
        self.root.mkdir()
        self.refused: dict[str, int] = {}
        for name, text in (("controllers", controllers), ("subtree_control", ""), ("procs", "")):
            (self.root / f"cgroup.{name}").write_text(text)
        self.process(os.getpid(), 1)
        self.mount()

    def mount(self, options: str = "rw,nosuid", kind: str = "cgroup2", root: str = "/") -> None:
        point = str(self.root).replace(" ", "\\040")
        lines = ["22 1 0:21 / /proc rw - proc proc rw", f"30 23 0:26 {root} {point} {options} shared:4 - {kind} cg rw"]
        (self.proc / "self" / "mountinfo").write_text("\n".join(lines) + "\n")

    def process(self, pid: int, parent: int, started: int = 100) -> None:
        (self.proc / str(pid)).mkdir(exist_ok=True)
        fields = ["S", str(parent), *["0"] * 17, str(started), "0"]
        (self.proc / str(pid) / "stat").write_text(f"{pid} (a name) with) {' '.join(fields)}\n")

    def place(self, path: str, *pids: int, more: str = "") -> Path:
        """Put processes, this one among them, into a group, which is delegated to us."""
        folder = Path(f"{self.root}{path}".rstrip("/"))
        if not folder.is_dir():
            self.make(str(folder))
        for pid in (os.getpid(), *pids):
            self._attach(folder, pid)
        (self.proc / "self" / "cgroup").write_text(f"{more}0::{path}\n")
        return folder

    def make(self, path: str) -> None:
        folder = Path(path)
        self._refuse("mkdir", path)
        folder.mkdir()
        enabled = (folder.parent / "cgroup.subtree_control").read_text()
        (folder / "cgroup.controllers").write_text(enabled)
        for name in ("procs", "subtree_control", "kill", "type"):
            (folder / f"cgroup.{name}").write_text("")
        self._files(folder, enabled.split())

    def write(self, path: str, text: str) -> None:
        file = Path(path)
        if not file.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._refuse(file.name, path)
        group = file.parent
        match file.name:
            case "cgroup.procs":
                if self._holds(group, "subtree_control") and group != self.root:
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
                self._attach(group, int(text) or os.getpid())
            case "cgroup.subtree_control":
                self._enable(group, text)
            case "cgroup.kill":
                (group / "cgroup.procs").write_text("")
            case _:
                file.write_text(text)

    def remove(self, path: str) -> None:
        if self._holds(Path(path), "procs") or any(entry.is_dir() for entry in os.scandir(path)):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        shutil.rmtree(path)

    def pids(self, group: Path) -> list[int]:
        return [int(pid) for pid in self._holds(group, "procs")]

    def _enable(self, group: Path, text: str) -> None:
        names = [word.removeprefix("+") for word in text.split()]
        if set(names) - set(self._holds(group, "controllers")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(group))
        if self._holds(group, "procs") and group != self.root:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(group))
        enabled = sorted({*self._holds(group, "subtree_control"), *names})
        (group / "cgroup.subtree_control").write_text(" ".join(enabled))
        for entry in os.scandir(group):
            if entry.is_dir():
                self._files(Path(entry.path), enabled)

    def _files(self, group: Path, enabled: list[str]) -> None:
        if "memory" in enabled:
            for name, text in (("max", "max"), ("swap.max", "max"), ("oom.group", "0"), ("events", "oom_kill 0\n")):
                (group / f"memory.{name}").write_text(text)
        if "pids" in enabled:
            (group / "pids.max").write_text("max")

    def _attach(self, group: Path, pid: int) -> None:
        for procs in [self.root / "cgroup.procs", *self.root.rglob("cgroup.procs")]:
            procs.write_text("".join(f"{other}\n" for other in procs.read_text().split() if int(other) != pid))
        with (group / "cgroup.procs").open("a") as file:
            file.write(f"{pid}\n")

    def _refuse(self, what: str, path: str) -> None:
        if what in self.refused:
            raise OSError(self.refused[what], os.strerror(self.refused[what]), path)

    @staticmethod
    def _holds(group: Path, name: str) -> list[str]:
        return (group / f"cgroup.{name}").read_text().split()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    folder = tmp_path / "with a space"
    folder.mkdir()
    kernel = Kernel(folder)
    for name in ("make", "write", "remove"):
        monkeypatch.setattr(delegation, name, getattr(kernel, name))
    monkeypatch.setattr(delegation, "PAUSE", 0)
    monkeypatch.setattr(cgroup, "_bases", {})
    return kernel


def delegated(kernel: Kernel, *pids: int) -> Path:
    """A group of this process, and of others, which has controllers."""
    kernel.write(str(kernel.root / "cgroup.subtree_control"), "+memory +pids")
    return kernel.place("/ours", *pids)


def groups(base: Path) -> list[str]:
    return sorted(entry.name for entry in base.iterdir() if entry.is_dir())


def test_this_process_moves_into_a_leaf_and_groups_get_their_limits(kernel: Kernel) -> None:
    base = delegated(kernel)
    group = cgroup.make(FILES, str(kernel.proc))
    limits = {name: Path(group.folder, name).read_text() for name in FILES}
    assert limits == {
        "memory.max": str(320 * MEGA),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "7",
    }
    assert (kernel.pids(base), kernel.pids(base / LEAF)) == ([], [os.getpid()])
    other = cgroup.make(FILES, str(kernel.proc))
    assert groups(base) == sorted([LEAF, *(Path(made.folder).name for made in (group, other))])
    assert group.remove()
    assert other.remove()
    assert groups(base) == [LEAF]


def test_from_its_leaf_it_finds_the_group_above(kernel: Kernel) -> None:
    base = delegated(kernel)
    prepare(str(kernel.proc))
    kernel.place(f"/ours/{LEAF}")
    assert prepare(str(kernel.proc)) == str(base)
    assert groups(base) == [LEAF]


def test_the_processes_that_it_started_move_along(kernel: Kernel) -> None:
    kernel.process(2**22 + 1, os.getpid())
    kernel.process(2**22 + 2, 2**22 + 1)
    base = delegated(kernel, 2**22 + 1, 2**22 + 2)
    prepare(str(kernel.proc))
    assert kernel.pids(base / LEAF) == [os.getpid(), 2**22 + 1, 2**22 + 2]


def test_the_root_may_hold_processes_beside_groups(kernel: Kernel) -> None:
    kernel.place("/", 1)
    (kernel.root / "cgroup.type").unlink(missing_ok=True)
    group = cgroup.make(FILES, str(kernel.proc))
    assert Path(group.folder).parent == kernel.root
    assert kernel.pids(kernel.root) == [os.getpid(), 1]
    assert groups(kernel.root) == [Path(group.folder).name]


def test_files_of_controllers_that_are_not_there_are_left_out(kernel: Kernel) -> None:
    (kernel.root / "cgroup.controllers").write_text("cpu memory")
    kernel.place("/")
    group = cgroup.make(FILES, str(kernel.proc))
    assert not Path(group.folder, "pids.max").exists()
    assert Path(group.folder, "memory.max").read_text() == str(320 * MEGA)


def _no_memory(kernel: Kernel) -> None:
    (kernel.root / "cgroup.controllers").write_text("hugetlb")
    kernel.place("/", more="4:memory:/there\n")


def _none_mounted(kernel: Kernel) -> None:
    kernel.place("/")
    kernel.mount(kind="cgroup")


def _version_1(kernel: Kernel) -> None:
    (kernel.proc / "self" / "cgroup").write_text("4:memory:/\n")


def _read_only(kernel: Kernel) -> None:
    delegated(kernel)
    kernel.mount("ro,nosuid")


def _elsewhere(kernel: Kernel) -> None:
    delegated(kernel)
    kernel.mount(root="/another")


def _outside(kernel: Kernel) -> None:
    (kernel.proc / "self" / "cgroup").write_text("0::/../theirs\n")


def _stranger(kernel: Kernel) -> None:
    kernel.process(2**22 + 1, 1)
    delegated(kernel, 2**22 + 1)


def _other_namespace(kernel: Kernel) -> None:
    base = delegated(kernel)
    (base / "cgroup.procs").write_text(f"{os.getpid()}\n0\n")


def _others_group(kernel: Kernel) -> None:
    base = delegated(kernel)
    kernel.make(str(base / "theirs"))


def _no_folders(kernel: Kernel) -> None:
    delegated(kernel)
    kernel.refused = {"mkdir": errno.EACCES}


def _no_controllers(kernel: Kernel) -> None:
    delegated(kernel)
    kernel.refused = {"cgroup.subtree_control": errno.EOPNOTSUPP}


def _no_limit(kernel: Kernel) -> None:
    delegated(kernel)
    kernel.refused = {"memory.max": errno.EPERM}


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (_no_memory, "has no controller memory, which this machine keeps in version 1"),
        (_none_mounted, "no file system of type cgroup2 is mounted"),
        (_version_1, "this kernel has none of version 2"),
        (_read_only, "is mounted read-only"),
        (_elsewhere, "does not show the group /ours of this process"),
        (_outside, "does not show the group /../theirs of this process"),
        (_stranger, rf"holds a process that aftertrain did not start \({2**22 + 1}\).*Delegate=yes"),
        (_other_namespace, r"holds a process that aftertrain did not start \(0\)"),
        (_others_group, "would change a group that is not ours, theirs"),
        (_no_folders, "limits cannot be enabled in .*: Permission denied"),
        (_no_controllers, "limits cannot be enabled in .*: Operation not supported"),
        (_no_limit, "memory.max cannot be set: Operation not permitted"),
    ],
)
def test_what_cannot_be_had_is_told_and_all_stays_as_it_was(
    kernel: Kernel, arrange: Callable[[Kernel], None], reason: str
) -> None:
    arrange(kernel)
    before = {str(file): file.read_text() for file in kernel.root.rglob("*") if file.is_file()}
    with pytest.raises(NoGroups, match=reason):
        cgroup.make(FILES, str(kernel.proc))
    if arrange is not _no_limit:  # there the leaf and the controllers stay, for the next group
        after = {str(file): file.read_text() for file in kernel.root.rglob("*") if file.is_file()}
        assert {name: sorted(text.split()) for name, text in after.items()} == {
            name: sorted(text.split()) for name, text in before.items()
        }
    assert {folder.name for folder in kernel.root.rglob("*") if folder.is_dir()} <= {"ours", "theirs", LEAF}


def test_a_group_that_may_not_be_written_is_not_delegated(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    delegated(kernel)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(NoGroups, match="ours is not delegated to this user"):
        prepare(str(kernel.proc))


def test_groups_of_dead_owners_are_swept_and_no_others(kernel: Kernel) -> None:
    base = delegated(kernel)
    prepare(str(kernel.proc))
    namespace = os.stat("/proc/self/ns/pid").st_ino
    kernel.process(2**22 + 1, 1, started=500)
    dead, reused, busy, alive, other, theirs = (
        f"aftertrain-{namespace}-{2**22}-500-1",
        f"aftertrain-{namespace}-{2**22 + 1}-400-1",
        f"aftertrain-{namespace}-{2**22}-500-2",
        f"aftertrain-{namespace}-{2**22 + 1}-500-1",
        f"aftertrain-{namespace + 1}-{2**22}-500-1",
        "theirs",
    )
    for name in (dead, reused, busy, alive, other, theirs):
        kernel.make(str(base / name))
    kernel._attach(base / busy, 2**22)
    delegation.sweep(str(base), str(kernel.proc))
    assert groups(base) == sorted([LEAF, busy, alive, other, theirs])


def test_a_fork_of_the_maker_removes_nothing(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    delegated(kernel)
    group = cgroup.make(FILES, str(kernel.proc))
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        assert not group.remove()
    assert group.remove()


@pytest.fixture
def grouped(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Workers find the files of `kernel`."""
    delegated(kernel)
    monkeypatch.setattr(cgroup, "PROC", str(kernel.proc))
    monkeypatch.setattr(worker_module, "_grouped", threading.Event())
    return kernel


def start(made: Worker, program: str) -> tuple[int, int]:
    """Have it run a script; its standard input and output."""
    stdin, give = os.pipe()
    take, stdout = os.pipe()
    with sealed(program.encode()) as source:
        made.order("script", [source.fileno(), stdin, stdout, stdout], 10.0)
    os.close(stdin)
    os.close(stdout)
    return give, take


WAITS = "import os\nprint([n for n in range(3, 40) if os.path.exists(f'/proc/self/fd/{n}')], flush=True)\ninput()"


def test_a_program_enters_its_group_and_what_the_kernel_kills_there_is_memory(grouped: Kernel) -> None:
    made = Worker("rlimits", Limits(10))
    try:
        assert made.ungrouped == ""
        (folder,) = [Path(group.folder) for group in made._groups]
        (folder / "cgroup.procs").write_text("")
        give, take = start(made, WAITS)
        assert os.read(take, 100) == b"[]\n", "no file of the group is open to a program"
        assert (folder / "cgroup.procs").read_text().strip("\0") == "0"
        (folder / "memory.events").write_text("max 9\noom 1\noom_kill 1\n")
        os.close(give)
        os.close(take)
        assert made.answer(10) == {"status": None, "why": "memory"}
        assert (folder / "cgroup.kill").read_text() == "1"
        assert made.run(b"print(1)", b"", 100, 10.0).outputs[0] == b"1\n", "what was killed before is not its own"
    finally:
        made.close()
    assert not folder.exists()


def test_a_group_that_no_process_can_enter_is_given_up(
    grouped: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def closed(group: Group) -> list[int]:
        return [os.open(f"{group.folder}/{name}", os.O_RDONLY) for name in ("cgroup.procs", "memory.events")]

    monkeypatch.setattr(Group, "open", closed)
    with caplog.at_level(logging.WARNING), Sandbox(Limits(10), use="rlimits", workers=1) as made:
        assert made.run("print(1)").stdout == "1\n"
        (booth,) = made._idle
        (served,) = booth._workers.values()
    assert served.ungrouped == "a program's process cannot be put there: Bad file descriptor"
    assert groups(grouped.root / "ours") == [LEAF]


def test_the_level_says_what_the_kernel_counts(grouped: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_module, "_ungrouped", {})
    assert level_module.why_not("rlimits") is None
    assert "of all together by the kernel (control group), and counted in /proc" in Level("rlimits").memory
    grouped.refused = {"mkdir": errno.ENOSPC}
    assert level_module.why_not("rlimits") is None
    assert Level("rlimits").memory.endswith(
        f"control groups: no (no group can be made in {grouped.root}/ours: No space left on device)"
    )


def test_on_this_machine_it_says_whether_there_are_groups_and_programs_run() -> None:
    assert re.search(r"by the kernel \(control group\)|control groups: no \(\S", level_module.level().memory)
    with Sandbox(Limits(10), workers=1) as made:
        assert made.run("print(1)").stdout == "1\n"


REAL = """
import os, signal, sys
from pathlib import Path
from aftertrain.core.sandbox import cgroup, delegation
from aftertrain.core.sandbox.limits import Limits
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.core.sandbox.worker import Worker, sealed
base = Path(sys.argv[1])
delegation.prepare = lambda proc: str(base)
cgroup.EVENTS, cgroup.files = "cgroup.events", lambda limits: {}
LEFT = "import os, time\\nif os.fork() == 0:\\n    os.setsid()\\n    if os.fork() == 0: time.sleep(60)\\n"
LEFT += "    os._exit(0)\\nos.wait()\\nprint(flush=True)\\ninput()"
worker = Worker("rlimits", Limits(10))
(folder,) = [Path(each.folder) for each in worker._groups]
(stdin, give), (take, stdout) = os.pipe(), os.pipe()
source = sealed(LEFT.encode())
worker.order("script", [source.fileno(), stdin, stdout, stdout], 10.0)
os.read(take, 1)
print("entered", len((folder / "cgroup.procs").read_text().split()))
os.write(give, b"\\n")
print("ended", worker.answer(10), (folder / "cgroup.procs").read_text().split())
worker.close()
print("removed", not folder.exists())
with Sandbox(Limits(10), use="rlimits", workers=1) as made:
    def group():
        (booth,) = made._idle
        (folder,) = [Path(each.folder) for each in booth._workers["programs"]._groups]
        return folder
    made.run("")
    first = group()
    first.rmdir()
    print("replaced", made.run("print(1)").stdout, first != group(), group().is_dir())
    last = group()
print("removed", not last.exists())
if os.fork() == 0:
    cgroup._bases.clear()
    dead = cgroup.make({})
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
namespace = str(os.stat("/proc/self/ns/pid").st_ino)
mine = lambda: [name for name in os.listdir(base) if name.startswith(f"aftertrain-{namespace}-")]
before = len(mine())
delegation.sweep(str(base))
print("swept", before - len(mine()) >= 1)
"""


@pytest.mark.slow
def test_real_groups_are_entered_killed_removed_and_swept(tmp_path: Path) -> None:
    """On the kernel's own files, without a controller for memory: mounted for this test only, in a view of its own."""
    mount = ["unshare", "-m", "sh", "-c", 'mount -t cgroup2 none "$0" && test -w "$0/cgroup.procs" && exec "$@"']
    tried = [*mount, tmp_path, "true"]
    if not shutil.which("unshare") or subprocess.run(tried, check=False, capture_output=True).returncode:
        pytest.skip("control groups of version 2 cannot be mounted here")
    done = subprocess.run(
        [*mount, tmp_path, sys.executable, "-c", REAL, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "entered 2",
        "ended {'status': 0} []",
        "removed True",
        "replaced 1",
        " True True",
        "removed True",
        "swept True",
    ], done.stderr
