#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "bindings/errors.hpp"
#include "bindings/functions.hpp"
#include "dispatch/dispatch.hpp"
#include "kernels/bounds.hpp"
#include "parallel/parallel.hpp"

namespace softlane::bindings {

namespace {

void set_threads(handle n) {
  const char* const name = "set_num_threads";
  py::object index =
      py::reinterpret_steal<py::object>(PyBool_Check(n.ptr()) ? nullptr : PyNumber_Index(n.ptr()));
  if (!index) {
    if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError))
      throw py::error_already_set();
    PyErr_Clear();
    fail(PyExc_TypeError, name, "n must be an integer >= 1, got " + repr_text(n));
  }
  int overflow = 0;
  const long count = PyLong_AsLongAndOverflow(index.ptr(), &overflow);
  constexpr int most = std::numeric_limits<int>::max();
  if (overflow != 0 || count < 1 || count > most)
    fail(PyExc_ValueError, name,
         "n must be an integer from 1 to " + std::to_string(most) + ", got " + repr_text(n));
  set_num_threads(static_cast<int>(count));
}

py::list isa_names() {
  py::list names;
  for (const std::string& name : available_isas()) names.append(py::str(name));
  return names;
}

void choose_isa(handle name) {
  if (!PyUnicode_Check(name.ptr()))
    fail(PyExc_TypeError, "select_isa", "name must be a string, got " + repr_text(name));
  try {
    select_isa(std::string(py::reinterpret_borrow<py::str>(name)));
  } catch (const std::invalid_argument& error) {
    fail(PyExc_ValueError, "select_isa", error.what());
  }
}

// The bound a kernel promises, for the tests.
double bound(const std::string& name, const std::string& dtype) {
  const bool narrow = dtype == "float32";
  if (!narrow && dtype != "float64")
    fail(PyExc_ValueError, "max_ulp", "dtype must be 'float32' or 'float64', got '" + dtype + "'");
  std::string names;
  for (const Bound& row : max_ulp) {
    if (name == row.name) return narrow ? row.float32 : row.float64;
    names += std::string(names.empty() ? "" : ", ") + row.name;
  }
  fail(PyExc_ValueError, "max_ulp", "name must be one of " + names + ", got '" + name + "'");
}

std::string compiler_text() {
#if defined(__clang__)
  return __VERSION__;  // begins with Clang's name
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown";
#endif
}

// The bound of kernels/bounds.hpp, for the tests.
double max_ulp_of(const std::string& name, const std::string& dtype) {
  for (const Bound& bound : max_ulp) {
    if (name == bound.name && dtype == "float32") return bound.float32;
    if (name == bound.name && dtype == "float64") return bound.float64;
  }
  throw py::key_error(name + " " + dtype);
}

}  // namespace

void register_config(py::module_& module) {
  const char* isa = std::getenv("SOFTLANE_ISA");
  try {
    select_isa(isa == nullptr ? "" : isa);
  } catch (const std::invalid_argument& error) {
    throw py::import_error(std::string("SOFTLANE_ISA: ") + error.what());
  }
  module.def("get_num_threads", &get_num_threads);
  module.def("set_num_threads", &set_threads);
  module.def("active_isa", [] { return active_table().isa; });
  module.def("available_isas", &isa_names);
  module.def("select_isa", &choose_isa);
  module.def("max_ulp", &max_ulp_of);
  module.def("compiler", &compiler_text);
  module.def("max_ulp", &bound);
  module.attr("version") = SOFTLANE_VERSION;
}

}  // namespace softlane::bindings
