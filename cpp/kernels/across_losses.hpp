// Cross-entropy and its derivatives with rows across lanes: targets that are labels, probabilities as they are, or none.
#pragma once

#include "kernels/across_maps.hpp"
#include "kernels/curvature.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// As CrossEntropyRow, for the rows of a group.
template <class T>
class LabelledGroups {
 public:
  using V = Vec<T>;
  using P = Pack<T>;
  using W = Wide<T, P>;
  static constexpr int lanes = V::lanes;

  LabelledGroups(const Call& call, Loss loss)
      : call_(call), smoothing_(call), loss_(loss == Loss::wanted) {
    soft_ = Target<T>::plain(call);
    // Smoothing changes a label's W; where there is no target W is 1.
    const bool weighs = call.labels != nullptr && call.label_smoothing != 0;
    smoothed_ = weighs && smoothing_.uniform.hi > 0;
    dense_ = weighs || soft_;
  }

  static bool labelled(const Call& call) {
    return call.probabilities.data == nullptr &&
           (call.labels == nullptr || call.label_smoothing == 0 || call.weight == nullptr);
  }
  // The same with probabilities that are shares as they are: of losses and their gradients and diagonals alone, for to
  // read them takes another operand's place.
  static bool targeted(const Call& call) { return labelled(call) || Target<T>::plain(call); }
  bool smoothed() const { return smoothed_; }
  bool soft() const { return soft_; }
  bool wants_loss() const { return loss_; }
  // Are derivatives as they are, without weights and scale?
  bool unscaled() const {
    return call_.scale == 1 && call_.row_scale == nullptr && !dense_ &&
           (call_.weight == nullptr || call_.labels == nullptr);
  }
  static bool suit(const Call& call) { return labelled(call) && suits_groups<T>(call); }

  // Before the exponentials take the logits' place.
  template <class Slot>
  void start(Slot& slot) const {
    if (call_.labels != nullptr) find_labels(slot);
    if (dense_) sum_dense(slot);
  }
  // Out of line, as all of dense targets, to which nothing goes by reference that labels need in registers: gradients of
  // these took 1.07 to 1.12 times as long.
  template <class Slot>
  __attribute__((noinline)) void sum_dense(Slot& slot) const {
    const int n = static_cast<int>(call_.classes);
    if (soft_) return slot.sum_shares(call_, n);
    if (!smoothed_ || !loss_) return;
    const P gap = widened(slot.summary.highest) - widened(V::load(slot.label_logit));
    slot.gap = smoothed_gap(spread(smoothing_.of_gaps()) * slot.sum_of_gaps(n),
                            spread(smoothing_.keep), gap);
  }
  template <class Slot>
  void find_labels(Slot& slot) const {
    const index_t row = slot.group.first.row();
    const int count = slot.group.count;
    if constexpr (std::is_same_v<Slot, GroupSlot<T>>) {
      if (count == lanes && call_.classes <= 16) return start_few(slot, call_.labels + row);
    }
    for (int r = 0; r < count; ++r) {
      const index_t label = label_of(call_, row + r);
      slot.label_logit[r] = slot.logit(r, label);
      slot.label_of[r] = static_cast<T>(label);
    }
    for (int r = count; r < lanes; ++r) slot.label_logit[r] = slot.label_of[r] = T(0);
  }
  static W spread(const Wide<T>& w) { return W::of(P(w.value()), P(w.low())); }

  // Each class is compared with the labels: sixteen of them take less than an element here and there. No label is an index
  // here, and so they may be anything by now.
  void start_few(GroupSlot<T>& slot, const std::int64_t* labels) const {
    const P label =
        P::each([&](int j) { return Vec<double>::from_integers(labels + j * Vec<double>::lanes); });
    const V own = narrowed<T>(label);
    V logit = slot.x.load(0);
    for (int k = 1; k < static_cast<int>(call_.classes); ++k) {
      logit = select(equal(own, V(ordinals<T>.of[k])), slot.x.load(k), logit);
    }
    logit.store(slot.label_logit);
    own.store(slot.label_of);
  }

