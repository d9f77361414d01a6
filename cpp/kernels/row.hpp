// How a kernel walks an operand: row by row, and in a row block by block, each block as contiguous
// elements of the compute type. Contiguous operands of that type are used where they lie; others pass
// through a block of scratch, so that no temporary grows with the number of rows or classes.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/format.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

inline int block_length(index_t classes, index_t begin) {
  return static_cast<int>(classes - begin < block_size ? classes - begin : block_size);
}

inline index_t label_of(const Call& call, index_t row) {
  return some_class(call.labels + row, call.classes);
}

// n elements of x where their marks are not 0, `absent` elsewhere; `to` may be x.
template <class T>
inline void keep_marked(const T* x, const char* marks, int n, T absent, T* to) {
  using V = Vec<T>;
  const V none(absent);
  int k = 0;
  for (; k + V::lanes <= n; k += V::lanes) {
    select(V::nonzero(marks + k), V::load(x + k), none).store(to + k);
  }
  if constexpr (V::lanes > 1) {
    if (k == n) return;
    char last[V::lanes] = {};
    std::memcpy(last, marks + k, static_cast<std::size_t>(n - k));
    select(V::nonzero(last), V::load_first(x + k, n - k, absent), none).store_first(to + k, n - k);
  }
}

// A row of an operand.
template <class T>
struct Row {
  char* data = nullptr;
  index_t stride = 0;
  Format format{element_of<T>(), ByteOrder::native};
  // Which elements take part: one byte each, or null for all. The others read as `absent`.
  const char* mask = nullptr;
  index_t mask_stride = 0;
  T absent = 0;

  explicit operator bool() const { return data != nullptr; }
  // Does it give back what is put there? A narrower format rounds.
  bool lossless() const { return format.element == element_of<T>(); }
  bool native() const { return lossless() && format.order == ByteOrder::native; }
  // Are its elements what a kernel reads, but for a mask?
  bool lies_as_is() const {
    return stride == static_cast<index_t>(sizeof(T)) && native() &&
           reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0;
  }
  bool contiguous() const { return mask == nullptr && lies_as_is(); }
  bool kept(index_t k) const { return mask == nullptr || mask[k * mask_stride] != 0; }
  bool any_kept(index_t classes) const {
    for (index_t k = 0; k < classes; ++k) {
      if (kept(k)) return true;
    }
    return false;
  }
  T at(index_t k) const {
    if (!kept(k)) return absent;
    T v;
    if (native()) {
      std::memcpy(&v, data + k * stride, sizeof v);
    } else {
      read_elements(data + k * stride, stride, format, 1, &v);
    }
    return v;
  }
  void set(index_t k, T v) const {
    if (native()) {
      std::memcpy(data + k * stride, &v, sizeof v);
    } else {
      write_elements(data + k * stride, stride, format, 1, &v);
    }
  }

  const T* fetch(index_t begin, int n, T* scratch) const {
    if (contiguous()) return reinterpret_cast<const T*>(data) + begin;
    gather(begin, n, scratch);
    return scratch;
  }
  // Where to write a block; put() brings it home.
  T* open(index_t begin, T* scratch) const {
    return contiguous() ? reinterpret_cast<T*>(data) + begin : scratch;
  }
  void put(index_t begin, int n, const T* block) const {
    const bool home = reinterpret_cast<const char*>(block) == data + begin * stride;
    if (data == nullptr || home) return;
    write_elements(data + begin * stride, stride, format, n, block);
  }
  void copy_to(index_t begin, int n, T* to) const {
    const T* from = fetch(begin, n, to);
    if (from != to) std::memcpy(to, from, sizeof(T) * static_cast<std::size_t>(n));
  }
  void copy_from(index_t begin, int n, const T* from) const {
    if (contiguous()) {
      std::memcpy(data + begin * stride, from, sizeof(T) * static_cast<std::size_t>(n));
    } else {
      put(begin, n, from);
    }
  }
  // Asks for the cache lines of n contiguous elements. Inlined by force: a function that does nothing else
  // is one without effect to GCC, and not called.
  SOFTLANE_INLINE void expect(index_t begin, index_t n) const {
    const char* p = data + begin * stride;
    for (index_t at = 0; at < n * stride; at += 64) __builtin_prefetch(p + at);
  }
  void fill(index_t classes, T v) const {
    for (index_t k = 0; k < classes; ++k) set(k, v);
  }

