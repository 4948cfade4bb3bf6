// Memory with a shape: owning aligned buffers and matrices, and views that own nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "base/memory.h"
#include "tensor/dtype.h"

namespace awq {

// `size` elements of a trivial type, aligned to a cache line, not initialised. Throws
// std::bad_alloc, which the API reports as kOutOfMemory.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) : Buffer(size, AllocateAligned) {}
  Buffer(std::size_t size, T value) : Buffer(size) { std::fill_n(data(), size, value); }

  // All bits zero; a large one takes no memory until it is written.
  static Buffer Zeros(std::size_t size) { return Buffer(size, AllocateZeros); }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data_.get()[i]; }
  const T& operator[](std::size_t i) const { return data_.get()[i]; }
  std::span<T> span() { return {data(), size_}; }
  std::span<const T> span() const { return {data(), size_}; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

 private:
  Buffer(std::size_t size, void* (*allocate)(std::size_t)) : size_(size) {
    const auto bytes = CheckedProduct({size, sizeof(T)});
    if (!bytes) throw std::bad_alloc();
    data_ = {static_cast<T*>(allocate(*bytes)), Free{*bytes}};
    if (!data_) throw std::bad_alloc();
  }
  struct Free {
    std::size_t bytes = 0;
    void operator()(T* pointer) const { FreeAligned(pointer, bytes); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t size_ = 0;
};

// Row-major [rows, cols]; `stride` elements from one row to the next. The memory must outlive it.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;

  MatrixView() = default;
  MatrixView(T* data_in, std::size_t rows_in, std::size_t cols_in)
      : MatrixView(data_in, rows_in, cols_in, cols_in) {}
  MatrixView(T* data_in, std::size_t rows_in, std::size_t cols_in, std::size_t stride_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(stride_in) {}

  T* row(std::size_t r) const { return data + r * stride; }
  T& operator()(std::size_t r, std::size_t c) const { return data[r * stride + c]; }
  MatrixView Rows(std::size_t first, std::size_t count) const {
    return {row(first), count, cols, stride};
  }
  MatrixView Cols(std::size_t first, std::size_t count) const {
    return {data + first, rows, count, stride};
  }
  operator MatrixView<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, cols, stride};
  }
};

// Owning row-major [rows, cols], not initialised unless a value is given.
template <class T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(std::size_t rows, std::size_t cols)
      : buffer_(Elements(rows, cols)), rows_(rows), cols_(cols) {}
  Matrix(std::size_t rows, std::size_t cols, T value)
      : buffer_(Elements(rows, cols), value), rows_(rows), cols_(cols) {}

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  std::size_t size() const { return buffer_.size(); }
  T* data() { return buffer_.data(); }
  const T* data() const { return buffer_.data(); }
  T* row(std::size_t r) { return data() + r * cols_; }
  const T* row(std::size_t r) const { return data() + r * cols_; }
  T& operator()(std::size_t r, std::size_t c) { return buffer_[r * cols_ + c]; }
  const T& operator()(std::size_t r, std::size_t c) const { return buffer_[r * cols_ + c]; }
  std::span<T> span() { return buffer_.span(); }
  std::span<const T> span() const { return buffer_.span(); }
  Buffer<T> TakeBuffer() && { return std::move(buffer_); }
  MatrixView<T> view() { return {data(), rows_, cols_}; }
  MatrixView<const T> view() const { return {data(), rows_, cols_}; }
  operator MatrixView<T>() { return view(); }
  operator MatrixView<const T>() const { return view(); }

 private:
  static std::size_t Elements(std::size_t rows, std::size_t cols) {
    const auto count = CheckedProduct({rows, cols});
    if (!count) throw std::bad_alloc();
    return *count;
  }
  Buffer<T> buffer_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

using Shape = std::vector<std::size_t>;

std::string ShapeString(const Shape& shape);  // "[2, 3]"

// A tensor as a file holds it: bytes with a type and a shape. The bytes must outlive it, and need
// not be aligned to their element type.
struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;

  std::size_t elements() const { return bytes.size() / ElementBytes(dtype); }
  // Precondition: of two dimensions.
  TensorView Rows(std::size_t first, std::size_t count) const {
    const std::size_t row_bytes = shape[1] * ElementBytes(dtype);
    return {dtype, {count, shape[1]}, bytes.subspan(first * row_bytes, count * row_bytes)};
  }
};

}  // namespace awq
