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

// A power of two above every term of a block: relative to its base they are 2^60 (float64: 2^150) scale sqrt(2)
// at most.
template <class T>
inline constexpr T above_terms = static_cast<T>(sizeof(T) == 4 ? 0x1p62 : 0x1p151);

// Where float64 terms are cut in two: at the last place of a power of two that no sum of a block's terms reaches.
template <class T>
inline constexpr T usual_cut = above_terms<T> * static_cast<T>(block_size);

// A vector of sums of numbers >= 0 in two parts: without the second one a row whose sum is one large term and many
// small ones would lose up to an ULP at each of ten levels.
//
// float32: beside the sum is what the additions have rounded away (Dekker's fast two-sum, the larger first: one
// operation less than Knuth's, and two of the five on any unit; a third of the additions go to the multipliers,
// which are idle here). Such rows might add in float64 instead: as accurate, and no faster.
//
// float64: the upper parts of all terms are whole numbers of one unit, less than 2^53 together, so that they add
// without error; the lower ones are below 2^-41 of the maximum's term, and what their additions lose below 2^-86 of
// it (block.hpp). Five additions a term, which leave the multipliers alone, in place of seven operations.
//
// Inlined by force: as the kernels grow in number GCC stops to do it, and a call in the inner loop
// costs a fifth of a softmax.
template <class T>
struct Partial {
  using V = Vec<T>;
  static constexpr bool cuts = sizeof(T) == sizeof(double);
  V hi, lo;

  Partial() = default;
  SOFTLANE_INLINE Partial(V h, V l) : hi(h), lo(l) {}
  SOFTLANE_INLINE Partial(const Partial& p) : hi(p.hi), lo(p.lo) {}
  SOFTLANE_INLINE Partial& operator=(const Partial& p) {
    hi = p.hi;
    lo = p.lo;
    return *this;
  }

  static SOFTLANE_INLINE Partial of(V a, V cut) {
    if constexpr (cuts) {
      const V h = (a + cut) - cut;
      return {h, a - h};
    } else {
      return {a, V(T(0))};
    }
  }
  static SOFTLANE_INLINE Partial sum(V a, V b, V cut) {
    if constexpr (cuts) {
      return of(a, cut) + of(b, cut);
    } else {
      const V s = a + b;
      return {s, smaller(a, b) - fnma(larger(a, b), V(T(1)), s)};
    }
  }
  friend SOFTLANE_INLINE Partial operator+(Partial a, Partial b) {
    if constexpr (cuts) {
      return {a.hi + b.hi, a.lo + b.lo};
    } else {
      const Partial s = sum(a.hi, b.hi, a.hi);
      return {s.hi, s.lo + fma(a.lo, V(T(1)), b.lo)};
    }
  }
  // From a sum and what it has lost.
  static SOFTLANE_INLINE Partial of_running(V sum, V lost) {
    if constexpr (cuts) {
      const Partial p = of(sum, V(usual_cut<T>));
      return {p.hi, p.lo + lost};
    } else {
      return {sum, lost};
    }
  }
  template <int H>
  Partial down() const {
    return {hi.template down<H>(), lo.template down<H>()};
  }
};

template <class T>
SOFTLANE_INLINE Partial<T> quad(Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> d, Vec<T> cut) {
  return Partial<T>::sum(a, b, cut) + Partial<T>::sum(c, d, cut);
}

// Where terms are cut of which this is the largest.
inline Vec<float> cut_above(Vec<float> most) { return most; }
inline Vec<double> cut_above(Vec<double> most) {
  return power_below(most) * Vec<double>(2.0 * block_size);
}

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
  return Wide<double>::of(s.hi.lane0(), s.lo.lane0());
}

