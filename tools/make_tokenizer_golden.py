#!/usr/bin/env python3
"""Write what the `tokenizers` package does with difficult inputs and with whole texts.

Usage:
    tools/make_tokenizer_golden.py [--out tests/golden/tokenizers] [NAME ...]

One file per tokenizer, <name>.json:
    name, tokenizer     the tokenizer.json: "data/..." is under AWQ_TEST_DATA (default
                        ../shared/data beside the repository), else in the repository
    special_prefix, special_suffix
                        what add_special_tokens puts around the ids, the same for every
                        input: ids with special tokens = prefix + ids + suffix
    cases               [{text, ids, decoded?}]: text is the hex of UTF-8 bytes, ids are
                        without special tokens; decoded is the hex of the text that
                        decoding prefix + ids + suffix gives, special tokens skipped,
                        and is absent where that is the text itself
    texts               [{file, count, fnv1a64}]: for each file of AWQ_TEST_DATA/text,
                        taken whole, the number of ids without special tokens and the
                        FNV-1a hash (hex) of the ids as little-endian 32-bit words

A truncation or padding that a tokenizer.json asks for is switched off, as transformers
does (SmolLM2's file asks for 128 tokens).

The fixture in added_tokens/ is a little tokenizer of our own, cut from the bundled one,
whose added tokens have every combination of lstrip, rstrip, single_word and normalized
that matters; none of the real ones does.

Dependencies: tokenizers.
"""

import argparse
import json
import os
from pathlib import Path

from tokenizers import Tokenizer

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AWQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
GOLDEN = REPOSITORY / "tests" / "golden" / "tokenizers"

TOKENIZERS = {
    **{name: f"data/tokenizers/{name}/tokenizer.json"
       for name in ("gpt2", "llama2", "mistral", "qwen2_5", "smollm2")},
    **{name: f"data/models/{name}/tokenizer.json"
       for name in ("stories15M", "stories260K", "minimind2-small")},
    "little-stories": "models/little-stories/tokenizer.json",
    "added_tokens": "tests/golden/tokenizers/added_tokens/tokenizer.json",
}

