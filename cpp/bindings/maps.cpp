#include <algorithm>

#include "bindings/functions.hpp"
#include "bindings/options.hpp"
#include "bindings/task.hpp"

namespace softlane::bindings {

namespace {

enum class Sign : std::uint8_t { plus, minus };

py::object map(const char* name, Operation operation, Sign sign, handle x, handle axis,
               handle temperature, handle where, handle dtype, handle out) {
  Task task(name, operation);
  task.call.negate = sign == Sign::minus;
  task.dtype = parse_dtype(name, dtype);
  task.call.temperature = parse_temperature(name, temperature);
  const AxisArgument axes(name, axis);
  task.logits = acquire(name, "x", x, Where::chooses);
  task.keep(where, "x");
  task.axes.split(name, axes, task.logits.view);
  task.result_like(0, "out", out, task.logits.view);
  task.execute();
  return task.finish();
}

py::object reduce(const char* name, const char* input, Operation operation, Sign sign,
                  double temperature, double entropy_base, handle x, handle axis, handle keepdims,
                  handle where, handle dtype, handle out) {
  Task task(name, operation);
  task.call.negate = sign == Sign::minus;
  task.dtype = parse_dtype(name, dtype);
  task.call.temperature = temperature;
  task.call.entropy_base = entropy_base;
  const bool keep = parse_flag(name, "keepdims", keepdims);
  const AxisArgument axes(name, axis);
  task.logits = acquire(name, input, x, Where::chooses);
  task.keep(where, input);
  task.axes.split(name, axes, task.logits.view);
  task.result_of_rows(0, "out", out, keep, task.result_element());
  task.execute();
  return task.finish();
}

// NumPy's weak scalars: they take the dtype of what they meet (NEP 50).
bool is_weak(handle value) {
  return PyFloat_CheckExact(value.ptr()) || PyLong_CheckExact(value.ptr()) ||
         PyBool_Check(value.ptr());
}

// What x and b count as together: the wider of their formats, which for the two halves is neither.
Element promote(const Array& x, bool x_weak, const Array& b, bool b_weak) {
  const Element of_x = result_of(x.format.element), of_b = result_of(b.format.element);
  if (x_weak != b_weak) return x_weak ? of_b : of_x;
  if (of_x == of_b) return of_x;
  return std::max(computed_in(of_x), computed_in(of_b)) == Dtype::float32 ? Element::float32
                                                                          : Element::float64;
}

// Both as views of the shape that they broadcast to.
void broadcast_together(const char* name, const std::string& input, Array& x, Array& b) {
  const auto texts = [&] {
    return input + " has shape " + shape_text(x.view.shape, x.view.ndim) + " and b has shape " +
           shape_text(b.view.shape, b.view.ndim);
  };
  const int ndim = std::max(x.view.ndim, b.view.ndim);
  index_t shape[max_dims];
  for (int d = 0; d < ndim; ++d) {
    const int in_x = d - (ndim - x.view.ndim), in_b = d - (ndim - b.view.ndim);
    const index_t of_x = in_x < 0 ? 1 : x.view.shape[in_x];
    shape[d] = of_x == 1 && in_b >= 0 ? b.view.shape[in_b] : of_x;
  }
  View wide_x, wide_b;
  if (!broadcast(x.view, shape, ndim, wide_x) || !broadcast(b.view, shape, ndim, wide_b))
    fail(PyExc_ValueError, name, texts() + ", which do not broadcast against each other");
  const index_t item = std::max(item_size(x.format.element), item_size(b.format.element));
  if (checked_bytes(shape, ndim, item) < 0)
    fail(PyExc_ValueError, name, texts() + "; together they are larger than can be addressed");
  x.view = wide_x;
  b.view = wide_b;
}

// `input`: what the signature calls x.
py::object log_sum(const char* input, handle x, handle axis, handle b, handle keepdims,
                   handle return_sign, handle where, handle dtype, handle out) {
  const char* const name = "logsumexp";
  Task task(name, b.is_none() ? Operation::logsumexp : Operation::signed_sum);
  task.dtype = parse_dtype(name, dtype);
  const bool keep = parse_flag(name, "keepdims", keepdims),
             with_sign = parse_flag(name, "return_sign", return_sign);
  const OutPair given = with_sign ? parse_out_pair(name, out) : OutPair{out, handle()};
  const AxisArgument axes(name, axis);
  task.logits = acquire(name, input, x, Where::chooses);
  if (!b.is_none()) {
    task.factors = acquire(name, "b", b);
    task.promoted = promote(task.logits, is_weak(x), task.factors, is_weak(b));
    broadcast_together(name, input, task.logits, task.factors);
  }
  task.keep(where, b.is_none() ? input : "x and b together");
  task.axes.split(name, axes, task.logits.view);
  task.result_of_rows(0, with_sign ? "out[0]" : "out", given.first, keep, task.result_element());
  if (with_sign) {
    task.result_of_rows(1, "out[1]", given.second, keep, task.result_element());
    task.check_apart();
  }
  task.execute();
  return with_sign ? task.finish_pair(out) : task.finish();
}

}  // namespace

py::object softmax(handle x, handle axis, handle temperature, handle where, handle dtype,
                   handle out) {
  return map("softmax", Operation::softmax, Sign::plus, x, axis, temperature, where, dtype, out);
}

py::object log_softmax(handle x, handle axis, handle temperature, handle where, handle dtype,
                       handle out) {
  return map("log_softmax", Operation::log_softmax, Sign::plus, x, axis, temperature, where, dtype,
             out);
}

py::object softmin(handle x, handle axis, handle temperature, handle where, handle dtype,
                   handle out) {
  return map("softmin", Operation::softmax, Sign::minus, x, axis, temperature, where, dtype, out);
}

py::object logsumexp(handle x, handle axis, handle b, handle keepdims, handle return_sign,
                     handle where, handle dtype, handle out) {
  return log_sum("x", x, axis, b, keepdims, return_sign, where, dtype, out);
}

py::object special_logsumexp(handle a, handle axis, handle b, handle keepdims, handle return_sign) {
  return log_sum("a", a, axis, b, keepdims, return_sign, py::none(), py::none(), py::none());
}

py::object smooth_max(handle x, handle axis, handle temperature, handle keepdims, handle where,
                      handle dtype, handle out) {
  const double t = parse_temperature("smooth_max", temperature);
  return reduce("smooth_max", "x", Operation::logsumexp, Sign::plus, t, 0.0, x, axis, keepdims,
                where, dtype, out);
}

py::object smooth_min(handle x, handle axis, handle temperature, handle keepdims, handle where,
                      handle dtype, handle out) {
  const double t = parse_temperature("smooth_min", temperature);
  return reduce("smooth_min", "x", Operation::logsumexp, Sign::minus, t, 0.0, x, axis, keepdims,
                where, dtype, out);
}

py::object entropy(handle x, handle axis, handle temperature, handle base, handle keepdims,
                   handle where, handle dtype, handle out) {
  const double t = parse_temperature("entropy", temperature);
  const double base_value = parse_entropy_base("entropy", base);
  return reduce("entropy", "logits", Operation::entropy, Sign::plus, t, base_value, x, axis,
                keepdims, where, dtype, out);
}

}  // namespace softlane::bindings
