// Vec<T> on AArch64 Advanced SIMD. The vocabulary is described in simd.hpp.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace softlane {
namespace neon {

template <class T>
struct Vec;
template <class T>
inline constexpr int piece = 0;

template <>
struct Vec<double> {
  using Scalar = double;
  struct Mask {
    uint64x2_t r;
    explicit operator unsigned() const {
      return static_cast<unsigned>((vgetq_lane_u64(r, 0) & 1) | (vgetq_lane_u64(r, 1) & 2));
    }
  };
  static constexpr int lanes = 2;
  float64x2_t r;

  Vec() = default;
  Vec(float64x2_t v) : r(v) {}
  Vec(double v) : r(vdupq_n_f64(v)) {}

  static Vec load(const double* p) { return vld1q_f64(p); }
  static Vec load_once(const double* p) {
    Vec v = load(p);
    __asm__("" : "+w"(v.r));
    return v;
  }
  static Vec from_integers(const std::int64_t* p) { return vcvtq_f64_s64(vld1q_s64(p)); }
  static Mask nonzero(const char* p) {
    std::uint16_t two;
    std::memcpy(&two, p, sizeof two);
    const uint8x8_t bytes = vcreate_u8(two);
    const uint64x2_t n = vmovl_u32(vget_low_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes)))));
    return {vtstq_u64(n, n)};
  }
  // There is no such store of a single vector.
  void stream(double* p) const { store(p); }
  static void fence() {}
  void store(double* p) const { vst1q_f64(p, r); }
  static Vec load_first(const double* p, int n, double fill) {
    if (n >= lanes) return load(p);
    Vec v(fill);
    if (n > 0) v.r = vld1q_lane_f64(p, v.r, 0);
    return v;
  }
  void store_first(double* p, int n) const {
    if (n >= lanes) {
      store(p);
    } else if (n > 0) {
      vst1q_lane_f64(p, r, 0);
    }
  }

  friend Vec operator+(Vec a, Vec b) { return vaddq_f64(a.r, b.r); }
  friend Vec operator-(Vec a, Vec b) { return vsubq_f64(a.r, b.r); }
  friend Vec operator*(Vec a, Vec b) { return vmulq_f64(a.r, b.r); }
  friend Vec operator/(Vec a, Vec b) { return vdivq_f64(a.r, b.r); }
  friend Vec operator^(Vec a, Vec b) {
    return vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(a.r), vreinterpretq_u64_f64(b.r)));
  }
  friend Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f64(c.r, a.r, b.r); }
  friend Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f64(c.r, a.r, b.r); }
  friend Vec fms(Vec a, Vec b, Vec c) { return vfmaq_f64(vnegq_f64(c.r), a.r, b.r); }
  friend Vec max(Vec a, Vec b) { return vbslq_f64(vcgtq_f64(a.r, b.r), a.r, b.r); }
  friend Vec larger(Vec a, Vec b) { return vmaxq_f64(a.r, b.r); }
  friend Vec smaller(Vec a, Vec b) { return vminq_f64(a.r, b.r); }
  friend Mask greater(Vec a, Vec b) { return {vcgtq_f64(a.r, b.r)}; }
  friend Mask equal(Vec a, Vec b) { return {vceqq_f64(a.r, b.r)}; }
  friend Vec select(Mask m, Vec yes, Vec no) { return vbslq_f64(m.r, yes.r, no.r); }
  friend Vec exponent_field(Vec t) {
    return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(t.r), 52));
  }
  friend Vec power_of_root(Vec t, const std::int64_t (&root)[4]) {
    const uint64x2_t bits = vreinterpretq_u64_f64(t.r);
    // The eight bytes of entry j are bytes 8 j to 8 j + 7.
    const uint32x4_t low = vreinterpretq_u32_u64(bits),
                     first = {0x03020100, 0x07060504, 0x03020100, 0x07060504};
    const uint32x4_t bytes =
        vmlaq_u32(first, vandq_u32(vtrn1q_u32(low, low), vdupq_n_u32(3)), vdupq_n_u32(0x08080808));
    const uint8x16x2_t entries = {
        {vreinterpretq_u8_s64(vld1q_s64(root)), vreinterpretq_u8_s64(vld1q_s64(root + 2))}};
    const int64x2_t entry = vreinterpretq_s64_u8(vqtbl2q_u8(entries, vreinterpretq_u8_u32(bytes)));
    const int64x2_t sum = vaddq_s64(vreinterpretq_s64_u64(vshlq_n_u64(bits, 50)), entry);
    return vreinterpretq_f64_s64(vbicq_s64(sum, vshrq_n_s64(sum, 63)));
  }
  friend Vec rough_reciprocal(Vec a) {
    const uint64x2_t twice_one = vdupq_n_u64(0x7fe0000000000000);
    return vreinterpretq_f64_u64(vsubq_u64(twice_one, vreinterpretq_u64_f64(a.r)));
  }
  friend double reduce_max(Vec a) {
    return vgetq_lane_f64(max(a, Vec(vextq_f64(a.r, a.r, 1))).r, 0);
  }
  template <int H>
  Vec down() const {
    return vextq_f64(r, r, H);
  }
  double lane0() const { return vgetq_lane_f64(r, 0); }
  friend Vec exponent(Vec a) {
    const uint64x2_t field =
        vandq_u64(vshrq_n_u64(vreinterpretq_u64_f64(a.r), 52), vdupq_n_u64(0x7ff));
    return vsubq_f64(vcvtq_f64_u64(field), vdupq_n_f64(1023));
  }
  friend Vec power_below(Vec a) {
    return vreinterpretq_f64_u64(
        vandq_u64(vreinterpretq_u64_f64(a.r), vdupq_n_u64(0x7ff0000000000000)));
  }

  friend Vec even(Vec a, Vec b) { return vuzp1q_f64(a.r, b.r); }
  friend Vec odd(Vec a, Vec b) { return vuzp2q_f64(a.r, b.r); }
  friend Vec zip_low(Vec a, Vec b) { return vzip1q_f64(a.r, b.r); }
  friend Vec zip_high(Vec a, Vec b) { return vzip2q_f64(a.r, b.r); }
  static constexpr int most_packed = 1;
  template <int R>
  void store_packed(double* p, int n) const {
    store_first(p, n);
  }
};

