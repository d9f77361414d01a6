// A row's target: t_k, smoothed and weighted, and what follows from it.
//
//   tt_k = w_k (t_k (1 - eps) + eps / K),  W = sum of tt_k
#pragma once

#include "kernels/maps.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

inline constexpr double ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

// The gaps max - x_k, and their sum, are taken so many times: float64's sum would leave its range before its mean does.
template <class T>
inline constexpr double gap_unit = sizeof(T) == 4 ? 1 : 0x1p-64;

// What label smoothing makes of a label.
template <class T>
struct Smoothing {
  Wide<T> keep, uniform{0}, weights{0};  // 1 - eps, eps / K, sum of w_k

  explicit Smoothing(const Call& call) : keep{1 - call.label_smoothing} {
    const double eps = call.label_smoothing, classes = static_cast<double>(call.classes);
    keep = keep + Wide<T>{(1 - keep.hi) - eps};
    // The weights' sum is not asked for without smoothing, and may overflow.
    if (eps == 0) return;
    uniform = quotient(Wide<T>{eps}, Wide<T>{classes});
    if (call.weight != nullptr) {
      for (index_t k = 0; k < call.classes; ++k) weights = weights + Wide<T>{call.weight[k]};
    } else {
      weights = Wide<T>{classes};
    }
  }

  // What the gaps' sum is multiplied by.
  Wide<T> of_gaps() const { return uniform * (1 / gap_unit<T>); }
};

// A gap, and what its rounding lost.
template <class T, class D>
SOFTLANE_INLINE D gap_of(D top, D x, D& lost) {
  const D d = top - x;
  if (sizeof(T) == 4) return d;
  const D unit(gap_unit<T>), back = top - d;
  lost = ((back - x) + (top - (d + back))) * unit;
  return d * unit;
}

// Those of n classes of a row.
template <class T>
SOFTLANE_INLINE void add_gaps(LaneSum<T>& sum, const T* x, int n, T max) {
  using D = Vec<double>;
  const D top(static_cast<double>(max));
  const auto add = [&](int j, D v, D present) __attribute__((always_inline)) {
    D lost(0.0);
    const D gap = gap_of<T>(top, v, lost);
    sum.add(j, gap * present);
    if (sizeof(T) == sizeof(double)) sum.add_low(j, lost * present);
  };
  int k = 0;
  for (; k + 16 <= n; k += 16) {
    const Lanes<T> v = Lanes<T>::load(x + k, 16);
    for (int j = 0; j < Lanes<T>::registers; ++j) add(j, v.d[j], D(1.0));
  }
  if (k == n) return;
  const Lanes<T> v = Lanes<T>::load(x + k, n - k);
  for (int j = 0; j < Lanes<T>::registers; ++j) {
    add(j, v.d[j], D::load_first(ones, n - k - j * D::lanes, 0));
  }
}

// A share of a gap, t (max - x), in which 0 (-inf) is 0 and an infinite share of nothing nothing, and what its rounding lost.
template <class T, class D>
SOFTLANE_INLINE D share_of_gap(D t, D top, D x, D& lost) {
  const D zero(0.0), d = top - x;
  const D product = select(equal(t, zero), zero, select(equal(d, zero), zero, t * d));
  if (sizeof(T) == 4) return product;
  const D back = top - d, rest = fma1(t, d, zero - product) + t * ((back - x) + (top - (d + back)));
  lost = select(equal(rest - rest, zero), rest, zero);  // not where t is 0 or infinite, or d is
  return product;
}

// The shares of n classes of a row, and those of their gaps, where neither weights nor smoothing change them.
template <class T>
SOFTLANE_INLINE void add_shares(LaneSum<T>& shares, LaneSum<T>& gaps, const T* t, const T* x, int n,
                                T max) {
  using D = Vec<double>;
  const D top(static_cast<double>(max));
  const auto add = [&](int k, int count) __attribute__((always_inline)) {
    const Lanes<T> c = Lanes<T>::load(t + k, count), v = Lanes<T>::load(x + k, count);
    for (int j = 0; j < Lanes<T>::registers; ++j) {
      D lost(0.0);
      shares.add(j, c.d[j]);
      gaps.add(j, share_of_gap<T>(c.d[j], top, v.d[j], lost));
      if (sizeof(T) == sizeof(double)) gaps.add_low(j, lost);
    }
  };
  int k = 0;
  for (; k + 16 <= n; k += 16) add(k, 16);
  if (k < n) add(k, n - k);
}

