#include "bindings/options.hpp"

#include <cmath>
#include <cstring>

#include "bindings/arrays.hpp"

namespace softlane::bindings {

namespace {

bool has_dimensions(py::handle value) { return is_array(value) && proxy(value)->nd > 0; }

double parse_real(const char* function, const char* name, py::handle value, const char* accepted) {
  if (PyFloat_CheckExact(value.ptr())) return PyFloat_AS_DOUBLE(value.ptr());
  const bool not_scalar = has_dimensions(value);
  const double number = not_scalar ? -1.0 : PyFloat_AsDouble(value.ptr());
  if (not_scalar || (number == -1.0 && PyErr_Occurred() != nullptr)) {
    PyObject* type = PyExc_TypeError;
    if (!not_scalar) {
      if (PyErr_ExceptionMatches(PyExc_OverflowError))
        type = PyExc_ValueError;
      else if (!PyErr_ExceptionMatches(PyExc_TypeError) &&
               !PyErr_ExceptionMatches(PyExc_ValueError))
        throw py::error_already_set();
      PyErr_Clear();
    }
    fail(type, function, std::string(name) + " must be " + accepted + ", got " + repr_text(value));
  }
  return number;
}

[[noreturn]] void fail_value(const char* function, const char* name, py::handle value,
                             const char* accepted) {
  fail(PyExc_ValueError, function,
       std::string(name) + " must be " + accepted + ", got " + repr_text(value));
}

}  // namespace

double parse_temperature(const char* function, py::handle value) {
  constexpr const char* accepted = "a finite number > 0";
  const double temperature = parse_real(function, "temperature", value, accepted);
  if (!(temperature > 0) || std::isinf(temperature))
    fail_value(function, "temperature", value, accepted);
  return temperature;
}

double parse_label_smoothing(const char* function, py::handle value) {
  constexpr const char* accepted = "a number in [0, 1]";
  const double smoothing = parse_real(function, "label_smoothing", value, accepted);
  if (!(smoothing >= 0 && smoothing <= 1)) fail_value(function, "label_smoothing", value, accepted);
  return smoothing;
}

double parse_entropy_base(const char* function, py::handle base) {
  if (base.is_none()) return 0.0;
  constexpr const char* accepted = "a finite number > 0 other than 1, or None for nats";
  const double number = parse_real(function, "base", base, accepted);
  if (!(number > 0) || std::isinf(number) || number == 1)
    fail_value(function, "base", base, accepted);
  return number;
}

Reduction parse_reduction(const char* function, py::handle value) {
  constexpr const char* accepted = "'none', 'sum' or 'mean'";
  if (!PyUnicode_Check(value.ptr()))
    fail(PyExc_TypeError, function,
         std::string("reduction must be ") + accepted + ", got " + repr_text(value));
  const auto is = [text = value.ptr()](const char* wanted) {
    if (!PyUnicode_IS_COMPACT_ASCII(text))
      return PyUnicode_CompareWithASCIIString(text, wanted) == 0;
    const auto length = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
    return length == std::strlen(wanted) &&
           std::memcmp(PyUnicode_1BYTE_DATA(text), wanted, length) == 0;
  };
  if (is("none")) return Reduction::none;
  if (is("mean")) return Reduction::mean;
  if (is("sum")) return Reduction::sum;
  fail_value(function, "reduction", value, accepted);
}

bool parse_flag(const char* function, const char* name, py::handle value) {
  if (value.ptr() == Py_True) return true;
  if (value.ptr() == Py_False) return false;
  const int truth = has_dimensions(value) ? -1 : PyObject_IsTrue(value.ptr());
  if (truth >= 0) return truth != 0;
  if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError) &&
      !PyErr_ExceptionMatches(PyExc_ValueError))
    throw py::error_already_set();
  PyErr_Clear();
  fail(PyExc_TypeError, function,
       std::string(name) + " must be True or False, got " + repr_text(value));
}

IgnoreIndex parse_ignore_index(const char* function, py::handle value) {
  if (value.is_none()) return {};
  PyObject* index = PyBool_Check(value.ptr()) ? nullptr : PyNumber_Index(value.ptr());
  if (index == nullptr) {
    if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError))
      throw py::error_already_set();
    PyErr_Clear();
    fail(PyExc_TypeError, function,
         "ignore_index must be an integer or None, got " + repr_text(value));
  }
  const py::object owner = py::reinterpret_steal<py::object>(index);
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(index, &overflow);
  if (overflow == 0) return {true, false, number};
  const unsigned long long large = overflow > 0 ? PyLong_AsUnsignedLongLong(index) : 0;
  if (overflow < 0 || PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    fail(PyExc_ValueError, function,
         "ignore_index must fit an integer dtype, got " + repr_text(value));
  }
  return {true, true, static_cast<std::int64_t>(large)};
}

OutPair parse_out_pair(const char* function, py::handle out) {
  if (out.is_none()) return {out, out};
  if (!PyTuple_Check(out.ptr()) || PyTuple_GET_SIZE(out.ptr()) != 2) {
    const bool wrong_length = PyTuple_Check(out.ptr());
    fail(wrong_length ? PyExc_ValueError : PyExc_TypeError, function,
         "out must be None or a pair (a, b) of arrays, either of which may be None, got " +
             (wrong_length ? "a tuple of length " + std::to_string(PyTuple_GET_SIZE(out.ptr()))
                           : type_text(out)));
  }
  return {PyTuple_GET_ITEM(out.ptr(), 0), PyTuple_GET_ITEM(out.ptr(), 1)};
}

}  // namespace softlane::bindings
