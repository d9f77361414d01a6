// Rows across lanes: W rows at once, for rows of few classes, and for rows that lie side by side in
// memory. What a row costs beyond its elements (base, quotients, logarithm) is shared by W of them: a
// tenth of what a row by itself takes, and all there is at ten classes.
#pragma once

#include <new>
#include <type_traits>

#include "kernels/group.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// A group on its way through the stages.
template <class T>
struct GroupSlot {
  RowGroup<T> group;
  Columns<T> x, e, other;  // other: the operand that is read, in a panel or where it lies
  GroupSummary<T> summary;
  T *first, *second;  // panels
  const T* packed;    // rows that are to go to the first panel; else null
  T* home;            // of the results, of a packed group that was opened with its batch; else null
  // Of the losses, a row each: what the exponentials may overwrite, and its class.
  alignas(64) T label_logit[Vec<T>::lanes];
  alignas(64) T label_of[Vec<T>::lanes];
  Wide<T, Pack<T>> gap, total;  // of dense targets, as Target has them
  unsigned empty = 0;           // rows of which a mask leaves nothing

  unsigned rows() const { return group.rows(); }
  T logit(int r, index_t k) const { return x.at(k)[r]; }
  // As add_gaps of n classes.
  Wide<T, Pack<T>> sum_of_gaps(int n) const {
    return of_lanes(n, [&, top = widened(summary.highest)](int k, Pack<T>& lost) __attribute__((
                           always_inline)) { return gap_of<T>(top, widened(x.load(k)), lost); });
  }
  // As add_shares of n classes; the shares are the other operand.
  void sum_shares(const Call&, int n) {
    total = of_lanes(
        n, [&](int k, Pack<T>&) __attribute__((always_inline)) { return widened(other.load(k)); });
    gap = of_lanes(n, [&, top = widened(summary.highest)](
                          int k, Pack<T>& lost) __attribute__((always_inline)) {
      return share_of_gap<T>(widened(other.load(k)), top, widened(x.load(k)), lost);
    });
  }

  // The sum of term(k, what its rounding lost) as LaneSum has it, by a tree in registers: through arrays of lanes the
  // smoothed loss of 4096x10 took 62 us, not 40.
  template <class Term>
  static SOFTLANE_INLINE Wide<T, Pack<T>> of_lanes(int n, Term term) {
    using P = Pack<T>;
    using W = Wide<T, P>;
    const P zero(0.0);
    const auto lane = [&](int l, P& sum, P& low) __attribute__((always_inline)) {
      P first = zero;
      sum = zero + term(l, first);
      low = zero + first;
      for (int k = l + 16; k < n; k += 16) {
        P lost = zero;
        add_to_lane<T>(sum, low, term(k, lost));
        if (sizeof(T) == sizeof(double)) low = low + lost;
      }
    };
    const auto sum_of = [](const auto& a, const auto& b)
                            __attribute__((always_inline)) { return carried(a, b); };
    const auto both = [&](int l) __attribute__((always_inline)) {
      P sum, low;
      lane(l, sum, low);
      return W::of(sum, low);
    };
    const W total = tree_of(n, both, sum_of);
    return finite_or_plain<T>(total.settled(), [&] {
      const auto plain = [&](int l) {
        P sum, low;
        lane(l, sum, low);
        return Wide<float, P>{sum};
      };
      return tree_of(n, plain, sum_of).value();
    });
  }
};

template <class T>
inline bool suits_groups(const Call& call) {
  if (call.space.rows < least_rows || call.classes > block_size) return false;
  if (call.classes <= most_panel_classes) return true;
  // A mask is applied on the way to a panel or, of more classes, to the result's columns.
  if (call.mask.data != nullptr) {
    const bool maps =
        call.operation == Operation::softmax || call.operation == Operation::log_softmax;
    if (Vec<T>::lanes == 1 || !maps || !Carrier<T>(call, call.out[0]).column_wise()) return false;
  }
  return Carrier<T>(call, call.logits).column_wise();
}

