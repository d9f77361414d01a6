// log(1 + u) for u >= 0 in float64 arithmetic, without the system's libm, whose bits differ between
// systems.
//
//   1 + u = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)];  s = f / (2 + f),  z = s^2
//   log(1 + f) = 2 atanh(s) = f - (f^2/2 - s (f^2/2 + R(z)))
//
// so that the leading term f is never rounded (the arrangement is that of Tang 1990 and of FDLIBM's
// e_log.c). What the rounding of 1 + u lost, and u_low, the part of u below its own last bit, come
// back as the first-order correction c. The result keeps what its own last addition rounds away. Rows of
// float32 (T) do without both: the error is 2^-52 of the result then, and theirs counts from 2^-25 on.
#pragma once

#include <cstdint>
#include <cstring>

#include "math/coefficients.hpp"
#include "math/wide.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T, class D>
SOFTLANE_INLINE Wide<T, D> log1p(D u, D u_low) {
  using C = Log1pConstants;
  // Of 1 + u from here on, the power of two goes apart; the exponent changes at sqrt(2).
  const auto large = greater(u, D(0x1.a827999fcef32p-2));  // sqrt(2) - 1
  const D w = D(1.0) + u;
  [[maybe_unused]] const D lost = select(greater(D(1.0), u), u - (w - D(1.0)), D(1.0) - (w - u));
  const D below = exponent(w), m = w * power_of_two(-below);
  const auto upper = greater(m, D(0x1.6a09e667f3bccp0));
  const D f = select(large, select(upper, m * D(0.5), m) - D(1.0), u);
  const D k = select(large, select(upper, below + D(1.0), below), D(0.0));
  // Of float64 rows alone, but here: behind the division below they take 1.02 to 1.08 times as long.
  [[maybe_unused]] const D c = (select(large, lost, D(0.0)) + u_low) / w;
  const D half_square = D(0.5) * f * f;
  const D s = f / (D(2.0) + f);
  const D z = s * s;
  D r = D(C::c[6]);
  for (int i = 5; i >= 0; --i) r = fma1(r, z, D(C::c[i]));
  r = r * z;
  const D base = k * D(C::ln2_hi);
  if constexpr (sizeof(T) == sizeof(float)) {
    const D tail = half_square - (s * (half_square + r) + k * D(C::ln2_lo));
    return {base + (f - tail)};
  } else {
    const D tail = half_square - (s * (half_square + r) + (k * D(C::ln2_lo) + c));
    const D sum = base + f;  // k = 0, or |base| > |f|: the error below is exact
    const D low = (f - (sum - base)) - tail;
    const D hi = sum + low;
    return {hi, low - (hi - sum)};
  }
}

// log(x) for x > 0; the low part matters where x is below 1.
inline Wide<double> log_of(double x) {
  // At the ends of the range, where 1 / x or log1p's 1 + u would leave it, a power of two goes apart.
  if (x > 0x1p500 || x < 0x1p-500) {
    using C = Log1pConstants;
    const double k = x > 1 ? 600 : -600;
    return log_of(x * pow2(static_cast<int>(-k))) +
           (Wide<double>{k * C::ln2_hi} + Wide<double>{k * C::ln2_lo});
  }
  if (x >= 1) return log1p<double>(x - 1, (x - (x - 1)) - 1);
  const double r = 1 / x;
  const Wide<double> l = log1p<double>(r - 1, fma1(-r, x, 1.0) / x + ((r - (r - 1)) - 1));
  return {-l.hi, -l.lo};
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
