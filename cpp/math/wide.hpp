// Sums and quotients of a row, in more precision than its elements have: plain float64 for float32
// rows, double-double for float64 rows (Dekker 1971; Knuth, TAOCP 2, 4.2.2).
#pragma once

#include <cstdint>
#include <cstring>

namespace softlane {
namespace SOFTLANE_ISA {

inline double fma1(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
template <class T>
inline Vec<T> fma1(Vec<T> a, Vec<T> b, Vec<T> c) {
  return fma(a, b, c);
}

// 2^e for e within the normal range, by the exponent field.
inline double pow2(int e) {
  const std::uint64_t bits = static_cast<std::uint64_t>(e + 1023) << 52;
  double v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
// 2^e, or 0 below the normal range: a block so far below the row's maximum counts as absent.
inline double pow2_or_zero(double e) { return e < -1022 ? 0.0 : pow2(static_cast<int>(e)); }

// A row's own arithmetic is written once, for one row (D = double) and for as many rows as a vector
// has lanes (D = Pack<T>); these are the words it needs beyond + - * /.
inline bool greater(double a, double b) { return a > b; }
inline bool equal(double a, double b) { return a == b; }
inline double select(bool m, double yes, double no) { return m ? yes : no; }
inline bool any(bool m) { return m; }
inline bool all(bool m) { return m; }
inline double power_of_two(double e) { return pow2(static_cast<int>(e)); }
inline double exponent(double a) {  // floor(log2 a) of a normal a > 0
  std::uint64_t bits;
  std::memcpy(&bits, &a, sizeof bits);
  return static_cast<double>(static_cast<int>(bits >> 52 & 0x7ff) - 1023);
}

inline double power_below(double a) {  // 2^exponent(|a|); 0 of what is less than normal
  std::uint64_t bits;
  std::memcpy(&bits, &a, sizeof bits);
  bits &= 0x7ff0000000000000;
  std::memcpy(&a, &bits, sizeof bits);
  return a;
}

// The float64 numbers of the rows in the lanes of one Vec<T>.
template <class T>
struct Pack {
  using D = Vec<double>;
  static constexpr int registers = Vec<T>::lanes / D::lanes;
  static_assert(registers <= 2);
  struct Mask {
    typename D::Mask m[registers];
    explicit operator unsigned() const {
      unsigned bits = 0;
      for (int j = 0; j < registers; ++j) bits |= static_cast<unsigned>(m[j]) << (j * D::lanes);
      return bits;
    }
  };
  D r[registers];

  Pack() = default;
  SOFTLANE_INLINE Pack(double v) {
    r[0] = D(v);
    if constexpr (registers > 1) r[1] = r[0];
  }
  // Vectors of vectors are copied member by member, here and elsewhere: as a whole they go through memory, in
  // pieces (GCC 12), and what comes next waits. Sums of 151 classes took 1.3 times as long (AVX2, Zen 1).
  SOFTLANE_INLINE Pack(const Pack& p) {
    r[0] = p.r[0];
    if constexpr (registers > 1) r[1] = p.r[1];
  }
  SOFTLANE_INLINE Pack& operator=(const Pack& p) {
    r[0] = p.r[0];
    if constexpr (registers > 1) r[1] = p.r[1];
    return *this;
  }
  template <class F>
  static SOFTLANE_INLINE Pack each(F f) {
    Pack p;
    p.r[0] = f(0);
    if constexpr (registers > 1) p.r[1] = f(1);
    return p;
  }
  template <class F>
  static SOFTLANE_INLINE Mask mask(F f) {
    Mask m;
    m.m[0] = f(0);
    if constexpr (registers > 1) m.m[1] = f(1);
    return m;
  }
  static Pack load(const double* p) {
    return each([&](int j) __attribute__((always_inline)) { return D::load(p + j * D::lanes); });
  }
  void store(double* p) const {
    for (int j = 0; j < registers; ++j) r[j].store(p + j * D::lanes);
  }
  friend SOFTLANE_INLINE Pack operator+(Pack a, Pack b) {
    return each([&](int j) __attribute__((always_inline)) { return a.r[j] + b.r[j]; });
  }
  friend SOFTLANE_INLINE Pack operator-(Pack a, Pack b) {
    return each([&](int j) __attribute__((always_inline)) { return a.r[j] - b.r[j]; });
  }
  friend SOFTLANE_INLINE Pack operator-(Pack a) {
    return each([&](int j) __attribute__((always_inline)) { return a.r[j] ^ D(-0.0); });
  }
  friend SOFTLANE_INLINE Pack operator*(Pack a, Pack b) {
    return each([&](int j) __attribute__((always_inline)) { return a.r[j] * b.r[j]; });
  }
  friend SOFTLANE_INLINE Pack operator/(Pack a, Pack b) {
    return each([&](int j) __attribute__((always_inline)) { return a.r[j] / b.r[j]; });
  }
  friend SOFTLANE_INLINE Pack fma1(Pack a, Pack b, Pack c) {
    return each([&](int j) __attribute__((always_inline)) { return fma(a.r[j], b.r[j], c.r[j]); });
  }
  friend SOFTLANE_INLINE Mask greater(Pack a, Pack b) {
    return mask([&](int j) __attribute__((always_inline)) { return greater(a.r[j], b.r[j]); });
  }
  friend SOFTLANE_INLINE Mask equal(Pack a, Pack b) {
    return mask([&](int j) __attribute__((always_inline)) { return equal(a.r[j], b.r[j]); });
  }
  friend bool any(Mask m) { return static_cast<unsigned>(m) != 0; }
  friend bool all(Mask m) {
    constexpr unsigned each_lane = (1u << Vec<T>::lanes) - 1;
    return (static_cast<unsigned>(m) & each_lane) == each_lane;
  }
  friend SOFTLANE_INLINE Pack select(Mask m, Pack yes, Pack no) {
    return each([&](int j)
                    __attribute__((always_inline)) { return select(m.m[j], yes.r[j], no.r[j]); });
  }
  friend SOFTLANE_INLINE Pack power_of_two(Pack e) {
    return each([&](int j) __attribute__((always_inline)) {
      return exponent_field(e.r[j] + D(0x1.8p52 + 1023));
    });
  }
  friend SOFTLANE_INLINE Pack exponent(Pack a) {
    return each([&](int j) __attribute__((always_inline)) { return exponent(a.r[j]); });
  }
  friend SOFTLANE_INLINE Pack power_below(Pack a) {
    return each([&](int j) __attribute__((always_inline)) { return power_below(a.r[j]); });
  }
};

inline double widened(float v) { return static_cast<double>(v); }
inline double widened(double v) { return v; }
inline Pack<float> widened(Vec<float> v) {
  Pack<float> p;
  widen(v, p.r);
  return p;
}
inline Pack<double> widened(Vec<double> v) {
  return Pack<double>::each([&](int) { return v; });
}

// Rounded to T: one number in every lane, or each row's own.
template <class T>
inline Vec<T> narrowed(double v) {
  return Vec<T>(static_cast<T>(v));
}
template <class T>
inline Vec<float> narrowed(Pack<float> p) {
  Vec<float> v;
  narrow(p.r, v);
  return v;
}
template <class T>
inline Vec<double> narrowed(Pack<double> p) {
  return p.r[0];
}
template <class T>
inline typename Vec<T>::Mask narrowed(typename Pack<T>::Mask mask) {
  if constexpr (Pack<T>::registers == 1) {
    return mask.m[0];
  } else {
    return Vec<T>::narrow_mask(mask.m);
  }
}
// The same, as float64.
template <class T>
inline double rounded(double v) {
  return static_cast<double>(static_cast<T>(v));
}
template <class T>
inline Pack<T> rounded(Pack<T> p) {
  return widened(narrowed<T>(p));
}

template <class T, class D = double>
struct Wide;

template <class D>
struct Wide<float, D> {
  D hi;

  D value() const { return hi; }
  friend Wide operator+(Wide a, Wide b) { return {a.hi + b.hi}; }
  friend Wide operator*(Wide a, D factor) { return {a.hi * factor}; }
  friend Wide operator*(Wide a, Wide b) { return {a.hi * b.hi}; }
  friend Wide quotient(Wide a, Wide b) { return {a.hi / b.hi}; }
  template <class Mask>
  static Wide choose(Mask m, Wide yes, Wide no) {
    return {select(m, yes.hi, no.hi)};
  }
  D low() const { return D(0.0); }
  static Wide of(D h, D) { return {h}; }
  Wide less(D b) const { return {hi - b}; }
  friend Wide carried(Wide a, Wide b) { return a + b; }
  Wide settled() const { return *this; }
};

template <class D>
struct Wide<double, D> {
  D hi;
  D lo;

  Wide() = default;
  constexpr Wide(D h, D l = D(0.0)) : hi(h), lo(l) {}
  SOFTLANE_INLINE constexpr Wide(const Wide& w) : hi(w.hi), lo(w.lo) {}
  SOFTLANE_INLINE Wide& operator=(const Wide& w) {
    hi = w.hi;
    lo = w.lo;
    return *this;
  }

  D value() const { return hi; }
  D low() const { return lo; }
  static Wide of(D h, D l) { return {h, l}; }
  friend Wide operator+(Wide a, Wide b) {
    const D s = a.hi + b.hi;
    const D bb = s - a.hi;
    const D err = (a.hi - (s - bb)) + (b.hi - bb);
    return normal(s, err + (a.lo + b.lo));
  }
  // a + b with what it lost beside it, however large that is by now, and such a sum made a number again: three
  // operations less an addition of many.
  friend Wide carried(Wide a, Wide b) {
    const D s = a.hi + b.hi;
    const D bb = s - a.hi;
    return {s, ((a.hi - (s - bb)) + (b.hi - bb)) + (a.lo + b.lo)};
  }
  Wide settled() const { return Wide{hi} + Wide{lo}; }
  // Less b, 0 <= b <= hi: as + -b, by Dekker's two-sum. Where this is a sum of upper parts and one of lower
  // (quads.hpp), hi may be less than b by the lower ones' size: hi - b has no error then, and a difference that is no
  // larger than those is faint (block.hpp), and taken anew.
  Wide less(D b) const {
    const D s = hi - b;
    return normal(s, ((hi - s) - b) + lo);
  }
  // Exact for a power of two; else the low part rounds at 2^-106.
  friend Wide operator*(Wide a, D factor) {
    const D p = a.hi * factor;
    return normal(p, fma1(a.hi, factor, -p) + a.lo * factor);
  }
  friend Wide operator*(Wide a, Wide b) {
    const D p = a.hi * b.hi;
    return normal(p, fma1(a.hi, b.hi, -p) + (a.hi * b.lo + a.lo * b.hi));
  }
  friend Wide quotient(Wide a, Wide b) {
    const D q = a.hi / b.hi;
    const D rest = fma1(-q, b.hi, a.hi) + (a.lo - q * b.lo);
    return normal(q, rest / b.hi);
  }
  template <class Mask>
  static Wide choose(Mask m, Wide yes, Wide no) {
    return {select(m, yes.hi, no.hi), select(m, yes.lo, no.lo)};
  }

 private:
  // hi is the sum rounded once.
  static Wide normal(D a, D small) {
    const D s = a + small;
    return {s, small - (s - a)};
  }
};

// The sums that are not on the fast path run in 16 lanes: element k belongs to lane k mod 16, lanes
// accumulate from +0 in order of k and are added by halving. float64 rows (T) compensate every
// addition (Neumaier's variant of Kahan's sum, by Knuth's two-sum).
template <class T, class D>
SOFTLANE_INLINE void add_to_lane(D& hi, D& lo, D v) {
  const D s = hi + v;
  if (sizeof(T) == sizeof(double)) {
    const D bb = s - hi;
    lo = lo + ((hi - (s - bb)) + (v - bb));
  }
  hi = s;
}
// The same of a product, which float64 holds exactly where its factors are float32.
template <class T, class D>
SOFTLANE_INLINE void add_product_to_lane(D& hi, D& lo, D a, D b) {
  if constexpr (sizeof(T) == sizeof(double)) {
    add_to_lane<T>(hi, lo, a * b);
  } else {
    hi = fma1(a, b, hi);
  }
}
// An infinite term (a loss of +inf) is the sum; its rounding error would be a NaN. What is not finite, perhaps by
// roundings alone, is summed once more without them, by plain().
template <class T, class D, class Plain>
SOFTLANE_INLINE Wide<T, D> finite_or_plain(const Wide<T, D>& sum, Plain plain) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return sum;  // which is plain itself
  } else {
    // Asked of twice the sum, for the plain one may be infinite where this is not.
    const D twice = sum.value() * D(2.0), zero(0.0);
    if (all(equal(twice - twice, zero))) return sum;
    const D rough = plain();
    return Wide<T, D>::choose(equal(rough - rough, zero), sum, Wide<T, D>{rough});
  }
}
// The sum of the first `lanes` of 16, of which hi is overwritten: those beyond hold nothing.
template <class T, class D>
SOFTLANE_INLINE Wide<T, D> lanes_total(D* hi, Wide<T, D>* lane, int lanes) {
  for (int h = 8; h >= 1; h /= 2) {
    for (int l = 0; l < h && l + h < lanes; ++l) lane[l] = carried(lane[l], lane[l + h]);
  }
  return finite_or_plain<T>(lane[0].settled(), [=] {
    for (int h = 8; h >= 1; h /= 2) {
      for (int l = 0; l < h && l + h < lanes; ++l) hi[l] = hi[l] + hi[l + h];
    }
    return hi[0];
  });
}
template <class T, class D>
SOFTLANE_INLINE Wide<T, D> lanes_total(D* hi, const D* lo, int lanes) {
  Wide<T, D> lane[16];
  for (int l = 0; l < lanes; ++l) lane[l] = Wide<T, D>::of(hi[l], lo[l]);
  return lanes_total<T>(hi, lane, lanes);
}
// The same where nothing is lost.
template <class T, class D>
SOFTLANE_INLINE Wide<T, D> lanes_total(D* hi, int lanes) {
  Wide<T, D> lane[16];
  for (int l = 0; l < lanes; ++l) lane[l] = Wide<T, D>::of(hi[l], D(0.0));
  return lanes_total<T>(hi, lane, lanes);
}

// Such a sum over one row.
template <class T>
class LaneSum {
 public:
  static constexpr int registers = 16 / Vec<double>::lanes;

