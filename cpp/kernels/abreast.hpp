// Rows abreast: several rows of one block each, which stay as they lie, vectors along their classes.
// What a row costs beyond its elements is shared, as across lanes (across.hpp): each row leaves its 16
// lanes' maxima, then their sums, and those of W rows are transposed and reduced together. A row of
// 512 classes by itself spends 75 of its 160 ns there.
#pragma once

#include "kernels/across_losses.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// A vector of the rows' numbers, row by row.
template <class T>
struct ByRow {
  alignas(64) T of[Vec<T>::lanes];
  explicit ByRow(Vec<T> v) { v.store(of); }
  Vec<T> operator[](int r) const { return Vec<T>(of[r]); }
};

template <class T>
struct Abreast {
  using V = Vec<T>;
  using P = Pack<T>;
  static constexpr int W = V::lanes;

  RowGroup<T> group;
  int n = 0;  // of classes
  const T* x[W];
  // The next group's rows, whose maxima are taken each behind a row of this group, when it has been asked for and
  // come. Of rows of 257 classes and more L1 does not hold a group: 0.93 to 1.0 times the time (AVX2 0.9 to 1.03).
  const T* next_x[W] = {};
  int next_count = 0;
  T* e[W];  // null: the exponentials are not wanted
  T* next_e[W] = {};
  T* written[W];  // by finish(), beside e
  Soon<T> soon[W];
  GroupSummary<T> summary;
  int argmax[W];  // of confident rows, where exponentials are wanted; else 0
  alignas(64) T label_logit[W];
  alignas(64) T label_of[W];
  Wide<T, P> gap, total;  // of dense targets, as Target has them
  const T* shares[W];

  unsigned rows() const { return group.rows(); }
  T logit(int r, index_t k) const { return x[r][k]; }
  // As GroupSlot's.
  Wide<T, P> sum_of_gaps(int) const {
    alignas(64) double hi[W] = {}, lo[W] = {};
    alignas(64) T max[W] = {};
    summary.highest.store(max);
    for (int r = 0; r < group.count; ++r) {
      LaneSum<T> sum;
      add_gaps<T>(sum, x[r], n, max[r]);
      const Wide<T> all = sum.total();
      hi[r] = all.value();
      lo[r] = all.low();
    }
    return Wide<T, P>::of(P::load(hi), P::load(lo));
  }
  void sum_shares(const Call& call, int) {
    alignas(64) double hi[W] = {}, lo[W] = {}, gap_hi[W] = {}, gap_lo[W] = {};
    alignas(64) T max[W] = {};
    summary.highest.store(max);
    locate_rows(group.first, group.count, call.probabilities, shares);
    for (int r = 0; r < group.count; ++r) {
      LaneSum<T> sum, gaps;
      add_shares<T>(sum, gaps, shares[r], x[r], n, max[r]);
      const Wide<T> all = sum.total(), of_gaps = gaps.total();
      hi[r] = all.value();
      lo[r] = all.low();
      gap_hi[r] = of_gaps.value();
      gap_lo[r] = of_gaps.low();
    }
    total = Wide<T, P>::of(P::load(hi), P::load(lo));
    gap = Wide<T, P>::of(P::load(gap_hi), P::load(gap_lo));
  }

  // False, with nothing written, where a row needs a shift or has no regular result.
  template <class Map>
  SOFTLANE_INLINE bool begin(const Map& map) {
    for (int r = 0; r < W && !ready_; ++r) {
      take_maxima(r, r < group.count ? x[r] : nullptr, map);
    }
    ready_ = false;
    alignas(64) T by_lane[halves * W * W];
    for (int h = 0; h < halves; ++h) read_panel(maxima_[h], W, W, by_lane + h * W * W);
    constexpr int lanes = halves * W / 2;
    const auto highest = [&](int first) __attribute__((always_inline)) {
      V most = V::load(by_lane + first * W);
      for (int l = first + 1; l < first + lanes; ++l) most = max(V::load(by_lane + l * W), most);
      return most;
    };
    GroupSummary<T>& s = summary;
    s.set_peaks(highest(0), highest(lanes), map);
    if (!s.start(rows(), map)) return false;
    s.base.floor.store(floor_);
    s.base.magic.store(magic_);
    return true;
  }

