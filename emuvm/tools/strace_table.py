"""Which decoder shows which argument of which system call.

Owns: the table. Must not know how decoders work (see strace_scalars, strace_structs, strace_arrays). The signature of a call is
its registry row; a line here says more about arguments for which the kind is not enough, and all there is to say about calls that
emuvm does not have.

    name        one token for each argument; "." and what is missing at the end: by the kind in the registry
    name@VALUE  how the call looks when its command (see COMMANDS) is VALUE
    token       decode before the call        >token  after it, when it succeeded; else the address
    !token      after it, whatever came       +token  before it, to remember, and after it, to show
    = token     how a result that is no error is shown; without it: a signed number
"""

from __future__ import annotations

from functools import cache

from emuvm.abi.tuples import NamedTuple

COMMANDS = {
    "fcntl": (1, "fcntl", 0), "fcntl64": (1, "fcntl", 0), "prctl": (0, "prctl", 0), "arch_prctl": (0, "arch", 0),
    "futex": (1, "futex", 384), "ioctl": (1, "ioctl", 0), "shmctl": (1, "ipcctl", 0),
    "kcmp": (2, "kcmp", 0),
}  # fmt: skip
"""Calls with a command: which argument it is, the kind of its names, bits that do not belong to it."""

_SAME = {"fcntl64": "fcntl", "sendfile64": "sendfile", "_newselect": "select", "ugetrlimit": "getrlimit", "ftruncate64": "ftruncate",
         "truncate64": "truncate"}  # fmt: skip

