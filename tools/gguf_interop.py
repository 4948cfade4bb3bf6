#!/usr/bin/env python3
"""Puts GGUF files before llama.cpp and before awq, and compares.

    tools/gguf_interop.py AWQ TEXT CTX FILE.gguf [TYPE ...]

For FILE.gguf, and for what llama.cpp's quantizer makes of it as each TYPE (Q4_0, Q4_K_M, ...), it
prints the perplexity that both programs give the same windows of TEXT (each BOS and CTX - 1
tokens), and whether both make the same tokens of TEXT. Each quantized file is followed by what
llama.cpp makes of it in F32: the same weights, but no int8 activations in llama.cpp. Needs
llama-cpp-python and numpy.
"""
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

WINDOWS = 4


def awq_perplexity(awq, path, text, ctx):
    command = [awq, "eval", path, "--text", text, "--ctx", str(ctx), "--bos", "window",
               "--max-tokens", str(WINDOWS * ctx), "--precision", "f32", "--json", "-"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def awq_tokens(awq, path, text):
    command = [awq, "tokenize", path, "--no-special", "--file", text]
    return json.loads(subprocess.check_output(command, text=True))


def llama_perplexity(model, tokens, ctx, windows):
    """Over the same windows, in float64 from llama.cpp's logits."""
    nats = 0.0
    for window in range(windows):
        part = tokens[window * (ctx - 1):(window + 1) * (ctx - 1)]
        ids = [model.token_bos()] + part
        model.reset()
        model.eval(ids)
        logits = model.scores[:len(ids) - 1].astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        normal = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        nats += (normal - logits[np.arange(len(ids) - 1), part]).sum()
    return float(np.exp(nats / (windows * (ctx - 1))))


def quantized(path, name, directory):
    out = directory / f"{path.stem}-{name}.gguf"
    parameters = llama_cpp.llama_model_quantize_default_params()
    kind = "ALL" if name == "F32" else "MOSTLY"
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{kind}_{name}")
    parameters.allow_requantize = name == "F32"
    status = llama_cpp.llama_model_quantize(str(path).encode(), str(out).encode(),
                                            ctypes.byref(parameters))
    if status != 0:
        sys.exit(f"{out}: llama.cpp's quantizer fails with {status}")
    return out


def compare(awq, path, text, ctx):
    model = llama_cpp.Llama(str(path), n_ctx=ctx, n_batch=ctx, logits_all=True, verbose=False,
                            n_threads=1)
    tokens = awq_tokens(awq, str(path), text)
    contents = pathlib.Path(text).read_bytes()
    theirs = model.tokenize(contents, add_bos=False, special=True)
    ours = awq_perplexity(awq, str(path), text, ctx)
    perplexity = llama_perplexity(model, tokens, ctx, ours["windows"])
    found = ours["perplexity"]["value"] if isinstance(ours["perplexity"], dict) else ours["perplexity"]
    print(f"| {path.name} | {found:.4f} | {perplexity:.4f} | {found / perplexity - 1:+.1e} | "
          f"{'same' if tokens == theirs else 'differ'} ({len(tokens)}) |", flush=True)


def main():
    awq, text, ctx, path, *types = sys.argv[1:]
    print(f"llama-cpp-python {llama_cpp.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        compare(awq, pathlib.Path(path), text, int(ctx))
        for name in types:
            file = quantized(pathlib.Path(path), name, pathlib.Path(scratch))
            compare(awq, file, text, int(ctx))
            compare(awq, quantized(file, "F32", pathlib.Path(scratch)), text, int(ctx))


if __name__ == "__main__":
    main()
