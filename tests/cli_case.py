"""What the tests of the command line share: the bundled model, the program, and a place to work."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "little-stories"
GOLDEN = ROOT / "tests" / "golden" / "models"
LLAMA = GOLDEN / "llama"
TEXT = MODEL / "heldout.txt"
AWQ = sys.argv.pop(1)
TIMEOUT_SECONDS = 600

# Small enough for a sanitized build, large enough for every step to happen.
CALIBRATED = ["--samples", "4", "--seq-len", "64"]


def awq(*arguments, **options):
    return subprocess.run([AWQ, *map(str, arguments)], capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False, **options)


def strict_json(data):
    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(data.decode(), parse_constant=refuse)


def files_of(directory):
    """name -> bytes, but for the report, which has times in it."""
    return {p.name: p.read_bytes() for p in directory.iterdir()
            if p.name != "quantization_report.json"}


class CliTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="awq_cli_"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.out = self.work / "out"

    def copy_of_model(self, name="model"):
        """A directory with the bundled model's files, linked, so that one can be replaced."""
        directory = self.work / name
        directory.mkdir()
        for path in MODEL.iterdir():
            (directory / path.name).symlink_to(path)
        return directory

    def replace(self, directory, name, content):
        (directory / name).unlink()
        (directory / name).write_bytes(content)

    def succeed(self, *arguments, **options):
        done = awq(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done

    def fails(self, status, says, *arguments, **options):
        """Ends with one of the statuses in `status`, no signal, and all words of `says`."""
        done = awq(*arguments, **options)
        error = done.stderr.decode()
        status = status if isinstance(status, tuple) else (status,)
        self.assertIn(done.returncode, status, f"{arguments}: {error}")
        for word in says:
            self.assertIn(str(word), error)
        self.assertNotIn("Sanitizer", error)
        return done

    def fail_to_quantize(self, status, says, *arguments):
        """Like fails, and nothing that looks complete is left."""
        done = self.fails(status, says, "quantize", *arguments, "-o", self.out)
        self.assertFalse(self.out.exists())
        partial = pathlib.Path(f"{self.out}.partial")
        self.assertFalse((partial / "config.json").exists())
        return done
