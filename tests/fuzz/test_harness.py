"""Runs from one moment on: outcomes, determinism, inputs, budgets, hooks, files."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from emuvm.abi.errno import Errno
from emuvm.engine.native_code import native
from emuvm.errors import EmuvmError
from emuvm.fuzz.harness import Harness, HarnessError
from emuvm.fuzz.hooks import HookedCall, error
from emuvm.fuzz.outcome import Fault, Kind
from emuvm.kernel.process import Process
from tests.fuzz.guests import build

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int alarms;
static void on_alarm(int n) { alarms++; }
__attribute__((noinline)) static int deep(int n)
{
    volatile char pad[64];
    pad[0] = n;
    return n ? deep(n - 1) + pad[0] : *(volatile int *)16;
}
__attribute__((noinline)) int target(const char *data, long length)
{
    int sum = 0;
    if (length && data[0] == 'o')
        return data[length];
    for (long i = 0; i < length; i++)
        sum += data[i];
    return sum & 63;
}

int main(int argc, char **argv)
{
    static char data[4096];
    FILE *from = argc > 1 && argv[1][0] == '/' ? fopen(argv[1], "r") : stdin;
    long length = fread(data, 1, sizeof data - 1, from);
    switch (data[0]) {
    case 'w': *(volatile int *)24 = 1; break;
    case 'r': return *(volatile int *)0x7777777000;
    case 'x': ((void (*)(void))0x123000)(); break;
    case 'd': return 7 / (volatile int){data[1] - '0'};
    case 'a': abort();
    case 'k': kill(getpid(), SIGUSR1); break;
    case 'l': for (;;);
    case 'p': pause(); break;
    case 'q': poll(NULL, 0, -1); break;
    case 'e': return deep(data[1] & 15);
    case 's': { time_t before = time(NULL); sleep(100); printf("%ld\n", (long)(time(NULL) - before)); break; }
    case 'A': {
        struct itimerval every = {{0, 100}, {0, 100}};
        signal(SIGALRM, on_alarm);
        setitimer(ITIMER_REAL, &every, NULL);
        while (alarms < 5);
        printf("%d alarms\n", alarms);
        break;
    }
    case 'R': {
        unsigned char bytes[8];
        getrandom(bytes, 8, 0);
        int fd = open("/dev/urandom", O_RDONLY);
        read(fd, bytes + 4, 4);
        for (int i = 0; i < 8; i++) printf("%02x", bytes[i]);
        printf(" %d\n", getpid());
        break;
    }
    case 'c': {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("%ld.%09ld\n", (long)now.tv_sec, now.tv_nsec);
        break;
    }
    case 'f': {
        FILE *out = fopen("/tmp/made", "w+");
        fputs(data, out);
        rename("/tmp/made", "/tmp/moved");
        unlink("/etc/name");
        mkdir("/tmp/folder", 0700);
        printf("%d\n", access("/etc/name", F_OK));
        break;
    }
    case 'n': { char text[64] = ""; FILE *in = fopen("/etc/name", "r"); printf("%s\n", in ? fgets(text, 64, in) : "none"); break; }
    case 'h': return access("/etc/passwd", F_OK) ? 3 : 4;
    case 'z': fseek(from, 0, SEEK_END); return ftell(from) & 63;
    case 'm': { char *seen = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fileno(from), 0); return seen[1]; }
    }
    fprintf(stderr, "%s", argc > 1 ? argv[1] : "");
    return target(data, length);
}
"""


