// Lines of threads.
#include "core/lines.hpp"

#include <algorithm>

namespace lockfile::core {

bool Lines::anyone_waits(const std::string& key) {
  const os::MutexGuard guard(system_, mutex_);
  return lines_.contains(key);
}

Place::Place(Lines& lines, const std::string& key, os::Sleeper& sleeper) : lines_(lines), key_(key), sleeper_(sleeper) {
  const os::MutexGuard guard(lines_.system_, lines_.mutex_);
  lines_.lines_[key_].push_back(&sleeper_);
}

Place::~Place() {
  const os::MutexGuard guard(lines_.system_, lines_.mutex_);
  const auto line = lines_.lines_.find(key_);
  auto& places = line->second;
  const bool was_first = places.front() == &sleeper_;
  places.erase(std::find(places.begin(), places.end(), &sleeper_));
  if (places.empty()) {
    lines_.lines_.erase(line);
  } else if (was_first) {
    places.front()->wake();
  }
}

bool Place::is_first() const {
  const os::MutexGuard guard(lines_.system_, lines_.mutex_);
  return lines_.lines_.find(key_)->second.front() == &sleeper_;
}

}  // namespace lockfile::core
