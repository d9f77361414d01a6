#include "bindings/task.hpp"

#include <algorithm>
#include <limits>

#include "parallel/parallel.hpp"

namespace softlane::bindings {

namespace {

// An array of its own with the same elements, the classes of a row side by side.
void make_copy(const char* function, Array& array, const Axes& axes) {
  int order[max_dims];
  classes_last(axes, array.view.ndim, order);
  const auto dtype = py::reinterpret_borrow<py::object>(proxy(array.object)->descr);
  py::object copy = new_array(function, dtype, item_size(array.format.element), array.view.shape,
                              array.view.ndim, order);
  if (numpy->PyArray_CopyInto_(copy.ptr(), array.object.ptr()) < 0)
    fail_pending(function, "an input could not be copied");
  array.object = std::move(copy);
  array.view = view_of(array.object);
}

// Is `array` element for element where `out` is? Their shapes are the same.
bool coincide(const Array& input, const Output& result) {
  const View &array = input.view, &out = result.view();
  if (array.data != out.data || item_size(input.format.element) != result.item()) return false;
  for (int d = 0; d < array.ndim; ++d)
    if (array.shape[d] > 1 && array.strides[d] != out.strides[d]) return false;
  return true;
}

}  // namespace

void Task::keep(py::handle where, const char* input) {
  if (where.is_none()) return;
  mask_ = acquire_mask(function, "where", where);
  const View own = view_of(mask_);
  const View& x = logits.view;
  if (!broadcast(own, x.shape, x.ndim, mask_view_))
    fail(PyExc_ValueError, function,
         "where has shape " + shape_text(own.shape, own.ndim) +
             ", which does not broadcast to the shape of " + input + ", " +
             shape_text(x.shape, x.ndim));
}

void Task::result_like(int index, const char* name, py::handle given, const View& like) {
  layout[index] = Layout::classes;
  out[index].prepare(function, name, given, result_element(), like.shape, like.ndim, like.strides);
}

void Task::result_of_rows(int index, const char* name, py::handle given, bool keepdims,
                          Element element) {
  index_t shape[max_dims], strides[max_dims];
  layout[index] = keepdims ? Layout::kept : Layout::rows;
  int ndim = 0;
  if (keepdims) {
    for (; ndim < axes.ndim; ++ndim) {
      shape[ndim] = 1;
      strides[ndim] = logits.view.strides[ndim];
    }
    for (int d = 0; d < axes.row_dims; ++d) shape[axes.row_dim[d]] = axes.row_shape[d];
  } else {
    for (; ndim < axes.row_dims; ++ndim) {
      shape[ndim] = axes.row_shape[ndim];
      strides[ndim] = logits.view.strides[axes.row_dim[ndim]];
    }
  }
  out[index].prepare(function, name, given, element, shape, ndim, strides);
}

void Task::result_of_matrices(const char* name, py::handle given) {
  index_t shape[max_dims + 2];
  int ndim = 0;
  for (; ndim < axes.row_dims; ++ndim) shape[ndim] = axes.row_shape[ndim];
  shape[ndim++] = axes.classes;
  shape[ndim++] = axes.classes;
  layout[0] = Layout::hessian;
  call.out_is_new = given.is_none();
  out[0].prepare(function, name, given, result_element(), shape, ndim, nullptr);
}

void Task::check_apart() const {
  if (out[0].given() && out[1].given() && share_memory(out[0].reach(), out[1].reach()))
    fail(PyExc_ValueError, function,
         "out[0] and out[1] share memory; two arrays apart from each other are needed");
}

void Task::separate() {
  const auto reach = [](const Array& array) {
    return Reach(array.object, array.view, item_size(array.format.element));
  };
  Reach read = reach(logits);
  for (int i = 0; i < 2; ++i) {
    if (!out[i].exposed() || call.out[i].data == nullptr) continue;
    const Reach written = out[i].reach();
    if (share_memory(read, written)) {
      // Only the first result may be written where logits are read, and no element of logits may be read twice.
      if (i == 0 && layout[0] == Layout::classes && axes.lead_dims == 0 &&
          coincide(logits, out[0])) {
        call.in_place = true;
      } else {
        make_copy(function, logits, axes);
        read = reach(logits);
      }
    }
    for (Array* other : {&probabilities, &vector, &factors})
      if (*other && share_memory(reach(*other), written)) make_copy(function, *other, axes);
    if (mask_ && share_memory(Reach(mask_, mask_view_, 1), written)) mask_overlaps_ = true;
  }
}

void Task::bind_input(Stream& stream, Array& array, Layout input_layout) {
  const index_t item = item_size(array.format.element);
  stream.format = array.format;
  if (bind(stream, array.view, axes, input_layout, item)) return;
  make_copy(function, array, axes);
  bind(stream, array.view, axes, input_layout, item);
}

// A copy has the rows that differ, and no more: a mask of one row for all stays one row.
void Task::copy_mask() {
  index_t shape[max_dims], strides[max_dims];
  int order[max_dims];
  classes_last(axes, axes.ndim, order);
  for (int d = 0; d < axes.ndim; ++d) {
    const index_t stride = mask_view_.strides[order[d]];
    shape[d] = d < axes.row_dims && stride == 0 ? 1 : mask_view_.shape[order[d]];
    strides[d] = stride;
  }
  const View view(mask_view_.data, axes.ndim, shape, strides);
  mask_copy_.allocate(function, element_count(view));
  char* to = mask_copy_.get();
  const ReleaseGil release(element_count(view));
  for_each_run(view, [&](const char* p, index_t count, index_t stride) {
    for (index_t i = 0; i < count; ++i) *to++ = p[i * stride];
    return true;
  });
  call.mask.data = mask_copy_.get();
  call.mask.class_stride = 1;
  index_t row = axes.classes;
  for (int d = axes.row_dims - 1; d >= 0; --d) {
    call.mask.row_stride[d] = shape[d] == 1 ? 0 : row;
    row *= shape[d];
  }
}

void Task::bind_mask() {
  if (mask_overlaps_ || !bind(call.mask, mask_view_, axes, Layout::classes, 1)) copy_mask();
}

void Task::execute() {
  call.dtype = std::max(computed_in(input_element()), computed_in(result_element()));
  call.classes = axes.classes;

  Stream* streams[6];
  int count = 0;
  for (int i = 0; i < 2; ++i) {
    // A reduced loss is written after the run, from row_loss.
    if (!out[i] || (i == 0 && call.row_loss != nullptr)) continue;
    out[i].bind_to(function, call.out[i], axes, layout[i]);
    streams[count++] = &call.out[i];
  }
  separate();
  bind_input(call.logits, logits, Layout::classes);
  streams[count++] = &call.logits;
  if (probabilities) {
    bind_input(call.probabilities, probabilities, Layout::classes);
    streams[count++] = &call.probabilities;
  }
  if (vector) {
    bind_input(call.vector, vector, Layout::classes);
    streams[count++] = &call.vector;
  }
  if (factors) {
    bind_input(call.factors, factors, Layout::classes);
    streams[count++] = &call.factors;
  }
  if (mask_) {
    bind_mask();
    streams[count++] = &call.mask;
  }
  const Stream* key = axes.lead_dims > 0 ? &call.out[0] : &call.logits;
  merge_rows(call, axes, streams, count, rows_in_order ? nullptr : key);

  if (call.space.rows == 0) return;
  if (call.classes == 0) {
    fill_without_classes();
    return;
  }
  const index_t work = call.space.rows * call.classes *
                       (call.operation == Operation::cross_entropy_hessian ? call.classes : 1);
  try {
    const ReleaseGil release(work);
    run(call);
  } catch (const std::bad_alloc&) {
    fail(PyExc_MemoryError, function, "no memory for the threads' scratch");
  }
}

void Task::fill_without_classes() {
  double value = 0;  // entropies and losses are empty sums
  const bool logarithm =
      call.operation == Operation::logsumexp || call.operation == Operation::signed_sum;
  if (logarithm) {
    value = std::numeric_limits<double>::infinity();
    if (!call.negate) value = -value;
  }
  if (call.row_loss != nullptr)
    for (index_t i = 0; i < call.space.rows; ++i) call.row_loss[i] = value;
  // Results that have classes are empty.
  for (int i = 0; i < 2; ++i) {
    const bool sign = logarithm && i == 1;
    if (out[i] && call.out[i].data != nullptr) out[i].fill(sign ? 0 : value);
  }
}

py::object Task::finish_pair(py::handle given) {
  // The caller's own pair, where it is no more than that: a new tuple is 240 of 3800 instructions of a small call.
  const bool own = PyTuple_CheckExact(given.ptr()) && out[0].given() && out[1].given();
  py::object first = out[0].finish(function);
  py::object second = out[1].finish(function);
  if (own) return py::reinterpret_borrow<py::object>(given);
  return py::make_tuple(std::move(first), std::move(second));
}

}  // namespace softlane::bindings
