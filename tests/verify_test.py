#!/usr/bin/env python3
"""awq verify: what it says of models, that its advice is good, and models made for ranks.

verify_test.py AWQ [unittest arguments]
"""

import json
import shlex
import unittest

from cli_case import GOLDEN, LLAMA, MODEL, CliTest, awq, strict_json


class Verify(CliTest):
    def test_verify(self):
        def takes(model, *arguments, status=0):
            done = awq("verify", model, "--json", "-", *arguments)
            self.assertEqual(done.returncode, status, done.stderr.decode())
            report = strict_json(done.stdout)
            self.assertEqual(report["satisfied"], status == 0)
            return {row["name"]: row["ranks"] for row in report["readers"] if row["takes"]}

        all_ranks = {"vllm": [1, 2], "sglang": [1, 2], "lmdeploy": [1, 2], "transformers": [1]}
        for name, flags, expected in (
                ("awq-gemm", [], all_ranks),
                ("compressed-tensors", [], all_ranks),
                ("gptq", ["--sym"], all_ranks),
                ("gptq-v2", [], {"transformers": [1]}),
                ("awq-gemv", [], {"transformers": [1]})):
            there = self.work / name
            self.succeed("quantize", MODEL, "-o", there, "--method", "rtn", "--format", name, *flags)
            self.assertEqual(takes(there), expected, name)
        gemv = self.work / "awq-gemv"
        self.assertEqual(takes(gemv, "--for", "vllm, transformers", status=1), {"transformers": [1]})
        self.assertEqual(takes(gemv, "--for", "transformers"), {"transformers": [1]})
        # Of others than those that were named nothing is said.
        report = strict_json(awq("verify", gemv, "--for", "vllm,transformers", "--json", "-").stdout)
        self.assertEqual([row["name"] for row in report["readers"]], ["vllm", "transformers"])
        shown = awq("verify", gemv, "--for", "vllm").stdout.decode()
        self.assertIn("vllm", shown)
        for other in ("sglang", "lmdeploy", "transformers", "llama.cpp"):
            self.assertNotIn(other, shown)
        done = self.fails(1, [], "verify", gemv, "--for", "vllm")
        self.assertIn("vllm: the format: expects floats, awq-gemm, gptq, gptq-v2, "
                      "compressed-tensors, found awq-gemv; awq convert MODEL -o OUT --format "
                      "awq-gemm", done.stdout.decode())
        # The advice is good.
        mended = self.work / "mended"
        self.succeed("convert", gemv, "-o", mended, "--format", "awq-gemm")
        self.assertEqual(takes(mended), all_ranks)
        self.assertEqual(takes(MODEL)["vllm"], [1, 2, 4])
        # As AutoAWQ had it at first.
        config = json.loads((mended / "config.json").read_text())
        (mended / "quant_config.json").write_text(json.dumps(config.pop("quantization_config")))
        (mended / "config.json").write_text(json.dumps(config))
        self.assertEqual(takes(mended, status=1), {})
        again = self.work / "again"
        self.succeed("convert", mended, "-o", again, "--format", "awq-gemm")
        self.assertEqual(takes(again), all_ranks)
        # What llama.cpp takes, the others that know GGUF take, too.
        gguf = self.work / "model.gguf"
        self.succeed("convert", MODEL, "-o", gguf, "--format", "gguf")
        self.assertEqual(takes(gguf), {"sglang": [1, 2, 4], "transformers": [1],
                                       "llama.cpp": [1, 2, 4, 8, 16]})
        self.fails(2, ["--for"], "verify", MODEL, "--for", "no-such-program")
        self.fails(1, ["no-such-model"], "verify", self.work / "no-such-model")

    def test_padding_for_ranks(self):
        model = LLAMA.parent / "llama_bias"
        settings = ["--method", "rtn", "--group-size", "16", "--format", "compressed-tensors"]
        narrow, wide = self.work / "narrow", self.work / "wide"

        self.succeed("quantize", model, "-o", narrow, *settings)
        self.assertEqual(self.ranks(narrow, "vllm"), [1])
        self.assertIn("vllm, 2 ranks: model.layers.0.mlp.down_proj: expects inputs a rank: a multiple "
                      "of the group size 16, found 24; awq quantize ORIGINAL -o OUT --format compressed-tensors --group-size 16 "
                      "--tp-pad 2",
                      self.succeed("verify", narrow).stdout.decode())
        done = self.succeed("quantize", model, "-o", wide, *settings, "--tp-pad", "2")
        self.assertIn("intermediate_size 48 -> 128, filled up with zeros for 2 ranks",
                      done.stderr.decode())
        self.assertEqual(self.ranks(wide, "vllm"), [1, 2])
        self.assertEqual(json.loads((wide / "config.json").read_text())["intermediate_size"], 128)
        self.fails(1, ["4 attention heads", "no padding can mend that"], "quantize", model, "-o",
                  self.out, *settings, "--tp-pad", "3")
        self.fails(1, ["8 inputs", "--group-size 8 would"], "quantize", model, "-o", self.out,
                  *settings, "--tp-pad", "4")
        self.fails(1, ["already quantized"], "quantize", narrow, "-o", self.out, "--tp-pad", "2",
                  "--group-size", "16")
        self.fails(2, ["--tp-pad"], "quantize", model, "-o", self.out, "--tp-pad", "0")

    def test_ranks_that_a_program_cannot_use_are_said(self):
        quantize = ["quantize", GOLDEN / "llama_gqa_tied", "--method", "rtn", "--tp-pad", "2"]
        for name, settings, says in (
                ("rows", ["--group-size", "-1"],
                 "vllm will not take it on 2 ranks: model.layers.0.self_attn.o_proj: expects rows "
                 "that are one group on one rank, found 32"),
                ("small", ["--group-size", "16"],
                 "vllm will not take it on 2 ranks: model.layers.0.self_attn.q_proj: expects "
                 "group_size -1, 32, 64, 128, found 16")):
            done = self.succeed(*quantize, "-o", self.work / name, *settings)
            self.assertIn(f"--tp-pad 2: {says}", done.stderr.decode())
            self.assertEqual(self.ranks(self.work / name, "vllm"), [1] if name == "rows" else [])
        for name, settings in (("good", ["--group-size", "32"]),
                               ("ct", ["--group-size", "-1", "--format", "compressed-tensors"])):
            done = self.succeed(*quantize, "-o", self.work / name, *settings)
            self.assertNotIn(b"vllm", done.stderr)
            self.assertIn(2, self.ranks(self.work / name, "vllm"))
        done = self.succeed("quantize", MODEL, "-o", self.work / "x.gguf", "--format", "gguf",
                            "--method", "rtn", "--group-size", "64", "--tp-pad", "4")
        self.assertIn(b"vllm will not take it on 4 ranks: the format", done.stderr)
        self.assertNotIn(b"sglang", done.stderr)

    def ranks(self, model, program):
        report = strict_json(awq("verify", model, "--for", program, "--json", "-").stdout)
        return report["readers"][0]["ranks"]

    def test_advice_is_good(self):
        """Every command that is advised is followed, and what it promises is there then."""
        narrow = GOLDEN / "llama_gqa_tied"  # 64 wide, 96 in the MLP
        followed = set()
        for original, settings in (
                (MODEL, "--format awq-gemm --group-size 128"),
                (MODEL, "--format awq-gemm --group-size -1"),
                (MODEL, "--format awq-gemv --group-size 64"),
                (MODEL, "--format gptq --group-size 64 --sym"),
                (MODEL, "--format compressed-tensors --group-size 16 --sym"),
                (MODEL, "--format compressed-tensors --group-size 32 --bits 8"),
                (MODEL, "--format gguf --group-size 32"),
                (MODEL, "--format gguf --group-size 32 --sym"),
                (narrow, "--format awq-gemm --group-size 32"),
                (narrow, "--format gptq --group-size -1 --sym"),
                (narrow, "--format compressed-tensors --group-size 32")):
            with self.subTest(model=original.name, settings=settings):
                ending = ".gguf" if "gguf" in settings else ""
                model = self.work / f"model{len(list(self.work.iterdir()))}{ending}"
                self.succeed("quantize", original, "-o", model, "--method", "rtn",
                             *settings.split())
                for row in strict_json(awq("verify", model, "--json", "-").stdout)["readers"]:
                    for finding in row["findings"]:
                        if finding["mend"].startswith("awq "):
                            followed.add((row["name"], finding["mend"]))
                            self.follow(original, model, row["name"], finding)
        for program, advice in (
                ("vllm", "awq quantize ORIGINAL -o OUT --format awq-gemm --group-size 64"),
                ("vllm", "awq quantize ORIGINAL -o OUT --format awq-gemm --group-size 32 --tp-pad 2"),
                ("vllm", "awq quantize ORIGINAL -o OUT --format compressed-tensors --group-size 16 "
                         "--tp-pad 4"),
                ("vllm", "awq convert MODEL -o OUT --format compressed-tensors"),
                ("vllm", "awq convert MODEL -o OUT --format awq-gemm --lossy"),
                ("vllm", "awq convert MODEL -o OUT --format awq-gemm"),
                ("llama.cpp", "awq convert MODEL -o OUT.gguf --format gguf --lossy"),
                ("llama.cpp", "awq quantize ORIGINAL -o OUT.gguf --format gguf --group-size 32 "
                              "--sym"),
                ("llama.cpp", "awq quantize ORIGINAL -o OUT.gguf --format gguf --group-size 32 "
                              "--bits 8 --sym")):
            self.assertIn((program, advice), followed)

    def follow(self, original, model, program, finding):
        words = shlex.split(finding["mend"])[1:]
        if original != MODEL and "gguf" in words:
            return  # which needs a tokenizer
        mended = self.work / f"mended{len(list(self.work.iterdir()))}"
        names = {"ORIGINAL": original, "MODEL": model, "OUT": mended,
                 "OUT.gguf": mended.with_suffix(".gguf")}
        words = [names.get(word, word) for word in words]
        if words[0] == "quantize":
            words += ["--method", "rtn"]
        self.succeed(*words)
        there = self.ranks(names["OUT.gguf"] if "gguf" in words else mended, program)
        self.assertTrue(there, finding)
        self.assertLessEqual(set(finding["ranks"]), set(there), finding)


if __name__ == "__main__":
    unittest.main()