// Panels of a thread: the first is a buffer of rows between memory and a panel, then come two for each
// group of a batch that needs them.
template <class T>
inline T* panel_of(const Call& call, void* memory, int i) {
  char* const panels = static_cast<char*>(memory) + row_scratch_bytes(call);
  return reinterpret_cast<T*>(panels + static_cast<std::size_t>(i) * panel_bytes(call));
}
template <class T>
inline T* group_buffer(const Call& call, void* memory) {
  return panel_of<T>(call, memory, 0);
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

// The logits of a group whose rows lie side by side, by columns to `to`, and `absent` where the mask leaves them out.
template <class T>
inline void read_masked_columns(const Call& call, const Carrier<T>& logits,
                                const RowGroup<T>& group, const Columns<T>& to) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int last = call.space.ndim - 1;
  const T absent = logits_of<T>(call, group.first).absent;
  const V none(absent);
  const char* const marks = group.first.locate(call.mask);
  const index_t step = call.mask.row_stride[last], next = call.mask.class_stride;
  const int n = static_cast<int>(call.classes);
  const Columns<T> x = logits.home(group);
  const auto all = [=, &logits, &group](auto marks_of) __attribute__((always_inline)) {
    if (logits.direct(group)) {
      for (int k = 0; k < n; ++k) {
        __builtin_prefetch(x.at(k) + W);  // the next group's
        to.store(k, select(V::nonzero(marks_of(marks + k * next)), x.load(k), none));
      }
    } else {
      for (int k = 0; k < n; ++k) {
        T* const column = to.at(k);
        logits.copy_class(group, k, column);
        keep_marked(column, marks_of(marks + k * next), W, absent, column);
      }
    }
  };
  char own[W];
  if (step == 1) {
    all([](const char* m) { return m; });
  } else {
    all([&](const char* m) __attribute__((always_inline)) {
      for (int r = 0; r < W; ++r) own[r] = m[r * step];
      return own;
    });
  }
}

// A group's logits in columns, and the infinity whose exponential is 0 where the mask leaves them out. `buffer` holds
// W rows.
template <class T>
__attribute__((noinline)) void read_masked(const Call& call, const Carrier<T>& logits,
                                           const RowGroup<T>& group, const Columns<T>& to,
                                           T* buffer) {
  constexpr int W = Vec<T>::lanes;
  const int n = static_cast<int>(call.classes);
  if (W > 1 && logits.column_wise() && group.straight) {
    return read_masked_columns(call, logits, group, to);
  }
  if (logits.packed(group) != nullptr && call.mask.class_stride == 1 &&
      call.mask.row_stride[call.space.ndim - 1] == n) {  // as one row
    logits_of<T>(call, group.first).copy_to(0, W * n, buffer);
  } else {
    RowCursor cursor(group.first);
    for (int r = 0; r < W; ++r) {
      T* const row = buffer + r * n;
      if (r < group.count) {
        logits_of<T>(call, cursor).copy_to(0, n, row);
        cursor.advance();
      } else {
        for (int k = 0; k < n; ++k) row[k] = T(0);
      }
    }
  }
  read_panel(buffer, n, n, to.at(0));
}

// Rows that have no regular result get one value throughout, and so do logits of which a mask leaves nothing.
template <class T>
inline void blank_rows(const Columns<T>& y, index_t classes, unsigned rows, T value) {
  for (; rows != 0; rows &= rows - 1) {
    const int r = first_set(rows);
    for (index_t k = 0; k < classes; ++k) y.at(k)[r] = value;
  }
}

// The rows of a group of which the mask leaves nothing.
template <class T>
__attribute__((noinline)) unsigned empty_rows(const Call& call, const RowGroup<T>& group,
                                              Vec<T> highest) {
  const Vec<T> lowest(negative_infinity<T>());
  unsigned empty = 0;
  RowCursor at(group.first);
  const unsigned none = static_cast<unsigned>(equal(highest, lowest)) & group.rows();
  for (int r = 0; none >> r != 0; ++r, at.advance()) {
    if ((none >> r & 1) != 0 && !logits_of<T>(call, at).any_kept(call.classes)) empty |= 1u << r;
  }
  return empty;
}

// Rows with a NaN are NaN in all classes but those that a mask leaves out, as spoil() has it.
template <class T>
__attribute__((noinline)) void spare_excluded(const Call& call, RowCursor at, unsigned bad) {
  if (call.operation != Operation::softmax && call.operation != Operation::log_softmax) return;
  const T excluded = call.operation == Operation::softmax ? T(0) : negative_infinity<T>();
  for (; bad != 0; bad >>= 1, at.advance()) {
    if ((bad & 1) == 0) continue;
    const Row<T> x = logits_of<T>(call, at), y = at.of<T>(call.out[0]);
    for (index_t k = 0; k < call.classes; ++k) {
      if (!x.kept(k)) y.set(k, excluded);
    }
  }
}

