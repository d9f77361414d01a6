#include "parallel/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <limits>
#include <new>
#include <thread>
#include <vector>

#include "parallel/cut.hpp"
#include "parallel/pool.hpp"

#ifdef SOFTLANE_OPENMP
#include <dlfcn.h>
#include <omp.h>
#endif
#include <pthread.h>

namespace softlane {
namespace {

// Below this many elements a thread costs more than it saves, and another range of its own: at 8000 a
// range of 64 x 1000 is half a group of rows.
constexpr index_t elements_per_thread = 16000, elements_per_range = 32000;

// Below so many bytes of them a thread that sleeps is let sleep: it would come too late. Softmax of float32 on
// two threads, a call every ms: 64 x 1000 33 -> 24 us, as on one, 128 x 1000 56 -> 45; 256 x 1000, which does
// wake it, gains 1.1.
std::atomic<double> bytes_to_wake{600000};
constexpr std::size_t alignment = 64;

// What a variable says, wholly a number in range; else 0. A list, where there may be one, counts as
// its first number.
enum class Lists : bool { no, yes };
int number_from(const char* variable, Lists lists) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  while (std::isspace(static_cast<unsigned char>(*end)) != 0) ++end;
  const bool whole = *end == '\0' || (lists == Lists::yes && *end == ',');
  return whole && n >= 1 && n <= 4096 ? static_cast<int>(n) : 0;
}

// OpenMP's number as the environment left it: what it says now may be a limit.
int initial_pool() {
#ifdef SOFTLANE_OPENMP
  const auto cpus = [] { return omp_get_num_procs(); };  // those this process may use
#else
  const auto cpus = [] { return static_cast<int>(std::thread::hardware_concurrency()); };
#endif
  const int n = number_from("OMP_NUM_THREADS", Lists::yes);
  return n > 0 ? n : cpus() > 0 ? cpus() : 1;
}

const int whole_pool = initial_pool();
std::atomic<int> chosen{number_from("SOFTLANE_NUM_THREADS", Lists::no)};

#ifdef SOFTLANE_OPENMP
// Where OpenMP binds threads to places (OMP_PROC_BIND, OMP_PLACES), its runtime has bound this very thread to the
// first of them as it was loaded. Threads that inherited that would all have one core.
const int watch_places = [] {
  const int places = omp_get_proc_bind() == omp_proc_bind_false ? 0 : omp_get_num_places();
  for (int i = 0; i < places; ++i) {
    std::vector<int> cpus(static_cast<std::size_t>(omp_get_place_num_procs(i)));
    omp_get_place_proc_ids(i, cpus.data());
    for (const int cpu : cpus) worker_may_use(cpu);
  }
  return places;
}();
#endif

// Threads do not survive a fork, and locks stay as they were: a child computes on its own thread, and does
// not touch the pool.
std::atomic<bool> forked{false};
const int watch_fork = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });

// Elements written or read, whichever are more. In floating point: they may be more than can be counted.
double work_of(const Call& call) {
  const double classes = static_cast<double>(call.classes);
  const bool matrix = call.operation == Operation::cross_entropy_hessian;
  return static_cast<double>(call.space.rows) * classes * (matrix ? classes : 1);
}

// How many times softmax's time an element takes, where that is more than twice: signed_sum 3 to 9 times, the
// solution 2 to 24.
double softmaxes_in(Operation operation) {
  switch (operation) {
    case Operation::signed_sum:
      return 5;
    case Operation::cross_entropy_hessian_solve:
      return 16;
    case Operation::cross_entropy_hvp:
      return 2;
    default:
      return 1;
  }
}

bool is_small(const Call& call) {
  const double bytes = work_of(call) * static_cast<double>(item_size(call.dtype));
  return bytes * softmaxes_in(call.operation) < bytes_to_wake.load(std::memory_order_relaxed);
}

