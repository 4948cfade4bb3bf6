#!/usr/bin/env python3
"""Runs that are killed or interrupted: what they say, what they leave, and how they go on.

interruption_test.py AWQ [unittest arguments]
"""

import json
import pathlib
import signal
import subprocess
import time
import unittest

from cli_case import AWQ, CALIBRATED, MODEL, TEXT, TIMEOUT_SECONDS, CliTest, files_of


class Interruption(CliTest):
    def start(self, samples):
        return subprocess.Popen([AWQ, "quantize", MODEL, "-o", self.out, "--calib", TEXT,
                                 "--samples", str(samples), "--seq-len", "256"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL)

    def wait_for_blocks(self, process, blocks):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.finished_blocks() < blocks and process.poll() is None:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.002)
        self.assertIsNone(process.poll(), "ended before it could be stopped")

    def finished_blocks(self):
        try:
            journal = pathlib.Path(f"{self.out}.partial") / "journal.json"
            return len(json.loads(journal.read_text())["done"])
        except (OSError, ValueError):
            return 0

    def test_a_killed_run_leaves_nothing_and_is_continued(self):
        process = self.start(samples=16)
        try:
            self.wait_for_blocks(process, 2)
            # While it works, nobody else may.
            process.send_signal(signal.SIGSTOP)
            second = self.fails(1, [self.out], "quantize", MODEL, "-o", self.out, "--calib", TEXT,
                               "--samples", "16", "--seq-len", "256")
            self.assertNotIn(b"Traceback", second.stderr)
        finally:
            process.kill()
            process.communicate()
        self.assertFalse(self.out.exists())
        partial = pathlib.Path(f"{self.out}.partial")
        self.assertFalse((partial / "config.json").exists())

        same = ["--calib", TEXT, "--samples", "16", "--seq-len", "256"]
        done = self.succeed("quantize", MODEL, "-o", self.out, *same)
        self.assertIn(b"continued", done.stdout)
        self.assertFalse(partial.exists())
        fresh = self.work / "fresh"
        self.succeed("quantize", MODEL, "-o", fresh, *same)
        self.assertEqual(files_of(self.out), files_of(fresh))

    def test_what_does_not_go_on_says_that_it_was_interrupted(self):
        long = ["--text", TEXT, "--max-tokens", "16384", "--ctx", "256"]
        for name, command in (("compare", ["--methods", "awq-plus", *long]),
                              ("eval", ["--reference", MODEL, *long]),
                              ("run", ["-p", "Once", "-n", "500"])):
            for sent in (signal.SIGINT, signal.SIGTERM):
                with self.subTest(command=name, signal=sent):
                    process = subprocess.Popen(
                        [AWQ, name, MODEL, *map(str, command), "--threads", "1"],
                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
                    try:
                        self.wait_until_caught(process, sent)
                        process.send_signal(sent)
                        error = process.communicate(timeout=TIMEOUT_SECONDS)[1]
                    finally:
                        process.kill()
                    self.assertEqual(process.returncode, -sent)
                    self.assertTrue(error.endswith(b"\nawq: interrupted\n"), error)

    def wait_until_caught(self, process, sent):
        """Until the signal has a handler."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        status = pathlib.Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            caught = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
            if int(caught.split()[1], 16) >> (sent - 1) & 1:
                return
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.002)
        self.fail("ended before it could be stopped")

    def test_an_interrupted_run_says_so_and_other_settings_begin_afresh(self):
        process = self.start(samples=16)
        try:
            self.wait_for_blocks(process, 1)
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=TIMEOUT_SECONDS)[1]
        finally:
            process.kill()
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertIn(b"interrupted; the same command goes on", error)
        done = self.succeed("quantize", MODEL, "-o", self.out, "--calib", TEXT, *CALIBRATED)
        self.assertIn(b"begun afresh", done.stderr)
        self.assertNotIn(b"continued", done.stdout)


if __name__ == "__main__":
    unittest.main()
