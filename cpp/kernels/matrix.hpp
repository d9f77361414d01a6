// The matrices c (diag(p) - p p^T): how they are written, from a row's probabilities p, the share q of
// each that its rounding lost, and the diagonal d.
//
// All that counts is how K^2 entries reach memory. Lines of any K that follow each other are one run of
// K^2 elements, which is stored by whole aligned vectors: one that spans the end of a line and the begin
// of the next takes each part's own p_j, and p_k from a p that goes on with its first elements.
#pragma once

#include "kernels/losses.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// The entries of j and k != j where c = 1, as mostly. What j and k bring to an entry is commutative: the
// matrix is symmetric to the last bit. The entries multiply two probabilities, each of which may be off by
// nearly 2 ULP when rounded, and by two thirds of an ULP of 1 before: hence q, and one rounding more. (p p
// alone would be three operations of five less, and err by 3.9 ULP in float32; with the product rounded
// before q counts, by 4.05 in float64.) It is negated last, for -0 where p underflows is no
// curvature.
template <class T>
struct UnitEntry {
  using V = Vec<T>;
  SOFTLANE_INLINE V operator()(V pj, V qj, V pk, V qk) const {
    return V(T(0)) - fma(pj, pk, (pj * pk) * (qj + qk));
  }
};
// The same for any c, to the same bits where it is 1.
template <class T>
struct Entry {
  using V = Vec<T>;
  Factor<T> c;
  V is_one;  // 1 where c is
  explicit Entry(const Factor<T>& factor) : c(factor) {
    const V one(T(1)), none(T(0));
    is_one = select(equal(c.hi, one), select(equal(c.lo, none), one, none), none);
  }
  SOFTLANE_INLINE V operator()(V pj, V qj, V pk, V qk) const {
    const V product = pj * pk, both = qj + qk, lost = fma(product, both, fms(pj, pk, product));
    const V scaled = fma(c.hi, product, fma(c.hi, lost, c.lo * product));
    return V(T(0)) - select(equal(is_one, V(T(1))), fma(pj, pk, product * both), scaled);
  }
};
// Of all those vectors' lanes?
template <class T>
inline bool is_unit(const Factor<T>& c, unsigned rows) {
  const unsigned unit = static_cast<unsigned>(equal(c.hi, Vec<T>(T(1)))) &
                        static_cast<unsigned>(equal(c.lo, Vec<T>(T(0))));
  return (~unit & rows) == 0;
}

template <class T>
struct LaneNumbers {
  T of[16];
  constexpr LaneNumbers() : of() {
    for (int l = 0; l < 16; ++l) of[l] = static_cast<T>(l);
  }
};
template <class T>
inline constexpr LaneNumbers<T> lane_numbers{};

// lost / p, an eighth of it too large at most.
template <class V>
SOFTLANE_INLINE V lost_share(V p, V lost) {
  return lost * rough_reciprocal(p);
}

// A row's p, q and d: n elements each. Where n fills a vector p and q go on with their first.
template <class T>
struct Moments {
  T *p, *q, *d;
  index_t n;

  // For the matrix at `to`: where n is a whole number of vectors, p is loaded as the matrix is stored,
  // by aligned ones.
  Moments(const Scratch<T>& scratch, index_t classes, const char* to) : n(classes) {
    const auto line = [](const void* at) {
      return static_cast<index_t>(reinterpret_cast<std::uintptr_t>(at) % 64 / sizeof(T));
    };
    constexpr index_t size = 64 / static_cast<index_t>(sizeof(T));
    const index_t length = moments_length(classes);
    p = scratch.moments + (line(to) - line(scratch.moments) + size) % size;
    q = p + length;
    d = q + length;
  }
  // n' of them from k0 on, from exponentials that move(e) takes to the row's base.
  template <class Move>
  SOFTLANE_INLINE void make(const Variance<T>& variance, const T* e, index_t k0, int count,
                            Move move) const {
    each_vector<T>(count, [&](int k, auto part) __attribute__((always_inline)) {
      Vec<T> lost;
      const Vec<T> v = variance.probability(move(part.load(e + k)), lost);
      part.store(v, p + k0 + k);
      part.store(lost_share(v, lost), q + k0 + k);
      part.store(variance.of(v), d + k0 + k);
    });
  }
  void go_on() const {
    if (n < Vec<T>::lanes) return;
    Vec<T>::load(p).store(p + n);
    Vec<T>::load(q).store(q + n);
  }
};

