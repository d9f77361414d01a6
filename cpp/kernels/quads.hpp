// The sum of a block's terms in the canonical order (block.hpp).
#pragma once

#include "kernels/row.hpp"
#include "math/wide.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

inline constexpr int quad_size = 64;                      // elements: 4 steps of 16 lanes
inline constexpr int max_quads = block_size / quad_size;  // 16

// The sum over a vector's own lanes, in lane 0.
template <int H, class V>
inline V sum_within(V s) {
  if constexpr (H >= 1) {
    return sum_within<H / 2>(s + s.template down<H>());
  } else {
    return s;
  }
}

// A vector of sums of numbers >= 0, and beside it what the additions have rounded away (Dekker's fast
// two-sum, the larger first: one operation less than Knuth's, and two of the five on any unit; float32 sums
// 41 -> 23 ns a block). Without it a row whose sum is one large term and many small ones would lose up to
// an ULP at each of ten levels. float32 rows might add in float64 instead: as accurate, and no faster.
//
// Inlined by force: as the kernels grow in number GCC stops to do it, and a call in the inner loop
// costs a fifth of a softmax.
template <class T>
struct Partial {
  using V = Vec<T>;
  V hi, lo;

  static Partial load(const T* p) { return {V::load(p), V::load(p + 16 * max_quads)}; }
  void store(T* p) const {
    hi.store(p);
    lo.store(p + 16 * max_quads);
  }
  static SOFTLANE_INLINE Partial sum(V a, V b) {
    const V s = a + b;
    return {s, smaller(a, b) - (s - larger(a, b))};
  }
  friend SOFTLANE_INLINE Partial operator+(Partial a, Partial b) {
    const Partial s = sum(a.hi, b.hi);
    return {s.hi, s.lo + (a.lo + b.lo)};
  }
  static SOFTLANE_INLINE Partial quad(V a, V b, V c, V d) { return sum(a, b) + sum(c, d); }
  template <int H>
  Partial down() const {
    return {hi.template down<H>(), lo.template down<H>()};
  }
};

// Over the 16 lanes, by halving. float32 takes the last four levels in float64, where nothing
// needs to be carried and the chain is shorter.
inline Wide<float> halved(Partial<float>* lanes) {
  constexpr int wide = Vec<float>::lanes / Vec<double>::lanes, registers = 16 / Vec<float>::lanes;
  Vec<double> d[registers * wide], lo[wide];
  for (int j = 0; j < registers; ++j) {
    widen(lanes[j].hi, d + j * wide);
    widen(lanes[j].lo, lo);
    for (int w = 0; w < wide; ++w) d[j * wide + w] = d[j * wide + w] + lo[w];
  }
  for (int h = registers * wide / 2; h >= 1; h /= 2) {
    for (int j = 0; j < h; ++j) d[j] = d[j] + d[j + h];
  }
  return {sum_within<Vec<double>::lanes / 2>(d[0]).lane0()};
}
inline Wide<double> halved(Partial<double>* lanes) {
  for (int h = 8 / Vec<double>::lanes; h >= 1; h /= 2) {
    for (int j = 0; j < h; ++j) lanes[j] = lanes[j] + lanes[j + h];
  }
  const Partial<double> s = sum_within<Vec<double>::lanes / 2>(lanes[0]);
  return Wide<double>{s.hi.lane0()} + Wide<double>{s.lo.lane0()};
}

// The quads of one block and their sum.
template <class T>
class Quads {
 public:
  using V = Vec<T>;
  using P = Partial<T>;
  static constexpr int width = V::lanes, registers = 16 / width;

  void set(int quad, int lane, const P& v) { v.store(sum_[0] + 16 * quad + lane); }
  // One lane of a quad; by whole vectors, for a load of several lanes would wait for a store of one.
  void mend(int quad, int lane, const P& v) {
    static constexpr T index[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    T* q = sum_[0] + 16 * quad + lane / width * width;
    const P old = P::load(q);
    const auto here = equal(V::load(index), V(static_cast<T>(lane % width)));
    P{select(here, v.hi, old.hi), select(here, v.lo, old.lo)}.store(q);
  }
  Wide<T> total(int count) {
    P sums[registers];
    lanes(count, sums);
    return halved(sums);
  }
  // The sums of the 16 lanes over the first `count` quads.
  SOFTLANE_INLINE void lanes(int count, P* sums) {
    const int live = count <= 1 ? 1 : count <= 2 ? 2 : count <= 4 ? 4 : count <= 8 ? 8 : 16;
    for (int g = count; g < live; ++g) {
      for (int l = 0; l < 16; l += width) P{V(T(0)), V(T(0))}.store(sum_[0] + 16 * g + l);
    }
    switch (live) {
      case 1:
        return add<1>(sums);
      case 2:
        return add<2>(sums);
      case 4:
        return add<4>(sums);
      case 8:
        return add<8>(sums);
      default:
        return add<16>(sums);
    }
  }

 private:
  // The first `Live` quads, a power of two; those beyond the block's end are zero.
  template <int Live>
  SOFTLANE_INLINE void add(P* lanes) const {
    constexpr int half = Live > 1 ? Live / 2 : 1;
    for (int j = 0; j < registers; ++j) {
      const T* q = sum_[0] + j * width;
      P s[half];
      for (int g = 0; g < half; ++g) {
        s[g] = P::load(q + 16 * g);
        if (Live > 1) s[g] = s[g] + P::load(q + 16 * (g + half));
      }
      for (int h = half / 2; h >= 1; h /= 2) {
        for (int g = 0; g < h; ++g) s[g] = s[g] + s[g + h];
      }
      lanes[j] = s[0];
    }
  }

  alignas(64) T sum_[2][16 * max_quads];
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
