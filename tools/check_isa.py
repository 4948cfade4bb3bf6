#!/usr/bin/env python3
"""Vector instructions that not every CPU has stand only in code made for those that have them.

tools/check_isa.py PROGRAM

A function that a shared header makes inline, compiled once with AVX2, may become the copy that
everybody calls: it would stop an older CPU, and no test on a newer one would see it. Exit
status 77: cannot be checked here.
"""

import collections
import re
import shutil
import subprocess
import sys

# Mangled names: awq::<folder>::avx2::..., also of lambdas and local objects inside.
_ALLOWED = re.compile(r"^_ZZ*NK?3awq(?:\d+[a-z_]+)*?(?:4avx2|6avx512|10avx512(?:vnni|bf16))")
_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
# VEX and EVEX forms of every vector instruction begin with v; they need AVX even on xmm.
_VECTOR = re.compile(r"\tv[a-z0-9]+\s.*%[xyz]mm\d|%[yz]mm\d")


def strays(listing):
    """function -> number of such instructions, in an objdump listing."""
    found, function, allowed = collections.Counter(), None, False
    for line in listing:
        match = _FUNCTION.match(line)
        if match:
            function = match.group(1)
            allowed = _ALLOWED.match(function) is not None
        elif not allowed and _VECTOR.search(line):
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
        print(f"{function}: {count} AVX instructions outside the namespaces avx2 and avx512")
    if not found:
        print("check_isa: AVX instructions only in the namespaces avx2 and avx512")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
