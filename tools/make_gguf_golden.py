#!/usr/bin/env python3
"""Writes tests/golden/gguf with PyPI's gguf: blocks of every type that is read and the floats that
they stand for, floats and the blocks that they become, and a small file with every kind of value.

Needs gguf (0.19) and numpy.
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "gguf"

# Where fp16 numbers stand in a block; random bytes there would often be infinite or NaN.
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
          Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}


def decoded(random):
    for type, places in HALVES.items():
        elements, size = gguf.GGML_QUANT_SIZES[type]
        count = 4 if elements == 32 else 2
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        for place in places:
            halves = random.normal(0, 0.02, (count, 1)).astype("<f2")
            halves[0] = 6e-6  # a subnormal
            blocks[:, place:place + 2] = halves.view(np.uint8)
        values = gguf.dequantize(blocks.reshape(1, -1), type)
        (GOLDEN / f"{type.name}.blocks").write_bytes(blocks.tobytes())
        (GOLDEN / f"{type.name}.f32").write_bytes(values.astype("<f4").tobytes())


def encoded(random):
    values = random.normal(0, 0.03, (8, 32)).astype(np.float32)
    values[1] = 0
    values[2, 5] = -3
    values[3] = np.abs(values[3])
    values[4] *= 1e-6
    values[5] = values[5, 0]
    values = values.reshape(1, -1)
    (GOLDEN / "values.f32").write_bytes(values.tobytes())
    for type in [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0]:
        (GOLDEN / f"values.{type.name}").write_bytes(gguf.quantize(values, type).tobytes())


def small_file(random):
    writer = gguf.GGUFWriter(GOLDEN / "small.gguf", "llama")
    writer.add_custom_alignment(64)
    for name, value in [("uint8", 200), ("int8", -2), ("uint16", 40000), ("int16", -3),
                        ("uint32", 3000000000), ("int32", -5), ("float32", 0.1),
                        ("uint64", 2**40), ("int64", -2**40), ("float64", 0.1), ("bool", True),
                        ("string", "Ünïcode"), ("array", ["a", "", "ccc"])]:
        getattr(writer, f"add_{name}")(f"test.{name}", value)
    writer.add_array("test.floats", [0.5, -1.0])
    writer.add_array("test.nested", [[1, 2], [3]])
    writer.add_tensor("a", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("b", np.arange(4, dtype=np.float16))
    writer.add_tensor("c", gguf.quantize(random.normal(0, 1, (3, 64)).astype(np.float32), Type.Q4_0),
                      raw_dtype=Type.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20250601)
    decoded(random)
    encoded(random)
    small_file(random)
