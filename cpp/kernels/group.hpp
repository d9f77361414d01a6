// The summaries of W rows at once, a row in each lane, in the canonical order (block.hpp), for rows of
// one block.
#pragma once

#include <type_traits>

#include "kernels/losses.hpp"
#include "kernels/tiles.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// Which of several classes that share the maximum is the first: the lowest lane k mod 16, then the
// lowest step k / 16. The first has the largest rank.
template <class T>
struct Ranks {
  T of[block_size];
  constexpr Ranks() : of() {
    for (int k = 0; k < block_size; ++k) of[k] = static_cast<T>(-(k % 16 * 64 + k / 16));
  }
};
template <class T>
inline constexpr Ranks<T> ranks{};
template <class T>
inline int class_of_rank(T rank) {
  const int place = -static_cast<int>(rank);
  return place / 64 + place % 64 * 16;
}

// What the lanes of a canonical sum are added as, once their quads are.
inline Pack<float> lane_term(const Partial<float>& p) { return widened(p.hi) + widened(p.lo); }
inline Partial<double> lane_term(const Partial<double>& p) { return p; }
inline Pack<float> lane_term(Vec<float> v) { return widened(v); }
inline Partial<double> lane_term(Vec<double> v) { return {v, Vec<double>(0.0)}; }
inline Wide<float, Pack<float>> lane_total(const Pack<float>& p) { return {p}; }
inline Wide<double, Pack<double>> lane_total(const Partial<double>& p) {
  using W = Wide<double, Pack<double>>;
  return W(widened(p.hi)) + W(widened(p.lo));
}

template <class T>
struct GroupSummary {
  using V = Vec<T>;
  using P = Pack<T>;

  V highest, where;  // the maximum, and the rank of the class that the maximum is taken from
  V rounded_top;
  Base<T, V> base;
  Wide<T, P> top, tail, sum;
  P others;   // how many share the maximum, where nothing else counts
  bool tied;  // does any row have others?
  typename P::Mask confident;
  unsigned bad = 0;  // of the lanes: rows with a NaN

  // The maxima. False where a row needs a shift or has no regular result.
  template <class Map>
  SOFTLANE_INLINE bool begin(const Columns<T>& x, int n, unsigned rows, const Map& map) {
    V most(negative_infinity<T>()), at(T(-block_size));
    for (int k = 0; k < n; ++k) {
      __builtin_prefetch(x.at(k) + V::lanes);  // the next group's, if they lie side by side
      const V a = map.sign(x.load(k)), rank(ranks<T>.of[k]);
      const V tied_at = select(equal(a, most), max(rank, at), at);
      at = select(greater(a, most), rank, tied_at);
      most = max(a, most);
    }
    highest = most;
    where = at;
    return start(rows, map);
  }

  // The same for N <= 16 classes, whose first maximum in memory is the first in lane order.
  template <int N, class Map>
  SOFTLANE_INLINE bool begin_few(const Columns<T>& x, unsigned rows, const Map& map) {
    V most = map.sign(x.load(0)), at(T(0));
#pragma GCC unroll 16
    for (int k = 1; k < N; ++k) {
      const V a = map.sign(x.load(k));
      at = select(greater(a, most), V(ranks<T>.of[k]), at);
      most = max(a, most);
    }
    highest = most;
    where = at;
    return start(rows, map);
  }

  template <int N, class Map>
  SOFTLANE_INLINE void add_few(const Columns<T>& x, const Columns<T>& e, const Map& map) {
    // Copies, for the compiler takes the stores to change *this.
    const Base<T, V> own_base = base;
    const V at = where;
    V t[N], own(T(0));
#pragma GCC unroll 4
    for (int k = 0; k < N; k += 4) {
      const int count = N - k < 4 ? N - k : 4;
      V a[4];
#pragma GCC unroll 4
      for (int i = 0; i < count; ++i) a[i] = map.sign(x.load(k + i));
      exp_from_base_of(count, a, map, own_base);
#pragma GCC unroll 4
      for (int i = 0; i < count; ++i) {
        e.store(k + i, a[i]);
        const auto here = equal(at, V(ranks<T>.of[k + i]));
        own = select(here, a[i], own);
        t[k + i] = select(here, V(T(0)), a[i]);
      }
    }
    rounded_top = own;
    tail = lane_total(lane_tree<0, 1, N>(t));
  }

