"""The runner of programs of system calls in machine code of arm64, with what each instruction is.

Owns: the listing. Must not know how it becomes a file (elf.py), which has the addresses behind the names in capitals. A line is a label
or an instruction: its bytes in hexadecimal, its text, a remark. Assembled from the text; `tests/fuzz/test_sequences_runner.py` does it
again where there is an assembler, so that the two columns cannot part. Nothing here uses the stack.
"""

from __future__ import annotations

LISTING = """\
_start:
  f9030091             mov x25, sp                           ; where the stack is while no handler runs
  e90340f9             ldr x9, [sp]                          ; the vDSO of a host goes: mappings lie the same without
  e96f298b             add x9, sp, x9, lsl #3
  29410091             add x9, x9, #16                       ; the environment
environment:
  218540f8             ldr x1, [x9], #8
  e1ffffb5             cbnz x1, environment
auxiliary:
  2101c1a8             ldp x1, x0, [x9], #16
  e10000b4             cbz x1, signals
  3f8400f1             cmp x1, #33                           ; AT_SYSINFO_EHDR
  a1ffff54             b.ne auxiliary
  004040d1             sub x0, x0, #0x10, lsl #12            ; munmap: its data lie below it, nothing else does
  4100a0d2             mov x1, #0x20000
  e81a80d2             mov x8, #215
  010000d4             svc #0
signals:
  881080d2             mov x8, #132                          ; sigaltstack(STACK, 0)
  0000a4d2             mov x0, #0x20000000
  010080d2             mov x1, #0
  010000d4             svc #0
  c81080d2             mov x8, #134                          ; rt_sigaction(SIGSEGV, ACTION, 0, 8)
  1a00a4d2             mov x26, #0x20000000
  600180d2             mov x0, #11
  41830091             add x1, x26, #0x20
  020080d2             mov x2, #0
  030180d2             mov x3, #8
  010000d4             svc #0
  c81080d2             mov x8, #134                          ; the same for SIGBUS
  e00080d2             mov x0, #7
  010000d4             svc #0
  3b00a4d2             mov x27, #0x20010000                  ; x27: PROGRAM
  130080d2             mov x19, #0
fill:
  e80780d2             mov x8, #63                           ; read(0, PROGRAM + x19, what is left)
  000080d2             mov x0, #0
  6103138b             add x1, x27, x19
  2200a0d2             mov x2, #0x10000
  420013cb             sub x2, x2, x19
  010000d4             svc #0
  1f0000f1             cmp x0, #0
  6d000054             b.le ready
  7302008b             add x19, x19, x0
  f7ffff17             b fill
ready:
  5a030191             add x26, x26, #0x40                   ; x26: ARGS
  73430091             add x19, x27, #16                     ; x19: the record
  5800a4d2             mov x24, #0x20020000                  ; x24: RESULTS
  f40318aa             mov x20, x24                          ; x20: where its result goes
  750740b9             ldr w21, [x27, #4]                    ; w21: records left
next:
  b5060071             subs w21, w21, #1
  440a0054             b.mi finish
  770240f9             ldr x23, [x19]                        ; x23: its head
  f6be68d3             ubfx x22, x23, #40, #8                ; x22: times it is made again
again:
  5f7f00a9             stp xzr, xzr, [x26]                   ; six arguments, zero where there is none
  5f7f01a9             stp xzr, xzr, [x26, #16]
  5f7f02a9             stp xzr, xzr, [x26, #32]
  e08a60d3             ubfx x0, x23, #32, #3                 ; how many it has
  e17e58d3             ubfx x1, x23, #24, #8                 ; bit n: argument n refers to a result
  020080d2             mov x2, #0
argument:
  5f0000eb             cmp x2, x0
  82010054             b.hs make
  630e028b             add x3, x19, x2, lsl #3
  640440f9             ldr x4, [x3, #8]
  a1000036             tbz x1, #0, plain
  851c4092             and x5, x4, #0xff                     ; low byte: which result; the rest: what to add
  a5ec7cd3             lsl x5, x5, #4
  056b65f8             ldr x5, [x24, x5]
  a420848b             add x4, x5, x4, asr #8
plain:
  447b22f8             str x4, [x26, x2, lsl #3]
  21fc41d3             lsr x1, x1, #1
  42040091             add x2, x2, #1
  f4ffff17             b argument
make:
  400740a9             ldp x0, x1, [x26]
  420f41a9             ldp x2, x3, [x26, #16]
  441742a9             ldp x4, x5, [x26, #32]
  e65e50d3             ubfx x6, x23, #16, #8                 ; what it is: 0 a system call
  060300b4             cbz x6, call
  df0400f1             cmp x6, #1
  20030054             b.eq load1
  df0800f1             cmp x6, #2
  20030054             b.eq load4
  df0c00f1             cmp x6, #3
  20030054             b.eq load8
  df1000f1             cmp x6, #4
  20030054             b.eq store1
  df1400f1             cmp x6, #5
  20030054             b.eq store4
  df1800f1             cmp x6, #6
  20030054             b.eq store8
  e70300aa             mov x7, x0                            ; hash
  000080d2             mov x0, #0
  213c4092             and x1, x1, #0xffff
  693280d2             mov x9, #0x193
  0920a0f2             movk x9, #0x100, lsl #16
hash:
  a10200b4             cbz x1, returned
  e6144038             ldrb w6, [x7], #1
  000006ca             eor x0, x0, x6
  007c099b             mul x0, x0, x9
  210400d1             sub x1, x1, #1
  fbffff17             b hash
call:
  e83e4092             and x8, x23, #0xffff
  010000d4             svc #0
  0d000014             b returned
load1:
  00004039             ldrb w0, [x0]
  0b000014             b returned
load4:
  000040b9             ldr w0, [x0]
  09000014             b returned
load8:
  000040f9             ldr x0, [x0]
  07000014             b returned
store1:
  01000039             strb w1, [x0]
  04000014             b stored
store4:
  010000b9             str w1, [x0]
  02000014             b stored
store8:
  010000f9             str x1, [x0]
stored:
  000080d2             mov x0, #0
returned:
  800200f9             str x0, [x20]
  21008052             mov w1, #1
  810a00b9             str w1, [x20, #8]
settled:
  d6060071             subs w22, w22, #1
  c5f7ff54             b.pl again
  610b40b9             ldr w1, [x27, #8]
  c1000034             cbz w1, silent
  080880d2             mov x8, #64                           ; write(that descriptor, the result, 16)
  e003012a             mov w0, w1
  e10314aa             mov x1, x20
  020280d2             mov x2, #16
  010000d4             svc #0
silent:
  94420091             add x20, x20, #16
  e08a60d3             ubfx x0, x23, #32, #3
  730e008b             add x19, x19, x0, lsl #3
  73220091             add x19, x19, #8
  aeffff17             b next
finish:
  610b40b9             ldr w1, [x27, #8]
  c1000035             cbnz w1, leave
  080880d2             mov x8, #64                           ; write(1, all results)
  200080d2             mov x0, #1
  e10318aa             mov x1, x24
  820218cb             sub x2, x20, x24
  010000d4             svc #0
leave:
  c80b80d2             mov x8, #94                           ; exit_group(0)
  000080d2             mov x0, #0
  010000d4             svc #0
handler:
  3f030091             mov sp, x25
  230840f9             ldr x3, [x1, #16]                     ; si_addr
  830200f9             str x3, [x20]
  230840b9             ldr w3, [x1, #8]                      ; si_code
  633c1053             lsl w3, w3, #16
  6320002a             orr w3, w3, w0, lsl #8
  63001f32             orr w3, w3, #2
  830a00b9             str w3, [x20, #8]
  e0ffff17             b settled
"""
