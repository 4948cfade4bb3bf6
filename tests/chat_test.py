#!/usr/bin/env python3
"""awq chat, through a pipe and on a terminal, and awq run --chat.

chat_test.py AWQ [unittest arguments]
"""

import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import time
import unittest

from cli_case import AWQ, MODEL, TIMEOUT_SECONDS, CliTest

# Stories go on, so that the bundled model has something to say.
TEMPLATE = ("{{ bos_token }}{% for m in messages %}"
            "{% if m.role not in ['system', 'user', 'assistant'] %}"
            "{{ raise_exception('who is ' ~ m.role ~ '?') }}{% endif %}"
            "{{ m.content }}{{ ' ' if m.role != 'user' }}{% endfor %}")
GREEDY = ["-n", "12"]
# Without it a line of a terminal is read by the terminal alone.
HAS_LIBEDIT = b"el_gets" in pathlib.Path(AWQ).read_bytes()


class Chat(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.copy_of_model()
        (self.model / "chat_template.jinja").write_text(TEMPLATE)

    def chat(self, lines, *arguments):
        return subprocess.run([AWQ, "chat", self.model, *GREEDY, *arguments],
                              input="\n".join(lines).encode(), capture_output=True,
                              timeout=TIMEOUT_SECONDS, check=False)

    def completion(self, text):
        return self.succeed("run", MODEL, "-p", text, *GREEDY, "-q").stdout.decode().rstrip("\n")

    def test_answers_are_the_model_s_and_history_is_kept(self):
        first = self.completion("One day, a girl")
        whole = f"One day, a girl{first} Then she"
        second = self.completion(whole)
        done = self.chat(["One day, a girl", "Then she"])
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(done.stdout.decode(), f"{first}\n{second}\n")

    def test_narrow_keys_and_values_are_kept_too(self):
        turns = ["One day, a girl", "Then she", "/stats"]
        done = self.chat(turns, "--kv", "int8")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertNotIn(" 0 of them kept", done.stderr.decode())
        first = self.succeed("run", MODEL, "-p", turns[0], *GREEDY, "-q", "--kv", "int8").stdout
        self.assertTrue(done.stdout.startswith(first), done.stdout)

    def test_a_turn_of_run(self):
        done = self.succeed("run", self.model, "-p", "One day, a girl", "--chat", *GREEDY, "-q")
        self.assertEqual(done.stdout.decode().rstrip("\n"), self.completion("One day, a girl"))
        self.fails(1, ["no chat template", MODEL], "run", MODEL, "-p", "One day", "--chat")

    def test_the_system_text_comes_first_and_reset_keeps_it(self):
        system = "Lily had a red ball."
        alone = self.completion(f"{system} She threw")
        done = self.chat(["She threw", "/reset", "She threw"], "--system", system)
        self.assertEqual(done.stdout.decode(), f"{alone}\n{alone}\n")

    def test_only_what_is_new_is_run(self):
        done = self.chat(["One day, a girl", "/stats", "Then she", "/stats"])
        said = done.stderr.decode()
        self.assertIn(" 0 of them kept", said)
        prompt = len(json.loads(self.succeed("tokenize", MODEL, "--text", "One day, a girl").stdout))
        # The answer's last token was drawn, but never run.
        self.assertIn(f" {prompt + 11} of them kept", said)

    def test_conversations_are_saved_and_loaded(self):
        saved = self.work / "a conversation.json"
        first = self.chat(["One day, a girl", f"/save {saved}", "Then she"]).stdout.decode()
        messages = json.loads(saved.read_text())
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"])
        self.assertEqual(messages[0]["content"], "One day, a girl")
        again = self.chat([f"/load {saved}", "Then she", "/exit", "not read"])
        self.assertEqual(again.returncode, 0, again.stderr.decode())
        self.assertTrue(first.endswith(again.stdout.decode()))

    def test_lines_and_commands(self):
        two = self.completion("One day,\na girl")
        self.assertEqual(self.chat(["One day,\\", "a girl"]).stdout.decode(), f"{two}\n")
        slash = self.completion("/a")
        self.assertEqual(self.chat(["//a", ""]).stdout.decode(), f"{slash}\n")
        self.assertEqual(self.chat(["/help"]).stdout, b"")
        for line, says in [("/nothing", "no command /nothing"), ("/save", "takes a file"),
                           ("/stats x", "takes nothing"), ("/load /no/such", "/no/such"),
                           (f"/save {self.work}", str(self.work)), (f"/load {TEXT_FILE}", "JSON")]:
            done = self.chat([line, "One day"])
            self.assertEqual(done.returncode, 1, line)
            self.assertIn(says, done.stderr.decode())
            self.assertEqual(done.stdout.decode(), self.completion("One day") + "\n", line)

    def test_what_a_template_refuses_is_not_kept(self):
        saved = self.work / "saved.json"
        saved.write_text('[{"role": "stranger", "content": "x"}]')
        done = self.chat([f"/load {saved}", "Hello", "/reset", "One day"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("who is stranger?", done.stderr.decode())
        self.assertEqual(done.stdout.decode(), self.completion("One day") + "\n")

    def test_a_template_that_loops_is_an_error(self):
        (self.model / "chat_template.jinja").write_text(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
        done = self.chat(["Hello"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("steps", done.stderr.decode())
        (self.model / "chat_template.jinja").write_text("{% if %}")
        self.fails(1, ["chat_template.jinja", "line 1"], "chat", self.model)
        self.fails(1, ["no chat template"], "chat", MODEL)

    def test_a_template_that_says_nothing_is_an_error(self):
        template = self.model / "chat_template.jinja"
        one_turn = ["run", self.model, "-p", "Hello", "--chat", *GREEDY]
        template.write_text("\n")
        for command in (["chat", self.model], one_turn):
            self.fails(1, ["chat_template.jinja: the chat template is empty"], *command)
        template.write_text("{% if messages | length > 1 %}{{ messages[0].content }}{% endif %}")
        says = ["chat_template.jinja: the chat template makes no text at all of 1 message:"]
        self.fails(1, says, *one_turn)
        done = self.chat(["Hello"])
        self.assertEqual(done.returncode, 1)
        self.assertIn(says[0], done.stderr.decode())

    def test_the_context_is_bounded(self):
        done = self.chat(["One day, a girl", "Then she", "And then"], "--context", "24")
        self.assertIn("the context of 24 tokens is full", done.stderr.decode())
        self.assertIn("context of 24 has room", done.stderr.decode())
        self.assertIn("[/reset begins anew]", done.stderr.decode())
        self.assertEqual(done.returncode, 1)

    def test_a_model_that_is_cut_short_meanwhile(self):
        weights = self.model / "model.safetensors"
        self.replace(self.model, weights.name, weights.read_bytes())
        chat = subprocess.Popen([AWQ, "chat", self.model, *GREEDY], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        chat.stdin.write(b"One day, a girl\n")
        chat.stdin.flush()
        self.assertTrue(chat.stdout.readline())
        os.truncate(weights, 4096)
        done = chat.communicate(b"Then she\n", timeout=TIMEOUT_SECONDS)
        self.assertEqual(chat.returncode, 1)
        self.assertIn("became shorter while it was read", done[1].decode())

    def test_a_conversation_goes_on_beyond_the_context(self):
        turns = ["One day, a girl", "Then she", "And then", "At last"]
        done = self.chat([*turns, "/stats"], "--context", "24", "--context-shift")
        said = done.stderr.decode()
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("no more room for the first 4 messages", said)
        self.assertIn("8 messages", said)  # all of them are kept for the user
        self.assertNotIn("is full", said)
        answers = done.stdout.decode().split("\n")
        self.assertEqual(len(answers), 5)
        # To the third turn alone, which had to begin anew; the fourth goes on from there.
        self.assertEqual(answers[2], self.completion(turns[2]))
        self.assertEqual(answers[3],
                         self.completion(f"{turns[2]}{answers[2]} {turns[3]}"))

    def test_end_tokens_of_the_generation_config(self):
        text = self.completion("One day, a girl")
        ids = json.loads(self.succeed("tokenize", MODEL, "--text", f"One day, a girl{text}").stdout)
        prompt = len(json.loads(self.succeed("tokenize", MODEL, "--text", "One day, a girl").stdout))
        self.replace(self.model, "generation_config.json",
                     json.dumps({"eos_token_id": [2, ids[prompt + 3]]}).encode())
        done = self.chat(["One day, a girl", "/stats"])
        self.assertIn(" 3 new tokens", done.stderr.decode())
        self.replace(self.model, "generation_config.json", b'{"eos_token_id": [2, 99999999]}')
        self.fails(1, ["generation_config.json", "eos_token_id"], "chat", self.model)


class Terminal(CliTest):
    """What somebody who sits there sees."""

    def setUp(self):
        super().setUp()
        model = self.copy_of_model()
        (model / "chat_template.jinja").write_text(TEMPLATE)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C")  # what is typed is UTF-8 all the same
            # A temperature so high that the model does not end by itself.
            os.execv(AWQ, [AWQ, "chat", str(model), "-n", "480", "--temperature", "3"])
        self.seen = b""
        self.addCleanup(self.end)

    def end(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def wait_for(self, wanted):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not wanted(self.seen):
            self.assertLess(time.monotonic(), deadline, self.seen)
            if select.select([self.terminal], [], [], 0.05)[0]:
                self.seen += os.read(self.terminal, 4096)
        self.seen = b""

    def type(self, text):
        os.write(self.terminal, text)

    def test_ctrl_c_stops_an_answer_and_not_the_program(self):
        self.wait_for(lambda seen: seen.endswith(b"> "))
        self.type(b"One day\r")
        self.wait_for(lambda seen: len(seen) > 20)  # the answer has begun
        self.type(b"\x03")
        self.wait_for(lambda seen: b"[stopped]" in seen and seen.endswith(b"> "))
        if HAS_LIBEDIT:
            self.type(b"given up\x03")
            self.type("/Grüße\r".encode())
            self.wait_for(lambda seen: "no command /Grüße;".encode() in seen
                          and seen.endswith(b"> "))
        self.type(b"/stats\r")
        self.wait_for(lambda seen: b"2 messages" in seen and seen.endswith(b"> "))
        self.ends_by_ctrl_d()

    @unittest.skipUnless(HAS_LIBEDIT, "the terminal's own line editing")
    def test_ctrl_d_during_an_answer_is_no_part_of_the_next_line(self):
        self.wait_for(lambda seen: seen.endswith(b"> "))
        self.type(b"One day\r")
        self.wait_for(lambda seen: len(seen) > 20)
        self.type(b"\x04")
        time.sleep(0.05)  # it has come before the prompt that follows
        self.type(b"\x03")
        self.wait_for(lambda seen: b"[stopped]" in seen and b"> " in seen)
        self.type(b"\x03/stats\r")
        self.wait_for(lambda seen: b"2 messages" in seen and seen.endswith(b"> "))
        self.ends_by_ctrl_d()

    def ends_by_ctrl_d(self):
        self.type(b"\x04")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        done = (0, 0)
        while done[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
            done = os.waitpid(self.pid, os.WNOHANG)
        pid, self.pid = self.pid, 0
        self.assertEqual(done, (pid, 0))


TEXT_FILE = MODEL / "README.md"

if __name__ == "__main__":
    unittest.main()
