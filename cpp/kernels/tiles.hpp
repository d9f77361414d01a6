// W = Vec<T>::lanes rows at once, a row in each lane: how their elements get there and back.
//
// Where rows lie side by side in memory (another axis than the last), a class of W rows is a vector as
// it stands. Rows of classes pass through a panel, one vector a class, by W x C tiles:
//   in the C registers of a tile, element (row, class) stands at register j, lane (q, c) with
//   row = j R + q, R = W / C, which reads as the address [j][q][c]; taking the even and the odd
//   lanes of pairs of registers rotates the bits of that address by one to the right, log2(C)
//   times make it [c][j][q]: register c, lane = row. Zips lead back. (Reading has C = W.)
// W packed rows of one to three classes are as many vectors, which need no tile, and where there are 128-bit
// pieces (simd/ymm.hpp) tiles are for rows with fewer classes than one, or than two on the way back.
// Everything else (strides, half types, fewer than W rows) goes row by row through a buffer, as
// packed rows.
#pragma once

#include "kernels/quads.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// A class of W rows to a vector: memory, or a panel.
template <class T>
struct Columns {
  using V = Vec<T>;
  char* data = nullptr;
  index_t stride = 0;

  explicit operator bool() const { return data != nullptr; }
  T* at(index_t k) const { return reinterpret_cast<T*>(data + k * stride); }
  V load(index_t k) const { return V::load(at(k)); }
  void store(index_t k, V v) const { v.store(at(k)); }
  bool operator==(const Columns& other) const { return data == other.data; }
  Columns from(index_t k) const { return {data + k * stride, stride}; }
};

// W classes of W rows of n elements, from the class at `from` on.
template <class T>
SOFTLANE_INLINE void read_tile(const T* rows, index_t row_stride, int n, int from, T* panel) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  V v[W];
  for (int j = 0; j < W; ++j) v[j] = V::load_first(rows + j * row_stride + from, n - from, 0);
  if constexpr (W > 1) {
    for (int stage = 1; stage < W; stage *= 2) {
      V t[W];
      for (int i = 0; i < W / 2; ++i) {
        t[i] = even(v[2 * i], v[2 * i + 1]);
        t[i + W / 2] = odd(v[2 * i], v[2 * i + 1]);
      }
      for (int i = 0; i < W; ++i) v[i] = t[i];
    }
  }
  for (int c = 0; c < W && from + c < n; ++c) v[c].store(panel + (from + c) * W);
}

// To packed rows, of which R = W / C have a vector together: Vec<T>::most_packed, or any number of rows of C classes.
template <int C, class T>
SOFTLANE_INLINE void write_tile(const T* panel, int n, int from, T* rows, index_t row_stride) {
  using V = Vec<T>;
  constexpr int R = V::lanes / C;
  V v[C];
  for (int c = 0; c < C; ++c) {
    v[c] = from + c < n ? V::load(panel + (from + c) * V::lanes) : V(T(0));
  }
  if constexpr (C > 1) {
    for (int stage = 1; stage < C; stage *= 2) {
      V t[C];
      for (int i = 0; i < C / 2; ++i) {
        t[2 * i] = zip_low(v[i], v[i + C / 2]);
        t[2 * i + 1] = zip_high(v[i], v[i + C / 2]);
      }
      for (int i = 0; i < C; ++i) v[i] = t[i];
    }
  }
  for (int j = 0; j < C; ++j) {
    T* const to = rows + j * R * row_stride + from;
    if constexpr (R <= V::most_packed) {
      v[j].template store_packed<R>(to, n - from);
    } else {
      v[j].store(to);
    }
  }
}

template <int N>
struct Count {
  constexpr operator int() const { return N; }
};

