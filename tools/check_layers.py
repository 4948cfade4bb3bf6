#!/usr/bin/env python3
"""Proves that the folders of src/ include only what the house rules allow.

tools/check_layers.py [ROOT]

The rules: DEPS of each src/*/CMakeLists.txt, transitively, without cycles; the arrows that
may never be drawn; command line and server on the public headers only; nothing inline in what is
compiled once per instruction set; CUDA's headers in what nvcc compiles; no printing and no exiting in the library.
"""

import pathlib
import re
import sys

import cxx_source

# Whatever DEPS says.
NEVER = [("search", "transformer"), ("kernels", "model"), ("transformer", "checkpoint"),
         ("transformer", "calib"), ("quant", "pack"), ("search", "io")]
# Folders on the public API: themselves, each other as named here, and <awq/...>.
PUBLIC_ONLY = {"cli": {"cli", "serve"}, "serve": {"serve"}}
# Folders whose code must be the same for every CPU, as what they write is.
NO_ISA = {"io", "pack", "model", "checkpoint"}

ISA_HEADERS = {"<cstddef>", "<cstdint>"}
INTRINSICS = {"<immintrin.h>", "<arm_neon.h>"}
ISA_MACRO = re.compile(r"\b(__AVX\w*|__SSE\w*|__FMA__|__F16C__|__ARM_\w+|AWQ_ISA|"
                       r"__builtin_cpu_\w+|_mm\d*_\w+|immintrin)\b")
PRINTS = re.compile(r"\b(?:v?f?printf|puts|fputs|putchar|perror)\s*\(|\bfmt::print\s*\("
                    r"|\bstd::(?:cout|cerr|clog)\b")
EXITS = re.compile(r"(?<![\w.>])(?:std::|::)?(?:exit|_exit|_Exit|quick_exit|abort)\s*\(|"
                   r"\bstd::terminate\s*\(")
CUDA_HEADER = re.compile(r"<(?:cuda|cublas|cusolver|curand|nv)\w*\.h>")
BESIDE = re.compile(r"_(test|bench|fuzz)\.cc$|^test_\w+\.h$")  # not part of the product


def read_dependencies(root):
    """folder -> the folders that its DEPS names; and what is wrong with them."""
    dependencies, problems = {}, []
    for path in sorted((root / "src").glob("*/CMakeLists.txt")):
        text = re.sub(r"#.*", "", path.read_text())
        match = re.search(r"\bawq_module\s*\(([^)]*)\)", text)
        folder = path.parent.name
        if match is None:
            problems.append(f"{path}: no awq_module()")
            continue
        words = match.group(1).split()
        if words[0] != folder:
            problems.append(f"{path}: awq_module({words[0]}) in folder {folder}")
        deps, keyword = [], None
        for word in words[1:]:
            if word in ("DEPS", "LIBS"):
                keyword = word
            elif keyword == "DEPS":
                deps.append(word)
        dependencies[folder] = deps
    for folder, deps in dependencies.items():
        problems += [f"src/{folder}/CMakeLists.txt: DEPS names {dep}, which is no folder of src/"
                     for dep in deps if dep not in dependencies]
    return dependencies, problems


def reachable(dependencies, folder):
    seen, waiting = set(), [folder]
    while waiting:
        for dep in dependencies.get(waiting.pop(), []):
            if dep not in seen:
                seen.add(dep)
                waiting.append(dep)
    return seen


def check_graph(dependencies):
    problems = []
    for folder in dependencies:
        below = reachable(dependencies, folder)
        if folder in below:
            problems.append(f"src/{folder}/CMakeLists.txt: DEPS lead back to {folder}")
        problems += [f"src/{folder}/CMakeLists.txt: {folder} may never depend on {to}"
                     for source, to in NEVER if source == folder and to in below]
    return problems


def check_quoted(root, where, path, name, allowed):
    """`name` is what stands between the quotes."""
    beside = BESIDE.search(path.name)
    folder = name.split("/")[0]
    if folder == "testing":
        return [] if beside else [f"{where}: product code includes a test's helper"]
    if "/" not in name or not (root / "src" / name).is_file():
        return [f'{where}: "{name}" is no file below src/; write the whole path from there']
    if BESIDE.search(pathlib.Path(name).name) and not beside:
        return [f"{where}: product code includes a test's helper"]
    if folder not in allowed:
        return [f'{where}: may not include "{name}": allowed are {", ".join(sorted(allowed))}']
    return []


def check_includes(root, path, text, dependencies):
    relative = path.relative_to(root)
    folder = relative.parts[1]
    is_isa = path.name.endswith(("_isa.cc", "_isa.h"))
    is_loops = path.name.endswith("_loops.h")
    allowed = PUBLIC_ONLY.get(folder, {folder} | reachable(dependencies, folder))
    problems = []
    for line, written in cxx_source.includes(text):
        where = f"{relative}:{line}"
        if written.startswith('"'):
            problems += check_quoted(root, where, path, written[1:-1], allowed)
        if CUDA_HEADER.match(written) and path.suffix not in (".cu", ".cuh"):
            problems.append(f"{where}: {written} is for .cu and .cuh: what others include must "
                            "compile without CUDA")
        if written.endswith('_isa.h"') and not is_isa:
            problems.append(f"{where}: {written} is for files that are compiled for several "
                            "instruction sets")
        if not (is_isa or is_loops) or written.endswith(('_loops.h"', '_isa.h"')):
            continue
        if written in ISA_HEADERS:
            continue
        if not (is_isa and written in INTRINSICS):
            problems.append(f"{where}: {written} may hold inline code, and this file is compiled "
                            "for several instruction sets")
    return problems


def check_code(root, path, text):
    relative = path.relative_to(root)
    folder = relative.parts[1]
    if BESIDE.search(path.name):
        return []
    problems = []
    for number, line in enumerate(cxx_source.blank(text).split("\n"), 1):
        where = f"{relative}:{number}"
        if folder != "cli" and PRINTS.search(line):
            problems.append(f"{where}: the library never prints: {line.strip()}")
        if folder != "cli" and EXITS.search(line):
            problems.append(f"{where}: the library never ends the process: {line.strip()}")
        if folder in NO_ISA and ISA_MACRO.search(line):
            problems.append(f"{where}: {folder} must not depend on the CPU: {line.strip()}")
    return problems


def check_public(root):
    problems = []
    for path in cxx_source.sources(root, ["include"]):
        for line, written in cxx_source.includes(path.read_text()):
            # Only the standard library's headers have neither a folder nor a suffix.
            if not re.fullmatch(r"<awq/\w+\.h>|<\w+>", written):
                problems.append(f"{path.relative_to(root)}:{line}: a public header includes "
                                f"{written}: allowed are <awq/...> and the standard library")
    return problems


def check(root):
    dependencies, problems = read_dependencies(root)
    problems += check_graph(dependencies)
    problems += check_public(root)
    for path in cxx_source.sources(root, ["src"]):
        text = path.read_text()
        problems += check_includes(root, path, text, dependencies)
        problems += check_code(root, path, text)
    return problems


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else cxx_source.ROOT
    sys.exit(cxx_source.report("check_layers", check(root), "every include is allowed"))
