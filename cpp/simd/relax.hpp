// A breath for a thread that looks at a variable again and again.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace softlane {

inline void relax() noexcept {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // yield is no more than a nop on most cores
#endif
}

}  // namespace softlane
