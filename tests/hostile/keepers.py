"""Programs that try to alter a process other than their own: the one that forked them, and the one that asked for it.

Each is a function body that returns whether it got through; `target` is the process. It has `libc`, and `call`, which
makes a system call by its name and says whether it succeeded.
"""
# ruff: noqa: E501  (a program reads better on its line)

from __future__ import annotations

import platform
from textwrap import dedent, indent
from typing import cast

from aftertrain.core.sandbox.calls import Machine, table

_PRELUDE = """
import ctypes, fcntl, os, resource, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = %r
def call(name, *arguments):
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(NUMBERS[name]), *given) >= 0
def opens(path, mode):
    with open(path, mode, buffering=0) as file:
        return file
"""
_RUN = """
found = []
for name, attack in ATTACKS.items():
    try:
        if attack(target):
            found.append(name)
    except (OSError, ValueError, AttributeError, KeyError):
        pass
print(found)
"""

ATTACKS = {
    "fewer open files": "resource.prlimit(target, resource.RLIMIT_NOFILE, (4, 4)); return True",
    "no more processes": "resource.prlimit(target, resource.RLIMIT_NPROC, (0, 0)); return True",
    "less memory": "resource.prlimit(target, resource.RLIMIT_AS, (2**20, 2**20)); return True",
    "no stack": "resource.prlimit(target, resource.RLIMIT_STACK, (4096, 4096)); return True",
    "no files": "resource.prlimit(target, resource.RLIMIT_FSIZE, (0, 0)); return True",
    "one second of the processor": "resource.prlimit(target, resource.RLIMIT_CPU, (1, 1)); return True",
    "limits by the bare call": "return call('prlimit64', target, 7, struct.pack('QQ', 4, 4), None)",
    "limits by a number with high bits": "return call('prlimit64', target + 2**32, 7, struct.pack('QQ', 4, 4), None)",
    "one core": "os.sched_setaffinity(target, {min(os.sched_getaffinity(0))}); return True",
    "batch scheduling": "os.sched_setscheduler(target, os.SCHED_BATCH, os.sched_param(0)); return True",
    "idle scheduling": "return call('sched_setattr', target, struct.pack('IIQiIQQQ', 48, 5, 0, 0, 0, 0, 0, 0), 0)",
    "scheduling parameters": "os.sched_setparam(target, os.sched_param(0)); return True",
    "a low priority": "os.setpriority(os.PRIO_PROCESS, target, 19); return True",
    "a low priority of the group": "os.setpriority(os.PRIO_PGRP, os.getpgid(target) or target, 19); return True",
    "a low priority of the user": "os.setpriority(os.PRIO_USER, os.getuid(), 19); return True",
    "a low priority of this user": "os.setpriority(os.PRIO_USER, 0, 19); return True",
    "idle disk": "return call('ioprio_set', 1, target, 3 << 13)",
    "idle disk of the user": "return call('ioprio_set', 3, os.getuid(), 3 << 13)",
    "signals": "return any(call('kill', target, number) for number in (0, 1, 10, 17, 18, 34, 64))",
    "signals to the group": "return call('kill', -target, 0)",
    "signals to everybody": "return call('kill', -1, 0)",
    "signals to a thread": "return call('tkill', target, 0) or call('tgkill', target, target, 0)",
    "queued signals": "return call('rt_sigqueueinfo', target, 17, struct.pack('iii116x', 17, 0, -1))",
    "queued signals to a thread": "return call('rt_tgsigqueueinfo', target, target, 34, struct.pack('iii116x', 34, 0, -1))",
    "signals by a descriptor of the process": "return os.pidfd_open(target) >= 0",
    "signals by files": """
        reader, writer = os.pipe()
        fcntl.fcntl(reader, fcntl.F_SETOWN, target)
        return True
    """,
    "real-time signals by files": "fcntl.fcntl(os.pipe()[0], 10, 34); return True",
    "signals by files, the longer way": "fcntl.fcntl(os.pipe()[0], 15, struct.pack('ii', 1, target)); return True",
    "signals by sockets": """
        ends = socket.socketpair()
        fcntl.ioctl(ends[0], 0x8901, struct.pack('i', target))
        return True
    """,
    "signals by sockets, the other way": "fcntl.ioctl(socket.socketpair()[0], 0x8902, struct.pack('i', target)); return True",
    "signals of changed folders": "fcntl.fcntl(os.open('.', os.O_RDONLY), 1026, 2); return True",
    "a timer on its processor time": "return call('timer_create', ~target << 3 | 2, None, struct.pack('Q', 0))",
    "sleep on its processor time": "return call('clock_nanosleep', ~target << 3 | 2, 0, struct.pack('QQ', 0, 1), None)",
    "tracing": "return call('ptrace', 16, target, 0, 0) or call('ptrace', 0x4206, target, 0, 0)",
    "reading its memory": """
        room = ctypes.create_string_buffer(8)
        here = struct.pack('QQ', ctypes.addressof(room), 8)
        return call('process_vm_readv', target, here, 1, here, 1, 0)
    """,
    "writing its memory": """
        room = ctypes.create_string_buffer(8)
        here = struct.pack('QQ', ctypes.addressof(room), 8)
        return call('process_vm_writev', target, here, 1, here, 1, 0)
    """,
    "comparing its descriptors": "return call('kcmp', os.getpid(), target, 0, 1, 1)",
    "moving its memory": "return call('move_pages', target, 0, None, None, None, 0) or call('migrate_pages', target, 64, None, None)",
    "its locks": "return call('get_robust_list', target, struct.pack('Q', 0), struct.pack('Q', 0))",
    "its core's cookie": "return libc.prctl(62, 1, 0, 0, 0) == 0 or libc.prctl(62, 2, target, 0, 0) == 0",
    "children of its own": "return call('clone', 0x8000 | 17, 0, 0, 0, 0) and os.getppid() != target",
    "its group": "os.setpgid(target, os.getpid()); return True",
    "its killing by the kernel": "open(f'/proc/{target}/oom_score_adj', 'w').write('1000'); return True",
    "its timers": "open(f'/proc/{target}/timerslack_ns', 'w').write('1000000'); return True",
    "its dumps": "open(f'/proc/{target}/coredump_filter', 'w').write('0'); return True",
    "its name": "open(f'/proc/{target}/comm', 'w').write('x'); return open(f'/proc/{target}/comm').read() == 'x'",
    "its memory by /proc": "return opens(f'/proc/{target}/mem', 'rb') and True",
    "writing its memory by /proc": "return opens(f'/proc/{target}/mem', 'r+b') and True",
    "its open files by /proc": "return bool(os.listdir(f'/proc/{target}/fd'))",
    "its descriptors taken": "return call('pidfd_getfd', os.pidfd_open(target), 0, 0)",
    "its environment": "return bool(opens(f'/proc/{target}/environ', 'rb').name)",
    "its keys": "return call('keyctl', 0, -3, 1) or call('add_key', b'user', b'x', b'y', 1, -4)",
    "its counters": "return call('perf_event_open', struct.pack('II112x', 1, 120), target, -1, -1, 0)",
    "a request to the kernel": "return call('io_uring_setup', 4, ctypes.create_string_buffer(120))",
    "page faults by hand": "return call('userfaultfd', 1)",
    "a program in the kernel": "return call('bpf', 0, struct.pack('IIII112x', 1, 4, 4, 1), 128)",
    "shared memory of the system": "return call('shmget', 7, 4096, 0o1600) or call('msgget', 7, 0o1600) or call('semget', 7, 1, 0o1600)",
    "a queue of messages": "return call('mq_open', b'x', 0o102, 0o600, None)",
    "watchers of files": "return call('inotify_init1', 0) or call('fanotify_init', 0, 0)",
    "its namespaces": "return call('setns', os.open(f'/proc/{target}/ns/pid', os.O_RDONLY), 0)",
    "a new namespace": "return call('unshare', 0x20000) or call('unshare', 0x10000000)",
    "another name of the machine": "return call('sethostname', b'x', 1)",
    "calls of the old machine": "return call('personality', 8)",
    "calls of x32": "return libc.syscall(ctypes.c_long(0x40000000 | 39)) >= 0",
    "calls to come": "return any(libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) >= 0 for number in range(451, 700) if number != 452)",
    "the kernel's log": "return call('syslog', 3, ctypes.create_string_buffer(100), 100)",
    "a flush of all disks": "return call('sync') and ctypes.get_errno() == 0 and libc.syscall(ctypes.c_long(NUMBERS['sync'])) == 0",
    "datagrams to anybody": """
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ends[0].sendto(b'x', '\\0aftertrain-test-datagram')
        return True
    """,
    "the peer's process": "socket.socketpair()[0].getsockopt(socket.SOL_SOCKET, 77); return True",
    "memory shared without a file": "import mmap; mmap.mmap(-1, 4096); return True",
    "memory shared from zeros": "import mmap; mmap.mmap(os.open('/dev/zero', os.O_RDWR), 4096); return True",
    "a file of memory": "return os.memfd_create('x') >= 0",
    "memory in attributes of files": "open('f', 'w').close(); os.setxattr('f', 'user.x', b'x'); return True",
    "network interfaces": "fcntl.ioctl(socket.socketpair()[0], 0x8912, bytes(16)); return True",
}
"""Name, and what the program does to `target`."""


def script(names: list[str], target: str) -> str:
    """A script that tries these attacks on the process that `target` (a Python expression) gives, and prints the names of
    those that got through.
    """
    machine = cast(Machine, platform.machine())
    numbers = {call.name: call.number(machine) for call in table() if call.number(machine) is not None}
    bodies = (f"def a{at}(target):\n" + indent(dedent(ATTACKS[name]).strip(), "    ") for at, name in enumerate(names))
    listed = ", ".join(f"{name!r}: a{at}" for at, name in enumerate(names))
    text = [_PRELUDE % numbers, *bodies, f"ATTACKS = {{{listed}}}", f"target = {target}"]
    return "\n".join(text) + _RUN
