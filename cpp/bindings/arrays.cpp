#include "bindings/arrays.hpp"

#include <pybind11/gil_safe_call_once.h>

namespace softlane::bindings {

static_assert(sizeof(py::ssize_t) == sizeof(index_t) && sizeof(Py_intptr_t) == sizeof(index_t));

const NumpyApi* numpy = nullptr;

void import_numpy() { numpy = &NumpyApi::get(); }

namespace {

bool is_aligned(py::handle array) {
  return (proxy(array)->flags & NumpyApi::NPY_ARRAY_ALIGNED_) != 0;
}

}  // namespace

std::string dtype_text(py::handle array) { return utf8(py::str(py::handle(proxy(array)->descr))); }

bool broadcast(const View& view, const index_t* shape, int ndim, View& result) {
  const int added = ndim - view.ndim;
  if (added < 0) return false;
  index_t strides[max_dims];
  for (int d = 0; d < ndim; ++d) {
    const bool repeated = d < added || view.shape[d - added] == 1;
    if (!repeated && view.shape[d - added] != shape[d]) return false;
    strides[d] = repeated ? 0 : view.strides[d - added];
  }
  result = View(view.data, ndim, shape, strides);
  return true;
}

bool is_integer(int type) {
  return type >= NumpyApi::NPY_BYTE_ && type <= NumpyApi::NPY_ULONGLONG_;
}

bool is_masked_array(py::handle value) {
  if (Py_TYPE(value.ptr()) == numpy->PyArray_Type_) return false;
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  const py::object& type =
      storage
          .call_once_and_store_result(
              [] { return py::object(py::module_::import("numpy.ma").attr("MaskedArray")); })
          .get_stored();
  return PyObject_TypeCheck(value.ptr(), reinterpret_cast<PyTypeObject*>(type.ptr())) != 0;
}

py::object as_ndarray(const char* function, const char* name, py::handle value, Where where) {
  if (Py_TYPE(value.ptr()) == numpy->PyArray_Type_)
    return py::reinterpret_borrow<py::object>(value);
  // Subclasses come through first, so that an object whose __array__ gives a MaskedArray is seen.
  PyObject* any = numpy->PyArray_FromAny_(value.ptr(), nullptr, 0, 0, 0, nullptr);
  if (any == nullptr) fail_pending(function, std::string(name) + " is not an array");
  py::object array = py::reinterpret_steal<py::object>(any);
  if (Py_TYPE(any) == numpy->PyArray_Type_) return array;
  if (is_masked_array(array))
    fail(PyExc_TypeError, function,
         std::string(name) + " is a MaskedArray, whose mask would be lost; " +
             (where == Where::chooses
                  ? "pass its data, and the entries to keep as where=~mask"
                  : "pass its data or filled() (where= is for the input of maps and reductions)"));
  PyObject* base =
      numpy->PyArray_View_(any, nullptr, reinterpret_cast<PyObject*>(numpy->PyArray_Type_));
  if (base == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(base);
}

py::object cast_to(const char* function, py::handle array, int type) {
  if (type_number(array) == type && is_aligned(array) &&
      byte_order(proxy(array)->descr) == ByteOrder::native)
    return py::reinterpret_borrow<py::object>(array);
  PyObject* cast =
      numpy->PyArray_FromAny_(array.ptr(), numpy->PyArray_DescrFromType_(type), 0, 0,
                              NumpyApi::NPY_ARRAY_ALIGNED_ | NumpyApi::NPY_ARRAY_FORCECAST_ |
                                  NumpyApi::NPY_ARRAY_ENSUREARRAY_,
                              nullptr);
  if (cast == nullptr) fail_pending(function, "an input could not be copied");
  return py::reinterpret_steal<py::object>(cast);
}

Array acquire(const char* function, const char* name, py::handle value, Where where) {
  const py::object array = as_ndarray(function, name, value, where);
  const std::optional<Format> format = format_of(proxy(array)->descr);
  if (!format)
    fail(PyExc_TypeError, function,
         std::string(name) + " has dtype " + dtype_text(array) +
             "; float16, bfloat16, float32, float64, integers and bool are accepted");
  return {array, view_of(array), *format};
}

py::object acquire_mask(const char* function, const char* name, py::handle value) {
  py::object array = as_ndarray(function, name, value);
  if (type_number(array) != NumpyApi::NPY_BOOL_)
    fail(PyExc_TypeError, function,
         std::string(name) + " has dtype " + dtype_text(array) +
             "; an array of bool is accepted, with True for the entries to keep");
  return array;
}

index_t checked_bytes(const index_t* shape, int ndim, index_t element_bytes) {
  index_t bytes = element_bytes;
  for (int d = 0; d < ndim; ++d) {
    if (shape[d] == 0) continue;
    if (bytes > PTRDIFF_MAX / shape[d]) return -1;
    bytes *= shape[d];
  }
  return bytes;
}

py::object new_array(const char* function, const py::object& dtype, index_t item,
                     const index_t* shape, int ndim, const int* order) {
  if (ndim > max_dims)
    fail(PyExc_ValueError, function,
         "the result would have " + std::to_string(ndim) + " dimensions, but NumPy allows " +
             std::to_string(max_dims));
  if (checked_bytes(shape, ndim, item) < 0)
    fail(PyExc_ValueError, function,
         "an array of shape " + shape_text(shape, ndim) + " is larger than can be addressed");
  index_t strides[max_dims];
  if (order != nullptr) {
    index_t stride = item;
    for (int i = ndim - 1; i >= 0; --i) {
      strides[order[i]] = stride;
      if (shape[order[i]] > 1) stride *= shape[order[i]];
    }
  }
  PyObject* array =
      numpy->PyArray_NewFromDescr_(numpy->PyArray_Type_, dtype.inc_ref().ptr(), ndim, shape,
                                   order != nullptr ? strides : nullptr, nullptr, 0, nullptr);
  if (array == nullptr) fail_pending(function, "no array of shape " + shape_text(shape, ndim));
  return py::reinterpret_steal<py::object>(array);
}

bool memory_order(const index_t* shape, const index_t* strides, int ndim, int* order) {
  const auto size = [](index_t stride) { return stride < 0 ? -stride : stride; };
  bool c_order = true;
  for (int d = 0; d < ndim; ++d) {
    order[d] = d;
    if (shape[d] <= 1) continue;
    // A broadcast input has no order of its own.
    if (strides[d] == 0) return false;
    for (int i = d; i > 0; --i) {
      const int before = order[i - 1];
      if (shape[before] > 1 && size(strides[before]) >= size(strides[d])) break;
      // A dimension of one element moves nothing in memory.
      if (shape[before] > 1) c_order = false;
      order[i] = before;
      order[i - 1] = d;
    }
  }
  return !c_order;
}

}  // namespace softlane::bindings
