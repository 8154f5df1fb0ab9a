# Where the tests find their etcd server; tests/etcd/CMakeLists.txt has the fixture that starts it. Each build directory
# has a port of its own.
# Not LOCKFILE_ETCD, which is the option of the component: what is set is not looked for.
find_program(LOCKFILE_ETCD_SERVER etcd DOC "The etcd server, for tests")
if(LOCKFILE_ETCD_SERVER)
  string(MD5 _hash ${PROJECT_BINARY_DIR})
  string(SUBSTRING ${_hash} 0 4 _hash)
  math(EXPR etcd_test_port "20000 + 2 * (0x${_hash} % 5000)")
  set(test_environment_of_etcd "LOCKFILE_TEST_ETCD=etcd://127.0.0.1:${etcd_test_port}/test")
endif()
