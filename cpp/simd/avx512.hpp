// Vec<T> on AVX-512 (F, DQ, VL, BW). The vocabulary is described in simd.hpp.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "simd/thirds.hpp"
#include "simd/ymm.hpp"

namespace softlane {
namespace avx512 {

template <class T>
struct Vec;

template <>
struct Vec<double> {
  using Scalar = double;
  using Mask = __mmask8;
  static constexpr int lanes = 8;
  __m512d r;

  Vec() = default;
  Vec(__m512d v) : r(v) {}
  Vec(double v) : r(_mm512_set1_pd(v)) {}

  static Vec load(const double* p) { return _mm512_loadu_pd(p); }
  static Vec load_once(const double* p) {
    Vec v = load(p);
    __asm__("" : "+v"(v.r));
    return v;
  }
  void stream(double* p) const { _mm512_stream_pd(p, r); }
  static void fence() { _mm_sfence(); }
  void store(double* p) const { _mm512_storeu_pd(p, r); }
  static Vec from_integers(const std::int64_t* p) {
    return _mm512_cvtepi64_pd(_mm512_loadu_si512(p));
  }
  static Mask nonzero(const char* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return static_cast<Mask>(_mm_test_epi8_mask(bytes, bytes));
  }
  static Mask first(int n) {
    return static_cast<Mask>(n >= lanes ? 0xff : n <= 0 ? 0 : (1 << n) - 1);
  }
  static Vec load_first(const double* p, int n, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), first(n), p);
  }
  void store_first(double* p, int n) const { _mm512_mask_storeu_pd(p, first(n), r); }

  friend Vec operator+(Vec a, Vec b) { return _mm512_add_pd(a.r, b.r); }
  friend Vec operator-(Vec a, Vec b) { return _mm512_sub_pd(a.r, b.r); }
  friend Vec operator*(Vec a, Vec b) { return _mm512_mul_pd(a.r, b.r); }
  friend Vec operator/(Vec a, Vec b) { return _mm512_div_pd(a.r, b.r); }
  friend Vec operator^(Vec a, Vec b) { return _mm512_xor_pd(a.r, b.r); }
  friend Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a.r, b.r, c.r); }
  friend Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_pd(a.r, b.r, c.r); }
  friend Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_pd(a.r, b.r, c.r); }
  friend Vec max(Vec a, Vec b) { return _mm512_max_pd(a.r, b.r); }
  friend Vec larger(Vec a, Vec b) { return _mm512_max_pd(a.r, b.r); }
  friend Vec smaller(Vec a, Vec b) { return _mm512_min_pd(a.r, b.r); }
  friend Mask greater(Vec a, Vec b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_GT_OQ); }
  friend Mask equal(Vec a, Vec b) { return _mm512_cmp_pd_mask(a.r, b.r, _CMP_EQ_OQ); }
  friend Vec select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_pd(m, no.r, yes.r); }
  friend Vec exponent_field(Vec t) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(t.r), 52));
  }
  friend Vec power_of_root(Vec t, const std::int64_t (&root)[4]) {
    const __m512i bits = _mm512_castpd_si512(t.r);
    const __m512i entries =
        _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(root)));
    const __m512i sum =
        _mm512_add_epi64(_mm512_slli_epi64(bits, 50), _mm512_permutexvar_epi64(bits, entries));
    return _mm512_max_pd(_mm512_castsi512_pd(sum), _mm512_setzero_pd());
  }
  friend Vec rough_reciprocal(Vec a) {
    const __m512i twice_one = _mm512_set1_epi64(0x7fe0000000000000);
    return _mm512_castsi512_pd(_mm512_sub_epi64(twice_one, _mm512_castpd_si512(a.r)));
  }
  friend double reduce_max(Vec a) {
    const __m256d m4 = _mm256_max_pd(_mm512_castpd512_pd256(a.r), _mm512_extractf64x4_pd(a.r, 1));
    const __m128d m2 = _mm_max_pd(_mm256_castpd256_pd128(m4), _mm256_extractf128_pd(m4, 1));
    return _mm_cvtsd_f64(_mm_max_pd(m2, _mm_unpackhi_pd(m2, m2)));
  }
  template <int H>
  Vec down() const {
    const __m512i bits = _mm512_castpd_si512(r);
    return _mm512_castsi512_pd(_mm512_alignr_epi64(bits, bits, H));
  }
  double lane0() const { return _mm512_cvtsd_f64(r); }
  friend Vec exponent(Vec a) { return _mm512_getexp_pd(a.r); }
  friend Vec power_below(Vec a) {
    const __m512i field = _mm512_set1_epi64(0x7ff0000000000000);
    return _mm512_castsi512_pd(_mm512_and_si512(_mm512_castpd_si512(a.r), field));
  }

  friend Vec even(Vec a, Vec b) {
    return _mm512_permutex2var_pd(a.r, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b.r);
  }
  friend Vec odd(Vec a, Vec b) {
    return _mm512_permutex2var_pd(a.r, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b.r);
  }
  friend Vec zip_low(Vec a, Vec b) {
    return _mm512_permutex2var_pd(a.r, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b.r);
  }
  friend Vec zip_high(Vec a, Vec b) {
    return _mm512_permutex2var_pd(a.r, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b.r);
  }
  friend Vec thirds(Vec a, Vec b, Vec c) {
    return _mm512_mask_blend_pd(0x24, _mm512_mask_blend_pd(0x92, a.r, b.r), c.r);
  }
  template <int S, int K>
  Vec by_steps() const {
    return _mm512_permutexvar_pd(_mm512_setr_epi64(K, S + K, 2 * S + K, 3 * S + K, 4 * S + K,
                                                   5 * S + K, 6 * S + K, 7 * S + K),
                                 r);
  }
  static constexpr int most_packed = 1;
  template <int R>
  void store_packed(double* p, int n) const {
    store_first(p, n);
  }
};