  // The numbers of a group's rows.
  struct Numbers {
    W scale;  // what multiplies loss and derivatives
    W total;  // W
    P row_scale;
    W curvature;  // c of c (diag(p) - p p^T)
    unsigned left_out = 0;
    // Are there no weights, so that the loss is as it is? Is it so with the derivatives, too?
    bool unweighted = true, unscaled = true;
  };
  template <class Slot>
  SOFTLANE_INLINE Numbers numbers(const Slot& slot) const {
    Numbers v;  // by its members: braces would clear it first
    v.scale = W{P(call_.scale)};
    v.total = W{P(1.0)};
    v.row_scale = P(1.0);
    const index_t row = slot.group.first.row();
    alignas(64) double a[lanes];
    if (call_.row_scale != nullptr) {
      for (int r = 0; r < lanes; ++r) {
        a[r] = r < slot.group.count ? call_.row_scale[row + r] : 1;
        v.left_out |= static_cast<unsigned>(a[r] == 0) << r;
      }
      v.row_scale = P::load(a);
      v.scale = v.scale * v.row_scale;
      v.unweighted = false;
    }
    if (call_.weight != nullptr && call_.labels != nullptr) {
      for (int r = 0; r < lanes; ++r) {
        a[r] = r < slot.group.count ? call_.weight[label_of(call_, row + r)] : 1;
      }
      v.total = W{P::load(a)};
      v.unweighted = false;
    }
    if (dense_) {
      v.total =
          soft_ ? slot.total : spread(smoothing_.keep + smoothing_.uniform * smoothing_.weights);
      v.unweighted = false;
    }
    v.unscaled = unscaled();
    v.curvature = v.unscaled ? v.total : v.scale * v.total;
    return v;
  }

  // Times row_scale, not scale, as CrossEntropyRow::loss.
  template <class Slot>
  SOFTLANE_INLINE P loss(const Slot& slot, const Numbers& v, const W& log_ratio) const {
    const GroupSummary<T>& s = slot.summary;
    if (smoothed_ || soft_) return dense_loss(slot.gap, v.total, v.row_scale, log_ratio);
    const P zero(0.0), max = widened(s.highest), y = widened(V::load(slot.label_logit));
    const P d = max - y;
    const W value = difference<T>(max, y) + log_ratio;
    if (v.unweighted) {
      const P rounded_sum = value.value(), rough = d + log_ratio.value();
      const P finite = select(equal(rounded_sum - rounded_sum, zero), rounded_sum, rough);
      return select(equal(d - d, zero), finite, d);
    }
    const W sum = v.total * value;
    const P plain = (sum * v.row_scale).value();
    // -inf at the label
    const P infinite = v.row_scale * (v.total.value() * d);
    // Beyond the range, at least on the way, where low parts are NaN.
    const P rough = v.row_scale * v.total.value() * (d + log_ratio.value());
    const P finite = select(equal(plain - plain, zero), plain, rough);
    const P either = select(equal(d - d, zero), finite, infinite);
    return select(equal(v.total.value(), zero), zero, either);
  }

  __attribute__((noinline)) static P dense_loss(W gap, W total, P row_scale, W log_ratio) {
    const P zero(0.0), gaps = row_scale * gap.value();
    const P value = ((total * log_ratio + gap) * row_scale).value();
    const P rough = row_scale * total.value() * log_ratio.value() + gaps;
    const P finite = select(equal(value - value, zero), value, rough);
    return select(equal(gap.value() - gap.value(), zero), finite, gaps);
  }

  // The Hessian's diagonal at the maximum, as CrossEntropyRow::mend_diagonal.
  static SOFTLANE_INLINE V top_curvature(const GroupSummary<T>& s, const Numbers& v,
                                         const W& inverse) {
    if (v.unscaled) return top_curvature(s, inverse);
    return narrowed<T>((v.curvature * ((s.top * inverse) * (s.tail * inverse))).value());
  }
  // Where derivatives are unscaled.
  static SOFTLANE_INLINE V top_curvature(const GroupSummary<T>& s, const W& inverse) {
    return narrowed<T>(((s.top * inverse) * (s.tail * inverse)).value());
  }

