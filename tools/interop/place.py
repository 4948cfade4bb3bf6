"""Where the rows of tools/interop/check are made: our program, a model, a text, and room for files."""
import json
import pathlib
import subprocess

import numpy as np

CTX = 256  # tokens of a window, BOS first
WINDOWS = 4


class Place:
    def __init__(self, awq, model, text, work):
        self.awq, self.model, self.text = awq, pathlib.Path(model), text
        self.work = pathlib.Path(work)
        self.config = json.loads((self.model / "config.json").read_text())
        self.tokens = json.loads(self.run("tokenize", model, "--no-special", "--file", text))
        bos = self.config["bos_token_id"]
        step = CTX - 1
        self.windows = [[bos] + self.tokens[i * step:(i + 1) * step] for i in range(WINDOWS)]

    def run(self, *arguments):
        done = subprocess.run([self.awq, *map(str, arguments)], check=False, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"awq {arguments[0]}: {done.stderr.decode(errors='replace')[-300:]}")
        return done.stdout.decode()

    def quantized(self, name, *options):
        """MODEL quantized, once; the search is not what is looked at here."""
        out = self.work / name
        if not out.exists():
            self.run("quantize", self.model, "-o", out, "--samples", 16, "--seq-len", CTX, *options)
        return out

    def converted(self, source, name, *options):
        out = self.work / name
        if not out.exists():
            self.run("convert", source, "-o", out, *options)
        return out

    def evaluate(self, path, *options):
        return json.loads(self.run(
            "eval", path, "--text", self.text, "--ctx", CTX, "--bos", "window", "--max-tokens",
            WINDOWS * CTX, "--precision", "f32", "--json", "-", *options))

    def perplexity(self, path):
        return self.evaluate(path)["perplexity"]

    def logits(self, path):
        """[CTX, vocabulary] of the first window, in fp32."""
        ids, out = self.work / "ids", self.work / "logits"
        ids.write_text(" ".join(map(str, self.windows[0])))
        subprocess.run([pathlib.Path(self.awq).with_name("awq_logits"), path, ids, out], check=True)
        return np.fromfile(out, np.float32).reshape(CTX, -1)

    def written(self, path, prompt, tokens):
        """What our program writes after the prompt, always taking the most likely token."""
        return self.run("run", path, "-p", prompt, "-n", tokens, "--temperature", 0, "--quiet",
                        "--precision", "f32").rstrip("\n")


def perplexity_of(logits_of, windows):
    """From a function ids -> logits [ids, vocabulary], in float64 from there."""
    nats, count = 0.0, 0
    for ids in windows:
        logits = np.asarray(logits_of(ids), np.float64)[:-1]
        top = logits.max(axis=1, keepdims=True)
        normal = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        nats += (normal - logits[np.arange(len(logits)), ids[1:]]).sum()
        count += len(ids) - 1
    return float(np.exp(nats / count))
