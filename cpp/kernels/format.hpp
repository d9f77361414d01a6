// Elements in memory, of any type and byte order, to and from the compute type T: what stands between
// operands and kernels that know float and double alone.
#pragma once

#include "kernels/call.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

template <class T>
constexpr Element element_of() {
  return sizeof(T) == 4 ? Element::float32 : Element::float64;
}

inline std::uint8_t swapped(std::uint8_t v) { return v; }
inline std::uint16_t swapped(std::uint16_t v) { return __builtin_bswap16(v); }
inline std::uint32_t swapped(std::uint32_t v) { return __builtin_bswap32(v); }
inline std::uint64_t swapped(std::uint64_t v) { return __builtin_bswap64(v); }

template <class To, class From>
SOFTLANE_INLINE To same_bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &v, sizeof to);
  return to;
}

// use(bits, number) with bits of the element's width and number(bits) its value.
template <class T, class Use>
SOFTLANE_INLINE void with_reader(Element element, Use use) {
  using std::uint16_t, std::uint32_t, std::uint64_t, std::uint8_t;
  // By way of double: integers count as float64 whatever the compute type.
  const auto as = [](auto v) { return static_cast<T>(static_cast<double>(v)); };
  switch (element) {
    case Element::float32:
      return use(uint32_t{}, [](auto b) { return static_cast<T>(same_bits<float>(b)); });
    case Element::float64:
      return use(uint64_t{}, [](auto b) { return static_cast<T>(same_bits<double>(b)); });
    case Element::float16:
      return use(uint16_t{}, [&](auto b) { return as(half_value<Float16>(b)); });
    case Element::bfloat16:
      return use(uint16_t{}, [&](auto b) { return as(half_value<Bfloat16>(b)); });
    case Element::boolean:
      return use(uint8_t{}, [&](auto b) { return as(b != 0); });
    case Element::int8:
      return use(uint8_t{}, [&](auto b) { return as(same_bits<std::int8_t>(b)); });
    case Element::int16:
      return use(uint16_t{}, [&](auto b) { return as(same_bits<std::int16_t>(b)); });
    case Element::int32:
      return use(uint32_t{}, [&](auto b) { return as(same_bits<std::int32_t>(b)); });
    case Element::int64:
      return use(uint64_t{}, [&](auto b) { return as(same_bits<std::int64_t>(b)); });
    case Element::uint8:
      return use(uint8_t{}, as);
    case Element::uint16:
      return use(uint16_t{}, as);
    case Element::uint32:
      return use(uint32_t{}, as);
    case Element::uint64:
      return use(uint64_t{}, as);
  }
}

// use(bits) with bits(value) as the element has them, rounded once. Results are floats alone.
template <class T, class Use>
SOFTLANE_INLINE void with_writer(Element element, Use use) {
  switch (element) {
    case Element::float32:
      return use([](T v) { return same_bits<std::uint32_t>(static_cast<float>(v)); });
    case Element::float16:
      return use([](T v) { return half_bits<Float16>(static_cast<double>(v)); });
    case Element::bfloat16:
      return use([](T v) { return half_bits<Bfloat16>(static_cast<double>(v)); });
    default:
      return use([](T v) { return same_bits<std::uint64_t>(static_cast<double>(v)); });
  }
}

inline constexpr int half_size = 2;

// body(k, count) over n half-precision elements that lie side by side, by whole vectors: what is left
// over passes through a vector of its own, for AVX2 and NEON have no masks that narrow.
template <class Body>
SOFTLANE_INLINE void each_half_vector(index_t n, Body body) {
  constexpr int lanes = Vec<float>::lanes;
  index_t k = 0;
  for (; k + lanes <= n; k += lanes) body(k, lanes);
  if (k < n) body(k, static_cast<int>(n - k));
}

SOFTLANE_INLINE void read_halves(const char* p, Element element, index_t n, float* to) {
  using V = Vec<float>;
  const auto read = [&](auto load) __attribute__((always_inline)) {
    each_half_vector(n, [&](index_t k, int count) __attribute__((always_inline)) {
      if (count == V::lanes) return load(p + k * half_size).store(to + k);
      char last[V::lanes * half_size] = {};
      std::memcpy(last, p + k * half_size, static_cast<std::size_t>(count * half_size));
      load(last).store_first(to + k, count);
    });
  };
  if (element == Element::float16) {
    read([](const char* q) { return V::load_float16(q); });
  } else {
    read([](const char* q) { return V::load_bfloat16(q); });
  }
}

SOFTLANE_INLINE void write_halves(char* p, Element element, index_t n, const float* from) {
  using V = Vec<float>;
  const auto write = [&](auto store) __attribute__((always_inline)) {
    each_half_vector(n, [&](index_t k, int count) __attribute__((always_inline)) {
      if (count == V::lanes) return store(V::load(from + k), p + k * half_size);
      char last[V::lanes * half_size];
      store(V::load_first(from + k, count, 0), last);
      std::memcpy(p + k * half_size, last, static_cast<std::size_t>(count * half_size));
    });
  };
  if (element == Element::float16) {
    write([](V v, char* q) { v.store_float16(q); });
  } else {
    write([](V v, char* q) { v.store_bfloat16(q); });
  }
}

