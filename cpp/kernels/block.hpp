// The summary of a block of up to 1024 elements: its maximum, the exponent of its base, and the sum
// of all terms but the maximum's own.
//
// THE CANONICAL ORDER, which every traversal keeps, so that bits depend on the row's values alone:
//   - blocks of 1024 elements, each with its own base exponent N_b = round(max_b log2 e);
//   - in a block, element k is in lane l = k mod 16, step i = k / 16, quad g = i / 4;
//   - the block's first maximum is the one in the lowest lane that holds it, there in the lowest
//     step; its term counts as 0 here and is carried apart (`top`);
//   - a quad is (e0 + e1) + (e2 + e3), in float64 like all that follows (a float32 addition here
//     costs log_softmax 0.5 ULP);
//   - a lane's 16 quads are added in float64 by halving: g with g + 8, + 4, + 2, + 1;
//   - the 16 lanes likewise: l with l + 8, + 4, + 2, + 1;
//   - float64 rows carry the rounding of every one of these additions (Knuth's two-sum);
//   - blocks are merged in order, moved to the larger base by a power of two.
// Absent elements are +0 terms, which change nothing: a -inf appended leaves every bit alone.
#pragma once

#include "kernels/quads.hpp"
#include "math/exp.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// Largest element of a block, its lane, and the quad of that lane which has it.
template <class T>
struct BlockMax {
  T value;
  int lane = 0, quad = 0;
};

template <class T>
struct BlockSummary {
  T max;
  double argument;  // map.argument(max)
  Base<T> base;
  Wide<T> top, tail;  // relative to the base
  T rounded_top;      // the maximum's term as the output has it
  Wide<T> tail_gap;   // sum of e_k (argument - argument of x_k); entropy alone asks for it
  int argmax;         // within the block
};

// body(quad, offset, chunk maker) over a block's quads: full ones take whole vectors, the last one
// the lanes that exist.
template <class T>
struct QuadChunk {
  int left;  // elements from the quad's begin to the block's end
  First<Vec<T>> at(int offset) const { return {left - offset}; }
};
template <class T>
struct FullQuad {
  Whole<Vec<T>> at(int) const { return {}; }
};

inline void to_double(Vec<double> v, Vec<double>* d) { d[0] = v; }
inline void to_double(Vec<float> v, Vec<double>* d) { widen(v, d); }

template <class T>
constexpr T negative_infinity() {
  return -static_cast<T>(__builtin_inf());
}

template <class T, class Map>
inline BlockMax<T> block_max(const T* x, int n, const Map& map) {
  using V = Vec<T>;
  constexpr int vectors = 16 / V::lanes;
  V best[vectors], where[vectors];
  for (int j = 0; j < vectors; ++j) {
    best[j] = V(negative_infinity<T>());
    where[j] = V(T(0));
  }
  auto quad = [&](int g, auto part) __attribute__((always_inline)) {
    const T* q = x + g * quad_size;
    const T fill = map.sign(negative_infinity<T>());
    for (int j = 0; j < vectors; ++j) {
      V a[4];
      for (int i = 0; i < 4; ++i) {
        const int offset = i * 16 + j * V::lanes;
        a[i] = map.sign(part.at(offset).load(q + offset, fill));
      }
      const V m = max(max(a[0], a[1]), max(a[2], a[3]));
      where[j] = select(greater(m, best[j]), V(static_cast<T>(g)), where[j]);
      best[j] = max(m, best[j]);
    }
  };
  const int full = n / quad_size;
  for (int g = 0; g < full; ++g) quad(g, FullQuad<T>{});
  if (n % quad_size != 0) quad(full, QuadChunk<T>{n - full * quad_size});

  V all = best[0];
  for (int j = 1; j < vectors; ++j) all = max(best[j], all);
  BlockMax<T> result{reduce_max(all)};
  for (int j = 0; j < vectors; ++j) {
    const unsigned hit = static_cast<unsigned>(equal(best[j], V(result.value)));
    if (hit != 0) {
      const int l = first_set(hit);
      T quads[V::lanes];
      where[j].store(quads);
      result.lane = j * V::lanes + l;
      result.quad = static_cast<int>(quads[l]);
      break;
    }
  }
  return result;
}
enum class Gap : bool { skip, sum };  // is tail_gap wanted?

