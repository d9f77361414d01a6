// Rows to threads. The only unit that knows OpenMP.
#pragma once

#include <string>

#include "kernels/call.hpp"

namespace softlane {

// How many threads a call from this thread may use: the number chosen, else OpenMP's own. Where
// OpenMP's number is below the one it started with, somebody limits it (threadpoolctl, joblib), and
// that limit counts against the chosen number too.
int get_num_threads() noexcept;

// The choice itself, for the whole process; 0: none.
int chosen_num_threads() noexcept;
void choose_num_threads(int n) noexcept;

// From how much on a call wakes threads that sleep, for the whole process; returns what it was. For tests, which want
// every call of theirs shared: 0.
double choose_bytes_to_wake(double bytes) noexcept;

// The file name of the OpenMP runtime in use, and the date of the standard it was compiled for, such
// as 201511; empty and 0 in a build without OpenMP.
std::string openmp_library();
int openmp_date() noexcept;

// Runs the call on the live kernel table. Touches no Python object: call it without the GIL. Throws
// std::bad_alloc, before anything is written, where there is no memory for the threads' scratch.
void run(const Call& call);

// Sum of n doubles in one fixed order (pairwise), whatever the number of threads.
double ordered_sum(const double* values, index_t n) noexcept;

}  // namespace softlane
