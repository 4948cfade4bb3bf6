#include "math/matmul.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace awq::math {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr float kUntouched = 12345.0F;

template <class T>
float AsFloat(T value) {
  if constexpr (std::is_same_v<T, BF16>) {
    return ToFloat(value);
  } else {
    return value;
  }
}

template <class T>
Matrix<T> Random(std::size_t rows, std::size_t cols, unsigned seed) {
  Matrix<T> m(rows, cols);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (T& x : m.span()) {
    if constexpr (std::is_same_v<T, BF16>) {
      x = ToBF16(normal(random));
    } else {
      x = normal(random);
    }
  }
  return m;
}

struct Product {
  std::size_t m, k, n;
  bool a_transposed, b_transposed, accumulate;
  std::size_t padding;  // elements after each stored row
};

template <class T>
void ExpectProduct(const Product& p) {
  SCOPED_TRACE(fmt::format("{} x {} x {}, transposed {} {}, accumulate {}, padding {}", p.m, p.k,
                           p.n, p.a_transposed, p.b_transposed, p.accumulate, p.padding));
  const std::size_t a_cols = p.a_transposed ? p.m : p.k;
  const std::size_t b_cols = p.b_transposed ? p.k : p.n;
  const Matrix<T> a = Random<T>(p.a_transposed ? p.k : p.m, a_cols + p.padding, 1);
  const Matrix<T> b = Random<T>(p.b_transposed ? p.n : p.k, b_cols + p.padding, 2);
  Matrix<float> c = Random<float>(p.m, p.n + p.padding, 3);
  for (std::size_t i = 0; i < p.m; ++i) {
    for (std::size_t j = p.n; j < c.cols(); ++j) c(i, j) = kUntouched;
  }
  const Matrix<float> before = Random<float>(p.m, p.n + p.padding, 3);
  const MatrixView<const T> a_view = a.view().Cols(0, a_cols);
  const MatrixView<const T> b_view = b.view().Cols(0, b_cols);
  MatMul(p.a_transposed ? Transposed(a_view) : Plain(a_view),
         p.b_transposed ? Transposed(b_view) : Plain(b_view), p.k, c.view().Cols(0, p.n),
         p.accumulate);
  for (std::size_t i = 0; i < p.m; ++i) {
    for (std::size_t j = 0; j < p.n; ++j) {
      double sum = p.accumulate ? static_cast<double>(before(i, j)) : 0;
      double a_norm = 0;
      double b_norm = 0;
      for (std::size_t l = 0; l < p.k; ++l) {
        const auto x = static_cast<double>(AsFloat(p.a_transposed ? a(l, i) : a(i, l)));
        const auto y = static_cast<double>(AsFloat(p.b_transposed ? b(j, l) : b(l, j)));
        sum += x * y;
        a_norm += x * x;
        b_norm += y * y;
      }
      // k products and k sums, each rounded once, in any order: k + 1 units of sum |a||b|, which
      // is at most the product of the norms. Products of bf16 are exact, which is only better.
      const double tolerance =
          static_cast<double>(p.k + 1) * kUnit *
          (std::sqrt(a_norm * b_norm) + (p.accumulate ? std::abs(before(i, j)) : 0.0F));
      ASSERT_NEAR(static_cast<double>(c(i, j)), sum, tolerance) << i << ", " << j;
    }
    for (std::size_t j = p.n; j < c.cols(); ++j) ASSERT_EQ(c(i, j), kUntouched) << i << ", " << j;
  }
}

template <class T>
void ExpectAllProducts() {
  struct Sizes {
    std::size_t m, k, n;
  };
  // One, below, at and above the registers of 16 and the blocks of 64; all three odd.
  for (const Sizes& s : {Sizes{1, 1, 1},
                         {1, 64, 5},
                         {5, 1, 3},
                         {3, 7, 2},
                         {16, 16, 16},
                         {17, 33, 15},
                         {64, 65, 63},
                         {129, 31, 97},
                         {40, 300, 31}}) {
    for (int bits = 0; bits < 8; ++bits) {
      for (std::size_t padding : {0U, 3U}) {
        ExpectProduct<T>(
            {s.m, s.k, s.n, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, padding});
      }
    }
  }
}

TEST(MatMul, F32AgainstThePlainLoop) { ExpectAllProducts<float>(); }

