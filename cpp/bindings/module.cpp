#include "bindings/arrays.hpp"
#include "bindings/entry.hpp"
#include "bindings/functions.hpp"

namespace {

using namespace softlane::bindings;

PyMethodDef methods[] = {
    entry<softmax>("softmax"),
    entry<log_softmax>("log_softmax"),
    entry<softmin>("softmin"),
    entry<logsumexp>("logsumexp"),
    entry<special_logsumexp>("special_logsumexp"),
    entry<smooth_max>("smooth_max"),
    entry<smooth_min>("smooth_min"),
    entry<entropy>("entropy"),
    entry<cross_entropy>("cross_entropy"),
    entry<cross_entropy_grad>("cross_entropy_grad"),
    entry<cross_entropy_value_and_grad>("cross_entropy_value_and_grad"),
    entry<cross_entropy_grad_and_hess_diag>("cross_entropy_grad_and_hess_diag"),
    entry<cross_entropy_hessian>("cross_entropy_hessian"),
    entry<cross_entropy_hessian_diag>("cross_entropy_hessian_diag"),
    entry<cross_entropy_hvp>("cross_entropy_hvp"),
    entry<cross_entropy_hessian_solve>("cross_entropy_hessian_solve"),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PYBIND11_MODULE(_core, module) {
  import_numpy();
  register_config(module);
  register_direct(module);
  // For one_hot, which is Python.
  module.def("as_ndarray", [](const char* function, const char* name, pybind11::handle value) {
    return as_ndarray(function, name, value);
  });
  if (PyModule_AddFunctions(module.ptr(), methods) < 0) throw pybind11::error_already_set();
}
