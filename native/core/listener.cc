#include "core/listener.h"

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "core/lock.h"

namespace mp::core {
namespace {

struct Entry {
  uint32_t id;
  uint32_t index;
  WatchFor what;
  uint32_t expected;
};

constexpr auto kSeqCst = std::memory_order_seq_cst;

// Says in the word that somebody waits. False: it has changed meanwhile.
bool Await(Word* word, uint32_t seen, uint32_t flag) {
  return (seen & flag) != 0 || word->compare_exchange_strong(seen, seen | flag, kSeqCst);
}

// One look at each owner, however many locks it holds.
class Deaths {
 public:
  explicit Deaths(const SegmentHeader* header) : header_(header) {}

  bool Has(uint32_t lock_word) {
    const auto [known, fresh] = known_.try_emplace(lock_word & ~kWaiters, false);
    if (fresh) known->second = IsDead(header_, lock_word);
    return known->second;
  }

 private:
  const SegmentHeader* header_;
  std::unordered_map<uint32_t, bool> known_;
};

bool IsReady(Word* word, const Entry& entry, Deaths* deaths) {
  for (;;) {
    const uint32_t seen = word->load(kSeqCst);
    switch (entry.what) {
      case WatchFor::kLock:
        if (seen == 0) return true;
        if (!Await(word, seen, kWaiters)) continue;
        return deaths != nullptr && deaths->Has(seen);
      case WatchFor::kSemaphore:
        if ((seen & kMaxSemaphore) != 0) return true;
        if (!Await(word, seen, kSemaphoreWaiters)) continue;
        return false;
      case WatchFor::kChange:
        return seen != entry.expected;
    }
  }
}

}  // namespace

struct Listener::State {
  std::shared_ptr<Segment> segment;
  std::function<void()> notify;
  std::mutex mutex;
  std::condition_variable work;
  std::vector<Entry> entries;
  std::vector<uint32_t> ready;
  bool started = false;
  bool stopped = false;

  // With the mutex held. Moves what is ready.
  bool Collect(bool look_for_death) {
    const size_t before = ready.size();
    Deaths deaths(segment->header());
    auto is_ready = [&](const Entry& entry) {
      if (!IsReady(segment->words() + entry.index, entry, look_for_death ? &deaths : nullptr))
        return false;
      ready.push_back(entry.id);
      return true;
    };
    entries.erase(std::remove_if(entries.begin(), entries.end(), is_ready), entries.end());
    return ready.size() > before;
  }

  void Run() {
    SegmentHeader* header = segment->header();
    int64_t last_look = MonotonicNs();
    std::unique_lock<std::mutex> lock(mutex);
    while (!stopped) {
      if (entries.empty()) {
        work.wait(lock);
        continue;
      }
      const uint32_t rung = header->doorbell.load(kSeqCst);
      const bool look_for_death = MonotonicNs() - last_look >= kSliceNs;
      if (look_for_death) last_look = MonotonicNs();
      if (Collect(look_for_death)) {
        notify();
        continue;
      }
      lock.unlock();
      Park(&header->doorbell, rung, Deadline::Never());
      lock.lock();
    }
  }
};

Listener::Listener(std::shared_ptr<Segment> segment, std::function<void()> notify)
    : state_(std::make_shared<State>()) {
  state_->segment = std::move(segment);
  state_->notify = std::move(notify);
}

Listener::~Listener() {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->stopped = true;
  state_->work.notify_one();
}

void Listener::Watch(uint32_t id, uint32_t index, WatchFor what, uint32_t expected) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  // Before the word is looked at: whoever changes it after that rings.
  state_->segment->header()->bell_used.store(1, kSeqCst);
  const Entry entry{id, index, what, expected};
  if (IsReady(state_->segment->words() + index, entry, nullptr)) {
    state_->ready.push_back(id);
    state_->notify();
    return;
  }
  state_->entries.push_back(entry);
  if (!state_->started) {
#if defined(_WIN32)
    std::thread([state = state_] { state->Run(); }).detach();
#else
    // Signals are for the threads that were there before.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread([state = state_] { state->Run(); }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    state_->started = true;
  } else if (state_->entries.size() == 1) {
    state_->work.notify_one();
  }
}

void Listener::Forget(uint32_t id) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  auto& entries = state_->entries;
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [id](const Entry& entry) { return entry.id == id; }),
                entries.end());
  auto& ready = state_->ready;
  ready.erase(std::remove(ready.begin(), ready.end(), id), ready.end());
}

std::vector<uint32_t> Listener::TakeReady() {
  std::lock_guard<std::mutex> lock(state_->mutex);
  return std::exchange(state_->ready, {});
}

}  // namespace mp::core
