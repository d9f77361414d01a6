// The vector vocabulary. Each instruction set says it once, in its own header and namespace (ymm.hpp and
// thirds.hpp have what AVX2 and AVX-512 share):
//
//   Vec<T>::lanes               how many elements
//   load, store                 unaligned
//   from_integers               Vec<double> from int64 of less than 2^50
//   load_once                   the same, kept in a register: the compiler would otherwise load anew
//                               for every use
//   stream, fence               a store to aligned memory, past the caches; what orders such stores
//                               before those of other threads
//   load_first, store_first     the first n lanes (n may be <= 0 or >= lanes); memory beyond is not
//                               touched, lanes beyond take `fill`
//   + - * / ^                   ^ acts on the bits
//   fma(a, b, c), fnma, fms     a*b + c, -(a*b) + c and a*b - c, rounded once
//   max(a, b)                   a > b ? a : b, so that a NaN in b passes
//   larger, smaller (a, b)      of numbers >= 0, by what is cheapest; nothing is said of a NaN
//   greater, equal -> Mask      false on NaN; unsigned(mask) has bit l for lane l
//   select(mask, yes, no)
//   nonzero(p) -> Mask          which of `lanes` bytes, at any address, are not 0
//   exponent_field(t)           of Vec<double>: t's bits shifted left by the mantissa's width
//   power_of_root(t, root)      the number whose bits are root[j] and, as an exponent in units of 1/R, n R + j,
//                               where those are t's low bits and j < R the lowest of them; +0 where that is
//                               negative. R is 8 for float, 4 for double
//   rough_reciprocal(a)         2^-k (1 - f / 2) of a = 2^k (1 + f) > 0, which is up to 9/8 of 1 / a: the
//                               difference of bits; large and finite for 0 and subnormal a
//   reduce_max(a)               over lanes, of vectors of less than 16
//   reduce_max(a, low, high)    over lanes 0 to 7 and 8 to 15
//   down<H>, lane0              lane l takes lane l + H for l < H (H a power of two); lane 0
//   widen, narrow               Vec<float> to and from consecutive Vec<double>
//   narrow_mask(masks)          a mask of Vec<float> from those of consecutive Vec<double>
//   exponent(a)                 of a normal positive Vec<double>: floor(log2 a)
//   power_below(a)              of a Vec<double>: 2^exponent(|a|), or 0 below the normal range
//   even, odd (a, b)            of a's lanes followed by b's, every other one
//   zip_low, zip_high (a, b)    a's lanes and b's by turns: the first half, the second
//   store_packed<R>(p, n)       R rows of n elements to memory, where they follow each other, each from the
//                               begin of its lanes / R lanes; R is 1 or most_packed
//   load_thirds(p, to), store_thirds(from, p)
//                               of three vectors, whose l-th lanes are l-th rows of three elements in memory;
//                               not of one lane
//   piece<T>                    elements of 16 bytes where there is transpose_pieces, else 0
//   transpose_pieces(from, stride, apart, to, to_stride)
//                               of P = piece<T> lists of 2P elements, P of them `apart` elements further on: P
//                               lists, the first of their first elements (all from before `apart`, then all
//                               from beyond), and so on
//   load_float16, store_float16, load_bfloat16, store_bfloat16
//                               Vec<float> from and to `lanes` elements of two bytes, at any
//                               address; rounded to nearest even, and a NaN stays one
//
// The build defines SOFTLANE_ISA; that namespace becomes `live` in this translation unit.
#pragma once

// For the vector loops, which have to be one function whatever the compiler makes of their size;
// kernels/table.cpp undefines it.
#define SOFTLANE_INLINE inline __attribute__((always_inline))

#define SOFTLANE_QUOTE_(x) #x
#define SOFTLANE_QUOTE(x) SOFTLANE_QUOTE_(x)
// clang-format off
#include "simd/half.hpp"
#include SOFTLANE_QUOTE(simd/SOFTLANE_ISA.hpp)
// clang-format on
#undef SOFTLANE_QUOTE
#undef SOFTLANE_QUOTE_
