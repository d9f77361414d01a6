// softmax, log_softmax, logsumexp (and smooth_max), entropy.
#pragma once

#include <utility>

#include "kernels/normalize.hpp"
#include "kernels/parts.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
constexpr T quiet_nan() {
  return static_cast<T>(__builtin_nan(""));
}

template <class T>
inline void set_one(const RowCursor& cursor, const Stream& s, double v) {
  cursor.of<T>(s).set(0, static_cast<T>(v));
}

// row_op(cursor) for rows [begin, end).
template <class RowOp>
inline void each_row(const Call& call, index_t begin, index_t end, RowOp row_op) {
  RowCursor cursor(call.space, begin);
  for (; cursor.row() < end; cursor.advance()) row_op(cursor);
}

// A row of one block has the row's own base, and its place in the scratch may be the next row's by now.
template <class T>
inline T block_exponent(index_t classes, index_t begin, const RowSummary<T>& s,
                        const Scratch<T>& scratch) {
  return classes > block_size ? scratch.exponents[begin / block_size] : s.base.exponent;
}

// Is every row used where it lies, as the first one is? Those of packed records may begin at any byte.
template <class T>
inline bool all_contiguous(const Call& call, const Row<T>& first, const Stream& rows) {
  bool all = first.contiguous();
  for (int d = 0; d < call.space.ndim; ++d) {
    all = all && rows.row_stride[d] % static_cast<index_t>(alignof(T)) == 0;
  }
  return all;
}

// finish(cursor, x, terms, summary) for rows [begin, end), once their summaries are made.
//
// Rows of one contiguous block are staggered: the maximum of the row ahead, the exponentials of the
// row at hand, then finish for the row behind. Each row's chain of scalar steps (maximum, base, sum,
// reciprocal) so hides behind another row's vectors. `later` is the output of rows of more blocks, where terms
// do not go to it.
template <class T, Gap gap, class Finish>
inline void each_summary(const Call& call, index_t begin, index_t end,
                         Summarizer<gap, T>& summarize, const Stream* to, Finish finish,
                         const Stream* later = nullptr) {
  const auto terms = [&](const RowCursor& at) { return to != nullptr ? at.of<T>(*to) : Row<T>{}; };
  RowCursor cursor(call.space, begin);
  RowSummary<T> summaries[2];  // of the row at hand and the one behind, by turns
  RowSummary<T>*s = summaries, *waiting = summaries + 1;
  const bool staggered = call.classes <= block_size && begin < end &&
                         all_contiguous(call, logits_of<T>(call, cursor), call.logits) &&
                         (to == nullptr || all_contiguous(call, terms(cursor), *to));
  if (!staggered) {
    for (; cursor.row() < end; cursor.advance()) {
      const Row<T> x = logits_of<T>(call, cursor), e = terms(cursor);
      if (later != nullptr) summarize.later(cursor.of<T>(*later));
      summarize_row(call, summarize, x, e, *s);
      if (s->kind != RowKind::unfinished) finish(cursor, x, e, *s);
    }
    return;
  }
  RowCursor ahead(call.space, begin), behind(call.space, begin);
  Peaks<T> peaks = summarize.peaks(cursor.of<T>(call.logits)), next = peaks;
  for (; cursor.row() < end; cursor.advance()) {
    ahead.advance();
    if (ahead.row() < end) {
      const Row<T> x = ahead.of<T>(call.logits);
      next = summarize.peaks(x);
      x.expect(call.classes, call.classes);
    }
    summarize(cursor.of<T>(call.logits), terms(cursor), *s, &peaks);
    peaks = next;
    if (cursor.row() > begin) {
      finish(behind, behind.of<T>(call.logits), terms(behind), *waiting);
      behind.advance();
    }
    std::swap(s, waiting);
  }
  finish(behind, behind.of<T>(call.logits), terms(behind), *waiting);
}

// body(begin, n, e, move) for every block of the row's exponentials; move(e) takes a vector of them to
// the row's base. (Loops have their factors by value, here and elsewhere: those of an object that others know
// are read anew behind every store.)
template <Gap gap, class T, class Body>
inline void each_block(const Summarizer<gap, T>& summarize, const Row<T>& x, const Row<T>& terms,
                       const RowSummary<T>& s, const Scratch<T>& scratch, Steps<T>& steps,
                       Body body) {
  const index_t classes = summarize.classes();
  for (index_t begin = summarize.begin(); begin < summarize.end(); begin += block_size) {
    const int n = block_length(classes, begin);
    T* e = summarize.terms_of(x, terms, s, begin, n);
    steps.move(block_exponent(classes, begin, s, scratch), s.base.exponent);
    if (steps.moves()) {
      body(begin, n, e,
           [first = steps.first_step(), second = steps.second_step()](Vec<T> v)
               __attribute__((always_inline)) { return v * first * second; });
    } else {
      body(begin, n, e, [](Vec<T> v) __attribute__((always_inline)) { return v; });
    }
  }
}

