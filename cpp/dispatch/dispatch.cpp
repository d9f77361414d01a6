#include "dispatch/dispatch.hpp"

#include <atomic>
#include <stdexcept>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace softlane {

namespace scalar {
const KernelTable& table();
}
namespace {

bool always() { return true; }

#if defined(SOFTLANE_HAVE_AVX2) || defined(SOFTLANE_HAVE_AVX512)
// Intel SDM vol. 1, 14.3 and 15.2: the CPU has the instructions (CPUID), and the system saves the
// registers (XGETBV).
struct Features {
  bool avx2 = false, avx512 = false;
  Features() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    constexpr unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    constexpr unsigned needed = fma | osxsave | avx | f16c;
    if ((c & needed) != needed) return;
    unsigned low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned ymm = 0x6, zmm = 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    constexpr unsigned has_avx2 = 1u << 5;
    constexpr unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    avx2 = (low & ymm) == ymm && (b & has_avx2) != 0;
    avx512 = avx2 && (low & zmm) == zmm && (b & (f | dq | bw | vl)) == (f | dq | bw | vl);
  }
};
const Features& features() {
  static const Features f;
  return f;
}
#endif

}  // namespace

#ifdef SOFTLANE_HAVE_AVX512
namespace avx512 {
const KernelTable& table();
}
#endif
#ifdef SOFTLANE_HAVE_AVX2
namespace avx2 {
const KernelTable& table();
}
#endif
#ifdef SOFTLANE_HAVE_NEON
namespace neon {
const KernelTable& table();
}
#endif

namespace {

struct Candidate {
  const KernelTable& (*table)();
  bool (*supported)();
};

// Best first. Advanced SIMD is part of every AArch64.
constexpr Candidate candidates[] = {
#ifdef SOFTLANE_HAVE_AVX512
    {avx512::table, [] { return features().avx512; }},
#endif
#ifdef SOFTLANE_HAVE_AVX2
    {avx2::table, [] { return features().avx2; }},
#endif
#ifdef SOFTLANE_HAVE_NEON
    {neon::table, always},
#endif
    {scalar::table, always},
};

std::atomic<const KernelTable*> live{nullptr};

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates) {
    if (c.supported()) names.emplace_back(c.table().isa);
  }
  return names;
}

void select_isa(const std::string& name) {
  for (const Candidate& c : candidates) {
    if (c.supported() && (name.empty() || name == c.table().isa)) {
      live.store(&c.table(), std::memory_order_release);
      return;
    }
  }
  std::string message =
      "instruction set '" + name + "' is unknown or not supported here; available:";
  for (const std::string& isa : available_isas()) message += " " + isa;
  throw std::invalid_argument(message);
}

const KernelTable& active_table() noexcept {
  const KernelTable* t = live.load(std::memory_order_acquire);
  if (t == nullptr) {
    for (const Candidate& c : candidates) {
      if (c.supported()) {
        t = &c.table();
        break;
      }
    }
    live.store(t, std::memory_order_release);
  }
  return *t;
}

}  // namespace softlane
