// Rows across lanes: the summaries of W rows at once, for rows of few classes, and for rows that lie
// side by side in memory. The canonical order (block.hpp) is kept, for rows of one block; what a row
// costs beyond its elements (base, quotients, logarithm) is shared by W of them: a tenth of what a row
// by itself takes, and all there is at ten classes.
#pragma once

#include "kernels/losses.hpp"
#include "kernels/tiles.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// Which of several classes that share the maximum is the first: the lowest lane k mod 16, then the
// lowest step k / 16. The first has the largest rank.
template <class T>
struct Ranks {
  T of[block_size];
  constexpr Ranks() : of() {
    for (int k = 0; k < block_size; ++k) of[k] = static_cast<T>(-(k % 16 * 64 + k / 16));
  }
};
template <class T>
inline constexpr Ranks<T> ranks{};

// What the lanes of a canonical sum are added as, once their quads are.
inline Pack<float> lane_term(const Partial<float>& p) { return widened(p.hi) + widened(p.lo); }
inline Partial<double> lane_term(const Partial<double>& p) { return p; }
inline Pack<float> lane_term(Vec<float> v) { return widened(v); }
inline Partial<double> lane_term(Vec<double> v) { return {v, Vec<double>(0.0)}; }
inline Wide<float, Pack<float>> lane_total(const Pack<float>& p) { return {p}; }
inline Wide<double, Pack<double>> lane_total(const Partial<double>& p) {
  using W = Wide<double, Pack<double>>;
  return W(widened(p.hi)) + W(widened(p.lo));
}

template <class T>
struct GroupSummary {
  using V = Vec<T>;
  using P = Pack<T>;

  V highest, where;  // the maximum, and the rank of the class that the maximum is taken from
  V rounded_top;
  Base<T, V> base;
  Wide<T, P> top, tail, sum;
  P others;  // how many share the maximum, where nothing else counts
  typename P::Mask confident;
  unsigned bad = 0;  // of the lanes: rows with a NaN

  // The maxima. False where a row needs a shift or has no regular result.
  template <class Map>
  SOFTLANE_INLINE bool begin(const Columns<T>& x, int n, unsigned rows, const Map& map) {
    highest = V(negative_infinity<T>());
    where = V(T(-block_size));
    for (int k = 0; k < n; ++k) {
      __builtin_prefetch(x.at(k) + V::lanes);  // the next group's, if they lie side by side
      const V a = map.sign(x.load(k)), rank(ranks<T>.of[k]);
      const V tied = select(equal(a, highest), max(rank, where), where);
      where = select(greater(a, highest), rank, tied);
      highest = max(a, highest);
    }
    return start(rows, map);
  }

  // The same for N <= 16 classes, whose first maximum in memory is the first in lane order.
  template <int N, class Map>
  SOFTLANE_INLINE bool begin_few(const Columns<T>& x, unsigned rows, const Map& map) {
    highest = map.sign(x.load(0));
    where = V(T(0));
#pragma GCC unroll 16
    for (int k = 1; k < N; ++k) {
      const V a = map.sign(x.load(k));
      where = select(greater(a, highest), V(ranks<T>.of[k]), where);
      highest = max(a, highest);
    }
    return start(rows, map);
  }

  template <int N, class Map>
  SOFTLANE_INLINE void add_few(const Columns<T>& x, const Columns<T>& e, unsigned rows,
                               const Map& map) {
    V t[N];
    // One more: the maximum's own.
#pragma GCC unroll 5
    for (int k = 0; k <= N; k += 4) {
      const int count = N + 1 - k < 4 ? N + 1 - k : 4;
      V a[4];
#pragma GCC unroll 4
      for (int i = 0; i < count; ++i) a[i] = k + i < N ? map.sign(x.load(k + i)) : highest;
      exp_from_base_of(count, a, map);
#pragma GCC unroll 4
      for (int i = 0; i < count; ++i) {
        if (k + i == N) {
          rounded_top = a[i];
          break;
        }
        if (e) e.store(k + i, a[i]);
        t[k + i] = select(equal(where, V(ranks<T>.of[k + i])), V(T(0)), a[i]);
      }
    }
    tail = lane_total(lane_tree<0, 1, N>(t));
    top = exp_wide(highest, map, base);
    classify(rows);
  }

