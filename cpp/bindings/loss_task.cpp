#include "bindings/loss_task.hpp"

#include <algorithm>

namespace softlane::bindings {

namespace {

// Weights and damping compute in float64, whatever the dtype of logits. check(view) has the shape alone to look at, and
// comes first: an array of another shape may be of any size.
template <class Check>
Array acquire_reals(const char* function, const char* name, py::handle value, Check check) {
  const Format float64{Element::float64, ByteOrder::native};
  if (PyFloat_CheckExact(value.ptr())) {
    // Read where it lies: an array made of it is a fifth of a solve of 10 elements.
    auto* const number = &reinterpret_cast<PyFloatObject*>(value.ptr())->ob_fval;
    const View view(reinterpret_cast<char*>(number), 0, nullptr, nullptr);
    check(view);
    return {py::reinterpret_borrow<py::object>(value), view, float64};
  }
  const py::object array = as_ndarray(function, name, value);
  if (!format_of(proxy(array)->descr))
    fail(PyExc_TypeError, function,
         std::string(name) + " has dtype " + dtype_text(array) +
             "; real numbers up to float64 are accepted");
  check(view_of(array));
  py::object reals = cast_to(function, array, NumpyApi::NPY_DOUBLE_);
  const View view = view_of(reals);
  return {std::move(reals), view, float64};
}

}  // namespace

void LossTask::parse(const LossArguments& arguments, TargetRequired required) {
  axis_.parse(function, arguments.axis);
  call.label_smoothing = parse_label_smoothing(function, arguments.label_smoothing);
  ignore_ = parse_ignore_index(function, arguments.ignore_index);
  reduction = parse_reduction(function, arguments.reduction);
  logits = acquire(function, "logits", arguments.logits);
  axes.split(function, axis_, logits.view);
  parse_target(arguments.target, required);
  if (!arguments.weight.is_none())
    weight_ = acquire_reals(function, "weight", arguments.weight,
                            [&](const View& view) { check_weight_shape(view); });
  if (!arguments.sample_weight.is_none())
    sample_weight_ = acquire_reals(function, "sample_weight", arguments.sample_weight,
                                   [&](const View& view) { over_rows("sample_weight", view); });
  if (target_ != Target::labels && ignore_.present)
    fail(PyExc_ValueError, function,
         "ignore_index applies to integer labels only; leave rows out with sample_weight=0");
  if (target_ == Target::none && weight_)
    fail(PyExc_ValueError, function, "weight needs a target, for it weighs the target's classes");
}

void LossTask::parse_vector(const char* name, py::handle value) {
  // Read in the dtype that logits compute in: a float64 vector beside float32 logits is rounded first.
  vector_name_ = name;
  vector = acquire(function, name, value);
}

void LossTask::parse_damping(py::handle value) {
  damping_ = acquire_reals(function, "damping", value,
                           [&](const View& view) { over_all_rows("damping", view); });
}

void LossTask::parse_target(py::handle value, TargetRequired required) {
  if (value.is_none()) {
    if (required == TargetRequired::yes)
      fail(PyExc_TypeError, function,
           "target is None; integer class labels or a float array of class probabilities are "
           "needed");
    return;
  }
  target_array_ = as_ndarray(function, "target", value);
  target_view_ = view_of(target_array_);
  const int type = type_number(target_array_);
  if (is_integer(type)) {
    target_ = Target::labels;
    unsigned_labels_ = type == NumpyApi::NPY_ULONGLONG_ ||
                       (type == NumpyApi::NPY_ULONG_ && sizeof(unsigned long) == 8);
    check_target_shape();
    // Labels of uint64 keep their bits: those beyond int64 turn up as negative numbers, and are told apart later.
    const int native = unsigned_labels_ ? static_cast<int>(NumpyApi::NPY_UINT64_)
                                        : static_cast<int>(NumpyApi::NPY_INT64_);
    target_array_ = cast_to(function, target_array_, native);
    target_view_ = view_of(target_array_);
  } else if (const std::optional<Format> format = format_of(proxy(target_array_)->descr);
             format && is_float(format->element)) {
    target_ = Target::probabilities;
    probabilities = {target_array_, target_view_, *format};
    // NumPy makes an empty list float64; as labels of no rows it says what it means.
    if (!is_array(value) && element_count(target_view_) == 0 &&
        target_view_.ndim < std::max(1, logits.view.ndim)) {
      target_ = Target::labels;
      probabilities = {};
      target_array_ = cast_to(function, target_array_, NumpyApi::NPY_INT64_);
      target_view_ = view_of(target_array_);
    }
    check_target_shape();
  } else {
    fail(PyExc_TypeError, function,
         "target has dtype " + dtype_text(target_array_) +
             "; pass integer class labels, or class probabilities as float16, bfloat16, float32 or "
             "float64");
  }
}

void LossTask::measure() {
  const View& v = vector.view;
  const int lead = v.ndim - logits.view.ndim;
  if (lead < 0 || !same_shape({v.data, logits.view.ndim, v.shape + lead, v.strides + lead},
                              logits.view.shape, logits.view.ndim))
    fail(PyExc_ValueError, function,
         std::string(vector_name_) + " has shape " + shape_text(v.shape, v.ndim) +
             "; it needs logits' shape " + shape_text(logits.view.shape, logits.view.ndim) +
             ", optionally after leading dimensions of its own");
  axes.lead_dims = lead;
  axes.lead_shape = v.shape;
  for (int d = 0; d < lead; ++d) axes.lead_rows *= v.shape[d];
}

void LossTask::check_target_shape() const {
  if (target_ == Target::none) return;
  const View& view = target_view_;
  const View& x = logits.view;
  const bool labels = target_ == Target::labels;
  if (labels ? same_shape(view, axes.row_shape, axes.row_dims) : same_shape(view, x.shape, x.ndim))
    return;
  const std::string rows = shape_text(axes.row_shape, axes.row_dims),
                    full = shape_text(x.shape, x.ndim);
  std::string message = "target is an array of " + dtype_text(target_array_) + " with shape " +
                        shape_text(view.shape, view.ndim);
  if (labels && same_shape(view, x.shape, x.ndim))
    message += ", which is logits' own; pass class labels of shape " + rows +
               ", or the same array as float if it holds class probabilities";
  else if (labels)
    message += "; class labels need shape " + rows;
  else if (same_shape(view, axes.row_shape, axes.row_dims))
    message += "; class labels need an integer dtype, and class probabilities the shape " + full;
  else
    message += "; class probabilities need logits' shape " + full;
  fail(PyExc_ValueError, function, message);
}

}  // namespace softlane::bindings