  // The gradient at the label, as CrossEntropyRow::mend_gradient.
  template <class Slot>
  SOFTLANE_INLINE V label_gradient(const Slot& slot, const Numbers& v, const W& inverse) const {
    const GroupSummary<T>& s = slot.summary;
    const V logit = V::load(slot.label_logit);
    if (smoothed_) return smoothed_label_gradient(logit, s.base, v, inverse);
    const P term = widened(exp_from_base(logit, Direct<T>{}, s.base));
    W less{P(-1.0)}, p = inverse * term, rest = s.tail * inverse;
    if (!v.unscaled) {
      p = v.curvature * p;
      rest = v.curvature * rest;
      less = v.curvature * P(-1.0);
    }
    const P at_top = P(0.0) - rest.value();  // not -0, of a class by itself
    return select(equal(logit, s.highest), narrowed<T>(at_top), narrowed<T>((p + less).value()));
  }
  __attribute__((noinline)) V smoothed_label_gradient(V logit, const Base<T, V>& base,
                                                      const Numbers& v, const W& inverse) const {
    const W p = v.curvature * (exp_wide(logit, Direct<T>{}, base) * inverse);
    const W own = v.scale * spread(smoothing_.keep + smoothing_.uniform) * P(-1.0);
    return narrowed<T>((p + own).value());
  }
  // Does the label have the maximum? 1 or 0, for the masks of V and of P differ.
  template <class Slot>
  static SOFTLANE_INLINE typename P::Mask label_at_top(const Slot& slot) {
    const V one(T(1)), none(T(0));
    const auto top = equal(V::load(slot.label_logit), slot.summary.highest);
    return equal(widened(select(top, one, none)), P(1.0));
  }
  // Of smoothed labels, what is subtracted at every class, and the gradient where the maximum outweighs all others.
  V subtracted(const Numbers& v) const {
    const P c(smoothing_.uniform.value()), low(smoothing_.uniform.low()), s = v.scale.value();
    return narrowed<T>(fma1(c, s, fma1(c, v.scale.low(), low * s)));
  }
  template <class Slot>
  V top_gradient(const Slot& slot, const Numbers& v, const W& inverse) const {
    const W kept = W::choose(label_at_top(slot), spread(Wide<T>{0}), spread(smoothing_.keep));
    const W others = kept + spread(smoothing_.uniform * (smoothing_.weights + Wide<T>{-1.0}));
    return top_gradient(slot.summary, v, inverse, others);
  }
  // The same of shares, of which `own` is the maximum's: by the operations of Target::at and others(), whose bits these are.
  template <class Slot>
  V top_gradient(const Slot& slot, const Numbers& v, const W& inverse, V own) const {
    const W t = (spread(smoothing_.keep) * widened(own) + spread(smoothing_.uniform)) * P(1.0);
    return top_gradient(slot.summary, v, inverse, slot.total + t * P(-1.0));
  }
  V top_gradient(const GroupSummary<T>& s, const Numbers& v, const W& inverse,
                 const W& others) const {
    const W rest = v.curvature * (s.tail * inverse) * P(-1.0);
    return narrowed<T>((v.scale * others + rest).value());
  }

  static Loss wanted(const Call& call, const Results& to) {
    return to.loss != nullptr || call.row_loss != nullptr ? Loss::wanted : Loss::unwanted;
  }
  template <class Slot>
  SOFTLANE_INLINE void write_loss(const Slot& slot, const Numbers& v, const W& log_ratio,
                                  const Stream* to) const {
    const unsigned bad = slot.summary.bad & ~v.left_out;
    const P l = loss(slot, v, log_ratio);
    if (call_.row_loss != nullptr) {
      alignas(64) double a[lanes];
      l.store(a);
      for (int r = 0; r < slot.group.count; ++r) {
        const bool out = (v.left_out >> r & 1) != 0, nan = (bad >> r & 1) != 0;
        call_.row_loss[slot.group.first.row() + r] = out   ? 0.0
                                                     : nan ? static_cast<double>(quiet_nan<T>())
                                                           : a[r];
      }
    } else {
      const V rows = blanked(narrowed<T>(l), bad, quiet_nan<T>());
      write_row_values(call_, slot.group, *to, blanked(rows, v.left_out, T(0)));
    }
  }
  // Rows with a NaN, and those that are left out.
  template <class Results>
  void blank(const GroupSlot<T>* slots, int used, Results results) const {
    for (int i = 0; i < used; ++i) {
      const GroupSlot<T>& slot = slots[i];
      if (slot.summary.bad == 0 && call_.row_scale == nullptr) continue;
      const Columns<T> y = results(slot);
      blank_rows(y, call_.classes, slot.summary.bad, quiet_nan<T>());
      blank_rows(y, call_.classes, numbers(slot).left_out & slot.rows(), T(0));
    }
  }

 private:
  const Call& call_;
  Smoothing<T> smoothing_;
  bool loss_, soft_, smoothed_;
  bool dense_;  // is W not that of a label alone?
};

