// Cross-entropy, its gradient and its Hessian's diagonal: one read of the logits, one write of each
// result.
#pragma once

#include "kernels/target.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// Which streams an operation writes; null where it has none.
struct Results {
  const Stream* loss = nullptr;
  const Stream* gradient = nullptr;
  const Stream* diagonal = nullptr;
};

// Or derivatives alone, which need no sum of the gaps max - x_k.
enum class Loss : bool { unwanted, wanted };

// a - b, of a float64 row by Knuth's two-difference.
template <class T, class D>
SOFTLANE_INLINE Wide<T, D> difference(D a, D b) {
  const D d = a - b, back = a - d;
  return Wide<T, D>::of(d, (back - b) + (a - (d + back)));
}

template <class T>
class CrossEntropyRow {
 public:
  CrossEntropyRow(const Call& call, const Scratch<T>& scratch, Terms terms, Loss loss)
      : call_(call),
        scratch_(scratch),
        target_(call),
        summarize_(call, scratch, terms),
        loss_(loss == Loss::wanted) {}

  // False where the row is left out, or has no regular result: then whole_row() holds for everything.
  SOFTLANE_INLINE bool read(const RowCursor& cursor, const Row<T>& terms) {
    scale_ = call_.row_scale != nullptr ? call_.row_scale[cursor.row()] : 1;
    whole_row_ = T(0);
    const Part& part = call_.part;
    if (scale_ == 0) {
      const bool last = part.step == Step::whole || part.step == Step::results;
      summary_.kind = last ? RowKind::regular : RowKind::unfinished;
      return false;
    }
    const Row<T> x = cursor.of<T>(call_.logits);
    target_.read(cursor);
    // When a part comes to its results, exponentials may stand where the logits were.
    const index_t y = target_.label();
    label_logit_ = T(0);
    if (y >= 0 && part.step == Step::results) {
      label_logit_ = static_cast<T>(part.row->label_logit);
    } else if (y >= 0 && holds(y)) {
      label_logit_ = x.at(y);
      if (part.row != nullptr) part.row->label_logit = static_cast<double>(label_logit_);
    }
    if (target_.dense() && (loss_ || y < 0)) {
      const T max = summarize_.row_max(x);
      if (max - max == 0) target_.sum(x, max, scratch_);
    }
    summarize_row(call_, summarize_, x, terms, summary_);
    whole_row_ = quiet_nan<T>();
    return summary_.kind == RowKind::regular;
  }
  T whole_row() const { return whole_row_; }
  bool unfinished() const { return summary_.kind == RowKind::unfinished; }
  void fill(const Row<T>& row) const {
    for (index_t k = summarize_.begin(); k < summarize_.end(); ++k) row.set(k, whole_row_);
  }

  const RowSummary<T>& summary() const { return summary_; }
  const Summarizer<Gap::skip, T>& summarizer() const { return summarize_; }
  const Target<T>& target() const { return target_; }
  double row_scale() const { return scale_; }
  Wide<T> gradient_scale() const { return Wide<T>{call_.scale} * scale_; }
  // c of c (diag(p) - p p^T)
  Wide<T> curvature() const { return gradient_scale() * target_.total(); }

  double loss(const RowConstants<T>& c) const {
    const Wide<T> w = target_.total();
    if (target_.dense()) {
      if (target_.gap().hi - target_.gap().hi != 0) return scale_ * target_.gap().hi;
      const double value = ((w * c.log_ratio + target_.gap()) * scale_).value();
      if (value - value == 0) return value;
      return scale_ * w.hi * c.log_ratio.hi + scale_ * target_.gap().hi;
    }
    if (w.hi == 0) return 0;
    const double max = static_cast<double>(summary_.max), y = static_cast<double>(label_logit_);
    const double d = max - y;
    if (d - d != 0) return scale_ * (w.hi * d);
    const double value = (w * (difference<T>(max, y) + c.log_ratio) * scale_).value();
    // Beyond the range, at least on the way, where low parts are NaN.
    return value - value != 0 ? scale_ * w.hi * (d + c.log_ratio.hi) : value;
  }

