#include "base/isa.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace awq {
namespace {

TEST(Isa, IsSelectedByName) {
  const auto best = SelectIsa("");
  ASSERT_TRUE(best.ok());
  ASSERT_TRUE(SelectIsa("baseline").ok());
  EXPECT_EQ(*SelectIsa("baseline"), Isa::kBaseline);
  std::size_t here = 0;
  for (const std::string& name : IsaNames()) {
    const auto isa = SelectIsa(name);
    if (isa.ok()) {
      EXPECT_EQ(IsaName(*isa), name);
      EXPECT_LE(*isa, *best);
      ++here;
    } else {
      EXPECT_EQ(isa.error().code, ErrorCode::kUnsupported);
      EXPECT_NE(isa.error().message.find("lacks the instruction set " + name), std::string::npos);
      EXPECT_NE(isa.error().message.find(IsaName(*best)), std::string::npos) << "what it has";
    }
  }
  // Of two architectures, a CPU has the sets of one.
  EXPECT_LT(here, IsaNames().size());
}

TEST(Isa, UnknownNamesAreRefused) {
  for (const char* name : {"z80", "AVX2", "avx", "avx2 "}) {
    const auto isa = SelectIsa(name);
    ASSERT_FALSE(isa.ok()) << name;
    EXPECT_EQ(isa.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(isa.error().message.find("avx512vnni"), std::string::npos) << "what there is";
  }
  EXPECT_FALSE(UseIsa("z80").ok());
}

TEST(Isa, UsableOnesBeginWithTheOneInUse) {
  const Isa before = ActiveIsa();
  for (const std::string& name : IsaNames()) {
    if (!UseIsa(name).ok()) continue;
    const std::vector<Isa> usable = UsableIsas();
    EXPECT_EQ(IsaName(ActiveIsa()), name);
    EXPECT_EQ(usable.front(), ActiveIsa());
    EXPECT_EQ(usable.back(), Isa::kBaseline);
    EXPECT_TRUE(std::is_sorted(usable.rbegin(), usable.rend()));
  }
  ASSERT_TRUE(UseIsa(IsaName(before)).ok());
}

}  // namespace
}  // namespace awq
