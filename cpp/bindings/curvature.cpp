#include "bindings/functions.hpp"
#include "bindings/loss_task.hpp"

namespace softlane::bindings {

py::object cross_entropy_hessian(handle logits, handle target, handle axis, handle weight,
                                 handle sample_weight, handle label_smoothing, handle ignore_index,
                                 handle reduction, handle out) {
  LossTask task("cross_entropy_hessian", Operation::cross_entropy_hessian);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::no);
  task.result_of_matrices("out", out);
  task.settle();
  task.execute();
  return task.finish();
}

py::object cross_entropy_hessian_diag(handle logits, handle target, handle axis, handle weight,
                                      handle sample_weight, handle label_smoothing,
                                      handle ignore_index, handle reduction, handle out) {
  LossTask task("cross_entropy_hessian_diag", Operation::cross_entropy_hessian_diag);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::no);
  task.result_like(0, "out", out, task.logits.view);
  task.settle();
  task.execute();
  return task.finish();
}

py::object cross_entropy_hvp(handle logits, handle vector, handle target, handle axis,
                             handle weight, handle sample_weight, handle label_smoothing,
                             handle ignore_index, handle reduction, handle out) {
  LossTask task("cross_entropy_hvp", Operation::cross_entropy_hvp);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::no);
  task.parse_vector("vector", vector);
  task.measure();
  task.result_like(0, "out", out, task.vector.view);
  task.settle();
  task.execute();
  return task.finish();
}

py::object cross_entropy_hessian_solve(handle logits, handle rhs, handle damping, handle target,
                                       handle axis, handle weight, handle sample_weight,
                                       handle label_smoothing, handle ignore_index,
                                       handle reduction, handle out) {
  LossTask task("cross_entropy_hessian_solve", Operation::cross_entropy_hessian_solve);
  task.parse(
      {logits, target, axis, weight, sample_weight, label_smoothing, ignore_index, reduction},
      TargetRequired::no);
  task.parse_vector("rhs", rhs);
  task.measure();
  task.parse_damping(damping);
  task.result_like(0, "out", out, task.vector.view);
  task.settle();
  task.execute();
  return task.finish();
}

}  // namespace softlane::bindings
