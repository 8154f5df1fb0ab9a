// Sweeping a directory.
#include "claim/sweep.hpp"

#include "claim/guard.hpp"
#include "claim/judge.hpp"
#include "claim/line.hpp"
#include "claim/record_file.hpp"
#include "claim/trial.hpp"
#include "claim/word.hpp"

#include <algorithm>
#include <cerrno>

namespace lockfile::claim {
namespace {

constexpr std::size_t most_in_a_quick_sweep = 8;

class Sweeper {
 public:
  // `quick`: a claim whose guard is held is its maker's; only doctor looks for those of dead makers whose forked
  // workers keep a copy.
  Sweeper(const Directory& directory, Clean clean, bool quick) : directory_(directory), clean_(clean), quick_(quick) {}

  void look_at(const std::string& name, const SideName& side, Leftover& left) const {
    if (side.suffix == suffix::wake || side.suffix == suffix::fifo) return look_at_fifo(name, side, left);
    const auto opened = system().open(directory_.descriptor(), name.c_str(), os::Open::look, 0);
    if (opened.error == ELOOP && side.suffix == suffix::trial) {
      look_at_symlink(name, side, left);
      return;
    }
    if (!opened.ok()) {
      left.note = code_message(opened.error);
      return;
    }
    os::File file(system(), opened.value);
    const auto info = system().stat(file.get());
    if (!info.ok()) return;
    if (side.suffix == suffix::line) {
      look_at_unready(name, side, left);
    } else if (info.value.type == os::FileType::directory && side.suffix.ends_with(suffix::gone) &&
               side.suffix != suffix::taken_away(0)) {
      // Renamed away from W under a name that never comes again: what is inside is nobody's hold, whoever made it.
      left.maker = Verdict::dead;
      left.note = "on its way out";
      if (clean_ == Clean::remove_dead) finish(take_apart(directory_, name.c_str()), left);
    } else if (info.value.type == os::FileType::directory && side.suffix.ends_with(suffix::members)) {
      look_at_group(name, side, left);
    } else if (info.value.type == os::FileType::regular && is_a_group_file(side)) {
      look_at_group_file(name, side, info.value, left);
    } else if (info.value.type == os::FileType::directory) {
      look_at_directory(name, side, std::move(file), left);
    } else if (info.value.type == os::FileType::regular) {
      if (side.suffix.ends_with(suffix::fence) || side.suffix == suffix::unpublished) {
        look_at_numbering(name, side, file, info.value, left);
      } else {
        look_at_file(name, side, file, info.value, left);
      }
    } else {
      left.note = "neither a file nor a directory";
    }
  }

