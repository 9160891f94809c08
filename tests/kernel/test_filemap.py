"""Mapping files: which are refused, how, and what a mapping may become."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open
from emuvm.errors import GuestError
from emuvm.kernel.filemap import FileMapping, file_mapping, implied_exec
from emuvm.kernel.shmem import SharedMemory
from tests.kernel.guest import files

R, W, X = 1, 2, 4
PAGE = 4096
_SET_FLAGS, _APPEND = 0x4008_6602, (0x20).to_bytes(4, "little")
"""FS_IOC_SETFLAGS, FS_APPEND_FL."""


def outcome(path: str, flags: int, prot: int, shared: bool, offset: int = 0, length: int = PAGE, **more: object) -> FileMapping | int:
    with files(allow_all=True) as guest:
        fd = guest.path("open", path, flags)
        assert fd >= 0, (path, fd)
        try:
            return file_mapping(guest.proc.files.opened(fd), prot, offset, length, shared=shared, **more)  # type: ignore[arg-type]
        except GuestError as error:
            return int(error.errno)


@pytest.mark.parametrize(
    ("path", "flags", "prot", "shared", "expected"),
    [
        ("/dev/null", 0, R, False, Errno.ENODEV),
        ("/dev/null", 0, R | W, True, Errno.EACCES),
        ("/dev/null", 1, R, False, Errno.EACCES),
        ("/dev/full", 2, R, True, Errno.ENODEV),
        ("/dev/urandom", 0, R, False, Errno.ENODEV),
        ("/tmp", 0, R, False, Errno.ENODEV),
        ("/tmp", 0, R | W, True, Errno.EACCES),
        ("/dev/zero", 1, W, False, Errno.EACCES),
        ("/proc/self/maps", 0, R, False, Errno.ENODEV),
        ("/proc/self/maps", 0, X, False, Errno.EPERM),
        ("/proc/cpuinfo", 0, R, False, Errno.EIO),
        ("/proc/cpuinfo", 0, X, False, Errno.EPERM),
    ],
)
def test_refusals(path: str, flags: int, prot: int, shared: bool, expected: int) -> None:
    assert outcome(path, flags, prot, shared) == expected


def test_offsets_come_first() -> None:
    top = 1 << 63
    assert outcome(__file__, 0, R, False, top - PAGE) == Errno.EOVERFLOW
    assert isinstance(outcome(__file__, 0, R, False, top - 2 * PAGE), FileMapping)
    assert outcome("/dev/null", 1, R, False, 2 * top - PAGE) == Errno.EOVERFLOW
    assert isinstance(outcome("/dev/zero", 0, R, False, top), FileMapping)
    refusal = GuestError(Errno.EOPNOTSUPP, "")
    assert outcome(__file__, 0, R, False, top, refusal=refusal) == Errno.EOVERFLOW
    assert outcome("/dev/null", 1, R, False, refusal=refusal) == Errno.EOPNOTSUPP
    assert outcome(__file__, 0, R, False, growsdown=True) == Errno.EINVAL
    assert outcome("/dev/null", 0, R, False, growsdown=True) == Errno.ENODEV


def test_rights(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    for flags, shared, may, whole in ((0, False, 7, False), (0, True, 5, False), (2, False, 7, False), (2, True, 7, True)):
        found = outcome(str(path), flags, R, shared)
        assert isinstance(found, FileMapping)
        assert (found.may, found.shared) == (may, whole)
        assert found.file.path == str(path).encode()


def test_zero_device() -> None:
    private = outcome("/dev/zero", 2, R | W, False)
    assert isinstance(private, FileMapping) and private.file.path == b"/dev/zero" and not hasattr(private.file, "fileno")
    assert private.file.stat().mode >> 12 == 2
    through_read_only = outcome("/dev/zero", 0, R, True)
    assert isinstance(through_read_only, FileMapping) and (through_read_only.may, through_read_only.shared) == (5, False)
    assert through_read_only.file.path == b"/dev/zero"
    shared = outcome("/dev/zero", 2, R | W, True, 3 * PAGE, 2 * PAGE)
    assert isinstance(shared, FileMapping) and isinstance(shared.file, SharedMemory)
    assert shared.file.size() == 2 * PAGE and shared.file.path == b"/dev/zero (deleted)"


def test_implied_exec() -> None:
    assert implied_exec(None, R) == R | X
    assert implied_exec(None, W) == W
    with files(allow_all=True) as guest:
        plain, noexec = (guest.proc.files.opened(guest.path("open", name, 0)) for name in ("/dev/zero", "/proc/cpuinfo"))
        assert implied_exec(plain, R | W) == R | W | X
        assert implied_exec(noexec, R) == R


def test_append_only_files_are_not_mapped_shared_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        try:
            fcntl.ioctl(file, _SET_FLAGS, _APPEND)
        except OSError:
            return  # Not this user's right, or not on this file system.
        try:
            assert outcome(str(path), Open.O_RDWR | Open.O_APPEND, R, True) == Errno.EACCES
            assert isinstance(outcome(str(path), 0, R, True), FileMapping)
            assert isinstance(outcome(str(path), Open.O_RDWR | Open.O_APPEND, R | W, False), FileMapping)
        finally:
            fcntl.ioctl(file, _SET_FLAGS, bytes(4))
