// The bits of float16 (IEEE 754 binary16) and bfloat16, in plain C++: for single elements, and for
// the instruction sets that have no conversion of their own. The same bits as those that have one.
#pragma once

#include <cstdint>
#include <cstring>

namespace softlane {
namespace SOFTLANE_ISA {

struct Float16 {
  static constexpr int mantissa = 10, exponent = 5;
};
struct Bfloat16 {
  static constexpr int mantissa = 7, exponent = 8;
};

// Exact, but for a signalling NaN, which comes out quiet.
template <class Half>
inline double half_value(std::uint16_t half) {
  constexpr int bias = (1 << (Half::exponent - 1)) - 1;
  constexpr unsigned most = (1u << Half::exponent) - 1;
  const std::uint64_t sign = static_cast<std::uint64_t>(half >> 15) << 63;
  const unsigned field = (half >> Half::mantissa) & most;
  const std::uint64_t fraction = half & ((1u << Half::mantissa) - 1);
  std::uint64_t bits = fraction << (52 - Half::mantissa);
  if (field == 0) {
    // A subnormal is that many units, and a whole number becomes a double without rounding.
    constexpr std::uint64_t unit = static_cast<std::uint64_t>(1024 - bias - Half::mantissa) << 52;
    double units, scale;
    std::memcpy(&scale, &unit, sizeof scale);
    units = static_cast<double>(fraction) * scale;
    std::memcpy(&bits, &units, sizeof bits);
  } else if (field == most) {
    bits |= std::uint64_t{0x7ff} << 52 | (fraction != 0 ? std::uint64_t{1} << 51 : 0);
  } else {
    bits |= static_cast<std::uint64_t>(field + 1023 - bias) << 52;
  }
  bits |= sign;
  double v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// Rounded once, to nearest even: gradual underflow, infinity above the range. A NaN keeps the upper
// bits of its payload, as hardware does.
template <class Half>
inline std::uint16_t half_bits(double v) {
  constexpr int bias = (1 << (Half::exponent - 1)) - 1;
  constexpr std::uint64_t infinity = ((1u << Half::exponent) - 1) << Half::mantissa;
  std::uint64_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  const std::uint64_t sign = bits >> 63 << 15;
  bits &= ~(std::uint64_t{1} << 63);
  const int exponent = static_cast<int>(bits >> 52) - 1023;
  std::uint64_t half = infinity;
  if (bits > std::uint64_t{0x7ff} << 52) {
    const std::uint64_t payload = bits >> (52 - Half::mantissa) & ((1u << Half::mantissa) - 1);
    half = infinity | payload | 1u << (Half::mantissa - 1);
  } else if (exponent <= bias) {
    // In units of the last place at v's exponent, or of the subnormals'.
    const int below = exponent < 1 - bias ? 1 - bias - exponent : 0;
    const int drop = 52 - Half::mantissa + below;
    if (drop > 53) {
      half = 0;  // below half of the smallest subnormal
    } else {
      const std::uint64_t fraction = bits & ((std::uint64_t{1} << 52) - 1);
      const std::uint64_t significand = fraction | std::uint64_t{1} << 52;
      const std::uint64_t even = significand >> drop & 1;
      const std::uint64_t ulps =
          (significand + (std::uint64_t{1} << (drop - 1)) - 1 + even) >> drop;
      // The leading one of a normal number adds 1 to its exponent, and so does a carry.
      const int field = below > 0 ? 0 : exponent + bias - 1;
      half = (static_cast<std::uint64_t>(field) << Half::mantissa) + ulps;
    }
  }
  return static_cast<std::uint16_t>(sign | half);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
