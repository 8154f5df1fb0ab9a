// A simulated world: hosts, processes, one file system with its byte locks, watches and pipes of events, and time. It
// knows nothing of schedules: each of its functions is one atomic deed of a kernel or a file server, and says in
// `touched` what it has looked at and what it has changed, from which the explorer knows which deeds commute.
//
// What it is harsher in than most real ones: inode numbers are given out again at once; a death and a close send their
// events before the byte locks drop; a network client believes its memory of names for as long as it may.
#pragma once

#include "os/system.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockfile::simulation {

/// What a step did to one thing of the world. Two steps commute unless one of them disturbs the other's.
struct Touch {
  enum class How : std::uint8_t {
    look,    ///< read it
    change,  ///< wrote it
    add,     ///< wrote it, in a way in which the order among adders does not matter
  };
  std::uint64_t what = 0;
  How how = How::look;
};
using Footprint = std::vector<Touch>;
[[nodiscard]] bool disturb(const Footprint& one, const Footprint& other) noexcept;

struct Node;
struct Process;
struct Host;

/// An inotify instance or an eventfd.
struct Queue {
  std::uint64_t id = 0;
  const Host* host = nullptr;
  std::deque<int> notices;  // numbers of watches
  int next_watch = 1;
  bool set = false;
};

struct Watcher {
  Queue* queue = nullptr;
  int number = -1;
  os::Notice what = os::Notice::file;
};

/// An open file description: forked processes share it.
struct Description {
  enum class Kind : std::uint8_t { file, process, queue };
  Kind kind = Kind::file;
  bool writable = false;
  bool reads_fifo = false;
  int references = 0;
  std::uint64_t id = 0;
  Node* node = nullptr;
  Process* process = nullptr;  // of a pidfd
  Queue* queue = nullptr;
  Host* host = nullptr;
};

struct ByteLock {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  Description* by = nullptr;
  Host* seen_on = nullptr;  // null: everywhere
  bool shared = false;
};

struct FlockLock {
  Description* by = nullptr;
  bool shared = false;
};

struct Node {
  std::uint64_t id = 0;      // never given out again; for the explorer
  std::uint64_t number = 0;  // the inode number
  os::FileType type = os::FileType::regular;
  std::uint32_t mode = 0;
  std::string bytes;
  std::string synced;  // what a power cut leaves
  std::uint64_t links = 0;
  int opened = 0;
  bool freed = false;
  std::map<std::string, Node*, std::less<>> entries;
  std::map<std::string, Node*, std::less<>> synced_entries;  // what a power cut leaves, where it takes names
  std::string target;                                        // of a symbolic link
  std::vector<ByteLock> locks;
  std::vector<FlockLock> flocks;
  std::vector<Watcher> watchers;
  // What clients have read of it, and when.
  std::map<const Host*, std::pair<std::chrono::steady_clock::time_point, std::string>> cached;
  int readers = 0;                           // of a FIFO
  bool token = false;                        // a FIFO with something in it
  std::unique_ptr<os::SharedWord[]> mapped;  // the bytes, once anybody has mapped them, and room to grow
  std::size_t mapped_words = 0;              // as many as were mapped at first
  [[nodiscard]] std::size_t mapped_room() const noexcept { return mapped_words * 3; }
  Host* writer = nullptr;
  std::pair<Node*, std::string> silly;  // on a network: the name of a removed file that its remover has open
};

struct Host {
  std::uint64_t id = 0;
  std::string name;
  std::string boot;
  int boots = 0;
  bool locks_stay_here = false;        // mounted with `nolock`
  std::int64_t drift_ppm = 0;          // by so much its clocks are fast
  std::chrono::nanoseconds asleep{0};  // so long its machine has slept; CLOCK_MONOTONIC does not know
  // A network client's memory: what a name meant when it last asked. Null: it was not there.
  std::map<std::pair<std::uint64_t, std::string>, Node*> remembered;
};

struct Process {
  enum class State : std::uint8_t { running, exiting, zombie, reaped };
  State state = State::running;
  std::string name;
  Host* host = nullptr;
  std::uint64_t space = 1;  // pid namespace
  std::int64_t pid = 0;
  std::uint64_t start = 0;
  std::uint64_t id = 0;
  std::uint64_t drawn = 0;  // random numbers
  std::map<int, Description*> descriptors;
  // Faults to come.
  int fail_next = 0;
  bool lose_next_reply = false;
};

