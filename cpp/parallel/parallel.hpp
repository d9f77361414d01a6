// Rows to threads. The only unit that knows OpenMP.
#pragma once

#include "kernels/call.hpp"

namespace softlane {

int get_num_threads() noexcept;
void set_num_threads(int n) noexcept;  // n >= 1

// Runs the call on the live kernel table. Touches no Python object: call it without the GIL. Throws
// std::bad_alloc, before anything is written, where there is no memory for the threads' scratch.
void run(const Call& call);

// Sum of n doubles in one fixed order (pairwise), whatever the number of threads.
double ordered_sum(const double* values, index_t n) noexcept;

}  // namespace softlane
