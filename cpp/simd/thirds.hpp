// Rows of three elements to three vectors and back, for AVX2 and AVX-512: of W such rows a class has every third
// element of three vectors, none of them in the same lane, for 3 does not divide W. They are put together, and
// then in order.
#pragma once

namespace softlane {
namespace SOFTLANE_ISA {

// V has thirds(a, b, c), the lanes l of a, b or c where l % 3 is 0, 1 or 2, and by_steps<S, K>(), whose lane l
// is lane S l + K, mod W.
template <class V, class T>
SOFTLANE_INLINE void load_thirds(const T* p, V* to) {
  constexpr int W = V::lanes;
  // Lane l of the j-th vector is of class (l + W j) % 3.
  constexpr int s = W % 3, t = 3 - s;
  const V a = V::load(p), b = V::load(p + s * W), c = V::load(p + t * W);
  to[0] = thirds(a, c, b).template by_steps<3, 0>();
  to[1] = thirds(b, a, c).template by_steps<3, 1>();
  to[2] = thirds(c, b, a).template by_steps<3, 2>();
}

template <class V, class T>
SOFTLANE_INLINE void store_thirds(const V* from, T* p) {
  constexpr int W = V::lanes, s = W % 3, t = 3 - s;
  constexpr int inverse = W == 16 ? 11 : 3, back = W - inverse;  // of 3, mod W
  const V a = from[0].template by_steps<inverse, 0>();
  const V b = from[1].template by_steps<inverse, back>();
  const V c = from[2].template by_steps<inverse, 2 * back % W>();
  thirds(a, b, c).store(p);
  thirds(b, c, a).store(p + s * W);
  thirds(c, a, b).store(p + t * W);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
