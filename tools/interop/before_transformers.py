"""Rows: transformers reads our compressed-tensors and AWQ directories, and computes on the CPU."""
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig

import rows as table
import tolerance

PROMPT, NEW_TOKENS = "One day", 64
FORMS = {"4 bits, groups of 32, zero points": ("--group-size", 32),
         "4 bits, groups of 128, symmetric": ("--group-size", 128, "--sym"),
         "4 bits, groups of 64, symmetric": ("--group-size", 64, "--sym"),
         "8 bits, whole rows, zero points": ("--group-size", -1, "--bits", 8),
         "3 bits, groups of 32, zero points": ("--group-size", 32, "--bits", 3)}


def load(path, **more):
    """A model in fp32; what is packed is unpacked before it runs."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **more).eval()


def load_unpacked(path):
    return load(path, quantization_config=CompressedTensorsConfig(run_compressed=False))


def logits_of(model):
    @torch.no_grad()
    def logits(ids):
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()

    return logits


@torch.no_grad()
def written(model, path, tokens):
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                          max_new_tokens=tokens)[0].tolist()
    whole = tokenizer.decode(made, skip_special_tokens=True)
    return whole[len(tokenizer.decode(ids[0], skip_special_tokens=True)):]


def compressed_tensors(what, rows, name, options):
    path = rows.place.quantized(name, "--format", "compressed-tensors", *options)
    model = load_unpacked(path)
    rows.fp32(what, path, logits_of(model))
    rows.text(f"{what}: {NEW_TOKENS} tokens after {PROMPT!r}", path,
              written(model, path, NEW_TOKENS), PROMPT, NEW_TOKENS)


def awq_gemm(what, rows):
    """By GPTQModel's kernels, which transformers asks for."""
    path = rows.place.quantized("gemm", "--format", "awq-gemm", "--group-size", 32)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float16, device_map="cpu").eval()
    rows.rounded(what, path, logits_of(model), tolerance.FP16, "fp16")


def make(rows):
    for number, (form, options) in enumerate(FORMS.items()):
        rows.attempt(f"ours, compressed-tensors, {form}", compressed_tensors, rows,
                     f"compressed{number}", options)


def make_awq(rows):
    rows.attempt("ours, awq-gemm, groups of 32: run by transformers", awq_gemm, rows)


if __name__ == "__main__":
    table.main(make, "transformers", "compressed-tensors")