  template <int L, int S, int N>
  static SOFTLANE_INLINE auto lane_tree(const V* t) {
    if constexpr (S == 16) {
      return lane_term(t[L]);
    } else if constexpr (L + S < N) {
      return lane_tree<L, 2 * S, N>(t) + lane_tree<L + S, 2 * S, N>(t);
    } else {
      return lane_tree<L, 2 * S, N>(t);
    }
  }

  template <class Map>
  SOFTLANE_INLINE bool start(unsigned rows, const Map& map) {
    const P z = map.wide_argument(highest) * P(map.beta());
    const P limit(static_cast<double>(ExpRange<T>::limit));
    const unsigned outside =
        ~static_cast<unsigned>(greater(z, -limit)) | ~static_cast<unsigned>(greater(limit, z));
    base = Base<T, V>(map, highest);
    return (outside & rows) == 0;
  }

  // The exponentials, 64 classes at a time (to `e`, where somebody wants them), and their sums.
  template <class Map>
  SOFTLANE_INLINE void add(const Columns<T>& x, const Columns<T>& e, int n, unsigned rows,
                           const Map& map) {
    alignas(64) T chunk[quad_size * V::lanes];
    Partial<T> quads[max_quads][16];
    const int lanes = n < 16 ? n : 16, count = (n + quad_size - 1) / quad_size;
    const V none(T(0));
    for (int g = 0; g < count; ++g) {
      const int k0 = g * quad_size, left = n - k0 < quad_size ? n - k0 : quad_size;
      const Columns<T> terms = e ? Columns<T>{e.data + k0 * e.stride, e.stride}
                                 : Columns<T>{reinterpret_cast<char*>(chunk),
                                              V::lanes * static_cast<index_t>(sizeof(T))};
      int k = 0;
      for (; k + 4 <= left; k += 4) exponentials<4>(x, k0 + k, terms, k, map);
      switch (left - k) {
        case 3:
          exponentials<3>(x, k0 + k, terms, k, map);
          break;
        case 2:
          exponentials<2>(x, k0 + k, terms, k, map);
          break;
        case 1:
          exponentials<1>(x, k0 + k, terms, k, map);
      }
      const auto term = [&](int j) __attribute__((always_inline)) {
        return select(equal(where, V(ranks<T>.of[k0 + j])), none, terms.load(j));
      };
      for (int l = 0; l < lanes && l < left; ++l) {
        const V a = term(l);
        Partial<T>& q = quads[g][l];
        if (l + 48 < left) {
          q = Partial<T>::quad(a, term(l + 16), term(l + 32), term(l + 48));
        } else if (l + 32 < left) {
          q = Partial<T>::quad(a, term(l + 16), term(l + 32), none);
        } else if (l + 16 < left) {
          q = Partial<T>::sum(a, term(l + 16));
        } else {
          q = {a, none};
        }
      }
    }
    decltype(lane_term(quads[0][0])) lane[16];
    for (int l = 0; l < lanes; ++l) {
      const int here = (n - l + quad_size - 1) / quad_size;
      for (int h = max_quads / 2; h >= 1; h /= 2) {
        for (int g = 0; g < h && g + h < here; ++g) quads[g][l] = quads[g][l] + quads[g + h][l];
      }
      lane[l] = lane_term(quads[0][l]);
    }
    for (int h = 8; h >= 1; h /= 2) {
      for (int l = 0; l < h && l + h < lanes; ++l) lane[l] = lane[l] + lane[l + h];
    }
    tail = lane_total(lane[0]);
    top = exp_wide(highest, map, base);
    rounded_top = exp_from_base(highest, map, base);
    classify(rows);
  }

