// What the subject does, and what has to be true after each thing it does.
#include "fault/stage.hpp"

#include "claim/guard.hpp"
#include "claim/names.hpp"
#include "schemes/catalogue.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>

namespace lockfile::testing {
namespace {

using namespace std::chrono_literals;

bool has(std::string_view text, std::string_view what) { return text.find(what) != std::string_view::npos; }

// As it stands in the middle of a message.
std::string in_a_message(std::string text) {
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename());
  return names;
}

}  // namespace

// No trouble meanwhile, and whoever was entered: afterwards the subject is.
class Stage::Calm {
 public:
  explicit Calm(Stage& stage) : stage_(stage), was_calm_(std::exchange(stage.calm_, true)) {
    if (!was_calm_) stage_.trouble_.end();
  }
  Calm(const Calm&) = delete;
  Calm& operator=(const Calm&) = delete;
  ~Calm() {
    stage_.subject_.enter();
    stage_.calm_ = was_calm_;
    if (!was_calm_) stage_.trouble_.begin();
  }

 private:
  Stage& stage_;
  bool was_calm_;
};

// The library runs, for as long as this is there.
class Stage::Inside {
 public:
  explicit Inside(Trouble& trouble) : trouble_(trouble) { trouble_.enter(); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { trouble_.leave(); }

 private:
  Trouble& trouble_;
};

Stage::Stage(const Setting& setting, std::string directory, Trouble& trouble)
    : setting_(setting),
      directory_(std::move(directory)),
      path_(directory_ + "/a"),
      trouble_(trouble),
      subject_(world_, setting),
      other_(world_, setting),
      bystander_(world_, setting),
      waiter_(world_, setting) {
  subject_.system().before = [this](os::Call call) { return calm_ ? 0 : trouble_.before(call); };
  subject_.cut = [this](os::Call call) { return calm_ ? all_bytes : trouble_.cut(call); };
  subject_.loses_reply = [this](os::Call call) { return !calm_ && trouble_.loses_reply(call); };
  world_.on_sleep = [this] {
    note_idle_sleep();
    return false;
  };
}

Stage::~Stage() {
  os::Process::set_current(nullptr);
  std::error_code ignored;  // then the lives after this one are lived where others may come
  std::filesystem::permissions(directory_, std::filesystem::perms::owner_all, ignored);
}

bool Stage::other_holds(Mode mode) {
  other_.enter();
  others_ = std::make_unique<FileLock>(path_, options());
  std::error_code cannot;
  if (!others_->acquire(mode, 0s, cannot)) {
    EXPECT_NE(mode, Mode::exclusive) << cannot.message();
    others_.reset();
    return false;
  }
  held_ = Held::by_other;
  return true;
}

void Stage::other_reads() {
  other_.enter();
  others_ = std::make_unique<FileLock>(path_, options());
  std::error_code cannot;
  other_reads_ = others_->acquire(Mode::shared, 0s, cannot);
  if (!other_reads_) others_.reset();
  if (lock_) subject_.enter();
}

// So that what is left is the subject's doing alone.
void Stage::other_leaves() {
  if (!std::exchange(other_reads_, false) || !others_) return;
  other_.enter();
  EXPECT_TRUE(others_->i_am_locking()) << "somebody else's hold was removed";
  others_.reset();
}

void Stage::one_stands_in_line() {
  waiter_.enter();
  scheme_in_line_ = schemes::find_scheme(setting_.variant->scheme)->make({directory_, "a"}, options());
  in_line_ = scheme_in_line_->attempt({});
  EXPECT_TRUE(std::holds_alternative<Blocked>(in_line_->step())) << "it waits for nobody";
}

void Stage::the_one_in_line_leaves() {
  if (!in_line_) return;
  waiter_.enter();
  EXPECT_FALSE(in_line_->withdraw());
  in_line_.reset();
  scheme_in_line_.reset();
}

bool Stage::a_dead_one_holds(Mode mode) {
  Mortal victim(world_, setting_);
  victim.enter();
  FileLock lock(path_, options());
  std::error_code cannot;
  if (!lock.acquire(mode, 0s, cannot)) {
    EXPECT_NE(mode, Mode::exclusive) << cannot.message();
    return false;
  }
  victim.die();
  if (held_ == Held::no) held_ = Held::by_dead;
  dead_left_ = true;
  return true;
}

void Stage::other_ends_when_waited_for(Ends how) {
  world_.on_sleep = [this, how] {
    note_idle_sleep();
    return other_ends(how);
  };
}

// Has it?
bool Stage::other_ends(Ends how) {
  if (!others_) return false;
  const Calm calm(*this);
  if (how == Ends::dies) other_.die();
  other_.enter();
  others_.reset();  // releases, or only closes
  if (held_ == Held::by_other) held_ = how == Ends::dies ? Held::by_dead : Held::no;
  dead_left_ = how == Ends::dies;
  return true;
}

void Stage::line_goes_when_waited_for(bool makes_another) {
  if (!is_memory(*setting_.variant)) return other_ends_when_waited_for(Ends::releases);
  world_.on_sleep = [this, makes_another, sleeps = 0]() mutable {
    constexpr int before_the_line = 1;
    constexpr int in_line = 2;
    if (++sleeps == before_the_line) return false;
    if (sleeps > in_line + 1) return other_ends(Ends::releases);
    const Calm calm(*this);
    for (const std::string& each : names_in(directory_)) {
      if (each.ends_with(sleeps == in_line ? ".line" : ".wake")) std::filesystem::remove(directory_ + "/" + each);
    }
    if (sleeps == in_line && makes_another) one_stands_in_line();
    return false;
  };
}

void Stage::note_idle_sleep() {
  if (held_ == Held::no && !in_line_) ++idle_sleeps_;
}

void Stage::others_may_come() { std::filesystem::permissions(directory_, std::filesystem::perms::all); }

void Stage::a_foreign_file_stands() {
  write_file(word(), "somebody else's");
  held_ = Held::by_stranger;
}

void Stage::a_foreign_directory_stands() {
  std::filesystem::create_directory(word());
  held_ = Held::by_stranger;
}

void Stage::a_vacant_directory_stands() {
  std::filesystem::create_directory(word());
  if (::chmod(word().c_str(), 01777) != 0) throw std::runtime_error("cannot mark a directory");
  held_ = Held::by_nobody;
}

void Stage::all_sorts_are_left() {
  subject_.enter();
  const claim::Names names("a");
  const std::string boot = os::Process::current().identity().boot;
  std::uint64_t nonces = 0;
  const auto left = [&](std::string_view suffix) {
    return directory_ + "/" + names.side(claim::make_nonce(boot, ++nonces), suffix);
  };
  write_file(left(""), "");
  write_file(left(claim::suffix::numbering(7)), "7");
  write_file(left(claim::suffix::unpublished), "");
  write_file(left(claim::suffix::numbered(1, claim::suffix::group)), "");
  std::filesystem::create_symlink("nowhere", left(claim::suffix::trial));
  std::filesystem::create_directory(left(claim::suffix::directory));
  const std::string gone = left(claim::suffix::taken_away(3));
  std::filesystem::create_directory(gone);
  write_file(gone + "/holder", "");
  const std::string group = left(claim::suffix::numbered(2, claim::suffix::members));
  std::filesystem::create_directory(group);
  for (const char* const inside : {"", "/holder", "/holder/holder"}) {
    if (!std::filesystem::is_regular_file(word() + inside)) continue;
    write_file(group + "/" + claim::entry_name(claim::make_nonce(boot, ++nonces), 1), read_file(word() + inside));
  }
  if (setting_.mounted) return;  // what is one host's alone is not there on a network
  write_file(left(claim::suffix::line), "");
  write_file(directory_ + "/" + names.line(boot), "no line");
  write_file(directory_ + "/" + names.line("another boot"), "");
  for (const std::string_view fifo : {claim::suffix::wake, claim::suffix::fifo}) {
    if (::mkfifo(left(fifo).c_str(), 0600) != 0) throw std::runtime_error("cannot make a FIFO");
  }
}

void Stage::a_breaker_is_stuck() {
  const std::uint64_t byte = claim::remove_byte(lock_->holder().value().number);
  for (const char* const inside : {"", "/holder", "/holder/holder"}) {
    os::System& system = other_.system();
    const auto opened = system.open(os::no_directory, (word() + inside).c_str(), os::Open::update, 0);
    if (!opened.ok()) continue;
    breaker_ = std::make_unique<os::File>(system, opened.value);
    if (system.try_lock(breaker_->get(), byte) == 0) return;
  }
  throw std::runtime_error("cannot lock REMOVE");
}

void Stage::begin() {
  calm_ = false;
  trouble_.begin();
}

void Stage::open(const Options& with) {
  Options options = with;
  options.scheme = setting_.variant->scheme;
  fenced_ = options.fence;
  // Relative, so that the current directory is asked for.
  const std::error_code code = try_verb([&] {
    subject_.enter();
    lock_ = std::make_unique<FileLock>("a", options);
  });
  const Calm calm(*this);
  if (code) check_failure(code);
}

// What throws for want of memory, and nothing else.
template <class Verb>
std::error_code Stage::run(Verb verb) {
  try {
    const Inside inside(trouble_);
    verb();
    return {};
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

// Runs it, and keeps what it says.
template <class Verb>
std::error_code Stage::try_verb(Verb verb) {
  said_.clear();
  try {
    return run(verb);
  } catch (const Error& error) {
    said_ = error.what();
    return error.code();
  }
}

void Stage::check_failure(std::error_code code) {
  const bool own = code.category() == lockfile_category();
  // Documented: without a boot id no memory can be told from that of an earlier boot.
  const bool no_boot_id = is_memory(*setting_.variant) && code == std::errc::operation_not_supported;
  EXPECT_TRUE(own || trouble_.explains(code.value()) || deceived() || world_.slept_for_ever() || no_boot_id)
      << "failed with " << code.message();
  if (said_.empty()) return;  // the verb gives no more than the code
  EXPECT_TRUE(has(said_, "a.lock") || has(said_, "'a'")) << said_;
  EXPECT_TRUE(own || has(said_, in_a_message(code.message()))) << said_ << " does not name " << code.message();
}

std::error_code Stage::bystander_tries() {
  bystander_.enter();
  FileLock lock(path_, options());
  std::error_code code;
  lock.acquire(0s, code);
  return code;
}

void Stage::expect_obtainable(std::string_view when) {
  std::error_code code = bystander_tries();
  if (code && (setting_.variant->missing.marks || deceived())) {
    // Documented: where mkdir keeps no mark, a death between its two steps needs a forced break. And who was told that
    // its lock file is gone has left it there.
    FileLock lock(path_, options());
    std::error_code ignored;
    lock.break_lock(BreakWhat::foreign, ignored);
    code = bystander_tries();
  }
  EXPECT_FALSE(code) << "not to be had " << when << ": " << code.message();
}

bool Stage::acquire(const Wait& wait, Mode mode) {
  if (!lock_) return false;
  const auto began = world_.now();
  const std::error_code code = try_verb([&] { lock_->acquire(mode, wait); });
  const Calm calm(*this);
  // Where readers cannot be together, or byte locks do not work, and also when it was made to look so.
  if (mode != Mode::exclusive && code == std::errc::operation_not_supported) return false;
  EXPECT_TRUE(!world_.slept_for_ever() || deceived() || setting_.variant->missing.marks)
      << "an acquire would have slept for ever";
  if (!code) {
    EXPECT_NE(held_, Held::by_other) << "granted while another held";
    EXPECT_NE(held_, Held::by_stranger) << "granted while another program held";
    EXPECT_TRUE(lock_->i_am_locking()) << "a hold that was none";
    const auto holder = lock_->holder().value();
    const std::string hold = holder.nonce + "." + std::to_string(holder.number);
    if (count_ > 0 && !deceived()) {
      EXPECT_EQ(hold, hold_) << "a re-entry gave another hold";
    }
    hold_ = hold;
    if (mode == Mode::exclusive) expect_number();
    EXPECT_TRUE(bystander_tries()) << "a hold that was none: another was granted";
    held_ = Held::by_subject;
    ++count_;
    return true;
  }
  // Documented: where mkdir keeps no mark, whoever is cut off between its two steps leaves a directory that nobody may
  // take for its own.
  if (setting_.variant->missing.marks && std::filesystem::exists(word())) held_ = Held::by_nobody;
  if (held_ == Held::no) {
    EXPECT_TRUE(deceived() || idle_sleeps_ == 0) << "waited for what is not contention";
    EXPECT_TRUE(deceived() || other_reads_ || code.category() != lockfile_category())
        << "nobody else was there: " << said_;
  }
  if (code == errc::timed_out) {
    EXPECT_GE(world_.now() - began, wait.limit().value_or(0ns)) << "gave up too early";
  }
  check_failure(code);
  stands_ = trouble_.is_total();
  return false;
}

void Stage::expect_number() {
  if (!fenced_) return;
  EXPECT_TRUE(lock_->fence() > fence_ || count_ > 0 || deceived()) << "a number came again";
  EXPECT_NE(lock_->fence(), 0U) << "a hold without the number that was asked for";
  fence_ = lock_->fence();
}

// Whatever came of it: exclusive, or as before, or lost where the trouble struck between the two.
void Stage::check_conversion(std::error_code code) {
  EXPECT_TRUE(!world_.slept_for_ever() || deceived()) << "an upgrade would have slept for ever";
  if (code == errc::not_locked || code == errc::not_my_lock) {
    count_ = 0;
    held_ = Held::no;
    other_leaves();
    the_one_in_line_leaves();
    if (!deceived()) expect_obtainable("after a hold was lost");
    return;
  }
  EXPECT_TRUE(deceived() || lock_->i_am_locking()) << "the hold is gone, and nobody was told";
  if (!deceived()) {
    EXPECT_TRUE(bystander_tries()) << "a hold that was none: another was granted";
  }
  if (code && code != std::errc::operation_not_supported) check_failure(code);
}

void Stage::upgrade(const Wait& wait) {
  if (count_ == 0) return;
  const std::error_code code = try_verb([&] { lock_->upgrade(wait); });
  const Calm calm(*this);
  check_conversion(code);
  if (code) return;
  expect_number();
  exclusive_ = true;
  expect_no_reader();
}

void Stage::expect_no_reader() {
  if (deceived()) return;
  bystander_.enter();
  FileLock reader(path_, options());
  std::error_code refused;
  EXPECT_FALSE(reader.acquire(Mode::shared, 0s, refused)) << "a reader beside an exclusive hold";
}

void Stage::downgrade(Mode to) {
  if (count_ == 0) return;
  const std::error_code code = try_verb([&] { lock_->downgrade(to, 1s); });
  const Calm calm(*this);
  check_conversion(code);
  if (!code || count_ == 0) exclusive_ = false;
  if (exclusive_) expect_no_reader();
}

void Stage::release() {
  if (count_ == 0) return;
  const std::error_code code = try_verb([&] { lock_->release(); });
  const Calm calm(*this);
  if (code) check_failure(code);
  if (--count_ > 0) {
    EXPECT_TRUE(deceived() || lock_->i_am_locking()) << "an inner release ended the hold";
    return;
  }
  held_ = Held::no;
  EXPECT_TRUE(deceived() || !code || code.category() != lockfile_category()) << "nobody broke it: " << said_;
  const bool beside_a_breaker = std::exchange(breaker_, nullptr) != nullptr;
  // Where neither the lock file could be removed nor the record marked, it stands until the process ends.
  stands_ = code && (trouble_.is_total() || beside_a_breaker);
  other_leaves();
  the_one_in_line_leaves();
  if (!deceived() && !stands_) expect_obtainable("after its release");
}

void Stage::renew() {
  if (count_ == 0) return;
  const std::error_code code = try_verb([&] { lock_->renew(); });
  const Calm calm(*this);
  if (code) check_failure(code);
  EXPECT_TRUE(deceived() || !code || code.category() != lockfile_category()) << "nobody broke it: " << said_;
  EXPECT_TRUE(deceived() || lock_->i_am_locking()) << "a renewal ended the hold";
  EXPECT_TRUE(code || lock_->lease_left() == 1s) << "renewed, and not for the whole ttl";
}

void Stage::break_stale() {
  if (!lock_) return;
  bool broken = false;
  const std::error_code code = try_verb([&] { broken = lock_->break_stale(); });
  const Calm calm(*this);
  if (code) check_failure(code);
  if (broken) {
    EXPECT_EQ(held_, Held::by_dead);
    expect_obtainable("after a break");
    held_ = Held::no;
  }
}

void Stage::break_by_force(BreakWhat what) {
  if (!lock_) return;
  bool broken = false;
  const std::error_code code = try_verb([&] { broken = lock_->break_lock(what); });
  const Calm calm(*this);
  if (code) check_failure(code);
  EXPECT_TRUE(broken || code || deceived()) << "neither broken nor told why not";
  if (held_ == Held::by_stranger) {
    if (!std::filesystem::exists(word())) held_ = Held::no;
    EXPECT_TRUE(!broken || held_ == Held::no) << "said to be broken and still there";
  } else if (held_ == Held::by_other) {
    other_.enter();
    const bool still = others_->i_am_locking();
    // Of several readers it may have been told that one is not there.
    EXPECT_TRUE(!broken || !still || deceived()) << "said to be broken and still held";
    if (!still) {
      std::error_code told;
      others_->release(told);
      EXPECT_EQ(told, errc::not_locked);
      others_.reset();
      held_ = Held::no;
    }
  }
  if (broken && held_ == Held::no) expect_obtainable("after a break");
}

void Stage::hand_over() {
  if (count_ == 0) return;
  std::error_code unshared;
  int guard = -1;
  (void)try_verb([&] { guard = lock_->share_guard(unshared); });  // throws nothing
  EXPECT_EQ(guard < 0, static_cast<bool>(unshared));
  std::int64_t child = 0;
  const auto child_dies = [&] {
    world_.die(child);
    if (guard >= 0) subject_.system().close(guard);
  };
  {
    const Calm calm(*this);
    if (unshared) check_failure(unshared);
    if (unshared && on_the_file()) return;  // there the child has the hold by that descriptor, or not at all
    child = world_.give_birth();
  }
  const std::error_code code = try_verb([&] { lock_->hand_over(child); });
  const Calm calm(*this);
  if (code) check_failure(code);
  if (code) {
    EXPECT_TRUE(bystander_tries()) << "a refused hand-over ended the hold";
    child_dies();
    return;
  }
  subject_.die();
  lock_.reset();
  EXPECT_TRUE(bystander_tries()) << "handed over to nobody";
  child_dies();
  count_ = 0;
  held_ = Held::by_dead;
  dead_left_ = true;
}

void Stage::look() {
  if (!lock_) return;
  const bool held = held_ == Held::by_other || held_ == Held::by_stranger;
  bool locked = false;
  const std::error_code code = try_verb([&] { locked = lock_->is_locked(); });
  const std::string first_said = said_;
  std::optional<Holder> holder;
  const std::error_code of_holder = try_verb([&] { holder = lock_->holder(); });
  bool ours = false;
  std::vector<Standing> standing;
  std::error_code of_list;
  std::error_code of_leftovers;
  if (const std::error_code none = run([&] {
        ours = lock_->i_am_locking();
        standing = list_locks(directory_, of_list);
      })) {
    of_list = none;
  }
  if (const std::error_code none = run([&] { (void)leftovers(directory_, Clean::look_only, of_leftovers); })) {
    of_leftovers = none;
  }
  const Calm calm(*this);
  EXPECT_FALSE(ours) << "another holds";
  EXPECT_TRUE(locked == held || code || deceived()) << "said to be free";
  EXPECT_TRUE(holder.has_value() == held || of_holder || deceived()) << "said to be nobody's";
  EXPECT_TRUE(standing.empty() != held || of_list || deceived() || file_stays()) << "not listed";
  if (of_holder) check_failure(of_holder);
  said_ = first_said;
  if (code) check_failure(code);
  said_.clear();
  if (of_list) check_failure(of_list);
  if (of_leftovers) check_failure(of_leftovers);
}

void Stage::clean(Clean how) {
  std::error_code code;
  if (const std::error_code none = run([&] { (void)leftovers(directory_, how, code); })) code = none;
  const Calm calm(*this);
  said_.clear();
  if (code) check_failure(code);
}

void Stage::examine() {
  std::error_code code;
  Examination seen;
  if (const std::error_code none = run([&] { seen = lockfile::examine(directory_, code); })) code = none;
  const Calm calm(*this);
  said_.clear();
  if (code) check_failure(code);
  EXPECT_TRUE(code || !seen.findings.empty());
}

void Stage::wait_until_free(const Wait& wait) {
  std::error_code code;
  if (const std::error_code none = run([&] {
        subject_.enter();
        lockfile::wait_until_free("a", wait, code, setting_.variant->scheme);
      })) {
    code = none;
  }
  const Calm calm(*this);
  said_.clear();
  EXPECT_TRUE(!world_.slept_for_ever() || deceived()) << "a wait would have slept for ever";
  EXPECT_TRUE(code || held_ == Held::no || held_ == Held::by_dead || deceived()) << "said to be free while held";
  if (code) check_failure(code);
}

// The last number stays.
std::vector<std::string> Stage::names_left() const {
  std::vector<std::string> names = names_in(directory_);
  if (fenced_) std::erase(names, "a.lock.fence");
  return names;
}

void Stage::drop() {
  (void)run([&] { lock_.reset(); });
  if (count_ > 0) {
    held_ = Held::no;
    stands_ = trouble_.is_total();
  }
  count_ = 0;
}

// The file of a kernel lock, or of shared memory, stays, and nothing beside it.
void Stage::remove_file_that_stays() const {
  if (file_stays()) std::filesystem::remove(word());
}

void Stage::finish() {
  if (!calm_) trouble_.end();
  calm_ = true;
  world_.on_sleep = nullptr;
  the_one_in_line_leaves();
  subject_.enter();
  while (count_ > 0) release();
  lock_.reset();
  if (others_) {
    other_.enter();
    EXPECT_TRUE(others_->i_am_locking()) << "somebody else's hold was removed";
    others_->release();
    others_.reset();
  }
  if (held_ == Held::by_stranger) {
    EXPECT_TRUE(std::filesystem::exists(word())) << "another program's lock was removed";
    std::filesystem::remove(word());
  }
  if (!deceived() && !stands_) expect_obtainable("when the trouble is over");
  remove_file_that_stays();
  // What the dead left is swept at the next contention, and what could not be removed or was on its way out by doctor.
  if (!deceived() && !stands_ && !dead_left_ && !trouble_.hindered_a_removal()) {
    for (const std::string& name : names_left()) {
      EXPECT_TRUE(name.ends_with(".gone") || name.ends_with(".group")) << name << " left behind";
    }
  }
  subject_.die();
  const std::size_t left_open = subject_.close_all();
  EXPECT_TRUE(left_open == 0 || deceived()) << left_open << " descriptors left open";
  expect_obtainable("when its process has ended");
  remove_file_that_stays();
  // Of a group that was never published, on a network, entries of the living are left where they are.
  if (setting_.mounted) other_.die();
  bystander_.enter();
  std::error_code code;
  for (const Leftover& left : leftovers(directory_, Clean::remove_dead, code)) {
    EXPECT_TRUE(left.removed) << left.name << " is not cleaned: " << left.note;
  }
  EXPECT_EQ(names_left(), std::vector<std::string>()) << "left behind after doctor";
  if (fenced_) std::filesystem::remove(word() + ".fence");
  EXPECT_FALSE(world_.closed_twice()) << "closed what was not open";
}

// --- the scenarios ---

namespace {

void play_life(Stage& stage) {
  stage.begin();
  stage.open();
  if (!stage.acquire(for_ever)) return;
  stage.acquire(for_ever);
  stage.release();
  stage.release();
  stage.acquire(0s);
  stage.drop();
}

void play_life_for_everyone(Stage& stage) {
  stage.begin();
  stage.open({.access = Access::everyone});
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

void play_fenced_life(Stage& stage) {
  stage.begin();
  stage.open({.fence = true});
  if (!stage.acquire(0s)) return;
  stage.release();
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

void play_fenced_life_for_everyone(Stage& stage) {
  stage.begin();
  stage.open({.access = Access::everyone, .fence = true});
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

// Instead of lives with readers, where there can be none.
void play_refused_reader(Stage& stage, Mode mode = Mode::shared) {
  stage.open();
  stage.begin();
  EXPECT_FALSE(stage.acquire(0s, mode));
  stage.drop();
}

void convert_up_and_down(Stage& stage) {
  if (!stage.acquire(0s, Mode::upgradable)) return;
  stage.upgrade(0s);
  stage.downgrade(Mode::upgradable);
  stage.upgrade(0s);
  stage.downgrade(Mode::shared);
  stage.release();
  stage.drop();
}

void play_readers_for_everyone(Stage& stage) {
  stage.others_may_come();
  stage.open({.access = Access::everyone});
  stage.begin();
  if (stage.acquire(0s, Mode::shared)) stage.release();
  convert_up_and_down(stage);
}

void play_leased_life(Stage& stage) {
  stage.begin();
  stage.open({.lease = 1s});
  if (!stage.acquire(0s)) return;
  stage.renew();
  stage.renew();
  stage.release();
  stage.drop();
}

void play_upgrade(Stage& stage) {
  stage.open();
  stage.begin();
  convert_up_and_down(stage);
}

// Its claim is W, until a second reader comes and makes a group of the two.
void play_release_beside_one_who_joined(Stage& stage) {
  stage.open();
  if (!stage.acquire(0s, Mode::shared)) return play_refused_reader(stage);
  stage.other_reads();
  stage.begin();
  stage.release();
  stage.drop();
}

void play_upgrade_beside_one_who_joined(Stage& stage) {
  stage.open();
  if (!stage.acquire(0s, Mode::upgradable)) return play_refused_reader(stage, Mode::upgradable);
  stage.other_reads();
  stage.other_ends_when_waited_for(Stage::Ends::releases);
  stage.begin();
  stage.upgrade(for_ever);
  stage.release();
  stage.drop();
}

void play_fenced_upgrade(Stage& stage) {
  stage.open({.fence = true});
  stage.begin();
  convert_up_and_down(stage);
}

void play_upgrade_beside_a_reader(Stage& stage) {
  stage.other_reads();
  stage.open();
  stage.other_ends_when_waited_for(Stage::Ends::releases);
  stage.begin();
  if (!stage.acquire(0s, Mode::upgradable)) return;
  stage.upgrade(for_ever);
  stage.release();
  stage.drop();
}

// It looks again, and lines up again.
void play_upgrade_in_a_line_that_goes(Stage& stage, bool another_is_made) {
  stage.other_reads();
  stage.open();
  stage.line_goes_when_waited_for(another_is_made);
  stage.begin();
  if (!stage.acquire(0s, Mode::upgradable)) return;
  stage.upgrade(for_ever);
  stage.release();
  stage.drop();
}

void play_upgrade_robbed_of_its_line(Stage& stage) { play_upgrade_in_a_line_that_goes(stage, false); }

void play_upgrade_whose_line_is_another(Stage& stage) { play_upgrade_in_a_line_that_goes(stage, true); }

void play_upgrade_beside_a_dying_reader(Stage& stage) {
  stage.other_reads();
  stage.open();
  stage.other_ends_when_waited_for(Stage::Ends::dies);
  stage.begin();
  if (!stage.acquire(0s, Mode::upgradable)) return;
  stage.upgrade(for_ever);
  stage.downgrade(Mode::shared);
  stage.release();
  stage.drop();
}

void play_refused(Stage& stage) {
  stage.other_holds();
  stage.open();
  stage.begin();
  stage.acquire(0s);
  stage.acquire(5ms);
  stage.drop();
}

void play_waited_for_release(Stage& stage) {
  stage.other_holds();
  stage.other_ends_when_waited_for(Stage::Ends::releases);
  stage.open();
  stage.begin();
  if (stage.acquire(for_ever)) stage.release();
  stage.drop();
}

void play_waited_for_death(Stage& stage) {
  stage.other_holds();
  stage.other_ends_when_waited_for(Stage::Ends::dies);
  stage.open();
  stage.begin();
  if (stage.acquire(for_ever)) stage.release();
  stage.drop();
}

// It looks at the lock now and then, and goes past who does not move when it is free.
void play_behind_one_in_line(Stage& stage) {
  stage.other_holds();
  stage.one_stands_in_line();
  stage.open();
  stage.begin();
  stage.acquire(2s);
  stage.other_ends_when_waited_for(Stage::Ends::releases);
  if (stage.acquire(for_ever)) stage.release();
  stage.drop();
}

void play_dead_holder(Stage& stage) {
  stage.a_dead_one_holds();
  stage.begin();
  stage.open();
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

bool dead_ones_read(Stage& stage) {
  return stage.a_dead_one_holds(Mode::shared) && stage.a_dead_one_holds(Mode::shared);
}

void play_dead_readers(Stage& stage) {
  if (!dead_ones_read(stage)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

void play_reader_after_a_writer(Stage& stage) {
  stage.open();
  if (!stage.acquire(0s)) return;
  stage.release();
  stage.begin();
  if (stage.acquire(0s, Mode::shared)) stage.release();
  stage.drop();
}

void play_reader_beside_a_dead_one(Stage& stage) {
  if (!stage.a_dead_one_holds(Mode::shared)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  if (stage.acquire(0s, Mode::shared)) stage.release();
  stage.drop();
}

void play_refused_by_readers(Stage& stage) {
  if (!stage.other_holds(Mode::shared) || !dead_ones_read(stage)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  stage.acquire(0s);
  stage.drop();
}

void play_break_of_dead_readers(Stage& stage) {
  if (!dead_ones_read(stage)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  stage.break_stale();
  stage.drop();
}

void play_forced_break_of_readers(Stage& stage) {
  if (!stage.other_holds(Mode::shared) || !stage.a_dead_one_holds(Mode::shared)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  stage.break_by_force(BreakWhat::ours);
  stage.drop();
}

void play_stale_break(Stage& stage) {
  stage.a_dead_one_holds();
  stage.open();
  stage.begin();
  stage.break_stale();
  stage.drop();
}

void play_forced_break(Stage& stage) {
  stage.other_holds();
  stage.open();
  stage.begin();
  stage.break_by_force(BreakWhat::ours);
  stage.drop();
}

void play_break_of_a_foreign_file(Stage& stage) {
  stage.a_foreign_file_stands();
  stage.open();
  stage.begin();
  stage.acquire(0s);
  stage.break_by_force(BreakWhat::foreign);
  stage.drop();
}

void play_break_of_a_foreign_directory(Stage& stage) {
  stage.a_foreign_directory_stands();
  stage.open();
  stage.begin();
  stage.acquire(0s);
  stage.break_by_force(BreakWhat::foreign);
  stage.drop();
}

void play_vacant_directory(Stage& stage) {
  stage.a_vacant_directory_stands();
  stage.open();
  stage.begin();
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

void play_release_beside_a_stuck_breaker(Stage& stage) {
  stage.open();
  if (!stage.acquire(0s)) return;
  stage.a_breaker_is_stuck();
  stage.begin();
  stage.release();
  stage.drop();
}

void play_hand_over(Stage& stage) {
  stage.open();
  if (!stage.acquire(0s)) return;
  stage.begin();
  stage.hand_over();
}

void play_look(Stage& stage) {
  stage.other_holds();
  stage.open();
  stage.begin();
  stage.look();
}

void play_clean(Stage& stage) {
  stage.a_dead_one_holds();
  stage.open();
  stage.begin();
  stage.clean();
}

void play_clean_of_all_sorts(Stage& stage) {
  stage.a_dead_one_holds();
  stage.open();
  stage.all_sorts_are_left();
  stage.begin();
  stage.clean(Clean::look_only);
  stage.clean();
}

void play_contention_among_all_sorts(Stage& stage) {
  stage.a_dead_one_holds();
  stage.open();
  stage.all_sorts_are_left();
  stage.begin();
  if (stage.acquire(0s)) stage.release();
  stage.drop();
}

void play_clean_beside_the_living(Stage& stage) {
  stage.other_holds();
  stage.open();
  stage.begin();
  stage.clean();
}

void play_clean_after_readers(Stage& stage) {
  if (!dead_ones_read(stage)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  stage.clean();
}

void play_look_at_readers(Stage& stage) {
  if (!stage.other_holds(Mode::shared) || !stage.a_dead_one_holds(Mode::shared)) return play_refused_reader(stage);
  stage.open();
  stage.begin();
  stage.look();
}

void play_examine(Stage& stage) {
  stage.open();
  stage.begin();
  stage.examine();
}

void play_wait_until_free(Stage& stage) {
  stage.other_holds();
  stage.other_ends_when_waited_for(Stage::Ends::releases);
  stage.begin();
  stage.wait_until_free(for_ever);
}

}  // namespace

std::span<const Scenario> scenarios() {
  static constexpr std::array all = {
      Scenario{"life", play_life},
      Scenario{"life_for_everyone", play_life_for_everyone},
      Scenario{"fenced_life", play_fenced_life, true},
      Scenario{"fenced_life_for_everyone", play_fenced_life_for_everyone, true},
      Scenario{"leased_life", play_leased_life, true},
      Scenario{"readers_for_everyone", play_readers_for_everyone},
      Scenario{"upgrade", play_upgrade},
      Scenario{"fenced_upgrade", play_fenced_upgrade, true},
      Scenario{"upgrade_beside_a_reader", play_upgrade_beside_a_reader},
      Scenario{"upgrade_robbed_of_its_line", play_upgrade_robbed_of_its_line},
      Scenario{"upgrade_whose_line_is_another", play_upgrade_whose_line_is_another},
      Scenario{"upgrade_beside_a_dying_reader", play_upgrade_beside_a_dying_reader},
      Scenario{"release_beside_one_who_joined", play_release_beside_one_who_joined},
      Scenario{"upgrade_beside_one_who_joined", play_upgrade_beside_one_who_joined},
      Scenario{"refused", play_refused},
      Scenario{"waited_for_release", play_waited_for_release},
      Scenario{"waited_for_death", play_waited_for_death},
      Scenario{"behind_one_in_line", play_behind_one_in_line},
      Scenario{"dead_holder", play_dead_holder},
      Scenario{"contention_among_all_sorts", play_contention_among_all_sorts, true},
      Scenario{"dead_readers", play_dead_readers},
      Scenario{"reader_after_a_writer", play_reader_after_a_writer},
      Scenario{"reader_beside_a_dead_one", play_reader_beside_a_dead_one},
      Scenario{"refused_by_readers", play_refused_by_readers},
      Scenario{"break_of_dead_readers", play_break_of_dead_readers},
      Scenario{"forced_break_of_readers", play_forced_break_of_readers},
      Scenario{"stale_break", play_stale_break},
      Scenario{"forced_break", play_forced_break},
      Scenario{"break_of_a_foreign_file", play_break_of_a_foreign_file, true},
      Scenario{"break_of_a_foreign_directory", play_break_of_a_foreign_directory, true},
      Scenario{"vacant_directory", play_vacant_directory, true},
      Scenario{"release_beside_a_stuck_breaker", play_release_beside_a_stuck_breaker, true},
      Scenario{"hand_over", play_hand_over},
      Scenario{"look", play_look},
      Scenario{"look_at_readers", play_look_at_readers},
      Scenario{"clean", play_clean, true},
      Scenario{"clean_after_readers", play_clean_after_readers, true},
      Scenario{"clean_of_all_sorts", play_clean_of_all_sorts, true},
      Scenario{"clean_beside_the_living", play_clean_beside_the_living, true},
      Scenario{"examine", play_examine, true},
      Scenario{"wait_until_free", play_wait_until_free},
  };
  return all;
}

std::vector<Scenario> scenarios_of(const Setting& setting) {
  std::vector<Scenario> chosen;
  for (const Scenario& each : scenarios()) {
    const bool stays = is_kernel(*setting.variant) || is_memory(*setting.variant);
    if (!each.of_lock_files || !stays) chosen.push_back(each);
  }
  return chosen;
}

Ground::Ground() : before_(std::filesystem::current_path()) { std::filesystem::current_path(scratch_.path()); }

Ground::~Ground() {
  std::error_code ignored;  // then the next test has nowhere to return to, and says so itself
  std::filesystem::current_path(before_, ignored);
}

void Ground::clear() const {
  for (const std::string& each : scratch_.names()) std::filesystem::remove_all(scratch_.path() / each);
}

std::size_t play(const Setting& setting, const Scenario& scenario, const Ground& ground, Trouble& trouble) {
  Stage stage(setting, ground.path(), trouble);
  scenario.play(stage);
  stage.finish();
  return stage.most_open();
}

bool Lives::live(const Scenario& scenario, Trouble& trouble) {
  const ::testing::TestResult& result = *::testing::UnitTest::GetInstance()->current_test_info()->result();
  const int complaints = result.total_part_count();
  try {
    most_open_ = play(GetParam(), scenario, ground_, trouble);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "the life threw: " << error.what();
  }
  if (result.total_part_count() == complaints) return true;
  ADD_FAILURE() << "that was " << scenario.name << " " << trouble.describe();
  ground_.clear();
  return false;
}

}  // namespace lockfile::testing
