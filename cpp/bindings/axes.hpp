// Which dimensions are classes and which are rows, and how operands walk them.
#pragma once

#include "bindings/arrays.hpp"

namespace softlane::bindings {

// An axis argument, parsed before any array is looked at: parsing may run the caller's Python code.
struct AxisArgument {
  bool all = false;
  int count = 0;
  long axis[max_dims];
  py::handle given;  // the caller's, for messages: axis[] is clamped

  AxisArgument(const char* function, py::handle value) { parse(function, value); }
  AxisArgument() = default;
  AxisArgument(const AxisArgument&) = delete;  // to copy all that there is room for takes 15 ns
  AxisArgument& operator=(const AxisArgument&) = delete;

  void parse(const char* function, py::handle value);
};

// The dimensions of logits, split. Classes run in C order over the class dimensions, however the
// tuple was ordered, as in NumPy's reductions.
struct Axes {
  int ndim = 0;  // of logits
  int row_dims = 0;
  int class_dims = 0;
  int row_dim[max_dims];
  int class_dim[max_dims];
  index_t row_shape[max_dims];
  index_t rows = 1;
  index_t classes = 1;

  // Leading dimensions that `vector` or `rhs` has and logits lacks.
  int lead_dims = 0;
  const index_t* lead_shape = nullptr;
  index_t lead_rows = 1;

  Axes() = default;
  Axes(const Axes&) = delete;  // as above
  Axes& operator=(const Axes&) = delete;

  void split(const char* function, const AxisArgument& axis, const View& logits);

  index_t all_rows() const { return lead_rows * rows; }
};

// What an operand's dimensions are.
enum class Layout : std::uint8_t {
  classes,  // logits' own, after any leading ones
  rows,     // those of the rows
  kept,     // logits' own, classes with length 1 (keepdims=True)
  hessian,  // those of the rows, then the classes twice
};

// Describes `view` to the kernels, one row stride for each leading and row dimension. False where
// the class dimensions are not one run of equal strides: then the operand needs a copy.
bool bind(Stream& stream, const View& view, const Axes& axes, Layout layout, index_t item);

// The order of dimensions in which an array of this layout has its classes in one run.
void classes_last(const Axes& axes, int ndim, int* order);

// Gives the call its row space, with neighbouring dimensions merged where all streams allow it.
// `key`: where no operand lists rows in C order, the dimensions are sorted by the strides of this stream; else null.
void merge_rows(Call& call, const Axes& axes, Stream* const* streams, int count, const Stream* key);

}  // namespace softlane::bindings
