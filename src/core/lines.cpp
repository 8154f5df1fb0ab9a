// Lines of threads.
#include "core/lines.hpp"

namespace lockfile::core {

Line& Lines::enter(const std::string& key) {
  const os::MutexGuard guard(system_, mutex_);
  Line& line = lines_.try_emplace(key, system_).first->second;
  ++line.users_;
  return line;
}

void Lines::leave(const std::string& key) noexcept {
  const os::MutexGuard guard(system_, mutex_);
  const auto line = lines_.find(key);
  if (--line->second.users_ == 0) lines_.erase(line);
}

Place::Place(Line& line, os::Sleeper& sleeper) : line_(line), sleeper_(sleeper) {
  const os::MutexGuard guard(line_.system_, line_.mutex_);
  ahead_ = line_.last_;
  (ahead_ != nullptr ? ahead_->behind_ : line_.first_) = this;
  line_.last_ = this;
  line_.waiting_.fetch_add(1, std::memory_order_release);
}

Place::~Place() {
  const os::MutexGuard guard(line_.system_, line_.mutex_);
  (ahead_ != nullptr ? ahead_->behind_ : line_.first_) = behind_;
  (behind_ != nullptr ? behind_->ahead_ : line_.last_) = ahead_;
  line_.waiting_.fetch_sub(1, std::memory_order_release);
  const bool was_first = ahead_ == nullptr;
  if (was_first && behind_ != nullptr) behind_->sleeper_.wake();
}

bool Place::is_first() const {
  const os::MutexGuard guard(line_.system_, line_.mutex_);
  return line_.first_ == this;
}

}  // namespace lockfile::core
