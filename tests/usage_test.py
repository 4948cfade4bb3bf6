#!/usr/bin/env python3
"""What the built program is told: flags, exit codes, and how a mistake is named.

usage_test.py AWQ [unittest arguments]
"""

import json
import os
import unittest

from cli_case import LLAMA, MODEL, TEXT, CliTest, awq, strict_json


class Usage(CliTest):
    def test_help_and_version(self):
        self.assertIn(b"quantize", self.succeed("--help").stdout)
        self.assertRegex(self.succeed("--version").stdout, rb"^awq \d+\.\d+\.\d+, (without CUDA|CUDA for( sm_\d+a?)+)\n$")
        for command in ("quantize", "eval", "run", "inspect", "verify", "tokenize", "pull"):
            self.assertIn(b"MODEL", self.succeed(command, "--help").stdout)

    def test_wrong_usage_is_2(self):
        for arguments in ([], ["--no-such-flag"], ["no-such-command"],
                          ["quantize", MODEL, "-o", self.out, "--no-such-flag"],
                          ["quantize", MODEL], ["eval", MODEL], ["run", MODEL],
                          ["quantize", MODEL, "-o", self.out, "--group-size", "0"],
                          ["quantize", MODEL, "-o", self.out, "--group-size", "-2"],
                          ["quantize", MODEL, "-o", self.out, "--group-size", "00"],
                          ["quantize", MODEL, "-o", self.out, "--calib", ""],
                          ["eval", MODEL, "--text", TEXT, "--reference", ""],
                          ["eval", MODEL, "--text", TEXT, "--max-tokens", "0"],
                          ["tokenize", MODEL, "--file", ""],
                          ["quantize", MODEL, "-o", self.out, "--method", "magic"],
                          ["quantize", MODEL, "-o", self.out, "--samples", "0"],
                          ["quantize", MODEL, "-o", self.out, "--samples", "-1"],
                          ["eval", MODEL, "--text", TEXT, "--ctx", "1"],
                          ["run", MODEL, "-p", "x", "-n", "many"],
                          ["tokenize", MODEL],
                          ["tokenize", MODEL, "--text", "x", "--file", TEXT]):
            with self.subTest(arguments=arguments):
                done = self.fails(2, [], *arguments)
                self.assertNotEqual(done.stderr, b"")
                self.assertEqual(done.stdout, b"")
        self.assertFalse(self.out.exists())

    def test_flags_that_contradict_each_other_are_2_whatever_the_model(self):
        missing = self.work / "no-such-model"
        for says, arguments in (
                (["gptq", "--sym"], ["quantize", missing, "-o", self.out, "--format", "gptq"]),
                (["3-bit"], ["quantize", missing, "-o", self.out, "--bits", "3"]),
                (["group"], ["quantize", missing, "-o", self.out, "--format", "awq-gemv",
                             "--group-size", "16"]),
                ([".gguf"], ["quantize", missing, "-o", self.out, "--format", "gguf"]),
                ([".gguf"], ["convert", missing, "-o", f"{self.out}.gguf"]),
                (["--polish"], ["quantize", missing, "-o", self.out, "--polish", "--method", "rtn"]),
                (["--csv"], ["compare", missing, "--csv", "-", "--json", "-"])):
            with self.subTest(arguments=arguments):
                done = self.fails(2, says, *arguments)
                self.assertEqual(done.stdout, b"")

    def test_the_first_unknown_flag_is_named(self):
        for arguments in (["eval", MODEL, "--first", "1", "--second", "2", "--third"],
                          ["eval", "--first", "--text", TEXT, MODEL, "--second"],
                          ["quantize", MODEL, "-o", self.out, "--first", "--second"]):
            done = self.fails(2, ["--first", "--help"], *arguments)
            self.assertNotIn(b"--second", done.stderr)
        self.fails(2, ["knows no extra"], "inspect", MODEL, "extra")

    def test_missing_model_is_1_and_named(self):
        missing = self.work / "no-such-model"
        for arguments in (["quantize", missing, "-o", self.out], ["inspect", missing],
                          ["eval", missing, "--text", TEXT], ["run", missing, "-p", "x"],
                          ["tokenize", missing, "--text", "x"],
                          ["eval", MODEL, "--text", TEXT, "--reference", missing]):
            with self.subTest(arguments=arguments):
                self.fails(1, [missing], *arguments)
        self.assertFalse(self.out.exists())
        self.fails(1, ["no.gguf: there is no such file"], "inspect", self.work / "no.gguf")

    def test_missing_text_is_named(self):
        missing = self.work / "no-such-text"
        self.fails(1, [missing], "eval", MODEL, "--text", missing)
        self.fails(1, [missing], "tokenize", MODEL, "--file", missing)
        done = self.fail_to_quantize(1, [missing], MODEL, "--calib", missing)
        self.assertEqual(len(done.stderr.splitlines()), 1, "said before anything else")

    def test_bench_cuts_what_it_measures_by_itself_to_the_context(self):
        model = self.copy_of_model()
        config = json.loads((MODEL / "config.json").read_text())
        self.replace(model, "config.json",
                     json.dumps({**config, "max_position_embeddings": 100}).encode())
        bench = ["bench", model, "--repeat", "1", "--json", "-"]
        for flags, prompts, new in (([], [50, 100], 50), (["--gen", "80"], [20, 100], 80),
                                    (["--prompt", "90"], [90], 10)):
            done = self.succeed(*bench, *flags)
            rows = strict_json(done.stdout)["rows"]
            self.assertEqual([row["prompt_tokens"] for row in rows], [*prompts, prompts[0]])
            self.assertEqual(rows[-1]["new_tokens"], new)
            self.assertIn(b"context of 100 tokens has no room", done.stderr)
        for flags in (["--prompt", "101"], ["--gen", "100"], ["--prompt", "90", "--gen", "11"]):
            self.fails(1, ["context has 100", "--prompt, --gen"], *bench, *flags)
        done = self.succeed(*bench, "--prompt", "90", "--gen", "10")
        self.assertNotIn(b"no room", done.stderr)

    def test_more_threads_than_cpus_are_said(self):
        cpus = len(os.sched_getaffinity(0))
        run = ["run", MODEL, "-p", "Once", "-n", "2", "-q"]
        bench = ["bench", MODEL, "--prompt", "2", "--gen", "1", "--repeat", "1"]
        for command in (run, bench, ["eval", MODEL, "--text", TEXT, "--max-tokens", "512"],
                        ["inspect", MODEL]):
            done = self.succeed(*command, "--threads", cpus + 1)
            self.assertIn(f"{cpus + 1} threads on {cpus} CPU", done.stderr.decode())
            done = self.succeed(*command, "--threads", cpus)
            self.assertNotIn("threads on", done.stderr.decode())
        self.fails(2, ["1 to 1024"], *bench, "--threads", "1025")

    def test_quiet_commands_print_no_summary(self):
        made = self.succeed("quantize", MODEL, "-o", self.out, "--method", "rtn", "-q")
        self.assertEqual((made.stdout, made.stderr), (b"", b""))
        there = self.work / "gptq"
        args = ["convert", self.out, "-o", there, "--format", "awq-gemv", "--quiet"]
        done = self.succeed(*args, "--json", "-")
        self.assertEqual(strict_json(done.stdout)["to"], "awq-gemv")
        self.assertEqual(done.stderr, b"")

    def test_instruction_sets(self):
        """One list of names; any that this CPU has can be chosen, and bench says which one ran."""
        run = ["run", MODEL, "-p", "Once", "-n", "4", "--precision", "f32", "-q"]
        unknown = dict(os.environ, AWQ_FORCE_ISA="z80")
        listed = self.fails(1, ["AWQ_FORCE_ISA=z80", "expected baseline, "], "inspect", LLAMA,
                            env=unknown).stderr.decode()
        names = listed.split("expected ")[1].strip().split(", ")
        self.fails(2, ["--isa", *names], *run, "--isa", "z80")
        self.fails(2, ["--isa"], *run, "--isa", "")
        text = self.succeed(*run, "--isa", "baseline", env=unknown).stdout  # the flag goes first
        lacking = set()
        for name in names:
            variable = dict(os.environ, AWQ_FORCE_ISA=name)
            done = awq(*run, "--isa", name)
            if done.returncode == 0:
                self.assertEqual(done.stdout, text, name)
                bench = ["bench", MODEL, "--prompt", "2", "--gen", "1", "--repeat", "1", "--json", "-"]
                for how in ({"env": variable}, {}):
                    flag = [] if how else ["--isa", name]
                    report = strict_json(self.succeed(*bench, *flag, **how).stdout)
                    self.assertEqual(report["instruction_set"], name)
                continue
            lacking.add(name)
            self.fails(1, [f"lacks the instruction set {name}; it has", "baseline"], *run, "--isa",
                       name)
            self.fails(1, [f"AWQ_FORCE_ISA={name}", "lacks"], "inspect", LLAMA, env=variable)
        self.assertTrue(lacking >= {"neon", "dotprod"} or lacking >= {"avx2", "avx512"}, lacking)
        for command in ("chat", "eval", "compare", "quantize"):
            self.fails(2, ["--isa", "z80"], command, MODEL, "--isa", "z80")


if __name__ == "__main__":
    unittest.main()
