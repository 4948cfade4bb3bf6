#!/usr/bin/env python3
"""awq and a hub that lies, redirects or refuses: nothing is believed, nothing is given away.

hub_hostile_test.py AWQ [unittest arguments]
"""

import json
import shutil
import ssl
import subprocess
import unittest

import hub_server as server
from hub_case import COMMIT, TOKEN, WEIGHTS, HubTest


class Hostile(HubTest):
    def test_names_that_lead_out(self):
        repository = self.add()
        repository.siblings = [*repository.files, "../../../evil", "/tmp/evil", "a/../../evil",
                               "nul\0byte", "x" * 300, "C:\\evil"]
        self.pull()
        self.assertEqual(list(self.work.rglob("*evil*")), [])
        for name in ("../../../evil", "/tmp/evil", "a/../../evil"):
            self.fails(["no file", name], "pull", "org/model", "--file", name)
        index = json.dumps({"weight_map": {"a": "../../../evil.safetensors"}}).encode()
        self.hub.add("org/index", {"config.json": b"{}", "model.safetensors.index.json": index})
        self.fails(["index", "safetensors"], "pull", "org/index")
        self.assertEqual(list(self.work.rglob("*evil*")), [])

    def test_hashes_that_lead_out(self):
        self.add()
        for etag in ("../../../evil", "", "a" * 41, "A" * 40, "W/" + "b" * 40 + "/x"):
            self.hub.fail("hub", "HEAD", "config.json",
                          server.answer(200, {"ETag": f'"{etag}"', "Content-Length": 3}))
            self.fails(["config.json", "hash"], "pull", "org/model")
        for size in ("-5", "1" * 30, "0x10"):
            self.hub.fail("hub", "HEAD", "config.json", server.answer(
                302, {"X-Linked-Etag": '"' + "a" * 40 + '"', "X-Linked-Size": size,
                      "Location": self.hub.storage}))
            self.fails(["config.json", "how large"], "pull", "org/model")

    def test_listings_that_lie(self):
        self.add()
        for body, says in ((b"", "JSON"), (b"[]", "sha"), (b'{"sha": "main"}', "sha"),
                           (b'{"sha": "../../x", "siblings": []}', "sha"),
                           (b'{"sha": "%s", "siblings": 3}' % COMMIT.encode(), "siblings"),
                           (b"[" * 100000, "JSON"), (b" " * (17 << 20), "larger")):
            with self.subTest(says=says, body=body[:40]):
                self.hub.fail("hub", "GET", "main", server.answer(200, {}, body))
                self.fails([says], "pull", "org/model")
        bombs = {f"X-Bomb-{i}": "b" * 60000 for i in range(8)}
        self.hub.fail("hub", "GET", "main", server.answer(200, bombs, b"{}"))
        self.fails(["header"], "pull", "org/model")
        self.hub.fail("hub", "HEAD", "config.json", server.answer(
            200, {"X-Repo-Commit": "f" * 40, "ETag": '"' + "a" * 40 + '"'}))
        self.fails(["config.json", COMMIT, "f" * 40], "pull", "org/model")

    def test_redirects_never_carry_the_token(self):
        """To another port, from every kind of question; the assertion is in succeed() and fail()."""
        self.add()
        listing = json.dumps({"sha": COMMIT, "siblings": [
            {"rfilename": n} for n in ("config.json", "model.safetensors")]}).encode()
        for code in (301, 302, 303, 307, 308):
            shutil.rmtree(self.cache, ignore_errors=True)
            self.hub.requests.clear()
            there = self.hub.storage
            self.hub.fail("hub", "GET", "main", server.redirect(there + "/api/listing", code))
            self.hub.fail("storage", "GET", "listing", server.answer(200, {}, listing))
            self.hub.fail("hub", "HEAD", "config.json", server.redirect(there + "/small", code))
            small = {"ETag": '"' + server.git_hash(b"{}") + '"'}
            self.hub.fail("storage", "HEAD", "small", server.answer(200, small, b"{}"))
            self.hub.fail("hub", "GET", "config.json", server.redirect(there + "/small", code))
            self.hub.fail("storage", "GET", "small", server.answer(200, small, b"{}"))
            self.pull()
            self.assertEqual(len(self.hub.asked("storage")), 4)
        # The same server under another name is another server, too.
        port = self.hub.endpoint.rsplit(":", 1)[1]
        self.hub.requests.clear()
        self.hub.fail("hub", "GET", "main",
                      server.redirect(f"http://localhost:{port}/api/models/org/model/revision/x"))
        self.fails(["no branch, tag or commit"], "pull", "org/model")
        self.assertNotIn("authorization", self.hub.requests[-1][3])

    def test_redirects_on_the_hub_itself(self):
        self.add()
        self.hub.fail("hub", "HEAD", "config.json", server.redirect(
            f"/org/model/resolve/{COMMIT}/tokenizer.json", 307))
        self.hub.fail("hub", "GET", "config.json", server.redirect(
            f"{self.hub.endpoint}/org/model/resolve/{COMMIT}/tokenizer.json", 307))
        directory = self.pull()
        self.assertEqual((directory / "config.json").read_bytes(), b"{}")
        for _, _, _, headers in self.hub.asked("hub"):
            self.assertEqual(headers.get("authorization"), f"Bearer {TOKEN}")

    def test_redirects_without_end_or_sense(self):
        self.add()
        here = "/api/models/org/model/revision/main"
        self.hub.fail("hub", "GET", "main", *[server.redirect(here)] * 20)
        self.fails(["redirected more than"], "pull", "org/model")
        for location in ("ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "gopher://x/",
                         "http://user:word@127.0.0.1/x", "http://a b/"):
            self.hub.fail("hub", "GET", "main", server.redirect(location))
            done = self.fails(["redirects to"], "pull", "org/model")
            self.assertNotIn("root:", done.stderr)

    def test_tokens_that_would_break_the_header(self):
        self.add()
        self.fails(["HF_TOKEN", "not a token"], "pull", "org/model",
                  HF_TOKEN=f"{TOKEN}\r\nX-Evil: 1")
        self.assertEqual(self.hub.requests, [])

    def test_endpoints_that_are_none(self):
        for endpoint in ("huggingface.co", "ftp://x", "http://", "https://u:p@x", "http://x/?a=b"):
            self.fails(["HF_ENDPOINT"], "pull", "org/model", HF_ENDPOINT=endpoint)


