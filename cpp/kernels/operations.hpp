// The operations that have more than one traversal: what rows abreast make of their summaries, and
// which traversal a call takes.
#pragma once

#include "kernels/abreast.hpp"
#include "kernels/across_reductions.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
inline void fill_row(T* y, int n, T value) {
  for (int k = 0; k < n; ++k) y[k] = value;
}

template <class T>
void softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_abreast<T>(call, &call.out[0])) return across_softmax<T>(call, begin, end, memory);
  const auto finish = [&](const Abreast<T>& rows) {
    const GroupSummary<T>& s = rows.summary;
    const Wide<T, Pack<T>> inverse = s.inverse();
    const FactorByRow<T> factors(Factor<T>::within(inverse));
    const Mend<T> mend(s, inverse);
    const ByRow<T> key(mend.key), value(mend.value), others(s.tied ? s.others : Vec<T>(T(0)));
    // Last row first: it is what L1 still has. 512 to 1024 classes 0.90 to 0.95 times the time (AVX2, float32).
    for (int r = rows.group.count - 1; r >= 0; --r) {
      T* const e = rows.e[r];
      const Factor<T> factor = factors[r];
      if (others.of[r] > 0) {
        const Vec<T> tied = key[r], share = value[r];
        each_overlapping(e, rows.n, [&](int k, Vec<T> a, auto part) __attribute__((always_inline)) {
          part.store(select(equal(a, tied), share, factor(a)), e + k);
        });
        continue;
      }
      each_overlapping(e, rows.n, [&](int k, Vec<T> a, auto part) __attribute__((always_inline)) {
        part.store(factor(a), e + k);
      });
      if (key.of[r] == key.of[r]) e[rows.argmax[r]] = value.of[r];
    }
    for (unsigned bad = s.bad; bad != 0; bad &= bad - 1) {
      fill_row(rows.e[first_set(bad)], rows.n, quiet_nan<T>());
    }
  };
  each_abreast<T>(
      call, begin, end, memory, &call.out[0], nullptr, [](Abreast<T>&) {}, finish, softmax_rows<T>);
}

template <class T>
void log_softmax(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_abreast<T>(call, &call.out[0])) return across_log_softmax<T>(call, begin, end, memory);
  const auto finish = [&](const Abreast<T>& rows) {
    const GroupSummary<T>& s = rows.summary;
    const ByRow<T> max(s.highest), ratio(narrowed<T>(log1p_ratio(s.tail, s.top).value()));
    for (int r = 0; r < rows.group.count; ++r) {
      const T* const a = rows.x[r];
      T* const y = rows.written[r];
      const Vec<T> highest = max[r], minus(-ratio.of[r]);
      each_vector<T>(rows.n, [&](int k, auto part) __attribute__((always_inline)) {
        part.store((part.load(a + k) - highest) + minus, y + k);
      });
      if ((s.bad >> r & 1) != 0) fill_row(y, rows.n, quiet_nan<T>());
    }
  };
  each_abreast<T>(
      call, begin, end, memory, nullptr, &call.out[0], [](Abreast<T>&) {}, finish,
      log_softmax_rows<T>);
}

template <class T>
void logsumexp(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!suits_abreast<T>(call, nullptr)) return across_logsumexp<T>(call, begin, end, memory);
  using P = Pack<T>;
  const auto finish = [&](const Abreast<T>& rows) {
    const GroupSummary<T>& s = rows.summary;
    const Wide<T, P> l = log1p_ratio(s.tail, s.top);
    const P value = l.value() + (l.low() + widened(s.highest));
    write_row_values(call, rows.group, call.out[0],
                     blanked(narrowed<T>(value), s.bad, quiet_nan<T>()));
    if (call.out[1].data != nullptr)  // the sum's sign
      write_row_values(call, rows.group, call.out[1], blanked(Vec<T>(T(1)), s.bad, quiet_nan<T>()));
    const auto close = cancels<T>(widened(s.highest), s.tail, s.top, value, P(1.0));
    for (unsigned again = static_cast<unsigned>(close) & rows.rows() & ~s.bad; again != 0;
         again &= again - 1) {
      const index_t row = rows.group.first.row() + first_set(again);
      logsumexp_rows<T>(call, row, row + 1, memory);
    }
  };
  each_abreast<T>(
      call, begin, end, memory, nullptr, nullptr, [](Abreast<T>&) {}, finish, logsumexp_rows<T>);
}

