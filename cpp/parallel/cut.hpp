// Few long rows to threads: each gets as many blocks as the others, and the rows that a border falls into
// are done in parts.
#pragma once

#include "dispatch/dispatch.hpp"

namespace softlane {

// n things to a team, as evenly as whole things go.
struct Shares {
  index_t n;
  int team;

  index_t begin(int t) const { return n / team * t + (n % team < t ? n % team : t); }
  int owner(index_t i) const {
    const index_t most = n / team + 1, of_most = n % team * most;
    return static_cast<int>(i < of_most ? i / most : n % team + (i - of_most) / (n / team));
  }
};

class CutRows {
 public:
  // Where whole rows would leave threads without work.
  static bool pays(const Call& call, int team);
  // What the rows' parts share, beside what each thread's kernel needs.
  static std::size_t bytes(const Call& call, int team);

  CutRows(const Call& call, Kernel kernel, int team, char* memory);

  // Every thread's part of a step, for all t; the next step must wait for all of them. Whole rows are
  // done at once with the first.
  int steps() const { return first_ == Step::maximum ? 3 : 2; }
  void take(int step, int t, void* scratch) const;
  // What the steps have left, afterwards.
  void finish(void* scratch) const;

 private:
  const Call& call_;
  Kernel kernel_;
  Step first_;
  index_t blocks_;  // a row
  Shares shares_;   // of all blocks
  char* memory_;

  CutRow& shared(index_t row) const;
};

// The same of few large matrices. What a matrix's lines are made of, of 1000 classes a hundredth of its work, is computed
// anew for every share that has some of them.
class CutLines {
 public:
  // For how many threads of a team it pays; 0: none.
  static int team(const Call& call, int team);

  CutLines(const Call& call, Kernel kernel, int shares)
      : call_(call), kernel_(kernel), lines_{call.space.rows * call.classes, shares} {}

  void take(int share, void* scratch) const;

 private:
  const Call& call_;
  Kernel kernel_;
  Shares lines_;  // of all matrices
};

}  // namespace softlane