template <>
struct Vec<float> {
  using Scalar = float;
  using Mask = __mmask16;
  static constexpr int lanes = 16;
  __m512 r;

  Vec() = default;
  Vec(__m512 v) : r(v) {}
  Vec(float v) : r(_mm512_set1_ps(v)) {}

  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load_once(const float* p) {
    Vec v = load(p);
    __asm__("" : "+v"(v.r));
    return v;
  }
  void stream(float* p) const { _mm512_stream_ps(p, r); }
  static void fence() { _mm_sfence(); }
  void store(float* p) const { _mm512_storeu_ps(p, r); }
  static Mask nonzero(const char* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_test_epi8_mask(bytes, bytes);
  }
  static Mask first(int n) {
    return static_cast<Mask>(n >= lanes ? 0xffff : n <= 0 ? 0 : (1 << n) - 1);
  }
  static Vec load_first(const float* p, int n, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(n), p);
  }
  void store_first(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), r); }

  friend Vec operator+(Vec a, Vec b) { return _mm512_add_ps(a.r, b.r); }
  friend Vec operator-(Vec a, Vec b) { return _mm512_sub_ps(a.r, b.r); }
  friend Vec operator*(Vec a, Vec b) { return _mm512_mul_ps(a.r, b.r); }
  friend Vec operator/(Vec a, Vec b) { return _mm512_div_ps(a.r, b.r); }
  friend Vec operator^(Vec a, Vec b) { return _mm512_xor_ps(a.r, b.r); }
  friend Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a.r, b.r, c.r); }
  friend Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a.r, b.r, c.r); }
  friend Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a.r, b.r, c.r); }
  friend Vec max(Vec a, Vec b) { return _mm512_max_ps(a.r, b.r); }
  friend Vec larger(Vec a, Vec b) {
    return _mm512_castsi512_ps(
        _mm512_max_epi32(_mm512_castps_si512(a.r), _mm512_castps_si512(b.r)));
  }
  friend Vec smaller(Vec a, Vec b) {
    return _mm512_castsi512_ps(
        _mm512_min_epi32(_mm512_castps_si512(a.r), _mm512_castps_si512(b.r)));
  }
  friend Mask greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_GT_OQ); }
  friend Mask equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.r, b.r, _CMP_EQ_OQ); }
  friend Vec select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no.r, yes.r); }
  friend Vec power_of_root(Vec t, const std::int32_t (&root)[4]) {
    const __m512i bits = _mm512_castps_si512(t.r);
    const __m512i entries =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(root)));
    const __m512 entry = _mm512_permutevar_ps(_mm512_castsi512_ps(entries), bits);
    const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(bits, 21), _mm512_castps_si512(entry));
    return _mm512_castsi512_ps(_mm512_max_epi32(sum, _mm512_setzero_si512()));
  }
  friend Vec rough_reciprocal(Vec a) {
    const __m512i twice_one = _mm512_set1_epi32(0x7f000000);
    return _mm512_castsi512_ps(_mm512_sub_epi32(twice_one, _mm512_castps_si512(a.r)));
  }
  friend void reduce_max(Vec a, float& low, float& high) {
    const __m256 l8 = _mm512_castps512_ps256(a.r), h8 = _mm512_extractf32x8_ps(a.r, 1);
    const __m128 l4 = _mm_max_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps(l8, 1));
    const __m128 h4 = _mm_max_ps(_mm256_castps256_ps128(h8), _mm256_extractf128_ps(h8, 1));
    const __m128 by_turns = _mm_max_ps(_mm_unpacklo_ps(l4, h4), _mm_unpackhi_ps(l4, h4));
    const __m128 both = _mm_max_ps(by_turns, _mm_movehl_ps(by_turns, by_turns));
    low = _mm_cvtss_f32(both);
    high = _mm_cvtss_f32(_mm_movehdup_ps(both));
  }
  template <int H>
  Vec down() const {
    const __m512i bits = _mm512_castps_si512(r);
    return _mm512_castsi512_ps(_mm512_alignr_epi32(bits, bits, H));
  }
  float lane0() const { return _mm512_cvtss_f32(r); }

  friend Vec even(Vec a, Vec b) {
    return _mm512_permutex2var_ps(
        a.r, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b.r);
  }
  friend Vec odd(Vec a, Vec b) {
    return _mm512_permutex2var_ps(
        a.r, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b.r);
  }
  friend Vec zip_low(Vec a, Vec b) {
    return _mm512_permutex2var_ps(
        a.r, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b.r);
  }
  friend Vec zip_high(Vec a, Vec b) {
    return _mm512_permutex2var_ps(
        a.r, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b.r);
  }
  friend Vec thirds(Vec a, Vec b, Vec c) {
    return _mm512_mask_blend_ps(0x4924, _mm512_mask_blend_ps(0x2492, a.r, b.r), c.r);
  }
  template <int S, int K>
  Vec by_steps() const {
    const __m512i lane = _mm512_setr_epi32(
        K, S + K, 2 * S + K, 3 * S + K, 4 * S + K, 5 * S + K, 6 * S + K, 7 * S + K, 8 * S + K,
        9 * S + K, 10 * S + K, 11 * S + K, 12 * S + K, 13 * S + K, 14 * S + K, 15 * S + K);
    return _mm512_permutexvar_ps(lane, r);
  }
  static constexpr int most_packed = 2;
  // By a permutation: a compression takes five cycles.
  template <int R>
  void store_packed(float* p, int n) const {
    if constexpr (R == 1) return store_first(p, n);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i from =
        _mm512_mask_add_epi32(lane, static_cast<Mask>(~first(n)), lane, _mm512_set1_epi32(8 - n));
    _mm512_mask_storeu_ps(p, first(R * n), _mm512_permutexvar_ps(from, r));
  }
  friend void widen(Vec a, Vec<double>* d) {
    d[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(a.r));
    d[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.r, 1));
  }
  friend void narrow(const Vec<double>* d, Vec& a) {
    a.r = _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(d[0].r)),
                             _mm512_cvtpd_ps(d[1].r), 1);
  }
  static Mask narrow_mask(const __mmask8* d) { return _mm512_kunpackb(d[1], d[0]); }
  static Vec load_float16(const char* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec load_bfloat16(const char* p) {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  void store_float16(char* p) const {
    const __m256i h = _mm512_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), h);
  }
  // By integers: AVX512_BF16's own conversion flushes subnormals.
  void store_bfloat16(char* p) const {
    const __m512i bits = _mm512_castps_si512(r), upper = _mm512_srli_epi32(bits, 16);
    const __m512i even = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const Mask nan = _mm512_cmp_ps_mask(r, r, _CMP_UNORD_Q);
    const __m512i half = _mm512_mask_blend_epi32(nan, _mm512_srli_epi32(sum, 16), quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(half));
  }
};

inline int first_set(unsigned mask) { return __builtin_ctz(mask); }

}  // namespace avx512
}  // namespace softlane