TABLE = """
read                . >b:r .
write               . b:2 .
pread64             . >b:r . .
pwrite64            . b:2 . .
readv               . !iovr:2 .
writev              . iov:2 .
preadv              . !iovr:2 . D -
pwritev             . iov:2 . D -
preadv2             . !iovr:2 . D - f:rwf
pwritev2            . iov:2 . D - f:rwf
process_vm_readv    d !iovr:2 U iovp:4 U U
process_vm_writev   d iov:2 U iovp:4 U U
sendfile            . . +moving .
copy_file_range     . off* . off* . .
splice              . off* . off* . f:splice
tee                 fd fd U f:splice
vmsplice            . iov:2 . f:splice
sethostname         b64:1 .
setdomainname       b64:1 .
acct                path
pivot_root          path path
open                path open openmode:1
openat              dirfd path open openmode:2
openat2             dirfd path openhow .
close_range         . . f:closerange
lseek               . . v:seek
_llseek             . . . >off* v:seek
dup3                . . f:open
pipe                >pair
pipe2               >pair f:open
flock               . f:lock
fallocate           . f:fallocate D D
fadvise64           . D U v:fadvise
sync_file_range     fd D D f:syncrange
memfd_create        memname memfd
memfd_secret        g:secret
eventfd2            u f:efd
signalfd4           fd sigset:2 U f:sfd
signalfd            fd sigset:2 U
timerfd_create      v:clock f:tfd
timerfd_settime     fd f:tfd itimerspec >itimerspec
timerfd_gettime     fd >itimerspec
epoll_create        d
epoll_create1       f:epoll
inotify_init
inotify_init1       f:in
inotify_add_watch   fd path f:inotify
inotify_rm_watch    fd d
userfaultfd         f:uffd
epoll_ctl           fd v:epollop d epollevent
epoll_wait          fd >epollevents d d
epoll_pwait         fd >epollevents d d >sigset:5 U
epoll_pwait2        fd >epollevents d >timespec >sigset:5 U
mq_open             str open openmode:1 addr
mq_unlink           str
shutdown            d v:shut
socket              v:family socktype d
socketpair          v:family socktype d >pair
truncate            . U
stat                . >stat
lstat               . >stat
fstat               . >stat
newfstatat          dirfd . >stat f:at
statx               dirfd . statxat f:statx >statxbuf
statfs              . >statfs
fstatfs             . >statfs
access              . f:access
faccessat           dirfd . f:access
faccessat2          dirfd . f:access f:eaccess
readlink            . >b:r u
readlinkat          dirfd . >b:r u
getcwd              >cwd .
getdents64          . >dents u
getdents            fd !addr u
mkdirat             dirfd . .
mknod               . filemode device:1
mknodat             dirfd . filemode device:2
symlinkat           . dirfd .
linkat              dirfd . dirfd . f:at
unlinkat            dirfd . f:at
renameat            dirfd . dirfd .
renameat2           dirfd . dirfd . f:rename
fchmodat            dirfd . .
fchmodat2           dirfd . . f:at
chown               . id id
lchown              . id id
fchown              . id id
fchownat            dirfd . id id f:at
utimensat           dirfd . utimens f:at
utimes              . utimes
futimesat           dirfd . utimes
utime               . utimbuf
umask               mode                            = =mode
getxattr            . . >xattr:r .
lgetxattr           . . >xattr:r .
fgetxattr           . . >xattr:r .
listxattr           . >xattrs:2 .
llistxattr          . >xattrs:2 .
flistxattr          . >xattrs:2 .
setxattr            . . xattr:3 . f:xattr
lsetxattr           . . xattr:3 . f:xattr
fsetxattr           . . xattr:3 . f:xattr
chroot              path
swapon              path x
swapoff             path
vhangup
fsopen              str f:fsopen
lookup_dcookie      U addr U
process_mrelease    fd x
setns               fd f:newns
unshare             F:unshare
ioperm              X X d
iopl                d
modify_ldt          d addr U
umount2             path x
mount               str path str F:mount addr

mmap                . . F:prot mapflags . X         = =addr
mmap2               . . F:prot mapflags . X         = =addr
mprotect            . . F:prot
pkey_mprotect       . . F:prot .
pkey_alloc          X F:pkey
mremap              . . . F:mremap mremapto         = =addr
brk                 .                               = =addr
madvise             . . v:madv
process_madvise     fd iovp:2 U v:madv x
msync               . . f:msync
mincore             . . >vec
mlock2              . . f:mlock
mlockall            f:mcl
remap_file_pages    addr U F:prot U mapflags
mseal               addr U X
membarrier          v:barrier f:barrierflag barriercpu = =barrier
mbind               addr U policyword nodes:4 U f:mpolmf
get_mempolicy       >policy* >nodes:2 U addr f:mpolf
set_mempolicy       policy nodes:2 U
set_mempolicy_home_node addr U U X
migrate_pages       d U nodes:1 nodes:1
move_pages          d U addresses:1 ints:1 >places:1 f:mpolmove
map_shadow_stack    addr U x                        = =addr
shmget              key U shmget
shmat               d addr f:shmat                  = =addr
shmdt               addr
shmctl              d v:ipcctl addr
shmctl@IPC_STAT     d v:ipcctl >shmid
shmctl@SHM_STAT     d v:ipcctl >shmid
shmctl@SHM_STAT_ANY d v:ipcctl >shmid
shmctl@SHM_INFO     d v:ipcctl >shminfo
shmctl@IPC_INFO     d v:ipcctl >shmlimits
shmctl@IPC_SET      d v:ipcctl shmid
semget              key d shmget
msgget              key shmget

rt_sigaction        sig sigaction >sigaction .
rt_sigprocmask      v:sighow sigset:3 >sigset:3 .
rt_sigpending       >sigpart:1 .
rt_sigsuspend       sigset:1 U
rt_sigtimedwait     sigset:3 >siginfo timespec U    = =sig
rt_sigqueueinfo     d sig siginfo
rt_tgsigqueueinfo   d d sig siginfo
rt_sigreturn        sigreturn
sigaltstack         stack_t >stack_t
kill                . sig
tkill               . sig
tgkill              . . sig
pidfd_open          d f:pidfd
pidfd_getfd         fd d x
pidfd_send_signal   fd sig siginfo x
pause
restart_syscall

clock_gettime       v:clock >timespec
clock_getres        v:clock >timespec
clock_settime       v:clock timespec
clock_adjtime       v:clock addr
clock_nanosleep     v:clock f:timer timespec !remaining
nanosleep           timespec !remaining
gettimeofday        >timeval >timezone
settimeofday        timeval timezone
time                >timep                          = =time
times               >tms
getitimer           v:itimer >itimerval
setitimer           v:itimer itimerval >itimerval
timer_create        v:clock sigevent >int*
timer_settime       d f:timer itimerspec >itimerspec
timer_gettime       d >itimerspec
timer_getoverrun    d
timer_delete        d

poll                pollfds:1 u .                   = =poll
ppoll               pollfds:1 u timespec sigset:4 . = =poll
select              . fdset fdset fdset timeval     = =select
pselect6            . fdset fdset fdset timespec sigmask6 = =select

execve              path argv envp
execveat            dirfd path argv envp f:at
clone               clone - - - -
clone3              cloneargs:1 U
vfork
fork
wait4               . !status f:wait >rusage
waitid              v:idtype . >siginfo f:wait >rusage
getrlimit           v:rlimit >rlimit
setrlimit           v:rlimit rlimit
prlimit64           . v:rlimit rlimit64 >rlimit64
getrusage           v:rusage >rusage
getpriority         v:prio .
setpriority         v:prio . .
sched_getaffinity   . . >cpus
sched_setaffinity   . . cpus
sched_getscheduler  d                               = V:sched
sched_getparam      d >int*
sched_setparam      d int*
sched_getattr       d >schedattr:2 u u
sched_setattr       d +setschedattr u
sched_setscheduler  d v:sched int*
sched_get_priority_max v:sched
sched_get_priority_min v:sched
getcpu              >uint* >uint* addr
getresuid           >uint* >uint* >uint*
getresgid           >uint* >uint* >uint*
getgroups           . >numbers:r
setgroups           d groups:0
setuid              id
setfsuid            id
setfsgid            id
setgid              id
setreuid            id id
setregid            id id
setresuid           id id id
setresgid           id id id
set_robust_list     . .
get_robust_list     d >ptr* >size*
rseq                addr X X X
personality         persona                         = =persona
capget              caphead >capdata
capset              caphead capdata
seccomp             x X addr
ioprio_get          v:iowho d                       = =ioprio
ioprio_set          v:iowho d ioprio
futex_waitv         waiters:1 u x timespec v:clock
kcmp                d d v:kcmp X X
kcmp@KCMP_FILE      . . . d d
kcmp@KCMP_EPOLL_TFD . . . d slot
kcmp@KCMP_VM        . . . - -
kcmp@KCMP_FILES     . . . - -
kcmp@KCMP_FS        . . . - -
kcmp@KCMP_SIGHAND   . . . - -
kcmp@KCMP_IO        . . . - -
kcmp@KCMP_SYSVSEM   . . . - -
init_module         addr U str
finit_module        fd str f:module
delete_module       str f:delmodule
cachestat           fd range >cachestat x
sched_rr_get_interval d >timespec
uname               >utsname
sysinfo             >sysinfo
getrandom           >random . f:grnd

fcntl               . v:fcntl X
fcntl@F_DUPFD       . v:fcntl d
fcntl@F_DUPFD_CLOEXEC . v:fcntl d
fcntl@F_GETFD       . v:fcntl                       = =fd
fcntl@F_SETFD       . v:fcntl f:fd
fcntl@F_GETFL       . v:fcntl                       = =fl
fcntl@F_SETFL       . v:fcntl open
fcntl@F_GETLK       . v:fcntl >flock:pid
fcntl@F_OFD_GETLK   . v:fcntl >flock:pid
fcntl@F_SETLK       . v:fcntl flock:-
fcntl@F_SETLKW      . v:fcntl flock:-
fcntl@F_OFD_SETLK   . v:fcntl flock:-
fcntl@F_OFD_SETLKW  . v:fcntl flock:-
fcntl@F_SETOWN      . v:fcntl d
fcntl@F_GETOWN      . v:fcntl
fcntl@F_SETOWN_EX   . v:fcntl owner
fcntl@F_GETOWN_EX   . v:fcntl >owner
fcntl@F_SETSIG      . v:fcntl sig
fcntl@F_GETSIG      . v:fcntl                       = =sig
fcntl@F_SETLEASE    . v:fcntl v:flocktype
fcntl@F_GETLEASE    . v:fcntl                       = =lease
fcntl@F_NOTIFY      . v:fcntl f:dnotify
fcntl@F_SETPIPE_SZ  . v:fcntl d
fcntl@F_GETPIPE_SZ  . v:fcntl
fcntl@F_ADD_SEALS   . v:fcntl f:seal
fcntl@F_GET_SEALS   . v:fcntl                       = =seals

ioctl               . ioctl X
ioctl@TIOCGWINSZ    . ioctl >winsize
ioctl@TIOCSWINSZ    . ioctl winsize
ioctl@TCGETS        . ioctl >termios
ioctl@TCSETS        . ioctl termios
ioctl@TCSETSW       . ioctl termios
ioctl@TCSETSF       . ioctl termios
ioctl@FIONREAD      . ioctl >int*
ioctl@TIOCGPGRP     . ioctl >int*
ioctl@TIOCSPGRP     . ioctl int*
ioctl@TIOCGSID      . ioctl >int*
ioctl@TIOCGPTN      . ioctl >int*
ioctl@TIOCSPTLCK    . ioctl int*
ioctl@TIOCOUTQ      . ioctl >int*
ioctl@FIONBIO       . ioctl int*
ioctl@FIOASYNC      . ioctl int*
ioctl@FIOCLEX       . ioctl
ioctl@FIONCLEX      . ioctl
ioctl@TIOCNOTTY     . ioctl
ioctl@FICLONE       . ioctl d

prctl               v:prctl X X X X
prctl@PR_GET_UNALIGN . addr
prctl@PR_SET_UNALIGN . f:unalign
prctl@PR_GET_FPEMU  . addr
prctl@PR_SET_FPEMU  . U
prctl@PR_GET_FPEXC  . addr
prctl@PR_SET_FPEXC  . U
prctl@PR_GET_ENDIAN . addr
prctl@PR_SET_ENDIAN . U
prctl@PR_SVE_SET_VL . veclen:svevl
prctl@PR_SME_SET_VL . veclen:smevl
prctl@PR_SME_GET_VL .
prctl@PR_SVE_GET_VL .
prctl@PR_GET_FP_MODE .
prctl@PR_SET_NAME   . comm
prctl@PR_GET_NAME   . >name16
prctl@PR_SET_PDEATHSIG . wsig
prctl@PR_GET_PDEATHSIG . >sig*
prctl@PR_GET_DUMPABLE  .                            = =dump
prctl@PR_SET_DUMPABLE  . w:dump
prctl@PR_GET_KEEPCAPS  .
prctl@PR_SET_KEEPCAPS  . U
prctl@PR_GET_SECCOMP   .
prctl@PR_SET_SECCOMP   . v:seccomp
prctl@PR_CAPBSET_READ  . v:cap
prctl@PR_CAPBSET_DROP  . v:cap
prctl@PR_GET_TSC       . >tsc*
prctl@PR_SET_TSC       . v:tsc
prctl@PR_GET_SECUREBITS .                           = =secbits
prctl@PR_SET_SECUREBITS . f:secbit
prctl@PR_SET_TIMERSLACK . D
prctl@PR_GET_TIMERSLACK .
prctl@PR_GET_TIMING     .
prctl@PR_SET_TIMING     . U
prctl@PR_TASK_PERF_EVENTS_DISABLE .
prctl@PR_TASK_PERF_EVENTS_ENABLE .
prctl@PR_SET_CHILD_SUBREAPER . U
prctl@PR_GET_CHILD_SUBREAPER . >int*
prctl@PR_SET_NO_NEW_PRIVS . U X X X
prctl@PR_GET_NO_NEW_PRIVS . X X X X
prctl@PR_GET_TID_ADDRESS  . >ptr*
prctl@PR_SET_THP_DISABLE  . U X X X
prctl@PR_GET_THP_DISABLE  . X X X X
prctl@PR_SET_MM     . v:prmm X X X
prctl@PR_SET_VMA    . w:prvma vma:0 vma:1 vma:2
prctl@PR_CAP_AMBIENT . w:ambient ambientcap X X
prctl@PR_MCE_KILL_GET . X X X X                  = =mce
prctl@PR_MCE_KILL   . w:mce mcepolicy X X
prctl@PR_PAC_RESET_KEYS . F:packey X X X
prctl@PR_PAC_SET_ENABLED_KEYS . F:packeyon F:packeyon X X
prctl@PR_SET_TAGGED_ADDR_CTRL . tagged X X X
prctl@PR_SET_SYSCALL_USER_DISPATCH . w:sud X X addr
prctl@PR_SCHED_CORE . v:schedcore pid coretype !core
prctl@PR_SET_MDWE   . f:mdwe X X X
prctl@PR_SET_PTRACER . d

arch_prctl          v:arch X
arch_prctl@ARCH_GET_FS . >ptr*
arch_prctl@ARCH_GET_GS . >ptr*
arch_prctl@ARCH_GET_CPUID .
arch_prctl@ARCH_GET_XCOMP_SUPP . >ptr*
arch_prctl@ARCH_GET_XCOMP_PERM . >ptr*

futex               addr futexop u X X x
futex@FUTEX_WAIT    . . u timespec
futex@FUTEX_WAKE    . . u
futex@FUTEX_FD      . . u
futex@FUTEX_REQUEUE . . u u addr
futex@FUTEX_CMP_REQUEUE . . u u addr u
futex@FUTEX_WAKE_OP . . u u addr futexcode
futex@FUTEX_LOCK_PI . . - timespec
futex@FUTEX_LOCK_PI2 . . - timespec
futex@FUTEX_UNLOCK_PI . .
futex@FUTEX_TRYLOCK_PI . .
futex@FUTEX_WAIT_BITSET . . u timespec - futexbits
futex@FUTEX_WAKE_BITSET . . u - - futexbits
futex@FUTEX_WAIT_REQUEUE_PI . . u timespec addr
futex@FUTEX_CMP_REQUEUE_PI . . u u addr u
"""


class Row(NamedTuple):
    """How a call is shown: a token for each argument, and one for the result or ''."""

    tokens: tuple[str, ...]
    result: str


@cache
def rows() -> dict[str, Row]:
    """The table, read."""
    found: dict[str, Row] = {}
    for line in TABLE.splitlines():
        if line.strip():
            left, _, result = line.partition(" = ")
            name, *tokens = left.split()
            if "@" in name:
                base = found[name.partition("@")[0]].tokens
                tokens = [base[i] if token == "." and base[i] != "." else token for i, token in enumerate(tokens)]
            found[name] = Row(tuple(tokens), result.strip())
    return found


def row(name: str) -> Row | None:
    return rows().get(_SAME.get(name, name))