// False where the rows are not for this traversal.
template <class T>
inline bool abreast_cross_entropy(const Call& call, index_t begin, index_t end, void* memory,
                                  const Results& to, Kernel rows_kernel) {
  using V = Vec<T>;
  using P = Pack<T>;
  const Stream* const terms = to.gradient != nullptr ? to.gradient : to.diagonal;
  const bool both = to.gradient != nullptr && to.diagonal != nullptr;
  if (!LabelledGroups<T>::targeted(call) ||
      !suits_abreast<T>(call, terms, both ? to.diagonal : nullptr) ||
      (call.probabilities.data != nullptr && !lies_abreast<T>(call, call.probabilities)))
    return false;
  const LabelledGroups<T> labelled(call, LabelledGroups<T>::wanted(call, to));
  const auto finish = [&](const Abreast<T>& rows) {
    const GroupSummary<T>& s = rows.summary;
    const auto numbers = labelled.numbers(rows);
    if (labelled.wants_loss()) {
      labelled.write_loss(rows, numbers, log1p_ratio(s.tail, s.top), to.loss);
    }
    if (terms == nullptr) return;
    const Wide<T, P> inverse = s.inverse();
    const unsigned left_out = numbers.left_out & rows.rows();
    const auto blank = [&](T* y, int r) {
      if ((left_out >> r & 1) != 0)
        fill_row(y, rows.n, T(0));
      else if ((s.bad >> r & 1) != 0)
        fill_row(y, rows.n, quiet_nan<T>());
    };
    if (both && numbers.unscaled) {  // as in fused_cross_entropy; no row is left out
      const FactorByRow<T> factors(Factor<T>::within(inverse));
      const ByRow<T> at_top(labelled.top_curvature(s, numbers, inverse));
      const ByRow<T> at_label(labelled.label_gradient(rows, numbers, inverse));
      const auto confident = static_cast<unsigned>(s.confident);
      for (int r = 0; r < rows.group.count; ++r) {
        T* const e = rows.e[r];
        T* const h = rows.written[r];
        const Factor<T> f = factors[r];
        each_overlapping(e, rows.n, [&](int k, V a, auto part) __attribute__((always_inline)) {
          const V p = f(a);
          part.store(fnma(p, p, p), h + k);
          part.store(p, e + k);
        });
        if ((confident >> r & 1) != 0) h[rows.argmax[r]] = at_top.of[r];
        if (call.labels != nullptr) e[label_of(call, rows.group.first.row() + r)] = at_label.of[r];
        blank(h, r);
        blank(e, r);
      }
      return;
    }
    if (to.diagonal != nullptr) {
      const VarianceByRow<T> variances(Variance<T, P>(inverse, numbers.curvature));
      const ByRow<T> at_top(labelled.top_curvature(s, numbers, inverse));
      const auto confident = static_cast<unsigned>(s.confident);
      for (int r = 0; r < rows.group.count; ++r) {
        const T* const e = rows.e[r];
        T* const h = both ? rows.written[r] : rows.e[r];
        const Variance<T> variance = variances[r];
        variance.apply([&](auto of) __attribute__((always_inline)) {
          each_overlapping(e, rows.n, [&](int k, V a, auto part) __attribute__((always_inline)) {
            part.store(of(a), h + k);
          });
        });
        if ((confident >> r & 1) != 0) h[rows.argmax[r]] = at_top.of[r];
        blank(h, r);
      }
    }
    if (to.gradient != nullptr) {
      const Normalizer<T, P> scaled(inverse, numbers.curvature);
      const NormalizerByRow<T> factors(scaled);
      const ByRow<T> at_label(labelled.soft() ? V(T(0))
                                              : labelled.label_gradient(rows, numbers, inverse));
      const bool smoothed = labelled.smoothed(), soft = labelled.soft();
      const auto confident = static_cast<unsigned>(s.confident);
      const V none(T(0));
      alignas(64) T own[V::lanes] = {};
      alignas(64) double scale[V::lanes], scale_low[V::lanes];
      for (int r = 0; soft && r < rows.group.count; ++r) own[r] = rows.shares[r][rows.argmax[r]];
      numbers.scale.value().store(scale);
      numbers.scale.low().store(scale_low);
      const ByRow<T> less(smoothed ? labelled.subtracted(numbers) : none),
          at_own(smoothed ? labelled.top_gradient(rows, numbers, inverse)
                 : soft   ? labelled.top_gradient(rows, numbers, inverse, V::load(own))
                          : none);
      for (int r = rows.group.count - 1; r >= 0; --r) {
        T* const e = rows.e[r];
        const Factor<T> f = factors[r];
        if (soft) {
          subtract_shares(e, rows.shares[r], rows.n, f, factors.step1[r], factors.step2[r],
                          Wide<T>::of(scale[r], scale_low[r]), unit_shares(call));
        } else if (smoothed) {
          const V step1 = factors.step1[r], step2 = factors.step2[r], minus = less[r];
          each_overlapping(e, rows.n, [&](int k, V a, auto part) __attribute__((always_inline)) {
            part.store(f.minus(a * step1 * step2, minus), e + k);
          });
        } else if (scaled.moves()) {
          const V step1 = factors.step1[r], step2 = factors.step2[r];
          each_overlapping(e, rows.n, [&](int k, V a, auto part) __attribute__((always_inline)) {
            part.store(f(a * step1 * step2), e + k);
          });
        } else {
          each_overlapping(e, rows.n, [&](int k, V a, auto part) __attribute__((always_inline)) {
            part.store(f(a), e + k);
          });
        }
        if (call.labels != nullptr) {
          e[label_of(call, rows.group.first.row() + r)] = at_label.of[r];
        }
        if ((smoothed || soft) && (confident >> r & 1) != 0) e[rows.argmax[r]] = at_own.of[r];
        blank(e, r);
      }
    }
  };
  each_abreast<T>(
      call, begin, end, memory, terms, both ? to.diagonal : nullptr,
      [&](Abreast<T>& rows) { labelled.start(rows); }, finish, rows_kernel);
  return true;
}