// A quad of which only `left` elements are there, counted from this vector's first: the additions of
// absent terms, +0, are left out. (Results by reference, here and below: a returned one has its place in
// memory.)
template <class T>
SOFTLANE_INLINE void sum_partial_quad(const T* q, int left, Vec<T> cut, Partial<T>& s) {
  using V = Vec<T>;
  const auto last = [&](int step) { return V::load_first(q + step * 16, left - step * 16, 0); };
  s.hi = s.lo = V(T(0));
  if (left > 48) {
    s = quad<T>(V::load(q), V::load(q + 16), V::load(q + 32), last(3), cut);
  } else if (left > 32) {
    s = Partial<T>::sum(V::load(q), V::load(q + 16), cut) + Partial<T>::of(last(2), cut);
  } else if (left > 16) {
    s = Partial<T>::sum(V::load(q), last(1), cut);
  } else if (left > 0) {
    s = Partial<T>::of(last(0), cut);
  }
}

// The sum of every S-th quad of n elements from quad G on, for the lanes of one vector: from S = 1 on it
// is the canonical order's halving. `last` is that of a quad that is not whole.
template <int G, int S, class T>
SOFTLANE_INLINE void sum_quads(const T* e, int n, const Partial<T>& last, Vec<T> cut,
                               Partial<T>& s) {
  using V = Vec<T>;
  if constexpr (S == max_quads) {
    const T* const q = e + G * quad_size;
    if (n < (G + 1) * quad_size) {
      s = last;
    } else {
      s = quad<T>(V::load_once(q), V::load_once(q + 16), V::load_once(q + 32), V::load_once(q + 48),
                  cut);
    }
  } else {
    sum_quads<G, 2 * S>(e, n, last, cut, s);
    if (n <= (G + S) * quad_size) return;
    Partial<T> other;
    sum_quads<G + S, 2 * S>(e, n, last, cut, other);
    s = s + other;
  }
}

// The sums of a block's 16 lanes by trees. A pass of its own, behind the exponentials: exp keeps the multipliers
// busy and sums the adders, but a quad's chain of both is too long to overlap with its neighbours'. As two
// loops they take 84 + 28 ns a block, as one 131.
template <class T>
__attribute__((noinline)) void sum_trees(const T* e, int n, T cut_at, Partial<T>* lanes) {
  constexpr int width = Vec<T>::lanes;
  const Vec<T> cut(cut_at);
  for (int j = 0; j < 16 / width; ++j) {
    const T* const first = e + j * width;
    const int left = n - j * width, whole = left > 0 ? left / quad_size * quad_size : 0;
    Partial<T> last, s;
    sum_partial_quad(first + whole, left - whole, cut, last);
    sum_quads<0, 1>(first, left, last, cut, s);
    lanes[j] = s;
  }
}

// Of a block: its maximum, and the lesser of two halves' maxima, of the elements in lanes 0 to 7 and in 8 to 15.
template <class T>
struct Peaks {
  T max, lesser;
};

// What running sums lose is what the additions of their low parts round away: hardly more than 2^-41 of the
// maximum's term each (float64: 2^-99), but where terms are equal it adds up. So they are for blocks whose halves
// both have a term of more than e^-5 (e^-20) of the maximum's: of 1022 equal terms beside two such they lost up to
// 0.17 ULP of the tail. (With e^-4 0.02, but then every third group of 16 columns of 300 classes, in place of every
// ninth, has a block that is not one of these, where logits are normal of scale 3, and takes both sums: 1.07 to
// 1.15 times the time.)
template <class T>
inline constexpr double spread_limit = sizeof(T) == 4 ? 5 : 20;
template <class T, class S, class Map>
SOFTLANE_INLINE auto spreads(S max, S lesser, const Map& map) {
  using D = decltype(map.wide_argument(max));
  const D gap = (map.wide_argument(max) - map.wide_argument(lesser)) * D(map.beta());
  return greater(D(spread_limit<T>), gap);
}

// Numbers >= 0 added one after the other to a power of two above them all, and beside it what the additions
// round away: the larger operand is known, so that four operations do it.
template <class T>
struct Running {
  using V = Vec<T>;
  V sum, lost;

