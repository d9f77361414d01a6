// The options that all losses share: target, weights, smoothing, reduction.
#pragma once

#include "bindings/options.hpp"
#include "bindings/task.hpp"

namespace softlane::bindings {

// As the caller passed them.
struct LossArguments {
  py::handle logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction;
};

enum class TargetRequired : bool { no, yes };

// Numbers that the kernels point at; they live as long as the call.
struct LossBuffers {
  Buffer<std::int64_t> labels;
  Buffer<double> weight;
  Buffer<double> row_scale;
  Buffer<double> damping;
  Buffer<double> row_loss;
  // The same, over again for each index of a vector's leading dimensions.
  Buffer<std::int64_t> all_labels;
  Buffer<double> all_row_scale;
};

// A call of one of the losses, in steps: parse (may run Python code, and looks at shapes before it copies), the vector or
// right-hand side of curvature products with measure, the damping, settle (checks every value and gives the call its
// numbers). The results are prepared before settle: where a
// target is broadcast without end, that there is no memory for them must not wait for its check.
class LossTask : public Task {
 public:
  LossTask(const char* name, Operation operation) : Task(name, operation) {}

  void parse(const LossArguments& arguments, TargetRequired required);
  void parse_vector(const char* name, py::handle value);
  void parse_damping(py::handle value);
  void measure();
  void settle();

  // Of a reduced loss: row losses go to a buffer, and what the caller gets is made of their sum.
  void loss_result(const char* name, py::handle given);
  void write_reduced_loss();

  Reduction reduction = Reduction::none;

 private:
  enum class Target : std::uint8_t { none, labels, probabilities };

  void parse_target(py::handle value, TargetRequired required);
  void check_target_shape() const;
  void check_weight_shape(const View& view) const;
  View over_rows(const char* name, const View& view) const;
  View over_all_rows(const char* name, const View& view) const;
  bool labels_stay() const;
  void settle_labels();
  void settle_probabilities();
  void settle_weight();
  void settle_sample_weight();
  void settle_damping();
  double denominator() const;
  bool bring_weights_into_range();
  void repeat_over_lead();

  AxisArgument axis_;
  IgnoreIndex ignore_;
  Target target_ = Target::none;
  py::object target_array_;
  View target_view_;  // as it was parsed, for what runs in between may reshape the caller's array
  bool unsigned_labels_ = false;
  Array weight_;
  Array sample_weight_;
  Array damping_;
  const char* vector_name_ = "";
  double denominator_ = 1;
  LossBuffers buffers_;
};

}  // namespace softlane::bindings
