"""Rows: gguf's reader opens our GGUF files; its floats make the model that our file is."""
import gguf
import numpy as np
import torch
from safetensors.torch import save_file

import rows as table

OURS = {"as stored": None, "Q4_0": ("--sym",), "Q4_1": (), "Q8_0": ("--sym", "--bits", 8)}
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def file(place, name):
    """Our GGUF: MODEL as it is, or its codes as blocks of this type."""
    options = OURS[name]
    if options is None:
        return place.converted(place.model, "stored.gguf", "--format", "gguf")
    return place.quantized(f"ours-{name}.gguf", "--format", "gguf", "--group-size", 32, *options)


def hf_name(name):
    parts = name.removesuffix(".weight").split(".")
    if parts[0] != "blk":
        return OUTER[parts[0]] + ".weight"
    return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"


def hf_rows(name, weights, config):
    """llama.cpp turns neighbouring rows of q and k, config.json's order turns halves."""
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads is None:
        return weights
    split = weights.reshape(config[heads], -1, 2, weights.shape[1])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(weights.shape))


def dense(place, path, out):
    out.mkdir()
    tensors = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        tensors[hf_name(tensor.name)] = torch.from_numpy(hf_rows(tensor.name, values, place.config))
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((place.model / name).read_bytes())
    return out


def ours(what, rows, name):
    path = file(rows.place, name)
    rows.weights(what, path, dense(rows.place, path, rows.place.work / f"gguf-{name}"))


def make(rows):
    for name in OURS:
        rows.attempt(f"ours, GGUF, {name}: weights", ours, rows, name)


if __name__ == "__main__":
    table.main(make, "gguf")
