"""Rows: GPTQModel loads our AWQ and GPTQ directories on the CPU; we read what it quantized there."""
import os

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # fewer, as it chooses on two cores, end it
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling takes longer here than it saves

# pylint: disable=wrong-import-position
import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

import before_transformers as transformers_rows
import dense
import rows as table
import tolerance
from place import CTX

OURS = {"awq-gemm": (BACKEND.AWQ_TORCH, ()), "gptq-v2": (BACKEND.GPTQ_TORCH, ()),
        "gptq": (BACKEND.GPTQ_TORCH, ("--sym",)), "gptq-v2, 3 bits": (BACKEND.GPTQ_TORCH, ("--bits", 3)),
        "gptq, 8 bits": (BACKEND.GPTQ_TORCH, ("--bits", 8, "--sym"))}
THEIRS = {"symmetric": {"sym": True, "desc_act": False},
          "zero points": {"sym": False, "desc_act": False},
          "symmetric, act order": {"sym": True, "desc_act": True}}


def load(path, backend):
    return GPTQModel.load(str(path), backend=backend, device="cpu", dtype=torch.float16).model


def unpacked(model):
    """module -> weights [out, in], by its unpacking, with the scales in fp32: so products are exact."""
    weights = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "qweight"):
            scales, layer.scales = layer.scales, layer.scales.float()
            if hasattr(layer, "g_idx"):
                weight = type(layer).dequantize_weight(layer)
            else:
                weight = dequantize_gemm(qweight=layer.qweight, qzeros=layer.qzeros, bits=layer.bits,
                                         scales=layer.scales, group_size=layer.group_size)
            weights[name], layer.scales = weight.T, scales
    return weights


def ours(what, rows, number, form, backend, options):
    packed = rows.place.quantized(f"gptqmodel{number}", "--format", form, "--group-size", 32, *options)
    model = load(packed, backend)
    copy = dense.write(packed, rows.place.work / f"gptqmodel{number}_dense", unpacked(model))
    rows.weights(f"{what}: weights", packed, copy)
    rows.rounded(f"{what}: run", packed, transformers_rows.logits_of(model), tolerance.FP16, "fp16")


def quantize(model, out, windows, **options):
    """Its GPTQ, 4 bits in groups of 32, calibrated on the windows."""
    examples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in windows]
    settings = QuantizeConfig(bits=4, group_size=32, device="cpu", offload_to_disk=False,
                              **options)
    made = GPTQModel.load(str(model), settings, dtype=torch.float32)
    made.quantize(examples, batch_size=1, backend=BACKEND.GPTQ_TORCH)
    made.save(str(out))


def theirs(what, rows, number, options):
    packed = rows.place.work / f"gptqmodel_theirs{number}"
    quantize(rows.place.model, packed, [ids[:CTX // 2] for ids in rows.place.windows], **options)
    copy = dense.write(packed, rows.place.work / f"gptqmodel_theirs{number}_dense",
                       unpacked(load(packed, BACKEND.GPTQ_TORCH)))
    rows.weights(f"{what}: weights", packed, copy)
    model = transformers_rows.load(copy)
    rows.fp32(f"{what}: these weights in transformers", packed, transformers_rows.logits_of(model))


def make(rows):
    for number, (form, (backend, options)) in enumerate(OURS.items()):
        rows.attempt(f"ours, {form}, groups of 32", ours, rows, number, form.split(",", maxsplit=1)[0],
                     backend, options)
    transformers_rows.make_awq(rows)
    for number, (form, options) in enumerate(THEIRS.items()):
        rows.attempt(f"its GPTQ, 4 bits, groups of 32, {form}", theirs, rows, number, options)


if __name__ == "__main__":
    table.main(make, "gptqmodel")
