// softmax, log_softmax, logsumexp (and smooth_max), entropy.
#pragma once

#include "kernels/normalize.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
constexpr T quiet_nan() {
  return static_cast<T>(__builtin_nan(""));
}

template <class T>
inline void set_one(char* p, double v) {
  const T t = static_cast<T>(v);
  std::memcpy(p, &t, sizeof t);
}

// row_op(cursor) for rows [begin, end).
template <class RowOp>
inline void each_row(const Call& call, index_t begin, index_t end, RowOp row_op) {
  RowCursor cursor(call.space, begin);
  for (; cursor.row() < end; cursor.advance()) row_op(cursor);
}

// body(begin, n, e, move) for every block of the row's exponentials; move(e) takes a vector of them to
// the row's base, where `normalize` applies.
template <class T, class Body>
inline void each_block(index_t classes, const Row<T>& terms, const RowSummary<T>& s,
                       const Scratch<T>& scratch, Normalizer<T>& normalize, Body body) {
  for (index_t begin = 0; begin < classes; begin += block_size) {
    const int n = block_length(classes, begin);
    T* e = terms.open(begin, scratch.terms);
    // A row of one block still lies where the summary put it.
    if (classes > block_size) terms.fetch(begin, n, scratch.terms);
    normalize.move(scratch.exponents[begin / block_size], s.base.exponent);
    if (normalize.moves()) {
      body(begin, n, e,
           [&](Vec<T> v) __attribute__((always_inline)) { return normalize.moved(v); });
    } else {
      body(begin, n, e, [](Vec<T> v) __attribute__((always_inline)) { return v; });
    }
  }
}

// A probability above a half comes from the maximum's own unrounded term: exactly 1 where nothing
// else counts. Classes that share the maximum, beside nothing else, get equal shares of exactly 1.
template <class T>
inline void mend_probability(const Row<T>& p, index_t classes, const RowSummary<T>& s,
                             const Wide<T>& sum, const Normalizer<T>& normalize, T* scratch) {
  if (s.confident()) return p.set(s.argmax, static_cast<T>(quotient(s.top, sum).value()));
  const double others = s.ties();
  if (others == 0) return;
  const Vec<T> shared = normalize(Vec<T>(s.rounded_top)), share(static_cast<T>(1 / (others + 1)));
  for (index_t k0 = 0; k0 < classes; k0 += block_size) {
    const int n = block_length(classes, k0);
    p.fetch(k0, n, scratch);
    T* block = p.open(k0, scratch);
    each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
      const Vec<T> v = part.load(block + k);
      part.store(select(equal(v, shared), share, v), block + k);
    });
    p.put(k0, n, block);
  }
}

template <class T>
void softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(memory, call.classes);
  Summarizer<Gap::skip, T> summarize(call, scratch, Terms::output);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const Row<T> x = cursor.of<T>(call.logits), p = cursor.of<T>(call.out[0]);
    const RowSummary<T> s = summarize(x, p);
    if (s.kind != RowKind::regular) return p.fill(call.classes, quiet_nan<T>());
    const Wide<T> sum = s.sum();
    Normalizer<T> normalize(sum, Wide<T>{1.0});
    each_block(call.classes, p, s, scratch, normalize, [&](index_t k0, int n, T* e, auto move) {
      each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
        part.store(normalize(move(part.load(e + k))), e + k);
      });
      p.put(k0, n, e);
    });
    mend_probability(p, call.classes, s, sum, normalize, scratch.terms);
  });
}