SPACES = [
    "", " ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\n\r\n \n",
    " \n", "\n ", " \n ", "\t\n", "a ", " a", "  a", "   a", "a  b", "a   b", "a\n b", "a \n b",
    "a\n\n b", "a \n\n  b", "a\tb", "a\t\tb", "a \t b", "tail   ", "tail \n", "tail\n\n  ",
    "    def f(x):\n        return x\n\n\n\tif y:  # note\n", "a\u00a0b", "a\u2003b", "\u00a0", "a\u3000b",
    "a\u2028b\u2029c", "a\u0085b", "a\x0bb\x0cc", "a\u200bb\u200d\u2060c", "\ufeffHello", "\u1680 \u205f",
    "\u2581", "a\u2581b", "\u2581 \u2581", " \u2581a",
]
WORDS = [
    "Hello", "hello world", " Hello World", "HELLO", "HeLLo", "Once upon a time, there was a girl.",
    "I'm you're he's we'll they'd I've don't", "I'M YOU'RE HE'S WE'LL THEY'D I'VE DON'T",
    "it's' 's 'S 't 'll' 'LL '", "\u2019s isn\u2019t", "I'\u017f", "'\u212a", "O'Neil's ''quoted'' `x`",
    "snake_case camelCase kebab-case", "a.b.c", "...", "....", "!!!???", "?!", " ,", ", ,", "(x)[y]{z}",
    "#include <stdio.h>", "a+b=c; d-=e*f/g%h^i&j|k~l", "@user #tag $5.00 50% \u20ac3 \u00a37",
    "https://example.org/a?b=c&d=%20#e", "user@example.org", "C:\\dir\\file.txt", "\\n \\t \\u0041",
    "\"quotes\" \u201ccurly\u201d \u00abguillemets\u00bb", "\u2013 en \u2014 em \u2026 dots", "<b>bold</b> &amp;",
    "\n\"Hi,\" she said.\n", "!\n", "!\n\n", "a!\r\nb", " !\n x", "=\n=\n", "--\n\n--",
]
NUMBERS = [
    "0", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000", "1e-5", "0x1F", "v1.2.3",
    "a1b2c3", "1st 2nd", "2026-11-21 12:00", " 7", "  77", "\u0661\u0662\u0663", "\u096d\u096e", "\u2160\u2161\u216b",
    "\u00bd \u00b2 \u2075", "\u2460\u2461", "\U0001d7d8\U0001d7d9", "\uff11\uff12", "5\u00d76",
]
SCRIPTS = [
    "caf\u00e9 na\u00efve \u00fcber \u00c5ngstr\u00f6m", "cafe\u0301 nai\u0308ve A\u030angstro\u0308m", "\u00f1 n\u0303 \u1ed3 o\u0302\u0300 \u0323q\u0307",
    "q\u0307\u0323 q\u0323\u0307", "\u212b \u2126 \u1e9b\u0323", "\ufb01 \ufb03 \u0133", "\uac00\uac01 \u1100\u1161\u11a8", "\u1f71 \u03ac",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4e2d\u6587 English \u6df7\u5408 123", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8\u3002\u30ab\u3099",
    "\ud55c\uad6d\uc5b4 \uc548\ub155", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05b4\u05d1\u05b0\u05e8\u05b4\u05d9\u05ea", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u064e", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u093f",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0ba8\u0bbf \u0b95\u0bcd\u0bb7", "\u12a0\u121b\u122d\u129b", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8", "\u1780\u17d2\u1798\u17c2\u179a",
    "\u01c5 \u01c6 \u02b0 \u00aa \u00ba", "\u0130I\u0131i \u00df\u1e9e", "\U00010400\U00010428 \U00020000 \U0001f130",
    "\u1d2c\u1d2d \u2c61", "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308b",
]
EMOJI = [
    "\U0001f600", "Hi \U0001f44b\U0001f3fd!", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u2764\ufe0f \u2764", "1\ufe0f\u20e3", "\u270c\U0001f3ff ok",
    "\u00a9\u00ae\u2122", "\u2192 \u21d2 \u2211 \u221e \u2260", "\u250c\u2500\u2510\u2502\u2588", "\u2713\u2717",
]
ODD = [
    "\x00", "a\x00b", "\x01\x02\x1f\x7f", "\x1b[31mred\x1b[0m", "\u0080\u009f", "\ue000\uf8ff", "\U000f0000\U0010ffff",
    "\ufffd", "\ufffe\uffff", "\ufdd0", "\u202eabc\u202c", "\u00adsoft", "\"\\/\b\f", "\u0120\u010a", "\u0120hello \u00e2\u0122",
    "<0x41><0x0A>", "\u061c\u200e\u200f", "a" * 2000, "\u00e9" * 100, "ab" * 200, " " * 100, "\n" * 40, "=" * 80, "-" * 300,
    "\u4e2d" * 64, "\U0001f600" * 20, "7" * 64, "lo" + "o" * 100 + "ng",
]
SPECIAL = [
    "<s>", "</s>", "<unk>", "<pad>", "<s>Hello</s>", "<s> Hello </s> ", " <s>Hello", "a<s>b", "a <s> b", "a</s>\nb",
    "</s></s>", "<s", "s>", "< s>", "<S>", "<s>\n<s>", "<|endoftext|>", "a<|endoftext|>b", "a <|endoftext|> b",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>\u00e9<|im_end|>e\u0301",
    "<|im_start", "<|im_start|><|im_start|>", "x<|im_end|>  y", "<tool_call>\n{\"a\": 1}\n</tool_call>",
    "<tool_call><|file_sep|>", "<repo_name>awq<file_sep>", "<|fim_prefix|>a<|fim_suffix|>", "[INST] Hi [/INST]",
    "<<SYS>>\n\n<</SYS>>",
]
ADDED = [
    "a [L] b", "a  [L]  b", "a\n [L]\n b", "a [R] b", "a  [R]  b", "a [LR] b", " [LR] ", "[L][R][LR]", "[LR][LR]  [LR]",
    "a word b", "awordb", "word", "words sword word.", "word-word", "_word_", "\u00e9word", "e\u0301word \u00e9", "Caf\u00e9 cafe\u0301",
    "caf\u00e9 x", "x caf\u00e9", "[L", "a [L]word b", "word word", "<s> [L] </s>",
]
INPUTS = SPACES + WORDS + NUMBERS + SCRIPTS + EMOJI + ODD + SPECIAL