  template <class Map>
  SOFTLANE_INLINE void add(const Map& map) {
    alignas(64) T hi[W * 16], lo[W * 16], by_lane[2][W * 16], unkept[block_size];
    const unsigned spread = static_cast<unsigned>(summary.spread);
    for (int r = 0; r < W; ++r) {
      if (r >= group.count) {
        for (int l = 0; l < 16; ++l) hi[r * 16 + l] = lo[r * 16 + l] = 0;
        continue;
      }
      T* const terms = e[r] != nullptr ? e[r] : unkept;
      Partial<T> lanes[16 / W];
      if (n <= quad_size || (spread >> r & 1) != 0) {
        LaneSums<T> sums;
        exponentials(x[r], n, map, base_of(r), terms, soon[r], sums,
                     [](int, V, V) __attribute__((always_inline)) {});
        sums.finish(terms, n, lanes);
      } else {
        exponentials(x[r], n, map, base_of(r), terms, soon[r]);
        sum_trees(terms, n, usual_cut<T>, lanes);
      }
      take_maxima(r, r < next_count ? next_x[r] : nullptr, map);
      for (int j = 0; j < 16 / W; ++j) {
        lanes[j].hi.store(hi + r * 16 + j * W);
        lanes[j].lo.store(lo + r * 16 + j * W);
      }
    }
    ready_ = true;
    summary.set_top(map);
    read_panel(hi, 16, 16, by_lane[0]);
    read_panel(lo, 16, 16, by_lane[1]);
    const Wide<T, P> whole = tree_total<T>(16, [&](int l) __attribute__((always_inline)) {
      return Partial<T>{V::load(by_lane[0] + l * W), V::load(by_lane[1] + l * W)};
    });
    const P own = widened(summary.rounded_top);
    summary.tail = whole.less(own);
    const unsigned faint = static_cast<unsigned>(is_faint<T>(summary.tail, own)) & rows();
    if (faint != 0) sum_without_tops(faint, map, unkept);
    summary.classify(rows());
    find_tops();
  }

 private:
  void find_tops() {
    for (int& k : argmax) k = 0;
    unsigned of = static_cast<unsigned>(summary.confident) & rows() & ~summary.bad;
    if (of == 0 || e[0] == nullptr) return;
    const ByRow<T> own(summary.rounded_top);
    for (; of != 0; of &= of - 1) {
      const int r = first_set(of);
      argmax[r] = place_of(e[r], n, own.of[r]);
    }
  }

  Base<T> base_of(int r) const {
    Base<T> base;
    base.floor = floor_[r];
    base.magic = magic_[r];
    return base;
  }

  template <class Map>
  __attribute__((noinline)) void sum_without_tops(unsigned of, const Map& map, T* unkept) {
    alignas(64) double hi[W], lo[W];
    summary.tail.value().store(hi);
    summary.tail.low().store(lo);
    const ByRow<T> own(summary.rounded_top);
    for (; of != 0; of &= of - 1) {
      const int r = first_set(of);
      T* const terms = e[r] != nullptr ? e[r] : unkept;
      if (e[r] == nullptr) {
        exponentials(x[r], n, map, base_of(r), terms, {x[r], terms});
      }
      const Wide<T> tail = sum_without(terms, n, place_of(terms, n, own.of[r]));
      hi[r] = tail.value();
      lo[r] = tail.low();
    }
    summary.tail = Wide<T, P>::of(P::load(hi), P::load(lo));
  }

  // Of a group's r-th row; null if it has none.
  template <class Map>
  SOFTLANE_INLINE void take_maxima(int r, const T* row, const Map& map) {
    V low(T(0)), high(T(0));
    if (row != nullptr) lane_maxima(row, n, map, low, high);
    low.store(maxima_[0] + r * W);
    if (halves == 2) high.store(maxima_[halves - 1] + r * W);
  }

  // Of the group that begin() comes to, row by row: vectors of 16 lanes, or of both halves (lane_maxima).
  static constexpr int halves = W < 16 ? 2 : 1;
  alignas(64) T maxima_[halves][W * W];
  bool ready_ = false;  // are they known?
  alignas(64) T floor_[W], magic_[W];
};

