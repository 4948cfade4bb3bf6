#!/usr/bin/env python3
"""The benchmarks of whole models: each makes a tiny one in memory, and its table.

bench_test.py SHAPE_BENCH SHAPE_BENCH_EMULATED WALK_BENCH WALK_BENCH_EMULATED
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SHAPE, SHAPE_EMULATED, WALK, WALK_EMULATED = sys.argv[1:5]
del sys.argv[1:5]
TIMEOUT_SECONDS = 300


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class BenchTest(unittest.TestCase):
    def rows(self, *command):
        """The table's rows, as many cells in each as in its head."""
        done = run(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        table = [cells(line) for line in done.stdout.splitlines() if line.startswith("|")]
        self.assertTrue(all(re.fullmatch("-+", cell) for cell in table[1]), table)
        self.assertEqual({len(row) for row in table}, {len(table[0])}, table)
        return [dict(zip(table[0], row)) for row in table[2:]]

    def test_shapes_run(self):
        for program, where in ((SHAPE, []), (SHAPE_EMULATED, ["--device", "0"])):
            with self.subTest(program=program):
                rows = self.rows(program, "--shape", "tiny", "--prompt", "4", "--gen", "2",
                                 "--batch", "1,2", "--repeat", "1", *where)
                self.assertEqual([(row[""], row["batch"]) for row in rows],
                                 [("prefill", "1"), ("decode", "1"), ("decode", "2")])
                for row in rows:
                    speed = row["tokens/s, median [least, most]"]
                    self.assertGreater(float(speed.split()[0]), 0, row)

    def walk(self, program, *arguments, tokens=(4, 16)):
        """The one row; nothing is left where it wrote."""
        with tempfile.TemporaryDirectory(prefix="awq_bench_") as folder:
            rows = self.rows(program, "--shape", "tiny", "--samples", tokens[0], "--seq-len",
                             tokens[1], "--output", folder, *arguments)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])
        self.assertEqual(len(rows), 1)
        return rows[0]

    def test_models_are_quantized(self):
        for method in ("awq-plus", "awq", "gptq", "rtn"):
            with self.subTest(method=method):
                row = self.walk(WALK, "--method", method, "--threads", "2")
                self.assertEqual(row["blocks"], "2")
                self.assertEqual(row["method"], f"{method}, 4 bits, groups of 128")
                self.assertEqual(row["tokens"], "-" if method == "rtn" else "4 x 16")
                self.assertRegex(row["on"], "^cpu, 2 threads, (bf16|f32)$")
                self.assertLessEqual(0, float(row["searching and rounding, %"]))
                self.assertLessEqual(float(row["searching and rounding, %"]), 100)
                self.assertEqual(row["peak GPU memory, MiB"], "-")

    def test_options_matter(self):
        row = self.walk(WALK, "--layers", "3", "--bits", "3", "--group-size", "0")
        self.assertEqual(row["blocks"], "3")
        self.assertEqual(row["method"], "awq-plus, 3 bits, whole rows")

    def test_models_are_quantized_on_a_gpu(self):
        # awq-plus, whose search the GPU does, too, takes the emulator over a minute.
        row = self.walk(WALK_EMULATED, "--device", "0", "--layers", "1", "--method", "gptq",
                        tokens=(2, 4))
        self.assertEqual(row["on"], "emulated")
        self.assertGreater(int(row["peak GPU memory, MiB"]), 0)

    def test_a_row_can_be_had_alone(self):
        done = run(WALK, "--shape", "tiny", "--method", "rtn", "--row")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("\n"), 1)

    def test_errors_are_said(self):
        with tempfile.TemporaryDirectory(prefix="awq_bench_") as folder:
            done = run(WALK, "--shape", "tiny", "--samples", "2", "--seq-len", "8", "--output",
                       folder, "--group-size", "48")
            self.assertEqual(done.returncode, 1)
            self.assertIn("48", done.stderr)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])
        done = run(WALK, "--shape", "tiny", "--output", "/nonexistent")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent: cannot make a folder", done.stderr)


if __name__ == "__main__":
    unittest.main()