template <>
struct Vec<float> {
  using Scalar = float;
  struct Mask {
    uint32x4_t r;
    explicit operator unsigned() const {
      const uint32x4_t bit = {1, 2, 4, 8};
      return vaddvq_u32(vandq_u32(r, bit));
    }
  };
  static constexpr int lanes = 4;
  float32x4_t r;

  Vec() = default;
  Vec(float32x4_t v) : r(v) {}
  Vec(float v) : r(vdupq_n_f32(v)) {}

  static Vec load(const float* p) { return vld1q_f32(p); }
  static Vec load_once(const float* p) {
    Vec v = load(p);
    __asm__("" : "+w"(v.r));
    return v;
  }
  // There is no such store of a single vector.
  void stream(float* p) const { store(p); }
  static void fence() {}
  void store(float* p) const { vst1q_f32(p, r); }
  static Vec load_first(const float* p, int n, float fill) {
    if (n >= lanes) return load(p);
    Vec v(fill);
    if (n > 0) v.r = vld1q_lane_f32(p, v.r, 0);
    if (n > 1) v.r = vld1q_lane_f32(p + 1, v.r, 1);
    if (n > 2) v.r = vld1q_lane_f32(p + 2, v.r, 2);
    return v;
  }
  void store_first(float* p, int n) const {
    if (n >= lanes) return store(p);
    if (n > 0) vst1q_lane_f32(p, r, 0);
    if (n > 1) vst1q_lane_f32(p + 1, r, 1);
    if (n > 2) vst1q_lane_f32(p + 2, r, 2);
  }

