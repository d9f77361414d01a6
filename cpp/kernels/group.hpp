// The summaries of W rows at once, a row in each lane, in the canonical order (block.hpp), for rows of
// one block.
#pragma once

#include <type_traits>

#include "kernels/losses.hpp"
#include "kernels/tiles.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// The classes as T has them.
template <class T>
struct Ordinals {
  T of[block_size];
  constexpr Ordinals() : of() {
    for (int k = 0; k < block_size; ++k) of[k] = static_cast<T>(k);
  }
};
template <class T>
inline constexpr Ordinals<T> ordinals{};

// What the lanes of a canonical sum are added as, once their quads are.
inline Pack<float> lane_term(const Partial<float>& p) { return widened(p.hi) + widened(p.lo); }
inline Partial<double> lane_term(const Partial<double>& p) { return p; }
inline Pack<float> lane_term(Vec<float> v, Vec<float>) { return widened(v); }
inline Partial<double> lane_term(Vec<double> v, Vec<double> cut) {
  return Partial<double>::of(v, cut);
}
inline Wide<float, Pack<float>> lane_total(const Pack<float>& p) { return {p}; }
inline Wide<double, Pack<double>> lane_total(const Partial<double>& p) {
  return Wide<double, Pack<double>>::of(widened(p.hi), widened(p.lo));
}

// The canonical tree of the lanes that are there: l and l + 8, then those with l + 4, l + 2 and l + 1. Depth first,
// so that it stays in registers.
template <int L = 0, int S = 1, class Lane, class Sum>
SOFTLANE_INLINE auto tree_of(int lanes, const Lane& lane, const Sum& sum) {
  if constexpr (S == 16) {
    return lane(L);
  } else {
    auto all = tree_of<L, 2 * S>(lanes, lane, sum);
    if (L + S < lanes) all = sum(all, tree_of<L + S, 2 * S>(lanes, lane, sum));
    return all;
  }
}
// From lane(l), each the sum of its quads.
template <class T, class Lane>
SOFTLANE_INLINE Wide<T, Pack<T>> tree_total(int lanes, const Lane& lane) {
  using Term = decltype(lane_term(lane(0)));
  const auto term = [&](int l) __attribute__((always_inline)) { return lane_term(lane(l)); };
  const auto sum = [](const Term& a, const Term& b)
                       __attribute__((always_inline)) { return a + b; };
  return lane_total(tree_of(lanes, term, sum));
}

template <class T>
struct GroupSummary {
  using V = Vec<T>;
  using P = Pack<T>;

  V highest;                // the maximum
  V rounded_top;            // its term, as the sums have it
  typename P::Mask spread;  // as spreads(), of more than 16 classes
  Base<T, V> base;
  Wide<T, P> top, tail;
  V others;   // how many share the maximum, where nothing else counts; of no meaning where none is
  bool tied;  // does any row have others?
  typename V::Mask confident;
  unsigned bad = 0;  // of the lanes: rows with a NaN

  // The maxima of B groups, class by class: side by side, they read memory as it lies. False where a row needs a
  // shift or has no regular result.
  template <int B, class Slot, class Map>
  static SOFTLANE_INLINE void begin(Slot* slots, int n, const Map& map, bool* fits) {
    V low[B], high[B];
    for (int i = 0; i < B; ++i) low[i] = high[i] = V(negative_infinity<T>());
    const auto all = [&](auto take) __attribute__((always_inline)) {
      int k = 0;
      for (; k + 16 <= n; k += 16) {
        for (int i = 0; i < 8; ++i) take(k + i, low);
        for (int i = 8; i < 16; ++i) take(k + i, high);
      }
      for (; k < n; ++k) take(k, k % 16 < 8 ? low : high);
    };
    constexpr index_t panel_stride = V::lanes * static_cast<index_t>(sizeof(T));
    if (B == 1 && slots->x.stride == panel_stride) {  // 17 to 64 classes 0.95 times the time (AVX2)
      const T* const panel = slots->x.at(0);
      all([&](int k, V* most) __attribute__((always_inline)) {
        most[0] = max(map.sign(V::load(panel + k * V::lanes)), most[0]);
      });
    } else {
      all([&](int k, V* most) __attribute__((always_inline)) {
        for (int i = 0; i < B; ++i) {
          const Columns<T>& x = slots[i].x;
          __builtin_prefetch(x.at(k) + B * V::lanes);  // the next groups', if they lie side by side
          most[i] = max(map.sign(x.load(k)), most[i]);
        }
      });
    }
    for (int i = 0; i < B; ++i) {
      slots[i].summary.set_peaks(low[i], high[i], map);
      fits[i] = slots[i].summary.start(slots[i].rows(), map);
    }
  }

