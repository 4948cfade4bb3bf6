// A quantized directory carried over to every format and back; what is refused, and what --lossy
// does.
#include "pipeline/convert.h"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "checkpoint/test_model.h"
#include "pipeline/adapt.h"
#include "pipeline/convert_plan.h"
#include "testing/paths.h"

namespace awq::pipeline {
namespace {

namespace fs = std::filesystem;
using awq::testing::TemporaryDirectory;
using checkpoint::ModelDirectory;
using checkpoint::testing::MakeModel;
using checkpoint::testing::TestModel;

// A llama whose linears are random, in `format`, but for modules that stay in 16 bits; scales that
// 8 bits of mantissa hold.
TestModel Packed(const char* format_name, quant::Spec spec, std::uint8_t least_zero = 1,
                 const std::vector<std::string>& in_16_bits = {}) {
  TestModel model = MakeModel("llama");
  model.config["hidden_size"] = 64;
  model.config["torch_dtype"] = spec.scale_dtype == DType::kBF16 ? "bfloat16" : "float16";
  const pack::Format& format = *pack::FindFormat(format_name);
  model.config["quantization_config"] = format.write_config({spec, in_16_bits, in_16_bits});
  std::mt19937 random(7);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (const model::LinearRow& row : model::FindArch("llama")->linears) {
      const std::string module = model::ModuleName(*model::FindArch("llama"), layer, row.name);
      if (std::ranges::count(in_16_bits, module) > 0) continue;
      const Shape shape = model.tensors.at(module + ".weight").shape;
      const std::size_t groups = shape[1] / spec.group_size;
      quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(shape[0], shape[1]),
                                    Matrix<float>(shape[0], groups),
                                    Matrix<std::uint8_t>(shape[0], groups)};
      for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
      for (auto& zero : linear.zeros.span()) {
        zero = static_cast<std::uint8_t>(least_zero + random() % (16U - least_zero));
      }
      for (auto& scale : linear.scales.span()) {
        scale = static_cast<float>(128 + random() % 128) * 0x1p-14F;
      }
      for (std::size_t k = 0; spec.act_order && k < shape[1]; ++k) {
        linear.group_of.push_back(static_cast<std::uint32_t>(k % groups));
      }
      model.tensors.erase(module + ".weight");
      const auto parts = pack::Pack(format, linear, module).value();
      for (const pack::PackedPart& part : parts) {
        model.tensors[module + "." + std::string(part.info.suffix)] = {
            part.info.dtype, part.info.shape,
            std::string(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size())};
      }
    }
  }
  return model;
}

class ConvertTest : public ::testing::Test {
 protected:
  Result<ConvertReport> Run(const fs::path& from, const fs::path& to, const char* format,
                            bool lossy = false) {
    auto model = ModelDirectory::Open(from);
    if (!model) return model.error();
    ConvertOptions options;
    options.format = pack::FindFormat(format);
    options.lossy = lossy;
    options.output = to;
    options.shard_bytes = 20000;
    return Convert(pool_, **model, options);
  }
  Result<ConvertReport> RunInChunks(const fs::path& to, ProgressSink* progress,
                                    const char* from = "start") {
    auto model = ModelDirectory::Open(Path(from));
    if (!model) return model.error();
    ConvertOptions options;
    options.format = pack::FindFormat("gptq-v2");
    options.output = to;
    options.chunk_bytes = 10000;
    options.progress = progress;
    return Convert(pool_, **model, options);
  }
  fs::path Path(const std::string& name) const { return directory_.path() / name; }

  // Every tensor: dtype, shape and bytes.
  static std::map<std::string, std::string> Tensors(const fs::path& path) {
    std::map<std::string, std::string> tensors;
    const auto model = ModelDirectory::Open(path).value();
    for (const std::string& name : model->StoredNames()) {
      const TensorView view = model->Find(name).value();
      tensors[name] =
          std::string(DTypeName(view.dtype)) + ShapeString(view.shape) +
          std::string(reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size());
    }
    return tensors;
  }

  TemporaryDirectory directory_;
  ThreadPool pool_{2};
};

