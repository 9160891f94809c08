"""The host as a system: identity, clocks, sleeping, randomness, sizes.

Owns: every question of this kind to the host. Must not know guests or files. Times are integer nanoseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from emuvm.kernel import hostfd
from emuvm.kernel.credentials import Credentials, Ids

if TYPE_CHECKING:
    from emuvm.kernel.timers import Bell

_CLOCKS = frozenset((0, 1, 2, 3, 4, 5, 6, 7, 11))
"""Linux clock numbers that a host clock stands for; the alarm clocks and dynamic ones are not offered."""


class HostSystem:
    """What emuvm's own process sees; the guest is told it runs as that process."""

    overdue = False
    """Somebody stopped the engine for good."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def parent(self) -> int:
        """The parent's number: now, for it may have ended."""
        return os.getppid()

    def adopted(self, pid: int) -> None:
        """A process that was saved had this parent; the host's has its own."""

    def born(self) -> None:
        """emuvm's process is a child from now on."""
        self.pid = os.getpid()

    @property
    def pgid(self) -> int:
        return os.getpgrp()

    @cached_property
    def credentials(self) -> Credentials:
        """Who emuvm's process is; from there on the guest's own to change."""
        real, effective, saved = os.getresuid()
        uids = Ids(real, effective, saved, effective)
        real, effective, saved = os.getresgid()
        found = Credentials(uids, Ids(real, effective, saved, effective), os.getgroups())
        sets = {row[:6]: row[7:] for row in self._text("/proc/self/status").splitlines() if row.startswith("Cap")}
        found.inheritable, found.permitted, found.effective, found.bounding, found.ambient = (
            int(sets.get(name, "0"), 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        )
        return found

    @property
    def uid(self) -> int:
        return self.credentials.uids.real

    @property
    def euid(self) -> int:
        return self.credentials.uids.effective

    @property
    def gid(self) -> int:
        return self.credentials.gids.real

    @property
    def egid(self) -> int:
        return self.credentials.gids.effective

    @property
    def groups(self) -> list[int]:
        """Supplementary groups."""
        return self.credentials.groups

    def session(self, pid: int = 0) -> int:
        """getsid; OSError as there."""
        return os.getsid(pid)

    @hostfd.host_call
    def set_group(self, pid: int, group: int) -> None:
        """setpgid(2)."""
        os.setpgid(pid, group)

    @hostfd.host_call
    def new_session(self) -> int:
        """setsid(2)."""
        os.setsid()
        return self.pid

    def group_of(self, pid: int) -> int:
        """getpgid; OSError as there."""
        return os.getpgid(pid)

    def process_exists(self, pid: int) -> bool:
        """Is there such a process on the host?"""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    def may_signal(self, pid: int) -> bool:
        """Could emuvm send it a signal? None is sent."""
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True

    def owner(self, pid: int) -> int:
        """Whose process it is; -1 if that is not told."""
        try:
            return os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return -1

    def nice(self, which: int = 0, who: int = 0) -> int:
        """The scheduling priority, -20 to 19, of this process or those that getpriority(2) would take; OSError."""
        return os.getpriority(which, who)

    def switched_on(self, name: str) -> bool:
        """Is an environment variable of emuvm's own set, and not to 0?"""
        return os.environ.get(name, "0") not in ("", "0")

    def random(self, length: int) -> bytes:
        return os.urandom(length)

    def has_clock(self, clock: int) -> bool:
        return clock in _CLOCKS

    def clock(self, clock: int) -> int:
        """The time of a Linux clock number for which has_clock() holds."""
        return time.clock_gettime_ns(clock)

    def unseen(self, clock: int) -> int:
        """The same for emuvm's own sake: where time passes because the program looks at it, this does not count."""
        return self.clock(clock)

    def resolution(self, clock: int) -> int:
        return round(time.clock_getres(clock) * 1_000_000_000)

    def monotonic(self) -> float:
        """Seconds, for deadlines."""
        return time.monotonic()

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, wanted: Iterable[tuple[int, int]], seconds: float | None) -> dict[int, int]:
        """Wait for descriptors, (fd, poll events), at most `seconds`: {fd: events} of those that are ready."""
        return hostfd.wait(wanted, seconds)

    def readable(self, fd: int, seconds: float) -> bool:
        """Sleep, at most until a descriptor (-1: none) can be read: can it?"""
        return hostfd.readable(fd, seconds)

    def bell(self, ring: Callable[[], None]) -> Bell:
        """What calls `ring` when a monotonic time comes."""
        from emuvm.kernel.host_signals import Bell

        return Bell(ring)

    def blocks_spent(self) -> bool:
        """The engine has executed the blocks it was given. True: go on."""
        return False

    def stop(self, number: int) -> None:
        """Stop emuvm's own process as this signal would, until somebody continues it."""
        import signal

        before = None
        if number != signal.SIGSTOP:
            try:
                before = signal.signal(number, signal.SIG_DFL)
            except ValueError:
                number = signal.SIGSTOP
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(self.pid, number)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is not None:
            signal.signal(number, before)

    def cpu_times(self) -> tuple[int, int]:
        """(user, system) time of this process."""
        times = os.times()
        return round(times.user * 1_000_000_000), round(times.system * 1_000_000_000)

    def usage(self) -> tuple[int, ...]:
        """The 14 counters of struct rusage behind the times; ru_maxrss first, in KiB."""
        import resource

        return tuple(int(value) for value in resource.getrusage(resource.RUSAGE_SELF)[2:])

    def limit(self, number: int) -> tuple[int, int]:
        """(soft, hard) of a host resource limit by its generic Linux number, all ones for none."""
        import resource

        soft, hard = resource.getrlimit(number)
        return soft & (1 << 64) - 1, hard & (1 << 64) - 1

    @property
    def capabilities(self) -> int:
        """The effective capabilities, bit n for capability n."""
        return self.credentials.effective

    @property
    def ignored_signals(self) -> int:
        """The signals this process was started with as ignored, bit n-1 for signal n; without those that Python itself ignores."""
        rows = [row[7:] for row in self._text("/proc/self/status").splitlines() if row.startswith("SigIgn:")]
        python = 1 << 12 | 1 << 24  # SIGPIPE, SIGXFSZ
        return int(rows[0], 16) & ~python if rows else 0

    @cached_property
    def total_memory(self) -> int:
        """Memory and swap in bytes: what one request may not exceed (vm.overcommit_memory 0)."""
        sizes = self.memory()
        return sizes.get("MemTotal", 0) + sizes.get("SwapTotal", 0) or 1 << 64

    def overcommit(self) -> int:
        """vm.overcommit_memory."""
        return self._number("/proc/sys/vm/overcommit_memory", 0)

    def lowest_address(self) -> int:
        """vm.mmap_min_addr."""
        return self._number("/proc/sys/vm/mmap_min_addr", 0x1_0000)

    def _number(self, path: str, otherwise: int) -> int:
        text = self._text(path).strip()
        return int(text) if text.isdigit() else otherwise

    def speculation(self, feature: int) -> int:
        """prctl(PR_GET_SPECULATION_CTRL) of this process; 0, not affected, where the host has no such call."""
        import ctypes

        try:
            return max(0, int(ctypes.CDLL(None).prctl(52, *(ctypes.c_ulong(value) for value in (feature, 0, 0, 0)))))
        except AttributeError:
            return 0

    def cpus(self, pid: int = 0) -> set[int]:
        """The CPUs a process may run on; OSError."""
        return os.sched_getaffinity(pid)

    def cpuset(self) -> set[int]:
        """The CPUs that this thread could have itself put on: more than `cpus` when somebody chose fewer."""
        before = self.cpus()
        try:
            os.sched_setaffinity(0, range(1 << 10))
            return self.cpus()
        finally:
            os.sched_setaffinity(0, before)

    def clock_state(self, modes: int) -> tuple[int, bytes]:
        """What adjtimex(2) tells when it only asks: its result, and struct timex of 64 bits."""
        import ctypes

        data = ctypes.create_string_buffer(modes.to_bytes(4, "little"), 208)
        return max(0, int(ctypes.CDLL(None).adjtimex(data))), data.raw

    def online(self) -> int:
        """How many CPUs work, whoever may use them."""
        return os.cpu_count() or 1

    def cpu_mask_size(self) -> int:
        """Bytes of a mask of CPUs in the host's kernel; 0 if that cannot be told."""
        import ctypes

        from emuvm.abi.numbers import numbers

        arch = {"aarch64": "arm64", "x86_64": "x86_64"}.get(os.uname().machine)
        if arch is None:
            return 0
        number = numbers(arch)["sched_getaffinity"]
        return max(0, int(ctypes.CDLL(None).syscall(number, 0, 8192, ctypes.create_string_buffer(8192))))

    def processor(self) -> tuple[int, int]:
        """(CPU, memory node) that this thread runs on now."""
        import ctypes

        cpu, node = ctypes.c_uint(), ctypes.c_uint()
        try:
            ctypes.CDLL(None).getcpu(ctypes.byref(cpu), ctypes.byref(node))
        except AttributeError:
            return min(self.cpus()), 0
        return cpu.value, node.value

    def uname(self) -> tuple[str, str, str, str]:
        """(sysname, nodename, release, version)."""
        names = os.uname()
        return names.sysname, names.nodename, names.release, names.version

    def domain(self) -> str:
        """The NIS domain name, as uname tells it."""
        return self._text("/proc/sys/kernel/domainname").strip() or "(none)"

    def memory(self) -> dict[str, int]:
        """/proc/meminfo in bytes: MemTotal, MemFree, Shmem, Buffers, SwapTotal, SwapFree."""
        sizes = {}
        for row in self._text("/proc/meminfo").splitlines():
            name, _, rest = row.partition(":")
            words = rest.split()
            if words and words[0].isdigit():
                sizes[name] = int(words[0]) * (1024 if len(words) > 1 else 1)
        return sizes

    def load(self) -> tuple[tuple[float, float, float], int]:
        """The load averages, and the number of threads on the system."""
        words = self._text("/proc/loadavg").split()
        if len(words) < 4:
            return (0.0, 0.0, 0.0), 1
        return (float(words[0]), float(words[1]), float(words[2])), int(words[3].partition("/")[2] or 1)

    @staticmethod
    def _text(path: str) -> str:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError:
            return ""
