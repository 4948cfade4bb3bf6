"""Runs `awq bench` and llama.cpp in turns, and prints one table of both: docs/benchmarks.md.

    python llamacpp_speed.py AWQ MODEL GGUF [GGUF ...] [--rounds 3] [--prompt 512] [--gen 64]
                             [--batch 1,4,8] [--threads N]

Needs llama-cpp-python==0.3.36 and numpy. Each round starts every program once, so that a machine
that changes its speed slows all of them alike; figures are medians over rounds of what each program
measures of itself, with least and most. llama.cpp runs with flash attention and an f16 cache, all
tokens of a prompt in one batch; the most likely token of each sequence is its next one, as in ours.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

OURS = {"awq, exact": [], "awq, exact, head 8": ["--head", "8"],
        "awq, int8, head 8": ["--activations", "int8", "--head", "8"]}


def peak_kib():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def measure_llama(path, prompt, gen, batches, threads):
    """What one process of llama.cpp reaches, as JSON."""
    import llama_cpp as lc
    import numpy as np

    start = time.perf_counter()
    lc.llama_backend_init()
    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, None)
    model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    most = max(batches)
    params = lc.llama_context_default_params()
    params.n_ctx = most * (prompt + gen)
    params.n_seq_max = most
    params.n_batch = params.n_ubatch = max(prompt, most)
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = lc.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = lc.llama_init_from_model(model, params)
    batch = lc.llama_batch_init(max(prompt, most), 0, most)
    tokens = np.random.default_rng(0).integers(0, vocab, prompt)

    def run(entries):  # of (token, position, sequence, wants logits)
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, logits) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = int(token), position, logits
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        assert lc.llama_decode(context, batch) == 0

    def most_likely(i):
        return np.ctypeslib.as_array(lc.llama_get_logits_ith(context, i), (vocab,)).argmax()

    def fill(sequence):
        run([(t, i, sequence, i + 1 == prompt) for i, t in enumerate(tokens)])

    memory = lc.llama_get_memory(context)
    run([(1, 0, 0, True)])
    first = time.perf_counter() - start
    lc.llama_memory_clear(memory, True)
    fill(0)  # warms up
    lc.llama_memory_clear(memory, True)
    start = time.perf_counter()
    fill(0)
    made = {"prefill": prompt / (time.perf_counter() - start), "first_token_seconds": first}
    for count in batches:
        lc.llama_memory_clear(memory, True)
        next_tokens = []
        for sequence in range(count):
            fill(sequence)
            next_tokens.append(most_likely(prompt - 1))
        start = time.perf_counter()
        for step in range(gen):
            run([(t, prompt + step, s, True) for s, t in enumerate(next_tokens)])
            next_tokens = [most_likely(s) for s in range(count)]
        made[f"decode {count}"] = count * gen / (time.perf_counter() - start)
    made["peak_mib"] = peak_kib() / 1024
    json.dump(made, sys.stdout)


def run_ours(a, flags):
    done = subprocess.run(
        [a.awq, "bench", a.model, "--prompt", str(a.prompt), "--gen", str(a.gen), "--batch", a.batch,
         "--threads", str(a.threads), "--repeat", "1", "--json", "-", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    report = json.loads(done.stdout)
    made = {"first_token_seconds": report["first_token_seconds"],
            "peak_mib": report["peak_resident_bytes"] / 2**20}
    for row in report["rows"]:
        made["reading"] = row["machine_read_bytes_per_second"] / 1e9
        name = "prefill" if row["kind"] == "prefill" else f"decode {row['batch']}"
        made[name] = row["tokens_per_second"]["median"]
    return made


def run_llama(a, path):
    done = subprocess.run([sys.executable, __file__, "--measure", path, a.awq, a.model, path,
                           "--prompt", str(a.prompt), "--gen", str(a.gen), "--batch", a.batch,
                           "--threads", str(a.threads)],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("awq")
    parser.add_argument("model")
    parser.add_argument("gguf", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=64)
    parser.add_argument("--batch", default="1,4,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    a = parser.parse_args()
    batches = [int(count) for count in a.batch.split(",")]
    if a.measure:
        measure_llama(a.measure, a.prompt, a.gen, batches, a.threads)
        return
    programs = {name: (lambda flags=flags: run_ours(a, flags)) for name, flags in OURS.items()}
    programs |= {f"llama.cpp, {path.rsplit('/', 1)[-1]}": (lambda path=path: run_llama(a, path))
                 for path in a.gguf}
    made = {name: [] for name in programs}
    for number in range(a.rounds):
        for name, run in programs.items():
            made[name].append(run())
            print(f"round {number + 1}: {name}: {made[name][-1]}", file=sys.stderr, flush=True)
    columns = ["prefill", *(f"decode {count}" for count in batches), "first_token_seconds", "peak_mib"]
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, rounds in made.items():
        cells = []
        for column in columns:
            values = [each[column] for each in rounds]
            digits = 2 if column == "first_token_seconds" else 0 if column == "peak_mib" else 1
            cells.append(f"{statistics.median(values):.{digits}f} "
                         f"[{min(values):.{digits}f}, {max(values):.{digits}f}]")
        print(f"| {name} | " + " | ".join(cells) + " |")
    reads = [each["reading"] for rounds in made.values() for each in rounds if "reading" in each]
    print(f"\nThe machine read {statistics.median(reads):.1f} GB/s [{min(reads):.1f}, {max(reads):.1f}].")


if __name__ == "__main__":
    main()
