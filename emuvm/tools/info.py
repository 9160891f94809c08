"""`emuvm info FILE`: what the loader sees in a file, and the mappings that running it would start with.

Owns: the text. Must not know how files are read or laid out (emuvm_loaders does), nor anything that runs.
"""

from __future__ import annotations

import sys

from emuvm.abi.arch import BY_NAME
from emuvm_loaders import Image, LoadError, Note, Plan, load, plan, printable, require_static, span

_PAGE = 4096
_GENERIC = {32: (0xC000_0000, 0xB7FF_F000, 0x8000_0000), 64: (0x7FFF_FFFF_F000, 0x7FFF_F7FF_F000, 0x5555_5555_4000)}
"""bits -> (task_size, mmap_base, elf_et_dyn_base) to show a file for an architecture that emuvm has no table of."""

_ABI_SYSTEMS = {0: "Linux", 1: "Hurd", 2: "Solaris", 3: "FreeBSD"}
_BUILD_ID, _ABI_TAG = 3, 1
_SHOWN_BYTES = 32


def main(path: str) -> int:
    """Print the description and return 0; or one line about what is wrong on stderr, and 1."""
    try:
        image = load(path)
        text = describe(image, place(image))
    except LoadError as error:
        print(f"emuvm: {printable(path)}: {error.reason}", file=sys.stderr)
        return 1
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def place(image: Image) -> Plan:
    """The plan at the addresses Linux takes without randomisation. LoadError as `emuvm_loaders.plan`.

    A static-pie goes directly below mmap_base and its heap to ELF_ET_DYN_BASE, a dynamic executable to ELF_ET_DYN_BASE.
    """
    arch = BY_NAME.get(image.arch)
    page = _PAGE if arch is None else arch.page_size
    task_size, mmap_base, dyn_base = _GENERIC[image.bits] if arch is None else (arch.task_size, arch.mmap_base, arch.elf_et_dyn_base)
    bias = 0
    if image.pie:
        room = span(image, page)
        at = dyn_base if image.interpreter is not None else mmap_base - room.length
        bias = (at & -room.align) - room.start
    return plan(image, task_size=task_size, page_size=page, bias=bias, et_dyn_base=dyn_base)


def describe(image: Image, planned: Plan) -> str:
    """Header facts, segments, notes and planned mappings as text without a final newline."""
    return "\n".join([*_facts(image, planned), "", *_segments(image), "", *_mappings(image, planned)])


def _facts(image: Image, planned: Plan) -> list[str]:
    order = "big" if image.big_endian else "little"
    identity = f"machine {image.machine}, {image.bits}-bit, {order}-endian, flags {image.e_flags:#x}"
    rows = [
        ("file", printable(image.name)),
        ("kind", _kind(image)),
        ("architecture", f"{image.arch or 'unknown'} ({identity})"),
        ("entry", f"{image.entry:#x}" + _moved(image.entry, planned.entry)),
        ("headers", f"{image.phnum} of {image.phentsize} bytes at file offset {image.phoff:#x}, " + _where(image, planned)),
        ("stack", _stack(image, planned)),
    ]
    if image.tls is not None:
        tls = image.tls
        rows.append(("TLS", f"{tls.memsz} bytes, {tls.filesz} of them from address {tls.vaddr:#x}, aligned to {max(tls.align, 1)}"))
    rows += [("note", _note(note, image.big_endian)) for note in image.notes]
    rows += [("property", f"{p.type:#010x} {p.data[:_SHOWN_BYTES].hex()}") for p in image.properties]
    lines = [f"{name:<13} {value}" for name, value in rows]
    try:
        require_static(image)
    except LoadError as error:
        lines.append(f"{'interpreter':<13} {error.reason}")
    else:
        lines.append(f"{'interpreter':<13} none needed")
    arch = BY_NAME.get(image.arch)
    if arch is None or not arch.runnable:
        lines.append("emuvm does not run programs of this architecture yet")
    return lines


def _kind(image: Image) -> str:
    linking = "static" if image.interpreter is None else "dynamic"
    return {"exec": f"{linking} executable", "dyn": f"{linking} position independent executable", "raw": "flat blob"}[image.type]


def _moved(stated: int, actual: int) -> str:
    return f", planned at {actual:#x}" if stated != actual else ""


def _where(image: Image, planned: Plan) -> str:
    if not image.phdr_address:
        return "in no segment"
    return f"address {image.phdr_address:#x}" + _moved(image.phdr_address, planned.phdr_address)


def _stack(image: Image, planned: Plan) -> str:
    why = "no PT_GNU_STACK" if image.stack_flags is None else "PT_GNU_STACK"
    implied = "; readable pages become executable (READ_IMPLIES_EXEC)" if planned.read_implies_exec else ""
    return f"{_letters(planned.stack_prot)} ({why}){implied}"


def _note(note: Note, big_endian: bool) -> str:
    if note.owner == "GNU" and note.type == _BUILD_ID:
        return f"build id {note.desc[:_SHOWN_BYTES].hex()}"
    if note.owner == "GNU" and note.type == _ABI_TAG and len(note.desc) >= 16:
        system, *version = (int.from_bytes(note.desc[i : i + 4], "big" if big_endian else "little") for i in (0, 4, 8, 12))
        return f"ABI tag {_ABI_SYSTEMS.get(system, system)} {'.'.join(map(str, version))}"
    shown = note.desc[:_SHOWN_BYTES].hex() + ("..." if len(note.desc) > _SHOWN_BYTES else "")
    return f"{printable(note.owner)} type {note.type:#x}, {len(note.desc)} bytes {shown}".rstrip()


def _segments(image: Image) -> list[str]:
    lines = ["program headers", f"  {'type':<14} {'offset':>10} {'address':>18} {'in file':>10} {'in memory':>10} rwx  align"]
    for s in image.headers:
        lines.append(f"  {s.type:<14} {s.offset:#10x} {s.vaddr:#18x} {s.filesz:#10x} {s.memsz:#10x} {s.letters}  {s.align:#x}")
    return lines


def _mappings(image: Image, planned: Plan) -> list[str]:
    where = f" with bias {planned.bias:#x}" if planned.bias else ""
    lines = [f"planned mappings{where}"]
    name = printable(image.name)
    for m in planned.mappings:
        origin = name if m.kind == "file" else "[zeros]"
        zeroed = f", zero from {m.zero_start:#x} to {m.zero_end:#x}" if m.zero_end > m.zero_start else ""
        lines.append(f"  {m.address:08x}-{m.end:08x} {_letters(m.prot)}p {m.offset:08x} {origin}, segment {m.segment}{zeroed}")
    lines.append(f"  {planned.brk:08x}          {_letters(planned.data_prot)}p          [heap] starts here")
    return lines


def _letters(prot: int) -> str:
    return "".join(c if prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
