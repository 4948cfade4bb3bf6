#!/usr/bin/env python3
"""Proves that awq and huggingface_hub use one cache, in both directions.

tools/hub_interop.py AWQ

Needs the Python package huggingface_hub; a local server stands for the hub. Each line that it
prints was true, or it ends with the first that was not. docs/hub.md has what it printed.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import hub_server  # noqa: E402

MODEL = ROOT / "models" / "little-stories"
NAME, REVISION = "org/little", "feature/x"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# What only one of the two writes, and the other does not need: huggingface_hub's copy of the
# listing, its tag for backups, and the marks of files that are known not to be there.
ONLY_ONE = ("trees", "CACHEDIR.TAG", ".no_exist")


class Proof:
    def __init__(self, awq, work):
        self.awq, self.work = awq, work
        self.hub = hub_server.Hub()
        # Storage has a name of its own, as the hub's has: to huggingface_hub ports are no difference.
        self.hub.storage = self.hub.storage.replace("127.0.0.1", "localhost")
        files = {p.name: p.read_bytes() for p in MODEL.iterdir()
                 if p.suffix in (".json", ".safetensors")}
        self.repository = self.hub.add(NAME, files, large=["model.safetensors"], commit=COMMIT)
        self.repository.revisions[REVISION] = COMMIT
        self.files = files

    def environment(self, home, **more):
        return {"PATH": os.environ["PATH"], "HOME": str(self.work), "HF_HOME": str(self.work / home),
                "HF_ENDPOINT": self.hub.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1", **more}

    def run_awq(self, home, *arguments, **more):
        done = subprocess.run([self.awq, *arguments], env=self.environment(home, **more),
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"awq {arguments}: {done.stderr}")
        return done.stdout.strip()

    def run_python(self, home, code, **more):
        """The value of the last line's expression, by huggingface_hub in a process of its own."""
        *statements, last = code.strip().split("\n")
        program = "\n".join(["import json, huggingface_hub as h", *map(str.strip, statements),
                             f"print(json.dumps({last.strip()}))"])
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                              env=self.environment(home, **more), check=False)
        if done.returncode != 0:
            raise AssertionError(f"{code}: {done.stderr}")
        return json.loads(done.stdout.strip().split("\n")[-1])

    def content_requests(self):
        """Questions for content, and not about it."""
        return [r for r in self.hub.requests if r[1] == "GET" and "/api/" not in r[2]]

    def tree(self, home):
        """path -> a link's target, a file's bytes."""
        root = self.work / home / "hub"
        found = {}
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            if set(relative.parts) & set(ONLY_ONE):
                continue
            if path.is_symlink():
                found[str(relative)] = ("link", os.readlink(path))
            elif path.is_file():
                found[str(relative)] = ("file", path.read_bytes())
        return found

    def theirs_is_found(self):
        directory = self.run_python("theirs", f"h.snapshot_download({NAME!r})")
        self.hub.requests.clear()
        expect(self.run_awq("theirs", "pull", NAME, HF_HUB_OFFLINE="1"), directory)
        expect(self.hub.requests, [])
        say("what snapshot_download fetched, awq pull finds, offline")
        expect(self.run_awq("theirs", "pull", NAME), directory)
        expect(self.content_requests(), [])
        say("and online without fetching a byte of it again")
        self.run_awq("theirs", "inspect", NAME, HF_HUB_OFFLINE="1")
        say("and awq inspect ORG/NAME opens it")

    def ours_is_found(self):
        directory = self.run_awq("ours", "pull", NAME)
        self.hub.requests.clear()
        expect(self.run_python("ours", f"h.snapshot_download({NAME!r}, local_files_only=True)"),
               directory)
        expect(self.run_python("ours", f"h.snapshot_download({NAME!r})", HF_HUB_OFFLINE="1"),
               directory)
        expect(self.hub.requests, [])
        say("what awq pull fetched, snapshot_download finds, offline")
        expect(self.run_python("ours", f"h.snapshot_download({NAME!r})"), directory)
        expect(self.content_requests(), [])
        say("and online without fetching a byte of it again")
        for name in self.files:
            expect(self.run_python("ours", f"h.hf_hub_download({NAME!r}, {name!r})",
                                   HF_HUB_OFFLINE="1"), f"{directory}/{name}")
        say("and hf_hub_download each of its files")
        expect(self.run_python("ours", f"""
            found = h.try_to_load_from_cache({NAME!r}, "chat_template.jinja")
            found is h._CACHED_NO_EXIST"""), True)
        say("and try_to_load_from_cache knows which optional files the repository has not")

    def hashes_hold(self):
        if not self.run_python("ours", "hasattr(h.HfApi, 'verify_repo_checksums')"):
            return say("(this version has no verify_repo_checksums)")
        checked = self.run_python("ours", f"""
            result = h.HfApi().verify_repo_checksums({NAME!r})
            [result.checked_count, len(result.mismatches), len(result.missing_paths)]""")
        expect(checked, [len(self.files), 0, 0])
        return say("verify_repo_checksums finds every hash right")

    def scan_counts(self):
        scan = self.run_python("ours", """
            info = h.scan_cache_dir()
            repo = list(info.repos)[0]
            [repo.repo_id, repo.nb_files, repo.size_on_disk, sorted(repo.refs), len(info.warnings)]
        """)
        expect(scan, [NAME, len(self.files), sum(map(len, self.files.values())), ["main"], 0])
        say("scan_cache_dir counts the same files and bytes, and warns of nothing")

    def trees_are_equal(self):
        for home in ("theirs", "ours"):
            shutil.rmtree(self.work / home)
        self.run_python("theirs", f"h.snapshot_download({NAME!r}, revision={REVISION!r})")
        self.run_awq("ours", "pull", f"{NAME}@{REVISION}")
        theirs, ours = self.tree("theirs"), self.tree("ours")
        for path in theirs.keys() | ours.keys():
            if theirs.get(path) != ours.get(path):
                raise AssertionError(f"{path}: theirs {str(theirs.get(path))[:100]}, "
                                     f"ours {str(ours.get(path))[:100]}")
        say(f"the two caches are equal: {len(ours)} paths, blobs, references, links, locks; but for "
            + ", ".join(ONLY_ONE))

    def half_file_goes_on(self):
        """As earlier versions of huggingface_hub leave it; later ones begin anew."""
        blobs = self.work / "ours" / "hub" / "models--org--little" / "blobs"
        hash_ = self.repository.hash_of("model.safetensors")
        whole = (blobs / hash_).read_bytes()
        (blobs / hash_).unlink()
        (blobs / f"{hash_}.incomplete").write_bytes(whole[:len(whole) // 3])
        self.hub.requests.clear()
        self.run_awq("ours", "pull", NAME)
        asked = [f"bytes={len(whole) // 3}-"]
        expect([r[3].get("range") for r in self.hub.asked("storage")], asked)
        expect((blobs / hash_).read_bytes() == whole, True)
        say("awq goes on with a half file HASH.incomplete")
        (blobs / hash_).unlink()
        (blobs / f"{hash_}.incomplete").write_bytes(whole[:len(whole) // 3])
        self.hub.requests.clear()
        self.run_python("ours", f"h.snapshot_download({NAME!r})")
        expect((blobs / hash_).read_bytes() == whole, True)
        goes_on = [r[3].get("range") for r in self.hub.asked("storage", "GET")] == asked
        say("this version of huggingface_hub "
            + ("goes on with what awq left" if goes_on else "fetches anew what awq left half"))


def expect(found, expected):
    if found != expected:
        raise AssertionError(f"expected {str(expected)[:300]}, found {str(found)[:300]}")


def say(line):
    print(f"- {line}", flush=True)


def main():
    import huggingface_hub
    print(f"huggingface_hub {huggingface_hub.__version__}")
    with tempfile.TemporaryDirectory(prefix="awq_hub_") as work:
        proof = Proof(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(work))
        proof.theirs_is_found()
        proof.ours_is_found()
        proof.hashes_hold()
        proof.scan_counts()
        proof.trees_are_equal()
        proof.half_file_goes_on()


if __name__ == "__main__":
    main()