TEST_F(ConvertTest, ThroughEveryFormatAndBackToEqualTensors) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const fs::path start = Path(fmt::format("start {}", DTypeName(dtype)));
    Packed("compressed-tensors", {4, 32, false, dtype}).Write(start);
    for (const char* name : {"awq-gemm", "gptq", "gptq-v2", "compressed-tensors"}) {
      SCOPED_TRACE(name);
      const fs::path there = Path(fmt::format("{} {}", name, DTypeName(dtype)));
      const fs::path back = Path(there.filename().string() + " back");
      const auto first = Run(start, there, name);
      ASSERT_TRUE(first.ok()) << first.error().message;
      EXPECT_TRUE(first->lossless());
      EXPECT_EQ(first->linears, 14U);
      const auto second = Run(there, back, "compressed-tensors");
      ASSERT_TRUE(second.ok()) << second.error().message;
      EXPECT_EQ(Tensors(back), Tensors(start));
    }
  }
}

// One block's linear in 16 bits: the other's is quantized in every format.
TEST_F(ConvertTest, WhatStaysIn16BitsStaysSoAndNothingElse) {
  const std::string kept = "model.layers.1.mlp.down_proj";
  Packed("compressed-tensors", {4, 32, false, DType::kF16}, 1, {kept}).Write(Path("start"));
  fs::path from = Path("start");
  for (const char* name : {"awq-gemm", "gptq", "gptq-v2", "compressed-tensors"}) {
    SCOPED_TRACE(name);
    const auto report = Run(from, Path(name), name);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(report->linears, 13U);
    from = Path(name);
    const auto model = ModelDirectory::Open(from);
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_TRUE((*model)->Find(kept + ".weight").ok());
    EXPECT_EQ(*(*model)->quantization()->SpecOf(kept), nullptr);
    EXPECT_NE(*(*model)->quantization()->SpecOf("model.layers.0.mlp.down_proj"), nullptr);
  }
  EXPECT_EQ(Tensors(from), Tensors(Path("start")));
}

TEST_F(ConvertTest, ActOrderGoesWhereThereIsAPlace) {
  Packed("gptq", {4, 32, false, DType::kF16, true}).Write(Path("start"));
  const auto there = Run(Path("start"), Path("ct"), "compressed-tensors");
  ASSERT_TRUE(there.ok()) << there.error().message;
  ASSERT_TRUE(Run(Path("ct"), Path("back"), "gptq").ok());
  EXPECT_EQ(Tensors(Path("back")), Tensors(Path("start")));
  const auto awq = Run(Path("start"), Path("awq"), "awq-gemm", /*lossy=*/true);
  ASSERT_FALSE(awq.ok());
  EXPECT_NE(awq.error().message.find("(act order), and the awq-gemm format has no place"),
            std::string::npos)
      << awq.error().message;
  EXPECT_FALSE(fs::exists(Path("awq")));
  EXPECT_FALSE(fs::exists(Path("awq.partial")));
}

struct Notes : ProgressSink {
  void Update(const ProgressEvent& event) override { text += event.note; }
  std::string text;
};

// A model's directory could have us hand out any file that its user can read.
TEST_F(ConvertTest, CopiesNoFileFromOutsideTheModel) {
  const fs::path hub = Path("hub/models--a--b");
  const fs::path model = hub / "snapshots" / "0123";
  Packed("gptq", {4, 32, false}).Write(model);
  fs::create_directories(hub / "blobs");
  fs::create_directories(Path("hub/models--a--b2"));
  const fs::path secret = Path("hub/models--a--b2") / "secret";
  for (const fs::path& file : {secret, hub / "blobs" / "5e", model / "TEXT"}) {
    ASSERT_TRUE(io::WriteFileAtomically(file, "contents").ok());
  }
  fs::create_symlink(secret, model / "LICENSE");
  fs::create_symlink("../../../models--a--b2/secret", model / "chat_template.jinja");
  fs::create_symlink(secret, model / "generation_config.json");
  ASSERT_TRUE(io::WriteFileAtomically(Path("tokens"), "{}").ok());
  fs::create_symlink(Path("tokens"), model / "added_tokens.json");
  fs::create_symlink("../../blobs/5e", model / "NOTICE");
  fs::create_symlink("TEXT", model / "LICENSE.txt");
  fs::create_directory_symlink(model, Path("link"));  // the user's own
  Notes notes;
  ASSERT_TRUE(RunInChunks(Path("out"), &notes, "link").ok());
  for (const char* name : {"LICENSE", "chat_template.jinja"}) {
    EXPECT_FALSE(fs::exists(Path("out") / name)) << name;
    EXPECT_NE(notes.text.find((Path("link") / name).string() + ": a link that leads out"),
              std::string::npos)
        << notes.text;
  }
  EXPECT_FALSE(fs::exists(Path("out/generation_config.json")));
  EXPECT_EQ(io::ReadFile(Path("out/added_tokens.json")).value(), "{}");
  EXPECT_EQ(io::ReadFile(Path("out/NOTICE")).value(), "contents");
  EXPECT_EQ(io::ReadFile(Path("out/LICENSE.txt")).value(), "contents");
  EXPECT_EQ(notes.text.find("NOTICE"), std::string::npos) << notes.text;
}

