// The summary of a row that is cut into parts (Step, call.hpp): each part summarises its own blocks, and the
// row's summary is merged from all of them, in the canonical order, by every part that wants it. That costs
// a few ns a block, and spares all others the wait for one that merges.
#pragma once

#include "kernels/summary.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// What RowSummary::merge needs of a block.
template <class T>
struct CutBlock {
  T peak;  // of Step::maximum; all else is of Step::summaries
  T max, exponent, rounded_top;
  int argmax;
  bool
      reached;  // by the kernel without a shift? Else nothing else is set, nor the part's blocks beyond.
  Wide<T> top, tail, tail_gap;

  static CutBlock* of(const Part& part) { return static_cast<CutBlock*>(part.row->blocks); }
};

// False where the row is one to be done whole.
template <class T>
inline bool merge_blocks(const CutBlock<T>* blocks, index_t count, const Affine<T>& map,
                         const Scratch<T>& scratch, RowSummary<T>& s) {
  for (index_t i = 0; i < count; ++i) {
    const CutBlock<T>& from = blocks[i];
    if (!from.reached) return false;
    BlockSummary<T> b;
    b.max = from.max;
    b.argument = map.wide_argument(from.max);
    b.base.exponent = from.exponent;
    b.top = from.top;
    b.tail = from.tail;
    b.tail_gap = from.tail_gap;
    b.rounded_top = from.rounded_top;
    b.argmax = from.argmax;
    s.merge(b, i * block_size);
    scratch.exponents[i] = from.exponent;
  }
  s.base = Base<T>::at(map, s.base.exponent);
  s.shift = map.shift;
  s.classify();
  return true;
}

template <class T, Gap gap>
__attribute__((noinline)) void summarize_part(const Call& call, Summarizer<gap, T>& summarize,
                                              const Row<T>& x, const Row<T>& terms,
                                              RowSummary<T>& s) {
  const Part& part = call.part;
  const Scratch<T>& scratch = summarize.scratch();
  const index_t count = (call.classes + block_size - 1) / block_size;
  CutBlock<T>* const blocks = CutBlock<T>::of(part);
  static_assert(sizeof *blocks <= cut_block_bytes);
  const double limit = static_cast<double>(ExpRange<T>::limit);
  s = RowSummary<T>{};
  s.kind = RowKind::unfinished;
  // body(place of the block, its elements, their number, its peaks)
  const auto each = [&](const auto& map, auto body) {
    for (index_t begin = part.begin; begin < part.end; begin += block_size) {
      const int n = block_length(call.classes, begin);
      const T* block = x.fetch(begin, n, scratch.logits);
      if (!body(begin, block, n, block_peaks(block, n, map))) return;
    }
  };
  const auto summaries = [&](const auto& map) {
    each(map, [&](index_t begin, const T* block, int n, const Peaks<T>& peaks) {
      CutBlock<T>& to = blocks[begin / block_size];
      to.reached = call.in_place || map.wide_argument(peaks.max) * map.beta() <= limit;
      if (!to.reached) return false;
      T* e = terms.open(begin, scratch.terms);
      const BlockSummary<T> b =
          summarize_block<gap>(block, n, peaks, map, e, summarize.soon_written(begin, e));
      if (terms.lossless()) terms.put(begin, n, e);
      to.max = b.max;
      to.exponent = b.base.exponent;
      to.rounded_top = b.rounded_top;
      to.argmax = b.argmax;
      to.top = b.top;
      to.tail = b.tail;
      to.tail_gap = b.tail_gap;
      return true;
    });
  };

  summarize.shift_for(T(0));
  if (part.step == Step::maximum) {
    each(summarize.map(), [&](index_t begin, const T*, int, const Peaks<T>& peaks) {
      blocks[begin / block_size].peak = peaks.max;
      return true;
    });
    return;
  }
  bool left = false;
  if (call.in_place) {
    T top = negative_infinity<T>();
    for (index_t i = 0; i < count; ++i) {
      if (!(blocks[i].peak <= top)) top = blocks[i].peak;
      if (top != top) break;
    }
    left = !(top < -negative_infinity<T>());
    if (!left) summarize.shift_for(top);
  }
  const Affine<T>& map = summarize.map();
  if (part.step == Step::summaries) {
    if (left) return;
    if (summarize.direct() && map.shift == 0) {
      summaries(Direct<T>{});
    } else {
      summaries(map);
    }
    return;
  }
  RowSummary<T> merged;
  left = left || !merge_blocks(blocks, count, map, scratch, merged);
  left = left || (!call.in_place && map.wide_argument(merged.max) * map.beta() < -limit &&
                  merged.max != negative_infinity<T>());
  if (part.begin == 0) part.row->left = left;
  if (!left) s = merged;
}

// The row's summary, or where a part is not to have it yet, RowKind::unfinished.
template <class T, Gap gap>
SOFTLANE_INLINE void summarize_row(const Call& call, Summarizer<gap, T>& summarize, const Row<T>& x,
                                   const Row<T>& terms, RowSummary<T>& s) {
  if (call.part.step == Step::whole) return summarize(x, terms, s);
  summarize_part(call, summarize, x, terms, s);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
