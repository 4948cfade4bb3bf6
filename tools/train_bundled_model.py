#!/usr/bin/env python3
"""Make the bundled model, models/little-stories, from scratch on a CPU.

A small Llama (grouped-query attention, tied embeddings) learns to write little
stories from two sources: stories that stories15M (karpathy/llama2.c, MIT) writes
for us, and a sample of TinyStories (CDLA-Sharing-1.0).

Usage, in this order (each step is a command of its own and can be repeated):

    tools/train_bundled_model.py generate  --work DIR --minutes 15
    tools/train_bundled_model.py tokenizer --work DIR
    tools/train_bundled_model.py train     --work DIR --minutes 60
    tools/train_bundled_model.py publish   --work DIR --to models/little-stories

`generate` samples stories into DIR/stories-SEED.jsonl, `tokenizer` trains the
byte-level BPE and sets the held-out stories aside, `train` writes a complete
Hugging Face directory to DIR/checkpoint every few minutes, and `publish` measures
it on the held-out stories and copies it with its README.

Source data is found through AWQ_TEST_DATA (default ../shared/data beside the
repository): models/stories15M and text/tinystories.txt.

Dependencies: torch 2.10, transformers, tokenizers, safetensors, numpy.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AWQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TEACHER = DATA / "models" / "stories15M"
TINYSTORIES = DATA / "text" / "tinystories.txt"


# ---------------------------------------------------------------- generate


class StoryWriter:
    """stories15M with a KV cache, for sampling many stories at once.

    The output layer keeps only the tokens that occur in TinyStories (4,396 of
    32,000): three times faster, and it cuts off the improbable tail.
    """

    def __init__(self, batch, length):
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        config = json.loads((TEACHER / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.width = config["hidden_size"]
        self.eps = config["rms_norm_eps"]
        self.head_dim = self.width // self.heads
        self.batch, self.length = batch, length
        self.weights = load_file(str(TEACHER / "model.safetensors"))
        self.tokenizer = Tokenizer.from_file(str(TEACHER / "tokenizer.json"))
        self.bos = config["bos_token_id"]
        used = self.tokenizer.encode(TINYSTORIES.read_text(), add_special_tokens=False).ids
        self.vocab = torch.tensor(sorted(set(used) | {self.bos}))
        self.embedding = self.weights["model.embed_tokens.weight"]
        self.output = self.embedding[self.vocab].contiguous()
        inverse = 1.0 / config["rope_theta"] ** (torch.arange(0, self.head_dim, 2) / self.head_dim)
        angle = torch.outer(torch.arange(length), inverse)
        angle = torch.cat([angle, angle], dim=-1)
        self.cos, self.sin = angle.cos(), angle.sin()
        shape = (self.layers, batch * self.heads, length, self.head_dim)
        self.keys, self.values = torch.empty(shape), torch.empty(shape)

    def norm(self, x, name):
        return F.rms_norm(x, (self.width,), self.weights[name].float(), self.eps).bfloat16()

    def rotate(self, x, at):
        half = self.head_dim // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
        return x * self.cos[at] + turned * self.sin[at]

    def attention(self, x, layer, at):
        prefix = f"model.layers.{layer}.self_attn."
        rows = self.batch * self.heads
        q, k, v = (F.linear(x, self.weights[prefix + n + "_proj.weight"]).float()
                   .view(rows, self.head_dim) for n in "qkv")
        self.keys[layer, :, at] = self.rotate(k, at)
        self.values[layer, :, at] = v
        q = self.rotate(q, at).view(rows, 1, self.head_dim) * self.head_dim ** -0.5
        score = torch.bmm(q, self.keys[layer, :, : at + 1].transpose(1, 2))
        mixed = torch.bmm(score.softmax(-1), self.values[layer, :, : at + 1])
        mixed = mixed.view(self.batch, self.width).bfloat16()
        return F.linear(mixed, self.weights[prefix + "o_proj.weight"]).float()

    def logits(self, tokens, at):
        x = self.embedding[tokens].float()
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, prefix + "input_layernorm.weight"), layer, at)
            y = self.norm(x, prefix + "post_attention_layernorm.weight")
            gate = F.linear(y, self.weights[prefix + "mlp.gate_proj.weight"])
            up = F.linear(y, self.weights[prefix + "mlp.up_proj.weight"])
            down = F.linear(F.silu(gate) * up, self.weights[prefix + "mlp.down_proj.weight"])
            x = x + down.float()
        return F.linear(self.norm(x, "model.norm.weight"), self.output).float()

    def sample(self, generator):
        """One batch of token sequences [batch, length], every row starting with BOS."""
        tokens = torch.full((self.batch, self.length), self.bos)
        # Rows differ in temperature, and openings are sampled hot: many different stories.
        calm = torch.empty(self.batch, 1).uniform_(0.6, 0.9, generator=generator)
        for at in range(self.length - 1):
            heat = torch.ones(self.batch, 1) if at < 12 else calm
            odds = (self.logits(tokens[:, at], at) / heat).softmax(-1).cumsum(-1)
            draw = torch.rand(self.batch, 1, generator=generator) * odds[:, -1:]
            pick = torch.searchsorted(odds, draw).clamp_(max=len(self.vocab) - 1)
            tokens[:, at + 1] = self.vocab[pick.squeeze(1)]
        return tokens

    def stories(self, row):
        """The stories in one row: (text, whether it came to its end)."""
        parts, current = [], []
        for token in row.tolist() + [None]:
            if token == self.bos or token is None:
                if current:
                    parts.append((current, token is not None))
                current = []
            else:
                current.append(token)
        return [(self.tokenizer.decode(ids).strip(), whole) for ids, whole in parts]


@torch.no_grad()
def generate(args):
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(args.seed)
    writer = StoryWriter(args.batch, 256)
    end = time.time() + 60 * args.minutes
    path = args.work / f"stories-{args.seed}.jsonl"
    count = size = 0
    with path.open("w") as file:
        while time.time() < end:
            for row in writer.sample(generator):
                for text, whole in writer.stories(row):
                    if whole or len(text) > 300:
                        file.write(json.dumps({"text": text, "whole": whole}) + "\n")
                        count, size = count + 1, size + len(text)
            file.flush()
            print(f"{count} stories, {size / 1e6:.1f} MB", flush=True)


# --------------------------------------------------------------- tokenizer

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
VOCABULARY = 4096
CONTEXT = 512
HELDOUT_BYTES = 120_000
# The end of the TinyStories sample is kept from training, to measure on text by others.
TINYSTORIES_TRAIN = 0.9


def tidy(text):
    """One line break between paragraphs, however the source writes them."""
    return re.sub(r"\s*\n\s*", "\n", text.strip())


def tinystories():
    """The TinyStories sample as (training stories, held-out stories)."""
    stories = re.split(r"(?<!\n)\n(?!\n)", TINYSTORIES.read_text())
    stories = [tidy(s) for s in stories if len(s) > 100]
    cut = int(len(stories) * TINYSTORIES_TRAIN)
    return stories[:cut], stories[cut:]


def corpus(work):
    """(training documents as (text, whole), held-out stories). Always the same split."""
    written = []
    for path in sorted(work.glob("stories-*.jsonl")):
        # A file that is still being written may end in half a line.
        lines = path.read_text().split("\n")[:-1]
        written += [(tidy(d["text"]), d["whole"]) for d in map(json.loads, lines)]
    heldout, size = [], 0
    for text, whole in written:
        if whole and len(text) > 300 and size < HELDOUT_BYTES:
            heldout.append(text)
            size += len(text.encode()) + 2
    # No training story may begin like a held-out one: that drops near copies too.
    begins = {text[:120] for text in heldout}
    kept = {text: whole for text, whole in written if text[:120] not in begins}
    return list(kept.items()) + [(text, True) for text in tinystories()[0]], heldout


def tokenizer(args):
    """A byte-level BPE with BOS in front, trained on the training documents only."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    documents, heldout = corpus(args.work)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        (text for text, _ in documents),
        trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[PAD, BOS, EOS],
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                            show_progress=False))
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1",
        special_tokens=[(BOS, bpe.token_to_id(BOS))])
    bpe.save(str(args.work / "tokenizer.json"))
    (args.work / "heldout.txt").write_text("\n\n".join(heldout) + "\n")
    characters = sum(len(text) for text in heldout)
    tokens = sum(len(e.ids) - 1 for e in bpe.encode_batch(heldout))
    print(f"{len(documents)} documents, {sum(len(t) for t, _ in documents) / 1e6:.1f} MB; "
          f"{len(heldout)} held out, {characters / tokens:.2f} characters a token")


