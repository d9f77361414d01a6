// log |S| and the sign of S, the sum of b_k exp(x_k) with factors of either sign.
//
// Where terms of both signs cancel, S is as good as its terms are: they and their sum are pairs of
// float64 for rows of either dtype. A term is m 2^e with an integer e, for neither b nor exp(x) has
// to be a number that float64 can hold:
//
//   b = f 2^j,  1 <= |f| < 2;   x - c = n ln2 + r, with the rounding of the difference carried;
//   m = f exp(r),  e = n + j;   log |S| = c + E ln2 + log |sum of m 2^(e - E)|
//
// where c is the x of the largest term, or of one half as large. Terms are added in order of k, one by
// one, so that bits depend on the row alone.
#pragma once

#include "kernels/maps.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// v = f 2^exponent with 1 <= |f| < 2, for finite v != 0. Returns f.
inline double split_exponent(double v, int& exponent) {
  exponent = 0;
  const double size = v < 0 ? -v : v;
  if (size < 0x1p-1022) {
    v *= 0x1p64;
    exponent = -64;
  }
  std::uint64_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  const int e = static_cast<int>(bits >> 52 & 0x7ff) - 1023;
  exponent += e;
  bits -= static_cast<std::uint64_t>(static_cast<std::int64_t>(e)) << 52;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// value 2^exponent
struct Scaled {
  Wide<double> value{0};
  int exponent = 0;

  // The larger exponent is kept: what underflows is 2^-1022 of what is there.
  void add(const Scaled& term) {
    const int d = term.exponent - exponent;
    if (value.hi == 0) {
      *this = term;
    } else if (d > 0) {
      value = value * pow2_or_zero(-d) + term.value;
      exponent = term.exponent;
    } else {
      value = value + term.value * pow2_or_zero(d);
    }
  }
};

// b exp(x - c), for |x - c| < 2^13, where n ln2_hi is exact.
inline Scaled scaled_term(double b, double x, double c) {
  using R = ExpRange<double>;
  const Wide<double> z = Wide<double>{x} + Wide<double>{-c};
  const Direct<double> map;
  Base<double> base;  // exp(z)'s own n, so that this is exp(r) 2^(top - bias)
  base.exponent = fma1(z.hi, map.slope(), R::magic) - R::magic;
  base.floor = negative_infinity<double>();
  Wide<double> m = exp_unscaled(z.hi, map, base);
  m = m + m * z.lo;
  int j;
  const double f = split_exponent(b, j);
  return {m * f, static_cast<int>(base.exponent) + j - static_cast<int>(R::top - R::bias)};
}

// log |s| + c, rounded once.
inline double log_size(const Scaled& s, double c) {
  int e;
  double f = split_exponent(s.value.hi, e);
  f = f < 0 ? -f : f;
  // Into [sqrt(1/2), sqrt(2)], so that a sum close to 1 has a logarithm close to 0 in one piece.
  if (f > 0x1.6a09e667f3bcdp+0) {
    f *= 0.5;
    ++e;
  }
  using C = ExpConstants<double>;
  const double power = s.exponent + e;
  // The ratio is at most 2^-53: its square is lost.
  const Wide<double> log_f = log_of(f) + Wide<double>{s.value.lo / s.value.hi};
  const Wide<double> log_power = Wide<double>{power * C::ln2_hi} + Wide<double>{power * C::ln2_lo};
  return (Wide<double>{c} + (log_power + log_f)).value();
}

template <class T>
void signed_sum(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(call, memory);
  constexpr double infinity = __builtin_inf(), nan = __builtin_nan(""), ln2 = 0x1.62e42fefa39efp-1;
  const auto row = [&](const RowCursor& cursor) {
    const Row<T> x = logits_of<T>(call, cursor), b = cursor.of<T>(call.factors);
    // body(x, b) for every term; a factor of 0 leaves its term out, whatever x is.
    const auto each_term = [&](auto body) {
      for (index_t k0 = 0; k0 < call.classes; k0 += block_size) {
        const int n = block_length(call.classes, k0);
        const T* const v = x.fetch(k0, n, scratch.logits);
        const T* const factor = b.fetch(k0, n, scratch.other);
        for (int k = 0; k < n; ++k) {
          if (x.kept(k0 + k) && factor[k] != 0)
            body(static_cast<double>(v[k]), static_cast<double>(factor[k]));
        }
      }
    };
    // The terms that are not finite, added as they are: 0, ±inf or NaN. 0·inf is NaN.
    double special = 0, largest = -infinity, c = 0;
    each_term([&](double v, double factor) {
      const bool finite = factor - factor == 0;
      if (v - v == 0 && finite) {
        int j;
        split_exponent(factor, j);
        const double size = v + j * ln2;
        if (size > largest) {
          largest = size;
          c = v;
        }
      } else if (!(v == -infinity && finite)) {
        const double power = v == -infinity ? 0.0 : v == v ? infinity : nan;
        special += factor * power;
      }
    });
    if (special != special) special = nan;  // the NaN of inf - inf has a sign on some CPUs
    double sign = special, value = special < 0 ? -special : special;
    if (special == 0) {
      value = -infinity;
      Scaled sum;
      each_term([&](double v, double factor) {
        const double z = v - c;
        // Below, a term is nothing beside the largest even times the largest over the smallest factor.
        if (z > -0x1p13) sum.add(scaled_term(factor, v, c));
      });
      sign = sum.value.hi;
      if (sign != 0) value = log_size(sum, c);
    }
    sign = sign > 0 ? 1 : sign < 0 ? -1 : sign;
    if (call.out[1].data != nullptr) {
      set_one<T>(cursor, call.out[1], sign);
    } else if (sign < 0) {
      value = nan;
    }
    set_one<T>(cursor, call.out[0], value);
  };
  each_row(call, begin, end, row);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
