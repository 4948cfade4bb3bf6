#!/usr/bin/env python3
"""Files and functions that outgrow what can be read at once.

tools/check_sizes.py [ROOT]

Files: 400 lines are worth a look, 600 are too many. C++ functions: 60 and 100.
"""

import pathlib
import re
import sys

import cxx_source

FILE_SOFT, FILE_HARD = 400, 600
FUNCTION_SOFT, FUNCTION_HARD = 60, 100
FOLDERS = ["src", "include", "testing", "tests", "tools", "fuzz", "bench"]

_NOT_A_FUNCTION = re.compile(r"^\s*(?:export\s+|inline\s+)?(?:namespace|class|struct|union|enum"
                             r'|extern\s+"[^"]*"\s*$)\b|^\s*extern\s+" *"\s*$')
_TEMPLATE = re.compile(r"\btemplate\s*<[^<>]*(?:<[^<>]*(?:<[^<>]*>[^<>]*)*>[^<>]*)*>")


def functions(text):
    """(name, first line, lines) of every function body that stands in a namespace or a class.

    Braces are matched; what a brace opens is told by the words before it."""
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                  cxx_source.blank(text), flags=re.MULTILINE)
    found, stack, begin = [], [], 0
    for match in re.finditer(r"[{};]", text):
        at, brace = match.start(), match.group(0)
        inside = any(kind == "function" for kind, _, _ in stack)
        in_parentheses = text.count("(", begin, at) > text.count(")", begin, at)
        if in_parentheses and not inside:
            continue  # a default argument
        if brace == "{":
            head = _TEMPLATE.sub(" ", text[begin:at])
            is_function = "(" in head and not _NOT_A_FUNCTION.match(head)
            kind = "function" if is_function and not inside else "other"
            start = begin + len(text[begin:at]) - len(text[begin:at].lstrip())
            stack.append((kind, head, start))
        elif brace == "}" and stack:
            kind, head, start = stack.pop()
            if kind == "function":
                name = re.search(r"([\w:~]+|operator\W+)\s*\(", head)
                first = text.count("\n", 0, start) + 1
                found.append((name.group(1) if name else "?", first,
                              text.count("\n", 0, at) + 2 - first))
        begin = at + 1
    return found


def check(root):
    """(too large, worth a look), as lines."""
    hard, soft = [], []

    def judge(what, lines, soft_limit, hard_limit):
        if lines > hard_limit:
            hard.append(f"{what}: {lines} lines, at most {hard_limit}")
        elif lines > soft_limit:
            soft.append(f"{what}: {lines} lines, better at most {soft_limit}")

    for path in cxx_source.sources(root, FOLDERS, (".h", ".cc", ".cu", ".cuh", ".inc", ".py")):
        text = path.read_text()
        name = path.relative_to(root)
        judge(name, text.count("\n"), FILE_SOFT, FILE_HARD)
        if path.suffix != ".py":
            for function, line, lines in functions(text):
                judge(f"{name}:{line} {function}", lines, FUNCTION_SOFT, FUNCTION_HARD)
    return hard, soft


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else cxx_source.ROOT
    too_large, worth_a_look = check(root)
    for line in worth_a_look:
        print("note:", line)
    sys.exit(cxx_source.report("check_sizes", too_large, "nothing is too large"))
