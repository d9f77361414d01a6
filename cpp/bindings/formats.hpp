// NumPy's dtypes as the kernels' formats.
#pragma once

#include <pybind11/numpy.h>

#include <optional>

#include "bindings/errors.hpp"

namespace softlane::bindings {

using DtypeProxy = py::detail::PyArrayDescr_Proxy;

inline const DtypeProxy* dtype_proxy(const PyObject* dtype) {
  return reinterpret_cast<const DtypeProxy*>(dtype);
}

ByteOrder byte_order(PyObject* dtype);

// None for a dtype that is neither float16, bfloat16, float32, float64, integer nor bool.
std::optional<Format> any_format_of(PyObject* dtype);

// The same; the two that most calls have, and in native order, at a glance.
inline std::optional<Format> format_of(PyObject* dtype) {
  const DtypeProxy* d = dtype_proxy(dtype);
  if (d->byteorder == '=') {
    if (d->type_num == py::detail::npy_api::NPY_FLOAT_)
      return Format{Element::float32, ByteOrder::native};
    if (d->type_num == py::detail::npy_api::NPY_DOUBLE_)
      return Format{Element::float64, ByteOrder::native};
  }
  return any_format_of(dtype);
}

// NumPy's dtype, in native byte order, of a float element.
py::object dtype_of(Element element);
const char* name_of(Element element);

constexpr bool is_half(Element element) {
  return element == Element::float16 || element == Element::bfloat16;
}
constexpr bool is_float(Element element) { return element <= Element::bfloat16; }

// What a result of such inputs is, unless another dtype is asked for.
constexpr Element result_of(Element input) { return is_float(input) ? input : Element::float64; }

// The narrowest dtype in which the kernels may compute on an input or for a result.
constexpr Dtype computed_in(Element element) {
  return element == Element::float32 || is_half(element) ? Dtype::float32 : Dtype::float64;
}

// The argument dtype=, one of the four floats.
Element parse_given_dtype(const char* function, py::handle value);
inline std::optional<Element> parse_dtype(const char* function, py::handle value) {
  if (value.is_none()) return std::nullopt;
  return parse_given_dtype(function, value);
}

}  // namespace softlane::bindings