// Throws when half of the tensors are converted.
struct Interrupt : ProgressSink {
  void Update(const ProgressEvent& event) override {
    if (event.stage == "converting" && 2 * event.done >= event.total) throw std::runtime_error("x");
  }
};

TEST_F(ConvertTest, AnInterruptedRunContinuesToTheSameBytes) {
  Packed("awq-gemm", {4, 32, false}).Write(Path("start"));
  ASSERT_TRUE(RunInChunks(Path("whole"), nullptr).ok());
  Interrupt interrupt;
  EXPECT_THROW(static_cast<void>(RunInChunks(Path("parts"), &interrupt)), std::runtime_error);
  EXPECT_FALSE(fs::exists(Path("parts")));
  EXPECT_TRUE(fs::exists(Path("parts.partial")));
  const auto rest = RunInChunks(Path("parts"), nullptr);
  ASSERT_TRUE(rest.ok()) << rest.error().message;
  EXPECT_TRUE(rest->resumed);
  EXPECT_EQ(rest->linears, 14U);
  EXPECT_EQ(Tensors(Path("parts")), Tensors(Path("whole")));
}

class ConvertInOrder : public ConvertTest, public ::testing::WithParamInterface<bool> {};

TEST_P(ConvertInOrder, SaysWhatWouldChangeAndChangesItWhenTold) {
  const bool act_order = GetParam();
  Packed("gptq-v2", {4, 32, false, DType::kF16, act_order}, /*least_zero=*/0).Write(Path("start"));
  const auto refused = Run(Path("start"), Path("out"), "gptq");
  ASSERT_FALSE(refused.ok());
  for (const char* part : {"cannot hold 14 of its tensors", "--lossy", "gptq-v2 holds",
                           "zero points move", "model.layers.0.mlp.down_proj: ", "and 9 more"}) {
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
  EXPECT_FALSE(fs::exists(Path("out.partial")));
  const auto changed = Run(Path("start"), Path("out"), "gptq", /*lossy=*/true);
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  EXPECT_EQ(changed->changes.size(), 14U);
  EXPECT_GT(changed->moved.zeros.count, 14U);
  EXPECT_EQ(changed->moved.zeros.largest_absolute, 1);  // from 0
  EXPECT_EQ(changed->moved.zeros.largest_relative, 0);
  EXPECT_EQ(changed->moved.scales.count, 0U);
  const auto before = ModelDirectory::Open(Path("start")).value();
  const auto after = ModelDirectory::Open(Path("out")).value();
  const auto a = before->Block(0)->linear(model::Role::kUp).packed->Unpack().value();
  const auto b = after->Block(0)->linear(model::Role::kUp).packed->Unpack().value();
  Matrix<float> x(a.out_features(), a.in_features());
  Matrix<float> y(a.out_features(), a.in_features());
  quant::Dequantize(a, 0, x);
  quant::Dequantize(b, 0, y);
  std::size_t lost = 0;
  for (std::size_t r = 0; r < x.rows(); ++r) {
    for (std::size_t k = 0; k < x.cols(); ++k) {
      const std::size_t group = act_order ? a.group_of[k] : k / 32;
      const bool moved = a.zeros(r, group) == 0 && a.codes(r, k) == 15;
      lost += moved ? 1U : 0U;
      EXPECT_EQ(x(r, k) - y(r, k), moved ? a.scales(r, group) : 0);
    }
  }
  EXPECT_GT(lost, 0U);
  const auto counted = std::ranges::count_if(changed->changes, [&](const std::string& change) {
    return change.starts_with("model.layers.0.mlp.up_proj: ") &&
           change.ends_with(fmt::format("by which {} weights lose one step", lost));
  });
  EXPECT_EQ(counted, 1) << lost;
}
INSTANTIATE_TEST_SUITE_P(ActOrder, ConvertInOrder, ::testing::Bool());

// A linear behind the items that are looked at first, alone.
constexpr const char* kLate = "model.layers.1.self_attn.v_proj";

void ExpectLate(const fs::path& path) {
  const auto model = ModelDirectory::Open(path).value();
  const auto plan = PlanConversion(*model, *pack::FindFormat("gptq"), DType::kF16);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const auto late = std::ranges::find_if(plan->items, [](const ConvertItem& item) {
    return item.packed && item.packed->module == kLate;
  });
  ASSERT_NE(late, plan->items.end());
  ASSERT_GE(late - plan->items.begin(), 16);
}

TEST_F(ConvertTest, ABadScaleNamesItsDirectory) {
  TestModel model = Packed("gptq-v2", {4, 32, false, DType::kF16});
  std::string& scales = model.tensors.at(std::string(kLate) + ".scales").bytes;
  scales[0] = scales[1] = 0;
  model.Write(Path("start"));
  const auto refused = Run(Path("start"), Path("out"), "awq-gemm");
  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(refused.error().message.starts_with(Path("start").string() + ": " + kLate +
                                                  ".scales: the scale of "))
      << refused.error().message;
}

TEST_F(ConvertTest, OneLateZeroPointIsRefusedAndReported) {
  TestModel model = Packed("gptq-v2", {4, 32, false, DType::kF16});
  model.tensors.at(std::string(kLate) + ".qzeros").bytes[0] &= '\xf0';  // of feature 0
  model.Write(Path("start"));
  ExpectLate(Path("start"));
  const auto refused = Run(Path("start"), Path("out"), "gptq");
  ASSERT_FALSE(refused.ok());
  for (const char* part : {"cannot hold 1 of its tensors", kLate, "1 zero points move"}) {
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
  const auto changed = Run(Path("start"), Path("out"), "gptq", /*lossy=*/true);
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  ASSERT_EQ(changed->changes.size(), 1U);
  EXPECT_TRUE(changed->changes[0].starts_with(kLate)) << changed->changes[0];
  EXPECT_EQ(changed->moved.zeros.count, 1U);
}

TEST_F(ConvertTest, OneLateScaleKeepsTheTypeOfAll) {
  TestModel model = Packed("awq-gemm", {4, 32, false, DType::kF16});
  model.config["torch_dtype"] = "bfloat16";
  model.Write(Path("coarse"));
  const F16 fine = ToF16(0x1.004p-7F);  // more bits than bf16 has
  std::memcpy(model.tensors.at(std::string(kLate) + ".scales").bytes.data(), &fine, sizeof(fine));
  model.Write(Path("start"));
  ExpectLate(Path("start"));
  for (const bool lossy : {false, true}) {
    const fs::path there = Path(fmt::format("there {}", lossy));
    const auto report = Run(Path("start"), there, "compressed-tensors", lossy);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_TRUE(report->lossless());
    ASSERT_TRUE(Run(there, Path(fmt::format("back {}", lossy)), "awq-gemm").ok());
    EXPECT_EQ(Tensors(Path(fmt::format("back {}", lossy))), Tensors(Path("start")));
  }
  // Without it, all have the model's own type.
  ASSERT_TRUE(Run(Path("coarse"), Path("narrow"), "compressed-tensors").ok());
  const auto narrow = ModelDirectory::Open(Path("narrow")).value();
  EXPECT_EQ(narrow->Find(std::string(kLate) + ".weight_scale")->dtype, DType::kBF16);
}

TEST_F(ConvertTest, RefusesWhatIsNotQuantized) {
  MakeModel("llama").Write(Path("dense"));
  const auto refused = Run(Path("dense"), Path("out"), "gptq");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("not quantized; awq quantize --format gptq"),
            std::string::npos);
}

TEST(Adapt, RoundsScalesAndRefusesThoseThatVanish) {
  Matrix<std::uint8_t> codes(1, 2, 3);
  Matrix<float> scales(1, 2, 0.5F);
  Matrix<std::uint8_t> zeros(1, 2, 8);
  const pack::MutableRows rows{0, codes, scales, zeros};
  EXPECT_FALSE(Adapt(DType::kF16, 0, 15, {}, rows, "m")->any());
  scales(0, 1) = 1.001F;
  const auto changes = Adapt(DType::kBF16, 0, 15, {}, rows, "m");
  ASSERT_TRUE(changes.ok());
  EXPECT_EQ(changes->scales.count, 1U);
  EXPECT_EQ(changes->scales.largest_absolute, double{1.001F} - 1);
  EXPECT_EQ(changes->scales.largest_relative, (double{1.001F} - 1) / double{1.001F});
  EXPECT_EQ(scales(0, 1), 1.0F);
  scales(0, 1) = 1e-30F;
  EXPECT_FALSE(Adapt(DType::kF16, 0, 15, {}, rows, "m").ok());
  scales(0, 1) = 1e30F;
  EXPECT_FALSE(Adapt(DType::kF16, 0, 15, {}, rows, "m").ok());
}

}  // namespace
}  // namespace awq::pipeline
