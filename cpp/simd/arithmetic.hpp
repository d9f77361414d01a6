// How the CPU rounds and what it does with subnormal numbers, which is a thread's own state: a library
// built with -ffast-math may have set the calling thread to flush them to zero, and a caller may have
// chosen another rounding. Results would then depend on the thread that computes them.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace softlane {

// Rounding to nearest and gradual underflow, as long as it lives; the caller's own choice after that.
class DefaultArithmetic {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  DefaultArithmetic() : before_(_mm_getcsr()) {
    if ((before_ & chosen) != 0) _mm_setcsr(before_ & ~chosen);
  }
  ~DefaultArithmetic() {
    if ((before_ & chosen) != 0) _mm_setcsr(before_);
  }

 private:
  static constexpr unsigned chosen = 0xe040;  // FTZ, rounding, DAZ
  unsigned before_;
#elif defined(__aarch64__)
  DefaultArithmetic() : before_(control()) {
    if ((before_ & chosen) != 0) set_control(before_ & ~chosen);
  }
  ~DefaultArithmetic() {
    if ((before_ & chosen) != 0) set_control(before_);
  }

 private:
  static constexpr std::uint64_t chosen = 0x1c80000;  // FZ, rounding, FZ16
  static std::uint64_t control() {
    std::uint64_t v;
    asm volatile("mrs %0, fpcr" : "=r"(v));
    return v;
  }
  static void set_control(std::uint64_t v) { asm volatile("msr fpcr, %0" : : "r"(v)); }
  std::uint64_t before_;
#else
  DefaultArithmetic() {}
  ~DefaultArithmetic() {}
#endif

 public:
  DefaultArithmetic(const DefaultArithmetic&) = delete;
  DefaultArithmetic& operator=(const DefaultArithmetic&) = delete;
};

}  // namespace softlane