  template <int L, int S, int N>
  static SOFTLANE_INLINE auto lane_tree(const V* t) {
    if constexpr (S == 16) {
      return lane_term(t[L]);
    } else if constexpr (L + S < N) {
      return lane_tree<L, 2 * S, N>(t) + lane_tree<L + S, 2 * S, N>(t);
    } else {
      return lane_tree<L, 2 * S, N>(t);
    }
  }

  template <class Map>
  SOFTLANE_INLINE bool start(unsigned rows, const Map& map) {
    using R = ExpRange<T>;
    if constexpr (std::is_same_v<Map, Direct<T>>) {
      // As Base, without what makes a difference to rows that are out of range alone, which get no result
      // from it (and which refined_tail leaves out).
      const V limit(R::limit), magic(R::magic), least(-R::limit), field(R::top);
      base.exponent = fma(highest, V(map.slope()), magic) - magic;
      base.floor = times_ln2(base.exponent - field);
      base.magic = magic + (field - base.exponent);
      const unsigned inside = static_cast<unsigned>(greater(highest, least)) &
                              static_cast<unsigned>(greater(limit, highest));
      return (~inside & rows) == 0;
    } else {
      const P z = map.wide_argument(highest) * P(map.beta()), limit(static_cast<double>(R::limit));
      const unsigned outside =
          ~static_cast<unsigned>(greater(z, -limit)) | ~static_cast<unsigned>(greater(limit, z));
      base = Base<T, V>(map, highest);
      return (outside & rows) == 0;
    }
  }

  // n ln2 rounded once, for integers |n| <= 2000: of each it has been tried.
  static SOFTLANE_INLINE Vec<float> times_ln2(Vec<float> n) {
    return fma(n, Vec<float>(0x1.62e43p-1f), n * Vec<float>(-0x1.05c61p-29f));
  }
  static SOFTLANE_INLINE Vec<double> times_ln2(Vec<double> n) {
    return n * Vec<double>(0x1.62e42fefa39efp-1);
  }

  // The exponentials, 64 classes at a time (to `e`, where somebody wants them), and their sums.
  template <class Map>
  SOFTLANE_INLINE void add(const Columns<T>& x, const Columns<T>& e, int n, const Map& map) {
    alignas(64) T chunk[quad_size * V::lanes];
    Partial<T> quads[max_quads][16];
    const int lanes = n < 16 ? n : 16, count = (n + quad_size - 1) / quad_size;
    const V none(T(0));
    for (int g = 0; g < count; ++g) {
      const int k0 = g * quad_size, left = n - k0 < quad_size ? n - k0 : quad_size;
      const Columns<T> terms = e ? Columns<T>{e.data + k0 * e.stride, e.stride}
                                 : Columns<T>{reinterpret_cast<char*>(chunk),
                                              V::lanes * static_cast<index_t>(sizeof(T))};
      int k = 0;
      for (; k + 4 <= left; k += 4) exponentials<4>(x, k0 + k, terms, k, map);
      switch (left - k) {
        case 3:
          exponentials<3>(x, k0 + k, terms, k, map);
          break;
        case 2:
          exponentials<2>(x, k0 + k, terms, k, map);
          break;
        case 1:
          exponentials<1>(x, k0 + k, terms, k, map);
      }
      const auto term = [&](int j) __attribute__((always_inline)) {
        return select(equal(where, V(ranks<T>.of[k0 + j])), none, terms.load(j));
      };
      // The lanes that have four steps here, then three, two and one.
      Partial<T>* const q = quads[g];
      int l = 0;
      for (; l < 16 && l + 48 < left; ++l) {
        q[l] = Partial<T>::quad(term(l), term(l + 16), term(l + 32), term(l + 48));
      }
      for (; l < 16 && l + 32 < left; ++l) {
        q[l] = Partial<T>::quad(term(l), term(l + 16), term(l + 32), none);
      }
      for (; l < 16 && l + 16 < left; ++l) q[l] = Partial<T>::sum(term(l), term(l + 16));
      for (; l < 16 && l < left; ++l) q[l] = {term(l), none};
    }
    for (int h = max_quads / 2; h >= 1; h /= 2) {
      for (int g = 0; g < h && g + h < count; ++g) {
        const int present = n - (g + h) * quad_size;
        for (int l = 0; l < 16 && l < present; ++l) quads[g][l] = quads[g][l] + quads[g + h][l];
      }
    }
    decltype(lane_term(quads[0][0])) lane[16];
    for (int l = 0; l < lanes; ++l) lane[l] = lane_term(quads[0][l]);
    for (int h = 8; h >= 1; h /= 2) {
      for (int l = 0; l < h && l + h < lanes; ++l) lane[l] = lane[l] + lane[l + h];
    }
    tail = lane_total(lane[0]);
    rounded_top = exp_from_base(highest, map, base);
  }

