// What a row's summary makes of its elements: the logarithm of the sum, and quotients by it.
#pragma once

#include "kernels/summary.hpp"
#include "math/log1p.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// The numbers of a row, or of each of a vector's rows, that its elements are made from.
template <class T, class D>
SOFTLANE_INLINE Wide<T, D> log1p_ratio(const Wide<T, D>& tail, const Wide<T, D>& top) {
  const Wide<T, D> ratio = quotient(tail, top);
  return log1p<T>(ratio.value(), ratio.low());
}

template <class T>
struct RowConstants {
  Wide<T> sum;        // S = e* + T
  Wide<T> log_ratio;  // log1p(T / e*): logsumexp less the maximum

  explicit RowConstants(const RowSummary<T>& s)
      : sum(s.sum()), log_ratio(log1p_ratio(s.tail, s.top)) {}
};

// A number in two parts of type T, as a vector: one number in every lane (D = double), or each
// row's own (D = Pack<T>).
template <class T>
struct Factor {
  Vec<T> hi, lo;
  Factor() = default;
  template <class D>
  explicit Factor(const Wide<T, D>& c) : hi(narrowed<T>(c.value())) {
    const D rest = (c.value() - rounded<T>(c.value())) + c.low(), zero(0.0);
    lo = narrowed<T>(select(equal(rest - rest, zero), rest, zero));  // beyond T's range hi is all
  }
  // Of a number that is known to be within T's range.
  template <class D>
  static Factor within(const Wide<T, D>& c) {
    Factor f;
    f.hi = narrowed<T>(c.value());
    f.lo = narrowed<T>((c.value() - rounded<T>(c.value())) + c.low());
    return f;
  }
  // Times a power of two.
  Factor times(Vec<T> power) const {
    Factor f;
    f.hi = hi * power;
    f.lo = lo * power;
    return f;
  }
  // c v, rounded (almost) once
  Vec<T> operator()(Vec<T> v) const { return fma(hi, v, lo * v); }
  // The same, and what its rounding lost.
  Vec<T> operator()(Vec<T> v, Vec<T>& lost) const {
    const Vec<T> p = (*this)(v);
    lost = fma(v, hi, Vec<T>(T(0)) - p) + v * lo;
    return p;
  }
  // c v - t
  Vec<T> minus(Vec<T> v, Vec<T> t) const { return fma(v, hi, fma(v, lo, Vec<T>(T(0)) - t)); }
};

// From the base of a block to the row's: by two powers of two, for one alone could be subnormal.
template <class T, class D = double>
class Steps {
 public:
  void move(D exponents) {
    const D d = power_ + exponents, zero(0.0);
    moves_ = any(greater(d, zero)) || any(greater(zero, d));
    if (!moves_) {
      step1_ = step2_ = Vec<T>(T(1));
      return;
    }
    constexpr double first = sizeof(T) == 4 ? -64 : -512;
    constexpr double least = sizeof(T) == 4 ? -126 : -1022;
    const D d1 = select(greater(D(first), d), D(first), d), d2 = d - d1;
    const auto lost = greater(D(least), d2);
    step1_ = narrowed<T>(power_of_two(d1));
    step2_ = narrowed<T>(select(lost, zero, power_of_two(select(lost, zero, d2))));
  }
  void move(T block_exponent, T row_exponent) {
    move(static_cast<double>(block_exponent) - static_cast<double>(row_exponent));
  }
  bool moves() const { return moves_; }
  Vec<T> first_step() const { return step1_; }
  Vec<T> second_step() const { return step2_; }
  Vec<T> moved(Vec<T> e) const { return e * step1_ * step2_; }

 protected:
  D power_{0.0};  // of two, to go with every move

 private:
  Vec<T> step1_{T(1)}, step2_{T(1)};
  bool moves_ = false;
};

// e -> e factor / S, rounded (almost) once: factor (1 / S) is carried in two parts.
template <class T, class D = double>
class Normalizer : public Steps<T, D> {
 public:
  SOFTLANE_INLINE Normalizer(const Wide<T, D>& inverse, Wide<T, D> factor) {
    // A factor far below 1 would make the quotient's low part subnormal, and one far above it leave T's
    // range: its power of two goes with the blocks'. Not that of Hessian-vector products, 2^24 or 2^54.
    const D size = select(greater(D(0.0), factor.value()), -factor.value(), factor.value());
    const D small = select(greater(size, D(0.0)), size, D(1.0));
    const auto extreme = greater(small, D(0x1p60)), tiny = greater(D(0x1p-20), small);
    if (any(extreme) || any(tiny)) {
      D e = exponent(small);
      e = select(greater(e, D(50.0)), D(50.0), select(greater(D(-900.0), e), D(-900.0), e));
      this->power_ = select(extreme, e, select(tiny, e, D(0.0)));
      factor = factor * power_of_two(-this->power_);
    }
    q_ = Factor<T>(factor * inverse);
    this->move(D(0.0));
  }
  // The same with a factor of 1, or one that is in the inverse already, and leaves it in T's range.
  SOFTLANE_INLINE explicit Normalizer(const Wide<T, D>& inverse) : q_(Factor<T>::within(inverse)) {}
  const Factor<T>& factor() const { return q_; }
  Vec<T> operator()(Vec<T> e) const { return q_(e); }
  // e factor / S - t
  Vec<T> minus(Vec<T> e, Vec<T> t) const { return q_.minus(e, t); }

 private:
  Factor<T> q_;
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
