// Threads that help a call, and are never waited for unless they have begun.
//
// An OpenMP region ends when all its threads have come to its end, the ones that found no core to run on
// included: beside another library's spinning threads a call could take milliseconds for microseconds of
// work. Here work is cut into shares, whoever is there takes the next one, and the caller waits for no more
// than the shares that are in somebody's hands.
#pragma once

namespace softlane {

// body(context, seat): takes one share. Seats are below the call's `team`; nobody else has the same one
// meanwhile.
using Share = void (*)(const void* context, int seat) noexcept;

// Calls body `shares` times, on this thread (seat 0) and up to team - 1 others. All of it on this thread
// where another call has the pool. Not to be called from a share, nor in the child of a fork.
void share_out(int shares, int team, Share body, const void* context) noexcept;

// Is a thread awake, and no other call's? To wake one takes longer than a small call, which does without.
bool help_at_hand() noexcept;

// A small call that does without. The last of some of a thread's in a row, each begun soon after the one before,
// wakes threads for the next.
class SmallCall {
 public:
  SmallCall() noexcept;
  void end(int team) noexcept;
};

// One of the CPUs for threads that start from now on, whatever the caller's are. Not beside a call.
void worker_may_use(int cpu) noexcept;

template <class Body>
void share_out(int shares, int team, const Body& body) noexcept {
  const Share call = [](const void* context, int seat) noexcept {
    (*static_cast<const Body*>(context))(seat);
  };
  share_out(shares, team, call, &body);
}

}  // namespace softlane
