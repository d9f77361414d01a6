// The sum of a block's terms in the canonical order (block.hpp), from its quads on.
#pragma once

#include "kernels/row.hpp"
#include "math/wide.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

inline constexpr int quad_size = 64;                      // elements: 4 steps of 16 lanes
inline constexpr int max_quads = block_size / quad_size;  // 16
// A vector of partial sums: float64 for float32 rows, and what the additions rounded away beside it
// for float64 rows. Without it a row whose sum is one large term and many small ones would lose up
// to an ULP at each of ten levels.
template <class T>
struct Partial;

template <>
struct Partial<float> {
  using D = Vec<double>;
  static constexpr int parts = 1;
  D hi;

  static Partial load(const double* p) { return {D::load(p)}; }
  void store(double* p) const { hi.store(p); }
  friend Partial operator+(Partial a, Partial b) { return {a.hi + b.hi}; }
  static Wide<float> last(const double* p) { return {p[0]}; }
};

template <>
struct Partial<double> {
  using D = Vec<double>;
  static constexpr int parts = 2;
  D hi, lo;

  static Partial load(const double* p) { return {D::load(p), D::load(p + 16 * max_quads)}; }
  void store(double* p) const {
    hi.store(p);
    lo.store(p + 16 * max_quads);
  }
  static Partial sum(D a, D b) {
    const D s = a + b, bb = s - a;
    return {s, (a - (s - bb)) + (b - bb)};
  }
  friend Partial operator+(Partial a, Partial b) {
    const Partial s = sum(a.hi, b.hi);
    return {s.hi, s.lo + (a.lo + b.lo)};
  }
  static Wide<double> last(const double* p) {
    return Wide<double>{p[0]} + Wide<double>{p[16 * max_quads]};
  }
};

// The four terms of one step group, in the lanes from `lane` on, to their quad.
inline void set_quad(double* quads, const Vec<float>* t) {
  constexpr int wide = Vec<float>::lanes / Vec<double>::lanes;
  Vec<double> d[4][wide];
  for (int i = 0; i < 4; ++i) widen(t[i], d[i]);
  for (int w = 0; w < wide; ++w) {
    ((d[0][w] + d[1][w]) + (d[2][w] + d[3][w])).store(quads + w * Vec<double>::lanes);
  }
}
inline void set_quad(double* quads, const Vec<double>* t) {
  (Partial<double>::sum(t[0], t[1]) + Partial<double>::sum(t[2], t[3])).store(quads);
}

// The quads of one block and their sum.
template <class T>
struct Quads {
  using P = Partial<T>;
  alignas(64) double sum[P::parts][16 * max_quads];

  Wide<T> total(int count) {
    const int live = count <= 1 ? 1 : count <= 2 ? 2 : count <= 4 ? 4 : count <= 8 ? 8 : 16;
    for (auto& part : sum) {
      for (int k = 16 * count; k < 16 * live; ++k) part[k] = 0;
    }
    switch (live) {
      case 1:
        return add<1>();
      case 2:
        return add<2>();
      case 4:
        return add<4>();
      case 8:
        return add<8>();
      default:
        return add<16>();
    }
  }

 private:
  template <int Live>
  Wide<T> add() {
    constexpr int width = Vec<double>::lanes, registers = 16 / width;
    constexpr int half = Live > 1 ? Live / 2 : 1;
    double* q = sum[0];
    for (int j = 0; j < registers; ++j) {
      P s[half];
      for (int g = 0; g < half; ++g) {
        s[g] = P::load(q + 16 * g + j * width);
        if (Live > 1) s[g] = s[g] + P::load(q + 16 * (g + half) + j * width);
      }
      for (int h = half / 2; h >= 1; h /= 2) {
        for (int g = 0; g < h; ++g) s[g] = s[g] + s[g + h];
      }
      s[0].store(q + j * width);
    }
    int h = 8;
    for (; h >= width; h /= 2) {
      for (int l = 0; l < h; l += width) (P::load(q + l) + P::load(q + l + h)).store(q + l);
    }
    for (; h >= 1; h /= 2) {
      // The upper lanes of these sums are not used.
      (P::load(q) + P::load(q + h)).store(q);
    }
    return P::last(q);
  }
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
