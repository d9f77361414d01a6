// The summary of a block of up to 1024 elements: its maximum, the exponent of its base, and the sum
// of all terms but the maximum's own (`top`), the tail.
//
// THE CANONICAL ORDER, which every traversal keeps, so that bits depend on the row's values alone:
//   - blocks of 1024 elements, each with its own base exponent N_b = round(max_b log2 e);
//   - in a block, element k is in lane l = k mod 16, step i = k / 16, quad g = i / 4;
//   - a lane's first quad is (e0 + e1) + (e2 + e3);
//   - where the block spreads, whose halves (lanes 0 to 7, and 8 to 15) both have a term near the maximum's
//     (`spread_limit`), a lane's other terms are added one after the other to a power of two above every term
//     (`above_terms`), which is then taken away, and this sum to the first quad's;
//   - elsewhere all of a lane's 16 quads are taken like the first, and added by halving: g with g + 8, + 4,
//     + 2, + 1;
//   - the 16 lanes are added by halving: l with l + 8, + 4, + 2, + 1;
//   - each of these additions carries what it rounds away or, in float64, each term is cut in two beforehand, of
//     which the lower parts alone are rounded (quads.hpp);
//   - the tail is this sum less the maximum's term as the sum has it. Where that leaves less than a
//     `faint_share` of the term, its digits are those of what the additions did not carry: the block is
//     summed once more with that term as 0 (and float64 terms cut below the largest that is left);
//   - blocks are merged in order, moved to the larger base by a power of two.
// Absent elements are +0 terms, which change nothing: a -inf appended leaves every bit alone.
#pragma once

#include <type_traits>

#include "kernels/quads.hpp"
#include "math/exp.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
struct BlockSummary {
  T max = 0;
  double argument = 0;  // map.wide_argument(max)
  Base<T> base;
  Wide<T> top{0}, tail{0};  // relative to the base
  T rounded_top = 0;        // the maximum's term as the output has it
  Wide<T> tail_gap{0};      // sum of e_k (argument - argument of x_k); entropy alone asks for it
  int argmax = -1;          // within the block, where the top outweighs the tail
};

// Does the maximum outweigh all others? Then no other class shares it. In the rows' own type, which is one comparison
// of a group's rows.
template <class T>
SOFTLANE_INLINE bool outweighs(T top, const Wide<T>& tail) {
  return T(0.99) * top > static_cast<T>(tail.value());
}
template <class T>
SOFTLANE_INLINE auto outweighs(Vec<T> top, Vec<T> tail) {
  return greater(Vec<T>(T(0.99)) * top, tail);
}

// A tail of this share has its digits. What the additions of trees lose of a sum is what those of their low parts
// round away: mostly below 2^-50 of it, 2^-45 if all six levels lose what they can (float64, emulated: of 1024 terms
// 2^-88, 2^-86 where they are equal). Of such a tail that is 2^-30, at worst 2^-25 (2^-58, 2^-56).
template <class T>
inline constexpr double faint_share = sizeof(T) == 4 ? 0x1p-20 : 0x1p-30;
template <class T, class D, class W>
SOFTLANE_INLINE auto is_faint(const W& tail, const D& own) {
  return greater(D(faint_share<T>) * own, tail.value());
}

inline void to_double(Vec<double> v, Vec<double>* d) { d[0] = v; }
inline void to_double(Vec<float> v, Vec<double>* d) { widen(v, d); }

template <class T>
constexpr T negative_infinity() {
  return -static_cast<T>(__builtin_inf());
}

// The maxima of a block's elements, by lanes of vectors: of the elements in lanes 0 to 7 and in 8 to 15 of the
// canonical order, or of all 16 in `low` where a vector has as many.
template <class T, class Map>
SOFTLANE_INLINE void lane_maxima(const T* x, int n, const Map& map, Vec<T>& low, Vec<T>& high) {
  using V = Vec<T>;
  constexpr int width = V::lanes, registers = 16 / width, each = registers < 8 ? 4 : registers / 2;
  const T absent = map.sign(negative_infinity<T>());
  low = high = V(negative_infinity<T>());
  const auto is_low = [](int j) { return registers == 1 ? j < 4 : j % registers < registers / 2; };
  int k = 0;
  for (; k + 2 * each * width <= n; k += 2 * each * width) {
    V a[each], b[each];
    int i = 0, l = 0;
    for (int j = 0; j < 2 * each; ++j) {
      const V v = map.sign(V::load(x + k + j * width));
      if (is_low(j)) {
        a[i++] = v;
      } else {
        b[l++] = v;
      }
    }
    for (int h = each / 2; h >= 1; h /= 2) {
      for (int j = 0; j < h; ++j) {
        a[j] = max(a[j], a[j + h]);
        b[j] = max(b[j], b[j + h]);
      }
    }
    low = max(a[0], low);
    high = max(b[0], high);
  }
  const auto sixteen = [&](auto part) __attribute__((always_inline)) {
    for (int j = 0; j < registers; ++j) {
      V& half = is_low(j) ? low : high;
      half = max(map.sign(part(j * width).load(x + k + j * width, absent)), half);
    }
  };
  for (; k + 16 <= n; k += 16) sixteen([](int) { return Whole<V>{}; });
  if (k < n) sixteen([&](int at) { return First<V>{n - k - at}; });
  if (registers == 1) low = max(high, low);
}