// A probability above a half comes from the maximum's own unrounded term: exactly 1 where nothing
// else counts. Classes that share the maximum, beside nothing else, get equal shares of exactly 1.
// For the block of probabilities p at k0, before a narrower output rounds them.
template <class T>
inline void mend_probabilities(T* p, index_t k0, int n, const RowSummary<T>& s,
                               const Wide<T>& inverse, const Normalizer<T>& normalize) {
  if (s.confident()) {
    if (s.argmax >= k0 && s.argmax < k0 + n)
      p[s.argmax - k0] = static_cast<T>((s.top * inverse).value());
    return;
  }
  if (s.others == 0) return;
  const Vec<T> shared = normalize(Vec<T>(s.rounded_top)), share(static_cast<T>(1 / (s.others + 1)));
  each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
    const Vec<T> v = part.load(p + k);
    part.store(select(equal(v, shared), share, v), p + k);
  });
}

// A row that has no distribution is NaN, but for the classes that were left out of it.
template <class T>
inline void spoil(const Row<T>& out, const Row<T>& x, const Summarizer<Gap::skip, T>& part,
                  T excluded) {
  for (index_t k = part.begin(); k < part.end(); ++k)
    out.set(k, x.kept(k) ? quiet_nan<T>() : excluded);
}

template <class T>
void softmax_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(call, memory);
  Summarizer<Gap::skip, T> summarize(call, scratch, Terms::output);
  const auto finish = [&](const RowCursor&, const Row<T>& x, const Row<T>& p,
                          const RowSummary<T>& s) {
    if (s.kind != RowKind::regular) return spoil(p, x, summarize, T(0));
    const Wide<T> inverse = s.inverse();
    Normalizer<T> normalize(inverse);
    each_block(summarize, x, p, s, scratch, normalize, [&](index_t k0, int n, T* e, auto move) {
      const Factor<T> factor = normalize.factor();
      each_overlapping(e, n, [=](int k, Vec<T> a, auto part) __attribute__((always_inline)) {
        part.store(factor(move(a)), e + k);
      });
      mend_probabilities(e, k0, n, s, inverse, normalize);
      p.put(k0, n, e);
    });
  };
  each_summary(call, begin, end, summarize, &call.out[0], finish);
}

// Asks for the line of memory that holds element k of the next block, once for all vectors of a line.
template <class T>
SOFTLANE_INLINE void expect_ahead(const T* block, int k) {
  constexpr auto vector = Vec<T>::lanes * sizeof(T);
  const auto at = reinterpret_cast<std::uintptr_t>(block + k);
  if (vector == 64 || at % 64 < vector) __builtin_prefetch(block + k + block_size);
}

template <class T>
SOFTLANE_INLINE void expect_next_block(const Row<T>& row, index_t k0, index_t end) {
  const index_t next = k0 + block_size;
  if (next < end && row.contiguous()) row.expect(next, block_length(end, next));
}

// x - max may overflow before 1 / temperature brings it back, if max is large: then it is taken of
// halves. Subnormal logits have no halves.
template <class T>
inline T difference_share(T max) {
  constexpr T large = static_cast<T>(sizeof(T) == 4 ? 0x1p100 : 0x1p960);
  return max > large || max < -large ? T(0.5) : T(1);
}

template <class T>
void log_softmax_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  using V = Vec<T>;
  const Scratch<T> scratch(call, memory);
  Summarizer<Gap::skip, T> summarize(call, scratch, Terms::scratch);
  const auto finish = [&](const RowCursor& cursor, const Row<T>& x, const Row<T>&,
                          const RowSummary<T>& s) {
    const Row<T> out = cursor.of<T>(call.out[0]);
    if (s.kind != RowKind::regular) return spoil(out, x, summarize, negative_infinity<T>());
    const T log_ratio = static_cast<T>(RowConstants<T>(s).log_ratio.value());
    const Affine<T>& map = summarize.map();
    const V max(s.max), minus(-log_ratio), lowest(negative_infinity<T>());
    const T share = difference_share(s.max), whole = 1 / share;
    const V part_of(share), part_of_max(s.max * share);
    const V slope(map.beta_t * whole), slope_low(map.beta_t_lo * whole);
    for (index_t k0 = summarize.begin(); k0 < summarize.end(); k0 += block_size) {
      const int n = block_length(call.classes, k0);
      const T* a = summarize.logits_of_block(x, k0, n);
      T* y = out.open(k0, scratch.other);
      expect_next_block(out, k0, summarize.end());
      if (summarize.direct()) {
        each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
          part.store((part.load(a + k) - max) + minus, y + k);
        });
      } else {
        each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
          const V d = (map.sign(part.load(a + k)) * part_of - part_of_max) * V(map.unit);
          const V v = fma(d, slope, fma(d, slope_low, minus));
          part.store(select(equal(d, lowest), lowest, v), y + k);
        });
      }
      out.put(k0, n, y);
    }
  };
  each_summary(call, begin, end, summarize, nullptr, finish, &call.out[0]);
}