 private:
  // A waiter has its FIFO open for as long as it can be woken.
  void look_at_fifo(const std::string& name, const SideName& side, Leftover& left) const {
    if (side.suffix == suffix::fifo) return look_at_unready(name, side, left);
    left.note = "a waiter's";
    const auto info = system().stat_at(directory_.descriptor(), name.c_str(), os::Links::keep);
    if (!info.ok() || info.value.type != os::FileType::fifo || !directory_.local()) return;
    const auto opened = system().open(directory_.descriptor(), name.c_str(), os::Open::wake, 0);
    if (opened.ok()) system().close(opened.value);
    left.maker = opened.ok() ? Verdict::alive : Verdict::unknown;
    if (opened.error != ENXIO) return;
    left.maker = Verdict::dead;
    if (clean_ == Clean::remove_dead) finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  // On its way to another name, in the next moment. Its maker, if it lives, makes another.
  void look_at_unready(const std::string& name, const SideName& side, Leftover& left) const {
    left.note = "not finished";
    if (!directory_.local() || (quick_ && !nonce_of_earlier_boot(directory_, side.nonce))) return;
    left.maker = Verdict::dead;
    if (clean_ == Clean::remove_dead) finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  [[nodiscard]] os::System& system() const noexcept { return directory_.system(); }
  [[nodiscard]] static std::string code_message(int error) { return os::code_of(error).message(); }

  void judge_file(int descriptor, const SideName& side, Leftover& left, Reading& reading) const {
    Record record;
    const auto bytes = read_record_bytes(system(), descriptor);
    if (!bytes.ok()) {
      left.note = code_message(bytes.error);
      return;
    }
    reading = parse(bytes.value, record);
    ProcessesSeen processes;
    Evidence seen = gather_evidence(directory_, descriptor, reading, record, processes);
    seen.earlier_boot_by_name = nonce_of_earlier_boot(directory_, side.nonce);
    const Judgement judged = judge(seen);
    left.maker = judged.verdict;
    left.note = judged.note;
  }

  void look_at_file(const std::string& name, const SideName& side, const os::File& file, const os::FileInfo& info,
                    Leftover& left) const {
    if (quick_) {
      const auto locked = system().lock_seen(file.get(), live_byte);
      if (locked.ok() && locked.value) {
        left.maker = Verdict::alive;
        return;
      }
    }
    Reading reading = Reading::foreign;
    judge_file(file.get(), side, left, reading);
    if (reading == Reading::empty && left.maker == Verdict::unknown) {
      look_at_unfinished(name, info, left);
      return;
    }
    if (left.maker != Verdict::dead || clean_ == Clean::look_only) return;
    // More names than this one: its lock file, which a break removes first.
    const bool on_its_way = side.suffix == suffix::trial || side.suffix.ends_with(suffix::upgrade);
    const bool may_stand = info.links > 1 && !on_its_way;
    if (may_stand) {
      left.note = "its lock file still stands";
      return;
    }
    finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  // A claim that was made without O_TMPFILE has a name before it has a guard and a record. Who gets LIVE of it may
  // unlink it: its maker, if it lives, looks at the link count after it has LIVE itself, and makes another.
  void look_at_unfinished(const std::string& name, const os::FileInfo& info, Leftover& left) const {
    left.note = "not finished";
    const auto opened = system().open(directory_.descriptor(), name.c_str(), os::Open::update, 0);
    if (!opened.ok()) return;
    const os::File file(system(), opened.value);
    const auto now = system().stat(file.get());
    if (!now.ok() || !now.value.same_inode(info) || now.value.size != 0 || now.value.links != 1) return;
    if (system().try_lock(file.get(), live_byte) != 0) {  // its maker goes on between the two; not reached by tests
      left.maker = Verdict::alive;
      return;
    }
    left.maker = Verdict::dead;
    if (clean_ == Clean::remove_dead) finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  // A number on its way to W.fence, or a shared-memory file on its way to W. Its writer keeps LIVE of the file until
  // its name is gone; who gets LIVE of it first may unlink it, and the writer looks at the link count after it has LIVE
  // itself.
  void look_at_numbering(const std::string& name, const SideName& side, const os::File& file, const os::FileInfo& info,
                         Leftover& left) const {
    left.note = side.suffix == suffix::unpublished ? "never a lock" : "a number that nobody was given";
    os::File update;
    if (!directory_.local() || !nonce_of_earlier_boot(directory_, side.nonce)) {
      if (!guard_usable(directory_)) return;
      const auto seen = system().lock_seen(file.get(), live_byte);
      if (!seen.ok()) return;
      left.maker = Verdict::alive;
      if (seen.value) return;
      const auto opened = system().open(directory_.descriptor(), name.c_str(), os::Open::update, 0);
      if (!opened.ok()) {  // another user's; not reached by tests, which sweep as root
        left.maker = Verdict::unknown;
        left.note = code_message(opened.error);
        return;
      }
      update = os::File(system(), opened.value);
      const auto now = system().stat(update.get());
      if (!now.ok() || !now.value.same_inode(info) || system().try_lock(update.get(), live_byte) != 0) return;
    }
    left.maker = Verdict::dead;
    if (clean_ == Clean::remove_dead) finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  // Of the claim to which a side name belongs.
  [[nodiscard]] static std::string own_name(const std::string& name, const SideName& side) {
    return name.substr(0, name.size() - side.suffix.size());
  }

  [[nodiscard]] bool claim_lives(const std::string& own_name, const SideName& side) const {
    return verdict_on(directory_.descriptor(), own_name, side) == Verdict::alive;
  }

  // Of the maker of the claim at that name. Nothing: there is none.
  [[nodiscard]] std::optional<Verdict> verdict_on(int at, const std::string& name, const SideName& side) const {
    const auto opened = system().open(at, name.c_str(), os::Open::look, 0);
    if (opened.error == ENOENT) return std::nullopt;
    if (!opened.ok()) return Verdict::unknown;
    const os::File file(system(), opened.value);
    Leftover claim;
    Reading reading = Reading::foreign;
    judge_file(file.get(), side, claim, reading);
    return claim.maker;
  }

  // `lockctl doctor` tries symbolic links out, and its claim is there for as long.
  void look_at_symlink(const std::string& name, const SideName& side, Leftover& left) const {
    left.note = "a symbolic link";
    left.maker = Verdict::alive;
    if (claim_lives(own_name(name, side), side)) return;
    left.maker = Verdict::dead;
    if (clean_ == Clean::remove_dead) finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  void look_at_directory(const std::string& name, const SideName& side, os::File directory, Leftover& left) const {
    bool found = false;
    for (int depth = 0; depth < 2; ++depth) {
      const auto opened = system().open(directory.get(), holder_name, os::Open::look, 0);
      if (!opened.ok()) break;
      os::File inner(system(), opened.value);
      const auto info = system().stat(inner.get());
      if (!info.ok()) return;
      if (info.value.type == os::FileType::directory) {
        directory = std::move(inner);
        continue;
      }
      Reading reading = Reading::foreign;
      judge_file(inner.get(), side, left, reading);
      found = true;
      break;
    }
    if (clean_ == Clean::look_only) return;
    if (!found) {
      // Empty: on its way in, while the claim still has its own name; or its maker was killed there. Removing it is
      // refused as soon as something is inside. Nothing inside is touched: the claim may come in at this moment.
      if (claim_lives(own_name(name, side), side)) {
        left.maker = Verdict::alive;
        return;
      }
      const os::Status removed = system().remove_directory(directory_.descriptor(), name.c_str());
      if (removed == 0) left.maker = Verdict::dead;
      finish(removed, left);
    } else if (left.maker == Verdict::dead) {
      finish(take_apart(directory_, name.c_str()), left);
    }
  }

  [[nodiscard]] static bool is_a_group_file(const SideName& side) {
    return side.suffix.ends_with(suffix::group) || side.suffix.ends_with(suffix::joined);
  }

  // What a reader makes before it publishes it, or what was left of a group. Its maker alone publishes it: once the
  // maker is known to be dead, W names it now or never.
  void look_at_group(const std::string& name, const SideName& side, Leftover& left) const {
    left.note = "of readers";
    left.maker = Verdict::alive;
    if (claim_lives(own_name(name, side), side)) return;
    const auto opened = system().open(directory_.descriptor(), name.c_str(), os::Open::look, 0);
    const os::File group(system(), opened.ok() ? opened.value : -1);
    const auto entries = opened.ok() ? system().list(group.get()) : os::Result<std::vector<std::string>>{{}, ENOENT};
    if (!entries.ok()) return;
    if (is_named_by_word(name, own_name(name, side), side)) return;
    // So no entry is a hold, and second names of claims are nobody's need. But a network client has its own idea of
    // which names there are, and without hard links a claim that is in has no other name: there only the dead are
    // removed, and the kernel keeps D while it has more.
    Trial tried;
    const bool second_names = directory_.trials().find(directory_, tried) && tried.hard_links;
    const bool only_dead = !second_names || !directory_.local();
    std::vector<const std::string*> removable;
    for (const std::string& each : entries.value) {
      const auto entry = parse_entry_name(each);
      const auto verdict = only_dead ? verdict_on(group.get(), each, entry ? SideName{entry->nonce, {}} : side)
                                     : std::optional(Verdict::dead);
      if (verdict && *verdict != Verdict::dead) return;
      if (verdict) removable.push_back(&each);
    }
    left.maker = Verdict::dead;
    if (clean_ == Clean::look_only) return;
    for (const std::string* each : removable) (void)system().unlink(group.get(), each->c_str());
    finish(system().remove_directory(directory_.descriptor(), name.c_str()), left);
  }

  void look_at_group_file(const std::string& name, const SideName& side, const os::FileInfo& info,
                          Leftover& left) const {
    left.note = "of readers";
    left.maker = Verdict::alive;
    if (claim_lives(own_name(name, side), side)) return;
    const auto word = word_of(own_name(name, side), side);
    // Where the lock's name cannot be told, by the number of names: W is one, as a rule.
    const auto is_word = word ? directory_.refers_to(word->c_str(), info) : os::Result<bool>{info.links > 1, 0};
    if (!is_word.ok() || is_word.value) return;
    left.maker = Verdict::dead;
    if (clean_ == Clean::remove_dead) finish(system().unlink(directory_.descriptor(), name.c_str()), left);
  }

  // Not to be told counts as yes.
  [[nodiscard]] bool is_named_by_word(const std::string& group, const std::string& own_name,
                                      const SideName& side) const {
    std::optional<std::string> word = word_of(own_name, side);
    if (!word) return true;
    const auto opened = system().open(directory_.descriptor(), word->c_str(), os::Open::look, 0);
    if (opened.error == ENOENT) {  // what is removed because of that is gone for good: asked in two ways
      return system().stat_at(directory_.descriptor(), word->c_str(), os::Links::keep).error != ENOENT;
    }
    if (!opened.ok()) return true;
    const os::File file(system(), opened.value);
    const auto bytes = read_record_bytes(system(), file.get());
    return !bytes.ok() || parse_group(bytes.value) == group;
  }

  // The lock's name, where the side name spells it out.
  [[nodiscard]] static std::optional<std::string> word_of(const std::string& own_name, const SideName& side) {
    const std::string word = own_name.substr(0, own_name.size() - side.nonce.size() - 1);
    return word.ends_with(".lock") ? std::optional<std::string>(word) : std::nullopt;
  }

  static void finish(os::Status status, Leftover& left) {
    left.removed = status == 0 || status == ENOENT;
    if (!left.removed) left.note = code_message(status);
  }

  const Directory& directory_;
  Clean clean_;
  bool quick_;
};

// Lines of this boot are looked into by doctor only: the last who waits removes his own.
bool look_at_line(const std::shared_ptr<Directory>& directory, const LineName& line, Clean clean, bool quick,
                  Leftover& left) {
  left.note = "a line of waiters";
  const bool remove = clean == Clean::remove_dead;
  if (!directory->local()) return true;
  if (nonce_of_earlier_boot(*directory, line.boot)) {
    left.maker = Verdict::dead;
    left.removed = remove && directory->system().unlink(directory->descriptor(), left.name.c_str()) == 0;
    return true;
  }
  if (quick) return false;
  switch (Line::look(directory, Names::with_prefix(line.prefix), left.name, remove, left.removed)) {
    case Line::Content::used:
      left.maker = Verdict::alive;
      break;
    case Line::Content::unused:
      left.maker = Verdict::dead;
      break;
    case Line::Content::newer:
    case Line::Content::unknown:
      break;
  }
  return true;
}

}  // namespace

os::Result<std::vector<Leftover>> sweep(const std::shared_ptr<Directory>& directory, const Names* names, Clean clean) {
  os::Result<std::vector<Leftover>> found;
  auto entries = directory->system().list(directory->descriptor());
  if (!entries.ok()) return {{}, entries.error};
  // Second names of claims first: a claim that then has more names than its own still stands somewhere.
  std::stable_partition(entries.value.begin(), entries.value.end(), [](const std::string& name) {
    const auto side = parse_side_name(name);
    return side && !side->suffix.empty();
  });
  const bool quick = names != nullptr;
  const std::string prefix = quick ? names->side({}) : std::string();
  const Sweeper sweeper(*directory, clean, quick);
  if (quick && entries.value.size() > most_in_a_quick_sweep) {
    // Some at a time, beginning anywhere: many waiters do not each look at all the claims of all the others.
    const auto from = directory->system().random() % entries.value.size();
    std::rotate(entries.value.begin(), entries.value.begin() + static_cast<std::ptrdiff_t>(from), entries.value.end());
  }
  for (const std::string& name : entries.value) {
    if (const auto line = parse_line_name(name)) {
      Leftover left;
      left.name = name;
      const bool of_ours = !quick || line->prefix == prefix;
      if (of_ours && look_at_line(directory, *line, clean, quick, left)) found.value.push_back(std::move(left));
      continue;
    }
    const auto side = parse_side_name(name);
    if (!side || (quick && name != names->side(side->nonce, side->suffix))) continue;
    if (quick && found.value.size() == most_in_a_quick_sweep) break;
    Leftover left;
    left.name = name;
    sweeper.look_at(name, *side, left);
    found.value.push_back(std::move(left));
  }
  return found;
}

}  // namespace lockfile::claim
