"""System V segments: numbers, who maps them, when they go."""

from __future__ import annotations

import pytest

from emuvm.abi.errno import Errno
from emuvm.abi.ipc import SHMID_DS_SIZE, Ipc, unpack_shmid_ds
from emuvm.errors import GuestError
from emuvm.kernel.sysv import Namespace
from tests.kernel.guest import BASE, FileGuest, files

PAGE = 4096


def create(names: Namespace, key: int = 0, size: int = 1) -> int:
    return names.create(key, size, 0o600, (0, 0), 1).id


def test_numbers_come_again_late_and_with_another_sequence() -> None:
    names = Namespace(lambda: 1, PAGE)
    first = [create(names) for _ in range(3)]
    assert first == [0, 1, 2] and len(names) == 3 and names.highest == 2
    names.remove(names.by_id(1))
    assert create(names) == 3, "index 1 is not given out yet"
    for expected in range(4, 64):
        assert create(names) == expected
        names.remove(names.by_id(expected))
    assert create(names) == 1 << 15 | 1, "0 is in use"
    with pytest.raises(GuestError) as caught:
        names.by_id(1)
    assert caught.value.errno == Errno.EINVAL
    assert names.by_index(1).id == 1 << 15 | 1


def test_sizes() -> None:
    names = Namespace(lambda: 1, PAGE)
    for size, errno in ((0, Errno.EINVAL), ((1 << 64) - 1, Errno.EINVAL), ((1 << 64) - (1 << 24) - 1, Errno.EINVAL)):
        with pytest.raises(GuestError) as caught:
            create(names, 0, size)
        assert caught.value.errno == errno, hex(size)
    assert not len(names)


def status(guest: FileGuest, number: int) -> tuple[int, int]:
    assert guest.call("shmctl", number, Ipc.IPC_STAT, BASE) == 0
    found = unpack_shmid_ds(guest.proc.arch, guest.engine.memory.read(BASE, SHMID_DS_SIZE))
    return found.nattch, found.mode


def test_a_removed_segment_lives_as_long_as_its_regions() -> None:
    with files() as guest:
        number = guest.call("shmget", 5, 3 * PAGE, Ipc.IPC_CREAT | 0o600)
        at = guest.call("shmat", number, 0, 0)
        assert status(guest, number) == (1, 0o600)
        assert guest.call("mprotect", at + PAGE, PAGE, 1) == 0
        assert status(guest, number) == (3, 0o600)
        assert guest.call("shmctl", number, Ipc.IPC_RMID, 0) == 0
        assert status(guest, number) == (3, 0o600 | Ipc.SHM_DEST)
        assert guest.call("munmap", at + PAGE, PAGE) == 0
        assert status(guest, number)[0] == 2
        assert guest.call("shmdt", at) == 0
        assert guest.call("shmctl", number, Ipc.IPC_STAT, BASE) == -Errno.EINVAL
        assert not guest.proc.space.overlaps(at, 3 * PAGE)


def test_two_attachments_share_their_bytes() -> None:
    with files() as guest:
        number = guest.call("shmget", Ipc.IPC_PRIVATE, 10, 0o600)
        first, second = guest.call("shmat", number, 0, 0), guest.call("shmat", number, 0, Ipc.SHM_RDONLY)
        regions = [guest.proc.space.query(at) for at in (first, second)]
        assert all(region is not None for region in regions)
        files_of = [region.backing.file for region in regions if region is not None]
        assert files_of[0] is not files_of[1] and files_of[0].stat().ino == number == files_of[1].stat().ino
        assert files_of[0].fileno() == files_of[1].fileno()
        assert guest.call("mprotect", second, PAGE, 3) == -Errno.EACCES
