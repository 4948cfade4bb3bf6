"""Runs `awq bench` and llama-bench of llama.cpp or ik_llama.cpp in turns, and prints tables of both.

    python in_turns.py AWQ SMALL_MODEL [--rounds 10] [--split GB/S] -- NAME=COMMAND NAME=COMMAND ...

A virtual machine's memory gives one rate now and another some seconds later, so AWQ reads it right
before and right after each program (`awq bench SMALL_MODEL`, which needs little else). A run whose
two rates differ by more than `--within` of the lower is left out. There is a table of runs below
and one of those above `--split`; the first program is compared, run by run of all rounds, with
those of another whose rates differ from its own by half of `--within` at most. A command prints
JSON: `awq bench MODEL --json -`, or `llama-bench -m GGUF -o json`. Of one sequence that is decoded.
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass


@dataclass
class Run:
    tokens: float  # a second
    read: float  # GB/s that it read, by its own account; 0: it gives none
    before: float  # GB/s that the machine gave
    after: float

    def rate(self):
        return (self.before + self.after) / 2


def alike(a, b, within):
    return max(a, b) <= (1 + within) * min(a, b)


def output_of(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                          text=True).stdout


def rate_of_machine(awq, small):
    report = json.loads(output_of([awq, "bench", small, "--prompt", "1", "--gen", "1", "--batch",
                                   "1", "--repeat", "3", "--json", "-"]))
    return report["rows"][0]["machine_read_bytes_per_second"] / 1e9


def measure(command):
    text = output_of(shlex.split(command))
    if text.lstrip().startswith("{"):
        row = next(row for row in json.loads(text)["rows"] if row["kind"] == "decode")
        return row["tokens_per_second"]["median"], row["read_bytes_per_second"] / 1e9
    rows = json.loads(text[text.index("["):text.rindex("]") + 1])
    return next(row["avg_ts"] for row in rows if row["n_gen"] > 0), 0


def spread(values, digits):
    if not values:
        return "-"
    return (f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, "
            f"{max(values):.{digits}f}]")


def print_table(runs, within):
    first = next(iter(runs))
    print(f"| | runs | tokens/s | GB/s around them | read of it, % | {first} to it |\n"
          "|---|---|---|---|---|---|")
    for name, each in runs.items():
        ratios = [ours.tokens / theirs.tokens for ours in runs[first] for theirs in each
                  if name != first and alike(ours.rate(), theirs.rate(), within / 2)]
        print(f"| {name} | {len(each)} | {spread([run.tokens for run in each], 1)} | "
              f"{spread([run.rate() for run in each], 1)} | "
              f"{spread([100 * run.read / run.rate() for run in each if run.read], 0)} | "
              f"{spread(ratios, 2)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("awq")
    parser.add_argument("small")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--within", type=float, default=0.1)
    parser.add_argument("--split", type=float, default=0)
    parser.add_argument("program", nargs="+", metavar="NAME=COMMAND")
    a = parser.parse_args()
    programs = [program.split("=", 1) for program in a.program]
    runs = {name: [] for name, _ in programs}
    before = rate_of_machine(a.awq, a.small)
    for number in range(a.rounds):
        for name, command in programs:
            tokens, read = measure(command)
            run = Run(tokens, read, before, rate_of_machine(a.awq, a.small))
            steady = alike(run.before, run.after, a.within)
            if steady:
                runs[name].append(run)
            print(f"round {number + 1}: {name}: {tokens:.1f} tokens/s, {before:.1f} and "
                  f"{run.after:.1f} GB/s{'' if steady else ': left out'}", file=sys.stderr, flush=True)
            before = run.after
    for is_above in (False, True):
        part = {name: [run for run in each if (run.rate() >= a.split) == is_above]
                for name, each in runs.items()}
        if any(part.values()):
            print_table(part, a.within)
            print()


if __name__ == "__main__":
    main()