template <class T, class Map>
SOFTLANE_INLINE Peaks<T> block_peaks(const T* x, int n, const Map& map) {
  Vec<T> low, high;
  lane_maxima(x, n, map, low, high);
  T a, b;
  if constexpr (Vec<T>::lanes == 16) {
    reduce_max(low, a, b);
  } else {
    a = reduce_max(low);
    b = reduce_max(high);
  }
  return a > b ? Peaks<T>{a, b} : Peaks<T>{b, a};
}

// What is wanted from memory soon, as long as the block at hand: what follows it, another row, or its result.
// A block is a page or two, at whose end the hardware's own prefetching stops. 32 rows of 32 000 float32 that
// are in no cache: softmax 393 -> 277 us, logsumexp 325 -> 213.
template <class T>
struct Soon {
  const T* read;
  const T* written;
};

struct Unsummed {
  template <class V>
  SOFTLANE_INLINE void add(int, V) {}
};

// The terms of a block to e[0..n), which may be x itself, and to the sums; also(k, x, t) sees the vectors from
// element k on.
template <class T, class Map, class Sums, class Also>
SOFTLANE_INLINE void exponentials(const T* x, int n, const Map& map, const Base<T>& base, T* e,
                                  Soon<T> soon, Sums& sums, Also also) {
  using V = Vec<T>;
  constexpr int width = V::lanes, line = 64 / static_cast<int>(sizeof(T));
  const T absent = map.sign(negative_infinity<T>());
  const auto vectors = [&](int k, auto count, auto part, auto& to) __attribute__((always_inline)) {
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
      to.add(i, t[i]);
      part(i * width).store(t[i], e + k + i * width);
    }
  };
  constexpr std::integral_constant<int, 4> four;
  const auto whole = [](int) { return Whole<V>{}; };
  Unsummed none;
  const int first_quad = n < quad_size ? n : quad_size;
  int k = 0;
  for (; k + 4 * width <= first_quad; k += 4 * width) vectors(k, four, whole, none);
  for (; k + 4 * width <= n; k += 4 * width) vectors(k, four, whole, sums);
  // The vectors that are left, all whole but the last. (Of no more than a quad the sums are not asked for.)
  const auto rest = [&](auto count) __attribute__((always_inline)) {
    constexpr int last = (decltype(count)::value - 1) * width;
    const int left = n - k;
    const auto part = [=](int at) __attribute__((always_inline)) {
      return First<V>{at < last ? width : left - last};
    };
    vectors(k, count, part, sums);
  };
  switch ((n - k + width - 1) / width) {
    case 4:
      return rest(std::integral_constant<int, 4>{});
    case 3:
      return rest(std::integral_constant<int, 3>{});
    case 2:
      return rest(std::integral_constant<int, 2>{});
    case 1:
      return rest(std::integral_constant<int, 1>{});
  }
}

// (With the base by value, and one loop in place of that of the first quad and the other's, float32 rows of 151
// classes took 1.2 times the time.)
template <class T, class Map>
__attribute__((noinline)) void exponentials(const T* x, int n, const Map& map, const Base<T>& base,
                                            T* e, Soon<T> soon) {
  Unsummed none;
  exponentials(x, n, map, base, e, soon, none,
               [](int, Vec<T>, Vec<T>) __attribute__((always_inline)) {});
}

enum class Gap : bool { skip, sum };  // is tail_gap wanted?

// Exponentials of a block into e[0..n), and their sum. e may be x itself. `written` is what is to be asked for
// by the way, as Soon has it.
template <Gap gap, class T, class Map>
SOFTLANE_INLINE BlockSummary<T> summarize_block(const T* x, int n, const Peaks<T>& peaks,
                                                const Map& map, T* e, const T* written) {
  using V = Vec<T>;
  BlockSummary<T> s;
  const T top = peaks.max;
  s.max = top;
  s.argument = map.wide_argument(top);
  s.base = Base<T>(map, top);
  const Base<T> base = s.base;

  LaneSum<T> gaps;
  // Not -inf, which would meet its own terms' zeros.
  const double floor = static_cast<double>(base.floor);
  const double top_argument = s.argument > floor ? s.argument : floor;

  const Soon<T> soon{x + block_size, written};
  const auto also = [&](int k, V x_k, V t) __attribute__((always_inline)) {
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
        gaps.add_low(first + w, fma(e64[w], d, Vec<double>(0.0) - product) + e64[w] * lost);
      }
    }
  };
  Partial<T> lanes[16 / V::lanes];
  if (n <= quad_size || spreads<T>(top, peaks.lesser, map)) {
    LaneSums<T> sums;
    exponentials(x, n, map, base, e, soon, sums, also);
    sums.finish(e, n, lanes);
  } else {
    if constexpr (gap == Gap::skip) {
      exponentials(x, n, map, base, e, soon);
    } else {
      Unsummed none;
      exponentials(x, n, map, base, e, soon, none, also);
    }
    sum_trees(e, n, usual_cut<T>, lanes);
  }
  V own_term(top), lost;
  exp_from_base<1>(&own_term, map, base, &lost);
  s.rounded_top = own_term.lane0();
  s.top = two_parts<T>(s.rounded_top, lost.lane0());
  const double own = static_cast<double>(s.rounded_top);
  s.tail = halved(lanes).less(own);
  if (outweighs(s.rounded_top, s.tail)) {
    s.argmax = place_of(e, n, s.rounded_top);
    if (is_faint<T>(s.tail, own)) s.tail = sum_without(e, n, s.argmax);
  }
  if (gap == Gap::sum) s.tail_gap = gaps.total();
  return s;
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
