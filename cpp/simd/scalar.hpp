// Vec<T> of one lane, in plain C++. The vocabulary is described in simd.hpp.
//
// Without hardware FMA each fma is a library call: slow, and the same bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd/half.hpp"

namespace softlane {
namespace scalar {

template <class T>
inline constexpr int piece = 0;

// Built-ins, not std::fma: an inline function of the library would be shared with the units that
// are compiled for other instruction sets.
inline double fma_scalar(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float fma_scalar(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

template <class T>
struct Vec {
  using Scalar = T;
  using Mask = bool;
  static constexpr int lanes = 1;
  T r;

  Vec() = default;
  Vec(T v) : r(v) {}

  static Vec load(const T* p) { return *p; }
  static Vec from_integers(const std::int64_t* p) { return static_cast<T>(*p); }
  static Mask nonzero(const char* p) { return *p != 0; }
  void store(T* p) const { *p = r; }
  static Vec load_once(const T* p) { return load(p); }
  void stream(T* p) const { store(p); }
  static void fence() {}
  static Vec load_first(const T* p, int n, T fill) { return n > 0 ? *p : fill; }
  void store_first(T* p, int n) const {
    if (n > 0) *p = r;
  }

  friend Vec operator+(Vec a, Vec b) { return a.r + b.r; }
  friend Vec operator-(Vec a, Vec b) { return a.r - b.r; }
  friend Vec operator*(Vec a, Vec b) { return a.r * b.r; }
  friend Vec operator/(Vec a, Vec b) { return a.r / b.r; }
  friend Vec operator^(Vec a, Vec b) { return bits(a) ^ bits(b); }
  friend Vec fma(Vec a, Vec b, Vec c) { return fma_scalar(a.r, b.r, c.r); }
  friend Vec fnma(Vec a, Vec b, Vec c) { return fma_scalar(-a.r, b.r, c.r); }
  friend Vec fms(Vec a, Vec b, Vec c) { return fma_scalar(a.r, b.r, -c.r); }
  friend Vec max(Vec a, Vec b) { return a.r > b.r ? a.r : b.r; }
  friend Vec larger(Vec a, Vec b) { return a.r > b.r ? a.r : b.r; }
  friend Vec smaller(Vec a, Vec b) { return a.r > b.r ? b.r : a.r; }
  friend Mask greater(Vec a, Vec b) { return a.r > b.r; }
  friend Mask equal(Vec a, Vec b) { return a.r == b.r; }
  friend Vec select(Mask m, Vec yes, Vec no) { return m ? yes : no; }
  friend Vec exponent_field(Vec t) { return static_cast<Bits>(bits(t) << 52); }
  template <class Entry, int R>
  friend Vec power_of_root(Vec t, const Entry (&root)[R]) {
    constexpr int shift = sizeof(T) == 4 ? 21 : 50;
    const Bits sum =
        static_cast<Bits>(bits(t) << shift) + static_cast<Bits>(root[bits(t) & (R - 1)]);
    return sum >> (8 * sizeof(T) - 1) != 0 ? Bits{0} : sum;
  }
  friend Vec rough_reciprocal(Vec a) {
    constexpr Bits twice_one =
        sizeof(T) == 4 ? Bits{0x7f000000} : static_cast<Bits>(0x7fe0000000000000);
    return static_cast<Bits>(twice_one - bits(a));
  }
  friend T reduce_max(Vec a) { return a.r; }
  template <int H>
  Vec down() const {
    return *this;
  }
  T lane0() const { return r; }
  static constexpr int most_packed = 1;
  template <int R>
  void store_packed(T* p, int n) const {
    store_first(p, n);
  }
  friend Vec exponent(Vec a) {
    return static_cast<T>(static_cast<int>(bits(a) >> 52 & 0x7ff) - 1023);
  }
  friend Vec power_below(Vec a) { return bits(a) & 0x7ff0000000000000; }
  friend void widen(Vec a, Vec<double>* d) { d[0] = static_cast<double>(a.r); }
  friend void narrow(const Vec<double>* d, Vec& a) { a = static_cast<T>(d[0].r); }
  static Vec load_float16(const char* p) { return load_half<Float16>(p); }
  static Vec load_bfloat16(const char* p) { return load_half<Bfloat16>(p); }
  void store_float16(char* p) const { store_half<Float16>(p); }
  void store_bfloat16(char* p) const { store_half<Bfloat16>(p); }

 private:
  template <std::size_t Size, class Dummy = void>
  struct BitsOf {
    using type = std::uint64_t;
  };
  template <class Dummy>
  struct BitsOf<4, Dummy> {
    using type = std::uint32_t;
  };
  using Bits = typename BitsOf<sizeof(T)>::type;
  template <class Half>
  static Vec load_half(const char* p) {
    std::uint16_t h;
    std::memcpy(&h, p, sizeof h);
    return static_cast<T>(half_value<Half>(h));
  }
  template <class Half>
  void store_half(char* p) const {
    const std::uint16_t h = half_bits<Half>(static_cast<double>(r));
    std::memcpy(p, &h, sizeof h);
  }
  Vec(Bits b) { std::memcpy(&r, &b, sizeof r); }
  static Bits bits(Vec a) {
    Bits b;
    std::memcpy(&b, &a.r, sizeof b);
    return b;
  }
};

inline int first_set(unsigned mask) { return __builtin_ctz(mask); }

}  // namespace scalar
}  // namespace softlane
