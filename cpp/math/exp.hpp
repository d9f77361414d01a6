// exp relative to a base: e = scale exp(z) * 2^(top - N), where N is the base's exponent.
//
//   k = z log2(e) to the nearest 1/R,  r = z - k ln2 in two steps (Cody and Waite 1980; the first is exact,
//                                         for its result has no more bits than the type),
//   e = scale 2^(k - N + top) P(r),  k = n + j/R,  by a table of the R numbers scale 2^(j/R) (Tang 1989)
//
// The scale, which the terms of a row share, is one that brings these numbers so close to numbers of the
// type that what they are off does not count (coefficients.py): an operation and a table less.
//
// Rounding is by the magic number 1.5 * 2^p / R: adding it leaves n R + j in the low bits (Hida and Briggs;
// Muller et al., Handbook of Floating-Point Arithmetic). With top - N folded into the magic number the
// low bits hold the biased exponent of the power itself, so that a shift and the table's entry make it.
// What would be negative then is the factor +0: arguments are clamped from below to the one whose exponent
// field is -1, so that -inf and everything that cannot count gives an exact zero. `top` (the maximum's own
// field) leaves room above the format's normal range. Field 0 alone is below it, 2^-186 (float64: 2^-1172)
// of the maximum's: its terms are wrong in their leading digits, and go on to exact zeros.
//
// Bound: max_ulp's "exp" in kernels/bounds.hpp.
#pragma once

#include "math/coefficients.hpp"
#include "math/wide.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
struct ExpRange;

template <>
struct ExpRange<float> {
  static constexpr float magic = 0x1.8p23f;
  static constexpr float top = 187;  // exponent field of the maximum: 2^60
  static constexpr double bias = 127;
  static constexpr float limit = 256;  // |max| up to here needs no shift
  static constexpr float bottom =
      -386;  // a block maximum below this counts nothing beside max >= -limit
};

template <>
struct ExpRange<double> {
  static constexpr double magic = 0x1.8p52;
  static constexpr double top = 1173;  // 2^150
  static constexpr double bias = 1023;
  static constexpr double limit = 2048;
  static constexpr double bottom = -2861;
};

// How a stored logit x becomes the argument of exp. In general that is argument(±x) * beta with
// argument(a) = (a - shift) * unit and unit * beta = 1 / temperature; the common case is x itself, and
// has its own type because the general one costs seven more operations than its fourteen. Both give the
// same bits where both apply.
template <class T>
struct Direct {
  using V = Vec<T>;
  static V sign(V x) { return x; }
  static T sign(T x) { return x; }
  static V argument(V a) { return a; }
  template <class S>
  static auto wide_argument(S a) {
    return widened(a);
  }
  static T slope() { return ExpConstants<T>::log2e; }
  // r = z beta - k ln2, and what its rounding lost.
  static V reduced(V z, V k, V& lost) {
    const V high = fnma(k, V(ExpConstants<T>::ln2_hi), z), low(ExpConstants<T>::ln2_lo);
    const V r = fnma(k, low, high);
    lost = fnma(k, low, high - r);
    return r;
  }
  static constexpr double beta() { return 1; }
  static constexpr double beta_low() { return 0; }
};

template <class T>
struct Affine {
  using V = Vec<T>;
  T sign_bits = 0;  // -0.0 negates
  T shift = 0, unit = 1;
  double beta_hi = 1, beta_lo = 0;
  T slope_ = ExpConstants<T>::log2e, beta_t = 1, beta_t_lo = 0;