// Of an output with rows side by side, which do not begin at a line of memory, threads write lines together, two
// in every class: the border between them, and where one class ends and the next begins. Fewer than three lines of
// its own are not worth that to a thread: (1000, 64) of float32, axis 0, takes 30 to 46 us on two threads and 31 on
// one, (1000, 96) 34 and 45. Of more classes than a block's nothing has been measured.
index_t most_side_by_side(const Call& call) {
  constexpr index_t line = 64;
  index_t most = std::numeric_limits<int>::max();
  if (call.space.ndim != 1 || call.classes > block_size) return most;
  for (const Stream& out : call.out) {
    if (out.data == nullptr) continue;
    const index_t row = std::abs(out.row_stride[0]);
    if (row >= std::abs(out.class_stride)) continue;
    const bool at_lines =
        reinterpret_cast<std::uintptr_t>(out.data) % line == 0 && out.class_stride % line == 0;
    const index_t least = at_lines ? line : 3 * line;
    most = std::min(most, std::max<index_t>(1, call.space.rows * row / least));
  }
  return most;
}

int team_for(const Call& call) {
  if (forked.load(std::memory_order_relaxed)) return 1;
  const double useful = work_of(call) / static_cast<double>(elements_per_thread);
  if (useful < 2) return 1;
  index_t n = get_num_threads();
  if (useful < static_cast<double>(n)) n = static_cast<index_t>(useful);
  if (CutRows::pays(call, static_cast<int>(n))) return static_cast<int>(n);
  if (const int team = CutLines::team(call, static_cast<int>(n)); team > 0) return team;
  return static_cast<int>(std::min({n, call.space.rows, most_side_by_side(call)}));
}

// Ranges to the seats of a team, `each` to every seat. A seat takes its own in order, which lie side by
// side in memory, then what others have not begun.
class Ranges {
 public:
  static std::size_t bytes(int team) { return static_cast<std::size_t>(team) * sizeof(Begun); }
  Ranges(void* memory, int team, int each)
      : begun_(static_cast<Begun*>(memory)), team_(team), each_(each) {
    for (int t = 0; t < team; ++t) new (begun_ + t) Begun{0};
  }
  int count() const { return team_ * each_; }
  // To be asked count() times in all: then every range is somebody's.
  int take(int seat) const {
    for (int t = seat;; t = t + 1 < team_ ? t + 1 : 0) {
      const int i = begun_[t].fetch_add(1, std::memory_order_relaxed);
      if (i < each_) return t * each_ + i;
    }
  }

 private:
  using Begun = std::atomic<int>;
  Begun* begun_;
  int team_, each_;
};

// Many rows are cut at multiples of 16, the widest group of rows that the kernels take together; with rows
// side by side in memory that is a cache line.
index_t row_unit(index_t rows, int team) {
  return rows >= 64 * static_cast<index_t>(team) ? 16 : 1;
}

// Do rows lie side by side in memory? Then two ranges share a line of memory in every class: (1000, 64), axis 0,
// takes 62 us by eight ranges and 16 by two.
bool side_by_side(const Call& call) {
  if (call.space.ndim == 0) return false;
  const index_t row = call.logits.row_stride[call.space.ndim - 1];
  return std::abs(row) < std::abs(call.logits.class_stride);
}

// How many ranges of rows a thread gets: so many that one which comes late, or not at all, costs the others
// little; not so many that their beginnings count.
int ranges_each(const Call& call, int team) {
  if (side_by_side(call)) return 1;
  constexpr index_t most = 8;
  const index_t units = call.space.rows / team / row_unit(call.space.rows, team);
  const double useful = work_of(call) / static_cast<double>(elements_per_range * team);
  const index_t n = useful < most ? static_cast<index_t>(useful) : most;
  return static_cast<int>(n < 1 || units < 1 ? 1 : n < units ? n : units);
}

