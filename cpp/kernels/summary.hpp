// The summary of a row: its maximum, the exponent of its base, and the sum of all terms but the
// maximum's own. Every operation stands on it.
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

#include "kernels/row.hpp"
#include "math/exp.hpp"
#include "math/log1p.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

inline constexpr int quad_size = 64;                         // elements: 4 steps of 16 lanes
inline constexpr int max_quads = block_size / quad_size;     // 16

// Largest element of a block, its lane, and the quad of that lane which has it.
template <class T>
struct BlockMax {
  T value;
  int lane = 0, quad = 0;
};

template <class T>
struct BlockSummary {
  T max;
  double argument;     // map.argument(max)
  Base<T> base;
  Wide<T> top, tail;   // relative to the base
  T rounded_top;       // the maximum's term as the output has it
  Wide<T> tail_gap;    // sum of e_k (argument - argument of x_k); entropy alone asks for it
  int argmax;          // within the block
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
      case 1: return add<1>();
      case 2: return add<2>();
      case 4: return add<4>();
      case 8: return add<8>();
      default: return add<16>();
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
              gaps.add_low(j * wide + w, fma(e64[w], d, Vec<double>(0.0) - product) + e64[w] * lost);
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

enum class RowKind : std::uint8_t { regular, has_nan, all_negative_infinity, has_positive_infinity };

template <class T>
struct RowSummary {
  RowKind kind = RowKind::regular;
  T max = negative_infinity<T>();  // of the mapped logits ±x
  double argument = 0;             // map.argument(max)
  Base<T> base;                    // of the block that holds the maximum
  Wide<T> top{0}, tail{0}, tail_gap{0};
  T rounded_top = 0;
  index_t argmax = 0;

  // Is the maximum's probability above a half? Then no other class shares the maximum.
  bool confident() const { return tail.value() < 0.99 * top.value(); }
  // How many others share the maximum, where nothing else counts; else 0.
  double ties() const {
    const double one = static_cast<double>(rounded_top), n = tail.value() / one;
    if (!(n >= 1 && n < 0x1p52)) return 0;
    const double whole = (n + 0x1.8p52) - 0x1.8p52;
    const Wide<T> rest = tail + Wide<T>{one} * -whole;
    return rest.value() == 0 && rest.low() == 0 ? whole : 0;
  }
  // S. The rounding of the maximum's own term would add to the error of all others; where several
  // classes share the maximum each of them counts unrounded.
  Wide<T> sum() const {
    if (!confident()) {
      if (const double n = ties()) return top * (n + 1);
    }
    return top + tail;
  }

  // What the terms of a sum taken from `from` add to a gap taken from the larger `to`; nothing where
  // there are no terms, and `from` may be -inf.
  static Wide<T> gap_of(Wide<T> sum, double to, double from) {
    return sum.value() > 0 ? sum * (to - from) : Wide<T>{0};
  }

  void merge(const BlockSummary<T>& b, index_t begin) {
    const bool new_top = begin == 0 || b.max > max;
    const double moved = static_cast<double>(b.base.exponent) - static_cast<double>(base.exponent);
    if (new_top) {
      if (begin != 0) {
        const double factor = pow2_or_zero(-moved);
        const Wide<T> sum = tail + top;
        const Wide<T> gaps = tail_gap + gap_of(sum, b.argument, argument);
        tail = sum * factor + b.tail;
        tail_gap = gaps * factor + b.tail_gap;
      } else {
        tail = b.tail;
        tail_gap = b.tail_gap;
      }
      max = b.max;
      argument = b.argument;
      base = b.base;
      top = b.top;
      rounded_top = b.rounded_top;
      argmax = begin + b.argmax;
    } else {
      const double factor = pow2_or_zero(moved);
      const Wide<T> sum = b.tail + b.top;
      const Wide<T> gaps = b.tail_gap + gap_of(sum, argument, b.argument);
      tail = tail + sum * factor;
      tail_gap = tail_gap + gaps * factor;
    }
  }
};

// What a thread may scribble on; scratch_bytes() is its size.
template <class T>
struct Scratch {
  T* logits;      // block_size each
  T* terms;
  T* other;
  T* exponents;   // one a block
  T* row;         // two a class, for the Hessian alone

