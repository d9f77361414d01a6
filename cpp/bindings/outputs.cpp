#include "bindings/outputs.hpp"

#include <pybind11/gil_safe_call_once.h>

#include <algorithm>
#include <vector>

namespace softlane::bindings {

namespace {

// Do two elements of one array share memory (broadcast, sliding windows)?
bool overlaps_itself(py::handle array, const View& view, index_t item) {
  if ((proxy(array)->flags & NumpyApi::NPY_ARRAY_C_CONTIGUOUS_) != 0) return false;
  if (element_count(view) == 0) return false;
  int order[max_dims];
  int n = 0;
  for (int d = 0; d < view.ndim; ++d) {
    if (view.shape[d] == 1) continue;
    if (view.strides[d] == 0) return true;
    order[n++] = d;
  }
  const auto step = [&](int d) { return view.strides[d] < 0 ? -view.strides[d] : view.strides[d]; };
  std::sort(order, order + n, [&](int a, int b) { return step(a) < step(b); });
  index_t extent = item;  // of all dimensions with smaller steps
  bool nested = true;
  for (int i = 0; i < n; ++i) {
    nested = nested && step(order[i]) >= extent;
    extent += step(order[i]) * (view.shape[order[i]] - 1);
  }
  if (nested) return false;
  // More elements than fit between the first and the last; this also spares listing very many.
  if (extent / item < element_count(view)) return true;
  // Interleaved dimensions, as only stride tricks make them: look at every address.
  std::vector<const char*> address;
  address.reserve(static_cast<std::size_t>(element_count(view)));
  for_each_run(view, [&](const char* p, index_t count, index_t stride) {
    for (index_t i = 0; i < count; ++i) address.push_back(p + i * stride);
    return true;
  });
  std::sort(address.begin(), address.end());
  for (std::size_t i = 1; i < address.size(); ++i)
    if (address[i] - address[i - 1] < item) return true;
  return false;
}

}  // namespace

Reach::Reach(py::handle of, const View& view, index_t item)
    : array(of), begin(view.data), end(view.data) {
  index_t low = 0, high = item;
  for (int d = 0; d < view.ndim; ++d) {
    if (view.shape[d] == 0) return;
    const index_t step = view.strides[d] * (view.shape[d] - 1);
    low += step < 0 ? step : 0;
    high += step < 0 ? 0 : step;
  }
  begin += low;
  end += high;
}

bool may_share(py::handle first, py::handle second) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  const py::object& exact =
      storage
          .call_once_and_store_result(
              [] { return py::object(py::module_::import("numpy").attr("shares_memory")); })
          .get_stored();
  constexpr int max_work = 1000;
  PyObject* answer = PyObject_CallFunction(exact.ptr(), "OOi", first.ptr(), second.ptr(), max_work);
  if (answer == nullptr) {
    // Too hard (or no memory to think): then it may.
    PyErr_Clear();
    return true;
  }
  const py::object owner = py::reinterpret_steal<py::object>(answer);
  return answer != Py_False;
}

void Output::prepare(const char* function, const char* name, py::handle given, Element element,
                     const index_t* shape, int ndim, const index_t* like_strides) {
  prepared_ = true;
  format_ = {element, ByteOrder::native};
  if (given.is_none()) {
    if (ndim == 0) {
      view_ = {cell_, 0, nullptr, nullptr};
      return;
    }
    int order[max_dims];
    const bool ordered =
        ndim > 1 && like_strides != nullptr && memory_order(shape, like_strides, ndim, order);
    array_ = new_array(function, dtype_of(element), item_size(element), shape, ndim,
                       ordered ? order : nullptr);
    view_ = view_of(array_);
    return;
  }

  if (!is_array(given))
    fail(PyExc_TypeError, function,
         std::string(name) + " must be a NumPy array or None, got " + type_text(given));
  if (is_masked_array(given))
    fail(PyExc_TypeError, function,
         std::string(name) + " is a MaskedArray; pass an ordinary array");
  given_ = py::reinterpret_borrow<py::object>(given);
  array_ = given_;
  if (Py_TYPE(given.ptr()) != numpy->PyArray_Type_) {
    PyObject* base = numpy->PyArray_View_(given.ptr(), nullptr,
                                          reinterpret_cast<PyObject*>(numpy->PyArray_Type_));
    if (base == nullptr) throw py::error_already_set();
    array_ = py::reinterpret_steal<py::object>(base);
  }
  view_ = view_of(array_);
  if (!same_shape(view_, shape, ndim))
    fail(PyExc_ValueError, function,
         std::string(name) + " has shape " + shape_text(view_.shape, view_.ndim) +
             ", but the result has shape " + shape_text(shape, ndim));
  const std::optional<Format> format = format_of(proxy(array_)->descr);
  if (!format || format->element != element)
    fail(PyExc_TypeError, function,
         std::string(name) + " has dtype " + dtype_text(array_) + ", but the result has dtype " +
             name_of(element));
  format_ = *format;
  if ((proxy(array_)->flags & NumpyApi::NPY_ARRAY_WRITEABLE_) == 0)
    fail(PyExc_ValueError, function,
         std::string(name) + " is read-only, but the result is to be written to it");
  if (overlaps_itself(array_, view_, item_size(element)))
    fail(PyExc_ValueError, function,
         std::string(name) + " has elements that share memory with each other (strides " +
             shape_text(view_.strides, view_.ndim) + "); an array of its own is needed");
}

void Output::bind_to(const char* function, Stream& stream, const Axes& axes, Layout layout) {
  const index_t item = item_size(format_.element);
  stream.format = format_;
  if (bind(stream, view_, axes, layout, item)) return;
  // Classes alone can fail to be one run.
  int order[max_dims];
  classes_last(axes, view_.ndim, order);
  buffer_ = new_array(function, dtype_of(format_.element), item, view_.shape, view_.ndim, order);
  view_ = view_of(buffer_);
  format_.order = ByteOrder::native;
  stream.format = format_;
  bind(stream, view_, axes, layout, item);
}

void Output::fill(double value) {
  for_each_run(view_, [&](char* p, index_t count, index_t stride) {
    active_table().fill(p, stride, format_, count, value);
    return true;
  });
}

py::object Output::finish(const char* function) {
  if (buffer_ && numpy->PyArray_CopyInto_(array_.ptr(), buffer_.ptr()) < 0)
    fail_pending(function, "the result could not be copied");
  if (given_) return std::move(given_);
  if (array_) return std::move(array_);
  const py::object descriptor = dtype_of(format_.element);
  PyObject* scalar = numpy->PyArray_Scalar_(cell_, descriptor.ptr(), nullptr);
  if (scalar == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(scalar);
}

}  // namespace softlane::bindings
