"""Who a process is: user and group ids, capabilities, securebits.

Owns: these values and the kernel's rules for changing them. Must not know the host, nor what the rights are good for: files are
opened with what emuvm itself may. GuestError EPERM where the rules say so. Sources: kernel/sys.c, kernel/capability.c,
security/commoncap.c, Linux 6.18.
"""

from __future__ import annotations

from emuvm.abi.caps import Cap, Secure
from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError

KEEP = 0xFFFF_FFFF
"""(uid_t)-1: leave as it is."""


class Ids(NamedTuple):
    """User ids or group ids."""

    real: int
    effective: int
    saved: int
    fs: int


class Credentials:
    """struct cred. Capability sets have bit n for capability n."""

    def __init__(self, uids: Ids, gids: Ids, groups: list[int]) -> None:
        self.uids = uids
        self.gids = gids
        self.groups = groups
        self.inheritable = self.permitted = self.effective = self.bounding = self.ambient = 0
        self.securebits = 0
        self.changes = 0
        """Counts what makes a process undumpable: other effective ids, or more capabilities (kernel/cred.c:commit_creds)."""

    def capable(self, capability: int) -> bool:
        return bool(self.effective >> capability & 1)

    def may_signal(self, owner: int) -> bool:
        """A process of this user? (kill_ok_by_cred)"""
        return self.capable(Cap.CAP_KILL) or owner in (self.uids.real, self.uids.effective)

    def in_group(self, gid: int) -> bool:
        return gid == self.gids.fs or gid in self.groups

    # -- users and groups ---------------------------------------------------------------------------------------------------

    def set_uid(self, uid: int) -> None:
        """setuid(2)."""
        if uid == KEEP:
            raise GuestError(Errno.EINVAL, "no uid")
        if self.capable(Cap.CAP_SETUID):
            self._uids(Ids(uid, uid, uid, uid))
        elif uid in (self.uids.real, self.uids.saved):
            self._uids(Ids(self.uids.real, uid, self.uids.saved, uid))
        else:
            raise GuestError(Errno.EPERM, f"uid {uid}")

    def set_gid(self, gid: int) -> None:
        """setgid(2)."""
        if gid == KEEP:
            raise GuestError(Errno.EINVAL, "no gid")
        if self.capable(Cap.CAP_SETGID):
            self._gids(Ids(gid, gid, gid, gid))
        elif gid in (self.gids.real, self.gids.saved):
            self._gids(Ids(self.gids.real, gid, self.gids.saved, gid))
        else:
            raise GuestError(Errno.EPERM, f"gid {gid}")

    def set_reuid(self, real: int, effective: int) -> None:
        """setreuid(2)."""
        self._uids(self._re(self.uids, real, effective, self.capable(Cap.CAP_SETUID)))

    def set_regid(self, real: int, effective: int) -> None:
        """setregid(2)."""
        self._gids(self._re(self.gids, real, effective, self.capable(Cap.CAP_SETGID)))

    def set_resuid(self, real: int, effective: int, saved: int) -> None:
        """setresuid(2)."""
        self._uids(self._res(self.uids, (real, effective, saved), self.capable(Cap.CAP_SETUID)))

    def set_resgid(self, real: int, effective: int, saved: int) -> None:
        """setresgid(2)."""
        self._gids(self._res(self.gids, (real, effective, saved), self.capable(Cap.CAP_SETGID)))

    @staticmethod
    def _re(old: Ids, real: int, effective: int, may: bool) -> Ids:
        if not may and (real not in (KEEP, old.real, old.effective) or effective not in (KEEP, old.real, old.effective, old.saved)):
            raise GuestError(Errno.EPERM, f"ids {real}, {effective}")
        new_effective = old.effective if effective == KEEP else effective
        keeps = real == KEEP and effective in (KEEP, old.real)
        return Ids(old.real if real == KEEP else real, new_effective, old.saved if keeps else new_effective, new_effective)

    @staticmethod
    def _res(old: Ids, wanted: tuple[int, int, int], may: bool) -> Ids:
        if not may and any(value not in (KEEP, *old[:3]) for value in wanted):
            raise GuestError(Errno.EPERM, f"ids {wanted}")
        real, effective, saved = (now if value == KEEP else value for now, value in zip(old[:3], wanted, strict=True))
        return Ids(real, effective, saved, effective)

    def set_fsuid(self, uid: int) -> int:
        """setfsuid(2): the old one, whether it changed or not."""
        before = self.uids.fs
        if uid != KEEP and uid != before and (uid in self.uids or self.capable(Cap.CAP_SETUID)):
            if not self.securebits & Secure.NO_SETUID_FIXUP:
                if before == 0:
                    self.effective &= ~Cap.FS_SET
                elif uid == 0:
                    self.effective |= self.permitted & Cap.FS_SET
            self.uids = self.uids._replace(fs=uid)
            self.changes += 1
        return before

    def set_fsgid(self, gid: int) -> int:
        """setfsgid(2)."""
        before = self.gids.fs
        if gid != KEEP and gid != before and (gid in self.gids or self.capable(Cap.CAP_SETGID)):
            self.gids = self.gids._replace(fs=gid)
            self.changes += 1
        return before

    def set_groups(self, groups: list[int]) -> None:
        """setgroups(2), after the arguments were read; the kernel keeps them sorted."""
        self.groups = sorted(groups)

    def may_set_groups(self) -> bool:
        return self.capable(Cap.CAP_SETGID)

    def _uids(self, new: Ids) -> None:
        """Change the user ids, with what that does to capabilities (cap_emulate_setxuid)."""
        old, self.uids = self.uids, new
        if not self.securebits & Secure.NO_SETUID_FIXUP:
            if 0 in old[:3] and 0 not in new[:3]:
                if not self.securebits & Secure.KEEP_CAPS:
                    self.permitted = self.effective = 0
                self.ambient = 0
            if old.effective == 0 and new.effective != 0:
                self.effective = 0
            if old.effective != 0 and new.effective == 0:
                self.effective = self.permitted
        if (old.effective, old.fs) != (new.effective, new.fs):
            self.changes += 1

    def _gids(self, new: Ids) -> None:
        old, self.gids = self.gids, new
        if (old.effective, old.fs) != (new.effective, new.fs):
            self.changes += 1

    # -- capabilities -------------------------------------------------------------------------------------------------------

    def set_caps(self, effective: int, permitted: int, inheritable: int) -> None:
        """capset(2) (cap_capset)."""
        effective, permitted, inheritable = (value & Cap.ALL for value in (effective, permitted, inheritable))
        if not self.capable(Cap.CAP_SETPCAP) and inheritable & ~(self.inheritable | self.permitted):
            raise GuestError(Errno.EPERM, "inheritable capabilities that are not permitted")
        if inheritable & ~(self.inheritable | self.bounding) or permitted & ~self.permitted or effective & ~permitted:
            raise GuestError(Errno.EPERM, "capabilities that the process does not have")
        self.effective, self.permitted, self.inheritable = effective, permitted, inheritable
        self.ambient &= permitted & inheritable

    def drop_bounding(self, capability: int) -> None:
        """PR_CAPBSET_DROP."""
        if not self.capable(Cap.CAP_SETPCAP):
            raise GuestError(Errno.EPERM, "CAP_SETPCAP")
        self._valid(capability)
        self.bounding &= ~(1 << capability)

    def in_bounding(self, capability: int) -> bool:
        """PR_CAPBSET_READ."""
        self._valid(capability)
        return bool(self.bounding >> capability & 1)

    def raise_ambient(self, capability: int) -> None:
        """PR_CAP_AMBIENT_RAISE."""
        if not self.permitted & self.inheritable & 1 << capability or self.securebits & Secure.NO_CAP_AMBIENT_RAISE:
            raise GuestError(Errno.EPERM, f"capability {capability}")
        self.ambient |= 1 << capability

    @staticmethod
    def _valid(capability: int) -> None:
        if not 0 <= capability <= Cap.LAST:
            raise GuestError(Errno.EINVAL, f"capability {capability}")

    def keep_caps(self, keep: int) -> None:
        """PR_SET_KEEPCAPS."""
        if keep > 1:
            raise GuestError(Errno.EINVAL, f"keep {keep}")
        if self.securebits & Secure.KEEP_CAPS_LOCKED:
            raise GuestError(Errno.EPERM, "locked")
        self.securebits = self.securebits & ~Secure.KEEP_CAPS | (Secure.KEEP_CAPS if keep else 0)

    def set_securebits(self, bits: int) -> None:
        """PR_SET_SECUREBITS."""
        locks = self.securebits & Secure.LOCKS
        if locks >> 1 & (self.securebits ^ bits) or locks & ~bits or bits & ~Secure.ALL or not self.capable(Cap.CAP_SETPCAP):
            raise GuestError(Errno.EPERM, f"securebits {bits:#x}")
        self.securebits = bits

    def after_exec(self) -> None:
        """What execve of a file without set-id bits or file capabilities leaves (cap_bprm_creds_from_file)."""
        self.uids = Ids(self.uids.real, self.uids.effective, self.uids.effective, self.uids.effective)
        self.gids = Ids(self.gids.real, self.gids.effective, self.gids.effective, self.gids.effective)
        permitted = self.ambient
        if not self.securebits & Secure.NOROOT:
            if 0 in self.uids[:2]:
                permitted = self.bounding | self.inheritable
            self.effective = permitted if self.uids.effective == 0 else self.ambient
        else:
            self.effective = self.ambient
        self.permitted = permitted
        self.securebits &= ~Secure.KEEP_CAPS
