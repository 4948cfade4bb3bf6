#!/usr/bin/env python3
"""tools/gpu_check as far as no GPU is needed: what it packs, and what it says of programs.

gpu_check_test.py BUILD_DIR
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv.pop(1))
TIMEOUT_SECONDS = 300


BUILDERS = re.compile(r"cmake|ninja|nvcc|nvidia-smi|compute-sanitizer|.*(g\+\+|clang|c\+\+)")
# An awq for which there is a GPU, and what it says where there is none.
ANSWERING = """#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" != -o ] || { mkdir "$2" && echo {} > "$2/config.json" && cp "$2/config.json" "$2/quantization_report.json"; }
  shift
done
echo "answered by a stand-in"
"""
WITHOUT_GPU = """#!/bin/sh
case "$*" in
  *--device*cuda*) echo "awq: no NVIDIA driver; leave --device out for the CPU" >&2; exit 1 ;;
esac
echo "answered by a stand-in"
"""


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False,
                          **options)


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="awq_gpu_check_"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def whole_models(self, *arguments):
        return run(ROOT / "tools/gpu/whole_models", *arguments)

    def packed(self, awq=None):
        """A pack, its programs a shell script."""
        there = self.work / "there"
        done = run(ROOT / "tools/gpu_check", "--pack", there)
        self.assertEqual(done.returncode, 0, done.stderr)
        if awq:
            with tarfile.open(there / "program.tar.gz", "w:gz") as program:
                for name in ("awq", "shape_bench", "walk_bench"):
                    (self.work / name).write_text(awq)
                    (self.work / name).chmod(0o755)
                    program.add(self.work / name, name)
        return there

    def without_tools(self, *command, **options):
        """As on a server: no CMake, no compiler, no toolkit in PATH."""
        tools = self.work / "tools"
        if not tools.exists():
            tools.mkdir()
            for folder in ("/usr/bin", "/bin"):
                for tool in pathlib.Path(folder).iterdir():
                    if not BUILDERS.match(tool.name) and not os.path.lexists(tools / tool.name):
                        (tools / tool.name).symlink_to(tool)
        return run(*command, env={**os.environ, "PATH": str(tools), "CXX": ""}, **options)

    def test_without_tools_the_packed_programs_are_measured(self):
        there = self.packed(ANSWERING)
        done = self.without_tools(there / "tools/gpu_check", "--out", "tables.md", cwd=self.work)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        tables = (self.work / "tables.md").read_text()  # where it was called
        self.assertRegex(tables, "Kernels: not measured: not here: CMake, Ninja,")
        self.assertIn("- f16: the same, 4 words", tables)
        self.assertEqual(tables.count("not measured"), 1, tables)

    def test_without_tools_and_gpu_nothing_is_measured(self):
        there = self.packed(WITHOUT_GPU)
        done = self.without_tools(there / "tools/gpu_check")
        self.assertEqual(done.returncode, 77, done.stdout + done.stderr)
        self.assertIn("NO GPU", done.stdout)

    def test_without_tools_and_programs_it_says_so(self):
        done = self.without_tools(self.packed() / "tools/gpu_check")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stderr, "nothing can be measured here. Kernels: not here: CMake, Ninja,"
                                      ".* Whole models: no awq, shape_bench and walk_bench here")

    def test_an_old_gpu_is_refused(self):
        smi = self.work / "nvidia-smi"
        smi.write_text("#!/bin/sh\necho 7.5\n")
        smi.chmod(0o755)
        done = run(ROOT / "tools/gpu_check", "--build", self.work / "build",
                   env={**os.environ, "PATH": f"{self.work}:{os.environ['PATH']}"})
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("compute capability 7.5: 8.0 or newer is needed", done.stderr)
        self.assertFalse((self.work / "build").exists())

    def test_architectures_are_checked_before_nvcc_takes_them(self):
        script = self.work / "architectures.cmake"
        script.write_text(f"include({ROOT}/cmake/AwqCudaArchitectures.cmake)\n"
                          'awq_cuda_architectures("${GIVEN}" taken)\nmessage("taken: ${taken}.")\n')
        for given, taken in {"80": "80", "90": "90a", "90a;80;90": "90a;80", "120": "120"}.items():
            with self.subTest(given=given):
                done = run("cmake", f"-DGIVEN={given}", "-P", script)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f"taken: {taken}.", done.stderr)
        for given in ("sm_90", "8.0", "xyz", "75", "80,90", "80;70", ""):
            with self.subTest(given=given):
                done = run("cmake", f"-DGIVEN={given}", "-P", script)
                self.assertNotEqual(done.returncode, 0, done.stderr)
                self.assertIn('"80;90a"', done.stderr)

    def test_wrong_arguments_are_told_from_failures(self):
        for arguments in (["--pack"], ["--limit", "soon"], ["--bogus", "x"],
                          ["--pack", self.work / "there", "--limit", "9"]):
            with self.subTest(arguments=arguments):
                done = run(ROOT / "tools/gpu_check", *arguments)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertIn("usage: tools/gpu_check", done.stderr)
        done = run(ROOT / "tools/gpu_check", "--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("usage: tools/gpu_check", done.stdout)

    def test_paths_are_the_callers(self):
        done = run(ROOT / "tools/gpu_check", "--pack", "there", cwd=self.work)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("tools/gpu_check", (self.work / "there/README.md").read_text())
        done = run(ROOT / "tools/gpu_check", "--program", "nowhere", cwd=self.work)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{self.work}/nowhere/awq", done.stderr)

    def test_an_earlier_pack_is_replaced(self):
        there = self.packed(ANSWERING)
        (there / "src/gone.cc").touch()
        (there / "build").mkdir()
        (there / "build/gpu_check.md").touch()
        self.packed()
        self.assertFalse((there / "program.tar.gz").exists())
        self.assertFalse((there / "src/gone.cc").exists())
        self.assertTrue((there / "build/gpu_check.md").exists())

    def test_other_folders_stay_as_they_are(self):
        (self.work / "other").mkdir()
        (self.work / "other/README.md").write_text("mine")
        done = run(ROOT / "tools/gpu_check", "--pack", self.work / "other")
        self.assertEqual(done.returncode, 1)
        self.assertIn("something else in it", done.stderr)
        self.assertEqual([path.name for path in (self.work / "other").iterdir()], ["README.md"])
        self.assertEqual((self.work / "other/README.md").read_text(), "mine")

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
        self.assertIn("-DAWQ_BUILD_BENCHMARKS=ON", done.stderr)
        self.assertFalse((self.work / "there").exists())

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
