#include "bindings/formats.hpp"

#include <atomic>
#include <climits>

#include "bindings/arrays.hpp"

namespace softlane::bindings {

namespace {

constexpr int half_type = 23;  // NPY_HALF

// NumPy's type number of ml_dtypes.bfloat16, once an array or dtype of it was seen; -1 before. That
// package may be absent, and is not imported for a caller who does not use it.
std::atomic<int> bfloat16_type{-1};

template <std::size_t Size>
constexpr Element integer(bool is_signed) {
  switch (Size) {
    case 1:
      return is_signed ? Element::int8 : Element::uint8;
    case 2:
      return is_signed ? Element::int16 : Element::uint16;
    case 4:
      return is_signed ? Element::int32 : Element::uint32;
    default:
      return is_signed ? Element::int64 : Element::uint64;
  }
}

// In the order of NumPy's type numbers, from NPY_BOOL to NPY_DOUBLE.
constexpr Element elements[] = {
    Element::boolean,
    integer<sizeof(char)>(true),
    integer<sizeof(char)>(false),
    integer<sizeof(short)>(true),
    integer<sizeof(short)>(false),
    integer<sizeof(int)>(true),
    integer<sizeof(int)>(false),
    integer<sizeof(long)>(true),
    integer<sizeof(long)>(false),
    integer<sizeof(long long)>(true),
    integer<sizeof(long long)>(false),
    Element::float32,
    Element::float64,
};
static_assert(CHAR_BIT == 8 && NumpyApi::NPY_BOOL_ == 0 && NumpyApi::NPY_ULONGLONG_ == 10);
static_assert(elements[NumpyApi::NPY_FLOAT_] == Element::float32 &&
              elements[NumpyApi::NPY_DOUBLE_] == Element::float64);

[[gnu::cold]] bool is_bfloat16(PyObject* dtype) {
  constexpr int first_user_type = 256;  // NPY_USERDEF
  if (dtype_proxy(dtype)->type_num < first_user_type) return false;
  const py::handle type = dtype_proxy(dtype)->typeobj;
  const auto is = [](py::handle text, const char* wanted) {
    return PyUnicode_Check(text.ptr()) && PyUnicode_CompareWithASCIIString(text.ptr(), wanted) == 0;
  };
  return py::handle(dtype).attr("itemsize").cast<index_t>() == item_size(Element::bfloat16) &&
         is(type.attr("__name__"), "bfloat16") && is(type.attr("__module__"), "ml_dtypes");
}

std::optional<Element> element_of(PyObject* dtype) {
  const int type = dtype_proxy(dtype)->type_num;
  if (type >= NumpyApi::NPY_BOOL_ && type <= NumpyApi::NPY_DOUBLE_) return elements[type];
  if (type == half_type) return Element::float16;
  if (type < 0) return std::nullopt;
  if (type != bfloat16_type.load(std::memory_order_relaxed)) {
    if (!is_bfloat16(dtype)) return std::nullopt;
    bfloat16_type.store(type, std::memory_order_relaxed);
  }
  return Element::bfloat16;
}

}  // namespace

ByteOrder byte_order(PyObject* dtype) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  constexpr char foreign = '<';
#else
  constexpr char foreign = '>';
#endif
  return dtype_proxy(dtype)->byteorder == foreign ? ByteOrder::swapped : ByteOrder::native;
}

std::optional<Format> any_format_of(PyObject* dtype) {
  const std::optional<Element> element = element_of(dtype);
  if (!element) return std::nullopt;
  return Format{*element, byte_order(dtype)};
}

py::object dtype_of(Element element) {
  const int type = element == Element::float32   ? static_cast<int>(NumpyApi::NPY_FLOAT_)
                   : element == Element::float64 ? static_cast<int>(NumpyApi::NPY_DOUBLE_)
                   : element == Element::float16 ? half_type
                                                 : bfloat16_type.load(std::memory_order_relaxed);
  PyObject* dtype = numpy->PyArray_DescrFromType_(type);
  if (dtype == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(dtype);
}

const char* name_of(Element element) {
  switch (element) {
    case Element::float16:
      return "float16";
    case Element::bfloat16:
      return "bfloat16";
    case Element::float32:
      return "float32";
    default:
      return "float64";
  }
}

Element parse_given_dtype(const char* function, py::handle value) {
  PyObject* dtype = nullptr;
  if (numpy->PyArray_DescrConverter_(value.ptr(), &dtype) != 0) {
    const py::object owner = py::reinterpret_steal<py::object>(dtype);
    const std::optional<Element> element = element_of(dtype);
    if (element && is_float(*element)) return *element;
  } else {
    // NumPy's complaint names neither function nor argument; what is none (no memory, say) passes.
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError) &&
        !PyErr_ExceptionMatches(PyExc_AttributeError) && !PyErr_ExceptionMatches(PyExc_SyntaxError))
      throw py::error_already_set();
    PyErr_Clear();
  }
  fail(PyExc_TypeError, function,
       "dtype must be float16, bfloat16 (of ml_dtypes), float32, float64 or None, got " +
           repr_text(value));
}

}  // namespace softlane::bindings
