#!/usr/bin/env python3
"""Write what transformers makes of the chat templates in tests/golden/chat_templates.

Usage:
    tools/make_chat_template_golden.py

Each *.jinja there, and each line of lines.txt, is a template of our own. expected.json has

    now_seconds     what strftime_now says it is, in a zone without an offset
    conversations   by name: the request of a rendering (messages, tools and variables as JSON
                    text, add_generation_prompt)
    templates       file -> conversation -> the text, or null where transformers raises; the
                    files that do not depend on it, of one conversation
    lines           for each line of lines.txt its text of the conversation "system, turns", or null

Dependencies: transformers, jinja2.
"""

import json
import pathlib

import chat_conversations

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "chat_templates"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def main():
    cases = {f"{name}{' +' if prompt else ''}": (case, prompt)
             for name, case in chat_conversations.conversations().items() for prompt in (False, True)}
    sources = {path.name: path.read_bytes().decode() for path in sorted(GOLDEN.glob("*.jinja"))}
    lines = (GOLDEN / "lines.txt").read_text().split("\n")[:-1]
    expected = {
        "now_seconds": chat_conversations.NOW_SECONDS,
        "conversations": {name: chat_conversations.request(case, prompt, TOKENS)
                          for name, (case, prompt) in cases.items()},
        "templates": {file: {name: chat_conversations.render(source, case, prompt, TOKENS)[0]
                             for name, (case, prompt) in cases.items()
                             if file in ("assistant.jinja", "loops.jinja") or name == "turns"}
                      for file, source in sources.items()},
        "lines": [chat_conversations.render(line, *cases["system, turns"], TOKENS)[0] for line in lines],
    }
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (GOLDEN / "expected.json").write_text(text + "\n")
    refused = sum(text is None for text in expected["lines"])
    print(f"{len(lines)} lines, of them {refused} refused; {len(sources)} templates x {len(cases)}")


if __name__ == "__main__":
    main()