// How a run is stored. Unaligned stores and aligned loads are 15 to 20% faster where the caches hold all,
// and up to twice as slow where they do not; so it is the stores that are aligned. Beyond the caches a store that
// writes a whole line past them spares reading it; it costs more than it saves where anything else is
// stored to that line, and so the diagonal has to come with it.
enum class Stores : std::uint8_t { cached, streamed };

// What the entries of line j have in common.
template <class T>
struct LineOf {
  Vec<T> p, q, d, j;
  LineOf() = default;
  LineOf(const T* p_row, const T* q_row, const T* d_row, index_t number)
      : p(p_row[number]), q(q_row[number]), d(d_row[number]), j(static_cast<T>(number)) {}
  SOFTLANE_INLINE LineOf(const LineOf& l) : p(l.p), q(l.q), d(l.d), j(l.j) {}
  SOFTLANE_INLINE LineOf& operator=(const LineOf& l) {
    p = l.p;
    q = l.q;
    d = l.d;
    j = l.j;
    return *this;
  }
};

// The vectors of a run that begin in the lines from `first` to `end`, and in those of the `runs` - 1
// times as many lines that follow; one run by itself ends with its last whole vector. `at` is where the
// first vector of a line begins. W lines are whole vectors, so that runs of W lines begin alike, and
// what is loaded of p serves all of them: most loads span two lines of memory. In L2 and a
// last level to itself several streams of stores wait for less, too: 1x1000 in float32 takes 43 us
// instead of 54.
template <Stores stores, int runs, class T, class E>
SOFTLANE_INLINE index_t write_vectors(const E& entry, const Moments<T>& m, T* to, index_t first,
                                      index_t end, index_t at) {
  using V = Vec<T>;
  constexpr index_t W = V::lanes;
  const T *const p = m.p, *const q = m.q, *const d = m.d;
  const index_t n = m.n, lines = end - first;
  const V numbers = V::load(lane_numbers<T>.of), length(static_cast<T>(n));
  T* line[runs];
  LineOf<T> of[runs], next[runs];
  for (int u = 0; u < runs; ++u) {
    line[u] = to + (first + u * lines) * n;
    of[u] = LineOf<T>(p, q, d, first + u * lines);
  }
  const auto put = [&](index_t k) __attribute__((always_inline)) {
    const V pk = V::load_once(p + k), qk = V::load_once(q + k);
    for (int u = 0; u < runs; ++u) {
      const V h = entry(of[u].p, of[u].q, pk, qk);
      if constexpr (stores == Stores::streamed) {
        const auto diagonal = equal(V(static_cast<T>(k)) + numbers, of[u].j);
        select(diagonal, of[u].d, h).stream(line[u] + k);
      } else {
        h.store(line[u] + k);
      }
    }
  };
  for (index_t number = first;; ++number) {
    // (A vector at a time GCC 12 makes two jumps of each turn.)
    for (; at + 2 * W <= n; at += 2 * W) {
      put(at);
      put(at + W);
    }
    if (at + W <= n) {
      put(at);
      at += W;
    }
    if (runs == 1 && number == end - 1) return at;
    for (int u = 0; u < runs; ++u) next[u] = LineOf<T>(p, q, d, number + 1 + u * lines);
    if (at < n) {  // classes from n on are the next line's from 0 on
      const auto here = greater(V(static_cast<T>(n - at)), numbers);
      for (int u = 0; u < runs; ++u) {
        of[u].p = select(here, of[u].p, next[u].p);
        of[u].q = select(here, of[u].q, next[u].q);
        of[u].d = select(here, of[u].d, next[u].d);
        of[u].j = select(here, of[u].j, next[u].j + length);
      }
      put(at);
      at += W;
    }
    at -= n;
    for (int u = 0; u < runs; ++u) {
      of[u] = next[u];
      const index_t j = number + u * lines;
      if constexpr (stores == Stores::cached) line[u][j] = d[j];
      line[u] += n;
    }
    if (runs > 1 && number == end - 1) return at;
  }
}