@pytest.fixture(scope="module", params=["native", "python"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    if request.param == "native" and native() is None:
        pytest.skip("the C module is not built")
    files = {"/etc/name": b"emu\n"}
    with Harness(build(SOURCE), files=files, budget=300_000, native=request.param == "native") as made:
        yield made


def test_outcomes(harness: Harness) -> None:
    wrong = harness.run(b"w")
    assert (wrong.kind, wrong.signal, wrong.fault) == (Kind.CRASH, 11, Fault(24, "write", "SEGV_MAPERR"))
    assert harness.proc.engine.get("pc") == wrong.pc, "the process is as it ended"
    assert harness.run(b"r").fault == Fault(0x77_7777_7000, "read", "SEGV_MAPERR")
    wild = harness.run(b"x")
    assert wild.fault == Fault(0x12_3000, "exec", "SEGV_MAPERR") and wild.pc == 0x12_3000
    divided = harness.run(b"d0")
    assert divided.signal == 8 and divided.fault == Fault(divided.pc, "", "FPE_INTDIV")
    assert harness.run(b"d7").code == 1
    aborted = harness.run(b"a")
    assert (aborted.signal, aborted.fault) == (6, Fault(None, "", "SI_TKILL"))
    assert harness.run(b"k").signal == 10
    fine = harness.run(b"\x01\x02\x03")
    assert (fine.kind, fine.code, fine.signal, fine.fault, fine.stack_hash) == (Kind.EXIT, 6, 0, None, 0)
    assert [call.name for call in fine.calls][-1] == "exit_group" and fine.calls[-1].result is None
    assert any(call.name == "read" and call.result == 3 for call in fine.calls)


def test_what_never_ends(harness: Harness) -> None:
    loop = harness.run(b"l")
    assert loop.kind is Kind.HANG and loop.blocks == 300_000
    for waits in (b"p", b"q"):
        stuck = harness.run(waits)
        assert stuck.kind is Kind.HANG and stuck.blocks < 2000
    assert harness.run(b"z1234").code == 5, "and nothing is left of it"


def test_time_goes_by_without_waiting(harness: Harness) -> None:
    slept = harness.run(b"s")
    assert slept.stdout == b"100\n"
    rung = harness.run(b"A")
    assert rung.stdout == b"5 alarms\n", rung
    assert rung == harness.run(b"A")


def test_frames_and_hash(harness: Harness) -> None:
    one, same, other = harness.run(b"e1"), harness.run(b"e1z"), harness.run(b"w")
    assert one.signal == 11 and one.stack_hash == same.stack_hash != other.stack_hash
    assert len(harness.run(b"e7").frames) > len(other.frames[:1])
    symbols = [harness.address("deep"), harness.address("main")]
    assert min(symbols) < one.frames[0] < max(symbols) + 4096


def test_every_run_is_the_same(harness: Harness) -> None:
    inputs = [b"w", b"hello", b"R", b"c", b"f", b"n", b"s", b"A", b"e3", b"", b"x" * 4000, b"d0", b"z", b"m0"]
    first = {data: (harness.run(data), hashlib.sha256(harness.map).digest()) for data in inputs}
    rng = random.Random(5)
    for _ in range(60):
        data = rng.choice(inputs)
        assert (harness.run(data), hashlib.sha256(harness.map).digest()) == first[data]
    assert first[b"n"][0].stdout == b"emu\n\n" and first[b"f"][0].stdout == b"-1\n"
    assert harness.run(b"m0").code == ord("0") and harness.run(b"m7").code == ord("7"), "a mapping shows this run's input"
    assert harness.differences() == []


def test_the_fallback_counts_as_the_c_code_does() -> None:
    if native() is None:
        pytest.skip("the C module is not built")
    inputs = [b"hello", b"w", b"f", b"A", b"x" * 3000, b"c"]
    seen = []
    for way in (True, False):
        with Harness(build(SOURCE), files={"/etc/name": b"emu\n"}, native=way) as made:
            seen.append([(made.run(data), bytes(made.map)) for data in inputs])
    assert seen[0] == seen[1]
    assert sum(map(bool, seen[0][0][1])) > 50


def test_seed() -> None:
    said = []
    for seed in (1, 1, 2):
        with Harness(build(SOURCE), seed=seed) as made:
            said.append([made.run(data).stdout for data in (b"R", b"R", b"c")])
    assert said[0] == said[1] != said[2]
    assert said[0][0] == said[0][1] and said[0][0].endswith(b" 1000\n")
    assert said[0][0][:8] != said[0][0][8:16], "random bytes do not come again"


def test_the_input_as_a_file() -> None:
    with Harness(build(SOURCE), ["@@"], input="@@") as made:
        assert made.run(b"\x01\x02").code == 3
        assert made.run(b"zabcdef").code == 7 and made.run(b"za").code == 2
        assert made.run(b"m5").code == ord("5") and made.run(b"m6").code == ord("6")
        assert made.run(b"").code == 0
        assert made.run(b"\x01").stderr == b"/input"
        assert made.differences() == []


def test_the_input_as_an_argument() -> None:
    with Harness(build(SOURCE), ["x@@", "@@"], input="argv", max_len=100) as made:
        assert made.run(b"first").stderr == b"x@@"
    with Harness(build(SOURCE), input="argv", max_len=10) as made:
        assert made.run(b"first").stderr == b"first"
        assert made.run(b"z\0b").stderr == b"z"
        assert made.run(b"0123456789012").stderr == b"0123456789"
        assert made.run(b"").stderr == b""
    source = "#include <string.h>\nint main(int argc, char **argv) { return argv[1][strlen(argv[1]) + 1]; }"
    with Harness(build(source), input="argv", max_len=10) as made:
        assert made.run(b"z\0b").code == made.run(b"z\0c").code == made.run(b"z").code, "nothing is placed behind a NUL"


def test_the_input_in_memory() -> None:
    with Harness(build(SOURCE), input="mmap", at="target", max_len=5000, first=b"y") as made:
        assert made.run(b"\x05\x06").code == 11
        assert made.run(b"").code == 0
        assert made.run(b"\x01" * 4500).code == 4500 & 63
        space = made.proc.space
        end = made._place._end  # type: ignore[attr-defined]
        guard = space.query(end)
        assert guard is not None and not guard.prot
        for data in (b"o", b"o12", b"o" * 5000):
            assert made.run(data).fault == Fault(end, "read", "SEGV_ACCERR"), "too much reading faults"


def test_the_input_is_mapped_before_the_runs_and_in_them() -> None:
    source = """
    #include <sys/mman.h>
    __attribute__((noinline)) int again(void) { return *(char *)mmap(0, 4096, PROT_READ, MAP_PRIVATE, 0, 0); }
    int main(void) { return *(char *)mmap(0, 4096, PROT_READ, MAP_PRIVATE, 0, 0) == 'f' ? again() : 1; }"""
    with Harness(build(source), at="again", first=b"first") as made:
        assert made.run(b"x").code == ord("x") and made.run(b"y").code == ord("y")


def test_the_input_by_a_function() -> None:
    def put(proc: Process, data: bytes) -> None:
        proc.files.get(0).data = data[::-1]

    with Harness(build(SOURCE), input=put, at="main") as made:
        assert made.run(b"\x01w").fault == Fault(24, "write", "SEGV_MAPERR")


def test_where_runs_begin() -> None:
    program = build(SOURCE)
    blocks = {}
    for at in ("entry", "main", "target", "first-read"):
        with Harness(program, at=at, first=b"\x01\x01") as made:
            outcome = made.run(b"\x02\x03")
            blocks[at] = outcome.blocks
            assert outcome.code == (2 if at == "target" else 5), "behind the reading the input is the set-up's"
            address = made.address("main")
    assert blocks["entry"] > blocks["main"] > blocks["first-read"] > blocks["target"]
    with Harness(program, at=address) as made:
        assert made.run(b"\x02\x03").code == 5


def test_position_independent_and_arm64_programs() -> None:
    with Harness(build(SOURCE, "x86_64", "-static-pie"), at="main") as made:
        assert made.bias and made.run(b"\x02").code == 2
    with Harness(build(SOURCE, "arm64"), at="main") as made:
        assert made.run(b"\x02").code == 2
        crashed = made.run(b"e3")
        assert crashed.fault == Fault(16, "read", "SEGV_MAPERR")
        assert made.address("deep") < crashed.frames[0] < made.address("deep") + 200
        assert crashed == made.run(b"e3") and made.run(b"A").stdout == b"5 alarms\n"


def test_counters_of_the_cpu_are_simulated() -> None:
    source = r"""
    #include <stdio.h>
    #include <unistd.h>
    int main(void) {
        char c; unsigned long long t, u; unsigned a, d, aux; unsigned short h;
        read(0, &c, 1);
    #ifdef __x86_64__
        __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); t = (unsigned long long)d << 32 | a;
        __asm__ volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(aux)); u = (unsigned long long)d << 32 | a;
        printf("%d %u ", u > t, aux);
        __asm__ volatile("rdrand %0; setc %1" : "=r"(t), "=r"(c)); printf("%llx %d ", t, c);
        __asm__ volatile("rdrand %%r9d; mov %%r9, %0" : "=r"(t) :: "r9"); printf("%llx ", t);
        __asm__ volatile("rdseed %0" : "=r"(h)); printf("%x\n", h);
    #else
        __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t)); __asm__ volatile("mrs %0, cntvct_el0" : "=r"(u));
        printf("%d %llu\n", u > t, t);
    #endif
        return 0;
    }"""
    for arch in ("x86_64", "arm64"):
        said = []
        for seed in (1, 1, 2):
            with Harness(build(source, arch, *(("-mrdrnd", "-mrdseed") if arch == "x86_64" else ())), seed=seed) as made:
                said += [made.run(b"1").stdout, made.run(b"2").stdout]
        assert said[0] == said[1] == said[2] == said[3] and said[0].startswith(b"1 ")
        if arch == "x86_64":
            assert said[4] != said[0]
            once, carry, narrow, short = said[0].split()[2:]
            assert carry == b"1" and len(narrow) <= 8 and len(short) <= 4 and once != narrow


def test_hooks(harness: Harness) -> None:
    with Harness(build(SOURCE), files={"/etc/name": b"emu\n"}) as made:
        said: list[object] = []
        made.hook("read", enter=lambda call: said.append((call.args[0], call.args[2])), exit=lambda call, result: said.append(result))
        made.run(b"abc")
        assert said == [(0, 4096), 3, (0, 4096), 0]
        made.hook("access", replace=lambda call: 0 if call.args[0] == b"/etc/passwd" else None)
        assert made.run(b"h").code == 4
        made.hook("getpid", exit=lambda call, result: 77)
        assert made.run(b"R").stdout.endswith(b" 77\n")
        made.hook("openat", replace=lambda call: error("EMFILE"))
        assert made.run(b"n").stdout == b"none\n"
        seen = [call for call in made.run(b"n").calls if call.name == "openat"]
        assert [call.result for call in seen] == [-Errno.EMFILE], "the log has what the program got"
        with pytest.raises(EmuvmError, match="no system call"):
            made.hook("fly", enter=lambda call: None)
    with pytest.raises(EmuvmError, match="no error"):
        error("EFLY")


def test_a_hook_sees_what_cannot_be_read() -> None:
    source = '#include <unistd.h>\nint main(void) { char c; read(0, &c, 1); access((char *)8, 0); access("/x", 4); return 0; }'
    with Harness(build(source)) as made:
        seen: list[HookedCall] = []
        made.hook("access", enter=seen.append)
        calls = made.run(b"a").calls
        assert [call.args for call in seen] == [(8, 0), (b"/x", 4)]
        assert [call.result for call in calls if call.name == "access"] == [-Errno.EFAULT, -Errno.ENOENT]


def test_more_output_than_is_kept() -> None:
    source = '#include <stdio.h>\nint main(void) { getchar(); for (int i = 0; i < 100000; i++) puts("0123456789"); return 0; }'
    with Harness(build(source)) as made:
        assert len(made.run(b"").stdout) == 1 << 16
        assert sum(call.result or 0 for call in made.run(b"").calls if call.name == "write") == 1_100_000


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        (SOURCE, {"at": "nowhere"}, "no symbol nowhere"),
        (SOURCE, {"at": "0xzz"}, "not an address"),
        (SOURCE, {"at": 0x10}, "before it came to 0x10"),
        (SOURCE, {"input": "telepathy"}, "one of stdin"),
        (SOURCE, {"files": {"../../etc/x": b""}}, "not a path below"),
        (SOURCE, {"files": {"/bin": b""}}, "Is a directory"),
        ("int main(void) { return 3; }", {}, "exit code 3 before it came to reading its input"),
        ("int main(void) { return *(volatile int *)8; }", {}, "signal 11 before"),
        ("#include <unistd.h>\nint main(void) { return pause(); }", {}, "waits for something that does not come"),
    ],
)
def test_what_cannot_be(program: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EmuvmError, match=message):
        Harness(build(program), **arguments)  # type: ignore[arg-type]


