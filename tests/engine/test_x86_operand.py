"""The memory operand of x86-64 instructions, with encodings that the assembler made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.engine import x86_operand

VALUES = {name: 0x1000 * (n + 1) for n, name in enumerate(x86_operand._REGISTERS)} | {"fs_base": 0x70_0000, "gs_base": 0x80_0000}
PC = 0x40_0000
CASES = [
    ("add %eax, (%rdi)", True, 0x8000),
    ("lock addq $1, 8(%rsi,%rcx,4)", True, 0x7008 + 4 * 0x2000),
    ("xchg %rax, -8(%r12)", True, 0xD000 - 8),
    ("lock cmpxchg %ecx, (%r13)", True, 0xE000),
    ("lock xadd %cl, 0x12345(%rbp)", True, 0x6000 + 0x12345),
    ("incl (%rsp)", True, 0x5000),
    ("notq (%rax)", True, 0x1000),
    ("shll $3, (%rax)", True, 0x1000),
    ("btsl $3, (%rax)", True, 0x1000),
    ("cmpxchg16b (%rax)", True, 0x1000),
    ("xorw $0x1234, 4(%rdx)", True, 0x3004),
    ("mov %rax, (%rdi)", False, 0x8000),
    ("mov %rax, %fs:16(%rdi)", False, 0x70_8010),
    ("movups %xmm0, (%rdi,%r9)", False, 0x8000 + 0xA000),
    ("movl $5, 0x100(%rip)", False, PC + 0x100 + 10),
    ("movb $5, 0x100(%rip)", False, PC + 0x100 + 7),
    ("movw $5, 0x100(%rip)", False, PC + 0x100 + 9),
    ("mov %al, 0x7000(,%rbx,2)", False, 0x7000 + 0x8000),
    ("movabs %al, 0x1000000000000010", False, 0x1000_0000_0000_0010),
    ("push %rax", False, 0x5000 - 8),
    ("push (%rdi)", False, 0x5000 - 8),
    ("stosq", False, 0x8000),
    ("rep movsb", False, 0x8000),
    ("cmpl $1, (%rdi)", False, 0x8000),
    ("testl $1, (%rdi)", False, 0x8000),
    ("add (%rdi), %eax", False, 0x8000),
    ("add %eax, %ebx", False, None),
    ("pop %rax", False, None),
]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Each case's instruction, padded with nops to 32 bytes."""
    gcc, objcopy = shutil.which("x86_64-linux-gnu-gcc") or shutil.which("gcc"), shutil.which("objcopy")
    folder: Path = tmp_path_factory.mktemp("operands")
    source = folder / "all.s"
    source.write_text(".text\n" + "".join(f"{text}\n.p2align 5\n" for text, _, _ in CASES))
    if gcc is None or objcopy is None or subprocess.run([gcc, "-c", str(source), "-o", str(folder / "all.o")], check=False).returncode:
        pytest.skip("no assembler for x86-64 is installed")
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", str(folder / "all.o"), str(folder / "all.bin")], check=True)
    data = (folder / "all.bin").read_bytes()
    return [data[n * 32 : n * 32 + 32] for n in range(len(CASES))]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[text for text, _, _ in CASES])
def test_operand(encoded: list[bytes], number: int) -> None:
    _, modifies, address = CASES[number]
    code = encoded[number]
    assert x86_operand.modifies(code) is modifies
    assert x86_operand.operand(code, PC, VALUES.__getitem__) == address


def test_code_that_ends_early_tells_nothing() -> None:
    for length in range(4):
        code = bytes.fromhex("488304ce01")[:length]
        assert x86_operand.modifies(code) is (length >= 3)
        assert x86_operand.operand(code, PC, VALUES.__getitem__) is None


@pytest.mark.parametrize(
    ("code", "place"),
    [("488b03", "rbx"), ("0f1006", "rsi"), ("f3a4", "rsi"), ("f3a4", "rdi"), ("c3", "rsp"), ("ff13", "rbx"), ("f0480fc103", "rbx")],
)
def test_where_an_instruction_may_begin_to_read_or_write(code: str, place: str) -> None:
    assert VALUES[place] in x86_operand.places(bytes.fromhex(code) + b"\x90" * 10, PC, VALUES.__getitem__)


def test_a_register_operand_and_lost_code_leave_the_stack() -> None:
    for code in (b"\x48\x89\xc3", b"", b"\x48\x8b"):
        assert x86_operand.places(code, PC, VALUES.__getitem__) == [VALUES["rsp"], VALUES["rsp"] - 8]


@pytest.mark.parametrize(
    ("code", "width"),
    [
        ("488903", 8), ("8903", 4), ("668903", 2), ("8803", 1), ("410203", 1), ("48c70001000000", 8), ("50", 8), ("c3", 8),
        ("0fb603", 1), ("0fb703", 2), ("0f1103", 16), ("f30f1103", 4), ("f20f1003", 8), ("660f7f03", 16), ("480fbf03", 2), ("48", 1),
    ],
)  # fmt: skip
def test_how_many_bytes_an_instruction_accesses(code: str, width: int) -> None:
    assert x86_operand.width(bytes.fromhex(code)) == width
