// Exceptions and codes.
#include <lockfile/error.hpp>

#include <utility>

namespace lockfile {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "lockfile"; }
  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::already_locked:
        return "held by somebody else";
      case errc::timed_out:
        return "timed out";
      case errc::stopped:
        return "stopped";
      case errc::not_locked:
        return "not locked";
      case errc::not_my_lock:
        return "not my lock";
      case errc::foreign:
        return "another program's lock";
      case errc::cannot_break:
        return "there is no way to break a lock safely here";
      case errc::stale_fence:
        return "a later holder has written already";
    }
    return "unknown error " + std::to_string(code);
  }
  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<errc>(code)) {
      case errc::already_locked:
        return std::errc::resource_unavailable_try_again;
      case errc::timed_out:
        return std::errc::timed_out;
      case errc::stopped:
        return std::errc::operation_canceled;
      case errc::not_my_lock:
      case errc::stale_fence:
        return std::errc::operation_not_permitted;
      case errc::cannot_break:
        return std::errc::operation_not_supported;
      case errc::not_locked:
      case errc::foreign:
        break;
    }
    return {code, *this};
  }
};

}  // namespace

const std::error_category& lockfile_category() noexcept {
  static const Category category;
  return category;
}

std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), lockfile_category()}; }

struct Error::Details {
  std::string message;
  std::string path;
  std::optional<Holder> holder;
};

Error::Error(std::error_code code, std::string message, std::string path, std::optional<Holder> holder)
    : std::system_error(code),
      details_(std::make_shared<const Details>(Details{std::move(message), std::move(path), std::move(holder)})) {}

const char* Error::what() const noexcept { return details_->message.c_str(); }
const std::string& Error::path() const noexcept { return details_->path; }
const std::optional<Holder>& Error::holder() const noexcept { return details_->holder; }

StaleFence::StaleFence(std::string message, std::string path, std::uint64_t fence, std::uint64_t newest)
    : Error(errc::stale_fence, std::move(message), std::move(path), std::nullopt), fence_(fence), newest_(newest) {}

}  // namespace lockfile