  template <class Map>
  SOFTLANE_INLINE void exp_from_base_of(int count, V* a, const Map& map) const {
    switch (count) {
      case 4:
        return exp_from_base<4>(a, map, base);
      case 3:
        return exp_from_base<3>(a, map, base);
      case 2:
        return exp_from_base<2>(a, map, base);
      default:
        return exp_from_base<1>(a, map, base);
    }
  }
  template <int N, class Map>
  SOFTLANE_INLINE void exponentials(const Columns<T>& x, int k, const Columns<T>& e, int to,
                                    const Map& map) const {
    V a[N];
    for (int i = 0; i < N; ++i) a[i] = map.sign(x.load(k + i));
    exp_from_base<N>(a, map, base);
    for (int i = 0; i < N; ++i) e.store(to + i, a[i]);
  }

  // As RowSummary::classify.
  SOFTLANE_INLINE void classify(unsigned rows) {
    const P zero(0.0);
    bad = ~static_cast<unsigned>(equal(tail.value(), tail.value())) & rows;
    confident = greater(P(0.99) * top.value(), tail.value());
    others = zero;
    sum = top + tail;
    if ((~static_cast<unsigned>(confident) & rows) == 0) return;
    // A quotient of at most 1024, if it is whole.
    const V shift(ExpRange<T>::magic), ratio = narrowed<T>(tail.value()) / rounded_top;
    const P one = widened(rounded_top), whole = widened((ratio + shift) - shift);
    const Wide<T, P> rest = tail + Wide<T, P>{one} * -whole;
    others = select(
        confident, zero,
        select(equal(rest.value(), zero), select(equal(rest.low(), zero), whole, zero), zero));
    const auto tied = greater(others, zero);
    if (any(tied)) sum = Wide<T, P>::choose(tied, top * (others + P(1.0)), sum);
  }
};

// A group on its way through the stages.
template <class T>
struct GroupSlot {
  RowGroup<T> group;
  Columns<T> x, e;
  GroupSummary<T> summary;
  T *first, *second;  // panels
  // Of the losses, a row each: what the exponentials may overwrite, and where its class stands.
  alignas(64) T label_logit[Vec<T>::lanes];
  alignas(64) T label_rank[Vec<T>::lanes];

  unsigned rows() const { return group.rows(); }
  T logit(int r, index_t k) const { return x.at(k)[r]; }
};

template <class T>
inline bool suits_groups(const Call& call) {
  if (call.space.rows < least_rows || call.classes > block_size) return false;
  if (call.mask.data != nullptr) return false;  // applied row by row
  return call.classes <= most_panel_classes || Carrier<T>(call, call.logits).column_wise();
}

// W rows, between their places in memory and a panel.
template <class T>
inline T* group_buffer(const Call& call, void* memory) {
  return reinterpret_cast<T*>(static_cast<char*>(memory) + row_scratch_bytes(call));
}

// Rows of what the Hessian is made from, after the panels.
template <class T>
inline T* moments_of(const Call& call, void* memory) {
  const auto panels = static_cast<std::size_t>(1 + 2 * group_batch(call));
  return reinterpret_cast<T*>(static_cast<char*>(memory) + row_scratch_bytes(call) +
                              panels * panel_bytes(call));
}

template <class T>
inline Columns<T> in_panel(T* panel) {
  return {reinterpret_cast<char*>(panel), Vec<T>::lanes * static_cast<index_t>(sizeof(T))};
}

// The two stages of a summary, for a number of classes and a map of the logits.
template <class T>
struct Stages {
  bool (*begin)(GroupSummary<T>&, const Columns<T>& x, int n, unsigned rows, const Affine<T>&);
  void (*add)(GroupSummary<T>&, const Columns<T>& x, const Columns<T>& e, int n, unsigned rows,
              const Affine<T>&);
};

template <class Map, class T>
inline Map map_of(const Affine<T>& affine) {
  if constexpr (std::is_same_v<Map, Affine<T>>) {
    return affine;
  } else {
    return Map{};
  }
}

// N = 0: any number.
template <int N, class T, class Map>
inline Stages<T> make_stages() {
  return {
      [](GroupSummary<T>& s, const Columns<T>& x, int n, unsigned rows, const Affine<T>& affine) {
        const Map map = map_of<Map>(affine);
        if constexpr (N == 0) {
          return s.begin(x, n, rows, map);
        } else {
          return s.template begin_few<N>(x, rows, map);
        }
      },
      [](GroupSummary<T>& s, const Columns<T>& x, const Columns<T>& e, int n, unsigned rows,
         const Affine<T>& affine) {
        const Map map = map_of<Map>(affine);
        if constexpr (N == 0) {
          s.add(x, e, n, rows, map);
        } else {
          s.template add_few<N>(x, e, rows, map);
        }
      }};
}

