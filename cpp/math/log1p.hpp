// log(1 + u) for u >= 0 in float64 arithmetic, without the system's libm, whose bits differ between
// systems.
//
//   1 + u = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)];  s = f / (2 + f),  z = s^2
//   log(1 + f) = 2 atanh(s) = f - (f^2/2 - s (f^2/2 + R(z)))
//
// so that the leading term f is never rounded (the arrangement is that of Tang 1990 and of FDLIBM's
// e_log.c). What the rounding of 1 + u lost, and u_low, the part of u below its own last bit, come
// back as the first-order correction c. The result keeps what its own last addition rounds away.
#pragma once

#include <cstdint>
#include <cstring>

#include "math/coefficients.hpp"
#include "math/wide.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

inline Wide<double> log1p(double u, double u_low) {
  using C = Log1pConstants;
  constexpr double sqrt2_minus_1 = 0x1.a827999fcef32p-2;
  double f = u, c = u_low, k = 0;
  if (u > sqrt2_minus_1) {
    if (u > 0x1p1000) return {u};  // +inf; a ratio of sums does not get there otherwise
    const double w = 1 + u;
    const double lost = u >= 1 ? 1 - (w - u) : u - (w - 1);
    std::uint64_t bits;
    std::memcpy(&bits, &w, sizeof bits);
    // Adding 1 - sqrt(1/2)'s distance in bits moves the boundary between exponents to sqrt(2).
    const std::uint64_t moved = bits + 0x00095f619980c433u;
    const int e = static_cast<int>(moved >> 52) - 1023;
    bits -= static_cast<std::uint64_t>(e) << 52;
    double m;
    std::memcpy(&m, &bits, sizeof m);
    f = m - 1;
    k = e;
    c = (lost + u_low) / w;
  } else {
    c = u_low / (1 + u);
  }
  const double half_square = 0.5 * f * f;
  const double s = f / (2 + f);
  const double z = s * s;
  double r = C::c[6];
  for (int i = 5; i >= 0; --i) r = fma1(r, z, C::c[i]);
  r *= z;
  const double tail = half_square - (s * (half_square + r) + (k * C::ln2_lo + c));
  const double base = k * C::ln2_hi;
  const double sum = base + f;  // k = 0, or |base| > |f|: the error below is exact
  const double lost = k == 0 ? 0.0 : f - (sum - base);
  const double low = lost - tail;
  const double hi = sum + low;
  return {hi, low - (hi - sum)};
}

// log(x) for x > 0; the low part matters where x is below 1.
inline Wide<double> log_of(double x) {
  if (x >= 1) return log1p(x - 1, (x - (x - 1)) - 1);
  const double r = 1 / x;
  const Wide<double> l = log1p(r - 1, fma1(-r, x, 1.0) / x + ((r - (r - 1)) - 1));
  return {-l.hi, -l.lo};
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
