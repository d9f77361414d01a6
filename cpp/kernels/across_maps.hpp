// softmax, log_softmax and logsumexp with rows across lanes.
#pragma once

#include "kernels/across.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// As mend_probability: entries equal to `key` become `value`; a NaN key is never met.
template <class T>
struct Mend {
  Vec<T> key, value;
  explicit Mend(const GroupSummary<T>& s) {
    using P = Pack<T>;
    const P nan(__builtin_nan("")), one(1.0);
    const auto tied = greater(s.others, P(0.0));
    const P share = select(tied, one / (s.others + one), one);
    key = narrowed<T>(
        select(s.confident, widened(s.rounded_top), select(tied, widened(s.rounded_top), nan)));
    value = narrowed<T>(select(s.confident, quotient(s.top, s.sum).value(), share));
  }
  Vec<T> operator()(Vec<T> e, Vec<T> p) const { return select(equal(e, key), value, p); }
};

// Rows that have no regular result get one value throughout.
template <class T>
inline void blank_rows(const Columns<T>& y, index_t classes, unsigned rows, T value) {
  constexpr int W = Vec<T>::lanes;
  for (int r = 0; r < W; ++r) {
    if ((rows >> r & 1) == 0) continue;
    for (index_t k = 0; k < classes; ++k) y.at(k)[r] = value;
  }
}

template <class T>
void softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_groups<T>(call)) return softmax_rows<T>(call, begin, end, memory);
  const auto finish = [&](const GroupSlot<T>& slot) {
    const GroupSummary<T>& s = slot.summary;
    const Columns<T>& e = slot.e;
    const Normalizer<T, Pack<T>> normalize(s.sum, Wide<T, Pack<T>>{Pack<T>(1.0)});
    const Mend<T> mend(s);
    for (index_t k = 0; k < call.classes; ++k) {
      const Vec<T> a = e.load(k);
      e.store(k, mend(a, normalize(a)));
    }
    if (s.bad != 0) blank_rows(e, call.classes, s.bad, quiet_nan<T>());
  };
  each_group<T>(call, begin, end, memory, &call.out[0], finish, softmax_rows<T>);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
