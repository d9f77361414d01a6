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
    const P nan(__builtin_nan("")), one(1.0), top = widened(s.rounded_top);
    const auto tied = greater(s.others, P(0.0));
    const P share = select(tied, one / (s.others + one), one);
    key = narrowed<T>(select(s.confident, top, select(tied, top, nan)));
    value = narrowed<T>(select(s.confident, quotient(s.top, s.sum).value(), share));
  }
  Vec<T> operator()(Vec<T> e, Vec<T> p) const { return select(equal(e, key), value, p); }
};

// Rows that have no regular result get one value throughout.
template <class T>
inline void blank_rows(const Columns<T>& y, index_t classes, unsigned rows, T value) {
  for (; rows != 0; rows &= rows - 1) {
    const int r = first_set(rows);
    for (index_t k = 0; k < classes; ++k) y.at(k)[r] = value;
  }
}

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
  using P = Pack<T>;
  const auto finish = [&](const GroupSlot<T>& slot) {
    const GroupSummary<T>& s = slot.summary;
    const Columns<T> e = slot.e;
    const Normalizer<T, P> normalize(s.sum, Wide<T, P>{P(1.0)});
    const Mend<T> mend(s);
    for (index_t k = 0; k < call.classes; ++k) {
      const Vec<T> a = e.load(k);
      e.store(k, mend(a, normalize(a)));
    }
    blank_rows(e, call.classes, s.bad, quiet_nan<T>());
  };
  each_group<T>(
      call, begin, end, memory, Keep::output, &call.out[0], {}, [](GroupSlot<T>&) {}, finish,
      softmax_rows<T>);
}

template <class T>
inline void across_log_softmax(const Call& call, index_t begin, index_t end,
                               void* memory) noexcept {
  if (!suits_groups<T>(call)) return log_softmax_rows<T>(call, begin, end, memory);
  using V = Vec<T>;
  const Carrier<T> out(call, call.out[0]);
  const Affine<T> map(call.negate, call.temperature);
  const bool plain = !call.negate && call.temperature == 1;
  T* const buffer = group_buffer<T>(call, memory);
  const auto finish = [&](const GroupSlot<T>& slot) {
    const GroupSummary<T>& s = slot.summary;
    const V minus = narrowed<T>(-log1p_ratio<Pack<T>>(s.tail, s.top).value());
    const Columns<T> y = out.open(slot.group, slot.second);
    if (plain) {
      for (index_t k = 0; k < call.classes; ++k) {
        y.store(k, (slot.x.load(k) - s.highest) + minus);
      }
    } else {
      const V slope(map.beta_t * 2), slope_low(map.beta_t_lo * 2), half(T(0.5));
      const V half_max = s.highest * half, lowest(negative_infinity<T>());
      for (index_t k = 0; k < call.classes; ++k) {
        const V d = (map.sign(slot.x.load(k)) * half - half_max) * V(map.unit);
        y.store(k, select(equal(d, lowest), lowest, fma(d, slope, fma(d, slope_low, minus))));
      }
    }
    blank_rows(y, call.classes, s.bad, quiet_nan<T>());
    out.write(slot.group, y, buffer);
  };
  each_group<T>(
      call, begin, end, memory, Keep::nothing, nullptr, out, [](GroupSlot<T>&) {}, finish,
      log_softmax_rows<T>);
}

// As Summarizer::refined_tail; the rows' small terms go through the slot's second panel.
template <class T>
inline Wide<T, Pack<T>> refined_tail(const GroupSlot<T>& slot, int n, const Stages<T>& stages,
                                     const Affine<T>& map) {
  using V = Vec<T>;
  using P = Pack<T>;
  using W = Wide<T, P>;
  const GroupSummary<T>& s = slot.summary;
  const V share = narrowed<T>(s.tail.value() * P(0x1p-6)), absent(negative_infinity<T>());
  const Columns<T> rest = in_panel(slot.second);
  W large{P(0.0)};
  for (int k = 0; k < n; ++k) {
    const V a = map.sign(slot.x.load(k)), e = exp_from_base(a, map, s.base);
    const V others = select(equal(s.where, V(ranks<T>.of[k])), absent, a);
    const V counted = select(greater(e, share), others, absent);
    rest.store(k, map.sign(select(greater(e, share), absent, others)));
    const W sum = large + exp_wide(counted, map, s.base);
    large = W::choose(greater(widened(counted), P(-__builtin_inf())), sum, large);
  }
  GroupSummary<T> small;
  stages.begin(small, rest, n, 0, map);
  if ((static_cast<unsigned>(greater(small.highest, absent)) & slot.rows()) == 0) return large;
  stages.add(small, rest, {}, n, 0, map);
  const P moved = widened(small.base.exponent) - widened(s.base.exponent), zero(0.0);
  const auto seen = greater(moved, P(-1023.0));
  const P factor = select(seen, power_of_two(select(seen, moved, zero)), zero);
  return large + (small.tail + small.top) * factor;
}

