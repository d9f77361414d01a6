#include "parallel/cut.hpp"

#include <new>

namespace softlane {

bool CutRows::pays(const Call& call, int team) {
  // Among more rows than this, one more or less is no matter; and blocks, of which the last is smaller, are
  // too coarse for shorter rows.
  constexpr index_t most_rows_each = 8, least_blocks = 16;
  const index_t rows = call.space.rows;
  return divisible(call) && rows % team != 0 && rows < most_rows_each * team &&
         call.classes >= least_blocks * block_size;
}

int CutLines::team(const Call& call, int team) {
  // 1 x 257 takes one thread 4.5 us, two 9.7; 1 x 1000 57 and 35.
  constexpr double entries_each = 250000;
  const index_t rows = call.space.rows;
  const auto n = static_cast<double>(call.classes);
  if (call.operation != Operation::cross_entropy_hessian) return 0;
  const double useful = static_cast<double>(rows) * n * n / entries_each;
  if (useful < team) team = static_cast<int>(useful);
  if (team < 2) return 0;
  const index_t idle =
      (team - rows % team) % team;  // threads, while the others make their last matrix whole
  return 8 * idle > rows ? team : 0;
}

void CutLines::take(int share, void* scratch) const {
  const index_t n = call_.classes, end = lines_.begin(share + 1);
  Call part = call_;
  for (index_t at = lines_.begin(share); at < end;) {
    const index_t row = at / n, first = row * n, whole = end / n;
    if (at == first && row < whole) {
      kernel_(call_, row, whole, scratch);
      at = whole * n;
      continue;
    }
    const index_t last = first + n < end ? first + n : end;
    part.part.first_line = at - first;
    part.part.end_line = last - first;
    kernel_(part, row, row + 1, scratch);
    at = last;
  }
}

// A CutRow and its blocks, apart from the next.
static std::size_t row_bytes(const Call& call) {
  return (sizeof(CutRow) + cut_row_bytes(call) + 63) / 64 * 64;
}

// A thread begins at most one row that it does not end.
static index_t most_cut(const Call& call, int team) {
  return call.space.rows < team ? call.space.rows : team;
}

std::size_t CutRows::bytes(const Call& call, int team) {
  return static_cast<std::size_t>(most_cut(call, team)) * row_bytes(call);
}

CutRow& CutRows::shared(index_t row) const {
  const index_t i = call_.space.rows < shares_.team ? row : shares_.owner(row * blocks_);
  return *reinterpret_cast<CutRow*>(memory_ + static_cast<std::size_t>(i) * row_bytes(call_));
}

CutRows::CutRows(const Call& call, Kernel kernel, int team, char* memory)
    : call_(call),
      kernel_(kernel),
      first_(call.in_place ? Step::maximum : Step::summaries),
      blocks_((call.classes + block_size - 1) / block_size),
      shares_{call.space.rows * blocks_, team},
      memory_(memory) {
  for (index_t i = 0; i < most_cut(call, team); ++i, memory += row_bytes(call)) {
    CutRow* const row = new (memory) CutRow;
    row->blocks = row + 1;
  }
}

void CutRows::take(int step, int t, void* scratch) const {
  const index_t end = shares_.begin(t + 1);
  for (index_t at = shares_.begin(t); at < end;) {
    const index_t row = at / blocks_, first = row * blocks_, next = first + blocks_;
    const index_t last = next < end ? next : end;
    if (at > first || last < next) {
      Call part = call_;
      part.part.step = static_cast<Step>(static_cast<int>(first_) + step);
      part.part.begin = (at - first) * block_size;
      part.part.end = last == next ? call_.classes : (last - first) * block_size;
      part.part.row = &shared(row);
      kernel_(part, row, row + 1, scratch);
    } else if (step == 0) {
      kernel_(call_, row, row + 1, scratch);
    }
    at = last;
  }
}

void CutRows::finish(void* scratch) const {
  for (int t = 0; t < shares_.team; ++t) {
    const index_t row = (shares_.begin(t + 1) - 1) / blocks_;
    CutRow& cut = shared(row);
    if (cut.left) kernel_(call_, row, row + 1, scratch);
    cut.left = false;
  }
}

}  // namespace softlane
