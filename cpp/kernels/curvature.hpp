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
  CrossEntropyRow<T> row(call, scratch, Terms::scratch, Loss::unwanted);
  const Matrices<T> out(call);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    char* const to = cursor.locate(call.out[0]);
    const Moments<T> m(scratch, call.classes, to);
    const Row<T> p{reinterpret_cast<char*>(m.p), static_cast<index_t>(sizeof(T))};
    const Row<T> d{reinterpret_cast<char*>(m.d), static_cast<index_t>(sizeof(T))};
    if (!row.read(cursor, p)) return out.fill(row.whole_row(), to);
    const RowSummary<T>& s = row.summary();
    const Wide<T> inverse = s.inverse();
    Steps<T> steps;
    const Variance<T> variance(inverse, row.curvature());
    each_block(row.summarizer(), cursor.of<T>(call.logits), p, s, scratch, steps,
               [&](index_t k0, int n, const T* e, auto move) { m.make(variance, e, k0, n, move); });
    m.go_on();
    row.mend_diagonal(d, inverse);
    out.write(variance.between, m, to, scratch.terms);
  });
  out.settle();
}

// Hessian-vector products: c p_k (w_k - mean), mean = sum of p_j w_j, with w = v - o. The mean is summed of e_j w_j and
// divided once. Where the maximum outweighs all others o is its v: its own term is zero, and nothing cancels against
// it. Elsewhere o is the number nearest to 0 between the least and the largest v: no w is larger than its v, so that
// what its rounding loses is little beside p v (with the maximum's v, which may count for little there, it was up to
// all there is), and of a constant vector all are 0.
template <class T>
struct HvpScale {
  // A subnormal p has lost digits that a large w would show: small p are taken 2^boost times as
  // large, and their w as much smaller.
  static constexpr int boost = sizeof(T) == 4 ? 24 : 54;
  static constexpr T small = static_cast<T>(sizeof(T) == 4 ? 0x1p-70 : 0x1p-900);
  // What takes e to where e w does not overflow in float64, unless p w 2^boost does.
  static constexpr double unit = sizeof(T) == 4 ? 1 : 0x1p-96;
};

// Adds what a block's terms contribute to the mean; times(e) takes them to the row's scale. Where the row
// goes on its vector is asked for a block ahead: 32 x 32 000 0.87, 64 x 128 256 0.97.
template <class T, class Times>
SOFTLANE_INLINE void add_moments(LaneSum<T>& means, const T* e, const T* v, int n, Vec<T> origin,
                                 bool goes_on, Times times) {
  using V = Vec<T>;
  using D = Vec<double>;
  constexpr int wide = Lanes<T>::registers * V::lanes / 16, vectors = 16 / V::lanes;
  LaneSum<T> sum = means;  // a copy, which registers hold
  const auto add = [&](int j, V e_j, V v_j) __attribute__((always_inline)) {
    D p[wide], w[wide];
    to_double(e_j, p);
    to_double(v_j - origin, w);
    for (int i = 0; i < wide; ++i) sum.add_product(j * wide + i, times(p[i]), w[i]);
  };
  int k = 0;
  for (; k + 16 <= n; k += 16) {
    for (int j = 0; j < vectors; ++j) {
      const T* const v_j = v + k + j * V::lanes;
      if (goes_on) expect_ahead(v, k + j * V::lanes);
      add(j, V::load(e + k + j * V::lanes), V::load(v_j));
    }
  }
  // Absent terms are 0 (0 - origin): nothing, unless the maximum's own w is a NaN as well.
  for (int j = 0; j < vectors; ++j) {
    const int at = k + j * V::lanes;
    if (at < n) add(j, V::load_first(e + at, n - at, 0), V::load_first(v + at, n - at, 0));
  }
  means = sum;
}

// The number nearest to 0 between the least and the largest of those taken, in each lane or of all lanes. It is 0 as
// soon as both signs are there, which the first few mostly show.
template <class T>
class NearestToZero {
 public:
  using V = Vec<T>;
  SOFTLANE_INLINE void take(V v) {
    most_ = max(v, most_);
    most_negative_ = max(v ^ V(T(-0.0)), most_negative_);
  }
  unsigned positive() const { return static_cast<unsigned>(greater(most_, V(T(0)))); }
  unsigned negative() const { return static_cast<unsigned>(greater(most_negative_, V(T(0)))); }
  bool zero() const { return positive() != 0 && negative() != 0; }  // of all lanes
  // Added to 0, for zeros have signs.
  V by_lane() const {
    const V zero(T(0));
    const V o = select(greater(zero, most_negative_), zero - most_negative_,
                       select(greater(zero, most_), most_, zero));
    return zero + o;
  }
  T of_all() const {
    if (zero()) return T(0);
    alignas(64) T o[V::lanes];
    by_lane().store(o);
    T nearest = o[0];
    for (T each : o)
      nearest = (each < 0 ? -each : each) < (nearest < 0 ? -nearest : nearest) ? each : nearest;
    return nearest;
  }