  Scratch(void* memory, index_t classes) {
    T* p = static_cast<T*>(memory);
    logits = p;
    terms = p + block_size;
    other = p + 2 * block_size;
    exponents = p + 3 * block_size;
    row = exponents + (classes + block_size - 1) / block_size;
  }
};

// Where a row's exponentials go: to the output, which may be the logits, or nowhere that lasts.
enum class Terms : bool { scratch, output };

// The summary of a row, block by block: x is read once from memory, and each block's exponentials go
// to `terms` (which may be the row itself), relative to the block's own base.
template <Gap gap, class T>
class Summarizer {
 public:
  Summarizer(const Call& call, const Scratch<T>& scratch, Terms terms)
      : classes_(call.classes),
        overwrites_(terms == Terms::output && call.in_place && call.classes > block_size),
        direct_(!call.negate && call.temperature == 1),
        affine_(call.negate, call.temperature),
        scratch_(scratch) {}

  bool direct() const { return direct_; }
  const Affine<T>& map() const { return affine_; }

  // After the call map() holds the shift that the row took.
  RowSummary<T> operator()(const Row<T>& x, const Row<T>& terms) {
    RowSummary<T> s;
    affine_.shift = 0;
    if (!overwrites_) {
      if (direct_ ? blocks<true>(x, terms, Direct<T>{}, s) : blocks<true>(x, terms, affine_, s)) {
        return classified(s);
      }
      s = RowSummary<T>{};
    }
    // Rows offset beyond the kernel's reach, and long rows in place, need their maximum first.
    const T top = row_max(x);
    if (!(top < -negative_infinity<T>())) {
      s.kind = top == top && !any_nan(x) ? RowKind::has_positive_infinity : RowKind::has_nan;
      return s;
    }
    const double z = affine_.argument(top) * affine_.beta();
    const double limit = static_cast<double>(ExpRange<T>::limit);
    if (top > negative_infinity<T>() && !(z <= limit && z >= -limit)) affine_.shift = top;
    if (direct_ && affine_.shift == 0) {
      blocks<false>(x, terms, Direct<T>{}, s);
    } else {
      blocks<false>(x, terms, affine_, s);
    }
    return classified(s);
  }

  // T once more, for the rows whose result is so much smaller than its parts that the rounding of the
  // float terms shows: every term that is a 64th of T or more is taken from exp_wide (there are 64 at
  // most), and the others summed apart. Twice the work, for few rows.
  Wide<T> refined_tail(const Row<T>& x, const RowSummary<T>& s) const {
    using V = Vec<T>;
    const V share(static_cast<T>(s.tail.value() * 0x1p-6));
    Wide<T> large{0};
    RowSummary<T> small;
    for (index_t begin = 0; begin < classes_; begin += block_size) {
      const int n = block_length(classes_, begin);
      const T* a = x.fetch(begin, n, scratch_.logits);
      T* rest = scratch_.other;
      each_vector<T>(n, [&](int k, auto part) {
        const V v = affine_.sign(part.load(a + k));
        part.store(v, rest + k);
        const V e = exp_from_base(v, affine_, s.base);
        unsigned hits = static_cast<unsigned>(greater(e, share));
        for (; hits != 0; hits &= hits - 1) {
          const int h = k + first_set(hits);
          if (h >= n) break;
          if (begin + h != s.argmax) large = large + exp_wide(rest[h], affine_, s.base);
          rest[h] = negative_infinity<T>();
        }
      });
      if (s.argmax >= begin && s.argmax < begin + n) rest[s.argmax - begin] = negative_infinity<T>();
      const Affine<T> plain = affine_.without_sign();
      small.merge(summarize_block<Gap::skip>(rest, n, block_max(rest, n, plain), plain,
                                             scratch_.terms), begin);
    }
    const double moved =
        static_cast<double>(small.base.exponent) - static_cast<double>(s.base.exponent);
    return large + (small.tail + small.top) * pow2_or_zero(moved);
  }

  T row_max(const Row<T>& x) const {
    T top = negative_infinity<T>();
    for (index_t begin = 0; begin < classes_; begin += block_size) {
      const int n = block_length(classes_, begin);
      const T m = block_max(x.fetch(begin, n, scratch_.logits), n, affine_).value;
      if (!(m <= top)) top = m;
      if (m != m) return m;
    }
    return top;
  }

