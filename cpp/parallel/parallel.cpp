#include "parallel/parallel.hpp"

#include <atomic>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <new>

#include "parallel/cut.hpp"
#include "simd/arithmetic.hpp"

#ifdef SOFTLANE_OPENMP
#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>
#endif

namespace softlane {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr index_t elements_per_thread = 16000;
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
  const int n = number_from("OMP_NUM_THREADS", Lists::yes);
  return n > 0 ? n : omp_get_num_procs();  // the CPUs this process may use
#else
  return 1;
#endif
}

const int whole_pool = initial_pool();
std::atomic<int> chosen{number_from("SOFTLANE_NUM_THREADS", Lists::no)};

// libgomp's workers do not survive a fork, and its child would wait for them for ever: a child
// computes on its own thread.
std::atomic<bool> forked{false};
#ifdef SOFTLANE_OPENMP
const int watch_fork = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
#endif

int threads_for(const Call& call) {
  if (forked.load(std::memory_order_relaxed)) return 1;
  const index_t per_row = call.operation == Operation::cross_entropy_hessian
                              ? call.classes * call.classes
                              : call.classes;
  const double work = static_cast<double>(call.space.rows) * static_cast<double>(per_row);
  const double useful = work / static_cast<double>(elements_per_thread);
  if (useful < 2) return 1;
  index_t n = get_num_threads();
  if (useful < static_cast<double>(n)) n = static_cast<index_t>(useful);
  return static_cast<int>(n);
}

// Whole rows to a team: many at multiples of 16, the widest group of rows that the kernels take
// together; with rows side by side in memory that is a cache line.
class WholeRows {
 public:
  WholeRows(index_t rows, int team)
      : rows_(rows),
        unit_(rows >= 64 * static_cast<index_t>(team) ? 16 : 1),
        shares_{(rows + unit_ - 1) / unit_, team} {}
  index_t begin(int t) const {
    const index_t row = shares_.begin(t) * unit_;
    return row < rows_ ? row : rows_;
  }

 private:
  index_t rows_, unit_;
  Shares shares_;
};

// body(t) for every t of a team, each on its own thread.
template <class Body>
void each_of_team(int team, Body body) {
#ifdef SOFTLANE_OPENMP
#pragma omp parallel for num_threads(team) schedule(static, 1)
#endif
  for (int t = 0; t < team; ++t) {
    const DefaultArithmetic arithmetic;
    body(t);
  }
}

struct Release {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t{alignment}); }
};

}  // namespace

int get_num_threads() noexcept {
  const int n = chosen_num_threads();
#ifdef SOFTLANE_OPENMP
  const int pool = omp_get_max_threads();
#else
  const int pool = whole_pool;
#endif
  if (n == 0) return pool;
  return pool < whole_pool && pool < n ? pool : n;
}

int chosen_num_threads() noexcept { return chosen.load(std::memory_order_relaxed); }
void choose_num_threads(int n) noexcept { chosen.store(n, std::memory_order_relaxed); }

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
  const Kernel kernel =
      active_table().kernel[static_cast<int>(call.dtype)][static_cast<int>(call.operation)];
  const index_t rows = call.space.rows;
  int team = threads_for(call);
  const bool cut = team > 1 && CutRows::pays(call, team);
  if (!cut && rows < team) team = static_cast<int>(rows);
  const std::size_t bytes = (scratch_bytes(call) + alignment - 1) / alignment * alignment;
  constexpr std::size_t small = 48 * 1024;
  if (team == 1 && bytes <= small) {
    alignas(alignment) char scratch[small];
    kernel(call, 0, rows, scratch);
    return;
  }
  const std::size_t of_threads = bytes * static_cast<std::size_t>(team);
  const std::unique_ptr<void, Release> scratch(::operator new(
      of_threads + (cut ? CutRows::bytes(call, team) : 0), std::align_val_t{alignment}));
  char* const memory = static_cast<char*>(scratch.get());
  const auto of = [&](int t) { return memory + static_cast<std::size_t>(t) * bytes; };
  if (team == 1) return kernel(call, 0, rows, memory);
  if (!cut) {
    const WholeRows whole(rows, team);
    each_of_team(team, [&](int t) { kernel(call, whole.begin(t), whole.begin(t + 1), of(t)); });
    return;
  }
  const CutRows parts(call, kernel, team, memory + of_threads);
  for (int step = 0; step < parts.steps(); ++step) {
    each_of_team(team, [&](int t) { parts.take(step, t, of(t)); });
  }
  parts.finish(memory);
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
