#!/usr/bin/env python3
"""The checks in tools/ catch what they are for."""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import check_isa  # noqa: E402
import check_layers  # noqa: E402
import check_registered  # noqa: E402
import check_sizes  # noqa: E402
import cuda_inspect  # noqa: E402
import cxx_source  # noqa: E402


class Layers(unittest.TestCase):
    """A little house that obeys; each test breaks one rule."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.module("base", "LIBS fmt::fmt")
        self.module("io", "DEPS base LIBS\n  ZLIB::ZLIB")
        self.module("search", "DEPS base")
        self.module("api", "DEPS io")
        self.module("cli", "DEPS api")
        self.write("include/awq/awq.h", "#include <awq/result.h>\n#include <vector>\n")
        self.write("src/base/error.h", "#include <awq/result.h>\n")
        self.write("src/io/file.h", "")
        self.write("src/io/test_file.h", '#include "testing/paths.h"\n')
        self.write("src/io/file.cc", '#include "io/file.h"\n#include "base/error.h"\n')
        self.write("src/io/file_test.cc", '#include "testing/paths.h"\n'
                                          '#include "io/test_file.h"\nint f() { abort(); }\n')
        self.write("src/api/open.cc", '#include "base/error.h"\n')
        self.write("src/cli/main.cc", '#include <awq/awq.h>\nint f() { printf("x"); }\n')
        self.write("src/search/add_loops.h", "#include <cstddef>\n")
        self.write("src/search/add_isa.cc", '#include "search/add_loops.h"\n')

    def module(self, name, rest):
        self.write(f"src/{name}/CMakeLists.txt", f"# {name}: ...\nawq_module({name} {rest})\n")

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def assert_caught(self, where, says):
        problems = check_layers.check(self.root)
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(where, problems[0])
        self.assertIn(says, problems[0])

    def test_obedience_passes(self):
        self.assertEqual(check_layers.check(self.root), [])

    def test_arrow_upwards(self):
        self.write("src/base/error.h", '\n#include "io/file.h"\n')
        self.assert_caught("src/base/error.h:2", "may not include")

    def test_a_neighbour(self):
        self.write("src/search/a.cc", '#  include "io/file.h"\n')
        self.assert_caught("src/search/a.cc:1", "may not include")

    def test_what_is_not_there(self):
        self.write("src/io/a.cc", '#include "file.h"\n')
        self.assert_caught("src/io/a.cc:1", "no file below src/")
        self.module("io", "DEPS base tensors")
        self.write("src/io/a.cc", "")
        self.assert_caught("src/io/CMakeLists.txt", "tensors")

    def test_a_cycle(self):
        self.module("base", "DEPS io")
        problems = check_layers.check(self.root)
        self.assertTrue(any("lead back to base" in problem for problem in problems))

    def test_an_arrow_that_may_never_be(self):
        self.module("search", "DEPS io")
        self.assert_caught("src/search/CMakeLists.txt", "never depend on io")

    def test_the_command_line_is_on_the_public_headers(self):
        self.write("src/cli/run.cc", '#include "io/file.h"\n')
        self.assert_caught("src/cli/run.cc:1", "may not include")

    def test_public_headers_name_no_library(self):
        for header in ("<fmt/format.h>", '"base/error.h"', "<unistd.h>"):
            self.write("include/awq/awq.h", f"#include {header}\n")
            self.assert_caught("include/awq/awq.h:1", header)

    def test_product_code_knows_no_test(self):
        self.write("src/io/a.cc", '#include "io/test_file.h"\n')
        self.assert_caught("src/io/a.cc:1", "test")
        self.write("src/io/a.cc", '#include "testing/paths.h"\n')
        self.assert_caught("src/io/a.cc:1", "test")

    def test_inline_code_per_instruction_set(self):
        self.write("src/search/add_isa.cc", "#include <algorithm>\n")
        self.assert_caught("src/search/add_isa.cc:1", "<algorithm>")
        self.write("src/search/add_isa.cc", "#include <immintrin.h>\n")
        self.assertEqual(check_layers.check(self.root), [])
        self.write("src/search/add_loops.h", "#include <immintrin.h>\n")
        self.assert_caught("src/search/add_loops.h:1", "<immintrin.h>")

    def test_headers_per_instruction_set(self):
        self.write("src/search/half_isa.h", '#include <immintrin.h>\n#include "search/add_loops.h"\n')
        self.write("src/search/add_isa.cc", '#include "search/half_isa.h"\n')
        self.assertEqual(check_layers.check(self.root), [])
        self.write("src/search/half_isa.h", "#include <array>\n")
        self.assert_caught("src/search/half_isa.h:1", "<array>")
        self.write("src/search/half_isa.h", "")
        self.write("src/search/add.cc", '#include "search/half_isa.h"\n')
        self.assert_caught("src/search/add.cc:1", "half_isa.h")

    def test_headers_of_cuda(self):
        self.module("cuda", "")
        for name in ("copy.cu", "launch.cuh"):
            self.write(f"src/cuda/{name}", "#include <cuda_runtime_api.h>\n")
        self.assertEqual(check_layers.check(self.root), [])
        self.write("src/cuda/device.h", "#include <cuda_runtime_api.h>\n")
        self.assert_caught("src/cuda/device.h:1", "without CUDA")

    def test_printing_and_exiting(self):
        for line in ('std::printf("x");', "std::cerr << 1;", "abort();", "std::exit(1);",
                     'fmt::print("x");', 'fprintf(stderr, "x");'):
            self.write("src/io/a.cc", f"void f() {{ {line} }}\n")
            self.assert_caught("src/io/a.cc:1", "the library never")
        self.write("src/io/a.cc", '// printf("x")\n/* abort(); */ auto s = "exit(1)";\n'
                                  "int n = 1'000; void g() { snprintf(b, 1, s); p->exit(); }\n")
        self.assertEqual(check_layers.check(self.root), [])

    def test_what_is_on_disk_knows_no_cpu(self):
        self.write("src/io/a.cc", "#ifdef __AVX2__\n#endif\n")
        self.assert_caught("src/io/a.cc:1", "CPU")


class MachineCode(unittest.TestCase):
    NAME = "_ZN3awq4cuda12StreamKernelILi4EEEvv"
    USAGE = f"arch = sm_80\n Function {NAME}:\n  REG:128 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:9\n"
    SASS = (f"arch = sm_80\n\t\tFunction : {NAME}\n"
            "  /*0000*/ LDG.E.NA.128.CONSTANT R4, desc[UR4][R2.64] ;\n"
            "  /*0010*/ HMMA.16816.F32 R4, R4, R2, RZ ;\n")

    def problems(self, usage, sass):
        return cuda_inspect.judge(cuda_inspect.usage(usage), cuda_inspect.code(sass))[1]

    def test_what_is_as_intended_passes(self):
        self.assertEqual(self.problems(self.USAGE, self.SASS), [])

    def test_spills(self):
        self.assertEqual(len(self.problems(self.USAGE.replace("STACK:0", "STACK:8"), self.SASS)), 1)
        stored = self.SASS + "  /*0020*/ STL [R1], R4 ;\n"
        self.assertEqual(len(self.problems(self.USAGE, stored)), 1)

    def test_instructions_that_are_not_there(self):
        for wanted in ("LDG.E.NA.128", "HMMA.16816.F32"):
            self.assertEqual(len(self.problems(self.USAGE, self.SASS.replace(wanted, "MOV"))), 1)


class Sizes(unittest.TestCase):
    def lengths(self, text):
        return [(name, lines) for name, _, lines in check_sizes.functions(text)]

    def test_functions_are_found_whatever_they_hold(self):
        self.assertEqual(self.lengths('''
namespace a {
struct S : B<int (*)()> {
  S() : x_{1}, y_(2) {
    z();
  }
  int Get() const { return x_; }
  int x_ = 0;
};
template <class T, std::enable_if_t<(sizeof(T) > 1), int> = 0>
T F(S s = {}, int = 1'0) {
  if (s) { auto g = [] { return "}"; }; }  // }
  return {};
}
constexpr int kTable[] = {1,
  2};
TEST(Suite, Name) {
  for (int i = 0; i < 1; ++i) {
  }
}
}  // namespace a
extern "C" int Entry(const char* text) {
  return 0;
}
'''), [("S", 1), ("y_", 3), ("Get", 1), ("F", 5), ("TEST", 4), ("Entry", 3)])

    def test_limits(self):
        with tempfile.TemporaryDirectory() as temporary:
            root = pathlib.Path(temporary)
            (root / "src").mkdir()
            body = "  f();\n" * 99
            (root / "src/a.cc").write_text(f"void G() {{\n{body}}}\n")
            self.assertEqual(len(check_sizes.check(root)[0]), 1)
            (root / "src/a.cc").write_text("int i;\n" * 601)
            self.assertEqual(len(check_sizes.check(root)[0]), 1)
            (root / "src/a.cc").write_text("int i;\n" * 401)
            self.assertEqual([len(found) for found in check_sizes.check(root)], [0, 1])


class Registered(unittest.TestCase):
    def test_a_missing_test(self):
        written = [("a_test.cc", "Suite", name) for name in ("One", "Two", "Three", "Four")]
        known = ["Suite.One", "All/Suite.Two/3", "Suite<float>.Three"]
        missing = check_registered.missing_tests(written, known)
        self.assertEqual(len(missing), 1)
        self.assertIn("Suite.Four", missing[0])

    def test_a_missing_program(self):
        with tempfile.TemporaryDirectory() as temporary:
            root = pathlib.Path(temporary)
            (root / "src/x").mkdir(parents=True)
            (root / "src/x/a_bench.cc").write_text("")
            self.assertEqual(check_registered.missing_programs(root, {"a_bench"}), [])
            self.assertEqual(len(check_registered.missing_programs(root, {"b_bench"})), 1)
            (root / "src/x/a_fuzz.cc").write_text("")
            self.assertEqual(len(check_registered.missing_programs(root, {"a_bench"})), 2)

    def test_this_project_has_tests(self):
        self.assertGreater(len(check_registered.written_tests(ROOT)), 100)


class Isa(unittest.TestCase):
    LISTING = """