// sum of tt_k (max - x_k) of a smoothed label, from what all classes bring to it, the label's own share (1 - eps) w_y and
// its gap. They are added apart, for 0 (-inf) must not come from a zero weight.
template <class T, class D>
SOFTLANE_INLINE Wide<T, D> smoothed_gap(const Wide<T, D>& all, const Wide<T, D>& share, D gap) {
  const D zero(0.0), infinity(__builtin_inf()), so_far = all.value();
  const auto shares = greater(share.value(), zero);
  const Wide<T, D> sum = Wide<T, D>::choose(shares, all + share * gap, all),
                   own = Wide<T, D>::choose(shares, Wide<T, D>{gap}, Wide<T, D>{zero});
  const auto finite = equal(so_far - so_far, zero),
             own_finite = equal(own.value() - own.value(), zero);
  return Wide<T, D>::choose(finite, Wide<T, D>::choose(own_finite, sum, Wide<T, D>{infinity}),
                            Wide<T, D>{infinity});
}

template <class T>
class Target {
 public:
  using D = Vec<double>;
  static constexpr int registers = Lanes<T>::registers;

  explicit Target(const Call& call) : call_(call), smoothing_(call) {}

  // Is there something to subtract at every class, and not at the label alone?
  bool dense() const { return probabilities_ || (label_ >= 0 && smoothing_.uniform.hi > 0); }
  index_t label() const { return label_; }
  Wide<T> total() const { return total_; }  // W
  Wide<T> gap() const { return gap_; }      // sum of tt_k (max - x_k), of a dense target alone

  void read(const RowCursor& cursor) {
    label_ = call_.labels != nullptr ? label_of(call_, cursor.row()) : -1;
    if (call_.probabilities.data != nullptr) probabilities_ = cursor.of<T>(call_.probabilities);
    total_ = label_ < 0
                 ? Wide<T>{1}
                 : smoothing_.keep * weight(label_) + smoothing_.uniform * smoothing_.weights;
    gap_ = Wide<T>{0};
  }

  // Are probabilities tt as they are? One answer for all rows of a call.
  static bool plain(const Call& call) {
    return call.probabilities.data != nullptr && call.weight == nullptr &&
           call.label_smoothing == 0;
  }

  // W, and sum of tt_k (max - x_k) with 0 (-inf) = 0, for a dense target.
  void sum(const Row<T>& x, T max, const Scratch<T>& scratch) {
    LaneSum<T> totals, gaps;
    if (label_ >= 0 && call_.weight == nullptr) {
      for (index_t k0 = 0; k0 < call_.classes; k0 += block_size) {
        const int n = block_length(call_.classes, k0);
        add_gaps<T>(gaps, x.fetch(k0, n, scratch.logits), n, max);
      }
      gap_ = smoothing_.of_gaps() * gaps.total();
      return add_label(x, max);
    }
    if (plain(call_)) {
      for (index_t k0 = 0; k0 < call_.classes; k0 += block_size) {
        const int n = block_length(call_.classes, k0);
        const T* const a = x.fetch(k0, n, scratch.logits);
        add_shares<T>(totals, gaps, probabilities_.fetch(k0, n, scratch.other), a, n, max);
      }
      gap_ = gaps.total();
      total_ = totals.total();
      return;
    }
    const D zero(0.0), top(static_cast<double>(max));
    for (index_t k0 = 0; k0 < call_.classes; k0 += block_size) {
      const int n = block_length(call_.classes, k0);
      const T* a = x.fetch(k0, n, scratch.logits);
      const T* t = probabilities_ ? probabilities_.fetch(k0, n, scratch.other) : nullptr;
      for (int k = 0; k < n; k += 16) {
        Lanes<T> low;
        const Lanes<T> c = lanes(t, k0, k, n, low), v = Lanes<T>::load(a + k, n - k);
        for (int j = 0; j < registers; ++j) {
          // 0 (-inf) = 0, and an infinite share of nothing is nothing.
          const D d = top - v.d[j];
          const D product =
              select(equal(c.d[j], zero), zero, select(equal(d, zero), zero, c.d[j] * d));
          totals.add(j, c.d[j]);
          gaps.add(j, product);
          if (sizeof(T) == sizeof(double)) {
            const D back = top - d, lost = (back - v.d[j]) + (top - (d + back));
            totals.add_low(j, low.d[j]);
            const D rest = fma(c.d[j], d, zero - product) + fma(low.d[j], d, c.d[j] * lost);
            const auto counts = equal(rest - rest, zero);  // not where c is 0 or infinite, or d is
            gaps.add_low(j, select(counts, rest, zero));
          }
        }
      }
    }
    gap_ = gaps.total();
    if (probabilities_) {
      total_ = totals.total();
    } else {
      add_label(x, max);
    }
  }

