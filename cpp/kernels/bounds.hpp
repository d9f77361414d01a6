// The largest error each operation may show, in units in the last place of its result's dtype.
// The tests read these; nothing else states them.
#pragma once

namespace softlane {

struct Bound {
  const char* name;
  double float32, float64;
};

inline constexpr Bound max_ulp[] = {
    {"exp", 1, 1},          // the vector kernel's terms, beside their scale
    {"softmax", 2, 2},      // e_k / S
    {"log_softmax", 2, 2},  // (x_k - max) - log1p(T / e*)
    {"logsumexp", 1, 1.5},  // in ULP of max(|max|, |result|)
    // In ULP of max(|log of the largest term|, |result|), and beside that as many ULP of 1 as the
    // sum's condition number, sum |terms| / |sum|.
    {"signed_sum", 1, 1},
    {"entropy", 2, 2},
    {"loss", 2, 2},
    {"gradient", 2, 2},   // of max(W p, w t) where the target is not a label
    {"hess_diag", 4, 4},  // a product of two probabilities
    {"hessian", 4, 4},
    {"hvp", 4, 4},    // relative to the sum of the terms' absolute values
    {"solve", 4, 4},  // likewise
};

}  // namespace softlane
