"""The runner of programs of system calls in machine code of x86-64, with what each instruction is.

Owns: the listing. Must not know how it becomes a file (elf.py), which has the addresses behind the names in capitals. A line is a label
or an instruction: its bytes in hexadecimal, its text, a remark. Assembled from the text; `tests/fuzz/test_sequences_runner.py` does it
again where there is an assembler, so that the two columns cannot part. Nothing here uses the stack.
"""

from __future__ import annotations

LISTING = """\
_start:
  4989e7               mov r15, rsp                          ; where the stack is while no handler runs
  488b0c24             mov rcx, [rsp]                        ; the vDSO of a host goes: mappings lie the same without
  488d74cc10           lea rsi, [rsp + rcx*8 + 16]           ; the environment
environment:
  48ad                 lodsq
  4885c0               test rax, rax
  75f9                 jnz environment
auxiliary:
  48ad                 lodsq
  85c0                 test eax, eax
  741c                 jz signals
  89c2                 mov edx, eax
  48ad                 lodsq
  83fa21               cmp edx, 33                           ; AT_SYSINFO_EHDR
  75f1                 jne auxiliary
  488db80000ffff       lea rdi, [rax - 0x10000]              ; munmap: its data lie below it, nothing else does
  be00000200           mov esi, 0x20000
  b80b000000           mov eax, 11
  0f05                 syscall
signals:
  b84a010000           mov eax, 330                          ; pkey_alloc(0, 0) till none is left: else code is not readable on some hosts
  31ff                 xor edi, edi
  31f6                 xor esi, esi
  0f05                 syscall
  85c0                 test eax, eax
  79f1                 jns signals
  b883000000           mov eax, 131                          ; sigaltstack(STACK, 0)
  bf00000020           mov edi, STACK
  31f6                 xor esi, esi
  0f05                 syscall
  b80d000000           mov eax, 13                           ; rt_sigaction(SIGSEGV, ACTION, 0, 8)
  bf0b000000           mov edi, 11
  be20000020           mov esi, ACTION
  31d2                 xor edx, edx
  41ba08000000         mov r10d, 8
  0f05                 syscall
  b80d000000           mov eax, 13                           ; the same for SIGBUS
  bf07000000           mov edi, 7
  0f05                 syscall
  31db                 xor ebx, ebx
fill:
  31c0                 xor eax, eax                          ; read(0, PROGRAM + rbx, what is left)
  31ff                 xor edi, edi
  488db300000120       lea rsi, [rbx + PROGRAM]
  ba00000100           mov edx, 0x10000
  29da                 sub edx, ebx
  0f05                 syscall
  4885c0               test rax, rax
  7e05                 jle ready
  4801c3               add rbx, rax
  ebe2                 jmp fill
ready:
  bb10000120           mov ebx, PROGRAM + 16                 ; rbx: the record
  bd00000220           mov ebp, RESULTS                      ; rbp: where its result goes
  448b242504000120     mov r12d, dword ptr [PROGRAM + 4]     ; r12: records left
next:
  41ffcc               dec r12d
  0f883c010000         js finish
  4c8b33               mov r14, [rbx]                        ; r14: its head
  4d89f5               mov r13, r14
  49c1ed28             shr r13, 40
  450fb6ed             movzx r13d, r13b                      ; r13: times it is made again
again:
  31c0                 xor eax, eax                          ; six arguments, zero where there is none
  bf40000020           mov edi, ARGS
  b906000000           mov ecx, 6
  f348ab               rep stosq
  4c89f1               mov rcx, r14
  48c1e920             shr rcx, 32
  83e107               and ecx, 7                            ; how many it has
  4489f2               mov edx, r14d
  c1ea18               shr edx, 24                           ; bit n: argument n refers to a result
  31f6                 xor esi, esi
argument:
  39ce                 cmp esi, ecx
  7329                 jae make
  488b44f308           mov rax, [rbx + rsi*8 + 8]
  d1ea                 shr edx, 1
  7314                 jnc plain
  0fb6f8               movzx edi, al                         ; low byte: which result; the rest: what to add
  c1e704               shl edi, 4
  488bbf00000220       mov rdi, [rdi + RESULTS]
  48c1f808             sar rax, 8
  4801f8               add rax, rdi
plain:
  488904f540000020     mov [rsi*8 + ARGS], rax
  ffc6                 inc esi
  ebd3                 jmp argument
make:
  488b3c2540000020     mov rdi, [ARGS]
  488b342548000020     mov rsi, [ARGS + 8]
  488b142550000020     mov rdx, [ARGS + 16]
  4c8b142558000020     mov r10, [ARGS + 24]
  4c8b042560000020     mov r8, [ARGS + 32]
  4c8b0c2568000020     mov r9, [ARGS + 40]
  4489f1               mov ecx, r14d
  c1e910               shr ecx, 16
  0fb6c9               movzx ecx, cl                         ; what it is: 0 a system call
  e335                 jrcxz call
  ffc9                 dec ecx
  7439                 jz load1
  ffc9                 dec ecx
  743a                 jz load4
  ffc9                 dec ecx
  743a                 jz load8
  ffc9                 dec ecx
  743b                 jz store1
  ffc9                 dec ecx
  743c                 jz store4
  ffc9                 dec ecx
  743c                 jz store8
  31c0                 xor eax, eax                          ; hash
  0fb7f6               movzx esi, si
hash:
  85f6                 test esi, esi
  7438                 jz returned
  0fb60f               movzx ecx, byte ptr [rdi]
  4831c8               xor rax, rcx
  4869c093010001       imul rax, rax, 0x1000193
  48ffc7               inc rdi
  ffce                 dec esi
  ebe8                 jmp hash
call:
  410fb7c6             movzx eax, r14w
  0f05                 syscall
  eb1c                 jmp returned
load1:
  0fb607               movzx eax, byte ptr [rdi]
  eb17                 jmp returned
load4:
  8b07                 mov eax, [rdi]
  eb13                 jmp returned
load8:
  488b07               mov rax, [rdi]
  eb0e                 jmp returned
store1:
  408837               mov [rdi], sil
  eb07                 jmp stored
store4:
  8937                 mov [rdi], esi
  eb03                 jmp stored
store8:
  488937               mov [rdi], rsi
stored:
  31c0                 xor eax, eax
returned:
  48894500             mov [rbp], rax
  c7450801000000       mov dword ptr [rbp + 8], 1
settled:
  41ffcd               dec r13d
  0f890affffff         jns again
  833c250800012000     cmp dword ptr [PROGRAM + 8], 0
  7416                 je silent
  b801000000           mov eax, 1                            ; write(that descriptor, the result, 16)
  8b3c2508000120       mov edi, dword ptr [PROGRAM + 8]
  4889ee               mov rsi, rbp
  ba10000000           mov edx, 16
  0f05                 syscall
silent:
  4883c510             add rbp, 16
  4c89f1               mov rcx, r14
  48c1e920             shr rcx, 32
  83e107               and ecx, 7
  488d5ccb08           lea rbx, [rbx + rcx*8 + 8]
  e9bbfeffff           jmp next
finish:
  833c250800012000     cmp dword ptr [PROGRAM + 8], 0
  7515                 jne leave
  b801000000           mov eax, 1                            ; write(1, all results)
  bf01000000           mov edi, 1
  be00000220           mov esi, RESULTS
  89ea                 mov edx, ebp
  29f2                 sub edx, esi
  0f05                 syscall
leave:
  b8e7000000           mov eax, 231                          ; exit_group(0)
  31ff                 xor edi, edi
  0f05                 syscall
handler:
  4c89fc               mov rsp, r15
  488b4610             mov rax, [rsi + 16]                   ; si_addr
  48894500             mov [rbp], rax
  8b4608               mov eax, [rsi + 8]                    ; si_code
  c1e010               shl eax, 16
  c1e708               shl edi, 8
  09f8                 or eax, edi
  83c802               or eax, 2
  894508               mov [rbp + 8], eax
  e976ffffff           jmp settled
"""
