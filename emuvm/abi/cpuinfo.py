"""The CPUs that programs run on, in the words of /proc/cpuinfo.

Owns: what CPUID (x86-64) and the hwcaps (arm64) of the emulated CPU say, and Linux's names of the bits in the order it prints
them. Must not know the engine: a test asks it whether the values hold. Sources: arch/x86/include/asm/cpufeatures.h,
arch/x86/kernel/cpu/proc.c, arch/arm64/kernel/cpuinfo.c, Linux 6.18.
"""

from __future__ import annotations

from emuvm.abi.arch import Arch

CPUID = {
    (1, "edx"): 0x078B_FBFD,
    (0x8000_0001, "edx"): 0x2810_0800,
    (1, "ecx"): 0xCED8_2203,
    (0x8000_0001, "ecx"): 0x21,
    (7, "ebx"): 0x389,
    (0xD_0001, "eax"): 1,
}
"""(leaf, register) -> value, in the order of the kernel's feature words. 0xD0001 is leaf 0xD, subleaf 1."""
_MADE_UP = (("constant_tsc", "rep_good", "nopl", "cpuid"), 2)
"""Features the kernel finds out for itself, and behind how many of the words above they stand."""
NAMES = {
    (1, "edx"): (
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 "
        "ss ht tm ia64 pbe"
    ),
    (0x8000_0001, "edx"): (
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"
    ),
    (1, "ecx"): (
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe "
        "popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"
    ),
    (0x8000_0001, "ecx"): (
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - "
        "nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -"
    ),
    (7, "ebx"): (
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - "
        "clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"
    ),
    (0xD_0001, "eax"): "xsaveopt xsavec xgetbv1 xsaves xfd",
}
"""The names of the bits from 0 on; '-' has none in /proc/cpuinfo."""
_ARM64 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve "
    "asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
)


def flags(arch: Arch) -> list[str]:
    """The feature names of the emulated CPU: the row 'flags' or 'Features'."""
    if arch.name == "arm64":
        return _named(_ARM64, arch.hwcap)
    found: list[str] = []
    for index, (key, value) in enumerate(CPUID.items()):
        if index == _MADE_UP[1]:
            found += _MADE_UP[0]
        found += _named(NAMES[key], value)
    return found


def _named(names: str, value: int) -> list[str]:
    return [name for bit, name in enumerate(names.split()) if value >> bit & 1 and name != "-"]


def processor(arch: Arch, number: int, count: int, mhz: float) -> str:
    """The paragraph of one processor, of `count` in all."""
    if arch.name == "arm64":
        rows = [
            ("processor", number), ("BogoMIPS", f"{mhz / 10:.2f}"), ("Features", " ".join(flags(arch))), ("CPU implementer", "0x41"),
            ("CPU architecture", 8), ("CPU variant", "0x0"), ("CPU part", "0xd08"), ("CPU revision", 3),
        ]  # fmt: skip
        return "".join(f"{name}{_ARM64_TABS.get(name, chr(9))}: {value}\n" for name, value in rows) + "\n"
    lists = " ".join(flags(arch))
    rows = [
        ("processor", number), ("vendor_id", "GenuineIntel"), ("cpu family", 6), ("model", 60),
        ("model name", "Intel Core Processor (Haswell)"), ("stepping", 4), ("cpu MHz", f"{mhz:.3f}"), ("cache size", "512 KB"),
        ("physical id", 0), ("siblings", count), ("core id", number), ("cpu cores", count), ("apicid", number),
        ("initial apicid", number), ("fpu", "yes"), ("fpu_exception", "yes"), ("cpuid level", 13), ("wp", "yes"), ("flags", lists),
        ("bugs", ""), ("bogomips", f"{2 * mhz:.2f}"), ("clflush size", 64), ("cache_alignment", 64),
        ("address sizes", "40 bits physical, 48 bits virtual"), ("power management", ""),
    ]  # fmt: skip
    return "".join(f"{name}{_TABS.get(name, chr(9))}:{f' {value}' if value != '' else ''}\n" for name, value in rows) + "\n"


_TABS = {"model": "\t\t", "cpu MHz": "\t\t", "core id": "\t\t", "apicid": "\t\t", "fpu": "\t\t", "wp": "\t\t", "flags": "\t\t",
         "bugs": "\t\t", "power management": ""}  # fmt: skip
_ARM64_TABS = {"CPU architecture": "", "CPU part": "\t"}