// Runs abreast pay from so many classes and up to so many bytes: with fewer classes their streams of stores
// begin within a few KB, and AVX-512 on Zen 4, where a last level is shared by more, takes up to twice as long by four.
// (AVX2 on Zen 3 takes 0.62 to 0.79 of one run's time for 8 and 16 MB, warm or after 24 MB of other data, by hand.)
inline constexpr index_t least_runs = 256;
template <class T>
inline constexpr double most_runs_bytes = Vec<T>::lanes * sizeof(T) == 32 ? 0x1p24 : 0x1p22;

// Lines of a matrix.
struct Lines {
  index_t begin, end;
};

// Of the matrix at `to`, with n >= lanes. All but the last of them, as far as they go, by several runs at once
// where `abreast`.
template <Stores stores, class T, class E>
SOFTLANE_INLINE void write_run(const E& entry, const Moments<T>& m, T* to, Lines lines,
                               bool abreast) {
  using V = Vec<T>;
  constexpr index_t W = V::lanes;
  const index_t n = m.n, first = lines.begin, last = lines.end - 1;
  T* const start = to + first * n;
  index_t at = -static_cast<index_t>(reinterpret_cast<std::uintptr_t>(start) / sizeof(T)) & (W - 1);
  const auto entries = [&](index_t j, index_t k) __attribute__((always_inline)) {
    return entry(V(m.p[j]), V(m.q[j]), V::load(m.p + k), V::load(m.q + k));
  };
  // Not a vector whose last lanes are masked: it would still touch the line that is streamed next.
  alignas(64) T begin[W];
  entries(first, 0).store(begin);
  std::memcpy(start, begin, sizeof(T) * static_cast<std::size_t>(at));
  if (first < at) start[first] = m.d[first];
  index_t j = first;
  for (; abreast && j + 4 * W <= last; j += 4 * W) {
    at = write_vectors<stores, 4>(entry, m, to, j, j + W, at);
  }
  for (; abreast && j + 2 * W <= last; j += 2 * W) {
    at = write_vectors<stores, 2>(entry, m, to, j, j + W, at);
  }
  at = write_vectors<stores, 1>(entry, m, to, j, lines.end, at);
  T* const line = to + last * n;
  entries(last, at).store_first(line + at, static_cast<int>(n - at));
  line[last] = m.d[last];
}

// The same of few classes, line by line: the last vector of a line overlaps the one before. What a run has to know of
// two lines at once takes as long as two vectors, of which a line has hardly more. Not by vectors as long as a line of
// memory, of which most would be in two of them: AVX2 0.88 times the time of 17 to 64 classes, AVX-512 1.06.
template <class T>
inline constexpr index_t most_overlapping = Vec<T>::lanes * sizeof(T) < 64 ? 64 : 0;
template <class T, class E>
SOFTLANE_INLINE void write_overlapping(const E& entry, const Moments<T>& m, T* to, Lines lines) {
  using V = Vec<T>;
  constexpr index_t W = V::lanes;
  const T *const p = m.p, *const q = m.q, *const d = m.d;
  const index_t n = m.n, last = n - W;
  T* line = to + lines.begin * n;
  for (index_t j = lines.begin; j < lines.end; ++j, line += n) {
    const V pj(p[j]), qj(q[j]);
    const auto put = [&](index_t k) __attribute__((always_inline)) {
      entry(pj, qj, V::load(p + k), V::load(q + k)).store(line + k);
    };
    for (index_t k = 0; k < last; k += W) put(k);
    put(last);
    line[j] = d[j];
  }
}

