#!/usr/bin/env python3
"""The peak memory of `awq quantize` against the bound that it announces.

memory_test.py AWQ [unittest arguments]
"""

import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "little-stories"
TEXT = TOKENIZER / "heldout.txt"
AWQ = ""
THREADS = 2
MIB = 1 << 20

# Wide enough for what grows with the model to outweigh the program.
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS = 1280, 3584, 20, 4


def write_model(directory, layers):
    """A Llama with random bf16 weights, of 2^-7 to 2^-5 and either sign."""
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, directory)
    config = json.loads((TOKENIZER / "config.json").read_text())
    config.update(hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=layers,
                  num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                  head_dim=HIDDEN // HEADS, tie_word_embeddings=True, torch_dtype="bfloat16")
    (directory / "config.json").write_text(json.dumps(config))
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], HIDDEN),
              "model.norm.weight": (HIDDEN,)}
    for layer in range(layers):
        for name, shape in {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (kv, HIDDEN),
                            "self_attn.v_proj": (kv, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
                            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
                            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
                            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
                            "input_layernorm": (HIDDEN,),
                            "post_attention_layernorm": (HIDDEN,)}.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    generator = random.Random(0)
    signs = bytes(0xBC if byte & 1 else 0x3C for byte in range(256))
    with open(directory / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            if len(shape) == 1:
                file.write(b"\x80\x3f" * shape[0])
                continue
            count = shape[0] * shape[1]
            values = bytearray(2 * count)
            values[0::2] = generator.randbytes(count)
            values[1::2] = generator.randbytes(count).translate(signs)
            file.write(values)


class MemoryTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="awq_memory_"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def check(self, method, precision, layers, *flags, calib=TEXT, samples=32, bound_bytes=None):
        """Returns what was announced, in bytes: of the blocks, and of writing a text before them."""
        model = self.work / f"model-{layers}"
        if not model.exists():
            write_model(model, layers)
        out, errors = self.work / f"out-{len(list(self.work.iterdir()))}", self.work / "stderr"
        with open(errors, "w") as stderr:
            child = subprocess.Popen(
                [AWQ, "quantize", model, "-o", out, "--method", method, "--precision", precision,
                 "--calib", calib, "--samples", str(samples), "--seq-len", "64",
                 "--threads", str(THREADS), *flags],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        said = errors.read_text()
        self.assertEqual(child.returncode, 0, said)
        announced = [(int(mib) + 1) * MIB  # said in whole MiB
                     for mib in re.findall(r"(?:memory: at most|;) (\d+) MiB", said)]
        self.assertEqual(not announced, method == "rtn", said)
        bound_bytes = bound_bytes or max(announced)
        report = json.loads((out / "quantization_report.json").read_text())
        self.assertGreater(report["peak_allocated_bytes"], 16 * MIB)
        self.assertLessEqual(report["peak_allocated_bytes"], bound_bytes, said)
        # The report looks every 20 ms, the kernel always; but it counts mapped pages as well.
        mapped_bytes = (model / "model.safetensors").stat().st_size
        self.assertLessEqual(usage.ru_maxrss * 1024, bound_bytes + mapped_bytes, said)
        return announced

    def test_no_method_takes_more_than_it_says(self):
        for method in ("awq", "gptq", "awq-plus", "awq-plus-polish"):
            for precision in ("bf16", "f32"):
                # A second block takes no more.
                layers = 2 if method == "awq" and precision == "f32" else 1
                with self.subTest(method=method, precision=precision):
                    self.check(method, precision, layers)

    def test_small_groups_count(self):
        for method in ("awq-plus", "awq-plus-polish"):
            with self.subTest(method=method):
                self.check(method, "bf16", 1, "--group-size", "8")

    def test_more_text_takes_no_more(self):
        few = self.check("awq-plus", "bf16", 1)
        many = self.check("awq-plus", "bf16", 1, samples=96)
        self.assertEqual(few, many)

    def test_the_models_own_text_counts(self):
        # Enough blocks, converted and kept, for writing to take more than quantizing.
        quantizing, writing = self.check("gptq", "f32", 6, calib="self")
        self.assertGreater(writing, quantizing)

    def test_rounding_holds_one_linear(self):
        # Its floats and codes, beside the program (pipeline::ProgramBytes).
        program_bytes = (96 + 24 * THREADS) * MIB
        for precision in ("bf16", "f32"):
            self.check("rtn", precision, 2, bound_bytes=program_bytes + HIDDEN * INTERMEDIATE * 5)


if __name__ == "__main__":
    AWQ = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