// Hessian-vector products of rows abreast, as cross_entropy_hvp_rows.
template <class T>
inline void abreast_hvp(const Call& call, index_t begin, index_t end, void* memory) {
  using V = Vec<T>;
  using P = Pack<T>;
  using W = Wide<T, P>;
  using S = HvpScale<T>;
  const LabelledGroups<T> labelled(call, Loss::unwanted);
  const auto finish = [&](Abreast<T>& rows) {
    const GroupSummary<T>& s = rows.summary;
    const auto numbers = labelled.numbers(rows);
    const T* v[V::lanes] = {};
    T origin[V::lanes] = {};
    const auto confident = static_cast<unsigned>(s.confident);
    alignas(64) double hi[V::lanes] = {}, lo[V::lanes] = {};
    locate_rows(rows.group.first, rows.group.count, call.vector, v);
    for (int r = 0; r < rows.group.count; ++r) {
      if ((confident >> r & 1) != 0) {
        origin[r] = v[r][rows.argmax[r]];
      } else {
        NearestToZero<T> nearest;
        take_entries(nearest, v[r], rows.n);
        origin[r] = nearest.of_all();
      }
      LaneSum<T> means;
      add_moments(means, rows.e[r], v[r], rows.n, V(origin[r]), false,
                  [](Vec<double> t) __attribute__((always_inline)) {
                    return S::unit == 1 ? t : t * Vec<double>(S::unit);
                  });
      const Wide<T> total = means.total();
      hi[r] = total.value();
      lo[r] = total.low();
    }
    const W inverse = s.inverse();
    const W mean = W::of(P::load(hi), P::load(lo)) * (inverse * P(1 / S::unit));
    const W top = numbers.curvature * (s.top * inverse) * mean;
    const ByRow<T> means(narrowed<T>(mean.value())), own(narrowed<T>(-top.value()));
    const Normalizer<T, P> scaled(inverse, numbers.curvature * P(pow2(S::boost)));
    const NormalizerByRow<T> factors(scaled);
    for (int r = 0; r < rows.group.count; ++r) {
      T* const e = rows.e[r];
      const Factor<T> f = factors[r];
      const V o(origin[r]), step1 = factors.step1[r], step2 = factors.step2[r];
      if (scaled.moves()) {
        write_hvp(e, v[r], rows.n, o, means[r],
                  [&](V t) __attribute__((always_inline)) { return f(t * step1 * step2); });
      } else {
        write_hvp(e, v[r], rows.n, o, means[r], f);
      }
      if ((confident >> r & 1) != 0) e[rows.argmax[r]] = own.of[r];
      if ((numbers.left_out >> r & 1) != 0)
        fill_row(e, rows.n, T(0));
      else if ((s.bad >> r & 1) != 0)
        fill_row(e, rows.n, quiet_nan<T>());
    }
  };
  each_abreast<T>(
      call, begin, end, memory, &call.out[0], nullptr, [](Abreast<T>&) {}, finish,
      cross_entropy_hvp_rows<T>);
}

