#!/usr/bin/env python3
"""Writes tests/golden/models/llama_{llm_compressor,gptqmodel}: the fixture llama_wide as these programs
quantize and store it, and the logits that transformers computes of what they unpack.

    build/interop-venv/bin/python tools/interop/make_golden.py NAME

NAME is llm_compressor or gptqmodel. Runs in the environment that tools/interop/check makes. The files
are those of tools/make_model_fixtures.py: input_ids int64 [2, 24], logits float32 [2, 24, 96]; here in
4 bits, groups of 32, with act order; llm-compressor's in bf16 and symmetric, GPTQModel's in fp16 and with
zero points.
"""
import os
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import save_file

import before_transformers as transformers_rows

MODELS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "models"
SOURCE = MODELS / "llama_wide"
TOKENIZER = MODELS.parents[2] / "models" / "little-stories"
KEPT = ("config.json", "model.safetensors")


def random_ids(seed, sequences, tokens):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 96, (sequences, tokens), generator=generator)


def with_tokenizer(directory):
    """Both programs ask for one; what it says is not used."""
    shutil.copytree(SOURCE, directory)
    for file in TOKENIZER.glob("tokenizer*.json"):
        shutil.copyfile(file, directory / file.name)
    return directory


def llm_compressor(source, out):
    """The model that computes the logits, from what is written to `out`."""
    import before_llm_compressor as rows
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    weights = QuantizationArgs(num_bits=4, group_size=32, symmetric=False, strategy="group")
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    recipe = [rows.GPTQModifier(config_groups={"group_0": scheme}, ignore=["lm_head"])]
    rows.quantize(source, out, random_ids(1, 8, 48).tolist(), recipe)
    return transformers_rows.load_unpacked(out)


def gptqmodel(source, out):
    import before_gptqmodel as rows
    import dense

    rows.quantize(source, out, random_ids(1, 8, 48).tolist(), sym=False, desc_act=True)
    unpacked = rows.unpacked(rows.load(out, rows.BACKEND.GPTQ_TORCH))
    return transformers_rows.load(dense.write(out, out / "dense", unpacked))


def main():
    name = sys.argv[1]
    golden = MODELS / f"llama_{name}"
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)  # where these programs leave logs
        made = pathlib.Path(work) / "made"
        source = with_tokenizer(pathlib.Path(work) / "source")
        model = {"llm_compressor": llm_compressor, "gptqmodel": gptqmodel}[name](source, made)
        ids = random_ids(2, 2, 24)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits.float().contiguous()
        shutil.rmtree(golden, ignore_errors=True)
        golden.mkdir()
        for file in KEPT:
            shutil.copyfile(made / file, golden / file)
        save_file({"input_ids": ids, "logits": logits}, golden / "expected.safetensors")
        (golden / "expected.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
