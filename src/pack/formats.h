// The rows of Formats(), each defined in the file of its layout.
#pragma once

#include "pack/format.h"

namespace awq::pack {

Format AwqGemmFormat();            // awq_gemm.cc, docs/formats/awq_gemm.md
Format AwqGemvFormat();            // awq_gemv.cc, docs/formats/awq_gemv.md
Format AwqGemvFastFormat();        // awq_gemv_fast.cc, docs/formats/awq_gemv_fast.md
Format LlmAwqFormat();             // awq_gemv_fast.cc
Format CompressedTensorsFormat();  // compressed_tensors.cc, docs/formats/compressed_tensors.md
Format GptqFormat();               // gptq.cc, docs/formats/gptq.md
Format GptqV2Format();             // gptq.cc

}  // namespace awq::pack
