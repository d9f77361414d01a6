// Results: new arrays, the caller's `out`, and scalars.
#pragma once

#include "bindings/axes.hpp"

namespace softlane::bindings {

// An array and the memory that it reaches, from the first byte to the one beyond the last.
struct Reach {
  py::handle array;
  const char* begin;
  const char* end;
  Reach(py::handle of, const View& view, index_t item);
};

// May elements of the two share memory? Exact wherever NumPy decides that quickly.
bool may_share(py::handle first, py::handle second);
inline bool share_memory(const Reach& a, const Reach& b) {
  return a.begin < b.end && b.begin < a.end && may_share(a.array, b.array);
}

class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;  // `cell` is pointed to
  Output& operator=(const Output&) = delete;

  // `given`: None or the caller's array, which is checked here. A new array has the memory order
  // of `like_strides` (null: C order).
  void prepare(const char* function, const char* name, py::handle given, Element element,
               const index_t* shape, int ndim, const index_t* like_strides);

  // Where the kernels write: the result itself or, where its classes are not one run, a temporary.
  void bind_to(const char* function, Stream& stream, const Axes& axes, Layout layout);

  // For a result that is computed here.
  void fill(double value);

  // Copies a temporary back and gives what the caller gets.
  py::object finish(const char* function);

  explicit operator bool() const { return prepared_; }
  bool given() const { return static_cast<bool>(given_); }
  // Do the kernels write to the caller's memory while they read the inputs?
  bool exposed() const { return given() && !buffer_; }
  const View& view() const { return view_; }
  index_t item() const { return item_size(format_.element); }
  Reach reach() const { return {array_, view_, item()}; }

 private:
  bool prepared_ = false;
  Format format_;
  py::object given_;   // the very object the caller passed
  py::object array_;   // the result, as an instance of ndarray itself
  py::object buffer_;  // the temporary
  View view_;
  alignas(8) char cell_[8];  // a 0-d result that becomes a scalar
};

}  // namespace softlane::bindings