class Encrypted(HubTest):
    def setUp(self):
        super().setUp()
        if shutil.which("openssl") is None:
            self.skipTest("needs the program openssl, to make a certificate")
        self.certificate = self.work / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", self.work / "key.pem", "-out", self.certificate],
                       check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate, self.work / "key.pem")
        self.plain = self.hub
        self.hub = server.Hub(tls)
        self.addCleanup(self.hub.close)
        self.environment.update(HF_ENDPOINT=self.hub.endpoint, SSL_CERT_FILE=str(self.certificate))
        self.add()

    def test_trusted_only(self):
        self.pull()
        shutil.rmtree(self.cache)
        self.hub.requests.clear()
        self.fails(["certificate", "SSL_CERT_FILE"], "pull", "org/model", SSL_CERT_FILE="")
        self.assertEqual(self.hub.requests, [])

    def test_never_down_to_http(self):
        self.hub.fail("hub", "GET", "model.safetensors",
                      server.redirect(self.plain.storage + "/store/x"))
        self.fails(["not encrypted"], "pull", "org/model")
        self.hub.fail("hub", "GET", "main", server.redirect(self.plain.endpoint + "/api/x"))
        self.fails(["not encrypted"], "pull", "org/model")
        self.assertEqual(self.plain.requests, [])


