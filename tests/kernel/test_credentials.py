"""Who a process is, away from any host: ids, capabilities, and what hangs on them."""

from __future__ import annotations

import pytest

from emuvm.abi.caps import Cap, Secure
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.credentials import KEEP, Credentials, Ids
from tests.kernel.guest import BASE, files


def root() -> Credentials:
    creds = Credentials(Ids(0, 0, 0, 0), Ids(0, 0, 0, 0), [])
    creds.permitted = creds.effective = creds.bounding = Cap.ALL
    return creds


def user() -> Credentials:
    return Credentials(Ids(1000, 1000, 1000, 1000), Ids(100, 100, 100, 100), [5])


def errno_of(call: object, *args: object) -> int:
    with pytest.raises(GuestError) as caught:
        call(*args)  # type: ignore[operator]
    return int(caught.value.errno)


def test_giving_root_up_takes_the_capabilities() -> None:
    creds = root()
    creds.set_resuid(0, 1000, 0)
    assert (creds.effective, creds.permitted) == (0, Cap.ALL) and creds.uids == (0, 1000, 0, 1000)
    creds.set_reuid(KEEP, 0)
    assert creds.effective == Cap.ALL
    creds.set_uid(1000)
    assert creds.uids == (1000,) * 4 and not creds.permitted
    assert errno_of(creds.set_uid, 0) == Errno.EPERM
    assert creds.changes == 3


def test_keeping_capabilities() -> None:
    creds = root()
    creds.keep_caps(1)
    creds.set_uid(1000)
    assert (creds.effective, creds.permitted) == (0, Cap.ALL)
    creds.set_caps(1 << Cap.CAP_IPC_LOCK, 1 << Cap.CAP_IPC_LOCK, 0)
    assert creds.capable(Cap.CAP_IPC_LOCK) and not creds.capable(Cap.CAP_SETUID)
    creds.after_exec()
    assert not creds.permitted and not creds.securebits


def test_a_user_moves_among_its_own_ids_only() -> None:
    creds = user()
    for change, args in (
        (creds.set_uid, (0,)),
        (creds.set_reuid, (0, KEEP)),
        (creds.set_resuid, (KEEP, KEEP, 0)),
        (creds.set_gid, (5,)),
        (creds.set_resgid, (5, KEEP, KEEP)),
        (creds.set_securebits, (Secure.KEEP_CAPS,)),
        (creds.drop_bounding, (1,)),
        (creds.set_caps, (1, 1, 0)),
    ):
        assert errno_of(change, *args) == Errno.EPERM
    assert errno_of(creds.set_uid, KEEP) == Errno.EINVAL
    creds.set_resuid(KEEP, 1000, 1000)
    assert creds.changes == 0
    assert creds.set_fsuid(0) == 1000 and creds.uids.fs == 1000
    assert creds.in_group(5) and creds.in_group(100) and not creds.in_group(6)


def test_locks_of_securebits_hold() -> None:
    creds = root()
    creds.set_securebits(Secure.KEEP_CAPS_LOCKED)
    assert errno_of(creds.keep_caps, 1) == Errno.EPERM
    assert errno_of(creds.set_securebits, 0) == Errno.EPERM
    assert errno_of(creds.keep_caps, 2) == Errno.EINVAL


def test_what_a_program_loses_shows_in_its_memory_limits() -> None:
    with files() as guest:
        proc = guest.proc
        creds = proc.system.credentials
        creds.uids, creds.permitted, creds.effective = Ids(0, 0, 0, 0), Cap.ALL, Cap.ALL
        assert guest.call("setresuid", 0, 0, 0) == 0
        assert proc.mm.limits.ipc_lock and proc.mm.raw_io and proc.dumpable == 1
        assert guest.call("setrlimit", 10, BASE) == 0, "the soft and the hard limit are 0"
        guest.engine.memory.write(BASE, b"\1".ljust(16, b"\1"))
        assert guest.call("setrlimit", 10, BASE) == 0, "root raises a hard limit"
        assert guest.call("setresuid", 7, 7, 7) == 0
        assert not proc.mm.limits.ipc_lock and not proc.mm.raw_io and proc.dumpable == 0
        guest.engine.memory.write(BASE, b"\2".ljust(16, b"\2"))
        assert guest.call("setrlimit", 10, BASE) == -Errno.EPERM
        assert guest.call("getresuid", BASE, BASE + 4, BASE + 8) == 0
        assert guest.engine.memory.read(BASE, 12) == b"\7\0\0\0" * 3
