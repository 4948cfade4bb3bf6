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
