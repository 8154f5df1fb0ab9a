// Mounts and images.
#include "mounts.hpp"

#include "apart.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace machine {

void mount(const std::string& source, const std::string& target, const std::string& type, unsigned long flags,
           const std::string& data) {
  if (::mount(source.c_str(), target.c_str(), type.c_str(), flags, data.c_str()) == 0) return;
  unavailable("cannot mount " + type + " '" + source + "' at '" + target + "'", errno);
}

void run(const std::vector<std::string>& arguments) {
  std::vector<char*> raw;
  for (const std::string& each : arguments) raw.push_back(const_cast<char*>(each.c_str()));
  raw.push_back(nullptr);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, raw[0], nullptr, nullptr, raw.data(), environ);
  if (error != 0) unavailable("cannot run '" + arguments.front() + "'", error);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) unavailable("cannot wait for '" + arguments.front() + "'", errno);
  if (status != 0) throw Unavailable("'" + arguments.front() + "' failed");
}

std::string make_directory(const std::string& path, unsigned mode) {
  if (::mkdir(path.c_str(), 0755) != 0) throw std::runtime_error("cannot create '" + path + "'");
  // Apart from mkdir, which goes by the umask and gives no set-group-id bit.
  if (::chmod(path.c_str(), mode) != 0) throw std::runtime_error("cannot set the mode of '" + path + "'");
  return path;
}

std::string make_ext4(const std::string& image, unsigned megabytes, std::vector<std::string> options) {
  std::ofstream(image, std::ios::binary).close();
  std::filesystem::resize_file(image, static_cast<std::uintmax_t>(megabytes) << 20U);
  std::vector<std::string> arguments = {"mkfs.ext4", "-q", "-F"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(image);
  run(arguments);
  return image;
}

std::string mount_image(const std::string& image, const std::string& at) {
  make_directory(at);
  // mount(8) finds a loop device, which gives itself back when the last mount of it goes.
  run({"mount", "-t", "ext4", "-o", "loop", image, at});
  return at;
}

void sync_names(const std::string& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int failed = ::fsync(descriptor);
  ::close(descriptor);
  if (failed != 0) throw std::runtime_error("cannot sync '" + directory + "'");
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().filename() != "lost+found") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace machine
