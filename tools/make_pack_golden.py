#!/usr/bin/env python3
"""Writes tests/golden/pack: packed tensors and what they mean, decoded one element at a time.

The decoder follows docs/formats/*.md and shares nothing with the C++ code. Needs numpy.
"""
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "pack"


def awq_gemm(directory):
    out_features, in_features, group = 24, 96, 32
    random = np.random.default_rng(20240601)
    words = out_features // 8
    groups = in_features // group
    qweight = random.integers(0, 2**32, (in_features, words), dtype=np.uint32)
    qzeros = random.integers(0, 2**32, (groups, words), dtype=np.uint32)
    scales = random.uniform(1e-3, 2e-2, (groups, out_features)).astype(np.float16)

    # The nibble, counted from the lowest, in which each of a word's 8 output features stands.
    nibble_of_feature = {0: 0, 1: 4, 2: 1, 3: 5, 4: 2, 5: 6, 6: 3, 7: 7}

    def value(table, row, feature):
        word = int(table[row][feature // 8])
        return (word >> (4 * nibble_of_feature[feature % 8])) % 16

    weights = np.zeros((out_features, in_features), np.float32)
    for n in range(out_features):
        for k in range(in_features):
            code = value(qweight, k, n)
            zero = value(qzeros, k // group, n)
            weights[n, k] = (code - zero) * float(scales[k // group, n])

    directory.mkdir(parents=True, exist_ok=True)
    for name, array, dtype in [("qweight.i32", qweight, "<u4"), ("qzeros.i32", qzeros, "<u4"),
                               ("scales.f16", scales, "<f2"), ("weights.f32", weights, "<f4")]:
        (directory / name).write_bytes(array.astype(dtype).tobytes())


if __name__ == "__main__":
    awq_gemm(GOLDEN / "awq_gemm")
