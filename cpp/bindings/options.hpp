// Arguments that are not arrays. Parsing may run the caller's Python code: do it before arrays are measured.
#pragma once

#include "bindings/errors.hpp"

namespace softlane::bindings {

double parse_temperature(const char* function, py::handle value);
double parse_label_smoothing(const char* function, py::handle value);

// None: 0, for nats.
double parse_entropy_base(const char* function, py::handle base);

enum class Reduction : std::uint8_t { none, sum, mean };
Reduction parse_reduction(const char* function, py::handle value);

bool parse_flag(const char* function, const char* name, py::handle value);

// A label to be ignored, if any. Beyond int64 it can match labels of dtype uint64 only.
struct IgnoreIndex {
  bool present = false;
  bool beyond_int64 = false;
  std::int64_t value = 0;  // the low 64 bits
};
IgnoreIndex parse_ignore_index(const char* function, py::handle value);

// `out` of a function with two results: None, or a pair of which either may be None.
struct OutPair {
  py::handle first, second;
};
OutPair parse_out_pair(const char* function, py::handle out);

}  // namespace softlane::bindings