class Refused(HubTest):
    def test_what_is_not_there(self):
        self.add()
        self.fails(["org/none", "no such model"], "pull", "org/none")
        self.fails(["org/model", "no branch, tag or commit none"], "pull", "org/model@none")
        self.fails(["org/model", "no file none.txt"], "pull", "org/model", "--file", "none.txt")
        self.assertTrue((self.folder() / ".no_exist" / COMMIT / "none.txt").exists())
        self.hub.fail("hub", "HEAD", "config.json", server.status(404, code="EntryNotFound"))
        self.fails(["config.json", "no such file"], "pull", "org/model")
        self.fails(["org/none", "401", "HF_TOKEN"], "pull", "org/none", HF_TOKEN="")

    def test_gated_and_private(self):
        self.add("org/gated", needs_token=TOKEN, gated=True)
        self.add("org/private", needs_token=TOKEN)
        page = f"{self.hub.endpoint}/org/gated"
        self.fails(["accept the licence", page, "HF_TOKEN"], "pull", "org/gated", HF_TOKEN="")
        self.fails(["accept the licence", page], "pull", "org/gated", HF_TOKEN="hf_other")
        self.fails(["HF_TOKEN is valid"], "pull", "org/private", HF_TOKEN="hf_other")
        self.pull("org/gated")
        # The older variable, and the file that huggingface-cli login writes.
        self.pull("org/private", HF_TOKEN="", HUGGING_FACE_HUB_TOKEN=TOKEN)
        shutil.rmtree(self.cache)
        (self.home / "token").write_text(TOKEN + "\n")
        self.pull("org/private", HF_TOKEN="")
        shutil.rmtree(self.cache)
        self.fails(["401"], "pull", "org/private", HF_TOKEN="", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")

    def test_no_model_in_it(self):
        self.hub.add("org/gguf", {"README.md": b"", "x.Q4_0.gguf": b""})
        self.fails(["awq pull org/gguf --file x.Q4_0.gguf"], "pull", "org/gguf")
        self.hub.add("org/pickle", {"config.json": b"{}", "pytorch_model.bin": b""})
        self.fails(["pytorch_model.bin", "never opened"], "pull", "org/pickle")
        self.hub.add("org/empty", {})
        self.fails(["no weights"], "pull", "org/empty")
        self.hub.add("org/other", {"model.safetensors": b""})
        self.fails(["config.json"], "pull", "org/other")

    def test_offline(self):
        repository = self.add()
        offline = {"HF_HUB_OFFLINE": "1"}
        self.fails(["HF_HUB_OFFLINE", str(self.folder())], "pull", "org/model", **offline)
        directory = self.pull()
        self.hub.requests.clear()
        self.assertEqual(self.pull("org/model", **offline), directory)
        self.assertEqual(self.pull("org/model", TRANSFORMERS_OFFLINE="yes"), directory)
        self.fails(["@other", "HF_HUB_OFFLINE"], "pull", "org/model@other", **offline)
        self.fails(["HF_HUB_OFFLINE", "x.gguf"], "pull", "org/model", "--file", "x.gguf", **offline)
        (self.folder() / "blobs" / repository.hash_of("model.safetensors")).unlink()
        self.fails(["lacks", "model.safetensors", "awq pull org/model"], "pull", "org/model",
                  **offline)
        self.assertEqual(self.hub.requests, [])
        # What is gone from the cache comes back.
        self.pull()
        self.assertEqual((directory / "model.safetensors").read_bytes(), WEIGHTS)

    def test_offline_names_missing_shards(self):
        index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
        self.hub.add("org/sharded", {
            "model.safetensors.index.json": json.dumps(index).encode(), "config.json": b"{}",
            "part-1.safetensors": b"1", "part-2.safetensors": b"2"}, commit=COMMIT)
        (self.pull("org/sharded") / "part-2.safetensors").unlink()
        done = self.fails(["part-2.safetensors"], "pull", "org/sharded", HF_HUB_OFFLINE="1")
        self.assertNotIn("part-1.safetensors", done.stderr)


if __name__ == "__main__":
    unittest.main()