// The share of the class whose term is `key`, where there is one.
template <class T>
inline Vec<T> share_of_top(const GroupSlot<T>& slot, Vec<T> key, int n) {
  Vec<T> own(T(0));
  for (int k = 0; k < n; ++k) own = select(equal(slot.e.load(k), key), slot.other.load(k), own);
  return own;
}

// The gradient of smoothed labels and of probabilities.
template <class T>
__attribute__((noinline)) void dense_gradients(const LabelledGroups<T>& labelled,
                                               const GroupSlot<T>* slots, int used,
                                               const Wide<T, Pack<T>>* inverse,
                                               const Vec<T>* at_label, bool unit, int n,
                                               const Carrier<T>& out) {
  using V = Vec<T>;
  using P = Pack<T>;
  if (labelled.smoothed()) {
    write_classes(
        slots, used, n, out.written_together(),
        [&](const GroupSlot<T>& slot, int i, auto together) {
          const auto numbers = labelled.numbers(slot);
          return [e = slot.e, y = results_of(slot, out, together), key = slot.summary.lone_top(),
                  scaled = Normalizer<T, P>(inverse[i], numbers.curvature),
                  less = labelled.subtracted(numbers),
                  at_top = labelled.top_gradient(slot, numbers, inverse[i]),
                  label = V::load(slot.label_of),
                  own = at_label[i]](int k) __attribute__((always_inline)) {
            const V a = e.load(k), v = scaled.minus(scaled.moves() ? scaled.moved(a) : a, less);
            const V other = select(equal(label, V(ordinals<T>.of[k])), own, v);
            y.store(k, select(equal(a, key), at_top, other));
          };
        });
  } else {
    write_classes(slots, used, n, out.written_together(),
                  [&](const GroupSlot<T>& slot, int i, auto together) {
                    const auto numbers = labelled.numbers(slot);
                    const V key = slot.summary.lone_top();
                    return [e = slot.e, y = results_of(slot, out, together), t = slot.other, key,
                            scaled = Normalizer<T, P>(inverse[i], numbers.curvature),
                            at_top = labelled.top_gradient(slot, numbers, inverse[i],
                                                           share_of_top(slot, key, n)),
                            scale = numbers.scale.value(), low = numbers.scale.low(),
                            unit](int k) __attribute__((always_inline)) {
                      const V a = e.load(k),
                              less = unit ? t.load(k) : scaled_share(t.load(k), scale, low);
                      const V v = scaled.minus(scaled.moves() ? scaled.moved(a) : a, less);
                      y.store(k, select(equal(a, key), at_top, v));
                    };
                  });
  }
}

