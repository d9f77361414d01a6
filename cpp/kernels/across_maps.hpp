// softmax and log_softmax with rows across lanes.
#pragma once

#include "kernels/across.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// As mend_probabilities: entries equal to `key` become `value`; a NaN key is never met.
template <class T>
struct Mend {
  Vec<T> key, value;
  SOFTLANE_INLINE Mend(const GroupSummary<T>& s, const Wide<T, Pack<T>>& inverse)
      : key(s.lone_top()), value(narrowed<T>((s.top * inverse).value())) {
    if (s.tied) *this = shared(s, *this);
  }
  Vec<T> operator()(Vec<T> e, Vec<T> p) const { return select(equal(e, key), value, p); }

 private:
  static __attribute__((noinline)) Mend shared(const GroupSummary<T>& s, Mend lone) {
    using V = Vec<T>;
    using P = Pack<T>;
    const auto tied = greater(s.others, V(T(0)));
    const P one(1.0), share = one / (widened(s.others) + one);
    lone.value = select(tied, narrowed<T>(share), lone.value);
    lone.key = select(tied, s.rounded_top, lone.key);
    return lone;
  }
};

// One element a row.
template <class T>
inline void write_row_values(const Call& call, const RowGroup<T>& group, const Stream& stream,
                             Vec<T> values) {
  const int last = call.space.ndim - 1;
  char* const p = group.first.locate(stream);
  const Row<T> row{p, last >= 0 ? stream.row_stride[last] : 0, stream.format};
  if (group.straight && row.contiguous()) {
    return values.store(reinterpret_cast<T*>(p));
  }
  alignas(64) T v[Vec<T>::lanes];
  values.store(v);
  RowCursor cursor(group.first);
  for (int r = 0; r < group.count; ++r) {
    cursor.of<T>(stream).set(0, v[r]);
    cursor.advance();
  }
}

template <class T>
inline Vec<T> blanked(Vec<T> v, unsigned rows, T value) {
  if (rows == 0) return v;
  alignas(64) T a[Vec<T>::lanes];
  v.store(a);
  for (; rows != 0; rows &= rows - 1) a[first_set(rows)] = value;
  return Vec<T>::load(a);
}

template <class T>
inline void across_softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_groups<T>(call)) return softmax_rows<T>(call, begin, end, memory);
  const Carrier<T> out(call, call.out[0]);
  const auto finish = [&](const GroupSlot<T>* slots, int used) __attribute__((always_inline)) {
    write_classes(slots, used, static_cast<int>(call.classes), out.written_together(),
                  [&](const GroupSlot<T>& slot, int, auto together) __attribute__((always_inline)) {
                    const GroupSummary<T>& s = slot.summary;
                    const Wide<T, Pack<T>> inverse = s.inverse();
                    return [e = slot.e, y = results_of(slot, out, together),
                            normalize = Factor<T>::within(inverse),
                            mend = Mend<T>(s, inverse)](int k) __attribute__((always_inline)) {
                      const Vec<T> a = e.load(k);
                      y.store(k, mend(a, normalize(a)));
                    };
                  });
    for (int i = 0; i < used; ++i) {
      const unsigned bad = slots[i].summary.bad;
      if (bad != 0) {
        blank_rows(out.results(slots[i].group, slots[i].first), call.classes, bad, quiet_nan<T>());
      }
    }
  };
  each_group<T>(
      call, begin, end, memory, Keep::output, &call.out[0], {}, Also::read, [](GroupSlot<T>&) {},
      finish, softmax_rows<T>);
}

template <class T>
inline void across_log_softmax(const Call& call, index_t begin, index_t end,
                               void* memory) noexcept {
  if (!suits_groups<T>(call)) return log_softmax_rows<T>(call, begin, end, memory);
  using V = Vec<T>;
  const Carrier<T> out(call, call.out[0]);
  const Affine<T> map(call.negate, call.temperature);
  const bool plain = !call.negate && call.temperature == 1;
  const int n = static_cast<int>(call.classes);
  const auto results = [&](const GroupSlot<T>& slot) {
    return out.results(slot.group, slot.second);
  };
  const auto finish = [&](const GroupSlot<T>* slots, int used) __attribute__((always_inline)) {
    Wide<T, Pack<T>> log_ratio[most_batch];
    log_ratios(slots, used, log_ratio);
    const auto minus_of = [&](int i) { return narrowed<T>(-log_ratio[i].value()); };
    if (plain) {
      write_classes(slots, used, n, out.written_together(),
                    [&](const GroupSlot<T>& slot, int i, auto) __attribute__((always_inline)) {
                      return [x = slot.x, y = results(slot), highest = slot.summary.highest,
                              minus = minus_of(i)](int k) __attribute__((always_inline)) {
                        y.store(k, (x.load(k) - highest) + minus);
                      };
                    });
    } else {
      write_classes(
          slots, used, n, out.written_together(), [&](const GroupSlot<T>& slot, int i, auto) {
            alignas(64) T share[V::lanes];
            slot.summary.highest.store(share);
            for (T& v : share) v = difference_share(v);
            const V part = V::load(share), whole = V(T(1)) / part;
            return [x = slot.x, y = results(slot), part, part_of_max = slot.summary.highest * part,
                    slope = V(map.beta_t) * whole, slope_low = V(map.beta_t_lo) * whole,
                    minus = minus_of(i), &map](int k) __attribute__((always_inline)) {
              const V d = (map.sign(x.load(k)) * part - part_of_max) * V(map.unit),
                      lowest(negative_infinity<T>());
              y.store(k, select(equal(d, lowest), lowest, fma(d, slope, fma(d, slope_low, minus))));
            };
          });
    }
    for (int i = 0; i < used; ++i) {
      const unsigned bad = slots[i].summary.bad;
      if (bad != 0) blank_rows(results(slots[i]), call.classes, bad, quiet_nan<T>());
    }
  };
  each_group<T>(
      call, begin, end, memory, Keep::nothing, nullptr, out, Also::written, [](GroupSlot<T>&) {},
      finish, log_softmax_rows<T>);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