inline bool is_half(Element element) {
  return element == Element::float16 || element == Element::bfloat16;
}

// Halves that lie apart, or in the other byte order, pass through a chunk where they do not.
struct HalfChunk {
  static constexpr index_t size = 64;
  std::uint16_t bits[size];

  char* bytes() { return reinterpret_cast<char*>(bits); }
  void gather(const char* p, index_t stride, ByteOrder order, index_t n) {
    for (index_t k = 0; k < n; ++k) std::memcpy(&bits[k], p + k * stride, sizeof bits[k]);
    swap(order, n);
  }
  void scatter(char* p, index_t stride, ByteOrder order, index_t n) {
    swap(order, n);
    for (index_t k = 0; k < n; ++k) std::memcpy(p + k * stride, &bits[k], sizeof bits[k]);
  }

 private:
  void swap(ByteOrder order, index_t n) {
    if (order == ByteOrder::native) return;
    for (index_t k = 0; k < n; ++k) bits[k] = swapped(bits[k]);
  }
};

inline void read_halves(const char* p, index_t stride, Format format, index_t n, float* to) {
  if (stride == half_size && format.order == ByteOrder::native)
    return read_halves(p, format.element, n, to);
  HalfChunk chunk;
  for (index_t k = 0; k < n; k += HalfChunk::size) {
    const index_t count = n - k < HalfChunk::size ? n - k : HalfChunk::size;
    chunk.gather(p + k * stride, stride, format.order, count);
    read_halves(chunk.bytes(), format.element, count, to + k);
  }
}

inline void write_halves(char* p, index_t stride, Format format, index_t n, const float* from) {
  if (stride == half_size && format.order == ByteOrder::native)
    return write_halves(p, format.element, n, from);
  HalfChunk chunk;
  for (index_t k = 0; k < n; k += HalfChunk::size) {
    const index_t count = n - k < HalfChunk::size ? n - k : HalfChunk::size;
    write_halves(chunk.bytes(), format.element, count, from + k);
    chunk.scatter(p + k * stride, stride, format.order, count);
  }
}

// Every other element, as of x[..., ::2] or a complex array's real parts, by whole vectors: 64 x 1000 float32
// softmax 35 -> 20 us. How many. Behind the last is none.
template <class T>
SOFTLANE_INLINE index_t read_every_other(const char* p, index_t n, T* to) {
  using V = Vec<T>;
  index_t k = 0;
  if constexpr (V::lanes > 1) {
    const T* q = reinterpret_cast<const T*>(p);
    for (; k + V::lanes < n; k += V::lanes, q += 2 * V::lanes) {
      even(V::load(q), V::load(q + V::lanes)).store(to + k);
    }
    if (k + V::lanes == n) {
      even(V::load(q), V::load_first(q + V::lanes, V::lanes - 1, 0)).store(to + k);
      k = n;
    }
  }
  return k;
}

// loop(stride), or of elements side by side loop(size): a step known to the compiler, whose loop becomes vectors.
template <class Loop>
SOFTLANE_INLINE void by_step(index_t stride, std::size_t size, Loop loop) {
  if (stride == static_cast<index_t>(size)) return loop(static_cast<index_t>(size));
  loop(stride);
}

// n elements from p, `stride` bytes apart.
template <class T>
__attribute__((noinline)) void read_elements(const char* p, index_t stride, Format format,
                                             index_t n, T* to) {
  if (format.element == element_of<T>() && format.order == ByteOrder::native &&
      stride == 2 * static_cast<index_t>(sizeof(T))) {
    const index_t done = read_every_other(p, n, to);
    p += done * stride;
    to += done;
    n -= done;
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    if (is_half(format.element)) return read_halves(p, stride, format, n, to);
  }
  with_reader<T>(format.element, [&](auto bits, auto number) {
    if (format.order == ByteOrder::native) {
      by_step(stride, sizeof bits, [&](index_t step) __attribute__((always_inline)) {
        for (index_t k = 0; k < n; ++k) {
          std::memcpy(&bits, p + k * step, sizeof bits);
          to[k] = number(bits);
        }
      });
    } else {
      for (index_t k = 0; k < n; ++k) {
        std::memcpy(&bits, p + k * stride, sizeof bits);
        to[k] = number(swapped(bits));
      }
    }
  });
}

template <class T>
__attribute__((noinline)) void write_elements(char* p, index_t stride, Format format, index_t n,
                                              const T* from) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (is_half(format.element)) return write_halves(p, stride, format, n, from);
  }
  with_writer<T>(format.element, [&](auto bits_of) {
    if (format.order == ByteOrder::native) {
      by_step(stride, sizeof bits_of(T(0)), [&](index_t step) __attribute__((always_inline)) {
        for (index_t k = 0; k < n; ++k) {
          const auto bits = bits_of(from[k]);
          std::memcpy(p + k * step, &bits, sizeof bits);
        }
      });
    } else {
      for (index_t k = 0; k < n; ++k) {
        const auto bits = swapped(bits_of(from[k]));
        std::memcpy(p + k * stride, &bits, sizeof bits);
      }
    }
  });
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
