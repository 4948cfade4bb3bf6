#!/usr/bin/env python3
"""Write tests/golden/eval/perplexity.json: perplexities and divergences by transformers.

Usage:
    tools/make_eval_golden.py [--out tests/golden/eval]

Everything is computed in fp32 (weights widened, eager attention), log-probabilities in
float64. Two ways to cut a text into windows of ctx tokens:
    auto     the text is tokenized once, as the tokenizer does by default (special tokens
             once, at the very start), and cut every ctx tokens;
    window   the text is tokenized without special tokens, and every window is BOS
             followed by the next ctx - 1 tokens.
Either way a window gives ctx - 1 predictions (its first token is never predicted), the
rest of the text after the last whole window is dropped, and only the first `windows`
windows are used.

A row: model, text, variant, bos_mode, ctx, windows, predictions, nll_nats_per_token,
perplexity, first_nlls (of the first 8 predictions, to find a difference). Rows of
variant rtn_w4_g32 have every linear in the decoder layers (not the embedding, not
lm_head) rounded to nearest by the quantizer of awq_reference.py, 4 bits asymmetric in
groups of 32, dequantized to fp32 and not rounded further; and, against the unquantized
model, over all predictions: kl_mean_nats, kl_median_nats, kl_p99_nats of
KL(original || quantized) (percentile with linear interpolation between ranks), and
top1_agreement, the share of predictions with the same most probable token.

Models and texts are found through AWQ_TEST_DATA (default ../shared/data beside the
repository); little-stories and its text are in the repository.

Dependencies: torch, transformers, tokenizers, numpy.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from awq_reference import fake_quantize

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AWQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
BUNDLED = REPOSITORY / "models" / "little-stories"
RTN = {"bits": 4, "group_size": 32, "symmetric": False}

# model, text, BOS mode, ctx, windows, whether to add the rtn_w4_g32 row
ROWS = [
    ("stories15M", "tinystories.txt", "auto", 256, 8, False),
    ("stories15M", "tinystories.txt", "window", 256, 8, True),
    ("stories260K", "tinystories.txt", "auto", 256, 8, False),
    ("stories260K", "tinystories.txt", "window", 256, 8, False),
    ("minimind2-small", "wikitext2_test.txt", "window", 256, 16, False),
    ("little-stories", "heldout.txt", "auto", 256, 16, False),
    ("little-stories", "heldout.txt", "window", 256, 16, True),
]


def model_directory(name):
    return BUNDLED if name == "little-stories" else DATA / "models" / name


def read_text(name):
    path = BUNDLED / name if name == "heldout.txt" else DATA / "text" / name
    return path.read_bytes().decode()


def cut(directory, text, mode, ctx, windows):
    """Token windows [windows, ctx]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    # Far more text than the windows need; tokenizing all of it takes long.
    text = text[: windows * ctx * 16]
    ids = torch.tensor(tokenizer.encode(text, add_special_tokens=mode == "auto").ids)
    if mode == "auto":
        return ids[: windows * ctx].view(windows, ctx)
    bos = json.loads((directory / "config.json").read_text())["bos_token_id"]
    rest = ids[: windows * (ctx - 1)].view(windows, ctx - 1)
    return torch.cat([torch.full((windows, 1), bos), rest], dim=1)


def load(directory):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def log_probabilities(model, windows):
    """[predictions, vocabulary] in float64."""
    logits = torch.cat([model(input_ids=w[None]).logits[:, :-1] for w in windows])
    return logits.double().log_softmax(-1).flatten(0, 1)


@torch.no_grad()
def round_to_nearest(model):
    for name, module in model.model.layers.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.copy_(torch.from_numpy(fake_quantize(module.weight.numpy(), RTN)))


def measures(log_p, windows):
    targets = windows[:, 1:].reshape(-1, 1)
    nll = -log_p.gather(1, targets).squeeze(1)
    return {"predictions": len(nll), "nll_nats_per_token": nll.mean().item(),
            "perplexity": nll.mean().exp().item(), "first_nlls": nll[:8].tolist()}


def divergence(log_p, log_q):
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).numpy()
    same = log_p.argmax(-1) == log_q.argmax(-1)
    return {"kl_mean_nats": float(kl.mean()), "kl_median_nats": float(np.median(kl)),
            "kl_p99_nats": float(np.percentile(kl, 99)),
            "top1_agreement": same.double().mean().item()}


def rows_of(name, text, mode, ctx, count, with_rtn):
    directory = model_directory(name)
    windows = cut(directory, read_text(text), mode, ctx, count)
    model = load(directory)
    log_p = log_probabilities(model, windows)
    head = {"model": name, "text": text}
    shape = {"bos_mode": mode, "ctx": ctx, "windows": count}
    yield {**head, "variant": "original", **shape, **measures(log_p, windows)}
    if with_rtn:
        round_to_nearest(model)
        log_q = log_probabilities(model, windows)
        yield {**head, "variant": "rtn_w4_g32", **shape, **measures(log_q, windows),
               **divergence(log_p, log_q)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "tests" / "golden" / "eval")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in ROWS:
        if not model_directory(row[0]).exists():
            print(f"{row[0]} is missing: its rows are left out")
            continue
        for result in rows_of(*row):
            rows.append(result)
            print(row[0], result["variant"], row[2], f"{result['perplexity']:.4f}", flush=True)
    (args.out / "perplexity.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
