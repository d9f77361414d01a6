// The numbers of a loss: checked one by one, and copied to where the kernels read them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "bindings/loss_task.hpp"
#include "parallel/parallel.hpp"

namespace softlane::bindings {

namespace {

template <class Bad>
void check_all(const char* function, const char* name, const Array& array, const char* accepted,
               Bad bad) {
  Found found;
  {
    const ReleaseGil release(element_count(array.view));
    found = first_where(array, bad);
  }
  if (found.flat < 0) return;
  fail(PyExc_ValueError, function,
       element_text(name, found.flat, array.view.shape, array.view.ndim) + " is " +
           number_text(found.value) + ", but must be " + accepted);
}

bool not_a_weight(double value) {
  return !(value >= 0 && value <= std::numeric_limits<double>::max());
}
bool not_a_damping(double value) {
  return !(value > 0 && value <= std::numeric_limits<double>::max());
}

// Times a power of two that brings the largest of those that count near 1. One that is not 0 does not become it: that
// would leave it out.
void bring_into_range(double* weights, index_t n, double largest) {
  if (largest == 0) return;
  const int exponent = std::ilogb(largest);
  for (index_t i = 0; i < n; ++i) {
    using Limits = std::numeric_limits<double>;
    if (weights[i] == 0) continue;
    weights[i] =
        std::clamp(std::scalbn(weights[i], -exponent), Limits::denorm_min(), Limits::max());
  }
}

void copy_out(const View& view, double* to) {
  for_each_run(view, [&](const char* p, index_t count, index_t stride) {
    for (index_t i = 0; i < count; ++i) *to++ = *reinterpret_cast<const double*>(p + i * stride);
    return true;
  });
}

View spread_over(const char* function, const char* name, const View& view, const index_t* shape,
                 int ndim) {
  View rows;
  if (!broadcast(view, shape, ndim, rows))
    fail(PyExc_ValueError, function,
         std::string(name) + " has shape " + shape_text(view.shape, view.ndim) +
             ", which does not broadcast to the rows' shape " + shape_text(shape, ndim));
  return rows;
}

}  // namespace

void LossTask::settle() {
  settle_weight();
  settle_sample_weight();
  if (target_ == Target::labels) settle_labels();
  if (target_ == Target::probabilities) settle_probabilities();
  if (damping_) settle_damping();
  if (reduction == Reduction::mean) {
    denominator_ = denominator();
    if (bring_weights_into_range()) denominator_ = denominator();
    call.scale = 1 / denominator_;
    if (denominator_ == 0) {
      // Rows left out have derivative 0 even where nothing else is left to divide by.
      const double* const scale = buffers_.row_scale.get();
      bool nothing_kept = true;
      for (index_t i = 0; i < axes.rows && nothing_kept; ++i)
        nothing_kept = scale != nullptr && scale[i] == 0;
      if (nothing_kept) call.scale = 1;
    }
  }
  call.weight = buffers_.weight.get();
  call.row_scale = buffers_.row_scale.get();
  call.damping = buffers_.damping.get();
  if (axes.lead_rows != 1) repeat_over_lead();
  rows_in_order = rows_in_order || call.labels != nullptr || call.row_scale != nullptr ||
                  call.damping != nullptr;
}

// One value a row, of an array that broadcasts to the rows' shape, or to that of a vector's leading dimensions before it.
View LossTask::over_rows(const char* name, const View& view) const {
  return spread_over(function, name, view, axes.row_shape, axes.row_dims);
}
View LossTask::over_all_rows(const char* name, const View& view) const {
  index_t shape[max_dims];
  const int ndim = axes.lead_dims + axes.row_dims;
  for (int d = 0; d < axes.lead_dims; ++d) shape[d] = axes.lead_shape[d];
  for (int d = 0; d < axes.row_dims; ++d) shape[axes.lead_dims + d] = axes.row_shape[d];
  return spread_over(function, name, view, shape, ndim);
}

void LossTask::check_weight_shape(const View& view) const {
  if (same_shape(view, &axes.classes, 1)) return;
  fail(PyExc_ValueError, function,
       "weight has shape " + shape_text(view.shape, view.ndim) +
           "; one number a class is needed, shape " + shape_text(&axes.classes, 1));
}

void LossTask::settle_weight() {
  if (!weight_) return;
  check_all(function, "weight", weight_, "finite and >= 0", not_a_weight);
  buffers_.weight.allocate(function, axes.classes);
  copy_out(weight_.view, buffers_.weight.get());
}

void LossTask::settle_sample_weight() {
  if (!sample_weight_) return;
  check_all(function, "sample_weight", sample_weight_, "finite and >= 0", not_a_weight);
  buffers_.row_scale.allocate(function, axes.rows);
  copy_out(over_rows("sample_weight", sample_weight_.view), buffers_.row_scale.get());
}

// May the kernels read labels where they lie? A copy is made by one thread, and its lines are then to be fetched from that
// thread's cache by the others: without it losses and gradients of 4096x10, 9362x7 and 100 000x3 take 0.86 times the
// time on two threads, and 0.98 on one.
bool LossTask::labels_stay() const {
  constexpr index_t many = 512;
  const View& view = target_view_;
  if (axes.rows < many || reinterpret_cast<std::uintptr_t>(view.data) % alignof(std::int64_t) != 0)
    return false;
  auto stride = static_cast<index_t>(sizeof(std::int64_t));
  for (int d = view.ndim - 1; d >= 0; --d) {
    if (view.shape[d] != 1 && view.strides[d] != stride) return false;
    stride *= view.shape[d];
  }
  const Reach read(target_array_, view, sizeof(std::int64_t));
  return std::none_of(out, out + 2, [&](const Output& result) {
    return result.exposed() && share_memory(read, result.reach());
  });
}

void LossTask::settle_labels() {
  const View& view = target_view_;
  const auto classes = static_cast<std::uint64_t>(axes.classes);
  const std::int64_t ignored = ignore_.value;
  // A value whose highest bit is set means another number when the dtype is uint64.
  const bool ignoring =
      ignore_.present &&
      (ignore_.beyond_int64 ? unsigned_labels_ : !(unsigned_labels_ && ignored < 0));
  const auto is_outside = [&](std::int64_t label) {
    return static_cast<std::uint64_t>(label) >= classes && !(ignoring && label == ignored);
  };
  std::uint64_t outside = 0;
  index_t row = 0;
  index_t left_out = 0;
  // All of them, in order, copied first where there is a copy; up to one that is outside or, without a copy, left out.
  const auto look = [&](std::int64_t* copy) {
    return for_each_run(view, [&](const char* p, index_t count, index_t stride) {
      constexpr index_t chunk = 1024;  // a branch a chunk, so that the loops inside are vectors
      for (index_t begin = 0; begin < count; begin += chunk) {
        const index_t n = count - begin < chunk ? count - begin : chunk;
        const auto* labels = reinterpret_cast<const std::int64_t*>(p + begin * stride);
        if (copy != nullptr) {
          std::int64_t* const to = copy + row;
          if (stride == static_cast<index_t>(sizeof *to)) {
            std::memcpy(to, p + begin * stride, static_cast<std::size_t>(n) * sizeof *to);
          } else {
            for (index_t i = 0; i < n; ++i) {
              std::memcpy(to + i, p + (begin + i) * stride, sizeof *to);
            }
          }
          labels = to;
        }
        // Of l and (classes - 1) - l one has its highest bit set where l is outside, ignored or not: no
        // comparison of 64 bits, which vectors of the least x86-64 do not have.
        std::uint64_t bits = 0;
        for (index_t i = 0; i < n; ++i) {
          const auto label = static_cast<std::uint64_t>(labels[i]);
          bits |= label | (classes - 1 - label);
        }
        if (bits >> 63 != 0) {
          index_t i = 0;
          while (i < n && !is_outside(labels[i])) ++i;
          if (i < n) {
            outside = static_cast<std::uint64_t>(labels[i]);
            row += i;
            return false;
          }
        }
        if (ignoring) {
          for (index_t i = 0; i < n; ++i) left_out += labels[i] == ignored ? 1 : 0;
          if (copy == nullptr && left_out > 0) return false;
          for (index_t i = 0; copy != nullptr && i < n; ++i) {
            copy[row + i] = copy[row + i] == ignored ? -1 : copy[row + i];
          }
        }
        row += n;
      }
      return true;
    });
  };

  bool valid = false;
  if (labels_stay()) {
    const ReleaseGil release(axes.rows);
    valid = look(nullptr);
    call.labels = reinterpret_cast<const std::int64_t*>(view.data);
  }
  if (!valid) {
    // Looked at in the copy, for the caller's array may change meanwhile.
    buffers_.labels.allocate(function, axes.rows);
    call.labels = buffers_.labels.get();
    row = left_out = 0;
    const ReleaseGil release(axes.rows);
    valid = look(buffers_.labels.get());
  }
  if (!valid) {
    std::string message = element_text("target", row, view.shape, view.ndim) + " is " +
                          (unsigned_labels_ ? std::to_string(outside)
                                            : std::to_string(static_cast<std::int64_t>(outside))) +
                          ", but there are " + std::to_string(axes.classes) + " classes";
    if (ignore_.present)
      message += " and ignore_index is " +
                 (ignore_.beyond_int64 ? std::to_string(static_cast<std::uint64_t>(ignored))
                                       : std::to_string(ignored));
    fail(PyExc_IndexError, function, message);
  }
  if (left_out == 0) return;
  const bool first = !buffers_.row_scale;
  if (first) buffers_.row_scale.allocate(function, axes.rows);
  double* const scale = buffers_.row_scale.get();
  std::int64_t* const labels = buffers_.labels.get();
  for (index_t i = 0; i < axes.rows; ++i) {
    if (first) scale[i] = 1;
    if (labels[i] >= 0) continue;
    labels[i] = 0;
    scale[i] = 0;
  }
}

void LossTask::settle_probabilities() {
  bool valid = false;
  {
    const ReleaseGil release(element_count(probabilities.view));
    const NotNegative not_negative = active_table().not_negative;
    valid = for_each_run(probabilities.view, [&](const char* p, index_t count, index_t stride) {
      return not_negative(p, stride, probabilities.format, count);
    });
  }
  // Which of them it is, and whether one still is: the caller's array may change meanwhile.
  if (!valid)
    check_all(function, "target", probabilities, ">= 0 for a class probability",
              [](double p) { return !(p >= 0); });
}

void LossTask::settle_damping() {
  check_all(function, "damping", damping_, "finite and > 0", not_a_damping);
  buffers_.damping.allocate(function, axes.all_rows());
  copy_out(over_all_rows("damping", damping_.view), buffers_.damping.get());
}

// Takes weights in another unit where their sum, its reciprocal or a product with a loss could be no number of float64.
// The unit is a power of two, which leaves every digit of a mean alone. False where they stay.
bool LossTask::bring_weights_into_range() {
  double* const scale = buffers_.row_scale.get();
  double* const weight = buffers_.weight.get();
  if (scale == nullptr && weight == nullptr) return false;
  double largest = 0, largest_weight = 0;
  for (index_t i = 0; i < axes.rows; ++i) {
    const double s = scale == nullptr ? 1 : scale[i];
    if (s == 0) continue;
    if (weight != nullptr && target_ == Target::labels) {
      const double w = weight[some_class(call.labels + i, axes.classes)];
      if (w == 0) continue;
      largest_weight = std::max(largest_weight, w);
    }
    largest = std::max(largest, s);
  }
  const auto usual = [](double v) { return v > 0x1p-500 && v < 0x1p500; };
  if (usual(denominator_) && usual(largest) && (largest_weight == 0 || usual(largest_weight)))
    return false;
  if (scale != nullptr) bring_into_range(scale, axes.rows, largest);
  // A smoothed label counts the weights of all classes.
  for (index_t k = 0; largest_weight > 0 && call.label_smoothing > 0 && k < axes.classes; ++k) {
    largest_weight = std::max(largest_weight, weight[k]);
  }
  if (largest_weight > 0) bring_into_range(weight, axes.classes, largest_weight);
  return true;
}

double LossTask::denominator() const {
  const double* scale = buffers_.row_scale.get();
  if (target_ != Target::labels || !buffers_.weight)
    return scale == nullptr ? static_cast<double>(axes.rows) : ordered_sum(scale, axes.rows);
  Buffer<double> buffer;
  buffer.allocate(function, axes.rows);
  double* const terms = buffer.get();
  const double* const weight = buffers_.weight.get();
  for (index_t i = 0; i < axes.rows; ++i) {
    const double s = scale == nullptr ? 1 : scale[i];
    // A row left out may have no class at all (K = 0).
    terms[i] = s == 0 ? 0 : s * weight[some_class(call.labels + i, axes.classes)];
  }
  return ordered_sum(terms, axes.rows);
}

void LossTask::repeat_over_lead() {
  const auto repeat = [&](auto*& values, auto& all) {
    if (values == nullptr) return;
    all.allocate(function, axes.all_rows());
    auto* to = all.get();
    for (index_t l = 0; l < axes.lead_rows; ++l) to = std::copy_n(values, axes.rows, to);
    values = all.get();
  };
  repeat(call.labels, buffers_.all_labels);
  repeat(call.row_scale, buffers_.all_row_scale);
}

void LossTask::loss_result(const char* name, py::handle given) {
  // Three digits are too few for a loss.
  const Element loss = is_half(logits.format.element) ? Element::float32 : result_element();
  if (reduction == Reduction::none) {
    result_of_rows(0, name, given, false, loss);
    return;
  }
  out[0].prepare(function, name, given, loss, nullptr, 0, nullptr);
  buffers_.row_loss.allocate(function, axes.rows);
  call.row_loss = buffers_.row_loss.get();
  rows_in_order = true;
}

void LossTask::write_reduced_loss() {
  if (reduction == Reduction::none) return;
  const double sum = axes.rows == 0 ? 0.0 : ordered_sum(call.row_loss, axes.rows);
  out[0].fill(reduction == Reduction::sum ? sum : sum / denominator_);
}

}  // namespace softlane::bindings
