// Another program's connection to a database, by SQLite itself.
#pragma once

#include <sqlite3.h>

#include <stdexcept>
#include <string>

namespace lockfile::testing {

class Connection {
 public:
  explicit Connection(const std::string& path) {
    if (sqlite3_open(path.c_str(), &handle_) != SQLITE_OK) throw std::runtime_error("cannot open " + path);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { sqlite3_close(handle_); }

  /// The first column of the first row, or "". Throws where SQLite refuses.
  std::string ask(const std::string& sql) {
    std::string answer;
    char* message = nullptr;
    const int code = sqlite3_exec(
        handle_, sql.c_str(),
        [](void* into, int count, char** values, char** /*names*/) {
          auto& text = *static_cast<std::string*>(into);
          if (text.empty() && count > 0 && values[0] != nullptr) text = values[0];
          return 0;
        },
        &answer, &message);
    const std::string why = message != nullptr ? message : "";
    sqlite3_free(message);
    if (code != SQLITE_OK) throw std::runtime_error(sql + ": " + why);
    return answer;
  }

 private:
  sqlite3* handle_ = nullptr;
};

}  // namespace lockfile::testing
