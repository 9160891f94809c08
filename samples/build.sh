#!/bin/bash
# Rebuilds samples/bin from samples/guest. Needs gcc and gcc-aarch64-linux-gnu.
set -eu
cd "$(dirname "$0")"
build() { # architecture, compiler
    mkdir -p "bin/$1"
    for source in guest/*.c; do
        name=$(basename "$source" .c)
        kind="-static -fno-pie -no-pie"
        [ "$name" = hello_pie ] && kind="-static-pie -fPIE"
        $2 -O2 -Wall -Wextra -ffreestanding -fno-builtin -fno-stack-protector -fno-asynchronous-unwind-tables $kind -nostdlib -s \
            -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -o "bin/$1/$name" "$source" $($2 -print-libgcc-file-name)
    done
}
build x86_64 gcc
build arm64 "aarch64-linux-gnu-gcc -mno-outline-atomics"