  // The two elements of the gradient where p_k - t_k would cancel or is not on the common path.
  void mend_gradient(const Row<T>& gradient, const Wide<T>& inverse) const {
    const index_t y = target_.label();
    const Wide<T> st = gradient_scale(), w = curvature();
    const auto less_target = [&](const Wide<T>& term, index_t k) {
      return (w * (term * inverse) + st * target_.at(k) * -1.0).value();
    };
    // 1 - p of a class that has the maximum is T / S.
    const Wide<T> rest = w * (summary_.tail * inverse);
    if (y >= 0 && holds(y)) {
      const bool at_top = !target_.dense() && label_logit_ == summary_.max;
      // Not -0, of a class by itself.
      gradient.set(y, static_cast<T>(at_top ? 0.0 - rest.value() : less_target(label_term(), y)));
    }
    const index_t top = summary_.argmax;
    if (target_.dense() && summary_.confident() && holds(top)) {
      gradient.set(top, static_cast<T>((st * target_.others(top) + rest * -1.0).value()));
    }
  }
  // A p above a half leaves 1 - p fewer digits than T / S has.
  void mend_diagonal(const Row<T>& diagonal, const Wide<T>& inverse) const {
    if (!summary_.confident() || !holds(summary_.argmax)) return;
    const Wide<T> p = summary_.top * inverse, rest = summary_.tail * inverse;
    diagonal.set(summary_.argmax, static_cast<T>((curvature() * (p * rest)).value()));
  }

 private:
  // Without smoothing p - 1 takes no more of p than its rounding, for p is at most a half; a share of the target may
  // be as large as p, of which then nothing but its error is left.
  Wide<T> label_term() const {
    const Affine<T>& map = summarize_.map();
    if (target_.dense()) return exp_wide(label_logit_, map, summary_.base);
    const T term = exp_from_base(Vec<T>(label_logit_), map, summary_.base).lane0();
    return Wide<T>{static_cast<double>(term)};
  }
  bool holds(index_t k) const { return k >= summarize_.begin() && k < summarize_.end(); }

  const Call& call_;
  Scratch<T> scratch_;
  Target<T> target_;
  Summarizer<Gap::skip, T> summarize_;
  RowSummary<T> summary_;
  T label_logit_ = 0, whole_row_ = 0;
  double scale_ = 1;
  bool loss_;
};

// e -> c p (1 - p) with p = e / S, rounded once after p. Where c is above 2, p is carried 2^b times as
// large: a subnormal p has lost digits that c would show, if c is at most 2^b.
template <class T, class D = double>
struct Variance {
  static constexpr double up = sizeof(T) == 4 ? 0x1p50 : 0x1p500;  // 2^b

  Factor<T> probability, curvature;  // 2^b / S, 2^-b c
  Factor<T> between;                 // 2^-2b c, for products of two probabilities
  Vec<T> less{T(1)};                 // 2^-b
  bool boosts = false;               // is any b not 0?

  Variance() = default;
  SOFTLANE_INLINE Variance(const Wide<T, D>& inverse, const Wide<T, D>& c)
      : probability(inverse), curvature(c), between(c) {
    const auto large = greater(c.value(), D(2.0));
    boosts = any(large);
    if (!boosts) return;
    const Vec<T> more = narrowed<T>(select(large, D(up), D(1.0)));
    less = narrowed<T>(select(large, D(1 / up), D(1.0)));
    probability = probability.times(more);
    curvature = curvature.times(less);
    between = curvature.times(less);
  }
  // of 2^b p
  Vec<T> of(Vec<T> p) const { return curvature(fnma(p * less, p, p)); }
  // use(a vector's function of e), the cheaper one where it serves.
  template <class Use>
  SOFTLANE_INLINE void apply(Use use) const {
    if (boosts) {
      use([v = *this](Vec<T> e) __attribute__((always_inline)) { return v.of(v.probability(e)); });
    } else {
      use([p_of = probability, c = curvature](Vec<T> e) __attribute__((always_inline)) {
        const Vec<T> p = p_of(e);
        return c(fnma(p, p, p));
      });
    }
  }
};

