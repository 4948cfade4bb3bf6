// Which compiled variant of the vector loops this CPU runs; see awq_isa_objects in cmake/.
#pragma once

#include <awq/result.h>

#include <string_view>

namespace awq {

enum class Isa : unsigned char { kBaseline, kAvx2, kAvx512 };

std::string_view IsaName(Isa isa);  // "baseline", "avx2", "avx512"

// The best this CPU has, or what the environment variable AWQ_FORCE_ISA names. Error: a name that
// does not exist or that this CPU lacks.
Result<Isa> SelectIsa();

// SelectIsa() or, where that fails, the baseline; the command line reports the error at start.
Isa ActiveIsa();

}  // namespace awq

// Of the tables named `table` that awq_isa_objects made, one in each set's namespace, that of
// `isa`.
#if defined(__x86_64__)
#define AWQ_TABLE_FOR(isa, table)               \
  ((isa) == ::awq::Isa::kAvx512 ? avx512::table \
   : (isa) == ::awq::Isa::kAvx2 ? avx2::table   \
                                : baseline::table)
#else
#define AWQ_TABLE_FOR(isa, table) (static_cast<void>(isa), baseline::table)
#endif
