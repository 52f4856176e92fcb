#include "tailrace/sched/injection.hpp"

#include <algorithm>
#include <utility>

namespace tailrace::sched {

namespace {

std::uint64_t next_serial() {
  static base::atomic<std::uint64_t> serial{0};
  return serial.fetch_add(1, base::relaxed) + 1;  // relaxed: only uniqueness matters
}

}  // namespace

Injection::Injection() : serial_{next_serial()} {}

bool Injection::push(const queue::Cell& cell, Idle& idle) {
  Producer* producer = mine();
  if (producer == nullptr) return false;
  // Counted before it is pushed: were it run before it is counted, drain would take it for somebody else's.
  producer->pushed.add();
  if (!producer->lane.try_push(cell, idle.asymmetric() ? queue::Publish::kReleased : queue::Publish::kOrdered)) {
    producer->pushed.add(~std::uint64_t{0});  // minus one
    return false;
  }
  if (idle.asymmetric()) {
    if (!idle.must_notify()) return true;
    producer->lane.order_push();
  }
  idle.notify();
  return true;
}

Injection::Producer* Injection::mine() {
  struct Mine {
    std::vector<std::pair<std::uint64_t, std::shared_ptr<Producer>>> lanes;
    ~Mine() {
      // [P2] release: this thread's last push happens before the next owner's first. Pairs with [P3].
      for (auto& [serial, producer] : lanes) producer->owned.store(false, base::release);
    }
  };
  thread_local std::uint64_t last_serial = 0;
  thread_local Producer* last = nullptr;
  if (last_serial == serial_) return last;

  thread_local Mine mine;
  Producer* found = nullptr;
  for (auto& [serial, producer] : mine.lanes) {
    if (serial == serial_) found = producer.get();
  }
  if (found == nullptr) {
    std::shared_ptr<Producer> producer = adopt_or_make();
    if (producer == nullptr) return nullptr;
    found = producer.get();
    mine.lanes.emplace_back(serial_, std::move(producer));
  }
  last_serial = serial_;
  last = found;
  return found;
}

std::shared_ptr<Injection::Producer> Injection::adopt_or_make() {
  const std::lock_guard lock{mutex_};
  for (auto& orphan : owners_) {
    if (orphan->owned.load(base::acquire)) continue;  // [P3] acquire: pairs with [P2].
    orphan->owned.store(true, base::relaxed);         // relaxed: the mutex orders it
    return orphan;
  }
  if (owners_.size() == kMaxProducers) return nullptr;
  owners_.push_back(std::make_shared<Producer>());
  producers_[owners_.size() - 1].store(owners_.back().get(), base::relaxed);  // relaxed: published by the next line
  // [P4] seq_cst: the slot is filled before it is counted, and counted before its first push. Pairs with [P1].
  count_.store(static_cast<std::uint32_t>(owners_.size()), base::seq_cst);
  return owners_.back();
}

std::size_t Injection::claim(Batch& out, int workers, base::Random& random) {
  const std::uint32_t lanes = count_.load(base::acquire);  // [P1] acquire: pairs with [P4]
  if (lanes == 0) return 0;
  const std::uint32_t first = lanes == 1 ? 0 : random.below(lanes);
  for (std::uint32_t i = 0; i < lanes; ++i) {
    Lane& lane = producers_[(first + i) % lanes].load(base::relaxed)->lane;  // relaxed: ordered by [P1]
    // A claimed closure waits for those before it, so with other workers about only a share is taken.
    const std::size_t share = workers == 1 ? kBatch : lane.backlog() / (2 * static_cast<std::size_t>(workers));
    const std::size_t n = lane.claim(out.data(), std::clamp<std::size_t>(share, 1, kBatch));
    if (n != 0) return n;
  }
  return 0;
}

std::size_t Injection::claim_own(Batch& out) {
  Producer* producer = mine();
  while (producer != nullptr && !producer->lane.empty()) {
    if (const std::size_t n = producer->lane.claim(out.data(), kBatch)) return n;
    base::pause();  // a worker was faster: it runs what it took
  }
  return 0;
}

std::int64_t Injection::backlog() const {
  const std::uint32_t lanes = count_.load(base::acquire);  // [P1] acquire: pairs with [P4]
  std::size_t waiting = 0;
  for (std::uint32_t i = 0; i < lanes; ++i) {
    waiting += producers_[i].load(base::relaxed)->lane.backlog();  // relaxed: ordered by [P1]
  }
  return static_cast<std::int64_t>(waiting);
}

bool Injection::sees_work() const {
  // [P1] seq_cst: a parker's, or a leaver's, last look covers the lane of a thread whose first push came before it.
  const std::uint32_t lanes = count_.load(base::seq_cst);
  for (std::uint32_t i = 0; i < lanes; ++i) {
    if (!producers_[i].load(base::relaxed)->lane.empty()) return true;  // relaxed: ordered by [P1]
  }
  return false;
}

std::uint64_t Injection::pushed() const {
  std::uint64_t pushed = 0;
  const std::uint32_t lanes = count_.load(base::acquire);  // [P1] acquire: pairs with [P4]
  for (std::uint32_t i = 0; i < lanes; ++i) {
    pushed += producers_[i].load(base::relaxed)->pushed.read();  // relaxed: ordered by [P1]
  }
  return pushed;
}

}  // namespace tailrace::sched
