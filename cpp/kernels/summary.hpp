// The summary of a row: its maximum, the exponent of its base, and the sum of all terms but the
// maximum's own, in the canonical order (block.hpp). Every operation stands on it.
#pragma once

#include "kernels/block.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

enum class RowKind : std::uint8_t {
  regular,
  has_nan,
  all_negative_infinity,
  has_positive_infinity,
  unfinished  // of a part of a row (parts.hpp): other parts, or another step, come first
};

template <class T>
struct RowSummary {
  RowKind kind = RowKind::regular;
  T max = negative_infinity<T>();  // of the mapped logits ±x
  double argument = 0;             // map.wide_argument(max)
  Base<T> base;                    // of the block that holds the maximum
  Wide<T> top{0}, tail{0}, tail_gap{0};
  T rounded_top = 0;
  T shift = 0;          // of the map
  double others = 0;    // how many share the maximum, where nothing else counts
  index_t argmax = -1;  // where confident() holds

  // Is the maximum's probability above a half? Then its block's top outweighs the block's tail, too.
  bool confident() const { return outweighs(rounded_top, tail); }
  // S. The rounding of the maximum's own term would add to the error of all others; where several
  // classes share the maximum each of them counts unrounded.
  Wide<T> sum() const { return others > 0 ? top * (others + 1) : top + tail; }
  // 1 / S, of which all of a row's quotients are products: a division of float64 rows is two, one after the other.
  Wide<T> inverse() const { return quotient(Wide<T>{1.0}, sum()); }

  SOFTLANE_INLINE void classify() {
    if (tail.value() != tail.value()) {
      kind = RowKind::has_nan;
    } else if (max == negative_infinity<T>()) {
      kind = RowKind::all_negative_infinity;
    } else if (!confident()) {
      const double one = static_cast<double>(rounded_top), n = tail.value() / one;
      const double whole = n < 0x1p52 ? (n + 0x1.8p52) - 0x1.8p52 : 0;
      const Wide<T> rest = tail + Wide<T>{one} * -whole;
      if (rest.value() == 0 && rest.low() == 0) others = whole;
    }
  }

  // What the terms of a sum taken from `from` add to a gap taken from the larger `to`; nothing where
  // there are no terms, and `from` may be -inf.
  static Wide<T> gap_of(Wide<T> sum, double to, double from) {
    return sum.value() > 0 ? sum * (to - from) : Wide<T>{0};
  }

  SOFTLANE_INLINE void merge(const BlockSummary<T>& b, index_t begin) {
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
      argmax = b.argmax < 0 ? -1 : begin + b.argmax;
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
  T* logits;  // a block each
  T* terms;
  T* other;
  T* moments;    // of the Hessian alone
  T* exponents;  // one a block

  Scratch(const Call& call, void* memory) {
    const index_t block = scratch_block(call.classes);
    logits = static_cast<T*>(memory);
    terms = logits + block;
    other = terms + block;
    moments = other + block;
    exponents = moments + all_moments_length(call);
  }
};

// Where a row's exponentials go: to the output, which may be the logits, or nowhere that lasts. An
// output that would round them is no place for them either.
enum class Terms : bool { scratch, output };

// The summary of a row, block by block: x is read once from memory, and each block's exponentials go
// to `terms` (which may be the row itself), relative to the block's own base.
template <Gap gap, class T>
class Summarizer {
 public:
  Summarizer(const Call& call, const Scratch<T>& scratch, Terms terms)
      : classes_(call.classes),
        begin_(call.part.begin),
        end_(call.part.step == Step::whole ? call.classes : call.part.end),
        overwrites_(terms == Terms::output && call.in_place && call.classes > block_size),
        direct_(!call.negate && call.temperature == 1),
        affine_(call.negate, call.temperature),
        scratch_(scratch) {
    const double row = static_cast<double>(classes_) * sizeof(T);
    asks_ = row <= 0x1p20 && static_cast<double>(call.space.rows) * row > 0x1p19;
  }