# ------------------------------------------------------------------- train


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64,
        max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_theta=10000.0, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return LlamaForCausalLM(config)


def token_stream(work, bpe, rng):
    """All training documents in a new order as one array: BOS story EOS BOS story ...

    One story in ten is followed by an empty line and the next story instead, as in a
    plain text file, so that such text does not take the model by surprise.
    """
    documents, _ = corpus(work)
    rng.shuffle(documents)
    line_break = bpe.token_to_id("\u010a")  # a newline in the byte-level alphabet
    stream, joined = [], False
    for (_, whole), encoded in zip(documents, bpe.encode_batch([t for t, _ in documents])):
        ids = encoded.ids[1:] if joined else encoded.ids
        joined = whole and rng.random() < 0.1
        ending = [line_break] * 2 if joined else [2] * whole
        stream.append(np.array(ids + ending, dtype=np.int16))
    return torch.from_numpy(np.concatenate(stream))


def batches(work, bpe, length, rows, seed):
    """Endless (inputs, targets) windows; each epoch shuffles the documents anew."""
    rng = random.Random(seed)
    while True:
        stream = token_stream(work, bpe, rng)
        shift = rng.randrange(length)
        starts = list(range(shift, len(stream) - length, length))
        print(f"epoch of {len(stream) / 1e6:.2f} M tokens", flush=True)
        rng.shuffle(starts)
        for first in range(0, len(starts) - rows + 1, rows):
            window = torch.stack([stream[s : s + length + 1] for s in starts[first : first + rows]])
            inputs, targets = window[:, :-1].long(), window[:, 1:].long()
            targets[targets == 1] = -100  # BOS is given, never written
            # Windows begin with BOS, as they do when perplexity is measured. Where that is
            # the middle of a story, its first tokens are not taught as an opening.
            targets[inputs[:, 0] != 1, :8] = -100
            inputs[:, 0] = 1
            yield inputs, targets


