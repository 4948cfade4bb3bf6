#!/usr/bin/env python3
"""--device: on an emulated GPU the commands say what they say on the CPU.

device_test.py AWQ_EMULATED AWQ [unittest arguments]
"""

import os
import subprocess
import sys
import unittest

PLAIN = sys.argv.pop(2)  # the program as it is shipped, on a machine that may have no GPU

from cli_case import AWQ, CALIBRATED, MODEL, TEXT, TIMEOUT_SECONDS, CliTest, strict_json

# The emulator takes a tenth of a second a token.
PROMPT = ["-p", "Once upon a time", "-n", "6"]


class Device(CliTest):
    def quantized(self):
        self.succeed("quantize", MODEL, "-o", self.out, "--group-size", "32", *CALIBRATED)
        return self.out

    def text(self, *arguments):
        return strict_json(self.succeed("run", *arguments, "--json", "-").stdout)["text"]

    def test_texts_are_the_cpus(self):
        for model in (self.quantized(), MODEL):
            exact = self.text(model, *PROMPT, "--precision", "f32", "--head", "16",
                              "--activations", "exact")
            for arithmetic in (["--precision", "f16", "--head", "16"], ["--kv", "int8"]):
                with self.subTest(model=model, arithmetic=arithmetic):
                    self.assertEqual(
                        self.text(model, *PROMPT, "--device", "cuda:0", *arithmetic), exact)

    def test_reports_of_texts_name_the_device(self):
        prompts = self.work / "prompts.txt"
        prompts.write_text("Once\nTwo\n")
        for texts in (PROMPT, ["--prompts", prompts, "-n", "1"]):
            for device, name in (("cpu", "cpu"), ("cuda", "emulated")):
                done = self.succeed("run", MODEL, *texts, "--device", device, "--json", "-")
                self.assertEqual(strict_json(done.stdout)["device"], name)

    def test_auto_takes_a_gpu(self):
        done = self.succeed("bench", self.quantized(), "--prompt", "4", "--gen", "1", "--batch",
                            "1", "--repeat", "1", "--device", "auto", "--json", "-")
        report = strict_json(done.stdout)
        self.assertEqual(report["device"], "emulated")
        self.assertEqual(report["arithmetic"], "bf16")
        self.assertEqual(report["instruction_set"], "")
        self.assertTrue(all(row["share_of_reading"] > 0 for row in report["rows"]))

    def test_auto_is_the_cpu_for_what_only_that_does(self):
        model = self.quantized()
        for arguments in (["--precision", "f32"], ["--activations", "int8"]):
            done = self.succeed("bench", model, "--prompt", "4", "--gen", "1", "--batch",
                                "1", "--repeat", "1", "--device", "auto", *arguments, "--json", "-")
            self.assertEqual(strict_json(done.stdout)["device"], "cpu")

    def test_figures_are_the_cpus(self):
        model = self.quantized()
        text = self.work / "text.txt"
        text.write_text(TEXT.read_text()[:300])
        common = ["eval", model, "--text", text, "--ctx", "16", "--max-tokens", "48",
                  "--reference", MODEL, "--json", "-"]
        cpu = strict_json(self.succeed(*common, "--precision", "f32", "--head", "16").stdout)
        gpu = strict_json(self.succeed(*common, "--precision", "f16", "--head", "16",
                                       "--device", "cuda").stdout)
        self.assertEqual(gpu["tokens"], cpu["tokens"])
        self.assertEqual((cpu["device"], gpu["device"]), ("cpu", "emulated"))
        for key in ("nll_nats_per_token", "kl_mean_nats"):
            # 11 bits instead of 24 move a logit by some thousandths.
            self.assertAlmostEqual(gpu[key], cpu[key], delta=0.01)
        self.assertNotEqual(gpu["nll_nats_per_token"], cpu["nll_nats_per_token"])

    def test_chats_are_the_cpus(self):
        model = self.copy_of_model()
        (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}")

        def answers(*arguments):
            done = subprocess.run([AWQ, "chat", model, "-n", "3", "--temperature", "0", *arguments],
                                  input=b"Once upon a time\nShe saw\n", capture_output=True,
                                  timeout=TIMEOUT_SECONDS, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        self.assertEqual(answers("--device", "cuda", "--precision", "f16"),
                         answers("--precision", "f32"))

    def test_quantizes_and_compares(self):
        few = ["--group-size", "32", "--samples", "8", "--seq-len", "16"]
        report = strict_json(self.succeed("quantize", MODEL, "-o", self.out, *few, "--method",
                                          "gptq", "--device", "cuda", "--json", "-").stdout)
        self.assertEqual(report["device"], "emulated")
        self.assertGreater(report["peak_gpu_bytes"], 1 << 20)
        text = self.work / "text.txt"
        text.write_text(TEXT.read_text()[:200])
        rows = {}
        for device in ("cpu", "cuda"):
            done = self.succeed("compare", MODEL, "--methods", "gptq,rtn", "--bits", "4", *few,
                                "--text", text, "--ctx", "16", "--device", device, "--json", "-")
            report = strict_json(done.stdout)
            self.assertEqual(report["device"], "cpu" if device == "cpu" else "emulated")
            self.assertEqual(report["peak_gpu_bytes"] > 0, device == "cuda")
            rows[device] = {row["method"]: row for row in report["rows"]}
        for method, row in rows["cuda"].items():
            # 8 bits of a bf16 number move a logit by some hundredths.
            self.assertAlmostEqual(row["perplexity"], rows["cpu"][method]["perplexity"],
                                   delta=0.05 * row["perplexity"])

    def test_rounding_to_nearest_needs_no_gpu(self):
        for device in ("cuda", "auto"):
            done = self.succeed("quantize", MODEL, "-o", self.work / device, "--group-size", "32",
                                "--method", "rtn", "--device", device)
            self.assertIn(b"nothing that a GPU could do", done.stderr)
        self.fails(1, ["precision f32: a GPU computes in bf16"], "quantize", MODEL, "-o",
                   self.work / "other", "--device", "cuda", "--precision", "f32")

    def test_auto_says_where_it_quantizes(self):
        few = ["--group-size", "32", "--samples", "4", "--seq-len", "16", "--method", "gptq"]
        there = "on GPU 0: emulated"
        for mib, said, device in (("1024", there, "emulated"),
                                  ("128", "on the CPU: GPU memory: about", "cpu")):
            with self.subTest(mib=mib):
                done = subprocess.run(
                    [AWQ, "quantize", MODEL, "-o", self.work / mib, *few, "--device", "auto",
                     "--json", "-"], capture_output=True, timeout=TIMEOUT_SECONDS, check=False,
                    env={**os.environ, "AWQ_EMULATED_GPU_MIB": mib})
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(said, done.stderr.decode())
                self.assertEqual(strict_json(done.stdout)["device"], device)

    def test_what_is_not_there_is_refused(self):
        model = self.quantized()
        for arguments, reason in (
                (["--device", "cuda:7"], "there is no GPU 7: this machine has 1"),
                (["--device", "cuda", "--precision", "f32"], "a GPU computes in bf16 or f16"),
                (["--device", "cuda", "--activations", "int8"], "are for the CPU"),
                (["--precision", "f16"], "is for a GPU")):
            with self.subTest(arguments=arguments):
                self.fails(1, [reason], "run", model, *PROMPT, *arguments)
        for name in ("cuda:x", "cuda:-1", "gpu", "cuda:"):
            self.fails(2, ["expected cpu, cuda, cuda:N or auto"], "run", "no/model", *PROMPT,
                       "--device", name)
        # Before the model writes its text.
        self.fails(1, ["GPU memory: about", "fewer or shorter"], "quantize", MODEL, "-o",
                   self.work / "other", "--calib", "self", "--samples", "100000", "--seq-len",
                   "512", "--device", "cuda")

    def test_without_a_gpu_the_cpu_works(self):
        def plain(*arguments):
            return subprocess.run([PLAIN, "run", MODEL, *PROMPT, *arguments], capture_output=True,
                                  timeout=TIMEOUT_SECONDS, check=False)

        there = plain("--device", "cuda")
        if there.returncode == 0:
            self.skipTest("this machine has a GPU")
        self.assertEqual(there.returncode, 1)
        self.assertRegex(there.stderr.decode(), r"(driver|GPU|CUDA).*leave --device out")
        self.assertEqual(plain("--device", "auto").stdout, plain().stdout)


if __name__ == "__main__":
    unittest.main()
