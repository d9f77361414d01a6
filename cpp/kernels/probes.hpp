// The inner pieces of the row kernels by themselves, for measuring: one block of up to 1024 elements
// that stays in L1. The limit that a kernel is compared with comes from here, so these are the
// kernels' own functions, not copies.
#pragma once

#include "dispatch/dispatch.hpp"
#include "kernels/block.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// exp alone, in the traversal of summarize_block: four vectors in flight, and no sum.
template <class T>
inline void exp_probe(const void* logits, int n, void* out) noexcept {
  using V = Vec<T>;
  const T* const x = static_cast<const T*>(logits);
  T* const e = static_cast<T*>(out);
  const Direct<T> map;
  const Base<T> base(map, T(0));
  auto quad = [&](int g, auto part) __attribute__((always_inline)) {
    for (int j = 0; j < 16 / V::lanes; ++j) {
      V t[4];
      const auto at = [&](int i) { return i * 16 + j * V::lanes; };
      for (int i = 0; i < 4; ++i) t[i] = part.at(at(i)).load(x + g * quad_size + at(i));
      exp_from_base<4>(t, map, base);
      for (int i = 0; i < 4; ++i) part.at(at(i)).store(t[i], e + g * quad_size + at(i));
    }
  };
  const int full = n / quad_size;
  for (int g = 0; g < full; ++g) quad(g, FullQuad<T>{});
  if (n % quad_size != 0) quad(full, QuadChunk<T>{n - full * quad_size});
}

template <class T>
inline void max_probe(const void* logits, int n, void* out) noexcept {
  *static_cast<T*>(out) = block_max(static_cast<const T*>(logits), n, Direct<T>{}).value;
}

template <class T>
inline void summary_probe(const void* logits, int n, void* out) noexcept {
  const T* const x = static_cast<const T*>(logits);
  T* const e = static_cast<T*>(out);
  const Direct<T> map;
  const BlockSummary<T> s = summarize_block<Gap::skip>(x, n, block_max(x, n, map), map, e);
  e[n] = static_cast<T>((s.top + s.tail).value());
}

template <class T>
constexpr Probes probes() {
  return {exp_probe<T>, max_probe<T>, summary_probe<T>};
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