  LaneSum() {
    for (int j = 0; j < registers; ++j) hi_[j] = lo_[j] = Vec<double>(0.0);
  }
  void add(int j, Vec<double> v) { add_to_lane<T>(hi_[j], lo_[j], v); }
  void add_product(int j, Vec<double> a, Vec<double> b) {
    add_product_to_lane<T>(hi_[j], lo_[j], a, b);
  }
  void add_low(int j, Vec<double> v) { lo_[j] = lo_[j] + v; }
  Wide<T> total() const {
    W lane[registers];
    for (int j = 0; j < registers; ++j) lane[j] = W::of(hi_[j], lo_[j]);
    for (int h = registers / 2; h >= 1; h /= 2) {
      for (int j = 0; j < h; ++j) lane[j] = carried(lane[j], lane[j + h]);
    }
    add_within<V::lanes / 2>(lane[0]);
    const Wide<T> sum = Wide<T>::of(lane[0].value().lane0(), lane[0].low().lane0()).settled();
    return finite_or_plain<T>(sum, [this] { return plain_total(); });
  }

 private:
  using V = Vec<double>;
  using W = Wide<T, V>;

  template <int H>
  static SOFTLANE_INLINE void add_within(W& lane) {
    if constexpr (H >= 1) {
      lane = carried(lane, W::of(lane.value().template down<H>(), lane.low().template down<H>()));
      add_within<H / 2>(lane);
    }
  }
  __attribute__((noinline)) double plain_total() const {
    LaneSum<float> sum;
    for (int j = 0; j < registers; ++j) sum.add(j, hi_[j]);
    return sum.total().value();
  }

  Vec<double> hi_[registers], lo_[registers];
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
