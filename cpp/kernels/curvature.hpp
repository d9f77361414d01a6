// The Hessian c (diag(p) - p p^T) of a row: as a matrix, applied, and inverted.
#pragma once

#include "kernels/matrix.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// What takes the exponentials of the block at k0 to the row's base.
template <class T>
inline double block_factor(index_t classes, const RowSummary<T>& s, const Scratch<T>& scratch,
                           index_t k0) {
  return pow2_or_zero(static_cast<double>(block_exponent(classes, k0, s, scratch)) -
                      static_cast<double>(s.base.exponent));
}

template <class T>
void cross_entropy_hessian_rows(const Call& call, index_t begin, index_t end,
                                void* memory) noexcept {
  const Scratch<T> scratch(call, memory);
  CrossEntropyRow<T> row(call, scratch, Terms::scratch);
  const Matrices<T> out(call);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    char* const to = cursor.locate(call.out[0]);
    const Moments<T> m(scratch, call.classes, to);
    const Row<T> p{reinterpret_cast<char*>(m.p), static_cast<index_t>(sizeof(T))};
    const Row<T> d{reinterpret_cast<char*>(m.d), static_cast<index_t>(sizeof(T))};
    if (!row.read(cursor, p)) return out.fill(row.whole_row(), to);
    const RowSummary<T>& s = row.summary();
    const Wide<T> sum = s.sum();
    Normalizer<T> unscaled(sum, Wide<T>{1.0});
    const Variance<T> variance(sum, row.curvature());
    each_block(row.summarizer(), cursor.of<T>(call.logits), p, s, scratch, unscaled,
               [&](index_t k0, int n, const T* e, auto move) { m.make(variance, e, k0, n, move); });
    m.go_on();
    row.mend_diagonal(d, sum);
    out.write(variance.between, m, to, scratch.terms);
  });
  out.settle();
}

// c p_k (w_k - sum of p_j w_j) with w = v - v_{j*}: the maximum's own term is zero, and nothing
// cancels against it.
template <class T>
void cross_entropy_hvp_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  using V = Vec<T>;
  // A subnormal p has lost digits that a large w would show: small p are taken 2^boost times as
  // large, and their w as much smaller.
  constexpr int boost = sizeof(T) == 4 ? 24 : 54;
  const V small(static_cast<T>(sizeof(T) == 4 ? 0x1p-70 : 0x1p-900));
  const Scratch<T> scratch(call, memory);
  CrossEntropyRow<T> row(call, scratch, Terms::output);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const Row<T> out = cursor.of<T>(call.out[0]), vector = cursor.of<T>(call.vector);
    if (!row.read(cursor, out)) return out.fill(call.classes, row.whole_row());
    const RowSummary<T>& s = row.summary();
    const Wide<T> sum = s.sum();
    const Wide<T> factor = row.curvature() * pow2(boost);
    Normalizer<T> scaled(sum, factor);
    const V origin(vector.at(s.argmax)), less(static_cast<T>(pow2(-boost)));
    const Vec<double> reciprocal(quotient(Wide<T>{pow2(boost)}, sum).value());
    LaneSum<T> means;
    const Row<T> x = cursor.of<T>(call.logits);
    each_block(row.summarizer(), x, out, s, scratch, scaled, [&](index_t k0, int n, T* e, auto) {
      const T* v = vector.fetch(k0, n, scratch.other);
      const Vec<double> base(block_factor(call.classes, s, scratch, k0));
      for (int k = 0; k < n; k += 16) {
        alignas(64) T w[16] = {};
        each_vector<T>(n - k < 16 ? n - k : 16,
                       [&](int l, auto part) __attribute__((always_inline)) {
                         part.store(part.load(v + k + l) - origin, w + l);
                       });
        const Lanes<T> e64 = Lanes<T>::load(e + k, n - k), w64 = Lanes<T>::load(w, n - k);
        for (int j = 0; j < Lanes<T>::registers; ++j) {
          means.add(j, e64.d[j] * base * reciprocal * w64.d[j]);
        }
      }
    });
    const Wide<T> wide_mean = means.total() * pow2(-boost);
    const V mean(static_cast<T>(wide_mean.value()));
    each_block(
        row.summarizer(), x, out, s, scratch, scaled, [&](index_t k0, int n, T* e, auto move) {
          const T* v = vector.fetch(k0, n, scratch.other);
          each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
            const V p = scaled(move(part.load(e + k))), w = (part.load(v + k) - origin) - mean;
            const auto large = greater(p, small);
            part.store(select(large, p * less, p) * select(large, w, w * less), e + k);
          });
          out.put(k0, n, e);
        });
    // The maximum's own entry, whose probability is known unrounded.
    const Wide<T> top = row.curvature() * quotient(s.top, sum) * wide_mean;
    out.set(s.argmax, static_cast<T>(-top.value()));
  });
}