class Clock:
    """Seconds of work: wall time less pauses, or processor time for a busy machine."""

    def __init__(self, threads=None, longest_step=60):
        self.threads, self.longest_step = threads, longest_step
        self.elapsed, self.last = 0.0, time.time()

    def tick(self):
        if self.threads:
            self.elapsed = time.process_time() / self.threads
        else:
            # A long gap between ticks means that the process was stopped.
            now = time.time()
            self.elapsed += min(now - self.last, self.longest_step)
            self.last = now
        return self.elapsed


def optimizers(model):
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers." in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=1, weight_decay=0.05, momentum=0.95,
                         adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=1, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def save_checkpoint(model, work):
    """A complete Hugging Face directory, replaced in one rename."""
    target, fresh, old = work / "checkpoint", work / "checkpoint.new", work / "checkpoint.old"
    shutil.rmtree(fresh, ignore_errors=True)
    copy = llama().to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.save_pretrained(fresh)
    write_config(fresh)
    shutil.copy(work / "tokenizer.json", fresh)
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    write_json(fresh / "special_tokens_map.json", special)
    write_json(fresh / "tokenizer_config.json", {
        **special, "add_bos_token": True, "add_eos_token": False,
        "clean_up_tokenization_spaces": False, "model_max_length": CONTEXT,
        "tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(fresh / "generation_config.json", {
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "do_sample": True, "temperature": 0.7, "top_p": 0.9})
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)


def save_progress(work, before, tokens, steps, clock):
    """The sums over all runs; `before` is what training.json had when this one began."""
    write_json(work / "training.json",
               {"tokens": before["tokens"] + tokens, "steps": before["steps"] + steps,
                "seconds": before["seconds"] + round(clock.elapsed)})


