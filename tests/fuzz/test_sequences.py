"""Programs of system calls: their text, their making, their runs here and on the host's kernel, and finding faults with them."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.fuzz.afl.commands import main as fuzz_main
from emuvm.fuzz.outcome import Kind
from emuvm.fuzz.report.commands import main as report_main
from emuvm.fuzz.sequences import code_arm64, code_x86_64
from emuvm.fuzz.sequences.describe import NEVER, descriptions, forbidden_on_host
from emuvm.fuzz.sequences.differ import maps_difference
from emuvm.fuzz.sequences.elf import ARCHITECTURES
from emuvm.fuzz.sequences.emulated import Emulated
from emuvm.fuzz.sequences.encode import Result, decode, encode
from emuvm.fuzz.sequences.generate import Generator
from emuvm.fuzz.sequences.host_native import ARCH, NativeRunner, Refusal
from emuvm.fuzz.sequences.mutate import LONGEST, Mutations, Texts, shrink
from emuvm.fuzz.sequences.program import (
    ALTSTACK,
    ARENA,
    PROGRAM,
    RESULTS,
    STATE,
    Call,
    Const,
    Literal,
    Program,
    ProgramError,
    Ref,
    check,
    without,
)
from emuvm.fuzz.sequences.target import TIMEOUT, SequenceTarget
from emuvm.fuzz.sequences.text import ParseError, format, parse
from emuvm.mm.linux import LinuxMm

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.txt"))
needs_host = pytest.mark.skipif(ARCH != "x86_64", reason="the host runs no x86-64 programs")
MAP = 'r0 = mmap(0x0, 0x3000, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x0)\n'
PLACED = "mmap(0x30000000, 0x1000, PROT_READ, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0x0)\n"


def made(seed: int, count: int, length: int = 8, arch: str = "x86_64", *, host: bool = False) -> list[Program]:
    generator = Generator(Random(seed), arch, host=host)
    return [generator.program(length) for _ in range(count)]


# -- text and form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_text_of_a_program_is_the_program(arch: str) -> None:
    for program in made(1, 300, arch=arch):
        check(program)
        assert parse(format(program, arch), arch) == program
        assert decode(encode(program, arch), arch) == program


def test_text_as_people_write_it() -> None:
    program = parse(
        '# comment\n\nr7 = mmap(0, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)  # more\r\n'
        "store(r7 - 1, 0xffffffffffffffff) (rerun: 2, fail_nth: 3)\n"
        'write(1, &"a\\x00\\n\\"", 4)\nreadv(arena + 0x10, &<1, -1>, 1)\nhash(r7, &[3])'
    )
    assert program == (
        Call("mmap", (Const(0), Const(4096), Const(3), Const(0x22), Const(-1), Const(0))),
        Call("store", (Ref(0, -1), Const(-1)), 3, 2),
        Call("write", (Const(1), Literal(b'a\0\n"'), Const(4))),
        Call("readv", (Const(ARENA + 16), Literal(b"\1" + bytes(7) + b"\xff" * 8), Const(1))),
        Call("hash", (Ref(0, 0), Literal(bytes(3)))),
    )
    assert type(program[0].args[0]) is Const


@pytest.mark.parametrize(
    ("text", "line", "column", "why"),
    [
        ("mmap(", 1, 6, "a value expected, not the end of the line"), ("\n  nonsense(1)", 2, 3, "no call nonsense"),
        ("brk(r0)", 1, 5, "r0 is no earlier result"), ("x = brk(0)", 1, 1, "a result is called r0, r1, ..., not x"),
        ("brk(0) brk(0)", 1, 8, "the end of the line expected"), ("brk(0x1ffffffffffffffff)", 1, 5, "a number of more than 64 bits"),
        ("brk(NONSENSE)", 1, 5, "no constant NONSENSE"), ("brk(1,2,3,4,5,6,7)", 1, 17, "a seventh argument"),
        ("brk(0) (rerun: 256)", 1, 16, "rerun is between 0 and 255"), ('write(1, &"\\q", 1)', 1, 12, "no escape \\q"),
        ("write(1, &[5000], 1)", 1, 12, "a buffer has 0 to 4096 bytes"), ("brk(0);", 1, 7, "unexpected ';'"),
        ("brk(0)\n" * 129, 129, 1, "more than 128 calls"),
    ],
)  # fmt: skip
def test_a_text_that_is_none_is_told_where(text: str, line: int, column: int, why: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column, caught.value.why) == (line, column, why)


def test_a_program_that_is_too_long_is_refused() -> None:
    big = tuple(Call("write", (Const(1), Literal(b"x" * 4096), Const(4096))) for _ in range(16))
    with pytest.raises(ProgramError, match="bytes, 65536 at most"):
        encode(big, "x86_64")
    with pytest.raises(ProgramError, match="arm64 does not have it"):
        encode((Call("open", ()),), "arm64")
    for damaged in (b"", b"SEQ2" + bytes(12), encode(parse(MAP), "x86_64")[:40], b"SEQ1\1\0\0\0" + bytes(8) + b"\xff" * 8):
        with pytest.raises(ProgramError):
            decode(damaged, "x86_64")


def test_without_a_call_its_result_is_a_number() -> None:
    program = parse("r0 = brk(0)\nr1 = brk(r0 + 1)\nbrk(r1 + 2)\nbrk(r0 + 3)")
    assert format(without(program, {0})) == "r0 = brk(0x1)\nbrk(r0 + 0x2)\nbrk(0x3)\n"


# -- the runner ---------------------------------------------------------------------------------------------------------------

_SYMBOLS = {"STACK": STATE, "ACTION": STATE + 32, "ARGS": STATE + 64, "PROGRAM": PROGRAM, "RESULTS": RESULTS, "ALTSTACK": ALTSTACK}
_CROSS = {"x86_64": ("", code_x86_64.LISTING), "arm64": ("aarch64-linux-gnu-", code_arm64.LISTING)}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_machine_code_is_that_of_the_listing(arch: str, tmp_path: Path) -> None:
    prefix, listing = _CROSS[arch]
    if shutil.which(f"{prefix}as") is None:
        pytest.skip(f"no {prefix}as")
    labels = {word[:-1] for word in listing.splitlines() if word.endswith(":")}
    lines, code = [".intel_syntax noprefix" if arch == "x86_64" else ""], b""
    lines += [f".set {name}, {value}" for name, value in _SYMBOLS.items()]
    for line in listing.splitlines():
        if line.endswith(":"):
            lines.append(f"L{line}")
            continue
        digits, text = line.split(None, 1)
        code += bytes.fromhex(digits)
        words = text.partition(";")[0].split()
        lines.append(" ".join([*words[:-1], f"L{words[-1]}" if words[-1] in labels and len(words) > 1 else words[-1]]))
    (tmp_path / "a.s").write_text("\n".join(lines) + "\n")
    subprocess.run([f"{prefix}as", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
    subprocess.run([f"{prefix}objcopy", "-O", "binary", "-j", ".text", tmp_path / "a.o", tmp_path / "a.bin"], check=True)
    assert (tmp_path / "a.bin").read_bytes().rstrip(b"\0") == code.rstrip(b"\0")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_results_of_calls_and_accesses(arch: str) -> None:
    program = parse(
        MAP + 'store(r0 + 5, 0x41)\nload8(r0)\nmunmap(r0 + 0x1000, 0x1000)\nload4(r0 + 0xffe)\nr1 = memfd_create(&"a\\x00", 0)\n'
        'write(r1, &"hello", 5) (rerun: 1)\nlseek(r1, 0, SEEK_END)\nhash(&"ab", 2)\nmmap(1, 2, 3, 4, 5, 6)', arch,
    )  # fmt: skip
    with Emulated(arch) as emulated:
        results = emulated.run(program)
        base = results[0]
        assert base is not None and not base.value & 0xFFF and base.value > 1 << 40
        assert results[1:] == [
            Result(0), Result(0x4100_0000_0000), Result(0), Result(base.value + (0x1000 if arch == "x86_64" else 0x1000), 11, 1), Result(3),
            Result(5), Result(10), Result(((0x61 * 0x1000193) ^ 0x62) * 0x1000193), Result(-22),
        ]  # fmt: skip
        assert emulated.ended() == "exit 0"
        assert emulated.run(program) == results


def test_the_nth_change_of_a_call_is_refused_and_only_there() -> None:
    program = parse(
        MAP.replace("\n", " (fail_nth: 1)\n") + MAP.replace("r0", "r1") + "munmap(r1 + 0x1000, 0x1000) (fail_nth: 1)\n"
        "store(r1 + 0x1000, 1)\nmprotect(r1, 0x2000, PROT_NONE) (fail_nth: 2)\nstore(r1, 1)"
    )
    with Emulated() as emulated:
        results = emulated.run(program)
        assert [result and result.value for result in results[:1] + results[2:4]] == [-12, -12, 0]
        assert results[5] is not None and emulated.ended() == "exit 0"
        again = emulated.run(tuple(call._replace(fail_nth=0) for call in program))
        assert again[0] is not None and again[0].value > 0 and again[2] == Result(0)
        assert emulated.run(program) == results


def test_a_runner_that_unmaps_itself_has_told_what_came_before() -> None:
    with Emulated() as emulated:
        results = emulated.run(parse("brk(0)\nmunmap(0, 0x7fffffff)\nbrk(0)"))
        assert results[0] is not None and results[0].value > 0 and results[1:] == [None, None]
        assert emulated.ended() == "signal 11"
        assert emulated.run(parse("brk(0)")) == results[:1]


def test_putting_back_is_never_refused() -> None:
    """Whatever step of a call was to fail when the runner died of it."""
    with Emulated() as emulated:
        plain = parse(MAP + "munmap(r0, 0x1000)")
        wanted = emulated.run(plain)
        died = 0
        for nth in range(1, 20):
            emulated.run(parse(f"{PLACED}munmap(0x0, 0x7fffffff) (fail_nth: {nth})"))
            died += emulated.ended() == "signal 11"
            assert emulated.run(plain) == wanted
        assert 0 < died < 19


# -- on the host --------------------------------------------------------------------------------------------------------------


@needs_host
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.stem))
def test_differences_of_old_are_gone(path: Path) -> None:
    with SequenceTarget(differential=True) as target:
        outcome, ours, theirs = target.run_program(parse(path.read_bytes()))
        assert outcome.kind is Kind.EXIT, outcome.stderr.decode()
        assert theirs is not None and any(theirs) and theirs == ours


@needs_host
@pytest.mark.parametrize("seed", range(4))
def test_random_programs_come_to_the_same_on_the_host(seed: int) -> None:
    with SequenceTarget(differential=True) as target:
        compared = 0
        for program in made(seed, 60, 12, host=True):
            outcome, _, theirs = target.run_program(program)
            assert outcome.kind is Kind.EXIT, outcome.stderr.decode() + "\n" + format(program)
            compared += theirs is not None
        assert compared == 60


def test_what_differs_in_areas() -> None:
    line = "30000000-30001000 rw-{} 00000000 00:01 {}{:>30}\nRss: {} kB\nReferenced: {} kB\nVmFlags: rd wr{}\n"
    plain = line.format("p", 0, "", 4, 4, "").encode()

    def differs(*values: Any, against: bytes = plain) -> bool:
        return maps_difference((), line.format(*values).encode(), against) is not None

    assert not differs("p", 0, "", 4, 0, "") and differs("p", 0, "", 8, 4, "") and differs("p", 0, "", 4, 4, " dd")
    file = line.format("s", 77, "/memfd:a (deleted)", 4, 4, "").encode()
    assert not differs("s", 78, "/memfd:a (deleted)", 0, 0, "", against=file) and differs("s", 77, "/memfd:b", 4, 4, "", against=file)
    assert differs("s", 77, "/memfd:a (deleted)", 4, 4, " dd", against=file)
    assert maps_difference((), plain + file, plain) is not None and maps_difference((), plain, plain + file) is not None


@needs_host
def test_pages_of_earlier_runs_are_absent() -> None:
    with SequenceTarget(differential=True) as target:
        # What is written again and again is copied back instead of thrown away.
        moved = MAP + "mremap(arena + 0x3000, 0x2000, 0x1000, MREMAP_MAYMOVE|MREMAP_FIXED, r0)"
        for text in (*["store(arena + 0x3000, 0x1)\n"] * 5, moved):
            outcome = target.run(text.encode())
            assert outcome.kind is Kind.EXIT, outcome.stderr.decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("reboot(1, 2, 3, 4)", "not a call that is made on the host"), ("kill(-1, 9)", "not a call"),
        ("brk(0) (fail_nth: 1)", "only emuvm"), ("write(1, arena, 8)", "a standard stream"),
        ("fcntl(5, F_SETOWN, 1)", "not with this command"), ("prctl(1, 9)", "not with this command"),
        ("fallocate(3, 0, 0, 0x100000000)", "too much memory"), ("r0 = brk(0)\nfcntl(5, r0)", "not with this command"),
    ],
)  # fmt: skip
def test_what_could_do_harm_is_not_run_on_the_host(text: str, why: str) -> None:
    assert why in forbidden_on_host(parse(text))
    if ARCH == "x86_64":
        with NativeRunner() as native, pytest.raises(Refusal, match=re.escape(why)):
            native.run(parse(text))


@needs_host
def test_ends_on_the_host() -> None:
    with NativeRunner(seconds=0.5) as native:
        assert native.run(parse("brk(0)"))[0] is not None and native.ended == "exit 0"
        assert native.run(parse("munmap(0, 0x7fffffff)\nbrk(0)")) == [None, None] and native.ended == "signal 11"
        waiting = parse("pipe2(arena, 0)\nr0 = load4(arena)\nread(r0, arena, 1)\nbrk(0)")
        assert native.run(waiting)[3] is None and native.ended == "timeout"
        assert native.run(parse("brk(0)"))[0] is not None


def test_generated_programs_keep_to_what_may_be_run() -> None:
    for program in made(3, 300, 10, host=True):
        assert not forbidden_on_host(program)
    names = {call.name for program in made(4, 600, 10) for call in program}
    assert not names & NEVER
    assert len(names) > 150, "few of the calls that emuvm has"
    assert {"mmap", "munmap", "mremap", "load", "store"} <= names <= descriptions("x86_64").keys()


# -- mutation -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [False, True])
def test_mutants_are_programs_and_all_kinds_of_change_occur(host: bool) -> None:
    random, texts = Random(5), Texts("x86_64")
    mutations = Mutations(random, Generator(random, host=host), texts)
    data, other = (texts.text(program) for program in made(6, 2, 6, host=host))
    seen = set()
    for _ in range(400):
        before = texts.program(data)
        after = texts.program(mutations.havoc(data, other))
        check(after)
        assert parse(texts.text(after)) == after
        assert len(after) <= LONGEST + 1
        assert not host or not forbidden_on_host(after)
        longer = len(after) - len(before)
        seen.add("longer" if longer > 0 else "shorter" if longer else "other" if after != before else "same")
        seen.update(name for call in after for name in ("rerun", "fail_nth") if getattr(call, name))
        data = texts.text(after) if len(after) < 30 else data
    assert seen >= {"longer", "shorter", "other", "rerun"}
    assert ("fail_nth" in seen) is not host


def test_splices_and_deterministic_changes() -> None:
    random, texts = Random(5), Texts("x86_64")
    mutations = Mutations(random, Generator(random), texts)
    one, two = b"r0 = brk(0x0)\nbrk(r0 + 0x1)\nbrk(r0 + 0x2)\n", b"munlockall()\nmunlockall()\n"
    spliced = {mutations.splice(one, two) for _ in range(40)}
    assert b"r0 = brk(0x0)\nbrk(r0 + 0x1)\nmunlockall()\n" in spliced
    assert all(made is not None and made.startswith(b"r0 = brk" if b"r0" in made else b"brk") for made in spliced)
    assert mutations.splice(one, one) is None
    found = dict(mutations.deterministic(one))
    assert found["op:drop,call:0"] == b"brk(0x1)\nbrk(0x2)\n"
    assert found["op:fail-2,call:1"] == one.replace(b"0x1)", b"0x1) (fail_nth: 2)")
    assert len(found) == 3 * 5
    assert mutations.havoc(b"no program", None)


def test_shrinking_leaves_what_is_needed() -> None:
    random, texts = Random(5), Texts("x86_64")
    mutations = Mutations(random, Generator(random), texts)
    program = made(7, 1, 20)[0] + parse(MAP + "munmap(r0 + 0x1000, 0x5) (rerun: 3)")[:0]
    program += parse(MAP)
    program += (Call("munmap", (Ref(len(program) - 1, 0x1000), Const(5)), 0, 3),)

    def same(data: bytes) -> bool:
        found = texts.program(data)
        return any(call.name == "munmap" and type(call.args[0]) is Ref and found[call.args[0].call].name == "mmap" for call in found)

    reading = texts.text(parse('r0 = memfd_create(&"a\\x00", 0x0)\nread(r0, arena, 0x1)'))
    assert not forbidden_on_host(texts.program(shrink(texts, reading, lambda data: b"read(" in data, host=True)))
    assert forbidden_on_host(texts.program(shrink(texts, reading, lambda data: b"read(" in data)))
    assert mutations.trim(texts.text(program), same) == b"r0 = mmap(0x0, 0x0, PROT_NONE, 0x0, 0x0, 0x0)\nmunmap(r0, 0x0)\n"


# -- finding faults of emuvm's ---------------------------------------------------------------------------------------------------


@needs_host
def test_a_wrong_result_is_found_and_reduced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    """mprotect that does not tell of holes (ENOMEM)."""
    true = LinuxMm.mprotect

    def forgetful(self: LinuxMm, *args: Any, **more: Any) -> None:
        try:
            true(self, *args, **more)
        except GuestError as error:
            if error.errno != Errno.ENOMEM:
                raise

    monkeypatch.setattr(LinuxMm, "mprotect", forgetful)
    (tmp_path / "in").mkdir()
    words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-s", "1", "-E", "1500", "--differential"]
    monkeypatch.setenv("AFL_BENCH_UNTIL_CRASH", "1")
    assert fuzz_main("fuzz", words) == 0
    crash = next(path for path in (tmp_path / "out/default/crashes").iterdir() if path.name.startswith("id:"))
    assert fuzz_main("tmin", ["-i", str(crash), "-o", str(tmp_path / "small"), "--differential"]) == 0
    small = parse((tmp_path / "small").read_bytes())
    assert [call.name for call in small] == ["mprotect"]
    capsys.readouterr()
    assert report_main("replay", ["--differential", str(crash), "--runs", "2"]) == 0
    assert "mprotect: 0 here, -1 ENOMEM on the host" in capsys.readouterr().out
    assert report_main("replay", [str(crash)]) == 0, "what it is stands in the folder"
    assert "mprotect: 0 here, -1 ENOMEM on the host" in capsys.readouterr().out
    assert report_main("triage", [str(tmp_path / "out")]) == 2
    assert "programs of system calls: emuvm replay shows them" in capsys.readouterr().err


def test_a_failure_of_emuvm_is_a_crash_and_the_next_run_is_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with SequenceTarget() as target:
        good = target.run(MAP.encode())
        monkeypatch.setattr(LinuxMm, "munmap", lambda self, addr, length: [][addr])
        bad = target.run(MAP.encode() + b"munmap(r0, 0x1000)")
        assert bad.kind is Kind.CRASH and b"list index out of range" in bad.stderr or b"IndexError" in bad.stderr
        monkeypatch.undo()
        assert target.run(MAP.encode()) == good and good.kind is Kind.EXIT


def test_what_counts_as_new_behaviour() -> None:
    texts = [
        MAP, MAP.replace("0x3000", "0x0"), MAP.replace("PROT_READ|PROT_WRITE", "PROT_READ"), MAP + "munmap(r0, 0x1000)",
        PLACED + PLACED, PLACED + PLACED.replace("0x30000000", "0x30008000"),
        MAP + "munmap(r0 + 0x1000, 0x1000)\nload(r0 + 0x1000)", MAP + "mprotect(r0, 0x1000, PROT_READ)\nstore(r0, 1)",
    ]  # fmt: skip
    with SequenceTarget() as target:
        maps = []
        for text in texts:
            target.run(text.encode())
            maps.append(bytes(target.counters.view))
            target.run(text.encode())
            assert bytes(target.counters.view) == maps[-1]
        for one, other in itertools.combinations(maps, 2):
            assert one != other
        target.run(b"nonsense")
        assert not any(target.counters.view)


def test_a_program_without_end_ends() -> None:
    with SequenceTarget(budget=20_000) as target:
        outcome = target.run(b"hash(0x20000000, 0xffff) (rerun: 255)")
        assert (outcome.kind, outcome.code) == (Kind.EXIT, TIMEOUT)
        assert target.run(b"brk(0)").code == 0


# -- the command line -----------------------------------------------------------------------------------------------------------


def queue(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "default/queue").iterdir()) if path.name.startswith("id:")]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_campaign_is_the_same_for_the_same_seed_and_goes_on(arch: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / name), "-s", "3", "-E", "400", "--sequences", "--", arch]
        assert fuzz_main("fuzz", words) == 0
    found = queue(tmp_path / "a")
    assert found == queue(tmp_path / "b") and len(found) > 50
    for data in found:
        parse(data, arch)
    assert (tmp_path / "a/default/cmdline").read_text() == f"{arch}\n"
    assert fuzz_main("fuzz", ["-i", "-", "-o", str(tmp_path / "a"), "-s", "4", "-E", "300", "--sequences", "--", arch]) == 0
    assert len(queue(tmp_path / "a")) > len(found)
    assert fuzz_main("cmin", ["-i", str(tmp_path / "a/default/queue"), "-o", str(tmp_path / "c"), "--sequences", "--", arch]) == 0
    assert 0 < len(list((tmp_path / "c").iterdir())) < len(queue(tmp_path / "a"))


def test_replay_tells_what_came_of_each_call(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text(MAP + "munmap(r0 + 0x1000, 0x1000)\nload(r0 + 0x1000)\nmprotect(r0, 0x2000, PROT_NONE)")
    words = ["replay", "--sequences", str(path), "--strace=munmap", "--trace-vma", str(tmp_path / "t")]
    done = subprocess.run([sys.executable, "-m", "emuvm", *words], capture_output=True, text=True, timeout=100)
    out, err = done.stdout, done.stderr
    assert done.returncode == 0
    lines = out.splitlines()
    base = int(lines[0].rpartition("=> ")[2], 16)
    assert lines[1:] == [
        "  1  munmap(r0 + 0x1000, 0x1000)  =>  0", f"  2  load(r0 + 0x1000)  =>  SIGSEGV SEGV_MAPERR at {base + 0x1000:#x}",
        "  3  mprotect(r0, 0x2000, PROT_NONE)  =>  -1 ENOMEM", "ended with exit code 0",
    ]  # fmt: skip
    assert re.search(rf"munmap\({base + 0x1000:#x}, 4096\) += 0", err) and "mprotect" not in err
    assert '"unmap"' in (tmp_path / "t").read_text()


@needs_host
def test_replay_of_a_program_from_anywhere(capsys: Any) -> None:
    for path in PROGRAMS[:2]:
        assert report_main("replay", ["--differential", str(path)]) == 0
        assert "as on the host" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--sequences", "--", "/bin/true"], 1, "with --sequences the target is x86_64 or arm64"),
        (["--sequences", "--results"], 1, "--results does not go"), (["--sequences", "--at", "main"], 1, "--at does not go"),
        (["--sequences", "--afl-forkserver"], 1, "--afl-forkserver does not"),
        (["--sequences", "-i", "bad"], 1, "p.txt: line 2, column 1: no call nonsense"),
        (["--differential", "--", "arm64"], 1, "cannot be run on this host"),
    ],
)  # fmt: skip
def test_wrong_command_lines(words: list[str], code: int, why: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in", "bad"):
        Path(name).mkdir()
    Path("bad/p.txt").write_text("brk(0)\nnonsense(0)")
    assert fuzz_main("fuzz", [*(["-i", "in"] if "-i" not in words else []), "-o", "out", *words]) == code
    assert why in capsys.readouterr().err


def test_a_file_that_is_no_program(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "x").write_bytes(b"\xff\0nonsense")
    assert report_main("replay", ["--sequences", str(tmp_path / "x")]) == 2
    assert "line 1, column 1: unexpected" in capsys.readouterr().err
    assert fuzz_main("tmin", ["-i", str(tmp_path / "x"), "-o", str(tmp_path / "y"), "--sequences"]) == 1
    assert "line 1, column 1: unexpected" in capsys.readouterr().err and not (tmp_path / "y").exists()