template <class T>
struct FactorByRow {
  ByRow<T> hi, lo;
  explicit FactorByRow(const Factor<T>& f) : hi(f.hi), lo(f.lo) {}
  Factor<T> operator[](int r) const {
    Factor<T> f;
    f.hi = hi[r];
    f.lo = lo[r];
    return f;
  }
};
template <class T>
struct NormalizerByRow : FactorByRow<T> {
  ByRow<T> step1, step2;
  explicit NormalizerByRow(const Normalizer<T, Pack<T>>& n)
      : FactorByRow<T>(n.factor()), step1(n.first_step()), step2(n.second_step()) {}
};
template <class T>
struct VarianceByRow {
  FactorByRow<T> probability, curvature;
  ByRow<T> less;
  bool boosts;
  explicit VarianceByRow(const Variance<T, Pack<T>>& v)
      : probability(v.probability), curvature(v.curvature), less(v.less), boosts(v.boosts) {}
  Variance<T> operator[](int r) const {
    Variance<T> v;
    v.probability = probability[r];
    v.curvature = curvature[r];
    v.less = less[r];
    v.boosts = boosts;
    return v;
  }
};

// Rows of so many classes are worth it. By turns, Zen 4, 80 to 100 classes beside panels (across.hpp) took 0.76
// to 1.03 times as long, float32 logsumexp 1.0 to 1.09; 64 in float64 0.87 to 1.02, in float32 0.80 to 1.13.
template <class T>
inline constexpr index_t least_abreast = sizeof(T) == 4 ? 80 : 64;

template <class T>
inline bool lies_abreast(const Call& call, const Stream& s) {
  constexpr auto size = static_cast<index_t>(sizeof(T));
  if (s.class_stride != size || s.format.element != element_of<T>() ||
      s.format.order != ByteOrder::native ||
      reinterpret_cast<std::uintptr_t>(s.data) % sizeof(T) != 0)
    return false;
  for (int d = 0; d < call.space.ndim; ++d) {
    if (s.row_stride[d] % size != 0) return false;
  }
  return true;
}

template <class T>
inline bool suits_abreast(const Call& call, const Stream* out, const Stream* other = nullptr) {
  return call.space.rows >= least_rows && call.classes >= least_abreast<T> &&
         call.classes <= block_size && !call.negate && call.temperature == 1 &&
         call.mask.data == nullptr && lies_abreast<T>(call, call.logits) &&
         (out == nullptr || lies_abreast<T>(call, *out)) &&
         (other == nullptr || lies_abreast<T>(call, *other));
}

// As each_group; finish() writes whole rows of `written`, if any.
template <class T, class Start, class Finish>
inline void each_abreast(const Call& call, index_t begin, index_t end, void* memory,
                         const Stream* terms, const Stream* written, Start start, Finish finish,
                         Kernel rows_kernel) {
  Abreast<T> rows;
  rows.n = static_cast<int>(call.classes);
  const Direct<T> map;
  constexpr int W = Vec<T>::lanes;
  // Beyond the last row are another thread's: to ask for them is to take its lines from it.
  RowCursor next(call.space, begin);
  const auto count_next = [&] {
    const index_t left = end - next.row();
    rows.next_count = left < W ? static_cast<int>(left) : W;
  };
  const auto locate_next = [&] {
    if (terms != nullptr) locate_rows(next, rows.next_count, *terms, rows.next_e);
    return locate_rows(next, rows.next_count, call.logits, rows.next_x);
  };
  count_next();
  RowCursor behind = locate_next();
  while (rows.next_count > 0) {
    RowGroup<T>& group = rows.group;
    group.first = next;
    group.count = rows.next_count;
    group.straight = group.count == W && next.run() >= W;
    for (int r = 0; r < W; ++r) {
      rows.x[r] = rows.next_x[r];
      rows.e[r] = rows.next_e[r];
    }
    next = behind;
    count_next();
    behind = locate_next();
    if (written != nullptr) locate_rows(group.first, group.count, *written, rows.written);
    for (int r = 0; r < group.count; ++r) {
      const bool more = r < rows.next_count;
      rows.soon[r] = {more ? rows.next_x[r] : rows.x[r], written != nullptr ? rows.written[r]
                                                         : terms == nullptr ? rows.x[r]
                                                         : more             ? rows.next_e[r]
                                                                            : rows.e[r]};
    }
    if (rows.begin(map)) {
      start(rows);
      rows.add(map);
      finish(rows);
    } else {
      const index_t first = group.first.row();
      rows_kernel(call, first, first + group.count, memory);
    }
  }
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