TEST(MatMul, BF16AgainstThePlainLoop) {
  if (!HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  ExpectAllProducts<BF16>();
}

TEST(MatMul, NothingToDoAndNothingToSum) {
  Matrix<float> empty(0, 4);
  const Matrix<float> x(1, 4, 1.0F);
  MatMul(Plain(x.view().Rows(0, 0)), Transposed(x.view()), 4, empty);
  Matrix<float> c(1, 1);
  EXPECT_THROW(MatMul(Plain(x.view()), Plain(x.view()), 0, c), InternalError);
  const Operand half{x.data(), DType::kBF16, 4, false};
  EXPECT_THROW(MatMul(half, Plain(x.view()), 4, c), InternalError);
}

template <class T>
void ExpectGram() {
  for (std::size_t n : {1U, 63U, 300U}) {
    const std::size_t tokens = 70;
    const Matrix<T> x = Random<T>(tokens, n, 4);
    ThreadPool pool(2);
    Matrix<float> gram(n, n, 0.0F);
    AccumulateGram(pool, x.view().Rows(0, 30), gram);
    AccumulateGram(pool, x.view().Rows(30, 40), gram);
    MirrorUpper(gram);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double sum = 0;
        double size = 0;
        for (std::size_t t = 0; t < tokens; ++t) {
          const double product =
              static_cast<double>(AsFloat(x(t, i))) * static_cast<double>(AsFloat(x(t, j)));
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(static_cast<double>(gram(i, j)), sum, (tokens + 1) * kUnit * size);
        ASSERT_EQ(gram(i, j), gram(j, i));
      }
    }
  }
}

TEST(Gram, F32AgainstThePlainLoop) { ExpectGram<float>(); }
TEST(Gram, BF16AgainstThePlainLoop) {
  if (!HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  ExpectGram<BF16>();
}

// Three by two tiles and remainders in both directions.
TEST(MatMul, ThreadsDoNotChangeABit) {
  const std::size_t m = 600;
  const std::size_t k = 96;
  const std::size_t n = 301;
  const Matrix<float> x = Random<float>(m, k, 5);
  const Matrix<float> w = Random<float>(n, k, 6);
  Matrix<float> first;
  Matrix<float> first_gram;
  for (std::size_t threads : {1U, 2U, 3U, 8U}) {
    ThreadPool pool(threads);
    Matrix<float> y(m, n);
    ParallelMatMul(pool, Plain(x.view()), Transposed(w.view()), k, y);
    Matrix<float> gram(m, m, 0.0F);
    AccumulateGram(pool, Random<float>(k, m, 7).view(), gram);
    if (first.rows() == 0) {
      first = std::move(y);
      first_gram = std::move(gram);
      continue;
    }
    EXPECT_EQ(std::memcmp(y.data(), first.data(), y.size() * sizeof(float)), 0) << threads;
    EXPECT_EQ(std::memcmp(gram.data(), first_gram.data(), gram.size() * sizeof(float)), 0)
        << threads;
  }
}

// A few tokens are dot products, many are one matrix product: they must not differ by more than
// both may differ from the truth.
template <class T>
void ExpectFewLikeMany() {
  const std::size_t in = 333;
  const std::size_t out = 130;
  const Matrix<T> x = Random<T>(9, in, 8);
  const Matrix<T> w = Random<T>(out, in, 9);
  ThreadPool pool(3);
  Matrix<float> many(x.rows(), out);
  ApplyWeights(pool, x.view(), w.view(), many);
  for (std::size_t tokens : {1U, 2U, 3U, 4U, 5U}) {
    Matrix<float> few(tokens, out);
    ApplyWeights(pool, x.view().Rows(0, tokens), w.view(), few);
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t n = 0; n < out; ++n) {
        double size = 0;
        for (std::size_t k = 0; k < in; ++k) {
          size += std::abs(static_cast<double>(AsFloat(x(t, k)) * AsFloat(w(n, k))));
        }
        ASSERT_NEAR(static_cast<double>(few(t, n)), static_cast<double>(many(t, n)),
                    2 * (static_cast<double>(in) + 1) * kUnit * size)
            << tokens << " tokens, " << t << ", " << n;
      }
    }
  }
}

TEST(ApplyWeights, F32FewTokensLikeMany) { ExpectFewLikeMany<float>(); }
TEST(ApplyWeights, BF16FewTokensLikeMany) {
  if (!HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  ExpectFewLikeMany<BF16>();
}

TEST(ApplyWeights, RefusesShapesThatDoNotFit) {
  ThreadPool pool(1);
  const Matrix<float> x(2, 8, 1.0F);
  const Matrix<float> w(3, 7, 1.0F);
  Matrix<float> y(2, 3);
  EXPECT_THROW(ApplyWeights(pool, x.view(), w.view(), y), InternalError);
}

}  // namespace
}  // namespace awq::math