template <class T>
inline void across_cross_entropy(const Call& call, index_t begin, index_t end, void* memory,
                                 const Results& to, Kernel rows_kernel) {
  using V = Vec<T>;
  using P = Pack<T>;
  const LabelledGroups<T> labelled(call, LabelledGroups<T>::wanted(call, to));
  const Stream* const terms = to.gradient != nullptr ? to.gradient : to.diagonal;
  const bool both = to.gradient != nullptr && to.diagonal != nullptr;
  const Carrier<T> diagonal = both ? Carrier<T>(call, *to.diagonal) : Carrier<T>();
  const bool soft = labelled.soft(), dense = soft || labelled.smoothed(), unit = unit_shares(call);
  const Carrier<T> shares = soft ? Carrier<T>(call, call.probabilities) : Carrier<T>();
  using W = Wide<T, P>;
  const auto losses = [&](const GroupSlot<T>* slots, int used) {
    W log_ratio[most_batch];
    log_ratios(slots, used, log_ratio);
    for (int i = 0; i < used; ++i) {
      labelled.write_loss(slots[i], labelled.numbers(slots[i]), log_ratio[i], to.loss);
    }
  };
  const int n = static_cast<int>(call.classes);
  const Carrier<T> out = terms != nullptr ? Carrier<T>(call, *terms) : Carrier<T>();
  // Of two results one may be crowded.
  const bool either = out.written_together() || diagonal.crowded();
  const auto first_of = [&](const GroupSlot<T>& slot) {
    return out.results(slot.group, slot.first);
  };
  const auto curvatures_of = [&](const GroupSlot<T>& slot) {
    return both ? diagonal.results(slot.group, slot.second) : first_of(slot);
  };
  // As in fused_cross_entropy.
  const auto write_both = [&](const GroupSlot<T>* slots, int used, const W* inverse,
                              const V* at_label) {
    write_classes(
        slots, used, n, either,
        [&](const GroupSlot<T>& slot, int i, auto together) __attribute__((always_inline)) {
          const GroupSummary<T>& s = slot.summary;
          return [e = slot.e, g = results_of(slot, out, together), h = curvatures_of(slot),
                  probability = Factor<T>::within(inverse[i]),
                  at_top = labelled.top_curvature(s, inverse[i]), key = s.lone_top(),
                  label = V::load(slot.label_of), own = at_label[i]](int k)
                     __attribute__((always_inline)) {
                       const V a = e.load(k), p = probability(a);
                       h.store(k, select(equal(a, key), at_top, fnma(p, p, p)));
                       g.store(k, select(equal(label, V(ordinals<T>.of[k])), own, p));
                     };
        });
  };
  const auto write_diagonal = [&](const GroupSlot<T>* slots, int used, const W* inverse) {
    write_classes(slots, used, n, either, [&](const GroupSlot<T>& slot, int i, auto) {
      const auto numbers = labelled.numbers(slot);
      return
          [e = slot.e, h = curvatures_of(slot),
           variance = Variance<T, P>(inverse[i], numbers.curvature), key = slot.summary.lone_top(),
           at_top = labelled.top_curvature(slot.summary, numbers, inverse[i])](int k)
              __attribute__((always_inline)) {
                const V a = e.load(k);
                h.store(k, select(equal(a, key), at_top, variance.of(variance.probability(a))));
              };
    });
  };
  const auto write_gradient = [&](const GroupSlot<T>* slots, int used, const W* inverse,
                                  const V* at_label) {
    const auto write = [&](auto scaled_of) __attribute__((always_inline)) {
      write_classes(
          slots, used, n, either,
          [&](const GroupSlot<T>& slot, int i, auto together) __attribute__((always_inline)) {
            return [e = slot.e, g = results_of(slot, out, together),
                    scaled = scaled_of(slot, inverse[i]), label = V::load(slot.label_of),
                    own = at_label[i]](int k) __attribute__((always_inline)) {
              g.store(k, select(equal(label, V(ordinals<T>.of[k])), own, scaled(e.load(k))));
            };
          });
    };
    if (labelled.unscaled()) {
      return write([](const GroupSlot<T>&, const W& inv) { return Factor<T>::within(inv); });
    }
    write([&](const GroupSlot<T>& slot, const W& inv) {
      return [scaled = Normalizer<T, P>(inv, labelled.numbers(slot).curvature)](V e) {
        return scaled(scaled.moves() ? scaled.moved(e) : e);
      };
    });
  };
  const auto derivatives = [&](const GroupSlot<T>* slots, int used, const W* inverse,
                               const V* at_label) {
    if (both && labelled.unscaled()) {
      write_both(slots, used, inverse, at_label);
    } else {
      if (to.diagonal != nullptr) write_diagonal(slots, used, inverse);
      if (to.gradient != nullptr && dense) {
        dense_gradients(labelled, slots, used, inverse, at_label, unit, n, out);
      } else if (to.gradient != nullptr) {
        write_gradient(slots, used, inverse, at_label);
      }
    }
    labelled.blank(slots, used, first_of);
    if (both) labelled.blank(slots, used, curvatures_of);
  };
  const auto finish = [&](const GroupSlot<T>* slots, int used) {
    if (labelled.wants_loss()) losses(slots, used);
    if (terms == nullptr) return;
    W inverse[most_batch];
    V at_label[most_batch];
    for (int i = 0; i < used; ++i) inverse[i] = slots[i].summary.inverse();
    if (soft) {
      for (V& v : at_label) v = V(T(0));
    } else if (to.gradient != nullptr) {
      for (int i = 0; i < used; ++i) {
        at_label[i] = labelled.label_gradient(slots[i], labelled.numbers(slots[i]), inverse[i]);
      }
    }
    derivatives(slots, used, inverse, at_label);
  };
  each_group<T>(
      call, begin, end, memory, terms != nullptr ? Keep::output : Keep::nothing, terms,
      soft ? shares : diagonal,
      soft   ? Also::read_first
      : both ? Also::written
             : Also::read,
      [&](GroupSlot<T>& slot) { labelled.start(slot); }, finish, rows_kernel);
}

