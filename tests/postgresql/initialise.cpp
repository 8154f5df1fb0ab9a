// Makes in a database what locks need, for tests that are run without lockctl: initialise ADDRESS.
#include <lockfile/open.hpp>

#include <exception>
#include <iostream>

int main(int /*count*/, char** arguments) try {
  lockfile::initialise(arguments[1]);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
