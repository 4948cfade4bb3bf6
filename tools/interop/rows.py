"""Rows of the table: one JSON object a line, written as soon as there is one."""
import importlib.metadata
import json
import sys
import traceback

import numpy as np

import tolerance
from place import Place, perplexity_of


class Rows:
    def __init__(self, place, out, *packages):
        self.place, self.out = place, out
        self.program = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
        self.failures = 0

    def add(self, what, ours, theirs, allowed, passed):
        row = {"program": self.program, "what": what, "ours": ours, "theirs": theirs,
               "tolerance": allowed, "passed": bool(passed)}
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()

    def attempt(self, what, function, *arguments):
        """A row, or a failing one that says why there is none."""
        try:
            function(what, *arguments)
        except Exception as error:  # pylint: disable=broad-exception-caught
            traceback.print_exc()
            self.add(what, "", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", "", False)

    def fp32(self, what, path, logits_of):
        """Both in fp32 on the same weights: perplexities, and the logits of the first window."""
        theirs = perplexity_of(logits_of, self.place.windows)
        first = np.asarray(logits_of(self.place.windows[0]))
        apart = np.abs(self.place.logits(path) - first).max() / tolerance.size(first)
        allowed = tolerance.fp32_logits(self.place.config)
        ours = self.place.perplexity(path)
        self.add(what, f"{ours:.5f}", f"{theirs:.5f}; logits {apart:.1e} apart",
                 f"{allowed:.1e}, fp32; perplexity 1e-5",
                 apart <= allowed and abs(ours / theirs - 1) <= 1e-5)

    def rounded(self, what, path, logits_of, unit, name):
        """They compute in 16 bits."""
        theirs = perplexity_of(logits_of, self.place.windows)
        first = np.asarray(logits_of(self.place.windows[0]))
        difference = tolerance.centred(self.place.logits(path) - first)
        apart = np.sqrt((difference**2).mean()) / tolerance.size(first)
        allowed = tolerance.rounded_logits(self.place.config, unit)
        self.add(what, f"{self.place.perplexity(path):.5f}",
                 f"{theirs:.5f}; logits {apart:.1e} apart", f"{allowed:.1e}, {name} arithmetic",
                 apart <= allowed)

    def text(self, what, path, theirs, prompt, tokens):
        ours = self.place.written(path, prompt, tokens)
        self.add(what, f"{ours[:40]!r} ...", "the same" if ours == theirs else f"{theirs[:60]!r}",
                 "equal", ours == theirs and ours)

    def weights(self, what, packed, dense):
        """`dense` holds the weights as they unpack them: one model gives one value of every logit."""
        report = self.place.evaluate(dense, "--reference", packed)
        ours, theirs = report["reference_perplexity"], report["perplexity"]
        far = report["kl_p99_nats"]
        self.add(what, f"{ours:.5f}", f"{theirs:.5f}; KL {far:g}", "equal",
                 ours == theirs and far == 0 and report["kl_mean_nats"] == 0)


def main(make, *packages):
    """make(rows) with the arguments that tools/interop/check gives."""
    awq, model, text, work, out = sys.argv[1:]
    with open(out, "w", encoding="utf-8") as file:
        make(Rows(Place(awq, model, text, work), file, *packages))
