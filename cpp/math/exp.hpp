// exp relative to a base: e = exp(z) * 2^(top - N), where N is the base's exponent.
//
//   n = round(z log2(e)),  r = z - n ln2 in two steps (Cody and Waite 1980; the first is exact),
//   e = P(r) * 2^(n - N + top)
//
// Rounding is by the magic number 1.5 * 2^p: adding it leaves n in the low bits (Hida and Briggs;
// Muller et al., Handbook of Floating-Point Arithmetic). With top - N folded into the magic number the
// low bits hold the biased exponent of the scale itself, so one shift makes it. Exponent field 0 is
// the factor +0: arguments are clamped from below to the one whose field is exactly 0, so that -inf
// and everything that cannot count gives an exact zero. `top` (the maximum's own field) leaves
// room above the format's normal range: e is never subnormal, and no multiply meets a subnormal.
//
// Bound: exp_max_ulp in kernels/bounds.hpp, of P(r) on its reduced range.
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
// has its own type because the general one costs seven more operations of fifteen. Both give the
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
  // r = z beta - n ln2 as hi + lo.
  static V reduced(V z, V n, V& lo) {
    lo = n * V(-ExpConstants<T>::ln2_lo);
    return fnma(n, V(ExpConstants<T>::ln2_hi), z);
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
  Affine without_sign() const {
    Affine m = *this;
    m.sign_bits = 0;
    return m;
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
  V reduced(V z, V n, V& lo) const {
    const V product = z * V(beta_t);
    const V lost = fma(z, V(beta_t), V(T(0)) - product);
    lo = fma(z, V(beta_t_lo), fnma(n, V(ExpConstants<T>::ln2_lo), lost));
    return fnma(n, V(ExpConstants<T>::ln2_hi), product);
  }
  double beta() const { return beta_hi; }
  double beta_low() const { return beta_lo; }
};

// The base of one block: its exponent N and what the vector loop needs of it. S is T for a row, and
// Vec<T> for as many rows.
template <class T, class S = T>
struct Base {
  S exponent = S(T(0));  // N, an integer
  S floor = S(T(0));     // the lowest argument, whose exponent field is 0
  S magic = S(T(0));     // magic + top - N

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
    const auto lowest = widened(n - top);
    using D = decltype(widened(n - top));
    Base base;
    base.exponent = n;
    base.floor = to_storage(lowest * D(0x1.62e42fefa39efp-1) / D(map.beta()));
    base.magic = S(R::magic) + (top - n);
    return base;
  }

 private:
  static T to_storage(double v) { return static_cast<T>(v); }
  static Vec<T> to_storage(Pack<T> v) { return narrowed<T>(v); }
};

// P(r) = 1 + (r_hi + (r_lo + r^2 q(r))): r_hi is exact, so that e takes the roundings of that last
// sum and its own, and hardly another. (r in one piece would save two operations of fifteen, and
// cost a softmax 0.3 ULP: more than 2 in rare rows.)
//
// Several vectors at a time, step by step: written one after the other, their chains of 45 cycles fill
// the scheduler before they overlap.
template <int N, class T, class Map, class S>
SOFTLANE_INLINE void exp_from_base(Vec<T>* a, const Map& map, const Base<T, S>& base) {
  using C = ExpConstants<T>;
  using V = Vec<T>;
  V t[N], hi[N], lo[N], r[N], q[N];
  for (int i = 0; i < N; ++i) a[i] = max(V(base.floor), map.argument(a[i]));
  for (int i = 0; i < N; ++i) t[i] = fma(a[i], V(map.slope()), V(base.magic));
  for (int i = 0; i < N; ++i) r[i] = t[i] - V(base.magic);
  for (int i = 0; i < N; ++i) hi[i] = map.reduced(a[i], r[i], lo[i]);
  for (int i = 0; i < N; ++i) r[i] = hi[i] + lo[i];
  for (int i = 0; i < N; ++i) q[i] = V(C::c[C::degree]);
  for (int k = C::degree - 1; k >= 2; --k) {
    for (int i = 0; i < N; ++i) q[i] = fma(q[i], r[i], V(C::c[k]));
  }
  for (int i = 0; i < N; ++i) r[i] = r[i] * r[i];
  for (int i = 0; i < N; ++i) q[i] = fma(r[i], q[i], lo[i]);
  for (int i = 0; i < N; ++i) q[i] = hi[i] + q[i];
  for (int i = 0; i < N; ++i) t[i] = exponent_field(t[i]);
  for (int i = 0; i < N; ++i) a[i] = fma(t[i], q[i], t[i]);
}

