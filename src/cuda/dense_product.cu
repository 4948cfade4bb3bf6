#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "cuda/dense_product.h"
#include "cuda/launch.cuh"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace awq::cuda {
namespace {

// That of this program's toolkit first: what is newer may want a newer driver.
const char* const kNames[] = {CUBLAS_VER_MAJOR >= 13 ? "libcublasLt.so.13" : "libcublasLt.so.12",
                              CUBLAS_VER_MAJOR >= 13 ? "libcublasLt.so.12" : "libcublasLt.so.13",
                              "libcublasLt.so"};

Fault CheckLibrary(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) {
    return {};
  }
  return MakeFault(FaultKind::kFailed,
                   std::string(what) + ": cuBLASLt's status " + std::to_string(status));
}

// What an address is a multiple of, up to what the library takes for granted.
std::uint32_t AlignmentOf(const void* data) {
  std::uint32_t alignment = 256;
  while (reinterpret_cast<std::uintptr_t>(data) % alignment != 0) alignment /= 2;
  return alignment;
}

cudaDataType_t TypeOf(Float type) {
  return type == Float::kHalf ? CUDA_R_16F : type == Float::kBfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

}  // namespace

struct DenseProducts::State {
  ~State() {
    for (auto& [key, plan] : plans) {
      cublasLtMatrixLayoutDestroy(plan.w);
      cublasLtMatrixLayoutDestroy(plan.x);
      cublasLtMatrixLayoutDestroy(plan.y);
      cublasLtMatmulDescDestroy(plan.product);
    }
    if (handle != nullptr) {
      cublasLtDestroy(handle);
    }
    if (library != nullptr) {
      dlclose(library);
    }
  }

  template <class Function>
  bool Find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
  }
  bool FindAll() {
    return Find(cublasLtCreate, "cublasLtCreate") && Find(cublasLtDestroy, "cublasLtDestroy") &&
           Find(cublasLtMatmul, "cublasLtMatmul") &&
           Find(cublasLtMatmulDescCreate, "cublasLtMatmulDescCreate") &&
           Find(cublasLtMatmulDescDestroy, "cublasLtMatmulDescDestroy") &&
           Find(cublasLtMatmulDescSetAttribute, "cublasLtMatmulDescSetAttribute") &&
           Find(cublasLtMatrixLayoutCreate, "cublasLtMatrixLayoutCreate") &&
           Find(cublasLtMatrixLayoutDestroy, "cublasLtMatrixLayoutDestroy") &&
           Find(cublasLtMatmulPreferenceCreate, "cublasLtMatmulPreferenceCreate") &&
           Find(cublasLtMatmulPreferenceDestroy, "cublasLtMatmulPreferenceDestroy") &&
           Find(cublasLtMatmulPreferenceSetAttribute, "cublasLtMatmulPreferenceSetAttribute") &&
           Find(cublasLtMatmulAlgoGetHeuristic, "cublasLtMatmulAlgoGetHeuristic");
  }

  // What the library was asked once for each shape.
  struct Plan {
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
    cublasLtMatmulAlgo_t algorithm = {};
  };
  using Key = std::array<std::size_t, 10>;

  Fault MakePlan(const DenseCall& call, Plan& plan);

  void* library = nullptr;
  cublasLtHandle_t handle = nullptr;
  std::map<Key, Plan> plans;
  decltype(&::cublasLtCreate) cublasLtCreate = nullptr;
  decltype(&::cublasLtDestroy) cublasLtDestroy = nullptr;
  decltype(&::cublasLtMatmul) cublasLtMatmul = nullptr;
  decltype(&::cublasLtMatmulDescCreate) cublasLtMatmulDescCreate = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) cublasLtMatmulDescDestroy = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) cublasLtMatmulDescSetAttribute = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) cublasLtMatrixLayoutCreate = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) cublasLtMatrixLayoutDestroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) cublasLtMatmulPreferenceCreate = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) cublasLtMatmulPreferenceDestroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) cublasLtMatmulPreferenceSetAttribute = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) cublasLtMatmulAlgoGetHeuristic = nullptr;
};

