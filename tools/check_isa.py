#!/usr/bin/env python3
"""Vector instructions that not every CPU has stand only in code made for those that have them.

tools/check_isa.py PROGRAM

A function that a shared header makes inline, compiled once with AVX2, may become the copy that
everybody calls: it would stop an older CPU, and no test on a newer one would see it. Nor would one
see what a set's code has of a later set. Exit status 77: cannot be checked here.
"""

import collections
import re
import shutil
import subprocess
import sys

# Mangled names: awq::<folder>::avx2::..., also of lambdas and local objects inside.
_NAMESPACE = re.compile(r"^_ZZ*NK?3awq(?:\d+[a-z_]+)*?(?:4|6|10)(avx2|avx512(?:vnni|bf16)?)(?![a-z])")
_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
# VEX and EVEX forms of every vector instruction begin with v; they need AVX even on xmm.
_VECTOR = re.compile(r"\tv[a-z0-9]+\s.*%[xyz]mm\d|%[yz]mm\d")
_BF16 = re.compile(r"\tv(?:dpbf16|cvtne)")
_VNNI = re.compile(r"\tvpdp")
_AVX512 = re.compile(r"%zmm|%k\d|%[xy]mm(?:1[6-9]|2\d|3[01])")
# What code made for a set must do without.
_FORBIDDEN = {None: (_VECTOR,), "avx2": (_AVX512, _VNNI, _BF16), "avx512": (_VNNI, _BF16),
              "avx512vnni": (_BF16,), "avx512bf16": ()}


def strays(listing):
    """function -> number of such instructions, in an objdump listing."""
    found, function, forbidden = collections.Counter(), None, _FORBIDDEN[None]
    for line in listing:
        match = _FUNCTION.match(line)
        if match:
            function = match.group(1)
            inside = _NAMESPACE.match(function)
            forbidden = _FORBIDDEN[inside.group(1) if inside else None]
        elif any(pattern.search(line) for pattern in forbidden):
            found[function] += 1
    return found


def main():
    objdump = shutil.which("objdump")
    if objdump is None:
        print("check_isa: skipped, objdump (binutils) is not installed")
        return 77
    process = subprocess.run([objdump, "-d", "--no-show-raw-insn", sys.argv[1]], check=True,
                             capture_output=True, text=True)
    if "file format elf64-x86-64" not in process.stdout:
        print("check_isa: skipped, this is no x86-64 program")
        return 77
    found = strays(process.stdout.splitlines())
    for function, count in found.items():
        print(f"{function}: {count} AVX instructions of a set beyond its namespace's")
    if not found:
        print("check_isa: AVX instructions only in the namespaces of the sets that have them")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
