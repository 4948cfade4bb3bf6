#!/usr/bin/env python3
"""Every test, benchmark and fuzzer on disk is known to the build.

tools/check_registered.py BUILD_DIR [--ctest CTEST] [--ninja NINJA]
"""

import argparse
import json
import re
import sys

import cxx_source

_TEST = re.compile(r"^\s*(?:TYPED_)?TEST(?:_F|_P)?\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)


def written_tests(root):
    """(path, suite, name) of every test in a *_test.cc."""
    found = []
    for path in cxx_source.sources(root, ["src", "tests"], (".cc", ".cu")):
        if path.stem.endswith("_test"):
            text = cxx_source.blank(path.read_text())
            found += [(path, m.group(1), m.group(2)) for m in _TEST.finditer(text)]
    return found


def missing_tests(written, registered):
    # A registered name may have an instantiation before it and a parameter after it:
    # "All/Suite.Name/3", "Suite<float>.Name".
    known = set()
    for name in registered:
        match = re.match(r"(?:\w+/)?(\w+)(?:[</][^.]*)?\.(\w+)", name)
        if match:
            known.add((match.group(1), match.group(2)))
    return [f"{path}: {suite}.{name} is not known to ctest" for path, suite, name in written
            if (suite, name) not in known]


def missing_programs(root, targets):
    problems = []
    for path in cxx_source.sources(root, ["src", "tests", "bench", "fuzz"], (".cc", ".cu")):
        # Fuzzers are built for replaying their corpus wherever libFuzzer is not.
        wanted = {"_bench": path.stem, "_fuzz": path.stem + "_replay"}
        for suffix, target in wanted.items():
            if path.stem.endswith(suffix) and target not in targets:
                problems.append(f"{path}: the build has no target {target}")
        if path.stem.endswith("_fuzz") and not any((root / "fuzz/corpus" / path.stem).glob("*")):
            problems.append(f"{path}: fuzz/corpus/{path.stem} is empty")
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--ctest", default="ctest")
    parser.add_argument("--ninja", default="ninja")
    arguments = parser.parse_args()
    listing = json.loads(cxx_source.output_of(
        [arguments.ctest, "--test-dir", arguments.build, "--show-only=json-v1"]))
    registered = [test["name"] for test in listing["tests"]]
    targets = {line.split(":")[0] for line in cxx_source.output_of(
        [arguments.ninja, "-C", arguments.build, "-t", "targets", "all"]).splitlines()}
    problems = missing_tests(written_tests(cxx_source.ROOT), registered)
    problems += missing_programs(cxx_source.ROOT, targets)
    return cxx_source.report("check_registered", problems, f"{len(registered)} tests, none left out")


if __name__ == "__main__":
    sys.exit(main())
