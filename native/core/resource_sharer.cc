#if !defined(_WIN32)

#include "core/resource_sharer.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "core/fd_passing.h"
#include "core/local_socket.h"
#include "core/process.h"
#include "core/stay_loaded.h"

namespace mp::core {
namespace {

constexpr size_t kMostGuests = 64;
// Who has connected and shows no ticket.
constexpr double kGuestMs = 5000;
// Before it accepts again, when it could not.
constexpr int kCrowdedMs = 50;
// Of who fetches, before it looks whether the sharer is stopped.
constexpr double kPatienceMs = 1000;

struct Guest {
  UniqueFd socket;
  Deadline deadline;
  Ticket ticket{};
  size_t got = 0;
};

struct Shared {
  UniqueFd fd;
  bool standing;
};

// One per process, for all its threads; never destroyed, as its thread does not end.
struct Sharer {
  // Held wherever a descriptor is in between, so that a fork, which takes it, copies none that the child does not know.
  std::mutex mutex;
  std::map<Ticket, Shared> shared;
  LocalListener listener;
  std::vector<Guest> guests;
};

Sharer& Instance() {
  static Sharer& sharer = *new Sharer;
  return sharer;
}

constexpr unsigned char kHere = 1;
constexpr unsigned char kGone = 0;

bool IsStopped(int pid) {
  if (pid <= 0) return false;
  const auto facts = LookAtProcess(pid);
  return facts.ok() && facts.value().has_value() && facts.value()->stopped;
}

// With the mutex held. Whether the guest has been served, or never will be.
bool Serve(Sharer& sharer, Guest& guest) {
  const ssize_t got = RetryOnSignal([&] {
    return recv(guest.socket.get(), guest.ticket.data() + guest.got,
                guest.ticket.size() - guest.got, 0);
  });
  if (got < 0) return errno != EAGAIN && errno != EWOULDBLOCK;
  if (got == 0) return true;
  guest.got += static_cast<size_t>(got);
  if (guest.got < guest.ticket.size()) return false;
  const auto found = sharer.shared.find(guest.ticket);
  const bool here = found != sharer.shared.end();
  const unsigned char answer = here ? kHere : kGone;
  // There is room for it: nothing else goes there. If the guest has died the copy goes, too.
  (void)SendFds(guest.socket.get(), &answer, 1,
                here ? std::vector<int>{found->second.fd.get()} : std::vector<int>{}, 0);
  if (here && !found->second.standing) sharer.shared.erase(found);
  return true;
}

// With the mutex held. False: the process has no descriptor left for them.
bool Admit(Sharer& sharer) {
  while (sharer.guests.size() < kMostGuests) {
    auto socket = AcceptLocally(sharer.listener.socket.get());
    if (!socket.ok()) {
      const int error = socket.error().errnum;
      return error == EAGAIN || error == EWOULDBLOCK || error == ECONNABORTED;
    }
    if (!IsOfSameUser(socket.value().get())) continue;
    sharer.guests.push_back({std::move(socket.value()), Deadline::AfterMs(kGuestMs)});
  }
  return true;
}

void Run() {
  Sharer& sharer = Instance();
  bool crowded = false;
  std::unique_lock<std::mutex> lock(sharer.mutex);
  for (;;) {
    std::vector<pollfd> slots;
    const bool admits = !crowded && sharer.guests.size() < kMostGuests;
    slots.push_back({sharer.listener.socket.get(), static_cast<short>(admits ? POLLIN : 0), 0});
    for (const Guest& guest : sharer.guests) slots.push_back({guest.socket.get(), POLLIN, 0});
    const int patience = crowded ? kCrowdedMs : sharer.guests.empty() ? -1 : 1000;
    lock.unlock();
    poll(slots.data(), static_cast<nfds_t>(slots.size()), patience);
    lock.lock();
    crowded = false;
    size_t at = 0;
    const auto leaves = [&](Guest& guest) {
      const bool spoke = slots[++at].revents != 0;
      return (spoke && Serve(sharer, guest)) || guest.deadline.passed();
    };
    auto& guests = sharer.guests;
    guests.erase(std::remove_if(guests.begin(), guests.end(), leaves), guests.end());
    if (slots[0].revents != 0) crowded = !Admit(sharer);
  }
}

void BeforeFork() { Instance().mutex.lock(); }

void AfterForkInParent() { Instance().mutex.unlock(); }

void AfterForkInChild() {
  Sharer& sharer = Instance();
  sharer.shared.clear();
  sharer.guests.clear();
  sharer.listener = {};
  sharer.mutex.unlock();
}

// With the mutex held.
Result<void> EnsureRunning(Sharer& sharer) {
  if (sharer.listener.socket.valid()) return {};
  static const int registered = pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild);
  if (registered != 0) return OsError{registered, "pthread_atfork"};
  // The thread does not end.
  StayLoaded();
  auto listener = ListenLocally();
  if (!listener.ok()) return listener.error();
  sharer.listener = std::move(listener.value());
  // Signals are for the threads that were there before.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        Run();
        return nullptr;
      },
      nullptr);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    sharer.listener = {};
    return OsError{error, "pthread_create"};
  }
  pthread_detach(thread);
  return {};
}

}  // namespace