/// The kinds of file system there are to simulate.
struct FileSystemKind {
  bool network = false;
  bool hard_links = true;
  bool unnamed_files = true;
  bool rename_new = true;
  bool byte_locks = true;
  bool notices = true;
  bool lines = false;                      ///< FIFOs can be made: waiters line up, and every story is longer
  bool others_write = true;                ///< the directory of the lock is everybody's
  bool forgets_names = false;              ///< a power cut takes what was done to a directory since it was last synced
  std::chrono::milliseconds stale_for{0};  ///< on a network: so long a client believes what it has read of a file
  bool every_close_is_seen = false;        ///< somebody may watch for closes: they count as steps, whatever is closed
};

class World {
 public:
  explicit World(const FileSystemKind& kind);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  [[nodiscard]] Footprint& touched() noexcept { return touched_; }
  /// Whose deeds the next ones are: on a network, a client learns by events only of what it did itself.
  void acts(const Host* host) noexcept { acting_ = host; }

  Host& add_host(std::string name);
  Process& add_process(Host& host, std::string name, std::uint64_t space = 1, std::int64_t pid = 0);

  // Deeds of the kernel, for a process. Numbers of errors as in os::System.
  os::Result<int> open(Process& by, Node* at, std::string_view name, os::Open how, std::uint32_t mode);
  /// Closes in two deeds: true if a second one, `close_finally`, is needed, for the locks drop after the event.
  bool close_begins(Process& by, int descriptor);
  void close_finally(Process& by, int descriptor);
  os::Result<std::size_t> read(Process& by, int descriptor, std::span<char> into, std::uint64_t offset);
  os::Result<std::size_t> write(Process& by, int descriptor, std::string_view bytes, std::uint64_t offset);
  os::Status sync(Process& by, int descriptor);
  os::Result<os::FileInfo> stat(Process& by, int descriptor);
  os::Result<os::FileInfo> stat_at(Process& by, Node* at, std::string_view name, os::Links links);
  os::Status link(Process& by, Node* from_at, std::string_view from, Node* to_at, std::string_view to);
  os::Status link_temporary(Process& by, int descriptor, Node* at, std::string_view name);
  os::Status unlink(Process& by, Node* at, std::string_view name);
  os::Status make_directory(Process& by, Node* at, std::string_view name, std::uint32_t mode);
  os::Status remove_directory(Process& by, Node* at, std::string_view name);
  os::Status rename(Process& by, Node* from_at, std::string_view from, Node* to_at, std::string_view to, bool replace);
  os::Status make_symlink(Process& by, std::string_view target, Node* at, std::string_view name);
  os::Status set_mode(Process& by, int descriptor, std::uint32_t mode);
  os::Result<std::vector<std::string>> list(Process& by, int descriptor);
  os::Status try_lock(Process& by, int descriptor, std::uint64_t byte);
  os::Status unlock(Process& by, int descriptor, std::uint64_t first, std::uint64_t count);
  os::Result<bool> lock_seen(Process& by, int descriptor, std::uint64_t byte);
  os::Status try_lock_shared(Process& by, int descriptor, std::uint64_t byte);
  os::Status flock(Process& by, int descriptor, os::Flock how);
  os::Status touch_file(Process& by, int descriptor);
  os::Result<int> duplicate(Process& by, int descriptor);
  os::Status make_fifo(Process& by, Node* at, std::string_view name, std::uint32_t mode);
  os::Status fifo_put(Process& by, int descriptor);
  os::Result<bool> fifo_drain(Process& by, int descriptor);
  os::Result<os::SharedWord*> map(Process& by, int descriptor, std::size_t words);
  std::uint64_t load(const os::SharedWord& word);
  void store(os::SharedWord& word, std::uint64_t value);
  bool compare_exchange(os::SharedWord& word, std::uint64_t expected, std::uint64_t desired);
  [[nodiscard]] std::string name_of(const os::SharedWord& word) const;
  /// Which of the words of that file it is; nothing: it is another's.
  [[nodiscard]] std::optional<std::size_t> number_in(const Node* node, const os::SharedWord& word) const;
  /// Has the file that it is in a name still?
  [[nodiscard]] bool has_name(const os::SharedWord& word) const;
  /// Which word of its file it is, if the file has so many.
  [[nodiscard]] std::optional<std::size_t> word_of_file(const os::SharedWord& word, std::size_t words) const;

  os::Result<int> open_process(Process& by, std::int64_t pid);
  os::Result<bool> readable(Process& by, int descriptor);
  [[nodiscard]] bool would_fire(Process& by, int descriptor);  ///< the same without touching
  bool process_exists(Process& by, std::int64_t pid);
  os::Result<std::uint64_t> process_start(Process& by, std::int64_t pid);
  std::uint64_t random(Process& by);

