// Where a sleeping thread will wake.
//
// In a virtual machine Linux may wake a thread on its waker's processor, which is at work, with another one idle: a
// processor that the host has put aside does not count as idle. The two then take turns for some ticks of the clock.
// So a sleeper is kept off its waker's processor until it has done its share. Softmax of float64 512 x 512 on two threads
// of such a machine (KVM, two processors), after 5 ms of sleep: the first call 387..466 -> 219..370 us, the second 257..282
// -> 128..151; one thread takes 339..519 and 241..302.
#pragma once

#if defined(__linux__) && defined(__x86_64__)
#define SOFTLANE_PLACES
#include <cpuid.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#endif

namespace softlane {

#ifdef SOFTLANE_PLACES

// Of one thread. For a waker while the thread is asleep, else for the thread; each takes turns with the others.
class Place {
 public:
  // The waker's; none where the system does well by itself.
  static int here() {
    static const bool virtual_machine = [] {
      unsigned a, b, c, d;
      return __get_cpuid(1, &a, &b, &c, &d) != 0 && c >> 31 != 0;
    }();
    return virtual_machine ? sched_getcpu() : none;
  }

  void falls_asleep() {
    id_ = static_cast<pid_t>(syscall(SYS_gettid));
    asleep_ = true;
  }
  void wakes() { asleep_ = false; }

  void keep_off(int processor) {
    if (!asleep_ || off_ == processor || processor < 0 || processor >= CPU_SETSIZE) return;
    cpu_set_t now;
    if (sched_getaffinity(id_, sizeof now, &now) != 0) return;
    // One that was not the one woken may have been kept off already.
    if (off_ == none || CPU_EQUAL(&now, &others_) == 0) allowed_ = now;
    off_ = none;
    others_ = allowed_;
    CPU_CLR(static_cast<std::size_t>(processor), &others_);
    if (CPU_COUNT(&others_) == 0) return;
    if (sched_setaffinity(id_, sizeof others_, &others_) == 0) off_ = processor;
  }
  // Unless somebody else has moved it meanwhile.
  void is_free() {
    if (off_ == none) return;
    cpu_set_t now;
    if (sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &others_) != 0) {
      sched_setaffinity(0, sizeof allowed_, &allowed_);
    }
    off_ = none;
  }

 private:
  static constexpr int none = -1;
  pid_t id_ = 0;
  bool asleep_ = false;
  int off_ = none;
  cpu_set_t allowed_{}, others_{};  // all of them, and all but off_
};

#else

struct Place {
  static int here() { return 0; }
  void falls_asleep() {}
  void wakes() {}
  void keep_off(int) {}
  void is_free() {}
};

#endif

}  // namespace softlane