  index_t classes() const { return classes_; }
  // The part of the row that results are wanted of.
  index_t begin() const { return begin_; }
  index_t end() const { return end_; }
  const Scratch<T>& scratch() const { return scratch_; }
  bool direct() const { return direct_; }
  const Affine<T>& map() const { return affine_; }

  // The row's output, where terms do not go there: its lines are asked for while the exponentials are made, for
  // the pass that writes them is over before they come. Not of rows that leave L2 long before that pass (1 MB
  // still gains: float64 64 x 128 256 0.94, 1 x 1 000 000 1.0 to 1.1), nor of arrays that stay there.
  void later(const Row<T>& output) {
    if (asks_) later_ = output;
  }
  const T* soon_written(index_t begin, const T* e) const {
    return later_.contiguous() ? later_.open(begin, nullptr) : e + block_size;
  }

  // The peaks of a row of one contiguous block, which may be given to the call.
  SOFTLANE_INLINE Peaks<T> peaks(const Row<T>& x) const {
    const T* block = x.fetch(0, static_cast<int>(classes_), scratch_.logits);
    const int n = static_cast<int>(classes_);
    return direct_ ? block_peaks(block, n, Direct<T>{}) : block_peaks(block, n, affine_);
  }

  // After the call map() holds the shift that the row took. The summary is made where it stays: a copy right
  // after it reads by vectors what scalar stores have just written, and waits for them.
  void operator()(const Row<T>& x, const Row<T>& terms, RowSummary<T>& s,
                  const Peaks<T>* known = nullptr) {
    s = RowSummary<T>{};
    affine_.shift = 0;
    if (!overwrites_ || !terms.lossless()) {
      if (direct_ ? blocks<true>(x, terms, Direct<T>{}, s, known)
                  : blocks<true>(x, terms, affine_, s, known)) {
        return s.classify();
      }
      s = RowSummary<T>{};
    }
    // Rows offset beyond the kernel's reach, and long rows in place, need their maximum first.
    const T top = row_max(x);
    if (!(top < -negative_infinity<T>())) {
      s.kind = top == top && !any_nan(x) ? RowKind::has_positive_infinity : RowKind::has_nan;
      return;
    }
    shift_for(top);
    if (direct_ && affine_.shift == 0) {
      blocks<false>(x, terms, Direct<T>{}, s);
    } else {
      blocks<false>(x, terms, affine_, s);
    }
    s.shift = affine_.shift;
    s.classify();
  }

  // The shift that a row with this maximum takes: none within the kernel's reach.
  void shift_for(T top) {
    affine_.shift = 0;
    const double z = affine_.wide_argument(top) * affine_.beta();
    const double limit = static_cast<double>(ExpRange<T>::limit);
    if (top > negative_infinity<T>() && !(z <= limit && z >= -limit)) affine_.shift = top;
  }

  // The exponentials of a block, after the summary: where it left them or, where the output's format
  // would have rounded them, from the logits once more, to the same bits.
  T* terms_of(const Row<T>& x, const Row<T>& terms, const RowSummary<T>& s, index_t begin,
              int n) const {
    T* e = terms.open(begin, scratch_.terms);
    if (classes_ <= block_size) return e;
    if (terms.lossless()) {
      terms.fetch(begin, n, scratch_.terms);
      return e;
    }
    const T* block = x.fetch(begin, n, scratch_.logits);
    const T exponent = scratch_.exponents[begin / block_size];
    if (direct_ && s.shift == 0) {
      once_more(block, n, Direct<T>{}, exponent, e);
    } else {
      Affine<T> map = affine_;
      map.shift = s.shift;
      once_more(block, n, map, exponent, e);
    }
    return e;
  }

  // The logits of a block once more: those of one block that had to be gathered are where the summary left
  // them.
  const T* logits_of_block(const Row<T>& x, index_t begin, int n) const {
    const bool gathered = classes_ <= block_size && !x.contiguous();
    return gathered ? scratch_.logits : x.fetch(begin, n, scratch_.logits);
  }

