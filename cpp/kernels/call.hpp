// What the border hands to the kernels: one operation over many rows.
//
// A "row" is one run of K classes along the reduced axis; every other dimension is part of the row
// space, which all operands share. The border (cpp/bindings) has checked everything before a Call
// exists: shapes, dtypes, labels, alignment, overlap. Kernels neither check, throw nor allocate.
#pragma once

#include <cstddef>
#include <cstdint>

namespace softlane {

using index_t = std::ptrdiff_t;

enum class Dtype : std::uint8_t { float32, float64 };

enum class Operation : std::uint8_t {
  softmax,
  log_softmax,
  logsumexp,  // temperature * log sum exp(x / temperature), which is smooth_max
  entropy,
  signed_sum,  // log |sum b exp(x)| and the sum's sign
  cross_entropy,
  cross_entropy_grad,
  cross_entropy_value_and_grad,
  cross_entropy_grad_and_hess_diag,
  cross_entropy_hessian,
  cross_entropy_hessian_diag,
  cross_entropy_hvp,
  cross_entropy_hessian_solve,
  count
};

// NumPy's own limit on dimensions.
inline constexpr int max_dims = 64;

// Dimensions other than the class axis, in C order (the last varies fastest). Adjacent dimensions
// that every operand walks with compatible strides are merged beforehand, so ndim is mostly 0 or 1.
struct RowSpace {
  int ndim = 0;
  index_t rows = 1;  // product of shape[0..ndim)
  index_t shape[max_dims];
};

// One operand, as rows of classes. Strides are in bytes and may be zero or negative.
// data == nullptr: the operand is absent. Only the first RowSpace::ndim row strides are set.
struct Stream {
  char* data = nullptr;
  index_t class_stride = 0;
  index_t second_class_stride = 0;  // of the Hessian's first class dimension; else unused
  index_t row_stride[max_dims];
};

struct Call {
  Operation operation;
  Dtype dtype;  // of logits, probabilities, vector and outputs alike
  index_t classes = 0;
  RowSpace space;

  Stream logits;
  Stream mask;          // one byte a logit, 0 where it takes no part; absent: all do
  bool negate = false;  // compute on -logits (softmin, smooth_min); a reduction is negated back
  double temperature = 1.0;  // finite, > 0

  Stream factors;  // b of signed_sum

  // The target: exactly one of labels and probabilities for the losses; neither means W = 1.
  const std::int64_t* labels =
      nullptr;  // one a row, in C order of the row space, within [0, classes)
  Stream probabilities;
  double label_smoothing = 0.0;

  const double* weight = nullptr;  // one a class
  const double* row_scale =
      nullptr;         // one a row, in C order; multiplies loss and derivatives; 0 leaves a row out
  double scale = 1.0;  // the same for all rows: 1 / (sum of weights) of reduction="mean"
  double entropy_base = 0.0;  // of the logarithm; 0: nats

  Stream vector;  // of cross_entropy_hvp; the right-hand side of cross_entropy_hessian_solve
  const double* damping = nullptr;  // one a row, in C order

  // Maps write rows of classes; reductions and losses one element a row (class_stride unused).
  // value_and_grad: loss, gradient. grad_and_hess_diag: gradient, diagonal. logsumexp and signed_sum:
  // logarithm, sign. Either may be absent.
  Stream out[2];
  // For reductions: losses in float64, one a row in C order, times row_scale but not scale; where it
  // is given the loss stream is not written.
  double* row_loss = nullptr;

  // May an output share memory with logits element for element (same data, same strides)?
  // Any other overlap has been copied away by the border.
  bool in_place = false;
};

// Scratch of one thread: three blocks, the blocks' exponents, and for the Hessian two rows (the
// probabilities, and what their rounding lost) beside its K rows of output.
inline std::size_t scratch_bytes(const Call& call) {
  const std::size_t classes = static_cast<std::size_t>(call.classes);
  const std::size_t row = call.operation == Operation::cross_entropy_hessian ? 2 * classes : 0;
  return (3 * 1024 + classes / 1024 + 1 + row) * sizeof(double);
}

}  // namespace softlane
