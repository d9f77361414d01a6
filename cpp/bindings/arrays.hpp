// NumPy arrays as typed views.
#pragma once

#include <pybind11/numpy.h>
#include <unistd.h>

#include <memory>
#include <new>

#include "bindings/formats.hpp"
#include "dispatch/dispatch.hpp"

namespace softlane::bindings {

using NumpyApi = py::detail::npy_api;
using ArrayProxy = py::detail::PyArray_Proxy;

// NumPy's C functions; set once while the module is imported, for the lookup is not free.
extern const NumpyApi* numpy;
void import_numpy();

inline const ArrayProxy* proxy(py::handle array) {
  return reinterpret_cast<const ArrayProxy*>(array.ptr());
}

inline int type_number(py::handle array) { return dtype_proxy(proxy(array)->descr)->type_num; }
std::string dtype_text(py::handle array);

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

inline index_t element_count(const View& view) {
  index_t count = 1;
  for (int d = 0; d < view.ndim; ++d) count *= view.shape[d];
  return count;
}

inline bool same_shape(const View& view, const index_t* shape, int ndim) {
  if (view.ndim != ndim) return false;
  for (int d = 0; d < ndim; ++d)
    if (view.shape[d] != shape[d]) return false;
  return true;
}

// The view as one of `shape`, NumPy's broadcasting rules applied, in `result`. False where it has other lengths.
bool broadcast(const View& view, const index_t* shape, int ndim, View& result);

// An array that the kernels can read as it is, kept alive.
struct Array {
  py::object object;
  View view;
  Format format;
  explicit operator bool() const { return static_cast<bool>(object); }
};

inline bool is_array(py::handle value) { return numpy->PyArray_Check_(value.ptr()); }
bool is_masked_array(py::handle value);

// Does where= of the same call choose entries of the argument? It is what to use in place of a mask.
enum class Where : bool { absent, chooses };

// np.asarray, as an instance of ndarray itself; a MaskedArray is a TypeError. Any dtype.
py::object as_ndarray(const char* function, const char* name, py::handle value,
                      Where where = Where::absent);

// Floats, integers and bool, in any byte order and alignment; anything else is a TypeError.
Array acquire(const char* function, const char* name, py::handle value,
              Where where = Where::absent);

// `array` (of any real dtype) as an aligned native array of NumPy's `type`; itself where it is that already.
py::object cast_to(const char* function, py::handle array, int type);

bool is_integer(int type);  // bool apart

// An array of bool; any other dtype is a TypeError.
py::object acquire_mask(const char* function, const char* name, py::handle value);

// Uninitialised. `order` names the dimensions from the outermost to the innermost in memory; null: C order.
py::object new_array(const char* function, const py::object& dtype, index_t item,
                     const index_t* shape, int ndim, const int* order = nullptr);

// NumPy's "K" order of these strides. False where it is C order anyway.
bool memory_order(const index_t* shape, const index_t* strides, int ndim, int* order);

// The product of the dimensions and the element size, or -1 where it exceeds what can be addressed.
index_t checked_bytes(const index_t* shape, int ndim, index_t element_bytes);

// One value a row or a class. Uninitialised, for every element is written. A few need no heap, whose
// functions are a tenth of the border's instructions on a row of labels.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void allocate(const char* function, index_t count) {
    constexpr index_t most = PTRDIFF_MAX / static_cast<index_t>(sizeof(T));
    if (count <= few) {
      data_ = few_;
      return;
    }
    many_.reset(count > most ? nullptr : new (std::nothrow) T[static_cast<std::size_t>(count)]);
    data_ = many_.get();
    if (data_ == nullptr)
      fail(PyExc_MemoryError, function,
           "no memory for " + std::to_string(count) + " values, one a row or class");
  }
  T* get() { return data_; }
  const T* get() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  static constexpr index_t few = 4;
  T* data_ = nullptr;
  std::unique_ptr<T[]> many_;
  T few_[few];
};

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

// The flat index, in C order, of the first element for which bad(value) holds, and the value; -1: none.
struct Found {
  index_t flat = -1;
  double value = 0;
};
template <class Bad>
Found first_where(const Array& array, Bad&& bad) {
  const Fetch fetch = active_table().fetch;
  Found found;
  index_t done = 0;
  for_each_run(array.view, [&](const char* p, index_t count, index_t stride) {
    constexpr int chunk = 1024;  // a branch a chunk, so that the loop inside is vectors
    double scratch[chunk];
    for (index_t begin = 0; begin < count; begin += chunk) {
      const int n = static_cast<int>(count - begin < chunk ? count - begin : chunk);
      const double* const values = fetch(p + begin * stride, stride, array.format, n, scratch);
      bool any = false;
      for (int i = 0; i < n; ++i) any |= bad(values[i]);
      if (!any) continue;
      int i = 0;
      while (i < n - 1 && !bad(values[i])) ++i;
      found = {done + begin + i, values[i]};
      return false;
    }
    done += count;
    return true;
  });
  return found;
}

// Lets other Python threads run, where there is enough to do (NumPy's own threshold).
class ReleaseGil {
 public:
  explicit ReleaseGil(index_t work) : state_(work > 500 ? PyEval_SaveThread() : nullptr) {}
  ~ReleaseGil() {
    if (state_ == nullptr) return;
    // Where the interpreter has ended meanwhile, a Python before 3.14 unwinds a daemon thread from here
    // (pthread_exit), through frames that hold Python objects: the thread stays, as since 3.14.
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace softlane::bindings