// The library counts columns first: y^T (outputs x tokens) = w (transposed) x^T.
Fault DenseProducts::State::MakePlan(const DenseCall& call, Plan& plan) {
  const cublasOperation_t transposed = CUBLAS_OP_T;
  const auto inputs = static_cast<std::uint64_t>(call.inputs);
  const auto outputs = static_cast<std::uint64_t>(call.outputs);
  const auto tokens = static_cast<std::uint64_t>(call.tokens);
  AWQ_CUDA_TRY(CheckLibrary(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                            "a dense product"));
  AWQ_CUDA_TRY(
      CheckLibrary(cublasLtMatmulDescSetAttribute(plan.product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                  &transposed, sizeof(transposed)),
                   "a dense product"));
  AWQ_CUDA_TRY(CheckLibrary(
      cublasLtMatrixLayoutCreate(&plan.w, TypeOf(call.x_type), inputs, outputs, call.inputs),
      "a dense product's weights"));
  AWQ_CUDA_TRY(CheckLibrary(
      cublasLtMatrixLayoutCreate(&plan.x, TypeOf(call.x_type), inputs, tokens, call.inputs),
      "a dense product's inputs"));
  AWQ_CUDA_TRY(CheckLibrary(
      cublasLtMatrixLayoutCreate(&plan.y, TypeOf(call.y_type), outputs, tokens, call.y_stride),
      "a dense product's outputs"));
  cublasLtMatmulPreference_t preference = nullptr;
  AWQ_CUDA_TRY(CheckLibrary(cublasLtMatmulPreferenceCreate(&preference), "a dense product"));
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &call.scratch_bytes, sizeof(call.scratch_bytes));
  const std::uint32_t of_w = AlignmentOf(call.w), of_x = AlignmentOf(call.x),
                      of_y = AlignmentOf(call.y);
  const auto align = [&](cublasLtMatmulPreferenceAttributes_t what, const std::uint32_t& bytes) {
    cublasLtMatmulPreferenceSetAttribute(preference, what, &bytes, sizeof(bytes));
  };
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, of_w);
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, of_x);
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, of_y);
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, of_y);
  cublasLtMatmulHeuristicResult_t best = {};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, plan.product, plan.w, plan.x, plan.y, plan.y, preference, 1, &best, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  AWQ_CUDA_TRY(CheckLibrary(
      found == 0 && status == CUBLAS_STATUS_SUCCESS ? CUBLAS_STATUS_NOT_SUPPORTED : status,
      "choosing a dense product"));
  plan.algorithm = best.algo;
  return {};
}

Fault DenseProducts::Open() {
  auto state = std::make_unique<State>();
  for (const char* name : kNames) {
    state->library = state->library != nullptr ? state->library : dlopen(name, RTLD_NOW);
  }
  if (state->library == nullptr || !state->FindAll()) {
    return MakeFault(FaultKind::kUnsupported,
                     "no cuBLASLt: tried libcublasLt.so.13, libcublasLt.so.12, libcublasLt.so");
  }
  AWQ_CUDA_TRY(CheckLibrary(state->cublasLtCreate(&state->handle), "starting cuBLASLt"));
  state_ = std::move(state);
  return {};
}

Fault DenseProducts::Multiply(const DenseCall& call, StreamHandle stream) {
  const auto number = [](auto value) { return static_cast<std::size_t>(value); };
  const State::Key key = {number(call.outputs),  number(call.inputs), number(call.tokens),
                          number(call.y_stride), number(call.x_type), number(call.y_type),
                          call.scratch_bytes,    AlignmentOf(call.w), AlignmentOf(call.x),
                          AlignmentOf(call.y)};
  const auto [at, is_new] = state_->plans.try_emplace(key);
  const State::Plan& plan = at->second;
  if (is_new) {
    AWQ_CUDA_TRY(state_->MakePlan(call, at->second));
  }
  const float one = 1.0f, zero = 0.0f;
  return CheckLibrary(
      state_->cublasLtMatmul(state_->handle, plan.product, &one, call.w, plan.w, call.x, plan.x,
                             &zero, call.y, plan.y, call.y, plan.y, &plan.algorithm, call.scratch,
                             call.scratch_bytes, stream),
      "a dense product");
}

}  // namespace awq::cuda

#else

namespace awq::cuda {

struct DenseProducts::State {};

Fault DenseProducts::Open() {
  return MakeFault(FaultKind::kUnsupported, "built without cuBLASLt's headers");
}
Fault DenseProducts::Multiply(const DenseCall&, StreamHandle) { return Open(); }

}  // namespace awq::cuda

#endif

namespace awq::cuda {

DenseProducts::DenseProducts() = default;
DenseProducts::DenseProducts(DenseProducts&&) noexcept = default;
DenseProducts& DenseProducts::operator=(DenseProducts&&) noexcept = default;
DenseProducts::~DenseProducts() = default;

}  // namespace awq::cuda
