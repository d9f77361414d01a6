#include "bindings/functions.hpp"
#include "bindings/options.hpp"
#include "bindings/task.hpp"

namespace softlane::bindings {

namespace {

enum class Sign : std::uint8_t { plus, minus };

py::object map(const char* name, Operation operation, Sign sign, handle x, handle axis,
               handle temperature, handle dtype, handle out) {
  Task task(name, operation);
  task.call.negate = sign == Sign::minus;
  task.dtype = parse_dtype(name, dtype);
  task.call.temperature = parse_temperature(name, temperature);
  const AxisArgument axes = parse_axis(name, axis);
  task.logits = acquire(name, "x", x);
  task.axes = split(name, axes, task.logits.view);
  task.result_like(0, "out", out, task.logits.view);
  task.execute();
  return task.finish();
}

py::object reduce(const char* name, const char* input, Operation operation, Sign sign,
                  double temperature, double entropy_base, handle x, handle axis, handle keepdims,
                  handle dtype, handle out) {
  Task task(name, operation);
  task.call.negate = sign == Sign::minus;
  task.dtype = parse_dtype(name, dtype);
  task.call.temperature = temperature;
  task.call.entropy_base = entropy_base;
  const bool keep = parse_flag(keepdims);
  const AxisArgument axes = parse_axis(name, axis);
  task.logits = acquire(name, input, x);
  task.axes = split(name, axes, task.logits.view);
  task.result_of_rows(0, "out", out, keep, task.result_element());
  task.execute();
  return task.finish();
}

}  // namespace

py::object softmax(handle x, handle axis, handle temperature, handle dtype, handle out) {
  return map("softmax", Operation::softmax, Sign::plus, x, axis, temperature, dtype, out);
}

py::object log_softmax(handle x, handle axis, handle temperature, handle dtype, handle out) {
  return map("log_softmax", Operation::log_softmax, Sign::plus, x, axis, temperature, dtype, out);
}

py::object softmin(handle x, handle axis, handle temperature, handle dtype, handle out) {
  return map("softmin", Operation::softmax, Sign::minus, x, axis, temperature, dtype, out);
}

py::object logsumexp(handle x, handle axis, handle keepdims, handle dtype, handle out) {
  return reduce("logsumexp", "x", Operation::logsumexp, Sign::plus, 1.0, 0.0, x, axis, keepdims,
                dtype, out);
}

py::object smooth_max(handle x, handle axis, handle temperature, handle keepdims, handle dtype,
                      handle out) {
  const double t = parse_temperature("smooth_max", temperature);
  return reduce("smooth_max", "x", Operation::logsumexp, Sign::plus, t, 0.0, x, axis, keepdims,
                dtype, out);
}

py::object smooth_min(handle x, handle axis, handle temperature, handle keepdims, handle dtype,
                      handle out) {
  const double t = parse_temperature("smooth_min", temperature);
  return reduce("smooth_min", "x", Operation::logsumexp, Sign::minus, t, 0.0, x, axis, keepdims,
                dtype, out);
}

py::object entropy(handle x, handle axis, handle temperature, handle base, handle keepdims,
                   handle dtype, handle out) {
  const double t = parse_temperature("entropy", temperature);
  const double base_value = parse_entropy_base("entropy", base);
  return reduce("entropy", "logits", Operation::entropy, Sign::plus, t, base_value, x, axis,
                keepdims, dtype, out);
}

}  // namespace softlane::bindings
