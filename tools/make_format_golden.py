#!/usr/bin/env python3
"""Writes tests/golden/pack/*.safetensors: random linears packed by the programs of the field.

Each file holds the tensors of one linear, "m.<name>", as the format's own program packs them, and
what was given to it: "codes" [out, in], "zeros" [out, groups], "scales" [out, groups] (F32), and
"group_of" [in] where input features choose their group. Nothing of the C++ code is used.

Needs torch, numpy, safetensors, compressed-tensors (0.19), and the Python sources of auto-gptq (0.7.1)
and autoawq (0.2.9) where Python finds them; of the last two single files are loaded, since the whole
packages ask for GPUs or for old versions of others.
"""
import importlib.util
import pathlib
import sys
import types

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "pack"


def load(package, path):
    """The file `path` inside an installed package, without running the package's own start."""
    root = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
    name = f"golden_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, root / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stub_awq_helpers():
    """What autoawq's layers import and packing does not need."""
    def stub(name, **members):
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module

    stub("awq.utils.module", try_import=lambda name: (None, ""))
    stub("awq.utils.utils", get_best_device=lambda: "cpu")
    stub("awq.utils.packing_utils", dequantize_gemm=None)


class Linear:
    """Random codes, zeros and scales; `weight` is what they mean."""

    def __init__(self, seed, bits, out, inp, group, symmetric=False, dtype=torch.float16,
                 act_order=False, least_zero=0):
        random = np.random.default_rng(seed)
        group = inp if group == -1 else group
        groups = inp // group
        top = 2**bits
        self.bits, self.out, self.inp, self.group, self.dtype = bits, out, inp, group, dtype
        self.symmetric = symmetric
        self.codes = torch.from_numpy(random.integers(0, top, (out, inp)).astype(np.uint8))
        zeros = random.integers(least_zero, top, (out, groups)).astype(np.uint8)
        self.zeros = torch.full((out, groups), top // 2, dtype=torch.uint8) if symmetric else (
            torch.from_numpy(zeros))
        self.scales = torch.from_numpy(random.uniform(1e-3, 2e-2, (out, groups))).to(dtype)
        self.group_of = torch.arange(inp) // group
        if act_order:
            self.group_of = self.group_of[torch.from_numpy(random.permutation(inp))]
        self.act_order = act_order
        steps = self.codes.float() - self.zeros.float()[:, self.group_of]
        self.module = torch.nn.Linear(inp, out, bias=False)
        self.module.weight.data = steps * self.scales.float()[:, self.group_of]

    def save(self, name, parts):
        tensors = {f"m.{key}": value.contiguous() for key, value in parts.items()}
        tensors |= {"codes": self.codes, "zeros": self.zeros, "scales": self.scales.float()}
        if self.act_order:
            tensors["group_of"] = self.group_of.to(torch.int32)
        save_file(tensors, GOLDEN / f"{name}.safetensors")


def compressed_tensors(name, linear):
    half = 2**(linear.bits - 1)

    def signed(values):
        return (values.to(torch.int16) - half).to(torch.int8)

    parts = {"weight_packed": pack_to_int32(signed(linear.codes), linear.bits),
             "weight_scale": linear.scales,
             "weight_shape": torch.tensor([linear.out, linear.inp])}
    if not linear.symmetric:
        parts["weight_zero_point"] = pack_to_int32(signed(linear.zeros), linear.bits, packed_dim=0)
    if linear.act_order:
        parts["weight_g_idx"] = linear.group_of.to(torch.int32)
    linear.save(name, parts)


def gptq(name, linear, bias):
    """`bias` 1: the first version, as auto-gptq writes it; 0: the second, which stores zeros as they
    are, packed by the same code."""
    packer = load("auto_gptq", pathlib.Path("nn_modules/qlinear/qlinear_cuda.py")).QuantLinear(
        linear.bits, linear.group, linear.inp, linear.out, bias=False)
    zeros = linear.zeros.float()
    packer.pack(linear.module, linear.scales.float(), zeros, linear.group_of.to(torch.int32))
    if bias == 0:
        # The packer recovers codes from zeros; only the zeros' own words are wanted here.
        codes = packer.qweight
        packer.pack(linear.module, linear.scales.float(), zeros + 1, linear.group_of.to(torch.int32))
        packer.qweight = codes
    linear.save(name, {"qweight": packer.qweight, "qzeros": packer.qzeros,
                       "scales": packer.scales.to(linear.dtype),
                       "g_idx": linear.group_of.to(torch.int32)})


def awq(name, linear, file, layer, turned=False, zeros_name="qzeros"):
    stub_awq_helpers()
    packer = getattr(load("awq", pathlib.Path(f"modules/linear/{file}.py")), layer)
    scales, zeros = linear.scales, linear.zeros.to(torch.int32)
    if turned:  # gemm wants [groups, out]
        scales, zeros = scales.t().contiguous(), zeros.t().contiguous()
    packed = packer.from_linear(linear.module, linear.bits, linear.group, scales=scales, zeros=zeros)
    linear.save(name, {"qweight": packed.qweight, zeros_name: packed.qzeros, "scales": packed.scales})


def main():
    bf16 = torch.bfloat16
    for bits in (2, 3, 4, 8):
        compressed_tensors(f"compressed_tensors_w{bits}", Linear(bits, bits, 40, 96, 32))
        gptq(f"gptq_w{bits}", Linear(20 + bits, bits, 32, 64, 32, least_zero=1), bias=1)
        gptq(f"gptq_v2_w{bits}", Linear(30 + bits, bits, 32, 64, 32), bias=0)
    compressed_tensors("compressed_tensors_sym_bf16", Linear(11, 4, 24, 64, 32, True, bf16))
    compressed_tensors("compressed_tensors_channel", Linear(12, 4, 20, 77, -1, dtype=bf16))
    compressed_tensors("compressed_tensors_g_idx", Linear(13, 4, 16, 64, 16, act_order=True))
    gptq("gptq_g_idx", Linear(14, 4, 32, 64, 16, least_zero=1, act_order=True), bias=1)
    gptq("gptq_sym_channel", Linear(15, 4, 32, 64, -1, True), bias=1)
    awq("awq_gemm", Linear(16, 4, 32, 64, 32), "gemm", "WQLinear_GEMM", turned=True)
    awq("awq_gemv", Linear(17, 4, 16, 96, 32), "gemv", "WQLinear_GEMV")
    fast = Linear(18, 4, 16, 128, 32)
    awq("awq_gemv_fast", fast, "gemv_fast", "WQLinear_GEMVFast")
    awq("llm_awq", fast, "gemv_fast", "WQLinear_GEMVFast", zeros_name="scaled_zeros")


if __name__ == "__main__":
    main()