  // The same for N <= 16 classes.
  template <int N, class Map>
  SOFTLANE_INLINE bool begin_few(const Columns<T>& x, unsigned rows, const Map& map) {
    V most = map.sign(x.load(0));
#pragma GCC unroll 16
    for (int k = 1; k < N; ++k) most = max(map.sign(x.load(k)), most);
    highest = most;
    return start(rows, map);
  }

  template <int N, class Map>
  SOFTLANE_INLINE void add_few(const Columns<T>& x, const Columns<T>& e, const Map& map) {
    // A copy, for the compiler takes the stores to change *this.
    const Base<T, V> own_base = base;
    V t[N + 1], lost;
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) t[k] = map.sign(x.load(k));
    t[N] = highest;
    constexpr int last = N / 4 * 4;
#pragma GCC unroll 4
    for (int k = 0; k < last; k += 4) exp_from_base<4>(t + k, map, own_base);
    exp_from_base<N + 1 - last>(t + last, map, own_base, &lost);
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) e.store(k, t[k]);
    rounded_top = t[N];
    top = two_parts<T>(t[N], lost);
    set_tail(lane_total(lane_tree<0, 1, N>(t, V(usual_cut<T>))),
             [&]() __attribute__((always_inline)) { return sum_without_top_few<N>(e); });
  }
  // Every fifth group of eight float32 rows of three classes comes here where logits spread over 20.
  template <int N>
  __attribute__((noinline)) Wide<T, P> sum_without_top_few(const Columns<T>& e) const {
    const V own = rounded_top;
    V t[N], most(T(0));
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) {
      const V a = e.load(k);
      t[k] = select(equal(a, own), V(T(0)), a);
      most = max(t[k], most);
    }
    return lane_total(lane_tree<0, 1, N>(t, cut_above(most)));
  }

  template <int L, int S, int N>
  static SOFTLANE_INLINE auto lane_tree(const V* t, V cut) {
    if constexpr (S == 16) {
      return lane_term(t[L], cut);
    } else if constexpr (L + S < N) {
      return lane_tree<L, 2 * S, N>(t, cut) + lane_tree<L + S, 2 * S, N>(t, cut);
    } else {
      return lane_tree<L, 2 * S, N>(t, cut);
    }
  }

  // From the maxima of the elements in lanes 0 to 7 of the canonical order, and in 8 to 15.
  template <class Map>
  SOFTLANE_INLINE void set_peaks(V low, V high, const Map& map) {
    highest = max(low, high);
    spread = spreads<T>(highest, select(greater(low, high), high, low), map);
  }

  template <class Map>
  SOFTLANE_INLINE bool start(unsigned rows, const Map& map) {
    using R = ExpRange<T>;
    if constexpr (std::is_same_v<Map, Direct<T>>) {
      // As Base, without what makes a difference to rows that are out of range alone, which get no result
      // from it.
      const V limit(R::limit), magic(R::magic), least(-R::limit), field(R::top);
      base.exponent = fma(highest, V(map.slope()), magic) - magic;
      base.floor = times_ln2(base.exponent - V(R::top + 1));
      base.magic = V(R::magic / ExpConstants<T>::roots) + (field - base.exponent);
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
    const Columns<T> spare{reinterpret_cast<char*>(chunk),
                           V::lanes * static_cast<index_t>(sizeof(T))};
    set_top(map);
    const Wide<T, P> whole =
        sum_of(n, spread, V(usual_cut<T>), [&](int k0, int left) __attribute__((always_inline)) {
          const Columns<T> terms = e ? e.from(k0) : spare;
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
          return [terms](int j) __attribute__((always_inline)) { return terms.load(j); };
        });
    set_tail(whole, [&] { return sum_without_top(x, e, n, map); });
  }

  // The quads of 64 classes, of which `left` are there: the lanes that have four steps, then three, two and one.
  template <class Term>
  static SOFTLANE_INLINE void take_quads(Term term, int left, V cut, Partial<T>* q) {
    int l = 0;
    for (; l < 16 && l + 48 < left; ++l) {
      q[l] = quad<T>(term(l), term(l + 16), term(l + 32), term(l + 48), cut);
    }
    for (; l < 16 && l + 32 < left; ++l) {
      q[l] = Partial<T>::sum(term(l), term(l + 16), cut) + Partial<T>::of(term(l + 32), cut);
    }
    for (; l < 16 && l + 16 < left; ++l) q[l] = Partial<T>::sum(term(l), term(l + 16), cut);
    for (; l < 16 && l < left; ++l) q[l] = Partial<T>::of(term(l), cut);
  }
  static SOFTLANE_INLINE Wide<T, P> total_of(const Partial<T>* sums, int lanes) {
    return tree_total<T>(lanes, [=](int l) __attribute__((always_inline)) { return sums[l]; });
  }

  // term = terms(k0, left) for 64 classes at a time, and the sum of their term(0..left), in the
  // canonical order; rows of `running` by running sums.
  template <class Terms>
  SOFTLANE_INLINE Wide<T, P> sum_of(int n, typename P::Mask running, V cut, Terms terms) const {
    Partial<T> quads[max_quads][16];
    if (n <= quad_size) {
      take_quads(terms(0, n), n, cut, quads[0]);
      return total_of(quads[0], n < 16 ? n : 16);
    }
    const unsigned some = static_cast<unsigned>(running), all = (1u << V::lanes) - 1;
    const bool trees = some != all;
    const V above(above_terms<T>);
    Running<T> run[16];
    const int count = (n + quad_size - 1) / quad_size;
    for (int g = 0; g < count; ++g) {
      const int k0 = g * quad_size, left = n - k0 < quad_size ? n - k0 : quad_size;
      const auto term = terms(k0, left);
      if (g == 0 || trees) take_quads(term, left, cut, quads[g]);
      for (int l = 0; g > 0 && some != 0 && l < 16 && l < left; ++l) {
        Running<T> r = g == 1 ? Running<T>(above) : run[l];
        if (left == quad_size) {
          for (int step = 0; step < 4; ++step) r.add(term(l + step * 16));
        } else {
          for (int k = l; k < left; k += 16) r.add(term(k));
        }
        run[l] = r;
      }
    }
    Partial<T> sums[16];
    for (int l = 0; l < 16; ++l) {
      sums[l] = quads[0][l];
      if (some != 0 && l < n - quad_size) sums[l] = sums[l] + run[l].less(above);
    }
    if (!trees) return total_of(sums, 16);
    for (int h = max_quads / 2; h >= 1; h /= 2) {
      for (int g = 0; g < h && g + h < count; ++g) {
        const int present = n - (g + h) * quad_size;
        for (int l = 0; l < 16 && l < present; ++l) quads[g][l] = quads[g][l] + quads[g + h][l];
      }
    }
    for (int l = 0; l < 16; ++l) {
      sums[l].hi = select(narrowed<T>(running), sums[l].hi, quads[0][l].hi);
      sums[l].lo = select(narrowed<T>(running), sums[l].lo, quads[0][l].lo);
    }
    return total_of(sums, 16);
  }

  // From the sum of all terms, and for rows that need it without(), that of all but the maximum's.
  template <class Without>
  SOFTLANE_INLINE void set_tail(const Wide<T, P>& whole, Without without) {
    const P own = widened(rounded_top);
    tail = whole.less(own);
    const auto faint = is_faint<T>(tail, own);
    if (any(faint)) tail = Wide<T, P>::choose(faint, without().settled(), tail);
  }
  // Of terms in `e` or, where that is none, made of x once more.
  template <class Map>
  __attribute__((noinline)) Wide<T, P> sum_without_top(const Columns<T>& x, const Columns<T>& e,
                                                       int n, const Map& map) const {
    const auto none = greater(P(0.0), P(0.0));
    const auto term = [&](int k) __attribute__((always_inline)) {
      const V t = e ? e.load(k) : exp_from_base(map.sign(x.load(k)), map, base);
      return select(equal(t, rounded_top), V(T(0)), t);
    };
    V most(T(0));
    for (int k = 0; k < n && sizeof(T) == sizeof(double); ++k) most = max(term(k), most);
    return sum_of(n, none, cut_above(most), [&](int k0, int) __attribute__((always_inline)) {
      return [&, k0](int j) __attribute__((always_inline)) { return term(k0 + j); };
    });
  }

  // (By value: what goes by reference to a function out of line lies in memory wherever it comes from.)
  SOFTLANE_INLINE Wide<T, P> sum() const {
    if (tied) return shared_sum();
    return top + tail;
  }
  SOFTLANE_INLINE Wide<T, P> inverse() const { return quotient(Wide<T, P>{P(1.0)}, sum()); }

  // The maximum's term in rows where it outweighs all others. Elsewhere NaN, which equals no term.
  SOFTLANE_INLINE V lone_top() const {
    return select(confident, rounded_top, V(static_cast<T>(__builtin_nan(""))));
  }

  template <class Map>
  SOFTLANE_INLINE void set_top(const Map& map) {
    V lost;
    rounded_top = highest;
    exp_from_base<1>(&rounded_top, map, base, &lost);
    top = two_parts<T>(rounded_top, lost);
  }

  template <class Map>
  SOFTLANE_INLINE void exp_from_base_of(int count, V* a, const Map& map) const {
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

  // What follows from the sums, as RowSummary::classify. Ties are a matter of quotients by the sum, and a division: a
  // logsumexp of few classes takes 0.91 to 0.97 times the time without. (Rows abreast ask always, for 16 of them once.)
  SOFTLANE_INLINE void classify(unsigned rows, bool ties = true) {
    const V rest = narrowed<T>(tail.value());
    bad = ~static_cast<unsigned>(equal(rest, rest)) & rows;
    confident = outweighs(rounded_top, rest);
    tied = false;
    if (ties) find_ties(rest);
  }

 private:
  SOFTLANE_INLINE void find_ties(V rest) {
    // Others are a whole number of times the maximum's term, 1024 at most: the rounded quotient is
    // within 2^-13 of it. Hardly ever is it, so that the rest is done where it may be. A quotient below
    // 0.6 counts as that, which is not near.
    const V shift(ExpRange<T>::magic), least(T(0.6)), near(static_cast<T>(0x1p-24));
    const V ratio = max(rest / rounded_top, least);
    const V count = (ratio + shift) - shift, off = ratio - count;
    tied = static_cast<unsigned>(greater(near, off * off)) != 0;
    if (tied) share_maximum(count);
  }
  __attribute__((noinline)) void share_maximum(V count) {
    const P zero(0.0), one = widened(rounded_top), whole = widened(count);
    const Wide<T, P> rest = tail + Wide<T, P>{one} * -whole;
    const V none(T(0)),
        shared = narrowed<T>(
            select(equal(rest.value(), zero), select(equal(rest.low(), zero), whole, zero), zero));
    others = select(confident, none, shared);
    tied = static_cast<unsigned>(greater(others, none)) != 0;
  }
  __attribute__((noinline)) Wide<T, P> shared_sum() const {
    const P also = widened(others);
    return Wide<T, P>::choose(greater(also, P(0.0)), top * (also + P(1.0)), top + tail);
  }
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
