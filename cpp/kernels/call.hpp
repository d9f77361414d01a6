// What the border hands to the kernels: one operation over many rows.
//
// A "row" is one run of K classes along the reduced axis; every other dimension is part of the row
// space, which all operands share. The border (cpp/bindings) has checked everything before a Call
// exists: shapes, dtypes, labels, overlap. Kernels neither check, throw nor allocate; but labels may change after the
// check (some_class).
#pragma once

#include <cstddef>
#include <cstdint>

namespace softlane {

using index_t = std::ptrdiff_t;

// What the kernels compute in.
enum class Dtype : std::uint8_t { float32, float64 };

// What operands are in memory. Inputs may be any of these, results one of the four floats.
enum class Element : std::uint8_t {
  float32,
  float64,
  float16,
  bfloat16,
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64
};
inline constexpr index_t item_size(Element element) {
  switch (element) {
    case Element::boolean:
    case Element::int8:
    case Element::uint8:
      return 1;
    case Element::float16:
    case Element::bfloat16:
    case Element::int16:
    case Element::uint16:
      return 2;
    case Element::float32:
    case Element::int32:
    case Element::uint32:
      return 4;
    default:
      return 8;
  }
}

enum class ByteOrder : std::uint8_t { native, swapped };

struct Format {
  Element element = Element::float32;
  ByteOrder order = ByteOrder::native;
};

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
// Are any of the results quotients by a row's sum, and not logarithms alone?
inline bool takes_quotients(Operation operation) {
  return operation != Operation::log_softmax && operation != Operation::logsumexp &&
         operation != Operation::signed_sum && operation != Operation::cross_entropy;
}

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
  Format format;
  index_t class_stride = 0;
  index_t second_class_stride = 0;  // of the Hessian's first class dimension; else unused
  index_t row_stride[max_dims];
};

// A long row may be cut at block borders into parts, for threads to share. All its parts take a step
// before any of them takes the next: the maximum (where the exponentials overwrite the logits, call.in_place;
// else that step is left out), the summaries of the blocks with their exponentials, then the results. The row's
// first part gives what is one a row.
enum class Step : std::uint8_t { whole, maximum, summaries, results };

// What the parts of a row share.
struct CutRow {
  void* blocks = nullptr;  // cut_row_bytes(call)
  double label_logit = 0;
  bool left =
      false;  // turns out to be one for Step::whole: rare, and nothing is written that it reads
};

struct Part {
  Step step = Step::whole;
  index_t begin = 0, end = 0;  // of the classes
  CutRow* row = nullptr;
  index_t first_line = 0, end_line = 0;  // of the Hessian's matrices, in one step; none: all
};

struct Call {
  Operation operation;
  Dtype dtype;  // whatever the operands' formats: each element is read into it and written from it
  index_t classes = 0;
  RowSpace space;

  Stream logits;
  Stream mask;          // one byte a logit, 0 where it takes no part; absent: all do
  bool negate = false;  // compute on -logits (softmin, smooth_min); a reduction is negated back
  double temperature = 1.0;  // finite, > 0

  Stream factors;  // b of signed_sum

  // The target: exactly one of labels and probabilities for the losses; neither means W = 1.
  // One a row, in C order of the row space, within [0, classes); maybe in the caller's own array (some_class).
  const std::int64_t* labels = nullptr;
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
  bool out_is_new = false;  // of the Hessian: has nobody written to it yet?
  // For reductions: losses in float64, one a row in C order, times row_scale but not scale; where it
  // is given the loss stream is not written.
  double* row_loss = nullptr;

  // May an output share memory with logits element for element (same data, same strides)?
  // Any other overlap has been copied away by the border.
  bool in_place = false;

  Part part;  // of every row of the range that a kernel is given
};

