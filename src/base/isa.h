// Which compiled variant of the vector loops this CPU runs; see awq_isa_objects in cmake/.
#pragma once

#include <awq/result.h>

#include <string>
#include <string_view>
#include <vector>

namespace awq {

// Those of one architecture stand in their order: each has all that the one before it has.
enum class Isa : unsigned char {
  kBaseline,
  kNeon,
  kDotprod,
  kAvx2,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
};

std::string_view IsaName(Isa isa);    // "baseline", "neon", "avx512vnni", ...
std::vector<std::string> IsaNames();  // of all, whatever the CPU

// The set of that name; of "", the best that this CPU has. Error: a name that does not exist
// (kInvalidArgument), or that this CPU lacks (kUnsupported).
Result<Isa> SelectIsa(std::string_view name);

// The loops run on SelectIsa(name) from now on; "" leaves that to the environment variable
// AWQ_FORCE_ISA. Tables are picked once, so this comes before the first loop or not at all.
Status UseIsa(std::string_view name);

// What UseIsa chose. Without it, UseIsa("") or, where that fails, the baseline.
Isa ActiveIsa();

// ActiveIsa() and the sets below it that this CPU has, best first; the baseline is the last.
std::vector<Isa> UsableIsas();

}  // namespace awq

// Of the tables named `table` that awq_isa_objects made, one in each set's namespace, the best for
// `isa` of those that every folder has.
#if defined(__x86_64__)
#define AWQ_TABLE_FOR(isa, table)               \
  ((isa) >= ::awq::Isa::kAvx512 ? avx512::table \
   : (isa) == ::awq::Isa::kAvx2 ? avx2::table   \
                                : baseline::table)
#else
#define AWQ_TABLE_FOR(isa, table) (static_cast<void>(isa), baseline::table)
#endif
