"""How single calls are shown, without a CPU; the table against the registry; and that nothing a guest passes raises."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from emuvm.abi.arch import ARM64, X86_64
from emuvm.abi.names import kinds, names
from emuvm.abi.numbers import numbers
from emuvm.engine.memory import MemoryEngine
from emuvm.kernel import registry
from emuvm.kernel.filetable import FileTable
from emuvm.kernel.fs import Filesystem
from emuvm.kernel.process import ExitStatus, Process
from emuvm.kernel.report import Reporter
from emuvm.kernel.siginfo import SignalInfo
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace
from emuvm.tools.strace import Strace
from emuvm.tools.strace_call import Call, find, flags, one
from emuvm.tools.strace_filter import Filter
from emuvm.tools.strace_format import Formatter
from emuvm.tools.strace_table import COMMANDS, rows
from emuvm.tools.strace_text import quote

BASE = 0x100000
N = numbers("x86_64")


class Watched:
    """A process without a CPU whose calls are traced."""

    def __init__(self, expression: str = "", root: str = "/", limit: int = 32) -> None:
        self.space = AddressSpace(0, X86_64.task_size)
        self.engine = MemoryEngine(X86_64, self.space)
        self.proc = Process(X86_64, self.space, LinuxMm(self.space, X86_64), self.engine)
        self.proc.reporter = Reporter()
        self.proc.files = FileTable()
        self.proc.fs = Filesystem(root, (), False, self.proc.reporter)
        self.space.map_at(BASE, 0x4000, 3)
        self.lines: list[str] = []
        self.trace = Strace(self.proc, lambda text: self.lines.append(text.rstrip("\n")), Filter(expression), limit)

    def call(self, name: str | int, *args: int) -> str:
        """Make a call; the last line written."""
        raw = (*(arg & (1 << 64) - 1 for arg in args), *[0] * (6 - len(args)))
        self.proc.dispatcher.call(N[name] if isinstance(name, str) else name, raw)
        return self.lines[-1] if self.lines else ""

    def put(self, data: bytes, offset: int = 0) -> int:
        self.engine.memory.write(BASE + offset, data)
        return BASE + offset


@pytest.fixture
def guest() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.proc.files.close_all()
    watched.proc.fs.close()


def test_result_column_and_errors(guest: Watched) -> None:
    assert guest.call("getpid") == "getpid()".ljust(40) + f"= {guest.proc.pid}"
    assert guest.call("close", 999) == "close(999)".ljust(40) + "= -1 EBADF (Bad file descriptor)"
    assert guest.call("munmap", 1, 5).endswith("= -1 EINVAL (Invalid argument)")


def test_pointers_and_memory(guest: Watched) -> None:
    line = guest.call("mmap", 0, 8192, 3, 0x22, -1, 0)
    assert line.startswith("mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7")
    assert guest.call("mprotect", BASE, 4096, 0) == f"mprotect({BASE:#x}, 4096, PROT_NONE)".ljust(40) + "= 0"
    assert "MADV_DONTNEED" in guest.call("madvise", BASE, 4096, 4)


def test_strings_are_cut_and_escaped(guest: Watched) -> None:
    path = guest.put(b"/no\n\x01\x017\"\\" + b"x" * 40 + b"\0")
    assert guest.call("open", path, 0).startswith('open("/no\\n\\1\\0017\\"\\\\' + "x" * 40 + '", O_RDONLY) = -1 ENOENT')
    assert guest.call("write", 99, guest.put(b"y" * 50), 50).startswith(f'write(99, "{"y" * 32}"..., 50)')
    assert guest.call("write", 99, guest.put(b"y" * 32), 32).startswith(f'write(99, "{"y" * 32}", 32)')
    assert quote(b"\x80\xff1\x00") == '"\\200\\3771\\0"'


def test_unreadable_memory_is_an_address(guest: Watched) -> None:
    guest.space.protect(BASE, 0x1000, 0)
    for address in (0, 1, BASE, BASE + 0x4000, (1 << 47) - 1, (1 << 64) - 1):
        shown = "NULL" if not address else f"{address:#x}"
        assert guest.call("stat", address, address).startswith(f"stat({shown}, {shown}) ")
        assert f"SIGINT, {shown}, {shown}, 8) " in guest.call("rt_sigaction", 2, address, address, 8)
        assert f"nanosleep({shown}, NULL) " in guest.call("nanosleep", address, 0)
        assert f"execve({shown}, {shown}, {shown}) " in guest.call("execve", address, address, address)


def test_output_is_shown_after_the_call(guest: Watched) -> None:
    assert guest.call("pipe", BASE) == "pipe([3, 4])".ljust(40) + "= 0"
    assert guest.call("fcntl", 3, 1).endswith("= 0")
    assert guest.call("fcntl", 4, 3).endswith("= 0x1 (flags O_WRONLY)") or "O_WRONLY" in guest.lines[-1]
    assert guest.call("uname", BASE).startswith('uname({sysname="Linux", nodename="')
    assert guest.call("uname", 1) == "uname(0x1)".ljust(40) + "= -1 EFAULT (Bad address)"


def test_signal_structures(guest: Watched) -> None:
    action = struct.pack("<QQQQ", 0x1234, 0x1400_0000, 0x77, 1 << 1 | 1 << 14)
    line = guest.call("rt_sigaction", 10, guest.put(action), 0, 8)
    shown = "{sa_handler=0x1234, sa_mask=[INT TERM], sa_flags=SA_RESTORER|SA_RESTART, sa_restorer=0x77}"
    assert line == f"rt_sigaction(SIGUSR1, {shown}, NULL, 8) = 0"
    assert "~[KILL STOP]" in guest.call("rt_sigprocmask", 2, guest.put(struct.pack("<Q", (1 << 64) - 1 & ~0x40100)), 0, 8)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x0300, "WIFEXITED(s) && WEXITSTATUS(s) == 3"),
        (0xFF00, "WIFEXITED(s) && WEXITSTATUS(s) == 255"),
        (0x137F, "WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP"),
        (0x000F, "WIFSIGNALED(s) && WTERMSIG(s) == SIGTERM"),
        (0x008B, "WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)"),
    ],
)
def test_wait_status(guest: Watched, status: int, text: str) -> None:
    call = Call(X86_64, guest.proc.mem, "wait4", (0,) * 6, 32)
    show, at = find("status"), guest.put(struct.pack("<i", status))
    call.result = 77
    assert show(call, at) == f"[{{{text}}}]"
    for nobody in (0, -10):
        call.result = nobody
        assert show(call, at) == f"{at:#x}"


def test_vectors_show_what_was_read(guest: Watched) -> None:
    assert guest.call("pipe", BASE) and guest.call("write", 4, guest.put(b"abcde"), 5)
    guest.call("close", 4)
    vector = guest.put(struct.pack("<QQQQ", BASE + 0x100, 3, BASE + 0x200, 4))
    assert guest.call("readv", 3, vector, 2) == 'readv(3, [{iov_base="abc", iov_len=3}, {iov_base="de", iov_len=4}], 2) = 5'
    assert guest.call("readv", 3, vector, 2) == 'readv(3, [{iov_base="", iov_len=3}, {iov_base="", iov_len=4}], 2) = 0'


def test_calls_that_are_not_there(guest: Watched) -> None:
    assert guest.call(1234, 1, 0, 0xFFFF) == "syscall_0x4d2(0x1, 0, 0xffff, 0, 0, 0)  = -1 ENOSYS (Function not implemented)"
    assert guest.call("vhangup") == "vhangup()".ljust(40) + "= -1 ENOSYS (Function not implemented)"


def test_ending(guest: Watched) -> None:
    assert guest.call("exit_group", 3) == "exit_group(3)".ljust(40) + "= ?"
    guest.trace.exited(ExitStatus(3))
    assert guest.lines[-1] == "+++ exited with 3 +++"


def test_signals_and_killing(guest: Watched) -> None:
    guest.trace.signal(SignalInfo(11, 1, 0x10))
    assert guest.lines[-1] == "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10} ---"
    guest.trace.exited(ExitStatus(0, 11))
    assert guest.lines[-1] == "+++ killed by SIGSEGV +++"


def test_a_call_that_never_ends(guest: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(*_args: int) -> int:
        raise KeyboardInterrupt

    spec = registry.find("nanosleep")
    assert spec is not None
    monkeypatch.setitem(registry._specs, "nanosleep", spec._replace(handler=waits))
    with pytest.raises(KeyboardInterrupt):
        guest.call("nanosleep", guest.put(struct.pack("<qq", 5, 0)), 0)
    guest.trace.exited(None)
    assert guest.lines == ["nanosleep({tv_sec=5, tv_nsec=0},  <unfinished ...>) = ?"]


def test_a_filter_decides() -> None:
    watched = Watched("open,close;status=failed;signal=none")
    watched.call("getpid")
    watched.call("close", 0)
    watched.trace.signal(SignalInfo(11, 1, 0x10))
    assert watched.lines == []
    assert watched.call("close", 99).startswith("close(99)")


def test_limit_of_strings() -> None:
    watched = Watched(limit=3)
    assert watched.call("write", 99, watched.put(b"abcdef"), 6).startswith('write(99, "abc"..., 6)')


def test_flags() -> None:
    prot = names("prot", "x86_64")
    assert [flags(value, prot) for value in (0, 1, 3, 0x10, 0x11)] == [
        "PROT_NONE", "PROT_READ", "PROT_READ|PROT_WRITE", "0x10 /* PROT_??? */", "PROT_READ|0x10",
    ]  # fmt: skip
    assert flags(0x10, names("prot", "arm64")) == "PROT_BTI"
    assert one(99, names("madv", "arm64")) == "0x63 /* MADV_??? */"


@pytest.mark.parametrize("arch", ["x86_64", "arm64", "riscv64", "mips32", "ppc64", "sparc64"])
def test_names_exist_for_every_architecture(arch: str) -> None:
    for kind in kinds():
        found = names(kind, arch)
        assert found.entries or kind == "ioctl"
        assert all(value >= 0 for _, value in found.entries)


WORD = (1 << 64) - 1
RECORDED = [
    ("mmap", (1, 0, 0x7FFF_FFFF, 0xFFFF_FF7F ^ 0xD, WORD, 1),
     "mmap(0x1, 0, PROT_READ|PROT_WRITE|PROT_EXEC|PROT_SEM|PROT_GROWSDOWN|PROT_GROWSUP|0x7cfffff0, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS|"
     "MAP_32BIT|MAP_NORESERVE|MAP_POPULATE|MAP_NONBLOCK|MAP_GROWSDOWN|MAP_DENYWRITE|MAP_EXECUTABLE|MAP_LOCKED|MAP_STACK|MAP_HUGETLB|"
     "MAP_SYNC|MAP_FIXED_NOREPLACE|0x3e00600|63<<MAP_HUGE_SHIFT, -1, 0x1)"),
    ("mmap", (WORD, WORD, 8, 0xF, 5, WORD - 4095),
     "mmap(0xffffffffffffffff, 18446744073709551615, PROT_SEM, 0xf /* MAP_??? */, 5, 0xfffffffffffff000)"),
    ("mremap", (1, 2, 3, 0xFF, 5), "mremap(0x1, 2, 3, MREMAP_MAYMOVE|MREMAP_FIXED|MREMAP_DONTUNMAP|0xf8, 0x5)"),
    ("mremap", (1, 2, 3, 5, 5), "mremap(0x1, 2, 3, MREMAP_MAYMOVE|MREMAP_DONTUNMAP)"),
    ("open", (BASE + 0x1000, WORD & 0x7FFF_FFFF, 0o777),
     'open("", O_ACCMODE|O_CREAT|O_EXCL|O_NOCTTY|O_TRUNC|O_APPEND|O_NONBLOCK|O_SYNC|O_DIRECT|O_LARGEFILE|O_NOFOLLOW|O_NOATIME|'
     "O_CLOEXEC|O_PATH|O_TMPFILE|FASYNC|0x7f80003c, 0777)"),
    ("futex", (BASE, 5, 1, 2, 3, 4), "futex(0x100000, FUTEX_WAKE_OP, 1, 2, 0x3, FUTEX_OP_SET<<28|0<<12|FUTEX_OP_CMP_EQ<<24|0x4)"),
    ("futex", (BASE, 0x1FF, 1, 2, 3, 4), "futex(0x100000, 0x1ff /* FUTEX_??? */, 1, 0x2, 0x3, 0x4)"),
    ("futex", (BASE, 9 | 256, 4, 0, 0, WORD), "futex(0x100000, FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME, 4, NULL, FUTEX_BITSET_MATCH_ANY)"),
    ("clone", (17, 0, 0, 0, 0), "clone(child_stack=NULL, flags=SIGCHLD)"),
    ("personality", (0x1FF0_FFFE,),
     "personality(0xfe /* PER_??? */|MMAP_PAGE_ZERO|ADDR_COMPAT_LAYOUT|READ_IMPLIES_EXEC|ADDR_LIMIT_32BIT|SHORT_INODE|WHOLE_SECONDS|"
     "STICKY_TIMEOUTS|ADDR_LIMIT_3GB|0x1000ff00)"),
    ("shmget", (1, 2, WORD), "shmget(0x1, 2, IPC_CREAT|IPC_EXCL|SHM_HUGETLB|SHM_NORESERVE|0x3ffe000|63<<SHM_HUGE_SHIFT|0777)"),
    ("mknod", (BASE + 0x1000, 0o60644, 0x12345), 'mknod("", S_IFBLK|0644, makedev(0x123, 0x45))'),
    ("prctl", (0x53564D41, 0, BASE, 4096, BASE + 0x1000), 'prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, 0x100000, 4096, "")'),
    ("timer_settime", (5, 3, 1, 1), "timer_settime(5, TIMER_ABSTIME|0x2, 0x1, 0x1)"),
    ("eventfd2", (WORD, WORD), "eventfd2(4294967295, EFD_SEMAPHORE|EFD_CLOEXEC|EFD_NONBLOCK|0xfff7f7fe)"),
    ("membarrier", (WORD, WORD, 5), "membarrier(0xffffffff /* MEMBARRIER_CMD_??? */, MEMBARRIER_CMD_FLAG_CPU|0xfffffffe, 5)"),
    ("ioctl", (WORD, 0x5404, BASE + 0x2000),
     "ioctl(-1, TCSETSF, {c_iflag=IGNBRK|BRKINT|IGNPAR|PARMRK|INPCK|ISTRIP|INLCR|IGNCR|ICRNL|IUCLC|IXON|IXANY|IXOFF|IMAXBEL|IUTF8|"
     "0xffff8000, c_oflag=NL1|CR3|XTABS|BS1|VT1|FF1|OPOST|OLCUC|ONLCR|OCRNL|ONOCR|ONLRET|OFILL|OFDEL|0xffff0000, "
     "c_cflag=B4000000|B4000000<<IBSHIFT|CS8|CSTOPB|"
     "CREAD|PARENB|PARODD|HUPCL|CLOCAL|CMSPAR|CRTSCTS|0x2ff0e000, c_lflag=ISIG|ICANON|XCASE|ECHO|ECHOE|ECHOK|ECHONL|NOFLSH|IEXTEN|"
     "ECHOCTL|ECHOPRT|ECHOKE|FLUSHO|PENDIN|TOSTOP|EXTPROC|0xfffe2000, ...})"),
    ("capset", (BASE + 0x3000, BASE + 0x3008),
     "capset({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=1<<CAP_CHOWN|1<<CAP_KILL|1<<CAP_MAC_OVERRIDE, permitted=1<<CAP_CHOWN|"
     "1<<CAP_DAC_OVERRIDE|1<<CAP_MAC_OVERRIDE|1<<CAP_MAC_ADMIN|1<<CAP_SYSLOG|1<<CAP_WAKE_ALARM|1<<CAP_BLOCK_SUSPEND|1<<CAP_AUDIT_READ|"
     "1<<CAP_PERFMON|1<<CAP_BPF|1<<CAP_CHECKPOINT_RESTORE|0xfffffe00, inheritable=0})"),
]  # fmt: skip
"""What strace 6.1 shows for these arguments; the page at BASE + 0x1000 is zero, that at BASE + 0x2000 all ones."""


@pytest.mark.parametrize(("name", "args", "line"), RECORDED, ids=lambda value: value if isinstance(value, str) and "(" not in value else "")
def test_recorded_lines(guest: Watched, name: str, args: tuple[int, ...], line: str) -> None:
    guest.put(b"\xff" * 0x1000, 0x2000)
    guest.put(struct.pack("<8I", 0x20080522, 0, 0x21, 3, 0, 1, WORD & 0xFFFF_FFFF, 0), 0x3000)
    formatter = Formatter(X86_64, guest.proc.mem)
    assert formatter.begin(name, (*args, *[0] * (6 - len(args)))).end(-22).partition(") ")[0] + ")" == line


def test_the_table_fits_the_registry() -> None:
    """A line has no more tokens than the call has arguments, every token is a decoder, and descriptors and paths are shown as such."""
    registry.load_families()
    shown = rows()
    for name, row in shown.items():
        for token in (*row.tokens, row.result):
            assert token in ("", ".") or find(token.lstrip(">!+"))
        call = name.partition("@")[0]
        assert call == name or call in COMMANDS
        spec = registry.find(call)
        if spec is None or call == "rt_sigreturn":
            continue
        assert len(row.tokens) <= len(spec.kinds), name
        for kind, token in zip(spec.kinds, row.tokens, strict=False):
            if kind in ("path", "path?"):
                assert token in (".", "path", "path?"), name
            if kind == "fd":
                assert token in (".", "fd", "dirfd", "d"), name


def _values(rng: random.Random) -> int:
    return rng.choice(
        (
            rng.randrange(4), rng.randrange(256), BASE, BASE + rng.randrange(0x4000), BASE + 0x3FFC, BASE + 0x4000, rng.getrandbits(32),
            rng.getrandbits(64), (1 << 64) - rng.randrange(1, 200), 1 << rng.randrange(64), X86_64.task_size - rng.randrange(1, 9000),
        )
    )  # fmt: skip


@pytest.mark.parametrize("arch", [X86_64, ARM64], ids=lambda arch: arch.name)
def test_nothing_a_guest_passes_raises(arch: object) -> None:
    """Every call there is, with any arguments and results, over memory of any content."""
    assert arch in (X86_64, ARM64)
    chosen = X86_64 if arch is X86_64 else ARM64
    rng = random.Random(4)
    space = AddressSpace(0, chosen.task_size)
    engine = MemoryEngine(chosen, space)
    proc = Process(chosen, space, LinuxMm(space, chosen), engine)
    space.map_at(BASE, 0x4000, 3)
    formatter = Formatter(chosen, proc.mem)
    calls = [*numbers(chosen.name), "number 5000"]
    for round_number in range(12):
        content = bytes(rng.getrandbits(8) & rng.getrandbits(8) for _ in range(0x4000)) if round_number else bytes(0x4000)
        for at in range(0, 0x4000, 64):
            content = content[:at] + _values(rng).to_bytes(8, "little") + content[at + 8 :]
        engine.memory.write(BASE, content)
        for name in calls:
            args = tuple(_values(rng) for _ in range(6))
            shown = formatter.begin(name, args, rng.choice((BASE, 1 << 63)))
            for text in (shown.begin(), shown.inputs(), shown.unfinished()):
                assert "\n" not in text
            line = shown.end(rng.choice((None, 0, 1, 40, -1, -11, -514, -4095, 1 << 40, rng.getrandbits(63))))
            assert "\n" not in line and " = " in line, line


def test_random_calls_of_a_process() -> None:
    """Traced calls do what untraced ones do: same results, and no exception."""
    rng = random.Random(7)
    harmless = "mmap munmap mprotect mremap madvise brk lseek fcntl poll rt_sigaction rt_sigprocmask writev".split()
    traced, plain = Watched(), Watched("none")
    for _ in range(400):
        name = rng.choice(harmless)
        args = [_values(rng) for _ in range(6)]
        if name in ("poll", "fcntl"):
            args[0], args[2] = BASE if name == "poll" else 77, 0
        results = []
        for guest in (traced, plain):
            guest.call(name, *args)
            results.append(guest.engine.get("rax"))
        assert results[0] == results[1], (name, args)
    assert len(traced.lines) == 400 and plain.lines == []


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((33, 1, 0xFF), "PR_MCE_KILL, PR_MCE_KILL_SET, 0xff /* PR_MCE_KILL_??? */, 0, 0"),
        ((33, 0, 0, 0, 0), "PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0"),
        ((47, 4, 0, 0, 0), "PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0"),
        ((4, 1 << 32), "PR_SET_DUMPABLE, 0x100000000 /* SUID_DUMP_??? */"),
        ((1, 1 << 40), "PR_SET_PDEATHSIG, 1099511627776"),
        ((26, 2), "PR_SET_TSC, PR_TSC_SIGSEGV"),
        ((6, 3), "PR_SET_UNALIGN, PR_UNALIGN_NOPRINT|PR_UNALIGN_SIGBUS"),
        ((50, 0x400FF), "PR_SVE_SET_VL, PR_SVE_SET_VL_ONEXEC|0xff"),
        ((63, 0x10000), "PR_SME_SET_VL, 0x10000|0"),
        ((54, 3, 0, 0, 0), "PR_PAC_RESET_KEYS, PR_PAC_APIAKEY|PR_PAC_APIBKEY, 0, 0, 0"),
        ((60, 1, 4), "PR_PAC_SET_ENABLED_KEYS, PR_PAC_APIAKEY, PR_PAC_APDAKEY, 0, 0"),
        ((55, 3, 0, 0, 0), "PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE|PR_MTE_TCF_SYNC, 0, 0, 0"),
        ((55, 8, 0, 0, 0), "PR_SET_TAGGED_ADDR_CTRL, !PR_TAGGED_ADDR_ENABLE|PR_MTE_TCF_NONE|0x1<<PR_MTE_TAG_SHIFT, 0, 0, 0"),
        ((59, 1, 2, 3), "PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0x2, 0x3, NULL"),
        ((62, 0, 7, 1, 0x10), "PR_SCHED_CORE, PR_SCHED_CORE_GET, 7, 0x1 /* PIDTYPE_TGID */, 0x10"),
        ((0x53564D41, 9, 1, 2, 3), "PR_SET_VMA, 0x9 /* PR_SET_VMA_??? */, 0x1, 0x2, 0x3"),
    ],
)
def test_commands_of_prctl(args: tuple[int, ...], text: str) -> None:
    words = (*args, *[0] * (6 - len(args)))
    watched = Watched()
    assert Formatter(X86_64, watched.proc.mem).begin("prctl", words).inputs() == f"prctl({text})"


def test_values_as_strace_shows_them(guest: Watched) -> None:
    end = BASE + 0x4000
    guest.put(b"x" * 40, 0x4000 - 40)
    assert guest.call("write", 99, end - 32, 1 << 40).startswith(f"write(99, {end - 32:#x}, ")  # one more byte than is shown
    assert guest.call("write", 99, end - 32, 32).startswith('write(99, "xxxx')
    assert guest.call("select", -1, 0, BASE, 0, 0).startswith(f"select(-1, NULL, {BASE:#x}, NULL, NULL)")
    assert guest.call("setfsuid", -1).startswith("setfsuid(-1)")
    assert guest.call("shutdown", 99, 2).startswith("shutdown(99, SHUT_RDWR)")
    assert guest.call("pkey_alloc", 0, 7).startswith("pkey_alloc(0, PKEY_DISABLE_ACCESS|PKEY_DISABLE_WRITE|PKEY_DISABLE_EXECUTE)")
    assert guest.call("pidfd_open", 0, 0x800).startswith("pidfd_open(0, PIDFD_NONBLOCK)")
    assert guest.call("inotify_add_watch", 0, guest.put(b"/\0"), 3).startswith('inotify_add_watch(0, "/", IN_ACCESS|IN_MODIFY)')
    assert guest.call("setns", 3, 0x80).startswith("setns(3, CLONE_NEWTIME)")
    assert guest.call("process_madvise", -1, 0, 0, 20, 1 << 32).startswith("process_madvise(-1, NULL, 0, MADV_COLD, 0)")
    assert guest.call("prctl", 15, guest.put(b"fifteen letters\0")).startswith('prctl(PR_SET_NAME, "fifteen letters"...)')
    late = guest.put(struct.pack("<qqqq", 0, 0, 1, 2_000_000))
    assert guest.call("utimes", 0, late).startswith("utimes(NULL, [{tv_sec=0, tv_usec=0}, {tv_sec=1, tv_usec=2000000}])")
    sent = guest.put(struct.pack("<iiiiiIq", 10, 2, -1, 0, 5, 0xFFFFFFFF, 1).ljust(128, b"\0"))
    assert "si_code=SI_QUEUE, si_errno=ENOENT, si_pid=5, si_uid=-1, " in guest.call("rt_sigqueueinfo", 1, 12, sent)
    event = guest.put(struct.pack("<QiiQQ", 1, 14, 2, 0x10, 0x20))
    assert "SIGEV_THREAD, sigev_notify_function=0x10, sigev_notify_attributes=0x20}" in guest.call("timer_create", 77, event, 0)
    assert find("=lease")(Call(X86_64, guest.proc.mem, "fcntl", (0,) * 6, 32), 2) == "0x2 (F_UNLCK)"
    groups = guest.put(struct.pack("<I", 0xFFFFFFFF))
    assert guest.call("setgroups", 1, groups).startswith("setgroups(1, [-1])")
    assert guest.call("sethostname", BASE, 65).startswith(f"sethostname({BASE:#x}, 65)")
    name = guest.put(b"a\0", 64)
    assert guest.call("openat", 99, name, 0x100000).startswith('openat(99, "a", O_RDONLY|__O_SYNC)')
    assert guest.call("openat", 99, name, 0x101000).startswith('openat(99, "a", O_RDONLY|O_SYNC)')
    how = guest.put(struct.pack("<QQQ", 0, 0o1234567, 0))
    assert "mode=01234567," in guest.call("openat2", 99, guest.put(b"a\0", 64), how, 24)
