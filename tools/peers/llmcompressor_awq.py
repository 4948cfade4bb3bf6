"""Quantizes a model with llm-compressor's AWQ on the CPU: the peer of docs/benchmarks.md.

    python llmcompressor_awq.py MODEL OUT --text FILE [--samples 128] [--seq-len 512]

Needs llmcompressor==0.14.0.1 and torch==2.10.0. Calibrates on the same windows as
`awq quantize MODEL -o OUT --calib FILE --bos window`: BOS and the next seq_len - 1 tokens of the text.
llm-compressor pins memory, which fails without a GPU: that one call is replaced here.
"""
import argparse
import pathlib
import time

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM, AutoTokenizer


def windows(tokenizer, text, seq_len, samples):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    step = seq_len - 1
    count = min(samples, len(ids) // step)
    bos = tokenizer.bos_token_id
    return [[bos] + ids[i * step:(i + 1) * step] for i in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seq-len", type=int, default=512)
    a = parser.parse_args()

    if not torch.cuda.is_available():
        IntermediatesCache.pin_memory = lambda self, *args, **kwargs: None
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    rows = windows(tokenizer, a.text.read_text(encoding="utf-8"), a.seq_len, a.samples)
    data = Dataset.from_dict({"input_ids": rows,
                              "attention_mask": [[1] * len(row) for row in rows]})
    start = time.time()
    oneshot(
        model=model, dataset=data, processor=tokenizer,
        recipe=[AWQModifier(duo_scaling="both"),
                QuantizationModifier(targets=["Linear"], scheme="W4A16_ASYM", ignore=["lm_head"])],
        max_seq_length=a.seq_len, num_calibration_samples=len(rows))
    print(f"quantizing took {time.time() - start:.1f} s", flush=True)
    model.save_pretrained(a.out, save_compressed=True)
    tokenizer.save_pretrained(a.out)


if __name__ == "__main__":
    main()
