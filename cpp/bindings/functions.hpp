// The functions of softlane._core. All arguments are positional: python/softlane has the public
// signatures and their documentation.
#pragma once

#include <pybind11/pybind11.h>

namespace softlane::bindings {

namespace py = pybind11;
using py::handle;

// maps.cpp
py::object softmax(handle x, handle axis, handle temperature, handle where, handle dtype,
                   handle out);
py::object log_softmax(handle x, handle axis, handle temperature, handle where, handle dtype,
                       handle out);
py::object softmin(handle x, handle axis, handle temperature, handle where, handle dtype,
                   handle out);
py::object logsumexp(handle x, handle axis, handle b, handle keepdims, handle return_sign,
                     handle where, handle dtype, handle out);
py::object special_logsumexp(handle a, handle axis, handle b, handle keepdims, handle return_sign);
py::object smooth_max(handle x, handle axis, handle temperature, handle keepdims, handle where,
                      handle dtype, handle out);
py::object smooth_min(handle x, handle axis, handle temperature, handle keepdims, handle where,
                      handle dtype, handle out);
py::object entropy(handle x, handle axis, handle temperature, handle base, handle keepdims,
                   handle where, handle dtype, handle out);

// losses.cpp
py::object cross_entropy(handle logits, handle target, handle axis, handle weight,
                         handle sample_weight, handle label_smoothing, handle ignore_index,
                         handle reduction, handle out);
py::object cross_entropy_grad(handle logits, handle target, handle axis, handle weight,
                              handle sample_weight, handle label_smoothing, handle ignore_index,
                              handle reduction, handle out);
py::object cross_entropy_value_and_grad(handle logits, handle target, handle axis, handle weight,
                                        handle sample_weight, handle label_smoothing,
                                        handle ignore_index, handle reduction, handle out);
py::object cross_entropy_grad_and_hess_diag(handle logits, handle target, handle axis,
                                            handle weight, handle sample_weight,
                                            handle label_smoothing, handle ignore_index,
                                            handle reduction, handle out);

// curvature.cpp
py::object cross_entropy_hessian(handle logits, handle target, handle axis, handle weight,
                                 handle sample_weight, handle label_smoothing, handle ignore_index,
                                 handle reduction, handle out);
py::object cross_entropy_hessian_diag(handle logits, handle target, handle axis, handle weight,
                                      handle sample_weight, handle label_smoothing,
                                      handle ignore_index, handle reduction, handle out);
py::object cross_entropy_hvp(handle logits, handle vector, handle target, handle axis,
                             handle weight, handle sample_weight, handle label_smoothing,
                             handle ignore_index, handle reduction, handle out);
py::object cross_entropy_hessian_solve(handle logits, handle rhs, handle damping, handle target,
                                       handle axis, handle weight, handle sample_weight,
                                       handle label_smoothing, handle ignore_index,
                                       handle reduction, handle out);

// config.cpp: threads, instruction sets, bounds, compiler, version; fails where SOFTLANE_ISA cannot be had.
void register_config(py::module_& module);

// direct.cpp: the type of the public functions.
void register_direct(py::module_& module);

}  // namespace softlane::bindings
