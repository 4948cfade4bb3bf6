#!/usr/bin/env python3
"""A plain reference of the AWQ search (Lin et al. 2023), on tokens, in numpy.

Usage:
    tools/awq_reference.py small       [--out tests/golden/awq_reference]
    tools/awq_reference.py codellama   [--out tests/golden/awq_reference]

`small` writes small.safetensors: synthetic sites with outlier channels, and for each
the whole result. `codellama` writes codellama13b.json: figures only, for the real
layers in AWQ_TEST_DATA/layers (default ../shared/data beside the repository).

A site is the input tokens X [T, in] and the linears W [out, in] that read them. There
is no Gram matrix here on purpose: a search that uses X^T X is checked against this.

Quantizer, per row and group of `group_size` weights (-1: the whole row), float32:
    lo, hi = min(w, 0), max(w, 0)             zero is kept in range
    scale  = fp16(max((hi - lo) / (2^b - 1), 1e-5 / (2^b - 1)))
    zero   = clamp(round(-lo / scale), 0, 2^b - 1)
    code   = clamp(round(w / scale) + zero, 0, 2^b - 1);   w' = (code - zero) * scale
with round half to even and the fp16-rounded scale used throughout. The published code
takes lo and hi from the group alone: a group of one sign then saturates. That is the
one deliberate difference. Symmetric: scale = fp16(max(amax, 1e-5) / (2^(b-1) - 1)),
zero = 2^(b-1), codes clamped to 0 .. 2^b - 1 (so -8 .. 7 for 4 bits).

Scale search: x_mean = mean |x| over the tokens (float64, then float32);
    s(r) = max(x_mean^r, 1e-4), r = i / 20, i = 0 .. 19, s /= sqrt(max(s) min(s))
in float64, rounded to float32 and then to fp16. Candidate W' = Q(W s) / s in float32;
loss = mean over all output elements of all linears of the site of (X W^T - X W'^T)^2
in float64. The first strict minimum is taken. The output is that of the linears
themselves, not of the attention or MLP module around them.

Clip search, on W s and X / s (float32), per row and group: for i = 0 .. 9, clamp to
+-m, m = float32(1 - i / 20) amax, quantize with the clamped group's own range, and take
the mean over ALL tokens of (sum over the group of x (w - w'))^2, in float64; first
strict minimum. The codes are those of the clamped weights.

small.safetensors, per case: x f32 [T, in]; w0, w1, ... f32 [out, in]; spec i64 [4] =
{bits, group size or -1, symmetric, number of linears}; scale_losses f64 [20];
best_index i64 [1]; scale f32 [in]; and per linear k: clip_index<k> u8 [out, groups],
codes<k> u8 [out, in], scales<k> f32 [out, groups], zeros<k> u8 [out, groups].
The cases are chosen (by seed) so that no decision is a near tie: the best of each
search beats the next by a relative 1e-3 (scale) or 1e-5 (clip), except exact ties.

Dependencies: numpy, safetensors; torch to read the bf16 layers.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AWQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
GRID = 20
CLIP_STEPS = 10
F32 = np.float32


# ------------------------------------------------------------------ the method


def fp16(values):
    """Rounded to fp16, kept as float32."""
    return values.astype(np.float16).astype(F32)


def grouped(weight, group_size):
    """[out, in] -> [out, groups, group]."""
    rows, columns = weight.shape
    return weight.reshape(rows, -1, columns if group_size == -1 else group_size)


def quantize(groups, bits, symmetric):
    """(codes, scales, zeros) of weights [..., group], all float32 with whole values."""
    top = F32(2**bits - 1)
    if symmetric:
        half = F32(2 ** (bits - 1))
        amax = np.abs(groups).max(-1, keepdims=True)
        scales = fp16(np.maximum(amax, F32(1e-5)) / (half - 1))
        zeros = np.full_like(scales, half)
    else:
        low = np.minimum(groups.min(-1, keepdims=True), F32(0))
        high = np.maximum(groups.max(-1, keepdims=True), F32(0))
        scales = fp16(np.maximum((high - low) / top, F32(1e-5) / top))
        zeros = np.clip(np.rint(-low / scales), F32(0), top)
    codes = np.clip(np.rint(groups / scales) + zeros, F32(0), top)
    return codes, scales, zeros


def dequantize(codes, scales, zeros):
    return (codes - zeros) * scales


def fake_quantize(weight, spec):
    groups = grouped(weight, spec["group_size"])
    return dequantize(*quantize(groups, spec["bits"], spec["symmetric"])).reshape(weight.shape)


def candidate_scale(x_mean, index):
    scale = np.maximum(x_mean.astype(np.float64) ** (index / GRID), 1e-4)
    return fp16((scale / np.sqrt(scale.max() * scale.min())).astype(F32))


def output_loss(x, weights, approximations):
    """Mean squared difference of all outputs of all linears."""
    x = x.astype(np.float64)
    total = count = 0
    for weight, other in zip(weights, approximations):
        error = x @ (weight.astype(np.float64) - other.astype(np.float64)).T
        total += float((error * error).sum())
        count += error.size
    return total / count


def search_scale(x, weights, spec):
    """(losses of the grid, best index, best scale)."""
    x_mean = np.abs(x.astype(np.float64)).mean(0).astype(F32)
    losses = []
    for index in range(GRID):
        scale = candidate_scale(x_mean, index)
        candidates = [fake_quantize(w * scale, spec) / scale for w in weights]
        losses.append(output_loss(x, weights, candidates))
    best = int(np.argmin(losses))  # argmin takes the first of equals
    return np.array(losses), best, candidate_scale(x_mean, best)


def clamped(groups, index):
    limit = np.abs(groups).max(-1, keepdims=True) * F32(1 - index / 20)
    return np.clip(groups, -limit, limit)


def search_clip(x, weight, spec):
    """(index [out, groups], losses [10, out, groups]) for scaled weights and inputs."""
    groups = grouped(weight, spec["group_size"])
    size = groups.shape[-1]
    losses = np.empty((CLIP_STEPS,) + groups.shape[:2])
    for index in range(CLIP_STEPS):
        other = dequantize(*quantize(clamped(groups, index), spec["bits"], spec["symmetric"]))
        difference = groups.astype(np.float64) - other.astype(np.float64)
        for g in range(groups.shape[1]):
            part = x[:, g * size : (g + 1) * size].astype(np.float64) @ difference[:, g].T
            losses[index, :, g] = (part * part).mean(0)
    return losses.argmin(0), losses


def apply_clip(weight, index, spec):
    """(codes, scales, zeros) of the weights clamped by the chosen indices."""
    groups = grouped(weight, spec["group_size"])
    limit = np.abs(groups).max(-1) * (1 - index / 20).astype(F32)
    chosen = np.clip(groups, -limit[..., None], limit[..., None])
    return quantize(chosen, spec["bits"], spec["symmetric"])


# ------------------------------------------------------------- synthetic cases

CASES = {
    "w4_g32": dict(inputs=64, rows=[24], bits=4, group_size=32, symmetric=False),
    "w4_g64_two": dict(inputs=128, rows=[24, 16], bits=4, group_size=64, symmetric=False),
    "w3_g32_three": dict(inputs=64, rows=[24, 8, 8], bits=3, group_size=32, symmetric=False),
    "w4_channel": dict(inputs=64, rows=[24], bits=4, group_size=-1, symmetric=False),
    "w3_g64": dict(inputs=128, rows=[24], bits=3, group_size=64, symmetric=False),
    "w4_g32_sym": dict(inputs=64, rows=[24], bits=4, group_size=32, symmetric=True),
    "w3_channel_sym": dict(inputs=64, rows=[16, 8], bits=3, group_size=-1, symmetric=True),
    "w4_g32_hard": dict(inputs=64, rows=[24], bits=4, group_size=32, symmetric=False, hard=True),
}


def synthetic(case, rng, tokens=96):
    """Correlated inputs with outlier channels; rows with a heavy tail."""
    width = case["inputs"]
    x = rng.standard_normal((tokens, 8)) @ rng.standard_normal((8, width)) * 0.3
    x += rng.standard_normal((tokens, width)) * 0.5
    x *= np.exp(rng.standard_normal(width) * 0.5)
    x[:, rng.choice(width, 3, replace=False)] *= [20, 8, 40]
    weights = [rng.standard_t(5, (rows, width)) * 0.05 for rows in case["rows"]]
    if case.get("hard"):
        x[:, 5] = 0  # a channel that no token uses
        weights[0][0, :32] = np.abs(weights[0][0, :32]) + 0.02  # a group of one sign
        weights[0][1, 32:] = -np.abs(weights[0][1, 32:]) - 0.02
        weights[0][2, :32] = 0  # a group of nothing
        weights[0][3, :32] = 0
        weights[0][3, 7] = 0.3  # a group of one weight
    return x.astype(F32), [w.astype(F32) for w in weights]


def margin(losses):
    """Smallest relative lead of the best over the next; exact ties do not count."""
    ordered = np.sort(losses, axis=0)
    lead = (ordered[1] - ordered[0]) / np.maximum(ordered[1], 1e-300)
    lead = lead[ordered[1] > ordered[0]] if np.ndim(lead) else lead
    return float(np.min(lead))


def solve(x, weights, spec):
    """Everything that small.safetensors stores of a case, and its smallest margins."""
    losses, best, scale = search_scale(x, weights, spec)
    result = {"scale_losses": losses, "best_index": np.array([best]), "scale": scale}
    clip_margin = np.inf
    for k, weight in enumerate(weights):
        index, clip_losses = search_clip(x / scale, weight * scale, spec)
        codes, scales, zeros = apply_clip(weight * scale, index, spec)
        clip_margin = min(clip_margin, margin(clip_losses))
        result[f"clip_index{k}"] = index.astype(np.uint8)
        result[f"codes{k}"] = codes.reshape(weight.shape).astype(np.uint8)
        result[f"scales{k}"] = scales[..., 0].copy()
        result[f"zeros{k}"] = zeros[..., 0].astype(np.uint8)
    return result, margin(losses), clip_margin


def small(out):
    from safetensors.numpy import save_file

    tensors = {}
    for number, (name, case) in enumerate(CASES.items()):
        for seed in range(1000 * number, 1000 * number + 1000):
            x, weights = synthetic(case, np.random.default_rng(seed))
            result, scale_margin, clip_margin = solve(x, weights, case)
            if scale_margin > 1e-3 and clip_margin > 1e-5 and result["best_index"][0] > 0:
                break
        result["spec"] = np.array([case["bits"], case["group_size"], case["symmetric"],
                                   len(weights)], dtype=np.int64)
        result.update({"x": x}, **{f"w{k}": w for k, w in enumerate(weights)})
        tensors.update({f"{name}.{key}": value for key, value in result.items()})
        losses = result["scale_losses"]
        print(f"{name}: seed {seed}, best {result['best_index'][0]}, loss {losses.min():.6g} "
              f"(round to nearest {losses[0]:.6g}), margins {scale_margin:.1e} {clip_margin:.1e}")
    save_file(tensors, out / "small.safetensors")


# ----------------------------------------------------------------- real layers

SITES = {
    "layer1.self_attn.q_proj": ("layer1.attn_in", ["layer1.self_attn.q_proj"]),
    "layer1.self_attn.v_proj": ("layer1.attn_in", ["layer1.self_attn.v_proj"]),
    "layer1.self_attn.q_proj+v_proj": (
        "layer1.attn_in", ["layer1.self_attn.q_proj", "layer1.self_attn.v_proj"]),
    "layer3.mlp.gate_proj": ("layer3.mlp_in", ["layer3.mlp.gate_proj"]),
    "layer2.mlp.down_proj": ("layer2.down_in", ["layer2.mlp.down_proj"]),
}


def figures(x, weights, spec):
    """The figures of one site. Clip losses are sums over rows and groups of all linears."""
    losses, best, scale = search_scale(x, weights, spec)
    counts, before, after, finished = np.zeros(CLIP_STEPS, dtype=int), 0.0, 0.0, []
    for weight in weights:
        index, clip_losses = search_clip(x / scale, weight * scale, spec)
        counts += np.bincount(index.ravel(), minlength=CLIP_STEPS)
        before += float(clip_losses[0].sum())
        after += float(clip_losses.min(0).sum())
        finished.append(dequantize(*apply_clip(weight * scale, index, spec)).reshape(weight.shape)
                        / scale)
    return {
        "scale_losses": losses.tolist(), "best_index": best,
        "clip_counts": counts.tolist(),
        "group_loss_unclipped": before, "group_loss_clipped": after,
        "output_loss_clipped": output_loss(x, weights, finished),
    }


def codellama(out):
    from safetensors import safe_open

    rows = []
    with safe_open(DATA / "layers" / "codellama13b_layers.safetensors", "pt") as file:
        for name, (site, modules) in SITES.items():
            x = file.get_tensor(site + ".calibration").float().numpy()
            weights = [file.get_tensor(m + ".weight").float().numpy() for m in modules]
            for bits in (4, 3):
                spec = {"bits": bits, "group_size": 128, "symmetric": False}
                rows.append({"site": name, "inputs": site, "linears": modules, **spec,
                             **figures(x, weights, spec)})
                print(name, bits, rows[-1]["best_index"], flush=True)
    text = json.dumps(rows, indent=1)
    (out / "codellama13b.json").write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["small", "codellama"])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "tests/golden/awq_reference")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    globals()[args.what](args.out)


if __name__ == "__main__":
    main()
