// For builds that count what is run (the preset coverage): a process that ends by _exit(2) writes what it has counted,
// as one that returns from main does. Linked with --wrap=_exit.
extern "C" {

void __gcov_dump();
[[noreturn]] void __real__exit(int status);
[[noreturn]] void __wrap__exit(int status);

void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}
}
