// One address for every lock: what a configuration file or a command line names a lock by.
//
//     const auto lock = lockfile::open("/srv/backup");                                // a path: a lock file beside it
//     const auto lock = lockfile::open("kernel:/var/lib/app/journal");                // the same verbs, another scheme
//     const auto lock = lockfile::open("sqlite:/var/lib/app/locks.db#nightly");       // a name in a database
//     const auto lock = lockfile::open(std::string("./") + name);                     // a path, whatever its name is
//
// The grammar (docs/addresses.md has examples of each):
//
//     address  = path                                 ; does not begin like "word:"
//              / file-scheme ":" path                 ; auto link mkdir kernel flock ...: those that lock a path
//              / "sqlite:" database [ "#" name ]
//              / "postgresql://" location [ "#" name ]
//              / "etcd://" hosts "/" *( prefix "/" ) [ name ]
//     word     = letter 1*( letter / digit / "+" / "-" / "." )    ; ASCII, and no "/" before the ":"
//     database, name                                  ; %XX is the byte XX; "#" ends a database, so it is written %23
//
// Whatever begins like "word:" is an address and never a path, also when there is no such scheme (yet): such a file is
// named by `./word:...`. One letter is no word, so `C:\x` is a path. In a path nothing is decoded.
#pragma once

#include <lockfile/inspect.hpp>
#include <lockfile/lock.hpp>
#include <lockfile/semaphore.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

namespace lockfile {

/// An address, taken apart.
struct Address {
  std::string scheme = "auto";
  std::string place;  ///< the path, the database's path, or what stands behind the scheme's "://"
  std::string name;   ///< the lock's in a database or cluster; empty: not given, or the place itself is locked

  [[nodiscard]] bool operator==(const Address&) const = default;
};

/// What is wrong with an address, and where.
struct BadAddress {
  std::size_t position = 0;  ///< counted in bytes from 0; the length of the text where something is missing at its end
  std::string reason;        ///< "there is no scheme 'sqlit'"
};

/// Takes an address apart. Looks at the text only: opens nothing, and does not ask whether the scheme is built in.
[[nodiscard]] std::variant<Address, BadAddress> parse_address(std::string_view text);

/// The text of an address: `parse_address` gives the same address again.
[[nodiscard]] std::string to_string(const Address& address);

/// Does the scheme of that name lock a name inside of a place (a database, a cluster), and not the place itself?
[[nodiscard]] bool locks_a_name(std::string_view scheme) noexcept;

/// Names the lock that `address` means; opens nothing, as every constructor of a lock. `options.scheme` is for an
/// address that names no scheme. Throws `LockFailed`: `std::errc::invalid_argument` for a bad address (the message says
/// what is wrong at which position), for a lock's name that is missing, and for what `FileLock` refuses;
/// `std::errc::operation_not_supported` for a scheme whose component is not built in.
[[nodiscard]] std::unique_ptr<Lock> open(std::string_view address, const Options& options = {});

/// As `open`, a semaphore of that many units: of a path (semaphore.hpp), or of a name in a database or cluster, which
/// has nothing to do with the lock of that name. Throws as `open`.
[[nodiscard]] Semaphore open_semaphore(std::string_view address, std::size_t units, const Options& options = {});

/// Makes what locks need at that place, a database or a cluster (the name may be left out), if it is not there already:
/// `lockctl init`. Only PostgreSQL needs it, and it needs the right to make tables. Waits for the server. Throws as
/// `open`, and `LockFailed` with the server's cause.
void initialise(std::string_view address);

/// Looks a database or a cluster over, as `examine` does a directory: which server it is, whether locks can be relied
/// upon there, and why not. Changes nothing but what a lock of its own changes. Waits for the server. Throws as `open`;
/// `ec` is set when the place cannot be looked at.
[[nodiscard]] Examination examine_place(std::string_view address, std::error_code& ec);

/// A lock in a database or a cluster that somebody holds or waits for.
struct NamedLock {
  std::string address;
  std::vector<Holder> holders;  ///< as `Lock::holders`
  std::vector<Waiter> waiters;  ///< as `Lock::waiters`
};

/// The locks of a database or a cluster that somebody holds or waits for, by name; not its semaphores. Of a cluster
/// they are those whose keys have the prefix of `address` and one part more; the lock's name in it is left out
/// (`etcd://h/p/`) or does not matter. They are looked at one after the other, and what is gone by then is left out.
/// Takes and changes nothing, waits for the server. Throws as `open`, and `LockFailed` when something cannot be looked
/// at: a database file that is not there, too.
[[nodiscard]] std::vector<NamedLock> list_place(std::string_view address);
/// As it; `ec` is set when something cannot be looked at. Throws as `open`.
[[nodiscard]] std::vector<NamedLock> list_place(std::string_view address, std::error_code& ec);

}  // namespace lockfile
