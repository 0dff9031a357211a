"""Every system call that a sandboxed program may make, and those that it may not with the reason.

What is not listed here does not exist for a program (ENOSYS): old calls that nobody uses, and those that a newer kernel
brings. `seccomp.py` makes the filter out of this table, and says what each rule by arguments demands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

Verdict = Literal[
    "allow",
    "refuse",
    "absent",
    "process",
    "signal",
    "priority",
    "io_priority",
    "clock",
    "clone",
    "prctl",
    "fcntl",
    "ioctl",
    "mmap",
    "socket",
    "socketpair",
    "network",
    "getsockopt",
]
Machine = Literal["x86_64", "aarch64"]


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        name: as in the kernel.
        x86_64: its number there; None where there is none.
        aarch64: the same on 64-bit ARM.
        verdict: `allow`, `refuse` (EPERM), `absent` (ENOSYS), or the rule that looks at its arguments.
        reason: why, in words.
    """

    name: str
    x86_64: int | None
    aarch64: int | None
    verdict: Verdict
    reason: str

    def number(self, machine: Machine) -> int | None:
        """Its number on that machine."""
        return self.x86_64 if machine == "x86_64" else self.aarch64


@cache
def table() -> tuple[Call, ...]:
    """All calls that have a row."""
    calls = []
    for verdict, reason, names in _TABLE:
        for row in names.split():
            name, *numbers = row.split(":")
            x86_64, aarch64 = (None if number == "-" else int(number) for number in numbers)
            calls.append(Call(name, x86_64, aarch64, verdict, reason))
    return tuple(calls)