  Running() = default;
  SOFTLANE_INLINE explicit Running(V above) : sum(above), lost(T(0)) {}
  SOFTLANE_INLINE Running(const Running& r) : sum(r.sum), lost(r.lost) {}
  SOFTLANE_INLINE Running& operator=(const Running& r) {
    sum = r.sum;
    lost = r.lost;
    return *this;
  }
  SOFTLANE_INLINE void add(V e) {
    const V s = sum + e;
    lost = lost + (e - (s - sum));
    sum = s;
  }
  SOFTLANE_INLINE Partial<T> less(V above) const {
    return Partial<T>::of_running(sum - above, lost);
  }
};

// The sums of the lanes of a block that spreads, taken as its terms are made: from the second quad on, of four
// vectors at a time. The first quad's are added at the end: a block that has no more of them comes here, too.
//
// Running sums are a chain of additions, which the exponentials hide: exp keeps the multipliers busy, sums the
// adders. As a pass of their own they took 1.02 to 1.18 times the time (AVX-512; AVX2 0.95 to 1.06), which is as
// long as trees take.
template <class T>
struct LaneSums {
  using V = Vec<T>;
  static constexpr int width = V::lanes, registers = 16 / width;
  // Does a step of four vectors begin at the first lane?
  static constexpr bool in_passing = registers <= 4;
  Running<T> running[registers];

  SOFTLANE_INLINE LaneSums() {
    for (Running<T>& r : running) r = Running<T>(V(above_terms<T>));
  }
  // The i-th vector of a step.
  SOFTLANE_INLINE void add(int i, V e) {
    if (in_passing) running[i % registers].add(e);
  }
  // Of n terms in all.
  SOFTLANE_INLINE void finish(const T* e, int n, Partial<T>* lanes) {
    const V cut(usual_cut<T>);
    for (int k = quad_size; !in_passing && k < n; k += 16) {
      for (int j = 0; j < registers; ++j) {
        running[j].add(V::load_first(e + k + j * width, n - k - j * width, 0));
      }
    }
    for (int j = 0; j < registers; ++j) {
      const T* const q = e + j * width;
      if (n > quad_size) {
        lanes[j] = quad<T>(V::load_once(q), V::load_once(q + 16), V::load_once(q + 32),
                           V::load_once(q + 48), cut) +
                   running[j].less(V(above_terms<T>));
      } else {
        sum_partial_quad(q, n - j * width, cut, lanes[j]);
      }
    }
  }
};

// Where a[0..n) first has the value, or -1.
template <class T>
__attribute__((noinline)) int place_of(const T* a, int n, T value) {
  using V = Vec<T>;
  constexpr int width = V::lanes;
  const V sought(value);
  const auto hits = [&](V v) { return static_cast<unsigned>(equal(v, sought)); };
  int k = 0;
  for (; k + width <= n; k += width) {
    if (const unsigned h = hits(V::load(a + k)); h != 0) return k + first_set(h);
  }
  if (k == n) return -1;
  const unsigned h = hits(V::load_first(a + k, n - k, static_cast<T>(__builtin_nan(""))));
  return h != 0 ? k + first_set(h) : -1;
}

// The sum of a block's terms but one, which stays as it is.
template <class T>
__attribute__((noinline)) Wide<T> sum_without(T* e, int n, int left_out) {
  using V = Vec<T>;
  const T own = e[left_out];
  e[left_out] = 0;
  T cut = 0;
  if constexpr (sizeof(T) == sizeof(double)) {
    V most(0.0);
    for (int k = 0; k < n; k += V::lanes) most = max(V::load_first(e + k, n - k, 0), most);
    cut = cut_above(V(reduce_max(most))).lane0();
  }
  Partial<T> lanes[16 / V::lanes];
  sum_trees(e, n, cut, lanes);
  e[left_out] = own;
  return halved(lanes).settled();
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
