/* Code written, run, rewritten and run again, never writable and executable at once. */
#include "nolibc.h"
static long turn(byte *p, int value)
{
    S3(SYS_mprotect, p, 4096, PROT_RW);
#ifdef __x86_64__
    byte code[] = {0xb8, (byte)value, 0, 0, 0, 0xc3};
    memcpy(p, code, sizeof code);
#else
    unsigned code[] = {0x52800000u | (unsigned)value << 5, 0xd65f03c0u};
    memcpy(p, code, sizeof code);
#endif
    S3(SYS_mprotect, p, 4096, PROT_RX);
    __builtin___clear_cache((char *)p, (char *)p + 4096);
    return ((int (*)(void))p)();
}
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    byte *p = map(4096, PROT_RW, 0);
    line("first", turn(p, 11));
    line("second", turn(p, 22));
    return 0;
}
