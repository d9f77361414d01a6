// What a row's summary makes of its elements: the logarithm of the sum, and quotients by it.
#pragma once

#include "kernels/summary.hpp"
#include "math/log1p.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// The numbers of a row that its elements are made from.
template <class T>
struct RowConstants {
  Wide<T> sum;             // S = e* + T
  Wide<double> log_ratio;  // log1p(T / e*): logsumexp less the maximum

  explicit RowConstants(const RowSummary<T>& s)
      : sum(s.sum()), log_ratio(log1p_ratio(s.tail, s.top)) {}

  static Wide<double> log1p_ratio(const Wide<T>& tail, const Wide<T>& top) {
    const Wide<T> ratio = quotient(tail, top);
    return log1p(ratio.value(), ratio.low());
  }
};

// e -> e factor / S, rounded (almost) once: the quotient is carried in two parts.
template <class T>
class Normalizer {
 public:
  Normalizer(const Wide<T>& sum, Wide<T> factor) {
    // A factor far from 1 would make the quotient's low part subnormal: its power of two goes with
    // the blocks'.
    double size = factor.hi < 0 ? -factor.hi : factor.hi;
    if (size > 0x1p20 || (size > 0 && size < 0x1p-20)) {
      int e = 0;
      while (size >= 2 && e < 50) size *= 0.5, ++e;
      while (size < 1 && e > -900) size *= 2, --e;
      power_ = e;
      factor = factor * pow2(-e);
    }
    const Wide<T> q = quotient(factor, sum);
    const T h = static_cast<T>(q.hi);
    hi_ = Vec<T>(h);
    lo_ = Vec<T>(static_cast<T>((q.hi - static_cast<double>(h)) + q.low()));
  }
  // From the base of a block to the row's: by two powers of two, for one alone could be subnormal.
  void move(T block_exponent, T row_exponent) {
    const double d =
        power_ + static_cast<double>(block_exponent) - static_cast<double>(row_exponent);
    moves_ = d != 0;
    constexpr double first = sizeof(T) == 4 ? -64 : -512;
    constexpr double least = sizeof(T) == 4 ? -126 : -1022;
    const double d1 = d < first ? first : d;
    step1_ = Vec<T>(static_cast<T>(pow2(static_cast<int>(d1))));
    step2_ = Vec<T>(static_cast<T>(d - d1 < least ? 0.0 : pow2(static_cast<int>(d - d1))));
  }
  bool moves() const { return moves_; }
  Vec<T> moved(Vec<T> e) const { return e * step1_ * step2_; }
  Vec<T> operator()(Vec<T> e) const { return fma(e, hi_, e * lo_); }
  // The same, and what its rounding lost.
  Vec<T> operator()(Vec<T> e, Vec<T>& lost) const {
    const Vec<T> p = (*this)(e);
    lost = fma(e, hi_, Vec<T>(T(0)) - p) + e * lo_;
    return p;
  }
  // e factor / S - t
  Vec<T> minus(Vec<T> e, Vec<T> t) const { return fma(e, hi_, fma(e, lo_, Vec<T>(T(0)) - t)); }

 private:
  Vec<T> hi_, lo_, step1_, step2_;
  double power_ = 0;
  bool moves_ = false;
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
