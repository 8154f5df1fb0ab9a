// Who waits for whom.
#include "schemes/postgresql/deadlock.hpp"

#include "schemes/postgresql/scheme.hpp"

#include <algorithm>
#include <set>

namespace lockfile::schemes::postgresql {
namespace {

// A shared one waits for exclusive ones, an exclusive one for all: for who has the lock, and for who came before.
bool waits_for(const Claimed& one, const Claimed& other) {
  if (one.key != other.key || one.who == other.who || (!one.exclusive && !other.exclusive)) return false;
  return other.granted || other.waited > one.waited;
}

class Search {
 public:
  Search(const std::vector<Claimed>& all, const Claimed& from) : all_(all), from_(from) {}

  // From that wait on: is there a way back to where we began? The waits of that way are in `path_` then.
  bool goes_round(const Claimed& wait) {
    path_.push_back(&wait);
    for (const Claimed& other : all_) {
      if (!waits_for(wait, other)) continue;
      if (other.who == from_.who) return true;
      if (!seen_.insert(other.who).second) continue;
      for (const Claimed& next : all_) {
        if (!next.granted && next.who == other.who && goes_round(next)) return true;
      }
    }
    path_.pop_back();
    return false;
  }

  [[nodiscard]] bool is_youngest() const {
    return std::all_of(path_.begin(), path_.end(), [&](const Claimed* each) {
      return each->waited > from_.waited || (each->waited == from_.waited && each->backend <= from_.backend);
    });
  }

 private:
  const std::vector<Claimed>& all_;
  const Claimed& from_;
  std::set<std::string> seen_;
  std::vector<const Claimed*> path_;
};

}  // namespace

std::vector<Claimed> claims_in(const Connection& answer) {
  enum Column : int { granted, mode, backend, key, process, application, waited };
  std::vector<Claimed> all;
  for (std::size_t row = 0; row < answer.rows(); ++row) {
    all.push_back(
        {.who = std::string(answer.text(row, process)) + " " + std::to_string(thread_in(answer.text(row, application))),
         .backend = answer.number(row, backend),
         .key = answer.number(row, key),
         .granted = answer.number(row, granted) != 0,
         .exclusive = answer.text(row, mode) != "ShareLock",
         .waited = answer.is_null(row, waited) ? 0 : answer.number(row, waited)});
  }
  return all;
}

bool is_to_give_up(const std::vector<Claimed>& all, std::int64_t backend) {
  const auto own = std::find_if(all.begin(), all.end(),
                                [&](const Claimed& each) { return each.backend == backend && !each.granted; });
  if (own == all.end()) return false;
  Search search(all, *own);
  return search.goes_round(*own) && search.is_youngest();
}

}  // namespace lockfile::schemes::postgresql
