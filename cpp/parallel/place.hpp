// Where a sleeping thread will wake.
//
// Linux may wake a thread on its waker's processor, which is at work, with another one idle: in a virtual machine
// always, where that is where the thread slept, for a processor that the host has put aside does not count as idle.
// The two then take turns for some ticks of the clock. So a sleeper is kept off its waker's processor. Softmax of float64 512 x 512, a call every 5 ms on two threads of such a machine: 550 -> XX us, the second
// call in a row 300 -> XX; on one thread 290.
#pragma once

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace softlane {

#ifdef __linux__

// Of one thread, which may be kept off one processor, the last waker's. For a waker while the thread is asleep, else
// for the thread; each takes turns with the others.
class Place {
 public:
  static int here() { return sched_getcpu(); }

  void falls_asleep() {
    id_ = static_cast<pid_t>(syscall(SYS_gettid));
    asleep_ = true;
  }
  void wakes() { asleep_ = false; }

  void keep_off(int processor) {
    if (!asleep_ || off_ == processor || processor < 0 || processor >= CPU_SETSIZE) return;
    cpu_set_t now;
    if (sched_getaffinity(id_, sizeof now, &now) != 0) return;
    if (off_ == none || CPU_EQUAL(&now, &others_) == 0) allowed_ = now;  // else as it was left
    off_ = none;
    others_ = allowed_;
    CPU_CLR(static_cast<std::size_t>(processor), &others_);
    if (CPU_COUNT(&others_) == 0 || CPU_EQUAL(&now, &others_) != 0) return;
    if (sched_setaffinity(id_, sizeof others_, &others_) == 0) off_ = processor;
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
};

#endif

}  // namespace softlane