// The narrowest tile for rows of n classes, rows being packed or not.
template <class T, class Body>
SOFTLANE_INLINE void with_tile(int n, bool packed, Body body) {
  constexpr int W = Vec<T>::lanes, most = Vec<T>::most_packed;
  if constexpr (W > 4) {
    if (packed && n == 4) return body(Count<4>{});
  }
  if constexpr (most >= 2) {
    if (packed && n <= W / 2) return body(Count<W / 2>{});
  }
  body(Count<W>{});
}

// Of packed rows of one to three classes; false of others.
template <class T>
SOFTLANE_INLINE bool read_few(const T* rows, index_t row_stride, int n, T* panel) {
  using V = Vec<T>;
  if constexpr (V::lanes > 1) {
    if (row_stride != n || n > 3) return false;
    V v[3];
    if (n == 3) {
      load_thirds(rows, v);
    } else if (n == 2) {
      const V a = V::load(rows), b = V::load(rows + V::lanes);
      v[0] = even(a, b);
      v[1] = odd(a, b);
    } else {
      v[0] = V::load(rows);
    }
    for (int k = 0; k < n; ++k) v[k].store(panel + k * V::lanes);
    return true;
  }
  return false;
}
template <class T>
SOFTLANE_INLINE bool write_few(const T* panel, int n, T* rows, index_t row_stride) {
  using V = Vec<T>;
  if constexpr (V::lanes > 1) {
    if (row_stride != n || n > 3) return false;
    V v[3];
    for (int k = 0; k < n; ++k) v[k] = V::load(panel + k * V::lanes);
    if (n == 3) {
      store_thirds(v, rows);
    } else if (n == 2) {
      zip_low(v[0], v[1]).store(rows);
      zip_high(v[0], v[1]).store(rows + V::lanes);
    } else {
      v[0].store(rows);
    }
    return true;
  }
  return false;
}

// A panel holds whole tiles.
inline index_t panel_classes(index_t classes, int lanes) {
  return (classes + lanes - 1) / lanes * lanes;
}

// body(from) for the tiles of `width` classes each: the last one overlaps where it is not whole.
template <class Body>
SOFTLANE_INLINE void each_tile(int n, int width, Body body) {
  int from = 0;
  for (; from + width <= n; from += width) body(from);
  if (from < n) body(n - width);
}

template <class T>
SOFTLANE_INLINE void read_panel(const T* rows, index_t row_stride, int n, T* panel) {
  constexpr int P = piece<T>, W = Vec<T>::lanes;
  if (read_few(rows, row_stride, n, panel)) return;
  if constexpr (P > 0) {
    if (n >= P) {
      return each_tile(n, P, [&](int from) __attribute__((always_inline)) {
        for (int r = 0; r < W; r += 2 * P) {
          transpose_pieces(rows + r * row_stride + from, row_stride, P * row_stride,
                           panel + from * W + r, W);
        }
      });
    }
  }
  for (int from = 0; from < n; from += W) read_tile(rows, row_stride, n, from, panel);
}
template <class T>
SOFTLANE_INLINE void write_panel(const T* panel, int n, T* rows, index_t row_stride) {
  constexpr int P = piece<T>, W = Vec<T>::lanes;
  if (write_few(panel, n, rows, row_stride)) return;
  if constexpr (P > 0) {
    if (n >= 2 * P) {
      return each_tile(n, 2 * P, [&](int from) __attribute__((always_inline)) {
        for (int r = 0; r < W; r += P) {
          transpose_pieces(panel + from * W + r, W, P * W, rows + r * row_stride + from,
                           row_stride);
        }
      });
    }
  }
  with_tile<T>(n, row_stride == n, [&](auto C) __attribute__((always_inline)) {
    for (int from = 0; from < n; from += C) write_tile<C>(panel, n, from, rows, row_stride);
  });
}

// The next rows, up to W of them.
template <class T>
struct RowGroup {
  RowCursor first;
  int count;      // of rows that exist, 1 to W
  bool straight;  // W of them, with one stride between them in every operand
  unsigned rows() const { return count >= 32 ? ~0u : (1u << count) - 1; }
};

