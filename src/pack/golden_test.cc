// Linears packed by the programs of the field; tools/make_format_golden.py made the files.
#include <gtest/gtest.h>

#include <map>

#include "io/safetensors.h"
#include "pack/format.h"
#include "pack/test_linear.h"
#include "testing/paths.h"

namespace awq::pack {
namespace {

struct Golden {
  const char* file;
  const char* format;
  quant::Spec spec;
};

class PackGolden : public ::testing::TestWithParam<Golden> {};

template <class T>
Matrix<T> MatrixOf(const TensorView& view) {
  Matrix<T> matrix(view.shape[0], view.shape[1]);
  std::memcpy(matrix.data(), view.bytes.data(), view.bytes.size());
  return matrix;
}

TEST_P(PackGolden, IsReadAndWrittenAlike) {
  const auto file = io::SafetensorsFile::Open(awq::testing::GoldenDir() / "pack" /
                                              (std::string(GetParam().file) + ".safetensors"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  std::map<std::string, TensorView> tensors;
  for (const io::TensorInfo& info : file->tensors()) tensors[info.name] = file->View(info);
  const Format& format = *FindFormat(GetParam().format);
  quant::QuantizedLinear given{GetParam().spec, MatrixOf<std::uint8_t>(tensors.at("codes")),
                               MatrixOf<float>(tensors.at("scales")),
                               MatrixOf<std::uint8_t>(tensors.at("zeros"))};
  given.spec.group_size = given.in_features() / given.groups();
  if (given.spec.act_order) {
    given.group_of.resize(given.in_features());
    const TensorView& group_of = tensors.at("group_of");
    std::memcpy(given.group_of.data(), group_of.bytes.data(), group_of.bytes.size());
  }
  const Form form{given.out_features(), given.in_features(), GetParam().spec};
  std::vector<TensorView> parts;
  for (const PartInfo& part : format.parts(form)) {
    const auto found = tensors.find("m." + std::string(part.suffix));
    ASSERT_NE(found, tensors.end()) << part.suffix;
    parts.push_back(found->second);
    tensors.erase(found);
  }
  EXPECT_EQ(tensors.size(), given.spec.act_order ? 4U : 3U) << "every tensor is a part";
  const auto linear = Unpack(format, parts, form, "m");
  ASSERT_TRUE(linear.ok()) << linear.error().message;
  testing::ExpectEqual(*linear, given);
  EXPECT_TRUE(testing::SameParts(Pack(format, given, "m").value(), parts));
}

INSTANTIATE_TEST_SUITE_P(
    , PackGolden,
    ::testing::Values(
        Golden{"awq_gemm", "awq-gemm", {4, 32, false}},
        Golden{"awq_gemv", "awq-gemv", {4, 32, false}},
        Golden{"awq_gemv_fast", "awq-gemv-fast", {4, 32, false}},
        Golden{"llm_awq", "llm-awq", {4, 32, false}},
        Golden{"compressed_tensors_w2", "compressed-tensors", {2, 32, false}},
        Golden{"compressed_tensors_w3", "compressed-tensors", {3, 32, false}},
        Golden{"compressed_tensors_w4", "compressed-tensors", {4, 32, false}},
        Golden{"compressed_tensors_w8", "compressed-tensors", {8, 32, false}},
        Golden{"compressed_tensors_sym_bf16", "compressed-tensors", {4, 32, true, DType::kBF16}},
        Golden{"compressed_tensors_channel", "compressed-tensors", {4, 0, false, DType::kBF16}},
        Golden{"compressed_tensors_g_idx", "compressed-tensors", {4, 16, false, DType::kF16, true}},
        Golden{"gptq_w2", "gptq", {2, 32, false}}, Golden{"gptq_w3", "gptq", {3, 32, false}},
        Golden{"gptq_w4", "gptq", {4, 32, false}}, Golden{"gptq_w8", "gptq", {8, 32, false}},
        Golden{"gptq_g_idx", "gptq", {4, 16, false, DType::kF16, true}},
        Golden{"gptq_sym_channel", "gptq", {4, 0, true}},
        Golden{"gptq_v2_w2", "gptq-v2", {2, 32, false}},
        Golden{"gptq_v2_w3", "gptq-v2", {3, 32, false}},
        Golden{"gptq_v2_w4", "gptq-v2", {4, 32, false}},
        Golden{"gptq_v2_w8", "gptq-v2", {8, 32, false}}),
    [](const auto& test) { return std::string(test.param.file); });

}  // namespace
}  // namespace awq::pack
