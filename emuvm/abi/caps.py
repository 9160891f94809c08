"""Capabilities, and the bits that govern them: numbers of include/uapi/linux/{capability,securebits}.h.

Owns facts as data. Must not know who has them.
"""

from __future__ import annotations


class Cap:
    """Capability numbers that emuvm asks for, and the structure versions of capget(2)."""

    CAP_DAC_OVERRIDE = 1
    CAP_FOWNER = 3
    CAP_KILL = 5
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SETPCAP = 8
    CAP_IPC_LOCK = 14
    CAP_IPC_OWNER = 15
    CAP_SYS_RAWIO = 17
    CAP_SYS_PTRACE = 19
    CAP_SYS_ADMIN = 21
    CAP_SYS_NICE = 23
    CAP_SYS_RESOURCE = 24
    CAP_WAKE_ALARM = 35
    LAST = 40
    ALL = (1 << 41) - 1
    FS_SET = 0x1_0800_021F
    """CHOWN to FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE: what goes when the file-system uid stops being 0."""
    VERSION_1 = 0x1998_0330
    VERSION_2 = 0x2007_1026
    VERSION_3 = 0x2008_0522


class Secure:
    """PR_SET_SECUREBITS: each bit has a lock one above it."""

    NO_SETUID_FIXUP = 4
    KEEP_CAPS = 0x10
    KEEP_CAPS_LOCKED = 0x20
    NOROOT = 1
    NO_CAP_AMBIENT_RAISE = 0x40
    LOCKS = 0xAAA
    ALL = 0xFFF
