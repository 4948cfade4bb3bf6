"""What the tests of awq and a hub share: a hub of their own, a home of their own, the program."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import hub_server as server

TOKEN = "hf_DoNotTell"
COMMIT = "c0ffee" + "0" * 34
WEIGHTS = bytes(range(256)) * 40000  # 10 MB, more than sockets buffer
TIMEOUT_SECONDS = 300
AWQ = str(pathlib.Path(sys.argv.pop(1)).resolve())


class HubTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="awq_hub_"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.hub = server.Hub()
        self.addCleanup(self.hub.close)
        self.home = self.work / "home"
        self.cache = self.home / "hub"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.work),
                            "HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.home),
                            "HF_TOKEN": TOKEN, "HF_HUB_DOWNLOAD_TIMEOUT": "5"}

    def add(self, name="org/model", **options):
        files = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}",
                 "model.safetensors": WEIGHTS, **options.pop("files", {})}
        large = {"model.safetensors", *options.pop("large", ())}
        return self.hub.add(name, files, large=large, commit=COMMIT, **options)

    def run_awq(self, *arguments, **environment):
        return subprocess.run([AWQ, *map(str, arguments)], capture_output=True, text=True,
                              env={**self.environment, **environment}, cwd=self.work,
                              stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False)

    def succeed(self, *arguments, **environment):
        done = self.run_awq(*arguments, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_token_is_kept(done)
        return done

    def fails(self, says, *arguments, **environment):
        done = self.run_awq(*arguments, **environment)
        self.assertEqual(done.returncode, 1, done.stderr + done.stdout)
        for words in says:
            self.assertIn(str(words), done.stderr)
        self.assertNotIn("Sanitizer", done.stderr)
        self.assertNotIn("signature=", done.stderr)
        self.assert_token_is_kept(done)
        return done

    def pull(self, name="org/model", *arguments, **environment):
        directory = self.succeed("pull", name, *arguments, **environment).stdout
        return pathlib.Path(directory.removesuffix("\n"))

    def assert_token_is_kept(self, done):
        """Neither shown nor sent to the storage, whatever happened."""
        self.assertNotIn(TOKEN, done.stderr + done.stdout)
        for role, _, path, headers in self.hub.requests:
            if role == "storage":
                self.assertNotIn("authorization", headers, path)
                self.assertNotIn(TOKEN, str(headers))

    def folder(self, name="org/model"):
        return self.cache / ("models--" + name.replace("/", "--"))

    def assert_nothing_half(self):
        self.assertEqual(list(self.cache.rglob("*.incomplete")), [])
