#!/usr/bin/env python3
"""Write tests/golden/eval/tasks.json: multiple-choice tasks, by transformers.

Usage:
    tools/make_task_golden.py [--out tests/golden/eval]

The rules are those of lm-evaluation-harness 0.4 (tasks arc_easy, hellaswag, piqa, winogrande, no
examples before the question; api/model.py, _encode_pair; models/huggingface.py,
_loglikelihood_tokens), written anew here.

    bos_mode auto     the tokenizer's special tokens around the text
    bos_mode never    none

A row of "tokens": file, bos_mode, max_tokens, items, sequences, truncated, and hash: FNV-1a over
64-bit words, of every item its gold index and number of choices; of every choice the place where
scoring starts, its characters, the number of tokens, the tokens.

A row of "scores": file, bos_mode, max_tokens, truncated, and the first ITEMS items:
log_likelihoods in nats (fp32 weights, eager attention, log-probabilities and sums in float64),
scored_tokens of each choice, and by numpy.argmax whether the item is correct: acc, acc_norm.

The model is stories15M; it and the files are found through AWQ_TEST_DATA (default ../shared/data
beside the repository).

Dependencies: torch, transformers, tokenizers, numpy.
"""

import argparse
import json
import os
import re
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AWQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
MODEL = "stories15M"
FILES = ["arc_easy.jsonl", "hellaswag_1000.jsonl", "piqa_valid.jsonl", "winogrande.jsonl"]
ITEMS = 5
# The second truncates contexts; some choices of PIQA are too long for it.
SCORED = [("auto", 256), ("never", 48)]
HASHED = [("auto", 1024), ("never", 512)]


def clean(text):
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def requests(doc):
    """[(context, continuation, choice whose length normalizes)], gold"""
    if "endings" in doc:
        context = clean(f"{doc['activity_label']}: {doc['ctx_a']} {doc['ctx_b'].capitalize()}")
        endings = [clean(ending) for ending in doc["endings"]]
        return [(context, " " + ending, ending) for ending in endings], int(doc["label"])
    if "context_options" in doc:
        rest = doc["continuation"].strip()
        return [(context, " " + rest, rest) for context in doc["context_options"]], doc["gold"]
    context = doc["query"] + "\nAnswer:"
    return [(context, " " + choice, choice) for choice in doc["choices"]], doc["gold"]


def encode_pair(tokenizer, context, continuation, special):
    spaces = len(context) - len(context.rstrip())
    if spaces > 0:
        continuation = context[-spaces:] + continuation
        context = context[:-spaces]
    whole = tokenizer.encode(context + continuation, add_special_tokens=special).ids
    before = len(tokenizer.encode(context, add_special_tokens=special).ids)
    return whole[:before], whole[before:]


def sequence(tokenizer, request, mode, max_tokens):
    """tokens, of which the last is not run; where scoring starts; whether the context was cut"""
    context, continuation = encode_pair(tokenizer, request[0], request[1], mode == "auto")
    assert context and continuation and len(continuation) <= max_tokens
    kept = (context + continuation)[-(max_tokens + 1):]
    return kept, len(kept) - len(continuation), len(kept) < len(context) + len(continuation)


def fnv1a(words):
    value = 0xCBF29CE484222325
    for word in words:
        value = ((value ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def read(name):
    lines = (DATA / "text" / name).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def tokens_row(tokenizer, name, mode, max_tokens):
    words = []
    row = {"file": name, "bos_mode": mode, "max_tokens": max_tokens, "items": 0, "sequences": 0,
           "truncated": 0}
    for doc in read(name):
        choices, gold = requests(doc)
        words += [gold, len(choices)]
        row["items"] += 1
        row["sequences"] += len(choices)
        for request in choices:
            kept, start, cut = sequence(tokenizer, request, mode, max_tokens)
            words += [start, len(request[2]), len(kept), *kept]
            row["truncated"] += cut
    return {**row, "hash": fnv1a(words)}


@torch.no_grad()
def log_likelihood(model, kept, start):
    logits = model(input_ids=torch.tensor([kept[:-1]])).logits[0, start - 1:]
    log_p = logits.double().log_softmax(-1)
    return log_p.gather(1, torch.tensor(kept[start:])[:, None]).sum().item()


def scores_row(tokenizer, model, name, mode, max_tokens):
    items = []
    truncated = 0
    for doc in read(name)[:ITEMS]:
        choices, gold = requests(doc)
        kept = [sequence(tokenizer, request, mode, max_tokens) for request in choices]
        truncated += sum(cut for _, _, cut in kept)
        likelihoods = np.array([log_likelihood(model, *each[:2]) for each in kept])
        lengths = np.array([float(len(request[2])) for request in choices])
        items.append({"log_likelihoods": likelihoods.tolist(),
                      "scored_tokens": [len(tokens) - start for tokens, start, _ in kept],
                      "acc": bool(np.argmax(likelihoods) == gold),
                      "acc_norm": bool(np.argmax(likelihoods / lengths) == gold)})
    return {"file": name, "bos_mode": mode, "max_tokens": max_tokens, "truncated": truncated,
            "items": items}


def main():
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "tests" / "golden" / "eval")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    directory = DATA / "models" / MODEL
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager").eval()
    golden = {"model": MODEL, "tokens": [], "scores": []}
    for name in FILES:
        golden["tokens"] += [tokens_row(tokenizer, name, *how) for how in HASHED]
        golden["scores"] += [scores_row(tokenizer, model, name, *how) for how in SCORED]
        print(name, golden["tokens"][-1]["hash"], flush=True)
    (args.out / "tasks.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