// With the number of classes known to the compiler 4096 rows of 10 take 34 us instead of 40 (float32):
// worth its code where logits are taken as they are, and there are vectors.
template <class T, int N = (Vec<T>::lanes > 1 ? 16 : 0)>
inline Stages<T> stages_for(index_t classes) {
  if constexpr (N == 0) {
    return make_stages<0, T, Direct<T>>();
  } else {
    return classes == N ? make_stages<N, T, Direct<T>>() : stages_for<T, N - 1>(classes);
  }
}

template <class T>
inline Stages<T> stages_of(const Call& call) {
  return !call.negate && call.temperature == 1 ? stages_for<T>(call.classes)
                                               : make_stages<0, T, Affine<T>>();
}

// Where a group's exponentials go.
enum class Keep : std::uint8_t { nothing, panel, output };

// start(slot), then finish(slot) for groups of rows [begin, end) whose maxima, then summaries, are
// made. `terms` is the output that their exponentials go to, and `also` another that finish() writes,
// if any. Rows that are no work for groups go to rows_kernel.
//
// Several groups at a time take each stage together: one's chain (maximum, base, exponentials, sum,
// quotient) is 400 cycles long and hides behind the others'.
template <class T, class Start, class Finish>
inline void each_group(const Call& call, index_t begin, index_t end, void* memory, Keep keep,
                       const Stream* terms, const Carrier<T>& also, Start start, Finish finish,
                       void (*rows_kernel)(const Call&, index_t, index_t, void*) noexcept) {
  constexpr int W = Vec<T>::lanes;
  const bool paneled = call.classes <= most_panel_classes;
  const int batch = group_batch(call);
  const std::size_t bytes = panel_bytes(call);
  char* const panels = static_cast<char*>(memory) + row_scratch_bytes(call);
  T* const buffer = group_buffer<T>(call, memory);
  GroupSlot<T> slots[most_batch];
  for (int i = 0; i < batch; ++i) {
    slots[i].first = reinterpret_cast<T*>(panels + static_cast<std::size_t>(2 * i + 1) * bytes);
    slots[i].second = reinterpret_cast<T*>(panels + static_cast<std::size_t>(2 * i + 2) * bytes);
  }

  const Carrier<T> logits(call, call.logits);
  const Carrier<T> out = terms != nullptr ? Carrier<T>(call, *terms) : Carrier<T>();
  const int n = static_cast<int>(call.classes);
  const Affine<T> affine(call.negate, call.temperature);
  const Stages<T> stages = stages_of<T>(call);

  RowCursor cursor(call.space, begin);
  while (cursor.row() < end) {
    int used = 0;
    while (used < batch && cursor.row() < end) {
      index_t count = cursor.run();
      if (count > end - cursor.row()) count = end - cursor.row();
      if (count > W) count = W;
      const index_t first = cursor.row();
      GroupSlot<T>& s = slots[used];
      s.group = {cursor, static_cast<int>(count), count == W};
      cursor.advance(count);
      bool fits = paneled || (logits.direct(s.group) && (!out || out.direct(s.group)) &&
                              (!also || also.direct(s.group)));
      if (fits) {
        s.x = logits.read(s.group, s.first, buffer);
        s.e = out                   ? out.open(s.group, s.first)
              : keep == Keep::panel ? in_panel(s.first)
                                    : Columns<T>{};
        fits = stages.begin(s.summary, s.x, n, s.rows(), affine);
      }
      if (fits) {
        start(s);
        ++used;
      } else {
        rows_kernel(call, first, first + count, memory);
      }
    }
    for (int i = 0; i < used; ++i) {
      GroupSlot<T>& s = slots[i];
      stages.add(s.summary, s.x, s.e, n, s.rows(), affine);
    }
    for (int i = 0; i < used; ++i) {
      GroupSlot<T>& s = slots[i];
      finish(s);
      if (out) out.write(s.group, s.e, buffer);
    }
  }
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