  // What follows from the sums.
  template <class Map>
  SOFTLANE_INLINE void settle(unsigned rows, const Map& map) {
    top = exp_wide<Reach::within>(highest, map, base);
    classify(rows);
  }

  template <class Map>
  SOFTLANE_INLINE void exp_from_base_of(int count, V* a, const Map& map) const {
    exp_from_base_of(count, a, map, base);
  }
  template <class Map>
  static SOFTLANE_INLINE void exp_from_base_of(int count, V* a, const Map& map,
                                               const Base<T, V>& base) {
    switch (count) {
      case 4:
        return exp_from_base<4>(a, map, base);
      case 3:
        return exp_from_base<3>(a, map, base);
      case 2:
        return exp_from_base<2>(a, map, base);
      default:
        return exp_from_base<1>(a, map, base);
    }
  }
  template <int N, class Map>
  SOFTLANE_INLINE void exponentials(const Columns<T>& x, int k, const Columns<T>& e, int to,
                                    const Map& map) const {
    V a[N];
    for (int i = 0; i < N; ++i) a[i] = map.sign(x.load(k + i));
    exp_from_base<N>(a, map, base);
    for (int i = 0; i < N; ++i) e.store(to + i, a[i]);
  }

  // As RowSummary::classify.
  SOFTLANE_INLINE void classify(unsigned rows) {
    const P zero(0.0);
    bad = ~static_cast<unsigned>(equal(tail.value(), tail.value())) & rows;
    confident = greater(P(0.99) * top.value(), tail.value());
    others = zero;
    sum = top + tail;
    // Others are a whole number of times the maximum's term, 1024 at most: the rounded quotient is
    // within 2^-13 of it. Hardly ever is it, so that the rest is done where it may be. A quotient below
    // 0.6 counts as that, which is not near.
    const V shift(ExpRange<T>::magic), least(T(0.6)), near(static_cast<T>(0x1p-24));
    const V ratio = max(narrowed<T>(tail.value()) / rounded_top, least);
    const V count = (ratio + shift) - shift, off = ratio - count;
    tied = static_cast<unsigned>(greater(near, off * off)) != 0;
    if (tied) share_maximum(widened(count));
  }

 private:
  __attribute__((noinline)) void share_maximum(P whole) {
    const P zero(0.0), one = widened(rounded_top);
    const Wide<T, P> rest = tail + Wide<T, P>{one} * -whole;
    others = select(
        confident, zero,
        select(equal(rest.value(), zero), select(equal(rest.low(), zero), whole, zero), zero));
    const auto shared = greater(others, zero);
    tied = any(shared);
    sum = Wide<T, P>::choose(shared, top * (others + P(1.0)), sum);
  }
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