  Wide<T> at(index_t k) const {
    if (label_ >= 0) {
      const Wide<T> t = k == label_ ? smoothing_.keep + smoothing_.uniform : smoothing_.uniform;
      return t * weight(k);
    }
    if (!probabilities_) return Wide<T>{0};
    return (smoothing_.keep * static_cast<double>(probabilities_.at(k)) + smoothing_.uniform) *
           weight(k);
  }
  // W - tt_k, without the cancellation where it can be had.
  Wide<T> others(index_t k) const {
    if (label_ < 0) return total_ + at(k) * -1.0;
    const Wide<T> rest = k == label_ ? Wide<T>{0} : smoothing_.keep * weight(label_);
    return smoothing_.uniform.hi > 0
               ? rest + smoothing_.uniform * (smoothing_.weights + Wide<T>{-weight(k)})
               : rest;
  }

  // Of a smoothed label without weights, `scale` times tt_k of all other classes.
  T subtracted(const Wide<T>& scale) const {
    const Wide<T>& u = smoothing_.uniform;
    return static_cast<T>(
        fma1(u.value(), scale.value(), fma1(u.value(), scale.low(), u.low() * scale.value())));
  }

  // tt_k for 16 classes from k0 + k, without a label's own share; t is the block's probabilities or
  // null. `low` is what a float64 row would lose to rounding.
  Lanes<T> lanes(const T* t, index_t k0, int k, int n, Lanes<T>& low) const {
    constexpr int step = D::lanes;
    const D keep(smoothing_.keep.hi), keep_low(smoothing_.keep.low()),
        uniform(smoothing_.uniform.hi), uniform_low(smoothing_.uniform.low());
    const D zero(0.0);
    Lanes<T> v;
    if (t != nullptr) v = Lanes<T>::load(t + k, n - k);
    for (int j = 0; j < registers; ++j) {
      const int left = n - k - j * step;
      const D w = call_.weight != nullptr ? D::load_first(call_.weight + k0 + k + j * step, left, 0)
                                          : D::load_first(ones, left, 0);
      D c = uniform, lost = uniform_low;
      if (t != nullptr) {
        const D product = v.d[j] * keep, sum = product + uniform, back = sum - product;
        c = sum;
        lost = (fma(v.d[j], keep, zero - product) + fma(v.d[j], keep_low, uniform_low)) +
               ((product - (sum - back)) + (uniform - back));
      }
      v.d[j] = c * w;
      low.d[j] = fma(c, w, zero - v.d[j]) + lost * w;
    }
    return v;
  }

 private:
  double weight(index_t k) const { return call_.weight != nullptr ? call_.weight[k] : 1; }
  void add_label(const Row<T>& x, T max) {
    const double gap = static_cast<double>(max) - static_cast<double>(x.at(label_));
    gap_ = smoothed_gap(gap_, smoothing_.keep * weight(label_), gap);
  }

  const Call& call_;
  Smoothing<T> smoothing_;
  index_t label_ = -1;
  Row<T> probabilities_;
  Wide<T> total_{1}, gap_{0};
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
