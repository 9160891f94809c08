"""Lines that strace 6.1 writes for calls with unusual arguments, recorded; without a CPU."""

from __future__ import annotations

import struct

import pytest

from emuvm.abi.arch import X86_64
from emuvm.engine.memory import MemoryEngine
from emuvm.kernel.process import Process
from emuvm.kernel.usermem import UserMemory
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace
from emuvm.tools.strace_format import Formatter

BASE, SIZE = 0x100000, 0x4000
END = BASE + SIZE
ALL = (1 << 64) - 1
TEXT, TIME, ATTR, NUMBERS, NAME = BASE, BASE + 0x100, BASE + 0x200, END - 12, BASE + 0x400
INFO, EVENT, WAIT, HOW, STAT, VECTOR = BASE + 0x800, BASE + 0x900, BASE + 0xA00, BASE + 0xB00, BASE + 0xC00, BASE + 0xD00


@pytest.fixture(scope="module")
def memory() -> UserMemory:
    space = AddressSpace(0, X86_64.task_size)
    engine = MemoryEngine(X86_64, space)
    process = Process(X86_64, space, LinuxMm(space, X86_64), engine)
    space.map_at(BASE, SIZE, 3)
    for at, data in (
        (TEXT, b"abc\0"), (TIME, struct.pack("<4q", 0, 0, 5, 1_000_000)),
        (ATTR, struct.pack("<IIQiIQQQII", 56, 1, 1, -2, 3, 4, 5, 6, 7, 8)),
        (NUMBERS, struct.pack("<3I", ALL & 0xFFFF_FFFF, 2, 3)), (NAME, b"x" * 300),
        (INFO, struct.pack("<iiiiiIQ", 10, 2, -1, 0, 7, 0xFFFF_FFFF, 9)),
        (EVENT, struct.pack("<QiiQQ", 1, -5, 2, 0x10, 0x20)), (WAIT, struct.pack("<QQII", 1, 0x1000, 130, 1)),
        (HOW, struct.pack("<4Q", 1 << 40, 0o1234567, 1, 0)), (STAT, struct.pack("<12Q", 0x9FA0, *[0] * 11)),
        (VECTOR, struct.pack("<QQ", END - 4, 9)),
    ):  # fmt: skip
        engine.memory.write(at, data)
    return UserMemory(process.mem.space, process.mem.memory, X86_64)