class Memory {
 public:
  explicit Memory(std::size_t bytes)
      : data_(static_cast<char*>(::operator new(bytes, std::align_val_t{alignment}))) {}
  ~Memory() { ::operator delete(data_, std::align_val_t{alignment}); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* get() const { return data_; }

 private:
  char* data_;
};

// `bytes`: of a thread's scratch.
__attribute__((noinline)) void run_parallel(const Call& call, Kernel kernel, int team,
                                            std::size_t bytes) {
  const index_t rows = call.space.rows;
  // There is no such memory, and the sum could be beyond what a size counts: a broadcast row costs none.
  constexpr std::size_t most = std::size_t{1} << 52;
  if (bytes > most / static_cast<std::size_t>(team)) throw std::bad_alloc();
  const bool cut = CutRows::pays(call, team);
  const std::size_t of_threads = bytes * static_cast<std::size_t>(team);
  const std::size_t shared = cut ? CutRows::bytes(call, team) : 0;
  const Memory memory(of_threads + shared + Ranges::bytes(team));
  char* const queue = memory.get() + of_threads + shared;
  const auto scratch = [&](int seat) {
    return memory.get() + static_cast<std::size_t>(seat) * bytes;
  };
  if (CutLines::team(call, team) == team) {
    constexpr int each = 2;  // of which another may take one that comes late
    const Ranges ranges(queue, team, each);
    const CutLines parts(call, kernel, ranges.count());
    share_out(ranges.count(), team,
              [&](int seat) { parts.take(ranges.take(seat), scratch(seat)); });
    return;
  }
  if (!cut) {
    const Ranges ranges(queue, team, ranges_each(call, team));
    const index_t unit = row_unit(rows, team);
    const Shares units{(rows + unit - 1) / unit, ranges.count()};
    const auto limit = [&](int i) { return std::min(units.begin(i) * unit, rows); };
    share_out(ranges.count(), team, [&](int seat) {
      const int i = ranges.take(seat);
      kernel(call, limit(i), limit(i + 1), scratch(seat));
    });
    return;
  }
  const CutRows parts(call, kernel, team, memory.get() + of_threads);
  for (int step = 0; step < parts.steps(); ++step) {
    const Ranges ranges(queue, team, 1);
    share_out(team, team, [&](int seat) { parts.take(step, ranges.take(seat), scratch(seat)); });
  }
  parts.finish(memory.get());
}

void run_on(const Call& call, int team) {
  const Kernel kernel =
      active_table().kernel[static_cast<int>(call.dtype)][static_cast<int>(call.operation)];
  const std::size_t bytes = (scratch_bytes(call) + alignment - 1) / alignment * alignment;
  constexpr std::size_t small = 48 * 1024;
  if (team > 1) return run_parallel(call, kernel, team, bytes);
  if (bytes <= small) {
    alignas(alignment) char scratch[small];
    return kernel(call, 0, call.space.rows, scratch);
  }
  kernel(call, 0, call.space.rows, Memory(bytes).get());
}

}  // namespace

int get_num_threads() noexcept {
  const int n = chosen_num_threads();
#ifdef SOFTLANE_OPENMP
  const int pool = omp_get_max_threads(), most = omp_get_thread_limit();  // OMP_THREAD_LIMIT
#else
  const int pool = whole_pool, most = std::numeric_limits<int>::max();
#endif
  return std::min(most, n == 0 || (pool < whole_pool && pool < n) ? pool : n);
}

int chosen_num_threads() noexcept { return chosen.load(std::memory_order_relaxed); }
void choose_num_threads(int n) noexcept { chosen.store(n, std::memory_order_relaxed); }
double choose_bytes_to_wake(double bytes) noexcept { return bytes_to_wake.exchange(bytes); }

#ifdef SOFTLANE_OPENMP
std::string openmp_library() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&omp_get_max_threads), &info) == 0) return "unknown";
  const std::string path = info.dli_fname;
  return path.substr(path.rfind('/') + 1);
}
int openmp_date() noexcept { return _OPENMP; }
#else
std::string openmp_library() { return {}; }
int openmp_date() noexcept { return 0; }
#endif

void run(const Call& call) {
  const int team = team_for(call);
  if (team == 1 || !is_small(call) || help_at_hand()) return run_on(call, team);
  SmallCall small;
  run_on(call, 1);
  small.end(team);
}

double ordered_sum(const double* values, index_t n) noexcept {
  if (n <= 8) {
    double s = 0;
    for (index_t k = 0; k < n; ++k) s += values[k];
    return s;
  }
  return ordered_sum(values, n / 2) + ordered_sum(values + n / 2, n - n / 2);
}

}  // namespace softlane