  Affine(bool negate, double temperature) : sign_bits(negate ? T(-0.0) : T(0.0)) {
    // The reciprocal of an extreme temperature, and its low part, would leave T's normal range: half
    // of its exponent goes to `unit`. Beyond 2^-250 a float32 row is at its limit: its smallest
    // difference, 2^-149, over the temperature is more than exp can tell from infinity.
    constexpr bool single = sizeof(T) == 4;
    if (single && temperature < 0x1p-250) temperature = 0x1p-250;
    if (single && temperature > 0x1p200) temperature = 0x1p200;
    constexpr int usual = single ? 30 : 300;
    if (temperature < pow2(-usual) || temperature > pow2(usual)) {
      int e = 0;
      while (temperature >= 2) temperature *= 0.5, ++e;
      while (temperature < 1) temperature *= 2, --e;
      unit = static_cast<T>(pow2(-(e / 2)));
      temperature *= pow2(e - e / 2);
    }
    beta_hi = 1 / temperature;
    beta_lo = fma1(-beta_hi, temperature, 1.0) / temperature;
    beta_t = static_cast<T>(beta_hi);
    beta_t_lo = static_cast<T>((beta_hi - static_cast<double>(beta_t)) + beta_lo);
    slope_ = static_cast<T>(beta_hi * static_cast<double>(ExpConstants<T>::log2e));
  }
  V sign(V x) const { return x ^ V(sign_bits); }
  T sign(T x) const { return __builtin_signbit(sign_bits) ? -x : x; }
  V argument(V a) const { return (a - V(shift)) * V(unit); }
  template <class S>
  auto wide_argument(S a) const {
    using D = decltype(widened(a));
    return (widened(a) - D(static_cast<double>(shift))) * D(static_cast<double>(unit));
  }
  T slope() const { return slope_; }
  V reduced(V z, V k, V& lost) const {
    const V product = z * V(beta_t);
    const V rest = fma(z, V(beta_t_lo), fma(z, V(beta_t), V(T(0)) - product));
    const V q = Direct<T>::reduced(product, k, lost), r = q + rest;
    lost = lost + (rest - (r - q));
    return r;
  }
  double beta() const { return beta_hi; }
  double beta_low() const { return beta_lo; }
};

// The base of one block: its exponent N and what the vector loop needs of it. S is T for a row, and
// Vec<T> for as many rows.
template <class T, class S = T>
struct Base {
  S exponent = S(T(0));  // N, an integer
  S floor = S(T(0));     // the lowest argument, whose exponent field is -1
  S magic = S(T(0));     // magic / R + top - N

  Base() = default;
  template <class Map>
  Base(const Map& map, S block_max) {
    using R = ExpRange<T>;
    const auto z = map.wide_argument(block_max);
    using D = decltype(map.wide_argument(block_max));
    const D bottom(static_cast<double>(R::bottom) / map.beta());
    const S magic_number(R::magic);
    const S z_in_range = to_storage(select(greater(z, bottom), z, bottom));
    *this = at(map, fma1(z_in_range, S(map.slope()), magic_number) - magic_number);
  }
  // The base whose exponent is N.
  template <class Map>
  static Base at(const Map& map, S n) {
    using R = ExpRange<T>;
    const S top(R::top);
    const auto lowest = widened(n - S(R::top + 1));
    using D = decltype(widened(n));
    Base base;
    base.exponent = n;
    base.floor = to_storage(lowest * D(0x1.62e42fefa39efp-1) / D(map.beta()));
    base.magic = S(R::magic / ExpConstants<T>::roots) + (top - n);
    return base;
  }

 private:
  static T to_storage(double v) { return static_cast<T>(v); }
  static Vec<T> to_storage(Pack<T> v) { return narrowed<T>(v); }
};

// e = power (1 + p), p = r + r^2 q(r): it takes the rounding of that sum, and hardly another.
//
// Several vectors at a time, step by step: written one after the other, their chains of some 40 cycles fill
// the scheduler before they overlap.
//
// To `lost`, if anywhere, goes what the last one's e is less than 2^k exp(r), by what the rounding of r and of
// both sums lost: t - e is exact, and r^2 q(r) so small that its own rounding is 2^-8 of what is left out.
template <int N, class T, class Map, class S>
SOFTLANE_INLINE void exp_from_base(Vec<T>* a, const Map& map, const Base<T, S>& base,
                                   Vec<T>* lost = nullptr) {
  using C = ExpConstants<T>;
  using V = Vec<T>;
  constexpr int last = C::degree - 2;
  V t[N], r[N], q[N], r_low[N];
  for (int i = 0; i < N; ++i) a[i] = max(V(base.floor), map.argument(a[i]));
  for (int i = 0; i < N; ++i) t[i] = fma(a[i], V(map.slope()), V(base.magic));
  for (int i = 0; i < N; ++i) r[i] = map.reduced(a[i], t[i] - V(base.magic), r_low[i]);
  for (int i = 0; i < N; ++i) q[i] = fma(V(C::c[last]), r[i], V(C::c[last - 1]));
  for (int k = last - 2; k >= 0; --k) {
    for (int i = 0; i < N; ++i) q[i] = fma(q[i], r[i], V(C::c[k]));
  }
  const V small = fma(r[N - 1] * r[N - 1], q[N - 1], r_low[N - 1]);
  for (int i = 0; i < N; ++i) q[i] = fma(r[i] * r[i], q[i], r[i]);
  for (int i = 0; i < N; ++i) t[i] = power_of_root(t[i], C::root);
  for (int i = 0; i < N; ++i) a[i] = fma(t[i], q[i], t[i]);
  if (lost != nullptr) {
    *lost = fma(t[N - 1], small, fma(t[N - 1], r[N - 1], t[N - 1] - a[N - 1]));
  }
}