0000000000001000 <_ZN3awq4math4avx2L3AddEv>:
    1000:\tvaddps %ymm0,%ymm1,%ymm2
0000000000001100 <_ZZN3awq4math6avx51212_GLOBAL__N_13AddEvENKUlvE_clEv>:
    1100:\tvaddps %zmm0,%zmm1,%zmm2
0000000000001180 <_ZN3awq7kernels10avx512bf16L3AddEv>:
    1180:\tvdpbf16ps %zmm0,%zmm1,%zmm2
0000000000001200 <_ZN3awq4math8baselineL3AddEv>:
    1200:\taddps  %xmm0,%xmm1
    1204:\tverr   %ax
"""

    def test_only_strays_are_found(self):
        self.assertEqual(check_isa.strays(self.LISTING.splitlines()), {})
        for function in ("main", "_ZN3awq4math8baselineL3AddEv", "_ZN3awq4text8avx2liteEv",
                         "_ZSt4sortIPN3awq4math4avx23RowEEvT_S4_"):
            for instruction in ("vaddps %ymm0,%ymm1,%ymm2", "vmovss %xmm0,(%rax)"):
                stray = f"0000000000002000 <{function}>:\n    2000:\t{instruction}\n"
                self.assertEqual(check_isa.strays((self.LISTING + stray).splitlines()),
                                 {function: 1})

    def test_a_set_has_nothing_of_a_later_one(self):
        for name, instructions in (
                ("4avx2", ("vaddps %zmm0,%zmm1,%zmm2", "vaddps %ymm0,%ymm17,%ymm2",
                           "kmovw  %eax,%k1", "vpdpbusd %ymm0,%ymm1,%ymm2")),
                ("6avx512", ("vpdpbusd %zmm0,%zmm1,%zmm2", "vdpbf16ps %zmm0,%zmm1,%zmm2")),
                ("10avx512vnni", ("vdpbf16ps %zmm0,%zmm1,%zmm2",
                                  "vcvtneps2bf16 %zmm0,%ymm1"))):
            function = f"_ZN3awq7kernels{name}L3AddEv"
            for instruction in instructions:
                with self.subTest(name=name, instruction=instruction):
                    stray = f"0000000000002000 <{function}>:\n    2000:\t{instruction}\n"
                    self.assertEqual(check_isa.strays((self.LISTING + stray).splitlines()),
                                     {function: 1})


class Source(unittest.TestCase):
    def test_blank(self):
        text = 'a = "b\\"//c"; // d\n/* e\n*/ f(R"x(")" g)x", \'"\', 1\'000);\n'
        blank = cxx_source.blank(text)
        self.assertEqual(len(blank), len(text))
        for word in "bcdeg":
            self.assertNotIn(word, blank)
        self.assertIn("f(", blank)
        self.assertIn("1'000", blank)
        self.assertEqual(cxx_source.includes('// #include "x"\n#include <y>\n'), [(2, "<y>")])


if __name__ == "__main__":
    unittest.main()
