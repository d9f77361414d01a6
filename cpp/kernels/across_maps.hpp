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

// summary_op(group, x, e, summary) for groups of rows: x and e are where the logits and, with `terms`,
// their exponentials are; it returns nothing, and everybody else's work is done here.
template <class T, class Finish>
inline void each_group_summary(const Call& call, index_t begin, index_t end, void* memory,
                               const Stream* terms, Finish finish,
                               void (*rows_kernel)(const Call&, index_t, index_t, void*) noexcept) {
  const Panels<T> panels(call, memory);
  const Carrier<T> logits(call, call.logits);
  const Carrier<T> out = terms != nullptr ? Carrier<T>(call, *terms) : Carrier<T>();
  const int n = static_cast<int>(call.classes);
  const bool small = call.classes <= most_panel_classes;
  const Affine<T> affine(call.negate, call.temperature);
  const bool is_direct = !call.negate && call.temperature == 1;
  each_group<T>(
      call, begin, end,
      [&](const RowGroup<T>& group) {
        if (!small && (!logits.direct(group) || (out && !out.direct(group)))) return false;
        const unsigned rows = first_rows(group.count);
        const Columns<T> x = logits.read(group, panels.first, panels.buffer);
        const Columns<T> e = out ? out.open(group, panels.first) : Columns<T>{};
        GroupSummary<T> s;
        if (is_direct) {
          const Direct<T> map;
          if (!s.begin(x, n, rows, map)) return false;
          s.add(x, e, n, rows, map);
        } else {
          if (!s.begin(x, n, rows, affine)) return false;
          s.add(x, e, n, rows, affine);
        }
        finish(group, x, e, s);
        if (out) out.write(group, e, panels.buffer);
        return true;
      },
      [&](index_t first, index_t last) { rows_kernel(call, first, last, memory); });
}

template <class T>
void softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_groups<T>(call)) return softmax_rows<T>(call, begin, end, memory);
  const auto finish = [&](const RowGroup<T>&, const Columns<T>&, const Columns<T>& e,
                          const GroupSummary<T>& s) {
    const Normalizer<T, Pack<T>> normalize(s.sum, Wide<T, Pack<T>>{Pack<T>(1.0)});
    const Mend<T> mend(s);
    for (index_t k = 0; k < call.classes; ++k) {
      const Vec<T> a = e.load(k);
      e.store(k, mend(a, normalize(a)));
    }
    if (s.bad != 0) blank_rows(e, call.classes, s.bad, quiet_nan<T>());
  };
  each_group_summary<T>(call, begin, end, memory, &call.out[0], finish, softmax_rows<T>);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
