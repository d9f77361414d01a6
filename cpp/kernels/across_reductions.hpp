// logsumexp and entropy with rows across lanes.
#pragma once

#include "kernels/across_maps.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// As Summarizer::refined_tail.
template <class T, class Map>
inline Wide<T, Pack<T>> refined_tail(const GroupSlot<T>& slot, int n, const Map& map) {
  using V = Vec<T>;
  using P = Pack<T>;
  const GroupSummary<T>& s = slot.summary;
  const V absent(negative_infinity<T>()), zero(T(0)), one(T(1));
  P hi[16], lo[16];
  V at_top = zero;
  for (int k = 0; k < n; ++k) {
    const V a = map.sign(slot.x.load(k));
    const auto highest = equal(a, s.highest);
    at_top = at_top + select(highest, one, zero);
    const Wide<T, P> e = exp_wide(select(highest, absent, a), map, s.base);
    const int l = k % 16;
    if (k < 16) hi[l] = lo[l] = P(0.0);
    add_to_lane<T>(hi[l], lo[l], e.value());
    lo[l] = lo[l] + e.low();
  }
  return lanes_total<T>(hi, lo, n < 16 ? n : 16) + s.top * widened(at_top - one);
}

// The logarithms of a call's rows. Where they cancel the tail is refined, which costs more than a
// summary. Of rows of three normal logits every fifth does, one in nearly every group: they are
// gathered, and refined when they fill a batch of their own.
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
    batch_ = group_batch(call);
    for (int i = 0; i < batch_; ++i) {  // the slots' second panels, which nobody else uses
      again_[i].x = in_panel(panel_of<T>(call, memory, 2 * i + 2));
      again_[i].packed = nullptr;
      again_[i].group.count = lanes;
    }
  }

  // Every group's logarithms, and only then the rows to do again: to branch on each group's would be to
  // wait for it.
  void write(const GroupSlot<T>* slots, int used) {
    unsigned again[most_batch];
    Wide<T, P> log_ratio[most_batch];
    log_ratios(slots, used, log_ratio);
    for (int i = 0; i < used; ++i) again[i] = write(slots[i], log_ratio[i]);
    for (int i = 0; i < used; ++i) gather(slots[i], again[i]);
  }

  // The rows gathered so far.
  void refine() {
    if (count_ == 0) return;
    const int used = (count_ + lanes - 1) / lanes;
    for (int row = count_; row < used * lanes; ++row) {
      for (int k = 0; k < n_; ++k) again_[row / lanes].x.at(k)[row % lanes] = T(0);
    }
    stages_.begin(again_, used, n_, map_);
    if (!call_.negate && call_.temperature == 1) {
      refine(used, Direct<T>{});
    } else {
      refine(used, map_);
    }
    count_ = 0;
  }

 private:
  template <class Map>
  void refine(int used, const Map& map) {
    Wide<T, P> log_ratio[most_batch];
    for (int i = 0; i < used; ++i) {
      GroupSummary<T>& s = again_[i].summary;
      s.set_top(map);
      log_ratio[i] = quotient(refined_tail(again_[i], n_, map), s.top);
    }
    for (int i = 0; i < used; ++i) {
      log_ratio[i] = log1p<T>(log_ratio[i].value(), log_ratio[i].low());
    }
    alignas(64) T value[most_batch * lanes];
    for (int i = 0; i < used; ++i) {
      narrowed<T>(value_of(again_[i].summary, log_ratio[i])).store(value + i * lanes);
    }
    for (int r = 0; r < count_; ++r) Row<T>{results_[r], 0, call_.out[0].format}.set(0, value[r]);
  }

  SOFTLANE_INLINE P value_of(const GroupSummary<T>& s, const Wide<T, P>& l) const {
    const P temperature(call_.temperature);
    const P v = fma1(temperature, l.value(), fma1(temperature, l.low(), widened(s.highest)));
    return call_.negate ? -v : v;
  }

  // The rows to do again.
  unsigned write(const GroupSlot<T>& slot, const Wide<T, P>& log_ratio) const {
    const GroupSummary<T>& s = slot.summary;
    const P value = value_of(s, log_ratio);
    write_row_values(call_, slot.group, call_.out[0],
                     blanked(narrowed<T>(value), s.bad, quiet_nan<T>()));
    if (call_.out[1].data != nullptr) {  // the sum's sign
      write_row_values(call_, slot.group, call_.out[1],
                       blanked(Vec<T>(T(1)), s.bad, quiet_nan<T>()));
    }
    const auto close = cancels<T>(widened(s.highest), s.tail, s.top, value, P(call_.temperature));
    return static_cast<unsigned>(close) & slot.rows() & ~s.bad & ~slot.empty;
  }

  void gather(const GroupSlot<T>& slot, unsigned rows) {
    for (; rows != 0; rows &= rows - 1) {
      const int r = first_set(rows);
      if (n_ > most_panel_classes) {
        const index_t row = slot.group.first.row() + r;
        logsumexp_rows<T>(call_, row, row + 1, memory_);
        continue;
      }
      const Columns<T> x = again_[count_ / lanes].x;
      for (int k = 0; k < n_; ++k) x.at(k)[count_ % lanes] = slot.x.at(k)[r];
      results_[count_] = slot.group.first.locate(call_.out[0]) + r * step_;
      if (++count_ == batch_ * lanes) refine();
    }
  }

  const Call& call_;
  Affine<T> map_;
  Stages<T> stages_;
  void* memory_;
  int n_;
  index_t step_;
  int batch_, count_ = 0;
  GroupSlot<T> again_[most_batch];
  char* results_[most_batch * lanes];
};

