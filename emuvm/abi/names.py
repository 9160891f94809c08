"""Names of flags and commands, in the order in which a trace shows them.

Owns: which names belong together, and the values of those that only a trace needs. All other values are those of `emuvm.abi.flags`,
`flags_mm`, `controls` and `signals`, for the architecture asked for. Must not know calls.

A line of the tables: kind, what is shown for bits without a name, where the values come from, and the names. A word that ends with
a colon is the prefix of the names after it; NAME=value gives the value here. Values: include/uapi/linux and asm-generic, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from emuvm.abi import signals
from emuvm.abi.controls import Clock, Epoll, Fd, Futex, Policy, Prctl, Process, Random, Seal, Tty, ioctl_for
from emuvm.abi.flags import Access, At, Memory, Seek, fcntl_for, map_for, mcl_for, open_for, poll_for, prot_for, rlimit_for
from emuvm.abi.tuples import NamedTuple


class Names(NamedTuple):
    """(name, value) pairs, and 'MAP_???' for what has no name."""

    entries: tuple[tuple[str, int], ...]
    unknown: str


Source = Callable[[str], Any] | Any
"""A namespace, or a function from Arch.name to one."""

_FLAGS: dict[str, tuple[str, Source, str]] = {
    "prot": ("PROT_", prot_for, "NONE READ WRITE EXEC SEM BTI MTE SAO ADI GROWSDOWN GROWSUP"),
    "map": (
        "MAP_", map_for,
        "FIXED ANONYMOUS 32BIT ABOVE4G NORESERVE POPULATE NONBLOCK GROWSDOWN DENYWRITE EXECUTABLE LOCKED STACK HUGETLB SYNC "
        "FIXED_NOREPLACE",
    ),
    "mremap": ("MREMAP_", Memory, "MAYMOVE FIXED DONTUNMAP"),
    "msync": ("MS_", Memory, "SYNC ASYNC INVALIDATE"),
    "mlock": ("MLOCK_", Memory, "ONFAULT"),
    "mcl": ("MCL_", mcl_for, "CURRENT FUTURE ONFAULT"),
    "open": (
        "O_", open_for,
        "CREAT EXCL NOCTTY TRUNC APPEND NONBLOCK SYNC DSYNC DIRECT LARGEFILE NOFOLLOW NOATIME CLOEXEC PATH TMPFILE DIRECTORY "
        ": FASYNC=O_ASYNC",
    ),
    "at": ("AT_", At, "SYMLINK_NOFOLLOW REMOVEDIR SYMLINK_FOLLOW NO_AUTOMOUNT EMPTY_PATH RECURSIVE"),
    "eaccess": ("AT_", At, "SYMLINK_NOFOLLOW EACCESS EMPTY_PATH"),
    "statx": (
        "STATX_", At,
        "ALL=0xfff BASIC_STATS TYPE=1 MODE=2 NLINK=4 UID=8 GID=0x10 ATIME=0x20 MTIME=0x40 CTIME=0x80 INO=0x100 SIZE=0x200 "
        "BLOCKS=0x400 BTIME MNT_ID DIOALIGN=0x2000 MNT_ID_UNIQUE=0x4000 SUBVOL=0x8000 WRITE_ATOMIC=0x10000",
    ),
    "resolve": ("RESOLVE_", At, "NO_XDEV NO_MAGICLINKS NO_SYMLINKS BENEATH IN_ROOT CACHED"),
    "rename": ("RENAME_", At, "NOREPLACE EXCHANGE WHITEOUT"),
    "access": ("?_OK", Access, ": F_OK R_OK W_OK X_OK"),
    "fd": ("FD_", fcntl_for, "CLOEXEC"),
    "lock": ("LOCK_", fcntl_for, "SH EX NB UN MAND=32 RW=192 READ=64 WRITE=128"),
    "seal": ("F_SEAL_", Seal, "SEAL SHRINK GROW WRITE FUTURE_WRITE EXEC"),
    "dnotify": ("DN_", None, "ACCESS=1 MODIFY=2 CREATE=4 DELETE=8 RENAME=16 ATTRIB=32 MULTISHOT=0x80000000"),
    "memfd": ("MFD_", Fd, "CLOEXEC ALLOW_SEALING HUGETLB NOEXEC_SEAL EXEC"),
    "secret": ("O_", open_for, "CLOEXEC"),
    "pidfd": ("PIDFD_", open_for, "NONBLOCK=O_NONBLOCK"),
    "pkey": ("PKEY_", None, "DISABLE_ACCESS=1 DISABLE_WRITE=2 DISABLE_EXECUTE=4"),
    "schedflag": (
        "SCHED_FLAG_", None,
        "RESET_ON_FORK=1 RECLAIM=2 DL_OVERRUN=4 KEEP_POLICY=8 KEEP_PARAMS=16 UTIL_CLAMP_MIN=32 UTIL_CLAMP_MAX=64",
    ),
    "futex2": ("FUTEX_", None, "32=2 PRIVATE_FLAG=128"),
    "grnd": ("GRND_", Random, "NONBLOCK RANDOM INSECURE"),
    "closerange": ("CLOSE_RANGE_", Fd, "UNSHARE CLOEXEC"),
    "rwf": ("RWF_", Fd, "HIPRI DSYNC SYNC NOWAIT APPEND NOAPPEND=32 ATOMIC=64 DONTCACHE=128"),
    "fallocate": (
        "FALLOC_FL_", Fd,
        "KEEP_SIZE PUNCH_HOLE NO_HIDE_STALE=4 COLLAPSE_RANGE=8 ZERO_RANGE=16 INSERT_RANGE=32 UNSHARE_RANGE=64",
    ),
    "efd": ("EFD_", open_for, "SEMAPHORE=1 CLOEXEC=O_CLOEXEC NONBLOCK=O_NONBLOCK"),
    "sfd": ("SFD_", open_for, "CLOEXEC=O_CLOEXEC NONBLOCK=O_NONBLOCK"),
    "tfd": ("TFD_", open_for, "TIMER_ABSTIME=1 TIMER_CANCEL_ON_SET=2 CLOEXEC=O_CLOEXEC NONBLOCK=O_NONBLOCK"),
    "wait": (
        "W", Process,
        "NOHANG EXITED=4 STOPPED=2 CONTINUED NOWAIT=0x1000000 : __WCLONE=0x80000000 __WALL=0x40000000 __WNOTHREAD=0x20000000",
    ),
    "timer": ("TIMER_", Clock, "ABSTIME"),
    "sa": ("SA_", signals, "RESTORER ONSTACK RESTART INTERRUPT=0x20000000 NODEFER RESETHAND SIGINFO NOCLDSTOP NOCLDWAIT"),
    "ss": ("SS_", signals, "ONSTACK DISABLE AUTODISARM"),
    "poll": ("POLL", poll_for, "IN PRI OUT ERR HUP NVAL RDNORM RDBAND WRNORM WRBAND MSG REMOVE RDHUP _BUSY_LOOP=0x8000"),
    "clone": (
        "CLONE_", Process,
        "VM FS FILES SIGHAND PIDFD=0x1000 PTRACE=0x2000 VFORK PARENT THREAD NEWNS=0x20000 SYSVSEM SETTLS PARENT_SETTID CHILD_CLEARTID "
        "UNTRACED=0x800000 CHILD_SETTID NEWCGROUP=0x2000000 NEWUTS=0x4000000 NEWIPC=0x8000000 NEWUSER=0x10000000 NEWPID=0x20000000 "
        "NEWNET=0x40000000 IO=0x80000000 CLEAR_SIGHAND=0x100000000 INTO_CGROUP=0x200000000",
    ),
    "unshare": (
        "CLONE_", None,
        "NEWTIME=0x80 VM=0x100 FS=0x200 FILES=0x400 SIGHAND=0x800 THREAD=0x10000 NEWNS=0x20000 SYSVSEM=0x40000 NEWCGROUP=0x2000000 "
        "NEWUTS=0x4000000 NEWIPC=0x8000000 NEWUSER=0x10000000 NEWPID=0x20000000 NEWNET=0x40000000",
    ),
    "mount": (
        "MS_", None,
        "RDONLY=1 NOSUID=2 NODEV=4 NOEXEC=8 SYNCHRONOUS=16 REMOUNT=32 MANDLOCK=64 DIRSYNC=128 NOSYMFOLLOW=256 NOATIME=1024 "
        "NODIRATIME=2048 BIND=0x1000 MOVE=0x2000 REC=0x4000 SILENT=0x8000 POSIXACL=0x10000 UNBINDABLE=0x20000 PRIVATE=0x40000 "
        "SLAVE=0x80000 SHARED=0x100000 RELATIME=0x200000 KERNMOUNT=0x400000 I_VERSION=0x800000 STRICTATIME=0x1000000 "
        "LAZYTIME=0x2000000 SUBMOUNT=0x4000000 NOREMOTELOCK=0x8000000 NOSEC=0x10000000 BORN=0x20000000 ACTIVE=0x40000000 "
        "NOUSER=0x80000000",
    ),
    "module": ("MODULE_INIT_", None, "IGNORE_MODVERSIONS=1 IGNORE_VERMAGIC=2 COMPRESSED_FILE=4"),
    "delmodule": ("O_", open_for, "NONBLOCK TRUNC"),
    "barrierflag": ("MEMBARRIER_CMD_FLAG_", None, "CPU=1"),
    "persona": (
        "PER_", Prctl,
        ": UNAME26 ADDR_NO_RANDOMIZE FDPIC_FUNCPTRS=0x80000 MMAP_PAGE_ZERO ADDR_COMPAT_LAYOUT READ_IMPLIES_EXEC ADDR_LIMIT_32BIT "
        "SHORT_INODE=0x1000000 WHOLE_SECONDS=0x2000000 STICKY_TIMEOUTS=0x4000000 ADDR_LIMIT_3GB=0x8000000",
    ),
    "statfs": (
        "ST_", None,
        "VALID=0x20 RDONLY=1 NOSUID=2 NODEV=4 NOEXEC=8 SYNCHRONOUS=0x10 MANDLOCK=0x40 NOATIME=0x400 NODIRATIME=0x800 RELATIME=0x1000 "
        "NOSYMFOLLOW=0x2000",
    ),
    "xattr": ("XATTR_", None, "CREATE=1 REPLACE=2"),
    "shmget": (": IPC_", None, "CREAT=0x200 EXCL=0x400 : SHM_HUGETLB=0x800 SHM_NORESERVE=0x1000"),
    "shmat": ("SHM_", None, "RDONLY=0x1000 RND=0x2000 REMAP=0x4000 EXEC=0x8000"),
    "syncrange": ("SYNC_FILE_RANGE_", None, "WAIT_BEFORE=1 WRITE=2 WAIT_AFTER=4"),
    "splice": ("SPLICE_F_", Fd, "MOVE NONBLOCK MORE GIFT"),
    "uffd": ("UFFD_", open_for, ": O_CLOEXEC O_NONBLOCK UFFD_USER_MODE_ONLY=1"),
    "secbit": (
        "SECBIT_", None,
        "NOROOT=1 NOROOT_LOCKED=2 NO_SETUID_FIXUP=4 NO_SETUID_FIXUP_LOCKED=8 KEEP_CAPS=16 KEEP_CAPS_LOCKED=32",
    ),
    "sock": ("SOCK_", open_for, "CLOEXEC=O_CLOEXEC NONBLOCK=O_NONBLOCK"),
    "epoll": ("EPOLL_", open_for, "CLOEXEC=O_CLOEXEC"),
    "epollev": (
        "EPOLL", Epoll,
        "IN=1 PRI=2 OUT=4 RDNORM=0x40 RDBAND=0x80 WRNORM=0x100 WRBAND=0x200 MSG=0x400 ERR=8 HUP=0x10 RDHUP=0x2000 EXCLUSIVE WAKEUP "
        "ONESHOT ET",
    ),
    "mpolflag": ("MPOL_F_", Policy, "STATIC_NODES RELATIVE_NODES NUMA_BALANCING"),
    "mpolf": ("MPOL_", Policy, "F_NODE F_ADDR F_MEMS_ALLOWED"),
    "mpolmove": ("MPOL_", Policy, "MF_MOVE MF_MOVE_ALL"),
    "mpolmf": ("MPOL_", Policy, "MF_STRICT MF_MOVE MF_MOVE_ALL"),
    "iflag": (
        "", Tty,
        "IGNBRK=1 BRKINT IGNPAR=4 PARMRK=8 INPCK=0x10 ISTRIP=0x20 INLCR=0x40 IGNCR=0x80 ICRNL IUCLC=0x200 IXON IXANY "
        "IXOFF=0x1000 IMAXBEL IUTF8",
    ),
    "oflag": ("", Tty, "OPOST OLCUC=2 ONLCR OCRNL=8 ONOCR=0x10 ONLRET=0x20 OFILL=0x40 OFDEL=0x80"),
    "cflag": (
        "", Tty,
        "CSTOPB=0x40 CREAD PARENB=0x100 PARODD=0x200 HUPCL CLOCAL=0x800 CMSPAR=0x40000000 CRTSCTS=0x80000000",
    ),
    "lflag": (
        "", Tty,
        "ISIG ICANON XCASE=4 ECHO ECHOE ECHOK ECHONL=0x40 NOFLSH=0x80 IEXTEN ECHOCTL ECHOPRT=0x400 "
        "ECHOKE FLUSHO=0x1000 PENDIN=0x4000 TOSTOP=0x100 EXTPROC=0x10000",
    ),
    "in": ("IN_", open_for, "NONBLOCK=O_NONBLOCK CLOEXEC=O_CLOEXEC"),
    "inotify": (
        "IN_", None,
        "ACCESS=1 MODIFY=2 ATTRIB=4 CLOSE_WRITE=8 CLOSE_NOWRITE=0x10 OPEN=0x20 MOVED_FROM=0x40 MOVED_TO=0x80 CREATE=0x100 DELETE=0x200 "
        "DELETE_SELF=0x400 MOVE_SELF=0x800 UNMOUNT=0x2000 Q_OVERFLOW=0x4000 IGNORED=0x8000 ONLYDIR=0x1000000 DONT_FOLLOW=0x2000000 "
        "EXCL_UNLINK=0x4000000 MASK_CREATE=0x10000000 MASK_ADD=0x20000000 ISDIR=0x40000000 ONESHOT=0x80000000",
    ),
    "fsopen": ("FSOPEN_", None, "CLOEXEC=1"),
    "newns": (
        "CLONE_NEW", None,
        "TIME=0x80 NS=0x20000 CGROUP=0x2000000 UTS=0x4000000 IPC=0x8000000 USER=0x10000000 PID=0x20000000 NET=0x40000000",
    ),
    "unalign": ("PR_UNALIGN_", None, "NOPRINT=1 SIGBUS=2"),
    "svevl": ("PR_SVE_", None, "SET_VL_ONEXEC=0x40000 VL_INHERIT=0x20000"),
    "smevl": ("PR_SME_", None, "SET_VL_ONEXEC=0x40000 VL_INHERIT=0x20000"),
    "packeyon": ("PR_PAC_", None, "APIAKEY=1 APIBKEY=2 APDAKEY=4 APDBKEY=8"),
    "packey": ("PR_PAC_", None, "APIAKEY=1 APIBKEY=2 APDAKEY=4 APDBKEY=8 APGAKEY=16"),
    "mdwe": ("PR_MDWE_", None, "REFUSE_EXEC_GAIN=1 NO_INHERIT=2"),
}  # fmt: skip

_VALUES: dict[str, tuple[str, Source, str]] = {
    "maptype": ("MAP_", map_for, "FILE=0 SHARED PRIVATE SHARED_VALIDATE DROPPABLE=8"),
    "madv": (
        "MADV_", Memory,
        "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE HUGEPAGE NOHUGEPAGE DONTDUMP DODUMP "
        "WIPEONFORK KEEPONFORK COLD PAGEOUT POPULATE_READ POPULATE_WRITE DONTNEED_LOCKED COLLAPSE HWPOISON SOFT_OFFLINE GUARD_INSTALL "
        "GUARD_REMOVE",
    ),
    "seek": ("SEEK_", Seek, "SET CUR END DATA HOLE"),
    "fcntl": (
        "F_", fcntl_for,
        "DUPFD GETFD SETFD GETFL SETFL GETLK SETLK SETLKW SETOWN GETOWN SETSIG GETSIG GETLK64 SETLK64 SETLKW64 SETOWN_EX GETOWN_EX "
        "GETOWNER_UIDS=17 OFD_GETLK OFD_SETLK OFD_SETLKW SETLEASE GETLEASE NOTIFY DUPFD_QUERY=1027 CREATED_QUERY=1028 CANCELLK=1029 "
        "DUPFD_CLOEXEC SETPIPE_SZ GETPIPE_SZ ADD_SEALS GET_SEALS GET_RW_HINT=1035 SET_RW_HINT=1036 GET_FILE_RW_HINT=1037 "
        "SET_FILE_RW_HINT=1038",
    ),
    "flocktype": ("F_", fcntl_for, "RDLCK WRLCK UNLCK"),
    "owner": ("F_OWNER_", None, "TID=0 PID=1 PGRP=2"),
    "epollop": ("EPOLL_CTL_", Epoll, "ADD DEL MOD"),
    "fadvise": ("POSIX_FADV_", None, "NORMAL=0 RANDOM=1 SEQUENTIAL=2 WILLNEED=3 DONTNEED=4 NOREUSE=5"),
    "idtype": ("P_", None, "ALL=0 PID=1 PGID=2 PIDFD=3"),
    "clock": (
        "CLOCK_", Clock,
        "REALTIME MONOTONIC PROCESS_CPUTIME_ID THREAD_CPUTIME_ID MONOTONIC_RAW REALTIME_COARSE MONOTONIC_COARSE BOOTTIME REALTIME_ALARM "
        "BOOTTIME_ALARM SGI_CYCLE=10 TAI",
    ),
    "itimer": ("ITIMER_", Clock, "REAL VIRTUAL PROF"),
    "rlimit": (
        "RLIMIT_", rlimit_for,
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME",
    ),
    "rusage": ("RUSAGE_", Process, "SELF CHILDREN=0xffffffff THREAD"),
    "prio": ("PRIO_", Process, "PROCESS PGRP USER"),
    "sched": ("SCHED_", Process, "OTHER FIFO=1 RR=2 BATCH=3 ISO=4 IDLE=5 DEADLINE=6 EXT=7"),
    "prctl": (
        "PR_", Prctl,
        "SET_PDEATHSIG GET_PDEATHSIG GET_DUMPABLE SET_DUMPABLE GET_UNALIGN=5 SET_UNALIGN=6 GET_KEEPCAPS SET_KEEPCAPS GET_FPEMU=9 "
        "SET_FPEMU=10 GET_FPEXC=11 SET_FPEXC=12 GET_TIMING SET_TIMING SET_NAME GET_NAME GET_ENDIAN=19 SET_ENDIAN=20 GET_SECCOMP "
        "SET_SECCOMP CAPBSET_READ CAPBSET_DROP GET_TSC SET_TSC GET_SECUREBITS SET_SECUREBITS SET_TIMERSLACK GET_TIMERSLACK "
        "TASK_PERF_EVENTS_DISABLE TASK_PERF_EVENTS_ENABLE MCE_KILL MCE_KILL_GET SET_MM SET_CHILD_SUBREAPER "
        "GET_CHILD_SUBREAPER SET_NO_NEW_PRIVS GET_NO_NEW_PRIVS GET_TID_ADDRESS SET_THP_DISABLE GET_THP_DISABLE MPX_ENABLE_MANAGEMENT=43 "
        "MPX_DISABLE_MANAGEMENT=44 SET_FP_MODE=45 GET_FP_MODE=46 CAP_AMBIENT SVE_SET_VL=50 SVE_GET_VL=51 GET_SPECULATION_CTRL "
        "SET_SPECULATION_CTRL PAC_RESET_KEYS=54 SET_TAGGED_ADDR_CTRL GET_TAGGED_ADDR_CTRL SET_IO_FLUSHER GET_IO_FLUSHER "
        "SET_SYSCALL_USER_DISPATCH PAC_SET_ENABLED_KEYS=60 PAC_GET_ENABLED_KEYS=61 SCHED_CORE=62 SME_SET_VL=63 SME_GET_VL=64 "
        "SET_MDWE GET_MDWE SET_MEMORY_MERGE GET_MEMORY_MERGE SET_VMA SET_PTRACER=0x59616d61 GET_AUXV",
    ),
    "prmm": (
        "PR_SET_MM_", None,
        "START_CODE=1 END_CODE=2 START_DATA=3 END_DATA=4 START_STACK=5 START_BRK=6 BRK=7 ARG_START=8 ARG_END=9 ENV_START=10 ENV_END=11 "
        "AUXV=12 EXE_FILE=13 MAP=14 MAP_SIZE=15",
    ),
    "prvma": ("PR_SET_VMA_", Prctl, "ANON_NAME"),
    "dump": ("SUID_DUMP_", None, "DISABLE=0 USER=1 ROOT=2"),
    "mce": ("PR_MCE_KILL_", None, "CLEAR=0 SET=1"),
    "mcepolicy": ("PR_MCE_KILL_", None, "LATE=0 EARLY=1 DEFAULT=2"),
    "mtetcf": ("PR_MTE_TCF_", None, "NONE=0 SYNC=2 ASYNC=4 MASK=6"),
    "sud": ("PR_SYS_DISPATCH_", None, "OFF=0 ON=1"),
    "tsc": ("PR_TSC_", None, "ENABLE=1 SIGSEGV=2"),
    "schedcore": ("PR_SCHED_CORE_", None, "GET=0 CREATE=1 SHARE_TO=2 SHARE_FROM=3"),
    "pidtype": ("PIDTYPE_", None, "PID=0 TGID=1 PGID=2 SID=3"),
    "shut": ("SHUT_", None, "RD=0 WR=1 RDWR=2"),
    "ambient": ("PR_CAP_AMBIENT_", None, "IS_SET=1 RAISE=2 LOWER=3 CLEAR_ALL=4"),
    "seccomp": ("SECCOMP_MODE_", None, "DISABLED=0 STRICT=1 FILTER=2"),
    "cap": (
        "CAP_", None,
        "CHOWN=0 DAC_OVERRIDE=1 DAC_READ_SEARCH=2 FOWNER=3 FSETID=4 KILL=5 SETGID=6 SETUID=7 SETPCAP=8 LINUX_IMMUTABLE=9 "
        "NET_BIND_SERVICE=10 NET_BROADCAST=11 NET_ADMIN=12 NET_RAW=13 IPC_LOCK=14 IPC_OWNER=15 SYS_MODULE=16 SYS_RAWIO=17 "
        "SYS_CHROOT=18 SYS_PTRACE=19 SYS_PACCT=20 SYS_ADMIN=21 SYS_BOOT=22 SYS_NICE=23 SYS_RESOURCE=24 SYS_TIME=25 SYS_TTY_CONFIG=26 "
        "MKNOD=27 LEASE=28 AUDIT_WRITE=29 AUDIT_CONTROL=30 SETFCAP=31 MAC_OVERRIDE=32 MAC_ADMIN=33 "
        "SYSLOG=34 WAKE_ALARM=35 BLOCK_SUSPEND=36 AUDIT_READ=37 "
        "PERFMON=38 BPF=39 CHECKPOINT_RESTORE=40",
    ),
    "arch": (
        "ARCH_", Prctl,
        "SET_GS SET_FS GET_FS GET_GS GET_CPUID SET_CPUID GET_XCOMP_SUPP=0x1021 GET_XCOMP_PERM=0x1022 REQ_XCOMP_PERM=0x1023 "
        "MAP_VDSO_X32=0x2001 MAP_VDSO_32=0x2002 MAP_VDSO_64=0x2003",
    ),
    "capversion": ("_LINUX_CAPABILITY_VERSION_", None, "1=0x19980330 2=0x20071026 3=0x20080522"),
    "futex": (
        "FUTEX_", Futex,
        "WAIT WAKE FD=2 REQUEUE CMP_REQUEUE WAKE_OP LOCK_PI UNLOCK_PI TRYLOCK_PI WAIT_BITSET WAKE_BITSET WAIT_REQUEUE_PI "
        "CMP_REQUEUE_PI LOCK_PI2",
    ),
    "futexbits": ("FUTEX_BITSET_", Futex, "MATCH_ANY"),
    "barrier": (
        "MEMBARRIER_CMD_", None,
        "QUERY=0 GLOBAL=1 GLOBAL_EXPEDITED=2 REGISTER_GLOBAL_EXPEDITED=4 PRIVATE_EXPEDITED=8 REGISTER_PRIVATE_EXPEDITED=16 "
        "PRIVATE_EXPEDITED_SYNC_CORE=32 REGISTER_PRIVATE_EXPEDITED_SYNC_CORE=64 PRIVATE_EXPEDITED_RSEQ=128 "
        "REGISTER_PRIVATE_EXPEDITED_RSEQ=256 GET_REGISTRATIONS=512",
    ),
    "iowho": ("IOPRIO_WHO_", None, "PROCESS=1 PGRP=2 USER=3"),
    "ioclass": ("IOPRIO_CLASS_", None, "NONE=0 RT=1 BE=2 IDLE=3"),
    "per": ("PER_", Prctl, "LINUX=0 LINUX32 LINUX_FDPIC=0x80000"),
    "sighow": ("SIG_", signals, "BLOCK UNBLOCK SETMASK"),
    "ipcctl": (
        "SHM_", None,
        ": IPC_RMID=0 IPC_SET=1 IPC_STAT=2 IPC_INFO=3 SHM_LOCK=11 SHM_UNLOCK=12 SHM_STAT=13 SHM_INFO=14 SHM_STAT_ANY=15",
    ),
    "ioctl": (
        "", ioctl_for,
        "TCGETS TCSETS TCSETSW TCSETSF TCGETA TCSETA TCSETAW TCSETAF TCSBRK TCXONC TCFLSH TIOCEXCL TIOCNXCL TIOCSCTTY TIOCGPGRP TIOCSPGRP "
        "TIOCOUTQ TIOCSTI TIOCGWINSZ TIOCSWINSZ FIONREAD FIONBIO TIOCNOTTY TIOCSETD TIOCGETD TCSBRKP TIOCGSID TCGETS2 TIOCGPTN TIOCSPTLCK "
        "FIONCLEX FIOCLEX FIOASYNC FIOQSIZE SIOCATMARK FICLONE",
    ),
    "family": ("AF_", None, "UNSPEC=0 UNIX=1 INET=2 INET6=10 NETLINK=16 PACKET=17 ALG=38 VSOCK=40"),
    "socktype": ("SOCK_", None, "STREAM=1 DGRAM=2 RAW=3 RDM=4 SEQPACKET=5 PACKET=10"),
    "sigev": ("SIGEV_", signals, "SIGNAL NONE THREAD THREAD_ID"),
    "mpol": ("MPOL_", None, "DEFAULT=0 PREFERRED=1 BIND=2 INTERLEAVE=3 LOCAL=4 PREFERRED_MANY=5 WEIGHTED_INTERLEAVE=6"),
    "kcmp": ("KCMP_", None, "FILE=0 VM=1 FILES=2 FS=3 SIGHAND=4 IO=5 SYSVSEM=6 EPOLL_TFD=7"),
    "super": (
        "", None,
        "ADFS_SUPER_MAGIC=0xadf5 EXT2_SUPER_MAGIC=0xef53 BTRFS_SUPER_MAGIC=0x9123683e XFS_SUPER_MAGIC=0x58465342 TMPFS_MAGIC=0x1021994 "
        "PROC_SUPER_MAGIC=0x9fa0 SYSFS_MAGIC=0x62656572 OVERLAYFS_SUPER_MAGIC=0x794c7630 RAMFS_MAGIC=0x858458f6 NFS_SUPER_MAGIC=0x6969 "
        "SQUASHFS_MAGIC=0x73717368 DEVPTS_SUPER_MAGIC=0x1cd1 "
        "CGROUP_SUPER_MAGIC=0x27e0eb CGROUP2_SUPER_MAGIC=0x63677270 FUSE_SUPER_MAGIC=0x65735546 "
        "V9FS_MAGIC=0x1021997 PIPEFS_MAGIC=0x50495045 SOCKFS_MAGIC=0x534f434b DEBUGFS_MAGIC=0x64626720 MSDOS_SUPER_MAGIC=0x4d44",
    ),
}  # fmt: skip

_UNKNOWN = {"access": "?_OK", "ioctl": "", "shmget": "SHM_???", "super": "???", "rlimit": "RLIMIT_???"}


def _entries(prefix: str, source: Any, words: str, zeros: bool) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    prefix = "" if prefix.startswith("?") else prefix.removeprefix(": ")
    for word in words.split():
        if word.endswith(":"):
            prefix = word[:-1]
            continue
        name, _, given = word.partition("=")
        name = prefix + name
        value = getattr(source, given or name, None) if not given[:1].isdecimal() else int(given, 0)
        if value is not None and (value or zeros or not found):
            found.append((name, int(value)))
    return tuple(found)


@cache
def names(kind: str, arch_name: str) -> Names:
    """The names of a kind for an architecture; KeyError. Flags that the architecture lacks are left out."""
    zeros = kind in _VALUES
    prefix, source, words = _VALUES[kind] if zeros else _FLAGS[kind]
    if callable(source) and not isinstance(source, type):
        try:
            source = source(arch_name)
        except KeyError:
            source = None
    return Names(_entries(prefix, source, words, zeros), _UNKNOWN.get(kind, f"{prefix}???"))


def kinds() -> tuple[str, ...]:
    """Every kind there is."""
    return (*_FLAGS, *_VALUES)