LINES = [
    ("memfd_create", (NAME, 0), -22, f'memfd_create("{"x" * 250}"..., 0)'),
    ("memfd_secret", (0x80001,), -22, "memfd_secret(O_CLOEXEC|0x1)"),
    ("pkey_alloc", (0, 15), -22, "pkey_alloc(0, PKEY_DISABLE_ACCESS|PKEY_DISABLE_WRITE|PKEY_DISABLE_EXECUTE|0x8)"),
    ("process_madvise", (3, 0, 0, 0, 5 << 32), -22, "process_madvise(3, NULL, 0, MADV_NORMAL, 0)"),
    ("process_mrelease", (ALL, 1 << 32), -38, "process_mrelease(-1, 0)"),
    ("mbind", (0x1000, 0, ALL >> 32 << 32, 0, 0, 0), -22, "mbind(0x1000, 0, 0xffffffff00000000 /* MPOL_??? */, NULL, 0, 0)"),
    ("rt_sigpending", (TIME, 4), 0, "rt_sigpending([], 4)"),
    ("pidfd_open", (1, 0x801), -22, "pidfd_open(1, PIDFD_NONBLOCK|0x1)"),
    ("pidfd_send_signal", (3, 10, INFO, 0), -9,
     "pidfd_send_signal(3, SIGUSR1, {si_signo=SIGUSR1, si_code=SI_QUEUE, si_errno=ENOENT, si_pid=7, si_uid=-1, si_int=9, si_ptr=0x9}, 0)"),
    ("pidfd_send_signal", (3, 10, END - 127, 0), -9, f"pidfd_send_signal(3, SIGUSR1, {END - 127:#x}, 0)"),
    ("timer_create", (0, EVENT, 0), -22,
     "timer_create(CLOCK_REALTIME, {sigev_value={sival_int=1, sival_ptr=0x1}, sigev_signo=4294967291, sigev_notify=SIGEV_THREAD, "
     "sigev_notify_function=0x10, sigev_notify_attributes=0x20}, NULL)"),
    ("sched_setparam", (0, EVENT), -22, "sched_setparam(0, [1])"),
    ("sched_getattr", (0, ATTR, 48, 1), 0,
     "sched_getattr(0, {size=56, sched_policy=SCHED_FIFO, sched_flags=SCHED_FLAG_RESET_ON_FORK, sched_nice=-2, sched_priority=3, "
     "sched_runtime=4, sched_deadline=5, sched_period=6}, 48, 1)"),
    ("sched_setattr", (0, ATTR, 0), -7,
     "sched_setattr(0, {size=56, sched_policy=SCHED_FIFO, sched_flags=SCHED_FLAG_RESET_ON_FORK, sched_nice=-2, sched_priority=3, "
     "sched_runtime=4, sched_deadline=5, sched_period=6, sched_util_min=7, sched_util_max=8} => {size=56}, 0)"),
    ("futex_waitv", (WAIT, 1, 0, 0, 1), -22,
     "futex_waitv([{val=0x1, uaddr=0x1000, flags=FUTEX_32|FUTEX_PRIVATE_FLAG, __reserved=0x1}], 1, 0, NULL, CLOCK_MONOTONIC)"),
    ("openat2", (3, TEXT, HOW, 24), -22, 'openat2(3, "abc", {flags=O_RDONLY|0x10000000000, mode=01234567, resolve=RESOLVE_NO_XDEV}, 24)'),
    ("fcntl", (3, 1025), 2, "fcntl(3, F_GETLEASE)"),
    ("fstatfs", (3, STAT), 0,
     "fstatfs(3, {f_type=PROC_SUPER_MAGIC, f_bsize=0, f_blocks=0, f_bfree=0, f_bavail=0, f_files=0, f_ffree=0, f_fsid={val=[0, 0]}, "
     "f_namelen=0, f_frsize=0})"),
    ("utimes", (TEXT, TIME), -22, 'utimes("abc", [{tv_sec=0, tv_usec=0}, {tv_sec=5, tv_usec=1000000}])'),
    ("setxattr", (TEXT, TEXT, TEXT, 4, 0), -95, 'setxattr("abc", "abc", "abc", 4, 0)'),
    ("setxattr", (TEXT, TEXT, TEXT, 65537, 0), -7, f'setxattr("abc", "abc", {TEXT:#x}, 65537, 0)'),
    ("listxattr", (TEXT, TEXT, 0), 0, f'listxattr("abc", {TEXT:#x}, 0)'),
    ("sethostname", (TEXT, 65), -22, f"sethostname({TEXT:#x}, 65)"),
    ("writev", (1, VECTOR, 1), -9, f"writev(1, [{{iov_base={END - 4:#x}, iov_len=9}}], 1)"),
    ("select", (ALL, TEXT, 0, 0, 0), -22, f"select(-1, {TEXT:#x}, NULL, NULL, NULL)"),
    ("setfsuid", (ALL,), 0, "setfsuid(-1)"),
    ("setgroups", (ALL, 0), -22, "setgroups(-1, NULL)"),
    ("setgroups", (4, NUMBERS), -14, f"setgroups(4, [-1, 2, 3, ... /* {END:#x} */])"),
    ("setgroups", (65537, NUMBERS), -22, f"setgroups(65537, {NUMBERS:#x})"),
    ("settimeofday", (0, TIME), -1, "settimeofday(NULL, {tz_minuteswest=0, tz_dsttime=0})"),
    ("epoll_pwait2", (3, TEXT, 1, TIME, TIME, 8), -22, f"epoll_pwait2(3, {TEXT:#x}, 1, {TIME:#x}, {TIME:#x}, 8)"),
    ("ioprio_set", (2, 1, 0x6001), -22, "ioprio_set(IOPRIO_WHO_PGRP, 1, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 1))"),
    ("unshare", (0x280,), -22, "unshare(CLONE_NEWTIME|CLONE_FS)"),
    ("clock_adjtime", (1, 0), -14, "clock_adjtime(CLOCK_MONOTONIC, NULL)"),
    ("shutdown", (ALL, 2), -9, "shutdown(-1, SHUT_RDWR)"),
    ("mount", (TEXT, TEXT, 0, 0x201, 0), -1, 'mount("abc", "abc", NULL, MS_RDONLY|0x200, NULL)'),
    ("finit_module", (3, TEXT, 10), -38, 'finit_module(3, "abc", MODULE_INIT_IGNORE_VERMAGIC|0x8)'),
    ("delete_module", (TEXT, 0x801), -38, 'delete_module("abc", O_NONBLOCK|0x1)'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "result", "line"), LINES, ids=[line[0] for line in LINES])
def test_lines(memory: UserMemory, name: str, args: tuple[int, ...], result: int, line: str) -> None:
    shown = Formatter(X86_64, memory).begin(name, (*args, *[0] * (6 - len(args)))).end(result)
    assert shown[: len(line) + 1] == line + " "


def test_results(memory: UserMemory) -> None:
    formatter = Formatter(X86_64, memory)
    assert formatter.begin("fcntl", (3, 1025, 0, 0, 0, 0)).end(2).endswith("= 0x2 (F_UNLCK)")
    assert formatter.begin("ioprio_get", (1, 0, 0, 0, 0, 0)).end(0x4004).endswith("= 0x4004 (IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4))")


def test_dots_promise_memory(memory: UserMemory) -> None:
    """Where as many elements can be read as are shown and no more, the line says so."""
    shown = Formatter(X86_64, memory, limit=3).begin("setgroups", (4, NUMBERS, 0, 0, 0, 0)).end(-14)
    assert shown.startswith(f"setgroups(4, [-1, 2, 3, ... /* {END:#x} */])")
