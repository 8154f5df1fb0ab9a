// For builds that count what is run (the preset coverage): a process that ends by _exit(2) or abort(3) writes what it
// has counted, as one that returns from main does. Linked with --wrap.
extern "C" {

void __gcov_dump();
[[noreturn]] void __real__exit(int status);
[[noreturn]] void __real_abort();
[[noreturn]] void __wrap__exit(int status);
[[noreturn]] void __wrap_abort();

void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}

void __wrap_abort() {
  __gcov_dump();
  __real_abort();
}
}