template <class T>
inline void across_logsumexp(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_groups<T>(call)) return logsumexp_rows<T>(call, begin, end, memory);
  Logarithms<T> logarithms(call, memory);
  each_group<T>(
      call, begin, end, memory, Keep::nothing, nullptr, {}, Also::read, [](GroupSlot<T>&) {},
      [&](const GroupSlot<T>* slots, int used) { logarithms.write(slots, used); },
      logsumexp_rows<T>);
  logarithms.refine();
}

// As summarize_block<Gap::sum>; exponentials that were not kept are made once more.
template <class T, class Map>
inline Wide<T, Pack<T>> tail_gap(const GroupSlot<T>& slot, int n, const Map& map) {
  using V = Vec<T>;
  using P = Pack<T>;
  const GroupSummary<T>& s = slot.summary;
  const P zero(0.0), floor = widened(s.base.floor), top = map.wide_argument(s.highest);
  const P origin = select(greater(top, floor), top, floor);
  const auto term = [&](V x, V t, P& low) __attribute__((always_inline)) {
    const P e = widened(t), z = widened(max(s.base.floor, map.argument(x)));
    const P d = origin - z, product = e * d;
    if (sizeof(T) == sizeof(double)) {
      const P back = origin - d, lost = (back - z) + (origin - (d + back));
      low = fma1(e, d, zero - product) + e * lost;
    }
    return product;
  };
  if (slot.e && n <= quad_size) {
    return GroupSlot<T>::of_lanes(n, [&](int k, P& low) __attribute__((always_inline)) {
      return term(map.sign(slot.x.load(k)), slot.e.load(k), low);
    });
  }
  P hi[16], lo[16];
  for (int k0 = 0; k0 < n; k0 += 4) {
    const int count = n - k0 < 4 ? n - k0 : 4;
    V x[4], t[4];
    for (int i = 0; i < count; ++i) t[i] = x[i] = map.sign(slot.x.load(k0 + i));
    if (slot.e) {
      for (int i = 0; i < count; ++i) t[i] = slot.e.load(k0 + i);
    } else {
      s.exp_from_base_of(count, t, map);
    }
    for (int i = 0; i < count; ++i) {
      const int l = (k0 + i) % 16;
      if (k0 < 16) hi[l] = lo[l] = zero;
      P low = zero;
      add_to_lane<T>(hi[l], lo[l], term(x[i], t[i], low));
      if (sizeof(T) == sizeof(double)) lo[l] = lo[l] + low;
    }
  }
  return lanes_total<T>(hi, lo, n < 16 ? n : 16);
}

template <class T>
void entropy(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_groups<T>(call)) return entropy_rows<T>(call, begin, end, memory);
  using P = Pack<T>;
  using W = Wide<T, P>;
  const Affine<T> map(call.negate, call.temperature);
  const bool plain = !call.negate && call.temperature == 1;
  const Wide<T> unit = entropy_unit<T>(call);
  const int n = static_cast<int>(call.classes);
  const auto finish = [&](const GroupSlot<T>* slots, int used) {
    W log_ratio[most_batch];
    log_ratios(slots, used, log_ratio);
    for (int i = 0; i < used; ++i) {
      const GroupSlot<T>& slot = slots[i];
      const GroupSummary<T>& s = slot.summary;
      const W gaps = plain ? tail_gap(slot, n, Direct<T>{}) : tail_gap(slot, n, map);
      const W sum = log_ratio[i] + quotient(gaps, s.sum()) * P(map.beta());
      const P value = quotient(sum, W::of(P(unit.value()), P(unit.low()))).value();
      write_row_values(call, slot.group, call.out[0],
                       blanked(narrowed<T>(value), s.bad, quiet_nan<T>()));
    }
  };
  each_group<T>(
      call, begin, end, memory, Keep::apart, nullptr, {}, Also::read, [](GroupSlot<T>&) {}, finish,
      entropy_rows<T>);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