// The products of a group's terms, HvpScale's `unit` times as large, and its vector less the origin.
template <class T>
struct Products {
  using P = Pack<T>;
  Columns<T> e, v;
  Vec<T> origin;
  static SOFTLANE_INLINE P scaled(P t) {
    constexpr double unit = HvpScale<T>::unit;
    return unit == 1 ? t : t * P(unit);
  }
  SOFTLANE_INLINE P term(int k) const { return scaled(widened(e.load(k))); }
  SOFTLANE_INLINE P other(int k) const { return widened(v.load(k) - origin); }

  // Their sum, of up to 64 classes.
  __attribute__((noinline)) Wide<T, P> sum_of_few(int n) const {
    return GroupSlot<T>::of_lanes(
        n, [this](int k, P&) __attribute__((always_inline)) { return term(k) * other(k); });
  }
  // Of more.
  __attribute__((noinline)) Wide<T, P> sum(int n) const {
    P hi[16], lo[16];
    const P zero(0.0);
    for (int l = 0; l < 16; ++l) {
      hi[l] = zero + term(l) * other(l);
      lo[l] = zero;
    }
    // A lane's next four at a time, for its sum lies in memory.
    for (int k0 = 16; k0 < n; k0 += quad_size) {
      const int end = k0 + quad_size < n ? k0 + quad_size : n;
      for (int l = 0; l < 16 && k0 + l < end; ++l) {
        P h = hi[l], low = lo[l];
        for (int k = k0 + l; k < end; k += 16) add_product_to_lane<T>(h, low, term(k), other(k));
        hi[l] = h;
        lo[l] = low;
      }
    }
    return lanes_total<T>(hi, lo, 16);
  }
};

// As cross_entropy_hvp_rows.
template <class T>
inline void across_hvp(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  if (!LabelledGroups<T>::suit(call)) return cross_entropy_hvp_rows<T>(call, begin, end, memory);
  using V = Vec<T>;
  using P = Pack<T>;
  using W = Wide<T, P>;
  using S = HvpScale<T>;
  const V small(S::small), less(static_cast<T>(pow2(-S::boost)));
  const LabelledGroups<T> labelled(call, Loss::unwanted);
  const Carrier<T> vector(call, call.vector), out(call, call.out[0]);
  const int n = static_cast<int>(call.classes);
  const auto results = [&](const GroupSlot<T>& slot) {
    return out.results(slot.group, slot.first);
  };
  const auto writer = [&](const GroupSlot<T>& slot, int,
                          auto together) __attribute__((always_inline)) {
    const GroupSummary<T>& s = slot.summary;
    const Columns<T> v = slot.other, e = slot.e;
    const auto numbers = labelled.numbers(slot);
    const V key = s.lone_top();
    constexpr unsigned all = (1u << V::lanes) - 1;
    NearestToZero<T> nearest;
    for (int k = 0; k < n; ++k) {
      nearest.take(v.load(k));
      if (k % 4 == 3 && (nearest.positive() & nearest.negative()) == all) break;
    }
    V origin = nearest.by_lane();
    if (static_cast<unsigned>(s.confident) != 0) {
      for (int k = 0; k < n; ++k) origin = select(equal(e.load(k), key), v.load(k), origin);
    }
    const W inverse = s.inverse();
    const Products<T> products{e, v, origin};
    const W sum = n <= quad_size ? products.sum_of_few(n) : products.sum(n);
    const W mean = sum * (inverse * P(1 / S::unit));
    const W p_top = s.top * inverse,
            of_top = (numbers.unscaled ? p_top : numbers.curvature * p_top) * mean;
    const double boost = pow2(S::boost);
    const auto scaled = numbers.unscaled ? Normalizer<T, P>(inverse * P(boost))
                                         : Normalizer<T, P>(inverse, numbers.curvature * P(boost));
    return [=, y = results_of(slot, out, together), own = narrowed<T>(-of_top.value()),
            rounded_mean = narrowed<T>(mean.value())](int k) __attribute__((always_inline)) {
      const V a = e.load(k), p = scaled(scaled.moves() ? scaled.moved(a) : a);
      const V off = (v.load(k) - origin) - rounded_mean;
      const auto large = greater(p, small);
      const V product = select(large, p * less, p) * select(large, off, off * less);
      y.store(k, select(equal(a, key), own, product));
    };
  };
  const auto finish = [&](const GroupSlot<T>* slots, int used) {
    write_classes(slots, used, n, out.written_together(), writer);
    labelled.blank(slots, used, results);
  };
  each_group<T>(
      call, begin, end, memory, Keep::output, &call.out[0], vector, Also::read,
      [](GroupSlot<T>&) {}, finish, cross_entropy_hvp_rows<T>);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
