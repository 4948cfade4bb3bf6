// Where exceptions end: what the standard library or a bug throws becomes an Error.
#pragma once

#include <awq/result.h>

#include <exception>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace awq::api {

template <class Body>
auto Guard(Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory,
                     "out of memory; use fewer or shorter calibration windows (--samples, "
                     "--seq-len), a smaller --ctx, -n or --batch, or a machine with more");
  } catch (const InternalError& failure) {
    return MakeError(ErrorCode::kInternal, "a bug in awq, please report it: {}", failure.what());
  } catch (const std::exception& failure) {
    return MakeError(ErrorCode::kInternal, "unexpected: {}", failure.what());
  }
}

}  // namespace awq::api
