"""The initial stack: parsed back for every architecture, and compared with what the host kernel builds."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.abi import auxv
from emuvm.abi.arch import ARM64, BY_NAME, X86_64, Arch
from emuvm.abi.structs import unpack_words, word_size
from emuvm.errors import BadArgument, GuestError
from emuvm.kernel.stack import InitialStack, argument_limit, build_stack

FACTS = auxv.Facts(phdr=0x400040, phnum=7, entry=0x401234, uid=1, euid=2, gid=3, egid=4)
RANDOM = bytes(range(16))
ARCHES = sorted(BY_NAME.values(), key=lambda arch: arch.name)


def string_at(stack: InitialStack, address: int) -> bytes:
    at = address - stack.start
    return stack.data[at : stack.data.index(b"\0", at)]


def parse(arch: Arch, stack: InitialStack) -> tuple[list[bytes], list[bytes], list[tuple[int, int]], int]:
    """(argv, envp, auxv pairs without AT_NULL, address behind the vector), walking up from argc as a libc does."""
    word = word_size(arch)
    words = unpack_words(arch, stack.data[: len(stack.data) // word * word])
    argc, at = words[0], 1
    argv = [string_at(stack, words[at + n]) for n in range(argc)]
    at += argc
    assert words[at] == 0
    at += 1
    envp = []
    while words[at]:
        envp.append(string_at(stack, words[at]))
        at += 1
    at += 1
    pairs = []
    while words[at]:
        pairs.append((words[at], words[at + 1]))
        at += 2
    assert words[at + 1] == 0
    return argv, envp, pairs, stack.start + word * (at + 2)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_parses_back(arch: Arch) -> None:
    for extra in range(4):
        argv = [b"prog", b"", b"x" * extra, b"last argument"]
        envp = [b"A=1", b"PATH=/bin:/usr/bin", b"E=" + b"y" * 5 * extra]
        stack = build_stack(arch, argv, envp[: extra + 1], b"/bin/prog", FACTS, RANDOM)
        got_argv, got_envp, pairs, end = parse(arch, stack)
        assert (got_argv, got_envp) == (argv, envp[: extra + 1])
        assert stack.start + len(stack.data) == arch.stack_top
        assert stack.start % 16 == 0
        values = dict(pairs)
        assert (values[auxv.AT_PHDR], values[auxv.AT_PHNUM], values[auxv.AT_ENTRY]) == (0x400040, 7, 0x401234)
        assert values[auxv.AT_PHENT] == {32: 32, 64: 56}[arch.bits]
        assert [values[n] for n in (auxv.AT_UID, auxv.AT_EUID, auxv.AT_GID, auxv.AT_EGID)] == [1, 2, 3, 4]
        assert values[auxv.AT_PAGESZ] == arch.page_size
        assert string_at(stack, values[auxv.AT_EXECFN]) == b"/bin/prog"
        random = values[auxv.AT_RANDOM] - stack.start
        assert stack.data[random : random + 16] == RANDOM
        assert values[auxv.AT_RANDOM] >= end
        assert (string_at(stack, values[auxv.AT_PLATFORM]).decode() if arch.platform else "") == arch.platform
        if arch.base_platform:
            assert string_at(stack, values[auxv.AT_BASE_PLATFORM]).decode() == arch.base_platform


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_ranges(arch: Arch) -> None:
    argv, envp = [b"a", b"bc"], [b"X=1", b"Y=22"]
    stack = build_stack(arch, argv, envp, b"/a", FACTS, RANDOM)

    def piece(start: int, end: int) -> bytes:
        return stack.data[start - stack.start : end - stack.start]

    assert piece(stack.arg_start, stack.arg_end) == b"a\0bc\0"
    assert piece(stack.env_start, stack.env_end) == b"X=1\0Y=22\0"
    assert stack.arg_end == stack.env_start
    assert stack.env_end == stack.execfn
    assert piece(stack.execfn, arch.stack_top) == b"/a\0" + bytes(word_size(arch))
    assert stack.auxv in stack.data
    assert stack.auxv.endswith(bytes(2 * word_size(arch)))
    assert stack.vma_start % arch.page_size == 0
    assert stack.vma_start == arch.stack_top - arch.page_size - (128 << 10)


def test_sp_is_at_argc_except_for_register_windows() -> None:
    for arch in ARCHES:
        stack = build_stack(arch, [b"a"], [], b"/a", FACTS, RANDOM)
        below = {"sparc32": 64, "sparc64": 128 + 2047}.get(arch.name, 0)
        assert stack.sp == stack.start - below
        assert stack.vma_start <= stack.sp


def test_the_mapping_reaches_down_to_the_pointers() -> None:
    few = build_stack(X86_64, [b"x" * 100_000] * 3, [], b"/a", FACTS, RANDOM)
    assert few.vma_start == (few.arg_start & ~0xFFF) - (128 << 10)
    many = build_stack(X86_64, [b""] * 60_000, [], b"/a", FACTS, RANDOM)
    assert many.arg_start - many.start > 60_000 * 8 > 128 << 10
    assert many.vma_start == many.start & ~0xFFF
    small = build_stack(X86_64, [b"a"], [], b"/a", FACTS, RANDOM, stack_limit=64 << 10)
    assert small.vma_start == X86_64.stack_top - (64 << 10)


def test_empty_argv_gets_an_empty_string() -> None:
    stack = build_stack(X86_64, [], [b"A=b"], b"/a", FACTS, RANDOM)
    assert parse(X86_64, stack)[:2] == ([b""], [b"A=b"])


def test_another_stack_top() -> None:
    stack = build_stack(X86_64, [b"a"], [], b"/a", FACTS, RANDOM, stack_top=0x10_0000)
    assert stack.start + len(stack.data) == 0x10_0000
    with pytest.raises(BadArgument):
        build_stack(X86_64, [b"a"], [], b"/a", FACTS, RANDOM, stack_top=0x10_0008)


def test_bad_bytes_are_refused() -> None:
    with pytest.raises(BadArgument, match="argv"):
        build_stack(X86_64, [b"a\0b"], [], b"/a", FACTS, RANDOM)
    with pytest.raises(BadArgument, match="random16"):
        build_stack(X86_64, [b"a"], [], b"/a", FACTS, RANDOM[:15])


def test_longest_string() -> None:
    build_stack(X86_64, [b"a" * 131071], [], b"/a", FACTS, RANDOM)
    with pytest.raises(GuestError, match="E2BIG"):
        build_stack(X86_64, [b"a" * 131072], [], b"/a", FACTS, RANDOM)
    with pytest.raises(GuestError, match="E2BIG"):
        build_stack(X86_64, [b"a"], [b"a" * 131072], b"/a", FACTS, RANDOM)


def test_total_limit_counts_strings_pointers_and_the_name() -> None:
    assert argument_limit(8 << 20) == 2 << 20
    assert argument_limit(1 << 40) == 6 << 20
    assert argument_limit(0) == 128 << 10
    limit = 128 << 10
    rest = limit - len(b"/a\0") - 2 * 8 - len(b"E=1\0")
    build_stack(X86_64, [b"a" * (rest - 1)], [b"E=1"], b"/a", FACTS, RANDOM, stack_limit=256 << 10)
    for argv, execfn in (([b"a" * rest], b"/a"), ([b"a" * (rest - 1)], b"/aa")):
        with pytest.raises(GuestError, match="E2BIG"):
            build_stack(X86_64, argv, [b"E=1"], execfn, FACTS, RANDOM, stack_limit=256 << 10)


def test_auxv_order() -> None:
    facts = FACTS._replace(sysinfo_ehdr=0x7000, minsigstksz=1440, rseq_size=28, rseq_align=32)
    where = auxv.Addresses(random=1, execfn=2, platform=3, base_platform=4)
    common = [16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25]

    def types(name: str, facts: auxv.Facts = facts) -> list[int]:
        return [number for number, _ in auxv.build(BY_NAME[name], facts, where)]

    assert types("x86_64") == [33, 51, *common, 26, 31, 15, 24, 27, 28, 0]
    assert types("i386", facts._replace(sysinfo=0x7010)) == [32, 33, 51, *common, 26, 31, 15, 24, 27, 28, 0]
    assert types("ppc64") == [22, 22, 19, 20, 21, 33, *range(40, 48), 51, *common, 26, 31, 15, 24, 27, 28, 0]
    assert types("riscv64") == [33, *range(40, 48), 51, *common, 31, 15, 24, 27, 28, 0]
    assert types("s390x") == types("mips32") == [33, *common, 31, 15, 24, 27, 28, 0]
    assert types("arm64", FACTS) == [1, *common, 26, 31, 15, 24, 0]
    assert types("arm", FACTS) == [*common, 26, 31, 15, 24, 0]


NATIVE = r"""
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <elf.h>
int main(int argc, char **argv, char **envp) {
    uintptr_t *sp = (uintptr_t *)argv - 1;
    char *arg0 = argv[0];
    char **e = envp; while (*e) e++;
    Elf64_auxv_t *a = (Elf64_auxv_t *)(e + 1);
    uintptr_t random = 0, execfn = 0, plat = 0, end;
    printf("aligned %d argc %d\n", (int)((uintptr_t)sp % 16), (int)*sp);
    for (int i = 0; i < argc; i++) printf("argv %d\n", (int)(argv[i] - arg0));
    for (e = envp; *e; e++) printf("envp %d\n", (int)(*e - arg0));
    printf("tables %d\n", (int)((char *)a - (char *)sp));
    for (; a->a_type; a++) {
        if (a->a_type == AT_RANDOM) random = a->a_un.a_val;
        if (a->a_type == AT_EXECFN) execfn = a->a_un.a_val;
        if (a->a_type == AT_PLATFORM) plat = a->a_un.a_val;
        if (a->a_type != 33 && a->a_type != 51 && a->a_type != 27 && a->a_type != 28 && a->a_type < 28 + 4)
            printf("aux %d\n", (int)a->a_type);
    }
    end = (uintptr_t)(a + 1);
    printf("above random %d\n", (int)(plat - random));
    printf("platform end %d\n", (int)((plat + strlen((char *)plat) + 1) % 16));
    printf("slack %d\n", (int)(random - end) < 16);
    printf("execfn %d %s\n", (int)(execfn - (uintptr_t)arg0), (char *)execfn);
    printf("top %d\n", (int)((execfn + strlen((char *)execfn) + 1 + 8) % 4096));
    return 0;
}
"""


def describe(stack: InitialStack) -> str:
    """What NATIVE prints, from a built stack."""
    words = unpack_words(X86_64, stack.data[: len(stack.data) // 8 * 8])
    _, _, pairs, end = parse(X86_64, stack)
    argc, arg0 = words[0], words[1]
    lines = [f"aligned {stack.sp % 16} argc {argc}"]
    lines += [f"argv {words[1 + n] - arg0}" for n in range(argc)]
    at = argc + 2
    while words[at]:
        lines.append(f"envp {words[at] - arg0}")
        at += 1
    lines.append(f"tables {8 * (at + 1)}")
    lines += [f"aux {number}" for number, _ in pairs]
    values = dict(pairs)
    execfn = string_at(stack, values[auxv.AT_EXECFN])
    lines.append(f"above random {values[auxv.AT_PLATFORM] - values[auxv.AT_RANDOM]}")
    lines.append(f"platform end {(values[auxv.AT_PLATFORM] + len(X86_64.platform) + 1) % 16}")
    lines.append(f"slack {int(values[auxv.AT_RANDOM] - end < 16)}")
    lines.append(f"execfn {values[auxv.AT_EXECFN] - arg0} {execfn.decode()}")
    lines.append(f"top {(values[auxv.AT_EXECFN] + len(execfn) + 1 + 8) % 4096}")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="compares with a Linux x86-64 host")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_like_the_host_kernel(tmp_path: Path) -> None:
    program = tmp_path / "layout"
    (tmp_path / "layout.c").write_text(NATIVE)
    command = ["gcc", "-static", "-O1", "-o", str(program), str(tmp_path / "layout.c")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"gcc -static does not work here: {built.stderr[:200]}")
    for argv, envp in (
        (["zero", "", "two", "three " * 9], {"A": "1", "LONGER": "value" * 7, "Z": ""}),
        (["x"], {}),
        (["x", "y"], {"B": "2"}),
    ):
        native = subprocess.run(argv, executable=program, env=envp, capture_output=True, text=True, check=True).stdout
        pairs = [f"{key}={value}".encode() for key, value in envp.items()]
        stack = build_stack(X86_64, [text.encode() for text in argv], pairs, os.fsencode(program), FACTS, RANDOM)
        assert describe(stack) == native


def test_arm64_differs_from_x86_only_in_the_platform_and_the_vector() -> None:
    one = build_stack(ARM64, [b"a"], [b"B=1"], b"/a", FACTS, RANDOM)
    other = build_stack(X86_64, [b"a"], [b"B=1"], b"/a", FACTS, RANDOM)
    assert ARM64.stack_top - one.arg_start == X86_64.stack_top - other.arg_start
    assert len(one.auxv) == len(other.auxv) + 16
