#!/usr/bin/env python3
"""Write tiny random models with the logits that transformers computes for them.

Usage:
    tools/make_model_fixtures.py [--out tests/golden/models] [NAME ...]

Each fixture is a directory:
    config.json           what a real checkpoint of the family would say
    model.safetensors     random weights (llama_sharded: three shards and an index)
    expected.safetensors  input_ids int64 [2, 24], logits float32 [2, 24, 96]

The logits are computed in fp32 with eager attention, from the weights as stored (a
bf16 or f16 fixture is widened to fp32 first), without a KV cache, padding or BOS.
Norm weights are far from 1, biases far from 0 and attention is far from uniform, so
that a forgotten tensor or a wrong position shows in the logits.

What transformers (5.23, read in its source) does with the configurations, and the
fixtures rely on:
  * Sliding window: key j is visible to query i iff i - window < j <= i, so a window of
    8 sees the token itself and the 7 before it.
  * mistral: every layer has the window, if sliding_window is not null. A missing key
    means the class default, 4096, not "no window". head_dim may be given, else it is
    hidden_size / heads (null means the same).
  * qwen2, qwen3: the window holds only if use_sliding_window is true (default false),
    and then only in layers i >= max_window_layers; sliding_window is otherwise
    ignored. An explicit layer_types list ("full_attention", "sliding_attention")
    overrides max_window_layers. Defaults where missing: sliding_window 4096,
    max_window_layers 28.
  * qwen2: q, k, v always have a bias, o never; no config key says so.
  * qwen3: RMSNorm over head_dim on q and k, before RoPE; head_dim defaults to 128,
    not to hidden_size / heads; attention_bias covers q, k, v and o.
  * llama: attention_bias covers q, k, v and o; mlp_bias covers gate, up and down.
  * RoPE: "rope_theta" + "rope_scaling" (old) or "rope_parameters" (transformers 5,
    with rope_theta inside) say the same; both spellings occur below. "linear" divides
    every inverse frequency by factor. "llama3", with wavelength w = 2 pi / f and
    original length L: w < L / high_freq_factor: f; w > L / low_freq_factor: f / factor;
    between: (1 - t) f / factor + t f, t = (L / w - low) / (high - low). The scaling
    does not depend on the length of the input. rope_scaling may name its type
    "rope_type" or (older) "type".
  * Tied embeddings: no lm_head.weight is stored; tie_word_embeddings defaults to
    false in all four families.

Dependencies: torch, transformers, safetensors.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

REPOSITORY = Path(__file__).resolve().parent.parent
TOKENS = 24
VOCABULARY = 96

COMMON = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY,
    "max_position_embeddings": 64, "hidden_act": "silu", "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2,
}


def config(family, stored="float32", **changes):
    """A config.json; a value of ... drops the key."""
    kinds = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    values = {"architectures": [kinds[family] + "ForCausalLM"], "model_type": family,
              **COMMON, "torch_dtype": stored, **changes}
    return {key: value for key, value in values.items() if value is not ...}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 2.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}

FIXTURES = {
    "llama": config("llama", num_key_value_heads=4),
    "llama_sharded": config("llama", num_key_value_heads=4),
    "llama_gqa_tied": config("llama", "bfloat16", tie_word_embeddings=True, hidden_size=64,
                             intermediate_size=96, rms_norm_eps=1e-6),
    # Wavelengths 6.3, 11.2, 19.9, ... against 16/2 and 16/1: all three rules act.
    "llama3_rope": config("llama", "bfloat16", hidden_size=64, rope_theta=100.0,
                          rope_scaling=LLAMA3),
    "llama_linear_rope": config("llama", "bfloat16", rope_theta=..., torch_dtype=...,
                                dtype="bfloat16", rope_parameters=LINEAR, head_dim=8),
    "llama_bias": config("llama", num_key_value_heads=1, attention_bias=True, mlp_bias=True,
                         intermediate_size=48),
    "mistral": config("mistral", "bfloat16", head_dim=16, sliding_window=8),
    "mistral_nowindow": config("mistral", "bfloat16", sliding_window=None, rope_theta=...,
                               rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    "qwen2": config("qwen2", "float16", use_sliding_window=False, sliding_window=8,
                    max_window_layers=1, rms_norm_eps=1e-6, rope_theta=1e6),
    "qwen2_window": config("qwen2", "bfloat16", use_sliding_window=True, sliding_window=8,
                           max_window_layers=1, rope_theta=1e6),
    "qwen3": config("qwen3", "bfloat16", head_dim=16, tie_word_embeddings=True,
                    attention_bias=False, use_sliding_window=False, sliding_window=None,
                    max_window_layers=2, rms_norm_eps=1e-6, rope_theta=1e6),
    # down has more than twice as many inputs as outputs.
    "llama_wide": config("llama", intermediate_size=96),
}


def random_weight(name, shape, tied, generator):
    if name.endswith("bias"):
        return torch.randn(shape, generator=generator) * 0.5
    if "norm" in name:
        return torch.rand(shape, generator=generator) * 1.5 + 0.25
    if "embed_tokens" in name:
        return torch.randn(shape, generator=generator) * (0.25 if tied else 1.0)
    # q and k are larger: their product decides how far from uniform attention is.
    gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.2
    return torch.randn(shape, generator=generator) * gain / shape[1] ** 0.5


def random_weights(settings, seed):
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {k: v for k, v in settings.items() if k not in ("architectures", "model_type")}
    values.pop("torch_dtype", None), values.pop("dtype", None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(settings["model_type"], **values))
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, settings.get("torch_dtype", settings.get("dtype")))
    tied = settings["tie_word_embeddings"]
    return {name: random_weight(name, tuple(weight.shape), tied, generator).to(dtype)
            for name, weight in sorted(model.state_dict().items())
            if not (tied and name == "lm_head.weight")}


def save_sharded(weights, directory, shards=3):
    """Shards cut by count of tensors, so that a layer is spread over two files."""
    names = sorted(weights)
    size = -(-len(names) // shards)
    where = {}
    for index in range(shards):
        file = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = names[index * size : (index + 1) * size]
        save_file({n: weights[n] for n in part}, directory / file, {"format": "pt"})
        where.update(dict.fromkeys(part, file))
    total = sum(w.numel() * w.element_size() for w in weights.values())
    write_json(directory / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": where})


@torch.no_grad()
def expected(directory, seed):
    """Logits of the directory as transformers loads it."""
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    problems = {k: v for k, v in report.items() if v and k != "conversion_errors"}
    assert not problems, problems
    generator = torch.Generator().manual_seed(seed + 1000)
    ids = torch.randint(0, VOCABULARY, (2, TOKENS), generator=generator)
    logits = model.eval()(input_ids=ids, use_cache=False).logits
    return {"input_ids": ids, "logits": logits.contiguous()}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def make(name, directory):
    settings = FIXTURES[name]
    # llama_sharded holds the weights of llama.
    seed = 1 + list(FIXTURES).index("llama" if name == "llama_sharded" else name)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write_json(directory / "config.json", settings)
    weights = random_weights(settings, seed)
    if name == "llama_sharded":
        save_sharded(weights, directory)
    else:
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
    result = expected(directory, seed)
    save_file(result, directory / "expected.safetensors")
    size = sum(f.stat().st_size for f in directory.iterdir())
    print(f"{name}: {size / 1000:.0f} kB, logits {result['logits'].std():.2f} std, "
          f"largest {result['logits'].abs().max():.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of them")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "tests" / "golden" / "models")
    args = parser.parse_args()
    for name in args.names or FIXTURES:
        make(name, args.out / name)


if __name__ == "__main__":
    main()