// How groups of rows get at one operand.
template <class T>
class Carrier {
 public:
  static constexpr int W = Vec<T>::lanes;
  static constexpr index_t size = static_cast<index_t>(sizeof(T));

  Carrier() = default;
  Carrier(const Call& call, const Stream& stream) : Carrier(call, stream, call.classes) {}
  Carrier(const Call& call, const Stream& stream, index_t classes)
      : stream_(&stream), classes_(classes) {
    if (stream.data == nullptr) return;
    present_ = true;
    const int last = call.space.ndim - 1;
    step_ = last >= 0 ? stream.row_stride[last] : 0;
    item_ = item_size(stream.format.element);
    columns_ = W == 1 || step_ == item_;
    native_ = Row<T>{nullptr, 0, stream.format}.native() && aligned(stream.class_stride) &&
              reinterpret_cast<std::uintptr_t>(stream.data) % sizeof(T) == 0;
    for (int d = 0; d <= last; ++d) native_ = native_ && aligned(stream.row_stride[d]);
    crowded_ = W > 1 && columns_ && native_ && classes <= most_panel_classes &&
               crowds(stream.class_stride, classes);
    rows_ = stream.class_stride == item_ && step_ >= classes_ * item_;
    packs_ = native_ && rows_ && step_ == classes_ * item_;
  }

  explicit operator bool() const { return present_; }
  // Do rows lie side by side?
  bool column_wise() const { return columns_; }
  // Do the kernels work on the group where it lies, if it is straight?
  bool direct() const { return columns_ && native_ && !crowded_; }
  bool direct(const RowGroup<T>& group) const { return direct() && group.straight; }

  // Do they pass through panels, though they lie side by side?
  bool crowded(const RowGroup<T>& group) const { return crowded_ && group.straight; }
  bool crowded() const { return crowded_; }
  void stay() { crowded_ = false; }
  // Are results() written class by class of several groups? Of few classes that are not crowded softmax took 1.05 to
  // 1.1 times the time.
  bool written_together() const { return crowded_ || (direct() && classes_ > quad_size); }
  Columns<T> home(const RowGroup<T>& group) const {
    return {group.first.locate(*stream_), stream_->class_stride};
  }

  // Do rows of several classes follow each other without a gap?
  bool packs() const { return packs_ && !columns_; }
  // The group's first row, where they all follow each other as the panel's rows do; else null.
  T* packed(const RowGroup<T>& group) const {
    return packs_ && group.straight ? row(group.first) : nullptr;
  }
  T* row(const RowCursor& at) const { return reinterpret_cast<T*>(at.locate(*stream_)); }

  // Rows to the first whose vectors cross no line of memory, if that is not the group's first.
  int rows_to_line(const RowGroup<T>& group) const {
    constexpr index_t line = W * size;
    if (stream_->class_stride % line != 0) return 0;
    const auto at = reinterpret_cast<std::uintptr_t>(group.first.locate(*stream_));
    const auto past = static_cast<index_t>(at % line);
    return static_cast<int>((line - past) / size) % W;
  }

  // The group's elements: where they lie, or in the panel. `buffer` holds W rows.
  Columns<T> read(const RowGroup<T>& group, T* panel, T* buffer) const {
    if (direct(group)) return home(group);
    const int n = static_cast<int>(classes_);
    if (native_ && rows_ && group.straight) {
      read_panel(reinterpret_cast<const T*>(group.first.locate(*stream_)), step_ / size, n, panel);
      return in(panel);
    }
    if (crowded(group)) {
      const Columns<T> x = home(group);
      for (int k = 0; k < n; ++k) x.load(k).store(panel + k * W);
      return in(panel);
    }
    if (columns_ && group.straight) {
      const Row<T> first = across(group);
      for (int k = 0; k < n; ++k) class_of(first, k).copy_to(0, W, panel + k * W);
      return in(panel);
    }
    if (as_one(group)) {
      group.first.template of<T>(*stream_).copy_to(0, W * n, buffer);
    } else {
      RowCursor cursor(group.first);
      for (int r = 0; r < W; ++r) {
        T* const row = buffer + r * classes_;
        if (r < group.count) {
          cursor.of<T>(*stream_).copy_to(0, n, row);
          cursor.advance();
        } else {
          std::memset(row, 0, sizeof(T) * static_cast<std::size_t>(classes_));
        }
      }
    }
    read_panel(buffer, classes_, n, panel);
    return in(panel);
  }

