#include "model/arch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace awq::model {
namespace {

ModelConfig Sizes() {
  ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 176;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  return config;
}

template <class Rows>
bool Has(const Rows& rows, Role role) {
  return std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.role == role; });
}

const LinearRow& Row(const ArchSpec& arch, Role role) {
  return *std::find_if(arch.linears.begin(), arch.linears.end(),
                       [&](const LinearRow& row) { return row.role == role; });
}

TEST(Arch, IsFoundByName) {
  for (const ArchSpec* arch : Architectures()) EXPECT_EQ(FindArch(arch->model_type), arch);
  EXPECT_EQ(FindArch("mamba"), nullptr);
  EXPECT_EQ(FindArch(""), nullptr);
  std::set<std::string_view> names;
  for (const ArchSpec* arch : Architectures()) names.insert(arch->model_type);
  EXPECT_EQ(names.size(), Architectures().size());
  EXPECT_EQ(ModuleName(*FindArch("llama"), 31, "mlp.up_proj"), "model.layers.31.mlp.up_proj");
}

// What every table must hold for a fold to be right, whoever adds it.
TEST(Arch, TablesAgreeWithThemselves) {
  const ModelConfig config = Sizes();
  for (const ArchSpec* arch : Architectures()) {
    SCOPED_TRACE(std::string(arch->model_type));
    std::set<std::string_view> names;
    for (const LinearRow& row : arch->linears) names.insert(row.name);
    for (const NormRow& row : arch->norms) names.insert(row.name);
    EXPECT_EQ(names.size(), arch->linears.size() + arch->norms.size());
    std::multiset<Role> readers;
    for (const SiteRow& site : arch->sites) {
      ASSERT_FALSE(site.readers.empty());
      EXPECT_TRUE(site.fold == Fold::kNorm ? Has(arch->norms, site.producer)
                                           : Has(arch->linears, site.producer));
      const std::size_t in = Width(config, Row(*arch, site.readers[0]).in);
      for (const Role reader : site.readers) {
        ASSERT_TRUE(Has(arch->linears, reader));
        EXPECT_EQ(Width(config, Row(*arch, reader).in), in);
        readers.insert(reader);
      }
    }
    // Every linear is read at exactly one site.
    EXPECT_EQ(readers.size(), arch->linears.size());
    EXPECT_EQ(std::set<Role>(readers.begin(), readers.end()).size(), arch->linears.size());
  }
}

TEST(Arch, Widths) {
  const ModelConfig config = Sizes();
  EXPECT_EQ(Width(config, Dim::kHidden), 64U);
  EXPECT_EQ(Width(config, Dim::kIntermediate), 176U);
  EXPECT_EQ(Width(config, Dim::kQWidth), 128U);
  EXPECT_EQ(Width(config, Dim::kKvWidth), 32U);
  EXPECT_EQ(Width(config, Dim::kHeadDim), 16U);
}

}  // namespace
}  // namespace awq::model