// The stages of a batch's summaries, for a number of classes and a map of the logits.
template <class T>
struct Stages {
  // The maxima. A bit for each group that fits, as GroupSummary::start.
  unsigned (*begin)(GroupSlot<T>*, int used, int n, const Affine<T>&);
  void (*add)(GroupSlot<T>*, int used, int n, const Affine<T>&);
  // Of packed rows. Where the number of classes is known to the compiler the next batch's are asked for.
  void (*read)(const T* rows, int used, int n, T* panel);
  void (*write)(const T* panel, int n, T* rows);

  void sums(GroupSlot<T>* slots, int used, int n, const Affine<T>& affine, bool ties) const {
    add(slots, used, n, affine);
    for (GroupSlot<T>* s = slots; s < slots + used; ++s) s->summary.classify(s->rows(), ties);
  }
};

template <class Map, class T>
inline Map map_of(const Affine<T>& affine) {
  if constexpr (std::is_same_v<Map, Affine<T>>) {
    return affine;
  } else {
    return Map{};
  }
}

// body(first, how many) of so many groups: four, two or one of them, or each by itself.
template <class Body>
SOFTLANE_INLINE void some_at_a_time(int used, bool together, Body body) {
  int i = 0;
  for (; together && i + 4 <= used; i += 4) body(i, Count<4>{});
  for (; together && i + 2 <= used; i += 2) body(i, Count<2>{});
  for (; i < used; ++i) body(i, Count<1>{});
}

// N classes; 0 is any number, here and below.
template <int N, class T>
void read_packed(const T* rows, int used, int n, T* panel) {
  if constexpr (N == 0) {
    read_panel(rows, n, n, panel);
  } else {
    constexpr int size = N * Vec<T>::lanes, line = 64 / static_cast<int>(sizeof(T));
    for (int k = 0; k < size; k += line) __builtin_prefetch(rows + used * size + k);
    read_panel(rows, N, N, panel);
  }
}

