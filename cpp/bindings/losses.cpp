#include "bindings/functions.hpp"
#include "bindings/loss_task.hpp"

namespace softlane::bindings {

py::object cross_entropy(handle logits, handle target, handle axis, handle weight,
                         handle sample_weight, handle label_smoothing, handle ignore_index,
                         handle reduction, handle out) {
  LossTask task("cross_entropy", Operation::cross_entropy);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::yes);
  task.loss_result("out", out);
  task.settle();
  task.execute();
  task.write_reduced_loss();
  return task.finish();
}

py::object cross_entropy_grad(handle logits, handle target, handle axis, handle weight,
                              handle sample_weight, handle label_smoothing, handle ignore_index,
                              handle reduction, handle out) {
  LossTask task("cross_entropy_grad", Operation::cross_entropy_grad);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::yes);
  task.result_like(0, "out", out, task.logits.view);
  task.settle();
  task.execute();
  return task.finish();
}

py::object cross_entropy_value_and_grad(handle logits, handle target, handle axis, handle weight,
                                        handle sample_weight, handle label_smoothing,
                                        handle ignore_index, handle reduction, handle out) {
  LossTask task("cross_entropy_value_and_grad", Operation::cross_entropy_value_and_grad);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::yes);
  const OutPair pair = parse_out_pair(task.function, out);
  task.loss_result("out[0]", pair.first);
  task.result_like(1, "out[1]", pair.second, task.logits.view);
  task.check_apart();
  task.settle();
  task.execute();
  task.write_reduced_loss();
  return task.finish_pair(out);
}

py::object cross_entropy_grad_and_hess_diag(handle logits, handle target, handle axis,
                                            handle weight, handle sample_weight,
                                            handle label_smoothing, handle ignore_index,
                                            handle reduction, handle out) {
  LossTask task("cross_entropy_grad_and_hess_diag", Operation::cross_entropy_grad_and_hess_diag);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::yes);
  const OutPair pair = parse_out_pair(task.function, out);
  task.result_like(0, "out[0]", pair.first, task.logits.view);
  task.result_like(1, "out[1]", pair.second, task.logits.view);
  task.check_apart();
  task.settle();
  task.execute();
  return task.finish_pair(out);
}

}  // namespace softlane::bindings
