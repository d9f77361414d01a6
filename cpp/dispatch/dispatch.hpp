// Which instruction sets this CPU has, and which one is live.
#pragma once

#include <string>
#include <vector>

#include "kernels/call.hpp"

namespace softlane {

// Rows [begin, end) of the call's row space; scratch holds scratch_bytes(call), aligned to 64.
using Kernel = void (*)(const Call&, index_t begin, index_t end, void* scratch) noexcept;

// A piece of a kernel, for measuring it alone: x and out hold n <= 1024 elements of one dtype.
using Probe = void (*)(const void* x, int n, void* out) noexcept;

struct Probes {
  Probe exp_block;        // exp(x) 2^60 (float32; 2^150 in float64) times a scale, for x <= 0
  Probe block_max;        // one element: the largest
  Probe summarize_block;  // exp relative to the block's base, and in out[n] the sum; with block_max
};

// What the border needs of single values of any format: n of them from p, `stride` bytes apart, as
// float64 (where they lie, or in scratch); one value for n elements; and, of floats, whether all n are at least 0.
using Fetch = const double* (*)(const char* p, index_t stride, Format format, int n,
                                double* scratch) noexcept;
using Fill = void (*)(char* p, index_t stride, Format format, index_t n, double value) noexcept;
using NotNegative = bool (*)(const char* p, index_t stride, Format format, index_t n) noexcept;

struct KernelTable {
  const char* isa;                                       // "avx512", "avx2", "neon", "scalar"
  Kernel kernel[2][static_cast<int>(Operation::count)];  // by Dtype, Operation
  Probes probes[2];                                      // by Dtype
  Fetch fetch;
  Fill fill;
  NotNegative not_negative;
};

// Best first; "scalar" is always the last.
std::vector<std::string> available_isas();

// The live table: the best available until select_isa names another.
const KernelTable& active_table() noexcept;

// "" selects the best available. An unknown or unsupported name throws std::invalid_argument whose
// message lists the available ones. Not to be called while a computation runs.
void select_isa(const std::string& name);

}  // namespace softlane