// By the traversal that suits the call.
template <class T>
inline void any_cross_entropy(const Call& call, index_t begin, index_t end, void* memory,
                              const Results& to, Kernel rows_kernel) {
  if (abreast_cross_entropy<T>(call, begin, end, memory, to, rows_kernel)) return;
  // Probabilities are read beside the logits, where a second output would be written.
  const bool both = to.gradient != nullptr && to.diagonal != nullptr;
  const bool suits = Target<T>::plain(call) ? !both : LabelledGroups<T>::labelled(call);
  if (!suits || !suits_groups<T>(call)) return rows_kernel(call, begin, end, memory);
  across_cross_entropy<T>(call, begin, end, memory, to, rows_kernel);
}

template <class T>
void cross_entropy(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  any_cross_entropy<T>(call, begin, end, memory, {present(call.out[0]), nullptr, nullptr},
                       cross_entropy_rows<T>);
}
template <class T>
void cross_entropy_grad(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  any_cross_entropy<T>(call, begin, end, memory, {nullptr, present(call.out[0]), nullptr},
                       cross_entropy_grad_rows<T>);
}
template <class T>
void cross_entropy_value_and_grad(const Call& call, index_t begin, index_t end,
                                  void* memory) noexcept {
  any_cross_entropy<T>(call, begin, end, memory,
                       {present(call.out[0]), present(call.out[1]), nullptr},
                       cross_entropy_value_and_grad_rows<T>);
}
template <class T>
void cross_entropy_grad_and_hess_diag(const Call& call, index_t begin, index_t end,
                                      void* memory) noexcept {
  any_cross_entropy<T>(call, begin, end, memory,
                       {nullptr, present(call.out[0]), present(call.out[1])},
                       cross_entropy_grad_and_hess_diag_rows<T>);
}
template <class T>
void cross_entropy_hessian_diag(const Call& call, index_t begin, index_t end,
                                void* memory) noexcept {
  any_cross_entropy<T>(call, begin, end, memory, {nullptr, nullptr, present(call.out[0])},
                       cross_entropy_hessian_diag_rows<T>);
}

template <class T>
void cross_entropy_hvp(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const bool abreast =
      LabelledGroups<T>::labelled(call) && suits_abreast<T>(call, &call.out[0], &call.vector);
  return abreast ? abreast_hvp<T>(call, begin, end, memory)
                 : across_hvp<T>(call, begin, end, memory);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