template <class T, class Map, class S>
SOFTLANE_INLINE Vec<T> exp_from_base(Vec<T> a, const Map& map, const Base<T, S>& base) {
  exp_from_base<1>(&a, map, base);
  return a;
}

// The maximum's own term in two parts: the rounding of one would enter every quotient of the row a second time. It
// is within the root's and the polynomial's own errors (coefficients.py), 2^-27 and 2^-57.
template <class T, class S>
SOFTLANE_INLINE auto two_parts(S e, S lost) {
  using D = decltype(widened(e));
  if constexpr (sizeof(T) == sizeof(float)) {
    return Wide<T, D>{widened(e) + widened(lost)};
  } else {
    return Wide<T, D>::of(widened(e), widened(lost));
  }
}

// 2^(field - bias), or 0 where the argument is at the base's floor or the field at its end.
template <class T, class S, class D>
SOFTLANE_INLINE D power_from_field(D field, D x, const Base<T, S>& base) {
  const D bias(ExpRange<T>::bias), zero(0.0);
  const auto counts = greater(x, widened(base.floor));
  field = select(counts, field, zero);
  const auto some = greater(field, zero);
  return select(some, power_of_two(select(some, field, bias) - bias), zero);
}

// exp_from_base more precisely: for the term of a smoothed label, and all terms of a row whose logarithm cancels.
// For float32 rows by a polynomial of degree 6, which is within 2^-28: a 16th of the rounding that this leaves out.
template <class S, class Map>
SOFTLANE_INLINE auto exp_wide(S a, const Map& map, const Base<float, S>& base) {
  using C = ExpConstants<float>;
  using R = ExpRange<float>;
  const auto x = map.wide_argument(a);
  using D = decltype(map.wide_argument(a));
  const D z = x * D(map.beta()), magic(ExpRange<double>::magic);
  const D n = fma1(z, D(ExpConstants<double>::log2e), magic) - magic;
  const D r = fma1(-n, D(0x1.62e42fefa39efp-1), z);
  constexpr double scale_of = static_cast<double>(C::scale);
  D p(scale_of * C::wide[C::wide_degree]);
  for (int i = C::wide_degree - 1; i >= 0; --i) p = fma1(p, r, D(scale_of * C::wide[i]));
  const D scale = power_from_field(n - widened(base.exponent - S(R::top)), x, base);
  return Wide<float, D>{select(equal(scale, D(0.0)), D(0.0), p * scale)};
}

// Without the scale.
template <class S, class Map>
SOFTLANE_INLINE auto exp_unscaled(S a, const Map& map, const Base<double, S>& base) {
  using C = ExpConstants<double>;
  using R = ExpRange<double>;
  const auto x = map.wide_argument(a);
  using D = decltype(map.wide_argument(a));
  const D beta(map.beta()), magic(R::magic);
  const D z = x * beta;
  const D z_low = fma1(x, beta, -z) + x * D(map.beta_low());
  const D n = fma1(z, D(C::log2e), magic) - magic;
  const D r_hi = fma1(-n, D(C::ln2_hi), z);
  const D r_lo = fma1(-n, D(C::ln2_lo), z_low);
  const D r = r_hi + r_lo;
  D q(C::wide[C::wide_degree]);
  for (int i = C::wide_degree - 1; i >= 2; --i) q = fma1(q, r, D(C::wide[i]));
  // 1 + r_hi without error, then everything below its last bit.
  const D one = D(1.0) + r_hi;
  const D low = (r_hi - (one - D(1.0))) + fma1(r * r, q, r_lo);
  const D p = one + low;
  const D scale = power_from_field(n - widened(base.exponent - S(R::top)), x, base);
  const auto nothing = equal(scale, D(0.0));
  return Wide<double, D>{select(nothing, D(0.0), p * scale),
                         select(nothing, D(0.0), (low - (p - one)) * scale)};
}

template <class S, class Map>
SOFTLANE_INLINE auto exp_wide(S a, const Map& map, const Base<double, S>& base) {
  const auto e = exp_unscaled(a, map, base);
  using D = decltype(e.value());
  const D scale(ExpConstants<double>::scale), hi = e.value() * scale;
  return Wide<double, D>{hi, fma1(e.value(), scale, -hi) + e.low() * scale};
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
