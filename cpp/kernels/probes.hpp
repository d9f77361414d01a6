// The inner pieces of the row kernels by themselves, for measuring: one block of up to 1024 elements
// that stays in L1. The limit that a kernel is compared with comes from here, so these are the
// kernels' own functions, not copies.
#pragma once

#include "dispatch/dispatch.hpp"
#include "kernels/block.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
inline void exp_probe(const void* logits, int n, void* out) noexcept {
  const T* const x = static_cast<const T*>(logits);
  T* const e = static_cast<T*>(out);
  const Direct<T> map;
  Unsummed none;
  exponentials(x, n, map, Base<T>(map, T(0)), e, {x, e}, none,
               [](int, Vec<T>, Vec<T>) __attribute__((always_inline)) {});
}

template <class T>
inline void max_probe(const void* logits, int n, void* out) noexcept {
  *static_cast<T*>(out) = block_peaks(static_cast<const T*>(logits), n, Direct<T>{}).max;
}

template <class T>
inline void summary_probe(const void* logits, int n, void* out) noexcept {
  const T* const x = static_cast<const T*>(logits);
  T* const e = static_cast<T*>(out);
  const Direct<T> map;
  const BlockSummary<T> s = summarize_block<Gap::skip>(x, n, block_peaks(x, n, map), map, e, e);
  e[n] = static_cast<T>((s.top + s.tail).value());
}

template <class T>
constexpr Probes probes() {
  return {exp_probe<T>, max_probe<T>, summary_probe<T>};
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