def locate(path):
    return DATA / path.removeprefix("data/") if path.startswith("data/") else REPOSITORY / path


def make_added_tokens(path):
    """A small tokenizer with NFC and added tokens of every kind."""
    data = json.loads(locate(TOKENIZERS["little-stories"]).read_text())
    model = data["model"]
    model["merges"] = model["merges"][:200]
    made = {"".join(pair) for pair in model["merges"]}
    kept = [t for t in model["vocab"] if len(t) == 1 or t in made or t in ("<pad>", "<s>", "</s>")]
    model["vocab"] = {token: i for i, token in enumerate(sorted(kept, key=model["vocab"].get))}
    data["normalizer"] = {"type": "NFC"}
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False,
             "special": False}
    for content, changes in {
        "[L]": {"lstrip": True}, "[R]": {"rstrip": True},
        "[LR]": {"lstrip": True, "rstrip": True, "special": True},
        "word": {"single_word": True},
        # Matched after NFC, so however the input spells it; the other only as written.
        "caf\u00e9": {"normalized": True}, "e\u0301word": {},
    }.items():
        number = len(model["vocab"]) + len(data["added_tokens"]) - 3
        data["added_tokens"].append({"id": number, "content": content, **flags, **changes})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def fnv1a64(ids):
    value = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def special_parts(tokenizer):
    """What add_special_tokens puts before and after the ids."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a", add_special_tokens=True).ids
    start = next(i for i in range(len(full)) if full[i : i + len(plain)] == plain)
    return full[:start], full[start + len(plain) :]


def case(tokenizer, text, prefix, suffix):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    full = tokenizer.encode(text, add_special_tokens=True).ids
    assert full == prefix + ids + suffix, repr(text)
    result = {"text": text.encode().hex(), "ids": ids}
    decoded = tokenizer.decode(full, skip_special_tokens=True)
    if decoded != text:
        result["decoded"] = decoded.encode().hex()
    return result


def make(name, out):
    path = TOKENIZERS[name]
    tokenizer = Tokenizer.from_file(str(locate(path)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    prefix, suffix = special_parts(tokenizer)
    inputs = (ADDED + SPECIAL[:12] + SCRIPTS[:8]) if name == "added_tokens" else INPUTS
    cases = [case(tokenizer, text, prefix, suffix) for text in inputs]
    texts = []
    for file in sorted((DATA / "text").iterdir()):
        if name != "added_tokens":
            ids = tokenizer.encode(file.read_bytes().decode(), add_special_tokens=False).ids
            texts.append({"file": file.name, "count": len(ids), "fnv1a64": fnv1a64(ids)})
    head = {"name": name, "tokenizer": path, "special_prefix": prefix, "special_suffix": suffix}
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    last = ",\n".join(json.dumps(t) for t in texts)
    body = json.dumps(head)[:-1] + f',\n"cases": [\n{lines}\n],\n"texts": [\n{last}\n]}}\n'
    json.loads(body)
    (out / f"{name}.json").write_text(body)
    differ = sum("decoded" in c for c in cases)
    print(f"{name}: {len(cases)} inputs, {differ} decode to something else, {len(body)} bytes",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of them")
    parser.add_argument("--out", type=Path, default=GOLDEN)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.names or list(TOKENIZERS)
    if "added_tokens" in names:
        make_added_tokens(locate(TOKENIZERS["added_tokens"]))
    for name in names:
        make(name, args.out)


if __name__ == "__main__":
    main()