// A label that is read where it lies, and that another thread of the program may write to after it was checked. Read once,
// it is a class whatever it has become.
__attribute__((always_inline)) inline index_t some_class(const std::int64_t* label,
                                                         index_t classes) {
  const auto l = static_cast<std::uint64_t>(__atomic_load_n(label, __ATOMIC_RELAXED));
  return l < static_cast<std::uint64_t>(classes) ? static_cast<index_t>(l) : 0;
}

inline constexpr std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
inline std::size_t item_size(Dtype dtype) { return dtype == Dtype::float32 ? 4 : 8; }

// Rows are read, summed and written so many elements at a time, and no more of a row passes through
// scratch at once.
inline constexpr int block_size = 1024;
inline constexpr index_t scratch_block(index_t classes) {
  return classes < block_size ? (classes + 15) / 16 * 16 : block_size;
}

// What a cut row keeps of each block (kernels/parts.hpp).
inline constexpr index_t cut_block_bytes = 88;

inline std::size_t cut_row_bytes(const Call& call) {
  return static_cast<std::size_t>((call.classes + block_size - 1) / block_size * cut_block_bytes);
}

// Has the operation steps for parts of a row? A sum over the classes that the summary does not hold (of a
// product, of a target that is more than a label) has its own order, from the row's beginning to its end.
inline bool divisible(const Call& call) {
  switch (call.operation) {
    case Operation::signed_sum:
    case Operation::cross_entropy_hessian:
    case Operation::cross_entropy_hvp:
    case Operation::cross_entropy_hessian_solve:
      return false;
    default:
      return call.probabilities.data == nullptr && call.label_smoothing == 0;
  }
}

// Of the Hessian: p, what its rounding lost, and the diagonal, each with room for a vector beyond and
// for its begin to lie within a line of memory as the matrix does.
inline constexpr index_t moments_length(index_t classes) { return (classes + 15) / 16 * 16 + 32; }
inline index_t all_moments_length(const Call& call) {
  return call.operation == Operation::cross_entropy_hessian ? 3 * moments_length(call.classes) : 0;
}

// Scratch of one thread for rows one by one: three blocks, the blocks' exponents, and what the Hessian
// is made from.
inline std::size_t row_scratch_bytes(const Call& call) {
  const index_t elements =
      3 * scratch_block(call.classes) + all_moments_length(call) + call.classes / block_size + 1;
  return whole_lines(static_cast<std::size_t>(elements) * item_size(call.dtype));
}

// Fewer rows than this are done one by one, and rows of more classes than this do not pass through
// panels (kernels/across.hpp).
inline constexpr index_t least_rows = 4, most_panel_classes = 256;

// One vector a class, of up to 64 bytes and 16 elements.
inline std::size_t panel_bytes(const Call& call) {
  if (call.space.rows < least_rows || call.classes > most_panel_classes) return 0;
  return (static_cast<std::size_t>(call.classes) + 15) / 16 * 16 * 64;
}

// Hessians of at most so many classes are made across lanes.
inline constexpr int most_across = 16;

// Groups of rows that take each step together, if they need panels; two of 33 to 64 classes took 0.95 times the time
// of one. Without panels they are as many as may be.
inline constexpr int most_batch = 4;
inline int group_batch(const Call& call) {
  return call.classes <= 32 ? most_batch : call.classes <= 64 ? 2 : 1;
}

// Of a group's Hessians that are made across lanes: a panel and a buffer of matrices.
inline std::size_t matrix_bytes(const Call& call) {
  if (call.operation != Operation::cross_entropy_hessian || panel_bytes(call) == 0 ||
      call.classes > most_across)
    return 0;
  const auto n = static_cast<std::size_t>(call.classes);
  return 2 * ((n * n + 15) / 16 * 16 * 64);
}

// Scratch of one thread: the above, a buffer of rows, and two panels for each group of a batch that needs them.
inline std::size_t scratch_bytes(const Call& call) {
  const auto panels = static_cast<std::size_t>(1 + 2 * group_batch(call));
  return row_scratch_bytes(call) + panels * panel_bytes(call) + matrix_bytes(call);
}

}  // namespace softlane
