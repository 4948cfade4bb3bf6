#!/usr/bin/env python3
"""tools/gpu_check as far as no GPU is needed: what it packs, and what it says of programs.

gpu_check_test.py BUILD_DIR
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv.pop(1))
TIMEOUT_SECONDS = 300


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False)


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="awq_gpu_check_"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def whole_models(self, *arguments):
        return run(ROOT / "tools/gpu/whole_models", *arguments)

    def test_packed_sources_are_all_that_they_include(self):
        done = run(ROOT / "tools/gpu_check", "--pack", self.work / "there")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("left out: awq, shape_bench and walk_bench", done.stdout)
        source = self.work / "there" / "src"
        files = [path for path in source.rglob("*") if path.suffix in (".cc", ".cu", ".cuh", ".h")]
        self.assertGreater(len(files), 50)
        for path in files:
            if path.stem.endswith("_test") or "emulated" in path.relative_to(source).parts:
                continue  # these are no part of it
            for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
                self.assertTrue((source / name).exists(), f"{path}: {name}")
        for name in ("tools/gpu_check", "tools/gpu/CMakeLists.txt", "tools/gpu/whole_models",
                     "cmake/AwqCuda.cmake"):
            self.assertTrue((self.work / "there" / name).exists(), name)

    def test_a_build_without_programs_is_refused(self):
        done = run(ROOT / "tools/gpu_check", "--pack", self.work / "there", "--program", self.work)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"no {self.work}/awq", done.stderr)
        self.assertFalse((self.work / "there/program.tar.gz").exists())

    def test_programs_start(self):
        done = self.whole_models(BUILD, "start")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("| tiny |"), 1)
        self.assertEqual(done.stdout.count("| decode |"), 2)

    def test_programs_that_do_not_start_are_skipped(self):
        for name in ("awq", "shape_bench", "walk_bench"):
            (self.work / name).write_text("#!/bin/sh\necho \"libc.so.6: version 'GLIBC_9' not found\"\nexit 1\n")
            (self.work / name).chmod(0o755)
        done = self.whole_models(self.work, "start")
        self.assertEqual(done.returncode, 77)
        self.assertIn("does not start here: libc.so.6: version 'GLIBC_9' not found", done.stdout)

    def test_what_fails_is_not_measured(self):
        for name in ("awq", "shape_bench", "walk_bench"):
            (self.work / name).write_text("#!/bin/sh\necho no such device >&2\nexit 1\n")
            (self.work / name).chmod(0o755)
        done = self.whole_models(self.work, "measure", "60")
        self.assertEqual(done.returncode, 1)
        said = "not measured: exit status 1: no such device"
        # The CPU's text, two models quantized, two shapes' speed, two walks.
        self.assertEqual(done.stdout.count(said), 7, done.stdout)

    def test_what_has_no_time_is_not_measured(self):
        done = self.whole_models(BUILD, "measure", "0")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count("not measured: no time was left"), 7, done.stdout)


if __name__ == "__main__":
    unittest.main()