 private:
  // Out of line, so that fetch() stays small.
  __attribute__((noinline)) void gather(index_t begin, int n, T* block) const {
    const T* x = block;
    if (lies_as_is()) {
      x = reinterpret_cast<const T*>(data) + begin;
    } else {
      read_elements(data + begin * stride, stride, format, n, block);
    }
    if (mask == nullptr) return;
    const char* const m = mask + begin * mask_stride;
    if (mask_stride == 1) return keep_marked(x, m, n, absent, block);
    for (int k = 0; k < n; ++k) block[k] = m[k * mask_stride] != 0 ? x[k] : absent;
  }
};

// The position in the row space, kept as an odometer so that a step costs no division.
class RowCursor {
 public:
  RowCursor(const RowSpace& space, index_t begin) : space_(&space), row_(begin) {
    index_[0] = 0;
    for (int d = space.ndim - 1; d >= 0; --d) {
      index_[d] = begin % space.shape[d];
      begin /= space.shape[d];
    }
  }
  RowCursor() { index_[0] = 0; }  // nothing to point to yet
  RowCursor(const RowCursor& other) { *this = other; }
  RowCursor& operator=(const RowCursor& other) {
    space_ = other.space_;
    row_ = other.row_;
    index_[0] = other.index_[0];  // mostly all there is, and no call of memmove
    for (int d = 1; d < space_->ndim; ++d) index_[d] = other.index_[d];
    return *this;
  }
  index_t row() const { return row_; }
  char* locate(const Stream& s) const {
    char* p = s.data;
    for (int d = 0; d < space_->ndim; ++d) p += index_[d] * s.row_stride[d];
    return p;
  }
  template <class T>
  Row<T> of(const Stream& s) const {
    return s.data == nullptr ? Row<T>{} : Row<T>{locate(s), s.class_stride, s.format};
  }
  // Rows from here on that lie one stride from each other.
  index_t run() const {
    return space_->ndim == 0 ? 1 : space_->shape[space_->ndim - 1] - index_[space_->ndim - 1];
  }
  index_t to_next(const Stream& s) const {
    return space_->ndim == 0 ? 0 : s.row_stride[space_->ndim - 1];
  }
  // By less than run() rows.
  void pass(index_t rows) {
    row_ += rows;
    if (space_->ndim > 0) index_[space_->ndim - 1] += rows;
  }
  // By at most run() rows.
  void advance(index_t rows) {
    pass(rows - 1);
    advance();
  }
  void advance() {
    ++row_;
    for (int d = space_->ndim - 1; d >= 0; --d) {
      if (++index_[d] < space_->shape[d]) return;
      index_[d] = 0;
    }
  }

 private:
  const RowSpace* space_ = nullptr;
  index_t row_ = 0;
  index_t index_[max_dims];  // [0] is set in any case
};

// Where so many rows of a stream begin, from the cursor's on; gives the row behind them.
template <class T>
inline RowCursor locate_rows(RowCursor at, int count, const Stream& s, T** rows) {
  for (int r = 0; r < count;) {
    const index_t run = at.run() < count - r ? at.run() : count - r;
    char* const first = at.locate(s);
    for (index_t i = 0; i < run; ++i) {
      rows[r++] = reinterpret_cast<T*>(first + i * at.to_next(s));
    }
    at.advance(run);
  }
  return at;
}

// The row of logits; those that the mask leaves out read as the infinity whose exponential is 0.
template <class T>
inline Row<T> logits_of(const Call& call, const RowCursor& at) {
  Row<T> x = at.of<T>(call.logits);
  if (call.mask.data != nullptr) {
    x.mask = at.locate(call.mask);
    x.mask_stride = call.mask.class_stride;
    x.absent = static_cast<T>(call.negate ? __builtin_inf() : -__builtin_inf());
  }
  return x;
}

