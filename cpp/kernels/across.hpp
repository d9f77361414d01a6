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
    if (n <= 16) {
      for (int k = 0; k < n; ++k) {
        const V a = map.sign(x.load(k));
        where = select(greater(a, highest), V(ranks<T>.of[k]), where);
        highest = max(a, highest);
      }
    } else {
      for (int k = 0; k < n; ++k) {
        const V a = map.sign(x.load(k)), rank(ranks<T>.of[k]);
        const V tied = select(equal(a, highest), max(rank, where), where);
        where = select(greater(a, highest), rank, tied);
        highest = max(a, highest);
      }
    }
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

 private:
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
    const P one = widened(rounded_top), ratio = tail.value() / one, shift(0x1.8p52);
    const P whole = select(greater(P(0x1p52), ratio), (ratio + shift) - shift, zero);
    const Wide<T, P> rest = tail + Wide<T, P>{one} * -whole;
    others = select(
        confident, zero,
        select(equal(rest.value(), zero), select(equal(rest.low(), zero), whole, zero), zero));
    const auto tied = greater(others, zero);
    if (any(tied)) sum = Wide<T, P>::choose(tied, top * (others + P(1.0)), sum);
  }
};

// Where a group's elements pass through: a buffer of W rows, and panels.
template <class T>
struct Panels {
  T *buffer, *first, *second;
  Panels(const Call& call, void* memory) {
    char* p = static_cast<char*>(memory) + row_scratch_bytes(call);
    const std::size_t bytes = panel_bytes(call);
    buffer = reinterpret_cast<T*>(p);
    first = reinterpret_cast<T*>(p + bytes);
    second = reinterpret_cast<T*>(p + 2 * bytes);
  }
};

// Fewer rows than this are faster one by one.
inline constexpr index_t least_rows = 4;

template <class T>
inline bool suits_groups(const Call& call) {
  if (call.space.rows < least_rows || call.classes > block_size) return false;
  return call.classes <= most_panel_classes || Carrier<T>(call, call.logits).column_wise();
}

// Runs group_op(group) over rows [begin, end) in groups; where it returns false, with nothing written,
// rows_op(first, last) does them one by one.
template <class T, class GroupOp, class RowsOp>
inline void each_group(const Call& call, index_t begin, index_t end, GroupOp group_op,
                       RowsOp rows_op) {
  constexpr int W = Vec<T>::lanes;
  RowCursor cursor(call.space, begin);
  while (cursor.row() < end) {
    index_t count = cursor.run();
    if (count > end - cursor.row()) count = end - cursor.row();
    if (count > W) count = W;
    const index_t first = cursor.row();
    const RowGroup<T> group{cursor, static_cast<int>(count), count == W};
    const bool done = (group.straight || call.classes <= most_panel_classes) && group_op(group);
    if (!done) rows_op(first, first + count);
    cursor.advance(count);
  }
}

inline constexpr unsigned first_rows(int count) { return count >= 32 ? ~0u : (1u << count) - 1; }

}  // namespace SOFTLANE_ISA
}  // namespace softlane
