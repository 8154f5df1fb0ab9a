// For builds that count what is run (the preset coverage): a process that ends by _exit(2) or abort(3) writes what it
// has counted, as one that returns from main does. Linked with --wrap. One that will be killed does so now and then
// (counted.hpp).
extern "C" {

void __gcov_dump();
void __gcov_reset();
void lockfile_count_so_far();
[[noreturn]] void __real__exit(int status);
[[noreturn]] void __real_abort();
[[noreturn]] void __wrap__exit(int status);
[[noreturn]] void __wrap_abort();

void lockfile_count_so_far() {
  __gcov_dump();
  __gcov_reset();
}

void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}

void __wrap_abort() {
  __gcov_dump();
  __real_abort();
}
}
