#!/usr/bin/env python3
"""awq and a hub: what is asked for, what lies in the cache, and how a bad network is survived.

hub_test.py AWQ [unittest arguments]
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

import hub_server as server
from hub_case import AWQ, COMMIT, TIMEOUT_SECONDS, TOKEN, WEIGHTS, HubTest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LLAMA = ROOT / "tests" / "golden" / "models" / "llama"
LITTLE = ROOT / "models" / "little-stories"


class Layout(HubTest):
    def test_files_links_and_reference(self):
        repository = self.add(files={"LICENSE": b"free", "chat_template.jinja": b"{{ x }}"})
        directory = self.pull()
        self.assertEqual(directory, self.folder() / "snapshots" / COMMIT)
        self.assertEqual((self.folder() / "refs" / "main").read_text(), COMMIT)
        self.assertEqual({p.name for p in directory.iterdir()}, set(repository.files))
        for name, content in repository.files.items():
            link = os.readlink(directory / name)
            self.assertEqual(link, f"../../blobs/{repository.hash_of(name)}")
            self.assertEqual((directory / name).read_bytes(), content)
            lock = self.cache / ".locks" / "models--org--model" / f"{repository.hash_of(name)}.lock"
            self.assertTrue(lock.is_file())
        self.assertTrue((self.folder() / ".no_exist" / COMMIT / "merges.txt").is_file())
        self.assertFalse((self.folder() / ".no_exist" / COMMIT / "LICENSE").exists())
        self.assert_nothing_half()
        # The token went to the hub with every question.
        for _, _, path, headers in self.hub.asked("hub"):
            self.assertEqual(headers.get("authorization"), f"Bearer {TOKEN}", path)

    def test_only_what_a_model_needs(self):
        self.add(files={"pytorch_model.bin": b"x", "model.gguf": b"x", "README.md": b"x",
                        "consolidated.safetensors": b"x", "onnx/model.onnx": b"x",
                        "original/LICENSE": b"x", "tf_model.h5": b"x", "modeling.py": b"x"})
        self.assertEqual(sorted(p.name for p in self.pull().iterdir()),
                         ["config.json", "model.safetensors", "tokenizer.json"])
        directory = self.pull("org/model", "--file", "model.gguf", "--file", "onnx/model.onnx")
        self.assertEqual((directory / "model.gguf").read_bytes(), b"x")
        self.assertEqual(os.readlink(directory / "onnx/model.onnx"),
                         "../../../blobs/" + server.git_hash(b"x"))

    def test_shards_are_those_of_the_index(self):
        index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors",
                                "c": "part-1.safetensors"}}
        files = {"model.safetensors.index.json": json.dumps(index).encode(),
                 "part-1.safetensors": b"1", "part-2.safetensors": b"2",
                 "part-3.safetensors": b"3", "config.json": b"{}"}
        self.hub.add("org/sharded", files, large=[n for n in files if "part" in n])
        names = {p.name for p in self.pull("org/sharded").iterdir()}
        self.assertEqual(names, set(files) - {"part-3.safetensors"})

    def test_second_time_and_new_commit(self):
        repository = self.add()
        self.pull()
        report = json.loads(self.succeed("pull", "org/model", "--json", "-").stdout)
        self.assertEqual((report["downloaded_files"], report["commit"], report["revision"]),
                         (0, COMMIT, "main"))
        # Only what changed comes again.
        new = "d" * 40
        repository.revisions.update({"main": new, new: new})
        repository.files["config.json"] = b'{"model_type": "qwen2"}'
        repository.files["LICENSE"] = repository.files["tokenizer.json"]
        self.hub.requests.clear()
        directory = self.pull()
        self.assertEqual(directory.name, new)
        self.assertEqual([r[2].rsplit("/", 1)[1] for r in self.hub.asked("hub", "GET")],
                         ["main", "config.json"])
        self.assertEqual(self.hub.asked("storage"), [])
        self.assertEqual((self.folder() / "refs" / "main").read_text(), new)
        self.assertTrue((self.folder() / "snapshots" / COMMIT / "config.json").exists())

    def test_revisions(self):
        repository = self.add()
        repository.revisions["feature/x"] = COMMIT
        self.pull("org/model@feature/x")
        self.assertEqual((self.folder() / "refs" / "feature" / "x").read_text(), COMMIT)
        self.assertIn("/revision/feature/x", self.hub.requests[0][2])
        # A whole commit cannot change: nothing is asked.
        self.hub.requests.clear()
        self.pull(f"org/model@{COMMIT}")
        self.assertEqual(self.hub.requests, [])

    def test_places_of_the_cache(self):
        self.add()
        elsewhere = self.work / "elsewhere"
        for variables, expected in (({"HF_HUB_CACHE": str(elsewhere)}, elsewhere),
                                    ({"HUGGINGFACE_HUB_CACHE": "~/older"}, self.work / "older"),
                                    ({"HF_HOME": "${HOME}/h"}, self.work / "h" / "hub"),
                                    ({"HF_HOME": "", "XDG_CACHE_HOME": str(self.work / "x")},
                                     self.work / "x" / "huggingface" / "hub"),
                                    ({"HF_HOME": ""},
                                     self.work / ".cache" / "huggingface" / "hub")):
            with self.subTest(variables):
                directory = self.pull("org/model", **variables)
                self.assertEqual(directory, expected / "models--org--model/snapshots" / COMMIT)

    def test_two_processes_fetch_once(self):
        self.add()
        self.hub.fail("storage", "GET", self.hub.repositories["org/model"].hash_of(
            "model.safetensors"), server.slow(1))
        both = [subprocess.Popen([AWQ, "pull", "org/model"], env=self.environment,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for _ in range(2)]
        for process in both:
            _, error = process.communicate(timeout=TIMEOUT_SECONDS)
            self.assertEqual(process.returncode, 0, error)
        self.assertEqual(len(self.hub.asked("storage", "GET")), 1)


class Broken(HubTest):
    """The network at its worst; the file is right in the end, or there is none."""

    def setUp(self):
        super().setUp()
        self.repository = self.add()
        self.hash = self.repository.hash_of("model.safetensors")
        self.blob = self.folder() / "blobs" / self.hash
        self.incomplete = self.blob.with_name(self.hash + ".incomplete")

    def ranges(self):
        return [r[3].get("range") for r in self.hub.asked("storage", "GET")]

    def assert_right(self):
        self.assertEqual((self.folder() / "snapshots" / COMMIT / "model.safetensors").read_bytes(),
                         WEIGHTS)
        self.assert_nothing_half()

    def test_broken_off_goes_on(self):
        self.hub.fail("storage", "GET", self.hash, server.broken_off(0.4), server.broken_off(0.5))
        self.pull()
        self.assert_right()
        first, second, third = self.ranges()
        self.assertIsNone(first)
        self.assertEqual(second, f"bytes={int(len(WEIGHTS) * 0.4)}-")
        self.assertEqual(third, f"bytes={int(len(WEIGHTS) * 0.7)}-")

    def test_interrupted_run_goes_on(self):
        self.incomplete.parent.mkdir(parents=True)
        self.hub.fail("storage", "GET", self.hash, self.trickle)
        process = subprocess.Popen([AWQ, "pull", "org/model"], env=self.environment,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end and not (self.incomplete.exists()
                                              and self.incomplete.stat().st_size > 1 << 20):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=60), -signal.SIGINT)
        held = self.incomplete.stat().st_size
        self.assertTrue(1 << 20 < held < len(WEIGHTS))
        self.assertFalse(self.blob.exists())
        done = self.succeed("pull", "org/model", "--json", "-")
        self.assertEqual(self.ranges()[-1], f"bytes={held}-")
        self.assertEqual(json.loads(done.stdout)["downloaded_bytes"], len(WEIGHTS) - held)
        self.assert_right()

    @staticmethod
    def trickle(handler):
        """Half of it, then nothing more."""
        write = handler.wfile.write

        def some(data):
            write(data[:len(data) // 2])
            if len(data) > 1 << 20:
                handler.wfile.flush()
                time.sleep(4)
                raise BrokenPipeError
        handler.wfile.write = lambda data: some(data) if len(data) > 1 << 20 else write(data)
        return False

    def test_half_files_that_are_wrong(self):
        for held in (b"nonsense", WEIGHTS + b"x", b"x" * len(WEIGHTS)):
            with self.subTest(held_bytes=len(held)):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.incomplete.parent.mkdir(parents=True)
                self.incomplete.write_bytes(held)
                self.pull()
                self.assert_right()

    def test_server_without_ranges(self):
        self.hub.fail("storage", "GET", self.hash, server.broken_off(0.4), server.no_ranges)
        self.pull()
        self.assert_right()
        self.hub.fail("storage", "GET", self.hash, server.broken_off(0.4), server.answer(416))
        shutil.rmtree(self.cache)
        self.pull()
        self.assert_right()

    def test_wrong_range(self):
        wrong = server.answer(206, {"Content-Range": f"bytes 5-9/{len(WEIGHTS)}"}, b"wrong")
        self.hub.fail("storage", "GET", self.hash, server.broken_off(0.4), wrong)
        self.pull()  # what was there is thrown away, and all is fetched anew
        self.assert_right()
        self.assertEqual(self.ranges(), [None, f"bytes={int(len(WEIGHTS) * 0.4)}-", None])

    def test_wrong_content(self):
        flip = server.content(lambda body: body[:-1] + b"?")
        self.hub.fail("storage", "GET", self.hash, flip)
        self.pull()  # once is an accident
        self.assert_right()
        shutil.rmtree(self.cache)
        self.hub.fail("storage", "GET", self.hash, flip, flip)
        self.fails(["model.safetensors", self.hash, "found"], "pull", "org/model")
        self.assertFalse(self.blob.exists())
        self.assert_nothing_half()
        self.assertFalse((self.folder() / "snapshots" / COMMIT / "model.safetensors").is_symlink())
        # Small files have git's hash.
        self.hub.fail("hub", "GET", "config.json", *[server.content(bytes.upper, True)] * 2)
        shutil.rmtree(self.cache)
        self.fails(["config.json", server.git_hash(b'{"model_type": "llama"}')], "pull", "org/model")

    def test_wrong_lengths(self):
        more = server.content(lambda body: body + b"x")
        self.hub.fail("storage", "GET", self.hash, more, more)
        self.fails(["model.safetensors", len(WEIGHTS), "more"], "pull", "org/model")
        self.assert_nothing_half()
        # Less, and the server says that this is all: the rest is asked for.
        self.hub.fail("storage", "GET", self.hash, server.content(lambda body: body[:1000]))
        self.hub.requests.clear()
        self.pull()
        self.assert_right()
        self.assertEqual(self.ranges(), [None, "bytes=1000-"])

    def test_server_in_trouble(self):
        for code in (429, 503):
            self.hub.fail("hub", "GET", "main", server.status(code, Retry_After=1))
            self.hub.fail("hub", "HEAD", "config.json", server.status(code))
            self.hub.fail("hub", "GET", "config.json", server.status(code))
            self.pull()
            shutil.rmtree(self.cache)
        start = time.monotonic()
        self.hub.fail("hub", "GET", "main", server.status(503, Retry_After=2))
        self.pull()
        self.assertGreaterEqual(time.monotonic() - start, 2)
        shutil.rmtree(self.cache)
        # Nobody waits for a thousand seconds without being told.
        self.hub.fail("hub", "GET", "main", server.status(429, Retry_After=1000))
        self.fails(["429", "1000 seconds"], "pull", "org/model")

    def test_slow_answers(self):
        self.hub.fail("hub", "GET", "main", server.slow(3))
        self.hub.fail("storage", "GET", self.hash, server.slow(3))
        self.pull("org/model", HF_HUB_DOWNLOAD_TIMEOUT="1")
        self.assert_right()
        self.fails(["HF_HUB_DOWNLOAD_TIMEOUT"], "pull", "org/model", HF_HUB_DOWNLOAD_TIMEOUT="soon")

    def test_unreachable(self):
        nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
        self.fails(["http://127.0.0.1:9", "try again"], "pull", "org/model", **nowhere)
        directory = self.pull()
        done = self.succeed("pull", "org/model", **nowhere)
        self.assertEqual(done.stdout.strip(), str(directory))
        self.assertIn("in the cache", done.stderr)

    def test_a_host_that_nobody_knows(self):
        self.fails(["gives no answer"], "pull", "org/model", HF_ENDPOINT="http://nowhere.invalid")

    def test_no_room(self):
        huge = server.answer(200, {"ETag": '"' + "a" * 40 + '"', "Content-Length": 1 << 60})
        self.hub.fail("hub", "HEAD", "config.json", huge)
        self.fails(["are free"], "pull", "org/model")
        self.assertEqual(self.hub.asked("hub", "GET", "config.json"), [])


class WhereAModelStands(HubTest):
    def setUp(self):
        super().setUp()
        self.hub.add("org/llama", {p.name: p.read_bytes() for p in LLAMA.iterdir() if p.is_file()},
                     large=["model.safetensors"], commit=COMMIT)
        self.hub.add("org/little", {p.name: p.read_bytes() for p in LITTLE.iterdir()
                                    if p.is_file()}, large=["model.safetensors"], commit=COMMIT)

    def test_every_command(self):
        text = self.work / "text.txt"
        text.write_bytes((LITTLE / "heldout.txt").read_bytes()[:4000])
        self.succeed("inspect", "org/llama")
        self.succeed("run", "org/little", "-p", "Once", "-n", "2")
        self.succeed("eval", "org/little", "--text", text, "--ctx", "64", "--max-tokens", "128",
                     "--reference", f"org/little@{COMMIT}")
        out = self.work / "out"
        self.succeed("quantize", "org/little", "-o", out, "--method", "rtn")
        self.assertFalse((out / "tokenizer.json").is_symlink())
        self.assertTrue((out / "tokenizer.json").is_file())
        self.succeed("compare", "org/little", "--methods", "rtn", "--bits", "4", "--text", text,
                     "--ctx", "64", "--max-tokens", "128")

    def test_tokenize_takes_no_weights(self):
        done = self.succeed("tokenize", "org/little", "--text", "Once")
        self.assertEqual(done.stdout,
                         self.succeed("tokenize", LITTLE, "--text", "Once").stdout)
        self.assertEqual(list(self.cache.rglob("*.safetensors")), [])
        # Half a model is none: the weights follow.
        self.succeed("inspect", "org/little")

    def test_a_local_directory_wins(self):
        local = self.work / "org" / "llama"
        local.parent.mkdir()
        local.symlink_to(LLAMA)
        self.succeed("inspect", "org/llama")
        # Its neighbour is taken for a path.
        self.fails(["taken for a path", "awq pull org/little"], "inspect", "org/little")
        self.assertEqual(self.hub.requests, [])
        self.assertFalse(self.cache.exists())

    def test_what_looks_like_a_path_is_one(self):
        for path in ("./org/llama", "/org/llama", "org/llama/", "org/", "llama", "../org/llama",
                     "~/org/llama", "org/llama/x", "org/model.safetensors", "org/llama.gguf",
                     "org//llama", "org/.hidden", "org/a--b", "org/llama@", "org/llama@../x"):
            with self.subTest(path):
                self.fails([path, "no such file" if path.endswith(".gguf") else "no such directory"],
                           "inspect", path)
        self.assertEqual(self.hub.requests, [])
        self.fails(["org/none", "no directory of this name here", "no such model"], "inspect",
                  "org/none")

    def test_wrong_names(self):
        for name in ("llama", "a/b/c", "org/x@", "org/x@a..b", "org/x@/a", "org/x@a b",
                     "org/x.git", "-org/x", "o" * 50 + "/" + "x" * 50):
            with self.subTest(name):
                # "--", or the command line would read a flag.
                self.fails([name], "pull", "--", name)
        self.assertEqual(self.hub.requests, [])


if __name__ == "__main__":
    unittest.main()