  // T once more, for the rows whose result is so much smaller than its parts that the rounding of the
  // float terms shows: every term by exp_wide, relative to its block's base, added lane by lane, and those
  // that share the maximum at the end. (Terms that are equal share one rounding, which their sum keeps: it
  // is not enough to take the large ones anew.)
  Wide<T> refined_tail(const Row<T>& x, const RowSummary<T>& s) const {
    using V = Vec<T>;
    constexpr int wide = Lanes<T>::registers * V::lanes / 16;
    const V top(s.max), absent(negative_infinity<T>());
    Affine<T> map = affine_;
    map.shift = s.shift;
    Wide<T> tail{0};
    double at_top = 0;
    for (index_t begin = 0; begin < classes_; begin += block_size) {
      const int n = block_length(classes_, begin);
      const T* a = x.fetch(begin, n, scratch_.logits);
      const Base<T> own =
          classes_ <= block_size ? s.base : Base<T>(map, block_peaks(a, n, map).max);
      Base<T, V> base;
      base.exponent = V(own.exponent);
      base.floor = V(own.floor);
      LaneSum<T> sum;
      each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
        const V v = map.sign(part.load(a + k, map.sign(negative_infinity<T>())));
        const auto highest = equal(v, top);
        for (auto hits = static_cast<unsigned>(highest); hits != 0; hits &= hits - 1) at_top += 1;
        const Wide<T, Pack<T>> e = exp_wide(select(highest, absent, v), map, base);
        const int first = k % 16 / V::lanes * wide;
        const Pack<T> hi = e.value(), lo = e.low();
        for (int w = 0; w < wide; ++w) {
          sum.add(first + w, hi.r[w]);
          sum.add_low(first + w, lo.r[w]);
        }
      });
      const double moved = static_cast<double>(own.exponent) - static_cast<double>(s.base.exponent);
      tail = tail + sum.total() * pow2_or_zero(moved);
    }
    return tail + s.top * (at_top - 1);
  }

  T row_max(const Row<T>& x) const {
    T top = negative_infinity<T>();
    for (index_t begin = 0; begin < classes_; begin += block_size) {
      const int n = block_length(classes_, begin);
      const T m = block_peaks(x.fetch(begin, n, scratch_.logits), n, affine_).max;
      if (!(m <= top)) top = m;
      if (m != m) return m;
    }
    return top;
  }

 private:
  // False, with the block at hand unwritten, where the row turns out to need a shift.
  template <bool checked, class Map>
  SOFTLANE_INLINE bool blocks(const Row<T>& x, const Row<T>& terms, const Map& map,
                              RowSummary<T>& s, const Peaks<T>* known = nullptr) const {
    const double limit = static_cast<double>(ExpRange<T>::limit);
    for (index_t begin = 0; begin < classes_; begin += block_size) {
      const int n = block_length(classes_, begin);
      const T* block = x.fetch(begin, n, scratch_.logits);
      const Peaks<T> peaks = known != nullptr ? *known : block_peaks(block, n, map);
      const T top = peaks.max;
      const double z = map.wide_argument(top) * map.beta();
      if (checked) {
        const bool low = classes_ <= block_size && z < -limit && top > negative_infinity<T>();
        if (!(z <= limit) || low) return false;
      }
      T* e = terms.open(begin, scratch_.terms);
      const BlockSummary<T> b =
          summarize_block<gap>(block, n, peaks, map, e, soon_written(begin, e));
      scratch_.exponents[begin / block_size] = b.base.exponent;
      s.merge(b, begin);
      if (classes_ > block_size && terms.lossless()) terms.put(begin, n, e);
    }
    return !checked || !(map.wide_argument(s.max) * map.beta() < -limit) ||
           s.max == negative_infinity<T>();
  }

  template <class Map>
  static void once_more(const T* x, int n, const Map& map, T exponent, T* e) {
    exponentials(x, n, map, Base<T>::at(map, exponent), e, {x, e});
  }

  bool any_nan(const Row<T>& x) const {
    for (index_t k = 0; k < classes_; ++k) {
      const T v = x.at(k);
      if (v != v) return true;
    }
    return false;
  }

  index_t classes_, begin_, end_;
  bool overwrites_, direct_, asks_;
  Affine<T> affine_;
  Scratch<T> scratch_;
  Row<T> later_;
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