 private:
  V most_ = V(negative_infinity<T>()), most_negative_ = most_;
};

// Of a block's n entries.
template <class T>
inline void take_entries(NearestToZero<T>& nearest, const T* v, int n) {
  const T first = v[0];
  for (int k = 0; k < n && !nearest.zero(); k += quad_size) {
    each_vector<T>(n - k < quad_size ? n - k : quad_size,
                   [&](int l, auto part) __attribute__((always_inline)) {
                     nearest.take(part.load(v + k + l, first));
                   });
  }
}

// Entries in place of the terms; scaled(e) = c p 2^boost.
template <class T, class Scaled>
SOFTLANE_INLINE void write_hvp(T* e, const T* v, int n, Vec<T> origin, Vec<T> mean, Scaled scaled) {
  using V = Vec<T>;
  const V small(HvpScale<T>::small), less(static_cast<T>(pow2(-HvpScale<T>::boost)));
  each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
    const V p = scaled(part.load(e + k)), w = (part.load(v + k) - origin) - mean;
    const auto large = greater(p, small);
    part.store(select(large, p * less, p) * select(large, w, w * less), e + k);
  });
}

template <class T>
void cross_entropy_hvp_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  using V = Vec<T>;
  using S = HvpScale<T>;
  const Scratch<T> scratch(call, memory);
  CrossEntropyRow<T> row(call, scratch, Terms::output, Loss::unwanted);
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const Row<T> out = cursor.of<T>(call.out[0]), vector = cursor.of<T>(call.vector);
    if (!row.read(cursor, out)) return out.fill(call.classes, row.whole_row());
    const RowSummary<T>& s = row.summary();
    const Wide<T> inverse = s.inverse();
    Normalizer<T> scaled(inverse, row.curvature() * pow2(S::boost));
    const Row<T> x = cursor.of<T>(call.logits);
    NearestToZero<T> nearest;
    for (index_t k0 = 0; k0 < call.classes && !s.confident() && !nearest.zero(); k0 += block_size) {
      const int n = block_length(call.classes, k0);
      take_entries(nearest, vector.fetch(k0, n, scratch.other), n);
    }
    const V origin(s.confident() ? vector.at(s.argmax) : nearest.of_all());
    LaneSum<T> means;
    each_block(row.summarizer(), x, out, s, scratch, scaled, [&](index_t k0, int n, T* e, auto) {
      const T* v = vector.fetch(k0, n, scratch.other);
      const bool goes_on = k0 + block_size < call.classes && vector.contiguous();
      const double factor = block_factor(call.classes, s, scratch, k0) * S::unit;
      if (factor == 1) {
        add_moments(means, e, v, n, origin, goes_on,
                    [](Vec<double> t) __attribute__((always_inline)) { return t; });
      } else {
        add_moments(means, e, v, n, origin, goes_on,
                    [&](Vec<double> t)
                        __attribute__((always_inline)) { return t * Vec<double>(factor); });
      }
    });
    const Wide<T> wide_mean = means.total() * (inverse * (1 / S::unit));
    const V mean(static_cast<T>(wide_mean.value()));
    each_block(row.summarizer(), x, out, s, scratch, scaled,
               [&](index_t k0, int n, T* e, auto move) {
                 write_hvp(e, vector.fetch(k0, n, scratch.other), n, origin, mean,
                           [&](V t) __attribute__((always_inline)) { return scaled(move(t)); });
                 out.put(k0, n, e);
               });
    // The maximum's own entry, whose probability is known unrounded.
    if (!s.confident()) return;
    const Wide<T> top = row.curvature() * (s.top * inverse) * wide_mean;
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
  CrossEntropyRow<T> row(call, scratch, Terms::output, Loss::unwanted);
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
    const D reciprocal(s.inverse().value());
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