  os::Result<int> notify_open(Process& by);
  os::Result<int> notify_add(Process& by, int notify, int descriptor, os::Notice what);
  void notify_remove(Process& by, int notify, int watch);
  os::Result<std::vector<os::Notification>> notify_read(Process& by, int notify);
  os::Result<int> event_open(Process& by);
  void event_set(Process& by, int event);
  void event_clear(Process& by, int event);

  [[nodiscard]] std::chrono::steady_clock::time_point now();
  [[nodiscard]] std::chrono::steady_clock::time_point peek_now() const noexcept { return now_; }
  /// What CLOCK_BOOTTIME of that host says.
  [[nodiscard]] std::chrono::nanoseconds since_boot(const Host& host);
  [[nodiscard]] std::chrono::nanoseconds peek_since_boot(const Host& host) const noexcept;
  void advance_to(std::chrono::steady_clock::time_point when);

  /// One part of a path: whoever walks takes a step for each.
  [[nodiscard]] os::Result<Node*> look_up_directory(Process& by, Node* at, std::string_view name);
  [[nodiscard]] Node& root() noexcept { return *root_; }
  [[nodiscard]] Description* description(Process& by, int descriptor);

  // Deaths, in three deeds each: it stops; its descriptors close; it is seen to have ended.
  void die_begins(Process& process);
  void die_closes(Process& process);
  void die_ends(Process& process);
  /// Its parent has waited for it, and another process has the number now.
  Process& reuse_pid(Process& dead);
  /// A child by a bare clone(2), with a copy of every descriptor.
  Process& fork(Process& parent);
  void close_all(Process& process);
  /// Power cut: what was not synced is lost, what runs on the host is gone; then it boots again.
  void power_cut(Host& host);
  /// The server gives up on a client: its byte locks go.
  void drop_locks_of(Host& host);
  /// Looks of every client are fresh again.
  void forget_remembered();

  // For oracles: without touching.
  [[nodiscard]] Node* peek(std::string_view directory, std::string_view name) const;
  [[nodiscard]] std::vector<std::string> peek_list(std::string_view directory) const;
  [[nodiscard]] const FileSystemKind& kind() const noexcept { return kind_; }

 private:
  Node& new_node(os::FileType type, std::uint32_t mode);
  void enter(Node& directory, std::string_view name, Node& node);
  void leave(Node& directory, std::string_view name, Node& node);
  void free_if_unused(Node& node);
  void notice(Node& node, unsigned events);
  void tell(const Watcher& watcher);
  Description& new_description(Process& by, Description::Kind kind, int& number);
  void drop(Description& description);
  void forget_names(Node& directory);
  /// The file that a mapped word is in, and which of its words it is.
  [[nodiscard]] std::pair<Node*, std::size_t> mapped_at(const os::SharedWord& word) const;
  void touch_word(const os::SharedWord& word, Touch::How how);
  [[nodiscard]] std::size_t read_mapped(const Node& node, std::span<char> into, std::uint64_t offset);
  os::Result<std::size_t> write_mapped(Node& node, std::string_view bytes, std::uint64_t offset);
  void drop_locks(Node& node, const Description& by);
  os::Status lock_as(Process& by, int descriptor, std::uint64_t byte, bool shared);
  [[nodiscard]] static unsigned closing(const Description& made) noexcept;
  [[nodiscard]] const std::string& bytes_for(const Host& reader, Node& node);
  [[nodiscard]] Node* find(Process& by, Node& directory, std::string_view name, bool fresh);
  [[nodiscard]] Process* process_seen(Process& by, std::int64_t pid);
  [[nodiscard]] bool overlaps(const ByteLock& lock, Process& by, std::uint64_t first, std::uint64_t end) const;
  [[nodiscard]] static os::FileInfo info_of(const Node& node);
  template <class Deed>
  os::Status answered(Process& by, Deed deed);
  void touch(std::uint64_t kind, std::uint64_t id, Touch::How how);
  void touch_name(const Node& directory, std::string_view name, Touch::How how);

  FileSystemKind kind_;
  Footprint touched_;
  std::deque<Node> nodes_;
  std::deque<Description> descriptions_;
  std::deque<Queue> queues_;
  std::deque<Host> hosts_;
  std::deque<Process> processes_;
  std::vector<std::uint64_t> free_numbers_;
  std::uint64_t next_number_ = 100;
  std::uint64_t next_id_ = 1;
  std::int64_t next_pid_ = 100;
  Node* root_ = nullptr;
  const Host* acting_ = nullptr;
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
};

}  // namespace lockfile::simulation
