#!/usr/bin/env python3
"""The contract of the built program: reports, JSON, and what is left after a failure.

cli_test.py AWQ [unittest arguments]
"""

import json
import os
import pathlib
import struct
import subprocess
import time
import unittest

from cli_case import (AWQ, CALIBRATED, GOLDEN, LLAMA, MODEL, TEXT, TIMEOUT_SECONDS, CliTest, awq,
                      files_of, strict_json)


class Reports(CliTest):
    EVAL = {"perplexity", "nll_nats_per_token", "tokens"}
    COMPARED = {"kl_mean_nats", "kl_median_nats", "kl_p99_nats", "top1_agreement"}

    def test_eval(self):
        text = ["--text", TEXT, "--ctx", "64", "--max-tokens", "256", "--json"]
        alone = strict_json(self.succeed("eval", MODEL, *text, "-").stdout)
        self.assertLessEqual(self.EVAL, alone.keys())
        self.assertFalse(self.COMPARED & alone.keys())
        self.assertGreater(alone["perplexity"], 1)
        path = self.work / "report.json"
        self.succeed("eval", MODEL, *text, path, "--reference", MODEL)
        compared = strict_json(path.read_bytes())
        self.assertLessEqual(self.EVAL | self.COMPARED, compared.keys())
        # A model compared with itself.
        self.assertEqual(compared["perplexity"], alone["perplexity"])
        self.assertAlmostEqual(compared["kl_mean_nats"], 0, delta=1e-6)
        self.assertAlmostEqual(compared["top1_agreement"], 1, delta=1e-12)
        self.fails(1, [self.work / "no/r"], "eval", MODEL, *text, self.work / "no/r")

    def test_eval_of_a_short_text(self):
        text = self.work / "short.txt"
        for content in (b"", b"Once"):
            text.write_bytes(content)
            self.fails(1, [text, "a smaller --ctx"], "eval", MODEL, "--text", text)

    def test_texts_of_json_lines_are_read_alike(self):
        """As for calibration: the fields, with an empty line between them."""
        pieces = TEXT.read_text().split("\n\n")[:40]
        plain, lines = self.work / "plain.txt", self.work / "lines.jsonl"
        plain.write_text("\n\n".join(pieces))
        lines.write_text("".join(json.dumps({"id": 1, "text": piece}) + "\n" for piece in pieces))
        seen = [strict_json(self.succeed("eval", MODEL, "--text", path, "--ctx", "64",
                                         "--max-tokens", "256", "--json", "-").stdout)
                for path in (plain, lines)]
        self.assertEqual(seen[0]["nll_nats_per_token"], seen[1]["nll_nats_per_token"])
        lines.write_text('{"text": "Once"}\n{"words": "upon"}\n')
        self.fails(1, [f"{lines}:2: expected"], "eval", MODEL, "--text", lines)

    def test_eval_of_no_text(self):
        text = self.work / "binary.txt"
        text.write_bytes(b"\0\xff\xfe" * 10000)
        self.fails(1, [text, "no UTF-8 text"], "eval", MODEL, "--text", text)

    def test_shorter_windows_are_noted_where_others_were_asked_for(self):
        said = b"windows of 512 tokens: the model takes no more"
        measure = ["eval", MODEL, "--text", TEXT, "--max-tokens", "512"]
        self.assertNotIn(said, self.succeed(*measure).stderr)
        self.assertIn(said, self.succeed(*measure, "--ctx", "1024").stderr)

    def test_compare_of_an_f32_model_in_one_window(self):
        whole = (MODEL / "model.safetensors").read_bytes()
        start = 8 + struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:start])
        for tensor in header.values():
            if tensor.get("dtype") == "BF16":
                tensor["dtype"] = "F32"
                tensor["data_offsets"] = [2 * at for at in tensor["data_offsets"]]
        data = bytearray(2 * (len(whole) - start))
        data[2::4], data[3::4] = whole[start::2], whole[start + 1::2]
        text = json.dumps(header).encode()
        model = self.copy_of_model()
        self.replace(model, "model.safetensors", struct.pack("<Q", len(text)) + text + data)
        report = self.work / "report.json"
        # A list takes one word: what follows it is the model.
        done = self.succeed("compare", "--methods", "rtn,awq", "--bits", "4", model, *CALIBRATED,
                            "--text", TEXT, "--ctx", "64", "--max-tokens", "64", "--json", report)
        original, *others = strict_json(report.read_bytes())["rows"]
        self.assertEqual((original["bits"], original["bits_per_weight"]), (32, 32))
        self.assertEqual([row["method"] for row in others], ["rtn", "awq"])
        self.assertEqual(done.stdout.count(b" [-] |"), 2)

    def test_run_begins_as_it_is_told(self):
        def tokens(*arguments):
            report = strict_json(self.succeed("run", MODEL, "-p", "Once", "-n", "1", "--json", "-",
                                              *arguments).stdout)
            return report["prompt_tokens"]

        bare = len(strict_json(self.succeed("tokenize", MODEL, "--text", "Once",
                                            "--no-special").stdout))
        special = len(strict_json(self.succeed("tokenize", MODEL, "--text", "Once").stdout))
        self.assertEqual(tokens("--bos", "never"), bare)
        self.assertEqual(tokens("--bos", "window"), bare + 1)
        self.assertEqual(tokens("--bos", "auto"), special)
        self.assertEqual(tokens(), special)
        self.assertIn(b"; 1 new token,", self.succeed("run", MODEL, "-p", "Once", "-n", "1").stderr)

    def test_what_is_drawn_and_where_it_ends(self):
        def run(*arguments):
            return strict_json(self.succeed("run", MODEL, "-p", "Once upon a time", "-n", "24",
                                            "--json", "-", *arguments).stdout)

        greedy = run()["text"]
        warm = ["--temperature", "2"]
        self.assertNotEqual(run(*warm)["text"], greedy)
        # All that leaves one token is greedy.
        for cut in (["--top-k", "1"], ["--top-p", "0"], ["--min-p", "1"]):
            self.assertEqual(run(*warm, *cut)["text"], greedy, cut)
        self.assertNotEqual(run("--repeat-penalty", "5")["text"], greedy)
        idle = self.succeed("run", MODEL, "-p", "Once", "-n", "1", "--top-k", "5")
        self.assertIn(b"do nothing", idle.stderr)
        stopped = run("--stop", "never there", "--stop", greedy[10:14])
        self.assertEqual((stopped["text"], stopped["finish_reason"]), (greedy[:10], "stop"))
        for wrong in (["--top-p", "1.1"], ["--min-p", "-1"], ["--repeat-penalty", "0"],
                      ["--stop", ""], ["--top-k", "x"]):
            self.fails(2, [wrong[0]], "run", MODEL, "-p", "x", *wrong)

    def test_many_prompts_are_what_each_is_alone(self):
        prompts = ["Once upon a time there was a girl", "Once upon a time there was a dog", "The cat",
                   "Once upon a time there was a girl"]
        lines = self.work / "prompts.txt"
        lines.write_text("\n".join(prompts) + "\n")
        objects = self.work / "prompts.jsonl"
        objects.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        args = ["-n", "16", "--precision", "f32", "--json", "-"]
        alone = [strict_json(self.succeed("run", MODEL, "-p", prompt, *args).stdout)
                 for prompt in prompts]
        for file in (lines, objects):
            for batch in (1, 3):
                done = self.succeed("run", MODEL, "--prompts", file, "--batch", batch, *args)
                report = strict_json(done.stdout)
                self.assertEqual([text["text"] for text in report["texts"]],
                                 [text["text"] for text in alone])
                self.assertEqual(report["new_tokens"], sum(text["new_tokens"] for text in alone))
                self.assertGreater(report["texts"][3]["reused_tokens"], 5)
                self.assertEqual(report["reused_tokens"],
                                 sum(text["reused_tokens"] for text in report["texts"]))
                self.assertIn(b"of them reused", done.stderr)
        shown = self.succeed("run", MODEL, "--prompts", lines, "-n", "16", "--precision", "f32").stdout
        self.assertEqual(shown.decode(), "".join(f"{i + 1}: {text['text']}\n"
                                                 for i, text in enumerate(alone)))

    def test_texts_of_many_lines_are_told_apart(self):
        file = self.work / "prompts.txt"
        file.write_text("Once\nThe cat\nA dog\n\r\n\n")
        # Drawn from all 2048 tokens, of which one is a line's end.
        args = ["run", MODEL, "--prompts", file, "-n", "480", "--temperature", "9"]
        for seed in range(30):
            done = self.succeed(*args, "--seed", seed, "--json", "-")
            texts = [text["text"] for text in strict_json(done.stdout)["texts"]]
            self.assertEqual(len(texts), 3)
            if any("\n" in text for text in texts):
                break
        else:
            self.fail("no text has a second line")
        shown = self.succeed(*args, "--seed", seed).stdout.decode()
        self.assertEqual(shown, "".join(f"{i + 1}: " + text.replace("\n", "\n  ") + "\n"
                                        for i, text in enumerate(texts)))

    def test_prompts_that_cannot_be_run_are_named(self):
        def file(name, text):
            (self.work / name).write_text(text)
            return self.work / name

        for says, prompts in (
                (["a.txt:2", "empty", "line N"], file("a.txt", "Once\n\nTwice\n")),
                (["b.txt", "no prompts"], file("b.txt", "")),
                (["c.jsonl:1", "\"prompt\""], file("c.jsonl", "{\"text\": \"x\"}\n")),
                (["d.jsonl:2"], file("d.jsonl", "{\"prompt\": \"x\"}\n{\n")),
                (["prompt 2", "context of 512"], file("e.txt", "Once\n" + "cat " * 600 + "\n"))):
            with self.subTest(prompts=prompts):
                self.fails(1, says, "run", MODEL, "--prompts", prompts)
        report = self.work / "shifted.json"
        self.succeed("run", MODEL, "--prompts", self.work / "e.txt", "--context-shift", "-n", "3",
                     "--json", report)
        short, long = strict_json(report.read_bytes())["texts"]
        self.assertEqual(short["shifted_tokens"], 0)
        # All but the first four tokens and half of the rest; nothing of the answer.
        self.assertEqual(long["prompt_tokens"], 4 + (512 - 4) // 2)
        self.assertEqual(long["finish_reason"], "length")
        self.fails(2, ["--prompts"], "run", MODEL, "-p", "x", "--batch", "2")
        self.fails(2, ["--prompts"], "run", MODEL, "-p", "x", "--prompts", self.work / "a.txt")

    def test_bench(self):
        args = ["bench", MODEL, "--prompt", "8,3", "--gen", "2", "--batch", "1,3", "--repeat", "2",
                "--threads", "1,2"]
        done = self.succeed(*args, "--json", self.work / "bench.json")
        report = strict_json((self.work / "bench.json").read_bytes())
        self.assertEqual([(r["threads"], r["kind"], r["prompt_tokens"], r["batch"])
                          for r in report["rows"]],
                         [(t, *row) for t in (1, 2)
                          for row in (("prefill", 8, 1), ("prefill", 3, 1),
                                      ("decode", 8, 1), ("decode", 8, 3))])
        for row in report["rows"]:
            rate = row["tokens_per_second"]
            self.assertTrue(0 < rate["least"] <= rate["median"] <= rate["most"], row)
            self.assertGreater(row["share_of_reading"], 0)
            self.assertGreater(row["machine_read_bytes_per_second"], 0)
        # What measuring the machine takes, 256 MiB, is not in it.
        self.assertLess(report["peak_resident_bytes"], 256 << 20)
        self.assertEqual(done.stdout.count(b"| decode |"), 4)
        self.assertGreater(report["weight_bytes"], 0)
        config = json.loads((pathlib.Path(MODEL) / "config.json").read_text())
        heads = 2 * config["num_hidden_layers"] * config["num_key_value_heads"]
        for kv, head_bytes in (("exact", 4 * config["head_dim"]), ("f16", 2 * config["head_dim"]),
                               ("int8", config["head_dim"] + 4)):
            one = ["--prompt", "8", "--gen", "2", "--repeat", "1", "--precision", "f32"]
            report = strict_json(self.succeed("bench", MODEL, *one, "--kv", kv, "--json",
                                              "-").stdout)
            self.assertEqual(report["kv_bytes_per_token"], heads * head_bytes)
        self.fails(1, ["context"], "bench", MODEL, "--prompt", "100000000")
        self.fails(2, ["--kv"], "bench", MODEL, "--kv", "f32")
        self.fails(2, ["--batch"], "bench", MODEL, "--batch", "0")

    def test_run_and_inspect_and_tokenize(self):
        run = ["run", MODEL, "-p", "Once upon a time", "-n", "8", "--json", "-"]
        first = strict_json(self.succeed(*run).stdout)
        self.assertEqual(first["new_tokens"], 8)
        self.assertEqual(strict_json(self.succeed(*run).stdout)["text"], first["text"])
        for kv in ("exact", "f16", "int8"):  # 8 likely tokens, which rounding does not change
            self.assertEqual(strict_json(self.succeed(*run, "--kv", kv).stdout)["text"],
                             first["text"])
        self.fails(2, ["--kv"], *run, "--kv", "f8")
        seen = strict_json(self.succeed("inspect", LLAMA, "--json", "-").stdout)
        self.assertEqual((seen["model_type"], seen["layers"]), ("llama", 2))
        ids = strict_json(self.succeed("tokenize", MODEL, "--text", "Once upon a time").stdout)
        self.assertTrue(ids and all(isinstance(id, int) for id in ids))
        self.assertEqual(strict_json(self.succeed("tokenize", MODEL, "--text", "",
                                                  "--no-special").stdout), [])

    def test_quantize(self):
        done = self.succeed("quantize", MODEL, "-o", self.out, *CALIBRATED, "--json", "-")
        report = strict_json(done.stdout)
        self.assertEqual((report["bits"], report["method"]), (4, "awq-plus"))
        self.assertEqual(strict_json((self.out / "quantization_report.json").read_bytes()), report)
        quantization = json.loads((self.out / "config.json").read_text())["quantization_config"]
        self.assertEqual((quantization["quant_method"], quantization["bits"]), ("awq", 4))
        self.assertFalse(pathlib.Path(f"{self.out}.partial").exists())
        # It is a model like any other, except that it is not quantized again.
        figures = strict_json(self.succeed("eval", self.out, "--text", TEXT, "--ctx", "64",
                                           "--max-tokens", "256", "--reference", MODEL, "--json",
                                           "-").stdout)
        self.assertLess(figures["kl_mean_nats"], 0.5)
        self.succeed("run", self.out, "-p", "Once", "-n", "2")
        # Activations of 8 bits: little is lost, and something.
        report = strict_json(self.succeed(
            "eval", self.out, "--reference", self.out, "--activations", "int8", "--text", TEXT,
            "--ctx", "64", "--max-tokens", "512", "--json", "-").stdout)
        self.assertGreater(report["kl_mean_nats"], 0)
        self.assertLess(report["kl_mean_nats"], 0.01)
        self.succeed("run", self.out, "-p", "Once", "-n", "2", "--activations", "int8")
        self.fails(2, ["--head"], "run", self.out, "-p", "x", "--head", "5")
        # What is taken if nothing is said: int8 and a head of 8 bits where a model is quantized,
        # unless fp32 is asked for or bytes are multiplied slowly.
        def bench(model, *how):
            report = strict_json(self.succeed("bench", model, "--prompt", "2", "--gen", "1",
                                              "--repeat", "1", *how, "--json", "-").stdout)
            return report["arithmetic"], report["weight_bytes"]
        said = ["--activations", "int8", "--head", "8"]
        self.assertEqual(bench(self.out, "--isa", "baseline"), bench(
            self.out, "--activations", "exact", "--head", "16", "--isa", "baseline"))
        if "avx2" in open("/proc/cpuinfo", encoding="ascii").read():
            self.assertEqual(bench(self.out), bench(self.out, *said))
            self.assertEqual(bench(self.out)[0], "int8")
        self.assertEqual(bench(self.out, "--precision", "f32")[0], "f32")
        self.assertNotEqual(bench(MODEL)[0], "int8")
        self.succeed("run", self.out, "-p", "Once", "-n", "2", "--head", "8")
        # Keys and values of 16 and of 8 bits: the latter loses more, both little.
        lost = [strict_json(self.succeed(
            "eval", self.out, "--reference", self.out, "--precision", "f32", "--kv", kv, "--text",
            TEXT, "--ctx", "64", "--max-tokens", "512", "--json", "-").stdout)["kl_mean_nats"]
                for kv in ("exact", "f16", "int8")]
        self.assertEqual(lost, sorted(lost))
        self.assertLess(lost[0], lost[1])
        self.assertLess(lost[2], 0.01)
        self.fails(2, ["--kv"], "eval", self.out, "--text", TEXT, "--kv", "int4")
        self.fails(1, ["already quantized"], "quantize", self.out, "-o", self.work / "again")
        # Neither the number of threads nor a second run changes a byte.
        again = self.work / "same"
        self.succeed("quantize", MODEL, "-o", again, *CALIBRATED, "--threads", "1")
        self.assertEqual(files_of(again), files_of(self.out))


    def test_formats_and_convert(self):
        gemm = self.work / "gemm"
        self.succeed("quantize", MODEL, "-o", gemm, "--method", "rtn", "--group-size", "32", "--format",
                     "awq")
        nll = strict_json(self.succeed("eval", gemm, "--text", TEXT, "--ctx", "64", "--max-tokens",
                                       "128", "--json", "-").stdout)["nll_nats_per_token"]
        for name in ("compressed-tensors", "gptq-v2", "awq-gemv", "awq-gemv-fast", "llm-awq"):
            there, back = self.work / name, self.work / f"{name}-back"
            report = strict_json(self.succeed("convert", gemm, "-o", there, "--format", name,
                                              "--shard-bytes", "100000", "--json", "-").stdout)
            self.assertEqual((report["from"], report["to"], report["changes"]),
                             ("awq-gemm", name, []))
            self.assertIn(name, self.succeed("inspect", there).stdout.decode())
            same = strict_json(self.succeed("eval", there, "--text", TEXT, "--ctx", "64",
                                            "--max-tokens", "128", "--json", "-").stdout)
            self.assertEqual(same["nll_nats_per_token"], nll)
            done = self.succeed("convert", there, "-o", back)
            self.assertIn(b"lossless", done.stdout)
            self.assertTrue(files_of(back) == files_of(gemm), name)
        three = self.work / "three"
        self.fails(2, ["4-bit codes, not 3-bit", "can hold it: compressed-tensors, gptq-v2, gguf\n"],
                  "quantize", MODEL, "-o", three, "--bits", "3", "--method", "rtn")
        self.fails(2, ["can hold it: compressed-tensors, gptq, gptq-v2, gguf\n"],
                  "quantize", MODEL, "-o", three, "--bits", "3", "--method", "rtn", "--sym")
        self.succeed("quantize", MODEL, "-o", three, "--bits", "3", "--method", "rtn", "--format",
                     "compressed-tensors")
        self.fails(1, ["4-bit codes, not 3-bit"], "convert", three, "-o", self.out)
        self.fails(1, ["not quantized"], "convert", MODEL, "-o", self.out)
        self.fails(2, ["without --sym", "gptq-v2, gguf"], "quantize", MODEL, "-o", self.out, "--format",
                  "gptq")
        self.assertIn(b"gptq needs --sym", self.succeed("quantize", "--help").stdout)
        self.assertEqual(list(self.work.glob("out*")), [])

    def test_gguf(self):
        """Quantized straight into a file, or converted: the same codes; and back again."""
        directory, file, same = self.work / "d", self.work / "f.gguf", self.work / "same.gguf"
        self.succeed("quantize", MODEL, "-o", directory, "--method", "rtn", "--group-size", "64")
        self.succeed("quantize", MODEL, "-o", file, "--method", "rtn", "--group-size", "64",
                     "--format", "gguf")
        self.assertEqual([path.name for path in self.work.glob("f*")], ["f.gguf"])
        self.fails(1, ["--lossy", "\n  model.layers.0.self_attn.q_proj: scales or minima of"],
                  "convert", directory, "-o", same, "--format", "gguf")
        report = strict_json(self.succeed("convert", directory, "-o", same, "--format", "gguf",
                                          "--lossy", "--json", "-").stdout)
        self.assertEqual((report["from"], report["to"]), ("awq-gemm", "gguf"))
        self.assertEqual(report["linears"], len(report["changes"]))
        # Minima of 1 to 15 steps, rounded to fp16: by 2^-11 of what they are at the most.
        minima = report["moved"][0]
        self.assertEqual([kind["what"] for kind in report["moved"]], ["minima"])
        self.assertGreater(minima["count"], 0)
        self.assertTrue(0 < minima["largest_relative"] <= 2**-11)
        self.assertGreater(minima["largest_absolute"], 0)
        evaluate = ("--text", TEXT, "--ctx", "64", "--max-tokens", "128", "--json", "-")
        nll = [strict_json(self.succeed("eval", path, *evaluate).stdout)["nll_nats_per_token"]
               for path in (file, same)]
        self.assertEqual(nll[0], nll[1])
        self.assertIn(b"GGUF, Q4_1", self.succeed("inspect", file).stdout)
        back = self.work / "back"
        self.succeed("convert", file, "-o", back, "--lossy")
        self.assertEqual((back / "model.safetensors").read_bytes(),
                         (directory / "model.safetensors").read_bytes())
        report = strict_json((back / "quantization_report.json").read_bytes())
        self.assertEqual((report["format"], report["method"]), ("gguf", "rtn"))
        # A model in 16 bits keeps every value.
        plain = self.work / "plain.gguf"
        self.assertIn(b"lossless", self.succeed("convert", MODEL, "-o", plain, "--format",
                                                "gguf").stdout)
        self.fails(2, ["add --format gguf"], "convert", directory, "-o", self.work / "y.gguf")
        self.fails(1, ["leave --activations int8 out"], "run", file, "-p", "x", "--activations",
                  "int8")
        self.fails(1, ["plain.gguf: all linears are floats", "awq quantize"],
                  "convert", plain, "-o", self.out)

    def test_gguf_refused_before_work(self):
        self.fails(2, ["name ends in .gguf", "out.gguf"], "quantize", MODEL, "-o", self.out,
                  "--format", "gguf")
        file = self.work / "x.gguf"
        self.fails(2, ["8-bit codes with zero points", "can hold it: compressed-tensors, gptq-v2\n"],
                  "quantize", MODEL, "-o", file, "--format",
                  "gguf", "--bits", "8")
        # The directory of a run that was interrupted at the very end.
        self.succeed("quantize", MODEL, "-o", self.work / "x.gguf.codes", "--method", "rtn")
        self.fails(1, ["x.gguf.codes", "awq convert"], "quantize", MODEL, "-o", file, "--format",
                  "gguf", "--method", "rtn")
        file.write_bytes(b"")
        self.fails(1, ["exists already"], "quantize", MODEL, "-o", file, "--format", "gguf")
        self.fails(1, ["exists already"], "convert", MODEL, "-o", file, "--format", "gguf")


class BadInput(CliTest):
    def test_compare_is_quantize_and_eval(self):
        tasks = self.work / "task.jsonl"
        tasks.write_text("".join(json.dumps({"query": f"Question: Is {n} a number?\nAnswer:",
                                             "choices": ["yes, it is", "no"], "gold": n % 2}) + "\n"
                                 for n in range(6)))
        csv = self.work / "rows.csv"
        done = self.succeed("compare", MODEL, *CALIBRATED, "--methods", "rtn, awq,awq-plus ,salient-act",
                            "--bits", "4, 3", "--text", TEXT, "--ctx", "64", "--max-tokens", "512",
                            "--tasks", tasks, "--json", "-", "--csv", csv,
                            env={**os.environ, "TMPDIR": str(self.work)})
        self.assertIn(f"in {self.work} until the end", done.stderr.decode())
        self.assertEqual(sorted(self.work.iterdir()), [csv, tasks])
        report = strict_json(done.stdout)
        rows = {(row["method"], row["bits"]): row for row in report["rows"]}
        self.assertEqual(len(rows), 9)
        self.assertEqual(rows["original", 16]["kl_mean_nats"], 0)
        self.assertEqual(len(csv.read_text().splitlines()), 10)
        for method in ("rtn", "awq", "awq-plus"):
            self.succeed("quantize", MODEL, "-o", self.work / method, *CALIBRATED, "--method", method)
            figures = strict_json(self.succeed(
                "eval", self.work / method, "--reference", MODEL, "--text", TEXT, "--ctx", "64",
                "--bos", "window", "--max-tokens", "512", "--json", "-").stdout)
            # The same windows through the same codes; products may be cut otherwise.
            for key in ("kl_mean_nats", "perplexity", "top1_agreement"):
                self.assertAlmostEqual(rows[method, 4][key], figures[key],
                                       delta=1e-3 * figures[key], msg=f"{method} {key}")
            size = (self.work / method / "model.safetensors").stat().st_size
            original = (MODEL / "model.safetensors").stat().st_size
            self.assertAlmostEqual(rows[method, 4]["bits_per_weight"], 16 * size / original, delta=0.05)
        for bits in (4, 3):
            self.assertLess(rows["awq-plus", bits]["kl_mean_nats"], rows["rtn", bits]["kl_mean_nats"])
        self.assertGreater(rows["rtn", 3]["kl_mean_nats"], rows["rtn", 4]["kl_mean_nats"])
        self.assertGreater(rows["salient-act", 3]["bits_per_weight"], rows["rtn", 3]["bits_per_weight"])
        for row in report["rows"]:
            self.assertEqual(row["tasks"][0]["items"], 6)
            self.assertTrue(0 <= row["tasks"][0]["accuracy"] <= 1)

    def test_what_compare_refuses(self):
        self.fails(2, ["best", "awq-plus"], "compare", MODEL, "--methods", "best")
        self.fails(2, ["--csv"], "compare", MODEL, "--json", "-", "--csv", "-")
        self.fails(1, ["group size 100"], "compare", MODEL, "--methods", "rtn", "--text", TEXT,
                  "--group-size", "100")
        self.fails(2, ["--bits"], "compare", MODEL, "--bits", "9")
        self.fails(1, ["absent", "TMPDIR"], "compare", MODEL, "--methods", "rtn", "--text", TEXT,
                  env={**os.environ, "TMPDIR": str(self.work / "absent")})
        bad = self.work / "bad.jsonl"
        bad.write_text('{"what": 1}\n')
        self.fails(1, ["bad.jsonl", "what"], "compare", MODEL, "--methods", "rtn", "--text", TEXT,
                  "--tasks", bad)
        self.fails(2, ["--method"], "quantize", MODEL, "-o", self.out, "--method", "salient-act")
        self.fails(2, ["3 bits"], "quantize", MODEL, "-o", self.out, "--bits", "3")

    def test_inspect_shows_what_was_lost(self):
        self.succeed("quantize", MODEL, "-o", self.out, *CALIBRATED)
        seen = strict_json(self.succeed("inspect", self.out, "--json", "-").stdout)
        linears = [row for row in seen["linears"] if row["bits"] == 4]
        self.assertTrue(linears)
        for row in linears:
            self.assertIn(row["rounding"], ("feedback", "awq", "rtn"))
            self.assertLessEqual(row["relative_error"], row["rtn_relative_error"] * 1.0001)
        # A report that is damaged is said to be, and hides nothing.
        (self.out / "quantization_report.json").write_text('{"blocks": [{"sites": 3}]}')
        done = self.succeed("inspect", self.out)
        self.assertIn("quantization_report.json", done.stderr.decode())

    def test_damaged_weights(self):
        whole = (MODEL / "model.safetensors").read_bytes()
        header = struct.unpack("<Q", whole[:8])[0]
        for name, content in (("empty", b""), ("header cut", whole[:1000]),
                              ("data cut", whole[:-1]), ("too long", whole + b"x"),
                              ("huge header", struct.pack("<Q", 1 << 62) + whole[8:]),
                              ("no JSON", whole[:8] + b"\xff" * header + whole[8 + header:])):
            with self.subTest(name):
                model = self.copy_of_model(name.replace(" ", "_"))
                self.replace(model, "model.safetensors", content)
                for method in ("awq", "rtn"):
                    self.fail_to_quantize(1, ["model.safetensors"], model, "--method", method)
                self.fails(1, ["model.safetensors"], "run", model, "-p", "x")

    def test_git_lfs_pointer(self):
        model = self.copy_of_model()
        self.replace(model, "model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"
                     b"oid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 11532288\n")
        self.fail_to_quantize(1, ["model.safetensors", "git lfs pull"], model)

    def test_other_tensors_are_left_out_and_their_names_do_not_reach_the_terminal(self):
        whole = (MODEL / "model.safetensors").read_bytes()
        header_bytes = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + header_bytes])
        end = len(whole) - 8 - header_bytes
        header["steps\x1b[2J"] = {"dtype": "F64", "shape": [2], "data_offsets": [end, end + 16]}
        text = json.dumps(header).encode()
        model = self.copy_of_model()
        self.replace(model, "model.safetensors",
                     struct.pack("<Q", len(text)) + text + whole[8 + header_bytes:] + bytes(16))
        done = self.succeed("quantize", model, "-o", self.out, "--method", "rtn")
        self.assertIn(b"are not used: steps\\x1b[2J", done.stderr)
        self.assertNotIn(b"\x1b", done.stderr)

    def test_damaged_small_files(self):
        for name in ("config.json", "tokenizer.json"):
            for content in (b"", b"{", b"[]", b"[" * 100000, b"\xff\xfe"):
                with self.subTest(name=name, content=content[:4]):
                    model = self.copy_of_model(f"m{abs(hash((name, content)))}")
                    self.replace(model, name, content)
                    self.fail_to_quantize(1, [name], model)

    def test_bad_calibration(self):
        text = self.work / "calibration.txt"
        for content in (b"", b"\n \n", b"\0\xff\xfe\x80" * 64):
            with self.subTest(content[:4]):
                text.write_bytes(content)
                self.fail_to_quantize(1, [text], MODEL, "--calib", text)
        text.write_text("Once upon a time")
        self.fail_to_quantize(1, [text, "a smaller --seq-len"], MODEL, "--calib", text)
        self.fail_to_quantize(1, ["Builtin", "one of builtin, self and builtin+self"], MODEL,
                              "--calib", "Builtin")
        for content in ('{"text": "Once"}\n{"text": "upon\n', '{"text": "Once"}\n["text"]\n',
                        '{"text": "Once"}\n{"text": 3}\n'):
            with self.subTest(content):
                lines = self.work / "lines.json"
                lines.write_text(content)
                self.fail_to_quantize(1, [f"{lines}:2: expected", 'string "text"'], MODEL, "--calib",
                                      lines)

    def test_what_is_not_used_or_not_there_is_said(self):
        done = self.succeed("quantize", MODEL, "-o", self.out, "--method", "rtn", "--calib", TEXT)
        self.assertIn(b"--calib is not used", done.stderr)
        # No tokenizer; and of q and o alone the words are whole.
        done = self.succeed("quantize", GOLDEN / "llama_bias", "-o", self.work / "words", "--bits",
                            "3", "--method", "rtn", "--format", "gptq-v2", "--group-size", "16")
        self.assertIn(b"no tokenizer.json", done.stderr)
        # 32 x 32 in q and o; k and v have 8 outputs, gate, up and down 48 on one side.
        left = round(100 * (2 * 8 * 32 + 3 * 48 * 32) / (2 * 32 * 32 + 2 * 8 * 32 + 3 * 48 * 32))
        self.assertIn(f"{left} % of the linears' weights stay in 16 bits; --format "
                      "compressed-tensors would", done.stderr.decode())
        # 96 divides the 768 inputs of down only.
        uneven = ("groups of 96 divide the inputs of 1 of a layer's 7 linears, the others stay in 16 "
                  "bits; 16, 32, 64, 128, 256, -1 (whole rows) would divide all")
        done = self.succeed("quantize", MODEL, "-o", self.work / "uneven", "--method", "rtn",
                            "--format", "compressed-tensors", "--group-size", "96")
        self.assertIn(uneven, done.stderr.decode())
        done = self.succeed("compare", MODEL, "--methods", "rtn", "--bits", "4", "--group-size", "96",
                            "--text", TEXT, "--ctx", "64", "--max-tokens", "64")
        self.assertIn(uneven, done.stdout.decode())
        self.assertIn("63 predictions in 1 window of 64 tokens", done.stdout.decode())
        done = self.succeed("quantize", MODEL, "-o", self.work / "all", "--method", "rtn")
        for word in (b"not used", b"tokenizer.json", b"16 bits", b"divide"):
            self.assertNotIn(word, done.stderr)

    def test_damaged_weights_are_named_before_the_model_writes_text(self):
        whole = bytearray((MODEL / "model.safetensors").read_bytes())
        header_bytes = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + header_bytes])
        name = "model.layers.3.mlp.down_proj.weight"
        begin = 8 + header_bytes + header[name]["data_offsets"][0]
        whole[begin + 4:begin + 6] = b"\xc0\x7f"  # NaN in bf16
        model = self.copy_of_model()
        self.replace(model, "model.safetensors", bytes(whole))
        self.fail_to_quantize(1, [model, name, "element 2"], model, "--calib", "self")

    def test_output_is_checked_before_the_model_writes_text(self):
        missing = self.work / "no" / "such" / "out"
        begin = time.monotonic()
        self.fails(1, [missing.parent], "quantize", MODEL, "-o", missing, "--samples", "10000")
        foreign = pathlib.Path(f"{self.out}.partial")
        foreign.mkdir()
        (foreign / "thesis.txt").write_text("years of work")
        self.fails(1, [foreign], "quantize", MODEL, "-o", self.out, "--samples", "10000")
        self.assertLess(time.monotonic() - begin, TIMEOUT_SECONDS)
        self.assertEqual([p.name for p in foreign.iterdir()], ["thesis.txt"])

    def test_a_closed_or_full_standard_error_ends_nothing(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([AWQ, "quantize", MODEL, "-o", self.out, "--calib", TEXT,
                                   *CALIBRATED], stdout=subprocess.PIPE, stderr=full,
                                  stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False)
            self.assertEqual(done.returncode, 0)
            done = subprocess.run([AWQ, "inspect", self.work / "missing"], stderr=full,
                                  stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False)
            self.assertEqual(done.returncode, 1)
        closed = f'exec "{AWQ}" quantize "{MODEL}" -o "{self.work}/second" --calib "{TEXT}" ' \
                 f'{" ".join(CALIBRATED)} 2>&-'
        done = subprocess.run(["sh", "-c", closed], stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(files_of(self.out), files_of(self.work / "second"))

    def test_a_failed_command_leaves_the_json_path_alone(self):
        report = self.work / "report.json"
        self.fails(1, ["missing"], "inspect", self.work / "missing", "--json", report)
        self.assertFalse(report.exists())

    def test_unsupported_settings_say_why(self):
        self.fail_to_quantize((1, 2), ["3"], MODEL, "--bits", "3", "--method", "rtn")
        self.fail_to_quantize((1, 2), ["bits"], MODEL, "--bits", "9")
        self.fail_to_quantize((1, 2), ["100"], MODEL, "--group-size", "100", "--method", "rtn")

    def test_existing_output_is_left_alone(self):
        self.out.mkdir()
        (self.out / "thesis.txt").write_text("years of work")
        self.fails(1, [self.out], "quantize", MODEL, "-o", self.out, "--method", "rtn")
        self.assertEqual([p.name for p in self.out.iterdir()], ["thesis.txt"])
        self.fails(1, [MODEL], "quantize", MODEL, "-o", MODEL, "--method", "rtn")

    def test_unwritable_output(self):
        file = self.work / "file"
        file.write_text("")
        for out in (file / "out", self.work / "no" / "such" / "out"):
            self.fails(1, [out], "quantize", MODEL, "-o", out, "--method", "rtn")
        if os.geteuid() != 0:  # root may write anywhere
            closed = self.work / "closed"
            closed.mkdir(mode=0o555)
            self.fails(1, [closed], "quantize", MODEL, "-o", closed / "out", "--method", "rtn")


if __name__ == "__main__":
    unittest.main()
