"""What the checks beside this file share: C++ sources without their comments and literals."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent

_TOKEN = re.compile(
    r"""R"(?P<mark>[^()\\ ]{0,16})\(.*?\)(?P=mark)"   # a raw string
      | "(?:\\.|[^"\\\n])*"                           # a string
      | (?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'          # a character, not a digit separator
      | //[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL)


def blank(text):
    """Comments and the insides of literals become spaces; lines and columns stay."""

    def spaces(match):
        token = match.group(0)
        kept = '"' if token[0] in 'R"' else "'" if token[0] == "'" else ""
        inner = re.sub(r"[^\n]", " ", token)
        return kept + inner[1:-1] + kept if kept else inner

    return _TOKEN.sub(spaces, text)


def blank_comments(text):
    """Comments become spaces, literals stay."""

    def spaces(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token[0] == "/" else token

    return _TOKEN.sub(spaces, text)


def includes(text):
    """(line number, written form) of every #include: '<vector>' or '"io/file.h"'."""
    pattern = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(<[^>\n]+>|"[^"\n]+")', re.MULTILINE)
    text = blank_comments(text)
    return [(text.count("\n", 0, m.start()) + 1, m.group(1)) for m in pattern.finditer(text)]


def sources(root, folders, suffixes=(".h", ".cc", ".cu", ".cuh", ".inc")):
    """The files below root's folders, sorted, as paths."""
    found = []
    for folder in folders:
        found += [p for p in (root / folder).rglob("*") if p.suffix in suffixes and p.is_file()]
    return sorted(found)


def report(name, problems, fine):
    """Prints the problems, or one line; the exit status."""
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} violations" if problems else f"{name}: {fine}")
    return 1 if problems else 0


def output_of(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