// Exponentials of a block into e[0..n), and their sum. e may be x itself.
template <Gap gap, class T, class Map>
inline BlockSummary<T> summarize_block(const T* x, int n, const BlockMax<T>& top, const Map& map,
                                       T* e) {
  using V = Vec<T>;
  constexpr int vectors = 16 / V::lanes;
  BlockSummary<T> s;
  s.max = top.value;
  s.argument = map.argument(top.value);
  s.base = Base<T>(map, top.value);
  const Base<T> base = s.base;
  LaneSum<T> gaps;
  // Not -inf, which would meet its own terms' zeros.
  const double floor = static_cast<double>(base.floor);
  const double top_argument = s.argument > floor ? s.argument : floor;

  // The maximum's quad; read before e overwrites x.
  const int lane = top.quad * quad_size + top.lane;
  T own_quad[4];
  int step = 0;
  for (int i = 3; i >= 0; --i) {
    const int k = lane + 16 * i;
    own_quad[i] = k < n ? map.sign(x[k]) : negative_infinity<T>();
    if (own_quad[i] == top.value) step = i;
  }
  s.argmax = lane + 16 * step;

  Quads<T> quads;
  auto quad = [&](int g, auto part) __attribute__((always_inline)) {
    const T* q = x + g * quad_size;
    T* out = e + g * quad_size;
    for (int j = 0; j < vectors; ++j) {
      V t[4];
      for (int i = 0; i < 4; ++i) {
        const int offset = i * 16 + j * V::lanes;
        const V a = map.sign(part.at(offset).load(q + offset, map.sign(negative_infinity<T>())));
        t[i] = exp_from_base(a, map, base);
        if (gap == Gap::sum) {
          // The difference and the product are carried exactly (float32) or in two parts.
          constexpr int wide = Lanes<T>::registers / vectors;
          Vec<double> e64[wide], z64[wide];
          to_double(t[i], e64);
          to_double(max(V(base.floor), map.argument(a)), z64);
          const Vec<double> origin(top_argument);
          for (int w = 0; w < wide; ++w) {
            const Vec<double> d = origin - z64[w], product = e64[w] * d;
            gaps.add(j * wide + w, product);
            if (sizeof(T) == sizeof(double)) {
              const Vec<double> zz = origin - d, lost = (zz - z64[w]) + (origin - (d + zz));
              gaps.add_low(j * wide + w,
                           fma(e64[w], d, Vec<double>(0.0) - product) + e64[w] * lost);
            }
          }
        }
        part.at(offset).store(t[i], out + offset);
      }
      set_quad(quads.sum[0] + 16 * g + j * V::lanes, t);
    }
  };
  const int full = n / quad_size;
  for (int g = 0; g < full; ++g) quad(g, FullQuad<T>{});
  if (n % quad_size != 0) quad(full, QuadChunk<T>{n - full * quad_size});

  // The maximum's own term leaves its quad: the four terms of its lane once more, summed alike.
  T column[4 * V::lanes];
  for (int i = 0; i < 4; i += V::lanes) {
    exp_from_base(V::load_first(own_quad + i, 4 - i, negative_infinity<T>()), map, base)
        .store(column + i);
  }
  s.rounded_top = column[step];
  column[step] = 0;
  V again[4];
  for (int i = 0; i < 4; ++i) again[i] = V(column[i]);
  double mended[Quads<T>::P::parts * 16 * max_quads];
  set_quad(mended, again);
  for (int part = 0; part < Quads<T>::P::parts; ++part) {
    quads.sum[part][16 * top.quad + top.lane] = mended[part * 16 * max_quads];
  }
  s.tail = quads.total((n + quad_size - 1) / quad_size);
  s.top = exp_wide(top.value, map, base);
  if (gap == Gap::sum) s.tail_gap = gaps.total();
  return s;
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