// The logarithms of a call's rows. Where they cancel the tail is refined, at three times the cost of
// a summary. Of rows of three normal logits every fifth does, one in nearly every group: they are
// gathered, and refined when they fill a group of their own.
template <class T>
class Logarithms {
 public:
  using P = Pack<T>;
  static constexpr int lanes = Vec<T>::lanes;

  Logarithms(const Call& call, void* memory)
      : call_(call),
        map_(call.negate, call.temperature),
        stages_(stages_of<T>(call)),
        memory_(memory),
        n_(static_cast<int>(call.classes)) {
    const int last = call.space.ndim - 1;
    step_ = last >= 0 ? call.out[0].row_stride[last] : 0;
    again_.x = in_panel(panel_of<T>(call, memory, 2));
    again_.second = group_buffer<T>(call, memory);
    again_.group.count = 0;
  }

  // Every group's logarithms, and only then the rows to do again: to branch on each group's would be to
  // wait for it.
  void write(const GroupSlot<T>* slots, int used) {
    unsigned again[most_batch];
    for (int i = 0; i < used; ++i) again[i] = write(slots[i]);
    for (int i = 0; i < used; ++i) gather(slots[i], again[i]);
  }

  // The rows gathered so far.
  void refine() {
    int& count = again_.group.count;
    if (count == 0) return;
    for (int k = 0; k < n_; ++k) {
      for (int r = count; r < lanes; ++r) again_.x.at(k)[r] = T(0);
    }
    GroupSummary<T>& s = again_.summary;
    stages_.begin(s, again_.x, n_, again_.rows(), map_);
    stages_.add(s, again_.x, {}, n_, again_.rows(), map_);
    alignas(64) T value[lanes];
    narrowed<T>(value_of(s, refined_tail(again_, n_, stages_, map_))).store(value);
    for (int r = 0; r < count; ++r) Row<T>{results_[r], 0, call_.out[0].format}.set(0, value[r]);
    count = 0;
  }

 private:
  P value_of(const GroupSummary<T>& s, const Wide<T, P>& tail) const {
    const P temperature(call_.temperature);
    const Wide<double, P> l = log1p_ratio<P>(tail, s.top);
    const P v = fma1(temperature, l.hi, fma1(temperature, l.lo, widened(s.highest)));
    return call_.negate ? -v : v;
  }

  // The rows to do again.
  unsigned write(const GroupSlot<T>& slot) const {
    const GroupSummary<T>& s = slot.summary;
    const P value = value_of(s, s.tail);
    write_row_values(call_, slot.group, call_.out[0],
                     blanked(narrowed<T>(value), s.bad, quiet_nan<T>()));
    if (call_.out[1].data != nullptr) {  // the sum's sign
      write_row_values(call_, slot.group, call_.out[1],
                       blanked(Vec<T>(T(1)), s.bad, quiet_nan<T>()));
    }
    const auto close = cancels<T>(widened(s.highest), s.tail, s.sum, value, P(call_.temperature));
    return static_cast<unsigned>(close) & slot.rows() & ~s.bad;
  }

  void gather(const GroupSlot<T>& slot, unsigned rows) {
    for (; rows != 0; rows &= rows - 1) {
      const int r = first_set(rows);
      if (n_ > most_panel_classes) {
        const index_t row = slot.group.first.row() + r;
        logsumexp_rows<T>(call_, row, row + 1, memory_);
        continue;
      }
      int& count = again_.group.count;
      for (int k = 0; k < n_; ++k) again_.x.at(k)[count] = slot.x.at(k)[r];
      results_[count] = slot.group.first.locate(call_.out[0]) + r * step_;
      if (++count == lanes) refine();
    }
  }

  const Call& call_;
  Affine<T> map_;
  Stages<T> stages_;
  void* memory_;
  int n_;
  index_t step_;
  GroupSlot<T> again_;
  char* results_[lanes];
};

template <class T>
inline void across_logsumexp(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_groups<T>(call)) return logsumexp_rows<T>(call, begin, end, memory);
  Logarithms<T> logarithms(call, memory);
  each_group<T>(
      call, begin, end, memory, Keep::nothing, nullptr, {}, [](GroupSlot<T>&) {},
      [&](const GroupSlot<T>* slots, int used) { logarithms.write(slots, used); },
      logsumexp_rows<T>);
  logarithms.refine();
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
