"""Rows: we read what llm-compressor quantized on the CPU."""
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM

import before_transformers as transformers_rows
import rows as table

RECIPES = {
    "AWQ, W4A16_ASYM": lambda: [
        AWQModifier(duo_scaling="both"),
        QuantizationModifier(targets=["Linear"], scheme="W4A16_ASYM", ignore=["lm_head"])],
    "GPTQ, W4A16": lambda: [GPTQModifier(targets=["Linear"], scheme="W4A16", ignore=["lm_head"])],
    "RTN, W8A16": lambda: [
        QuantizationModifier(targets=["Linear"], scheme="W8A16", ignore=["lm_head"])],
}


def quantize(source, out, windows, recipe, dtype=torch.bfloat16):
    # It pins memory, which fails without a GPU.
    IntermediatesCache.pin_memory = lambda self, *args, **kwargs: None
    model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
    data = Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * len(w) for w in windows]})
    oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=len(windows[0]),
            num_calibration_samples=len(windows))
    model.save_pretrained(out, save_compressed=True)


def theirs(what, rows, number, recipe):
    place = rows.place
    out = place.work / f"llm_compressor{number}"
    quantize(place.model, out, place.windows, recipe)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((place.model / name).read_bytes())
    rows.fp32(what, out, transformers_rows.logits_of(transformers_rows.load_unpacked(out)))


def make(rows):
    for number, (name, recipe) in enumerate(RECIPES.items()):
        rows.attempt(f"its {name}", theirs, rows, number, recipe())


if __name__ == "__main__":
    table.main(make, "llmcompressor", "transformers")
