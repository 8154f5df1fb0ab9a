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

bool Line::has_heir_of(const void* object) {
  const os::MutexGuard guard(system_, mutex_);
  return first_ != nullptr && first_->heir_of_ == object;
}

// Once: a thread that was woken looks before it sleeps again, and finds whatever was passed on until then.
bool Line::wake_heir_of(const void* object) {
  const os::MutexGuard guard(system_, mutex_);
  if (first_ == nullptr || first_->heir_of_ != object) return false;
  if (!first_->woken_) first_->sleeper_.wake();
  first_->woken_ = true;
  return true;
}

Place::Place(const LineUp& where, os::Sleeper& sleeper)
    : line_(*where.line), sleeper_(sleeper), heir_of_(where.heir_of) {
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

void Place::looks() {
  const os::MutexGuard guard(line_.system_, line_.mutex_);
  woken_ = false;
}

bool Place::is_first() const {
  const os::MutexGuard guard(line_.system_, line_.mutex_);
  return line_.first_ == this;
}

}  // namespace lockfile::core
