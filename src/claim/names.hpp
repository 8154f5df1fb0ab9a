// How the files of one lock are named: the lock word W, and the side names that claims have. Every side name holds the
// nonce of the claim it belongs to, so that whoever clears a dead holder finds all that it left.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockfile::claim {

/// The last component of a locked path, and the lock file's name made of it.
class Names {
 public:
  explicit Names(std::string_view locked_name);
  /// Those whose side names begin like this (`LineName::prefix`); the lock file's name is not told by it.
  [[nodiscard]] static Names with_prefix(std::string prefix);

  /// `a.lock`
  [[nodiscard]] const std::string& word() const noexcept { return word_; }
  /// `a.lock.<nonce><suffix>`, or `.lf-<hash>-<nonce><suffix>` where that would be too long for a file system.
  [[nodiscard]] std::string side(std::string_view nonce, std::string_view suffix = {}) const;
  /// `a.lock.fence`, or `.lf-<hash>-fence`: the number of the last hold that asked for one. It stays.
  [[nodiscard]] std::string fence() const;
  /// `a.lock.<8 digits of the boot>.line`, where those of that boot line up who wait; with a kind before the end where
  /// there are several locks on one path: `a.lock.<8 digits of the boot>.kernel.line`.
  [[nodiscard]] std::string line(std::string_view boot, std::string_view kind = {}) const;

 private:
  Names() = default;
  std::string word_;
  std::string prefix_;
};

/// The suffixes of side names. A name with a hold's number in it is never used twice.
namespace suffix {
inline constexpr std::string_view trial = ".trial";      ///< a second link, while a file system is tried out
inline constexpr std::string_view directory = ".dir";    ///< mkdir scheme: the directory kept between holds
inline constexpr std::string_view entry = ".in";         ///< mkdir scheme: a small directory on its way into W
inline constexpr std::string_view unpublished = ".new";  ///< shared memory: a file that is not W yet
inline constexpr std::string_view gone = ".gone";        ///< the ends of the next ones
inline constexpr std::string_view group = ".group";
inline constexpr std::string_view members = ".members";
inline constexpr std::string_view joined = ".joined";
inline constexpr std::string_view upgrade = ".upgrade";  ///< `.<number>.upgrade`: a claim on its way from a group to W
[[nodiscard]] std::string taken_away(std::uint64_t number);  ///< `.<number>.gone`: a directory on its way out of W
inline constexpr std::string_view fence = ".fence";          ///< the end of the next
[[nodiscard]] std::string numbering(std::uint64_t number);   ///< `.<number>.fence`: a number on its way to W.fence
[[nodiscard]] std::string numbered(std::uint64_t counter, std::string_view end);  ///< `.<counter>.group` and the like
inline constexpr std::string_view wake = ".wake";  ///< the FIFO by which a waiter is woken; its nonce is no claim's
inline constexpr std::string_view fifo = ".fifo";  ///< the same before it is open
inline constexpr std::string_view line = ".line";  ///< a line of waiters on its way to its name
}  // namespace suffix

/// The name of a hold's entry in a group's directory, never used twice there: `<nonce>.<number>`.
[[nodiscard]] std::string entry_name(std::string_view nonce, std::uint64_t number);
struct Entry {
  std::string nonce;
  std::uint64_t number = 0;
};
/// Nothing: not an entry's name.
[[nodiscard]] std::optional<Entry> parse_entry_name(std::string_view name);

/// What a claim is called inside a directory.
inline constexpr const char* holder_name = "holder";
inline constexpr const char* nested_name = "holder/holder";

/// A side name, taken apart.
struct SideName {
  std::string nonce;
  std::string suffix;
};
/// Nothing: not one of our side names.
[[nodiscard]] std::optional<SideName> parse_side_name(std::string_view name);

/// The name of a line, taken apart.
struct LineName {
  std::string prefix;  ///< what the names of the lock's files begin with
  std::string boot;    ///< the boot's part of its nonces
  std::string kind;
};
/// Nothing: not a line's name.
[[nodiscard]] std::optional<LineName> parse_line_name(std::string_view name);

/// A nonce: 32 bits of a hash of the boot id and 64 random ones, in 24 hexadecimal digits. The boot's part tells, when
/// a power cut has left nothing but the name, that the maker is of an earlier boot.
[[nodiscard]] std::string make_nonce(std::string_view boot, std::uint64_t random);
[[nodiscard]] bool nonce_is_of_boot(std::string_view nonce, std::string_view boot);

inline constexpr std::size_t boot_part_length = 8;
inline constexpr std::size_t nonce_length = 24;
[[nodiscard]] bool is_nonce(std::string_view text) noexcept;

}  // namespace lockfile::claim
