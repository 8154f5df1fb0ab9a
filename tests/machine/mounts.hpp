// Mounts, disk images and small things about files, for bodies of tests that run apart.
#pragma once

#include <string>
#include <vector>

namespace machine {

/// mount(2). Throws `Unavailable` when it is refused.
void mount(const std::string& source, const std::string& target, const std::string& type, unsigned long flags = 0,
           const std::string& data = {});

/// A program to its end; throws `Unavailable` when it is not installed or fails.
void run(const std::vector<std::string>& arguments);

/// A new directory, with exactly that mode.
std::string make_directory(const std::string& path, unsigned mode = 0755);

/// An ext4 image of that size; `options` for mkfs.ext4.
std::string make_ext4(const std::string& image, unsigned megabytes, std::vector<std::string> options = {});
/// Mounts an image at a new directory.
std::string mount_image(const std::string& image, const std::string& at);

/// Commits what happened to a file system's names and sizes, and not the bytes of its files.
void sync_names(const std::string& directory);

/// The names in a directory, sorted, but for ext4's `lost+found`.
std::vector<std::string> names_in(const std::string& directory);

}  // namespace machine