 private:
  // False, with the block at hand unwritten, where the row turns out to need a shift.
  template <bool checked, class Map>
  bool blocks(const Row<T>& x, const Row<T>& terms, const Map& map, RowSummary<T>& s) const {
    const double limit = static_cast<double>(ExpRange<T>::limit);
    for (index_t begin = 0; begin < classes_; begin += block_size) {
      const int n = block_length(classes_, begin);
      const T* block = x.fetch(begin, n, scratch_.logits);
      const BlockMax<T> top = block_max(block, n, map);
      const double z = map.argument(top.value) * map.beta();
      if (checked) {
        const bool low = classes_ <= block_size && z < -limit && top.value > negative_infinity<T>();
        if (!(z <= limit) || low) return false;
      }
      T* e = terms.open(begin, scratch_.terms);
      const BlockSummary<T> b = summarize_block<gap>(block, n, top, map, e);
      scratch_.exponents[begin / block_size] = b.base.exponent;
      s.merge(b, begin);
      if (classes_ > block_size) terms.put(begin, n, e);
    }
    return !checked || !(map.argument(s.max) * map.beta() < -limit) ||
           s.max == negative_infinity<T>();
  }

  RowSummary<T> classified(RowSummary<T> s) const {
    if (s.tail.value() != s.tail.value()) {
      s.kind = RowKind::has_nan;
    } else if (s.max == negative_infinity<T>()) {
      s.kind = RowKind::all_negative_infinity;
    }
    return s;
  }
  bool any_nan(const Row<T>& x) const {
    for (index_t k = 0; k < classes_; ++k) {
      const T v = x.at(k);
      if (v != v) return true;
    }
    return false;
  }

  index_t classes_;
  bool overwrites_, direct_;
  Affine<T> affine_;
  Scratch<T> scratch_;
};

// The numbers of a row that its elements are made from.
template <class T>
struct RowConstants {
  Wide<T> sum;             // S = e* + T
  Wide<double> log_ratio;  // log1p(T / e*): logsumexp less the maximum

  explicit RowConstants(const RowSummary<T>& s)
      : sum(s.sum()), log_ratio(log1p_ratio(s.tail, s.top)) {}

  static Wide<double> log1p_ratio(const Wide<T>& tail, const Wide<T>& top) {
    const Wide<T> ratio = quotient(tail, top);
    return log1p(ratio.value(), ratio.low());
  }
};

// e -> e factor / S, rounded (almost) once: the quotient is carried in two parts.
template <class T>
class Normalizer {
 public:
  Normalizer(const Wide<T>& sum, Wide<T> factor) {
    // A factor far from 1 would make the quotient's low part subnormal: its power of two goes with
    // the blocks'.
    double size = factor.hi < 0 ? -factor.hi : factor.hi;
    if (size > 0x1p20 || (size > 0 && size < 0x1p-20)) {
      int e = 0;
      while (size >= 2 && e < 50) size *= 0.5, ++e;
      while (size < 1 && e > -900) size *= 2, --e;
      power_ = e;
      factor = factor * pow2(-e);
    }
    const Wide<T> q = quotient(factor, sum);
    const T h = static_cast<T>(q.hi);
    hi_ = Vec<T>(h);
    lo_ = Vec<T>(static_cast<T>((q.hi - static_cast<double>(h)) + q.low()));
  }
  // From the base of a block to the row's: by two powers of two, for one alone could be subnormal.
  void move(T block_exponent, T row_exponent) {
    const double d =
        power_ + static_cast<double>(block_exponent) - static_cast<double>(row_exponent);
    moves_ = d != 0;
    constexpr double first = sizeof(T) == 4 ? -64 : -512;
    constexpr double least = sizeof(T) == 4 ? -126 : -1022;
    const double d1 = d < first ? first : d;
    step1_ = Vec<T>(static_cast<T>(pow2(static_cast<int>(d1))));
    step2_ = Vec<T>(static_cast<T>(d - d1 < least ? 0.0 : pow2(static_cast<int>(d - d1))));
  }
  bool moves() const { return moves_; }
  Vec<T> moved(Vec<T> e) const { return e * step1_ * step2_; }
  Vec<T> operator()(Vec<T> e) const { return fma(e, hi_, e * lo_); }
  // The same, and what its rounding lost.
  Vec<T> operator()(Vec<T> e, Vec<T>& lost) const {
    const Vec<T> p = (*this)(e);
    lost = fma(e, hi_, Vec<T>(T(0)) - p) + e * lo_;
    return p;
  }
  // e factor / S - t
  Vec<T> minus(Vec<T> e, Vec<T> t) const { return fma(e, hi_, fma(e, lo_, Vec<T>(T(0)) - t)); }

 private:
  Vec<T> hi_, lo_, step1_, step2_;
  double power_ = 0;
  bool moves_ = false;
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