_TABLE: tuple[tuple[Verdict, str, str], ...] = (
    (
        "allow",
        "reads and writes what is open",
        "read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69 pwritev:296:70 "
        "preadv2:327:286 pwritev2:328:287 lseek:8:62 sendfile:40:71 splice:275:76 tee:276:77 copy_file_range:326:285 "
        "close:3:57 close_range:436:436 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59",
    ),
    (
        "allow",
        "opens and names files; the walls and the files' rights decide which",
        "open:2:- openat:257:56 openat2:437:437 creat:85:- access:21:- faccessat:269:48 faccessat2:439:439 stat:4:- "
        "lstat:6:- fstat:5:80 newfstatat:262:79 statx:332:291 statfs:137:43 fstatfs:138:44 readlink:89:- "
        "readlinkat:267:78 getdents:78:- getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 getxattr:191:8 "
        "lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11 llistxattr:195:12 flistxattr:196:13",
    ),
    (
        "allow",
        "changes files; the walls and the files' rights decide which",
        "mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 "
        "renameat2:316:276 link:86:- linkat:265:37 symlink:88:- symlinkat:266:36 mknod:133:- mknodat:259:33 "
        "chmod:90:- fchmod:91:52 fchmodat:268:53 chown:92:- fchown:93:55 lchown:94:- fchownat:260:54 utime:132:- "
        "utimes:235:- utimensat:280:88 futimesat:261:- truncate:76:45 ftruncate:77:46 fallocate:285:47 "
        "fadvise64:221:223 fsync:74:82 fdatasync:75:83 flock:73:32 umask:95:166 fchmodat2:452:452",
    ),
    (
        "allow",
        "memory of the process itself; its limit is the kernel's",
        "brk:12:214 munmap:11:215 mremap:25:216 mprotect:10:226 msync:26:227 madvise:28:233 mincore:27:232",
    ),
    (
        "allow",
        "waits and timers; a timer's signal reaches its own process only",
        "poll:7:- ppoll:271:73 select:23:- pselect6:270:72 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 "
        "epoll_wait:232:- epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:- eventfd2:290:19 signalfd:282:- "
        "signalfd4:289:74 timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87 nanosleep:35:101 "
        "clock_gettime:228:113 clock_getres:229:114 gettimeofday:96:169 time:201:- times:100:153 alarm:37:- "
        "pause:34:- getitimer:36:102 setitimer:38:103 timer_settime:223:110 timer_gettime:224:108 "
        "timer_getoverrun:225:109 timer_delete:226:111",
    ),
    (
        "allow",
        "signals of the process itself",
        "rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigpending:127:136 rt_sigtimedwait:128:137 "
        "rt_sigsuspend:130:133 rt_sigreturn:15:139 sigaltstack:131:132 restart_syscall:219:128",
    ),
    (
        "allow",
        "threads and their locks",
        "futex:202:98 futex_waitv:449:449 set_robust_list:273:99 set_tid_address:218:96 rseq:334:293 "
        "sched_yield:24:124 arch_prctl:158:-",
    ),
    (
        "allow",
        "children; NPROC bounds them, and a group or session holds only a program's own",
        "fork:57:- vfork:58:- execve:59:221 execveat:322:281 wait4:61:260 waitid:247:95 exit:60:93 exit_group:231:94 "
        "setsid:112:157 setpgid:109:154",
    ),
    (
        "allow",
        "asks, and changes nothing",
        "getpid:39:172 getppid:110:173 gettid:186:178 getpgid:121:155 getpgrp:111:- getsid:124:156 getuid:102:174 "
        "geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148 getresgid:120:150 getgroups:115:158 "
        "getrlimit:97:163 getrusage:98:165 getpriority:140:141 ioprio_get:252:31 sched_getaffinity:204:123 "
        "sched_getscheduler:145:120 sched_getparam:143:121 sched_getattr:315:275 sched_get_priority_max:146:125 "
        "sched_get_priority_min:147:126 sched_rr_get_interval:148:127 getcpu:309:168 get_mempolicy:239:236 "
        "uname:63:160 sysinfo:99:179 getrandom:318:278 capget:125:90",
    ),
    (
        "allow",
        "limits of the process itself; the hard ones only fall",
        "setrlimit:160:164",
    ),
    (
        "allow",
        "sockets that are there; the network namespace, or `socket`, decides which there can be",
        "sendto:44:206 sendmsg:46:211 sendmmsg:307:269 recvfrom:45:207 recvmsg:47:212 recvmmsg:299:243 "
        "shutdown:48:210 getsockname:51:204 getpeername:52:205 setsockopt:54:208",
    ),
    (
        "process",
        "names a process by its first argument: limits and cores of others are not a program's to set",
        "prlimit64:302:261 sched_setaffinity:203:122",
    ),
    (
        "signal",
        "signals a process, or a group by a negative number",
        "kill:62:129 tkill:200:130 tgkill:234:131 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240",
    ),
    (
        "priority",
        "sets the priority of a process, a group or all of a user",
        "setpriority:141:140",
    ),
    (
        "io_priority",
        "the same for disks, counted from one",
        "ioprio_set:251:30",
    ),
    (
        "clock",
        "a clock below 0 is the processor time of any process, on which a timer would be set",
        "timer_create:222:107 clock_nanosleep:230:115",
    ),
    (
        "clone",
        "makes threads and children, but no namespaces, and no children of its parent",
        "clone:56:220",
    ),
    (
        "prctl",
        "many things of the process itself; the rest, among them sharing a core's cookie with another process",
        "prctl:157:167",
    ),
    (
        "fcntl",
        "descriptors and locks; naming who gets a file's signals would signal any process",
        "fcntl:72:25",
    ),
    (
        "ioctl",
        "asks about files; the rest drives terminals, devices, network interfaces, and names who gets signals",
        "ioctl:16:29",
    ),
    (
        "mmap",
        "maps files and memory; memory shared without a file escapes counting once it is unmapped in part",
        "mmap:9:222",
    ),
    (
        "socket",
        "makes a socket, of the kinds that lead nowhere",
        "socket:41:198",
    ),
    (
        "socketpair",
        "makes connected sockets; where the network namespace is the machine's, none that can be sent elsewhere",
        "socketpair:53:199",
    ),
    (
        "network",
        "gives a socket an address or a peer; only in a network namespace of the sandbox's own",
        "bind:49:200 connect:42:203 listen:50:201 accept:43:202 accept4:288:242",
    ),
    (
        "getsockopt",
        "asks about a socket, but not for its peer's process",
        "getsockopt:55:209",
    ),
    (
        "refuse",
        "reads or writes another process's memory, descriptors or registers",
        "ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 process_madvise:440:440 "
        "process_mrelease:448:448 pidfd_getfd:438:438 kcmp:312:272 get_robust_list:274:100",
    ),
    (
        "refuse",
        "signals by a descriptor of a process, which no filter can look into",
        "pidfd_send_signal:424:424",
    ),
    (
        "refuse",
        "moves another process's memory between nodes",
        "move_pages:279:239 migrate_pages:256:238",
    ),
    (
        "refuse",
        "real-time and idle policies, by which a process starves others or cannot be ended on a busy machine",
        "sched_setscheduler:144:119 sched_setparam:142:118 sched_setattr:314:274",
    ),
    (
        "refuse",
        "changes the walls",
        "mount:165:40 umount2:166:39 pivot_root:155:41 chroot:161:51 unshare:272:97 setns:308:268 open_tree:428:428 "
        "move_mount:429:429 fsopen:430:430 fsmount:432:432 fsconfig:431:431 fspick:433:433 mount_setattr:442:442 "
        "open_by_handle_at:304:265",
    ),
    (
        "refuse",
        "changes who the process is, which would change what it may",
        "setuid:105:146 setgid:106:144 setreuid:113:145 setregid:114:143 setresuid:117:147 setresgid:119:149 "
        "setfsuid:122:151 setfsgid:123:152 setgroups:116:159 capset:126:91",
    ),
    (
        "refuse",
        "watches or programs the kernel, or has it work unseen",
        "bpf:321:280 perf_event_open:298:241 userfaultfd:323:282 io_uring_setup:425:425 io_uring_enter:426:426 "
        "io_uring_register:427:427 seccomp:317:277",
    ),
    (
        "refuse",
        "memory that no limit counts",
        "memfd_create:319:279 memfd_secret:447:447 shmget:29:194 shmat:30:196 shmctl:31:195 shmdt:67:197 "
        "msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187 semget:64:190 semop:65:193 semctl:66:191 "
        "semtimedop:220:192 mq_open:240:180 mq_notify:244:184 mq_timedsend:242:182 mq_timedreceive:243:183 "
        "mq_getsetattr:245:185 mq_unlink:241:181 setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7",
    ),
    (
        "refuse",
        "the kernel's keys, which others of the same user share",
        "add_key:248:217 request_key:249:218 keyctl:250:219",
    ),
    (
        "refuse",
        "another personality is another set of system calls",
        "personality:135:92",
    ),
    (
        "refuse",
        "halts every writer of the machine",
        "sync:162:81 syncfs:306:267",
    ),
    (
        "refuse",
        "the machine's own: its kernel, clock, name, swap and log",
        "kexec_load:246:104 kexec_file_load:320:294 init_module:175:105 finit_module:313:273 delete_module:176:106 "
        "reboot:169:142 swapon:167:224 swapoff:168:225 sethostname:170:161 setdomainname:171:162 settimeofday:164:170 "
        "clock_settime:227:112 adjtimex:159:171 clock_adjtime:305:266 syslog:103:116 acct:163:89 quotactl:179:60 "
        "iopl:172:- ioperm:173:- vhangup:153:58",
    ),
    (
        "absent",
        "its flags lie in memory, where no filter can look; libraries fall back on `clone`",
        "clone3:435:435",
    ),
    (
        "absent",
        "a handle on any process; libraries do without",
        "pidfd_open:434:434",
    ),
    (
        "absent",
        "watchers of files, of which all processes of a user share a few",
        "inotify_init:253:- inotify_init1:294:26 inotify_add_watch:254:27 inotify_rm_watch:255:28 "
        "fanotify_init:300:262 fanotify_mark:301:263",
    ),
    (
        "absent",
        "requests that the kernel works off by itself",
        "io_setup:206:0 io_submit:209:2 io_getevents:208:4 io_pgetevents:333:292 io_cancel:210:3 io_destroy:207:1",
    ),
)
"""Verdict, reason, and the calls that share them: name, number on x86-64, number on 64-bit ARM."""