// A vector's worth of a block: whole, or the first n lanes of it. One body serves both.
template <class V>
struct Whole {
  V load(const typename V::Scalar* p, typename V::Scalar = 0) const { return V::load(p); }
  void store(V v, typename V::Scalar* p) const { v.store(p); }
};
template <class V>
struct First {
  int n;
  V load(const typename V::Scalar* p, typename V::Scalar fill = 0) const {
    return V::load_first(p, n, fill);
  }
  void store(V v, typename V::Scalar* p) const { v.store_first(p, n); }
};

// body(k, chunk) for k = 0, lanes, 2 lanes, ...
template <class T, class Body>
SOFTLANE_INLINE void each_vector(int n, Body body) {
  using V = Vec<T>;
  int k = 0;
  for (; k + V::lanes <= n; k += V::lanes) body(k, Whole<V>{});
  if (k < n) body(k, First<V>{n - k});
}

// body(k, vector, chunk) for the vectors of a block that the body may overwrite, each at its k: no part of a
// vector where the block has a whole one, but vectors that overlap. The first and the last are loaded before
// all others, and come after them. A part that is stored holds up what is loaded next beyond its end, the
// next row. Longer blocks begin at a vector's multiple of memory, where arrays hardly ever do: that costs one
// vector more, which at 16 lines is as much as it saves, and at 25 less.
template <class T, class Body>
SOFTLANE_INLINE void each_overlapping(const T* e, int n, Body body) {
  using V = Vec<T>;
  constexpr int width = V::lanes, line = 64 / static_cast<int>(sizeof(T));
  constexpr int least_aligned = 20 * line;
  if (n < width) return body(0, First<V>{n}.load(e), First<V>{n});
  const int rest = n - width;
  const V first = V::load(e), last = V::load(e + rest);
  int begin = 0;
  if (n >= least_aligned) {
    const auto past = static_cast<int>(reinterpret_cast<std::uintptr_t>(e) / sizeof(T) % line);
    begin = (line - past) % width;
  }
  int k = begin;
  for (; k + width <= rest; k += 2 * width) {  // softmax of 151 to 512 classes 0.96 to 0.97 (AVX2)
    const V one = V::load(e + k), other = V::load(e + k + width);
    body(k, one, Whole<V>{});
    body(k + width, other, Whole<V>{});
  }
  for (; k <= rest; k += width) body(k, V::load(e + k), Whole<V>{});
  if (begin != 0) body(0, first, Whole<V>{});
  if (k < n) body(rest, last, Whole<V>{});
}

// body(k, doubles) for k = 0, 16, 32, ...: 16 lanes as float64, absent ones zero.
template <class T>
struct Lanes {
  static constexpr int registers = 16 / Vec<double>::lanes;
  Vec<double> d[registers];

  static Lanes load(const float* p, int n) {
    Lanes v;
    constexpr int step = Vec<float>::lanes;
    for (int j = 0; j < 16 / step; ++j) {
      widen(Vec<float>::load_first(p + j * step, n - j * step, 0), v.d + j * registers * step / 16);
    }
    return v;
  }
  static Lanes load(const double* p, int n) {
    Lanes v;
    constexpr int step = Vec<double>::lanes;
    for (int j = 0; j < registers; ++j) {
      v.d[j] = Vec<double>::load_first(p + j * step, n - j * step, 0);
    }
    return v;
  }
  void store(float* p, int n) const {
    constexpr int step = Vec<float>::lanes;
    for (int j = 0; j < 16 / step; ++j) {
      Vec<float> v;
      narrow(d + j * registers * step / 16, v);
      v.store_first(p + j * step, n - j * step);
    }
  }
  void store(double* p, int n) const {
    constexpr int step = Vec<double>::lanes;
    for (int j = 0; j < registers; ++j) d[j].store_first(p + j * step, n - j * step);
  }
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