template <class T, class Map, class S>
SOFTLANE_INLINE Vec<T> exp_from_base(Vec<T> a, const Map& map, const Base<T, S>& base) {
  exp_from_base<1>(&a, map, base);
  return a;
}

// What is known of an argument: nothing, or that it lies above the base's floor, as the maximum's does.
enum class Reach : bool { any, within };

// 2^(field - bias), or 0 where the argument is at the base's floor or the field at its end.
template <Reach reach, class T, class S, class D>
SOFTLANE_INLINE D power_from_field(D field, D x, const Base<T, S>& base) {
  const D bias(ExpRange<T>::bias), zero(0.0);
  if constexpr (reach == Reach::within) return power_of_two(field - bias);
  const auto counts = greater(x, widened(base.floor));
  field = select(counts, field, zero);
  const auto some = greater(field, zero);
  return select(some, power_of_two(select(some, field, bias) - bias), zero);
}

// exp_from_base for one element (of one row, or of each of a vector's rows) more precisely: the maximum's
// term, and a label's. Its error would otherwise enter every quotient of the row a second time. For float32
// rows float64 takes the vector kernel's polynomial, which is within 2^-28: a 16th of the rounding that
// this leaves out. With degree 11 the softmax of 100 000 rows of 3 took a tenth longer (AVX2, Zen 1).
template <Reach reach = Reach::any, class S, class Map>
SOFTLANE_INLINE auto exp_wide(S a, const Map& map, const Base<float, S>& base) {
  using C = ExpConstants<float>;
  using R = ExpRange<float>;
  const auto x = map.wide_argument(a);
  using D = decltype(map.wide_argument(a));
  const D z = x * D(map.beta()), magic(ExpRange<double>::magic);
  const D n = fma1(z, D(ExpConstants<double>::log2e), magic) - magic;
  const D r = fma1(-n, D(0x1.62e42fefa39efp-1), z);
  D p(static_cast<double>(C::c[C::degree]));
  for (int i = C::degree - 1; i >= 0; --i) p = fma1(p, r, D(static_cast<double>(C::c[i])));
  const D scale = power_from_field<reach>(n - widened(base.exponent - S(R::top)), x, base);
  if constexpr (reach == Reach::within) return Wide<float, D>{p * scale};
  return Wide<float, D>{select(equal(scale, D(0.0)), D(0.0), p * scale)};
}

template <Reach reach = Reach::any, class S, class Map>
SOFTLANE_INLINE auto exp_wide(S a, const Map& map, const Base<double, S>& base) {
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
  D q(C::c[C::degree]);
  for (int i = C::degree - 1; i >= 2; --i) q = fma1(q, r, D(C::c[i]));
  // 1 + r_hi without error, then everything below its last bit.
  const D one = D(1.0) + r_hi;
  const D low = (r_hi - (one - D(1.0))) + fma1(r * r, q, r_lo);
  const D p = one + low;
  const D scale = power_from_field<reach>(n - widened(base.exponent - S(R::top)), x, base);
  if constexpr (reach == Reach::within)
    return Wide<double, D>{p * scale, (low - (p - one)) * scale};
  const auto nothing = equal(scale, D(0.0));
  return Wide<double, D>{select(nothing, D(0.0), p * scale),
                         select(nothing, D(0.0), (low - (p - one)) * scale)};
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
