// All kernels for one instruction set: the build compiles this file once for each.
#include "simd/simd.hpp"
// The mathematics is written against that vocabulary.
#include "dispatch/dispatch.hpp"
#include "kernels/across_hessian.hpp"
#include "kernels/operations.hpp"
#include "kernels/probes.hpp"
#include "kernels/signed_sum.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

#define SOFTLANE_TABLE_QUOTE_(x) #x
#define SOFTLANE_TABLE_QUOTE(x) SOFTLANE_TABLE_QUOTE_(x)

// In the order of Operation.
#define SOFTLANE_TABLE_ROW(T)           \
  {softmax<T>,                          \
   log_softmax<T>,                      \
   logsumexp<T>,                        \
   entropy<T>,                          \
   signed_sum<T>,                       \
   cross_entropy<T>,                    \
   cross_entropy_grad<T>,               \
   cross_entropy_value_and_grad<T>,     \
   cross_entropy_grad_and_hess_diag<T>, \
   cross_entropy_hessian<T>,            \
   cross_entropy_hessian_diag<T>,       \
   cross_entropy_hvp<T>,                \
   cross_entropy_hessian_solve<T>}

inline const double* fetch_values(const char* p, index_t stride, Format format, int n,
                                  double* scratch) noexcept {
  return Row<double>{const_cast<char*>(p), stride, format}.fetch(0, n, scratch);
}
inline void fill_values(char* p, index_t stride, Format format, index_t n, double value) noexcept {
  Row<double>{p, stride, format}.fill(n, value);
}

const KernelTable& table() {
  static const KernelTable t = {SOFTLANE_TABLE_QUOTE(SOFTLANE_ISA),
                                {SOFTLANE_TABLE_ROW(float), SOFTLANE_TABLE_ROW(double)},
                                {probes<float>(), probes<double>()},
                                fetch_values,
                                fill_values};
  return t;
}

#undef SOFTLANE_TABLE_ROW
#undef SOFTLANE_TABLE_QUOTE
#undef SOFTLANE_TABLE_QUOTE_

}  // namespace SOFTLANE_ISA
}  // namespace softlane

#undef SOFTLANE_INLINE
