// The summary of a block of up to 1024 elements: its maximum, the exponent of its base, and the sum
// of all terms but the maximum's own.
//
// THE CANONICAL ORDER, which every traversal keeps, so that bits depend on the row's values alone:
//   - blocks of 1024 elements, each with its own base exponent N_b = round(max_b log2 e);
//   - in a block, element k is in lane l = k mod 16, step i = k / 16, quad g = i / 4;
//   - the block's first maximum is the one in the lowest lane that holds it, there in the lowest
//     step; its term counts as 0 here and is carried apart (`top`);
//   - a quad is (e0 + e1) + (e2 + e3);
//   - a lane's 16 quads are added by halving: g with g + 8, + 4, + 2, + 1;
//   - the 16 lanes likewise: l with l + 8, + 4, + 2, + 1;
//   - each of these additions carries what it rounds away (quads.hpp);
//   - blocks are merged in order, moved to the larger base by a power of two.
// Absent elements are +0 terms, which change nothing: a -inf appended leaves every bit alone.
#pragma once

#include <type_traits>

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
  T max = 0;
  double argument = 0;  // map.wide_argument(max)
  Base<T> base;
  Wide<T> top{0}, tail{0};  // relative to the base
  T rounded_top = 0;        // the maximum's term as the output has it
  Wide<T> tail_gap{0};      // sum of e_k (argument - argument of x_k); entropy alone asks for it
  int argmax = 0;           // within the block
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

// Each lane's maximum, and the first quad that has it.
template <class T>
struct LaneMax {
  static constexpr int vectors = 16 / Vec<T>::lanes;
  Vec<T> best[vectors], where[vectors];

  template <class Map>
  SOFTLANE_INLINE LaneMax(const T* x, int n, const Map& map) {
    using V = Vec<T>;
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
  }
};

template <class T, class Map>
SOFTLANE_INLINE BlockMax<T> block_max(const T* x, int n, const Map& map) {
  using V = Vec<T>;
  constexpr int vectors = LaneMax<T>::vectors;
  const LaneMax<T> lanes(x, n, map);
  V all = lanes.best[0];
  for (int j = 1; j < vectors; ++j) all = max(lanes.best[j], all);
  BlockMax<T> result{reduce_max(all)};
  // Without a branch: where the maximum stands is not to be predicted, and a wrong guess would throw
  // away the next block's work (3 to 8 ns of a block's 75 to 150).
  unsigned hits = 0;
  T quads[16];
  for (int j = 0; j < vectors; ++j) {
    hits |= static_cast<unsigned>(equal(lanes.best[j], V(result.value))) << (j * V::lanes);
    lanes.where[j].store(quads + j * V::lanes);
  }
  result.lane = first_set(hits | 0x10000u) & 15;
  result.quad = static_cast<int>(quads[result.lane]);
  return result;
}

// What is wanted from memory soon, as long as the block at hand: what follows it, or another row. A block
// is a page or two, at whose end the hardware's own prefetching stops. 32 rows of 32 000 float32 that
// are in no cache: softmax 393 -> 277 us, logsumexp 325 -> 213.
template <class T>
struct Soon {
  const T* read;
  const T* written;
};

// The terms of a block to e[0..n), which may be x itself; also(k, x, t) sees the vectors from element k on.
template <class T, class Map, class Also>
SOFTLANE_INLINE void exponentials(const T* x, int n, const Map& map, const Base<T>& base, T* e,
                                  Soon<T> soon, Also also) {
  using V = Vec<T>;
  constexpr int width = V::lanes, line = 64 / static_cast<int>(sizeof(T));
  const T absent = map.sign(negative_infinity<T>());
  const auto vectors = [&](int k, auto count, auto part) __attribute__((always_inline)) {
    constexpr int N = decltype(count)::value;
    for (int l = k; l < k + N * width; l += line) {
      __builtin_prefetch(soon.read + l);
      __builtin_prefetch(soon.written + l, 1);
    }
    V x4[N], t[N];
    for (int i = 0; i < N; ++i) {
      x4[i] = map.sign(part(i * width).load(x + k + i * width, absent));
      t[i] = x4[i];
    }
    exp_from_base<N>(t, map, base);
    for (int i = 0; i < N; ++i) {
      also(k + i * width, x4[i], t[i]);
      part(i * width).store(t[i], e + k + i * width);
    }
  };
  int k = 0;
  for (; k + 4 * width <= n; k += 4 * width) {
    vectors(k, std::integral_constant<int, 4>{}, [](int) { return Whole<V>{}; });
  }
  const int left = n - k;
  const auto rest = [left](int at) { return First<V>{left - at}; };
  if (left > 2 * width) {
    vectors(k, std::integral_constant<int, 4>{}, rest);
  } else if (left > 0) {
    vectors(k, std::integral_constant<int, 2>{}, rest);
  }
}

enum class Gap : bool { skip, sum };  // is tail_gap wanted?

// Exponentials of a block into e[0..n), and their sum. e may be x itself.
template <Gap gap, class T, class Map>
SOFTLANE_INLINE BlockSummary<T> summarize_block(const T* x, int n, const BlockMax<T>& top,
                                                const Map& map, T* e) {
  using V = Vec<T>;
  BlockSummary<T> s;
  s.max = top.value;
  s.argument = map.wide_argument(top.value);
  s.base = Base<T>(map, top.value);
  const Base<T> base = s.base;
  // The maximum's step; read before its exponential overwrites x.
  const int lane = top.quad * quad_size + top.lane;
  unsigned at_top = 0;
  for (int i = 0; i < 4; ++i) {
    const int k = lane + 16 * i;
    at_top |= static_cast<unsigned>(map.sign(x[k < n ? k : lane]) == top.value) << i;
  }
  s.argmax = lane + 16 * (first_set(at_top | 16u) & 3);

  LaneSum<T> gaps;
  // Not -inf, which would meet its own terms' zeros.
  const double floor = static_cast<double>(base.floor);
  const double top_argument = s.argument > floor ? s.argument : floor;

  exponentials(x, n, map, base, e, {x + block_size, e + block_size},
               [&](int k, V x_k, V t) __attribute__((always_inline)) {
                 if (gap == Gap::skip) return;
                 // The difference and the product are carried exactly (float32) or in two parts.
                 constexpr int wide = Lanes<T>::registers * V::lanes / 16;
                 const int first = k % 16 / V::lanes * wide;
                 Vec<double> e64[wide], z64[wide];
                 to_double(t, e64);
                 to_double(max(V(base.floor), map.argument(x_k)), z64);
                 const Vec<double> origin(top_argument);
                 for (int w = 0; w < wide; ++w) {
                   const Vec<double> d = origin - z64[w], product = e64[w] * d;
                   gaps.add(first + w, product);
                   if (sizeof(T) == sizeof(double)) {
                     const Vec<double> zz = origin - d, lost = (zz - z64[w]) + (origin - (d + zz));
                     gaps.add_low(first + w,
                                  fma(e64[w], d, Vec<double>(0.0) - product) + e64[w] * lost);
                   }
                 }
               });
  s.rounded_top = e[s.argmax];
  s.top = exp_wide(top.value, map, base);
  Partial<T> lanes[16 / V::lanes];
  sum_lanes(e, n, s.argmax, lanes);
  s.tail = halved(lanes);
  if (gap == Gap::sum) s.tail_gap = gaps.total();
  return s;
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