  friend Vec operator+(Vec a, Vec b) { return vaddq_f32(a.r, b.r); }
  friend Vec operator-(Vec a, Vec b) { return vsubq_f32(a.r, b.r); }
  friend Vec operator*(Vec a, Vec b) { return vmulq_f32(a.r, b.r); }
  friend Vec operator/(Vec a, Vec b) { return vdivq_f32(a.r, b.r); }
  friend Vec operator^(Vec a, Vec b) {
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a.r), vreinterpretq_u32_f32(b.r)));
  }
  friend Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c.r, a.r, b.r); }
  friend Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c.r, a.r, b.r); }
  friend Vec fms(Vec a, Vec b, Vec c) { return vfmaq_f32(vnegq_f32(c.r), a.r, b.r); }
  friend Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a.r, b.r), a.r, b.r); }
  friend Vec larger(Vec a, Vec b) { return vmaxq_f32(a.r, b.r); }
  friend Vec smaller(Vec a, Vec b) { return vminq_f32(a.r, b.r); }
  friend Mask greater(Vec a, Vec b) { return {vcgtq_f32(a.r, b.r)}; }
  friend Mask equal(Vec a, Vec b) { return {vceqq_f32(a.r, b.r)}; }
  friend Vec select(Mask m, Vec yes, Vec no) { return vbslq_f32(m.r, yes.r, no.r); }
  friend Vec power_of_root(Vec t, const std::int32_t (&root)[4]) {
    const uint32x4_t bits = vreinterpretq_u32_f32(t.r);
    // The four bytes of entry j are bytes 4 j to 4 j + 3.
    const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100), vandq_u32(bits, vdupq_n_u32(3)),
                                       vdupq_n_u32(0x04040404));
    const uint8x16_t entries = vreinterpretq_u8_s32(vld1q_s32(root));
    const int32x4_t entry = vreinterpretq_s32_u8(vqtbl1q_u8(entries, vreinterpretq_u8_u32(bytes)));
    const int32x4_t sum = vaddq_s32(vreinterpretq_s32_u32(vshlq_n_u32(bits, 21)), entry);
    return vreinterpretq_f32_s32(vmaxq_s32(sum, vdupq_n_s32(0)));
  }
  friend Vec rough_reciprocal(Vec a) {
    const uint32x4_t twice_one = vdupq_n_u32(0x7f000000);
    return vreinterpretq_f32_u32(vsubq_u32(twice_one, vreinterpretq_u32_f32(a.r)));
  }
  friend float reduce_max(Vec a) {
    const Vec m = max(a, Vec(vextq_f32(a.r, a.r, 2)));
    return vgetq_lane_f32(max(m, Vec(vextq_f32(m.r, m.r, 1))).r, 0);
  }
  template <int H>
  Vec down() const {
    return vextq_f32(r, r, H);
  }
  float lane0() const { return vgetq_lane_f32(r, 0); }

  friend Vec even(Vec a, Vec b) { return vuzp1q_f32(a.r, b.r); }
  friend Vec odd(Vec a, Vec b) { return vuzp2q_f32(a.r, b.r); }
  friend Vec zip_low(Vec a, Vec b) { return vzip1q_f32(a.r, b.r); }
  friend Vec zip_high(Vec a, Vec b) { return vzip2q_f32(a.r, b.r); }
  static constexpr int most_packed = 1;
  template <int R>
  void store_packed(float* p, int n) const {
    store_first(p, n);
  }
  friend void widen(Vec a, Vec<double>* d) {
    d[0] = vcvt_f64_f32(vget_low_f32(a.r));
    d[1] = vcvt_high_f64_f32(a.r);
  }
  friend void narrow(const Vec<double>* d, Vec& a) {
    a.r = vcvt_high_f32_f64(vcvt_f32_f64(d[0].r), d[1].r);
  }
  static Mask narrow_mask(const Vec<double>::Mask* d) {
    return {vcombine_u32(vmovn_u64(d[0].r), vmovn_u64(d[1].r))};
  }
  static Mask nonzero(const char* p) {
    std::uint32_t four;
    std::memcpy(&four, p, sizeof four);
    const uint32x4_t n = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
    return {vtstq_u32(n, n)};
  }
  static uint16x4_t load_halves(const char* p) {
    return vreinterpret_u16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p)));
  }
  static void store_halves(char* p, uint16x4_t h) {
    vst1_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpret_u8_u16(h));
  }
  static Vec load_float16(const char* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p)));
  }
  static Vec load_bfloat16(const char* p) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(load_halves(p)), 16));
  }
  void store_float16(char* p) const { store_halves(p, vreinterpret_u16_f16(vcvt_f16_f32(r))); }
  void store_bfloat16(char* p) const {
    const uint32x4_t bits = vreinterpretq_u32_f32(r), upper = vshrq_n_u32(bits, 16);
    const uint32x4_t even = vandq_u32(upper, vdupq_n_u32(1));
    const uint32x4_t sum = vaddq_u32(bits, vaddq_u32(even, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
    const uint32x4_t number = vceqq_f32(r, r);
    store_halves(p, vmovn_u32(vbslq_u32(number, vshrq_n_u32(sum, 16), quiet)));
  }
};

SOFTLANE_INLINE void load_thirds(const float* p, Vec<float>* to) {
  const float32x4x3_t v = vld3q_f32(p);
  for (int k = 0; k < 3; ++k) to[k] = v.val[k];
}
SOFTLANE_INLINE void load_thirds(const double* p, Vec<double>* to) {
  const float64x2x3_t v = vld3q_f64(p);
  for (int k = 0; k < 3; ++k) to[k] = v.val[k];
}
SOFTLANE_INLINE void store_thirds(const Vec<float>* from, float* p) {
  const float32x4x3_t v = {{from[0].r, from[1].r, from[2].r}};
  vst3q_f32(p, v);  // which may be a macro: no braces
}
SOFTLANE_INLINE void store_thirds(const Vec<double>* from, double* p) {
  const float64x2x3_t v = {{from[0].r, from[1].r, from[2].r}};
  vst3q_f64(p, v);
}

inline int first_set(unsigned mask) { return __builtin_ctz(mask); }

}  // namespace neon
}  // namespace softlane
