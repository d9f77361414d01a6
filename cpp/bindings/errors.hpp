// Every message reads "function: what is wrong, what was given, what is accepted".
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "kernels/call.hpp"

namespace softlane::bindings {

namespace py = pybind11;

// Sets the Python exception `type` and throws it through C++.
[[noreturn, gnu::cold]] void fail(PyObject* type, const char* function, const std::string& message);

// The same, with the pending Python exception as its cause.
[[noreturn, gnu::cold]] void fail_from(PyObject* type, const char* function,
                                       const std::string& message);

// NumPy's own AxisError; `axis` is a Python int of any size.
[[noreturn, gnu::cold]] void fail_axis(const char* function, py::handle axis, int ndim);

// The pending Python exception, given the function's name where it is a ValueError, TypeError or
// MemoryError of NumPy's; any other is passed on as it is.
[[noreturn, gnu::cold]] void fail_pending(const char* function, const std::string& what);

// "(2, 3)", "(3,)", "()".
std::string shape_text(const index_t* shape, int ndim);

// "name[1, 2]" for a flat index in C order; "name" for ndim == 0.
std::string element_text(const char* name, index_t flat, const index_t* shape, int ndim);

// Any Python text; lone surrogates, which UTF-8 does not have, come out escaped.
std::string utf8(py::handle text);

// repr(value), cut to a readable length.
std::string repr_text(py::handle value);

std::string type_text(py::handle value);

// As Python prints a float.
std::string number_text(double value);

}  // namespace softlane::bindings
