"""One line gives a plain Unicorn script a real memory map.

The script below is the kind everybody starts with: mem_map for code and stack, a hook that answers `write` and `exit`. Its
guest asks for memory the way every allocator does: mmap, mprotect of a guard page, munmap of a middle page, mremap.
Before, the hook had to do that with mem_map and mem_protect and a list of its own. Now there is `attach`.

Run it:  python samples/attach_to_your_uc.py
"""

from __future__ import annotations

import struct
from typing import Any

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, UC_PROT_EXEC, UC_PROT_READ, Uc, UcError
from unicorn.x86_const import (
    UC_X86_INS_SYSCALL,
    UC_X86_REG_RAX,
    UC_X86_REG_RDI,
    UC_X86_REG_RDX,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
)

from emuvm.attach import attach, of

CODE, STACK = 0x40_0000, 0x7FFF_0000
WRITE, MMAP, MPROTECT, MUNMAP, MREMAP, EXIT = 1, 9, 10, 11, 25, 60


def call(number: int, *args: int) -> bytes:
    """Machine code: mov eax, number; load the argument registers; syscall. None loads the address kept in rbx."""
    load = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8", b"\x41\xb9")
    return b"\xb8" + struct.pack("<I", number) + b"".join(o + struct.pack("<i", a) for o, a in zip(load, args, strict=False)) + b"\x0f\x05"


def at_rbx(number: int, offset: int, *args: int) -> bytes:
    """The same with the first argument rbx + offset."""
    code = call(number, 0, *args)
    lea = b"\x48\x8d\xbb" + struct.pack("<i", offset)
    return code[:5] + lea + code[10:]


GUEST = b"".join(
    (
        call(MMAP, 0, 0x8000, 3, 0x22, -1, 0),
        b"\x48\x89\xc3",  # mov rbx, rax
        b"\xc7\x83" + struct.pack("<i4s", 0, b"grow"),  # mov dword [rbx], "grow"
        b"\xc7\x83" + struct.pack("<i4s", 4, b"n ok"),  # mov dword [rbx + 4], "n ok"
        at_rbx(MPROTECT, 0x4000, 0x1000, 0),
        at_rbx(MUNMAP, 0x6000, 0x1000),
        at_rbx(MREMAP, 0, 0x4000, 0x20000, 1),
        b"\x48\x89\xc3",  # mov rbx, rax: it had to move
        b"\xc6\x83" + struct.pack("<iB", 0x1FFFF, 1),  # mov byte [rbx + 0x1ffff], 1: the last byte is there
        call(WRITE, 1, 0, 8).replace(b"\xbe\0\0\0\0", b"\x48\x89\xde"),  # mov rsi, rbx
        call(EXIT, 0),
    )
)


def harness(uc: Uc, written: list[bytes]) -> None:
    """The script's own hook, unchanged: it never sees the memory calls."""
    number = uc.reg_read(UC_X86_REG_RAX)
    if number == WRITE:
        data = bytes(uc.mem_read(uc.reg_read(UC_X86_REG_RSI), uc.reg_read(UC_X86_REG_RDX)))
        written.append(data)
        uc.reg_write(UC_X86_REG_RAX, len(data))
    elif number == EXIT:
        vm = of(uc)  # any hook finds the address space of its engine
        assert vm is not None
        print(f"exit({uc.reg_read(UC_X86_REG_RDI)}) with these areas:\n{vm.maps()}", end="")
        uc.emu_stop()


def main() -> None:
    uc: Any = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 0x1000, UC_PROT_READ | UC_PROT_EXEC)
    uc.mem_write(CODE, GUEST)
    uc.mem_map(STACK, 0x10000)
    uc.reg_write(UC_X86_REG_RSP, STACK + 0x10000)

    vm = attach(uc, syscalls=True)  # <- the line

    written: list[bytes] = []
    uc.hook_add(UC_HOOK_INSN, harness, written, 1, 0, UC_X86_INS_SYSCALL)
    uc.emu_start(CODE, 0)
    print("the guest wrote:", written[0].decode())

    # The host's side of the same map: contents, rights and errors as Linux has them.
    buffer = vm.mmap(length=3 * 0x1000, prot=3)
    vm.write(buffer, b"\xa2" + struct.pack("<Q", buffer + 0x1000))  # mov [buffer + 0x1000], al
    vm.mprotect(buffer, 0x1000, 5)
    vm.mprotect(buffer + 0x1000, 0x1000, 1)
    try:
        uc.emu_start(buffer, buffer + 9)
    except UcError as error:
        fault = vm.take_fault()
        assert fault is not None
        print(f"{error}: {fault.access.value} of {fault.size} byte at {fault.address:#x}, {'forbidden' if fault.mapped else 'unmapped'}")
    vm.verify()
    vm.detach()
    print("detached; the engine still has", len(list(uc.mem_regions())), "regions")


if __name__ == "__main__":
    main()
