#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "bindings/errors.hpp"
#include "bindings/functions.hpp"
#include "dispatch/dispatch.hpp"
#include "kernels/bounds.hpp"
#include "parallel/parallel.hpp"

namespace softlane::bindings {

namespace {

// `name`: the function that the caller called.
void set_threads(handle n, const char* name) {
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
  choose_num_threads(static_cast<int>(count));
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

Dtype dtype_of(const std::string& name, const char* function) {
  if (name == "float32") return Dtype::float32;
  if (name == "float64") return Dtype::float64;
  fail(PyExc_ValueError, function, "dtype must be 'float32' or 'float64', got '" + name + "'");
}

// The bound a kernel promises, for the tests.
double bound(const std::string& name, const std::string& dtype) {
  const bool narrow = dtype_of(dtype, "max_ulp") == Dtype::float32;
  std::string names;
  for (const Bound& row : max_ulp) {
    if (name == row.name) return narrow ? row.float32 : row.float64;
    names += std::string(names.empty() ? "" : ", ") + row.name;
  }
  fail(PyExc_ValueError, "max_ulp", "name must be one of " + names + ", got '" + name + "'");
}

// The name first, for Clang claims to be GCC as well.
#if defined(__clang__)
constexpr const char* compiler_name = "Clang";
#elif defined(__GNUC__)
constexpr const char* compiler_name = "GCC";
#else
constexpr const char* compiler_name = "unknown";
#endif

std::string compiler_version() {
#if defined(__clang__)
  return __clang_version__;
#elif defined(__GNUC__)
  return __VERSION__;
#else
  return "unknown";
#endif
}

std::string compiler_text() { return std::string(compiler_name) + " " + compiler_version(); }

// What of the compiler's flags shows in its predefined macros. With fast_math the digits would be
// wrong; the others harden or slow the binary.
py::dict build_flags() {
  py::dict flags;
#ifdef __OPTIMIZE__
  flags["optimized"] = true;
#else
  flags["optimized"] = false;
#endif
#ifdef __FAST_MATH__
  flags["fast_math"] = true;
#else
  flags["fast_math"] = false;
#endif
#if defined(__SSP_STRONG__) || defined(__SSP_ALL__)
  flags["stack_protector"] = true;
#else
  flags["stack_protector"] = false;
#endif
#ifdef _FORTIFY_SOURCE
  flags["fortify_source"] = _FORTIFY_SOURCE;
#else
  flags["fortify_source"] = 0;
#endif
#ifdef __SANITIZE_ADDRESS__
  flags["address_sanitizer"] = true;
#else
  flags["address_sanitizer"] = false;
#endif
  return flags;
}

// What show_config prints of the build.
py::dict build() {
  py::dict compiler, openmp, all;
  compiler["name"] = compiler_name;
  compiler["version"] = compiler_version();
  compiler["standard"] = __cplusplus;
  compiler["flags"] = build_flags();
  openmp["library"] = openmp_library();
  openmp["date"] = openmp_date();
  all["compiler"] = compiler;
  all["openmp"] = openmp;
  return all;
}

// The least of several short runs: what else the machine does only ever adds.
template <class T>
double least_ns(Probe probe) {
  using clock = std::chrono::steady_clock;
  constexpr int n = 1024;
  constexpr std::chrono::microseconds run(50), all(2000);
  alignas(64) T x[n], out[n];
  for (int k = 0; k < n; ++k) x[k] = static_cast<T>(-20.0 * k / n);
  const auto time = [&](int calls) {
    const clock::time_point start = clock::now();
    for (int i = 0; i < calls; ++i) probe(x, n, out);
    return clock::now() - start;
  };
  time(1);  // warms up
  const clock::time_point start = clock::now();
  const clock::duration once = std::max<clock::duration>(time(1), std::chrono::nanoseconds(1));
  const int calls = static_cast<int>(std::clamp<clock::rep>(run / once, 1, 1000));
  double least = std::chrono::duration<double, std::nano>(once).count();
  while (clock::now() - start < all) {
    const std::chrono::duration<double, std::nano> spent = time(calls);
    least = std::min(least, spent.count() / calls);
  }
  return least / n;
}

double exp_ns(const std::string& dtype) {
  const Dtype kind = dtype_of(dtype, "exp_ns");
  const py::gil_scoped_release release;
  const Probe exp_block = active_table().probes[static_cast<int>(kind)].exp_block;
  return kind == Dtype::float32 ? least_ns<float>(exp_block) : least_ns<double>(exp_block);
}

// In the order of Operation.
constexpr const char* operations[] = {"softmax",
                                      "log_softmax",
                                      "logsumexp",
                                      "entropy",
                                      "signed_sum",
                                      "cross_entropy",
                                      "cross_entropy_grad",
                                      "cross_entropy_value_and_grad",
                                      "cross_entropy_grad_and_hess_diag",
                                      "cross_entropy_hessian",
                                      "cross_entropy_hessian_diag",
                                      "cross_entropy_hvp",
                                      "cross_entropy_hessian_solve"};
static_assert(std::size(operations) == static_cast<std::size_t>(Operation::count));

// What run() gives each thread of a call, by operation: for the tests.
py::dict scratch(const std::string& dtype, index_t rows, index_t classes) {
  Call call;
  call.dtype = dtype_of(dtype, "scratch_bytes");
  call.classes = classes;
  call.space.rows = rows;
  py::dict bytes;
  for (std::size_t i = 0; i < std::size(operations); ++i) {
    call.operation = static_cast<Operation>(i);
    bytes[operations[i]] = scratch_bytes(call);
  }
  return bytes;
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
  module.def("chosen_num_threads", &chosen_num_threads);
  module.def("choose_num_threads", &choose_num_threads);
  module.def("choose_bytes_to_wake", &choose_bytes_to_wake);
  module.def("active_isa", [] { return active_table().isa; });
  module.def("available_isas", &isa_names);
  module.def("select_isa", &choose_isa);
  module.def("compiler", &compiler_text);
  module.def("build", &build);
  module.def("max_ulp", &bound);
  module.def("exp_ns", &exp_ns);
  module.def("scratch_bytes", &scratch);
  module.attr("version") = SOFTLANE_VERSION;
}

}  // namespace softlane::bindings
