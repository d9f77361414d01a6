// The matrices c (diag(p) - p p^T) of rows across lanes: p and its kin are made a row in each lane, and
// the matrices from them row by row.
#pragma once

#include "kernels/abreast.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// The matrices as rows of n^2 classes, if that is how they lie. Symmetric, a matrix is its transpose.
inline bool flattened(const Call& call, Stream& flat) {
  flat = call.out[0];
  const index_t a = flat.class_stride, b = flat.second_class_stride;
  flat.class_stride = b == a * call.classes ? a : b;
  return b == a * call.classes || a == b * call.classes;
}

// Of few classes, a matrix is made across lanes too: it goes to memory as a row of n^2 classes. From 16
// on, runs are as fast; float64 in AVX-512 has them 8% faster at 15 and 16, float32 20% slower.
template <class T>
inline void small_matrices(const Call& call, index_t begin, index_t end, void* memory,
                           const Stream& flat) {
  using V = Vec<T>;
  using P = Pack<T>;
  constexpr int most = most_across;
  const LabelledGroups<T> labelled(call, Loss::unwanted);
  const int n = static_cast<int>(call.classes), size = n * n;
  const Carrier<T> out(call, flat, size);
  const int last = call.space.ndim - 1;
  const bool expects = last >= 0 && output_bytes(call, sizeof(T)) > expect_from &&
                       flat.format.element == element_of<T>() &&
                       flat.row_stride[last] == size * static_cast<index_t>(sizeof(T));
  T* const panel = moments_of<T>(call, memory);
  T* const buffer = panel + panel_classes(size, 16) * V::lanes;
  const auto write = [&](const GroupSlot<T>& slot, const Columns<T>& h, V at_top,
                         const Variance<T, P>& variance, const auto entry) {
    const int count = n;  // a copy, which no store reaches
    const V key = variance.probability(slot.summary.lone_top());
    V p[most], q[most];
    for (int k = 0; k < count; ++k) {
      p[k] = variance.probability(slot.e.load(k), q[k]);
      q[k] = lost_share(p[k], q[k]);
    }
    for (int j = 0; j < count; ++j) {
      const V pj = p[j], qj = q[j];
      T *in_line = h.at(j * count), *in_column = h.at(j);
      const index_t step = h.at(1) - h.at(0), line = step * count;
#pragma GCC unroll 1  // else GCC 12 takes the loop apart and multiplies for every address
      for (int k = 0; k < j; ++k, in_line += step, in_column += line) {
        const V v = entry(pj, qj, p[k], q[k]);
        v.store(in_line);
        v.store(in_column);
      }
      select(equal(pj, key), at_top, variance.of(pj)).store(in_line);
    }
  };
  const auto finish = [&](const GroupSlot<T>& slot) {
    const GroupSummary<T>& s = slot.summary;
    const auto numbers = labelled.numbers(slot);
    const Row<T> matrices{slot.group.first.locate(flat), static_cast<index_t>(sizeof(T))};
    if (expects && slot.group.straight) matrices.expect(0, index_t{V::lanes} * size);
    const Wide<T, P> inverse = s.inverse();
    const Variance<T, P> variance(inverse, numbers.curvature);
    const V at_top = labelled.top_curvature(s, numbers, inverse);
    const Columns<T> h = out.open(slot.group, panel);
    if (is_unit(variance.between, slot.rows())) {
      write(slot, h, at_top, variance, UnitEntry<T>{});
    } else {
      write(slot, h, at_top, variance, Entry<T>(variance.between));
    }
    blank_rows(h, size, s.bad, quiet_nan<T>());
    blank_rows(h, size, numbers.left_out & slot.rows(), T(0));
    out.write(slot.group, h, buffer);
  };
  each_group<T>(
      call, begin, end, memory, Keep::panel, nullptr, {}, Also::read, [](GroupSlot<T>&) {}, finish,
      cross_entropy_hessian_rows<T>);
}

template <class T>
void cross_entropy_hessian(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  using V = Vec<T>;
  using P = Pack<T>;
  constexpr int W = V::lanes;
  // A group of one row shares nothing.
  if (!LabelledGroups<T>::suit(call) || call.classes > most_panel_classes || W == 1)
    return cross_entropy_hessian_rows<T>(call, begin, end, memory);
  Stream flat;
  if (call.classes <= most_across && flattened(call, flat))
    return small_matrices<T>(call, begin, end, memory, flat);
  const LabelledGroups<T> labelled(call, Loss::unwanted);
  const Matrices<T> out(call);
  const int n = static_cast<int>(call.classes);
  T* const rows = group_buffer<T>(call, memory);
  const Scratch<T> scratch(call, memory);
  const auto finish = [&](const GroupSlot<T>& slot) {
    const GroupSummary<T>& s = slot.summary;
    const auto numbers = labelled.numbers(slot);
    const Wide<T, P> inverse = s.inverse();
    const Variance<T, P> variance(inverse, numbers.curvature);
    const VarianceByRow<T> variances(variance);
    const FactorByRow<T> between(variance.between);
    const ByRow<T> at_top(labelled.top_curvature(s, numbers, inverse)), key(s.lone_top());
    write_panel(slot.first, n, rows, n);
    RowCursor cursor(slot.group.first);
    for (int r = 0; r < slot.group.count; ++r, cursor.advance()) {
      char* const to = cursor.locate(call.out[0]);
      if ((numbers.left_out >> r & 1) != 0) {
        out.fill(T(0), to);
      } else if ((s.bad >> r & 1) != 0) {
        out.fill(quiet_nan<T>(), to);
      } else {
        const Moments<T> m(scratch, n, to);
        m.make(variances[r], rows + r * n, 0, n, [](V e) { return e; });
        m.go_on();
        if (const int top = place_of(rows + r * n, n, key.of[r]); top >= 0) m.d[top] = at_top.of[r];
        out.write(between[r], m, to, scratch.terms);
      }
    }
  };
  each_group<T>(
      call, begin, end, memory, Keep::panel, nullptr, {}, Also::read, [](GroupSlot<T>&) {}, finish,
      cross_entropy_hessian_rows<T>);
  out.settle();
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
