// NumPy arrays as typed views.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <new>

#include "bindings/errors.hpp"

namespace softlane::bindings {

using NumpyApi = py::detail::npy_api;
using ArrayProxy = py::detail::PyArray_Proxy;

// NumPy's C functions; set once while the module is imported, for the lookup is not free.
extern const NumpyApi* numpy;
void import_numpy();

inline const ArrayProxy* proxy(py::handle array) {
  return reinterpret_cast<const ArrayProxy*>(array.ptr());
}

int type_number(py::handle array);
bool is_native(py::handle array);  // byte order
std::string dtype_text(py::handle array);
std::string dtype_text(Dtype dtype);

inline constexpr int type_number(Dtype dtype) {
  return dtype == Dtype::float32 ? NumpyApi::NPY_FLOAT_ : NumpyApi::NPY_DOUBLE_;
}
inline constexpr index_t item_size(Dtype dtype) { return dtype == Dtype::float32 ? 4 : 8; }

// Elements in memory. Shape and strides (in bytes) are copies: while the GIL is released, or the
// caller's __array__ runs, somebody may reshape the array they come from.
struct View {
  char* data = nullptr;
  int ndim = 0;
  index_t shape[max_dims];
  index_t strides[max_dims];

  View() {}  // shape and strides stay unset: there are none yet
  View(char* first, int dims, const index_t* lengths, const index_t* steps)
      : data(first), ndim(dims) {
    for (int d = 0; d < dims; ++d) {
      shape[d] = lengths[d];
      strides[d] = steps[d];
    }
  }
  View(const View& other) : View(other.data, other.ndim, other.shape, other.strides) {}
  View& operator=(const View& other) {
    data = other.data;
    ndim = other.ndim;
    for (int d = 0; d < ndim; ++d) {
      shape[d] = other.shape[d];
      strides[d] = other.strides[d];
    }
    return *this;
  }
};

inline View view_of(py::handle array) {
  const ArrayProxy* a = proxy(array);
  return {a->data, a->nd, a->dimensions, a->strides};
}

index_t element_count(const View& view);
bool same_shape(const View& view, const index_t* shape, int ndim);

// The view as one of `shape`, NumPy's broadcasting rules applied, in `result`. False where it has other lengths.
bool broadcast(const View& view, const index_t* shape, int ndim, View& result);

// An aligned array in native byte order, kept alive.
struct Array {
  py::object object;
  View view;
  Dtype dtype = Dtype::float64;
  explicit operator bool() const { return static_cast<bool>(object); }
};

inline bool is_array(py::handle value) { return numpy->PyArray_Check_(value.ptr()); }
bool is_masked_array(py::handle value);

// np.asarray, as an instance of ndarray itself; a MaskedArray is a TypeError. Any dtype.
py::object as_ndarray(const char* function, const char* name, py::handle value);

// float32 and float64 as they are, integers and bool as float64; anything else is a TypeError.
Array acquire(const char* function, const char* name, py::handle value);

// The same, then in the dtype asked for.
Array acquire_as(const char* function, const char* name, py::handle value, Dtype dtype);

// `array` (of any real dtype) as an aligned native array of NumPy's `type`; itself where it is that already.
py::object cast_to(const char* function, py::handle array, int type);

// A float array in another float dtype; values out of float32's range become infinite, without a warning.
Array cast_float(const char* function, const Array& array, Dtype dtype);

bool is_integer(int type);  // bool apart
bool is_real(
    int type);  // what a side operand in float64 accepts: integers, bool, and the floats up to float64

// An array of bool; any other dtype is a TypeError.
py::object acquire_mask(const char* function, const char* name, py::handle value);

// Uninitialised. `order` names the dimensions from the outermost to the innermost in memory; null: C order.
py::object new_array(const char* function, Dtype dtype, const index_t* shape, int ndim,
                     const int* order = nullptr);

// NumPy's "K" order of these strides. False where it is C order anyway.
bool memory_order(const index_t* shape, const index_t* strides, int ndim, int* order);

// The product of the dimensions and the element size, or -1 where it exceeds what can be addressed.
index_t checked_bytes(const index_t* shape, int ndim, index_t element_bytes);

// One value a row or a class. Uninitialised, for every element is written.
template <class T>
using Buffer = std::unique_ptr<T[]>;

template <class T>
Buffer<T> allocate(const char* function, index_t count) {
  constexpr index_t most = PTRDIFF_MAX / static_cast<index_t>(sizeof(T));
  T* data = count > most ? nullptr : new (std::nothrow) T[static_cast<std::size_t>(count)];
  if (data == nullptr)
    fail(PyExc_MemoryError, function,
         "no memory for " + std::to_string(count) + " values, one a row or class");
  return Buffer<T>(data);
}

// Calls run(pointer, count, stride) for the innermost runs of elements in C order, until it returns false.
template <class Run>
bool for_each_run(const View& view, Run&& run) {
  index_t shape[max_dims], stride[max_dims], at[max_dims];
  if (element_count(view) == 0) return true;
  int n = 0;
  for (int d = 0; d < view.ndim; ++d) {
    if (view.shape[d] == 1) continue;
    if (n > 0 && stride[n - 1] == view.strides[d] * view.shape[d]) {
      shape[n - 1] *= view.shape[d];
      stride[n - 1] = view.strides[d];
      continue;
    }
    shape[n] = view.shape[d];
    stride[n] = view.strides[d];
    at[n] = 0;
    ++n;
  }
  if (n == 0) return run(view.data, index_t{1}, index_t{0});
  char* p = view.data;
  for (;;) {
    if (!run(p, shape[n - 1], stride[n - 1])) return false;
    int d = n - 2;
    for (; d >= 0; --d) {
      p += stride[d];
      if (++at[d] < shape[d]) break;
      p -= stride[d] * shape[d];
      at[d] = 0;
    }
    if (d < 0) return true;
  }
}

// The flat index, in C order, of the first element for which bad(value) holds; -1: none.
template <class T, class Bad>
index_t first_where(const View& view, Bad&& bad) {
  index_t done = 0;
  const bool none = for_each_run(view, [&](const char* p, index_t count, index_t stride) {
    constexpr index_t chunk = 4096;  // a branch a chunk, so that the loop inside is vectors
    for (index_t begin = 0; begin < count; begin += chunk) {
      const index_t end = count - begin < chunk ? count : begin + chunk;
      bool any = false;
      if (stride == static_cast<index_t>(sizeof(T)))
        for (index_t i = begin; i < end; ++i) any |= bad(reinterpret_cast<const T*>(p)[i]);
      else
        for (index_t i = begin; i < end; ++i)
          any |= bad(*reinterpret_cast<const T*>(p + i * stride));
      if (!any) continue;
      index_t i = begin;
      while (!bad(*reinterpret_cast<const T*>(p + i * stride))) ++i;
      done += i;
      return false;
    }
    done += count;
    return true;
  });
  return none ? -1 : done;
}

// Lets other Python threads run, where there is enough to do (NumPy's own threshold).
class ReleaseGil {
 public:
  explicit ReleaseGil(index_t work) : state_(work > 500 ? PyEval_SaveThread() : nullptr) {}
  ~ReleaseGil() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace softlane::bindings
