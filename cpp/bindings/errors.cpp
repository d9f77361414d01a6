#include "bindings/errors.hpp"

#include <pybind11/gil_safe_call_once.h>

namespace softlane::bindings {

void fail(PyObject* type, const char* function, const std::string& message) {
  PyErr_SetString(type, (std::string(function) + ": " + message).c_str());
  throw py::error_already_set();
}

void fail_from(PyObject* type, const char* function, const std::string& message) {
  py::error_already_set cause;
  py::raise_from(cause, type, (std::string(function) + ": " + message).c_str());
  throw py::error_already_set();
}

void fail_axis(const char* function, py::handle axis, int ndim) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  const py::object& type = storage
                               .call_once_and_store_result([] {
                                 const py::module_ numpy = py::module_::import("numpy");
                                 // NumPy < 1.25 has it in its main namespace only.
                                 return py::hasattr(numpy, "exceptions")
                                            ? py::object(numpy.attr("exceptions").attr("AxisError"))
                                            : py::object(numpy.attr("AxisError"));
                               })
                               .get_stored();
  const py::object error = type(axis, ndim, py::str(function));
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

void fail_pending(const char* function, const std::string& what) {
  py::error_already_set error;
  PyObject* type = nullptr;
  for (PyObject* candidate : {PyExc_ValueError, PyExc_TypeError, PyExc_MemoryError})
    if (error.matches(candidate)) type = candidate;
  if (type == nullptr) throw error;
  const std::string message = what + ": " + utf8(py::str(error.value()));
  py::raise_from(error, type, (std::string(function) + ": " + message).c_str());
  throw py::error_already_set();
}

namespace {

std::string joined(const index_t* values, int count) {
  std::string text;
  for (int d = 0; d < count; ++d) {
    if (d > 0) text += ", ";
    text += std::to_string(values[d]);
  }
  return text;
}

}  // namespace

std::string shape_text(const index_t* shape, int ndim) {
  return "(" + joined(shape, ndim) + (ndim == 1 ? ",)" : ")");
}

std::string element_text(const char* name, index_t flat, const index_t* shape, int ndim) {
  if (ndim == 0) return name;
  index_t index[max_dims];
  for (int d = ndim - 1; d >= 0; --d) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return std::string(name) + "[" + joined(index, ndim) + "]";
}

std::string utf8(py::handle text) {
  PyObject* bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace");
  if (bytes == nullptr) throw py::error_already_set();
  return std::string(py::reinterpret_steal<py::bytes>(bytes));
}

std::string repr_text(py::handle value) {
  constexpr std::size_t longest = 80;
  PyObject* repr = PyObject_Repr(value.ptr());
  if (repr == nullptr) {
    // An interrupt is not about the repr.
    if (!PyErr_ExceptionMatches(PyExc_Exception)) throw py::error_already_set();
    PyErr_Clear();
    return "a " + type_text(value) + " object";
  }
  // Cut by characters, not bytes: the message has to stay valid UTF-8.
  const py::str text = py::reinterpret_steal<py::str>(repr);
  if (py::len(text) <= longest) return utf8(text);
  return utf8(text[py::slice(0, longest - 3, 1)]) + "...";
}

std::string type_text(py::handle value) { return Py_TYPE(value.ptr())->tp_name; }

std::string number_text(double value) { return std::string(py::str(py::float_(value))); }

}  // namespace softlane::bindings