template <class T>
void log_softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  using V = Vec<T>;
  const Scratch<T> scratch(memory, call.classes);
  Summarizer<Gap::skip, T> summarize(call, scratch, Terms::scratch);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const Row<T> x = cursor.of<T>(call.logits), out = cursor.of<T>(call.out[0]);
    const RowSummary<T> s = summarize(x, Row<T>{});
    if (s.kind != RowKind::regular) return out.fill(call.classes, quiet_nan<T>());
    const T log_ratio = static_cast<T>(RowConstants<T>(s).log_ratio.value());
    const Affine<T>& map = summarize.map();
    const V max(s.max), half_max(s.max * T(0.5)), minus(-log_ratio);
    const V slope(map.beta_t * 2), slope_low(map.beta_t_lo * 2), lowest(negative_infinity<T>());
    for (index_t k0 = 0; k0 < call.classes; k0 += block_size) {
      const int n = block_length(call.classes, k0);
      const T* a = x.fetch(k0, n, scratch.logits);
      T* y = out.open(k0, scratch.other);
      if (summarize.direct()) {
        each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
          part.store((part.load(a + k) - max) + minus, y + k);
        });
      } else {
        // Halved, the difference cannot overflow before 1 / temperature brings it back.
        each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
          const V d = (map.sign(part.load(a + k)) * V(T(0.5)) - half_max) * V(map.unit);
          const V v = fma(d, slope, fma(d, slope_low, minus));
          part.store(select(equal(d, lowest), lowest, v), y + k);
        });
      }
      out.put(k0, n, y);
    }
  });
}

// Could T's error reach the result's bound, which counts in ULP of max(|max|, |result|)? T is within
// 1.1 half-ulps of 1 (each of its terms is), and the logarithm takes T / S of that; a float32 result
// has half an ULP left for it beside its own rounding, a float64 result one.
template <class T>
inline bool cancels(const RowSummary<T>& s, double result, double temperature) {
  constexpr double unit = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53;
  constexpr double room = sizeof(T) == 4 ? 0.45 : 0.9;
  const double max = static_cast<double>(s.max);
  const double a = max < 0 ? -max : max, b = result < 0 ? -result : result;
  // The exponent of the larger alone: its ULP is twice `unit` times that power of two.
  double size = a > b ? a : b;
  std::uint64_t bits;
  std::memcpy(&bits, &size, sizeof bits);
  bits &= 0x7ff0000000000000u;
  std::memcpy(&size, &bits, sizeof bits);
  const double share = s.tail.value() / s.sum().value();
  return 1.1 * unit * share * temperature > room * 2 * unit * size;
}

template <class T>
void logsumexp(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(memory, call.classes);
  Summarizer<Gap::skip, T> summarize(call, scratch, Terms::scratch);
  const double sign = call.negate ? -1 : 1;
  const auto at_temperature = [&](const RowSummary<T>& s, const Wide<double>& l) {
    const double max = static_cast<double>(s.max);
    return fma1(call.temperature, l.hi, fma1(call.temperature, l.lo, max));
  };
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const RowSummary<T> s = summarize(cursor.of<T>(call.logits), Row<T>{});
    double value = static_cast<double>(quiet_nan<T>());
    if (s.kind == RowKind::regular) {
      const Row<T> x = cursor.of<T>(call.logits);
      value = sign * at_temperature(s, RowConstants<T>(s).log_ratio);
      if (cancels<T>(s, value, call.temperature)) {
        const Wide<T> tail = summarize.refined_tail(x, s);
        value = sign * at_temperature(s, RowConstants<T>::log1p_ratio(tail, s.top));
      }
    } else if (s.kind == RowKind::all_negative_infinity) {
      value = sign * -__builtin_inf();
    } else if (s.kind == RowKind::has_positive_infinity) {
      value = sign * __builtin_inf();
    }
    set_one<T>(cursor.locate(call.out[0]), value);
  });
}

// log S - (sum of p_k log e_k) with both taken from the maximum: two terms of one sign.
template <class T>
void entropy(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(memory, call.classes);
  Summarizer<Gap::sum, T> summarize(call, scratch, Terms::scratch);
  const Wide<double> unit = call.entropy_base > 0 ? log_of(call.entropy_base) : Wide<double>{1.0};
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const RowSummary<T> s = summarize(cursor.of<T>(call.logits), Row<T>{});
    double value = static_cast<double>(quiet_nan<T>());
    if (s.kind == RowKind::regular) {
      const RowConstants<T> c(s);
      const Wide<T> gap = quotient(s.tail_gap, c.sum);
      const Wide<double> sum =
          c.log_ratio + Wide<double>{gap.value(), gap.low()} * summarize.map().beta();
      value = quotient(sum, unit).value();
    }
    set_one<T>(cursor.locate(call.out[0]), value);
  });
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
