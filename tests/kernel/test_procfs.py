"""The guest's /proc: names, permissions, how files are read, what a root of its own shows; the CPU it describes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emuvm.abi import cpuinfo
from emuvm.abi.arch import ARM64, X86_64
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, Seek
from emuvm.abi.structs import Stat
from emuvm.engine.base import SyscallStop
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import GuestError
from emuvm.kernel import procfs, procfs_files, procfs_memory, procfs_open, procfs_pages, procfs_task
from emuvm.kernel.credentials import Ids
from emuvm.kernel.procfs_files import SequenceFile, each
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon, File, Vma, VmFlag
from tests.kernel.guest import BASE, FileGuest, Guest, files

O_WRONLY, O_RDWR, O_CREAT, O_DIRECTORY, O_PATH = 1, 2, 0x40, 0x10000, 0x200000
STAT = Stat((0, 22), 1, 0o100444, 1, 0, 0, (0, 0), 0, 1024, 0, (0, 0), (0, 0), (0, 0))


def text(guest: FileGuest, path: str) -> str:
    content = guest.content(path)
    assert isinstance(content, bytes), content
    return content.decode()


# -- how files are read ---------------------------------------------------------------------------------------------------


class Rows:
    """A file of rows, which counts how often each was made."""

    def __init__(self, *rows: bytes) -> None:
        self.rows = list(rows)
        self.made = [0] * len(rows)

    def __call__(self, key: int) -> tuple[bytes, int] | None:
        if key >= len(self.rows):
            return None
        self.made[key] += 1
        return self.rows[key], key + 1


def sequence(*rows: bytes) -> tuple[SequenceFile, Rows]:
    source = Rows(*rows)
    return SequenceFile(b"/x", 0, STAT, each(source)), source


def test_a_read_ends_with_a_row_that_fits_into_the_buffer() -> None:
    file, _ = sequence(b"a" * 2000, b"b" * 2000, b"c" * 2000, b"d" * 9000, b"e")
    assert [len(file.read(65536)) for _ in range(5)] == [4000, 2000, 9001, 0, 0]
    file, _ = sequence(b"a" * 2048, b"b" * 2048)
    assert len(file.read(65536)) == 2048, "a full buffer does not count as fitting"


def test_small_reads_take_rows_apart_but_make_each_once() -> None:
    file, rows = sequence(b"one\n", b"two\n", b"three\n")
    assert [file.read(3) for _ in range(6)] == [b"one", b"\ntw", b"o\nt", b"hre", b"e\n", b""]
    assert rows.made == [1, 1, 1]


def test_a_row_is_of_the_moment_it_is_first_read() -> None:
    file, rows = sequence(b"one\n", b"two\n")
    assert file.read(2) == b"on"
    rows.rows = [b"ONE\n", b"TWO\n"]
    assert file.read(100) == b"e\nTWO\n"
    assert file.seek(0, Seek.SEEK_SET) == 0 and file.read(100) == b"ONE\nTWO\n"
    assert file.pread(3, 2) == b"E\nT" and file.pread(100, 5) == b"WO\n" and file.pread(5, 100) == b""
    assert file.read(5) == b"" and file.seek(-3, Seek.SEEK_CUR) == 5 and file.read(5) == b"WO\n"
    for offset, whence in ((-1, Seek.SEEK_SET), (0, Seek.SEEK_END), (0, 5)):
        with pytest.raises(GuestError, match="EINVAL"):
            file.seek(offset, whence)


def test_numbers_are_read_as_the_kernel_reads_them() -> None:
    good = {b"10": 10, b" 0x1f\n": 31, b"010\0": 8, b"-17": -17, b"+5": 5, b"0": 0, b"-010": -8}
    assert {data: procfs_files.number(data) for data in good} == good
    for data in (b"", b"x", b"1 2", b"09", b"1_0", b"--1", b"0b1", b"0o7", b"0x", b"+", b"1\n2"):
        with pytest.raises(GuestError, match="EINVAL"):
            procfs_files.number(data)
    assert procfs_files.number(b"010", 10) == 10
    for data, base in ((b"0x1", 10), (b"-1", 0), (b"9", 8)):
        with pytest.raises(GuestError, match="EINVAL"):
            procfs_files.number(data, base, signed=False)


# -- names ----------------------------------------------------------------------------------------------------------------


def test_every_name_can_be_opened_and_no_other() -> None:
    tables = {*procfs_open.SINGLE, *procfs_open.RECORDS, *procfs_open.PLAIN, *procfs_open.SETTINGS}
    tables |= {b"mem", b"pagemap", b"clear_refs", b"maps", b"smaps"}
    named = {name for name, mode in procfs._ENTRIES.items() if not mode >> 12}
    assert {name for name in tables if not name.startswith(b"/")} == named
    with files() as guest:
        for name in named - {b"children", b"clear_refs", b"stack", b"mem", b"pagemap"}:
            assert isinstance(guest.content(f"/proc/self/{name.decode()}"), bytes), name
        for name in ("map", "mapsx", "Maps", "task/1/maps", "task/x", "fd/00", "fd/-1", "fd/1x", "map_files/0-1", "fd/0/x", "ns"):
            result = guest.content("/proc/self/" + name)
            assert result in (-Errno.ENOENT, -Errno.ENOTDIR), name
            assert guest.path("access", "/proc/self/" + name, 0) in (-Errno.ENOENT, -Errno.ENOTDIR), name


def listed(guest: FileGuest, path: str) -> dict[str, int]:
    """name -> d_type."""
    fd = guest.path("open", path, O_DIRECTORY)
    assert fd >= 0, path
    found = {}
    while (count := guest.call("getdents64", fd, BASE, 0x800)) > 0:
        data, at = guest.engine.memory.read(BASE, count), 0
        while at < count:
            size = int.from_bytes(data[at + 16 : at + 18], "little")
            found[data[at + 19 : at + size].split(b"\0")[0].decode()] = data[at + 18]
            at += size
    guest.call("close", fd)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the host has no /proc")
def test_directories_show_what_the_host_shows_of_them() -> None:
    with files() as guest:
        own = listed(guest, "/proc/self")
        assert set(own) >= {".", "..", "maps", "smaps", "fd", "task", "exe", "mem"} and "children" not in own
        thread = listed(guest, "/proc/thread-self/")
        assert "children" in thread and "task" not in thread and "timers" not in thread
        native = {entry.name: 10 if entry.is_symlink() else 4 if entry.is_dir() else 8 for entry in os.scandir("/proc/self")}
        if {"arch_status", "timerslack_ns", "setgroups"} <= set(native):
            assert {name: kind for name, kind in own.items() if name not in (".", "..")}.items() <= native.items()
        assert set(listed(guest, "/proc/self/fd")) == {".", "..", *(str(fd) for fd, _ in guest.proc.files.items()), "3"}
        assert set(listed(guest, "/proc/self/task")) == {".", "..", str(guest.proc.tid)}
        assert {"meminfo", "self", str(guest.proc.pid)} <= set(listed(guest, "/proc"))


def test_a_user_may_not_what_root_may() -> None:
    with files() as guest:
        assert guest.path("open", "/proc/self/maps", O_RDWR) >= 0 and guest.path("access", "/proc/self/maps", 2) == 0
        creds = guest.proc.system.credentials
        root, everything = creds.uids, creds.effective | 1 << 24 | 2
        creds.uids, creds.effective = Ids(1000, 1000, 1000, 1000), 0
        for name, flags, expected in (
            ("maps", 0, 0), ("maps", O_RDWR, Errno.EACCES), ("comm", O_RDWR, 0), ("clear_refs", 0, Errno.EACCES), ("mem", O_RDWR, 0),
            ("pagemap", O_WRONLY, Errno.EACCES), ("timerslack_ns", O_RDWR, 0), ("fd", 0, 0), ("exe", 0x20000, Errno.ELOOP),
        ):  # fmt: skip
            result = guest.path("open", f"/proc/self/{name}", flags)
            assert (result >= 0) if not expected else result == -expected, name
        assert guest.path("access", "/proc/self/maps", 2) == -Errno.EACCES and guest.path("access", "/proc/self/maps", 4) == 0
        assert guest.path("open", "/proc/sys/vm/max_map_count", O_WRONLY) == -Errno.EACCES
        fd = guest.path("open", "/proc/self/oom_score_adj", O_RDWR)
        guest.engine.memory.write(BASE, b"100-5")
        assert guest.call("write", fd, BASE, 3) == 3 and guest.call("write", fd, BASE + 3, 2) == -Errno.EACCES
        creds.uids, creds.effective = root, everything
        assert guest.call("write", fd, BASE + 3, 2) == 2 and guest.proc.kept.oom_score_adj == -5
        assert guest.path("open", "/proc/sys/vm/max_map_count", O_WRONLY) == -Errno.EROFS


def test_a_root_without_proc_has_one(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "mtab").symlink_to("proc/self/mounts")
    (tmp_path / "file").write_text("x")
    for root in (tmp_path, tmp_path / "proc"):
        with files(str(root)) as guest:
            names = listed(guest, "/proc")
            assert {"self", "thread-self", "mounts", "meminfo", "cpuinfo", "sys", str(guest.proc.pid)} <= set(names)
            assert names["self"] == 10 and names["sys"] == 4 and names["meminfo"] == 8
            assert {"vm", "kernel"} <= set(listed(guest, "/proc/sys")) and "max_map_count" in listed(guest, "/proc/sys/vm")
            assert text(guest, "/proc/sys/vm/max_map_count") == f"{guest.proc.mm.limits.max_map_count}\n"
            assert text(guest, "/proc/sys/vm/mmap_min_addr") == f"{guest.proc.mm.layout.min_addr}\n"
            assert text(guest, "/proc/mounts").split()[1::6] == ["/", "/proc"]
            assert text(guest, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") == "2097152\n"
            assert guest.content("/proc/1") == guest.content("/proc/nothing") == guest.content("/proc/sys/x") == -Errno.ENOENT
            rows = [row.split() for row in text(guest, "/proc/self/mountinfo").splitlines()]
            assert rows[1][1] == rows[0][0] and rows[1][4] == "/proc" and rows[0][0] != rows[1][0]
            assert text(guest, "/proc/self/../self/./comm") == "guest\n"
            assert guest.path("chdir", "/proc/self/fdinfo") == 0 and text(guest, "../comm") == "guest\n"
            assert guest.path("fchdir", guest.path("open", "/proc/self/task", O_DIRECTORY)) == 0 and text(guest, "../comm") == "guest\n"


def test_limits_and_masks_are_written_as_the_kernel_writes_them() -> None:
    assert procfs_task._mask_rows(3, 2) == "3" and procfs_task._mask_rows(1 << 32, 36) == "1,00000000"
    assert procfs_task._mask_rows(5, 64) == "00000000,00000005"
    assert procfs_task._ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8" and procfs_task._ranges([3]) == "3"
    with files() as guest:
        guest.proc.rlimits[7] = (12, 34)
        rows = text(guest, "/proc/self/limits").splitlines()
        assert rows[0] == "Limit                     Soft Limit           Hard Limit           Units     "
        assert "Max open files            12                   34                   files     " in rows
        assert {len(row) for row in rows} == {78, 68}


# -- regions --------------------------------------------------------------------------------------------------------------


def test_names_of_regions() -> None:
    with files() as guest:
        space, mm = guest.space, guest.proc.mm
        space.map_at(0x200000, 0x3000, 3, backing=Anon(0x200000, 0, "größe".encode()))
        mm.start_brk, mm.brk_now = 0x301800, 0x303000
        space.map_at(0x300000, 0x1000, 1)
        space.map_at(0x301000, 0x1000, 3)
        space.map_at(0x302000, 0x1000, 1)
        space.map_at(0x303000, 0x1000, 3)
        rows = {row.split()[0]: row for row in text(guest, "/proc/self/maps").splitlines()}
        assert rows["00200000-00203000"].endswith(" [anon:größe]") and rows["00200000-00203000"].index("[") == 73
        heaps = [place for place, row in rows.items() if row.endswith("[heap]")]
        assert heaps == ["00301000-00302000", "00302000-00303000"], "what touches neither end of the heap is not the heap"
        assert list(rows)[-1] == "ffffffffff600000-ffffffffff601000" and rows["00300000-00301000"].endswith(" 0 ")
        names = listed(guest, "/proc/self/map_files")
        assert set(names) == {".", ".."}
        guest.proc.arch = ARM64
        assert "[vsyscall]" not in text(guest, "/proc/self/maps") and "[vsyscall]" not in text(guest, "/proc/self/smaps")


def test_the_letters_of_flags_are_in_the_order_of_their_bits() -> None:
    bits = [bit for bit, _ in procfs_pages._LETTERS]
    assert bits == sorted(bits) and len(set(bits)) == len(bits)
    flags = VmFlag.SHARED | VmFlag.MAYREAD | VmFlag.LOCKED | VmFlag.ACCOUNT | VmFlag.DONTDUMP | VmFlag.SEALED
    assert procfs_pages.vm_flags(Vma(0x1000, 0x2000, 5, flags, None, 0x1000, 0x1000)) == "rd ex sh mr lo ac dd sl "


def test_pages_of_a_file_are_shared_out_among_the_regions_that_map_them(monkeypatch: pytest.MonkeyPatch) -> None:
    guest, page = Guest(), 0x1000
    for place, offset, flags in ((0x200000, 0, 0), (0x300000, 2 * page, 0), (0x400000, 3 * page, VmFlag.SHARED)):
        guest.space.map_at(place, 4 * page, 3, flags, backing=File("file", offset))
    there = [(0x200000, 0x204000, 13), (0x300000, 0x301000, 13), (0x302000, 0x303000, 13)]
    there += [(0x303000, 0x304000, 3), (0x400000, 0x402000, 13)]
    monkeypatch.setattr(guest.engine.memory, "resident", lambda low, high, cached: [run for run in there if low <= run[0] < high])
    regions = [vma for vma in guest.space if vma.start >= 0x200000]
    sharing = procfs_pages.Sharing(guest.proc, regions)
    found = {vma.start: runs for vma, runs in procfs_pages.present(guest.proc, regions)}
    assert [run.kind for run in found[0x300000]] == ["file", "file", "anon"]
    parts = [tuple(part) for part in sharing.parts(regions[0], found[0x200000][0])]
    assert parts == [(0x200000, 0x202000, 1, 0), (0x202000, 0x203000, 2, 0), (0x203000, 0x204000, 2, 1)]
    assert [part.mapped for run in found[0x300000] if run.of_file for part in sharing.parts(regions[1], run)] == [2, 2]
    later = procfs_pages.Run(0x301000, 0x304000, "file")
    assert [tuple(part)[2:] for part in sharing.parts(regions[1], later)] == [(2, 1), (2, 1), (1, 0)]
    entries = procfs_pages.pagemap(guest.proc, 32, 0x200 * 8)
    assert [entries[at + 7] for at in range(0, 32, 8)] == [0xA1, 0xA1, 0xA0, 0xA0]


def test_only_whole_huge_pages_make_a_region_eligible() -> None:
    huge, guest = 2 << 20, Guest()

    def eligible(start: int, end: int, flags: int = VmFlag.HUGEPAGE) -> bool:
        return procfs_pages.huge_eligible(guest.proc, Vma(start, end, 3, flags, None, start, end - start))

    assert eligible(huge, 2 * huge) and eligible(huge - 4096, 2 * huge + 4096)
    assert not eligible(huge + 4096, 3 * huge - 4096) and not eligible(huge, 2 * huge, 0) and not eligible(huge, 2 * huge - 4096)
    assert not eligible(huge, 2 * huge, VmFlag.HUGEPAGE | VmFlag.MAYSHARE) and not eligible(huge, 2 * huge, VmFlag.HUGEPAGE | VmFlag.IO)
    guest.proc.controls["thp_disable"] = 3
    assert eligible(huge, 2 * huge), "those that ask are the exception"
    guest.proc.controls["thp_disable"] = 1
    assert not eligible(huge, 2 * huge)


def test_a_great_reservation_costs_nothing() -> None:
    with files() as guest:
        guest.space.map_at(1 << 40, 1 << 45, 0)
        assert text(guest, "/proc/self/statm").split()[:2] == [str((1 << 33) + 4), "1"]
        fd = guest.path("open", "/proc/self/pagemap", Open.O_RDONLY)
        assert guest.call("pread64", fd, BASE, 64, (1 << 40) // 4096 * 8) == 64
        assert guest.engine.memory.read(BASE, 64) == bytes(64)


# -- the CPU --------------------------------------------------------------------------------------------------------------


def test_cpuinfo_names_what_cpuid_says() -> None:
    space = AddressSpace(0, X86_64.task_size)
    engine = UnicornEngine(X86_64, space)
    try:
        space.map_at(BASE, 0x1000, 7)
        engine.memory.write(BASE, b"\x0f\xa2\x49\x89\xc8\x0f\x05")  # cpuid; mov r8, rcx; syscall
        for (leaf, register), value in cpuinfo.CPUID.items():
            engine.set("rax", 0xD if leaf == 0xD_0001 else leaf)
            engine.set("rcx", 1 if leaf == 0xD_0001 else 0)
            engine.set("pc", BASE)
            stop = engine.run()
            assert isinstance(stop, SyscallStop)
            found = {"eax": stop.number, "ebx": engine.get("rbx"), "ecx": engine.get("r8"), "edx": engine.get("rdx")}
            assert found[register] & 0xFFFF_FFFF == value, (hex(leaf), register)
    finally:
        engine.close()
    shown = set(cpuinfo.flags(X86_64))
    assert {"fpu", "sse2", "lm", "syscall", "nx", "pni", "cx16", "popcnt", "fsgsbase", "rep_good"} <= shown
    assert not shown & {"avx", "vme", "pku", "osxsave", "-"}
    for names in cpuinfo.NAMES.values():
        assert len(names.split()) in (32, 5)


def test_processors_are_those_of_the_affinity() -> None:
    with files() as guest:
        rows = text(guest, "/proc/cpuinfo").splitlines()
        assert [int(row.split()[2]) for row in rows if row.startswith("processor")] == sorted(guest.proc.system.cpus())
    assert cpuinfo.flags(ARM64) == ["fp", "asimd", "aes", "pmull", "sha1", "sha2", "crc32"]
    assert "CPU implementer\t: 0x41\nCPU architecture: 8\n" in cpuinfo.processor(ARM64, 0, 1, 1000.0)


def test_what_tells_of_the_memory_is_read_inside_the_engine_s_hook(tmp_path: Path) -> None:
    with files(writable=(str(tmp_path),)) as guest:
        guest.engine.memory.write(BASE, b"/proc/self/maps\0")
        fd = guest.fast("openat", -100, BASE, 0, 0)
        assert fd is not None and fd > 2
        count = guest.fast("read", fd, BASE + 0x1000, 0x1000)
        assert count and guest.engine.memory.read(BASE + 0x1000, count) == b"".join(text for text, _ in procfs_memory.maps(guest.proc, 0))
        assert guest.fast("close", fd) == 0 and guest.fast("close", fd) == -Errno.EBADF
        for path, end in ((b"/proc/self/syscall", None), (str(tmp_path / "x").encode(), 0)):
            guest.engine.memory.write(BASE, path + b"\0")
            assert guest.fast("openat", -100, BASE, O_CREAT if end == 0 else 0, 0o600) is None, path
            fd = guest.call("openat", -100, BASE, O_CREAT if end == 0 else 0, 0o600)
            assert fd > 2 and guest.fast("read", fd, BASE + 0x1000, 0x1000) == end and guest.fast("close", fd) == end, path


def test_kept_lines_show_new_names_at_once(tmp_path: Path) -> None:
    with files(writable=(str(tmp_path),)) as guest:
        fd = guest.path("open", str(tmp_path / "one"), 0o102, 0o600)
        at = guest.call("mmap", 0, 0x1000, 1, 2, fd, 0)

        def row(start: int) -> str:
            content = guest.content("/proc/self/maps")
            assert isinstance(content, bytes)
            return next(line for line in content.decode().splitlines() if line.startswith(f"{start:08x}-"))

        assert row(at).endswith("/one") and row(at) == row(at)
        (tmp_path / "one").rename(tmp_path / "two")
        assert row(at).endswith("/two")
        (tmp_path / "two").unlink()
        assert row(at).endswith("/two (deleted)")
        host_fds = len(os.listdir("/proc/self/fd"))
        guest.call("munmap", at, 0x1000)
        guest.call("close", fd)
        assert len(os.listdir("/proc/self/fd")) == host_fds - 2, "no file is kept open for its line's sake"
        place = guest.call("mmap", 0, 0x1000, 3, 0x22, -1, 0)
        assert row(place).endswith(" 0 ")
        mm = guest.proc.mm
        before, mm.start_brk, mm.brk_now = (mm.start_brk, mm.brk_now), place, place + 0x1000
        assert row(place).endswith("[heap]")
        mm.start_brk, mm.brk_now = before
        assert row(place).endswith(" 0 ")
