#include "tailrace/flow/cancel.hpp"

#include "tailrace/flow/run.hpp"

namespace tailrace::flow {

// The outcome is fixed before call_all takes the lock: either we see it here, or call_all sees us.
OnCancel::OnCancel(Run& run, Function function, void* arg) : run_{run}, function_{function}, arg_{arg} {
  CancelList& list = run_.cancel_list();
  {
    const std::lock_guard lock{list.mutex_};
    if (run_.is_open()) {
      next_ = list.first_;
      list.first_ = this;
      listed_ = true;
      return;
    }
  }
  if (run_.root_outcome() != base::Outcome::kOk) function_(arg_);
}

OnCancel::~OnCancel() {
  CancelList& list = run_.cancel_list();
  std::unique_lock lock{list.mutex_};
  if (listed_) {
    OnCancel** at = &list.first_;
    while (*at != this) at = &(*at)->next_;
    *at = next_;
    return;
  }
  if (list.caller_ == std::this_thread::get_id()) return;
  list.called_.wait(lock, [&] { return list.calling_ != this; });
}

void CancelList::call_all() {
  std::unique_lock lock{mutex_};
  caller_ = std::this_thread::get_id();
  while (OnCancel* one = first_) {
    first_ = one->next_;
    one->listed_ = false;
    calling_ = one;
    lock.unlock();
    one->function_(one->arg_);
    lock.lock();
    calling_ = nullptr;
    called_.notify_all();
  }
  caller_ = {};
}

}  // namespace tailrace::flow
