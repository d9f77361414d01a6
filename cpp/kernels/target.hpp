// A row's target: t_k, smoothed and weighted, and what follows from it.
//
//   tt_k = w_k (t_k (1 - eps) + eps / K),  W = sum of tt_k
#pragma once

#include "kernels/maps.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
class Target {
 public:
  using D = Vec<double>;
  static constexpr int registers = Lanes<T>::registers;

  explicit Target(const Call& call)
      : call_(call), keep_{1 - call.label_smoothing}, uniform_{0}, weights_{0} {
    const double eps = call.label_smoothing, classes = static_cast<double>(call.classes);
    keep_ = keep_ + Wide<T>{(1 - keep_.hi) - eps};
    // The weights' sum is not asked for without smoothing, and may overflow.
    if (eps == 0) return;
    uniform_ = quotient(Wide<T>{eps}, Wide<T>{classes});
    if (call.weight != nullptr) {
      for (index_t k = 0; k < call.classes; ++k) weights_ = weights_ + Wide<T>{call.weight[k]};
    } else {
      weights_ = Wide<T>{classes};
    }
  }

  // Is there something to subtract at every class, and not at the label alone?
  bool dense() const { return probabilities_ || (label_ >= 0 && uniform_.hi > 0); }
  index_t label() const { return label_; }
  Wide<T> total() const { return total_; }  // W
  Wide<T> gap() const { return gap_; }      // sum of tt_k (max - x_k), of a dense target alone

  void read(const RowCursor& cursor) {
    label_ = call_.labels != nullptr ? label_of(call_, cursor.row()) : -1;
    if (call_.probabilities.data != nullptr) probabilities_ = cursor.of<T>(call_.probabilities);
    total_ = label_ < 0 ? Wide<T>{1} : keep_ * weight(label_) + uniform_ * weights_;
    gap_ = Wide<T>{0};
  }

  // W, and sum of tt_k (max - x_k) with 0 (-inf) = 0, for a dense target.
  void sum(const Row<T>& x, T max, const Scratch<T>& scratch) {
    LaneSum<T> totals, gaps;
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
      // The label's own share is added apart, for 0 (-inf) must not come from a zero weight.
      const Wide<T> share = keep_ * weight(label_);
      const double d = static_cast<double>(max) - static_cast<double>(x.at(label_));
      const double so_far = gap_.hi;
      if (share.hi > 0) gap_ = gap_ + share * d;
      if (so_far - so_far != 0 || (share.hi > 0 && d - d != 0)) gap_ = Wide<T>{__builtin_inf()};
    }
  }

  Wide<T> at(index_t k) const {
    if (label_ >= 0) {
      const Wide<T> t = k == label_ ? keep_ + uniform_ : uniform_;
      return t * weight(k);
    }
    if (!probabilities_) return Wide<T>{0};
    return (keep_ * static_cast<double>(probabilities_.at(k)) + uniform_) * weight(k);
  }
  // W - tt_k, without the cancellation where it can be had.
  Wide<T> others(index_t k) const {
    if (label_ < 0) return total_ + at(k) * -1.0;
    const Wide<T> rest = k == label_ ? Wide<T>{0} : keep_ * weight(label_);
    return uniform_.hi > 0 ? rest + uniform_ * (weights_ + Wide<T>{-weight(k)}) : rest;
  }

  // tt_k for 16 classes from k0 + k, without a label's own share; t is the block's probabilities or
  // null. `low` is what a float64 row would lose to rounding.
  Lanes<T> lanes(const T* t, index_t k0, int k, int n, Lanes<T>& low) const {
    constexpr int step = D::lanes;
    const D keep(keep_.hi), keep_low(keep_.low()), uniform(uniform_.hi),
        uniform_low(uniform_.low());
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

  static constexpr double ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  const Call& call_;
  Wide<T> keep_, uniform_, weights_;  // 1 - eps, eps / K, sum of w_k
  index_t label_ = -1;
  Row<T> probabilities_;
  Wide<T> total_{1}, gap_{0};
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
