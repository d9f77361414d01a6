#include "bindings/axes.hpp"

namespace softlane::bindings {

namespace {

// Larger than any dimension count, and still an axis that does not exist.
constexpr long far_out = 1L << 30;

py::object integer_of(const char* function, py::handle axis) {
  PyObject* number = PyBool_Check(axis.ptr()) ? nullptr : PyNumber_Index(axis.ptr());
  if (number == nullptr) {
    if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError))
      throw py::error_already_set();
    PyErr_Clear();
    fail(PyExc_TypeError, function,
         "axis must be an integer, a tuple of integers or None, got " + repr_text(axis));
  }
  return py::reinterpret_steal<py::object>(number);
}

long parse_one(const char* function, py::handle axis) {
  int overflow = 0;
  const long value = PyLong_CheckExact(axis.ptr())
                         ? PyLong_AsLongAndOverflow(axis.ptr(), &overflow)
                         : PyLong_AsLongAndOverflow(integer_of(function, axis).ptr(), &overflow);
  if (overflow != 0 || value > far_out || value < -far_out)
    return overflow < 0 || value < 0 ? -far_out : far_out;
  return value;
}

int normalize(const char* function, const AxisArgument& argument, int i, int ndim) {
  // A 0-d array counts as one element: axis 0 and -1 exist.
  const int dims = ndim == 0 ? 1 : ndim;
  const long axis = argument.axis[i];
  if (axis < -dims || axis >= dims) {
    PyObject* const given = argument.given.ptr();
    const py::handle entry = PyTuple_Check(given) ? PyTuple_GET_ITEM(given, i) : given;
    fail_axis(function, integer_of(function, entry), ndim);
  }
  return static_cast<int>(axis < 0 ? axis + dims : axis);
}

}  // namespace

void AxisArgument::parse(const char* function, py::handle value) {
  given = value;
  if (value.is_none()) {
    all = true;
  } else if (PyTuple_Check(value.ptr())) {
    const Py_ssize_t entries = PyTuple_GET_SIZE(value.ptr());
    if (entries > max_dims)
      fail(PyExc_ValueError, function,
           "axis has " + std::to_string(entries) + " entries; an array has at most " +
               std::to_string(max_dims) + " dimensions");
    for (Py_ssize_t i = 0; i < entries; ++i)
      axis[i] = parse_one(function, PyTuple_GET_ITEM(value.ptr(), i));
    count = static_cast<int>(entries);
  } else {
    axis[0] = parse_one(function, value);
    count = 1;
  }
}

void Axes::split(const char* function, const AxisArgument& axis, const View& logits) {
  std::uint64_t is_class = 0;  // a bit a dimension
  static_assert(max_dims <= 64);
  if (axis.all) is_class = ~std::uint64_t{0};
  for (int i = 0; i < axis.count; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << normalize(function, axis, i, logits.ndim);
    if ((is_class & bit) != 0) {
      index_t given[max_dims];
      for (int k = 0; k < axis.count; ++k) given[k] = axis.axis[k];
      fail(PyExc_ValueError, function,
           "axis names a dimension twice: " + shape_text(given, axis.count) + " of an array with " +
               std::to_string(logits.ndim) + " dimensions");
    }
    is_class |= bit;
  }
  ndim = logits.ndim;
  for (int d = 0; d < logits.ndim; ++d) {
    if ((is_class >> d & 1) != 0) {
      class_dim[class_dims++] = d;
      classes *= logits.shape[d];
    } else {
      row_shape[row_dims] = logits.shape[d];
      row_dim[row_dims++] = d;
      rows *= logits.shape[d];
    }
  }
}

bool bind(Stream& stream, const View& view, const Axes& axes, Layout layout, index_t item) {
  stream.data = view.data;
  stream.class_stride = item;
  stream.second_class_stride = 0;
  const int lead = axes.lead_dims;
  const bool per_dim = layout == Layout::classes || layout == Layout::kept;
  // Does it have the leading dimensions, or is it the same for all of them (logits)?
  const int offset = per_dim ? view.ndim - axes.ndim : 0;
  const bool repeated = per_dim && offset == 0;
  for (int d = 0; d < lead; ++d) stream.row_stride[d] = repeated ? 0 : view.strides[d];
  for (int d = 0; d < axes.row_dims; ++d)
    stream.row_stride[lead + d] = view.strides[per_dim ? offset + axes.row_dim[d] : lead + d];

  if (layout == Layout::hessian) {
    stream.class_stride = view.strides[view.ndim - 1];
    stream.second_class_stride = view.strides[view.ndim - 2];
    return true;
  }
  if (layout != Layout::classes) return true;
  index_t run = 1;  // length of the run so far, from the innermost class dimension
  for (int i = axes.class_dims - 1; i >= 0; --i) {
    const int d = offset + axes.class_dim[i];
    if (view.shape[d] == 1) continue;
    if (run == 1)
      stream.class_stride = view.strides[d];
    else if (view.strides[d] != stream.class_stride * run)
      return axes.classes == 0;
    run *= view.shape[d];
  }
  return true;
}

void classes_last(const Axes& axes, int ndim, int* order) {
  const int offset = ndim - axes.ndim;
  int n = 0;
  for (int d = 0; d < offset; ++d) order[n++] = d;
  for (int d = 0; d < axes.row_dims; ++d) order[n++] = offset + axes.row_dim[d];
  for (int d = 0; d < axes.class_dims; ++d) order[n++] = offset + axes.class_dim[d];
}

void merge_rows(Call& call, const Axes& axes, Stream* const* streams, int count,
                const Stream* key) {
  RowSpace& space = call.space;
  const int dims = axes.lead_dims + axes.row_dims;
  for (int d = 0; d < axes.lead_dims; ++d) space.shape[d] = axes.lead_shape[d];
  for (int d = 0; d < axes.row_dims; ++d) space.shape[axes.lead_dims + d] = axes.row_shape[d];
  space.rows = axes.all_rows();

  if (key != nullptr && dims > 1) {
    index_t shape[max_dims];
    int order[max_dims];
    if (memory_order(space.shape, key->row_stride, dims, order)) {
      for (int d = 0; d < dims; ++d) shape[d] = space.shape[order[d]];
      for (int d = 0; d < dims; ++d) space.shape[d] = shape[d];
      for (int s = 0; s < count; ++s) {
        index_t* stride = streams[s]->row_stride;
        for (int d = 0; d < dims; ++d) shape[d] = stride[order[d]];
        for (int d = 0; d < dims; ++d) stride[d] = shape[d];
      }
    }
  }

  int n = 0;
  for (int d = 0; d < dims; ++d) {
    if (space.shape[d] == 1) continue;
    bool joins = n > 0;
    for (int s = 0; s < count && joins; ++s)
      joins = streams[s]->row_stride[n - 1] == streams[s]->row_stride[d] * space.shape[d];
    const int to = joins ? n - 1 : n++;
    space.shape[to] = joins ? space.shape[to] * space.shape[d] : space.shape[d];
    for (int s = 0; s < count; ++s) streams[s]->row_stride[to] = streams[s]->row_stride[d];
  }
  space.ndim = n;
}

}  // namespace softlane::bindings