// s t
template <class T>
SOFTLANE_INLINE Vec<T> scaled_share(Vec<T> t, const Pack<T>& s, const Pack<T>& low) {
  const Pack<T> c = widened(t);
  return narrowed<T>(fma1(c, s, fma1(c, low, Pack<T>(0.0))));
}
inline bool unit_shares(const Call& call) { return call.scale == 1 && call.row_scale == nullptr; }

// e -> c e - s t, of n classes and plain shares t of a target. Where `unit` s is 1, for all rows of the call.
template <class T>
SOFTLANE_INLINE void subtract_shares(T* e, const T* t, int n, const Factor<T>& factor, Vec<T> step1,
                                     Vec<T> step2, const Wide<T>& scale, bool unit) {
  using V = Vec<T>;
  using P = Pack<T>;
  if (unit) {
    each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
      part.store(factor.minus(a * step1 * step2, part.load(t + k)), e + k);
    });
  } else {
    const P s(scale.value()), low(scale.low());
    each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
      const V less = scaled_share(part.load(t + k), s, low);
      part.store(factor.minus(a * step1 * step2, less), e + k);
    });
  }
}

template <class T>
inline void fused_cross_entropy(const Call& call, index_t begin, index_t end, void* memory,
                                const Results& to) {
  using V = Vec<T>;
  const Scratch<T> scratch(call, memory);
  const Stream* terms = to.gradient != nullptr ? to.gradient : to.diagonal;
  const bool wants_loss = to.loss != nullptr || call.row_loss != nullptr;
  CrossEntropyRow<T> row(call, scratch, terms != nullptr ? Terms::output : Terms::scratch,
                         wants_loss ? Loss::wanted : Loss::unwanted);
  const auto locate = [](const RowCursor& cursor, const Stream* s) {
    return s != nullptr ? cursor.of<T>(*s) : Row<T>{};
  };
  each_row(call, begin, end, [&](const RowCursor& cursor) {
    const Row<T> gradient = locate(cursor, to.gradient), diagonal = locate(cursor, to.diagonal);
    const Row<T> e_row = locate(cursor, terms);
    const auto write_loss = [&](double v) {
      if (row.summarizer().begin() != 0) return;
      if (call.row_loss != nullptr) {
        call.row_loss[cursor.row()] = v;
      } else if (to.loss != nullptr) {
        set_one<T>(cursor, *to.loss, v);
      }
    };
    const bool regular = row.read(cursor, e_row);
    if (row.unfinished()) return;
    if (!regular) {
      write_loss(static_cast<double>(row.whole_row()));
      if (gradient) row.fill(gradient);
      if (diagonal) row.fill(diagonal);
      return;
    }
    const RowSummary<T>& s = row.summary();
    if (wants_loss) write_loss(row.loss(RowConstants<T>(s)));
    if (terms == nullptr) return;

    const Target<T>& target = row.target();
    const Wide<T> inverse = s.inverse(), c = row.curvature();
    Steps<T> steps;
    Normalizer<T> scaled(inverse, c);
    Variance<T> variance;
    if (diagonal) variance = Variance<T>(inverse, c);
    // With c = 1 the gradient is p but at the label, and one pass makes both.
    const bool shared = gradient && diagonal && !target.dense() && c.value() == 1 && c.low() == 0;
    const Wide<T> subtract = row.gradient_scale();
    each_block(
        row.summarizer(), cursor.of<T>(call.logits), e_row, s, scratch, steps,
        [&](index_t k0, int n, T* e, auto move) {
          if (shared) {
            T* const h = diagonal.open(k0, scratch.other);
            const bool goes_on = k0 + block_size < row.summarizer().end() && diagonal.contiguous();
            const Factor<T> factor = variance.probability;
            each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
              const V p = factor(move(a));
              if (goes_on) expect_ahead(h, k);
              part.store(fnma(p, p, p), h + k);
              part.store(p, e + k);
            });
            diagonal.put(k0, n, h);
            gradient.put(k0, n, e);
            return;
          }
          if (diagonal) {
            T* h = diagonal.data == e_row.data ? e : diagonal.open(k0, scratch.other);
            expect_next_block(diagonal, k0, row.summarizer().end());
            variance.apply([&](auto of) __attribute__((always_inline)) {
              each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
                part.store(of(move(a)), h + k);
              });
            });
            diagonal.put(k0, n, h);
          }
          if (!gradient) return;
          scaled.move(block_exponent(call.classes, k0, s, scratch), s.base.exponent);
          const Factor<T> factor = scaled.factor();
          const V step1 = scaled.first_step(), step2 = scaled.second_step();
          if (target.dense() && call.weight == nullptr && call.labels != nullptr) {
            const V less(target.subtracted(subtract));
            const bool moves = scaled.moves();
            each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
              part.store(factor.minus(moves ? a * step1 * step2 : a, less), e + k);
            });
          } else if (Target<T>::plain(call)) {
            const T* const t = cursor.of<T>(call.probabilities).fetch(k0, n, scratch.other);
            subtract_shares(e, t, n, factor, step1, step2, subtract, unit_shares(call));
          } else if (target.dense()) {
            const Row<T> probabilities = cursor.of<T>(call.probabilities);
            const T* t = probabilities ? probabilities.fetch(k0, n, scratch.other) : nullptr;
            alignas(64) T tt[16];
            for (int k = 0; k < n; k += 16) {
              Lanes<T> low, v = target.lanes(t, k0, k, n, low);
              for (int j = 0; j < Lanes<T>::registers; ++j) {
                const Vec<double> s_hi(subtract.hi), s_lo(subtract.low());
                v.d[j] = fma(v.d[j], s_hi, fma(v.d[j], s_lo, low.d[j] * s_hi));
              }
              v.store(tt, 16);
              each_vector<T>(
                  n - k < 16 ? n - k : 16, [&](int l, auto part) __attribute__((always_inline)) {
                    const V a = part.load(e + k + l);
                    part.store(scaled.minus(scaled.moves() ? scaled.moved(a) : a, V::load(tt + l)),
                               e + k + l);
                  });
            }
          } else if (scaled.moves()) {
            each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
              part.store(factor(a * step1 * step2), e + k);
            });
          } else {
            each_overlapping(e, n, [=](int k, V a, auto part) __attribute__((always_inline)) {
              part.store(factor(a), e + k);
            });
          }
          gradient.put(k0, n, e);
        });
    if (gradient) row.mend_gradient(gradient, inverse);
    if (diagonal) row.mend_diagonal(diagonal, inverse);
  });
}

inline const Stream* present(const Stream& s) { return s.data != nullptr ? &s : nullptr; }

template <class T>
void cross_entropy_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  fused_cross_entropy<T>(call, begin, end, memory, {present(call.out[0]), nullptr, nullptr});
}
template <class T>
void cross_entropy_grad_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  fused_cross_entropy<T>(call, begin, end, memory, {nullptr, present(call.out[0]), nullptr});
}
template <class T>
void cross_entropy_value_and_grad_rows(const Call& call, index_t begin, index_t end,
                                       void* memory) noexcept {
  fused_cross_entropy<T>(call, begin, end, memory,
                         {present(call.out[0]), present(call.out[1]), nullptr});
}
template <class T>
void cross_entropy_grad_and_hess_diag_rows(const Call& call, index_t begin, index_t end,
                                           void* memory) noexcept {
  fused_cross_entropy<T>(call, begin, end, memory,
                         {nullptr, present(call.out[0]), present(call.out[1])});
}
template <class T>
void cross_entropy_hessian_diag_rows(const Call& call, index_t begin, index_t end,
                                     void* memory) noexcept {
  fused_cross_entropy<T>(call, begin, end, memory, {nullptr, nullptr, present(call.out[0])});
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