template <int N, class T, class Map>
inline Stages<T> make_stages() {
  return {[](GroupSlot<T>* slots, int used, int n, const Affine<T>& affine) {
            const Map map = map_of<Map>(affine);
            // All panels before the maxima: what has just been stored by parts is no vector to load yet.
            for (GroupSlot<T>* s = slots; s < slots + used; ++s) {
              if (s->packed != nullptr) read_packed<N>(s->packed, used, n, s->first);
            }
            bool fit[most_batch];
            if constexpr (N == 0) {
              some_at_a_time(used, n > quad_size,
                             [&](int i, auto count) __attribute__((always_inline)) {
                               GroupSummary<T>::template begin<count>(slots + i, n, map, fit + i);
                             });
            } else {
              for (int i = 0; i < used; ++i) {
                fit[i] = slots[i].summary.template begin_few<N>(slots[i].x, slots[i].rows(), map);
              }
            }
            unsigned fits = 0;
            for (int i = 0; i < used; ++i) fits |= static_cast<unsigned>(fit[i]) << i;
            return fits;
          },
          [](GroupSlot<T>* slots, int used, int n, const Affine<T>& affine) {
            const Map map = map_of<Map>(affine);
            for (GroupSlot<T>* s = slots; s < slots + used; ++s) {
              if constexpr (N == 0) {
                s->summary.add(s->x, s->e, n, map);
              } else {
                // Exponentials that nobody wants are stored all the same: cheaper than to ask.
                alignas(64) T unwanted[N * Vec<T>::lanes];
                s->summary.template add_few<N>(s->x, s->e ? s->e : in_panel(unwanted), map);
              }
            }
          },
          read_packed<N, T>,
          [](const T* panel, int n, T* rows) {
            if constexpr (N == 0) {
              write_panel(panel, n, rows, n);
            } else {
              write_panel(panel, N, rows, N);
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

// Where a group's exponentials go: a panel may take the logits' place, or lie apart from them where
// there are panels.
enum class Keep : std::uint8_t { nothing, panel, apart, output };

// What each_group's other operand, if any, is: read, to the slots' `other`, before start() or for finish() alone, or
// written by finish().
enum class Also : std::uint8_t { read_first, read, written };

// From one group of W rows to the next, of those that are left: W, or less where the next one then has
// W rows of its own, and none over, or begins a line of memory. Rows that two groups share are done
// twice, to the same bits.
inline index_t step_to_next(index_t left, index_t W, index_t to_line) {
  if (left > W && left < 2 * W) return left - W;
  return to_line != 0 && left >= 16 * W ? to_line : W;
}

// Results, where they are not home already, as write_classes() has put those that are crowded there.
template <class T>
inline void write_group(const RowGroup<T>& group, const Columns<T>& results, const Carrier<T>& out,
                        const Stages<T>& stages, int n, T* buffer) {
  if (out.direct(group) || out.crowded(group)) return;
  T* const rows = out.packed(group);
  if (rows == nullptr) return out.write(group, results, buffer);
  stages.write(results.at(0), n, rows);
}

// The groups whose classes are crowded in memory, from there to their panels, a class at a time: its lines follow each
// other through the sets of a cache, where a group's would all go through one. (Results go there by write_classes().)
template <class T>
__attribute__((noinline)) void read_crowded(const GroupSlot<T>* slots, int used,
                                            const Carrier<T>& logits, int n) {
  Columns<T> home[most_batch], panels[most_batch];
  int count = 0;
  for (const GroupSlot<T>* s = slots; s < slots + used; ++s) {
    if (!logits.crowded(s->group)) continue;
    home[count] = logits.home(s->group);
    panels[count++] = in_panel(s->first);
  }
  for (int k = 0; k < n; ++k) {
    for (int i = 0; i < count; ++i) {
      __builtin_prefetch(home[i].at(k) + count * Vec<T>::lanes);  // the next batch's
      panels[i].store(k, home[i].load(k));
    }
  }
}

// log1p(T / e*) of each row, and each step for all groups of a batch: one group's whole chain fills the scheduler.
// With those of across_cross_entropy: losses of 4096x10 0.95, float64 0.89 times the time.
template <class T>
inline void log_ratios(const GroupSlot<T>* slots, int used, Wide<T, Pack<T>>* to) {
  for (int i = 0; i < used; ++i) to[i] = quotient(slots[i].summary.tail, slots[i].summary.top);
  for (int i = 0; i < used; ++i) to[i] = log1p<T>(to[i].value(), to[i].low());
}

// Two groups change places, each with its panels.
template <class T>
__attribute__((noinline)) void exchange(GroupSlot<T>& a, GroupSlot<T>& b) {
  const GroupSlot<T> kept = a;
  a = b;
  b = kept;
}

// Where results go that take the place of a slot's exponentials.
template <class T, class Together>
SOFTLANE_INLINE Columns<T> results_of(const GroupSlot<T>& slot, const Carrier<T>& out, Together) {
  if constexpr (Together::value) {
    return out.results(slot.group, slot.first);
  } else {
    return slot.e;
  }
}

// Results of several groups, class by class, which fills memory as it lies: write = make(slot, its number, together),
// then write(k).
template <class T, class Make>
__attribute__((noinline)) void write_together(const GroupSlot<T>* slots, int used, int n,
                                              const Make& make) {
  using Write = decltype(make(slots[0], 0, std::true_type{}));
  static_assert(std::is_trivially_destructible_v<Write>);
  alignas(Write) unsigned char memory[most_batch][sizeof(Write)];
  const Write* writers[most_batch];
  for (int i = 0; i < used; ++i)
    writers[i] = new (memory[i]) Write(make(slots[i], i, std::true_type{}));
  const auto run = [n](auto... write) __attribute__((always_inline)) {
    int k = 0;
    for (; k + 2 <= n; k += 2) {
      (write(k), ...);
      (write(k + 1), ...);
    }
    if (k < n) (write(k), ...);
  };
  some_at_a_time(used, true, [&](int i, auto count) __attribute__((always_inline)) {
    const Write* const* w = writers + i;
    if constexpr (count == 4) {
      run(*w[0], *w[1], *w[2], *w[3]);
    } else if constexpr (count == 2) {
      run(*w[0], *w[1]);
    } else {
      run(*w[0]);
    }
  });
}
// The same, or each group by itself: in panels, and of few classes that are not crowded, that is up to 1.1 times as
// fast, for writers pass through memory.
template <class T, class Make>
SOFTLANE_INLINE void write_classes(const GroupSlot<T>* slots, int used, int n, bool together,
                                   const Make& make) {
  if (together) return write_together(slots, used, n, make);
  for (int i = 0; i < used; ++i) {
    const auto write = make(slots[i], i, std::false_type{});
    // Four a turn: 1771x37 0.94, float64 0.88 times the time (AVX2); of few classes 100 000x3 1.03.
    int k = 0;
    for (; n >= 8 && k + 4 <= n; k += 4) {
      write(k);
      write(k + 1);
      write(k + 2);
      write(k + 3);
    }
    for (; k < n; ++k) write(k);
  }
}

// start(slot), then finish(slot) or finish(slots, count), for groups of rows [begin, end) whose
// maxima, then summaries, are made. `terms` is the output that their exponentials go to, and `also`
// another operand, if any: read for start() or for finish(), or written, which opens it with the second panel. Rows that are
// no work for groups go to rows_kernel.
//
// Several groups at a time take each stage together: one's chain (maximum, base, exponentials, sum,
// quotient) is 400 cycles long and hides behind the others'.
template <class T, class Start, class Finish>
inline void each_group(const Call& call, index_t begin, index_t end, void* memory, Keep keep,
                       const Stream* terms, const Carrier<T>& also, Also use, Start start,
                       Finish finish, Kernel rows_kernel) {
  constexpr int W = Vec<T>::lanes;
  const bool written = use == Also::written;
  const bool paneled = call.classes <= most_panel_classes;
  const int panels = group_batch(call);
  T* const buffer = group_buffer<T>(call, memory);
  GroupSlot<T> slots[most_batch];
  for (int i = 0; i < most_batch; ++i) {
    const int own = i < panels ? i : panels - 1;
    slots[i].first = panel_of<T>(call, memory, 2 * own + 1);
    slots[i].second = panel_of<T>(call, memory, 2 * own + 2);
  }

  Carrier<T> logits(call, call.logits);
  const bool masked = call.mask.data != nullptr;
  if (masked) logits.stay();
  // Without results of their size, logits are read where they lie: 0.75 times the time for 100 classes.
  if (terms == nullptr && !written) logits.stay();
  const Carrier<T> out = terms != nullptr ? Carrier<T>(call, *terms) : Carrier<T>();
  const int n = static_cast<int>(call.classes);
  const Affine<T> affine(call.negate, call.temperature);
  const Stages<T> stages = stages_of<T>(call);
  const bool ties = takes_quotients(call.operation);

  const Carrier<T>& to = out ? out : also ? also : logits;
  // If they are straight, are groups worked on where they lie? Masked logits that no panel holds go where the results
  // will be.
  const bool all_direct =
      !masked && logits.direct() && (!out || out.direct()) && (!also || also.direct());
  const bool all_home = masked && !paneled && logits.column_wise() && &to != &logits && to.direct();
  const bool overlap = (all_direct || all_home) && !call.in_place;
  // Groups that need no panel are batches for the sake of memory, which maxima and results then run through.
  const bool panelless = all_direct && (!paneled || keep == Keep::nothing || keep == Keep::output);
  const int batch = panelless && panels == 1 ? most_batch : panels;

  // Whole groups that all go to panels and from there are opened without a look at each: 100 000x3 takes 0.91 times the
  // time (AVX2).
  const bool packs = !masked && logits.packs() && paneled && (!out || out.packs());
  // Nor is there a look at where their results go: 0.96 of 100 000x3.
  const Carrier<T> homeward = out ? out : written ? also : Carrier<T>();
  const auto terms_of = [&](const GroupSlot<T>& s) __attribute__((always_inline)) {
    return out                              ? out.open(s.group, s.first)
           : keep == Keep::panel            ? in_panel(s.first)
           : keep == Keep::apart && paneled ? in_panel(s.second)
                                            : Columns<T>{};
  };

  RowCursor cursor(call.space, begin);
  const auto rows_left = [&] {
    const index_t run = cursor.run(), all = end - cursor.row();
    return run < all ? run : all;
  };
  while (cursor.row() < end) {
    int used = 0;
    // Two groups that share rows do not share a batch: the first one's results would take the place of
    // the other's exponentials.
    bool overlaps = false;
    if (packs && rows_left() >= W) {
      const T* const rows = logits.row(cursor);
      T* const results = homeward.packs() ? homeward.row(cursor) : nullptr;
      for (index_t i = 0, whole = rows_left() / W; i < whole && i < batch; ++i) {
        GroupSlot<T>& s = slots[used++];
        s.group.first = cursor;
        s.group.first.pass(i * W);
        s.group.count = W;
        s.group.straight = true;
        s.packed = rows + i * W * n;
        s.home = results != nullptr ? results + i * W * n : nullptr;
        s.x = in_panel(s.first);
        s.e = terms_of(s);
      }
      cursor.advance(used * W);
    }
    while (used < batch && cursor.row() < end && !overlaps) {
      const index_t left = rows_left(), count = left < W ? left : W, first = cursor.row();
      if (used >= panels && count < W) break;
      GroupSlot<T>& s = slots[used];
      s.group.first = cursor;
      s.group.count = static_cast<int>(count);
      s.group.straight = count == W;
      s.home = nullptr;
      const bool direct = all_direct && s.group.straight, home = all_home && s.group.straight;
      const index_t step =
          overlap && s.group.straight ? step_to_next(left, W, to.rows_to_line(s.group)) : count;
      cursor.advance(step);
      overlaps = step < count;
      if (paneled || direct || home) {
        s.packed = direct || masked ? nullptr : logits.packed(s.group);
        if (masked) {
          s.x = home ? to.home(s.group) : in_panel(s.first);
          read_masked(call, logits, s.group, s.x, buffer);
        } else {
          s.x = s.packed != nullptr || logits.crowded(s.group)
                    ? in_panel(s.first)
                    : logits.read(s.group, s.first, buffer);
        }
        s.e = terms_of(s);
        ++used;
      } else {
        rows_kernel(call, first, first + count, memory);
      }
    }
    if (logits.crowded()) read_crowded(slots, used, logits, n);
    unsigned fits = stages.begin(slots, used, n, affine);
    for (int i = 0; i < used && masked; ++i) {
      GroupSlot<T>& s = slots[i];
      s.empty = (fits >> i & 1) != 0 ? 0 : empty_rows(call, s.group, s.summary.highest);
      if (s.empty == 0) continue;
      blank_rows(s.x, n, s.empty, T(0));
      fits |= stages.begin(&s, 1, n, affine) << i;
    }
    if (fits != (1u << used) - 1) {
      int kept = 0;
      for (int i = 0; i < used; ++i) {
        if ((fits >> i & 1) != 0) {
          if (kept != i) exchange(slots[kept], slots[i]);
          ++kept;
        } else {
          const RowGroup<T>& group = slots[i].group;
          const index_t first = group.first.row();
          rows_kernel(call, first, first + group.count, memory);
        }
      }
      used = kept;
    }
    const auto read_other = [&] {
      for (int i = 0; i < used && also; ++i) {
        GroupSlot<T>& s = slots[i];
        const T* const rows = also.packed(s.group);
        if (rows != nullptr && !also.direct(s.group)) {
          stages.read(rows, used, n, s.second);
          s.other = in_panel(s.second);
        } else {
          s.other = also.read(s.group, s.second, buffer);
        }
      }
    };
    if (use == Also::read_first) read_other();
    for (int i = 0; i < used; ++i) start(slots[i]);
    stages.sums(slots, used, n, affine, ties);
    if (use == Also::read) read_other();
    if constexpr (std::is_invocable_v<Finish, GroupSlot<T>*, int>) {
      finish(slots, used);
    } else {
      for (int i = 0; i < used; ++i) finish(slots[i]);
    }
    for (int i = 0; i < used && out; ++i) {
      const GroupSlot<T>& s = slots[i];
      if (s.home != nullptr) {
        stages.write(s.e.at(0), n, s.home);
      } else {
        write_group(s.group, s.e, out, stages, n, buffer);
      }
    }
    for (int i = 0; i < used && written; ++i) {
      const GroupSlot<T>& s = slots[i];
      if (s.home != nullptr && !out) {
        stages.write(s.second, n, s.home);
      } else {
        write_group(s.group, also.open(s.group, s.second), also, stages, n, buffer);
      }
    }
    // Neither of these is a matter of logits, which may have been overwritten.
    for (int i = 0; i < used && masked; ++i) {
      spare_excluded<T>(call, slots[i].group.first, slots[i].summary.bad);
      for (unsigned rows = slots[i].empty; rows != 0; rows &= rows - 1) {
        const index_t row = slots[i].group.first.row() + first_set(rows);
        rows_kernel(call, row, row + 1, memory);
      }
    }
  }
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
