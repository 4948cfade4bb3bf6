#!/usr/bin/env python3
"""Looks at the machine code of every kernel: nothing spilled, the intended instructions there.

tools/cuda_inspect.py FILE... [--cuobjdump PATH]

FILE: objects, libraries or programs that nvcc has made, e.g. build/release/src/cuda/libawq_cuda.a. Prints a line
for each kind of kernel and architecture. Exit status 1: a kernel spills to local memory or lacks an instruction
that it was written for; 77: no cuobjdump.
"""

import argparse
import collections
import re
import shutil
import subprocess
import sys

# What a kernel, by the beginning of its name, must have: (pattern of SASS, what it stands for); where it stands in
# ONLY, on that architecture, and is empty on others.
WIDE = (r"\bLDG\.E\S*\.128", "loads of 16 bytes")
PRODUCT = (r"\bHMMA\.16816\.F32", "tensor cores")
ASYNC = (r"\bLDGSTS\.E\S*\.128", "asynchronous copies of 16 bytes")
WARPGROUP = (r"\bHGMMA\.64x\d+x16\.F32", "products of warpgroups")
BULK = (r"\bUBLKCP\b", "bulk copies")
SMALL = (r"\bLDGSTS\.E ", "asynchronous copies of 4 bytes")
ONLY = {"WgmmaKernel": "sm_90a"}
WANTED = {
    "CopyKernel": [WIDE],
    "StreamKernel": [WIDE, PRODUCT],
    "TileKernel": [PRODUCT, ASYNC],
    "WgmmaKernel": [WARPGROUP, BULK, SMALL],
    "DequantizeKernel": [WIDE],
    "EmbedKernel": [WIDE],
    "AddNormKernel": [WIDE],
    "GateKernel": [WIDE],
    "DecodePageKernel": [WIDE],
    "PrefillKernel": [PRODUCT],
    "GramKernel": [PRODUCT, ASYNC],
    "ColumnPartsKernel": [WIDE],
    "SketchKernel": [WIDE],
    "SubtractKernel": [WIDE],
    "WidenKernel": [WIDE],
}

_MANGLED = re.compile(r"^_ZN3awq4cuda(?:6device)?(\d+)(\w+)")
_USAGE = re.compile(r"^ Function (\S+):$")
_FIELDS = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


def short_name(mangled):
    match = _MANGLED.match(mangled)
    return match.group(2)[:int(match.group(1))] if match else mangled


def usage(text):
    """(architecture, function) -> {registers, stack, shared, local}, of --dump-resource-usage."""
    found, architecture, function = {}, "?", None
    for line in text.splitlines():
        if match := re.match(r"^arch = (\S+)", line):
            architecture = match.group(1)
        elif match := _USAGE.match(line):
            function = match.group(1)
        elif function and (match := _FIELDS.search(line)):
            registers, stack, shared, local = map(int, match.groups())
            found[architecture, function] = {"registers": registers, "stack": stack,
                                             "shared": shared, "local": local}
            function = None
    return found


def code(text):
    """(architecture, function) -> its SASS, of --dump-sass."""
    found, architecture, key = collections.defaultdict(list), "?", None
    for line in text.splitlines():
        if match := re.match(r"^arch = (\S+)", line):
            architecture = match.group(1)
        elif match := re.match(r"^\s*Function : (\S+)", line):
            key = (architecture, match.group(1))
        elif key and "/*" in line:
            found[key].append(line)
    return {key: "\n".join(lines) for key, lines in found.items()}


def judge(usages, codes):
    """(rows of the table, problems): kernels of one name and architecture together."""
    rows, problems = {}, []
    for (architecture, function), used in sorted(usages.items()):
        name = short_name(function)
        sass = codes.get((architecture, function), "")
        if ONLY.get(name, architecture) != architecture:
            continue
        row = rows.setdefault((name, architecture), {"kernels": 0, "registers": [], "stack": 0})
        row["kernels"] += 1
        row["registers"].append(used["registers"])
        row["stack"] = max(row["stack"], used["stack"] + used["local"])
        where = f"{function} for {architecture}"
        if used["stack"] or used["local"] or re.search(r"\b(?:LDL|STL)\b", sass):
            problems.append(f"{where}: {used['stack']} bytes of stack: it spills")
        for pattern, what in WANTED.get(name, []):
            if not re.search(pattern, sass):
                problems.append(f"{where}: no {what} ({pattern})")
    return rows, problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--cuobjdump", default=shutil.which("cuobjdump"))
    arguments = parser.parse_args()
    if arguments.cuobjdump is None:
        print("cuda_inspect: skipped, no cuobjdump in PATH; --cuobjdump says where it is")
        return 77
    rows, problems = {}, []
    for path in arguments.files:
        def dump(option):
            return subprocess.run([arguments.cuobjdump, option, path], check=True,
                                  capture_output=True, text=True).stdout
        found, wrong = judge(usage(dump("--dump-resource-usage")), code(dump("--dump-sass")))
        rows.update(found)
        problems += wrong
    print("| kernel | architecture | instances | registers | stack, bytes |\n|---|---|---|---|---|")
    for (name, architecture), row in sorted(rows.items()):
        low, high = min(row["registers"]), max(row["registers"])
        span = f"{low}" if low == high else f"{low} to {high}"
        print(f"| {name} | {architecture} | {row['kernels']} | {span} | {row['stack']} |")
    for problem in problems:
        print(problem)
    if not rows:
        problems.append("no kernels")
        print("cuda_inspect: no kernels found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
