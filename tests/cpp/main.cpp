// main.cpp -- the entry of every native test program.
#include "harness.hpp"

int main(int argc, char** argv) { return tailrace::test::run_all(argc, argv); }
