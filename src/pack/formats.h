// The rows of Formats(), each defined in the file of its layout.
#pragma once

#include "pack/format.h"

namespace awq::pack {

Format AwqGemmFormat();  // awq_gemm.cc, docs/formats/awq_gemm.md

}  // namespace awq::pack