// Any strides, formats and n.
template <class T, class E>
SOFTLANE_INLINE void write_lines(const E& entry, const Moments<T>& m, Row<T> line, index_t step,
                                 Lines lines, T* block) {
  using V = Vec<T>;
  line.data += lines.begin * step;
  for (index_t j = lines.begin; j < lines.end; ++j, line.data += step) {
    const V pj(m.p[j]), qj(m.q[j]);
    for (index_t k0 = 0; k0 < m.n; k0 += block_size) {
      const int n = block_length(m.n, k0);
      T* h = line.open(k0, block);
      each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
        part.store(entry(pj, qj, part.load(m.p + k0 + k), part.load(m.q + k0 + k)), h + k);
      });
      line.put(k0, n, h);
    }
    line.set(j, m.d[j]);
  }
}

// From so many bytes on, results go past the caches: no core's share of a last level is larger. But not
// to an array that the kernel's own writes bring into being: its pages come through the caches.
inline constexpr double stream_from = 0x1p25;
// From here on, past L2, memory is asked for before a matrix is made: its lines would come one by one.
inline constexpr double expect_from = 0x1p20;
inline double output_bytes(const Call& call, std::size_t item) {
  const auto n = static_cast<double>(call.classes);
  return static_cast<double>(call.space.rows) * n * n * static_cast<double>(item);
}

// The output of matrices.
template <class T>
class Matrices {
 public:
  using V = Vec<T>;
  static constexpr index_t size = static_cast<index_t>(sizeof(T));

  explicit Matrices(const Call& call)
      : out_(call.out[0]),
        classes_(call.classes),
        lines_{call.part.first_line, call.part.end_line > 0 ? call.part.end_line : call.classes} {
    // Symmetric, a matrix is its transpose.
    const index_t inner = out_.class_stride, outer = out_.second_class_stride;
    runs_ = classes_ >= Vec<T>::lanes && Row<T>{nullptr, 0, out_.format}.native() &&
            ((inner == size && outer == classes_ * size) ||
             (outer == size && inner == classes_ * size)) &&
            reinterpret_cast<std::uintptr_t>(out_.data) % sizeof(T) == 0;
    for (int d = 0; d < call.space.ndim; ++d) runs_ = runs_ && out_.row_stride[d] % size == 0;
    const double bytes = output_bytes(call, sizeof(T));
    streams_ = runs_ && !call.out_is_new && bytes > stream_from;
    abreast_ = classes_ >= least_runs && bytes <= most_runs_bytes<T>;
  }

  // After the last write.
  void settle() const {
    if (streams_) Vec<T>::fence();
  }

  SOFTLANE_INLINE void write(const Factor<T>& c, const Moments<T>& m, char* to, T* block) const {
    is_unit(c, 1) ? write_entries(UnitEntry<T>{}, m, to, block)
                  : write_entries(Entry<T>(c), m, to, block);
  }
  void fill(T v, char* to) const {
    const index_t step = out_.second_class_stride;
    Row<T> line{to + lines_.begin * step, out_.class_stride, out_.format};
    for (index_t j = lines_.begin; j < lines_.end; ++j, line.data += step) {
      line.fill(classes_, v);
    }
  }

 private:
  template <class E>
  __attribute__((noinline)) void write_entries(const E entry, const Moments<T>& m, char* to,
                                               T* block) const {
    T* const run = reinterpret_cast<T*>(to);
    if (!runs_) {
      const Row<T> line{to, out_.class_stride, out_.format};
      write_lines(entry, m, line, out_.second_class_stride, lines_, block);
    } else if (streams_) {
      write_run<Stores::streamed>(entry, m, run, lines_, abreast_);
    } else if (most_overlapping<T> > 0 && classes_ <= most_overlapping<T>) {
      write_overlapping(entry, m, run, lines_);
    } else {
      write_run<Stores::cached>(entry, m, run, lines_, abreast_);
    }
  }

  const Stream& out_;
  index_t classes_;
  Lines lines_;  // that are asked for
  bool runs_ = false, streams_ = false, abreast_ = false;
};

}  // namespace SOFTLANE_ISA
}  // namespace softlane
