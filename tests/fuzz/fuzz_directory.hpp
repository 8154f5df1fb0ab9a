// A directory for a target that needs files, gone when the program ends by itself.
#pragma once

#include "fuzz/law.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace lockfile::fuzz {

class FuzzDirectory {
 public:
  FuzzDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockfile-fuzz-XXXXXX").string();
    law(::mkdtemp(pattern.data()) != nullptr, "a directory can be made", pattern);
    path_ = pattern;
  }
  FuzzDirectory(const FuzzDirectory&) = delete;
  FuzzDirectory& operator=(const FuzzDirectory&) = delete;
  ~FuzzDirectory() {
    std::error_code ignored;  // what is left behind is in the directory for temporary files
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  void clear() const {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove_all(entry.path());
  }
  void write(std::string_view name, std::string_view bytes) const {
    const int file = ::open((*this / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    law(file >= 0 && ::write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
        "a file can be written", name);
    ::close(file);
  }
  [[nodiscard]] std::string read(std::string_view name) const {
    const int file = ::open((*this / name).c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return "not there";
    std::string bytes(8192, '\0');
    const ssize_t got = ::read(file, bytes.data(), bytes.size());
    ::close(file);
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return bytes;
  }

 private:
  std::string path_;
};

}  // namespace lockfile::fuzz
