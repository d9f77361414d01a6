#include "parallel/pool.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "parallel/place.hpp"
#include "simd/arithmetic.hpp"
#include "simd/relax.hpp"

namespace softlane {
namespace {

using clock = std::chrono::steady_clock;

// How long a thread looks out before it sleeps. A worker: for the next call, after what a program does between
// two of them; to wake it would take 20 to 80 us. A caller: for the last shares, for it sleeps where others
// want its core.
constexpr std::chrono::microseconds worker_patience(200), caller_patience(50);
constexpr std::size_t stack_bytes = std::size_t{1} << 20;

// Everything is constant from the start and never destroyed: workers outlive main().
//
// The call that has the pool. It writes job, then opens it; a worker reads job while it holds a share,
// for until that is done the caller stays.
std::atomic<bool> taken{false};
struct {
  Share body;
  const void* context;
} job;
int workers = 0;  // started; of the call that has the pool
constexpr int seen = 8;
Place places[seen];  // of the first workers; those beyond wake where they wake

// Seats left in the upper half, shares left in the lower.
std::atomic<std::uint64_t> open{0};
constexpr std::uint64_t one_seat = std::uint64_t{1} << 32;
std::atomic<int> done{0};  // shares

// A thread that is about to sleep says so, then looks once more; one that has news writes it, then looks
// for sleepers: in the one order of all these (seq_cst) one of the two sees the other.
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t opened = PTHREAD_COND_INITIALIZER, finished = PTHREAD_COND_INITIALIZER;
std::atomic<int> sleeping{0}, awake{0};  // workers
std::atomic<bool> waiting{false};

// This thread's small calls that had no help.
thread_local clock::time_point last_end{};
thread_local int in_a_row = 0;

#ifdef __linux__
cpu_set_t cpus;  // the workers'; none: the caller's
void go_to(const cpu_set_t& set) {
  if (CPU_COUNT(&set) > 0) sched_setaffinity(0, sizeof set, &set);
}
#else
constexpr int cpus = 0;
void go_to(int) {}
#endif

template <class Ready>
bool appears(Ready ready, clock::duration patience) {
  const clock::time_point end = clock::now() + patience;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      relax();
    }
    sched_yield();  // to the thread that is looked out for, if it waits for this very core
  } while (clock::now() < end);
  return false;
}

int seats_of(std::uint64_t o) { return static_cast<int>(o >> 32); }
int shares_of(std::uint64_t o) { return static_cast<int>(o & (one_seat - 1)); }
bool joinable() {
  const std::uint64_t o = open.load();
  return seats_of(o) > 0 && shares_of(o) > 0;
}

// A seat together with a share, so that the seat is of the same call as the share; 0 where there is none.
int join() {
  std::uint64_t o = open.load();
  while (seats_of(o) > 0 && shares_of(o) > 0) {
    if (open.compare_exchange_weak(o, o - one_seat - 1)) return seats_of(o);
  }
  return 0;
}
bool claim() {
  std::uint64_t o = open.load();
  while (shares_of(o) > 0) {
    if (open.compare_exchange_weak(o, o - 1)) return true;
  }
  return false;
}

// With a share in hand, which keeps the call from ending until it is counted.
void take_shares(int seat) {
  int taken_here = 0;
  do {
    job.body(job.context, seat);
    ++taken_here;
  } while (claim());
  done.fetch_add(taken_here);
  if (!waiting.load()) return;
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  pthread_cond_signal(&finished);
}

void* work(void* at) {
  const DefaultArithmetic arithmetic;
  Place unseen, &place = at != nullptr ? *static_cast<Place*>(at) : unseen;
  go_to(cpus);
  ++awake;
  for (;;) {
    if (!appears(joinable, worker_patience)) {
      pthread_mutex_lock(&mutex);
      place.falls_asleep();
      ++sleeping;
      --awake;
      if (!joinable()) pthread_cond_wait(&opened, &mutex);
      ++awake;
      --sleeping;
      place.wakes();
      pthread_mutex_unlock(&mutex);
      // Woken too late for a call, it looks out for the next: asleep again at once, it would be late for that
      // one too, and for every other.
    }
    const int seat = join();
    if (seat > 0) take_shares(seat);
    place.is_free();
  }
}

// Signals are for the caller's threads, but for those of a thread's own faults (a file that was cut short under
// a memory map): blocked, they would end the process without its handler (faulthandler, a sanitizer's).
void block_signals(sigset_t* before) {
  sigset_t all;
  sigfillset(&all);
  constexpr int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  for (const int fault : faults) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, before);
}

// On the CPUs that the caller may use, which threads inherit, or those of worker_may_use().
bool start_worker() {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  sigset_t before;
  block_signals(&before);
  pthread_t thread;
  Place* const place = workers < seen ? places + workers : nullptr;
  const bool started = pthread_create(&thread, &attributes, work, place) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return started;
}

// Those that there are will do.
void start_workers(int wanted) {
  while (workers < wanted && start_worker()) ++workers;
}

void wake(int seats) {
  int sleepers = sleeping.load();
  if (sleepers == 0) return;
  if (seats < sleepers) sleepers = seats;
  const int here = Place::here();
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < workers && i < seen; ++i) places[i].keep_off(here);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < sleepers; ++i) pthread_cond_signal(&opened);
}

void await(int shares) {
  const auto all_done = [shares] { return done.load() == shares; };
  if (appears(all_done, caller_patience)) return;
  pthread_mutex_lock(&mutex);
  waiting.store(true);
  while (!all_done()) pthread_cond_wait(&finished, &mutex);
  waiting.store(false);
  pthread_mutex_unlock(&mutex);
}

}  // namespace

bool help_at_hand() noexcept { return awake.load() > 0 && !taken.load(); }

SmallCall::SmallCall() noexcept {
  if (clock::now() - last_end > worker_patience) in_a_row = 0;
}

void SmallCall::end(int team) noexcept {
  constexpr int many = 3;
  last_end = clock::now();
  if (++in_a_row < many || taken.exchange(true)) return;
  in_a_row = 0;
  start_workers(team - 1);
  wake(team - 1);
  taken.store(false);
}

void worker_may_use(int cpu) noexcept {
#ifdef __linux__
  if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(cpu), &cpus);
#else
  static_cast<void>(cpu);
#endif
}

void share_out(int shares, int team, Share body, const void* context) noexcept {
  const DefaultArithmetic arithmetic;
  if (team == 1 || taken.exchange(true)) {
    for (int i = 0; i < shares; ++i) body(context, 0);
    return;
  }
  start_workers(team - 1);
  job = {body, context};
  done.store(0);
  open.store(static_cast<std::uint64_t>(team - 1) * one_seat + static_cast<std::uint64_t>(shares));
  wake(team - 1);
  if (claim()) take_shares(0);
  await(shares);
  taken.store(false);
}

}  // namespace softlane
