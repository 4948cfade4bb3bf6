"""Rows: llama.cpp runs our GGUF files; we run what its quantizer makes.

It rounds activations to int8 where weights are quantized, we do not. So each file stands here twice: as
it is, and dequantized to F32 by llama.cpp, where that rounding is gone. Its cache is in F32, too.
"""
import ctypes
import pathlib

import llama_cpp
import numpy as np

import before_gguf as gguf_rows
import before_transformers as transformers_rows
import rows as table
import tolerance
from place import CTX, perplexity_of

THEIRS = ["Q4_0", "Q4_1", "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K"]
GGML_F32 = 0


def logits_of(path):
    model = llama_cpp.Llama(str(path), n_ctx=CTX, n_batch=CTX, logits_all=True, verbose=False,
                            n_threads=1, type_k=GGML_F32, type_v=GGML_F32)

    def logits(ids):
        model.reset()
        model.eval(ids)
        return model.scores[:len(ids)].copy()

    return logits


def quantized(path, kind, work):
    """By llama.cpp's quantizer; F32 dequantizes."""
    out = work / f"{path.stem}-{kind}-by-llama.cpp.gguf"
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{'ALL' if kind == 'F32' else 'MOSTLY'}_{kind}")
    parameters.allow_requantize = kind == "F32"
    if llama_cpp.llama_model_quantize(str(path).encode(), str(out).encode(),
                                      ctypes.byref(parameters)) != 0:
        raise RuntimeError(f"its quantizer fails at {kind}")
    return out


def as_it_is(what, rows, path, error, name):
    """With llama.cpp's rounding of what each linear reads."""
    place, logits = rows.place, logits_of(path)
    ours, theirs = place.perplexity(path), perplexity_of(logits, place.windows)
    allowed = tolerance.perplexity(place.config, logits(place.windows[0]), error)
    rows.add(what, f"{ours:.5f}", f"{theirs:.5f}; ratio {ours / theirs - 1:+.1e}",
             f"{allowed:.1e}, {name} activations", abs(np.log(ours / theirs)) <= allowed)


def in_f32(what, rows, path):
    rows.fp32(what, path, logits_of(quantized(path, "F32", rows.place.work)))


def both(rows, what, path, error, name):
    rows.attempt(what, as_it_is, rows, path, error, name)
    rows.attempt(f"{what}: its weights in F32", in_f32, rows, path)


def tokens(what, rows, path):
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    theirs = model.tokenize(pathlib.Path(rows.place.text).read_bytes(), add_bos=False, special=True)
    same = sum(a == b for a, b in zip(rows.place.tokens, theirs))
    rows.add(what, f"{len(rows.place.tokens)} tokens", f"{len(theirs)}, {same} equal", "equal",
             rows.place.tokens == theirs)


def carried_over(what, rows, path):
    """Codes of a Q4_0 as a directory. Embedding and head become fp16: two roundings on the way."""
    place = rows.place
    made = place.converted(path, "from-llama.cpp", "--format", "compressed-tensors", "--lossy")
    ours, theirs = place.perplexity(made), place.perplexity(path)
    error = tolerance.FP16 * tolerance.UNIFORM
    allowed = tolerance.perplexity(place.config, place.logits(path), error)
    rows.add(what, f"{ours:.5f}", f"{theirs:.5f}, the GGUF by ours", f"{allowed:.1e}, fp16 embeddings",
             abs(np.log(ours / theirs)) <= allowed)
    model = transformers_rows.load_unpacked(made)
    rows.fp32(f"{what}, in transformers", made, transformers_rows.logits_of(model))


def make(rows):
    place = rows.place
    stored = gguf_rows.file(place, "as stored")
    half = tolerance.BF16 * tolerance.UNIFORM
    rows.attempt("the text's tokens", tokens, rows, stored)
    both(rows, "ours, GGUF, as stored", stored, half, "bf16 or fp16")
    for name in ("Q4_0", "Q4_1", "Q8_0"):
        both(rows, f"ours, GGUF, {name}", gguf_rows.file(place, name), tolerance.INT8, "int8")
    for name in THEIRS:
        both(rows, f"its {name}", quantized(stored, name, place.work), tolerance.INT8, "int8")
    rows.attempt("its Q4_0, converted to compressed-tensors", carried_over, rows,
                 quantized(stored, "Q4_0", place.work))


if __name__ == "__main__":
    table.main(make, "llama-cpp-python")
