"""Conversations that chat templates are tried on, and what transformers makes of them.

Used by tools/check_chat_templates and tools/make_chat_template_golden.py. Needs transformers.
"""

import datetime
import json
import re

from transformers.utils import chat_template_utils

# 2024-07-26 12:34:56, in a zone without an offset.
NOW_SECONDS = 1721997296


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12, 34, 56)


chat_template_utils.datetime = Clock

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather at a place <now>",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "description": "Town, \"country\""},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "description": "How many days", "nullable": True}},
        "required": ["place"]}}}
BOOKING = {"type": "function", "function": {
    "name": "book_room", "description": "Book a room.\nAsk before.",
    "parameters": {"type": "object", "properties": {
        "guests": {"type": "array", "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "age": {"type": "number"}}}},
        "options": {"type": "object", "properties": {"quiet": {"type": "boolean"}}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["guests"]},
    "return": {"type": "boolean", "description": "Whether it worked"}}}

HELLO = {"role": "user", "content": "Hello, wörld 😀! <b>it's</b> \"me\""}
CALL = {"type": "function", "id": "abc123XYZ",
        "function": {"name": "get_weather",
                     "arguments": {"place": "Zürich", "days": 2, "exact": True, "unit": None}}}
CALL_TEXT = {"type": "function", "id": "abc123XYZ",
             "function": {"name": "get_weather", "arguments": '{"place": "Zürich", "days": 2}'}}
SECOND_CALL = {"type": "function", "id": "def456UVW",
               "function": {"name": "book_room",
                            "arguments": {"guests": [{"name": "Ann", "age": 41.5}], "note": "a\nb"}}}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abc123XYZ",
          "content": '{"degrees": 21.5, "sky": "clear"}'}
SECOND_RESULT = {"role": "tool", "name": "book_room", "tool_call_id": "def456UVW", "content": "true"}


def conversations():
    """name -> {messages, tools, variables}"""
    system = {"role": "system", "content": "You are  a helpful\nassistant. "}
    turns = [HELLO, {"role": "assistant", "content": " Hi! "}, {"role": "user", "content": "Tell\n me more"}]
    thought = {"role": "assistant", "reasoning_content": "They greet me.\nI greet back.", "content": "Hi!"}
    inline = {"role": "assistant", "content": "<think>\nThey greet me.\n</think>\n\nHi!"}
    calls = [HELLO, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT]
    return {
        "user": {"messages": [HELLO]},
        "system": {"messages": [system, HELLO]},
        "turns": {"messages": turns},
        "system, turns": {"messages": [system, *turns]},
        "answered": {"messages": turns[:2]},
        "empty texts": {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}]},
        "two systems": {"messages": [system, HELLO, {"role": "system", "content": "Be brief."}]},
        "wrong order": {"messages": [HELLO, HELLO]},
        "assistant first": {"messages": [turns[1], HELLO]},
        "unknown role": {"messages": [HELLO, {"role": "narrator", "content": "Meanwhile"}]},
        "no content": {"messages": [{"role": "user"}]},
        "no role": {"messages": [{"content": "Hello"}]},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is "},
                                                            {"type": "text", "text": "this?"}]}]},
        "image": {"messages": [{"role": "user", "content": [{"type": "image"},
                                                            {"type": "text", "text": "What is this?"}]}]},
        "reasoning": {"messages": [HELLO, thought, turns[2]]},
        "reasoning in text": {"messages": [HELLO, inline, turns[2]]},
        "thinking": {"messages": [system, HELLO], "variables": {"enable_thinking": True}},
        "no thinking": {"messages": [system, HELLO], "variables": {"enable_thinking": False, "thinking": False}},
        "tools": {"messages": [HELLO], "tools": [WEATHER]},
        "system, tools": {"messages": [system, HELLO], "tools": [WEATHER, BOOKING]},
        "call": {"messages": calls[:2], "tools": [WEATHER]},
        "call as text": {"messages": [HELLO, {"role": "assistant", "tool_calls": [CALL_TEXT]}, RESULT],
                         "tools": [WEATHER]},
        "call, result": {"messages": calls, "tools": [WEATHER]},
        "call, result, answer": {"messages": [system, *calls, {"role": "assistant", "content": "It is warm."},
                                              {"role": "user", "content": "Thanks"}], "tools": [WEATHER]},
        "two calls": {"messages": [HELLO, {"role": "assistant", "content": "Wait.", "reasoning_content": "Two things.",
                                           "tool_calls": [CALL, SECOND_CALL]}, RESULT, SECOND_RESULT],
                      "tools": [WEATHER, BOOKING]},
        "calls without tools": {"messages": calls},
        "documents": {"messages": [HELLO], "variables": {
            "documents": [{"title": "One", "text": "First", "content": "First", "doc_id": 1},
                          {"title": "Two", "text": "Second", "content": "Second", "doc_id": 2}]}},
    }


def render(source, case, add_generation_prompt, special_tokens):
    """(text, None) or (None, what transformers says), by the path of apply_chat_template."""
    variables = {**special_tokens, **case.get("variables", {})}
    messages = [{k: v for k, v in m.items() if v is not None} for m in case["messages"]]
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], tools=case.get("tools"), chat_template=source,
            add_generation_prompt=add_generation_prompt, **variables)
        texts[0].encode()
        return texts[0], None
    except Exception as error:  # whatever a template makes Python raise
        return None, f"{type(error).__name__}: {error}"


def request(case, add_generation_prompt, special_tokens):
    """The same for awq_chat_text: a line of JSON."""
    variables = {**special_tokens, **case.get("variables", {})}
    return {"messages": json.dumps(case["messages"]),
            "tools": json.dumps(case["tools"]) if "tools" in case else "",
            "variables": json.dumps(variables),
            "add_generation_prompt": add_generation_prompt, "now_seconds": NOW_SECONDS}


def without_addresses(text):
    return re.sub(r"0x[0-9a-f]{8,}", "0x", text)