// Could T's error reach the result's bound, which counts in ULP of max(|max|, |result|)? T is within
// 1.1 half-ulps of 1 (each of its terms is), and the logarithm takes T / S of that; a float32 result
// has half an ULP left for it beside its own rounding, a float64 result one.
template <class T, class D, class W>
SOFTLANE_INLINE auto cancels(D max, const W& tail, const W& top, D result, D temperature) {
  constexpr double unit = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53;
  constexpr double room = sizeof(T) == 4 ? 0.45 : 0.9;
  // Sums are near its inverse (ExpRange::top): products with a large maximum or temperature stay in range.
  constexpr double less = sizeof(T) == 4 ? 0x1p-60 : 0x1p-150;
  // The power of two alone: the larger's ULP is twice `unit` times that.
  const D a = power_below(max), b = power_below(result), size = select(greater(a, b), a, b);
  return greater(D(1.1 * unit * less) * tail.value() * temperature,
                 D(room * 2 * unit * less) * (top.value() + tail.value()) * size);
}

template <class T>
void logsumexp_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(call, memory);
  Summarizer<Gap::skip, T> summarize(call, scratch, Terms::scratch);
  const double sign = call.negate ? -1 : 1;
  const auto at_temperature = [&](const RowSummary<T>& s, const Wide<T>& l) {
    const double max = static_cast<double>(s.max);
    return fma1(call.temperature, l.value(), fma1(call.temperature, l.low(), max));
  };
  const auto finish = [&](const RowCursor& cursor, const Row<T>& x, const Row<T>&,
                          const RowSummary<T>& s) {
    if (summarize.begin() != 0) return;
    double value = static_cast<double>(quiet_nan<T>());
    if (s.kind == RowKind::regular) {
      value = sign * at_temperature(s, RowConstants<T>(s).log_ratio);
      if (cancels<T>(static_cast<double>(s.max), s.tail, s.top, value, call.temperature)) {
        const Wide<T> tail = summarize.refined_tail(x, s);
        value = sign * at_temperature(s, log1p_ratio(tail, s.top));
      }
    } else if (s.kind == RowKind::all_negative_infinity) {
      value = sign * -__builtin_inf();
    } else if (s.kind == RowKind::has_positive_infinity) {
      value = sign * __builtin_inf();
    }
    set_one<T>(cursor, call.out[0], value);
    if (call.out[1].data != nullptr) {
      const double sum_sign = s.kind == RowKind::all_negative_infinity ? 0.0 : 1.0;
      set_one<T>(cursor, call.out[1], s.kind == RowKind::has_nan ? value : sum_sign);
    }
  };
  each_summary(call, begin, end, summarize, nullptr, finish);
}

// What one is in the units of the entropy.
template <class T>
inline Wide<T> entropy_unit(const Call& call) {
  const Wide<double> unit = call.entropy_base > 0 ? log_of(call.entropy_base) : Wide<double>{1.0};
  return Wide<T>::of(unit.hi, unit.lo);
}

// log S - (sum of p_k log e_k) with both taken from the maximum: two terms of one sign.
template <class T>
void entropy_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(call, memory);
  Summarizer<Gap::sum, T> summarize(call, scratch, Terms::scratch);
  const Wide<T> unit = entropy_unit<T>(call);
  const auto finish = [&](const RowCursor& cursor, const Row<T>& x, const Row<T>&,
                          const RowSummary<T>& s) {
    if (summarize.begin() != 0) return;
    double value = static_cast<double>(quiet_nan<T>());
    if (s.kind == RowKind::regular) {
      const RowConstants<T> c(s);
      const Wide<T> gap = quotient(s.tail_gap, c.sum);
      const Wide<T> sum = c.log_ratio + gap * summarize.map().beta();
      value = quotient(sum, unit).value();
    } else if (!x.any_kept(call.classes)) {
      value = 0;  // a sum without terms
    }
    set_one<T>(cursor, call.out[0], value);
  };
  each_summary(call, begin, end, summarize, nullptr, finish);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