// Sherman and Morrison (1950): with q = c p and d = q + damping,
//   z_k = (rhs_k + q_k a) / d_k,   a = sum of p_j rhs_j / d_j over sum of p_j damping / d_j,
// where the usual denominator 1 - sum of q p / d has become a sum of positives by 1 = sum of p.
// In float64 throughout: the quotients feed each other.
template <class T>
void cross_entropy_hessian_solve(const Call& call, index_t begin, index_t end,
                                 void* memory) noexcept {
  using D = Vec<double>;
  constexpr int registers = Lanes<T>::registers;
  const Scratch<T> scratch(call, memory);
  CrossEntropyRow<T> row(call, scratch, Terms::output);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const Row<T> out = cursor.of<T>(call.out[0]), rhs = cursor.of<T>(call.vector);
    const bool regular = row.read(cursor, out);
    const D damping(call.damping[cursor.row()]);
    if (!regular && row.whole_row() != 0) return out.fill(call.classes, row.whole_row());
    if (!regular) {  // H = 0
      for (index_t k = 0; k < call.classes; ++k) {
        out.set(k, static_cast<T>(static_cast<double>(rhs.at(k)) / call.damping[cursor.row()]));
      }
      return;
    }
    const RowSummary<T>& s = row.summary();
    const D c(row.curvature().value());
    const D reciprocal(quotient(Wide<T>{1.0}, s.sum()).value());
    const Row<T> x = cursor.of<T>(call.logits);
    const auto each_lanes = [&](auto body, auto put) {
      for (index_t k0 = 0; k0 < call.classes; k0 += block_size) {
        const int n = block_length(call.classes, k0);
        T* e = row.summarizer().terms_of(x, out, s, k0, n);
        const D base(block_factor(call.classes, s, scratch, k0));
        const T* b = rhs.fetch(k0, n, scratch.other);
        for (int k = 0; k < n; k += 16) {
          Lanes<T> p = Lanes<T>::load(e + k, n - k);
          for (auto& d : p.d) d = d * base * reciprocal;
          body(p, Lanes<T>::load(b + k, n - k), e + k, n - k);
        }
        put(k0, n, e);
      }
    };
    LaneSum<T> along, positive;
    each_lanes(
        [&](const Lanes<T>& p, const Lanes<T>& b, T*, int) {
          for (int j = 0; j < registers; ++j) {
            const D weight = p.d[j] / fma(c, p.d[j], damping);
            along.add(j, weight * b.d[j]);
            positive.add(j, weight * damping);
          }
        },
        [](index_t, int, const T*) {});
    const D a(quotient(along.total(), positive.total()).value());
    each_lanes(
        [&](const Lanes<T>& p, const Lanes<T>& b, T* z, int n) {
          Lanes<T> result;
          for (int j = 0; j < registers; ++j) {
            const D q = c * p.d[j];
            result.d[j] = fma(q, a, b.d[j]) / (q + damping);
          }
          result.store(z, n);
        },
        [&](index_t k0, int n, const T* z) { out.put(k0, n, z); });
  });
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
