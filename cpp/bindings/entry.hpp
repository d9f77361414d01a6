// From CPython's fast calling convention to functions of handles. pybind11's own dispatcher costs
// 0.1 us a call more, a tenth of what a call on ten numbers may take.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <new>
#include <utility>

#include "simd/arithmetic.hpp"

namespace softlane::bindings {

namespace py = pybind11;

// Calls within calls of one thread: an argument's __array__ or __float__ may call softlane. Each takes
// up to 20 KB of the stack, so that Python's own limit of 1000 would come too late.
class Nesting {
 public:
  Nesting() : depth_(++calls()) {}
  ~Nesting() { --calls(); }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  bool too_deep() const { return depth_ > 100; }

 private:
  static int& calls() {
#ifdef __GLIBC__
    // 5 ns a call less than the model of shared libraries: four bytes of what glibc keeps for such use.
    // Others, musl among them, refuse to load it.
    __attribute__((tls_model("initial-exec")))
#endif
    static thread_local int number = 0;
    return number;
  }
  int depth_;
};

template <auto function, class Indices>
struct Entry;

template <auto function, std::size_t... i>
struct Entry<function, std::index_sequence<i...>> {
  static PyObject* call(PyObject*, PyObject* const* arguments, Py_ssize_t given) noexcept {
    if (given != static_cast<Py_ssize_t>(sizeof...(i)))
      return PyErr_Format(PyExc_TypeError, "expected %zd positional arguments, got %zd",
                          static_cast<Py_ssize_t>(sizeof...(i)), given);
    const Nesting nesting;
    if (nesting.too_deep()) {
      PyErr_SetString(PyExc_RecursionError, "maximum recursion depth exceeded in softlane");
      return nullptr;
    }
    const DefaultArithmetic arithmetic;
    try {
      return function(py::handle(arguments[i])...).release().ptr();
    } catch (py::error_already_set& error) {
      error.restore();
    } catch (const py::builtin_exception& error) {
      error.set_error();
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
    } catch (const std::exception& error) {
      PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return nullptr;
  }
};

template <class... Handles>
constexpr std::make_index_sequence<sizeof...(Handles)> indices_of(py::object (*)(Handles...)) {
  return {};
}

// A row of the module's method table.
template <auto function>
PyMethodDef entry(const char* name) {
  using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);
  const Fast fast = &Entry<function, decltype(indices_of(function))>::call;
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(fast)), METH_FASTCALL,
          nullptr};
}

}  // namespace softlane::bindings
