"""Writes a Llama of a given shape with random bf16 weights, for timing and memory measurements.

    python3 tools/make_random_model.py OUT --tokenizer DIR [--layers 22] [--hidden 2048]
        [--intermediate 5632] [--heads 32] [--kv-heads 4] [--vocab 32000]

The defaults are TinyLlama-1.1B's shape. Needs numpy. Weights are normal with the usual 0.02 (scaled
down for the outputs of a block, so that activations stay tame through all layers) and a few channels
of the norms are large, as in real models. The tokenizer's files are copied from DIR.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np


def bf16(values):
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def shapes(a):
    """(name, shape, standard deviation) of every tensor; a deviation of 0 marks a norm."""
    kv = a.hidden // a.heads * a.kv_heads
    out_deviation = 0.02 / (2 * a.layers) ** 0.5
    yield "model.embed_tokens.weight", (a.vocab, a.hidden), 0.02
    for i in range(a.layers):
        p = f"model.layers.{i}."
        yield p + "self_attn.q_proj.weight", (a.hidden, a.hidden), 0.02
        yield p + "self_attn.k_proj.weight", (kv, a.hidden), 0.02
        yield p + "self_attn.v_proj.weight", (kv, a.hidden), 0.02
        yield p + "self_attn.o_proj.weight", (a.hidden, a.hidden), out_deviation
        yield p + "mlp.gate_proj.weight", (a.intermediate, a.hidden), 0.02
        yield p + "mlp.up_proj.weight", (a.intermediate, a.hidden), 0.02
        yield p + "mlp.down_proj.weight", (a.hidden, a.intermediate), out_deviation
        yield p + "input_layernorm.weight", (a.hidden,), 0
        yield p + "post_attention_layernorm.weight", (a.hidden,), 0
    yield "model.norm.weight", (a.hidden,), 0
    yield "lm_head.weight", (a.vocab, a.hidden), 0.02


def draw(shape, deviation, rng):
    if deviation:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
    norm = 1 + 0.1 * rng.standard_normal(shape, dtype=np.float32)
    norm[rng.integers(0, shape[0], size=max(1, shape[0] // 500))] *= 8
    return norm


def write_weights(path, a):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in shapes(a):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape, deviation in shapes(a):
            file.write(bf16(draw(shape, deviation, rng)).tobytes())


def config(a):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": a.hidden, "intermediate_size": a.intermediate,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads, "vocab_size": a.vocab,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    for name, default in [("layers", 22), ("hidden", 2048), ("intermediate", 5632), ("heads", 32),
                          ("kv-heads", 4), ("vocab", 32000)]:
        parser.add_argument("--" + name, type=int, default=default)
    a = parser.parse_args()
    a.out.mkdir(parents=True)
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copyfile(a.tokenizer / name, a.out / name)
    (a.out / "config.json").write_text(json.dumps(config(a), indent=2) + "\n")
    write_weights(a.out / "model.safetensors", a)


if __name__ == "__main__":
    main()
