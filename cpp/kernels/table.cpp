// All kernels for one instruction set: the build compiles this file once for each.
#include "simd/simd.hpp"
// The mathematics is written against that vocabulary.
#include "dispatch/dispatch.hpp"
#include "kernels/across_hessian.hpp"
#include "kernels/across_signed_sum.hpp"
#include "kernels/operations.hpp"
#include "kernels/probes.hpp"

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

// Elements are not rounded: -1e-60 is negative, and would be -0 as float32.
template <class T>
inline bool row_is_not_negative(const Row<T>& row, index_t n) {
  using V = Vec<T>;
  T scratch[block_size];
  const V zero(T(0));
  for (index_t k0 = 0; k0 < n; k0 += block_size) {
    const int count = block_length(n, k0);
    const T* const a = row.fetch(k0, count, scratch);
    unsigned bad = 0;
    each_vector<T>(count, [&](int k, auto part) __attribute__((always_inline)) {
      const V v = part.load(a + k);
      bad |= static_cast<unsigned>(greater(zero, v)) | ~static_cast<unsigned>(equal(v, v));
    });
    if ((bad & ((1u << V::lanes) - 1)) != 0) return false;
  }
  return true;
}
inline bool not_negative(const char* p, index_t stride, Format format, index_t n) noexcept {
  char* const data = const_cast<char*>(p);
  return format.element == Element::float64
             ? row_is_not_negative(Row<double>{data, stride, format}, n)
             : row_is_not_negative(Row<float>{data, stride, format}, n);
}

const KernelTable& table() {
  static const KernelTable t = {SOFTLANE_TABLE_QUOTE(SOFTLANE_ISA),
                                {SOFTLANE_TABLE_ROW(float), SOFTLANE_TABLE_ROW(double)},
                                {probes<float>(), probes<double>()},
                                fetch_values,
                                fill_values,
                                not_negative};
  return t;
}

#undef SOFTLANE_TABLE_ROW
#undef SOFTLANE_TABLE_QUOTE
#undef SOFTLANE_TABLE_QUOTE_

}  // namespace SOFTLANE_ISA
}  // namespace softlane

#undef SOFTLANE_INLINE