def test_programs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(EmuvmError, match="No such file"):
        Harness(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(HarnessError):
        Harness(tmp_path / "text")


def test_a_clock_ends_runs_whose_blocks_are_not_counted() -> None:
    """The loop ends by itself, but only after many seconds."""
    source = """
    #include <unistd.h>
    int main(void) { char c; read(0, &c, 1); for (volatile long i = 0; c == 'l' && i < 1000000000; i++); return c; }"""
    with Harness(build(source), coverage=False, native=False, budget=1) as made:
        assert made.run(b"\x05").code == 5
        assert made.run(b"l").kind is Kind.HANG
        assert (again := made.run(b"\x06")).kind is Kind.EXIT and again.code == 6, "and nothing is left of it"


def test_paranoid_checks() -> None:
    with Harness(build(SOURCE), files={"/etc/name": b"emu\n"}, budget=300_000, paranoid=2) as made:
        for data in (b"hello", b"f", b"w", b"R", b"m0", b"l", b"n"):
            made.run(data)
        assert (made.checks, made.unstable, made.stability) == (3, [], 1.0)
        changed = Path(made._host._tree.path, "etc/name")
        changed.write_bytes(b"other")  # nobody is told, as of what a guest does
        made.run(b"n")
        assert made.checks == 3
        made.run(b"n")
        assert (made.checks, made.unstable, made.stability) == (4, [(8, [f"file {changed}"])], 0.75)


def test_a_root_of_the_host(tmp_path: Path) -> None:
    program = build(SOURCE)
    with Harness(program, root="/") as made:
        assert made.run(b"\x04").code == 4
        assert made.run(b"f").stdout == b"" or made.run(b"f").crashed, "it may write nothing there"
        with pytest.raises(EmuvmError, match="use stdin"):
            Harness(program, input="@@", root="/")


def test_nothing_grows() -> None:
    with Harness(build(SOURCE), files={"/etc/name": b"emu\n"}) as made:
        for data in (b"hello", b"f", b"A", b"w", b"m1"):
            made.run(data)
        fds, pages = len(os.listdir("/proc/self/fd")), _resident()
        for number in range(1500):
            made.run((b"hello", b"f", b"A", b"w", b"m1")[number % 5])
        made.reset()
        assert len(os.listdir("/proc/self/fd")) <= fds + 1
        assert _resident() < pages + 512


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(native() is None, reason="the C module is not built")
def test_a_buffer_in_the_programs_data_needs_no_question() -> None:
    """The harness's program file does not shrink, so its private pages are as good as memory; the host's might."""
    source = """
    #include <unistd.h>
    char where[64] = "x";
    int main(void) { where[1] = 'y'; ssize_t n = read(0, where, 8); return n == 2 ? where[0] : 1; }
    """
    program = build(source)
    with Harness(program) as harness:
        assert harness.run(b"ab").code == ord("a") and harness.run(b"cd").code == ord("c")
        assert harness.engine.memory.peek(harness.address("where"), 2) == b"cd"
        harness.engine.memory.verify()


DESCRIPTORS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int epoll, counter, tickets, timer, signals, ends[2], secret;
static char *kept;

static void watch(int how, int fd, unsigned events, int data)
{
    struct epoll_event event = {events, {.u64 = data}};
    if (epoll_ctl(epoll, how, fd, &event)) printf("epoll_ctl %d %d: %d\n", how, fd, errno);
}

static void tell(const char *when)
{
    struct epoll_event found[8];
    struct itimerspec left;
    uint64_t value = 0, ticket = 0, ticks = 0;
    char text[8] = "";
    int count = epoll_wait(epoll, found, 8, 0), data = 0, again;
    for (int i = 0; i < count; i++) data += 1 << found[i].data.u64;
    timerfd_gettime(timer, &left);
    printf("%s: ready %d %x, ", when, count, data);
    printf("counter %d", read(counter, &value, 8) == 8 ? (int)value : -errno);
    printf(", tickets %d", (int)read(tickets, &ticket, 8));
    for (again = 0; read(tickets, &ticket, 8) == 8; again++) {}
    printf(" %d, timer %ld", again, left.it_value.tv_sec);
    printf(" %d, pipe %d %s, memory %s\n", (int)read(timer, &ticks, 8), (int)read(ends[0], text, 7), text, kept ? kept : "none");
}

int main(void)
{
    char input[8] = "";
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, 0);
    epoll = epoll_create1(0), counter = eventfd(3, EFD_NONBLOCK), tickets = eventfd(4, EFD_NONBLOCK | EFD_SEMAPHORE);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), signals = signalfd(-1, &usr1, SFD_NONBLOCK);
    pipe2(ends, 0x800);
    write(ends[1], "waits", 5);
    secret = syscall(447, 0);
    if (secret >= 0 && !ftruncate(secret, 4096)) kept = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
    if (kept) strcpy(kept, "kept");
    struct itimerspec when = {{0, 0}, {100, 900000000}};
    timerfd_settime(timer, 0, &when, 0);
    watch(EPOLL_CTL_ADD, counter, EPOLLIN, 0);
    watch(EPOLL_CTL_ADD, signals, EPOLLIN, 1);
    watch(EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLONESHOT, 2);
    watch(EPOLL_CTL_ADD, ends[1], EPOLLOUT, 3);
    read(0, input, 7);
    tell("first");
    if (strchr(input, 's')) raise(SIGUSR1);
    if (strchr(input, 'd')) {
        watch(EPOLL_CTL_DEL, counter, 0, 0);
        watch(EPOLL_CTL_MOD, signals, EPOLLIN, 5);
        watch(EPOLL_CTL_ADD, timer, EPOLLIN, 6);
    }
    if (strchr(input, 'c')) close(counter), close(ends[1]), counter = eventfd(9, EFD_NONBLOCK), watch(EPOLL_CTL_ADD, counter, EPOLLIN, 4);
    if (strchr(input, 'w')) write(ends[1], "other", 5), write(counter, &(uint64_t){50}, 8), write(tickets, &(uint64_t){2}, 8);
    if (strchr(input, 't')) when.it_value.tv_sec = 0, when.it_interval.tv_nsec = 1000000, timerfd_settime(timer, 0, &when, 0);
    for (volatile long i = 0; strchr(input, 't') && i < 40000; i++) {}
    if (kept) strcpy(kept, "lost");
    tell("then");
    return 0;
}
"""


@pytest.mark.parametrize("changes", ["", "s", "d", "c", "w", "t", "sdw", "sdcwt"])
def test_what_lies_with_the_host_goes_back(changes: str) -> None:
    """Counters, timers, signals to be read, what an epoll watches, what waits in a pipe, memory of a memfd_secret."""
    with Harness(build(DESCRIPTORS)) as harness:
        quiet = harness.run(b"")
        assert quiet.kind is Kind.EXIT
        assert quiet.stdout.startswith(b"first: ready 3 d, counter 3, tickets 8 3, timer 100 -1, pipe 5 waits, memory ")
        changed = harness.run(changes.encode())
        assert changed.stdout.splitlines()[0] == quiet.stdout.splitlines()[0]
        for _ in range(3):
            assert harness.run(b"") == quiet
            assert harness.run(changes.encode()) == changed
        harness.reset()
        assert harness.differences() == []


def test_a_timer_file_goes_by_the_simulated_clock() -> None:
    """However long the host takes: the ticks are those of the blocks executed, and who waits for one does not wait in fact."""
    program = build(
        r"""
        #include <stdint.h>
        #include <stdio.h>
        #include <sys/timerfd.h>
        #include <unistd.h>
        int main(void)
        {
            char input[2];
            uint64_t ticks = 0;
            int timer = timerfd_create(CLOCK_MONOTONIC, 0);
            struct itimerspec often = {{0, 20000}, {0, 20000}}, late = {{0, 0}, {30000, 0}};
            read(0, input, 2);
            timerfd_settime(timer, 0, &often, 0);
            for (volatile long i = 0; i < 200000; i++) {}
            read(timer, &ticks, 8);
            printf("%lu ticks", (long)ticks);
            timerfd_settime(timer, 0, &late, 0);
            read(timer, &ticks, 8);
            printf(", then %lu\n", (long)ticks);
            return 0;
        }
        """
    )
    outcomes = []
    for _ in range(2):
        with Harness(program) as harness:
            outcomes += [harness.run(b"x"), harness.run(b"x")]
    assert outcomes.count(outcomes[0]) == 4
    ticks, _, last = outcomes[0].stdout.partition(b" ticks")
    assert int(ticks) > 3 and last == b", then 1\n"