def write_config(directory):
    """config.json in the older spelling, which every engine reads."""
    write_json(directory / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": VOCABULARY, "hidden_size": 256, "intermediate_size": 768,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype": "bfloat16"})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def perplexity(model, bpe, text, limit=None):
    """(perplexity, predictions): windows of BOS and 255 tokens of text, 255 predictions each."""
    ids = bpe.encode(text, add_special_tokens=False).ids
    count = min(len(ids) // 255, limit or len(ids))
    windows = torch.tensor(ids[: count * 255]).view(count, 255)
    windows = torch.cat([torch.ones(count, 1, dtype=torch.long), windows], dim=1)
    total = 0.0
    for part in windows.split(32):
        with torch.no_grad():
            logits = model(input_ids=part).logits[:, :-1].float()
        total += F.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="sum").item()
    return math.exp(total / (count * 255)), count * 255


def train(args):
    from tokenizers import Tokenizer

    torch.set_num_threads(args.threads)
    torch.manual_seed(7)
    bpe = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    heldout = (args.work / "heldout.txt").read_text()
    model = llama()
    before = {"tokens": 0, "steps": 0, "seconds": 0}
    if args.resume:
        before = json.loads((args.work / "training.json").read_text())
        from safetensors.torch import load_file

        state = load_file(str(args.work / "checkpoint" / "model.safetensors"))
        model.load_state_dict(state, strict=False)  # the tied lm_head is not stored
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)

    def loss_of(inputs, targets):
        logits = model(input_ids=inputs, use_cache=False).logits
        return F.cross_entropy(logits.view(-1, VOCABULARY).float(), targets.view(-1))

    if args.compile:
        loss_of = torch.compile(loss_of, dynamic=False)
    # Short windows are a quarter faster; the last part teaches the whole context.
    streams = {n: batches(args.work, bpe, n, args.tokens // n, n + before["steps"])
               for n in (CONTEXT // 2, CONTEXT)}
    clock = Clock(args.threads if args.cpu_time else None)
    steppers, saved, seen, number = optimizers(model), 0.0, 0, 0
    while (progress := clock.tick() / (60 * args.minutes)) < 1:
        inputs, targets = next(streams[CONTEXT // 2 if progress < 0.7 else CONTEXT])
        rate = args.lr * min(1, (number + 1) / 50) * (1 - progress)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = rate
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        seen, number = seen + inputs.numel(), number + 1
        if number % 20 == 0:
            print(f"step {number} {clock.elapsed:.0f} s {seen / 1e6:.2f} M tokens "
                  f"loss {loss.item():.3f}", flush=True)
        if clock.elapsed - saved > 60 * args.save_minutes:
            saved = clock.elapsed
            save_checkpoint(model, args.work)
            save_progress(args.work, before, seen, number, clock)
            print(f"saved; held-out perplexity {perplexity(model, bpe, heldout, 32)[0]:.3f}",
                  flush=True)
    save_checkpoint(model, args.work)
    save_progress(args.work, before, seen, number, clock)
    print("done", flush=True)


# ----------------------------------------------------------------- publish

README = """\
# little-stories

A Llama of {parameters:.2f} M parameters that writes little English stories for children, and
nothing else. It comes with awq.cpp so that the first command needs no download.

| | |
|---|---|
| architecture | Llama: hidden 256, MLP 768, 6 layers, 4 query and 2 key/value heads of 64, tied embeddings |
| context | 512 tokens |
| tokenizer | byte-level BPE, 4,096 tokens; `<pad>` 0, `<s>` 1 in front of every text, `</s>` 2 after a story |
| weights | bfloat16, {megabytes:.1f} MB |
| training | {tokens:.1f} M tokens in {steps} steps of 4,096, {minutes:.0f} minutes of two CPU cores |
| held-out perplexity | {heldout:.3f} on heldout.txt, {tinystories:.3f} on held-out TinyStories |

## How it was made
`tools/train_bundled_model.py` has every step. stories15M wrote {count} stories ({characters:.1f} MB;
temperature 1 for the first 12 tokens, then 0.6 to 0.9); a sample of TinyStories was added.
The model learned from both for {epochs:.1f} epochs (Muon and AdamW, windows of 256 and at the end
512 tokens). Paragraphs are separated by one line break. A story ends with `</s>`; after one
story in ten of the training text an empty line and the next story follow instead.

## Perplexity
heldout.txt holds {heldout_stories} stories by stories15M, separated by empty lines. No training story
begins with the same 120 characters. Protocol: tokenize without special tokens, cut into
windows of `<s>` and 255 tokens, predict the 255 of each, drop the tail: {predictions} predictions, fp32.
The TinyStories figure is by the same protocol on the last tenth of the sample
({tinystories_predictions} predictions), which was not trained on either.

## A sample
Temperature 0.7, top-p 0.9, from `<s>` alone:

{sample}

## Sources and licences
* stories15M: karpathy/llama2.c, MIT. Its weights wrote the training stories and heldout.txt.
* TinyStories (Eldan and Li, 2023): CDLA-Sharing-1.0. No text of it is included here.

The weights, the tokenizer and heldout.txt are distributed under the licence of awq.cpp.
"""


@torch.no_grad()
def sample_story(model, bpe, seed):
    torch.manual_seed(seed)
    ids = model.generate(torch.tensor([[1]]), do_sample=True, temperature=0.7, top_p=0.9, top_k=0,
                         max_new_tokens=300, eos_token_id=2, pad_token_id=0)
    return bpe.decode(ids[0].tolist()).strip()


def readme(work, seed):
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    checkpoint = work / "checkpoint"
    bpe = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    heldout = (work / "heldout.txt").read_text()
    training = json.loads((work / "training.json").read_text())
    documents, heldout_stories = corpus(work)
    sizes = [len(text) for text, _ in documents[: -len(tinystories()[0])]]
    corpus_tokens = sum(len(e.ids) + 1 for e in bpe.encode_batch([t for t, _ in documents]))
    value, predictions = perplexity(model, bpe, heldout)
    other, other_predictions = perplexity(model, bpe, "\n\n".join(tinystories()[1]))
    sample = sample_story(model, bpe, seed)
    return README.format(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        megabytes=(checkpoint / "model.safetensors").stat().st_size / 1e6,
        tokens=training["tokens"] / 1e6, steps=training["steps"],
        minutes=training["seconds"] / 60, epochs=training["tokens"] / corpus_tokens,
        count=len(sizes), characters=sum(sizes) / 1e6, heldout_stories=len(heldout_stories),
        heldout=value, predictions=predictions, tinystories=other,
        tinystories_predictions=other_predictions,
        sample="\n".join("> " + line for line in sample.split("\n")))


def publish(args):
    """The checkpoint, heldout.txt and a README with measured figures, moved into place."""
    fresh, old = args.to.with_suffix(".new"), args.to.with_suffix(".old")
    text = readme(args.work, args.seed)
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(args.work / "checkpoint", fresh)
    shutil.copy(args.work / "heldout.txt", fresh)
    (fresh / "README.md").write_text(text)
    for file in fresh.iterdir():
        file.chmod(0o644)
    if args.to.exists():
        args.to.rename(old)
    fresh.rename(args.to)
    shutil.rmtree(old, ignore_errors=True)
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("generate")
    step.add_argument("--minutes", type=float, default=15)
    step.add_argument("--seed", type=int, default=1)
    step.add_argument("--batch", type=int, default=512)
    commands.add_parser("tokenizer")
    step = commands.add_parser("train")
    step.add_argument("--minutes", type=float, default=60)
    step.add_argument("--save-minutes", type=float, default=4)
    step.add_argument("--tokens", type=int, default=4096, help="tokens a step")
    step.add_argument("--lr", type=float, default=5e-3)
    step.add_argument("--cpu-time", action="store_true",
                      help="count --minutes in processor time (per thread), not in wall time")
    step.add_argument("--resume", action="store_true", help="start from the last checkpoint")
    step.add_argument("--compile", action="store_true", help="faster, needs a C++ compiler")
    step = commands.add_parser("publish")
    step.add_argument("--to", type=Path, default=REPOSITORY / "models" / "little-stories")
    step.add_argument("--seed", type=int, default=1, help="of the sample in the README")
    for step in commands.choices.values():
        step.add_argument("--work", type=Path, required=True)
        step.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    globals()[args.command](args)


if __name__ == "__main__":
    main()
