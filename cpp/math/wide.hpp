// Sums and quotients of a row, in more precision than its elements have: plain float64 for float32
// rows, double-double for float64 rows (Dekker 1971; Knuth, TAOCP 2, 4.2.2).
#pragma once

#include <cstdint>
#include <cstring>

namespace softlane {
namespace SOFTLANE_ISA {

inline double fma1(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// 2^e for e within the normal range, by the exponent field.
inline double pow2(int e) {
  const std::uint64_t bits = static_cast<std::uint64_t>(e + 1023) << 52;
  double v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
// 2^e, or 0 below the normal range: a block so far below the row's maximum counts as absent.
inline double pow2_or_zero(double e) { return e < -1022 ? 0.0 : pow2(static_cast<int>(e)); }

template <class T>
struct Wide;

template <>
struct Wide<float> {
  double hi;

  double value() const { return hi; }
  friend Wide operator+(Wide a, Wide b) { return {a.hi + b.hi}; }
  friend Wide operator*(Wide a, double factor) { return {a.hi * factor}; }
  friend Wide operator*(Wide a, Wide b) { return {a.hi * b.hi}; }
  friend Wide quotient(Wide a, Wide b) { return {a.hi / b.hi}; }
  double low() const { return 0; }
};

template <>
struct Wide<double> {
  double hi;
  double lo;

  Wide() = default;
  constexpr Wide(double h, double l = 0) : hi(h), lo(l) {}

  double value() const { return hi; }
  double low() const { return lo; }
  friend Wide operator+(Wide a, Wide b) {
    const double s = a.hi + b.hi;
    const double bb = s - a.hi;
    const double err = (a.hi - (s - bb)) + (b.hi - bb);
    return normal(s, err + (a.lo + b.lo));
  }
  // Exact for a power of two; else the low part rounds at 2^-106.
  friend Wide operator*(Wide a, double factor) {
    const double p = a.hi * factor;
    return normal(p, fma1(a.hi, factor, -p) + a.lo * factor);
  }
  friend Wide operator*(Wide a, Wide b) {
    const double p = a.hi * b.hi;
    return normal(p, fma1(a.hi, b.hi, -p) + (a.hi * b.lo + a.lo * b.hi));
  }
  friend Wide quotient(Wide a, Wide b) {
    const double q = a.hi / b.hi;
    const double rest = fma1(-q, b.hi, a.hi) + (a.lo - q * b.lo);
    return normal(q, rest / b.hi);
  }

 private:
  // hi is the sum rounded once.
  static Wide normal(double a, double small) {
    const double s = a + small;
    return {s, small - (s - a)};
  }
};

// A row's running sum in 16 lanes, for the sums that are not on the fast path. Element k belongs to
// lane k mod 16; lanes accumulate in order of k and are added by halving. float64 rows compensate
// every addition (Neumaier's variant of Kahan's sum, by Knuth's two-sum).
template <class T>
class LaneSum {
 public:
  static constexpr int registers = 16 / Vec<double>::lanes;

  LaneSum() {
    for (int j = 0; j < registers; ++j) hi_[j] = lo_[j] = Vec<double>(0.0);
  }
  void add(int j, Vec<double> v) {
    const Vec<double> s = hi_[j] + v;
    if (sizeof(T) == sizeof(double)) {
      const Vec<double> bb = s - hi_[j];
      lo_[j] = lo_[j] + ((hi_[j] - (s - bb)) + (v - bb));
    }
    hi_[j] = s;
  }
  void add_low(int j, Vec<double> v) { lo_[j] = lo_[j] + v; }
  Wide<T> total() const {
    alignas(64) double hi[16], lo[16];
    for (int j = 0; j < registers; ++j) {
      hi_[j].store(hi + j * Vec<double>::lanes);
      lo_[j].store(lo + j * Vec<double>::lanes);
    }
    Wide<T> lane[16];
    double plain = 0;
    for (int l = 0; l < 16; ++l) {
      lane[l] = make(hi[l]) + make(lo[l]);
      plain += hi[l];
    }
    // An infinite term (a loss of +inf) is the sum; its rounding error would be a NaN.
    if (plain - plain != 0) return make(plain);
    for (int h = 8; h >= 1; h /= 2) {
      for (int l = 0; l < h; ++l) lane[l] = lane[l] + lane[l + h];
    }
    return lane[0];
  }

 private:
  static Wide<T> make(double v) {
    Wide<T> w{};
    w.hi = v;
    return w;
  }
  Vec<double> hi_[registers], lo_[registers];
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