Result<std::string> ShareFd(int fd, const Ticket& ticket, bool standing) {
  Sharer& sharer = Instance();
  std::lock_guard<std::mutex> lock(sharer.mutex);
  const auto running = EnsureRunning(sharer);
  if (!running.ok()) return running.error();
  auto copy = Duplicate(fd);
  if (!copy.ok()) return copy.error();
  sharer.shared[ticket] = {std::move(copy.value()), standing};
  return sharer.listener.address;
}

void RevokeFd(const Ticket& ticket) {
  Sharer& sharer = Instance();
  std::lock_guard<std::mutex> lock(sharer.mutex);
  sharer.shared.erase(ticket);
}

Result<UniqueFd> FetchFd(const std::string& address, const Ticket& ticket,
                         const Deadline& deadline) {
  auto connected = ConnectLocally(address, deadline);
  if (!connected.ok()) return connected.error();
  const int socket = connected.value().get();
  if (!IsOfSameUser(socket)) return OsError{EACCES, "connect"};
  // A new socket takes it at once.
  const auto sent = SendFds(socket, ticket.data(), ticket.size(), {}, 0);
  if (!sent.ok()) return sent.error();
  PollSlot slot{socket, POLLIN, 0};
  // One that is stopped may stay so, and one that is slow answers.
  const Deadline patience = Deadline::AfterMs(std::min(kPatienceMs, deadline.RemainingNs() / 1e6));
  auto ready = PollFds(&slot, 1, patience);
  if (ready.ok() && ready.value() == 0) {
    if (!deadline.passed() && IsStopped(PeerOf(socket))) return OsError{EBUSY, "recvmsg"};
    ready = PollFds(&slot, 1, deadline);
  }
  if (!ready.ok()) return ready.error();
  if (ready.value() == 0) return OsError{ETIMEDOUT, "recvmsg"};
  unsigned char answer = kGone;
  auto received = ReceiveFds(socket, &answer, 1, 1, 0);
  if (!received.ok()) return received.error();
  auto& fds = received.value().fds;
  if (received.value().bytes == 0) return OsError{ECONNREFUSED, "recvmsg"};
  // The sharer hangs up when it has closed its own copy: whoever has fetched the last one may rely on that.
  (void)PollFds(&slot, 1, deadline);
  // The system drops a descriptor for which the receiver has no number left.
  if (answer == kHere && fds.empty()) return OsError{EMFILE, "recvmsg"};
  if (fds.empty()) return OsError{ENXIO, "recvmsg"};
  return std::move(fds.front());
}

}  // namespace mp::core

#endif