  // A class of a group whose rows lie side by side.
  void copy_class(const RowGroup<T>& group, index_t k, T* to) const {
    class_of(across(group), k).copy_to(0, W, to);
  }

  // Where to work on the group's results; write() brings them home.
  Columns<T> open(const RowGroup<T>& group, T* panel) const {
    if (direct(group)) return home(group);
    return in(panel);
  }
  // Where to put them class by class of several groups: the same, but for those that are crowded, which are home then.
  Columns<T> results(const RowGroup<T>& group, T* panel) const {
    if (crowded(group)) return home(group);
    return open(group, panel);
  }
  void write(const RowGroup<T>& group, const Columns<T>& results, T* buffer) const {
    if (direct(group)) return;
    const T* panel = reinterpret_cast<const T*>(results.data);
    const int n = static_cast<int>(classes_);
    if (native_ && rows_ && group.straight) {
      T* const to = reinterpret_cast<T*>(group.first.locate(*stream_));
      return write_panel(panel, n, to, step_ / size);
    }
    if (crowded(group)) {
      const Columns<T> y = home(group);
      for (int k = 0; k < n; ++k) y.store(k, results.load(k));
      return;
    }
    if (columns_ && group.straight) {
      const Row<T> first = across(group);
      for (int k = 0; k < n; ++k) class_of(first, k).copy_from(0, W, panel + k * W);
      return;
    }
    write_panel(panel, n, buffer, classes_);
    RowCursor cursor(group.first);
    if (as_one(group)) {
      return cursor.of<T>(*stream_).copy_from(0, W * n, buffer);
    }
    for (int r = 0; r < group.count; ++r) {
      cursor.of<T>(*stream_).copy_from(0, n, buffer + r * classes_);
      cursor.advance();
    }
  }

 private:
  // Do the group's rows follow each other like the elements of one row? 4096x10 of every other element, whole calls:
  // 0.42 to 0.58 times the time that row by row took, float64 0.68 to 0.81.
  bool as_one(const RowGroup<T>& group) const {
    return group.straight && step_ == classes_ * stream_->class_stride;
  }
  // Do the lines of so many classes, a power of two apart, fall into few sets of a first-level cache? Half of
  // its 8 ways are for other operands.
  static bool crowds(index_t stride, index_t classes) {
    constexpr index_t way = 4096, line = 64;
    const index_t power = stride & -stride, apart = power > way ? way : power < line ? line : power;
    return classes * apart > 4 * way;
  }
  static bool aligned(index_t v) { return v % size == 0; }
  static Columns<T> in(T* panel) { return {reinterpret_cast<char*>(panel), W * size}; }
  // A class of the group's rows as if it were a row: elements of other formats side by side.
  Row<T> across(const RowGroup<T>& group) const {
    return {group.first.locate(*stream_), step_, stream_->format};
  }
  Row<T> class_of(Row<T> first, index_t k) const {
    first.data += k * stream_->class_stride;
    return first;
  }

  const Stream* stream_ = nullptr;
  index_t classes_ = 0, step_ = 0, item_ = 0;  // step_: bytes from row to row; item_: of an element
  bool present_ = false, native_ = false, columns_ = false, rows_ = false;
  bool packs_ = false, crowded_ = false;
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
